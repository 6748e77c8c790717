"""Noise in training, the identity at inference: ``Dropout``, ``GaussianNoise``."""

from __future__ import annotations

import numpy as np

from minidense.core.arguments import real_number
from minidense.core.types import Array
from minidense.layers.base import Layer


class Dropout(Layer, library=True):
    """In training, each value is set to 0 with probability ``rate``; the others are multiplied by ``1 / (1 - rate)``.

    So the expected value does not change, and at inference the layer returns its input (Srivastava et al., 2014). Each
    Dropout draws from its own random generator: adding one changes nothing that other layers draw.

    rate: in [0, 1). Raises ValueError otherwise.

    >>> Dropout(0.5).forward(np.ones((1, 3)), training=False)
    array([[1., 1., 1.]])
    """

    rowwise = True
    draws = True
    caches = ("mask",)

    def __init__(self, rate: float) -> None:
        self.rate = real_number("Dropout: rate", rate, at_least=0, below=1)

    def as_numpy(self) -> str:
        return "pass"

    def forward(self, x: Array, training: bool) -> Array:
        if not training or not self.rate:
            self.mask = None
            return x
        self.mask = self.workspace("mask", x.shape, x.dtype)
        np.greater_equal(self.rng.random(x.shape, np.float32), self.rate, out=self.mask)
        self.mask *= 1 / (1 - self.rate)
        return np.multiply(x, self.mask, out=self.workspace("y", x.shape, x.dtype))

    def backward(self, dy: Array) -> Array:
        if self.mask is None:
            return dy
        return np.multiply(dy, self.mask, out=self.workspace("dx", dy.shape, dy.dtype))

    mask: Array | None


class GaussianNoise(Layer, library=True):
    """In training, normal noise with standard deviation ``stddev`` is added to each value; at inference nothing.

    stddev: at least 0. Raises ValueError otherwise.

    >>> GaussianNoise(0.1).forward(np.ones((1, 3)), training=False)
    array([[1., 1., 1.]])
    """

    rowwise = True
    draws = True

    def __init__(self, stddev: float) -> None:
        self.stddev = real_number("GaussianNoise: stddev", stddev, at_least=0)

    def as_numpy(self) -> str:
        return "pass"

    def forward(self, x: Array, training: bool) -> Array:
        if not training or not self.stddev:
            return x
        noise: Array = np.asarray(self.rng.standard_normal(x.shape, x.dtype))
        noise *= self.stddev
        noise += x
        return noise

    def backward(self, dy: Array) -> Array:
        return dy
