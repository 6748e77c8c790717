"""What a person sees while a model trains: a bar in a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from minidense.callbacks.base import Callback, Logs
from minidense.core.arguments import lookup, whole_number


class ProgressBar(Callback):
    """One tqdm bar for the whole run: epoch, step, loss, metrics, and the last validation figures."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def on_train_begin(self, logs: Logs) -> None:
        from tqdm import tqdm

        self._validation: Logs = {}
        done = self.params["initial_epoch"] * self.params["steps"] + self.params["initial_step"]
        self._bar = tqdm(
            initial=done,
            total=max(done, self.params["epochs"] * self.params["steps"]),
            file=self.file,
            unit="step",
            dynamic_ncols=True,
        )
        self.on_epoch_begin(self.params["initial_epoch"], logs)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._bar.set_description(
            f"epoch {min(epoch + 1, self.params['epochs'])}/{self.params['epochs']}", refresh=False
        )

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
