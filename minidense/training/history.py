"""``History``: the metrics of a training run, as a table and as a plot."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

from minidense.core.arguments import file_path, lookup


class History:
    """The metrics of a training run.

    history: for each metric ("loss", "accuracy", "val_loss", ...) the list of its values, one per epoch.
    epoch: the epochs' numbers, from 0. params: a dict with ``epochs``, ``steps`` (per epoch) and ``batch_size``.

    >>> history = History()
    >>> history.append(0, {"loss": 0.5})
    >>> history.append(1, {"loss": 0.25})
    >>> history.history, history
    ({'loss': [0.5, 0.25]}, History(2 epochs, last: loss=0.25))
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.params = params or {}

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        """Add the metrics of one epoch; NaN for those that other epochs have and this one does not."""
        for name in logs:
            self.history.setdefault(name, [math.nan] * len(self.epoch))
        for name, values in self.history.items():
            values.append(logs.get(name, math.nan))
        self.epoch.append(epoch)

    def is_table(self) -> bool:
        """Whether all columns are lists of the same length, of numbers or strings, and it has nothing else."""
        columns: list[list[Any]] = [self.epoch, *self.history.values()]
        whole = all(type(column) is list and len(column) == len(self.epoch) for column in columns)
        plain = whole and all(isinstance(v, numbers.Number | str | None) for column in columns for v in column)
        return plain and vars(self).keys() == {"history", "epoch", "params"}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table with one line per epoch and one column per metric."""
        import csv  # here and elsewhere, as importing minidense should be quick

        with open(file_path("path", path), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *self.history])
            writer.writerows(zip(self.epoch, *self.history.values(), strict=True))

    def plot(self, metrics: str | Sequence[str] = "loss", *, ax: Any = None) -> Any:
        """Plot metrics over the epochs, their validation values dashed; return the matplotlib axes.

        metrics: a name, or several. ax: the axes to draw into; by default, new ones. Raises ImportError if matplotlib
        is missing, and ValueError for an unknown name.
        """
        names = [metrics] if isinstance(metrics, str) else metrics
        if not isinstance(names, list | tuple):
            raise TypeError(
                f"plot: expected a metric's name, or a list of names, got {metrics!r}. Axes are passed as ax=."
            )
        columns = {name: lookup("metric", name, self.history) for name in names}
        try:
            from matplotlib import pyplot
        except ImportError:
            raise ImportError('History.plot draws with matplotlib: pip install "minidense[plot]"') from None
        if ax is None:
            _, ax = pyplot.subplots()
        for name, values in columns.items():
            (line,) = ax.plot(self.epoch, values, label=name)
            if f"val_{name}" in self.history:
                held_out = self.history[f"val_{name}"]
                ax.plot(self.epoch, held_out, "--", color=line.get_color(), label=f"val_{name}")
        ax.set_xlabel("epoch")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{', last: ' + last if last else ''})"
