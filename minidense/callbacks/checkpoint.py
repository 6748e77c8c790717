"""``ModelCheckpoint``: save the whole run to a file at intervals."""

from __future__ import annotations

import functools
import glob
import math
import os
import re
import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from minidense.callbacks.base import Callback
from minidense.callbacks.monitors import Monitor, verbosity
from minidense.core.arguments import flag, nearest, path_to_write, real_number, whole_number


class ModelCheckpoint(Monitor, library=True):
    """Save the whole run to a file, from which ``fit(..., resume=path)`` resumes it to the bit.

    filepath: may contain ``{epoch}``, the epochs completed, ``{step}``, all steps made, metrics, ``{val_loss:.3f}``,
    and after a step ``{batch}``, the steps made in the epoch. save_freq: "epoch", or a number of steps. every: instead,
    "5 epochs", "step" or "100 steps"; an int means steps. save_best_only: save only when the metric ``monitor`` is the
    best so far, by at least ``min_delta``, and better than ``initial_value_threshold``, if given. mode: as for
    EarlyStopping. save_weights_only: write the files of ``model.save_weights``, which are smaller and cannot be resumed
    from. keep: how many files to keep if names contain ``{epoch}`` or ``{step}``, the last ones of this run; None keeps
    all. verbose: 1 says what is saved, and where. A file is replaced as a whole or not at all, a missing folder is
    made, and ``md.load_model`` can load it too. Raises OSError if it cannot be written; ``fit`` raises ValueError for
    metrics that there are not, as for EarlyStopping.

    >>> ModelCheckpoint("digits.npz", every="2 epochs")
    ModelCheckpoint('digits.npz', every='2 epochs')
    """

    steers = False
    saved = ("_names", "_due")

    _names: list[str]
    """The names of the files it has written, relative to its folder, the oldest first."""
    _due: bool
    """Whether it has decided to save the run but not done so yet."""

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        every: str | int | None = None,
        keep: int | None = None,
        min_delta: float = 0.0,
    ) -> None:
        self.initial_value_threshold = initial_value_threshold
        if initial_value_threshold is not None:
            what = "ModelCheckpoint: initial_value_threshold"
            self.initial_value_threshold = real_number(what, initial_value_threshold)
            if not save_best_only:
                raise ValueError(f"{what} needs save_best_only=True.")
        super().__init__(monitor, min_delta, 0, mode)
        self.filepath = path_to_write("ModelCheckpoint: filepath", filepath)
        self.verbose = verbosity("ModelCheckpoint", verbose)
        self.save_best_only = flag("ModelCheckpoint: save_best_only", save_best_only)
        self.save_weights_only = flag("ModelCheckpoint: save_weights_only", save_weights_only)
        self.save_freq, self.every = save_freq, every
        self.keep = None if keep is None else whole_number("ModelCheckpoint: keep", keep)
        if not isinstance(save_freq, str) or save_freq != "epoch":
            whole_number("ModelCheckpoint: save_freq: other than 'epoch'", save_freq)
            if every is not None:
                raise ValueError("ModelCheckpoint: save_freq and every say the same: pass one of them.")
        _ = self._between  # raises an error for what is no interval
        _check_template(self.filepath)
        if keep is not None and self.save_weights_only:
            raise ValueError("ModelCheckpoint: keep is for whole checkpoints, which say of which run they are.")
        if keep is not None and keep > 1 and not re.search(r"\{(epoch|step)\b", self.filepath):
            raise ValueError(
                f"ModelCheckpoint: keep={keep} needs names that differ: put {{epoch}} into {self.filepath!r}."
            )
        self._names, self._due = [], False

    @property
    def _first_best(self) -> float:  # type: ignore[override]
        return math.nan if self.initial_value_threshold is None else self.initial_value_threshold

    @property
    def _between(self) -> tuple[int, bool]:
        return _interval(self.save_freq if self.every is None else self.every)

    @property
    def interval(self) -> int:
        """The number of epochs or steps between two files."""
        return self._between[0]

    @property
    def each_step(self) -> bool:  # type: ignore[override]
        """Whether ``interval`` counts steps."""
        return self._between[1]

    @property
    def files(self) -> list[str]:
        """The files that it has written and that are to stay, the oldest first."""
        folder, pattern, _ = _folder_and_pattern(self.filepath)
        inside = [name for name in self._names if ".." not in name.split("/")]
        return [os.path.join(folder, name) for name in inside if pattern.fullmatch(name)]  # a file may say anything

    def check_metrics(self, metrics: Mapping[str, Any], more: bool) -> None:
        if self.each_step:  # it gets the metrics that are shown while an epoch runs
            running = {name: m for name, m in metrics.items() if not name.startswith("val_") and (not m or m.running)}
            metrics, more = running, False
        if self.save_best_only:
            super().check_metrics(metrics, more)
        names = [*metrics, *(name for _, name in _parts(self.filepath) if name and more)]
        self._filled({**dict.fromkeys(names, 0.5), "epoch": 1, "step": 1} | ({"batch": 1} if self.each_step else {}))

    def on_save_point(self, run: Any) -> Callable[[], None] | None:
        interval, each_step = self._between
        if each_step != bool(run.step) or (run.steps_made if each_step else run.epoch) % interval:
            return None
        before = self.best
        if self.save_best_only and self.absent(run.logs):
            return None
        if self.save_best_only and not self.improved(run.logs):
            self._say(run, f"{self.monitor} is not better than {before:.4g}")
            return None
        self._due = True
        return functools.partial(self.finish_save, run)

    def finish_save(self, run: Any) -> None:
        if not self._due:
            return
        batch = {"batch": run.step} if self.each_step else {}
        path = self._filled({**run.logs, "epoch": run.epoch, "step": run.steps_made, **batch})
        folder, *_ = _folder_and_pattern(self.filepath)
        name, before = os.path.relpath(path, folder or ".").replace(os.sep, "/"), self._names
        self._names, self._due = [*(other for other in before if other != name), name], False  # the file contains these
        try:
            if self.save_weights_only:
                run.model.save_weights(path)
            else:
                run.save(path)
        except BaseException:
            self._names = before
            raise
        self._say(run, f"{self.monitor} is {self.best:.4g}, the best so far; " * self.save_best_only + f"saved {path}")
        if self.keep is not None:
            for oldest in self.files[: -self.keep]:
                _remove_checkpoint(oldest, run.number)
            self._names = self._names[-self.keep :]

    def _say(self, run: Any, what: str) -> None:
        if self.verbose:
            where = f"epoch {run.epoch + 1}, step {run.step}" if run.step else f"epoch {run.epoch}"
            self._news = f"{where}: {what}"

    def _filled(self, known: Mapping[str, float]) -> str:
        """The path with these values."""
        try:
            return self.filepath.format_map(known)
        except (LookupError, ValueError, AttributeError) as error:
            what = repr(error)
            if isinstance(error, KeyError):
                what = f"there is no {error}{' after a step' * self.each_step}.{nearest(error.args[0], known)}"
            raise ValueError(
                f"ModelCheckpoint: the path {self.filepath!r} cannot be filled in: {what} Known: {', '.join(known)}."
            ) from None


class BackupAndRestore(Callback):
    """Keras' callback, which is not needed: its constructor raises TypeError, with what to write instead."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "BackupAndRestore: use fit(..., callbacks=[md.callbacks.ModelCheckpoint('backup/run.npz')], "
            "resume='auto'), which goes on where it was interrupted."
        )


def newest_file(callbacks: Sequence[Callback]) -> str | None:
    """The file of their ModelCheckpoint that is furthest in its run, by what the file says; None if there is none.

    One that saves only the best counts only if there is no other. Raises ValueError if it is not clear which one is
    meant, and CorruptFileError and OSError for any of its files, since each may be the newest.
    """
    found = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    if found and all(callback.save_weights_only for callback in found):
        raise ValueError(
            f"resume='auto': {found[0]!r} saves only weights, and no run can be resumed from those. Leave out "
            f"save_weights_only, or load the newest file by model.load_weights(path), and fit without resume."
        )
    found = [callback for callback in found if not callback.save_weights_only]
    found = [callback for callback in found if not callback.save_best_only] or found
    if len(found) != 1:
        raise ValueError(
            f"resume='auto' needs one ModelCheckpoint among the callbacks, whose files it reads; there are "
            f"{len(found)}. Pass one that saves more than the best, or the path of a file: resume=path."
        )
    from minidense.files.checkpoint import position

    files = sorted(glob.glob(_folder_and_pattern(found[0].filepath)[2]))
    positions = {path: place for path in files if (place := position(path)) is not None}
    if not positions:
        return files[0] if files else None  # reading it says that it has no run
    return max(positions, key=positions.__getitem__)


def _remove_checkpoint(path: str, run_number: int) -> None:
    """Remove the file if it is a checkpoint of that run."""
    from minidense.files.checkpoint import run_number as run_number_of

    with suppress(FileNotFoundError):
        if run_number_of(path) == run_number:
            os.unlink(path)


def _folder_and_pattern(template: str) -> tuple[str, re.Pattern[str], str]:
    """The folder of all files of a template, the pattern of their names within it, and one of whole paths for glob."""
    folder = template.partition("{")[0].rpartition("/")[0]
    rest = template[len(folder) :].lstrip("/") if folder or template.startswith("/") else template
    pattern = re.compile("".join(re.escape(text) + (r"[^/\\]+" if name else "") for text, name in _parts(rest)))
    every = "".join(glob.escape(text) + ("*" if name else "") for text, name in _parts(template))
    return folder or ("/" if template.startswith("/") else ""), pattern, every


def _parts(template: str) -> list[tuple[str, str | None]]:
    """Each text of a template, and the name in braces after it, or None."""
    return [(text, name) for text, name, _, _ in string.Formatter().parse(template)]


def _check_template(path: str) -> None:
    try:
        names = [name for _, name in _parts(path) if name is not None]
    except ValueError as error:
        raise ValueError(f"ModelCheckpoint: filepath: {path!r} is not a valid template: {error}.") from None
    if not all(name.isidentifier() for name in names):
        raise ValueError(f"ModelCheckpoint: filepath: expected names such as {{epoch}} in {path!r}, got {names}.")


def _interval(every: str | int) -> tuple[int, bool]:
    """The number, and whether it counts steps."""
    if not isinstance(every, str):
        return whole_number("ModelCheckpoint: every", every), True
    found = re.fullmatch(r"(?:([1-9]\d*) )?(epoch|step)s?", every)
    if not found:
        raise ValueError(f"ModelCheckpoint: every: expected 'epoch', '5 epochs', '100 steps' or steps, got {every!r}.")
    return int(found[1] or 1), found[2] == "step"
