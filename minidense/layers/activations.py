"""Activations: layers without parameters that transform each value, or, for softmax, each row."""

from __future__ import annotations

import math

import numpy as np

from minidense.core.arguments import flag, lookup, real_number
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer
from minidense.numerics.functional import gelu_inner, normal_cdf, sigmoid, softmax, softplus

_ZERO, _ONE = np.zeros((), "float32"), np.ones((), "float32")  # as arrays, cheaper to compute with than the numbers


class Activation(Layer):
    """Base of the elementwise activations: ``y = f(x)``, ``dx = dy * f'(x)``, any shape."""

    rowwise = True


class ReLU(Activation, library=True):
    """``H = max(Z, 0)``, ``dZ = dH * 1(Z > 0)``: the derivative at 0 is taken as 0.

    >>> ReLU().forward(np.array([[-1.0, 2.0]], "float32"))
    array([[0., 2.]], dtype=float32)
    """

    caches = ("h",)

    def as_numpy(self) -> str:
        return "x = np.maximum(x, 0)"

    def forward(self, z: Array) -> Array:
        self.h = np.maximum(z, 0, out=self.workspace("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.greater(self.h, _ZERO, out=dz)  # 1(Z > 0), as H > 0 exactly where Z > 0
        dz *= dh
        return dz


class Sigmoid(Activation, library=True):
    """``H = 1 / (1 + exp(-Z))``, ``dZ = dH * H * (1 - H)``; no input overflows.

    >>> Sigmoid().forward(np.array([[0.0, 1e4]], "float32"))
    array([[0.5, 1. ]], dtype=float32)
    """

    caches = ("h",)

    def as_numpy(self) -> str:
        return "x = sigmoid(x)"

    def forward(self, z: Array) -> Array:
        self.h = sigmoid(z, out=self.workspace("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.subtract(_ONE, self.h, out=dz)
        dz *= self.h
        dz *= dh
        return dz


class Tanh(Activation, library=True):
    """``H = tanh(Z)``, ``dZ = dH (1 - H**2)``.

    >>> Tanh().forward(np.array([[0.0, 1e4]], "float32"))
    array([[0., 1.]], dtype=float32)
    """

    caches = ("h",)

    def as_numpy(self) -> str:
        return "x = np.tanh(x)"

    def forward(self, z: Array) -> Array:
        self.h = np.tanh(z, out=self.workspace("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.multiply(self.h, self.h, out=dz)
        np.subtract(_ONE, dz, out=dz)
        dz *= dh
        return dz


class LeakyReLU(Activation, library=True):
    """``H = Z`` where Z > 0, and ``negative_slope * Z`` elsewhere (Maas et al., 2013). The default is Keras'.

    >>> LeakyReLU(0.1).forward(np.array([[-1.0, 2.0]], "float32"))
    array([[-0.1,  2. ]], dtype=float32)
    """

    caches = ("z",)

    def __init__(self, negative_slope: float = 0.3) -> None:
        self.negative_slope = real_number("LeakyReLU: negative_slope", negative_slope, at_least=0)

    def as_numpy(self) -> str:
        return "x = np.minimum(x, 0) * negative_slope + np.maximum(x, 0)"

    def forward(self, z: Array) -> Array:
        self.z = z
        h = self.workspace("h", z.shape, z.dtype)
        np.minimum(z, 0, out=h)
        h *= self.negative_slope
        h += np.maximum(z, 0)
        return h

    def backward(self, dh: Array) -> Array:
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.multiply(dh, np.where(self.z > 0, _ONE, self.z.dtype.type(self.negative_slope)), out=dz)
        return dz


class ELU(Activation, library=True):
    """``H = Z`` where Z > 0, and ``alpha (exp(Z) - 1)`` elsewhere (Clevert et al., 2016).

    >>> ELU().forward(np.array([[-1e4, 2.0]], "float32"))
    array([[-1.,  2.]], dtype=float32)
    """

    caches = ("z", "h")

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = real_number("ELU: alpha", alpha, above=0)

    def as_numpy(self) -> str:
        return "x = np.expm1(np.minimum(x, 0)) * alpha + np.maximum(x, 0)"

    def forward(self, z: Array) -> Array:
        self.z = z
        self.h = self.workspace("h", z.shape, z.dtype)
        np.expm1(np.minimum(z, 0), out=self.h)
        self.h *= self.alpha
        self.h += np.maximum(z, 0)
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.exp(np.minimum(self.z, 0), out=dz)
        dz *= np.where(self.z > 0, _ONE, self.z.dtype.type(self.alpha))
        dz *= dh
        return dz


class GELU(Activation, library=True):
    """``H = Z Phi(Z)``, ``dH/dZ = Phi + Z phi``, the normal distribution and density (Hendrycks and Gimpel, 2016).

    approximate: use their form with tanh, several times faster, which differs by up to 5e-4.

    >>> GELU().forward(np.array([[-1.0, 2.0]]))
    array([[-0.15865525,  1.95449974]])
    """

    caches = ("z", "p")

    def __init__(self, approximate: bool = False) -> None:
        self.approximate = flag("GELU: approximate", approximate)

    def as_numpy(self) -> str:
        return f"x = x * {'sigmoid(2 * gelu_inner(x))' if self.approximate else 'normal_cdf(x)'}"

    def forward(self, z: Array) -> Array:
        self.z = z
        self.p = sigmoid(2 * gelu_inner(z)) if self.approximate else normal_cdf(z)
        return np.multiply(z, self.p, out=self.workspace("h", z.shape, z.dtype))

    def backward(self, dh: Array) -> Array:
        z, p = self.z, self.p
        if self.approximate:
            dp = 2 * p * (1 - p) * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z))
        else:
            dp = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        dz: Array = np.multiply(dh, p + z * dp, out=self.workspace("dz", dh.shape, dh.dtype))
        return dz


class SiLU(Activation, library=True):
    """``H = Z sigmoid(Z)``, also called swish; ``dH/dZ = S + H (1 - S)`` (Elfwing et al., 2018).

    >>> SiLU().forward(np.array([[0.0, 1e4]], "float32"))
    array([[    0., 10000.]], dtype=float32)
    """

    caches = ("s", "h")

    def as_numpy(self) -> str:
        return "x = x * sigmoid(x)"

    def forward(self, z: Array) -> Array:
        self.s = sigmoid(z, out=self.workspace("s", z.shape, z.dtype))
        self.h = np.multiply(z, self.s, out=self.workspace("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.subtract(_ONE, self.s, out=dz)
        dz *= self.h
        dz += self.s
        dz *= dh
        return dz


class Softplus(Activation, library=True):
    """``H = log(1 + exp(Z))``, ``dZ = dH sigmoid(Z)``; no input overflows.

    >>> Softplus().forward(np.array([[-1e4, 1e4]], "float32"))
    array([[    0., 10000.]], dtype=float32)
    """

    caches = ("z",)

    def as_numpy(self) -> str:
        return "x = softplus(x)"

    def forward(self, z: Array) -> Array:
        self.z = z
        return softplus(z)

    def backward(self, dh: Array) -> Array:
        dz = sigmoid(self.z, out=self.workspace("dz", dh.shape, dh.dtype))
        dz *= dh
        return dz


class Softmax(Layer, library=True):
    """``y_j = exp(z_j) / sum_k exp(z_k)`` for each row, and its full Jacobian product.

    ``dz = y * (dy - sum(dy * y))`` per row. If it is the last layer and the loss is SoftmaxCrossEntropy, the loss is
    computed from this layer's input, and training skips the layer.

    >>> Softmax().forward(np.array([[0.0, 0.0]], "float32"))
    array([[0.5, 0.5]], dtype=float32)
    """

    rowwise = True
    caches = ("y",)

    def build(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"{self._where}: expected inputs of shape (n, k), got (n, {', '.join(map(str, input_shape))})."
            )
        return input_shape

    def as_numpy(self) -> str:
        return "x = softmax(x)"

    def forward(self, z: Array) -> Array:
        self.y = softmax(z, out=self.workspace("y", z.shape, z.dtype))
        return self.y

    def backward(self, dy: Array) -> Array:
        dz = self.workspace("dz", dy.shape, dy.dtype)
        np.multiply(dy, self.y, out=dz)
        dz -= self.y * dz.sum(axis=1, keepdims=True)
        return dz


ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "swish": SiLU,
    "softplus": Softplus,
    "softmax": Softmax,
}


def get_activation(activation: str | Layer) -> Layer:
    """A new layer of that name; a layer object is returned as it is.

    >>> get_activation("relu")
    ReLU()
    """
    if isinstance(activation, Layer):
        return activation
    if isinstance(activation, str):
        return lookup("activation", activation, ACTIVATIONS)()
    raise TypeError(
        f"activation: expected a name such as 'relu' or a layer such as md.ReLU(), got {activation!r}. For a function, "
        f"write a Layer with forward and backward."
    )
