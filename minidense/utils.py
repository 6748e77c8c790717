"""Keras' module of that name: helpers for labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidense.core.arguments import shown
from minidense.core.types import Array


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """One-hot rows: (n,) labels from 0 become (n, num_classes) float32.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(x)
    if labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
        raise ValueError(f"to_categorical: expected whole numbers of at least 0, got {shown(x)}.")
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.max() >= count:
        raise ValueError(f"to_categorical: the label {labels.max()} needs more than {count} classes.")
    return np.asarray(np.eye(count, dtype="float32")[labels])
