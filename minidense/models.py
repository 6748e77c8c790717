"""Keras' module of that name: models, loaded, cloned and made of JSON."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minidense.core.arguments import flag, known_keywords
from minidense.core.errors import CorruptFileError
from minidense.core.instead import module_attribute
from minidense.core.interrupts import guarded
from minidense.layers.base import Layer, walk
from minidense.model import Sequential

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


@guarded
@known_keywords
def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load the model that ``save`` or a checkpoint has written to ``path``, ready to predict and train.

    It is a Sequential, or the TableClassifier or TableRegressor whose ``save`` wrote it.

    custom_objects: your own layers, losses, metrics, ... by the names of their classes, ``{"Scale": Scale}``. A file
    contains data only: it can name the library's classes and those passed here, and nothing in it is ever run, imported
    or opened: loading is always safe, and safe_mode, as in Keras, may be True only. compile: False for the layers and
    their parameters without optimizer, loss and metrics, whose classes need not be passed.
    Raises CorruptFileError for a damaged or foreign file, ValueError with all that cannot be loaded from it, and
    OSError.

    >>> import tempfile
    >>> import minidense as md
    >>> model = md.Sequential([md.Dense(3), md.Softmax()], rng=0).build(4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.npz")
    ...     loaded = md.load_model(f"{folder}/model.npz")
    >>> bool((loaded.theta == model.theta).all())
    True
    """
    from minidense.files import model_file
    from minidense.tables import estimators  # now: nothing is to be imported once a file is open

    if not flag("safe_mode", safe_mode):
        raise ValueError("safe_mode: a file contains data only, and nothing in it is run: leave it out.")
    model, table = model_file.read_model(path, custom_objects, Sequential, flag("compile", compile))
    if table is None:
        return model
    try:
        return estimators.restored(table, model)
    except (TypeError, ValueError) as error:
        raise CorruptFileError(f"{os.fsdecode(path)}: {error}") from None


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """The untrained model that ``model.to_json()`` describes.

    >>> import minidense as md
    >>> model_from_json(md.Sequential([md.Dense(3)]).to_json())
    <Sequential [Dense(3)], not built, float32>
    """
    import json  # here, as ``import minidense`` imports this file

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
