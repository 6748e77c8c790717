"""Initial values of parameters: ``init(rng, shape) -> array``.

``fan_in`` and ``fan_out`` are the first and the last size in the shape: a Dense layer's W is (fan_in, fan_out).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from minidense.core.arguments import lookup, real_number, shown
from minidense.core.configurable import Configurable
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_features

__all__ = [
    "INITIALIZERS",
    "Constant",
    "Filled",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "Zeros",
    "get_initializer",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "zeros",
]


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


def lecun_uniform(rng: np.random.Generator, shape: Shape) -> Array:
    """Uniform in ±sqrt(3 / fan_in) (LeCun et al., 1998, section 4.6)."""
    bound = math.sqrt(3 / shape[0])
    return rng.uniform(-bound, bound, shape)


def lecun_normal(rng: np.random.Generator, shape: Shape) -> Array:
    """Normal with variance 1 / fan_in (LeCun et al., 1998, section 4.6)."""
    return rng.normal(0, math.sqrt(1 / shape[0]), shape)


class WithArguments(Configurable):
    """Base of the initializers that have arguments."""

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        raise NotImplementedError


class RandomNormal(WithArguments, library=True):
    """Normal with that mean and standard deviation. The defaults are Keras'.

    >>> RandomNormal(stddev=1e-3)(np.random.default_rng(0), (2,)).shape
    (2,)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean = real_number("RandomNormal: mean", mean)
        self.stddev = real_number("RandomNormal: stddev", stddev, at_least=0)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        return rng.normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal, library=True):
    """As RandomNormal, but a value more than two standard deviations away is drawn again.

    >>> w = TruncatedNormal(stddev=1.0)(np.random.default_rng(0), (1000,))
    >>> bool(abs(w).max() <= 2)
    True
    """

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        z = rng.standard_normal(shape)
        while (beyond := abs(z) > 2).any():
            z[beyond] = rng.standard_normal(np.count_nonzero(beyond))
        return np.asarray(self.mean + self.stddev * z)


class RandomUniform(WithArguments, library=True):
    """Uniform between ``minval`` and ``maxval``. The defaults are Keras'.

    >>> w = RandomUniform(0.0, 2.0)(np.random.default_rng(0), (1000,))
    >>> bool(w.min() >= 0 and w.max() <= 2)
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05) -> None:
        self.minval = real_number("RandomUniform: minval", minval)
        self.maxval = real_number("RandomUniform: maxval", maxval, at_least=self.minval)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        return rng.uniform(self.minval, self.maxval, shape)


class Orthogonal(WithArguments, library=True):
    """``gain`` times a random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al., 2014).

    It is Q of the QR decomposition of a normal matrix, with the signs that make it uniform over all such matrices.

    >>> w = Orthogonal()(np.random.default_rng(0), (4, 2))
    >>> bool(np.allclose(w.T @ w, np.eye(2)))
    True
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = real_number("Orthogonal: gain", gain)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))
        return np.asarray(self.gain * (q if rows >= columns else q.T).reshape(shape))


class Identity(WithArguments, library=True):
    """``gain`` on the diagonal of a matrix, 0 elsewhere.

    >>> Identity()(np.random.default_rng(0), (2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = real_number("Identity: gain", gain)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Identity: expected the shape of a matrix, got {shape}.")
        return self.gain * np.eye(*shape)


class Filled(WithArguments, library=True):
    """A number for every entry, or a given array of the parameter's shape.

    >>> Filled(0.5)(np.random.default_rng(0), (3,))
    array([0.5, 0.5, 0.5])
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value: Any = real_number("Filled: value", value) if np.ndim(value) == 0 else _array_of(value)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> Array:
        return np.array(self.value) if np.ndim(self.value) else np.full(shape, self.value)


_ALL = (zeros, ones, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal)
FUNCTIONS: dict[str, Initializer] = {init.__name__: init for init in _ALL}
"""Those that are functions, by which names a file may name them."""


def _array_of(value: Any) -> Array:
    return np.array(as_features(value, "Filled: value"), np.float64)


INITIALIZERS: dict[str, Initializer] = {
    **FUNCTIONS,
    "identity": Identity(),
    "random_normal": RandomNormal(),
    "truncated_normal": TruncatedNormal(),
    "random_uniform": RandomUniform(),
    "normal": RandomNormal(),
    "uniform": RandomUniform(),
    "orthogonal": Orthogonal(),
}


def get_initializer(initializer: str | float | Array | Initializer) -> Initializer:
    """The initializer of that name; a callable ``init(rng, shape)`` as it is; a number or an array as a constant.

    >>> get_initializer("zeros") is zeros, get_initializer(0.5)
    (True, Filled(value=0.5))
    """
    if isinstance(initializer, str):
        return lookup("initializer", initializer, INITIALIZERS)
    if isinstance(initializer, type):
        name = initializer.__name__
        raise TypeError(f"initializer: got the class {name}; make an object of it: {name}().")
    if callable(initializer):
        return initializer
    if isinstance(initializer, np.ndarray | float | int) and not isinstance(initializer, bool):
        return Filled(initializer)
    raise TypeError(
        f"initializer: expected a name, a number, an array or a callable init(rng, shape), got {shown(initializer)}."
    )


def _by_class(init: Initializer) -> Callable[..., Initializer]:
    def make(seed: None = None) -> Initializer:
        """The initializer. Raises TypeError for a seed."""
        if seed is not None:
            raise TypeError("seed: initial values come from the model's generator: Sequential(layers, rng=seed).")
        return init

    return make


Constant = Filled
Zeros, Ones = _by_class(zeros), _by_class(ones)
GlorotUniform, GlorotNormal = _by_class(glorot_uniform), _by_class(glorot_normal)
HeUniform, HeNormal = _by_class(he_uniform), _by_class(he_normal)
LecunUniform, LecunNormal = _by_class(lecun_uniform), _by_class(lecun_normal)
"""Keras' classes of these names, for ``HeNormal()``."""
