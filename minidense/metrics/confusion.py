"""``confusion_matrix``: how many rows of each class are predicted as each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidense.core.arguments import items, listed
from minidense.core.types import Array
from minidense.data.arrays import as_array, check_weights


class ConfusionMatrix(np.ndarray[Any, Any]):
    """An array (k, k): a row for each true class, a column for each predicted one. It prints with their names.

    ``names`` are those of the classes, in the order of the rows.
    """

    names: tuple[str, ...] | None

    def __array_finalize__(self, obj: Any) -> None:
        self.names = None  # parts and sums are plain numbers

    def __repr__(self) -> str:
        if self.names is None or self.shape != (len(self.names),) * 2:
            return repr(np.asarray(self))
        cells = [["true \\ predicted", *self.names]]
        cells += [[name, *(f"{n:g}" for n in row)] for name, row in zip(self.names, self.tolist(), strict=True)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        rows = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
        return "\n".join(rows)

    __str__ = __repr__


def confusion_matrix(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, names: Sequence[Any] | None = None
) -> ConfusionMatrix:
    """How many rows of each true class, a row, are predicted as each class, a column: (k, k), int64.

    y_true: class labels or names (n,) or (n, 1), or one-hot rows (n, k). y_pred: the same, or what ``predict`` returns:
    rows of k probabilities or scores, whose largest counts, or (n,) or (n, 1) probabilities of class 1, whose threshold
    is 0.5. names: of the classes 0, 1, 2, ...; without them, names in y_true and y_pred count in sorted order.
    sample_weight: (n,); the sums of weights are then counted, in float64. Raises ValueError and TypeError.

    >>> confusion_matrix(["cat", "dog", "dog"], ["cat", "cat", "dog"])
    true \\ predicted  cat  dog
    cat                 1    0
    dog                 1    1
    """
    true, predicted = (_labels(what, y) for what, y in (("y_true", y_true), ("y_pred", y_pred)))
    if len(true) != len(predicted) or not len(true):
        raise ValueError(
            f"confusion_matrix: expected as many rows of y_true as of y_pred, at least one; got {len(true)} and "
            f"{len(predicted)}."
        )
    known = None if names is None else [str(name) for name in items("names", names)]
    if {true.dtype.kind, predicted.dtype.kind} - {"i"}:
        classes = sorted({*map(str, true.tolist()), *map(str, predicted.tolist())})
        known = classes if known is None else known
        if others := [name for name in classes if name not in known]:
            raise ValueError(f"confusion_matrix: {listed(others)} in y_true or y_pred; the names are {listed(known)}.")
        numbers = {name: i for i, name in enumerate(known)}
        true, predicted = (np.array([numbers[str(name)] for name in y.tolist()]) for y in (true, predicted))
    widths = [y.shape[1] for y in map(np.asarray, (y_true, y_pred)) if y.ndim == 2]
    k = len(known) if known is not None else max(2, int(max(true.max(), predicted.max())) + 1, *widths)
    for what, y in (("y_true", true), ("y_pred", predicted)):
        if (y < 0).any() or (y >= k).any():
            row = int(np.argmax((y < 0) | (y >= k)))
            raise ValueError(f"{what}: expected labels from 0 to {k - 1}, got {y[row]} in row {row}.")
    weights = None if sample_weight is None else check_weights(sample_weight, len(true))
    counts = np.bincount(true * k + predicted, weights, k * k).reshape(k, k)
    found = counts.view(ConfusionMatrix)
    found.names = tuple(known) if known is not None else tuple(map(str, range(k)))
    return found


def _labels(what: str, y: Any) -> Array:
    """Labels as integers (n,), or names."""
    array = as_array(y)
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
        return np.asarray(array.argmax(axis=1))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{what}: expected labels (n,) or (n, 1), or rows (n, k), got shape {array.shape}.")
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        if ((array >= 0) & (array <= 1)).all():
            return (array > 0.5).astype(np.int64)
        if (array == np.floor(array)).all() and (abs(array) < 2**31).all():
            return array.astype(np.int64)
        raise ValueError(f"{what}: expected whole numbers, or probabilities from 0 to 1.")
    if array.dtype.kind not in "UO" or not all(isinstance(name, str) for name in array.tolist()):
        raise TypeError(f"{what}: expected labels, names or probabilities, got dtype {array.dtype}.")
    return array
