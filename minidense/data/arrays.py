"""From the user's data to checked rows of numbers; data on disk is read only when it is needed."""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Sequence
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np

from minidense.core.arguments import listed, shown
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
    data frame, becomes a ``Blockwise``: nothing is read yet. Missing values of a data frame, such as pandas.NA, become
    NaN. Raises TypeError for masked or sparse arrays and for contents that are not real numbers, naming a data frame's
    columns; ValueError for rows of unequal length, or if there is no row or no feature.

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
    if isinstance(x, FunctionType):
        raise TypeError(f"{what}: expected rows, got the function {x.__name__}; call it: {x.__name__}().")
    lazy = not isinstance(x, np.ndarray | np.generic) and not hasattr(x, "to_numpy") and hasattr(x, "__getitem__")
    array: Rows
    if isinstance(x, Blockwise):
        array = x
    elif lazy and isinstance(getattr(x, "dtype", None), np.dtype) and isinstance(getattr(x, "shape", None), tuple):
        array = Blockwise(x)
    else:
        try:
            array = np.asarray(x)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{what}: expected an array of numbers, rows of equal length; {error}.") from None
    if 0 in array.shape:
        missing = "row" if len(array) == 0 else "feature"
        raise ValueError(f"{what}: expected at least one {missing}, got shape {array.shape}.")
    if hasattr(x, "to_numpy") and isinstance(array, np.ndarray):
        array = _numbers_of_frame(x, array, what)
    if array.dtype.kind not in "biuf":
        found = _KINDS.get(array.dtype.kind, "something else") + f" (dtype {array.dtype})"
        raise TypeError(f"{what}: expected real numbers, got {found}. Convert or encode them first.")
    return array


_KINDS = {"O": "objects", "U": "strings", "T": "strings", "S": "bytes", "c": "complex numbers", "M": "dates",
          "m": "time spans"}  # fmt: skip
_ADVICE = {
    "strings": "Encode strings as numbers, as md.TablePreprocessor does.",
    "categories": "Encode categories as numbers, as md.TablePreprocessor does.",
    "dates": "Convert dates to numbers, such as days since the first.",
    "time spans": "Convert time spans to numbers, such as seconds.",
}
_NUMBERS = ("int", "uint", "float", "bool")  # how the dtypes of pandas and polars are called
_CATEGORICAL = ("category", "categorical", "enum")


def as_outputs(y_pred: Any) -> Array:
    """Predictions that were passed by hand, as an array (m, ...); (m,) becomes (m, 1). TypeError and ValueError."""
    rows = as_features(y_pred, "y_pred")[:] if np.ndim(y_pred) else np.asarray(y_pred)
    if not rows.ndim:
        raise ValueError(f"y_pred: expected rows of outputs, (m, k), or (m,) for one output; got {shown(y_pred)}.")
    return rows[:, None] if rows.ndim == 1 else rows


def _numbers_of_frame(frame: Any, array: Array, what: str) -> Array:
    """The numbers of a data frame or of a series, whose values NumPy takes as ``array``; column by column if needed."""
    names = getattr(frame, "columns", None)
    dtypes = [getattr(frame, "dtype", "")] if names is None else getattr(frame, "dtypes", ())
    if array.dtype.kind in "biuf" and all(_is_called(dtype, _NUMBERS) for dtype in dtypes):
        return array  # otherwise it may have the codes of categories, or the nanoseconds of dates
    found: list[Array] = []
    wrong: dict[str, list[Any]] = {}
    for i, name in enumerate([None] if names is None else names):
        column = frame if names is None else frame.iloc[:, i] if hasattr(frame, "iloc") else frame[name]
        values = np.asarray(column)
        if contents := "categories" if _is_called(getattr(column, "dtype", ""), _CATEGORICAL) else contents_of(values):
            wrong.setdefault(contents, []).append(name)
        elif not wrong:
            found.append(values if values.dtype.kind != "O" else numbers_of(values))
    if not wrong:
        return found[0] if names is None else np.column_stack(found)
    got = [
        contents if names is None else f"{contents} in the column{'s' * (len(of) > 1)} {listed(of)}"
        for contents, of in wrong.items()
    ]
    advice = dict.fromkeys(_ADVICE.get(contents, "Convert or encode them first.") for contents in wrong)
    raise TypeError(f"{what}: expected real numbers, got {' and '.join(got)}. {' '.join(advice)}")


def _is_called(dtype: Any, beginnings: tuple[str, ...]) -> bool:
    return str(dtype).lower().startswith(beginnings)


def contents_of(array: Array) -> str:
    """What an array consists of if not of real numbers: "strings", "dates", ..., else ""; missing values do not count.

    >>> contents_of(np.array([1, None, True], object)), contents_of(np.array([None, "a"], object))
    ('', 'strings')
    """
    if array.dtype.kind != "O":
        return "" if array.dtype.kind in "biuf" else _KINDS.get(array.dtype.kind, "something else")
    kinds = [kind for kind in set(map(type, array.ravel().tolist())) if kind.__name__ not in _MISSING]
    for contents, of in (("strings", str), ("dates", datetime.date), ("time spans", datetime.timedelta)):
        if any(issubclass(kind, of) for kind in kinds):
            return contents
    real = (issubclass(kind, _NUMBER) and not issubclass(kind, complex | np.complexfloating) for kind in kinds)
    return "" if all(real) else "objects"


_NUMBER = (numbers.Number, np.bool)  # the types of numbers
_MISSING = ("NoneType", "NAType", "NaTType")  # the types of None, pandas.NA and pandas.NaT


def is_missing(value: Any) -> bool:
    """Whether ``value`` is None, NaN, or what data frames have instead.

    >>> is_missing(None), is_missing(float("nan")), is_missing("nan")
    (True, True, False)
    """
    return type(value).__name__ in _MISSING or bool(isinstance(value, numbers.Real) and value != value)


def numbers_of(array: Array) -> Array:
    """The numbers in an array of objects, as float64; those that are missing, as NaN; those too large, as infinity."""
    return np.array([_float_of(value) for value in array.ravel().tolist()], np.float64).reshape(array.shape)


def _float_of(value: Any) -> float:
    try:
        return math.nan if is_missing(value) else float(value)
    except OverflowError:  # an int that no float has
        return math.inf if value > 0 else -math.inf


def check_features(
    x: Rows, input_shape: Shape, dtype: np.dtype[Any], what: str = "x", names: Sequence[str] | None = None
) -> None:
    """Raise ValueError unless ``x`` has rows of ``input_shape`` that are finite in ``dtype``.

    names: of the columns, for the error.
    """
    check_shape(x, input_shape, what)
    check_finite(x, dtype, what, names)


def check_shape(x: Rows, input_shape: Shape, what: str = "x") -> None:
    """Raise ValueError unless ``x`` has rows of ``input_shape``."""
    if x.shape[1:] != input_shape or x.ndim == 0:
        raise ValueError(_wrong_shape(x.shape, input_shape, what))


def check_finite(
    x: Rows, dtype: np.dtype[Any], what: str = "x", names: Sequence[str] | None = None, first: int = 0
) -> None:
    """Raise ValueError unless the rows are finite in ``dtype``. first: the number of the first row, for the error."""
    if x.dtype.kind == "f" and isinstance(x, np.ndarray) and x.nbytes <= CHECK_BYTES:
        _check_finite(x, first, dtype, what, names)
    elif x.dtype.kind == "f":
        size = max(1, CHECK_BYTES // max(1, x.itemsize * math.prod(x.shape[1:])))
        for start in range(0, len(x), size):
            _check_finite(x[start : start + size], first + start, dtype, what, names)


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


def _check_finite(block: Array, start: int, dtype: np.dtype[Any], what: str, names: Sequence[str] | None) -> None:
    if block.dtype == dtype and math.isfinite(np.vdot(block, block)):  # one pass; a finite sum has finite terms
        return
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(block.astype(dtype))
    if bad.any():
        position = tuple(int(i) for i in np.argwhere(bad)[0])
        row, column = start + position[0], ", ".join(map(str, position[1:]))
        value = block[position]
        why = f"which overflows {dtype}: scale it down" if np.isfinite(value) else "remove or impute it"
        if names is not None:
            column, value = shown(names[position[1]]), "missing" if np.isnan(value) else value
        raise ValueError(f"{what}: row {row}, column {column} is {value}, {why}.")


def as_array(y: Any) -> Array:
    """Labels or targets as an array of numbers, or of strings, as text or as objects.

    Raises TypeError for a masked array, and ValueError for rows of unequal length and, among numbers or strings, for
    values that are missing (None, NaN, pandas.NA) or of another type, naming the row. Other objects are left alone.

    >>> as_array(["b", None])
    Traceback (most recent call last):
    ValueError: y: None in row 1 is missing: drop that row, or fill in a value.
    """
    if isinstance(y, np.ma.MaskedArray):
        raise TypeError("y: expected an array without a mask, got a masked one; drop the masked rows first.")
    try:
        array = np.asarray(y)
        # Of numbers and NaN among strings NumPy makes strings: the objects themselves are looked at.
        objects = np.array(y, object) if array.dtype.kind in "USTO" and array.size else None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"y: expected labels, or rows of equal length; {error}.") from None
    found = array if objects is None else _of_one_type(objects)
    return array if array.dtype.kind in "US" else found


def _of_one_type(array: Array) -> Array:
    values = array.ravel().tolist()
    kinds = {kind: _basic(kind) for kind in set(map(type, values))}
    found = set(kinds.values())
    if None in found or found in ({str}, {bytes}):
        return array
    for place, value in enumerate(values):
        row = place // math.prod(array.shape[1:])
        if is_missing(value):
            raise ValueError(f"y: {value!r} in row {row} is missing: drop that row, or fill in a value.")
        if kinds[type(value)] is not kinds[type(values[0])]:
            raise ValueError(
                f"y: {shown(value)} in row {row} is of type {type(value).__name__}, and {shown(values[0])} in row 0 of "
                f"type {type(values[0]).__name__}; expected labels of one type."
            )
    if found != {numbers.Number}:
        return array
    exact = np.array(values)
    return exact.reshape(array.shape) if exact.dtype.kind in "biuf" else numbers_of(array)


def _basic(kind: type) -> type | None:
    """What a type is among labels: a number, text, bytes, or missing; None for anything else."""
    if kind.__name__ in _MISSING:
        return type(None)
    return numbers.Number if issubclass(kind, _NUMBER) else next((t for t in (str, bytes) if issubclass(kind, t)), None)


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
