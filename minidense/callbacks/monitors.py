"""Callbacks that stop training or change the learning rate, depending on a metric or the epoch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np

from minidense.callbacks.base import Callback, Logs
from minidense.core.arguments import flag, function_of, lookup, nearest, real_number, shown, text, whole_number
from minidense.core.interrupts import current
from minidense.core.types import Array
from minidense.metrics import METRICS, Metric


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
        self.monitor = text(f"{name}: monitor", monitor)
        self.min_delta = real_number(f"{name}: min_delta", min_delta, at_least=0)
        self.patience = whole_number(f"{name}: patience", patience, 0)
        self.mode = lookup("mode", mode, {"auto": "auto", "min": "min", "max": "max"})
        self.reset()

    _first_best: float = math.nan
    """What ``best`` is at first."""

    def reset(self) -> None:
        """Forget the best value."""
        self.best, self.best_of, self.wait = self._first_best, self.monitor, 0

    def check_metrics(self, metrics: Mapping[str, Any], more: bool) -> None:
        if self.monitor not in metrics and not more:
            raise self._missing(metrics)
        self._upwards(metrics.values())

    def absent(self, logs: Logs) -> bool:
        """Whether the metric is missing only because this epoch was not validated (``validation_freq``)."""
        return self._validated and self._is_of_validation_without(logs)

    def improved(self, logs: Logs) -> bool:
        """Whether the metric is better than the best so far; if so, it becomes the best. NaN is never better."""
        if self.monitor not in logs:
            raise self._missing(logs)
        if self.best_of != self.monitor:  # ``monitor`` has been changed
            self.best, self.best_of = self._first_best, self.monitor
        value = float(logs[self.monitor])
        if self.is_better(value, self.best):
            self.best = value
            return True
        return False

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better by more than ``min_delta``; any number is better than NaN."""
        metrics = [*self.model.metrics, *self.model.weighted_metrics] if self.model else []
        gain = value - than if self._upwards(metrics) else than - value
        return not math.isnan(value) and (math.isnan(than) or gain > self.min_delta)

    def _is_of_validation_without(self, names: Iterable[str]) -> bool:
        """Whether it is a metric of validation data, and these names have none of those."""
        return self.monitor.startswith("val_") and not any(name.startswith("val_") for name in names)

    def _missing(self, names: Iterable[str]) -> ValueError:
        without = self._is_of_validation_without(names)
        hint = " There is no validation data." if without else nearest(self.monitor, names)
        return ValueError(
            f"{type(self).__name__}: there is no metric {self.monitor!r} to monitor.{hint} There are: "
            f"{', '.join(names)}."
        )

    def _upwards(self, metrics: Iterable[Metric | None]) -> bool:
        """Whether larger is better: what ``mode`` says or else, as in Keras, the name "acc" or the metric itself."""
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss" or "acc" in name:
            return name != "loss"
        of_that_name = [metric for metric in metrics if metric is not None and metric.name == name]
        upwards = (of_that_name[0] if of_that_name else METRICS.get(name, Metric)()).higher_is_better
        if upwards is None:
            raise ValueError(
                f"{type(self).__name__}: is {self.monitor!r} better higher or lower? Pass mode='max' or mode='min'."
            )
        return upwards


class _Keeping(Monitor):
    """Base of the monitors that can restore the parameters and buffers of the best epoch at the end."""

    saved: ClassVar[tuple[str, ...]] = ("best_epoch", "_kept")

    best_epoch: int | None
    _kept: list[Array] | None
    """The parameters and the buffers of the best epoch."""

    def reset(self) -> None:
        super().reset()
        self.best_epoch = self._kept = None
        self.outcome = ""

    def on_train_begin(self, logs: Logs) -> None:
        self.reset()

    def _note(self, epoch: int, keep: bool = True) -> None:
        """This epoch is the best; keep what it has."""
        self.best_epoch = epoch
        if keep:
            self._kept = [vector.copy() for vector in self._vectors()]

    def _restored(self) -> list[str]:
        """Restore what was kept, if anything; return what to say, if that was a change."""
        if self._kept is None or self.best_epoch is None:
            return []
        vectors = list(zip(self._vectors(), self._kept, strict=True))
        changed = not all(np.array_equal(vector, kept) for vector, kept in vectors)
        interrupts = current()
        interrupts.hold()  # all of it, or none
        for vector, kept in vectors:
            vector[...] = kept
        interrupts.release()
        return [f"weights of epoch {self.best_epoch + 1} restored"] * changed

    def _vectors(self) -> list[Array]:
        return [self.model.theta, *self.model.network.all_buffers]


class EarlyStopping(_Keeping, library=True):
    """Stop when a metric has not improved for ``patience`` epochs.

    monitor: the metric's name. min_delta: the smallest change that counts as an improvement. mode: "min", "max", or
    "auto": "min" for the loss, "max" for names with "acc", and otherwise what the metric's ``higher_is_better`` says.
    restore_best_weights: at the end, restore the parameters and buffers of the best epoch. NaN is never the best.
    baseline: an improvement counts as one, so that waiting begins anew, only if it is better than this value too.
    start_from_epoch: the first epoch, counted from 0, whose metric is looked at. verbose: 1 says why training ended
    also where ``fit`` is silent.
    ``fit`` raises ValueError for a metric that there is not, or whose mode is unknown: before it begins or, where
    another callback may add such a metric, after the first epoch.

    >>> EarlyStopping(patience=3)
    EarlyStopping(patience=3)
    """

    saved = ("stopped_epoch",)

    stopped_epoch: int | None

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.verbose = verbosity("EarlyStopping", verbose)
        self.baseline = None if baseline is None else real_number("EarlyStopping: baseline", baseline)
        self.restore_best_weights = flag("EarlyStopping: restore_best_weights", restore_best_weights)
        self.start_from_epoch = whole_number("EarlyStopping: start_from_epoch", start_from_epoch, 0)

    def reset(self) -> None:
        super().reset()
        self.stopped_epoch = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if epoch < self.start_from_epoch or self.absent(logs):
            return
        self.wait += 1
        if self.improved(logs):
            self._note(epoch, keep=self.restore_best_weights)
            if self.baseline is None or self.is_better(self.best, self.baseline):
                self.wait = 0
            return
        if self.wait >= max(1, self.patience):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        said = []
        if self.stopped_epoch is not None:
            said.append(f"early stopping, {self.monitor} has not improved for {self.wait} epoch{'s' * (self.wait > 1)}")
        self.outcome = "; ".join([*said, *self._restored()])


class KeepBest(_Keeping, library=True):
    """At the end of training, restore the parameters and buffers of the best epoch. It does not stop the run.

    last: of epochs with the same best value, the last is restored; with False, the first. NaN is never the best. The
    other arguments, and the errors of ``fit``, are those of EarlyStopping.

    >>> KeepBest("val_accuracy")
    KeepBest(monitor='val_accuracy')
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        last: bool = True,
        min_delta: float = 0.0,
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, min_delta, 0, mode)
        self.last = flag("KeepBest: last", last)
        self.verbose = verbosity("KeepBest", verbose)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.absent(logs):
            return
        if self.improved(logs) or (self.last and logs[self.monitor] == self.best):
            self._note(epoch)

    def on_train_end(self, logs: Logs) -> None:
        self.outcome = "; ".join(self._restored())


class ReduceLROnPlateau(Monitor, library=True):
    """Multiply the learning rate by ``factor`` when a metric has not improved for ``patience`` epochs.

    After that it waits ``cooldown`` epochs before it counts again. The rate is never reduced below ``min_lr``. The
    other arguments are those of EarlyStopping. verbose: 1 says when it does so. The rate of each epoch is in History,
    as "learning_rate".

    >>> ReduceLROnPlateau(factor=0.5, patience=5)
    ReduceLROnPlateau(factor=0.5, patience=5)
    """

    sets_learning_rate = True
    saved = ("_resting",)

    _resting: int
    """The remaining epochs of the cooldown."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode)
        self.verbose = verbosity("ReduceLROnPlateau", verbose)
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
        if self.absent(logs):
            return
        improved = self.improved(logs)
        self._resting = max(0, self._resting - 1)
        if improved or self._resting:
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= max(1, self.patience):
            rate = _rate_that_can_be_set(self)
            reduced = max(rate * self.factor, min(self.min_lr, rate))
            self.model.optimizer.learning_rate = reduced
            if self.verbose and reduced < rate:
                self._news = f"epoch {epoch + 1}: the learning rate is reduced from {rate:.4g} to {reduced:.4g}"
            self._resting, self.wait = self.cooldown + (self.cooldown > 0), 0


class TerminateOnNaN(Callback, library=True):
    """As in Keras, and not needed: ``fit`` always ends with FloatingPointError where the loss is not finite.

    The parameters are then those before that update.

    >>> TerminateOnNaN()
    TerminateOnNaN()
    """

    def on_train_begin(self, logs: Logs) -> None:
        self._news = "TerminateOnNaN is not needed: training always ends where the loss is not finite"


class LearningRateScheduler(Callback, library=True):
    """Before each epoch, counted from 0, set the learning rate to ``schedule(epoch, rate)``, or ``schedule(epoch)``.

    verbose: 1 says so. The rate of each epoch is in History, as "learning_rate".

    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    """

    steers = True
    sets_learning_rate = True

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = function_of("LearningRateScheduler: schedule", schedule)
        _takes_rate(schedule)
        self.verbose = verbosity("LearningRateScheduler", verbose)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        rate = _rate_that_can_be_set(self)
        self.model.optimizer.learning_rate = self.schedule(*[epoch, rate][: 1 + _takes_rate(self.schedule)])
        if self.verbose:
            self._news = f"epoch {epoch + 1}: the learning rate is {self.model.optimizer.learning_rate:.4g}"


def _takes_rate(schedule: Callable[..., float]) -> bool:
    """Whether it is a function of (epoch, rate), rather than of (epoch). Raises TypeError if it is neither."""
    try:
        signature = inspect.signature(schedule)
    except (TypeError, ValueError):  # a function that is not written in Python
        return True
    for arguments in ((0, 0.1), (0,)):
        with suppress(TypeError):
            signature.bind(*arguments)
            return len(arguments) == 2
    raise TypeError(
        f"LearningRateScheduler: schedule: expected a function of (epoch, rate) or of (epoch), got {signature}."
    )


def verbosity(name: str, verbose: Any) -> int:
    """``verbose`` as 0, 1 or 2; True is 1. Raises TypeError and ValueError."""
    level = whole_number(f"{name}: verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0)
    if level > 2:
        raise ValueError(f"{name}: verbose: expected 0 or 1, got {shown(verbose)}.")
    return level


def _rate_that_can_be_set(callback: Callback) -> float:
    rate = callback.model.optimizer.learning_rate
    if callable(rate):
        raise ValueError(
            f"{type(callback).__name__} sets the learning rate, but the optimizer takes it from {rate!r}: use one."
        )
    return float(rate)
