"""Metrics that are means over rows, exact for any batches: accuracies; and R2."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidense.core.arguments import real_number, whole_number
from minidense.core.interrupts import quiet
from minidense.core.types import Array
from minidense.metrics.base import MeanMetric, Metric
from minidense.metrics.forms import labels_of, targets_of


class Accuracy(MeanMetric, library=True):
    """The share of rows whose largest output is the label's. y_true: integers (m,), or rows (m, k); y_pred: (m, k).

    >>> accuracy = Accuracy()
    >>> accuracy.update(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    >>> accuracy.result()
    0.5
    """

    name = "accuracy"
    higher_is_better = True
    _takes = "classes"

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        hits: Array = y_pred.argmax(axis=1) == labels_of(self.name, y_true, y_pred)
        return hits


class CategoricalAccuracy(Accuracy, library=True):
    """Accuracy by Keras' name."""

    name = "categorical_accuracy"


class SparseCategoricalAccuracy(Accuracy, library=True):
    """Accuracy by Keras' name."""

    name = "sparse_categorical_accuracy"


class TopKAccuracy(MeanMetric, library=True):
    """The share of rows whose label is among the k largest outputs.

    >>> top = TopKAccuracy(k=2)
    >>> top.update(np.array([1]), np.array([[0.6, 0.3, 0.1]]))
    >>> top.result()
    1.0
    """

    name = "top_k_accuracy"
    higher_is_better = True
    _takes = "classes"

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        self.k = whole_number("TopKAccuracy: k", k)

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        labels = labels_of(self.name, y_true, y_pred)
        of_label = np.take_along_axis(y_pred, labels[:, None], axis=1)
        hits: Array = (y_pred > of_label).sum(axis=1) < self.k
        return hits


class TopKCategoricalAccuracy(TopKAccuracy, library=True):
    """TopKAccuracy by Keras' name."""

    name = "top_k_categorical_accuracy"


class SparseTopKCategoricalAccuracy(TopKAccuracy, library=True):
    """TopKAccuracy by Keras' name."""

    name = "sparse_top_k_categorical_accuracy"


class BinaryAccuracy(MeanMetric, library=True):
    """The share of outputs on the right side of ``threshold``. y_true: 0 and 1; y_pred: probabilities (m, k).

    >>> accuracy = BinaryAccuracy()
    >>> accuracy.update(np.array([0, 1]), np.array([[0.2], [0.3]]))
    >>> accuracy.result()
    0.5
    """

    name = "binary_accuracy"
    higher_is_better = True
    _takes = "binary"

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = real_number(f"{type(self).__name__}: threshold", threshold, at_least=0)

    def _levels(self) -> list[float]:
        return [self.threshold]

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        hits = (y_pred > self.threshold) == (targets_of(y_true, y_pred) > 0.5)
        return np.asarray(hits.reshape(len(hits), -1).mean(axis=1))


class SignAccuracy(BinaryAccuracy, library=True):
    """The share of outputs with the right sign, of labels -1 and 1, or 0 and 1: the accuracy of a hinge loss."""

    name = "sign_accuracy"

    def __init__(self, name: str | None = None, threshold: float = 0.0) -> None:
        super().__init__(name, threshold)


class R2(Metric, library=True):
    """``1 - (squared error) / (squared distance from the mean of y_true)``, the mean over outputs.

    If all y_true are equal: 1 for a perfect prediction and 0 for any other, as in scikit-learn.

    >>> r2 = R2()
    >>> r2.update(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [2.0], [4.0]]))
    >>> r2.result()
    0.5
    """

    name = "r2"
    higher_is_better = True
    _takes = "numbers"
    saved = ("_weight", "_mean", "_spread", "_error")

    _weight: float
    _mean: Array
    """The mean of y_true, for each output, like the two sums below."""
    _spread: Array
    _error: Array

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.reset()

    def reset(self) -> None:
        self._weight, self._mean, self._spread, self._error = 0.0, np.zeros(1), np.zeros(1), np.zeros(1)

    @quiet
    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        y = targets_of(y_true, y_pred).reshape(len(y_pred), -1).astype(np.float64)
        w = np.ones((len(y), 1)) if weights is None else weights.astype(np.float64)[:, None]
        weight = float(w.sum())
        if not weight:
            return
        self._error = self._error + (w * (y - y_pred.reshape(y.shape)) ** 2).sum(axis=0)
        mean = (w * y).sum(axis=0) / weight
        # Merging the spreads of two groups about their own means (Chan, Golub and LeVeque, 1979).
        total, gap = self._weight + weight, mean - self._mean
        self._spread = self._spread + (w * (y - mean) ** 2).sum(axis=0) + gap**2 * self._weight * weight / total
        self._mean = self._mean + gap * weight / total
        self._weight = total

    @quiet
    def result(self) -> float:
        ratio = self._error / np.where(self._spread, self._spread, 1)
        return float(np.where(self._spread, 1 - ratio, self._error == 0).mean())


class R2Score(R2, library=True):
    """R2 by Keras' name."""

    name = "r2_score"
