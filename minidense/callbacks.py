"""Callbacks: what happens around a training run without being part of it."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidense.arguments import Configurable, lookup, nearest, real_number, whole_number
from minidense.layers import Layer, ReLU
from minidense.types import Array

Logs = dict[str, float]


class Callback(Configurable):
    """Base of all callbacks: override the hooks you need.

    ``self.model`` is the model and ``self.params`` a dict with ``epochs``, ``steps`` and ``batch_size``.
    ``logs`` has the figures so far: the loss, the metrics, and at an epoch's end the validation figures as
    ``val_...``. Setting ``self.model.stop_training = True`` ends the training after the step.
    """

    model: Any = None
    params: dict[str, Any]

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

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also where training ended early."""


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
        value = logs[self.monitor]
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

    append: go on in a file that is there, rather than write over it.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = filename, separator, bool(append)

    def on_train_begin(self, logs: Logs) -> None:
        self._columns: list[str] | None = None
        if self.append and os.path.exists(self.filename) and os.path.getsize(self.filename):
            with open(self.filename, newline="") as file:
                self._columns = next(csv.reader(file, delimiter=self.separator))[1:]
        else:
            with open(self.filename, "w"):
                pass

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        with open(self.filename, "a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self._columns is None:
                self._columns = list(logs)
                writer.writerow(["epoch", *self._columns])
            if new := [name for name in logs if name not in self._columns]:
                raise ValueError(f"CSVLogger: {self.filename} has no columns for {new}; it has {self._columns}.")
            writer.writerow([epoch, *(logs.get(name, "") for name in self._columns)])


class GradientHealth(Callback):
    """Add to each epoch's figures how the layers fare, which tells a rate too large or too small, and dead units.

    ``update_ratio_<layer>``: the norm of an update by that of the layer's parameters, the mean over the epoch's
    steps; about 0.001 is usual. ``dead_<layer>``: for each ReLU, the share of units that no row of the epoch has
    activated (of batches above 2,048 rows, the last 2,048). It makes each step somewhat slower.
    """

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._steps = 0
        self._ratios = {layer: 0.0 for layer in self.model.layers if layer.count_params}
        self._alive: dict[Any, Array] = {}

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        self._before = {layer: self._parameters(layer) for layer in self._ratios}

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        self._steps += 1
        for layer, before in self._before.items():
            norm = np.linalg.norm(before)
            self._ratios[layer] += float(np.linalg.norm(self._parameters(layer) - before) / norm) if norm else 0.0
        for layer in self.model.layers:
            if isinstance(layer, ReLU):
                alive = np.asarray((layer.h > 0).any(axis=0))
                self._alive[layer] = alive | self._alive.get(layer, alive)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for layer, ratio in self._ratios.items():
            logs[f"update_ratio_{layer.index}"] = ratio / self._steps
        for layer, alive in self._alive.items():
            logs[f"dead_{layer.index}"] = float(1 - alive.mean())

    @staticmethod
    def _parameters(layer: Layer) -> Array:
        return np.concatenate([values.ravel() for values in layer.values.values()])


class Hooks:
    """Several callbacks as one: each hook calls those that override it, in the order given."""

    NAMES = (
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_batch_end",
        "on_block_end",
        "on_epoch_end",
        "on_train_end",
    )

    def __init__(
        self, callbacks: Sequence[Callback], progress: Callback | None, model: Any, params: dict[str, Any]
    ) -> None:
        if not isinstance(callbacks, list | tuple):
            raise TypeError(f"callbacks: expected a list, got {callbacks!r}.")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected md.callbacks.Callback objects, got {callback!r}.")
        self.callbacks = [*callbacks, progress] if progress else list(callbacks)
        for callback in self.callbacks:
            callback.model, callback.params = model, params
        self._hooks = {name: [getattr(c, name) for c in self.callbacks if _overrides(c, name)] for name in self.NAMES}

    @property
    def per_batch(self) -> bool:
        """Whether any callback wants to be called for each batch."""
        return bool(self._hooks["on_batch_begin"] or self._hooks["on_batch_end"])

    def wants(self, name: str) -> bool:
        """Whether any callback overrides that hook."""
        return bool(self._hooks[name])

    def call(self, name: str, *args: Any) -> None:
        """Call that hook of each callback that overrides it."""
        for hook in self._hooks[name]:
            hook(*args)


def _overrides(callback: Callback, hook: str) -> bool:
    return hook in callback.__dict__ or getattr(type(callback), hook) is not getattr(Callback, hook)
