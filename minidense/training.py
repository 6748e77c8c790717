"""The training loop, and what one step of it does."""

from __future__ import annotations

import copy
import itertools
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from minidense.callbacks import Hooks, Logs
from minidense.chain import Chain, first_not_finite, inference
from minidense.data import BatchFeed, Block, Feed, Step
from minidense.encoding import put_back
from minidense.history import History
from minidense.layers import Layer
from minidense.losses import Loss, RowLoss, by_rows
from minidense.metrics import Metric
from minidense.optimizers import Optimizer
from minidense.types import Array


class Run:
    """A training run: where it stands, and all that it takes to go on from there.

    epoch: the epochs that are over. step: the batches of the next one that are. validate: gives the figures of the
    validation data. shuffle: the stream that orders the rows of each epoch; None for the order they have. write(path,
    run): makes a checkpoint.
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
        stopped: Callable[[], bool],
        write: Callable[[str, Run], None],
    ) -> None:
        self.optimizer, self.feed, self.report = optimizer, feed, report
        self.hooks, self.history = hooks, history
        self.shuffle, self.validate, self.stopped = shuffle, validate, stopped
        self.write = write
        self.epoch = self.step = 0
        self._order_from: Any = None
        self._watched = hooks.per_batch
        self._running = Report(report.loss, report.metrics, report.output)
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
        if saved is not None:
            self.hooks.make_anew()
        self.hooks.call("on_train_begin", {})
        try:
            if saved is not None:
                self._go_on_from(saved)
            while self.epoch < epochs and not (self.stopped() and not self.step):
                if not self.step:
                    self.hooks.call("on_epoch_begin", self.epoch, {})
                    self.report.reset()
                    self._running.reset()
                self._take_steps(interrupts)
                self._end_epoch()
                if interrupts:
                    raise KeyboardInterrupt
        finally:
            self.hooks.call("on_train_end", {})

    def _take_steps(self, interrupts: Sequence[object]) -> None:
        """Take the steps of this epoch that have not been taken."""
        order = None
        if self.shuffle is not None:
            self._order_from = self.shuffle.bit_generator.state
            order = permutation(self.shuffle, self.feed.n)
        told = self.step > 0 and self.stopped()  # it was saved after it had been told to stop
        for block in self.feed.blocks(order, self.step):
            first, done = self.step, self._reopen(block)
            for step in () if told else block.steps:
                if self._watched and step.opens:
                    self.hooks.call("on_batch_begin", self.step, {})
                if not self.learner.backpropagate(step):
                    raise self.learner.diverged(step, f"epoch {self.epoch + 1}, step {self.step + 1}", self.optimizer)
                if step.closes:
                    self.learner.update(self.optimizer)
                    self.step += 1
                if self._watched:
                    done = self._report_step(block, step, done)
                if step.closes and interrupts:
                    raise KeyboardInterrupt
                if self._watched and self.stopped():
                    break
            if told or (self._watched and self._unreported is not None):
                self.report.add(block.part(0, done))
            elif not self._watched:
                self.report.add(block)
            self._unreported = None
            if self.hooks.wants("on_block_end"):
                self.hooks.call("on_block_end", self.step - first, self.report.logs(running=True))
            if self.stopped():
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
        self.learner.check_epoch(logs, f"epoch {self.epoch + 1}", self.optimizer)
        logs |= {f"val_{name}": value for name, value in self.validate().items()}
        try:
            self.hooks.call("on_epoch_end", self.epoch, logs)  # which may add figures
        finally:
            self.history.append(self.epoch, logs)
            self.epoch, self.step = self.epoch + 1, 0
        self.hooks.save_point(self, of_step=False)

    def save(self, path: str) -> None:
        """Write a checkpoint, from which ``fit(..., resume=path)`` goes on. Raises ValueError and OSError."""
        self.write(path, self)

    @property
    def steps_made(self) -> int:
        """All steps of the run so far."""
        return self.epoch * self.feed.steps_per_epoch + self.step

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

    def state(self) -> dict[str, Any]:
        """Where the run stands, as plain values and arrays."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "facts": self._facts(),
            "stopped": self.stopped(),
            "report": self.report.state(),
            "running": self._running.state(),
            "unreported": None if self._unreported is None else self._unreported.copy(),
            "callbacks": self.hooks.state(),
        }

    def _facts(self) -> dict[str, Any]:
        """What another run must have in common with this one, to go on with it."""
        batches = isinstance(self.feed, BatchFeed)
        return {
            "rows": None if batches else self.feed.n,
            "rows a batch": None if batches else self.feed.batch_rows,
            "steps an epoch": self.feed.steps_per_epoch,
            "shuffle": self.shuffle is not None,
            "weights": not batches and self.feed.weights is not None,  # type: ignore[union-attr]
        }

    def check(self, state: dict[str, Any]) -> list[str]:
        """Why this run cannot go on from ``state``, which another one has saved."""
        expected = ["epoch", "step", "facts", "stopped", "report", "running", "unreported", "callbacks"]
        facts = self._facts()
        if list(state) != expected or list(state["facts"]) != list(facts):
            return ["what it says about the run is incomplete"]
        found = [
            f"{name}: {state['facts'][name]} in the file, {value} here"
            for name, value in facts.items()
            if state["facts"][name] != value
        ]
        if found:
            return found
        numbers = state["epoch"], state["step"]
        if not all(type(n) is int and n >= 0 for n in numbers) or state["step"] > self.feed.steps_per_epoch:
            return [f"its place, epoch {state['epoch']}, step {state['step']}, is none in this run"]
        rows, scores = self.feed.rows_under_way(state["step"]), state["unreported"]
        if (0 if scores is None else len(scores)) != rows or (rows and scores.shape[1:] != self.feed.output_shape):
            found.append("its scores of the batches under way are others")
        found += self.report.check(state["report"]) + self._running.check(state["running"])
        return found + self.hooks.check(state["callbacks"])

    def _go_on_from(self, state: dict[str, Any]) -> None:
        self.epoch, self.step = state["epoch"], state["step"]
        self.report.go_on_from(state["report"])
        self._running.go_on_from(state["running"])
        self._unreported = state["unreported"]
        self.hooks.go_on_from(state["callbacks"])
        self.feed.skip_epochs(self.epoch)


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


class Learner:
    """The forward pass, the loss and the backward pass of one step, which leave the batch's gradient in ``grad``."""

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss,
        theta: Array,
        grad: Array,
        report: Report,
    ) -> None:
        self.layers, self.loss, self.theta, self.grad, self.report = layers, loss, theta, grad, report
        self.row_loss = by_rows(loss)
        self.chain = Chain(layers, training=True, for_input=False)
        self.frozen = [piece for layer, piece in pieces(layers) if not layer.trainable and layer.count_params]
        self._total: Array | None = None

    def backpropagate(self, step: Step) -> bool:
        """Fill ``grad`` for ``step`` and note its scores. False, and no gradient, where the loss is not finite."""
        x, targets, noted_scores, batch_rows, opens, closes, weights = step
        scores = self.chain.forward(x)
        if self.row_loss is not None:
            dscores = self.row_loss.gradient(scores, targets)
            if weights is not None:
                dscores *= weights.reshape(-1, *[1] * (dscores.ndim - 1))
            elif batch_rows > 1 and self.row_loss.reduction == "mean":
                dscores *= 1 / batch_rows
            # One cheap number, finite only if all scores are. It may overflow where the loss does not: look closer.
            finite = math.isfinite(np.vdot(scores, dscores)) or self._rows_are_finite(self.row_loss, scores, targets)
        else:
            value = self.loss.forward(scores, targets)
            dscores = self.loss.backward()
            finite = self.report.add_value(value, len(scores))
        if not finite:
            return False
        if dscores.shape != scores.shape or dscores.dtype != scores.dtype:
            dscores = self._fitting(dscores, scores)
        noted_scores[...] = scores
        self.chain.backward(dscores)
        if not (opens and closes):
            self._add_up(opens, closes)
        return True

    def prepare(self, optimizer: Optimizer) -> None:
        """Tell the optimizer which pieces of ``theta`` decay."""
        declarations = [d for layer in self.layers for d in layer.declarations]
        stops = list(itertools.accumulate(d.size for d in declarations))
        optimizer.decayed = [slice(stop - d.size, stop) for d, stop in zip(declarations, stops, strict=True) if d.decay]

    def update(self, optimizer: Optimizer) -> None:
        """Let the optimizer change ``theta``, but for the parameters of frozen layers."""
        if not self.frozen:
            optimizer.update(self.theta, self.grad)
            return
        kept = [self.theta[piece].copy() for piece in self.frozen]
        for piece in self.frozen:
            self.grad[piece] = 0
        optimizer.update(self.theta, self.grad)
        for piece, values in zip(self.frozen, kept, strict=True):
            self.theta[piece] = values

    def _rows_are_finite(self, loss: RowLoss, scores: Array, targets: Array) -> bool:
        return bool(np.isfinite(loss.rows(scores, targets)).all())

    def _fitting(self, dscores: Array, scores: Array) -> Array:
        if dscores.shape != scores.shape:
            raise ValueError(
                f"{self.loss!r}: dLoss/dscores must have the scores' shape {scores.shape}, got {dscores.shape}."
            )
        return dscores.astype(scores.dtype)

    def _add_up(self, opens: bool, closes: bool) -> None:
        """The gradient of a batch computed in slices is the sum of theirs."""
        if opens:
            if self._total is None:
                self._total = np.empty_like(self.grad)
            np.copyto(self._total, self.grad)
        else:
            assert self._total is not None
            self._total += self.grad
        if closes:
            np.copyto(self.grad, self._total)

    def diverged(self, step: Step, when: str, optimizer: Optimizer | None) -> FloatingPointError:
        """The error that says when and where the numbers ended."""
        layer = first_not_finite(self.layers, step.x)
        where = "the loss itself" if layer is None else f"the output of {layer.where}"
        return FloatingPointError(
            f"The loss is not finite any more in {when}; the first thing that is not is {where}. The update was not "
            f"made: the parameters are those before this step. {_advice(optimizer)}"
        )

    def check_epoch(self, logs: Logs, when: str, optimizer: Optimizer) -> None:
        """Raise FloatingPointError where an epoch ended with a loss or with parameters that are not finite."""
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"The loss of {when} is {logs['loss']}. {_advice(optimizer)}")
        if not math.isfinite(np.vdot(self.theta, self.theta)) and not np.isfinite(self.theta).all():
            raise FloatingPointError(f"An update in {when} made parameters infinite. {_advice(optimizer)}")


def pieces(layers: Sequence[Layer]) -> Iterator[tuple[Layer, slice]]:
    """Each layer and its piece of ``theta``."""
    start = 0
    for layer in layers:
        yield layer, slice(start, start + layer.count_params)
        start += layer.count_params


def _advice(optimizer: Optimizer | None) -> str:
    rate = f"a smaller learning rate (it is {optimizer.rate:g}), or " if optimizer else ""
    return f"Try {rate}inputs of about unit size."


class Report:
    """The loss and the metrics over all rows added since ``reset``: sums over rows, not averages of averages."""

    def __init__(self, loss: Loss, metrics: Sequence[Metric], output: Callable[[Array], Array]) -> None:
        self.loss, self.output = loss, output
        self.row_loss = by_rows(loss)
        self.metrics = [copy.deepcopy(metric) for metric in metrics]
        self.reset()

    def reset(self) -> None:
        self._rows, self.loss_sum = 0.0, 0.0  # with weights, their sum instead of the number of rows
        for metric in self.metrics:
            metric.reset()

    def state(self) -> dict[str, Any]:
        """The sums so far."""
        return {"sums": (self._rows, self.loss_sum), "metrics": [metric.attributes() for metric in self.metrics]}

    def check(self, state: Any) -> list[str]:
        """Why it cannot have been in that state."""
        fits = isinstance(state, dict) and list(state) == ["sums", "metrics"] and len(state["sums"]) == 2
        return [] if fits and len(state["metrics"]) == len(self.metrics) else ["its figures are of other metrics"]

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Have the sums that another report had."""
        self._rows, self.loss_sum = state["sums"]
        for metric, attributes in zip(self.metrics, state["metrics"], strict=True):
            put_back(metric, attributes)

    def add(self, block: Block) -> None:
        """Add the rows of a block, whose scores have been noted."""
        if self.row_loss is not None:
            rows = self.row_loss.rows(block.scores, block.targets)
            weights = block.weights
            self.loss_sum += float(rows.sum(dtype=np.float64) if weights is None else np.vdot(rows, weights))
            self._rows += len(rows) if weights is None else float(weights.sum())
        if self.metrics:
            y_true, y_pred = self.loss.labels(block.y), self.output(block.scores)
            for metric in self.metrics:
                if block.weights is None:
                    metric.update(y_true, y_pred)
                else:
                    metric.update(y_true, y_pred, block.weights)

    def add_value(self, value: float, rows: int) -> bool:
        """Add the value that a loss gave for a batch as a whole; return whether it is finite."""
        self.loss_sum += value * (rows if self.loss.reduction == "mean" else 1)
        self._rows += rows
        return math.isfinite(value)

    def take_values(self, other: Report) -> None:
        """Have the values of whole batches that another report of the same run was given."""
        if self.row_loss is None:
            self._rows, self.loss_sum = other._rows, other.loss_sum

    def logs(self, running: bool = False) -> Logs:
        """The figures by name; the loss is the mean over the rows, whatever the loss's reduction.

        running: leave out those that are dear, or make sense for all rows only.
        """
        logs = {"loss": self.loss_sum / self._rows if self._rows else 0.0}
        logs.update({metric.name: metric.result() for metric in self.metrics if metric.running or not running})
        return logs


def evaluate(layers: Sequence[Layer], feed: Feed, report: Report) -> Logs:
    """The figures over all rows of ``feed``. Changes no layer."""
    infer = inference(layers, batches=True)
    for block in feed.blocks():
        for step in block.steps:
            np.copyto(step.scores, infer(step.x))
            if report.row_loss is None:
                report.add_value(report.loss.forward(step.scores, step.targets), len(step.scores))
        report.add(block)
    return report.logs()
