"""Which rows make the next batch: checked once, then read block by block, so that no copy of the data is made.

A *block* is a few hundred kilobytes of rows. It holds many small batches, or one, or a part of a large one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minidense.arguments import nearest, whole_number
from minidense.types import Array, Shape

BLOCK_BYTES = 128 * 1024
"""Small batches are gathered together up to this size: one gather for many steps."""

SLICE_ROWS = 2048
"""Larger batches are computed in slices of so many rows, whose activations stay in the processor's cache."""


def as_features(x: Any, what: str = "x") -> Array:
    """``x`` as an array of numbers, not copied where it is one already. Raises TypeError for other contents."""
    try:
        array: Array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{what}: expected an array of numbers, rows of equal length; {error}.") from None
    if array.dtype.kind not in "biuf":
        contents = {"O": "objects", "U": "strings", "S": "bytes", "c": "complex numbers"}
        found = contents.get(array.dtype.kind, "something else")
        raise TypeError(
            f"{what}: expected real numbers, got {found} (dtype {array.dtype}). Convert or encode them first."
        )
    if 0 in array.shape:
        missing = "row" if len(array) == 0 else "feature"
        raise ValueError(f"{what}: expected at least one {missing}, got shape {array.shape}.")
    return array


def check_features(x: Array, input_shape: Shape, dtype: np.dtype[Any], what: str = "x") -> None:
    """Raise ValueError unless ``x`` has rows of ``input_shape`` that are finite in ``dtype``."""
    if x.shape[1:] != input_shape or x.ndim == 0:
        raise ValueError(_wrong_shape(x.shape, input_shape, what))
    if x.dtype.kind == "f":
        size = max(1, BLOCK_BYTES // max(1, x.itemsize * math.prod(input_shape)))
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
    flat = block.reshape(-1)
    if flat.dtype == dtype and math.isfinite(np.vdot(flat, flat)):  # one pass; it can only err on the safe side
        return
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(block.astype(dtype))
    if bad.any():
        position = tuple(int(i) for i in np.argwhere(bad)[0])
        row, column = start + position[0], ", ".join(map(str, position[1:]))
        value = block[position]
        why = f"which overflows {dtype}: scale it down" if np.isfinite(value) else "remove or impute it"
        raise ValueError(f"{what}: row {row}, column {column} is {value}, {why}.")


def check_batch_size(batch_size: int | str, n: int) -> int:
    """The number of rows a batch has: ``batch_size``, or ``n`` for "full"."""
    if isinstance(batch_size, str):
        if batch_size != "full":
            raise ValueError(
                f"batch_size: expected a whole number or 'full', got {batch_size!r}.{nearest(batch_size, ['full'])}"
            )
        return n
    return min(whole_number("batch_size", batch_size), n)


class Step(NamedTuple):
    """One forward and backward pass: a batch, or a slice of one."""

    x: Array
    targets: Array
    scores: Array
    """Where to note the scores for the report."""
    batch_rows: int
    """The rows of the whole batch."""
    opens: bool
    closes: bool
    """Whether it begins the batch, and ends it."""


class Block(NamedTuple):
    """Rows read together, the steps they make, and room for what the steps' report needs."""

    y: Any
    targets: Array
    scores: Array
    steps: list[Step]


class Feed:
    """The rows of ``x`` and ``y`` in a given order, as blocks of steps.

    batch_rows: rows of a batch. splittable: whether a large batch may be computed in slices. encode(y, out) writes
    the targets of some labels, ``outputs`` numbers a row. All buffers are made once and used again.
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        batch_rows: int,
        *,
        dtype: np.dtype[Any],
        outputs: int,
        encode: Callable[[Array, Array], Array],
        splittable: bool,
    ) -> None:
        self.x, self.y, self.encode = x, y, encode
        self.n, self.batch_rows = len(x), batch_rows
        self.dtype, self.outputs = dtype, outputs
        self.largest = min(batch_rows, SLICE_ROWS) if splittable else batch_rows
        self.direct = x.dtype == dtype and x.flags.c_contiguous
        self._limit_blocks(max(self.largest, BLOCK_BYTES // max(1, dtype.itemsize * math.prod(x.shape[1:]))))

    def one_batch_a_block(self) -> None:
        """Read no two batches together, for those who want to be called in between."""
        self._limit_blocks(self.largest)

    def _limit_blocks(self, rows: int) -> None:
        self.limit = rows
        self.block_rows = min(self.n, rows // self.batch_rows * self.batch_rows or rows)
        self._x: Array | None = None
        self._targets = np.empty((self.block_rows, self.outputs), self.dtype)
        self._scores = np.empty_like(self._targets)
        self._steps_of_whole_block: list[Step] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches, the smaller last one included."""
        return -(-self.n // self.batch_rows)

    def blocks(self, order: Array | None = None, skip: int = 0) -> Iterator[Block]:
        """The blocks of one epoch, rows in ``order`` (or as they stand), without the first ``skip`` batches."""
        for start, stop in spans(self.n, self.batch_rows, self.limit, skip * self.batch_rows):
            rows = slice(start, stop) if order is None else order[start:stop]
            whole = stop - start == self.block_rows
            x = self._read(rows, stop - start)
            y = self.y[rows]
            targets = self.encode(y, self._targets if whole else self._targets[: stop - start])
            scores = self._scores if whole else self._scores[: stop - start]
            if whole and x is self._x and targets is self._targets and self.batch_rows <= self.limit:
                if self._steps_of_whole_block is None:
                    self._steps_of_whole_block = self._steps(start, stop, x, targets, scores)
                steps = self._steps_of_whole_block
            else:
                steps = self._steps(start, stop, x, targets, scores)
            yield Block(y, targets, scores, steps)

    def _read(self, rows: slice | Array, m: int) -> Array:
        if isinstance(rows, slice) and self.direct:
            view = self.x[rows]
            view.flags.writeable = False  # a layer that changes its input must not change the user's data
            return view
        if self._x is None:
            self._x = np.empty((self.block_rows, *self.x.shape[1:]), self.dtype)
        block = self._x if m == self.block_rows else self._x[:m]
        if self.direct and not isinstance(rows, slice):
            np.take(self.x, rows, axis=0, out=block, mode="clip")
        else:
            block[...] = self.x[rows]
        return block

    def _steps(self, start: int, stop: int, x: Array, targets: Array, scores: Array) -> list[Step]:
        steps = []
        for first in range(start, stop, self.batch_rows):
            batch = first // self.batch_rows * self.batch_rows
            end = min(batch + self.batch_rows, self.n)
            last = min(end, stop)
            part = slice(first - start, last - start)
            steps.append(Step(x[part], targets[part], scores[part], end - batch, first == batch, last == end))
        return steps


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
