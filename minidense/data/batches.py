"""Which rows make the next batch: checked once, then read block by block, so that no copy of the data is made.

A *block* is what is reported at a time: many small batches, or one, or a slice of a large one.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minidense.core.arguments import nearest, whole_number
from minidense.core.types import Array, Shape

CHECK_BYTES = 512 * 1024
"""Data is checked so much at a time."""

GATHER_BYTES = 128 * 1024
"""Small batches are gathered together up to this size: one gather for many steps."""

BLOCK_ROWS = 1024
"""Small batches are reported together up to so many rows."""

SLICE_ROWS = 2048
"""Larger batches are computed in slices of so many rows, whose activations stay in the processor's cache."""


class Blockwise:
    """Rows ``start`` to ``stop`` of something with a shape, a dtype and ``[...]``, such as an HDF5 or zarr array.

    Asking for rows reads these rows and no others. Rows in any order are read in rising order, which is what files
    can do, and put into the order asked for.
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
    """The rows from ``start`` to ``stop``, not read yet where ``x`` is read blockwise."""
    if isinstance(x, Blockwise):
        return Blockwise(x.source, x.start + start, x.start + stop)
    return x[start:stop]


def as_features(x: Any, what: str = "x") -> Rows:
    """``x`` as an array of numbers, not copied where it is one already. Raises TypeError for other contents.

    What has a shape, a NumPy dtype and ``[...]``, but is no array and no frame, is left where it is and read by
    blocks: HDF5 and zarr arrays, for example.
    """
    if type(x) is np.ndarray and x.dtype.kind in "biuf" and x.size:  # by far the most frequent
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{what}: expected an array without a mask; fill or drop what is masked first.")
    if hasattr(x, "toarray"):
        raise TypeError(
            f"{what}: expected a dense array, got {type(x).__name__}; use x.toarray() if it fits in memory."
        )
    lazy = not isinstance(x, np.ndarray) and not hasattr(x, "to_numpy") and hasattr(x, "__getitem__")
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
    """Which columns of a data frame are not numbers."""
    names = list(getattr(frame, "columns", ()))
    wrong = [str(name) for name in names if np.asarray(frame[name]).dtype.kind not in "biuf"]
    return f" in the column{'s' * (len(wrong) > 1)} {', '.join(map(repr, wrong))}" if wrong else ""


class ClassLabels:
    """Class names and their numbers: names in sorted order are 0, 1, 2, ...

    y: the labels, strings or anything that sorts. ``encode`` turns labels into numbers, ``decode`` numbers, or rows
    of scores or probabilities, into labels.

    >>> labels = ClassLabels(["dog", "cat", "dog"])
    >>> labels.encode(["dog", "cat"])
    array([1, 0])
    >>> labels.decode(np.array([[0.1, 0.9], [0.8, 0.2]])).tolist()
    ['dog', 'cat']
    """

    def __init__(self, y: Any) -> None:
        self.names = np.unique(np.asarray(y))
        if not len(self.names):
            raise ValueError("ClassLabels: expected at least one label.")

    def encode(self, y: Any) -> Array:
        """The number of each label, (n,). Raises ValueError for labels that were not there at first."""
        y = np.asarray(y)
        numbers = np.minimum(np.searchsorted(self.names, y), len(self.names) - 1)
        unknown = self.names[numbers] != y
        if unknown.any():
            row = int(np.argmax(unknown))
            raise ValueError(f"y: {y.tolist()[row]!r} in row {row} is none of the classes {self.names.tolist()}.")
        return np.asarray(numbers)

    def decode(self, numbers: Any) -> Array:
        """The label of each number; of the largest value in each row (n, k); of a probability (n, 1), at a half."""
        numbers, k = np.asarray(numbers), len(self.names)
        if numbers.ndim == 2 and numbers.shape[1] == 1 and k == 2:
            numbers = (numbers[:, 0] > 0.5).astype(int)
        elif numbers.ndim == 2 and numbers.shape[1] == k:
            numbers = numbers.argmax(axis=1)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= k)).any():
            raise ValueError(f"expected numbers from 0 to {k - 1}, or rows of {k} values, got shape {numbers.shape}.")
        return np.asarray(self.names[numbers])

    def __repr__(self) -> str:
        return f"ClassLabels({self.names.tolist()})"


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
    if block.dtype == dtype and math.isfinite(np.vdot(block, block)):  # one pass; it can only err on the safe side
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


def check_weights(weights: Any, n: int, what: str = "sample_weight", all_zero: bool = False) -> Array:
    """``weights`` as float64 (n,); ValueError unless they are n finite numbers of at least 0.

    That all of them are 0 is an error too, unless ``all_zero``.
    """
    given = as_features(weights, what)
    if given.shape != (n,):
        raise ValueError(f"{what}: expected one weight for each of the {n} rows, shape ({n},), got {given.shape}.")
    array = given[:]
    valid = np.isfinite(array) & (array >= 0)
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(f"{what}: expected finite weights of at least 0, got {array[row]} in row {row}.")
    if not array.any() and not all_zero:
        raise ValueError(f"{what}: all weights are 0; there is nothing to learn from.")
    return array.astype(np.float64)


def class_weights(class_weight: Any, labels: Array, weights: Array | None = None) -> Array:
    """The weight of each row, (n,) float64, by its label; times the row's own, where it has ``weights``.

    class_weight: a dict from label to weight, which must name every label there is; or "balanced", for weights
    ``n / (classes * count)``, under which all classes weigh the same and the mean is 1.

    >>> class_weights("balanced", np.array([0, 0, 0, 1]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    if labels.ndim != 1:
        raise ValueError(f"class_weight: expected one label for each row, got y of shape {labels.shape}.")
    own = np.ones(len(labels)) if weights is None else weights
    names, place = np.unique(labels, return_inverse=True)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            guess = nearest(class_weight, ["balanced"])
            raise ValueError(f"class_weight: expected a dict or 'balanced', got {class_weight!r}.{guess}")
        counts = np.bincount(place, own)
        return np.asarray((own.sum() / (len(names) * np.where(counts, counts, 1)))[place] * own)
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight: expected a dict from label to weight, or 'balanced', got {class_weight!r}.")
    missing = [name for name in names.tolist() if name not in class_weight]
    if missing:
        raise ValueError(f"class_weight: no weight for the labels {missing}; it has those for {list(class_weight)}.")
    by_class = check_weights([class_weight[name] for name in names.tolist()], len(names), "class_weight")
    return by_class[place] * own


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
    weights: Array | None
    """The rows' weights, where there are any; for a mean, divided by the whole batch's."""


class Block(NamedTuple):
    """Rows that are reported together, and the steps they make, to be taken one after the other."""

    y: Any
    targets: Array
    scores: Array
    steps: Iterable[Step]
    weights: Array | None

    def part(self, start: int, stop: int) -> Block:
        """Some of its rows, to be reported."""
        rows = slice(start, stop)
        weights = None if self.weights is None else self.weights[rows]
        return Block(self.y[rows], self.targets[rows], self.scores[rows], (), weights)


class Feed:
    """The rows of ``x`` and ``y`` in a given order, as blocks of steps.

    batch_rows: rows of a batch. splittable: whether a large batch may be computed in slices. encode(y, out) writes
    the targets of some labels, of ``output_shape`` a row. weights: (n,), of which steps get their ``shares`` in the
    batch, or the weights themselves. All buffers are made once and used again, so a step is valid until the next one
    is asked for.
    """

    def __init__(
        self,
        x: Rows,
        y: Array,
        batch_rows: int,
        *,
        dtype: np.dtype[Any],
        output_shape: Shape,
        encode: Callable[[Array, Array], Array],
        splittable: bool,
        weights: Array | None = None,
        shares: bool = True,
    ) -> None:
        self.x, self.y, self.encode = x, y, encode
        self.weights, self.shares = weights, shares
        self.n, self.batch_rows = len(x), batch_rows
        self.dtype, self.output_shape = dtype, output_shape
        self.direct = isinstance(x, np.ndarray) and x.dtype == dtype and x.flags.c_contiguous
        self.step_rows = min(batch_rows, SLICE_ROWS) if splittable else batch_rows
        gathered = max(self.step_rows, GATHER_BYTES // max(1, dtype.itemsize * math.prod(x.shape[1:])))
        # So many rows are gathered, and reported, at a time: whole batches, or parts of one.
        self.gather_rows = _whole_batches(gathered, batch_rows)
        self.block_rows = _whole_batches(max(gathered, BLOCK_ROWS), batch_rows)
        if batch_rows <= self.block_rows:
            self.block_rows = max(self.gather_rows, self.block_rows // self.gather_rows * self.gather_rows)
        self._x: Array | None = None
        rows = min(self.n, self.block_rows)
        self._targets = np.empty((rows, *self.output_shape), self.dtype)
        self._scores = np.empty_like(self._targets)
        self._full_block: list[list[Step]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches, the smaller last one included."""
        return -(-self.n // self.batch_rows)

    def facts(self) -> dict[str, Any]:
        """What another run's feed must have in common with this one for the run to be gone on with."""
        return {
            "rows": self.n,
            "rows a batch": self.batch_rows,
            "weights": None if self.weights is None else f"with the checksum {zlib.crc32(self.weights.tobytes())}",
        }

    def rows_under_way(self, batches: int) -> int:
        """How many of the rows of so many batches are in a block that is not over."""
        rows = min(batches * self.batch_rows, self.n)
        return rows % self.block_rows if self.batch_rows <= self.block_rows and rows < self.n else 0

    def skip(self, epochs: int, batches: int) -> None:
        """Nothing: rows are where they are."""

    def blocks(self, order: Array | None = None, skip: int = 0) -> Iterator[Block]:
        """The blocks of one epoch, rows in ``order``, or as they stand; without the first ``skip`` batches' steps.

        The first block may be one that has been begun: its steps are those that are left.
        """
        begin = min(skip * self.batch_rows, self.n) - self.rows_under_way(skip)
        for start, stop in spans(self.n, self.batch_rows, self.block_rows, begin):
            m = stop - start
            y = self.y[start:stop] if order is None else self.y[order[start:stop]]
            targets = self.encode(y, self._targets[:m])
            scores = self._scores[:m]
            steps = self._steps(start, stop, max(start, skip * self.batch_rows), order, targets, scores)
            yield Block(y, targets, scores, steps, self._weights(start, stop, order))

    def _steps(
        self, start: int, stop: int, begin: int, order: Array | None, targets: Array, scores: Array
    ) -> Iterator[Step]:
        """The steps of the rows from ``start`` to ``stop``, gathered a few at a time, from the row ``begin`` on.

        The views that whole blocks of whole batches consist of are the same each time, and are made once.
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
            yield from steps[max(0, begin - first) // self.batch_rows :]
        if reusable and known is None:
            self._full_block = made

    def _read(self, start: int, stop: int, order: Array | None) -> Array:
        if order is None and self.direct:
            view = self.x[start:stop]
            view.flags.writeable = False  # a layer that changes its input must not change the user's data
            return view
        if self._x is None:
            self._x = np.empty((min(self.n, self.gather_rows), *self.x.shape[1:]), self.dtype)
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
        return self.weights[start:stop] if order is None else self.weights[order[start:stop]]

    def _shares(self, start: int, stop: int, batch: slice, order: Array | None) -> Array | None:
        """The rows' weights, or, where a step wants those, their shares of the batch's weight."""
        weights, whole = self._weights(start, stop, order), self._weights(batch.start, batch.stop, order)
        return weights if weights is None or whole is None or not self.shares else weights / (whole.sum() or 1)

    def _split(self, start: int, stop: int, x: Array, targets: Array, scores: Array, order: Array | None) -> list[Step]:
        steps = []
        for first in range(start, stop, self.batch_rows):
            batch, end = first // self.batch_rows * self.batch_rows, self._end_of_batch(first)
            last = min(end, stop)
            part = slice(first - start, last - start)
            shares = self._shares(first, last, slice(batch, end), order)
            steps.append(Step(x[part], targets[part], scores[part], end - batch, first == batch, last == end, shares))
        return steps

    def _end_of_batch(self, row: int) -> int:
        """Where the batch that ``row`` is in ends."""
        return min((row // self.batch_rows + 1) * self.batch_rows, self.n)


class BatchFeed:
    """Batches that somebody else makes: from a generator, or by Keras' PyDataset protocol.

    source: an iterator of (x, y) or (x, y, sample_weight); or an object with ``__len__``, the number of batches, and
    ``__getitem__``, and perhaps ``on_epoch_end``. check(x, y, weights) returns them fit to be fed to the model.
    """

    direct = False

    def __init__(self, source: Any, steps_per_epoch: int | None) -> None:
        self.random_access = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        if self.random_access:
            length = whole_number(f"{type(source).__name__}: number of batches", len(source))
            steps_per_epoch = length if steps_per_epoch is None else steps_per_epoch
            if whole_number("steps_per_epoch", steps_per_epoch) > length:
                raise ValueError(f"steps_per_epoch: {steps_per_epoch} are more than the {length} batches there are.")
        elif steps_per_epoch is None:
            raise ValueError("steps_per_epoch: a generator does not say how many batches an epoch has; pass a number.")
        self.source = source if self.random_access else iter(source)
        self.steps_per_epoch = whole_number("steps_per_epoch", steps_per_epoch)
        self.n = len(source) if self.random_access else 0
        self.batch_rows = 1
        self.epoch = 0
        self._skipping = False
        self._ahead: list[Any] = []
        self.first = self._fetch(0, 0)
        """The first batch, which a generator's first step takes."""
        self._ahead = [] if self.random_access else [self.first]

    def prepare(
        self,
        check: Callable[..., tuple[Rows, Any, Array | None]],
        *,
        dtype: np.dtype[Any],
        output_shape: Shape,
        encode: Callable[[Any, Array], Array],
        shares: bool,
    ) -> None:
        """What it takes to turn a batch into a step. Raises what ``check`` raises for the first one."""
        self.check, self.dtype, self.output_shape, self.encode, self.shares = check, dtype, output_shape, encode, shares
        check(*as_batch(self.first))

    def facts(self) -> dict[str, Any]:
        """What another run's feed must have in common with this one for the run to be gone on with."""
        return {"batches an epoch": self.steps_per_epoch}

    def rows_under_way(self, batches: int) -> int:
        """None: each batch is a block."""
        return 0

    def skip(self, epochs: int, batches: int) -> None:
        """Go to where the source was after so many epochs and batches: read a generator on, end a dataset's epochs."""
        self._skipping = True
        for epoch in range(epochs + 1):
            over = epoch < epochs
            if not self.random_access:
                for step in range(self.steps_per_epoch if over else batches):
                    self._fetch(step, step)
            if over:
                self.epoch += 1
                self._end_epoch()
        self._skipping = False

    def blocks(self, order: Array | None = None, skip: int = 0) -> Iterator[Block]:
        """The batches of one epoch, one block each, without the first ``skip``."""
        self.epoch += 1
        for step in range(skip, self.steps_per_epoch):
            where = f"epoch {self.epoch}, step {step + 1}"
            batch = self._fetch(step if order is None else int(order[step]), step)
            try:
                block = self._block(batch)
            except (TypeError, ValueError) as error:
                error.add_note(f"in the batch of {where}; the steps before are kept")
                raise
            yield block
        self._end_epoch()

    def _end_epoch(self) -> None:
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()

    def _fetch(self, index: int, step: int) -> Any:
        if self._ahead:
            return self._ahead.pop()
        where = f"epoch {self.epoch + self._skipping or 1}, step {step + 1}"
        kept = "It is on the way to where the run is to go on." if self._skipping else "The steps before are kept."
        try:
            return self.source[index] if self.random_access else next(self.source)
        except StopIteration:
            raise ValueError(
                f"the generator ended before {where}; it must give {self.steps_per_epoch} batches in each epoch "
                f"(steps_per_epoch). {kept}"
            ) from None
        except Exception as error:
            raise RuntimeError(f"the data source failed in {where}: {error!r}. {kept}") from error

    def _block(self, batch: Any) -> Block:
        x, y, weights = self.check(*as_batch(batch))
        targets = self.encode(y, np.empty((len(x), *self.output_shape), self.dtype))
        scores = np.empty((len(x), *self.output_shape), self.dtype)
        shares = weights if weights is None or not self.shares else weights / (weights.sum() or 1)
        x = np.asarray(x[:], self.dtype)
        step = Step(x, targets, scores, len(x), True, True, shares)
        return Block(y, targets, scores, [step], weights)


def as_batch(batch: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights or None) from a tuple of two or three."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        found = f"{len(batch)} things" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"expected batches (x, y) or (x, y, sample_weight), got {found}.")
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def is_source_of_batches(x: Any) -> bool:
    """Whether ``x`` gives batches rather than being rows: an iterator, or a dataset in Keras' sense."""
    rows = hasattr(x, "shape") or hasattr(x, "__array__") or isinstance(x, list | tuple | str | dict)
    return not rows and (hasattr(x, "__next__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__")))


def _whole_batches(rows: int, batch_rows: int) -> int:
    """As many rows as whole batches have among ``rows``; where not even one fits, all of them."""
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
