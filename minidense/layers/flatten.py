"""``Flatten``: from images to rows."""

from __future__ import annotations

import math

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
