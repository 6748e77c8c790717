"""Several small networks side by side in one model: ``Scale`` begins them, ``MembersMean`` ends them.

k members with d features each are k groups of d columns, (n, k * d). Between the two ends, every layer that treats each
column by itself, such as ReLU, is one for all members, and ``PackedDense`` is a Dense for each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidense.core.arguments import flag, lookup, real_number, whole_number
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer
from minidense.layers.dense import number_of_features
from minidense.layers.initializers import Initializer, get_initializer
from minidense.numerics.functional import column_sums, sigmoid, softmax

BY_FAN_IN = "1/sqrt(fan_in)"


class _Packed(Layer):
    """Base of the layers that have members."""

    rowwise = True
    members: int

    def _of_each(self, input_shape: Shape) -> int:
        """How many features each member has. Raises ValueError."""
        features = number_of_features(self, input_shape)
        if features % self.members:
            raise ValueError(
                f"{self._where}: expected as many features for each of {self.members} members, got {features} in all. "
                f"Begin the members with Scale({self.members}), or PackedDense after it."
            )
        return features // self.members


class PackedDense(_Packed, library=True):
    """k dense layers side by side: ``Z_m = X_m W_m + b_m`` for each member m, all in one batched product.

    units: u, the number of outputs of each member. members: k. X is (n, k * d), the d features of the first member
    first; W is (k, d, u), b is (k, u), Z is (n, k * u). As in Dense, ``dW_m = X_m^T dZ_m``, ``db_m = column sums of
    dZ_m``, ``dX_m = dZ_m W_m^T``. The initializers draw for each member what they draw for its Dense, of shape (d, u)
    and (u,). kernel_rate, bias_rate: factors on the optimizer's learning rate for W and b, numbers of at least 0 or
    "1/sqrt(fan_in)", which is 1 / sqrt(d). With that factor and kernel_initializer="lecun_normal", an Adam trains W as
    it would in the NTK parametrization, ``Z = X W / sqrt(d)`` with standard normal W. Weight decay applies to W, not b.

    Raises TypeError or ValueError for wrong arguments, and in ``build`` if the features cannot be divided by k.

    >>> import minidense as md
    >>> model = md.Sequential([md.Scale(8), PackedDense(3, 8)]).build(5)
    >>> model.layers[1].W.shape, model.output_shape
    ((8, 5, 3), (24,))
    """

    caches = ("x",)
    _fixed = ("units", "members", "use_bias", "kernel_rate", "bias_rate")

    W: Array
    b: Array
    dW: Array
    db: Array

    def __init__(
        self,
        units: int,
        members: int,
        *,
        use_bias: bool = True,
        kernel_initializer: str | float | Array | Initializer = "glorot_uniform",
        bias_initializer: str | float | Array | Initializer = "zeros",
        kernel_rate: float | str = 1.0,
        bias_rate: float | str = 1.0,
    ) -> None:
        self.units = whole_number("PackedDense: units", units)
        self.members = whole_number("PackedDense: members", members)
        self.use_bias = flag("PackedDense: use_bias", use_bias)
        self.kernel_initializer = get_initializer(kernel_initializer)
        self.bias_initializer = get_initializer(bias_initializer)
        self.kernel_rate = _rate("PackedDense: kernel_rate", kernel_rate)
        self.bias_rate = _rate("PackedDense: bias_rate", bias_rate)

    def build(self, input_shape: Shape) -> Shape:
        k, d, u = self.members, self._of_each(input_shape), self.units
        kernel_rate, bias_rate = (
            1 / math.sqrt(d) if isinstance(rate, str) else rate for rate in (self.kernel_rate, self.bias_rate)
        )
        self.param("W", (k, d, u), functools.partial(_for_each, self.kernel_initializer), rate=kernel_rate)
        if self.use_bias:
            init = functools.partial(_for_each, self.bias_initializer)
            self.param("b", (k, u), init, decay=False, rate=bias_rate)
        return (k * u,)

    def as_numpy(self) -> str:
        product = "np.multiply" if self.W.shape[1] == 1 else "np.matmul"
        lines = f"x = {product}(x.reshape(len(x), members, -1).swapaxes(0, 1), W)\n"
        return f"{lines}x = x.swapaxes(0, 1).reshape(x.shape[1], -1){' + b.reshape(-1)' * self.use_bias}"

    def forward(self, x: Array) -> Array:
        self.x = x
        k, _, u = self.W.shape
        z = self.workspace("z", (len(x), k * u), x.dtype)
        _product(_by_member(x, k), self.W, out=_by_member(z, k))
        if self.use_bias:
            z += self.b.reshape(-1)
        return z

    def backward(self, dz: Array) -> Array | None:
        k = len(self.W)
        by_member = _by_member(dz, k)
        _product(_by_member(self.x, k).swapaxes(1, 2), by_member, out=self.dW)
        if self.use_bias:
            column_sums(dz, out=self.db.reshape(-1))
        if not self._record.needs_dx:
            return None
        dx = self.workspace("dx", self.x.shape, dz.dtype)
        _product(by_member, self.W.swapaxes(1, 2), out=_by_member(dx, k))
        return dx


class Scale(_Packed, library=True):
    """``y_m = x * s_m``: a learned factor for each feature, and for each of ``members`` networks that begin here.

    x is (n, d), s is (members, d), y is (n, members * d); ``ds_m = column sums of dy_m * x``, and dx is the sum of
    ``dy_m * s_m`` over the members. rate: a factor of at least 0 on the optimizer's learning rate. Weight decay does
    not apply to s. Raises TypeError or ValueError for wrong arguments.

    >>> Scale(8, rate=6.0)
    Scale(members=8, rate=6.0)
    """

    caches = ("x",)
    _fixed = ("members", "rate")

    s: Array
    ds: Array

    def __init__(
        self, members: int = 1, *, rate: float = 1.0, initializer: str | float | Array | Initializer = "ones"
    ) -> None:
        self.members = whole_number("Scale: members", members)
        self.rate = real_number("Scale: rate", rate, at_least=0)
        self.initializer = get_initializer(initializer)

    def build(self, input_shape: Shape) -> Shape:
        d = number_of_features(self, input_shape)
        init = functools.partial(_for_each, self.initializer)
        self.param("s", (self.members, d), init, decay=False, rate=self.rate)
        return (self.members * d,)

    def as_numpy(self) -> str:
        return "x = (x[:, None] * s).reshape(len(x), -1)"

    def forward(self, x: Array) -> Array:
        self.x = x
        y = self.workspace("y", (len(x), *self.s.shape), x.dtype)
        return np.multiply(x[:, None], self.s, out=y).reshape(len(x), -1)

    def backward(self, dy: Array) -> Array | None:
        dy_m, work = dy.reshape(len(dy), *self.s.shape), self.workspace("work", dy.shape, dy.dtype)
        of_member = work.reshape(dy_m.shape)
        np.multiply(dy_m, self.x[:, None], out=of_member)
        column_sums(work, out=self.ds.reshape(-1))
        if not self._record.needs_dx:
            return None
        return np.asarray(np.multiply(dy_m, self.s, out=of_member).sum(axis=1))


class MembersMean(_Packed, library=True):
    """The mean over the members of the activation of each: (n, members * c) becomes (n, c). It ends the members.

    activation: "softmax", the mean of the members' probabilities; "sigmoid"; or "linear", the mean of their outputs.
    The loss for it is md.losses.Members. Raises TypeError or ValueError for wrong arguments, and in ``build`` if the
    outputs cannot be divided by the members.

    >>> MembersMean(2, "linear").forward(np.array([[1.0, 2.0, 3.0, 6.0]]))
    array([[2., 4.]])
    """

    caches = ("h",)

    def __init__(self, members: int, activation: str = "softmax") -> None:
        self.members = whole_number("MembersMean: members", members)
        self.activation = lookup("activation", activation, {name: name for name in _OF_MEMBERS})

    def build(self, input_shape: Shape) -> Shape:
        return (self._of_each(input_shape),)

    def as_numpy(self) -> str:
        text = {"softmax": "softmax(x.reshape(len(x) * members, -1))", "sigmoid": "sigmoid(x)", "linear": "x"}
        return f"x = {text[self.activation]}.reshape(len(x), members, -1).mean(axis=1)"

    def of_members(self, x: Array) -> Array:
        """The activation of each member, (n, members, c)."""
        rows = x.reshape(len(x) * self.members, -1)
        return _OF_MEMBERS[self.activation](rows).reshape(len(x), self.members, -1)

    def forward(self, x: Array) -> Array:
        self.h = self.of_members(x)
        return np.asarray(self.h.mean(axis=1))

    def backward(self, dy: Array) -> Array:
        h, dh = self.h, (dy / self.members)[:, None]
        if self.activation == "softmax":
            dx = h * (dh - (dh * h).sum(axis=2, keepdims=True))
        elif self.activation == "sigmoid":
            dx = dh * h * (1 - h)
        else:
            dx = np.repeat(dh, self.members, axis=1)
        return np.asarray(dx.reshape(len(dy), -1))


_OF_MEMBERS: dict[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": sigmoid, "linear": lambda x: x}
"""The activations, of rows with the c outputs of one member."""


def _by_member(x: Array, members: int) -> Array:
    """(n, k * d) as a view (k, n, d)."""
    return x.reshape(len(x), members, -1).swapaxes(0, 1)


def _product(a: Array, b: Array, out: Array) -> None:
    """``np.matmul``, but elementwise where a sum has one term, as of one row or one unit: that is much faster."""
    (np.multiply if a.shape[2] == 1 else np.matmul)(a, b, out=out)


def _for_each(initializer: Initializer, rng: np.random.Generator, shape: Shape) -> Array:
    """An initial value for each member."""
    return np.stack([initializer(rng, shape[1:]) for _ in range(shape[0])])


def _rate(what: str, rate: Any) -> float | str:
    """A factor on the learning rate: a number, or how it is derived from the fan-in. Raises TypeError, ValueError."""
    if isinstance(rate, str):
        return lookup("rate", rate, {BY_FAN_IN: BY_FAN_IN})
    return real_number(what, rate, at_least=0)
