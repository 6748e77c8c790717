"""The names of the metrics, a line each, and the metrics that ``compile`` makes of what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from minidense.core.arguments import items, lookup
from minidense.core.configurable import Configurable
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
    BinaryCrossentropyMetric,
    CategoricalAccuracy,
    CategoricalCrossentropyMetric,
    CosineSimilarityMetric,
    MeanAbsoluteErrorMetric,
    MeanAbsolutePercentageErrorMetric,
    MeanSquaredErrorMetric,
    MeanSquaredLogarithmicErrorMetric,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropyMetric,
    SparseTopKCategoricalAccuracy,
    TopKAccuracy,
    TopKCategoricalAccuracy,
)

METRICS: dict[str, type[Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
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
    "binary_crossentropy": BinaryCrossentropyMetric,
    "bce": BinaryCrossentropyMetric,
    "categorical_crossentropy": CategoricalCrossentropyMetric,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropyMetric,
    "mean_squared_error": MeanSquaredErrorMetric,
    "mse": MeanSquaredErrorMetric,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteErrorMetric,
    "mae": MeanAbsoluteErrorMetric,
    "mean_absolute_percentage_error": MeanAbsolutePercentageErrorMetric,
    "mape": MeanAbsolutePercentageErrorMetric,
    "mean_squared_logarithmic_error": MeanSquaredLogarithmicErrorMetric,
    "msle": MeanSquaredLogarithmicErrorMetric,
    "cosine_similarity": CosineSimilarityMetric,
    "r2": R2,
    "r2_score": R2Score,
}

_BY_CLASS: dict[str, type[Metric]] = {kind.__name__.removesuffix("Metric").lower(): kind for kind in METRICS.values()}
"""By Keras' names of classes, in lower case."""


def get_metric(metric: str | Metric | Callable[..., Any], accuracy: type[Metric] | None = Accuracy) -> Metric:
    """A new metric of that name, which it keeps; a Metric as it is; a function (y_true, y_pred) as a metric.

    accuracy: what the names "accuracy" and "acc" mean under the model's loss; None if they mean nothing.

    >>> get_metric("acc"), get_metric("acc").name
    (Accuracy(name='acc'), 'acc')
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric.lower() in ("accuracy", "acc") and accuracy is None:
            raise ValueError("metrics: there is no accuracy under this loss; use 'mae', 'mse' or 'r2'.")
        known = METRICS if accuracy is None else {**METRICS, "accuracy": accuracy, "acc": accuracy}
        kind = _BY_CLASS.get(metric.lower()) or lookup("metric", metric.lower(), known)
        return kind() if metric == kind.name else kind(name=metric)
    if callable(metric) and not isinstance(metric, type | Configurable):
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
    for metric in (*plain, *weighted):
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
