"""Constraints: after each update, a parameter is replaced by the nearest one that fulfils a condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidense.core.arguments import items, real_number, whole_number
from minidense.core.errors import to_define
from minidense.core.types import Array, Shape
from minidense.layers.regularizers import Unchanging, found_by_name

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "unit_norm",
]


class Constraint(Unchanging):
    """Base of the constraints: ``__call__(w)`` returns the array of w's shape that w is replaced by.

    >>> class Rounded(Constraint):
    ...     def __call__(self, w):
    ...         return np.round(w, 1)
    """

    def __call__(self, w: Array) -> Array:
        """What w, a parameter of any shape, is to be replaced by; w itself is not changed."""
        raise to_define(self.__call__)

    def projection(self, w: Array) -> Callable[[], None]:
        """A function that does this to w in place. The library's own ones need no more memory, and cannot fail."""

        def project() -> None:
            found = np.asarray(self(w))
            if found.shape != w.shape:
                raise ValueError(f"{self!r}: expected to return an array of shape {w.shape}, got {found.shape}.")
            w[...] = found

        return project


class NonNeg(Constraint, library=True):
    """No element is negative: ``max(w, 0)``.

    >>> NonNeg()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def __call__(self, w: Array) -> Array:
        return np.maximum(w, 0)

    def projection(self, w: Array) -> Callable[[], None]:
        def project() -> None:
            np.maximum(w, 0, out=w)

        return project


EPSILON = 1e-7
"""Added to norms that are divided by, as in Keras."""


class MinMaxNorm(Constraint, library=True):
    """The norm of the weights into each unit lies between two bounds: ``w * wanted / (norm + 1e-7)``.

    ``wanted = rate * clip(norm, min_value, max_value) + (1 - rate) * norm``.

    min_value, max_value: at least 0. rate: in [0, 1]; 1 enforces the bounds at once. axis: the axis, or axes, over
    which a norm is taken; of a Dense's W (d, u), 0 gives one for each of the u units.

    >>> MinMaxNorm(min_value=0.0, max_value=1.0)(np.array([[3.0, 0.3], [4.0, 0.4]])).round(3)
    array([[0.6, 0.3],
           [0.8, 0.4]])
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        name = type(self).__name__
        self.min_value = real_number(f"{name}: min_value", min_value, at_least=0)
        self.max_value = real_number(f"{name}: max_value", max_value, at_least=self.min_value)
        self.rate = real_number(f"{name}: rate", rate, at_least=0)
        if self.rate > 1:
            raise ValueError(f"{name}: rate: expected a number from 0 to 1, got {rate!r}.")
        self.axis = _axes(f"{name}: axis", axis)

    def __call__(self, w: Array) -> Array:
        found = np.array(w)
        self.projection(found)()
        return found

    def projection(self, w: Array) -> Callable[[], None]:
        if any(not -w.ndim <= axis < w.ndim for axis in self.axis):
            raise ValueError(f"{self!r}: a parameter of shape {w.shape} has no such axis.")
        squares = np.zeros_like(w)
        norms = np.sum(squares, axis=self.axis, keepdims=True)
        wanted = np.empty_like(norms)

        def project() -> None:
            np.multiply(w, w, out=squares)
            np.sqrt(np.sum(squares, axis=self.axis, keepdims=True, out=norms), out=norms)
            np.clip(norms, self.min_value, self.max_value, out=wanted)
            if self.rate < 1:
                np.subtract(wanted, norms, out=wanted)
                np.multiply(wanted, self.rate, out=wanted)
                np.add(wanted, norms, out=wanted)
            np.add(norms, EPSILON, out=norms)
            np.divide(wanted, norms, out=wanted)
            np.multiply(w, wanted, out=w)

        return project


class MaxNorm(MinMaxNorm, library=True):
    """The norm of the weights into each unit is at most ``max_value``: ``w * min(norm, max_value) / (norm + 1e-7)``.

    max_value: at least 0. axis: as in MinMaxNorm. (Srebro and Shraibman, 2005; with dropout: Srivastava et al., 2014.)

    >>> MaxNorm(1.0)(np.array([[3.0], [4.0]])).round(3)
    array([[0.6],
           [0.8]])
    """

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(max_value=max_value, axis=axis)


class UnitNorm(MinMaxNorm, library=True):
    """The norm of the weights into each unit is 1: ``w / (norm + 1e-7)``. axis: as in MinMaxNorm.

    >>> UnitNorm()(np.array([[3.0], [4.0]])).round(3)
    array([[0.6],
           [0.8]])
    """

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(min_value=1.0, axis=axis)


def check_constraint(constraint: Constraint, shape: Shape, where: str) -> None:
    """Try a constraint on a parameter of that shape. Raises ValueError."""
    with np.errstate(all="ignore"):
        constraint.projection(np.ones(shape))()


def _axes(name: str, axis: Any) -> tuple[int, ...]:
    axes = tuple(whole_number(name, each, -32) for each in (items(name, axis) if np.ndim(axis) else [axis]))
    if len({*axes}) < len(axes) or not axes:
        raise ValueError(f"{name}: expected an axis or several different ones, got {axis!r}.")
    return axes


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

CONSTRAINTS: dict[str, Callable[[], Constraint]] = {
    "max_norm": MaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
    "min_max_norm": MinMaxNorm,
}


def get_constraint(constraint: str | Constraint | None, name: str = "constraint") -> Constraint | None:
    """The constraint of that name, in any case, with its default bounds; an object or None is returned as it is.

    >>> get_constraint("max_norm")
    MaxNorm()
    """
    return found_by_name(name, constraint, Constraint, CONSTRAINTS, "md.constraints.MaxNorm(2.0)")
