"""The names of the metrics, a line each, and the metrics that ``compile`` makes of what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from minidense.core.arguments import items, lookup, shown
from minidense.core.configurable import Configurable
from minidense.core.named import NamedFunction, name_of
from minidense.losses import Loss
from minidense.metrics.base import Metric
from minidense.metrics.collected import AUC, FunctionMetric
from minidense.metrics.counts import (
    F1,
    BalancedAccuracy,
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from minidense.metrics.means import (
    R2,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    R2Score,
    SignAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKAccuracy,
    TopKCategoricalAccuracy,
)
from minidense.metrics.of_losses import OF_LOSSES, RootMeanSquaredError

METRICS: dict[str, Callable[..., Metric]] = {
    **OF_LOSSES,
    "accuracy": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sign_accuracy": SignAccuracy,
    "top_k_accuracy": TopKAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "balanced_accuracy": BalancedAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "true_positives": TruePositives,
    "false_positives": FalsePositives,
    "true_negatives": TrueNegatives,
    "false_negatives": FalseNegatives,
    "auc": AUC,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
    "r2": R2,
    "r2_score": R2Score,
}

_BY_CLASS = {make.__name__.removesuffix("Metric").lower(): make for make in METRICS.values()}
"""By Keras' names of classes, in lower case."""


def get_metric(metric: str | NamedFunction | Metric | Callable[..., Any], accuracy: str | None = "accuracy") -> Metric:
    """A new metric of that name, which it keeps; a Metric as it is; a function (y_true, y_pred) as a metric.

    accuracy: the metric that "accuracy" and "acc" mean under the model's loss; None if they mean nothing.

    >>> get_metric("acc"), get_metric("acc").name
    (Accuracy(name='acc'), 'acc')
    """
    metric = name_of(metric)
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        key: str | None = metric.lower()
        if key in ("accuracy", "acc") and (key := accuracy) is None:
            raise ValueError("metrics: there is no accuracy under this loss; use 'mae', 'mse' or 'r2'.")
        make = _BY_CLASS.get(key or "") or lookup("metric", key or "", METRICS)
        made = make()
        return made if metric == made.name else make(name=metric)
    if isinstance(metric, type) or any(metric is make for make in METRICS.values()):
        raise TypeError(f"metrics: got {shown(metric)}; make an object of it: {getattr(metric, '__name__', '')}().")
    if callable(metric) and not isinstance(metric, Configurable):
        return FunctionMetric(metric)
    hint = f" Use md.metrics.LossMetric({metric!r})." if isinstance(metric, Loss) else ""
    raise TypeError(f"metrics: expected names such as 'accuracy', metrics or functions, got {metric!r}.{hint}")


def get_metrics(metrics: Any, weighted_metrics: Any, loss: Loss) -> tuple[list[Metric], list[Metric]]:
    """The metrics of ``compile`` under that loss, all with different names. Raises TypeError and ValueError.

    As in Keras, a name that is in both lists becomes ``weighted_...`` in the second; a Metric object keeps its own.
    """
    for what, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        if isinstance(given, str | Metric):
            raise TypeError(f"{what}: expected a list, got {given!r}; use {what}=[{given!r}].")
    metrics, weighted_metrics = items("metrics", metrics), items("weighted_metrics", weighted_metrics)
    plain = [get_metric(metric, loss.accuracy) for metric in metrics]
    weighted = [get_metric(metric, loss.accuracy) for metric in weighted_metrics]
    for given, metric in zip(weighted_metrics, weighted, strict=True):
        if metric is not given and metric.name in [other.name for other in plain]:
            metric.name = f"weighted_{metric.name}"
        _check_takes_weights(metric)
    for metric in (*plain, *weighted):
        metric.check_loss(loss)
        if metric.several:
            raise ValueError(
                f"metrics: {metric!r} has several values, which History has no place for. List one metric for each, "
                f"with a name=, or call it by hand."
            )
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
