"""A model from a file: refused with all that is wrong before anything is made of it, and then made as it was.

What a file says is data. Classes are looked up by name among the library's own and those that the caller passes.
"""

from __future__ import annotations

import difflib  # noqa: F401 - errors guess names with it, and nothing is to be imported once a file is open
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.random  # which is imported where it is used first, too

from minidense.core.arguments import Configurable, checked, shown
from minidense.core.errors import CorruptFileError, Problems
from minidense.core.rng import Streams
from minidense.core.types import Array, Shape
from minidense.files.archive import Archive
from minidense.files.codec import Decoder, Encoder, unknown_names
from minidense.files.objects import put_back
from minidense.files.saving import FORMAT, LIBRARY, Parts, shapes
from minidense.layers import Layer
from minidense.layers.parameters import Declaration
from minidense.losses import Loss
from minidense.metrics import Metric
from minidense.optimizers import Optimizer
from minidense.training.history import History

T = TypeVar("T")


@contextmanager
def open_file(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None, resuming: bool = False
) -> Iterator[SavedModel]:
    """The verified file, open. Raises CorruptFileError, ValueError for a newer layout, and OSError."""
    with Archive(path) as archive:
        yield SavedModel(archive, custom_objects, resuming)


class SavedModel:
    """An open, verified file and what is in it."""

    def __init__(self, archive: Archive, custom_objects: Mapping[str, Any] | None, resuming: bool) -> None:
        self.archive, self.resuming = archive, resuming
        self.custom = {} if custom_objects is None else custom_objects
        if not isinstance(self.custom, Mapping):
            raise TypeError(f"custom_objects: expected a dict from name to class, got {custom_objects!r}.")
        manifest = archive.manifest
        version = manifest.get("format")
        if type(version) is int and version > FORMAT:
            raise ValueError(
                f"{archive.path}: written by minidense {manifest.get('library')} in the layout {version}; this one "
                f"knows layouts up to {FORMAT}. Install a newer minidense."
            )
        if version != FORMAT or manifest.keys() != {"format", "library", "model", "training", "arrays"}:
            raise CorruptFileError(f"{archive.path}: its manifest is not one of minidense's.")
        self.training = manifest["training"]
        self._unused = set(archive.entries)
        if manifest["model"] is None and not all(map(_is_weight, archive.entries)):
            raise CorruptFileError(f"{archive.path}: it has weights, and arrays that are none.")
        self._decoder = Decoder(self._read, LIBRARY, self.custom)

    def parts(self) -> Parts:
        """The model's parts, layers not being built yet. Raises ValueError for what cannot be made, all at once."""
        path, model = self.archive.path, self.archive.manifest["model"]
        if model is None:
            raise ValueError(f"{path} has weights only: make the model, and call model.load_weights({path!r}).")
        self._check_names(model)
        problems = Problems()
        with self.archive.damage_named():
            expected = ["name", "dtype", "input_shape", "layers", "streams", "optimizer", "loss", "metrics", "history"]
            if list(checked(model, dict, "the model")) != expected:
                raise ValueError("its description of the model has other parts")
            streams = self._streams(checked(model["streams"], dict, "the streams"))
            history = self._history(model["history"])
            name, dtype = model["name"], model["dtype"]
            if dtype not in ("float32", "float64") or not isinstance(name, str | None):
                raise ValueError("its description of the model has an impossible dtype or name")
            input_shape = _shape(model["input_shape"])
            described = checked(model["layers"], list, "layers"), checked(model["metrics"], list, "metrics")

        def made(data: Any, kind: type[Configurable], where: str) -> Any:
            return problems.noted(lambda: self._decoder.object(data, kind, kind is Layer), f"{where}: ") or (None, {})

        layers = [made(data, Layer, f"layers/{i}") for i, data in enumerate(described[0])]
        self._attributes = [attributes for _, attributes in layers]
        parts = Parts(
            name,
            np.dtype(dtype),
            input_shape,
            [layer for layer, _ in layers],
            streams,
            None if model["optimizer"] is None else made(model["optimizer"], Optimizer, "optimizer")[0],
            None if model["loss"] is None else made(model["loss"], Loss, "loss")[0],
            [made(data, Metric, f"metrics/{i}")[0] for i, data in enumerate(described[1])],
            history,
        )
        problems.found += [
            f"layers/{i}: {layer!r} stands for several layers"
            for i, layer in enumerate(parts.layers)
            if layer is not None and layer.expand() != [layer]
        ]
        if (model["optimizer"] is None) != (model["loss"] is None):
            problems.found.append("it has one of optimizer and loss, and not the other")
        problems.raise_if_any(f"{path} cannot be loaded")
        return parts

    def put_back_attributes(self, of: Sequence[Layer]) -> None:
        """Give the layers, which building has given some attributes, those that they had."""
        for layer, attributes in zip(of, self._attributes, strict=True):
            put_back(layer, attributes)

    def making(self, make: Callable[[SavedModel], T]) -> T:
        """What ``make`` makes of the file; ValueError for whatever goes wrong in it."""
        try:
            return make(self)
        except (OSError, MemoryError, ValueError):
            raise
        except Exception as error:  # from a constructor or a build of the user's, or by way of a forged file
            raise ValueError(f"{self.archive.path} cannot be loaded: {error!r}") from error

    def check_shapes(self, of: Sequence[Layer]) -> None:
        """ValueError, naming all of them, where the layers declare other arrays than the file has."""
        declared = {f"layers/{i}/{name}": shape for i, layer in enumerate(of) for name, shape in shapes(layer).items()}
        found = {name: entry.shape for name, entry in self.archive.entries.items() if _is_weight(name)}
        problems = Problems()
        problems.found += [f"{name} is missing in the file" for name in declared if name not in found]
        problems.found += [f"{name} is not in the model" for name in found if name not in declared]
        for name in declared:
            if name in found and found[name] != declared[name]:
                i = int(name.split("/")[1])
                problems.found.append(
                    f"{name} has shape {found[name]} in the file, and {declared[name]} in {of[i].where}"
                )
        problems.raise_if_any(f"{self.archive.path} does not fit the model")

    def check_dtype(self, of: Sequence[Layer]) -> None:
        """ValueError where parameters are not of the layers' dtype."""
        for i, layer in enumerate(of):
            for name in shapes(layer):
                found = self.archive.entries[f"layers/{i}/{name}"].dtype
                if found != layer.dtype.newbyteorder("<").str:
                    raise ValueError(f"{self.archive.path}: layers/{i}/{name} is of dtype {found}, not {layer.dtype}.")

    def read_weight(self, name: str) -> Array:
        """A parameter or a state, which is of floating numbers. ValueError otherwise."""
        array = self.archive.read(name)
        if array.dtype.kind != "f":
            raise ValueError(f"{self.archive.path}: {name} is of dtype {array.dtype}, not of floating numbers.")
        return array

    def fill(self, index: int, declaration: Declaration, view: Array) -> None:
        """Write a parameter into its place."""
        name = f"layers/{index}/{declaration.name}"
        self._use(name)
        self.archive.read_into(name, view)

    def read_states(self, of: Sequence[Layer]) -> None:
        """Write the layers' states into their places."""
        for i, layer in enumerate(of):
            for name, array in layer.states.items():
                array[...] = self._read(f"layers/{i}/{name}")

    def check_all_used(self) -> None:
        """CorruptFileError where there are arrays that nothing in the model asks for."""
        if left := sorted(name for name in self._unused if not name.startswith("training/")):
            raise CorruptFileError(f"{self.archive.path}: it has arrays that belong to nothing: {left[:5]}.")

    def run(self) -> dict[str, Any]:
        """Where the training run stood. Raises ValueError where the file has none."""
        if self.training is None:
            raise ValueError(
                f"{self.archive.path} has a model, and no training run to resume: it was written by model.save. "
                f"Load it with md.load_model, and fit it on; or save runs with md.callbacks.ModelCheckpoint."
            )
        self._check_names(self.training)
        with self.archive.damage_named():
            run: dict[str, Any] = checked(self._decoder.value(self.training), dict, "the training run")
        return run

    def _check_names(self, data: Any) -> None:
        strange, missing = unknown_names(data, LIBRARY, self.custom)
        problems = Problems()
        problems.found += [f"the library has no {name!r}" for name in sorted(strange)]
        if missing:
            wanted = ", ".join(f"{name!r}: {name}" for name in sorted(missing))
            problems.found.append(
                f"it has {', '.join(sorted(missing))}, which are not in this model and its callbacks"
                if self.resuming
                else f"it needs your own classes or functions; pass custom_objects={{{wanted}}}"
            )
        problems.raise_if_any(f"{self.archive.path} cannot be loaded")

    def _read(self, name: str) -> Array:
        self._use(name)
        return self.archive.read(name)

    def _use(self, name: str) -> None:
        if name not in self._unused:
            raise CorruptFileError(f"{self.archive.path}: the array {shown(name)} is missing, or referred to twice.")
        self._unused.remove(name)

    def _streams(self, data: dict[str, Any]) -> Streams:
        if list(data) != list(Streams._fields):
            raise ValueError("its random streams are others")
        streams = Streams(**{name: self._decoder.value(stream) for name, stream in data.items()})
        kinds = np.random.SeedSequence, np.random.Generator, np.random.SeedSequence
        if not all(isinstance(stream, kind) for stream, kind in zip(streams, kinds, strict=True)):
            raise ValueError("its random streams are others")
        return streams

    def _history(self, data: Any) -> History | None:
        if data is None:
            return None
        if list(checked(data, dict, "the history")) != ["history", "epoch", "params"]:
            raise ValueError("its history has other parts")
        history = History()
        for name, kind in (("history", dict), ("epoch", list), ("params", dict)):
            setattr(history, name, checked(self._decoder.value(data[name]), kind, "the history"))
        if not history.is_table():
            raise ValueError("its history has columns of unequal length")
        return history


def _is_weight(name: str) -> bool:
    return name.startswith("layers/") and name.count("/") == 2


def _shape(data: Any) -> Shape | None:
    if data is None:
        return None
    axes = checked(data, list, "the input's shape")
    if not 0 < len(axes) <= 32 or not all(type(size) is int and 0 < size < 2**31 for size in axes):
        raise ValueError("its input's shape is none")
    return tuple(data)


def differences(mine: Parts, theirs: Parts) -> list[str]:
    """How a model differs from the one in a file, apart from what training changes."""
    found = []
    alike = Encoder(LIBRARY, states=False).alike

    def compare(what: str, a: Any, b: Any) -> None:
        same = type(a) is type(b) and (alike(a.get_config(), b.get_config()) if isinstance(a, Configurable) else a == b)
        if not same:
            found.append(f"{what} is {b!r} in the file, and {a!r} here")

    compare("the dtype", mine.dtype, theirs.dtype)
    compare("the number of layers", len(mine.layers), len(theirs.layers))
    compare("the input's shape", mine.input_shape, theirs.input_shape)
    if len(mine.layers) == len(theirs.layers):
        for i, (a, b) in enumerate(zip(mine.layers, theirs.layers, strict=True)):
            compare(f"layer {i}", a, b)
            compare(f"trainable of layer {i}", a.trainable, b.trainable)
    compare("the optimizer", mine.optimizer, theirs.optimizer)
    compare("the loss", mine.loss, theirs.loss)
    compare("the number of metrics", len(mine.metrics), len(theirs.metrics))
    for one, other in zip(mine.metrics, theirs.metrics, strict=False):
        compare("a metric", one, other)
    return found


def take_over(mine: Parts, theirs: Parts) -> None:
    """Make the objects of ``mine``, which are alike, what those of ``theirs`` are; the streams are the caller's."""
    for a, b in zip(mine.layers, theirs.layers, strict=True):
        for name, array in (b.values | b.states).items():
            (a.values | a.states)[name][...] = array
    for one, other in zip(_objects(mine), _objects(theirs), strict=True):
        put_back(one, other.attributes())


def _objects(parts: Parts) -> list[Configurable]:
    others = [thing for thing in (parts.optimizer, parts.loss) if thing is not None]
    return [*parts.layers, *parts.metrics, *others]
