"""Losses for numbers: each output is compared with a target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidense.core.arguments import real_number
from minidense.core.types import Array, Shape
from minidense.layers import Layer
from minidense.losses.base import EPSILON, TargetLoss, check_values, last_axis, refuse_linear


class MeanSquaredError(TargetLoss, library=True):
    """``L_i = mean_j (s_ij - t_ij)**2``, ``dscore = 2 (s - t) / k``. y: (n, k), or (n,) for one output.

    >>> MeanSquaredError().forward(np.array([[1.0], [2.0]]), [1.0, 4.0])
    2.0
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        difference: Array = scores - targets
        difference *= difference
        return difference

    def derivatives(self, scores: Array, targets: Array) -> Array:
        difference: Array = scores - targets
        difference *= 2
        return difference


class MeanAbsoluteError(TargetLoss, library=True):
    """``L_i = mean_j |s_ij - t_ij|``; its derivative at 0 is taken as 0. y: (n, k), or (n,) for one output.

    >>> MeanAbsoluteError().forward(np.array([[1.0], [2.0]]), [1.0, 4.0])
    1.0
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        return np.asarray(abs(scores - targets))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.sign(scores - targets))


class Huber(TargetLoss, library=True):
    """With ``d = |s - t|``: ``d**2 / 2`` up to delta, ``delta (d - delta / 2)`` beyond (Huber, 1964).

    >>> Huber(delta=1.0).forward(np.array([[0.0], [0.0]]), [1.0, 3.0])
    1.5
    """

    def __init__(self, delta: float = 1.0, reduction: str = "mean", name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.delta = real_number("Huber: delta", delta, above=0)

    def elements(self, scores: Array, targets: Array) -> Array:
        d = abs(scores - targets)
        near = np.minimum(d, self.delta)
        losses: Array = near * (d - 0.5 * near)
        return losses

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.clip(scores - targets, -self.delta, self.delta))


class MeanAbsolutePercentageError(TargetLoss, library=True):
    """``L_i = mean_j 100 |s_ij - t_ij| / |t_ij|``, with ``|t|`` taken as at least 1e-7, as in Keras.

    >>> MeanAbsolutePercentageError().forward(np.array([[1.0], [2.0]]), [2.0, 2.0])
    25.0
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        return np.asarray(100 * abs((scores - targets) / np.maximum(abs(targets), EPSILON)))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(100 * np.sign(scores - targets) / np.maximum(abs(targets), EPSILON))


class MeanSquaredLogarithmicError(TargetLoss, library=True):
    """``L_i = mean_j (log(1 + s_ij) - log(1 + t_ij))**2``. y: at least 0; outputs below 1e-7 are taken as 1e-7.

    >>> round(MeanSquaredLogarithmicError().forward(np.array([[0.0], [1.0]]), [0.0, 0.0]), 4)
    0.2402
    """

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        return _at_least_0(super().check_targets(y, output_shape))

    def elements(self, scores: Array, targets: Array) -> Array:
        difference: Array = np.log1p(np.maximum(scores, EPSILON)) - np.log1p(np.maximum(targets, EPSILON))
        return difference * difference

    def derivatives(self, scores: Array, targets: Array) -> Array:
        s = np.maximum(scores, EPSILON)
        difference = np.log1p(s) - np.log1p(np.maximum(targets, EPSILON))
        return np.asarray(np.where(scores > EPSILON, 2 * difference / (1 + s), 0))


class LogCosh(TargetLoss, library=True):
    """``L_i = mean_j log(cosh(s_ij - t_ij))``, ``dscore = tanh(s - t)``: squared near 0, absolute far from it.

    >>> round(LogCosh().forward(np.array([[0.0], [1.0]]), [0.0, 0.0]), 4)
    0.2169
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        d = abs(scores - targets)
        near = 0.5 * np.log1p(np.sinh(np.minimum(d, 10)) ** 2)  # exact where d is small
        return np.asarray(np.where(d < 10, near, d - math.log(2) + np.log1p(np.exp(-2 * d))))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.tanh(scores - targets))


class Poisson(TargetLoss, library=True):
    """``L_i = mean_j (s_ij - t_ij log(s_ij + 1e-7))``: of counts t for rates s, but for a term without s, as in Keras.

    y: at least 0. The model's outputs must be positive: it ends in Softplus or the like; one below 0 counts as 0.

    >>> round(Poisson().forward(np.array([[1.0], [2.0]]), [0.0, 3.0]), 4)
    0.4603
    """

    def check_last_layer(self, layer: Layer) -> None:
        refuse_linear(self, layer, "rates, which are at least 0", "Softplus()")

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        return _at_least_0(super().check_targets(y, output_shape))

    def elements(self, scores: Array, targets: Array) -> Array:
        rates = np.maximum(scores, 0)
        return np.asarray(rates - targets * np.log(rates + EPSILON))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.where(scores >= 0, 1 - targets / (np.maximum(scores, 0) + EPSILON), 0))


class Quantile(TargetLoss, library=True):
    """``L_i = mean_j max(q (t_ij - s_ij), (q - 1) (t_ij - s_ij))``, least where s is the q-th quantile of t.

    Also called the pinball loss (Koenker and Bassett, 1978). q: above 0 and below 1; 0.5 is half the absolute error.

    >>> Quantile(0.9).forward(np.array([[0.0], [2.0]]), [1.0, 1.0])
    0.5
    """

    def __init__(self, q: float = 0.5, reduction: str = "mean", name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.q = real_number("Quantile: q", q, above=0, below=1)

    def elements(self, scores: Array, targets: Array) -> Array:
        difference = targets - scores
        return np.asarray(np.maximum(self.q * difference, (self.q - 1) * difference))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        slopes = np.where(scores < targets, self.q, 1 - self.q).astype(scores.dtype)
        return np.asarray(np.sign(scores - targets) * slopes)


class CosineSimilarity(TargetLoss, library=True):
    """``L_i = -cos(s_i, t_i)``, from -1 for the same direction to 1 for opposite ones; 0 where t_i is 0.

    Vectors lie along the last axis; as in Keras, a length below 1e-7 is taken as 1e-7.

    >>> round(CosineSimilarity().forward(np.array([[1.0, 1.0], [0.0, 2.0]]), [[1.0, 1.0], [3.0, 0.0]]), 4)
    -0.5
    """

    of_vectors = True

    def __init__(self, axis: int = -1, reduction: str = "mean", name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.axis = last_axis("CosineSimilarity", axis)

    def elements(self, scores: Array, targets: Array) -> Array:
        return np.asarray(-(_directions(scores)[0] * _directions(targets)[0]).sum(axis=-1))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        (u, norm), (v, _) = _directions(scores), _directions(targets)
        along = np.where(norm > EPSILON, (u * v).sum(axis=-1, keepdims=True), 0)
        return np.asarray((along * u - v) / norm)


def _directions(x: Array) -> tuple[Array, Array]:
    """Each vector divided by its length, and that length, at least 1e-7, (..., 1); without overflow of squares."""
    scale = np.maximum(abs(x).max(axis=-1, keepdims=True), EPSILON)
    norm = np.maximum(scale * np.sqrt(((x / scale) ** 2).sum(axis=-1, keepdims=True)), EPSILON)
    return x / norm, norm


def _at_least_0(targets: Array) -> Array:
    check_values(targets, targets >= 0, "numbers of at least 0")
    return targets
