"""Metrics, exact over all rows, whatever the batch size: their common base, and one file for each family."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.losses import FUNCTIONS
from minidense.metrics.base import MeanMetric, Metric
from minidense.metrics.collected import AUC, FunctionMetric
from minidense.metrics.confusion import ConfusionMatrix, confusion_matrix
from minidense.metrics.counts import (
    F1,
    BalancedAccuracy,
    CountedMetric,
    F1Score,
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from minidense.metrics.forms import as_column, check_targets
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
from minidense.metrics.names import METRICS, get_metric, get_metrics
from minidense.metrics.of_losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    LossMetric,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)

get = get_metric

__all__ = [
    "AUC",
    "F1",
    "METRICS",
    "R2",
    "Accuracy",
    "BalancedAccuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConfusionMatrix",
    "CosineSimilarity",
    "CountedMetric",
    "F1Score",
    "FalseNegatives",
    "FalsePositives",
    "FunctionMetric",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "LossMetric",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetric",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "Poisson",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SignAccuracy",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "TopKAccuracy",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "as_column",
    "check_targets",
    "confusion_matrix",
    "get",
    "get_metric",
    "get_metrics",
]

if not TYPE_CHECKING:
    __getattr__ = module_attribute("metrics", FUNCTIONS.__getitem__)
