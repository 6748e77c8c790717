"""Interleaved spirals: classes that no straight line separates."""

from __future__ import annotations

import numpy as np

from minidense.core.arguments import whole_number
from minidense.core.rng import random_generator
from minidense.core.types import Array


def make_spirals(
    samples_per_class: int = 100, classes: int = 3, *, rng: int | np.random.Generator | None = None
) -> tuple[Array, Array]:
    """Points on ``classes`` spiral arms: x (n, 2) float64 within the unit circle, and labels y (n,).

    The form is that of the case study in Stanford's CS231n notes: arm c runs from the centre outwards, through
    angles 4c to 4c + 4, with noise of 0.2 on the angle.

    >>> x, y = make_spirals(100, 3, rng=0)
    >>> x.shape, np.bincount(y).tolist()
    ((300, 2), [100, 100, 100])
    """
    n, classes = whole_number("samples_per_class", samples_per_class), whole_number("classes", classes)
    random = random_generator(rng)
    radius = np.tile(np.linspace(0, 1, n), classes)
    arm = np.repeat(np.arange(classes), n)
    angle = 4 * arm + np.tile(np.linspace(0, 4, n), classes) + 0.2 * random.standard_normal(n * classes)
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]), arm
