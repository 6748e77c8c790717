"""Class labels: names to integers and back, and class weights."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from minidense.core.arguments import listed, nearest, shown
from minidense.core.types import Array
from minidense.data.arrays import as_array, check_weights, is_missing


class ClassLabels:
    """Class names and their integer labels: 0, 1, 2, ... in sorted order.

    y: class names, (n,), strings or anything that sorts. ``encode`` turns names into integers, ``decode`` integers, or
    rows of scores or probabilities, into names. Raises ValueError or TypeError, naming the row and the value, if names
    are missing (None, NaN), of several types, or do not sort.

    >>> labels = ClassLabels(["dog", "cat", "dog"])
    >>> labels.encode(["dog", "cat"])
    array([1, 0])
    >>> labels.decode(np.array([[0.1, 0.9], [0.8, 0.2]])).tolist()
    ['dog', 'cat']
    """

    def __init__(self, y: Any) -> None:
        array = _names(y)
        given = array.tolist()
        if not given:
            raise ValueError("ClassLabels: expected at least one label.")
        try:
            names = np.array(sorted(set(given)), array.dtype)
        except TypeError as error:  # from set, or from sorted
            row = next((row for row, name in enumerate(given) if type(name) is not type(given[0])), 0)
            raise TypeError(f"y: {shown(given[row])} in row {row} cannot be a class name: {error}.") from None
        self.names = names.astype(str) if isinstance(names[0], str) else names

    def encode(self, y: Any) -> Array:
        """The integer of each name in ``y``, (n,). Raises ValueError for a name that is not among ``names``."""
        numbers = {name: i for i, name in enumerate(self.names.tolist())}
        names = _names(y).tolist()
        try:
            return np.array([numbers[name] for name in names], np.intp)
        except (KeyError, TypeError):  # TypeError: for what cannot be a key, such as a list
            row = next(i for i, name in enumerate(names) if not isinstance(name, Hashable) or name not in numbers)
            name, classes = shown(names[row]), listed(numbers)
            raise ValueError(f"y: {name} in row {row} is not one of the classes [{classes}].") from None

    def decode(self, numbers: Any) -> Array:
        """The names for integers (n,), for rows of k values (n, k), or, with two classes, for probabilities (n, 1).

        A row gets the name of its largest value; a probability the second name if it is above 0.5. Raises ValueError
        for other shapes and for integers out of range.
        """
        numbers, k = np.asarray(numbers), len(self.names)
        if numbers.ndim == 2 and numbers.shape[1] == 1 and k == 2:
            numbers = (numbers[:, 0] > 0.5).astype(int)
        elif numbers.ndim == 2 and numbers.shape[1] == k:
            numbers = numbers.argmax(axis=1)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= k)).any():
            raise ValueError(f"expected integers from 0 to {k - 1}, or rows of {k} values, got shape {numbers.shape}.")
        return np.asarray(self.names[numbers])

    def __repr__(self) -> str:
        return f"ClassLabels({self.names.tolist()})"


def largest_or_above(outputs: Array, threshold: float | None) -> Array:
    """The integer label of each row: that of its largest output, or, with a ``threshold``, whether it is above that.

    outputs: (n, k). Returns (n,); with a threshold and k > 1, each output has its own label, (n, k).

    >>> largest_or_above(np.array([[0.2, 0.8]]), None), largest_or_above(np.array([[0.2], [0.8]]), 0.5)
    (array([1]), array([0, 1]))
    """
    if threshold is None:
        return np.asarray(outputs.argmax(axis=-1))
    labels = (outputs > threshold).astype(np.intp)
    return labels[:, 0] if labels.shape[1:] == (1,) else labels


def _names(y: Any) -> Array:
    """``y`` as an array (n,), in which nothing is missing."""
    names = as_array(y)
    if names.ndim == 2 and names.shape[1] == 1:
        names = names[:, 0]
    if names.ndim != 1:
        raise ValueError(f"y: expected one class name for each row, shape (n,), got {names.shape}.")
    for row, name in enumerate(names.tolist()) if names.dtype.kind in "fOMm" else ():
        if is_missing(name):
            raise ValueError(f"y: {name!r} in row {row} is missing: drop that row, or fill in a value.")
    return names


def class_weights(
    class_weight: Any, labels: Array, weights: Array | None = None, classes: Sequence[str] | None = None
) -> Array:
    """The weight of each row, (n,) float64: its class's weight, times the row's own if there are ``weights``.

    class_weight: a dict from label to weight, which must have every label in ``labels``; or "balanced", for
    ``n / (classes * count)``, so that all classes have the same total weight and the mean weight is 1. With
    ``weights``, these are summed instead of counting rows. classes: the names of the labels 0, 1, ...; the dict is then
    from name to weight. Raises ValueError for a label without a weight.

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
    keys = names.tolist() if classes is None else [classes[i] for i in names.tolist()]
    missing = [key for key in keys if key not in class_weight]
    if missing:
        raise ValueError(f"class_weight: no weight for the labels {missing}; it has weights for {list(class_weight)}.")
    by_class = check_weights([class_weight[key] for key in keys], len(keys), "class_weight")
    return _by_class(by_class, names, labels, weights)


def _by_class(by_class: Array, names: Array, labels: Array, weights: Array | None) -> Array:
    """The weight of each row's class, times the row's own."""
    found = np.empty(len(labels))
    for rows in _parts(len(labels)):
        np.take(by_class, np.searchsorted(names, labels[rows]), out=found[rows])
        if weights is not None:
            found[rows] *= weights[rows]
    return found


def _parts(n: int) -> Iterator[slice]:
    """Slices of a limited number of rows, so that temporary arrays stay small."""
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


_ROWS = 65_536
