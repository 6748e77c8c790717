"""Losses: from scores and labels to one number, and to its gradient dscore, where the backward pass begins."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.losses.base import FunctionLoss, Loss, RowLoss, TargetLoss, by_rows, gradient_of, rows_of
from minidense.losses.classes import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    ClassLoss,
    Hinge,
    KLDivergence,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    threshold_of,
)
from minidense.losses.members import Members
from minidense.losses.names import FUNCTIONS, LOSSES, OF_PREDICTIONS, get_loss
from minidense.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    Quantile,
)

get = get_loss

__all__ = [
    "FUNCTIONS",
    "LOSSES",
    "OF_PREDICTIONS",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "ClassLoss",
    "CosineSimilarity",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Members",
    "Poisson",
    "Quantile",
    "RowLoss",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "TargetLoss",
    "by_rows",
    "get",
    "get_loss",
    "gradient_of",
    "rows_of",
    "threshold_of",
]

if not TYPE_CHECKING:
    __getattr__ = module_attribute("losses", FUNCTIONS.__getitem__)
