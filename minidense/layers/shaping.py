"""Layers without parameters that give each sample another shape or scale: ``Flatten``, ``Reshape``, ``Rescaling``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidense.core.arguments import items, real_number, whole_number, whole_numbers
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer


class Flatten(Layer, library=True):
    """Each sample as one row: (n, 28, 28) becomes (n, 784). It has no parameters.

    >>> import numpy as np
    >>> Flatten().forward(np.zeros((2, 28, 28))).shape
    (2, 784)
    """

    rowwise = True
    caches = ("sample_shape",)

    def build(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def as_numpy(self) -> str:
        return "x = x.reshape(len(x), -1)"

    def forward(self, x: Array) -> Array:
        self.sample_shape = x.shape[1:]
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(len(dy), *self.sample_shape)


class Reshape(Layer, library=True):
    """Each sample in another shape with as many values; one size may be -1, for what is left.

    target_shape: without the batch axis. Raises ValueError in ``build`` if the numbers of values differ.

    >>> import numpy as np
    >>> Reshape((7, -1)).forward(np.zeros((2, 28))).shape
    (2, 7, 4)
    """

    rowwise = True
    caches = ("sample_shape",)

    def __init__(self, target_shape: Sequence[int]) -> None:
        sizes = items("Reshape: target_shape", target_shape)
        sizes = [n if n == -1 else whole_number("Reshape: target_shape", n) for n in sizes]
        if sizes.count(-1) > 1 or not sizes:
            raise ValueError(f"Reshape: target_shape: expected sizes, of which at most one is -1, got {target_shape}.")
        self.target_shape = tuple(sizes)

    def build(self, input_shape: Shape) -> Shape:
        values, known = math.prod(input_shape), math.prod(n for n in self.target_shape if n > 0)
        shape = tuple(values // known if n == -1 else n for n in self.target_shape)
        if math.prod(shape) != values:
            raise ValueError(f"{self._where}: a sample of shape {input_shape} does not fit into {self.target_shape}.")
        return shape

    def as_numpy(self) -> str:
        return f"x = x.reshape(len(x), {', '.join(map(str, self.target_shape))})"

    def forward(self, x: Array) -> Array:
        self.sample_shape = x.shape[1:]
        return x.reshape(len(x), *self.target_shape)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(len(dy), *self.sample_shape)


class Rescaling(Layer, library=True):
    """``y = scale x + offset``, ``dx = scale dy``: fixed numbers, such as 1 / 255 for pixels.

    >>> import numpy as np
    >>> Rescaling(1 / 255).forward(np.array([[0.0, 255.0]]))
    array([[0., 1.]])
    """

    rowwise = True

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        self.scale = real_number("Rescaling: scale", scale)
        self.offset = real_number("Rescaling: offset", offset)

    def as_numpy(self) -> str:
        return "x = x * scale + offset"

    def forward(self, x: Array) -> Array:
        return x * self.scale + self.offset

    def backward(self, dy: Array) -> Array:
        return dy * self.scale


class Input(Layer, library=True):
    """The shape of a sample, as the first item of a model: the model is built at once.

    shape: without the batch axis. It is no layer of its own, and not among ``model.layers``. Also called InputLayer.
    Raises ValueError if it is not the first item.

    >>> import minidense as md
    >>> md.Sequential([Input((8,)), md.Dense(3)]).output_shape
    (3,)
    """

    def __init__(self, shape: int | Sequence[int] | None = None) -> None:
        if shape is not None:
            self._record.said_shape = whole_numbers("Input: shape", shape)

    def _expand(self) -> list[Layer]:
        raise ValueError("Input has to be the first item of a model, and says the shape of its samples: Input((8,)).")
