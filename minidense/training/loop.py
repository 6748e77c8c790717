"""The training loop, and its state, from which it can be resumed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minidense.callbacks.base import CallbackList, Logs
from minidense.core.arguments import flag, shown, whole_number
from minidense.core.errors import Problems, warn
from minidense.core.interrupts import current
from minidense.core.types import Array
from minidense.data.batches import Block, Feed, Step
from minidense.layers.base import walk
from minidense.numerics import blas
from minidense.training.evaluation import Report, evaluate
from minidense.training.history import History
from minidense.training.inputs import Data
from minidense.training.step import is_small, learning

if TYPE_CHECKING:
    from minidense.model import Sequential


@dataclass
class SavedRun:
    """The contents of a checkpoint: the model, and the state of its run."""

    path: str
    model: Sequential
    state: dict[str, Any]


class Run:
    """A training run: the loop, and all that is needed to resume it.

    The constructor checks whether it can resume from ``saved``, and whether its callbacks could save it.
    """

    parts: ClassVar[list[str]] = [
        "number",
        "epoch",
        "step",
        "steps_made",
        "order_from",
        "words",
        "facts",
        "BLAS",
        "stopped",
        "report",
        "running",
        "unreported",
        "callbacks",
    ]
    """What ``state`` has, in its order."""

    history: History

    def __init__(
        self,
        model: Sequential,
        data: Data,
        callbacks: CallbackList,
        *,
        epochs: int,
        initial_epoch: int,
        shuffle: bool,
        saved: SavedRun | None,
    ) -> None:
        self.model, self.feed, self.validation = model, data.feed, data.validation
        self.callbacks, self.saved = callbacks, saved
        self.epochs = whole_number("epochs", epochs, 0)
        self.initial_epoch = whole_number("initial_epoch", initial_epoch, 0)
        if self.initial_epoch > self.epochs:
            raise ValueError(f"epochs: the last epoch is to be number {epochs}, and the first one {initial_epoch}.")
        self.validation_freq = data.validation_freq
        self.validated = _validated(self.validation_freq, range(self.initial_epoch, self.epochs))
        """The epochs after which the validation data are evaluated, counted from 1."""
        self.shuffled = flag("shuffle", shuffle) and self.feed.batch_rows < self.feed.n
        self.row_loss, self.batch_size, self.names = data.row_loss, data.batch_size, data.names
        assert model.loss is not None
        self.report = Report(model.loss, data.row_loss, model.metrics, model.weighted_metrics)
        self._running = self.report.of_running()
        self.epoch, self.step, self.steps_made = self.initial_epoch, 0, 0
        """The number of completed epochs, of completed batches of the current epoch, and of all batches so far."""
        self._order_from: Any = None
        self._words: dict[str, str] = {}
        """A description of the model when the run began, if it may be saved: only a model of the same can resume it."""
        self._watched = callbacks.per_batch
        self._reached = ""
        """How far the last completed epoch has come."""
        self._unreported: Array | None = None
        """The scores of an unfinished block that are not in the report yet; only if callbacks see each step."""
        self._check()

    # ------------------------------------------------------------------ the loop

    def train(self) -> History:
        """Forward, loss, backward, update, for each batch, until all epochs are over."""
        try:
            self._begin()
            self.interrupts = current()
            with (
                learning(self.model, self.row_loss, self.report, self.batch_size, reuse=True) as self.learner,
                self.interrupts.breakable(),
                self.callbacks.spanning("train", self._logs_of_last_epoch),
            ):
                self._resume()
                if self.model.network.is_frozen:
                    self.callbacks.tell("all layers with parameters are frozen: nothing is trained", of=[])
                self._train_epochs()
                if self.steps_made:
                    self.learner.finish()
        except KeyboardInterrupt:
            self.callbacks.tell(self._ending("interrupted"))
            raise
        finally:
            assert self.model.optimizer is not None
            self.model.optimizer.end_run()
        self.callbacks.tell(self._ending("stopped" if self.model.stop_training else ""))
        return self.history

    def _ending(self, what: str) -> str:
        """Why training has ended, and where; "" if nothing but that all epochs are over."""
        outcomes = self.callbacks.outcomes
        if what == "stopped" and not outcomes:
            outcomes = ["stop_training was set"]
        if what and self.step:
            what = f"{what} in epoch {self.epoch + 1}, after step {self.step}"
        elif what:
            what = f"{what} after {self._reached or f'epoch {self.epoch}'}" if self.epoch else f"{what} before epoch 1"
        return ": ".join(filter(None, [what, "; ".join(outcomes)]))

    def _train_epochs(self) -> None:
        while self.epoch < self.epochs and not (self.model.stop_training and not self.step):
            self._train_epoch()
            self.interrupts.check()

    def _begin_epoch(self) -> None:
        self.callbacks.call("on_epoch_begin", self.epoch, {})
        self.callbacks.tell_news()
        self.interrupts.check()

    def _train_epoch(self) -> None:
        if not self.step:
            self._begin_epoch()
        order, made = None, self.steps_made
        shuffle, before = self.model.network.generators.shuffle, self._shuffle_state
        try:
            if self.shuffled and self.step:  # resumed within the epoch: the order is drawn again
                shuffle.bit_generator.state = self._order_from
            if self.shuffled:
                self._order_from = self._shuffle_state
                order = permutation(shuffle, self.feed.n)
            if self.step and self.model.stop_training:  # saved when stop_training was set
                self._report_unreported(order)
            else:
                self._take_steps(order)
        except BaseException:
            if self.steps_made == made:  # no step was made: undo the shuffling
                shuffle.bit_generator.state = before
            raise
        self._end_epoch()

    def _take_steps(self, order: Array | None) -> None:
        """Take the remaining steps of this epoch."""
        model, learner, interrupts = self.model, self.learner, self.interrupts
        watched = self._watched or model.stop_training  # stop_training set before the first step ends training after it
        for block in self.feed.blocks(order, self.step):
            first, done = self.step, self._reopen(block)
            for step in block.steps:
                if self._watched and step.opens:
                    self.callbacks.call("on_train_batch_begin", self.step, {})
                if not learner.backpropagate(step):
                    raise learner.diverged(step, f"epoch {self.epoch + 1}, step {self.step + 1}")
                if step.closes:
                    learner.update()
                    self.step, self.steps_made = self.step + 1, self.steps_made + 1
                    interrupts.release()
                if watched:
                    done = self._report_step(block, step, done)
                if interrupts.noted:
                    interrupts.check()
                if watched and step.closes and model.stop_training:
                    break
            if not watched:
                self.report.add(block)
            elif self._unreported is not None:
                self.report.add(block.part(0, done))
            self._unreported = None
            if self.step > first and self.callbacks.wants("on_block_end"):
                self.callbacks.call("on_block_end", self.step - first, self.report.logs(running=True))
            if step.closes and model.stop_training:
                return

    def _report_step(self, block: Block, step: Step, done: int) -> int:
        """Report a step to the callbacks; return how many rows of the block are done.

        The epoch's own report is made of whole blocks, so that its sums do not depend on the callbacks.
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
            self.learner.complete_gradient()
            self.callbacks.call("on_train_batch_end", self.step - 1, self._running.logs(running=True))
            self.callbacks.save_point(self, of_step=True)
            self.callbacks.tell_news()
        return now

    def _reopen(self, block: Block) -> int:
        """Restore the scores of a block that was unfinished when saved; return how many there are."""
        if self._unreported is None:
            return 0
        block.scores[: len(self._unreported)] = self._unreported
        return len(self._unreported)

    def _report_unreported(self, order: Array | None) -> None:
        if self._unreported is not None:
            block = next(self.feed.blocks(order, self.step))
            self.report.add(block.part(0, self._reopen(block)))

    def _end_epoch(self) -> None:
        logs = self.report.logs()
        self.report.reset()
        self._running.reset()
        self.learner.check_epoch(logs, f"epoch {self.epoch + 1}")
        if self.callbacks.given:
            self.learner.complete_gradient()
        if self.validation is not None and self.epoch + 1 in self.validated:
            held_out = evaluate(self.model, self.row_loss, self.validation, self.callbacks)
            logs |= {f"val_{name}": value for name, value in held_out.items()}
        if self.callbacks.sets_learning_rate:
            assert self.model.optimizer is not None
            logs["learning_rate"] = float(self.model.optimizer.rate)
        try:
            self.callbacks.call("on_epoch_end", self.epoch, logs)  # which may add to them
        finally:
            self.history.append(self.epoch, logs)
            self.history.params["steps"] = self.feed.steps_per_epoch  # some sources say it only now
            part = f", step {self.step}" * (self.step != self.feed.steps_per_epoch)
            self.epoch, self.step, self._reached = self.epoch + 1, 0, f"epoch {self.epoch + 1}{part}"
        self.callbacks.save_point(self, of_step=False)
        self.callbacks.tell_news()

    # ------------------------------------------------------------------ beginning and resuming

    def _check(self) -> None:
        """Raise ValueError if the run cannot resume, or its callbacks lack metrics or could not save it.

        Changes nothing.
        """
        self.feed.check_epochs(self.epochs - self.initial_epoch)
        if self.validation is not None:
            self.validation.check_epochs(len(self.validated))
        metrics = {"loss": None, **{metric.name: metric for metric in self.report.metrics}}
        held_out = {f"val_{name}": metric for name, metric in metrics.items()} if self.validation is not None else {}
        self.callbacks.check_metrics({**metrics, **held_out})
        saved = self.saved
        if saved is not None or self.callbacks.saves:
            from minidense.files import checkpoint, model_file

            self._words = checkpoint.words_of(self.model)
            if saved is not None:
                problems, theirs = Problems(), saved.state.get("words")
                problems.found += checkpoint.differences(self.model, self._words, saved.model, theirs)
                problems.found += self.names.differences(saved.model._names)
                problems.found += self._differences(saved.state)
                problems.raise_if_any(f"cannot resume from {saved.path}")
                self._words = saved.state["words"]  # as the first run began
                if (there := saved.state["BLAS"]) != self._blas:
                    warn(
                        f"{saved.path} was computed by {there[:80]}, and is resumed by {self._blas}: the last bits of "
                        f"what follows may differ from those of a run without a break."
                    )
            if self.callbacks.saves:
                model_file.check_savable(self.model, {"callbacks": self.callbacks.state()})
        assert self.model.optimizer is not None
        self.model.optimizer.check_owner(self.model)
        self.model.optimizer.check_rates(piece.name for piece in self.model.network.pieces())
        self.model.optimizer.check_run(self._updates)
        if saved is not None:  # last, for it reads on in a source of the user's
            self.feed.skip(saved.state["epoch"] - self.initial_epoch, saved.state["step"])
            if self.validation is not None:
                self.validation.skip(sum(epoch <= saved.state["epoch"] for epoch in self.validated), 0)

    @property
    def _updates(self) -> int | None:
        """How many updates the run has if nothing stops it; None if the source does not say."""
        steps = self.feed.steps_per_epoch
        return None if steps is None else steps * (self.epochs - self.initial_epoch)

    def _begin(self) -> None:
        """Allocate the parameters; to resume, load the saved model into the user's objects."""
        model, saved = self.model, self.saved
        assert model.optimizer is not None
        if not model.built:
            model.network.allocate()
        model.optimizer.claim(model)
        model._names = self.names if saved is None else saved.model._names
        state = {} if saved is None else saved.state
        self.history = History() if saved is None or saved.model.history is None else saved.model.history
        self.history.params = {"epochs": self.epochs, "steps": self.feed.steps_per_epoch, "batch_size": self.batch_size}
        begin = {"initial_epoch": state.get("epoch", self.initial_epoch), "initial_step": state.get("step", 0)}
        params = {**self.history.params, **begin, "resumed": saved is not None}
        self.callbacks.attach(model, params, validated=self.validation is not None)
        model.history, model.stop_training = self.history, bool(state.get("stopped", False))
        if saved is not None:
            from minidense.files import checkpoint

            checkpoint.take_over(model, saved.model)
        self.number = state.get("number") or self._drawn_number()
        model.optimizer.begin_run(state.get("steps_made", 0), self._updates)

    def _resume(self) -> None:
        """Go to the position of the saved run. Called after ``on_train_begin``."""
        if self.saved is not None:
            state = self.saved.state
            for layer, other in zip(walk(self.model.network), walk(self.saved.model.network), strict=True):
                vars(layer)["trainable"] = other.trainable  # only now: what callbacks froze meanwhile
            self.model.network._frozen = None
            self.epoch, self.step, self.steps_made = state["epoch"], state["step"], state["steps_made"]
            self.report.resume(state["report"])
            self._running.resume(state["running"])
            self._unreported, self._order_from = state["unreported"], state["order_from"].bit_generator.state
            self.callbacks.resume(state["callbacks"], self)
        if self.callbacks.saves:
            from minidense.files import model_file

            model_file.check_savable(self.model, self.state())  # now, rather than after hours

    def _drawn_number(self) -> int:
        """A number that identifies the files of this run, derived from the state of the model."""
        import hashlib  # slow to import, and needed once per run

        optimizer = self.model.optimizer
        stand = repr((self._shuffle_state, optimizer and optimizer.iterations, self.facts)).encode()
        return int.from_bytes(hashlib.sha256(stand).digest()[:7], "big") + 1

    # ------------------------------------------------------------------ saving

    @property
    def logs(self) -> Logs:
        """The loss and the metrics of the last completed epoch, or, within an epoch, of its rows so far."""
        if self.step:
            return self._running.logs(running=True)
        return self._logs_of_last_epoch()

    def _logs_of_last_epoch(self) -> Logs:
        return {name: values[-1] for name, values in self.history.history.items()}

    @property
    def _shuffle_state(self) -> Any:
        return self.model.network.generators.shuffle.bit_generator.state

    def save(self, path: str) -> None:
        """Write a checkpoint, from which ``fit(..., resume=path)`` resumes. Raises ValueError or OSError."""
        from minidense.files import checkpoint

        checkpoint.write_checkpoint(path, self.model, self.state())

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What a resumed run must have in common with this one."""
        later: dict[str, Any] = {"initial epoch": self.initial_epoch} if self.initial_epoch else {}
        if self.validation_freq != 1:
            later["validation_freq"] = str(self.validation_freq)
        held_out: dict[str, Any] = {"validation rows": 0}
        if isinstance(self.validation, Feed):
            held_out = {"validation rows": self.validation.n}
        elif self.validation is not None:
            held_out = {"validation batches": self.validation.source.steps}
        return {**self.feed.facts(), "shuffle": self.shuffled, **held_out, **later}

    @functools.cached_property
    def _blas(self) -> str:
        """What the bits of this run's products depend on; a resumed run should have the same."""
        return blas.described(1 if is_small(self.model.network, self.batch_size) else blas.threads())

    def state(self) -> dict[str, Any]:
        """The state of the run, as plain values and arrays."""
        order_from = np.random.Generator(np.random.PCG64(0))  # any seed, so that equal runs write equal files
        order_from.bit_generator.state = self._order_from if self.step and self.shuffled else self._shuffle_state
        return {
            "number": self.number,
            "epoch": self.epoch,
            "step": self.step,
            "steps_made": self.steps_made,
            "order_from": order_from,
            "words": self._words,
            "facts": self.facts,
            "BLAS": self._blas,
            "stopped": self.model.stop_training,
            "report": self.report.state(),
            "running": self._running.state(),
            "unreported": None if self._unreported is None else self._unreported.copy(),
            "callbacks": self.callbacks.state(),
        }

    def _differences(self, state: dict[str, Any]) -> list[str]:
        """The reasons why this run cannot resume from ``state``; none if it can."""
        if list(state) != self.parts or not isinstance(state["facts"], dict) or not isinstance(state["BLAS"], str):
            return ["its record of the run is incomplete"]
        there, here = state["facts"], self.facts
        found = [
            f"{str(name)[:80]}: {shown(there.get(name))} in the file, {here.get(name)} here"
            for name in {**here, **there}
            if type(there.get(name)) is not type(here.get(name)) or there.get(name) != here.get(name)
        ]
        return (found or self._wrong_place(state)) + self.callbacks.check(state["callbacks"])

    def _wrong_place(self, state: dict[str, Any]) -> list[str]:
        epoch, step, made, all_steps = state["epoch"], state["step"], state["steps_made"], self.feed.steps_per_epoch
        counts = all(type(n) is int and 0 <= n < 2**63 for n in (state["number"], epoch, step, made))
        if all_steps is None:  # of a source that does not say its length
            all_steps = 2**63
        if not counts or step > all_steps or not step <= made <= (epoch - self.initial_epoch) * all_steps + step:
            return [f"its position, epoch {shown(epoch)}, step {shown(step)} of {shown(made)}, is not in this run"]
        if epoch + (step > 0) > self.epochs:
            return [f"epochs: {epoch} and {step} steps are completed in the file, {self.epochs} requested here"]
        if not self._is_past(epoch):
            return [f"its history is not that of {epoch} epochs"]
        if not isinstance(state["order_from"], np.random.Generator) or not isinstance(state["stopped"], bool):
            return ["its record of the run is incomplete"]
        rows, scores = self.feed.rows_under_way(state["step"]), state["unreported"]
        here = (rows, *self.feed.output_shape), self.feed.dtype
        whole = isinstance(scores, np.ndarray) and (scores.shape, scores.dtype) == here if rows else scores is None
        if not whole:
            return ["its scores of the unfinished block do not fit"]
        return self.report.check(state["report"]) + self._running.check(state["running"])

    def _is_past(self, epochs: int) -> bool:
        """Whether the saved history is that of ``epochs`` epochs."""
        history = self.saved.model.history if self.saved is not None else None
        past = range(self.initial_epoch, epochs)
        if history is None or not past:
            return not past and (history is None or not history.history)
        return len(history.epoch) == len(past) and history.epoch == list(past)


def _validated(freq: Any, epochs: range) -> frozenset[int]:
    """The epochs, counted from 1, after which a run of ``epochs``, counted from 0, evaluates its validation data."""
    if isinstance(freq, list | tuple | set | frozenset | range):
        chosen = {whole_number("validation_freq", epoch) for epoch in freq}
        return frozenset(epoch + 1 for epoch in epochs if epoch + 1 in chosen)
    every = whole_number("validation_freq", freq)
    return frozenset(epoch + 1 for epoch in epochs if not (epoch + 1) % every)


def permutation(rng: np.random.Generator, n: int) -> Array:
    """0 to n - 1 in random order, as uint32 if n allows it."""
    order = np.arange(n, dtype=np.uint32 if n <= 2**32 else np.uint64)
    rng.shuffle(order)
    return order
