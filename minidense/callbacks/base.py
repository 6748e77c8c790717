"""Callbacks: what happens around a training run without being part of it."""

from __future__ import annotations

import csv
import functools
import math
import os
import re
import string
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import lookup, nearest, real_number, whole_number
from minidense.core.configurable import Configurable
from minidense.core.types import Array
from minidense.files.codec import Remembered
from minidense.layers import Layer, ReLU

Logs = dict[str, float]


class Callback(Configurable):
    """Base of all callbacks: override the hooks you need.

    ``self.model`` is the model and ``self.params`` a dict with ``epochs``, ``steps`` and ``batch_size``; and for a run
    that is ``resumed``, where it goes on, ``initial_epoch`` and ``initial_step``, which are 0 otherwise.
    ``logs`` has the figures so far: the loss, the metrics, and at an epoch's end the validation figures as
    ``val_...``. Setting ``self.model.stop_training = True`` ends the training after the step.
    """

    transient = frozenset({"_config", "_made", "model", "params"})
    """Names of attributes that are not saved in a checkpoint. All others are, where they have changed since the
    callback was made, and must be numbers, text, arrays, or lists and dicts of them."""

    each_step: bool = False
    """Whether ``on_save_point`` is to be called after steps too."""

    steers: ClassVar[bool] = False
    """Whether the run depends on it, so that it cannot be resumed without one."""

    _made: Mapping[str, Any] = MappingProxyType({})  # what the constructor left behind

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a callback of another run has in common with this one, for that one's state to be this one's."""
        return (type(self).__name__,)

    model: Any = None
    params: Mapping[str, Any] = MappingProxyType({})

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch; they count from 0."""

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch; they count from 0 in each epoch."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """After the update of a batch."""

    def on_block_end(self, steps: int, logs: Logs) -> None:
        """After ``steps`` batches that were read together: cheaper than a call for each."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_save_point(self, run: Any) -> Callable[[], None] | None:
        """After an epoch, or a step, when all callbacks have been called: what to call to have the run saved, if any.

        Here it is decided, and then, when all have decided, it is called: ``run.save(path)`` makes a checkpoint.
        """
        return None

    def make_up(self, run: Any) -> None:
        """When a run goes on: save what, as its file says, was about to be saved when it ended."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also where training ended early."""


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """``init``, after which the callback remembers what it has made."""

    @functools.wraps(init)
    def remembering(self: Callback, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is remembering:  # and not a base's, called by it
            self._made = {name: Remembered(value) for name, value in self.attributes().items()}

    return remembering


class LambdaCallback(Callback):
    """A callback from functions, one for each hook that is wanted.

    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).on_epoch_end(0, {"loss": 1.0})
    0 {'loss': 1.0}
    """

    def __init__(
        self,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_batch_begin: Callable[[int, Logs], Any] | None = None,
        on_batch_end: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
    ) -> None:
        for hook, function in self._config.items():
            if function is not None:
                setattr(self, hook, function)


class _Monitor(Callback):
    """Base of the callbacks that watch one figure and wait for it to improve."""

    steers = True

    def __init__(self, monitor: str, min_delta: float, patience: int, mode: str) -> None:
        name = type(self).__name__
        self.monitor = monitor
        self.min_delta = real_number(f"{name}: min_delta", min_delta, at_least=0)
        self.patience = whole_number(f"{name}: patience", patience, 0)
        self.mode = lookup("mode", mode, {"auto": "auto", "min": "min", "max": "max"})
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.best, self.wait = float("nan"), 0

    def improved(self, logs: Logs) -> bool:
        """Whether the figure is better than the best so far, which it then becomes. A NaN never is."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: there is no figure {self.monitor!r} to monitor."
                f"{nearest(self.monitor, logs)} There are: {', '.join(logs)}."
            )
        value = float(logs[self.monitor])
        if math.isnan(value):
            return False
        gain = value - self.best if self._upwards() else self.best - value
        if math.isnan(self.best) or gain > self.min_delta:
            self.best = value
            return True
        return False

    def _upwards(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name not in _THE_HIGHER_THE_BETTER | _THE_LOWER_THE_BETTER:
            raise ValueError(
                f"{type(self).__name__}: is {self.monitor!r} to grow or to fall? Say mode='max' or mode='min'."
            )
        return name in _THE_HIGHER_THE_BETTER


_THE_LOWER_THE_BETTER = {"loss", "mse", "mae"}
_THE_HIGHER_THE_BETTER = {"accuracy", "top_k_accuracy", "precision", "recall", "f1", "auc", "r2"}


class EarlyStopping(_Monitor):
    """Stop when a figure has not improved for ``patience`` epochs.

    monitor: the figure's name. min_delta: what counts as an improvement. mode: "min", "max", or "auto", which knows
    that accuracy, precision, recall, f1, auc and r2 are to grow. restore_best_weights: at the end, go back to the
    parameters and layer states of the best epoch. Raises ValueError where there is no such figure; a NaN is never
    the best.

    >>> EarlyStopping(patience=3)
    EarlyStopping(patience=3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.restore_best_weights = bool(restore_best_weights)

    def reset(self) -> None:
        super().reset()
        self.stopped_epoch: int | None = None
        self.best_epoch: int | None = None
        self._kept: list[Array] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        self.reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improved(logs):
            self.wait, self.best_epoch = 0, epoch
            if self.restore_best_weights:
                self._kept = [array.copy() for array in self._arrays()]
            return
        self.wait += 1
        if self.wait >= max(1, self.patience):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        if self._kept is not None:
            for array, kept in zip(self._arrays(), self._kept, strict=True):
                array[...] = kept

    def _arrays(self) -> list[Array]:
        states = [state for layer in self.model.layers for state in layer.states.values()]
        return [self.model.theta, *states]


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by ``factor`` when a figure has not improved for ``patience`` epochs.

    After that it waits ``cooldown`` epochs before it counts again, and never goes below ``min_lr``. The other
    arguments are those of EarlyStopping.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.factor = real_number("ReduceLROnPlateau: factor", factor, above=0, below=1)
        self.cooldown = whole_number("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.min_lr = real_number("ReduceLROnPlateau: min_lr", min_lr, at_least=0)

    def on_train_begin(self, logs: Logs) -> None:
        self.reset()
        self._resting = 0
        _rate_that_can_be_set(self)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        improved = self.improved(logs)
        self._resting = max(0, self._resting - 1)
        if improved or self._resting:
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= max(1, self.patience):
            rate = _rate_that_can_be_set(self)
            self.model.optimizer.learning_rate = max(rate * self.factor, min(self.min_lr, rate))
            self._resting, self.wait = self.cooldown + (self.cooldown > 0), 0


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to ``schedule(epoch, rate)``, epochs from 0.

    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    """

    steers = True

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.model.optimizer.learning_rate = self.schedule(epoch, _rate_that_can_be_set(self))


def _rate_that_can_be_set(callback: Callback) -> float:
    rate = callback.model.optimizer.learning_rate
    if callable(rate):
        raise ValueError(
            f"{type(callback).__name__} sets the learning rate, which the optimizer takes from {rate!r}: use one."
        )
    return float(rate)


class CSVLogger(Callback):
    """Write the figures of each epoch to a file as soon as there are any: one line an epoch.

    append: go on in a file that is there, rather than write over it. A run that is resumed writes its lines anew.
    """

    transient = Callback.transient | {"filename", "_begun"}

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = os.fspath(filename), separator, bool(append)

    @property
    def identity(self) -> tuple[Any, ...]:
        return (*super().identity, os.path.basename(self.filename), self.append)

    def on_train_begin(self, logs: Logs) -> None:
        self._begun, self._start = False, 0
        self._columns: list[str] | None = None
        with open(self.filename, "a+", newline="") as file:
            if self.append and file.tell():
                self._start = file.tell()
                file.seek(0)
                self._columns = next(csv.reader(file, delimiter=self.separator))[1:]
            elif not self.append and not self.params.get("resumed"):
                file.truncate(0)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        with open(self.filename, "r+", newline="") as file:
            end = file.seek(0, os.SEEK_END)
            writer = csv.writer(file, delimiter=self.separator)
            rows = [(epoch, logs)]
            if not self._begun:  # perhaps of a run that goes on, some of whose lines are there, or too many, or none
                rows = [*self._earlier(), *rows]
                self._begun, self._start = True, min(self._start, end)
                file.truncate(file.seek(self._start))
                if not self._start:
                    self._columns = list(rows[0][1])
                    writer.writerow(["epoch", *self._columns])
            columns = self._columns or []
            for number, figures in rows:
                if new := [name for name in figures if name not in columns]:
                    raise ValueError(f"CSVLogger: {self.filename} has no columns for {new}; it has {columns}.")
                writer.writerow([number, *(figures.get(name, "") for name in columns)])

    def _earlier(self) -> list[tuple[int, Logs]]:
        """The epochs of this run that are over."""
        past = self.model.history if self.model is not None else None
        if past is None:
            return []
        return [(n, {name: figures[i] for name, figures in past.history.items()}) for i, n in enumerate(past.epoch)]


class GradientHealth(Callback):
    """Add to each epoch's figures how the layers fare, which tells a rate too large or too small, and dead units.

    ``update_ratio_<layer>``: the norm of an update by that of the layer's parameters, the mean over the epoch's
    steps; about 0.001 is usual. ``dead_<layer>``: for each ReLU, the share of units that no row of the epoch has
    activated (of batches above 2,048 rows, the last 2,048). It makes each step somewhat slower.
    """

    steers = True
    transient = Callback.transient | {"_before"}

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._steps = 0
        self._ratios = {i: 0.0 for i, layer in enumerate(self.model.layers) if layer.count_params}
        self._alive: dict[int, Array] = {}

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        self._before = {i: self._parameters(self.model.layers[i]) for i in self._ratios}

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        self._steps += 1
        for i, before in self._before.items():
            norm = np.linalg.norm(before)
            now = self._parameters(self.model.layers[i])
            self._ratios[i] += float(np.linalg.norm(now - before) / norm) if norm else 0.0
        for i, layer in enumerate(self.model.layers):
            if isinstance(layer, ReLU):
                alive = np.asarray((layer.h > 0).any(axis=0))
                self._alive[i] = alive | self._alive.get(i, alive)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for i, ratio in self._ratios.items():
            logs[f"update_ratio_{i}"] = ratio / self._steps
        for i, alive in self._alive.items():
            logs[f"dead_{i}"] = float(1 - alive.mean())

    @staticmethod
    def _parameters(layer: Layer) -> Array:
        return np.concatenate([values.ravel() for values in layer.values.values()])


class ModelCheckpoint(_Monitor):
    """Save the whole run to a file, from which ``fit(..., resume=path)`` goes on as if nothing had happened.

    path: may have ``{epoch}``, the epochs that are over, ``{step}``, all steps made, and figures: ``{val_loss:.3f}``.
    every: "epoch", "5 epochs", "step" or "100 steps"; a number is steps. save_best_only: only when the figure
    ``monitor`` is better than ever, by ``min_delta`` at least. mode: as for EarlyStopping. keep: of files with
    ``{epoch}`` or ``{step}`` in their names, so many stay, the last ones; None keeps all. A file is replaced as a whole
    or not at all, and ``md.load_model`` loads it as a model too. Raises OSError where it cannot be written.

    >>> ModelCheckpoint("digits.npz", every="2 epochs")
    ModelCheckpoint('digits.npz', every='2 epochs')
    """

    steers = False
    transient = Callback.transient | {"path", "interval", "each_step"}

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: str | int = "epoch",
        save_best_only: bool = False,
        monitor: str = "val_loss",
        mode: str = "auto",
        min_delta: float = 0.0,
        keep: int | None = None,
    ) -> None:
        super().__init__(monitor, min_delta, 0, mode)
        self.path, self.save_best_only = os.fspath(path), bool(save_best_only)
        self.keep = None if keep is None else whole_number("ModelCheckpoint: keep", keep)
        self.interval, self.each_step = _interval(every)
        _check_template(self.path)
        if keep is not None and keep > 1 and not re.search(r"\{(epoch|step)\b", self.path):
            raise ValueError(f"ModelCheckpoint: keep={keep} files need names that differ: {{epoch}} in {self.path!r}.")
        self._names: list[str] = []
        self._due = False

    @property
    def identity(self) -> tuple[Any, ...]:
        how = self.interval, self.each_step, self.save_best_only, self.monitor, self.mode
        return (*super().identity, os.path.basename(self.path), *how)

    @property
    def saved(self) -> list[str]:
        """The files that it has written and that are still there, the oldest first."""
        folder, pattern = _folder_and_pattern(self.path)
        own = [name for name in self._names if pattern.fullmatch(name) and ".." not in name]  # a file may say anything
        return [os.path.join(folder, name) for name in own]

    def on_save_point(self, run: Any) -> Callable[[], None] | None:
        if self.each_step != bool(run.step) or (run.steps_made if self.each_step else run.epoch) % self.interval:
            return None
        if self.save_best_only and not self.improved(run.logs):
            return None
        self._due = True
        return functools.partial(self.make_up, run)

    def make_up(self, run: Any) -> None:
        if not self._due:
            return
        path = self._path_now(run)
        folder, _ = _folder_and_pattern(self.path)
        name, before = os.path.relpath(path, folder or "."), self._names
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self._names, self._due = [*(other for other in before if other != name), name], False  # as the file is to say
        try:
            run.save(path)
        except BaseException:
            self._names = before
            raise
        if self.keep is not None:
            for oldest in self.saved[: -self.keep]:
                with suppress(FileNotFoundError):
                    os.unlink(oldest)
            self._names = self._names[-self.keep :]

    def _path_now(self, run: Any) -> str:
        known = {**run.logs, "epoch": run.epoch, "step": run.steps_made}
        try:
            return self.path.format_map(known)
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(
                f"ModelCheckpoint: the path {self.path!r} cannot be filled in: {error!r}. Known: {', '.join(known)}."
            ) from None


def _folder_and_pattern(template: str) -> tuple[str, re.Pattern[str]]:
    """The folder that all files of a template are in, and what their names within it look like."""
    folder = template.partition("{")[0].rpartition("/")[0]
    rest = template[len(folder) :].lstrip("/") if folder or template.startswith("/") else template
    parts = [re.escape(text) + ("" if field is None else ".+") for text, field, _, _ in string.Formatter().parse(rest)]
    return folder or ("/" if template.startswith("/") else ""), re.compile("".join(parts))


def _check_template(path: str) -> None:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(path) if name is not None]
    except ValueError as error:
        raise ValueError(f"ModelCheckpoint: path: {path!r} is no template: {error}.") from None
    if not all(name.isidentifier() for name in names):
        raise ValueError(f"ModelCheckpoint: path: expected names such as {{epoch}} in {path!r}, got {names}.")


def _interval(every: str | int) -> tuple[int, bool]:
    """How many, and whether they are steps."""
    if not isinstance(every, str):
        return whole_number("ModelCheckpoint: every", every), True
    found = re.fullmatch(r"(?:([1-9]\d*) )?(epoch|step)s?", every)
    if not found:
        raise ValueError(f"ModelCheckpoint: every: expected 'epoch', '5 epochs', '100 steps' or steps, got {every!r}.")
    return int(found[1] or 1), found[2] == "step"
