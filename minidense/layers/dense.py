"""``Dense``: the layer the library is named after."""

from __future__ import annotations

from typing import Any

from minidense.core.arguments import flag, whole_number
from minidense.core.named import NamedFunction
from minidense.core.types import Array, Shape
from minidense.layers.activations import get_activation
from minidense.layers.base import Layer, parent_of
from minidense.layers.composite import Chain
from minidense.layers.constraints import Constraint, get_constraint
from minidense.layers.initializers import Initializer, get_initializer
from minidense.layers.regularizers import Regularizer, get_regularizer
from minidense.numerics.functional import column_sums


class Dense(Layer, library=True):
    """``Z = X W + b``; ``dW = X^T dZ``, ``db = column sums of dZ``, ``dX = dZ W^T``.

    units: u, the number of outputs. activation: None, a name such as "relu", a function of md.activations, or a layer;
    in a model it becomes a separate layer after this one. use_bias: False leaves out b. The initializers are names or
    callables ``init(rng, shape)``. The regularizers add a penalty for W or b to the loss, the constraints limit W or b
    after each update; they are names, objects of md.regularizers and md.constraints, or None. There is no
    activity_regularizer.
    X is (n, d), W is (d, u), b is (u,), Z is (n, u).

    Raises TypeError or ValueError if units is not a whole number above 0 or a name is unknown.

    >>> Dense(100, activation="relu")
    Dense(100, activation='relu')
    """

    rowwise = True
    caches = ("x",)
    _fixed = ("units", "use_bias")

    W: Array
    b: Array

    def __init__(
        self,
        units: int,
        activation: str | NamedFunction | Layer | None = None,
        use_bias: bool = True,
        kernel_initializer: str | float | Array | Initializer | None = "glorot_uniform",
        bias_initializer: str | float | Array | Initializer | None = "zeros",
        kernel_regularizer: str | Regularizer | None = None,
        bias_regularizer: str | Regularizer | None = None,
        activity_regularizer: None = None,
        kernel_constraint: str | Constraint | None = None,
        bias_constraint: str | Constraint | None = None,
    ) -> None:
        self.units = whole_number("Dense: units", units)
        self.activation = None if activation is None else get_activation(activation)
        self.use_bias = flag("Dense: use_bias", use_bias)
        self.kernel_initializer = get_initializer(
            "glorot_uniform" if kernel_initializer is None else kernel_initializer
        )
        self.bias_initializer = get_initializer("zeros" if bias_initializer is None else bias_initializer)
        self.kernel_regularizer = get_regularizer(kernel_regularizer, "Dense: kernel_regularizer")
        self.bias_regularizer = get_regularizer(bias_regularizer, "Dense: bias_regularizer")
        if activity_regularizer is not None:
            raise ValueError(
                "Dense: activity_regularizer: penalties on outputs are not supported. Penalize the parameters with "
                "kernel_regularizer, or write a md.Layer whose backward adds the penalty's gradient to dy."
            )
        self.activity_regularizer = None
        self.kernel_constraint = get_constraint(kernel_constraint, "Dense: kernel_constraint")
        self.bias_constraint = get_constraint(bias_constraint, "Dense: bias_constraint")

    @property
    def kernel(self) -> Array:
        """Keras' name of W."""
        return self.W

    @kernel.setter
    def kernel(self, value: Any) -> None:
        self.W = value

    @property
    def bias(self) -> Array | None:
        """Keras' name of b; None without one."""
        return self.b if self.use_bias else None

    @bias.setter
    def bias(self, value: Any) -> None:
        self.b = value

    def _expand(self) -> list[Layer]:
        return [self] if self.activation is None else [self, *self.activation._expand()]

    def _settle(self) -> None:
        self.__dict__["activation"] = None  # from here on it is a layer of its own

    def _unsettle(self) -> None:
        if self._config.get("activation") is not None:
            self.__dict__["activation"] = get_activation(self._config["activation"])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; in a chain, where the activation is the next layer, ``activation`` is None."""
        config = super().get_config()
        return config | {"activation": None} if "activation" in config and self.activation is None else config

    def _set_argument(self, name: str, value: Any) -> None:
        if name == "activation" and parent_of(self) is not None:
            if repr(value) not in (repr(self._config[name]), repr(self.get_config().get(name))):
                raise AttributeError(f"{self._where}: {name} cannot be set once it is in a model; make a new layer.")
        else:
            super()._set_argument(name, value)

    def _as_layer(self) -> Layer:
        return self if self.activation is None else Chain([self])

    def build(self, input_shape: Shape) -> Shape:
        W, b = (number_of_features(self, input_shape), self.units), self.units
        penalty, limit = self.kernel_regularizer, self.kernel_constraint
        self.param("W", W, self.kernel_initializer, regularizer=penalty, constraint=limit)
        if self.use_bias:
            penalty, limit = self.bias_regularizer, self.bias_constraint
            self.param("b", b, self.bias_initializer, regularizer=penalty, constraint=limit)
        return (self.units,)

    def as_numpy(self) -> str:
        return "x = x.dot(W) + b" if self.use_bias else "x = x.dot(W)"

    def forward(self, x: Array) -> Array:
        self.x = x
        z: Array = x.dot(self.W, out=self.workspace("z", (len(x), self.units), x.dtype))
        if self.use_bias:
            z += self.b
        return z

    def backward(self, dz: Array) -> Array | None:
        self.x.T.dot(dz, out=self.dW)
        if self.use_bias:
            column_sums(dz, out=self.db)
        if not self._record.needs_dx:
            return None
        dx: Array = dz.dot(self.W.T, out=self.workspace("dx", self.x.shape, dz.dtype))
        return dx


def number_of_features(layer: Layer, input_shape: Shape) -> int:
    """d of (d,). Raises ValueError for samples with more axes."""
    if len(input_shape) != 1:
        shape = ", ".join(map(str, input_shape))
        raise ValueError(
            f"{layer._where}: expected inputs of shape (n, d), got (n, {shape}). "
            f"Flatten each sample first: x.reshape(len(x), -1)."
        )
    return input_shape[0]
