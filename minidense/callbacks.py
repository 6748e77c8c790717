"""Callbacks: what happens around a training run without being part of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from minidense.arguments import Configurable, lookup, whole_number

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


class History:
    """The figures of a training run.

    history: for each figure ("loss", "accuracy", "val_loss", ...) the list of its values, one an epoch.
    epoch: the epochs' numbers, from 0. params: what ``fit`` was told.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.params = params or {}

    def append(self, epoch: int, logs: Logs) -> None:
        """Note the figures of one epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{', last: ' + last if last else ''})"


class ProgressBar(Callback):
    """One tqdm bar for the whole run: epoch, step, loss, metrics, and the last validation figures."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def on_train_begin(self, logs: Logs) -> None:
        from tqdm import tqdm

        self._validation: Logs = {}
        self._bar = tqdm(
            total=self.params["epochs"] * self.params["steps"],
            file=self.file,
            unit="step",
            dynamic_ncols=True,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._bar.set_description(f"epoch {epoch + 1}/{self.params['epochs']}", refresh=False)

    def on_block_end(self, steps: int, logs: Logs) -> None:
        self._bar.set_postfix_str(_figures({**self._validation, **logs}), refresh=False)
        self._bar.update(steps)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._validation = {name: value for name, value in logs.items() if name.startswith("val_")}
        self._bar.set_postfix_str(_figures(logs))

    def on_train_end(self, logs: Logs) -> None:
        self._bar.close()


class ProgressLines(Callback):
    """One line an epoch, for logs and pipes."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        line = f"epoch {epoch + 1}/{self.params['epochs']}: {_figures(logs)}"
        print(line, file=self.file or sys.stdout, flush=True)


def _figures(logs: Logs) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in logs.items())


def progress_callback(verbose: int | str) -> Callback | None:
    """The callback for fit's ``verbose``: "auto" a bar in a terminal and lines elsewhere, 0, 1 a bar, 2 lines."""
    if isinstance(verbose, str):
        lookup("verbose", verbose, {"auto": 1})
        return ProgressBar() if sys.stderr.isatty() else ProgressLines()
    level = whole_number("verbose", verbose if not isinstance(verbose, bool) else int(verbose), 0)
    if level > 2:
        raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}.")
    return (None, ProgressBar(), ProgressLines())[level]


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
