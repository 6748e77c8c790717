"""Regularizers: penalties on parameters, which training adds to the loss, and their gradients to the parameter's.

Penalty and gradient are added once an update, undivided, whatever the batch and the loss's reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minidense.core.arguments import lookup, real_number, shown
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.types import Array, Shape

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
]

_T = TypeVar("_T", bound=Configurable)


class Unchanging(Configurable):
    """An object whose arguments cannot be set later: one that a layer made of a name would be saved as the name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._config or (self._of_library and self._config):
            raise AttributeError(f"{self!r}: {name} cannot be set later; make a new {type(self).__name__}.")
        super().__setattr__(name, value)


def found_by_name(
    what: str, thing: Any, kind: type[_T], table: Mapping[str, Callable[[], _T]], example: str
) -> _T | None:
    """A new object for a name in the table, in any case, with or without underscores; objects and None as they are."""
    if thing is None or isinstance(thing, kind):
        return thing
    if isinstance(thing, str):
        spelled = {name.replace("_", ""): name for name in table}
        return lookup(kind.__name__.lower(), spelled.get(thing.lower().replace("_", ""), thing), table)()
    if isinstance(thing, type) and issubclass(thing, kind):
        raise TypeError(f"{what}: got the class {thing.__name__}; make an object of it: {thing.__name__}().")
    raise TypeError(f"{what}: expected a name, None or a {kind.__name__} such as {example}, got {shown(thing)}.")


class Regularizer(Unchanging):
    """Base of the regularizers: ``__call__(w)`` is the penalty for a parameter w, ``gradient(w)`` is d penalty / d w.

    >>> class Huberish(Regularizer):
    ...     '''sum(sqrt(1 + w**2) - 1)'''
    ...     def __call__(self, w):
    ...         return (np.sqrt(1 + w * w) - 1).sum()
    ...     def gradient(self, w):
    ...         return w / np.sqrt(1 + w * w)
    """

    def __call__(self, w: Array) -> float:
        """The penalty for a parameter w of any shape, a number."""
        raise to_define(self.__call__)

    def gradient(self, w: Array) -> Array:
        """The gradient of the penalty, a new array of w's shape."""
        raise to_define(self.gradient)


class L1L2(Regularizer, library=True):
    """``l1 * sum(|w|) + l2 * sum(w**2)``; its gradient is ``l1 * sign(w) + 2 * l2 * w``.

    l1, l2: at least 0. The name "l1_l2" means 0.01 for both. The penalty is added to the mean loss of the rows. So
    scikit-learn's MLPClassifier and MLPRegressor, whose ``alpha`` adds ``alpha / (2 n) * sum(w**2)`` to the mean over
    the n rows of a batch, are ``L2(alpha / (2 * batch_size))``, and its Ridge, which adds ``alpha * sum(w**2)`` to the
    sum of the squared errors of n rows, is ``L2(alpha / n)`` with the mean squared error of one output; with the loss's
    reduction="sum" it is ``L2(alpha)``.

    >>> L1L2(l1=0.1, l2=0.01)(np.array([3.0, -4.0])).__round__(9)
    0.95
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        name = type(self).__name__
        self.l1 = real_number(f"{name}: l1", l1, at_least=0)
        self.l2 = real_number(f"{name}: l2", l2, at_least=0)

    def __call__(self, w: Array) -> float:
        penalty = self.l1 * np.abs(w).sum(dtype=np.float64) if self.l1 else 0.0
        return float(penalty + self.l2 * np.square(w).sum(dtype=np.float64) if self.l2 else penalty)

    def gradient(self, w: Array) -> Array:
        gradient: Array = w * (2 * self.l2)
        return gradient + self.l1 * np.sign(w) if self.l1 else gradient


class L1(L1L2, library=True):
    """``l1 * sum(|w|)``; its gradient is ``l1 * sign(w)``.

    >>> L1(0.1)(np.array([3.0, -4.0])).__round__(9)
    0.7
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2, library=True):
    """``l2 * sum(w**2)``; its gradient is ``2 * l2 * w``. For scikit-learn's ``alpha`` see L1L2.

    >>> L2(0.1).gradient(np.array([3.0, -4.0]))
    array([ 0.6, -0.8])
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


class OrthogonalRegularizer(Regularizer, library=True):
    """``factor`` times the mean of ``|cos(a, b)|`` over all pairs of different rows, or columns, of a matrix.

    factor: at least 0. mode: "rows" or "columns". A row of zeros has the cosine 0 with each other one.

    >>> OrthogonalRegularizer(0.5)(np.array([[1.0, 0.0], [1.0, 1.0]])).__round__(4)
    0.3536
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = real_number("OrthogonalRegularizer: factor", factor, at_least=0)
        self.mode = lookup("mode", mode, {"rows": "rows", "columns": "columns"})

    def _cosines(self, w: Array) -> tuple[Array, Array, Array]:
        """The rows at length 1, their lengths as a column, and the cosines, 0 for a row with itself."""
        if w.ndim != 2 or min(w.shape if self.mode == "rows" else w.T.shape) < 1:
            raise ValueError(f"{self!r}: expected a matrix, got shape {w.shape}.")
        rows = w if self.mode == "rows" else w.T
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(lengths, lengths, 1)
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, 0)
        return rows, lengths, cosines

    def __call__(self, w: Array) -> float:
        _, _, cosines = self._cosines(w)
        return self.factor * float(np.abs(cosines).sum(dtype=np.float64)) / (cosines.size - len(cosines) or 1)

    def gradient(self, w: Array) -> Array:
        rows, lengths, cosines = self._cosines(w)
        d_rows = np.sign(cosines) @ rows * (2 * self.factor / (cosines.size - len(cosines) or 1))
        d_rows -= rows * (rows * d_rows).sum(axis=1, keepdims=True)
        gradient: Array = np.divide(d_rows, lengths, out=np.zeros_like(d_rows), where=lengths > 0)
        return gradient if self.mode == "rows" else gradient.T


class Penalty(NamedTuple):
    """The penalty for one parameter of a network."""

    regularizer: Regularizer
    w: Array
    dw: Array
    name: str
    """Of the parameter, for errors."""

    def value(self) -> float:
        """The penalty. Raises TypeError for anything but a number."""
        value = np.asarray(self.regularizer(self.w))
        if value.shape or value.dtype.kind not in "biuf":
            raise TypeError(
                f"{self.name}: {self.regularizer!r} must return the penalty as a number, got {shown(value)}."
            )
        return float(value)

    def add_gradient(self) -> None:
        """Add the penalty's gradient to the parameter's. Raises ValueError for another shape."""
        gradient = np.asarray(self.regularizer.gradient(self.w))
        if gradient.shape != self.w.shape:
            raise ValueError(
                f"{self.name}: {self.regularizer!r}: expected a gradient of shape {self.w.shape}, got {gradient.shape}."
            )
        np.add(self.dw, gradient, out=self.dw, casting="same_kind")


def check_regularizer(regularizer: Regularizer, shape: Shape, where: str) -> None:
    """Try a regularizer on a parameter of that shape. Raises TypeError and ValueError."""
    trial = Penalty(regularizer, np.ones(shape), np.ones(shape), where)
    with np.errstate(all="ignore"):
        trial.value()
        trial.add_gradient()


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """``L1L2`` with Keras' other defaults.

    >>> l1_l2()
    L1L2(l1=0.01, l2=0.01)
    """
    return L1L2(l1, l2)


l1, l2, orthogonal_regularizer = L1, L2, OrthogonalRegularizer

REGULARIZERS: dict[str, Callable[[], Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": l1_l2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}


def get_regularizer(regularizer: str | Regularizer | None, name: str = "regularizer") -> Regularizer | None:
    """The regularizer of that name, in any case, with its default strength; an object or None is returned as it is.

    >>> get_regularizer("l2")
    L2()
    """
    return found_by_name(name, regularizer, Regularizer, REGULARIZERS, "md.regularizers.L2(0.01)")
