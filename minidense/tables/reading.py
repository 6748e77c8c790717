"""From a table of the user's to its columns, and from a column to its kind and its values.

What is read is the same from a data frame, a dict, an array or lists, and so is what it becomes. These functions, and
those that they call, need NumPy only: an exported file has them as well.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from minidense.core.arguments import listed, shown
from minidense.core.types import Array
from minidense.data.arrays import is_missing, numbers_of

Name: TypeAlias = str | int


def columns_of(x: Any) -> dict[Name, Any]:
    """The columns of ``x`` by name; those of an array by number.

    x: a data frame, a dict of columns, an array (n, d), lists of rows, or a structured array. Raises TypeError for
    anything else, and ValueError for two columns of one name, columns of unequal length, and no rows or columns.

    >>> columns_of({"age": [3, 4]}), list(columns_of([[1.5, "a"]]))
    ({'age': [3, 4]}, [0, 1])
    """
    if type(x).__name__ == "LazyFrame":
        raise TypeError("x: expected a table in memory, got a LazyFrame; use x.collect().")
    if hasattr(x, "toarray"):
        raise TypeError(f"x: expected a dense array, got {type(x).__name__}; use x.toarray() if it fits in memory.")
    names = _names_of(x)
    if names is None:
        array = _array_of(x)
        if array.ndim != 2:
            hint = " One row? Use x[None, :]. One column? Use x[:, None]." if array.ndim == 1 else ""
            raise ValueError(f"x: expected a table, such as an array of shape (n, d), got shape {array.shape}.{hint}")
        columns: dict[Name, Any] = {i: array[:, i] for i in range(array.shape[1])}
    else:
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise ValueError(f"x: two columns are named {shown(twice)}; rename one of them.")
        pairs = x.items() if hasattr(x, "items") else ((name, x[name]) for name in names)
        columns = {_name_of(name): column for name, column in pairs}
    if not columns:
        raise ValueError("x: expected at least one column, got none.")
    lengths = {name: _length(column, name) for name, column in columns.items()}
    first, n = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != n:
            raise ValueError(
                f"x: expected columns of equal length, got {n} values in {shown(first)} and {length} in {shown(name)}."
            )
    if not n:
        raise ValueError("x: expected at least one row, got none.")
    return columns


def columns_for(x: Any, names: Sequence[Name]) -> list[Any]:
    """The columns of ``x`` in the order of ``names``: by name, or by position if ``x`` or ``names`` are of an array.

    Raises what ``columns_of`` does, and ValueError if ``x`` has not exactly these columns, naming those that differ.
    """
    columns = columns_of(x)
    expected, given = list(names), list(columns)
    of_array = expected == list(range(len(expected))) and all(isinstance(name, str) for name in given)
    if given == expected or ((of_array or _names_of(x) is None) and len(given) == len(expected)):
        return list(columns.values())
    if of_array or _names_of(x) is None:
        raise ValueError(f"x: expected {len(expected)} columns, as in fit, got {len(given)}.")
    known = set(expected)
    missing, others = [name for name in names if name not in columns], [name for name in given if name not in known]
    if missing or others:
        parts = [f"{listed(missing)} missing"] * bool(missing) + [f"{listed(others)} not known"] * bool(others)
        hint = "" if missing else " Leave out what is not known."
        raise ValueError(f"x: expected the columns of fit, [{listed(names)}]; {' and '.join(parts)}.{hint}")
    return [columns[name] for name in names]


def read(column: Any, name: Name) -> tuple[str, Any]:
    """The kind of a column, one of ``KINDS``, and its values.

    Text is a list of strings, with None where one is missing. All else is float64 (n,), with NaN there: booleans as 0
    and 1, dates as seconds since 1970, time spans as seconds. A column in which all is missing is of the kind
    "nothing". Raises TypeError for values of several kinds, and of none of these; ValueError for infinite ones.

    >>> read(["a", None], "town"), read([True, None], "member")
    (('text', ['a', None]), ('booleans', array([ 1., nan])))
    """
    dtype = getattr(column, "dtype", None)
    zone = getattr(dtype, "tz", None) or getattr(dtype, "time_zone", None)
    if zone is not None and hasattr(column, "dt"):  # of pandas or polars: in UTC
        column = column.dt.tz_convert(None) if hasattr(column, "iloc") else column.to_numpy()
    array = _array_of(column, name)
    if array.ndim != 1:
        raise ValueError(f"x: column {shown(name)}: expected one value for each row, got shape {array.shape}.")
    kind, values = _OF_DTYPE.get(array.dtype.kind, ""), array
    if array.dtype.kind in "OST":
        kind, values = _of_objects(array.tolist(), name)
    elif kind == "text":
        return kind, array.tolist()
    elif kind in ("dates", "time spans"):
        kind, values = kind if zone is None else "dates with a time zone", _seconds(array)
    if not kind:
        raise TypeError(f"x: column {shown(name)}: {_EXPECTED}, got dtype {array.dtype}.")
    if kind in ("text", "nothing"):
        return kind, values
    values = values.astype(np.float64, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        if (bad := np.isinf(values)).any():
            row = int(bad.argmax())
            raise ValueError(f"x: row {row}, column {shown(name)} is {values[row]}: remove or impute it.")
        if not finite.any():
            kind = "nothing"
    return kind, values


KINDS = ("numbers", "booleans", "text", "dates", "dates with a time zone", "time spans", "nothing")
_OF_DTYPE = dict.fromkeys("iuf", "numbers") | {"b": "booleans", "U": "text", "M": "dates", "m": "time spans"}
_EXPECTED = "expected numbers, text, booleans, dates or time spans"


def _names_of(x: Any) -> list[Any] | None:
    """The names of the columns; None for an array and for lists."""
    if isinstance(x, dict):
        return list(x)
    names = getattr(getattr(x, "dtype", None), "names", None) or getattr(x, "columns", None)
    return None if names is None else list(names)


def _length(column: Any, name: Name) -> int:
    """The number of values. Raises TypeError for what is no column."""
    try:
        if not isinstance(column, str | bytes | dict):
            return len(column)
    except TypeError:
        pass
    raise TypeError(f"x: column {shown(name)}: expected a list or an array of values, got {shown(column)}.")


def _name_of(name: Any) -> Name:
    """The name of a column. Raises TypeError for what is neither text nor a whole number."""
    if isinstance(name, numbers.Integral) and not isinstance(name, bool):
        return int(name)
    if not isinstance(name, str):
        raise TypeError(f"x: expected columns named by text, got {shown(name)}; rename it.")
    return str(name)


def _array_of(values: Any, name: Name | None = None) -> Array:
    """``values`` as an array; of lists of different types, and of masked values, one of objects. name: of a column."""
    try:
        if isinstance(values, np.ma.MaskedArray):
            if values.dtype.kind in "Mm":
                return np.where(np.ma.getmaskarray(values), np.array("NaT", values.dtype), values.data)
            array = np.array(values.data, object)
            array[np.ma.getmaskarray(values)] = None
            return array
        array = np.asarray(values)
        if array.dtype.kind in "US" and not hasattr(values, "dtype"):  # of numbers among text NumPy makes text
            array = np.array(values, object)
    except (ValueError, OverflowError) as error:
        what = "x" if name is None else f"x: column {shown(name)}"
        raise ValueError(f"{what}: expected values, rows of equal length; {error}.") from None
    return array


def _of_objects(values: list[Any], name: Name) -> tuple[str, Any]:
    """The kind and the values of a column of objects. Its loops over rows are comprehensions, and few."""
    found = _types_of(values)
    gaps = tuple(kind for kind in found if kind.__name__ in _GAPS)
    if gaps:
        values = [None if isinstance(value, gaps) else value for value in values]
    kinds = {_kind_of(value) for kind, value in found.items() if kind not in gaps}
    if "numbers" in kinds and len(kinds) > 1:  # pandas has NaN among text
        values = [None if isinstance(value, float | np.floating) and value != value else value for value in values]
        kinds = {_kind_of(value) for value in _types_of(values).values() if value is not None}
    if "dates" in kinds or "dates with a time zone" in kinds:  # of one type
        kinds = {_kind_of(value) for value in values if value is not None}
    if None in kinds or len(kinds) > 1:
        raise TypeError(f"x: column {shown(name)}: {_wrong_kinds(values)}")
    if not kinds:
        return "nothing", np.full(len(values), np.nan)
    kind = kinds.pop() or ""
    if kind == "bytes":
        return "text", [None if value is None else value.decode(errors="backslashreplace") for value in values]
    if kind == "text":
        return kind, values
    if kind == "dates with a time zone":
        values = [None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None) for value in values]
    if kind.startswith("dates"):
        return kind, _seconds(np.array(values, "M8[us]"))
    if kind == "time spans":
        return kind, _seconds(np.array(values, "m8[us]"))
    try:
        return kind, np.array(values, np.float64)
    except (OverflowError, TypeError):  # an int that no float has
        return kind, numbers_of(np.array(values, object))


def _types_of(values: list[Any]) -> dict[type, Any]:
    """The types of the values, with a value of each."""
    return dict(zip(map(type, values), values, strict=True))


_GAPS = ("NoneType", "NAType", "NaTType")  # the types of None, pandas.NA and pandas.NaT


def _kind_of(value: Any) -> str | None:
    """The kind of a single value; None for what cannot stand in a table."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return "dates with a time zone"
    kind = next((kind for kind, types in _TYPES.items() if isinstance(value, types)), None)
    return None if isinstance(value, complex | np.complexfloating) else kind


_TYPES: Mapping[str, Any] = {
    "booleans": (bool, np.bool),
    "time spans": (datetime.timedelta, np.timedelta64),  # before numbers, of which NumPy's are
    "dates": (datetime.date, np.datetime64),
    "text": str,
    "bytes": bytes,
    "numbers": numbers.Number,
}


def _wrong_kinds(values: list[Any]) -> str:
    """What is wrong in a column of objects: a value that cannot stand there, or one of each of two kinds."""
    found: dict[str | None, int] = {}
    for row, value in enumerate(values):
        if not is_missing(value):
            found.setdefault(_kind_of(value), row)
    if None in found:
        value = values[found[None]]
        return f"{_EXPECTED}, got {shown(value)} ({type(value).__name__}) in row {found[None]}."
    (one, first), (other, second), *_ = found.items()
    return (
        f"expected values of one kind, got {shown(values[first])} ({one}) in row {first} and {shown(values[second])} "
        f"({other}) in row {second}. Convert them, or set them to None."
    )


def _seconds(array: Array) -> Array:
    """Dates or time spans as seconds; the same ones give the same bits, whatever their unit."""
    unit, count = np.datetime_data(array.dtype)
    if unit in ("Y", "M", "generic"):
        return _seconds(array.astype(f"{array.dtype.kind}8[D]"))
    missing = np.isnat(array)
    whole = array.astype(np.int64) * count
    if unit in _LONG:
        seconds = whole.astype(np.float64) * _LONG[unit]
    else:
        per = 1000 ** (1 + ["ms", "us", "ns", "ps", "fs", "as"].index(unit))
        rest = np.fmod(whole, per)
        seconds = (whole - rest) // per + rest / per
    seconds[missing] = np.nan
    return np.asarray(seconds)


_LONG = {"W": 604800.0, "D": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
