"""Metrics that need all rows at once: the areas under curves, and functions of the user's."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from minidense.core.arguments import function_of, lookup, whole_number
from minidense.core.interrupts import quiet
from minidense.core.types import Array
from minidense.metrics.base import Metric
from minidense.metrics.forms import targets_of


class _Collecting(Metric):
    """Base of the metrics that need all rows at once: y_true, y_pred and the weights are kept."""

    running = False
    saved = ("collected",)

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.reset()

    def reset(self) -> None:
        self._parts: list[tuple[Array, Array, Array | None]] = []

    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        self._parts.append((np.array(y_true), y_pred.copy(), None if weights is None else weights.copy()))

    @property
    def collected(self) -> list[Array | None]:
        """All rows so far as ``[y_true, y_pred, weights or None]``; an empty list if there are none."""
        if not self._parts:
            return []
        self._parts = [self._all()]
        return list(self._parts[0])

    @collected.setter
    def collected(self, arrays: list[Array | None]) -> None:
        rows = [None if array is None else array.shape[:1] for array in arrays]
        if arrays and not (len(rows) == 3 and rows[0] == rows[1] is not None and rows[2] in (None, rows[0])):
            raise ValueError(f"{self!r}: y_true, y_pred and weights (or None) must have as many rows each, got {rows}.")
        self._parts = [(arrays[0], arrays[1], arrays[2])] if arrays else []  # type: ignore[list-item]

    def _all(self) -> tuple[Array, Array, Array | None]:
        y_true, y_pred, weights = zip(*self._parts, strict=True)
        weighted = any(w is not None for w in weights)
        rows = [np.ones(len(p)) if w is None else w for p, w in zip(y_pred, weights, strict=True)]
        return np.concatenate(y_true), np.concatenate(y_pred), np.concatenate(rows) if weighted else None


class AUC(_Collecting, library=True):
    """The area under a curve of y_pred: 0.5 or the share of positives by chance, 1 if all positives are ranked first.

    curve: "ROC": how often a random positive is ranked above a random negative, ties counting half. "PR": precision
    over recall, interpolated between the points as Davis and Goadrich (2006) do. With several outputs, or classes (one
    against the rest), the mean over them. NaN if a class has no positives or, for "ROC", no negatives.
    num_thresholds: instead of all differences between the values of y_pred, only such counts that lie between as many
    thresholds, equally far from each other between 0 and 1: Keras' approximation, whose default is 200.
    It keeps y_true and y_pred of all rows of an epoch.

    >>> auc = AUC()
    >>> auc.update(np.array([0, 1, 0, 1]), np.array([[0.1], [0.4], [0.6], [0.9]]))
    >>> auc.result()
    0.75
    """

    name = "auc"
    higher_is_better = True
    _takes = "positives"

    def __init__(
        self,
        num_thresholds: int | None = None,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.num_thresholds = None if num_thresholds is None else whole_number("AUC: num_thresholds", num_thresholds, 2)
        self.curve = lookup("curve", curve, {"ROC": "ROC", "PR": "PR"})
        self.summation_method = lookup("summation_method", summation_method, {"interpolation": "interpolation"})

    @quiet
    def result(self) -> float:
        y_true, y_pred, weights = self._all()
        if y_pred.shape[1] > 1 and y_true.ndim == 1:
            y_true = y_true[:, None] == np.arange(y_pred.shape[1])
        y_true = targets_of(y_true, y_pred) > 0.5
        w = np.ones(len(y_pred)) if weights is None else weights.astype(np.float64)
        if self.num_thresholds is not None:
            y_pred = np.searchsorted(np.linspace(0, 1, self.num_thresholds)[1:-1], y_pred)  # the number of those below
        area = _roc_area if self.curve == "ROC" else _pr_area
        return float(np.mean([area(*_counts_by_value(y, p, w)) for y, p in zip(y_true.T, y_pred.T, strict=True)]))


def _counts_by_value(y: Array, p: Array, w: Array) -> tuple[Array, Array]:
    """The weights of positives and of negatives for each value of p, in rising order."""
    _, group = np.unique(p, return_inverse=True)
    return np.bincount(group, w * y), np.bincount(group, w * ~y)


def _roc_area(positives: Array, negatives: Array) -> float:
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")


def _pr_area(positives: Array, negatives: Array) -> float:
    """The integral of precision over recall; between two thresholds, true positives are linear in predicted ones."""
    if not positives.sum():
        return float("nan")
    at_least = np.cumsum((positives + negatives)[::-1])[::-1]  # predicted positives for each threshold
    true = np.cumsum(positives[::-1])[::-1]
    above, true_above = np.append(at_least[1:], 0), np.append(true[1:], 0)
    slope = positives / np.where(at_least > above, at_least - above, 1)
    intercept = true_above - slope * above
    ratio = np.where(above > 0, at_least / np.where(above > 0, above, 1), 1)
    return float((slope * (positives + intercept * np.log(ratio))).sum() / positives.sum())


class FunctionMetric(_Collecting, library=True):
    """A metric from a function ``f(y_true, y_pred)`` of all rows, or ``f(y_true, y_pred, sample_weight=)``.

    It returns a number, or one for each row, (m,), whose mean is taken; with weights, their weighted mean.

    >>> def largest_error(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> metric = FunctionMetric(largest_error)
    >>> metric.update(np.array([[1.0], [2.0]]), np.array([[1.5], [2.0]]))
    >>> metric.name, metric.result()
    ('largest_error', 0.5)
    """

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.function = function_of("FunctionMetric: function", function)
        super().__init__(getattr(function, "__name__", type(function).__name__) if name is None else name)
        self.takes_weights = False
        with suppress(ValueError):  # of a function that is not written in Python
            self.takes_weights = "sample_weight" in inspect.signature(function).parameters

    @quiet
    def result(self) -> float:
        y_true, y_pred, weights = self._all()
        value = self.function(y_true, y_pred, **({} if weights is None else {"sample_weight": weights}))
        if isinstance(value, numbers.Real):
            return float(value)
        values, m = np.asarray(value), len(y_pred)
        if values.dtype.kind not in "biuf" or values.shape not in ((), (m,), (m, 1)):
            found = f"shape {values.shape}" if values.ndim else repr(value)
            raise ValueError(
                f"the metric {self.name}: expected a number, or one for each of the {m} rows, shape ({m},); the "
                f"function returned {found}, for y_true of shape {y_true.shape} and y_pred of shape {y_pred.shape}."
            )
        values = values.reshape(-1).astype(np.float64)
        return float(values.mean() if len(values) != m or weights is None else values @ weights / weights.sum())
