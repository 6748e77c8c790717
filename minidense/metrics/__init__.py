"""Metrics, exact over all rows, whatever the batch size: their common base, and one file for each family."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
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
from minidense.metrics.forms import as_column, as_outputs, check_targets
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
    SignAccuracy,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropyMetric,
    SparseTopKCategoricalAccuracy,
    TopKAccuracy,
    TopKCategoricalAccuracy,
)
from minidense.metrics.names import METRICS, get_metric, get_metrics

# Keras has losses and metrics of the same name; a file knows a class by its name, so that here they differ.
BinaryCrossentropy = BinaryCrossentropyMetric
CategoricalCrossentropy = CategoricalCrossentropyMetric
CosineSimilarity = CosineSimilarityMetric
MeanAbsoluteError = MeanAbsoluteErrorMetric
MeanAbsolutePercentageError = MeanAbsolutePercentageErrorMetric
MeanSquaredError = MeanSquaredErrorMetric
MeanSquaredLogarithmicError = MeanSquaredLogarithmicErrorMetric
SparseCategoricalCrossentropy = SparseCategoricalCrossentropyMetric

__all__ = [
    "AUC",
    "F1",
    "METRICS",
    "R2",
    "Accuracy",
    "BalancedAccuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryCrossentropyMetric",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalCrossentropyMetric",
    "ConfusionMatrix",
    "CosineSimilarity",
    "CosineSimilarityMetric",
    "CountedMetric",
    "F1Score",
    "FalseNegatives",
    "FalsePositives",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanAbsoluteErrorMetric",
    "MeanAbsolutePercentageError",
    "MeanAbsolutePercentageErrorMetric",
    "MeanMetric",
    "MeanSquaredError",
    "MeanSquaredErrorMetric",
    "MeanSquaredLogarithmicError",
    "MeanSquaredLogarithmicErrorMetric",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SignAccuracy",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseCategoricalCrossentropyMetric",
    "SparseTopKCategoricalAccuracy",
    "TopKAccuracy",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "as_column",
    "as_outputs",
    "check_targets",
    "confusion_matrix",
    "get_metric",
    "get_metrics",
]

if not TYPE_CHECKING:
    __getattr__ = module_attribute("metrics")
