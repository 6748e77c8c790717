"""From the user's data to checked rows of numbers; data on disk is read only when it is needed."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from minidense.core.types import Array, Shape

CHECK_BYTES = 512 * 1024
"""Data is checked in pieces of this many bytes."""


class Blockwise:
    """Rows ``start`` to ``stop`` of something with a shape, a dtype and ``[...]``, such as an HDF5 or zarr array.

    Indexing reads only the rows asked for. They may be given in any order, and are read in rising order, as HDF5
    requires.
    """

    def __init__(self, source: Any, start: int = 0, stop: int | None = None) -> None:
        self.source, self.start = source, start
        self.stop = source.shape[0] if stop is None else stop
        self.shape: Shape = (self.stop - start, *source.shape[1:])
        self.dtype = np.dtype(source.dtype)
        self.ndim, self.itemsize = len(self.shape), self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows: slice | Array) -> Array:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return np.asarray(self.source[self.start + start : self.start + stop])
        rising = np.argsort(rows)
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        found[rising] = self.source[self.start + rows[rising].astype(np.intp)]
        return found


Rows: TypeAlias = Array | Blockwise


def part(x: Any, start: int, stop: int) -> Any:
    """Rows ``start`` to ``stop`` of ``x``: a view, or a ``Blockwise`` that reads them later."""
    if isinstance(x, Blockwise):
        return Blockwise(x.source, x.start + start, x.start + stop)
    return x[start:stop]


def as_features(x: Any, what: str = "x") -> Rows:
    """``x`` as an array of real numbers, not copied if it is one already.

    An HDF5 or zarr array, or anything else with a shape, a NumPy dtype and ``[...]`` that is neither an array nor a
    data frame, becomes a ``Blockwise``: nothing is read yet. Raises TypeError for contents that are not real numbers
    and for masked or sparse arrays; ValueError for rows of unequal length, or if there is no row or no feature.

    >>> as_features([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]])
    """
    if type(x) is np.ndarray and x.dtype.kind in "biuf" and x.size:  # the most frequent case by far
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{what}: expected an array without a mask, got a masked one; fill or drop the masked values first."
        )
    if hasattr(x, "toarray"):
        raise TypeError(
            f"{what}: expected a dense array, got {type(x).__name__}; use x.toarray() if it fits in memory."
        )
    lazy = not isinstance(x, np.ndarray | np.generic) and not hasattr(x, "to_numpy") and hasattr(x, "__getitem__")
    array: Rows
    if isinstance(x, Blockwise):
        array = x
    elif lazy and isinstance(getattr(x, "dtype", None), np.dtype) and isinstance(getattr(x, "shape", None), tuple):
        array = Blockwise(x)
    else:
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{what}: expected an array of numbers, rows of equal length; {error}.") from None
    if array.dtype.kind == "O" and getattr(x, "columns", None) is not None and not _wrong_columns(x):
        array = np.asarray(x, np.float64)  # a frame of numbers and booleans
    if array.dtype.kind not in "biuf":
        contents = {"O": "objects", "U": "strings", "S": "bytes", "c": "complex numbers"}
        found = contents.get(array.dtype.kind, "something else") + f" (dtype {array.dtype})"
        raise TypeError(f"{what}: expected real numbers, got {found}{_wrong_columns(x)}. Convert or encode them first.")
    if 0 in array.shape:
        missing = "row" if len(array) == 0 else "feature"
        raise ValueError(f"{what}: expected at least one {missing}, got shape {array.shape}.")
    return array


def _wrong_columns(frame: Any) -> str:
    """The end of an error message: which columns of a data frame are not numbers."""
    names = list(getattr(frame, "columns", ()))
    wrong = [str(name) for name in names if np.asarray(frame[name]).dtype.kind not in "biuf"]
    return f" in the column{'s' * (len(wrong) > 1)} {', '.join(map(repr, wrong))}" if wrong else ""


def check_features(x: Rows, input_shape: Shape, dtype: np.dtype[Any], what: str = "x") -> None:
    """Raise ValueError unless ``x`` has rows of ``input_shape`` that are finite in ``dtype``."""
    if x.shape[1:] != input_shape or x.ndim == 0:
        raise ValueError(_wrong_shape(x.shape, input_shape, what))
    if x.dtype.kind == "f" and isinstance(x, np.ndarray) and x.nbytes <= CHECK_BYTES:
        _check_finite(x, 0, dtype, what)
    elif x.dtype.kind == "f":
        size = max(1, CHECK_BYTES // max(1, x.itemsize * math.prod(input_shape)))
        for start in range(0, len(x), size):
            _check_finite(x[start : start + size], start, dtype, what)


def _wrong_shape(shape: Shape, expected: Shape, what: str) -> str:
    rows = "(n, " + ", ".join(map(str, expected)) + ")"
    if shape == expected:
        hint = " One sample? Use x[None, :]." if len(expected) == 1 else " One sample? Use x[None]."
    elif len(shape) > 2 and math.prod(shape[1:]) == math.prod(expected):
        hint = " Flatten each sample first: x.reshape(len(x), -1)."
    elif len(expected) == 1 and len(shape) == 1:
        hint = " One feature? Use x[:, None]." if expected == (1,) else ""
    else:
        hint = " The model was built for another number of features." if len(shape) == len(expected) + 1 else ""
    return f"{what}: expected shape {rows}, got {shape}.{hint}"


def _check_finite(block: Array, start: int, dtype: np.dtype[Any], what: str) -> None:
    if block.dtype == dtype and math.isfinite(np.vdot(block, block)):  # one pass; a finite sum has finite terms
        return
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(block.astype(dtype))
    if bad.any():
        position = tuple(int(i) for i in np.argwhere(bad)[0])
        row, column = start + position[0], ", ".join(map(str, position[1:]))
        value = block[position]
        why = f"which overflows {dtype}: scale it down" if np.isfinite(value) else "remove or impute it"
        raise ValueError(f"{what}: row {row}, column {column} is {value}, {why}.")


def check_weights(weights: Any, n: int, what: str = "sample_weight", all_zero: bool = False) -> Array:
    """``weights`` as (n,) float64, read-only, and not copied if they are float64 already.

    Raises ValueError unless they are n finite numbers of at least 0; all 0 is an error too, unless ``all_zero``.
    """
    given = as_features(weights, what)
    if given.shape != (n,):
        raise ValueError(f"{what}: expected one weight for each of the {n} rows, shape ({n},), got {given.shape}.")
    array = given[:]
    for first in range(0, n, CHECK_BYTES // 8):
        block = array[first : first + CHECK_BYTES // 8]
        valid = np.isfinite(block) & (block >= 0)
        if not valid.all():
            row = first + int(np.argmin(valid))
            raise ValueError(f"{what}: expected finite weights of at least 0, got {array[row]} in row {row}.")
    if not array.any() and not all_zero:
        raise ValueError(f"{what}: all weights are 0; there is nothing to learn from.")
    checked = array.astype(np.float64, copy=False).view()
    checked.flags.writeable = False
    return checked
