"""Metrics, exact over all rows, whatever the batch size.

``y_true`` is the targets: integer class labels (m,) for several outputs, or numbers of the outputs' shape, (m, 1) for
one output. ``y_pred`` is the model's output; under a cross-entropy it is always probabilities, even if the model itself
ends in scores.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import items, lookup, real_number, whole_number
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.interrupts import quiet
from minidense.core.types import Array, Shape


class Metric(Configurable):
    """Base of all metrics: ``update`` takes some rows, ``result`` is the value over all rows since ``reset``.

    Name in ``saved`` the attributes that ``update`` changes, so that a checkpoint within an epoch keeps them.

    >>> class Largest(Metric):
    ...     name = "largest"
    ...     saved = ("value",)
    ...     def reset(self):
    ...         self.value = -np.inf
    ...     def update(self, y_true, y_pred, weights=None):
    ...         self.value = max(self.value, float(y_pred.max()))
    ...     def result(self):
    ...         return self.value
    """

    name = "metric"
    """Its key in ``History`` and ``Results``."""

    higher_is_better: ClassVar[bool | None] = None
    """Whether a higher value is a better one; None if that is not known."""

    running: ClassVar[bool] = True
    """Whether ``result`` is cheap and meaningful for part of the rows: it is then shown while an epoch runs."""

    takes_weights: bool = True
    """Whether ``update`` accepts weights; only such a metric can be one of ``weighted_metrics``."""

    _takes: ClassVar[str | None] = None
    """The form of y_true that it takes, a key of ``_FORMS``, which is checked before training; None for any."""

    def reset(self) -> None:
        """Forget all rows."""
        raise to_define(self.reset)

    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        """Add m rows; a weight counts as a number of copies. A metric may keep the arrays."""
        raise to_define(self.update)

    def result(self) -> float:
        """The value over all rows added."""
        raise to_define(self.result)


class MeanMetric(Metric):
    """Base of the metrics that are a mean over rows: a subclass defines the value of each row."""

    saved: ClassVar[tuple[str, ...]] = ("_sum", "_weight")

    _sum: float
    _weight: float

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._sum, self._weight = 0.0, 0.0

    @quiet
    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        values = self.rows(y_true, y_pred)
        self._sum += float(values.sum(dtype=np.float64) if weights is None else np.vdot(values, weights))
        self._weight += len(values) if weights is None else float(weights.sum(dtype=np.float64))

    @quiet
    def result(self) -> float:
        return self._sum / self._weight if self._weight else float("nan")

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        """The value of each row, (m,)."""
        raise to_define(self.rows)


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
        hits: Array = y_pred.argmax(axis=1) == _labels(self, y_true, y_pred)
        return hits


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

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        self.k = whole_number("TopKAccuracy: k", k)

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        labels = _labels(self, y_true, y_pred)
        of_label = np.take_along_axis(y_pred, labels[:, None], axis=1)
        hits: Array = (y_pred > of_label).sum(axis=1) < self.k
        return hits


class BinaryAccuracy(MeanMetric, library=True):
    """The share of outputs on the right side of ``threshold``. y_true: 0 and 1; y_pred: probabilities (m, k).

    >>> accuracy = BinaryAccuracy()
    >>> accuracy.update(np.array([0, 1]), np.array([[0.2], [0.3]]))
    >>> accuracy.result()
    0.5
    """

    name = "accuracy"
    higher_is_better = True
    _takes = "binary"

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = real_number("BinaryAccuracy: threshold", threshold, at_least=0)

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        hits = (y_pred > self.threshold) == (_targets(y_true, y_pred) > 0.5)
        return np.asarray(hits.reshape(len(hits), -1).mean(axis=1))


class SignAccuracy(BinaryAccuracy, library=True):
    """The share of outputs with the right sign, of labels -1 and 1, or 0 and 1: the accuracy of a hinge loss."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__(threshold)


class MeanSquaredErrorMetric(MeanMetric, library=True):
    """The mean over rows and outputs of ``(y_pred - y_true)**2``."""

    name = "mse"
    higher_is_better = False
    _takes = "numbers"

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        errors = (y_pred - _targets(y_true, y_pred)).reshape(len(y_pred), -1).astype(np.float64)
        return np.asarray((errors * errors).mean(axis=1))


class MeanAbsoluteErrorMetric(MeanMetric, library=True):
    """The mean over rows and outputs of ``|y_pred - y_true|``."""

    name = "mae"
    higher_is_better = False
    _takes = "numbers"

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        errors = (y_pred - _targets(y_true, y_pred)).reshape(len(y_pred), -1).astype(np.float64)
        return np.asarray(abs(errors).mean(axis=1))


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

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._weight, self._mean, self._spread, self._error = 0.0, np.zeros(1), np.zeros(1), np.zeros(1)

    @quiet
    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        y = _targets(y_true, y_pred).reshape(len(y_pred), -1).astype(np.float64)
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


class _Counted(Metric):
    """Base of the metrics computed from true, predicted and actual positives, for each class or output."""

    higher_is_better = True
    _takes = "positives"
    saved = ("_true_positives", "_predicted", "_actual")

    _true_positives: Array
    """For each class or output, the number of true positives: rows that are predicted as positive, and are."""
    _predicted: Array
    """The number of predicted positives."""
    _actual: Array
    """The number of actual positives."""

    def __init__(self, average: str = "macro", threshold: float = 0.5) -> None:
        self.average = lookup("average", average, {"macro": "macro", "micro": "micro"})
        self.threshold = real_number(f"{type(self).__name__}: threshold", threshold, at_least=0)
        self.reset()

    def reset(self) -> None:
        self._true_positives, self._predicted, self._actual = np.zeros(1), np.zeros(1), np.zeros(1)

    @quiet
    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        k = y_pred.shape[1]
        if k > 1 and np.ndim(y_true) == 1:
            actual = np.asarray(y_true)[:, None] == np.arange(k)
            predicted = y_pred.argmax(axis=1)[:, None] == np.arange(k)
        else:
            actual, predicted = _targets(y_true, y_pred) > 0.5, y_pred > self.threshold
        w = np.ones(len(y_pred)) if weights is None else weights.astype(np.float64)
        self._true_positives = self._true_positives + w @ (actual & predicted)
        self._predicted = self._predicted + w @ predicted
        self._actual = self._actual + w @ actual

    @quiet
    def result(self) -> float:
        counts = self._true_positives, self._predicted, self._actual
        if self.average == "micro":
            counts = tuple(np.atleast_1d(c.sum()) for c in counts)  # type: ignore[assignment]
        part, whole = self.ratio(*counts)
        return float((part / np.where(whole, whole, 1)).mean())

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        """Numerator and denominator; the metric is 0 where the denominator is 0."""
        raise to_define(self.ratio)


class Precision(_Counted, library=True):
    """The share of predicted positives that are true positives.

    Predicted positive is an output above ``threshold``; with integer class labels, the class of the largest output.
    average: over classes or outputs, "macro" (the mean of their values) or "micro" (from the sums of their counts).

    >>> precision = Precision()
    >>> precision.update(np.array([0, 1, 1]), np.array([[0.9], [0.8], [0.1]]))
    >>> precision.result()
    0.5
    """

    name = "precision"

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return true_positives, predicted


class Recall(_Counted, library=True):
    """The share of actual positives that are predicted as positive. The arguments are those of Precision.

    >>> recall = Recall()
    >>> recall.update(np.array([0, 1, 1]), np.array([[0.2], [0.8], [0.1]]))
    >>> recall.result()
    0.5
    """

    name = "recall"

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return true_positives, actual


class F1(_Counted, library=True):
    """The harmonic mean of precision and recall. The arguments are those of Precision.

    >>> f1 = F1()
    >>> f1.update(np.array([0, 1, 1]), np.array([[0.9], [0.8], [0.1]]))
    >>> f1.result()
    0.5
    """

    name = "f1"

    def ratio(self, true_positives: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        return 2 * true_positives, predicted + actual


class _Collecting(Metric):
    """Base of the metrics that need all rows at once: y_true, y_pred and the weights are kept."""

    running = False
    saved = ("collected",)

    def __init__(self) -> None:
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
    """The area under the ROC curve: how often a random positive is ranked above a random negative, ties counting half.

    With several outputs, or classes (one against the rest), the mean over them. NaN if a class has no positives or no
    negatives. It keeps y_true and y_pred of all rows of an epoch.

    >>> auc = AUC()
    >>> auc.update(np.array([0, 1, 0, 1]), np.array([[0.1], [0.4], [0.6], [0.9]]))
    >>> auc.result()
    0.75
    """

    name = "auc"
    higher_is_better = True
    _takes = "positives"

    @quiet
    def result(self) -> float:
        y_true, y_pred, weights = self._all()
        if y_pred.shape[1] > 1 and y_true.ndim == 1:
            y_true = y_true[:, None] == np.arange(y_pred.shape[1])
        y_true = _targets(y_true, y_pred) > 0.5
        w = np.ones(len(y_pred)) if weights is None else weights.astype(np.float64)
        return float(np.mean([_auc(y, p, w) for y, p in zip(y_true.T, y_pred.T, strict=True)]))


def _auc(y: Array, p: Array, w: Array) -> float:
    _, group = np.unique(p, return_inverse=True)
    positives, negatives = np.bincount(group, w * y), np.bincount(group, w * ~y)
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")


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

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
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


def _labels(metric: Metric, y_true: Any, y_pred: Array) -> Array:
    """Integer labels (m,), from such labels or from one-hot rows (m, k)."""
    if y_pred.ndim != 2 or y_pred.shape[1] < 2:
        raise ValueError(f"{metric.name}: expected one output for each class, at least two, got shape {y_pred.shape}.")
    y_true = np.asarray(y_true)
    labels: Array = y_true.argmax(axis=1) if y_true.ndim == 2 and y_true.shape[1] > 1 else y_true.reshape(-1)
    return labels


def _targets(y_true: Any, y_pred: Array) -> Array:
    """``y_true`` in the shape of ``y_pred``: (m,) is taken for (m, 1), and nothing is broadcast."""
    return np.asarray(y_true).reshape(y_pred.shape)


# ---------------------------------------------------------------------- which y_true a metric gets


def as_column(y_true: Any, output_shape: Shape) -> Any:
    """``y_true`` as metrics get it: (m, 1), not (m,), for one output, where a difference of the two would be (m, m)."""
    return y_true[:, None] if output_shape == (1,) and np.ndim(y_true) == 1 else y_true


_FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "classes": ("class labels (n,) or one-hot rows (n, k), for k > 1 outputs", ("labels", "rows")),
    "positives": ("class labels (n,) for k > 1 outputs, or 0 and 1 for each output", ("labels", "rows", "column")),
    "binary": ("0 and 1 for each output", ("rows", "column", "others")),
    "numbers": ("a number for each output", ("rows", "column", "others")),
}
"""What a metric may declare that it takes: in words, and the forms that ``_form`` finds."""

_CHECK_ROWS = 65_536  # at a time


def check_targets(metrics: Sequence[Metric], y: Any, labels: Callable[[Any], Any], output_shape: Shape) -> None:
    """Raise ValueError if a metric of the library cannot take ``labels(y)``, the y_true of these outputs."""
    declared = [metric for metric in metrics if metric._takes is not None]
    if not declared:
        return
    some = as_column(np.asarray(labels(y[:1])), output_shape)
    form, shape = _form(some, output_shape), ", ".join(map(str, ("n", *some.shape[1:])))
    for metric in declared:
        expected, forms = _FORMS[metric._takes or ""]
        if form not in forms:
            found = "class labels (n,)" if form == "labels" else f"y of shape ({shape}) and dtype {some.dtype}"
            outputs = ", ".join(map(str, ("n", *output_shape)))
            raise ValueError(
                f"the metric {metric.name} takes {expected}; here are {found}, and outputs of shape ({outputs})."
            )
    strict = next((metric for metric in declared if metric._takes != "numbers"), None)
    for start in range(0, len(y), _CHECK_ROWS) if strict else ():
        block = np.asarray(labels(y[start : start + _CHECK_ROWS]))
        if form == "labels":
            valid = (block >= 0) & (block < output_shape[0]) & (block == np.floor(block))
        else:
            valid = ((block >= 0) & (block <= 1)) | (block == -1)  # -1 and 1 serve as well as 0 and 1
        if strict and not valid.all():
            index = tuple(int(i) for i in np.argwhere(~valid)[0])
            raise ValueError(
                f"the metric {strict.name} takes {_FORMS[strict._takes or ''][0]}; y is {block[index]} in row "
                f"{start + index[0]}."
            )


def _form(y_true: Array, output_shape: Shape) -> str:
    """How y_true and the outputs go together: "labels", or, in the same shape, "column", "rows" or "others"."""
    if y_true.dtype.kind not in "biuf":
        return "not numbers"
    if y_true.ndim == 1 and len(output_shape) == 1:
        return "labels"
    if y_true.shape[1:] != output_shape:
        return "another shape"
    return "others" if len(output_shape) > 1 else "column" if output_shape == (1,) else "rows"


# ---------------------------------------------------------------------- names


METRICS: dict[str, type[Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": Accuracy,
    "top_k_accuracy": TopKAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "auc": AUC,
    "mse": MeanSquaredErrorMetric,
    "mean_squared_error": MeanSquaredErrorMetric,
    "mae": MeanAbsoluteErrorMetric,
    "mean_absolute_error": MeanAbsoluteErrorMetric,
    "r2": R2,
}


def get_metric(metric: str | Metric | Callable[..., Any], accuracy: type[Metric] | None = Accuracy) -> Metric:
    """A new metric of that name, which it keeps; a Metric as it is; a function (y_true, y_pred) as a metric.

    accuracy: what the names "accuracy" and "acc" mean under the model's loss; None if they mean nothing.

    >>> get_metric("acc"), get_metric("acc").name
    (Accuracy(), 'acc')
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric.lower() in ("accuracy", "acc") and accuracy is None:
            raise ValueError("metrics: there is no accuracy under this loss; use 'mae', 'mse' or 'r2'.")
        known = METRICS if accuracy is None else {**METRICS, "accuracy": accuracy, "acc": accuracy}
        made = lookup("metric", metric.lower(), known)()
        made.name = metric
        return made
    if callable(metric) and not isinstance(metric, type):
        return FunctionMetric(metric)
    raise TypeError(f"metrics: expected names such as 'accuracy', metrics or functions, got {metric!r}.")


def get_metrics(
    metrics: Any, weighted_metrics: Any, accuracy: type[Metric] | None
) -> tuple[list[Metric], list[Metric]]:
    """The metrics of ``compile``, all with different names. Raises TypeError and ValueError.

    As in Keras, a name that is in both lists becomes ``weighted_...`` in the second; a Metric object keeps its own.
    """
    for what, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        if isinstance(given, str | Metric):
            raise TypeError(f"{what}: expected a list, got {given!r}; use {what}=[{given!r}].")
    metrics, weighted_metrics = items("metrics", metrics), items("weighted_metrics", weighted_metrics)
    plain = [get_metric(metric, accuracy) for metric in metrics]
    weighted = [get_metric(metric, accuracy) for metric in weighted_metrics]
    for given, metric in zip(weighted_metrics, weighted, strict=True):
        if metric is not given and metric.name in [other.name for other in plain]:
            metric.name = f"weighted_{metric.name}"
        _check_takes_weights(metric)
    names = [metric.name for metric in (*plain, *weighted)]
    if len({"loss", *names}) <= len(names):
        raise ValueError(
            f"metrics: expected names that differ from each other and from 'loss', got {names}. Set the name of a "
            f"Metric object: metric.name = ..."
        )
    return plain, weighted


def _check_takes_weights(metric: Metric) -> None:
    try:
        inspect.signature(metric.update).bind("y_true", "y_pred", "weights")
        takes = metric.takes_weights
    except TypeError:
        takes = False
    if not takes:
        what = "sample_weight" if isinstance(metric, FunctionMetric) else "weights in its update"
        raise ValueError(
            f"weighted_metrics: the metric {metric.name} takes no {what}: add that argument, or list it in metrics=."
        )
