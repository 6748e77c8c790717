"""Keras' module of that name: helpers for labels, vectors and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.core.arguments import shown
from minidense.core.instead import module_attribute
from minidense.core.types import Array
from minidense.data.arrays import as_features
from minidense.data.sources import PyDataset

Sequence = PyDataset
"""Its name in older versions of Keras."""

__all__ = ["PyDataset", "Sequence", "normalize", "set_random_seed", "to_categorical"]


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """One-hot rows: (n,) labels from 0 become (n, num_classes) float32.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(x)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():
        labels = labels.astype(int)
    if labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
        raise ValueError(f"to_categorical: expected whole numbers of at least 0, got {shown(x)}.")
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.max() >= count:
        raise ValueError(f"to_categorical: the label {labels.max()} needs more than {count} classes.")
    return np.asarray(np.eye(count, dtype="float32")[labels])


def normalize(x: Any, axis: int = -1, order: float = 2) -> Array:
    """Vectors along an axis, at length 1 in the norm of that order; vectors of zeros as they are.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    vectors = np.asarray(as_features(x)[:])
    lengths = np.linalg.norm(vectors, order, axis, keepdims=True)
    return np.asarray(vectors / np.where(lengths, lengths, 1))


def set_random_seed(seed: int) -> None:
    """Raises TypeError: there is no seed for everything. Pass it to the model: ``Sequential(layers, rng=seed)``."""
    raise TypeError(f"there is no global seed; pass it to the model: md.Sequential(layers, rng={seed!r}).")


if not TYPE_CHECKING:
    __getattr__ = module_attribute("utils")
