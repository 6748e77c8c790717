"""Batches that the user makes: by a generator, an iterable such as PyTorch's DataLoader, or Keras' PyDataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidense.core.arguments import whole_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import Rows
from minidense.data.batches import Block, Step, read_only

_END: Any = object()


class Source:
    """Epochs of the batches that the user makes.

    given: an object with ``__len__`` and ``__getitem__``, whose batches are read by their number; something that can be
    iterated again, which each epoch does anew; or an iterator, which is read on from epoch to epoch. If it has
    ``on_epoch_begin`` or ``on_epoch_end``, they are called. steps: the number of batches of an epoch; None: all that
    there are. name: the argument that says so, for errors.
    """

    def __init__(self, given: Any, steps: int | None = None, name: str = "steps_per_epoch") -> None:
        self.given, self.name = given, name
        self.by_number = hasattr(given, "__getitem__") and hasattr(given, "__len__")
        self.once = hasattr(given, "__next__")
        self.length = None if self.once else _length_of(given)
        self.requested = None if steps is None else whole_number(name, steps)
        if None not in (self.length, self.requested) and self.requested > self.length:  # type: ignore[operator]
            raise ValueError(f"{name}: there are {self.length} batches, fewer than {self.requested}.")
        self.steps = self.length if self.requested is None else self.requested
        """The number of batches of an epoch; None if that is not known before the end of the first one."""
        self.epoch = self.number = 0
        """The number of epochs that have begun, and of the batches read in this one."""
        self._iterator: Iterator[Any] | None = None
        self._open = self._skipping = False
        self._ahead: list[Any] = []
        self.first = self._fetch(0)
        """The first batch, fetched ahead to check it."""
        if self.first is _END:
            raise self._ended()
        self._ahead = [] if self.by_number else [self.first]

    def check_epochs(self, epochs: int) -> None:
        """Raise ValueError if the batches last for one epoch only, and more are wanted."""
        if self.once and self.requested is None and epochs > 1:
            raise ValueError(
                f"{self.name}: a generator is read once, so that none of its batches are left for epoch 2 of {epochs}. "
                f"Pass the number of batches per epoch, or something that can be iterated again."
            )

    def batches(self, order: Array | None = None, begin: int = 0) -> Iterator[Any]:
        """The batches of the next epoch from number ``begin`` on, in that order if they are read by number.

        Others are read on from where ``skip`` has gone.
        """
        self._begin_epoch()
        steps = self.steps if self.by_number else self.requested
        if self.by_number:
            self.number = begin if steps is None else min(begin, steps)
        while self.number != steps:
            batch = self._fetch(self.number if order is None else int(order[self.number]))
            if batch is _END:
                break
            self.number += 1
            yield batch
        self._end_epoch()

    def skip(self, epochs: int, batches: int) -> None:
        """Go to where that many epochs and batches are over: those that are not read by number are read."""
        self._skipping = True
        for _ in range(epochs):
            if self.by_number:
                self._begin_epoch()
                self.number = self.steps or 0
                self._end_epoch()
            else:
                for _ in self.batches():
                    pass
        if batches:
            self._begin_epoch()
        if not self.by_number:
            while self.number < min(batches, self.requested or batches) and self._fetch(self.number) is not _END:
                self.number += 1
            if self.requested is not None and self.number < min(batches, self.requested):
                raise self._ended()
        self._skipping = False

    def _begin_epoch(self) -> None:
        if not self._open:
            self._open, self.epoch, self.number = True, self.epoch + 1, 0
            self._tell("on_epoch_begin", "before")

    def _end_epoch(self) -> None:
        if self.number == 0 or self.requested not in (None, self.number):
            raise self._ended()
        if self.length is not None and self.requested is None and self.number != self.length:
            raise ValueError(
                f"{type(self.given).__name__} says that it has {self.length} batches, and gave {self.number} in epoch "
                f"{self.epoch}. {self._kept}"
            )
        self.steps = self.number
        if not self.once:
            self._iterator = None
        self._open = False
        self._tell("on_epoch_end", "after")

    def _tell(self, hook: str, when: str) -> None:
        try:
            getattr(self.given, hook, _nothing)()
        except Exception as error:
            raise RuntimeError(
                f"the data source failed in its {hook} {when} epoch {self.epoch}: {error!r}. {self._kept}"
            ) from error

    def _fetch(self, index: int) -> Any:
        """The next batch, which is number ``index`` where batches have numbers; or _END."""
        if self._ahead:
            return self._ahead.pop()
        try:
            if self.by_number:
                return self.given[index]
            if self._iterator is None:
                self._iterator = iter(self.given)
            return next(self._iterator, _END)
        except Exception as error:
            raise RuntimeError(f"the data source failed in {self._next}: {error!r}. {self._kept}") from error

    def _ended(self) -> ValueError:
        expected = "at least one batch" if self.requested is None else f"{self.requested} batches"
        kind = "generator" if self.once else type(self.given).__name__
        return ValueError(
            f"the {kind} ended before {self._next}; it must give {expected} in each epoch ({self.name}). {self._kept}"
        )

    @property
    def _next(self) -> str:
        return f"epoch {self.epoch or 1}, step {self.number + 1}"

    @property
    def _kept(self) -> str:
        if self._skipping:
            return "These batches are skipped to resume the run."
        return "The steps before are kept." if self.name == "steps_per_epoch" else f"It was given to {self._user}."

    @property
    def _user(self) -> str:
        return "fit as validation_data" if self.name == "validation_steps" else "evaluate or predict"


def _length_of(given: Any) -> int | None:
    """The number of batches that it says it has; None if it does not say."""
    try:
        length = len(given)
    except TypeError:
        return None
    return whole_number(f"{type(given).__name__}: number of batches", length)


def _nothing() -> None:
    """The hook of a source without hooks."""


class PyDataset:
    """A base class for batches, as in Keras: write ``__len__``, their number, and ``__getitem__``, which returns one.

    The batches are made one at a time, by the thread that trains: more workers are a ValueError.

    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def __getitem__(self, i):
    ...         x = np.arange(4 * i, 4 * i + 4.0)[:, None]
    ...         return x, x**2
    >>> len(Squares())
    3
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        whole_number("max_queue_size", max_queue_size)
        if workers != 1 or use_multiprocessing:
            raise ValueError(
                f"{type(self).__name__}: batches are made by the thread that trains; leave out workers and "
                f"use_multiprocessing, or make the batches elsewhere and pass an iterable of them."
            )

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: write __len__, which returns the number of batches.")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: write __getitem__, which returns the batch of that number.")

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch."""


class BatchFeed:
    """The batches of a source as blocks of steps, one block for each update. together: the batches of an update."""

    direct = False
    batch_rows = 1
    """A row of a source is a batch."""

    def __init__(self, source: Source, together: int = 1) -> None:
        self.source, self.together = source, together
        self.n = source.length if source.by_number and source.length is not None else 0
        """How many batches can be shuffled."""

    def prepare(
        self,
        check: Callable[..., tuple[Rows, Any, Array | None]],
        *,
        dtype: np.dtype[Any],
        x_dtype: np.dtype[Any] | None = None,
        output_shape: Shape,
        encode: Callable[[Any, Array], Array],
        shares: bool,
    ) -> None:
        """Set how batches are turned into steps, and check the first one.

        check(x, y, weights) returns the three in the form the model takes, or raises an error. The other arguments
        are those of ``Feed``.
        """
        self.check, self.dtype, self.x_dtype = check, dtype, x_dtype or dtype
        self.output_shape, self.encode, self.shares = output_shape, encode, shares
        check(*as_batch(self.source.first))

    @property
    def steps_per_epoch(self) -> int | None:
        """The number of updates; None if it is not known yet."""
        return None if self.source.steps is None else -(-self.source.steps // self.together)

    def facts(self) -> dict[str, Any]:
        """What the feed of a resumed run must have in common with this one."""
        return {"batches an epoch": self.source.steps, "batches an update": self.together}

    def check_epochs(self, epochs: int) -> None:
        """Raise ValueError if the batches last for fewer epochs."""
        self.source.check_epochs(epochs)

    def rows_under_way(self, batches: int) -> int:
        """0: each batch is a block of its own, complete at once."""
        return 0

    def skip(self, epochs: int, batches: int) -> None:
        """Go to where that many epochs and updates are over."""
        self.source.skip(epochs, batches * self.together)

    def blocks(self, order: Array | None = None, skip: int = 0) -> Iterator[Block]:
        """The updates of one epoch, one block each, without the first ``skip``."""
        group: list[tuple[Rows, Any, Array | None]] = []
        for batch in self.source.batches(order, skip * self.together):
            try:
                x, y, weights = self.check(*as_batch(batch))
                if group and y.shape[1:] != group[0][1].shape[1:]:
                    raise ValueError(
                        f"y: the batches of one update have rows of shape {group[0][1].shape[1:]} and {y.shape[1:]}; "
                        f"expected one form of labels."
                    )
            except (TypeError, ValueError) as error:
                where = f"epoch {self.source.epoch}, step {self.source.number}"
                kept = "; the steps before are kept" * (self.source.name == "steps_per_epoch")
                error.add_note(f"in the batch of {where}{kept}")
                raise
            if self.together > 1:  # a source may reuse its arrays for the next batch
                x, y = np.array(x[:], self.x_dtype), np.array(y)
                weights = None if weights is None else np.array(weights)
            group.append((x, y, weights))
            if len(group) == self.together:
                yield self._block(group)
                group = []
        if group:
            yield self._block(group)

    def _block(self, batches: list[tuple[Rows, Any, Array | None]]) -> Block:
        """One update: each batch is a micro-batch of it."""
        stops = list(itertools.accumulate(len(x) for x, _, _ in batches))
        n, weighted = stops[-1], any(weights is not None for _, _, weights in batches)
        of_all = [np.ones(len(x)) if weights is None else weights for x, _, weights in batches]
        weights = np.concatenate(of_all) if weighted else None
        y = read_only(batches[0][1] if len(batches) == 1 else np.concatenate([y for _, y, _ in batches]))
        targets = self.encode(y, np.empty((n, *self.output_shape), self.dtype))
        scores = np.empty((n, *self.output_shape), self.dtype)
        shares = weights if weights is None or not self.shares else weights / (weights.sum() or 1)
        steps = []
        for (x, _, _), stop in zip(batches, stops, strict=True):
            part = slice(stop - len(x), stop)
            of_part = None if shares is None else shares[part]
            features = np.asarray(x[:], self.x_dtype)
            steps.append(Step(features, targets[part], scores[part], n, part.start == 0, stop == n, of_part))
        return Block(y, targets, scores, steps, weights)


def as_batch(batch: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights or None) from a tuple of two or three."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        found = f"{len(batch)} items" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"expected batches (x, y) or (x, y, sample_weight), got {found}.")
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def features_of(batch: Any) -> Any:
    """x from (x,), (x, y), (x, y, weights), or from x itself."""
    return batch[0] if isinstance(batch, tuple | list) and len(batch) in (1, 2, 3) else batch


def is_source_of_batches(x: Any) -> bool:
    """Whether ``x`` yields batches instead of rows: it can be iterated or has Keras' PyDataset protocol."""
    rows = hasattr(x, "shape") or hasattr(x, "__array__")
    rows = rows or isinstance(x, list | tuple | str | bytes | dict | set | frozenset | type)
    return not rows and (hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__")))
