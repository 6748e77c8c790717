"""Layers whose input is categories, as whole numbers: ``Embedding``, ``EmbedColumns``, ``CategoryEncoding``."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from minidense.core.arguments import lookup, shown, whole_number
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer
from minidense.layers.constraints import Constraint, get_constraint
from minidense.layers.initializers import Initializer, get_initializer
from minidense.layers.regularizers import Regularizer, get_regularizer


class Embedding(Layer, library=True):
    """A vector for each category: ``y = E[x]``; ``dE`` has in row i the sum of dy where x is i.

    input_dim: the number of categories; x has whole numbers from 0 to input_dim - 1. output_dim: the length of a
    vector. (n, ...) becomes (n, ..., output_dim); for a table, follow with Flatten. There is no dx: categories have no
    gradient, so it has to be the first layer, or get what no layer with parameters has computed. The regularizer and
    the constraint are those of Dense.
    Raises ValueError for other numbers, with the first one.

    >>> import minidense as md
    >>> model = md.Sequential([Embedding(3, 2, "ones")]).build(1)
    >>> model.predict([[2]])
    array([[[1., 1.]]], dtype=float32)
    """

    rowwise = True
    caches = ("x",)
    _discrete = True

    E: Array
    dE: Array

    _fixed = ("input_dim", "output_dim")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: str | float | Array | Initializer = "uniform",
        embeddings_regularizer: str | Regularizer | None = None,
        embeddings_constraint: str | Constraint | None = None,
    ) -> None:
        self.input_dim = whole_number("Embedding: input_dim", input_dim)
        self.output_dim = whole_number("Embedding: output_dim", output_dim)
        self.embeddings_initializer = get_initializer(embeddings_initializer)
        self.embeddings_regularizer = get_regularizer(embeddings_regularizer, "Embedding: embeddings_regularizer")
        self.embeddings_constraint = get_constraint(embeddings_constraint, "Embedding: embeddings_constraint")

    def build(self, input_shape: Shape) -> Shape:
        penalty, limit = self.embeddings_regularizer, self.embeddings_constraint
        E = self.input_dim, self.output_dim
        self.param("E", E, self.embeddings_initializer, regularizer=penalty, constraint=limit)
        return (*input_shape, self.output_dim)

    def as_numpy(self) -> str:
        return "x = E[x.astype(int)]"

    def _examples(self, rng: np.random.Generator, n: int) -> Array:
        return rng.integers(self.input_dim, size=(n, *(self._record.input_shape or ()))).astype(np.float64)

    def forward(self, x: Array) -> Array:
        self.x = _categories(self, x, self.input_dim)
        return np.asarray(self.E[self.x])

    def backward(self, dy: Array) -> Array:
        self.dE[...] = 0
        np.add.at(self.dE, self.x.reshape(-1), dy.reshape(-1, self.output_dim))
        return np.zeros(self.x.shape, dy.dtype)


class CategoryEncoding(Layer, library=True):
    """Categories as columns of 0 and 1. It has no parameters and no gradient.

    num_tokens: the number of categories; x has whole numbers from 0 to num_tokens - 1.
    output_mode: "one_hot" turns (n, d) into (n, d * num_tokens), one group of columns for each of the d; "multi_hot"
    into (n, num_tokens), with a 1 for each category that occurs in the row; "count" counts how often.

    >>> CategoryEncoding(3, "one_hot").forward(np.array([[2.0], [0.0]]))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """

    rowwise = True
    caches = ("x_shape",)
    _discrete = True

    def __init__(self, num_tokens: int, output_mode: str = "multi_hot") -> None:
        self.num_tokens = whole_number("CategoryEncoding: num_tokens", num_tokens)
        modes = {mode: mode for mode in ("multi_hot", "one_hot", "count")}
        self.output_mode = lookup("output_mode", output_mode, modes)

    def build(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape) * self.num_tokens if self.output_mode == "one_hot" else self.num_tokens,)

    def as_numpy(self) -> str:
        lines = "x = (x.reshape(len(x), -1, 1) == np.arange(num_tokens)).astype(x.dtype)\n"
        return (
            lines
            + {
                "one_hot": "x = x.reshape(len(x), -1)",
                "multi_hot": "x = x.max(axis=1)",
                "count": "x = x.sum(axis=1)",
            }[self.output_mode]
        )

    def _examples(self, rng: np.random.Generator, n: int) -> Array:
        return rng.integers(self.num_tokens, size=(n, *(self._record.input_shape or ()))).astype(np.float64)

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        columns = _categories(self, x, self.num_tokens).reshape(len(x), -1, 1) == np.arange(self.num_tokens)
        y = columns.astype(x.dtype)
        if self.output_mode == "one_hot":
            return np.asarray(y.reshape(len(x), -1))
        return np.asarray(y.max(axis=1) if self.output_mode == "multi_hot" else y.sum(axis=1))

    def backward(self, dy: Array) -> Array:
        return np.zeros(self.x_shape, dy.dtype)


class EmbedColumns(Layer, library=True):
    """A vector for each category in some columns of a table; the other columns stay as they are, and come first.

    columns: a dict from a column's position to its number of categories; these columns have whole numbers from 0 to
    that number - 1: ``EmbedColumns(table.embedded_)`` after ``table = md.TablePreprocessor().fit(x)``. width: the
    length of a vector. (n, d) becomes (n, d - c + c * width) for c columns. All vectors are rows of one parameter E,
    those of the first column first. The embedded columns have no gradient: dx is 0 there. members: of how many networks
    side by side (see PackedDense) it is the beginning; each has vectors of its own, side by side in a row of E.
    Raises ValueError for other numbers, with the first one.

    >>> import minidense as md
    >>> md.Sequential([EmbedColumns({1: 4}, 2, "ones")]).build(3).predict([[7, 3, 8]])
    array([[7., 8., 1., 1.]], dtype=float32)
    """

    rowwise = True
    caches = ("rows",)
    _discrete = True

    E: Array
    dE: Array
    places: Array
    """The positions of the embedded columns, in rising order."""
    others: Array
    """The positions of the other columns."""
    counts: Array
    """The number of categories of each embedded column."""
    starts: Array
    """The row of E where each embedded column's vectors start."""

    def __init__(
        self,
        columns: Mapping[int, int],
        width: int = 8,
        embeddings_initializer: str | float | Array | Initializer = "uniform",
        members: int = 1,
    ) -> None:
        what = "EmbedColumns: columns"
        if not isinstance(columns, Mapping) or not columns:
            raise TypeError(f"{what}: expected a dict from a position to a number of categories, got {shown(columns)}.")
        self.columns = {
            whole_number(f"{what}: a position", place, 0): whole_number(f"{what}[{place}]", columns[place])
            for place in sorted(columns)
        }
        self.width = whole_number("EmbedColumns: width", width)
        self.members = whole_number("EmbedColumns: members", members)
        self.embeddings_initializer = get_initializer(embeddings_initializer)

    def build(self, input_shape: Shape) -> Shape:
        self.places, self.counts = np.array(list(self.columns)), np.array(list(self.columns.values()))
        if len(input_shape) != 1 or self.places[-1] >= input_shape[0]:
            raise ValueError(
                f"{self._where}: expected rows of at least {self.places[-1] + 1} columns, got {input_shape} per sample."
            )
        self.others = np.setdiff1d(np.arange(input_shape[0]), self.places)
        self.starts = np.cumsum(self.counts) - self.counts
        self.param("E", (int(self.counts.sum()), self.members * self.width), self.embeddings_initializer)
        return (self.members * (len(self.others) + len(self.places) * self.width),)

    def as_numpy(self) -> str:
        return (
            "vectors = E[x[:, places].astype(int) + starts].reshape(len(x), len(places), members, -1).swapaxes(1, 2)\n"
            "numbers = np.repeat(x[:, None, others], members, axis=1)\n"
            "x = np.concatenate([numbers, vectors.reshape(len(x), members, -1)], axis=2).reshape(len(x), -1)"
        )

    def _examples(self, rng: np.random.Generator, n: int) -> Array:
        x = super()._examples(rng, n)
        x[:, self.places] = rng.integers(self.counts, size=(n, len(self.counts)))
        return x

    def forward(self, x: Array) -> Array:
        self.rows = _categories(self, x[:, self.places], self.counts) + self.starts
        n, k = len(x), self.members
        vectors = self.E[self.rows].reshape(n, len(self.places), k, self.width).swapaxes(1, 2).reshape(n, k, -1)
        numbers = np.repeat(x[:, None, self.others], k, axis=1)
        return np.concatenate([numbers, vectors], axis=2).reshape(n, -1)

    def backward(self, dy: Array) -> Array:
        n, k, kept = len(dy), self.members, len(self.others)
        of_members = dy.reshape(n, k, -1)
        dvectors = of_members[:, :, kept:].reshape(n, k, len(self.places), self.width).swapaxes(1, 2)
        self.dE[...] = 0
        np.add.at(self.dE, self.rows.reshape(-1), dvectors.reshape(-1, k * self.width))
        dx = np.zeros((n, kept + len(self.places)), dy.dtype)
        dx[:, self.others] = of_members[:, :, :kept].sum(axis=1)
        return dx


def _categories(layer: Layer, x: Array, count: int | Array) -> Array:
    """``x`` as integers. Raises ValueError for what is no whole number from 0 to count - 1, that of its column."""
    wrong = ~((x >= 0) & (x < count) & (x == np.floor(x)))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        most = np.broadcast_to(count, x.shape)[index] - 1
        raise ValueError(
            f"{layer._where}: expected whole numbers from 0 to {most}, got {x[index]:g} in row {index[0]}."
        )
    return x.astype(np.intp)
