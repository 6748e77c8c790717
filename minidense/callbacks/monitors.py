"""Callbacks that stop training or change the learning rate, depending on a metric or the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from minidense.callbacks.base import Callback, Logs
from minidense.core.arguments import flag, lookup, nearest, real_number, whole_number
from minidense.core.types import Array


class Monitor(Callback):
    """Base of the callbacks that watch one metric and wait for it to improve."""

    steers = True
    saved: ClassVar[tuple[str, ...]] = ("best", "best_of", "wait")

    best: float
    """The best value so far; NaN at first."""
    best_of: str
    """The name of the metric that ``best`` is a value of."""
    wait: int
    """The number of epochs since then."""

    def __init__(self, monitor: str, min_delta: float, patience: int, mode: str) -> None:
        name = type(self).__name__
        self.monitor = monitor
        self.min_delta = real_number(f"{name}: min_delta", min_delta, at_least=0)
        self.patience = whole_number(f"{name}: patience", patience, 0)
        self.mode = lookup("mode", mode, {"auto": "auto", "min": "min", "max": "max"})
        self.reset()

    def reset(self) -> None:
        """Forget the best value."""
        self.best, self.best_of, self.wait = math.nan, self.monitor, 0

    def improved(self, logs: Logs) -> bool:
        """Whether the metric is better than the best so far; if so, it becomes the best. NaN is never better."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: there is no metric {self.monitor!r} to monitor."
                f"{nearest(self.monitor, logs)} There are: {', '.join(logs)}."
            )
        if self.best_of != self.monitor:  # ``monitor`` has been changed
            self.best, self.best_of = math.nan, self.monitor
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
                f"{type(self).__name__}: is {self.monitor!r} better higher or lower? Pass mode='max' or mode='min'."
            )
        return name in _THE_HIGHER_THE_BETTER


_THE_LOWER_THE_BETTER = {"loss", "mse", "mae"}
_THE_HIGHER_THE_BETTER = {"accuracy", "top_k_accuracy", "precision", "recall", "f1", "auc", "r2"}


class EarlyStopping(Monitor, library=True):
    """Stop when a metric has not improved for ``patience`` epochs.

    monitor: the metric's name. min_delta: the smallest change that counts as an improvement. mode: "min", "max", or
    "auto": "max" for accuracy, precision, recall, f1, auc and r2, "min" for loss, mse and mae. restore_best_weights: at
    the end, restore the parameters and buffers of the best epoch. Raises ValueError if there is no such metric; NaN is
    never the best.

    >>> EarlyStopping(patience=3)
    EarlyStopping(patience=3)
    """

    saved = ("stopped_epoch", "best_epoch", "_kept")

    stopped_epoch: int | None
    best_epoch: int | None
    _kept: list[Array] | None
    """The parameters and the buffers of the best epoch, each one vector."""

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.restore_best_weights = flag("EarlyStopping: restore_best_weights", restore_best_weights)

    def reset(self) -> None:
        super().reset()
        self.stopped_epoch = self.best_epoch = self._kept = None

    def on_train_begin(self, logs: Logs) -> None:
        self.reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improved(logs):
            self.wait, self.best_epoch = 0, epoch
            if self.restore_best_weights:
                self._kept = [vector.copy() for vector in self._vectors()]
            return
        self.wait += 1
        if self.wait >= max(1, self.patience):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        if self._kept is not None:
            for vector, kept in zip(self._vectors(), self._kept, strict=True):
                vector[...] = kept

    def _vectors(self) -> tuple[Array, Array]:
        return self.model.theta, self.model.network.buffers


class ReduceLROnPlateau(Monitor, library=True):
    """Multiply the learning rate by ``factor`` when a metric has not improved for ``patience`` epochs.

    After that it waits ``cooldown`` epochs before it counts again. The rate is never reduced below ``min_lr``. The
    other arguments are those of EarlyStopping.

    >>> ReduceLROnPlateau(factor=0.5, patience=5)
    ReduceLROnPlateau(factor=0.5, patience=5)
    """

    saved = ("_resting",)

    _resting: int
    """The remaining epochs of the cooldown."""

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

    def reset(self) -> None:
        super().reset()
        self._resting = 0

    def on_train_begin(self, logs: Logs) -> None:
        self.reset()
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


class LearningRateScheduler(Callback, library=True):
    """Before each epoch, counted from 0, set the learning rate to ``schedule(epoch, rate)``.

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
            f"{type(callback).__name__} sets the learning rate, but the optimizer takes it from {rate!r}: use one."
        )
    return float(rate)
