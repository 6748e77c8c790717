"""Normalization: each feature, or each sample, gets mean 0 and variance 1, and is then scaled and shifted."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidense.core.arguments import real_number
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer
from minidense.numerics.functional import column_sums


class BatchNormalization(Layer, library=True):
    """``y = gamma * xhat + beta``, ``xhat = (x - mean) / sqrt(variance + epsilon)``, feature by feature.

    In training, mean and variance are those of the batch (Ioffe and Szegedy, 2015); at inference they are moving
    averages, which each training step updates: ``moving := momentum * moving + (1 - momentum) * batch``. These are
    buffers, copied and saved with the layer. With ``trainable = False``, training uses the moving averages too.

    With sample or class weights, mean and variance are weighted: a weight of 2 is two copies of the row, and a row of
    weight 0 has no influence. (Keras ignores the weights here.)

    momentum: in [0, 1). epsilon: above 0. x: (n, ..., d), normalized for each of the d.

    >>> import minidense as md
    >>> layer = BatchNormalization(epsilon=1e-9)
    >>> model = md.Sequential([layer]).build(1)
    >>> layer.forward(np.array([[0.0], [2.0]]), training=True)
    array([[-1.],
           [ 1.]])
    """

    caches = ("xhat", "scale", "of_batch", "shares")

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3) -> None:
        self.momentum = real_number("BatchNormalization: momentum", momentum, at_least=0, below=1)
        self.epsilon = real_number("BatchNormalization: epsilon", epsilon, above=0)

    def build(self, input_shape: Shape) -> Shape:
        features = input_shape[-1]
        self.param("gamma", features, "ones")
        self.param("beta", features)
        self.buffer("moving_mean", features, "zeros")
        self.buffer("moving_variance", features, "ones")
        return input_shape

    def as_numpy(self) -> str:
        return "x = gamma * ((x - moving_mean) * (1 / np.sqrt(moving_variance + epsilon))) + beta"

    def forward(self, x: Array, training: bool, sample_weight: Array | None = None) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        self.of_batch = training and self.trainable and (sample_weight is None or bool(sample_weight.any()))
        mean, variance = self.moving_mean, self.moving_variance
        if self.of_batch:
            self.shares = None if sample_weight is None else _shares(sample_weight, len(rows), x.dtype)
            mean = self._mean(rows)
            variance = self._mean((rows - mean) ** 2)
            self.moving_mean *= self.momentum
            self.moving_mean += (1 - self.momentum) * mean
            self.moving_variance *= self.momentum
            self.moving_variance += (1 - self.momentum) * variance
        self.scale = 1 / np.sqrt(variance + self.epsilon)
        self.xhat = (rows - mean) * self.scale
        y: Array = self.gamma * self.xhat + self.beta
        return y.reshape(x.shape)

    def _mean(self, rows: Array) -> Array:
        mean: Array = column_sums(rows) / len(rows) if self.shares is None else self.shares @ rows
        return mean

    def backward(self, dy: Array) -> Array:
        rows = dy.reshape(-1, dy.shape[-1])
        column_sums(rows * self.xhat, out=self.dgamma)
        column_sums(rows, out=self.dbeta)
        dx: Array = rows * (self.gamma * self.scale)
        if self.of_batch:  # mean and variance depend on every row, by its share of the weights
            scale = self.gamma * self.scale
            share = scale / len(rows) if self.shares is None else self.shares[:, None] * scale
            dx -= share * (self.dbeta + self.xhat * self.dgamma)
        return dx.reshape(dy.shape)

    shares: Array | None


def _shares(weights: Array, rows: int, dtype: np.dtype[Any]) -> Array:
    """Each row's share of the weights, (rows,); each of the n weights is that of several rows in turn."""
    shares = np.repeat(weights, rows // len(weights))
    return np.asarray(shares / shares.sum(), dtype)


class LayerNormalization(Layer, library=True):
    """``y = gamma * xhat + beta``, ``xhat = (x - mean) / sqrt(variance + epsilon)``, sample by sample.

    Mean and variance are those of each sample's d features (Ba et al., 2016), in training and at inference alike.

    epsilon: above 0. x: (n, ..., d), normalized over the d.

    >>> import minidense as md
    >>> model = md.Sequential([LayerNormalization(epsilon=1e-9)]).build(2)
    >>> model.predict([[1.0, 3.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    rowwise = True
    caches = ("xhat", "scale")

    def __init__(self, epsilon: float = 1e-3) -> None:
        self.epsilon = real_number("LayerNormalization: epsilon", epsilon, above=0)

    def build(self, input_shape: Shape) -> Shape:
        self.param("gamma", input_shape[-1], "ones")
        self.param("beta", input_shape[-1])
        return input_shape

    def as_numpy(self) -> str:
        return """\
x = x - x.mean(axis=-1, keepdims=True)
x = gamma * (x * (1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon))) + beta"""

    def forward(self, x: Array) -> Array:
        xhat = x - x.mean(axis=-1, keepdims=True)
        self.scale = 1 / np.sqrt((xhat * xhat).mean(axis=-1, keepdims=True) + self.epsilon)
        xhat *= self.scale
        self.xhat = xhat
        y: Array = self.gamma * xhat + self.beta
        return y

    def backward(self, dy: Array) -> Array:
        features = dy.shape[-1]
        column_sums((dy * self.xhat).reshape(-1, features), out=self.dgamma)
        column_sums(dy.reshape(-1, features), out=self.dbeta)
        dxhat: Array = dy * self.gamma
        mean, along = dxhat.mean(axis=-1, keepdims=True), (dxhat * self.xhat).mean(axis=-1, keepdims=True)
        dxhat -= mean
        dxhat -= self.xhat * along
        dxhat *= self.scale
        return dxhat
