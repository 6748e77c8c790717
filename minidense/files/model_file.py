"""A model in a file: its parts are listed once, and each entry says how that part is written and how it is read.

What is in a file is what a part says: of a layer its arguments, parameters, buffers and ``trainable``; of an optimizer
also its iterations, learning rate and vectors. Reading refuses a file with all that is wrong before it makes a model.
"""

from __future__ import annotations

import difflib  # noqa: F401 - errors guess names with it, and nothing is to be imported once a file is open
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.random  # which is imported where it is used first, too

from minidense.core.arguments import checked, path_to_write, shown
from minidense.core.configurable import load_state_dict, state_dict
from minidense.core.errors import CorruptFileError, Problems, warn
from minidense.core.rng import Generators
from minidense.core.types import Array, Shape
from minidense.core.version import __version__
from minidense.data.names import Names
from minidense.files.archive import Archive, read_archive, write_archive
from minidense.files.behaviour import check_own
from minidense.files.codec import Decoder, Encoder, network_of, unknown_names
from minidense.layers.base import Layer, walk
from minidense.losses import Loss
from minidense.metrics import Metric
from minidense.network import Network
from minidense.numerics.blas import one_thread
from minidense.optimizers import Optimizer
from minidense.training.history import History

FORMAT = 2
"""The version of the file's layout."""

_TRAINING, _TABLE = "values/training/", "values/table/"  # how the arrays of a training run and of a table begin
_NOT_COMPILED: dict[str, Any] = {"optimizer": None, "loss": None, "metrics": [], "weighted_metrics": []}
"""What ``compile`` sets, in a model that it has not been called of."""
_MOST_NAMES = 20


class Model(Protocol):
    """What a file needs of the facade."""

    network: Network
    name: str | None
    optimizer: Optimizer | None
    loss: Loss | None
    metrics: list[Metric]
    weighted_metrics: list[Metric]
    history: History | None
    _names: Names


# ---------------------------------------------------------------------- writing and checking


def write_model(
    path: str | os.PathLike[str],
    model: Model,
    training: dict[str, Any] | None = None,
    table: dict[str, Any] | None = None,
) -> None:
    """Save a model; training: where a training run stands, as plain values and arrays, for a checkpoint.

    table: the parts of an estimator of tables that the model belongs to, as values and objects of the library.
    Raises ValueError, naming all of it, for what could not be loaded again, and OSError.
    """
    path = path_to_write("path", path)
    write_archive(path, *encoded(model, training, table))


def write_weights(path: str | os.PathLike[str], model: Model) -> None:
    """Save the parameters and buffers, and nothing else."""
    write_archive(path_to_write("path", path), _manifest(None, None), model.network.named_arrays())


def check_savable(model: Model, training: dict[str, Any] | None = None) -> None:
    """Raise ValueError, naming all of it, for what could not be loaded again.

    The model may be built, declared or new.
    """
    encoded(model, training)


def custom_of(model: Model) -> dict[str, Any]:
    """What of a model is not the library's own, by its name in a file."""
    encoder = Encoder(model.network)
    _written(model, encoder)
    return encoder.custom


def encoded(
    model: Model, training: dict[str, Any] | None = None, table: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The manifest and the arrays of a model. Raises ValueError for what could not be loaded again."""
    archive, encoder = _in_memory(model, training, table)
    if not encoder.problems.found and any(isinstance(thing, type) for thing in encoder.custom.values()):

        def made_anew(twin: Model) -> Any:
            written, coder = _in_memory(twin)
            read_back = written._replace(manifest=json.loads(json.dumps(written.manifest)))
            return _made_of(read_back, coder.custom, type(twin))[0]

        with one_thread():  # which others would change between the outputs that are compared
            check_own(model, made_anew, encoder.problems)
    encoder.problems.raise_if_any("the model cannot be saved")
    return archive.manifest, archive.arrays


def _in_memory(
    model: Model, training: dict[str, Any] | None = None, table: dict[str, Any] | None = None
) -> tuple[Archive, Encoder]:
    """What a file would hold, as a file would give it; the encoder has all that is wrong."""
    network, encoder = model.network, Encoder(model.network)
    description = _written(model, encoder)
    run = encoder.problems.noted(lambda: encoder.value(training, "training"))
    more = {} if table is None else {"table": encoder.problems.noted(lambda: encoder.value(table, "table"))}
    vectors = {} if model.optimizer is None else {f"optimizer/{k}": v for k, v in model.optimizer.state.items()}
    weights = network.named_arrays() if network.built else {}
    arrays = weights | vectors | encoder.arrays
    return Archive("the model made anew", _manifest(description, run) | more, arrays), encoder


def _written(model: Model, encoder: Encoder) -> dict[str, Any]:
    return {name: encoder.problems.noted(partial(write, model, encoder)) for name, (write, _) in _PARTS.items()}


def _manifest(model: Any, training: Any) -> dict[str, Any]:
    return {"format": FORMAT, "library": __version__, "model": model, "training": training}


# ---------------------------------------------------------------------- the parts


def _write_layers(model: Model, encoder: Encoder) -> list[Any]:
    layers = enumerate(model.network.children)
    return [encoder.problems.noted(partial(encoder.value, each, f"layers/{i}", chained=True)) for i, each in layers]


def _read_layers(data: Any, decoder: Decoder) -> list[Any]:
    items = [(item, f"layers/{i}") for i, item in enumerate(checked(data, list, "layers"))]
    return [decoder.problems.noted(partial(decoder.layer, item, where), f"{where}: ") for item, where in items]


def _read_shape(data: Any, decoder: Decoder) -> Shape | None:
    if data is None:
        return None
    axes = checked(data, list, "the input's shape")
    if not 0 < len(axes) <= 32 or not all(type(size) is int and 0 < size < 2**31 for size in axes):
        raise ValueError("its input's shape is none")
    return tuple(axes)


def _by_name(network: Network, places: Mapping[str, Any]) -> dict[str, Layer]:
    """The layers by name; before the model is built, those that are arguments, by their places."""
    if network.built:
        return {network.name_of(layer): layer for layer in walk(network) if layer is not network}
    return {name: network_of(layer) for name, layer in places.items()}


def _write_frozen(model: Model, encoder: Encoder) -> list[str]:
    return [name for name, layer in _by_name(model.network, encoder.layers).items() if not layer.trainable]


_GENERATORS = {"initial": np.random.SeedSequence, "shuffle": np.random.Generator, "noise": np.random.SeedSequence}


def _write_generators(model: Model, encoder: Encoder) -> dict[str, Any]:
    layers = _by_name(model.network, encoder.layers).items()
    found = {name: getattr(model.network.generators, name) for name in _GENERATORS}
    found |= {name: layer.rng for name, layer in layers if layer.draws and "rng" in vars(layer)}
    return {name: encoder.value(generator, f"generators/{name}") for name, generator in found.items()}


def _read_generators(data: Any, decoder: Decoder) -> tuple[Generators, dict[str, np.random.Generator]]:
    if not checked(data, dict, "generators").keys() >= _GENERATORS.keys():
        raise ValueError("its random generators are others")
    kinds = {**dict.fromkeys(data, np.random.Generator), **_GENERATORS}
    found = {name: decoder.object(data[name], kind, f"generators/{name}") for name, kind in kinds.items()}
    return Generators(**{name: found.pop(name) for name in _GENERATORS}), found


def _write_thing(thing: Any, encoder: Encoder, where: str, **more: Any) -> dict[str, Any]:
    """An optimizer or a loss: its arguments, and the attributes that it names in ``saved``."""
    saved = encoder.value(state_dict(thing), f"{where}/saved")
    return {"object": encoder.value(thing, where), "saved": saved, **more}


def _read_thing(data: Any, kind: type, decoder: Decoder, where: str, *more: str) -> Any:
    if checked(data, dict, where).keys() != {"object", "saved", *more}:
        raise ValueError(f"its {where} has other parts")
    thing = decoder.object(data["object"], kind, where)
    load_state_dict(thing, decoder.object(data["saved"], dict, f"{where}/saved"))
    return thing


def _write_loss(model: Model, encoder: Encoder) -> dict[str, Any] | None:
    return None if model.loss is None else _write_thing(model.loss, encoder, "loss")


def _read_loss(data: Any, decoder: Decoder) -> Loss | None:
    return None if data is None else _read_thing(data, Loss, decoder, "loss")


def _write_optimizer(model: Model, encoder: Encoder) -> dict[str, Any] | None:
    optimizer = model.optimizer
    if optimizer is None:
        return None
    for name, vector in optimizer.state.items():
        if not _is_like_theta(vector, model.network):
            raise ValueError(
                f"optimizer: state[{name!r}] is no vector as long as the model's parameters, of their dtype; keep what "
                f"else lasts in an attribute that the class names in `saved`."
            )
    rate = optimizer.learning_rate
    by_argument = callable(rate) and rate is optimizer.get_config().get("learning_rate")
    more = {"learning_rate": None if by_argument else encoder.value(rate, "optimizer/rate")}
    counts = {"iterations": int(optimizer.iterations), "state": list(optimizer.state)}
    return _write_thing(optimizer, encoder, "optimizer", **counts, **more)


def _read_optimizer(data: Any, decoder: Decoder) -> Optimizer | None:
    if data is None:
        return None
    parts = "iterations", "learning_rate", "state"
    optimizer: Optimizer = _read_thing(data, Optimizer, decoder, "optimizer", *parts)
    iterations, rate, state = (data[part] for part in parts)
    if rate is not None:
        value = decoder.value(rate, "optimizer/rate")
        object.__setattr__(optimizer, "learning_rate", value)
        if optimizer._of_library and not callable(value) and type(value) is not float:
            raise ValueError(f"a learning rate is written as a float, not as {shown(rate)}")
    if type(iterations) is not int or not 0 <= iterations < 2**63:
        raise ValueError(f"there is no optimizer of {shown(iterations)} iterations")
    optimizer.iterations = iterations
    for name in checked(state, list, "the optimizer's state"):
        if optimizer._of_library and name not in (*optimizer.vectors, "average"):
            raise ValueError(f"{optimizer!r} has no vector {shown(name)}")
        optimizer.state[checked(name, str, "a name")] = np.array(decoder.array(f"optimizer/{name}"))
    return optimizer


def _is_like_theta(vector: Any, network: Network) -> bool:
    of_theta = (network.theta.shape, network.theta.dtype) if network.built else None
    return isinstance(vector, np.ndarray) and (vector.shape, vector.dtype) == of_theta


def _write_metrics(model: Model, encoder: Encoder, part: str) -> list[Any]:
    metrics = enumerate(getattr(model, part))
    return [{"object": encoder.value(metric, f"{part}/{i}"), "name": str(metric.name)} for i, metric in metrics]


def _read_metrics(data: Any, decoder: Decoder, part: str) -> list[Metric]:
    found = []
    for i, item in enumerate(checked(data, list, part)):
        if checked(item, dict, "a metric").keys() != {"object", "name"}:
            raise ValueError(f"its {part} have other parts")
        metric: Metric = decoder.object(item["object"], Metric, f"{part}/{i}")
        if metric.name != checked(item["name"], str, "a metric's name"):
            metric.name = item["name"]  # it was set after the metric was made
        found.append(metric)
    return found


def _write_history(model: Model, encoder: Encoder) -> Any:
    if model.history is not None and not model.history.is_table():
        raise ValueError(
            "history: its columns are to be lists of numbers, as many as epochs, and it is to have nothing else."
        )
    return None if model.history is None else encoder.value(vars(model.history), "history")


def _read_history(data: Any, decoder: Decoder) -> History | None:
    if data is None:
        return None
    kinds = {"history": dict, "epoch": list, "params": dict}
    values = decoder.object(data, dict, "history")
    if values.keys() != kinds.keys() or not all(isinstance(values[name], kind) for name, kind in kinds.items()):
        raise ValueError("its history has other parts")
    history = History()
    vars(history).update(values)
    if not history.is_table():
        raise ValueError("its history has columns of unequal length")
    return history


def _write_names(model: Model, encoder: Encoder) -> dict[str, Any]:
    names = model._names
    _check_names_fit(names, model.network, model.loss)
    listed = {"features": names.features, "classes": names.classes}
    return {what: None if each is None else list(each) for what, each in listed.items()} | {"numbered": names.numbered}


def _read_names(data: Any, decoder: Decoder) -> Names:
    if checked(data, dict, "names").keys() != {"features", "classes", "numbered"}:
        raise ValueError("its names have other parts")
    for what in ("features", "classes"):
        names = data[what]
        if names is not None:
            if not all(isinstance(name, str) for name in checked(names, list, f"the names of {what}")):
                raise ValueError(f"the names of {what} are not all strings")
            if len(set(names)) < len(names):
                raise ValueError(f"the names of {what} are not all different")
    if not isinstance(data["numbered"], bool) or (data["numbered"] and data["classes"] is not None):
        raise ValueError("its classes are neither names nor numbers")
    features, classes = (None if data[what] is None else tuple(data[what]) for what in ("features", "classes"))
    return Names(features, classes, data["numbered"])


def _as_it_is(data: Any, decoder: Decoder) -> Any:
    return data  # it is checked where the model is made


_PARTS: dict[str, tuple[Callable[[Model, Encoder], Any], Callable[[Any, Decoder], Any]]] = {
    "name": (lambda model, _: model.name, _as_it_is),
    "dtype": (lambda model, _: model.network._record.dtype.name, _as_it_is),
    "input_shape": (lambda m, _: list(m.network._record.input_shape or ()) if m.network.built else None, _read_shape),
    "layers": (_write_layers, _read_layers),
    "frozen": (_write_frozen, _as_it_is),
    "generators": (_write_generators, _read_generators),
    "optimizer": (_write_optimizer, _read_optimizer),
    "loss": (_write_loss, _read_loss),
    "metrics": (partial(_write_metrics, part="metrics"), partial(_read_metrics, part="metrics")),
    "weighted_metrics": (
        partial(_write_metrics, part="weighted_metrics"),
        partial(_read_metrics, part="weighted_metrics"),
    ),
    "history": (_write_history, _read_history),
    "names": (_write_names, _read_names),
}
"""All that a model is, but for its parameters and buffers, which the network names: how it is written, and read.

Either raises ValueError or TypeError.
"""


# ---------------------------------------------------------------------- reading


def read_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None,
    make: Callable[..., Any],
    compiled: bool = True,
) -> tuple[Any, Any]:
    """The model in a file, made by ``make(layers, dtype=..., name=...)``, and its table, None if it has none.

    compiled: False for a model as if it had never been. Raises CorruptFileError, ValueError with all that cannot be
    made, and OSError.
    """
    if not isinstance(custom_objects, Mapping | None):
        raise TypeError(f"custom_objects: expected a dict from name to class, got {custom_objects!r}.")
    return read_file(path, custom_objects or {}, make, compiled=compiled)


def read_file(
    path: str | os.PathLike[str],
    custom: Mapping[str, Any],
    make: Callable[..., Any],
    resuming: bool = False,
    compiled: bool = True,
) -> tuple[Any, Any]:
    """The model in a file and its table or, for ``resuming``, where its training run stood, if it has one."""
    archive = _opened(path)
    if not compiled:
        archive = _without_compile(archive)
    more = "training" if resuming else "table"
    for part in ("model", more) if more in archive.manifest else ("model",):
        _check_names(archive, part, custom, resuming)
    model, decoder = _made_of(archive, custom, make)
    with _file_named(archive.path):
        state = decoder.problems.noted(lambda: decoder.value(archive.manifest.get(more), more))
        decoder.problems.raise_if_any(f"{archive.path} cannot be loaded")
    return model, state


def _without_compile(archive: Archive) -> Archive:
    """The file of the same model before it was compiled; what a forged file says is left to the other checks."""
    said = archive.manifest["model"]
    if not isinstance(said, dict):
        return archive
    said = {name: _NOT_COMPILED.get(name, part) for name, part in said.items()}
    of_compile = ("optimizer/", *(f"values/{part}" for part in _NOT_COMPILED))
    arrays = {name: array for name, array in archive.arrays.items() if not name.startswith(of_compile)}
    return archive._replace(manifest={**archive.manifest, "model": said}, arrays=arrays)


def _opened(path: str | os.PathLike[str]) -> Archive:
    """A verified file of this layout. ValueError for one of another."""
    archive = read_archive(path)
    version, written = archive.manifest.get("format"), f"written by minidense {shown(archive.manifest.get('library'))}"
    if type(version) is int and version > FORMAT:
        raise ValueError(
            f"{archive.path}: {written} in the layout {version}; this one knows the layout {FORMAT}. Install a newer "
            f"minidense."
        )
    if version != FORMAT or archive.manifest.keys() - {"table"} != _manifest(None, None).keys():
        raise CorruptFileError(f"{archive.path}: its manifest is not one of minidense's.")
    if archive.manifest["model"] is None and not all(map(_is_weight, archive.arrays)):
        raise CorruptFileError(f"{archive.path}: it has weights, and arrays that are none.")
    return archive


def _check_names(archive: Archive, part: str, custom: Mapping[str, Any], resuming: bool) -> None:
    """ValueError where the file names what is neither the library's nor in ``custom``."""
    strange, missing = unknown_names(archive.manifest[part], custom)
    problems = Problems()
    problems.found += [f"the library has no {name!r}" for name in strange]
    if missing:
        more = f", and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        names = missing[:_MOST_NAMES]
        wanted = ", ".join(f"{name!r}: {name}" for name in names)
        problems.found.append(
            f"it has {', '.join(names)}{more}, which are not in this model and its callbacks"
            if resuming
            else f"it needs your own classes or functions; pass custom_objects={{{wanted}{more}}}"
        )
    problems.raise_if_any(f"{archive.path} cannot be loaded")


def _made_of(archive: Archive, custom: Mapping[str, Any], make: Callable[..., Any]) -> tuple[Any, Decoder]:
    """The model that a file describes, and what read it. CorruptFileError, or ValueError with all that is wrong."""
    said, path = archive.manifest["model"], archive.path
    if said is None:
        raise ValueError(f"{path} has weights only: make the model, and call model.load_weights({path!r}).")
    if not isinstance(said, dict) or list(said) != list(_PARTS):
        raise CorruptFileError(f"{path}: its description of the model has other parts.")
    decoder = Decoder(archive.arrays, custom, make)
    problems = decoder.problems
    with _file_named(path):
        read = {name: problems.noted(partial(part, said[name], decoder)) for name, (_, part) in _PARTS.items()}
        problems.raise_if_any(f"{path} cannot be loaded")
        model = problems.noted(lambda: _made(read, decoder, make))
        problems.raise_if_any(f"{path} cannot be loaded")
        others = {_TRAINING: archive.manifest["training"], _TABLE: archive.manifest.get("table")}
        of_others = tuple(begin for begin, part in others.items() if part is not None)
        if left := sorted(name for name in decoder.unused if not name.startswith(of_others)):
            raise CorruptFileError(f"it has arrays that belong to nothing: {', '.join(left[:5])[:300]}.")
    return model, decoder


def _made(read: dict[str, Any], decoder: Decoder, make: Callable[..., Any]) -> Any:
    """The model of what was read."""
    model = make(read["layers"], dtype=read["dtype"], name=read["name"])
    network: Network = model.network
    network.generators, of_layers = read["generators"]
    if read["input_shape"] is not None:
        with network.building(read["input_shape"]):
            found = {name: decoder.array(name) for name in filter(_is_weight, list(decoder.unused))}
            problems = Problems()
            problems.found += dict(_misfits(network, found, exactly=True)).values()
            problems.raise_if_any("its arrays")
            network.allocate(values=found)
    layers, frozen = _by_name(network, decoder.layers), checked(read["frozen"], list, "frozen")
    drawing = {name for name, layer in layers.items() if layer.draws and (network.built or name in of_layers)}
    if not layers.keys() >= {*frozen} or len({*frozen}) < len(frozen) or drawing != of_layers.keys():
        raise ValueError("its frozen layers or random generators are those of other layers")
    for name, layer in layers.items():
        if layer.trainable == (name in frozen):
            layer.__dict__["trainable"] = name not in frozen
        if name in of_layers:
            layer.rng = of_layers[name]
    optimizer, loss = read["optimizer"], read["loss"]
    if (optimizer is None) != (loss is None):
        raise ValueError("it has one of optimizer and loss, and not the other")
    if optimizer is not None:
        for name, vector in optimizer.state.items():
            if not _is_like_theta(vector, network):
                raise ValueError(f"the optimizer's {shown(name)} is no vector as long as the model's parameters")
        model.compile(optimizer, loss, read["metrics"], weighted_metrics=read["weighted_metrics"])
    elif read["metrics"] or read["weighted_metrics"]:
        raise ValueError("it has metrics, and no loss")
    _check_names_fit(read["names"], network, loss)
    model.history, model._names = read["history"], read["names"]
    return model


def _check_names_fit(names: Names, network: Network, loss: Loss | None) -> None:
    """ValueError for names of other numbers than the inputs and outputs of the model."""
    inputs, outputs = (network._record.input_shape, network._record.output_shape) if network.built else (None, None)
    if names.features is not None and (len(names.features),) != inputs:
        raise ValueError(f"it has names of {len(names.features)} features for inputs of shape {inputs}")
    if names.classes is not None:
        n = len(names.classes)
        of_loss = loss.named_classes(outputs) if loss is not None and outputs is not None else 0
        if n != of_loss and (n,) != outputs and (n, outputs) != (2, (1,)):
            raise ValueError(f"it has names of {n} classes for outputs of shape {outputs}")


def read_weights(path: str | os.PathLike[str], model: Model, skip_mismatch: bool) -> dict[str, Array]:
    """The parameters and buffers of a file, in the dtype of a model that has the same names and shapes.

    skip_mismatch: leave out the layers of which an array does not fit, and warn. Raises ValueError with all that does
    not fit, CorruptFileError and OSError. Nothing has changed then.
    """
    archive, network, problems = _opened(path), model.network, Problems()
    arrays = {name: array for name, array in archive.arrays.items() if _is_weight(name)}
    misfits = dict(_misfits(network, arrays))
    if skip_mismatch and misfits:
        skipped = {name.rpartition("/")[0] for name in misfits}
        arrays = {name: array for name, array in arrays.items() if name.rpartition("/")[0] not in skipped}
    if not (skip_mismatch and arrays):
        problems.found += misfits.values()
    targets, rounded = network.named_arrays(), {}
    for name, array in arrays.items() if not problems.found else ():
        with np.errstate(all="ignore"):
            rounded[name] = array.astype(targets[name].dtype)
        if np.isinf(rounded[name]).sum() > np.isinf(array).sum():
            problems.found.append(f"{name} has numbers that overflow {targets[name].dtype}")
    problems.raise_if_any(f"{archive.path} does not fit the model")
    if misfits:
        more = [f"and {len(misfits) - _MOST_NAMES} more"] * (len(misfits) > _MOST_NAMES)
        said = "; ".join([*list(misfits.values())[:_MOST_NAMES], *more])
        warn(f"{archive.path}: not loaded, because it does not fit the model: {said}.")
    return rounded


def _misfits(network: Network, found: Mapping[str, Array], exactly: bool = False) -> Iterator[tuple[str, str]]:
    """The names of arrays that are not those that the network declares, or ``exactly`` not of its dtype, and why."""
    declared = {network.name_of(layer, d.name): (layer, d) for layer, d in network.declarations()}
    yield from ((name, f"{name[:200]} is not in the model") for name in found if name not in declared)
    for name, (layer, d) in declared.items():
        array, dtype = found.get(name), d.dtype or network._record.dtype
        if array is None:
            yield name, f"{name} is missing in the file"
        elif array.shape != d.shape:
            yield name, f"{name} has shape {array.shape} in the file, and {d.shape} in {layer._where}"
        elif array.dtype.kind != "f":
            yield name, f"{name} is of dtype {array.dtype}, not of floating numbers"
        elif exactly and array.dtype != dtype:
            yield name, f"{name} is of dtype {array.dtype}, not {dtype}"


def _is_weight(name: str) -> bool:
    return name.startswith("layers/")


@contextmanager
def _file_named(path: str) -> Iterator[None]:
    """Have errors name the file, and be those that a file may raise."""
    try:
        yield
    except CorruptFileError as error:
        raise CorruptFileError(f"{path}: {error}") from None
    except (OSError, MemoryError, ValueError):
        raise
    except Exception as error:  # from a constructor or a build of the user's, or by way of a forged file
        raise ValueError(f"{path} cannot be loaded: {error!r}"[:2000]) from error
