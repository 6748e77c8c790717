"""What is done with each column: learned from the training data as plain data, then applied to any other.

What is learned of a column is a dict of plain data. A column of numbers has a median, a spread and whether values were
missing; a column of categories its values and whether they are embedded; a column that is constant none of these::

    {"name": "age", "kind": "numbers", "median": 31.0, "spread": 12.5, "missing": True}
    {"name": "town", "kind": "text", "values": ["Bonn", "Kiel", "Ulm"], "embedded": False}
    {"name": "year", "kind": "nothing"}
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from minidense.core.arguments import checked, listed, nearest, shown
from minidense.core.types import Array
from minidense.tables.reading import KINDS, Name, columns_for, columns_of, read

Column: TypeAlias = dict[str, Any]


# ---------------------------------------------------------------------- what is learned


def learned(x: Any, categorical: Sequence[Name], max_one_hot: int) -> list[Column]:
    """What is done with each column of ``x``; those named in ``categorical`` are categories even if they are numbers.

    Raises what ``columns_of`` and ``read`` do, and ValueError for a name in ``categorical`` that ``x`` does not have.
    """
    table = columns_of(x)
    for name in categorical:
        if name not in table:
            guess = nearest(name, [str(known) for known in table])
            raise ValueError(f"categorical: x has no column {shown(name)}.{guess} It has [{listed(table)}].")
    return [
        _learned(name, column, name in categorical or _says_it_is_categorical(column), max_one_hot)
        for name, column in table.items()
    ]


def _learned(name: Name, given: Any, categorical: bool, max_one_hot: int) -> Column:
    kind, values = read(given, name)
    column: Column = {"name": name, "kind": kind}
    if kind == "nothing":
        return column
    if kind == "text":
        seen = set(values)
        missing = None in seen
        found = sorted(map(str, seen - {None}))
    else:
        present = values[~np.isnan(values)]
        missing = len(present) < len(values)
        if not categorical and kind != "booleans":
            median, spread = _median_and_spread(present)
            return column | {"median": median, "spread": spread, "missing": missing}
        found = np.unique(present).tolist()
    if len(found) == 1 and not missing:
        return column
    return column | {"values": found, "embedded": len(found) > max_one_hot}


def _median_and_spread(values: Array) -> tuple[float, float]:
    """The median, and the interquartile range; where that is 0 half the range, which is 0 for a constant."""
    low, median, high = (np.quantile(values / 4, [0.25, 0.5, 0.75]) * 4).tolist()  # / 4: the difference is finite
    spread = high - low or (values.max() / 2 - values.min() / 2).item()
    return median, min(spread, np.finfo(np.float64).max.item())


def _says_it_is_categorical(column: Any) -> bool:
    return str(getattr(column, "dtype", "")).lower().startswith(("category", "categorical", "enum"))


def check_learned(columns: Any) -> list[Column]:
    """``columns``, if they are what ``learned`` could have returned. Raises ValueError otherwise."""
    if not checked(columns, list, "fitted"):
        raise ValueError("fitted: expected at least one column.")
    names: set[Name] = set()
    for i, column in enumerate(columns):
        if not _is_learned(checked(column, dict, f"fitted[{i}]")) or column["name"] in names:
            raise ValueError(f"fitted[{i}]: {shown(column)} is not what fit gives.")
        names.add(column["name"])
    return list(columns)


def _is_learned(column: Column) -> bool:
    """Whether one column is what ``learned`` could have returned."""
    kind, extra = column.get("kind"), column.keys() - {"name", "kind"}
    if type(column.get("name")) not in (str, int) or kind not in KINDS:
        return False
    if extra == {"median", "spread", "missing"}:
        median, spread = column["median"], column["spread"]
        finite = type(median) is type(spread) is float and math.isfinite(median) and 0 <= spread < math.inf
        return finite and type(column["missing"]) is bool and kind not in ("text", "booleans", "nothing")
    if extra == {"values", "embedded"}:
        values, of = column["values"], str if kind == "text" else float
        typed = type(values) is list and bool(values) and all(type(value) is of for value in values)
        finite = typed and (of is str or all(map(math.isfinite, values)))
        rising = finite and all(map(operator.lt, values, values[1:]))
        return rising and type(column["embedded"]) is bool and kind != "nothing"
    return not extra


# ---------------------------------------------------------------------- what is done


class Encoding:
    """Turns tables into rows of numbers (n, width), as the ``columns`` say that were learned.

    The numbers of a column are (x - median) / spread = z, then z / sqrt(1 + (z / 3)**2): close to z near 0, and within
    -3 and 3, so that no value is an outlier (Holzmüller et al., 2024). A missing one is 0; where values were missing in
    training, a column of 0 and 1 follows. Two categories are -1 and 1, more are a column of 0 and 1 each; 0 stands for
    what is missing or unknown. Embedded ones are the numbers 1, 2, ..., behind all other columns. A constant is 0.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.names = [column["name"] for column in columns]
        names = [outputs_of(column) for column in columns]
        behind = [i for i, column in enumerate(columns) if column.get("embedded")]
        ends = list(itertools.accumulate(map(len, names)))
        self.places = [end - len(of) for end, of in zip(ends, names, strict=True)]
        """The place of each column among the outputs: the first, if it becomes several."""
        for place, i in enumerate(behind, ends[-1]):
            self.places[i] = place
        self.outputs = [*itertools.chain(*names), *(str(self.names[i]) for i in behind)]
        """The names of the outputs."""
        self.scaled = [i for i, column in enumerate(columns) if "median" in column]
        self.medians = np.array([columns[i]["median"] for i in self.scaled])
        self.spreads = np.array([columns[i]["spread"] or math.inf for i in self.scaled])
        self.known = {i: _known(column) for i, column in enumerate(columns) if "values" in column}
        """Of categories: the number of each text, or an array of numbers."""

    def __call__(self, x: Any, dtype: str) -> Array:
        given = columns_for(x, self.names)
        n = len(given[0])
        y = np.zeros((n, len(self.outputs)), dtype)
        at_once = max(1, 1_000_000 // n)  # columns of numbers, so that temporary arrays stay small
        for start in range(0, len(self.scaled), at_once):
            part = slice(start, start + at_once)
            self._scale(given, self.scaled[part], self.medians[part], self.spreads[part], y)
        for i, column in enumerate(self.columns):
            if i in self.known:
                self._encode(column, self.known[i], read_as(column, given[i]), y, self.places[i])
            elif "median" not in column:
                read_as(column, given[i])  # it becomes 0, but must not be of another kind
        return y

    def _scale(self, given: Sequence[Any], which: Sequence[int], medians: Array, spreads: Array, y: Array) -> None:
        """Scale the columns of numbers ``which`` and clip them smoothly; write them, and where they have gaps."""
        z = np.empty((len(y), len(which)))
        for j, i in enumerate(which):
            z[:, j] = read_as(self.columns[i], given[i])
        with_gaps = [j for j, i in enumerate(which) if self.columns[i]["missing"]]
        y[:, [self.places[which[j]] + 1 for j in with_gaps]] = np.isnan(z[:, with_gaps])
        with np.errstate(over="ignore", invalid="ignore"):
            z -= medians
            z /= spreads
        np.clip(z, -1e9, 1e9, out=z)  # which changes no bit of what follows
        z /= np.sqrt(1 + (z / 3) ** 2)
        z[np.isnan(z)] = 0
        y[:, [self.places[i] for i in which]] = z

    def _encode(self, column: Column, known: Any, values: Any, y: Array, place: int) -> None:
        """Number the categories of a column 1, 2, ..., in the order of its values, or 0; write what they become."""
        if column["kind"] != "text":
            found = np.minimum(np.searchsorted(known, values), len(known) - 1)
            codes = np.where(known[found] == values, found + 1, 0)
        elif isinstance(values, list):
            codes = np.array(list(map(known.get, values, itertools.repeat(0))))
        else:
            codes = np.zeros(len(y), int)  # all are missing
        if column["embedded"]:
            y[:, place] = codes
        elif len(known) == 2:
            y[:, place] = np.array([0, -1, 1])[codes]
        else:
            rows = np.flatnonzero(codes)
            y[rows, place + codes[rows] - 1] = 1


def outputs_of(column: Column) -> list[str]:
    """The names of what a column becomes before those that are embedded: none for an embedded one.

    >>> outputs_of({"name": "town", "kind": "text", "values": ["Bonn", "Kiel", "Ulm"], "embedded": False})
    ['town=Bonn', 'town=Kiel', 'town=Ulm']
    """
    name = str(column["name"])
    if "values" not in column:
        return [name, f"{name} missing"] if column.get("missing") else [name]
    if column["embedded"]:
        return []
    shown_values = [value if isinstance(value, str) else repr(value).removesuffix(".0") for value in column["values"]]
    return [f"{name}={value}" for value in shown_values[len(shown_values) == 2 :]]  # of two: the one that becomes 1


def _known(column: Column) -> Any:
    """The number of each text, 1, 2, ...; for categories that are numbers, an array of them."""
    values = column["values"]
    return dict(zip(values, itertools.count(1))) if column["kind"] == "text" else np.array(values)


def read_as(column: Column, given: Any) -> Any:
    """The values of a column as ``read`` gives them. Raises TypeError for those of another kind than in training."""
    kind, values = read(given, column["name"])
    expected = column["kind"]
    if kind != expected and "nothing" not in (kind, expected) and {kind, expected} != {"numbers", "booleans"}:
        raise TypeError(f"x: column {shown(column['name'])}: expected {expected}, as in fit, got {kind}.")
    return values


# ---------------------------------------------------------------------- what is done, in words


def in_words(column: Column) -> str:
    """What a column becomes.

    >>> in_words({"name": "age", "kind": "numbers", "median": 31.0, "spread": 12.5, "missing": True})
    '(x - 31) / 12.5, within -3 and 3; 1 where missing'
    """
    if "values" in column:
        values = column["values"] if column["kind"] != "booleans" else [bool(value) for value in column["values"]]
        hint = "; these are numbers as text" * (column["kind"] == "text" and all(map(_is_number, values)))
        if column["embedded"]:
            return f"a number from 1 to {len(values):,} for its value, 0 for others: {listed(values, 5)}{hint}"
        if len(values) == 2:
            return f"-1 for {shown(values[0])}, 1 for {shown(values[1])}{hint}"
        return f"{len(values)} columns of 0 and 1: {listed(values, 5)}{hint}"
    gaps = "; 1 where missing" if column.get("missing") else ""
    if not column.get("spread"):
        return "0, for it is constant" + gaps
    median, unit = column["median"], "" if column["kind"] == "numbers" else " s"
    middle = f"{'-' if median >= 0 else '+'} {abs(median):g}{unit}"
    if column["kind"].startswith("dates"):
        middle = f"- {np.datetime64(round(median), 's')}"
    return f"(x {middle}) / {column['spread']:g}{unit}, within -3 and 3{gaps}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
