"""Initial values of parameters: ``init(rng, shape) -> array``.

``fan_in`` and ``fan_out`` are the first and the last size in the shape: a Dense layer's W is (fan_in, fan_out).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from minidense.core.arguments import lookup, shown
from minidense.core.types import Array, Shape


class Initializer(Protocol):
    """A callable ``init(rng, shape)`` that returns an array of that shape."""

    def __call__(self, rng: np.random.Generator, shape: Shape, /) -> Array: ...


def zeros(rng: np.random.Generator, shape: Shape) -> Array:
    """All 0."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: Shape) -> Array:
    """All 1."""
    return np.ones(shape)


def glorot_uniform(rng: np.random.Generator, shape: Shape) -> Array:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 16).

    >>> w = glorot_uniform(np.random.default_rng(0), (4, 2))
    >>> w.shape, bool(abs(w).max() <= 1)
    ((4, 2), True)
    """
    bound = math.sqrt(6 / (shape[0] + shape[-1]))
    return rng.uniform(-bound, bound, shape)


def glorot_normal(rng: np.random.Generator, shape: Shape) -> Array:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""
    return rng.normal(0, math.sqrt(2 / (shape[0] + shape[-1])), shape)


def he_uniform(rng: np.random.Generator, shape: Shape) -> Array:
    """Uniform in ±sqrt(6 / fan_in) (He et al., 2015)."""
    bound = math.sqrt(6 / shape[0])
    return rng.uniform(-bound, bound, shape)


def he_normal(rng: np.random.Generator, shape: Shape) -> Array:
    """Normal with variance 2 / fan_in, for ReLU (He et al., 2015, equation 10)."""
    return rng.normal(0, math.sqrt(2 / shape[0]), shape)


def lecun_normal(rng: np.random.Generator, shape: Shape) -> Array:
    """Normal with variance 1 / fan_in (LeCun et al., 1998, section 4.6)."""
    return rng.normal(0, math.sqrt(1 / shape[0]), shape)


INITIALIZERS: dict[str, Initializer] = {
    init.__name__: init for init in (zeros, ones, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_normal)
}


def get_initializer(initializer: str | Initializer) -> Initializer:
    """The initializer of that name; a callable ``init(rng, shape)`` is returned as it is.

    >>> get_initializer("zeros") is zeros
    True
    """
    if callable(initializer):
        return initializer
    if not isinstance(initializer, str):
        raise TypeError(f"initializer: expected a name or a callable init(rng, shape), got {shown(initializer)}.")
    return lookup("initializer", initializer, INITIALIZERS)
