"""Activations: layers without parameters that transform each value, or, for softmax, each row."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import flag, lookup, real_number
from minidense.core.named import NamedFunction, name_of
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer
from minidense.layers.constraints import Constraint, get_constraint
from minidense.layers.initializers import Initializer, get_initializer
from minidense.layers.regularizers import Regularizer, get_regularizer
from minidense.numerics.functional import (
    SELU_ALPHA,
    SELU_SCALE,
    gelu_inner,
    hard_sigmoid,
    log_softmax,
    mish,
    normal_cdf,
    selu,
    sigmoid,
    softmax,
    softplus,
    softsign,
)

_ZERO, _ONE = np.zeros((), "float32"), np.ones((), "float32")  # as arrays, cheaper to compute with than the numbers


class Elementwise(Layer):
    """Base of the elementwise activations: ``H = f(Z)``, ``dZ = dH * f'(Z)``, any shape.

    A subclass defines ``formula(z)``, which returns H, and ``derivative(z, h)``, which returns f'(Z); or, to be faster,
    ``forward`` and ``backward`` themselves.

    >>> class Square(Elementwise):
    ...     def formula(self, z):
    ...         return z * z
    ...     def derivative(self, z, h):
    ...         return 2 * z
    >>> Square().forward(np.array([[3.0]]))
    array([[9.]])
    """

    rowwise = True
    caches: ClassVar[tuple[str, ...]] = ("z", "h")

    def formula(self, z: Array) -> Array:
        """f(Z), of the shape and dtype of z."""
        raise NotImplementedError

    def derivative(self, z: Array, h: Array) -> Array:
        """f'(Z), given Z and ``H = f(Z)``."""
        raise NotImplementedError

    def forward(self, z: Array) -> Array:
        self.z, self.h = z, self.formula(z)
        return self.h

    def backward(self, dh: Array) -> Array:
        return dh * self.derivative(self.z, self.h)


class ReLU(Elementwise, library=True):
    """``H = max(Z, 0)``, ``dZ = dH * 1(Z > 0)``: the derivative at 0 is taken as 0.

    With Keras' arguments: H = max_value where Z >= max_value, Z where threshold <= Z < max_value, and
    ``negative_slope * (Z - threshold)`` below. At the two kinks, the derivative is that of the flatter side.

    max_value: above threshold, or None for no limit. negative_slope, threshold: at least 0.

    >>> ReLU().forward(np.array([[-1.0, 2.0]], "float32"))
    array([[0., 2.]], dtype=float32)
    >>> ReLU(max_value=6, negative_slope=0.1).forward(np.array([[-1.0, 9.0]]))
    array([[-0.1,  6. ]])
    """

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0) -> None:
        self.negative_slope = real_number("ReLU: negative_slope", negative_slope, at_least=0)
        self.threshold = real_number("ReLU: threshold", threshold, at_least=0)
        self.max_value = None if max_value is None else real_number("ReLU: max_value", max_value, above=self.threshold)

    def as_numpy(self) -> str:
        if not self.negative_slope and not self.threshold and self.max_value is None:
            return "x = np.maximum(x, 0)"
        most = "np.inf" if self.max_value is None else "max_value"
        return f"x = np.minimum(np.where(x >= threshold, x, (x - threshold) * negative_slope), {most})"

    def formula(self, z: Array) -> Array:
        below = (z - self.threshold) * self.negative_slope
        most = math.inf if self.max_value is None else self.max_value
        return np.asarray(np.minimum(np.where(z >= self.threshold, z, below), most))

    def derivative(self, z: Array, h: Array) -> Array:
        slope = np.where(z > self.threshold, _ONE, z.dtype.type(self.negative_slope))
        return slope if self.max_value is None else slope * (z < self.max_value)

    def forward(self, z: Array) -> Array:
        if self.negative_slope or self.threshold or self.max_value is not None:
            return super().forward(z)
        self.h = np.maximum(z, 0, out=self.workspace("h", z.shape, z.dtype))
        return self.h

    def backward(self, dh: Array) -> Array:
        if self.negative_slope or self.threshold or self.max_value is not None:
            return super().backward(dh)
        dz = self.workspace("dz", dh.shape, dh.dtype)
        np.greater(self.h, _ZERO, out=dz)  # 1(Z > 0), as H > 0 exactly where Z > 0
        dz *= dh
        return dz


class Sigmoid(Elementwise, library=True):
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


class Tanh(Elementwise, library=True):
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


class LeakyReLU(Elementwise, library=True):
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


class ELU(Elementwise, library=True):
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


class GELU(Elementwise, library=True):
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


class SiLU(Elementwise, library=True):
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


class Softplus(Elementwise, library=True):
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


class Linear(Elementwise, library=True):
    """``H = Z``, ``dZ = dH``: no activation, where a name is needed.

    >>> Linear().forward(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.]])
    """

    def as_numpy(self) -> str:
        return "pass"

    def forward(self, z: Array) -> Array:
        return z

    def backward(self, dh: Array) -> Array:
        return dh


class SELU(Elementwise, library=True):
    """``H = s Z`` where Z > 0, ``s a (exp(Z) - 1)`` elsewhere, with fixed s and a (Klambauer et al., 2017).

    >>> SELU().forward(np.array([[-1e4, 1.0]])).round(4)
    array([[-1.7581,  1.0507]])
    """

    def as_numpy(self) -> str:
        return "x = selu(x)"

    def formula(self, z: Array) -> Array:
        return selu(z)

    def derivative(self, z: Array, h: Array) -> Array:
        return np.where(z > 0, z.dtype.type(SELU_SCALE), h + SELU_SCALE * SELU_ALPHA)


class Softsign(Elementwise, library=True):
    """``H = Z / (1 + |Z|)``, ``dH/dZ = (1 - |H|)**2``.

    >>> Softsign().forward(np.array([[-3.0, 1.0]]))
    array([[-0.75,  0.5 ]])
    """

    def as_numpy(self) -> str:
        return "x = softsign(x)"

    def formula(self, z: Array) -> Array:
        return softsign(z)

    def derivative(self, z: Array, h: Array) -> Array:
        return np.asarray((1 - abs(h)) ** 2)


class Exponential(Elementwise, library=True):
    """``H = exp(Z)``, its own derivative.

    >>> Exponential().forward(np.array([[0.0]]))
    array([[1.]])
    """

    def as_numpy(self) -> str:
        return "x = np.exp(x)"

    def formula(self, z: Array) -> Array:
        return np.asarray(np.exp(z))

    def derivative(self, z: Array, h: Array) -> Array:
        return h


class HardSigmoid(Elementwise, library=True):
    """``H = Z / 6 + 1/2`` between 0 and 1, and 0 or 1 beyond; the derivative at the two kinks is 0.

    >>> HardSigmoid().forward(np.array([[-9.0, 1.5]]))
    array([[0.  , 0.75]])
    """

    def as_numpy(self) -> str:
        return "x = hard_sigmoid(x)"

    def formula(self, z: Array) -> Array:
        return hard_sigmoid(z)

    def derivative(self, z: Array, h: Array) -> Array:
        return np.where(abs(z) < 3, z.dtype.type(1 / 6), _ZERO)


class Mish(Elementwise, library=True):
    """``H = Z tanh(log(1 + exp(Z)))``, ``dH/dZ = T + Z (1 - T**2) sigmoid(Z)`` for T the tanh (Misra, 2019).

    >>> Mish().forward(np.array([[0.0, 1.0]])).round(4)
    array([[0.    , 0.8651]])
    """

    def as_numpy(self) -> str:
        return "x = mish(x)"

    def formula(self, z: Array) -> Array:
        return mish(z)

    def derivative(self, z: Array, h: Array) -> Array:
        t = np.tanh(softplus(z))
        return np.asarray(t + z * (1 - t * t) * sigmoid(z))


class PReLU(Layer, library=True):
    """``H = Z`` where Z > 0, ``alpha Z`` elsewhere, with one learnt slope alpha for each feature (He et al., 2015).

    ``dalpha`` is the sum over the rows of ``dH Z`` where Z <= 0. The regularizer and the constraint are those of Dense.

    >>> import minidense as md
    >>> model = md.Sequential([PReLU(0.1)]).build(2)
    >>> model.predict([[-1.0, 2.0]])
    array([[-0.1,  2. ]], dtype=float32)
    """

    rowwise = True
    caches = ("z",)

    alpha: Array
    dalpha: Array

    def __init__(
        self,
        alpha_initializer: str | float | Array | Initializer = "zeros",
        alpha_regularizer: str | Regularizer | None = None,
        alpha_constraint: str | Constraint | None = None,
    ) -> None:
        self.alpha_initializer = get_initializer(alpha_initializer)
        self.alpha_regularizer = get_regularizer(alpha_regularizer, "PReLU: alpha_regularizer")
        self.alpha_constraint = get_constraint(alpha_constraint, "PReLU: alpha_constraint")

    def build(self, input_shape: Shape) -> Shape:
        penalty, limit = self.alpha_regularizer, self.alpha_constraint
        self.param("alpha", input_shape, self.alpha_initializer, False, regularizer=penalty, constraint=limit)
        return input_shape

    def as_numpy(self) -> str:
        return "x = np.maximum(x, 0) + np.minimum(x, 0) * alpha"

    def forward(self, z: Array) -> Array:
        self.z = z
        return np.asarray(np.maximum(z, 0) + np.minimum(z, 0) * self.alpha)

    def backward(self, dh: Array) -> Array:
        self.dalpha = (dh * np.minimum(self.z, 0)).sum(axis=0)
        return dh * np.where(self.z > 0, _ONE, self.alpha)


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


class LogSoftmax(Softmax, library=True):
    """``y_j = z_j - log sum_k exp(z_k)`` for each row, ``dz = dy - exp(y) sum(dy)``.

    For what ends in probabilities use Softmax, which the loss takes into account.

    >>> LogSoftmax().forward(np.array([[0.0, 0.0]])).round(4)
    array([[-0.6931, -0.6931]])
    """

    def as_numpy(self) -> str:
        return "x = log_softmax(x)"

    def forward(self, z: Array) -> Array:
        self.y = log_softmax(z)
        return self.y

    def backward(self, dy: Array) -> Array:
        return np.asarray(dy - np.exp(self.y) * dy.sum(axis=1, keepdims=True))


class Activation(Layer, library=True):
    """The activation of that name, as a layer: ``Activation("relu")`` is put into a model as ``ReLU()``.

    activation: one of Keras' names, a function of md.activations, or a layer. Raises ValueError for an unknown name,
    with the nearest one.

    >>> import minidense as md
    >>> md.Sequential([md.Dense(2), Activation("relu")]).layers
    (Dense(2), ReLU())
    """

    def __init__(self, activation: str | NamedFunction | Layer) -> None:
        self.activation = get_activation(activation)

    def _expand(self) -> list[Layer]:
        return self.activation._expand()

    def _as_layer(self) -> Layer:
        return self.activation._as_layer()


ACTIVATIONS: dict[str, Callable[..., Layer]] = {
    "elu": ELU,
    "exponential": Exponential,
    "gelu": GELU,
    "hard_sigmoid": HardSigmoid,
    "leaky_relu": partial(LeakyReLU, negative_slope=0.2),
    "linear": Linear,
    "log_softmax": LogSoftmax,
    "mish": Mish,
    "relu": ReLU,
    "relu6": partial(ReLU, max_value=6.0),
    "selu": SELU,
    "sigmoid": Sigmoid,
    "silu": SiLU,
    "softmax": Softmax,
    "softplus": Softplus,
    "softsign": Softsign,
    "swish": SiLU,
    "tanh": Tanh,
}
"""By Keras' names and with Keras' values: the name "leaky_relu" has another slope there than the layer."""


def _as_function(name: str) -> NamedFunction:
    def function(x: Any, **arguments: Any) -> Array:
        z, layer = np.asarray(x), ACTIVATIONS[name](**arguments)
        z = z if z.dtype.char in "fd" else z.astype("float32")
        with np.errstate(all="ignore"):
            h: Array = layer.forward(z.reshape(-1, z.shape[-1] if z.ndim else 1))
        return h.reshape(z.shape)

    doc = (
        f"The activation {name!r} of an array of any shape, whose rows lie along the last axis; arguments: its layer's."
    )
    return NamedFunction("activations", name, function, doc)


FUNCTIONS = {name: _as_function(name) for name in ACTIVATIONS}
"""The same as functions of arrays."""


def get_activation(activation: str | NamedFunction | Layer) -> Layer:
    """A new layer of that name, or of the function of ``md.activations``; a layer object is returned as it is.

    >>> get_activation("relu")
    ReLU()
    """
    if isinstance(activation, Layer):
        return activation
    if isinstance(activation, str | NamedFunction):
        return lookup("activation", name_of(activation), ACTIVATIONS)()
    raise TypeError(
        f"activation: expected a name such as 'relu', a function of md.activations, or a layer such as md.ReLU(), got "
        f"{activation!r}. For a function of your own, write a Layer with forward and backward, or an Elementwise."
    )
