"""Activations: layers without parameters that bend each value, or, for softmax, each row."""

from __future__ import annotations

import numpy as np

from minidense.arguments import lookup
from minidense.functional import sigmoid, softmax
from minidense.layers.base import Layer
from minidense.types import Array, Shape

_ZERO, _ONE = np.zeros((), "float32"), np.ones((), "float32")  # as arrays, cheaper to compute with than the numbers


class Activation(Layer):
    """Base of the elementwise activations: ``y = f(x)``, ``dx = dy * f'(x)``, any shape."""

    rowwise = True


class ReLU(Activation):
    """``H = max(Z, 0)``, ``dZ = dH * 1(Z > 0)``: the derivative at 0 is taken as 0.

    >>> ReLU().forward(np.array([[-1.0, 2.0]], "float32"))
    array([[0., 2.]], dtype=float32)
    """

    caches = ("h",)

    def forward(self, z: Array) -> Array:
        self.h = np.maximum(z, 0, out=self.empty("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.empty("dz", dh.shape, dh.dtype)
        np.greater(self.h, _ZERO, out=dz)  # 1(Z > 0), for H > 0 just where Z > 0
        dz *= dh
        return dz


class Sigmoid(Activation):
    """``H = 1 / (1 + exp(-Z))``, ``dZ = dH * H * (1 - H)``; no input overflows.

    >>> Sigmoid().forward(np.array([[0.0, 1e4]], "float32"))
    array([[0.5, 1. ]], dtype=float32)
    """

    caches = ("h",)

    def forward(self, z: Array) -> Array:
        self.h = sigmoid(z, out=self.empty("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.empty("dz", dh.shape, dh.dtype)
        np.subtract(_ONE, self.h, out=dz)
        dz *= self.h
        dz *= dh
        return dz


class Softmax(Layer):
    """``y_j = exp(z_j) / sum_k exp(z_k)`` for each row, and its full Jacobian product.

    ``dz = y * (dy - sum(dy * y))`` per row. As a model's last layer under SoftmaxCrossEntropy, the loss takes this
    layer's input instead, and this layer only serves ``predict``.

    >>> Softmax().forward(np.array([[0.0, 0.0]], "float32"))
    array([[0.5, 0.5]], dtype=float32)
    """

    rowwise = True
    caches = ("y",)

    def build(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"{self.where}: expected inputs of shape (n, k), got (n, {', '.join(map(str, input_shape))})."
            )
        return input_shape

    def forward(self, z: Array) -> Array:
        self.y = softmax(z, out=self.empty("y", z.shape, z.dtype))
        return self.y

    def backward(self, dy: Array) -> Array:
        dz = self.empty("dz", dy.shape, dy.dtype)
        np.multiply(dy, self.y, out=dz)
        dz -= self.y * dz.sum(axis=1, keepdims=True)
        return dz


ACTIVATIONS: dict[str, type[Layer]] = {"relu": ReLU, "sigmoid": Sigmoid, "softmax": Softmax}


def get_activation(activation: str | Layer) -> Layer:
    """A new layer of that name; a layer object is returned as it is.

    >>> get_activation("relu")
    ReLU()
    """
    if isinstance(activation, Layer):
        return activation
    if isinstance(activation, str):
        return lookup("activation", activation, ACTIVATIONS)()
    raise TypeError(f"activation: expected a name such as 'relu' or a layer such as md.ReLU(), got {activation!r}.")
