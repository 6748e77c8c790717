"""Callbacks that report: to a CSV file, in the logs, and on the terminal."""

from __future__ import annotations

import io
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, BinaryIO, TextIO

import numpy as np

from minidense.callbacks.base import Callback, Logs
from minidense.core.arguments import file_path, flag, lookup, text, whole_number
from minidense.core.types import Array
from minidense.layers import ReLU
from minidense.layers.base import own_params, walk


class CSVLogger(Callback, library=True):
    """Write the metrics of each epoch to a CSV file, one line per epoch, at the end of the epoch.

    append: add lines to the file instead of replacing it; ``fit`` raises ValueError before it begins if the file has no
    column for one of the metrics. A missing folder is made. A resumed run writes its earlier lines again; with
    ``append``, these replace the lines where the run began in the file, if those are the same.
    """

    saved = ("_start",)

    _start: int = 0
    """Where in the file the lines of this run begin, in bytes."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = file_path("CSVLogger: filename", filename)
        self.separator = text("CSVLogger: separator", separator)
        if len(separator) > 1:
            raise ValueError(f"CSVLogger: separator: expected one character, got {separator!r}.")
        self.append = flag("CSVLogger: append", append)

    def check_metrics(self, metrics: Mapping[str, Any], more: bool) -> None:
        if self.append and os.path.exists(self.filename):
            with open(self.filename, "rb") as file:
                if header := file.readline():
                    self._columns = self._names_in(header)
                    self._check_columns(metrics)

    def on_train_begin(self, logs: Logs) -> None:
        self._begun = False
        os.makedirs(os.path.dirname(self.filename) or ".", exist_ok=True)
        with open(self.filename, "ab") as file:
            if not self.append and not self.params.get("resumed"):
                file.truncate(0)
            self._start = file.tell() if self.append else 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        with open(self.filename, "r+b") as file:
            if self._begun:
                file.seek(0, os.SEEK_END)
                file.write(self._lines([(epoch, logs)]))
            else:
                self._begin(file, [*self._earlier(), (epoch, logs)])

    def _begin(self, file: BinaryIO, rows: list[tuple[int, Logs]]) -> None:
        """Write the first lines; when resumed, in place of those that an earlier process wrote for the same run.

        The checkpoint may belong to another log, or be forged: with ``append``, only lines that agree are replaced.
        """
        text = file.read()
        start = min(max(self._start, 0), len(text)) if self.append else 0
        lines = self._lines_at(start, text, rows)
        if self.append and not _is_part_of(text[start:], lines, rows[-1][0] + 1, self.separator):
            start = len(text)
            lines = self._lines_at(start, text, rows)
        file.seek(start)
        file.write(lines)
        file.truncate()
        self._start, self._begun = start, True

    def _lines_at(self, start: int, text: bytes, rows: list[tuple[int, Logs]]) -> bytes:
        """The lines as written at ``start`` of ``text``: with its columns, or, at the top, with their own header."""
        if not start:
            later = [f"val_{name}" for name in self.model.metrics_names] if self._validated else []
            self._columns = list(dict.fromkeys([*rows[-1][1], *later]))  # with validation_freq, not in each epoch
            return self._line(["epoch", *self._columns]) + self._lines(rows)
        self._columns = self._names_in(text.split(b"\n")[0])
        return (b"" if text[:start].endswith(b"\n") else b"\r\n") + self._lines(rows)

    def _lines(self, rows: list[tuple[int, Logs]]) -> bytes:
        """One line per epoch. Raises ValueError if the last one has a metric without a column."""
        self._check_columns(rows[-1][1])
        lines = [self._line([epoch, *(logs.get(name, math.nan) for name in self._columns)]) for epoch, logs in rows]
        return b"".join(lines)

    def _names_in(self, header: bytes) -> list[str]:
        import csv

        return next(csv.reader([header.decode("utf-8", "replace")], delimiter=self.separator), [""])[1:]

    def _check_columns(self, names: Mapping[str, Any]) -> None:
        if new := [name for name in names if name not in self._columns]:
            raise ValueError(f"CSVLogger: {self.filename} has no columns for {new}; it has {self._columns}.")

    def _line(self, values: list[Any]) -> bytes:
        import csv

        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.separator).writerow(values)
        return text.getvalue().encode()

    def _earlier(self) -> list[tuple[int, Logs]]:
        """The completed epochs of this run."""
        past = self.model.history if self.model is not None else None
        if past is None:
            return []
        return [(n, {name: values[i] for name, values in past.history.items()}) for i, n in enumerate(past.epoch)]


def _is_part_of(text: bytes, lines: bytes, epoch: int, separator: str) -> bool:
    """Whether ``text`` is the beginning of ``lines``, or ``lines`` and then lines of ``epoch`` and the epochs after."""
    if not text.startswith(lines):
        return lines.startswith(text)
    *whole, torn = [line.split(separator.encode())[0] for line in text[len(lines) :].split(b"\n")]
    expected = [str(epoch + i).encode() for i in range(len(whole) + 1)]
    return whole == expected[:-1] and expected[-1].startswith(torn)


class History(Callback, library=True):
    """As in Keras, and not needed: ``fit`` returns its History, which this one gives too, also while ``fit`` runs.

    history: for each metric the list of its values, one per epoch. epoch: the epochs' numbers, from 0.

    >>> History().history
    {}
    """

    _run: Any = None

    @property
    def history(self) -> dict[str, list[float]]:
        """The values of each metric in the last run."""
        return {} if self._run is None else dict(self._run.history)

    @property
    def epoch(self) -> list[int]:
        """The numbers of the epochs of that run."""
        return [] if self._run is None else list(self._run.epoch)

    def on_train_begin(self, logs: Logs) -> None:
        self._run = self.model.history


class GradientHealth(Callback, library=True):
    """Add metrics of each layer that reveal dead units, and a learning rate that is too large or too small.

    ``update_ratio_<layer>``: the norm of the update divided by the norm of the layer's parameters, averaged over the
    epoch's steps; about 0.001 is usual. ``dead_<layer>``: for each ReLU, the share of units that no row of the epoch
    has activated (of batches above 2,048 rows, only the last slice is seen). A layer within a layer is named by its
    path, ``3/f/0``. It makes each step somewhat slower.
    """

    steers = True
    adds_metrics = True
    saved = ("_steps", "_ratios", "_alive")

    _steps: int
    """The number of steps of this epoch so far."""
    _ratios: dict[str, float]
    """For each layer, the sum of the ratios."""
    _alive: dict[str, Array]
    """For each ReLU, which units have been active."""

    def __init__(self) -> None:
        self.on_epoch_begin(0, {})

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._steps, self._ratios, self._alive = 0, {}, {}

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        self._before = self.model.theta.copy()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        network, start = self.model.network, 0
        self._steps += 1
        for layer in walk(network):
            name, size = network.name_of(layer).removeprefix("layers/"), sum(d.size for d in own_params(layer))
            if size:
                before, now = self._before[start : start + size], network.theta[start : start + size]
                norm, start = np.linalg.norm(before), start + size
                ratio = float(np.linalg.norm(now - before) / norm) if norm else 0.0
                self._ratios[name] = self._ratios.get(name, 0.0) + ratio
            if isinstance(layer, ReLU):
                alive = np.asarray((layer.h > 0).any(axis=0))
                self._alive[name] = alive | self._alive.get(name, alive)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for name, ratio in self._ratios.items():
            logs[f"update_ratio_{name}"] = ratio / self._steps
        for name, alive in self._alive.items():
            logs[f"dead_{name}"] = float(1 - alive.mean())


class ProgressLines(Callback, library=True):
    """One line per epoch, and one where training ends early: why."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def on_train_begin(self, logs: Logs) -> None:
        self._begun = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.tell(f"{self._name_of(epoch)} {_duration(time.perf_counter() - self._begun)}: {_text_of(logs)}")

    def tell(self, text: str) -> None:
        """Print a line."""
        print(text, file=self.file or sys.stdout, flush=True)

    def _name_of(self, epoch: int) -> str:
        epochs = self.params["epochs"]
        return f"epoch {epoch + 1:{len(str(epochs))}}/{epochs}"


class ProgressBar(ProgressLines, library=True):
    """The lines, and below them, while an epoch runs, a bar with its loss and metrics so far."""

    seconds = 0.1
    """The shortest time between two pictures of the bar."""

    def on_train_begin(self, logs: Logs) -> None:
        from tqdm import tqdm

        super().on_train_begin(logs)
        stream = self.file or sys.stdout
        self._bar = tqdm(
            initial=self.params["initial_step"],
            total=self.params["steps"],
            desc=self._name_of(min(self.params["initial_epoch"], self.params["epochs"] - 1)),
            bar_format=self._format(self.params["steps"]),
            dynamic_ncols=stream.isatty(),
            ncols=100,
            file=stream,
            mininterval=self.seconds,
            leave=False,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        super().on_epoch_begin(epoch, logs)
        self._bar.set_postfix_str("", refresh=False)
        self._bar.set_description_str(self._name_of(epoch), refresh=False)
        steps = self.model.history.params["steps"]  # of some sources not known before the first epoch's end
        self._bar.bar_format = self._format(steps)
        self._bar.reset(steps)

    def _format(self, steps: int | None) -> str:
        """What tqdm shows; it cuts off what is too long."""
        if steps is None:
            return "{desc} step {n_fmt}{postfix}"
        return "{desc} {percentage:3.0f}%|{bar:10}| {remaining} left{postfix}"

    def on_block_end(self, steps: int, logs: Logs) -> None:
        self._bar.set_postfix_str(_text_of(logs), refresh=False)
        self._bar.update(steps)

    def on_train_end(self, logs: Logs) -> None:
        self._bar.close()

    def tell(self, text: str) -> None:
        self._bar.clear()
        super().tell(text)


def _text_of(logs: Logs) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in logs.items())


def _duration(seconds: float) -> str:
    """In seconds, or as m:ss or h:mm:ss."""
    if seconds < 59.5:
        return f"{seconds:.2g}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def progress_callback(verbose: int | str) -> Callback | None:
    """The callback for ``verbose``: 0 none, 1 a bar and lines, 2 lines; "auto" is 1 where bars can be shown, else 2."""
    if isinstance(verbose, str):
        lookup("verbose", verbose, {"auto": 1})
        return ProgressBar() if _shows_bars(sys.stdout) else ProgressLines()
    level = whole_number("verbose", verbose if not isinstance(verbose, bool) else int(verbose), 0)
    if level > 2:
        raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}.")
    return (None, ProgressBar(), ProgressLines())[level]


def _shows_bars(stream: TextIO) -> bool:
    """Whether it overwrites a line after a carriage return: a terminal does, and the output of a Jupyter notebook."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel.")
