"""What to report, besides the loss: figures that are exact over all rows, whatever the batch size."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidense.arguments import Configurable, lookup
from minidense.types import Array


class Metric(Configurable):
    """Base of all metrics: ``update`` takes some rows, ``result`` is the figure over all rows since ``reset``."""

    name = "metric"

    def reset(self) -> None:
        """Forget all rows."""
        raise NotImplementedError

    def update(self, y_true: Any, y_pred: Array) -> None:
        """Take in m rows: the labels or targets as the user gave them, and what ``predict`` returns for them."""
        raise NotImplementedError

    def result(self) -> float:
        """The figure over all rows taken in."""
        raise NotImplementedError


class Accuracy(Metric):
    """The share of rows whose largest output is the label's. y_true: integers (m,), or rows (m, k); y_pred: (m, k).

    >>> accuracy = Accuracy()
    >>> accuracy.update(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    >>> accuracy.result()
    0.5
    """

    name = "accuracy"

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._correct, self._rows = 0, 0

    def update(self, y_true: Any, y_pred: Array) -> None:
        if y_pred.ndim != 2 or y_pred.shape[1] < 2:
            raise ValueError(f"accuracy: expected one output for each class, at least two, got {y_pred.shape}.")
        labels = y_true.argmax(axis=1) if y_true.ndim == 2 and y_true.shape[1] > 1 else y_true.reshape(-1)
        self._correct += int(np.count_nonzero(y_pred.argmax(axis=1) == labels))
        self._rows += len(y_pred)

    def result(self) -> float:
        return self._correct / self._rows


METRICS: dict[str, type[Metric]] = {"accuracy": Accuracy}


def get_metric(metric: str | Metric) -> Metric:
    """A new metric of that name; an object is returned as it is.

    >>> get_metric("accuracy")
    Accuracy()
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        return lookup("metric", metric.lower(), METRICS)()
    raise TypeError(f"metrics: expected names such as 'accuracy', got {metric!r}.")
