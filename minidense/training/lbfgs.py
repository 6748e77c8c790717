"""L-BFGS: SciPy minimizes the loss of all rows, and each point that it accepts ends an epoch.

The loop is SciPy's: it asks for the loss and its gradient where its line search leads, and says which of these points
it accepts. While it tries one, theta is that point. All that callbacks see, and that an error or Ctrl-C leaves behind,
is the last accepted one.

SciPy's memory can be neither read nor set. So a checkpoint has the point where the minimization began and the number of
iterations since, and a resumed run makes these again, without callbacks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from minidense.callbacks.base import CallbackList
from minidense.core.arguments import shown
from minidense.core.configurable import saved_names
from minidense.core.errors import Problems
from minidense.core.types import Array
from minidense.layers.base import walk
from minidense.network import Network
from minidense.optimizers import LBFGS
from minidense.training.evaluation import Report
from minidense.training.inputs import Data
from minidense.training.loop import Run

if TYPE_CHECKING:
    from minidense.model import Sequential


def run_of(model: Sequential, data: Data, callbacks: CallbackList, **options: Any) -> Run:
    """The run of a model with any optimizer, from the arguments of ``Run``."""
    return (Minimization if isinstance(model.optimizer, LBFGS) else Run)(model, data, callbacks, **options)


class Point(NamedTuple):
    """The parameters and the buffers, and the slices of the frozen parameters."""

    arrays: dict[str, Array]
    frozen: list[slice]

    @classmethod
    def of(cls, network: Network) -> Point:
        """Where the network is now."""
        return cls({name: array.copy() for name, array in _arrays(network).items()}, network.frozen)

    def restore(self, network: Network) -> None:
        """Set the parameters and buffers of the network to these."""
        for name, array in _arrays(network).items():
            array[...] = self.arrays[name]

    def is_same(self, other: Point) -> bool:
        """Whether the two are the same to the bit."""
        alike = (array.tobytes() == other.arrays[name].tobytes() for name, array in self.arrays.items())
        return all(alike) and self.frozen == other.frozen


def _arrays(network: Network) -> dict[str, Array]:
    """The vector of the parameters, and those of the buffers: the second one's are of another dtype."""
    return {"theta": network.theta} | {f"buffers{i or ''}": array for i, array in enumerate(network.all_buffers)}


class Minimization(Run):
    """A run of LBFGS."""

    parts: ClassVar[list[str]] = [*Run.parts, "origin", "iterations"]

    _origin: Point
    """Where the minimization began, with an empty memory."""
    _made = 0
    """The iterations since then; before a resumed run has made them again, how many they are to be."""
    _last: Point | None = None
    """The last accepted point; None before the minimization begins."""
    _goal: Point | None = None
    """While iterations are made again: the point that they must lead to."""
    _x: Array | None = None
    """The point that was evaluated last, as SciPy gave it; None before the first one."""
    _trying = False
    """Whether theta is a point that is not accepted."""
    _open = False
    """Whether an epoch has begun."""

    # ------------------------------------------------------------------ the loop

    def _train_epochs(self) -> None:
        """Minimize; and again, with an empty memory, from where callbacks have set parameters or frozen layers."""
        while self.epoch < self.epochs and not self.model.stop_training:
            self._minimize(self._made)
            if not self._is_moved:
                break
            self._origin, self._made = self._position

    def _minimize(self, again: int) -> None:
        """Minimize from ``_origin``. again: the number of first iterations that are not epochs of this run."""
        network, optimizer = self.model.network, self._optimizer
        report, self._again = self.report, again
        optimizer.message = ""
        try:
            if again:
                self._goal = Point.of(network)
                self._origin.restore(network)
                self._report_to(copy.deepcopy(report))
            self._last, self._made, self._x = Point.of(network), 0, None
            self._free = _trainable(network)
            found = _imported_minimize()(
                self._evaluate,
                network.theta[self._free].astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                callback=lambda x: self._accept(x, report),
                options={**optimizer.options(), "maxiter": again + self.epochs - self.epoch},
            )
            if self._goal is not None:
                raise self._not_reproduced()
            optimizer.message = str(found.message)
        except _Halt as halt:
            if halt.__cause__ is not None:
                raise halt.__cause__ from None
        finally:
            self.interrupts.hold()
            point = self._goal or (self._last if self._trying else None)
            if point is not None:
                self.learner.drop()
                point.restore(network)
                self._trying = False
            self.interrupts.release()

    def _evaluate(self, x: Array) -> tuple[float, Array]:
        """The loss of all rows at the point x, and its gradient."""
        learner = self.learner
        learner.drop()
        if self._x is not None and self._goal is None and not self._open:
            self._begin_epoch()
            self.callbacks.call("on_train_batch_begin", 0, {})
            self._open = True
            if self._is_moved:
                raise _Halt
        self._x, self._trying = x, True
        learner.theta[self._free] = x
        self.report.reset()
        for block in self.feed.blocks():
            for step in block.steps:
                if not learner.backpropagate(step):
                    raise learner.diverged(step, f"epoch {self.epoch + 1}")
                self.interrupts.check()
            self.report.add(block)
        loss = self.report.objective
        if not math.isfinite(loss):
            raise learner.diverged(step, f"epoch {self.epoch + 1}")
        return loss, learner.grad[self._free].astype(np.float64)

    def _accept(self, x: Array, report: Report) -> None:
        """End the iteration at x, which is the point that was evaluated last, or else is evaluated again."""
        if not np.array_equal(x, self._x):  # type: ignore[arg-type]
            self._evaluate(x)
        self.interrupts.hold()
        self.learner.keep(buffers=True)
        self._last, self._made, self._trying = Point.of(self.model.network), self._made + 1, False
        if self._goal is None:
            self._optimizer.iterations += 1
            self.step, self.steps_made, self._open = 1, self.steps_made + 1, False
        self.interrupts.release()
        if self._goal is None:
            self._end_iteration()
        elif self._made == self._again:
            if not self._last.is_same(self._goal):
                raise self._not_reproduced()
            self._goal = None
            self._report_to(report)

    def _end_iteration(self) -> None:
        try:
            logs = self.report.logs(running=True)
            self.callbacks.call("on_train_batch_end", 0, logs)
            self.callbacks.call("on_block_end", 1, logs)
            self._end_epoch()
        except StopIteration as error:  # SciPy would take it for the end
            raise _Halt from error
        self.interrupts.check()
        if self.model.stop_training:
            raise _Halt

    def _ending(self, what: str) -> str:
        if what or self.epoch >= self.epochs or not self._optimizer.message:
            return super()._ending(what)
        return f"ended after epoch {self.epoch}: {self._optimizer.message}"

    @property
    def _optimizer(self) -> LBFGS:
        assert isinstance(self.model.optimizer, LBFGS)
        return self.model.optimizer

    def _report_to(self, report: Report) -> None:
        self.report = self.learner.report = report

    # ------------------------------------------------------------------ beginning and resuming

    def _check(self) -> None:
        problems = Problems()
        problems.found += self._unfit()
        problems.raise_if_any("LBFGS")
        _imported_minimize()
        super()._check()

    def _unfit(self) -> Iterator[str]:
        """What does not fit L-BFGS, which minimizes one function of theta and tries points that it does not accept."""
        network, loss, n = self.model.network, self.report.loss, self.feed.n
        if self.batch_size < n:
            yield f"batch_size: it evaluates all {n} rows at once, not {self.batch_size}; leave batch_size out."
        for layer in walk(network):
            if layer.draws:
                yield f"{layer._where} draws other random numbers at each evaluation; leave it out."
        for layer, d in network.declarations():
            name = network.name_of(layer, d.name)
            if d.constraint is not None:
                yield f"{name} has a constraint, which a line search does not keep; use a regularizer."
            if d.rate != 1:
                yield f"{name} has a factor on its learning rate, and there is none; see layer.trainable."
        if not network.pieces(lambda layer, d: layer.trainable):
            yield "there are no parameters to train; are all layers frozen?"
        if saved := saved_names(type(loss)):
            yield f"{loss!r} saves {saved}, so that it may be another function at each evaluation; use a loss without."
        for callback in self.callbacks.given:
            if callback.sets_learning_rate:
                yield f"{callback!r} sets a learning rate, and there is none; leave it out."
            if callback.each_step:
                yield f"{callback!r} counts steps; an iteration is an epoch here: every='epoch'."

    def _resume(self) -> None:
        network = self.model.network
        self._origin = Point.of(network)
        if self.saved is not None:
            self._made = self.saved.state["iterations"]
            self._origin = Point(self.saved.state["origin"], frozen=[])
        super()._resume()

    def state(self) -> dict[str, Any]:
        origin, made = self._position
        return {**super().state(), "origin": origin.arrays, "iterations": made}

    @property
    def _position(self) -> tuple[Point, int]:
        """Where the minimization of the next epoch begins, and how many iterations it has made by then."""
        return (Point.of(self.model.network), 0) if self._is_moved else (self._origin, self._made)

    @property
    def _is_moved(self) -> bool:
        """Whether callbacks have changed parameters or buffers, or frozen layers, since the last accepted point."""
        return self._last is not None and not self._last.is_same(Point.of(self.model.network))

    def _wrong_place(self, state: dict[str, Any]) -> list[str]:
        assert self.saved is not None
        network, origin, made = self.saved.model.network, state["origin"], state["iterations"]
        arrays = _arrays(network) if network.built else {}
        if not arrays or not isinstance(origin, dict) or origin.keys() != arrays.keys():
            return ["it does not say where the minimization began"]
        for name, array in arrays.items():
            there = origin[name]
            alike = isinstance(there, np.ndarray) and (there.shape, there.dtype) == (array.shape, array.dtype)
            if not alike or not np.isfinite(there).all():
                return [f"the {name} where the minimization began do not fit"]
        found = super()._wrong_place(state)
        if not found and not (type(made) is int and 0 <= made <= state["steps_made"]):
            return [f"there are no {shown(made)} iterations in its {state['steps_made']} epochs"]
        return found

    def _not_reproduced(self) -> ValueError:
        assert self.saved is not None
        return ValueError(
            f"cannot resume from {self.saved.path}: its {self._again} iterations, made again, lead to other "
            f"parameters. This needs the same data, the same SciPy and the same BLAS. The model is the checkpoint's "
            f"now; fit without resume goes on from it, with an empty memory."
        )


class _Halt(Exception):
    """Ends SciPy's loop; its cause, if it has one, is what a callback has raised."""


def _trainable(network: Network) -> slice | Array:
    """The index of the parameters in theta that are not frozen."""
    if not network.frozen:
        return slice(None)
    free = np.ones(network.theta.shape, bool)
    for piece in network.frozen:
        free[piece] = False
    return free


def _imported_minimize() -> Callable[..., Any]:
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise ImportError('LBFGS minimizes with SciPy: pip install "minidense[scipy]"') from None
    found: Callable[..., Any] = minimize
    return found
