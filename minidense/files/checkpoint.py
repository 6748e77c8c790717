"""Checkpoints: a model and where its training run stands, in one file; and how a run resumes from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidense.core.arguments import checked, shown
from minidense.core.configurable import Configurable, load_state_dict, state_dict
from minidense.files.archive import read_archive
from minidense.files.behaviour import words_of
from minidense.files.codec import described
from minidense.files.model_file import FORMAT, Model, custom_of, read_file, write_model
from minidense.layers.base import held, walk
from minidense.metrics import Metric

__all__ = [
    "custom_of",
    "differences",
    "position",
    "read_checkpoint",
    "run_number",
    "take_over",
    "words_of",
    "write_checkpoint",
]


def write_checkpoint(path: str | os.PathLike[str], model: Model, run_state: dict[str, Any]) -> None:
    """Save a model and, as plain values and arrays, where its run stands. Raises ValueError and OSError."""
    write_model(path, model, run_state)


def read_checkpoint(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any], make: Callable[..., Any]
) -> tuple[Any, dict[str, Any]]:
    """The model of a checkpoint, and where the run stood. Raises what ``read_model`` raises.

    custom_objects: what ``custom_of`` the model gives that the user resumes with.
    """
    model, state = read_file(path, custom_objects, make, resuming=True)
    if state is None:
        raise ValueError(
            f"{os.fspath(path)} has a model, and no training run to resume: it was written by model.save. "
            f"Load it with md.load_model, and fit it on; or save runs with md.callbacks.ModelCheckpoint."
        )
    return model, checked(state, dict, "the training run")


def run_number(path: str | os.PathLike[str]) -> int | None:
    """The number of the run that wrote a checkpoint; None for any other file."""
    try:
        manifest = read_archive(path).manifest
        number = manifest["training"]["number"] if manifest["format"] == FORMAT else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return number if type(number) is int else None


def position(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """The completed epochs of the run in a checkpoint, and the steps after them; None for a file without a run.

    Raises what ``read_archive`` raises, and ValueError for a record that is none.
    """
    run = read_archive(path).manifest.get("training")
    if run is None:
        return None
    epoch, step = (run.get(name) if isinstance(run, dict) else None for name in ("epoch", "step"))
    if type(epoch) is not int or type(step) is not int:
        raise ValueError(f"{os.fspath(path)}: its record of the run is incomplete.")
    return epoch, step


def differences(mine: Model, words: Mapping[str, str], theirs: Model, their_words: Any) -> list[str]:
    """Why a run of one model cannot take over the other one, from a file: how they differ in words, or else in build.

    words: ``words_of`` the models as their runs began. Nothing of the two changes.
    """
    if not isinstance(their_words, dict):
        return ["what it says about the model is incomplete"]
    found, count = [], "the number of layers"
    alike = _build(mine) == _build(theirs)
    # Callbacks of an earlier run may have changed arguments of the objects that are used again here.
    may_have_changed = alike and mine.optimizer is not None and mine.optimizer.iterations > 0
    for name, text in words.items():
        other = their_words.get(name)
        one_by_one = repr(their_words.get(count)) == repr(words[count]) or not name.startswith(("layer ", "trainable "))
        same = isinstance(other, str) and (
            other == text or (may_have_changed and _kind(name, other) == _kind(name, text))
        )
        if not same and one_by_one:
            said = other[:300] if isinstance(other, str) else shown(other)
            found.append(f"{name} is {said} in the file, and {text} here")
    if not found and not alike:
        found.append("its model is not the one that its run began with")
    return found


def _kind(name: str, text: str) -> str:
    """What of those words no callback changes: a part's class, and not its arguments, nor whether it is frozen."""
    if name.startswith("trainable "):
        return ""
    changeable = name in ("the optimizer", "the loss") or name.startswith("layer ")
    return text.partition("(")[0] if changeable else text


def _build(model: Model) -> Any:
    """What ``take_over`` needs to be alike: classes, and the names and shapes of arrays."""
    layers = list(walk(model.network))
    arrays = {model.network.name_of(layer, d.name): d.shape for layer, d in model.network.declarations()}
    objects = [type(thing) for thing in (*layers, model.optimizer, model.loss, *_metrics(model))]
    return objects, arrays, model.network._record.dtype


def _metrics(model: Model) -> list[Metric]:
    return [*model.metrics, *model.weighted_metrics]


def take_over(mine: Model, theirs: Model) -> None:
    """Have the objects of a built model be what those of ``theirs``, from which it has no ``differences``, are."""
    arrays = theirs.network.named_arrays()
    for name, array in mine.network.named_arrays().items():
        array[...] = arrays[name]
    mine.network.generators = theirs.network.generators
    for layer, other in list(zip(walk(mine.network), walk(theirs.network), strict=True))[1:]:
        _take_arguments(layer, other)
        if other.draws and "rng" in vars(other):
            layer.rng = other.rng
    for metric, another in zip(_metrics(mine), _metrics(theirs), strict=True):
        _take_arguments(metric, another)
    for thing, its in ((mine.loss, theirs.loss), (mine.optimizer, theirs.optimizer)):
        if thing is not None and its is not None:
            _take_arguments(thing, its)
            load_state_dict(thing, state_dict(its))
    if mine.optimizer is not None and theirs.optimizer is not None:
        mine.optimizer.iterations, mine.optimizer.state = theirs.optimizer.iterations, theirs.optimizer.state
        if not callable(theirs.optimizer.learning_rate):
            object.__setattr__(mine.optimizer, "learning_rate", theirs.optimizer.learning_rate)


def _take_arguments(mine: Configurable, theirs: Configurable) -> None:
    """Set the arguments that a callback has set since the run began; random generators go on where they stood."""
    for name, value in theirs._config.items():
        own = mine._config.get(name)
        if isinstance(own, np.random.Generator) and isinstance(value, np.random.Generator):
            own.bit_generator.state = value.bit_generator.state
        elif described(own) != described(value) and not any(held(value)):
            setattr(mine, name, value)
