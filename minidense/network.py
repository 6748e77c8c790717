"""A chain of layers: forward through all of them, and back.

The library's own layers are called directly. A layer of anybody else's is called through a guard, at every step:
shapes and dtypes that do not fit, and gradients that were never written, are errors that name the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minidense.core.types import Array
from minidense.layers import Layer


class Chain:
    """The layers' forward and backward methods, looked up once.

    With ``for_input`` False the backward pass ends at the first layer that has parameters, and does not compute
    the derivative by its input.
    """

    def __init__(self, layers: Sequence[Layer], training: bool, for_input: bool = True) -> None:
        self.forwards = [_forward_of(layer, training) for layer in layers]
        first = 0
        if not for_input:
            first = next((i for i, layer in enumerate(layers) if layer.count_params), len(layers))
        for i, layer in enumerate(layers):
            layer.note(needs_dx=for_input or i > first or not layer.trusted)
        self.backwards = [_backward_of(layer) for layer in reversed(layers[first:])]

    def forward(self, x: Array) -> Array:
        for forward in self.forwards:
            x = forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        for backward in self.backwards:
            dy = backward(dy)
        return dy


def inference(layers: Sequence[Layer], batches: bool = False) -> Callable[[Array], Array]:
    """The function from x to the output, by clones of the layers: no layer changes, in any number of threads.

    batches: the function will be called for one batch after the other, and may write each output over the last.
    """
    forwards = []
    for layer in layers:
        clone = layer.clone()
        if batches:
            clone.reuse_buffers()
        forwards.append(_forward_of(clone, False))

    def infer(x: Array) -> Array:
        for forward in forwards:
            x = forward(x)
        return x

    return infer


def first_not_finite(layers: Sequence[Layer], x: Array) -> Layer | None:
    """The first layer whose output for ``x`` has a NaN or an infinity."""
    for layer in layers:
        x = inference([layer])(x)
        if not np.isfinite(x).all():
            return layer
    return None


def _forward_of(layer: Layer, training: bool) -> Callable[[Array], Array]:
    if layer.trusted and not layer.takes_training:
        return layer.forward
    return partial(layer.forward, training=training) if layer.trusted else partial(_guarded_forward, layer, training)


def _backward_of(layer: Layer) -> Callable[[Array], Any]:
    return layer.backward if layer.trusted else partial(_guarded_backward, layer)


def _guarded_forward(layer: Layer, training: bool, x: Array) -> Array:
    given = x.view()
    given.flags.writeable = False  # what a layer is given is somebody else's: the user's data, or another layer's cache
    try:
        y = layer.forward(given, training=training) if layer.takes_training else layer.forward(given)
    except Exception as error:
        error.add_note(f"in forward of {layer.where}, for an input of shape {x.shape}")
        raise
    expected = (len(x), *(layer.output_shape or ()))
    return _as_expected(layer, "forward", y, expected)


def _guarded_backward(layer: Layer, dy: Array) -> Array:
    gradients = {"d" + d.name: getattr(layer, "d" + d.name) for d in layer.declarations}
    for gradient in gradients.values():
        gradient.fill(-0.0)  # the one value that `+=` does not see, and that a gradient does not end up with
    try:
        dx = layer.backward(dy)
    except Exception as error:
        error.add_note(f"in backward of {layer.where}, for dy of shape {dy.shape}")
        raise
    for name, gradient in gradients.items():
        first = gradient.item(0)
        if first == 0 and math.copysign(1, first) < 0 and _never_written(layer, dy, gradient):
            raise ValueError(f"{layer.where}: backward never wrote the gradient {name}: set self.{name} = ...")
    expected = (len(dy), *(layer.input_shape or ()))
    return _as_expected(layer, "backward", dx, expected)


def _never_written(layer: Layer, dy: Array, gradient: Array) -> bool:
    if not (np.signbit(gradient) & (gradient == 0)).all():
        return False
    gradient.fill(np.nan)  # all of them -0.0: written, or left from before? Another backward tells.
    layer.backward(dy)
    untouched = bool(np.isnan(gradient).all())
    gradient.fill(-0.0)
    return untouched


def _as_expected(layer: Layer, method: str, result: Any, expected: tuple[int, ...]) -> Array:
    if not isinstance(result, np.ndarray):
        raise TypeError(
            f"{layer.where}: {method} must return an array of shape {expected}, got {type(result).__name__}."
        )
    if result.shape != expected:
        raise ValueError(f"{layer.where}: {method} must return shape {expected}, got {result.shape}.")
    return result if result.dtype == layer.dtype else result.astype(layer.dtype)
