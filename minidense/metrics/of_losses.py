"""The losses as metrics: their mean over rows, exact for any batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidense import losses
from minidense.core.arguments import shown
from minidense.core.types import Array, Shape
from minidense.layers import Sigmoid
from minidense.losses import OF_PREDICTIONS, ClassLoss, Loss, RowLoss, SigmoidCrossEntropy, by_rows, rows_of
from minidense.metrics.base import MeanMetric


class LossMetric(MeanMetric, library=True):
    """The mean of a loss over the rows, whatever its reduction; with weights, as of a weighted metric, their mean.

    loss: a RowLoss; one of classes has to take probabilities, as metrics get them: those with Keras' names do, but for
    ``from_logits=True``, which is for use by hand. name: by default, the loss's.

    >>> import minidense as md
    >>> LossMetric(md.losses.Huber(2.0))([0.0, 0.0], [1.0, 3.0])
    2.25
    """

    higher_is_better = False

    def __init__(self, loss: RowLoss, name: str | None = None) -> None:
        if not isinstance(loss, Loss) or by_rows(loss) is None:
            raise TypeError(f"LossMetric: loss: expected a RowLoss such as md.losses.Huber(), got {shown(loss)}.")
        if loss.includes is not None and not hasattr(loss, "from_logits"):
            raise ValueError(
                f"LossMetric: {loss!r} takes scores, and metrics get probabilities: use the loss with Keras' name, "
                f"such as md.losses.{'Binary' if loss.includes is Sigmoid else 'Categorical'}Crossentropy()."
            )
        super().__init__(loss.name if name is None else name)
        self.loss = loss
        binary = isinstance(loss, SigmoidCrossEntropy | losses.Hinge)
        self._takes = "classes" if isinstance(loss, ClassLoss) else "binary" if binary else "numbers"

    def check_values(self, y_true: Array, output_shape: Shape) -> None:
        self.loss.check_targets(y_true, output_shape)

    def check_loss(self, loss: Loss) -> None:
        if loss._activation is not None and getattr(self.loss, "from_logits", False):
            raise ValueError(
                f"metrics: {self.name} says that the outputs are scores, but under {loss!r} metrics get probabilities, "
                f"whether or not the model ends in {loss._activation.__name__}: leave out from_logits."
            )

    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        if (counted := self.loss.counted(np.asarray(y_true))) is not None:
            y_true, y_pred = np.asarray(y_true)[counted], y_pred[counted]
            weights = None if weights is None else weights[counted]
        super().update(y_true, y_pred, weights)

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        scores = self.loss._as_scores(y_pred.astype(np.float64))
        targets = self.loss.encode(np.asarray(y_true), np.empty_like(scores))
        return rows_of(self.loss, scores, targets)


class RootMeanSquaredError(LossMetric, library=True):
    """The square root of the mean over rows and outputs of ``(y_pred - y_true)**2``.

    >>> RootMeanSquaredError()([0.0, 0.0], [1.0, 7.0])
    5.0
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(losses.MeanSquaredError(), "root_mean_squared_error" if name is None else name)

    def result(self) -> float:
        return math.sqrt(super().result())


class CosineSimilarityMetric(LossMetric, library=True):
    """The mean over rows of the cosine of the angle between y_true and y_pred, both (m, k): minus that loss."""

    higher_is_better = True

    def __init__(self, name: str | None = None, axis: int = -1) -> None:
        super().__init__(losses.CosineSimilarity(axis), name)
        self.axis = axis

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        return -super().rows(y_true, y_pred)


_MADE: dict[type[Loss], Callable[..., LossMetric]] = {}
"""For each class of losses, what makes its metric."""


def _of(kind: type[RowLoss], default: str | None = None, called: str = "") -> Callable[..., LossMetric]:
    def make(name: str | None = default, **arguments: Any) -> LossMetric:
        return LossMetric(kind(**arguments), name)

    make.__name__ = make.__qualname__ = called or kind.__name__
    make.__doc__ = f"The metric ``LossMetric({kind.__name__}(**arguments), name)``, by Keras' name."
    _MADE[kind] = make
    return make


MeanSquaredError = _of(losses.MeanSquaredError)
MeanAbsoluteError = _of(losses.MeanAbsoluteError)
MeanAbsolutePercentageError = _of(losses.MeanAbsolutePercentageError)
MeanSquaredLogarithmicError = _of(losses.MeanSquaredLogarithmicError)
LogCoshError = _of(losses.LogCosh, "logcosh", "LogCoshError")
Poisson = _of(losses.Poisson)
KLDivergence = _of(losses.KLDivergence)
Hinge = _of(losses.Hinge)
SquaredHinge = _of(losses.SquaredHinge)
CategoricalHinge = _of(losses.CategoricalHinge)
BinaryCrossentropy = _of(losses.BinaryCrossentropy)
CategoricalCrossentropy = _of(losses.CategoricalCrossentropy)
SparseCategoricalCrossentropy = _of(losses.SparseCategoricalCrossentropy)
CosineSimilarity = CosineSimilarityMetric

_MADE[losses.CosineSimilarity] = CosineSimilarity

OF_LOSSES = {name: _MADE.get(kind) or _of(kind) for name, kind in OF_PREDICTIONS.items()}
"""What makes the metric, by the names of the losses."""
