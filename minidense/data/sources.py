"""Batches that the user makes: from a generator, or from an object with Keras' PyDataset protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidense.core.arguments import whole_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import Rows
from minidense.data.batches import Block, Step, read_only


class BatchFeed:
    """Batches that the user makes: a generator, or an object with Keras' PyDataset protocol.

    source: an iterator of (x, y) or (x, y, sample_weight); or an object with ``__len__``, the number of batches, and
    ``__getitem__``, and perhaps ``on_epoch_end``. steps_per_epoch: the number of batches per epoch. together: the
    number of batches per update.
    """

    direct = False

    def __init__(self, source: Any, steps_per_epoch: int | None, together: int = 1) -> None:
        self.random_access = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        if self.random_access:
            length = whole_number(f"{type(source).__name__}: number of batches", len(source))
            steps_per_epoch = length if steps_per_epoch is None else steps_per_epoch
            if whole_number("steps_per_epoch", steps_per_epoch) > length:
                raise ValueError(f"steps_per_epoch: there are {length} batches, fewer than {steps_per_epoch}.")
        elif steps_per_epoch is None:
            raise ValueError("steps_per_epoch: a generator has no length; pass the number of batches per epoch.")
        self.source = source if self.random_access else iter(source)
        self.batches_per_epoch = whole_number("steps_per_epoch", steps_per_epoch)
        self.together = together
        self.steps_per_epoch = -(-self.batches_per_epoch // together)
        """The number of updates."""
        self.n = len(source) if self.random_access else 0
        self.batch_rows = 1
        self.epoch = 0
        self._skipping = False
        self._ahead: list[Any] = []
        self.first = self._fetch(0, 0)
        """The first batch, fetched ahead to check it; a generator's first step takes it from here."""
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
        """Set how batches are turned into steps, and check the first one.

        check(x, y, weights) returns the three in the form the model takes, or raises an error. The other arguments
        are those of ``Feed``.
        """
        self.check, self.dtype, self.output_shape, self.encode, self.shares = check, dtype, output_shape, encode, shares
        check(*as_batch(self.first))

    def facts(self) -> dict[str, Any]:
        """What the feed of a resumed run must have in common with this one."""
        return {"batches an epoch": self.batches_per_epoch, "batches an update": self.together}

    def rows_under_way(self, batches: int) -> int:
        """0: each batch is a block of its own, complete at once."""
        return 0

    def skip(self, epochs: int, batches: int) -> None:
        """Advance the source by ``epochs`` and ``batches``: read a generator's batches, call ``on_epoch_end``."""
        self._skipping = True
        for epoch in range(epochs + 1):
            over = epoch < epochs
            if not self.random_access:
                in_this = self.batches_per_epoch if over else min(batches * self.together, self.batches_per_epoch)
                for step in range(in_this):
                    self._fetch(step, step)
            if over:
                self.epoch += 1
                self._end_epoch()
        self._skipping = False

    def blocks(self, order: Array | None = None, skip: int = 0) -> Iterator[Block]:
        """The updates of one epoch, one block each, without the first ``skip``."""
        self.epoch += 1
        for first in range(skip * self.together, self.batches_per_epoch, self.together):
            batches: list[tuple[Rows, Any, Array | None]] = []
            for step in range(first, min(first + self.together, self.batches_per_epoch)):
                batch = self._fetch(step if order is None else int(order[step]), step)
                try:
                    x, y, weights = self.check(*as_batch(batch))
                    if batches and y.shape[1:] != batches[0][1].shape[1:]:
                        raise ValueError(
                            f"y: the batches of one update have rows of shape {batches[0][1].shape[1:]} and "
                            f"{y.shape[1:]}; expected one form of labels."
                        )
                except (TypeError, ValueError) as error:
                    error.add_note(f"in the batch of epoch {self.epoch}, step {step + 1}; the steps before are kept")
                    raise
                if self.together > 1:  # a source may reuse its arrays for the next batch
                    x, y = np.array(x[:], self.dtype), np.array(y)
                batches.append((x, y, weights))
            yield self._block(batches)
        self._end_epoch()

    def _end_epoch(self) -> None:
        if hasattr(self.source, "on_epoch_end"):
            try:
                self.source.on_epoch_end()
            except Exception as error:
                raise RuntimeError(
                    f"the data source failed in its on_epoch_end after epoch {self.epoch}: {error!r}. {self._kept}"
                ) from error

    @property
    def _kept(self) -> str:
        return "These batches are skipped to resume the run." if self._skipping else "The steps before are kept."

    def _fetch(self, index: int, step: int) -> Any:
        if self._ahead:
            return self._ahead.pop()
        where = f"epoch {self.epoch + self._skipping or 1}, step {step + 1}"
        try:
            return self.source[index] if self.random_access else next(self.source)
        except StopIteration:
            raise ValueError(
                f"the generator ended before {where}; it must give {self.batches_per_epoch} batches in each epoch "
                f"(steps_per_epoch). {self._kept}"
            ) from None
        except Exception as error:
            raise RuntimeError(f"the data source failed in {where}: {error!r}. {self._kept}") from error

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
            features = np.asarray(x[:], self.dtype)
            steps.append(Step(features, targets[part], scores[part], n, part.start == 0, stop == n, of_part))
        return Block(y, targets, scores, steps, weights)


def as_batch(batch: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights or None) from a tuple of two or three."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        found = f"{len(batch)} items" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"expected batches (x, y) or (x, y, sample_weight), got {found}.")
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def is_source_of_batches(x: Any) -> bool:
    """Whether ``x`` yields batches instead of rows: an iterator, or an object with Keras' PyDataset protocol."""
    rows = hasattr(x, "shape") or hasattr(x, "__array__") or isinstance(x, list | tuple | str | dict)
    return not rows and (hasattr(x, "__next__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__")))
