"""Checks around the calls of layers that are not the library's own.

The library's own layers are called directly, all others through these functions: wrong shapes, an argument changed in
place, and gradients that were never written are errors that name the layer. Another dtype is converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.core.types import Array, Shape

if TYPE_CHECKING:
    from minidense.layers.base import Layer


def forward_of(layer: Layer, training: bool) -> Callable[[Array], Array]:
    """The function from x to y by which a chain calls the layer."""
    if not layer._of_library:
        return partial(_guarded_forward, layer, training)
    if layer._takes_weights and training:
        return partial(_weighted_forward, layer)
    return partial(layer.forward, training=training) if layer._takes_training else layer.forward


def backward_of(layer: Layer) -> Callable[[Array], Any]:
    """The function from dy to dx by which a chain calls the layer."""
    return layer.backward if layer._of_library else partial(_guarded_backward, layer)


def takers(layer: Layer) -> Iterator[Layer]:
    """The layer and the layers within it, those whose ``forward`` takes the rows' weights."""
    if layer._takes_weights:
        yield layer
    for child in layer._record.children.values():
        yield from takers(child)


@contextmanager
def weighing(layers: Sequence[Layer], weights: Any) -> Iterator[None]:
    """A block in which the forward methods of these layers are given the weights (n,), when they are in training.

    They lie with the layers, so that the children of a layer get them too, whatever it passes on itself.
    """
    weights = np.asarray(weights, np.float64).view()
    weights.flags.writeable = False
    before = [layer._record.weights for layer in layers]
    for layer in layers:
        layer._record.weights = weights
    try:
        yield
    finally:
        for layer, former in zip(layers, before, strict=True):
            layer._record.weights = former


def _weights_of(layer: Layer, x: Array) -> Array | None:
    weights = layer._record.weights
    if weights is not None and len(weights) != len(x):
        raise ValueError(
            f"{layer._where}: {len(weights)} weights for {len(x)} rows. A layer around it that changes the number of "
            f"rows is to take sample_weight, and pass on the new rows': self.f.forward(x, training, sample_weight)."
        )
    return weights


def _weighted_forward(layer: Layer, x: Array) -> Array:
    y: Array = layer.forward(x, training=True, sample_weight=_weights_of(layer, x))
    return y


def _options(layer: Layer, x: Array, training: bool) -> dict[str, Any]:
    """The arguments of ``forward`` besides x."""
    options: dict[str, Any] = {"training": training} if layer._takes_training else {}
    if layer._takes_weights:
        options["sample_weight"] = _weights_of(layer, x) if training else None
    return options


def forward_as_child(layer: Layer, x: Array, training: bool = False, sample_weight: Any = None) -> Array:
    """What ``self.f.forward(x, training)`` calls, whether or not the child f takes ``training``.

    sample_weight: by default, the weights of the batch, if there are any.
    """
    if sample_weight is not None:
        with weighing(list(takers(layer)), sample_weight):
            return forward_as_child(layer, x, training)
    layer._record.backward_due = True
    x = _fitting(layer, "forward: x", x, layer._record.input_shape or ())
    if not layer._of_library:
        return _guarded_forward(layer, training, x)
    forward: Any = type(layer).forward
    y: Array = forward(layer, x, **_options(layer, x, training))
    return y


def backward_as_child(layer: Layer, dy: Array) -> Any:
    """What ``self.f.backward(dy)`` calls."""
    layer._record.backward_due = False
    dy = _fitting(layer, "backward: dy", dy, layer._record.output_shape or ())
    return _backward(layer, dy) if layer._of_library else _guarded_backward(layer, dy)


def _fitting(layer: Layer, what: str, array: Any, shape: Shape) -> Array:
    """The array for a child, in the model's dtype. Raises ValueError if its rows do not have ``shape``."""
    found = np.shape(array)
    if not found or found[1:] != shape:
        raise ValueError(f"{layer._where}: {what}: expected shape (n, {', '.join(map(str, shape))}), got {found}.")
    return np.asarray(array, layer._record.dtype)


def _backward(layer: Layer, dy: Array) -> Any:
    backward: Any = getattr(type(layer), "backward", None)  # the instance's own may lead here
    if backward is None:
        raise AttributeError(f"{layer._where}: a layer must define forward and backward.")
    return backward(layer, dy)


def _guarded_forward(layer: Layer, training: bool, x: Array) -> Array:
    given = x.view()
    given.flags.writeable = False  # it may be the user's data or a cache
    forward: Any = getattr(type(layer), "forward", None)
    if forward is None:
        raise AttributeError(f"{layer._where}: a layer must define forward and backward.")
    try:
        y = forward(layer, given, **_options(layer, x, training))
    except Exception as error:
        error.add_note(f"in forward of {layer._where}, for an input of shape {x.shape}")
        if "read-only" in str(error):
            error.add_note("A layer must not change its input, nor, outside training, its parameters and buffers.")
        raise
    return _as_expected(layer, "forward", y, (len(x), *(layer._record.output_shape or ())))


def _guarded_backward(layer: Layer, dy: Array) -> Array:
    record = layer._record
    for gradient in _gradients(layer):  # also its children's, which it may not call at each step
        gradient.fill(-0.0)  # `self.dW += ...` starts from zero; -0.0 + v is v to the bit
    try:
        dx = _backward(layer, dy) if record.backward_seen else _first_backward(layer, dy)
    except Exception as error:
        error.add_note(f"in backward of {layer._where}, for dy of shape {dy.shape}")
        raise
    return _as_expected(layer, "backward", dx, (len(dy), *(record.input_shape or ())))


def _gradients(layer: Layer) -> Iterator[Array]:
    """The gradients of the layer and of all layers within it."""
    yield from layer._record.gradients.values()
    for child in layer._record.children.values():
        yield from _gradients(child)


def _first_backward(layer: Layer, dy: Array) -> Any:
    """``backward``, and an error for a gradient that it did not write, or a child whose backward it did not call.

    A gradient that is still all -0.0 may have that value. So, in this first pass, the attributes are removed: setting
    or reading one then calls the layer's ``__setattr__`` or ``__getattr__``, which record it, unless overridden.
    """
    record = layer._record
    record.touched = set()
    if layer._notes_reading:
        for name in record.gradients:
            del layer.__dict__[name]
    try:
        dx = _backward(layer, dy)
    finally:
        touched, record.touched = record.touched, None
        layer.__dict__.update(record.gradients)
    for name, gradient in record.gradients.items():
        if name not in touched and (np.signbit(gradient) & (gradient == 0)).all():
            raise ValueError(f"{layer._where}: backward never wrote the gradient {name}: set self.{name} = ...")
    for name, child in record.children.items():
        if child._record.backward_due and child.trainable and any(True for _ in _gradients(child)):
            raise ValueError(
                f"{layer._where}: forward called self.{name}.forward, but backward did not call self.{name}.backward, "
                f"so it would not be trained. If this is intended, set self.{name}.trainable = False."
            )
    record.backward_seen = True
    return dx


def _as_expected(layer: Layer, method: str, result: Any, expected: Shape) -> Array:
    if not isinstance(result, np.ndarray):
        raise TypeError(
            f"{layer._where}: {method} must return an array of shape {expected}, got {type(result).__name__}."
        )
    if result.shape != expected:
        raise ValueError(f"{layer._where}: {method} must return shape {expected}, got {result.shape}.")
    dtype = layer._record.dtype
    return result if result.dtype == dtype else result.astype(dtype)
