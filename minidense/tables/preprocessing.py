"""``TablePreprocessor``: a table with numbers, text, dates and gaps becomes rows of numbers."""

from __future__ import annotations

import ast
import inspect
from typing import Any, Self

from minidense.core import arguments
from minidense.core.arguments import items, lookup, whole_number
from minidense.core.configurable import Configurable, call_of
from minidense.core.types import Array
from minidense.data import arrays
from minidense.tables import encoding, reading
from minidense.tables.encoding import Column, Encoding, check_learned, in_words, learned
from minidense.tables.reading import Name


class TablePreprocessor(Configurable, library=True):
    """Turns a table into rows of numbers for a network; what is done with a column is learned by ``fit``.

    - Numbers, and dates and time spans as seconds: z = (x - median) / interquartile range (half the range where that is
      0), then z / sqrt(1 + (z / 3)**2), which lies within -3 and 3 (Holzmüller et al., 2024). A missing value becomes
      0; if some were missing in ``fit``, a column follows that is 1 where one is.
    - Categories, that is text, booleans and pandas' categoricals: two become -1 and 1, up to ``max_one_hot`` one column
      of 0 and 1 each. More are embedded: they become the numbers 1, 2, ... in a column behind all the others, for
      ``EmbedColumns(table.embedded_)``, the first layer of the network. 0 is what is missing, or was not seen in
      ``fit``. An empty string is a category as any other.
    - A column that is constant, or has no value at all, becomes 0.

    A table is a data frame of pandas or polars, a dict of columns, an array or lists of rows. Missing are None, NaN,
    NaT, pandas.NA and masked values. Computations are in float64, and only the result is cast, so that large numbers
    that differ little, such as timestamps, are not rounded.

    max_one_hot: the most categories of a column that are not embedded. categorical: names of columns, or their
    positions in an array, whose numbers are categories, such as postal codes. dtype: "float32" or "float64", of the
    result. fitted: what ``fit`` has learned, as ``get_config`` gives it.

    >>> table = TablePreprocessor()
    >>> table.fit_transform({"age": [20, 30, None, 40], "town": ["Bonn", "Kiel", "Ulm", "Bonn"]}).round(2)
    array([[-0.95,  0.  ,  1.  ,  0.  ,  0.  ],
           [ 0.  ,  0.  ,  0.  ,  1.  ,  0.  ],
           [ 0.  ,  1.  ,  0.  ,  0.  ,  1.  ],
           [ 0.95,  0.  ,  1.  ,  0.  ,  0.  ]], dtype=float32)
    >>> table.feature_names_out_
    ('age', 'age missing', 'town=Bonn', 'town=Kiel', 'town=Ulm')
    """

    _encoding: Encoding | None = None
    """Of the columns in ``fitted``, once it has been used."""

    def __init__(
        self, max_one_hot: int = 30, categorical: Any = (), dtype: str = "float32", fitted: list[Column] | None = None
    ) -> None:
        self.max_one_hot = whole_number("TablePreprocessor: max_one_hot", max_one_hot, at_least=2)
        self.categorical = items("TablePreprocessor: categorical", categorical)
        self.dtype = lookup("TablePreprocessor: dtype", dtype, {"float32": "float32", "float64": "float64"})
        self.fitted = None if fitted is None else check_learned(fitted)

    def fit(self, x: Any, y: Any = None) -> Self:
        """Learn what is done with each column of ``x``; y is not used.

        Raises ValueError, naming row and column, for an infinite value, for two columns of one name, for columns of
        unequal length and for no rows; TypeError for a column with values of several kinds, or of none of the above.
        """
        columns = learned(x, self.categorical, self.max_one_hot)
        self.__dict__.update(fitted=columns, _config={**self._config, "fitted": columns})
        return self

    def transform(self, x: Any) -> Array:
        """The rows of numbers of ``x``, (n, number of ``feature_names_out_``).

        Columns are taken by name, in any order; those of an array by position. Raises RuntimeError before ``fit``; what
        ``fit`` raises; ValueError for other columns than those of ``fit``, TypeError for columns of another kind.
        """
        return self._fitted()(x, self.dtype)

    def fit_transform(self, x: Any, y: Any = None) -> Array:
        """``fit(x).transform(x)``; y is not used."""
        return self.fit(x).transform(x)

    @property
    def feature_names_in_(self) -> tuple[Name, ...]:
        """The names of the columns, or their positions. AttributeError before ``fit``."""
        return tuple(self._fitted(AttributeError).names)

    @property
    def feature_names_out_(self) -> tuple[str, ...]:
        """The names of the columns of the result. AttributeError before ``fit``."""
        return tuple(self._fitted(AttributeError).outputs)

    @property
    def embedded_(self) -> dict[int, int]:
        """For each column of the result that is to be embedded, how many numbers it has: 0, 1, ...

        AttributeError before ``fit``.
        """
        encoding = self._fitted(AttributeError)
        columns = zip(encoding.places, encoding.columns, strict=True)
        return {place: len(column["values"]) + 1 for place, column in columns if column.get("embedded")}

    def explain(self) -> str:
        """A line for each column of the table: its kind, and what it becomes. RuntimeError before ``fit``.

        >>> print(TablePreprocessor().fit({"age": [20, 30, None, 40], "town": ["Bonn", "Kiel", "Ulm", ""]}).explain())
        column  kind     becomes
        age     numbers  (x - 30) / 10, within -3 and 3; 1 where missing
        town    text     4 columns of 0 and 1: '', 'Bonn', 'Kiel', 'Ulm'
        """
        lines = [("column", "kind", "becomes")]
        lines += [(str(column["name"]), column["kind"], in_words(column)) for column in self._fitted().columns]
        first, second = (max(len(line[i]) for line in lines) for i in (0, 1))
        return "\n".join(f"{name:{first}}  {kind:{second}}  {words}" for name, kind, words in lines)

    def as_numpy(self) -> str:
        """Python source, of NumPy only: a function ``transform(x)`` that gives what this one does, to the bit.

        Raises RuntimeError before ``fit``.
        """
        columns = "".join(f"    {column!a},\n" for column in self._fitted().columns)
        return _SOURCE.format(parts="\n\n\n".join(_sources("Encoding")), columns=columns, dtype=self.dtype)

    def _fitted(self, error: type[Exception] = RuntimeError) -> Encoding:
        if self.fitted is None:
            raise error("TablePreprocessor: call fit(x) first, with the training data.")
        if self._encoding is None or self._encoding.columns is not self.fitted:
            self.__dict__["_encoding"] = Encoding(self.fitted)
        encoding: Encoding = self.__dict__["_encoding"]
        return encoding

    def __repr__(self) -> str:
        return call_of(type(self), {**self.get_config(), "fitted": None}, repr)


# ---------------------------------------------------------------------- as a file of its own

_SOURCE = '''\
import datetime
import itertools
import math
import numbers

import numpy as np

{parts}


COLUMNS = [  # what is done with each column of a table
{columns}]

_encoding = Encoding(COLUMNS)


def transform(x):
    """The rows of numbers of a table: a data frame, a dict of columns, an array or lists of rows."""
    return _encoding(x, "{dtype}")
'''


def _sources(name: str) -> list[str]:
    """The source of what has that name, and of all that it needs in turn, without types."""
    library: dict[str, ast.stmt] = {}
    for module in (arguments, arrays, reading, encoding):
        for node in ast.parse(inspect.getsource(module)).body:
            target = (
                node.target
                if isinstance(node, ast.AnnAssign)
                else node.targets[0]
                if isinstance(node, ast.Assign)
                else node
            )
            found = getattr(target, "name", None) or getattr(target, "id", None)
            if found is not None:
                library[found] = _Untyped().visit(node)
    wanted, waiting = set(), {name}
    while waiting:
        wanted.add(name := waiting.pop())
        names = {part.id for part in ast.walk(library[name]) if isinstance(part, ast.Name)}
        waiting |= (names & library.keys()) - wanted
    return [ast.unparse(node) for name, node in library.items() if name in wanted]


class _Untyped(ast.NodeTransformer):
    """Takes away the types and the examples, which an exported file does not need."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.copy_location(ast.Assign([node.target], node.value), node) if node.value is not None else None

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and "\n\n    >>>" in node.value:
            node.value = node.value.split("\n\n    >>>")[0]
        return node
