"""Metrics from counts: true, predicted and actual positives, for each class or output and each threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import items, lookup, real_number, whole_number
from minidense.core.errors import to_define
from minidense.core.interrupts import quiet
from minidense.core.types import Array
from minidense.metrics.base import Metric
from minidense.metrics.forms import targets_of


class CountedMetric(Metric):
    """Base of the metrics computed from counts: a subclass gives ``value`` of them.

    An output is predicted as positive if it is above the threshold; without a threshold, above 0.5, or, with class
    labels for k > 1 outputs, if it is the row's largest. With top_k, only the k largest outputs of a row can be
    positive. All counts are sums of the rows' weights.
    """

    _takes = "positives"
    saved: ClassVar[tuple[str, ...]] = ("_true_positives", "_predicted", "_actual", "_rows")

    largest: ClassVar[bool] = False
    """Whether, without a threshold, a row's largest output is predicted as positive also of one-hot rows."""

    _true_positives: Array
    """For each threshold and class or output, (t, k): rows that are predicted as positive, and are."""
    _predicted: Array
    """The predicted positives, (t, k)."""
    _actual: Array
    """The actual positives, (k,)."""
    _rows: float
    """The weight of all rows."""

    thresholds: float | Sequence[float] | None = None
    top_k: int | None = None

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._levels()
        self.reset()

    def _levels(self) -> list[float]:
        """The thresholds that were passed. Raises TypeError and ValueError."""
        given, what = self.thresholds, f"{type(self).__name__}: thresholds"
        if given is None:
            return []
        several = items(what, given) if isinstance(given, list | tuple | np.ndarray) else [given]
        if not several:
            raise ValueError(f"{what}: expected at least one.")
        return [real_number(what, level, at_least=0) for level in several]

    @property
    def several(self) -> bool:
        return len(self._levels()) > 1

    def reset(self) -> None:
        self._true_positives, self._predicted = np.zeros((1, 1)), np.zeros((1, 1))
        self._actual, self._rows = np.zeros(1), 0.0

    @quiet
    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        k = y_pred.shape[1]
        levels, of_labels = self._levels(), k > 1 and np.ndim(y_true) == 1
        if len(self._actual) not in (1, k):
            raise ValueError(f"{self.name}: expected {len(self._actual)} outputs, as in the rows before, got {k}.")
        actual = np.asarray(y_true)[:, None] == np.arange(k) if of_labels else targets_of(y_true, y_pred) > 0.5
        if k > 1 and (of_labels or self.largest) and not levels and self.top_k is None:
            predicted = [y_pred.argmax(axis=1)[:, None] == np.arange(k)]
        else:
            among = True if self.top_k is None else _ranks(y_pred) < self.top_k
            lowest = 0.5 if self.top_k is None else -np.inf
            predicted = [(y_pred > level) & among for level in levels or [lowest]]
        w = np.ones(len(y_pred)) if weights is None else weights.astype(np.float64)
        self._true_positives = self._true_positives + np.array([w @ (actual & rows) for rows in predicted])
        self._predicted = self._predicted + np.array([w @ rows for rows in predicted])
        self._actual = self._actual + w @ actual
        self._rows = self._rows + float(w.sum())

    @quiet
    def result(self) -> Any:
        """A float; with several thresholds, or of each class, an array."""
        values = self.value(self._true_positives, self._predicted, self._actual, self._rows)
        if len(self._levels()) > 1:
            return values
        return values[0] if np.ndim(values[0]) else float(values[0])

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        """The metric for each threshold, (t,). The counts are (t, k), (t, k) and (k,)."""
        raise to_define(self.value)


def _ranks(y_pred: Array) -> Array:
    """The place of each output in its row, 0 for the largest; of equal ones, the first comes first."""
    order = np.argsort(-y_pred, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(y_pred.shape[1])[None, :], axis=1)
    return ranks


class _Ratio(CountedMetric):
    """Base of the metrics that are a ratio of counts, 0 where the lower one is 0, averaged over classes or outputs."""

    higher_is_better = True

    average: str | None = "macro"
    class_id: int | None = None

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        counts = true_positives, predicted, np.broadcast_to(actual, predicted.shape)
        if self.class_id is not None and predicted.any():
            if self.class_id >= predicted.shape[1]:
                raise ValueError(f"{self!r}: class_id: expected one of {predicted.shape[1]} classes or outputs.")
            counts = tuple(c[:, [self.class_id]] for c in counts)  # type: ignore[assignment]
        elif self.average == "micro":
            counts = tuple(c.sum(axis=1, keepdims=True) for c in counts)
        part, whole = self.ratio(*counts)
        values: Array = part / np.where(whole, whole, 1)
        if self.average is None and self.class_id is None:
            return values
        if self.average == "weighted":
            weights = counts[2]
            return np.asarray((values * weights).sum(axis=1) / (weights.sum(axis=1) or 1))
        return np.asarray(values.mean(axis=1))

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        """Numerator and denominator; the metric is 0 where the denominator is 0."""
        raise to_define(self.ratio)


_AVERAGES: dict[Any, str | None] = {"macro": "macro", "micro": "micro", "weighted": "weighted"}


def _average(value: Any) -> str | None:
    return None if value is None else lookup("average", value, _AVERAGES)


class Precision(_Ratio, library=True):
    """The share of predicted positives that are true positives.

    Predicted positive is an output above ``thresholds``, 0.5 by default; with integer class labels and no threshold,
    the class of the largest output. top_k: only the k largest outputs of a row can be predicted positives. class_id:
    the value of this class or output only. thresholds: several give an array, by hand.
    average: over classes or outputs, "macro" (the mean of their values), "micro" (from the sums of their counts, as in
    Keras), "weighted" (by their actual positives) or None: an array, by hand.

    >>> precision = Precision()
    >>> precision.update(np.array([0, 1, 1]), np.array([[0.9], [0.8], [0.1]]))
    >>> precision.result()
    0.5
    """

    name = "precision"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        *,
        average: str | None = "macro",
    ) -> None:
        self.average, self.thresholds = _average(average), thresholds
        self.top_k = None if top_k is None else whole_number(f"{type(self).__name__}: top_k", top_k)
        super().__init__(name)
        self.class_id = None if class_id is None else whole_number(f"{type(self).__name__}: class_id", class_id, 0)

    @property
    def several(self) -> bool:
        return super().several or (self.average is None and self.class_id is None)

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return true_positives, predicted


class Recall(Precision, library=True):
    """The share of actual positives that are predicted as positive. The arguments are those of Precision.

    >>> recall = Recall()
    >>> recall.update(np.array([0, 1, 1]), np.array([[0.2], [0.8], [0.1]]))
    >>> recall.result()
    0.5
    """

    name = "recall"

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return true_positives, actual


class F1(_Ratio, library=True):
    """The harmonic mean of precision and recall. average: as of Precision. threshold: as ``thresholds`` there, but one.

    >>> f1 = F1()
    >>> f1.update(np.array([0, 1, 1]), np.array([[0.9], [0.8], [0.1]]))
    >>> f1.result()
    0.5
    """

    name = "f1"

    def __init__(self, average: str | None = "macro", threshold: float | None = None, name: str | None = None) -> None:
        self.average, self.threshold = _average(average), threshold
        if threshold is not None:
            self.threshold = real_number(f"{type(self).__name__}: threshold", threshold, at_least=0)
        super().__init__(name)

    def _levels(self) -> list[float]:
        return [] if self.threshold is None else [self.threshold]

    @property
    def several(self) -> bool:
        return self.average is None

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return 2 * true_positives, predicted + actual


class F1Score(F1, library=True):
    """F1 by Keras' name, for each class unless there is an ``average``; in ``compile``, pass one.

    Without a threshold, a row's largest output is predicted as positive, also of one-hot rows.
    """

    name = "f1_score"
    largest = True

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str | None = None) -> None:
        super().__init__(average, threshold, name)


class TruePositives(CountedMetric, library=True):
    """The number of predicted positives that are positive, over all outputs; with weights, their sum.

    thresholds: as of Precision.

    >>> TruePositives()([0, 1, 1], [0.9, 0.8, 0.1])
    1.0
    """

    name = "true_positives"
    higher_is_better = True

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None) -> None:
        self.thresholds = thresholds
        super().__init__(name)

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        return np.asarray(true_positives.sum(axis=1))


class FalsePositives(TruePositives, library=True):
    """The number of predicted positives that are negative. The arguments are those of TruePositives.

    >>> FalsePositives()([0, 1, 1], [0.9, 0.8, 0.1])
    1.0
    """

    name = "false_positives"
    higher_is_better = False

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        return np.asarray((predicted - true_positives).sum(axis=1))


class FalseNegatives(TruePositives, library=True):
    """The number of actual positives that are not predicted as positive. The arguments are those of TruePositives.

    >>> FalseNegatives()([0, 1, 1], [0.9, 0.8, 0.1])
    1.0
    """

    name = "false_negatives"
    higher_is_better = False

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        return np.asarray((actual - true_positives).sum(axis=1))


class TrueNegatives(TruePositives, library=True):
    """The number of negatives that are not predicted as positive. The arguments are those of TruePositives.

    >>> TrueNegatives()([0, 1, 1], [0.9, 0.8, 0.1])
    0.0
    """

    name = "true_negatives"

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        return np.asarray((rows - actual - predicted + true_positives).sum(axis=1))


class BalancedAccuracy(CountedMetric, library=True):
    """The mean, over the classes that occur, of the share of their rows that are predicted right, as in scikit-learn.

    The classes of an output of its own are 0 and 1; of several such outputs, the mean over them.

    >>> BalancedAccuracy()([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8]).__round__(4)
    0.8333
    """

    name = "balanced_accuracy"
    higher_is_better = True
    saved = ("_of_labels",)

    _of_labels: bool
    """Whether the outputs are classes, of which each row has one."""

    def reset(self) -> None:
        super().reset()
        self._of_labels = False

    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        self._of_labels = y_pred.shape[1] > 1 and np.ndim(y_true) == 1
        super().update(y_true, y_pred, weights)

    def value(self, true_positives: Array, predicted: Array, actual: Array, rows: float) -> Array:
        positive = np.stack([true_positives[0], actual])
        negative = np.stack([rows - actual - predicted[0] + true_positives[0], rows - actual])
        right, all_of = np.stack([positive] if self._of_labels else [positive, negative]).transpose(1, 2, 0)
        if self._of_labels:
            right, all_of = right.T, all_of.T  # (1, k): one mean over the classes
        occurs = all_of > 0
        shares = np.where(occurs, right / np.where(occurs, all_of, 1), 0)
        return np.atleast_1d((shares.sum(axis=1) / occurs.sum(axis=1)).mean())
