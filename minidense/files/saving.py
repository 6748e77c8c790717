"""A model as a manifest and arrays: all that using it takes, and all that training it on takes."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidense import layers, losses, metrics, optimizers, schedules
from minidense.core.arguments import Configurable
from minidense.core.errors import Problems
from minidense.core.rng import Streams
from minidense.core.types import Array, Shape
from minidense.core.version import __version__
from minidense.files.archive import write_archive
from minidense.files.codec import Encoder
from minidense.files.objects import put_back, remade
from minidense.layers import Layer, initializers
from minidense.layers.parameters import Declaration
from minidense.losses import Loss
from minidense.metrics import Metric
from minidense.optimizers import Optimizer
from minidense.training.history import History

FORMAT = 1
"""The version of the file's layout. A library reads all layouts up to its own."""

_BASES = [
    "Configurable",
    "Layer",
    "Activation",
    "Loss",
    "RowLoss",
    "TargetLoss",
    "Optimizer",
    "Metric",
    "MeanMetric",
    "Schedule",
]
LIBRARY: dict[str, Any] = {
    name: thing
    for module in (layers, losses, optimizers, metrics, schedules)
    for name, thing in vars(module).items()
    if isinstance(thing, type) and issubclass(thing, Configurable)
    if name not in _BASES and not name.startswith("_")
} | initializers.INITIALIZERS
"""What a file can name without the caller's help: the library's own classes and functions, and nothing else."""


@dataclass
class Parts:
    """What a model consists of."""

    name: str | None
    dtype: np.dtype[Any]
    input_shape: Shape | None
    """None for a model that is not built."""
    layers: Sequence[Layer]
    streams: Streams
    optimizer: Optimizer | None
    loss: Loss | None
    metrics: list[Metric]
    history: History | None


def write(path: str | os.PathLike[str], parts: Parts, training: dict[str, Any] | None = None) -> None:
    """Save a model; training: where a training run stands, for a checkpoint.

    Raises ValueError, naming all of it, for what could not be loaded again, and OSError.
    """
    write_archive(path, *encoded(parts, training))


def write_weights(path: str | os.PathLike[str], parts: Parts) -> None:
    """Save the parameters and the layers' states, and nothing else."""
    write_archive(path, _manifest(None, None), weights(parts.layers))


def weights(of: Sequence[Layer]) -> dict[str, Array]:
    """The parameters and states by their names in a file."""
    arrays: dict[str, Array] = {}
    for i, layer in enumerate(of):
        arrays |= {f"layers/{i}/{name}": array for name, array in (layer.values | layer.states).items()}
    return arrays


def encoded(parts: Parts, training: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
    """The manifest and the arrays of a model. Raises ValueError for what could not be loaded again."""
    return _encoded(parts, training, Encoder(LIBRARY))


def custom_objects(parts: Parts, attributes: Iterable[Any]) -> dict[str, Any]:
    """What of a model, and among the attributes of callbacks, is not the library's, by its name in a file."""
    encoder = Encoder(LIBRARY)
    _encoded(parts, None, encoder)
    for value in attributes:
        with suppress(TypeError, ValueError):
            encoder.value(value, "")
    return encoder.custom


def _encoded(
    parts: Parts, training: dict[str, Any] | None, encoder: Encoder
) -> tuple[dict[str, Any], dict[str, Array]]:
    problems = Problems()
    built = parts.input_shape is not None

    def described(thing: Configurable | None, where: str) -> Any:
        return None if thing is None else problems.noted(lambda: encoder.object(thing, where))

    def valued(value: Any, where: str) -> Any:
        return problems.noted(lambda: encoder.value(value, where))

    description = {
        "name": parts.name,
        "dtype": parts.dtype.name,
        "input_shape": None if parts.input_shape is None else list(parts.input_shape),
        "layers": [
            problems.noted(functools.partial(_layer, encoder, layer, i, built)) for i, layer in enumerate(parts.layers)
        ],
        "streams": {name: valued(stream, f"streams/{name}") for name, stream in parts.streams._asdict().items()},
        "optimizer": described(parts.optimizer, "optimizer"),
        "loss": described(parts.loss, "loss"),
        "metrics": [described(metric, f"metrics/{i}") for i, metric in enumerate(parts.metrics)],
        "history": None if parts.history is None else problems.noted(lambda: _history(encoder, parts.history)),
    }
    if parts.optimizer is not None:
        problems.noted(functools.partial(check_vectors, parts.optimizer, parts.layers, parts.dtype))
    run = valued(training, "training")
    problems.raise_if_any("the model cannot be saved")
    arrays = weights(parts.layers) if built else {}
    return _manifest(description, run), arrays | encoder.arrays


def _manifest(model: Any, training: Any) -> dict[str, Any]:
    return {"format": FORMAT, "library": __version__, "model": model, "training": training}


def _layer(encoder: Encoder, layer: Layer, index: int, built: bool) -> dict[str, Any]:
    where = f"layers/{index}"
    fresh: Layer = remade(layer, where)
    if fresh.expand()[0] is not fresh:
        raise ValueError(f"{where}: {layer!r} cannot be saved: made anew, it is other layers.")
    if built:
        changed = encoder.changes(layer, fresh)
        if changed:
            Encoder(LIBRARY).object(layer, where, changed)  # which says what cannot be saved
            put_back(fresh, copy.deepcopy(changed))  # which building it may depend on
        fresh.note(dtype=layer.dtype)
        fresh.declare(layer.input_shape or ())
        if shapes(fresh) != shapes(layer):
            raise ValueError(f"{where}: {layer!r} cannot be saved: made anew, it has {shapes(fresh)}.")
        return encoder.object(layer, where, changed | encoder.changes(layer, fresh))
    if layer.values:
        raise ValueError(f"{where}: {layer!r} brought its values along as a copy; call model.build(input_shape) first.")
    return encoder.object(layer, where)


def check_vectors(optimizer: Optimizer, of: Sequence[Layer], dtype: np.dtype[Any]) -> None:
    """ValueError where what one of the library's optimizers keeps is not vectors as long as the parameters."""
    shape = (sum(layer.count_params for layer in of),)
    for name, vector in optimizer.state.items() if type(optimizer) in LIBRARY.values() else ():
        if not isinstance(vector, np.ndarray) or vector.shape != shape or vector.dtype != dtype:
            raise ValueError(f"optimizer: {name!r} is no vector as long as the model's parameters, {shape} {dtype}.")


def _history(encoder: Encoder, history: History | None) -> Any:
    if history is None or not history.is_table():
        raise ValueError(
            "history: its columns are to be lists of numbers, as many as epochs, and it is to have nothing else."
        )
    return encoder.value(vars(history), "history")


def shapes(layer: Layer) -> dict[str, Shape]:
    """The arrays that a layer declares."""
    declared: list[Declaration] = [*layer.declarations, *layer.declared_states]
    return {d.name: d.shape for d in declared}
