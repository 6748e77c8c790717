"""Class labels: their names as whole numbers, and the weights of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidense.core.arguments import nearest
from minidense.core.types import Array
from minidense.data.arrays import check_weights


class ClassLabels:
    """Class names and their numbers: the sorted names are 0, 1, 2, ...

    y: the labels, strings or anything that sorts. ``encode`` turns labels into numbers, ``decode`` numbers, or rows
    of scores or probabilities, into labels.

    >>> labels = ClassLabels(["dog", "cat", "dog"])
    >>> labels.encode(["dog", "cat"])
    array([1, 0])
    >>> labels.decode(np.array([[0.1, 0.9], [0.8, 0.2]])).tolist()
    ['dog', 'cat']
    """

    def __init__(self, y: Any) -> None:
        self.names = np.unique(np.asarray(y))
        if not len(self.names):
            raise ValueError("ClassLabels: expected at least one label.")

    def encode(self, y: Any) -> Array:
        """The number of each label, (n,). Raises ValueError for a label that is not among ``names``."""
        y = np.asarray(y)
        numbers = np.minimum(np.searchsorted(self.names, y), len(self.names) - 1)
        unknown = self.names[numbers] != y
        if unknown.any():
            row = int(np.argmax(unknown))
            raise ValueError(f"y: {y.tolist()[row]!r} in row {row} is none of the classes {self.names.tolist()}.")
        return np.asarray(numbers)

    def decode(self, numbers: Any) -> Array:
        """The labels of numbers (n,), of rows of k values (n, k), or of probabilities (n, 1).

        A row's label is that of its largest value; a probability's, where there are two classes, the second one above
        0.5. Raises ValueError for other shapes and for numbers that no label has.
        """
        numbers, k = np.asarray(numbers), len(self.names)
        if numbers.ndim == 2 and numbers.shape[1] == 1 and k == 2:
            numbers = (numbers[:, 0] > 0.5).astype(int)
        elif numbers.ndim == 2 and numbers.shape[1] == k:
            numbers = numbers.argmax(axis=1)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= k)).any():
            raise ValueError(f"expected numbers from 0 to {k - 1}, or rows of {k} values, got shape {numbers.shape}.")
        return np.asarray(self.names[numbers])

    def __repr__(self) -> str:
        return f"ClassLabels({self.names.tolist()})"


def class_weights(class_weight: Any, labels: Array, weights: Array | None = None) -> Array:
    """The weight of each row, (n,) float64: its class's weight, times the row's own where there are ``weights``.

    class_weight: a dict from label to weight, which must name every label in ``labels``; or "balanced", for
    ``n / (classes * count)``, so that all classes weigh the same in total and the mean weight is 1; rows that have
    ``weights`` are counted by them. Raises ValueError for a label without a weight.

    >>> class_weights("balanced", np.array([0, 0, 0, 1]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    if labels.ndim != 1:
        raise ValueError(f"class_weight: expected one label for each row, got y of shape {labels.shape}.")
    names = np.unique(labels)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            guess = nearest(class_weight, ["balanced"])
            raise ValueError(f"class_weight: expected a dict or 'balanced', got {class_weight!r}.{guess}")
        counts = np.zeros(len(names))
        for rows in _parts(len(labels)):
            own = None if weights is None else weights[rows]
            counts += np.bincount(np.searchsorted(names, labels[rows]), own, len(names))
        return _by_class(counts.sum() / (len(names) * np.where(counts, counts, 1)), names, labels, weights)
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight: expected a dict from label to weight, or 'balanced', got {class_weight!r}.")
    missing = [name for name in names.tolist() if name not in class_weight]
    if missing:
        raise ValueError(f"class_weight: no weight for the labels {missing}; it has those for {list(class_weight)}.")
    by_class = check_weights([class_weight[name] for name in names.tolist()], len(names), "class_weight")
    return _by_class(by_class, names, labels, weights)


def _by_class(by_class: Array, names: Array, labels: Array, weights: Array | None) -> Array:
    """The weight of each row's class, times its own."""
    found = np.empty(len(labels))
    for rows in _parts(len(labels)):
        np.take(by_class, np.searchsorted(names, labels[rows]), out=found[rows])
        if weights is not None:
            found[rows] *= weights[rows]
    return found


def _parts(n: int) -> Iterator[slice]:
    """So few rows at a time that what is computed of them stays small."""
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


_ROWS = 65_536
