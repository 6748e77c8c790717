"""Plans: the equations of a chain of layers for batches of n rows, on buffers that are made once.

The ``forward`` and ``backward`` of the layers stay the reference, and what authors copy. A plan makes the same
operations in the same order, with the same bits, as functions over ready arrays. A layer without a plan is called as
always, in the same chain.

In plain descent, where an update is ``theta -= eta * grad`` and nothing else, a plan can go further: a matrix changes
by one product, ``W += -eta X^T dZ``, and its gradient is never written down. First comes all of backward, so that each
dX is computed with the old W; then ``descend`` changes theta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minidense.core.types import Array
from minidense.layers import Dense, Layer, ReLU, Sigmoid, Softmax, Tanh
from minidense.layers.composite import Pass
from minidense.losses import RowLoss, SoftmaxCrossEntropy
from minidense.network import Network
from minidense.numerics.functional import ready_softmax, sigmoid
from minidense.numerics.sums import AddProduct, Sum

_COPIED = 4096
"""A batch of at most so many numbers is copied into an array of the plan's: that is faster than to find its address."""

_ZERO, _ONE = np.zeros((), "float32"), np.ones((), "float32")  # NumPy is fastest with arrays without axes


class Plan(Pass):
    """The training pass of the layers for batches of n rows.

    loss: the class, if it is one of the library's own. descends: for plain descent, leave the gradients of the matrices
    that are worth it to ``descend``.
    """

    def __init__(
        self, network: Network, layers: Sequence[Layer], loss: type[RowLoss] | None, n: int, descends: bool
    ) -> None:
        super().__init__(layers, training=True, for_input=False)
        self.products: list[Product] = []
        """Of the matrices whose gradients are left to ``descend``."""
        for i, layer in enumerate(layers):
            planned = PLANS[type(layer)](layer, n, vars(layer)) if type(layer) in PLANS else None
            if planned is None:
                continue
            self.forwards[i] = planned.forward
            if i >= len(layers) - len(self.backwards):
                self.backwards[len(layers) - 1 - i] = planned.backward
            if descends and planned.product is not None and AddProduct.worthwhile(planned.product.W):
                planned.product.postponed = True
                self.products.append(planned.product)
        rest = _runs(network, [product.W for product in self.products])
        self._rest = [Sum(network.grad[piece], network.theta[piece]) for piece in rest if self.products]
        self.gradient: Callable[[Array, Array], Array] | None = None
        """The loss's, from scores and targets to dscores; None if the loss has no plan."""
        if loss is not None and loss.gradient is SoftmaxCrossEntropy.gradient:
            self.gradient = _softmax_cross_entropy(np.empty((n, *(network.output_shape or ())), network.dtype))

    def descend(self, theta: Array, grad: Array, eta: float) -> None:
        """``theta -= eta * grad`` for the gradient of the last backward pass; allocates nothing."""
        for product in self.products:
            product.descend(-eta)
        for add_gradient in self._rest:
            add_gradient(-eta)

    def complete_gradient(self) -> None:
        """Write down what ``descend`` did without: ``grad`` is then that of the last backward pass."""
        for product in self.products:
            product.write()


Caches: TypeAlias = dict[str, Any]
"""What a layer's forward notes for its backward, by name. In training it is noted with the layer, where it can be read,
as after its own forward; in predictions, which change no layer, elsewhere."""


class Product:
    """The gradient of a matrix, ``dW = X^T dZ``: written down at once, or, if it is postponed, only when asked for."""

    def __init__(self, W: Array, dW: Array) -> None:
        self.W, self.dW, self.postponed = W, dW, False
        self.x = self.dz = W
        self._add = AddProduct(W)

    def write(self) -> None:
        self.x.T.dot(self.dz, self.dW)

    def descend(self, a: float) -> None:
        """``W += a X^T dZ``."""
        self._add(a, self.x, self.dz)


class Planned(NamedTuple):
    """A layer's ``forward`` and ``backward`` for n rows; for one with a matrix, its gradient."""

    forward: Callable[[Array], Array]
    backward: Callable[[Array], Any]
    product: Product | None = None


def _dense(layer: Dense, n: int, caches: Caches) -> Planned:
    W, WT, product = layer.W, layer.W.T, Product(layer.W, layer.dW)
    b, db = (layer.b[None], layer.db) if layer.use_bias else (None, None)
    z, dx = np.empty((n, W.shape[1]), W.dtype), np.empty((n, W.shape[0]), W.dtype) if layer._record.needs_dx else None
    ones = np.ones(n, W.dtype)
    copied = dx is None and n * W.shape[0] <= _COPIED and AddProduct.worthwhile(W)
    own_x = np.empty((n, W.shape[0]), W.dtype) if copied else None

    def forward(x: Array) -> Array:
        if own_x is not None:
            np.copyto(own_x, x)
            x = own_x
        caches["x"] = product.x = x
        x.dot(W, z)
        if b is not None:
            np.add(z, b, z)
        return z

    def backward(dz: Array) -> Array | None:
        product.dz = dz
        if not product.postponed:
            product.write()
        if db is not None and n == 1:
            db[...] = dz[0]
        elif db is not None:
            ones.dot(dz, db)
        return None if dx is None else dz.dot(WT, dx)

    return Planned(forward, backward, product)


def _relu(layer: ReLU, n: int, caches: Caches) -> Planned:
    h = _buffer(layer, n)
    dz = np.empty_like(h)

    def forward(z: Array) -> Array:
        caches["h"] = h
        if layer.negative_slope or layer.threshold or layer.max_value is not None:  # they may be set at any time
            caches["z"], h[...] = z, layer.formula(z)
            return h
        return np.maximum(z, _ZERO, out=h)

    def backward(dh: Array) -> Array:
        if layer.negative_slope or layer.threshold or layer.max_value is not None:
            return np.multiply(dh, layer.derivative(caches["z"], h), dz)
        np.greater(h, _ZERO, dz)
        return np.multiply(dz, dh, dz)

    return Planned(forward, backward)


def _sigmoid(layer: Sigmoid, n: int, caches: Caches) -> Planned:
    h = _buffer(layer, n)
    dz = np.empty_like(h)

    def forward(z: Array) -> Array:
        caches["h"] = h
        return sigmoid(z, h)

    def backward(dh: Array) -> Array:
        np.subtract(_ONE, h, dz)
        np.multiply(dz, h, dz)
        return np.multiply(dz, dh, dz)

    return Planned(forward, backward)


def _tanh(layer: Tanh, n: int, caches: Caches) -> Planned:
    h = _buffer(layer, n)
    dz = np.empty_like(h)

    def forward(z: Array) -> Array:
        caches["h"] = h
        return np.tanh(z, h)

    def backward(dh: Array) -> Array:
        np.multiply(h, h, dz)
        np.subtract(_ONE, dz, dz)
        return np.multiply(dz, dh, dz)

    return Planned(forward, backward)


def _softmax(layer: Softmax, n: int, caches: Caches) -> Planned:
    y = _buffer(layer, n)
    dz, softmax = np.empty_like(y), ready_softmax(y)

    def forward(z: Array) -> Array:
        caches["y"] = y
        return softmax(z)

    def backward(dy: Array) -> Array:
        np.multiply(dy, y, dz)
        np.subtract(dz, y * dz.sum(axis=1, keepdims=True), dz)
        return dz

    return Planned(forward, backward)


def _softmax_cross_entropy(dscores: Array) -> Callable[[Array, Array], Array]:
    softmax = ready_softmax(dscores)

    def gradient(scores: Array, targets: Array) -> Array:
        softmax(scores)
        return np.subtract(dscores, targets, dscores)

    return gradient


PLANS: dict[type[Layer], Callable[[Any, int, Caches], Planned]] = {
    Dense: _dense,
    ReLU: _relu,
    Sigmoid: _sigmoid,
    Softmax: _softmax,
    Tanh: _tanh,
}
"""By exact class: a subclass may compute something else. Each takes the layer, n, and where to note caches."""


def for_one_row(layers: Sequence[Layer]) -> list[Callable[[Array], Array]] | None:
    """The forward functions of the layers, for inference on one row; None if one of the layers has no plan."""
    if not all(type(layer) in PLANS for layer in layers):
        return None
    return [PLANS[type(layer)](layer, 1, {}).forward for layer in layers]


def _buffer(layer: Layer, n: int) -> Array:
    return np.empty((n, *(layer._record.output_shape or ())), layer.dtype)


def _runs(network: Network, left_out: Sequence[Array]) -> list[slice]:
    """The slices of theta that are left without these matrices, as few as possible."""
    known, runs = {id(W) for W in left_out}, list[slice]()
    for layer, d, piece in network.parameters():
        if id(layer._record.views[d.name]) in known:
            continue
        if runs and runs[-1].stop == piece.slice.start:
            runs[-1] = slice(runs[-1].start, piece.slice.stop)
        else:
            runs.append(piece.slice)
    return runs
