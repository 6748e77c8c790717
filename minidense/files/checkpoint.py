"""Checkpoints: a model and where its training run stands, in one file; and how a run resumes from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minidense.core.arguments import checked
from minidense.core.configurable import Configurable, load_state_dict, state_dict
from minidense.files.archive import read_archive
from minidense.files.behaviour import described
from minidense.files.codec import Encoder
from minidense.files.model_file import (
    FORMAT,
    Model,
    check_names,
    custom_of,
    decoder_of,
    file_named,
    model_in,
    opened,
    write_model,
)
from minidense.layers.base import Layer, walk
from minidense.metrics import Metric

__all__ = ["custom_of", "differences", "read_checkpoint", "run_number", "take_over", "write_checkpoint"]


def write_checkpoint(path: str | os.PathLike[str], model: Model, run_state: dict[str, Any]) -> None:
    """Save a model and, as plain values and arrays, where its run stands. Raises ValueError and OSError."""
    write_model(path, model, run_state)


def read_checkpoint(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any], make: Callable[..., Any]
) -> tuple[Any, dict[str, Any]]:
    """The model of a checkpoint, and where the run stood. Raises what ``read_model`` raises.

    custom_objects: what ``custom_of`` the model gives that the user resumes with.
    """
    archive = opened(path)
    for part in ("model", "training"):
        check_names(archive, part, custom_objects, resuming=True)
    decoder = decoder_of(archive, custom_objects, make)
    model = model_in(archive, decoder, make)
    if archive.manifest["training"] is None:
        raise ValueError(
            f"{archive.path} has a model, and no training run to resume: it was written by model.save. "
            f"Load it with md.load_model, and fit it on; or save runs with md.callbacks.ModelCheckpoint."
        )
    with file_named(archive.path):
        state = decoder.problems.noted(lambda: decoder.value(archive.manifest["training"], "training"))
        decoder.problems.raise_if_any(f"{archive.path} cannot be loaded")
        return model, checked(state, dict, "the training run")


def run_number(path: str | os.PathLike[str]) -> int | None:
    """The number of the run that wrote a checkpoint; None for any other file."""
    try:
        manifest = read_archive(path).manifest
        number = manifest["training"]["number"] if manifest["format"] == FORMAT else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return number if type(number) is int else None


def differences(mine: Model, theirs: Model) -> list[str]:
    """How a model differs from the one in a file, apart from what training changes.

    Of arguments that were set since, those count that the constructor was given.
    """
    found = []
    coders = Encoder(mine.network, states=False), Encoder(theirs.network, states=False)

    def compare(what: str, a: Any, b: Any) -> None:
        if _said(coders[0], a, what) != _said(coders[1], b, what):
            found.append(f"{what} is {b!r} in the file, and {a!r} here")

    networks = mine.network, theirs.network
    compare("the dtype", *(network._record.dtype.name for network in networks))
    compare("the number of layers", *(len(network.children) for network in networks))
    compare("the input's shape", *(network._record.input_shape for network in networks))
    if len(networks[0].children) == len(networks[1].children):
        for i, (a, b) in enumerate(zip(*(network.children for network in networks), strict=True)):
            compare(f"layer {i}", a, b)
    for a, b in zip(*map(walk, networks), strict=False):
        if a is not networks[0] and a._record.path == b._record.path and a.trainable != b.trainable:
            compare(f"trainable of layer {'/'.join(map(str, a._record.path or ()))}", a.trainable, b.trainable)
    compare("the optimizer", mine.optimizer, theirs.optimizer)
    compare("the loss", mine.loss, theirs.loss)
    compare("the number of metrics", len(mine.metrics), len(theirs.metrics))
    for metric, other in zip(mine.metrics, theirs.metrics, strict=False):
        compare("a metric", metric, other)
    return found


def _said(encoder: Encoder, thing: Any, where: str) -> Any:
    """What a file would have of it, but for random generators' states; where it cannot be saved, that it cannot."""
    try:
        return described(encoder, thing, where)
    except (TypeError, ValueError) as error:
        return str(error)


def take_over(mine: Model, theirs: Model) -> None:
    """Have the objects of a built model be what those of ``theirs``, which is alike, are."""
    arrays = theirs.network.named_arrays()
    for name, array in mine.network.named_arrays().items():
        array[...] = arrays[name]
    generators = []
    for model in (mine, theirs):
        encoder = Encoder(model.network, states=False)
        for where, thing in _objects(model):
            encoder.layer(thing, where) if isinstance(thing, Layer) else encoder.value(thing, where)
        generators.append(encoder.generators)
    for place, generator in generators[0].items():
        generator.bit_generator.state = generators[1][place].bit_generator.state
    for a, b in zip(walk(mine.network), walk(theirs.network), strict=True):
        _take_arguments(a, b)
        if "rng" in vars(b) and b.draws:
            a.rng = b.rng
    for (_, one), (_, other) in zip(_objects(mine), _objects(theirs), strict=True):
        if not isinstance(one, Layer | Metric):
            load_state_dict(one, state_dict(other))
        if not isinstance(one, Layer):
            _take_arguments(one, other)
    if mine.optimizer is not None and theirs.optimizer is not None:
        mine.optimizer.iterations, mine.optimizer.state = theirs.optimizer.iterations, theirs.optimizer.state
        rate = theirs.optimizer.learning_rate
        if rate is not theirs.optimizer.get_config().get("learning_rate"):
            object.__setattr__(mine.optimizer, "learning_rate", rate)
    mine.network.generators = theirs.network.generators


def _objects(model: Model) -> Iterator[tuple[str, Configurable]]:
    for i, layer in enumerate(model.network.children):
        yield f"layers/{i}", layer
    for thing in (model.optimizer, model.loss, *model.metrics):
        if thing is not None:
            yield "", thing


def _take_arguments(mine: Configurable, theirs: Configurable) -> None:
    """Set the arguments that have been set, here or there, since the constructors were called."""
    here, there = vars(mine), vars(theirs)
    for name, value in theirs._config.items():
        changed = any(
            name in d.get("_given", {}) and d["_given"][name] is not d["_config"][name] for d in (here, there)
        )
        if changed and name in mine._config and mine._config[name] is not value:
            setattr(mine, name, value)
