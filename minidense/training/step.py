"""One update: forward, loss and backward over the batch's micro-batches, whose gradients are added; then the optimizer.

The micro-batches of a batch are slices of a large one, or, with gradient accumulation, the batches between two
updates: one mechanism for both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.callbacks.base import Logs
from minidense.core.interrupts import current
from minidense.core.types import Array
from minidense.data.batches import Step
from minidense.layers.base import walk
from minidense.losses import RowLoss, gradient_of, rows_of
from minidense.network import Network, first_not_finite
from minidense.numerics import blas
from minidense.optimizers import LBFGS, Optimizer
from minidense.training.evaluation import Report
from minidense.training.plans import Plan

if TYPE_CHECKING:
    from minidense.model import Sequential


class Learner:
    """Makes the steps of one model; what a step needs is looked up once.

    Call ``backpropagate`` for each micro-batch, and ``update`` after the last one of a batch. What layers change in
    their buffers is kept by ``update`` and undone by ``drop``. updates: whether each batch ends with an update.
    """

    def __init__(self, model: Sequential, row_loss: RowLoss | None, report: Report, updates: bool) -> None:
        self.network = network = model.network
        self.loss, self.row_loss, self.report = model.loss, row_loss, report
        self.gradient = row_loss.gradient if row_loss is not None and row_loss._trusted else self._own_gradient
        self.optimizer = model.optimizer
        self.theta, self.grad = network.theta, network.grad
        parameters = network.parameters()
        self.parameters = [(d, piece) for _, d, piece in parameters]
        self.penalties = network.penalties() if any(d.regularizer for d, _ in self.parameters) else []
        limits = [(d.constraint, layer, d.name) for layer, d, _ in parameters if d.constraint is not None]
        self.projections = [constraint.projection(layer._record.views[name]) for constraint, layer, name in limits]
        safe = all(constraint._of_library for constraint, _, _ in limits)
        self.own_update = (
            model.optimizer.apply if model.optimizer is not None and model.optimizer._of_library and safe else None
        )
        """The update of a library optimizer, which cannot fail halfway; None if a part of it is the user's."""
        self.layers = network.trunk(model.loss.includes if model.loss else None)
        known = all(layer._of_library for layer in walk(network))  # and so no parameters are shared
        self.may_descend = updates and known and self.own_update is not None and not (limits or self.penalties)
        """Whether only the optimizer's options and frozen layers can stand against plain descent, as plans know it."""
        self._planned_loss = type(row_loss) if row_loss is not None and row_loss._trusted else None
        self._plan: Plan | None = None
        self._due: Plan | None = None
        """The plan that has made the last update without writing down the whole gradient."""
        self._descended = False
        """Whether the last update was made so."""
        self.drawing = [layer for layer in walk(network) if layer.draws]
        self.holds = bool(self.drawing) or any(array.size for array in network.all_buffers)
        self.has_shared = network.has_shared
        self.interrupts = current()
        self.under_way = False
        """Whether a batch has begun, which changes buffers and random generators, and has not ended with an update."""
        self._rows_checked = False
        self._states: list[Any] = []
        self._gradient_so_far = np.empty(0)
        self._moved, self._weight = list[Array](), 0.0
        if updates:
            self._prepare_optimizer()

    def _prepare_optimizer(self) -> None:
        """Tell the optimizer where each parameter is in ``theta``, whether it decays, and its rate's factor."""
        optimizer = self.optimizer
        if optimizer is not None:
            decayed = [piece.slice for d, piece in self.parameters if d.decay]
            vars(optimizer).update(pieces=[piece for _, piece in self.parameters], decayed=decayed)
            factors = [(piece.slice, d.rate * optimizer.factor_of(piece.name)) for d, piece in self.parameters]
            known = tuple((piece, factor) for piece, factor in factors if factor != 1)
            if known != optimizer.factors:
                optimizer.factors = known

    def backpropagate(self, step: Step) -> bool:
        """Compute ``grad`` for ``step`` and store its scores. Returns False if the loss is not finite."""
        x, targets, noted_scores, batch_rows, opens, closes, weights = step
        if opens and self.holds:
            self._hold()
        plan, self._due = self._plan_of(len(x), opens and closes), None
        scores = plan.forward(x, weights)
        if self.row_loss is not None:
            dscores = (plan.gradient or self.gradient)(scores, targets)
            if weights is not None:
                dscores *= weights.reshape(-1, *[1] * (dscores.ndim - 1))
            elif batch_rows > 1 and self.row_loss.reduction == "mean":
                dscores *= 1 / batch_rows
            # One cheap number, finite only if all scores are. It may overflow when the loss does not: then check rows.
            finite = math.isfinite(np.vdot(scores, dscores)) or _rows_are_finite(self.row_loss, scores, targets)
        else:
            finite, dscores = self._of_whole_batch(scores, targets, batch_rows)
        if not finite:
            return False
        if plan.gradient is None and (dscores.shape != scores.shape or dscores.dtype != scores.dtype):
            dscores = self._fitting(dscores, scores)
        noted_scores[...] = scores
        plan.backward(dscores)
        if self.has_shared:
            self.network.add_shared()
        if not (opens and closes):
            self._add_up(step)
        if self.penalties and closes:
            return self._penalize(batch_rows)
        return True

    def _plan_of(self, rows: int, whole: bool) -> Plan:
        """The plan for so many rows. whole: they are a batch. What decides is model, optimizer and batch."""
        assert self.optimizer is not None
        descends = whole and self.may_descend and self.optimizer.is_plain and not self.network.frozen
        plans, key = self.network.plans, (rows, descends, self._planned_loss, len(self.layers))
        plan = plans.get(key)
        if plan is None:
            if len(plans) == _MOST_PLANS:
                plans.clear()
            plan = plans[key] = Plan(self.network, self.layers, self._planned_loss, rows, descends)
        self._plan = plan
        return plan

    def _penalize(self, rows: int) -> bool:
        """Add the penalties to the report, and their gradients to ``grad``; return whether they are finite."""
        penalty = sum(each.value() for each in self.penalties)
        for each in self.penalties:
            each.add_gradient()
        self.report.add_penalty(penalty, rows)
        return math.isfinite(penalty)

    def update(self) -> None:
        """Let the optimizer change ``theta``, except the parameters of frozen layers, and keep the buffers.

        Ctrl-C does not interrupt it: the update is made completely, or, if a user's optimizer raises, not at all. The
        caller must call ``interrupts.release()`` afterwards, when it has counted the step.
        """
        self.interrupts.hold()
        try:
            if self.network.frozen or not self.own_update:
                assert self.optimizer is not None
                self._change_with_copies(self.optimizer.update)
            elif self._plan is not None and self._plan.products:
                self.own_update(self.theta, self.grad, self._plan.descend)
                self._due, self._descended = self._plan, True
            else:
                self.own_update(self.theta, self.grad)
                for project in self.projections:
                    project()
                self._descended = False
            self.under_way = False
        except BaseException:
            self.interrupts.release()
            raise

    def complete_gradient(self) -> None:
        """Write down the whole gradient of the last update; zeros if its batch is lost, as a later one broke off."""
        if self._due is not None:
            self._due.complete_gradient()
        elif self._descended:
            self.grad[...] = 0
        self._due, self._descended = None, False

    def finish(self) -> None:
        """End a training run: if the optimizer keeps an average of the parameters, they become the average."""
        optimizer = self.optimizer
        assert optimizer is not None
        self.interrupts.hold()
        try:
            if optimizer.use_ema:
                self._change_with_copies(lambda theta, grad: optimizer.finalize_variable_values(theta))
        finally:
            self.interrupts.release()

    def _change_with_copies(self, change: Callable[[Array, Array], None]) -> None:
        """A change of theta, with copies to restore: those of frozen layers, and of everything if it fails."""
        optimizer, theta, grad = self.optimizer, self.theta, self.grad
        assert optimizer is not None
        pieces = self.network.frozen
        frozen = [theta[piece].copy() for piece in pieces]
        before = None if self.own_update else (theta.copy(), copy.deepcopy(optimizer.state), optimizer.iterations)
        for piece in pieces:
            grad[piece] = 0
        try:
            change(theta, grad)
            for project in self.projections:
                project()
        except BaseException:
            if before is not None:
                theta[...], optimizer.state, optimizer.iterations = before
            raise
        for piece, values in zip(pieces, frozen, strict=True):
            theta[piece] = values

    def _hold(self) -> None:
        """Record what ``drop`` restores."""
        self._states = [layer.rng.bit_generator.state for layer in self.drawing]
        self.network.snapshot_buffers()
        self.under_way = True

    def drop(self) -> None:
        """If a batch has begun without an update, restore the buffers and random generators from before it."""
        if self.under_way:
            self.network.restore_buffers()
            for layer, state in zip(self.drawing, self._states, strict=True):
                layer.rng.bit_generator.state = state
            self.under_way = False

    def keep(self, buffers: bool) -> None:
        """End a batch without an update. The generators stay advanced. buffers: keep the changes of the buffers."""
        if self.under_way and not buffers:
            self.network.restore_buffers()
        self.under_way = False

    def _own_gradient(self, scores: Array, targets: Array) -> Array:
        """The gradient of a loss that is not the library's own; before the first update, its rows are checked too."""
        assert self.row_loss is not None
        if not self._rows_checked:
            rows_of(self.row_loss, scores, targets)
            self._rows_checked = True
        return gradient_of(self.row_loss, scores, targets)

    def _of_whole_batch(self, scores: Array, targets: Array, batch_rows: int) -> tuple[bool, Array]:
        """For a loss that computes whole batches: whether it is finite, and its gradient."""
        assert self.loss is not None
        value = self.loss.forward(scores, targets)
        dscores = self.loss.backward()
        if len(scores) < batch_rows and self.loss.reduction == "mean":
            dscores = dscores * (len(scores) / batch_rows)
        return self.report.add_value(value, len(scores)), dscores

    def _fitting(self, dscores: Array, scores: Array) -> Array:
        if dscores.shape != scores.shape:
            raise ValueError(
                f"{self.loss!r}: dLoss/dscores must have the scores' shape {scores.shape}, got {dscores.shape}."
            )
        return dscores.astype(scores.dtype)

    def _add_up(self, step: Step) -> None:
        """The gradient of a batch is the sum of its micro-batches'; a buffer's change is the mean over the rows."""
        network = self.network
        share = len(step.x) / step.batch_rows if step.weights is None else float(step.weights.sum())
        both = zip(network.all_buffers, network.buffers_before(), strict=True)
        change = [share * (now - before) for now, before in both]
        network.restore_buffers()
        if step.opens:
            self._gradient_so_far, self._moved, self._weight = self.grad.copy(), change, share
        else:
            self._gradient_so_far += self.grad
            self._moved = [moved + more for moved, more in zip(self._moved, change, strict=True)]
            self._weight += share
        if step.closes:
            np.copyto(self.grad, self._gradient_so_far)
            weight = 1.0 if step.weights is None else self._weight or 1
            for array, moved in zip(network.all_buffers, self._moved, strict=True):
                array += moved / weight

    def diverged(self, step: Step, when: str) -> FloatingPointError:
        """The error for a loss that is not finite, with the first layer whose output is not."""
        layer = first_not_finite(self.layers, step.x)
        where = "the loss itself" if layer is None else f"the output of {layer._where}"
        return FloatingPointError(
            f"The loss is not finite in {when}; the first result that is not finite is {where}. The update was not "
            f"made: the parameters are those before this step. {_advice(self.optimizer)}"
        )

    def check_epoch(self, logs: Logs, when: str) -> None:
        """Raise FloatingPointError if the loss or the parameters are not finite at the end of an epoch."""
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"The loss of {when} is {logs['loss']}. {_advice(self.optimizer)}")
        if not math.isfinite(np.vdot(self.theta, self.theta)) and not np.isfinite(self.theta).all():
            raise FloatingPointError(f"An update in {when} made parameters infinite. {_advice(self.optimizer)}")


@contextmanager
def learning(
    model: Sequential,
    row_loss: RowLoss | None,
    report: Report,
    micro_rows: int,
    *,
    updates: bool = True,
    reuse: bool = False,
) -> Iterator[Learner]:
    """The model's learner, with one BLAS thread if that is faster for micro-batches of ``micro_rows`` rows.

    updates: whether each batch ends with an update. reuse: layers write into the same workspaces at each step.
    """
    network = model.network
    if reuse:
        network.reuse_workspaces()
    learner = Learner(model, row_loss, report, updates)
    try:
        with blas.one_thread_if(is_small(network, micro_rows)):
            try:
                yield learner
            finally:
                learner.complete_gradient()
    finally:
        learner.drop()
        network.pass_is_over(forget=reuse)


_MOST_PLANS = 4
"""As many are kept at a time: a source of batches may have any number of rows."""


def is_small(network: Network, rows: int) -> bool:
    """Whether a step of ``rows`` rows uses one BLAS thread, which is faster; then its bits do not depend on threads.

    A process that may use one CPU has no others: BLAS's threads would wait for each other.
    """
    largest = max((math.prod(d.shape[-2:]) for _, d, _ in network.parameters()), default=0)  # of one product
    return 2 * rows * largest < blas.SMALL or blas.cores() == 1


def _rows_are_finite(loss: RowLoss, scores: Array, targets: Array) -> bool:
    return bool(np.isfinite(rows_of(loss, scores, targets)).all())


def _advice(optimizer: Optimizer | None) -> str:
    has_rate = optimizer is not None and optimizer.knows_rate and not isinstance(optimizer, LBFGS)
    rate = f"a smaller learning rate (it is {optimizer.rate:g}), or " if optimizer and has_rate else ""
    return f"Try {rate}inputs of about unit size."
