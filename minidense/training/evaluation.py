"""The loss and the metrics over many rows: sums over rows, not averages of batch averages."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.callbacks.base import CallbackList, Logs
from minidense.core.configurable import load_state_dict, state_dict
from minidense.core.errors import Problems
from minidense.core.interrupts import current
from minidense.data.batches import Block, Feed
from minidense.data.sources import BatchFeed
from minidense.losses import Loss, RowLoss, rows_of
from minidense.metrics import Metric, as_column
from minidense.network import inference
from minidense.numerics import blas
from minidense.numerics.helpers import each

if TYPE_CHECKING:
    from minidense.model import Sequential


class Report:
    """The loss and the metrics over all rows added since ``reset``.

    row_loss: the loss, if it is computed row by row; otherwise its values are added by ``add_value``. The loss and the
    weighted metrics count rows by their weights, the others do not.
    """

    def __init__(
        self, loss: Loss, row_loss: RowLoss | None, metrics: Sequence[Metric], weighted_metrics: Sequence[Metric]
    ) -> None:
        self.loss, self.row_loss = loss, row_loss
        self.metrics = [copy.deepcopy(metric) for metric in (*metrics, *weighted_metrics)]
        self.unweighted = len(metrics)
        self.reset()

    def reset(self) -> None:
        self._rows, self.loss_sum = 0.0, 0.0  # with weights, their sum instead of the number of rows
        self._penalized_rows, self._penalties = 0.0, 0.0
        for metric in self.metrics:
            metric.reset()

    def of_running(self) -> Report:
        """A report of only those metrics that are shown while an epoch runs."""
        lists = self.metrics[: self.unweighted], self.metrics[self.unweighted :]
        return Report(self.loss, self.row_loss, *([metric for metric in some if metric.running] for some in lists))

    def state(self) -> dict[str, Any]:
        """The sums so far, for a checkpoint. Raises ValueError if a metric does not save all it needs."""
        for metric in self.metrics:
            _check_saved(metric)
        return {"sums": self._sums, "metrics": [state_dict(metric) for metric in self.metrics]}

    @property
    def _sums(self) -> list[float]:
        return [self._rows, self.loss_sum, self._penalized_rows, self._penalties]

    def check(self, state: Any) -> list[str]:
        """The reasons why ``state`` is not one of this report; none if it is."""
        if not isinstance(state, dict) or state.keys() != {"sums", "metrics"}:
            return ["its sums are incomplete"]
        sums, states, problems = state["sums"], state["metrics"], Problems()
        finite = isinstance(sums, list) and all(isinstance(sum_, float) and math.isfinite(sum_) for sum_ in sums)
        if not finite or len(sums) != len(self._sums):
            return ["its sums of the loss are not finite numbers"]
        if not isinstance(states, list) or [isinstance(each, dict) for each in states] != [True] * len(self.metrics):
            return ["its metrics differ"]
        for metric, of_metric in zip(self.metrics, states, strict=True):
            problems.noted(functools.partial(load_state_dict, copy.deepcopy(metric), of_metric))
        return [f"its metrics differ: {problem}" for problem in problems.found]

    def resume(self, state: dict[str, Any]) -> None:
        """Load the sums of a checked state."""
        self._rows, self.loss_sum, self._penalized_rows, self._penalties = state["sums"]
        for metric, of_metric in zip(self.metrics, state["metrics"], strict=True):
            load_state_dict(metric, of_metric)

    def add(self, block: Block) -> None:
        """Add the rows of a block, whose scores have been computed."""
        if self.row_loss is not None:
            rows = rows_of(self.row_loss, block.scores, block.targets)
            weights = block.weights
            self.loss_sum += float(rows.sum(dtype=np.float64) if weights is None else np.vdot(rows, weights))
            self._rows += len(rows) if weights is None else float(weights.sum())
        if self.metrics:
            y_pred = self.loss._outputs(block.scores, block.y)
            y_true, weights = as_column(self.loss.labels(block.y), y_pred.shape[1:]), block.weights
            if (counted := self.loss.counted(block.y)) is not None and weights is not None:
                y_true, y_pred, weights = y_true[counted], y_pred[counted], weights[counted]
            for i, metric in enumerate(self.metrics):
                if weights is None or i < self.unweighted:
                    metric.update(y_true, y_pred)
                else:
                    metric.update(y_true, y_pred, weights)

    def add_value(self, value: float, rows: int) -> bool:
        """Add the loss of a batch that was computed as a whole; return whether it is finite."""
        self.loss_sum += float(value) * (rows if self.loss.reduction == "mean" else 1)
        self._rows += rows
        return math.isfinite(value)

    def add_penalty(self, penalty: float, rows: int) -> None:
        """Add the regularizers' penalty as it was for a batch of so many rows."""
        self._penalties += penalty * rows
        self._penalized_rows += rows

    @property
    def penalty(self) -> float:
        """The mean of the penalties over the rows."""
        return self._penalties / self._penalized_rows if self._penalized_rows else 0.0

    @property
    def objective(self) -> float:
        """The loss that is minimized: the mean or the sum over the rows, as its reduction says, with penalties."""
        return (self.loss_sum if self.loss.reduction == "sum" else self._mean) + self.penalty

    @property
    def _mean(self) -> float:
        return self.loss_sum / self._rows if self._rows else 0.0

    def take_values(self, other: Report) -> None:
        """Copy penalties, and losses of whole batches, that were added to another report of the same run."""
        self._penalized_rows, self._penalties = other._penalized_rows, other._penalties
        if self.row_loss is None:
            self._rows, self.loss_sum = other._rows, other.loss_sum

    def logs(self, running: bool = False) -> Logs:
        """The loss and the metrics by name; the loss is the mean over the rows, whatever its reduction, with penalties.

        running: leave out the metrics that are expensive, or meaningful for all rows only.
        """
        logs = {"loss": self._mean + self.penalty}
        logs.update({metric.name: metric.result() for metric in self.metrics if metric.running or not running})
        return logs


def evaluate(model: Sequential, row_loss: RowLoss | None, feed: Feed | BatchFeed, callbacks: CallbackList) -> Logs:
    """The loss and the metrics over all rows of ``feed``. Does not change the model.

    The blocks of a Feed, which is ``lasting``, are computed by several threads, and added to the report in order. This
    thread alone computes them if callbacks see each batch, and those of a source, which may use its arrays again.
    """
    assert model.loss is not None
    loss, row_loss = copy.deepcopy(model.loss), row_loss and copy.deepcopy(row_loss)
    report = Report(loss, row_loss, model.metrics, model.weighted_metrics)
    report.add_penalty(sum(each.value() for each in model.network.penalties()), 1)
    trunk = model.network.trunk(model.loss.includes)

    def worker() -> Callable[[Block], None]:
        infer = inference(trunk, workspaces=True)

        def compute(block: Block) -> None:
            for step in block.steps:
                np.copyto(step.scores, infer(step.x))

        return compute

    def add(block: Block) -> None:
        if report.row_loss is None:
            for step in block.steps:
                report.add_value(report.loss.forward(step.scores, step.targets), len(step.scores))
        report.add(block)
        if watched:
            interrupts.release()
            show(block)
            interrupts.hold()
        interrupts.check()

    running, batch = report.of_running(), 0
    watched = callbacks.wants("on_test_batch_begin", "on_test_batch_end")

    def show(block: Block) -> None:
        """Call the hooks of the batches, or of the part of a batch, that are in the block."""
        nonlocal batch
        end = 0
        for step in block.steps:
            start, end = end, end + len(step.scores)
            if step.opens:
                callbacks.call("on_test_batch_begin", batch, {})
            running.add(block.part(start, end))
            running.take_values(report)
            if step.closes:
                callbacks.call("on_test_batch_end", batch, running.logs(running=True))
                batch += 1

    interrupts, logs = current(), Logs()
    blocks = (block._replace(steps=list(block.steps)) for block in feed.blocks())
    with callbacks.spanning("test", lambda: dict(logs)):
        try:
            if isinstance(feed, Feed):
                helpers = 0 if watched else model.network.helpers_for(feed.n, -(-feed.n // feed.block_rows))
                interrupts.hold()  # Ctrl-C raises between blocks only, as other threads work on them
                each(blocks, worker, add, helpers=helpers)
            else:
                compute = worker()
                for block in blocks:
                    with blas.one_thread():
                        compute(block)
                    add(block)
                    interrupts.release()
        finally:
            interrupts.release()
        logs |= report.logs()
    return logs


def _check_saved(metric: Metric) -> None:
    """Raise ValueError if a user's metric has another result when restored from what it names in ``saved``."""
    if metric._of_library:
        return
    fresh = type(metric).from_config(copy.deepcopy(metric.get_config()))
    fresh.reset()
    load_state_dict(fresh, copy.deepcopy(state_dict(metric)))
    results = []
    for one in (metric, fresh):
        try:
            results.append(repr(one.result()))
        except Exception as error:
            results.append(repr(error))
    if results[0] != results[1]:
        raise ValueError(
            f"the metric {metric.name} cannot be saved in the middle of an epoch: its result is {results[0]}, but "
            f"{results[1]} when restored. Name the attributes that update changes: saved = ('count', ...)."
        )
