"""Which rows make the next batch: read block by block, so that the data is never copied as a whole.

A *block* is the rows whose loss and metrics are computed together: many small batches, or one, or a slice of a large
one. A *step* is one forward and backward pass within it: a micro-batch.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minidense.core.arguments import nearest, whole_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import Rows

GATHER_BYTES = 512 * 1024
"""Small batches are gathered together, up to this many bytes: one gather for many steps."""

BLOCK_ROWS = 1024
"""A block of small batches has at most this many rows."""

SLICE_ROWS = 2048
"""A larger batch is computed in slices of this many rows, if all layers are rowwise: their activations stay in the
processor's cache."""


class DefaultRows(int):
    """A default number of rows, which can be told from the same number passed by the user."""


def check_batch_size(batch_size: int | str, n: int, what: str = "batch_size") -> int:
    """The number of rows of a batch: ``batch_size``, but at most ``n``; ``n`` for "full"."""
    if isinstance(batch_size, str):
        if batch_size != "full":
            raise ValueError(
                f"{what}: expected a whole number or 'full', got {batch_size!r}.{nearest(batch_size, ['full'])}"
            )
        return n
    return min(whole_number(what, batch_size), n)


class Step(NamedTuple):
    """The rows of one forward and backward pass: a batch, or a micro-batch of one."""

    x: Array
    targets: Array
    scores: Array
    """Where to write the scores: the step's rows of the block's."""
    batch_rows: int
    """The number of rows of the whole batch."""
    opens: bool
    closes: bool
    """Whether this step is the first of its batch, and whether it is the last."""
    weights: Array | None
    """The rows' weights, or None; for a loss that is a mean, divided by the sum of the whole batch's weights."""


class Block(NamedTuple):
    """Rows whose loss and metrics are computed together, and their steps, in order."""

    y: Any
    targets: Array
    scores: Array
    steps: Iterable[Step]
    weights: Array | None

    def part(self, start: int, stop: int) -> Block:
        """Rows ``start`` to ``stop``, without steps: for a report."""
        rows = slice(start, stop)
        weights = None if self.weights is None else self.weights[rows]
        return Block(self.y[rows], self.targets[rows], self.scores[rows], (), weights)


class Feed:
    """The rows of ``x`` and ``y`` in a given order, as blocks of steps.

    batch_rows: the rows of a batch. micro_rows: the rows of one pass; a batch has one or several passes.
    dtype: of targets and scores, and of x, unless x_dtype is another one.
    encode(y, out) writes the targets of labels ``y`` to ``out``, (rows, *output_shape). weights: (n,), or None; with
    ``shares``, a step gets its rows' weights divided by their sum over the batch, otherwise the weights themselves.
    All arrays are allocated once and reused, so a step is valid until the next one is taken; with ``lasting``, each
    block has its own arrays.
    """

    def __init__(
        self,
        x: Rows,
        y: Array,
        batch_rows: int,
        micro_rows: int,
        *,
        dtype: np.dtype[Any],
        x_dtype: np.dtype[Any] | None = None,
        output_shape: Shape,
        encode: Callable[[Array, Array], Array],
        weights: Array | None = None,
        shares: bool = True,
        lasting: bool = False,
    ) -> None:
        self.x, self.y, self.encode = x, y, encode
        self.weights, self.shares, self.lasting = weights, shares, lasting
        self.n, self.batch_rows, self.micro_rows = len(x), batch_rows, micro_rows
        self.dtype, self.output_shape = dtype, output_shape
        self.x_dtype = x_dtype or dtype
        self.direct = isinstance(x, np.ndarray) and x.dtype == self.x_dtype and x.flags.c_contiguous
        fitting = min(BLOCK_ROWS, GATHER_BYTES // max(1, self.x_dtype.itemsize * math.prod(x.shape[1:])))
        gathered = _whole_batches(max(micro_rows, fitting), micro_rows)
        # How many rows are gathered, and reported, at a time: whole batches, or whole micro-batches of one.
        self.gather_rows = _whole_batches(gathered, batch_rows)
        self.block_rows = _whole_batches(_whole_batches(max(gathered, BLOCK_ROWS), micro_rows), batch_rows)
        if batch_rows <= self.gather_rows:
            self.block_rows = self.block_rows // self.gather_rows * self.gather_rows
        self._make_buffers()

    def _make_buffers(self) -> None:
        self._x: Array | None = None
        self._targets = np.empty((min(self.n, self.block_rows), *self.output_shape), self.dtype)
        self._scores = np.empty_like(self._targets)
        self._full_block: list[list[Step]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches, the smaller last one included."""
        return -(-self.n // self.batch_rows)

    def facts(self) -> dict[str, Any]:
        """What the feed of a resumed run must have in common with this one."""
        return {
            "rows": self.n,
            "rows a batch": self.batch_rows,
            "rows a micro-batch": self.micro_rows,
            "weights": None if self.weights is None else f"with the checksum {zlib.crc32(self.weights.tobytes())}",
        }

    def rows_under_way(self, batches: int) -> int:
        """How many rows of the first ``batches`` batches are in a block that is not complete."""
        rows = min(batches * self.batch_rows, self.n)
        return rows % self.block_rows if self.batch_rows <= self.block_rows and rows < self.n else 0

    def skip(self, epochs: int, batches: int) -> None:
        """Nothing to do: rows are read by index."""

    def check_epochs(self, epochs: int) -> None:
        """Nothing to check: the rows are there in each epoch."""

    def blocks(self, order: Array | None = None, skip: int = 0) -> Iterator[Block]:
        """The blocks of one epoch, rows in ``order`` or as they are, without the steps of the first ``skip`` batches.

        If ``skip`` ends inside a block, that block comes first, with its remaining steps only.
        """
        begin = min(skip * self.batch_rows, self.n) - self.rows_under_way(skip)
        for start, stop in spans(self.n, self.batch_rows, self.block_rows, begin):
            m = stop - start
            if self.lasting:
                self._make_buffers()
            y = read_only(self.y[start:stop] if order is None else self.y[order[start:stop]])
            targets = self.encode(y, self._targets[:m])
            scores = self._scores[:m]
            steps = self._steps(start, stop, max(start, skip * self.batch_rows), order, targets, scores)
            yield Block(y, targets, scores, steps, self._weights(start, stop, order))

    def _steps(
        self, start: int, stop: int, begin: int, order: Array | None, targets: Array, scores: Array
    ) -> Iterator[Step]:
        """The steps of rows ``start`` to ``stop``, without those before row ``begin``, gathered a few at a time.

        Full blocks consist of the same views each time, which are made once.
        """
        whole = stop - start == self.block_rows and begin == start and self.batch_rows <= self.block_rows
        reusable = (
            whole and self.weights is None and targets.base is self._targets and not (self.direct and order is None)
        )
        known = self._full_block if reusable else None
        made = []
        for i, (first, last) in enumerate(spans(stop, self.batch_rows, self.gather_rows, start)):
            if last <= begin:
                continue
            x = self._read(first, last, order)
            if known is None:
                part = slice(first - start, last - start)
                steps = self._split(first, last, x, targets[part], scores[part], order)
                made.append(steps)
            else:
                steps = known[i]
            done = max(0, begin - first) // self.batch_rows  # whole batches
            yield from steps[done * -(-self.batch_rows // self.micro_rows) :]
        if reusable and known is None:
            self._full_block = made

    def _read(self, start: int, stop: int, order: Array | None) -> Array:
        if order is None and self.direct:
            return read_only(self.x[start:stop])
        if self._x is None or self.lasting:
            self._x = np.empty((min(self.n, self.gather_rows), *self.x.shape[1:]), self.x_dtype)
        block = self._x[: stop - start]
        if order is None:
            block[...] = self.x[start:stop]
        elif self.direct:
            np.take(np.asarray(self.x), order[start:stop], axis=0, out=block, mode="clip")
        else:
            block[...] = self.x[order[start:stop]]
        return block

    def _weights(self, start: int, stop: int, order: Array | None) -> Array | None:
        if self.weights is None:
            return None
        return read_only(self.weights[start:stop] if order is None else self.weights[order[start:stop]])

    def _shares(self, start: int, stop: int, batch: slice, order: Array | None) -> Array | None:
        """The rows' weights; with ``shares``, divided by the sum of the whole batch's weights."""
        weights, whole = self._weights(start, stop, order), self._weights(batch.start, batch.stop, order)
        return weights if weights is None or whole is None or not self.shares else weights / (whole.sum() or 1)

    def _split(self, start: int, stop: int, x: Array, targets: Array, scores: Array, order: Array | None) -> list[Step]:
        steps, last = [], start
        while last < stop:
            first = last
            batch, end = first // self.batch_rows * self.batch_rows, self._end_of_batch(first)
            last = min(first + self.micro_rows, end, stop)
            part = slice(first - start, last - start)
            shares = self._shares(first, last, slice(batch, end), order)
            steps.append(Step(x[part], targets[part], scores[part], end - batch, first == batch, last == end, shares))
        return steps

    def _end_of_batch(self, row: int) -> int:
        """The row after the last of the batch that ``row`` belongs to."""
        return min((row // self.batch_rows + 1) * self.batch_rows, self.n)


def read_only(rows: Array) -> Array:
    """A read-only view, so that no layer, loss or metric can change the user's data."""
    view = rows.view()
    view.flags.writeable = False
    return view


def _whole_batches(rows: int, batch_rows: int) -> int:
    """``rows`` rounded down to whole batches; ``rows`` itself where not even one batch fits."""
    return rows // batch_rows * batch_rows or rows


def spans(n: int, batch_rows: int, limit: int, begin: int = 0) -> Iterator[tuple[int, int]]:
    """(start, stop) of each block of at most ``limit`` rows: several whole batches, or a part of one.

    >>> list(spans(10, 2, 4)), list(spans(10, 6, 4))
    ([(0, 4), (4, 8), (8, 10)], [(0, 4), (4, 6), (6, 10)])
    """
    if batch_rows <= limit:
        size = limit // batch_rows * batch_rows
        for start in range(begin, n, size):
            yield start, min(start + size, n)
    else:
        for first in range(begin, n, batch_rows):
            end = min(first + batch_rows, n)
            for start in range(first, end, limit):
                yield start, min(start + limit, end)
