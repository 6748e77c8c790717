"""Keras' module of that name: models, loaded, cloned and made of JSON."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minidense.core.instead import module_attribute
from minidense.layers.base import Layer, walk
from minidense.model import Sequential, load_model

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """The untrained model that ``model.to_json()`` describes.

    >>> import minidense as md
    >>> model_from_json(md.Sequential([md.Dense(3)]).to_json())
    <Sequential [Dense(3)], not built, float32>
    """
    return Sequential.from_config(json.loads(text), custom_objects)


def save_model(model: Sequential, filepath: str | os.PathLike[str]) -> None:
    """``model.save(filepath)``."""
    model.save(filepath)


def clone_model(model: Sequential) -> Sequential:
    """A new, untrained model of the same layers, with new initial values; not compiled.

    >>> import minidense as md
    >>> clone_model(md.Sequential([md.Dense(3)]).build(4))
    <Sequential [Dense(3)], 15 parameters, float32>
    """
    layers = [copy.deepcopy(layer) for layer in model.layers]
    for layer in layers:
        for part in walk(layer if isinstance(layer, Layer) else layer.network):
            part._record.values = {}
            part.__dict__.pop("rng", None)
    twin = type(model)(layers, dtype=model.dtype.name, name=model.name)
    return twin.build(model.input_shape) if model.input_shape is not None else twin


if not TYPE_CHECKING:
    __getattr__ = module_attribute("models")
