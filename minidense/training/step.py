"""One step: the forward pass, the loss, the backward pass, the update; and the figures of many of them."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minidense.callbacks.base import Logs
from minidense.core.types import Array
from minidense.data.batches import Block, Feed, Step
from minidense.files.objects import put_back
from minidense.layers import Layer
from minidense.losses import Loss, RowLoss, by_rows
from minidense.metrics import Metric
from minidense.network import Chain, first_not_finite, inference
from minidense.optimizers import Optimizer


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
