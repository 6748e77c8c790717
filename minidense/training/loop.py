"""The training loop, and where it stands."""

from __future__ import annotations

import copy
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from minidense.callbacks.base import Logs
from minidense.callbacks.hooks import Hooks
from minidense.core.types import Array
from minidense.data.batches import BatchFeed, Block, Feed, Step
from minidense.optimizers import Optimizer
from minidense.training.history import History
from minidense.training.step import Learner, Report


class Run:
    """A training run: where it stands, and all that it takes to go on from there.

    shuffle: the stream that orders the rows of each epoch; None for the order they have. validate: gives the figures
    of the validation data, of which there are validation_rows. write(path, run): makes a checkpoint.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        feed: Feed | BatchFeed,
        report: Report,
        hooks: Hooks,
        history: History,
        *,
        shuffle: np.random.Generator | None,
        validate: Callable[[], Logs],
        validation_rows: int,
        stopped: Callable[[], bool],
        write: Callable[[str | None, Run], None],
    ) -> None:
        self.optimizer, self.feed, self.report = optimizer, feed, report
        self.hooks, self.history, self.shuffle = hooks, history, shuffle
        self.validate, self.stopped, self.write = validate, stopped, write
        self.validation_rows = validation_rows
        self.epoch = self.step = self.steps_made = 0
        """The epochs that are over, the batches of the next one that are, and all batches so far."""
        self._order_from: Any = None
        self._watched = hooks.per_batch
        shown = [metric for metric in report.metrics if metric.running]
        self._running = Report(copy.deepcopy(report.loss), shown, report.output)
        self._unreported: Array | None = None
        """Of a block that is under way, the scores that are not in the report yet; only where steps are watched."""

    def train(
        self,
        learner: Learner,
        epochs: int,
        interrupts: Sequence[object] = (),
        saved: dict[str, Any] | None = None,
    ) -> None:
        """Forward, loss, backward, update, for each batch, until ``epochs`` epochs are over.

        saved: the state of a run that is to be gone on with, against which ``check`` has found nothing.
        """
        self.learner = learner
        learner.prepare(self.optimizer)
        self.hooks.call("on_train_begin", {})
        try:
            if saved is not None:
                self._go_on_from(saved)
            if self.hooks.save:
                self.write(None, self)  # now, rather than after hours
            while self.epoch < epochs and not (self.stopped() and not self.step):
                if not self.step:
                    self.hooks.call("on_epoch_begin", self.epoch, {})
                self._take_steps(interrupts)
                self._end_epoch()
                if interrupts:
                    break
        finally:
            self.hooks.call("on_train_end", {})
        if interrupts:
            raise KeyboardInterrupt

    def _take_steps(self, interrupts: Sequence[object]) -> None:
        """Take the steps of this epoch that have not been taken."""
        order = None
        if self.shuffle is not None:
            self._order_from = self.shuffle.bit_generator.state
            order = permutation(self.shuffle, self.feed.n)
        if self.step and self.stopped():  # it was saved after it had been told to stop
            if self._unreported is not None:
                block = next(self.feed.blocks(order, self.step))
                self.report.add(block.part(0, self._reopen(block)))
            return
        watched = self._watched or self.stopped()  # told to stop before its first step, which is to be the last
        for block in self.feed.blocks(order, self.step):
            first, done = self.step, self._reopen(block)
            for step in block.steps:
                if self._watched and step.opens:
                    self.hooks.call("on_batch_begin", self.step, {})
                if not self.learner.backpropagate(step):
                    raise self.learner.diverged(step, f"epoch {self.epoch + 1}, step {self.step + 1}", self.optimizer)
                if step.closes:
                    self.learner.update(self.optimizer)
                    self.step, self.steps_made = self.step + 1, self.steps_made + 1
                if watched:
                    done = self._report_step(block, step, done)
                if step.closes and interrupts:
                    raise KeyboardInterrupt
                if watched and step.closes and self.stopped():
                    break
            if not watched:
                self.report.add(block)
            elif self._unreported is not None:
                self.report.add(block.part(0, done))
            self._unreported = None
            if self.hooks.wants("on_block_end"):
                self.hooks.call("on_block_end", self.step - first, self.report.logs(running=True))
            if step.closes and self.stopped():
                return

    def _reopen(self, block: Block) -> int:
        """Put the scores of a block that was under way back; return how many there are."""
        if self._unreported is None:
            return 0
        block.scores[: len(self._unreported)] = self._unreported
        return len(self._unreported)

    def _report_step(self, block: Block, step: Step, done: int) -> int:
        """Note a step for those who watch; return how many rows of the block are done.

        The report proper is made of whole blocks, so that its sums do not depend on who watches.
        """
        now = done + len(step.scores)
        self._running.add(block.part(done, now))
        self._running.take_values(self.report)
        if now == len(block.scores):
            self.report.add(block)
            self._unreported = None
        else:
            self._unreported = block.scores[:now]
        if step.closes:
            self.hooks.call("on_batch_end", self.step - 1, self._running.logs(running=True))
            self.hooks.save_point(self, of_step=True)
        return now

    def _end_epoch(self) -> None:
        logs = self.report.logs()
        self.report.reset()
        self._running.reset()
        self.learner.check_epoch(logs, f"epoch {self.epoch + 1}", self.optimizer)
        logs |= {f"val_{name}": value for name, value in self.validate().items()}
        try:
            self.hooks.call("on_epoch_end", self.epoch, logs)  # which may add figures
        finally:
            self.history.append(self.epoch, logs)
            self.epoch, self.step = self.epoch + 1, 0
        self.hooks.save_point(self, of_step=False)

    # ------------------------------------------------------------------ saving and resuming

    @property
    def logs(self) -> Logs:
        """The figures of the epoch that is over, or of the one that is under way as far as it is."""
        if self.step:
            return self._running.logs(running=True)
        return {name: values[-1] for name, values in self.history.history.items()}

    @property
    def order_of_epoch(self) -> Any:
        """The state of ``shuffle`` from which the order of the epoch under way, or of the next one, is drawn."""
        return self._order_from if self.step else self.shuffle and self.shuffle.bit_generator.state

    def save(self, path: str) -> None:
        """Write a checkpoint, from which ``fit(..., resume=path)`` goes on. Raises ValueError and OSError."""
        self.write(path, self)

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What another run must have in common with this one, to go on with it."""
        return {
            **self.feed.facts(),
            "shuffle": self.shuffle is not None,
            "validation rows": self.validation_rows,
        }

    def state(self) -> dict[str, Any]:
        """Where the run stands, as plain values and arrays."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "steps_made": self.steps_made,
            "facts": self.facts,
            "stopped": self.stopped(),
            "report": self.report.state(),
            "running": self._running.state(),
            "unreported": None if self._unreported is None else self._unreported.copy(),
            "callbacks": self.hooks.state(),
        }

    def check(self, state: dict[str, Any], epochs: int) -> list[str]:
        """Why this run cannot go on from ``state``, which another one has saved, until ``epochs`` epochs are over."""
        expected = "epoch step steps_made facts stopped report running unreported callbacks"
        if " ".join(state) != expected or not isinstance(state["facts"], dict):
            return ["what it says about the run is incomplete"]
        found = [
            f"{name}: {state['facts'].get(name)} in the file, {value} here"
            for name, value in self.facts.items()
            if state["facts"].get(name) != value
        ]
        return (found or self._check_place(state, epochs)) + self.hooks.check(state["callbacks"])

    def _check_place(self, state: dict[str, Any], epochs: int) -> list[str]:
        numbers = state["epoch"], state["step"], state["steps_made"]
        if not all(type(n) is int and n >= 0 for n in numbers) or state["step"] > self.feed.steps_per_epoch:
            return [f"its place, epoch {state['epoch']}, step {state['step']}, is none in this run"]
        if state["epoch"] + (state["step"] > 0) > epochs:
            return [f"epochs: {state['epoch']} and {state['step']} steps are over in the file, {epochs} wanted here"]
        rows, scores = self.feed.rows_under_way(state["step"]), state["unreported"]
        if (0 if scores is None else len(scores)) != rows or (rows and scores.shape[1:] != self.feed.output_shape):
            return ["its scores of the batches under way are others"]
        return self.report.check(state["report"]) + self._running.check(state["running"])

    def _go_on_from(self, state: dict[str, Any]) -> None:
        self.epoch, self.step, self.steps_made = state["epoch"], state["step"], state["steps_made"]
        self.report.go_on_from(state["report"])
        self._running.go_on_from(state["running"])
        self._unreported = state["unreported"]
        self.hooks.go_on_from(state["callbacks"], self)


@contextmanager
def deferred_interrupts() -> Iterator[Sequence[object]]:
    """A list that a Ctrl-C is noted in, for the loop to end at a whole step; the second one ends it at once."""
    interrupts: list[object] = []
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupts  # somebody else sees to it
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if len(interrupts) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def permutation(rng: np.random.Generator, n: int) -> Array:
    """0 to n - 1 in random order, in as few bytes as it takes."""
    order = np.arange(n, dtype=np.uint32 if n <= 2**32 else np.uint64)
    rng.shuffle(order)
    return order
