"""The check by behaviour: what is made anew from a file's words gives, to the bit, what the original gives.

A file has of a layer its arguments, parameters, buffers and ``trainable``. Whether that is all that the layer's output
depends on cannot be seen from its attributes. So each layer that is not the library's own is made anew, as it would
be from the file, and both are run. The same is done for an optimizer of the user's.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from minidense.core.configurable import Configurable
from minidense.core.errors import Problems
from minidense.core.types import Array
from minidense.files.codec import Decoder, Encoder, network_of
from minidense.layers.base import Layer, bind, clones, declare, drop_caches, walk
from minidense.layers.guard import forward_of
from minidense.network import Network
from minidense.optimizers import Optimizer

_WHAT_LASTS = "What lasts belongs into an argument of the constructor, a parameter or a buffer (self.buffer in build)."
_ROUNDS = 2  # as it is now, and once a training step may have left something


def remade(thing: Configurable, where: str, layers: Mapping[str, Any], make: Callable[..., Any]) -> Any:
    """``thing`` as a file would give it back. ValueError where that fails, or has other arguments.

    layers: those that it may refer to. make: gives the model of a list of layers and a name.
    """
    encoder = Encoder(layers=layers)
    said = encoder.layer(thing, where) if isinstance(thing, Layer) else encoder.value(thing, where)
    try:
        decoder = Decoder(encoder.arrays, encoder.custom, make, layers)
        new = decoder.layer(said, where) if isinstance(thing, Layer) else decoder.value(said, where)
        same = described(Encoder(layers=layers, states=False), thing, where) == described(
            Encoder(layers=layers, states=False), new, where
        )
    except Exception as error:
        raise ValueError(f"{where}: {thing!r} cannot be saved: made anew from its arguments, {error!r}.") from error
    if not same:
        raise ValueError(f"{where}: {thing!r} cannot be saved: made anew, it has other arguments, {new!r}.")
    return new


def described(encoder: Encoder, thing: Any, where: str) -> Any:
    """What tells a thing from others that would be saved differently."""
    before = len(encoder.arrays)
    data = encoder.layer(thing, where) if isinstance(thing, Layer) else encoder.value(thing, where)
    arrays = list(encoder.arrays.items())[before:]
    return repr(data), [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in arrays]


def check_layers(network: Network, places: Mapping[str, Any], make: Callable[..., Any], problems: Problems) -> None:
    """Note each layer that is not the library's own and could not be made anew as it is. Changes none of them.

    places: the layers by their places in the file, which they are called by before the network is built.
    """
    if all(layer._of_library for layer in walk(network)):
        return
    pairs = list(zip(walk(network), walk(clones([network])[0]), strict=True)) if network.built else []
    twins: dict[int, Any] = {id(layer): part for layer, part in pairs}
    twin: Network = twins.get(id(network), network)
    memo: dict[int, Any] = {}  # arrays that are arguments, of which the clones have copies
    for layer, part in pairs:
        memo |= {id(v): part._config[k] for k, v in layer._config.items() if isinstance(v, np.ndarray)}
        for child in part._record.children.values():
            child._record.parent = weakref.ref(part)
        if isinstance(part, Network) and part._facade is not None:
            facade, part._facade = part._facade, object.__new__(type(part._facade))
            vars(part._facade).update({**vars(facade), "network": part})
    if network.built:
        places = {twin.name_of(part): getattr(part, "_facade", None) or part for part in walk(twin)}
    name_of = {id(network_of(layer)): name for name, layer in places.items()}
    for layer in _outermost_own(twin):
        problems.noted(partial(_check_layer, layer, name_of[id(layer)], places, twins, memo, make))


def _outermost_own(layer: Layer) -> Iterator[Layer]:
    for child in layer._record.children.values():
        yield from [child] if not child._of_library else _outermost_own(child)


def _check_layer(
    layer: Layer,
    where: str,
    places: Mapping[str, Any],
    twins: Mapping[int, Layer],
    memo: dict[int, Any],
    make: Callable[..., Any],
) -> None:
    """``layer`` is a clone, if there are ``twins``, each of which is the clone of the layer of that id."""
    parts = list(walk(layer))
    others = {name: other for name, other in places.items() if not f"{name}/".startswith(f"{where}/")}
    if not twins:
        remade(layer, where, others, make)
        return
    for part in parts:  # what clones share with the originals
        drop_caches(part)
        shared = np.random.Generator if part._of_library else np.ndarray
        for name, value in vars(part).items():
            if isinstance(value, shared) and name not in part._record.guarded:
                part.__dict__[name] = copy.deepcopy(value, memo)
    _bind_copies(parts, parts, twins)
    x = np.random.default_rng(0).standard_normal((3, *(layer._record.input_shape or ()))).astype(layer._record.dtype)
    for _ in range(_ROUNDS):
        new = _built_anew(layer, parts, where, others, make)
        for training in (False, True):
            if _outcome(layer, x, training) != _outcome(new, x, training):
                when = "in training" if training else "at inference"
                raise ValueError(
                    f"{where}: {layer!r} cannot be saved: made anew from its arguments, parameters and buffers it "
                    f"gives other output {when}. {_WHAT_LASTS}"
                )


def _built_anew(
    layer: Layer, parts: list[Layer], where: str, others: Mapping[str, Layer], make: Callable[..., Any]
) -> Layer:
    new: Layer = remade(layer, where, others, make)
    new._record.path, new._record.dtype = layer._record.path, layer._record.dtype
    try:
        declare(new, layer._record.input_shape or ())
    except Exception as error:
        raise ValueError(f"{where}: {layer!r} cannot be saved: built anew, {error!r}. {_WHAT_LASTS}") from error
    mine, theirs = list(walk(new)), parts
    if _declared(mine) != _declared(theirs):
        raise ValueError(
            f"{where}: {layer!r} cannot be saved: made anew from its arguments it declares {_declared(mine)}, and not "
            f"{_declared(theirs)}. {_WHAT_LASTS}"
        )
    _bind_copies(mine, theirs, {})
    for part, original in zip(mine, theirs, strict=True):
        if part.trainable != original.trainable:
            part.__dict__["trainable"] = original.trainable
        if part.draws and "rng" in vars(original):
            part.rng = Decoder({}, {}).value(Encoder().value(original.rng, where), where)
    return new


def _declared(parts: list[Layer]) -> list[Any]:
    """The layers' kinds, and the names and shapes of their arrays."""
    found = []
    for part in parts:
        record = part._record
        arrays = {d.name: d.shape for d in [*record.params, *record.buffers]}
        found.append(f"{type(part).__name__} {arrays or ''}".strip())
    return found


def _bind_copies(parts: list[Layer], originals: list[Layer], twins: Mapping[int, Layer]) -> None:
    """Give the layers copies of the originals' parameters and buffers; the owner of a shared one has it already."""
    for part, original in zip(parts, originals, strict=True):
        record, arrays = part._record, original._record.arrays
        views: dict[str, Array] = {}
        for d in [*record.params, *record.buffers]:
            if d.owner is None:
                views[d.name] = arrays[d.name].copy()
            else:
                views[d.name] = twins.get(id(d.owner[0]), d.owner[0])._record.arrays[d.owner[1]]
        bind(part, views, {f"d{d.name}": np.zeros_like(views[d.name]) for d in record.params})


def _outcome(layer: Layer, x: Array, training: bool) -> Any:
    """The output's bytes and those of all buffers after it; where forward raises, the exception."""
    try:
        with _numpys_generator_kept(), np.errstate(all="ignore"):
            y = forward_of(layer, training)(x.copy())
    except Exception as error:
        return type(error), str(error)
    buffers = [(d.name, part._record.views[d.name]) for part in walk(layer) for d in part._record.buffers]
    return [
        (name, a.shape, a.dtype.str, np.where(np.isnan(a), np.nan, a).tobytes()) for name, a in [("y", y), *buffers]
    ]


@contextmanager
def _numpys_generator_kept() -> Iterator[None]:
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def check_optimizer(optimizer: Optimizer, theta: Array, made_anew: Callable[[Optimizer], Optimizer]) -> None:
    """ValueError where an optimizer of the user's, made anew from what a file has of it, makes another update."""
    rng = np.random.default_rng(0)
    start, grad = rng.standard_normal((2, *theta.shape)).astype(theta.dtype)
    twin: Any = copy.deepcopy(optimizer)
    for _ in range(_ROUNDS):
        pair = twin, made_anew(twin)
        pair[1].decayed = optimizer.decayed
        if _updated(pair[0], start, grad) != _updated(pair[1], start, grad):
            raise ValueError(
                f"optimizer: {optimizer!r} cannot be saved: made anew from its arguments, iterations, learning rate "
                f"and state it makes another update. What lasts from one update to the next belongs into self.state, "
                f"if it is a vector as long as theta; otherwise name its attribute in `saved`."
            )


def _updated(optimizer: Optimizer, theta: Array, grad: Array) -> Any:
    theta, grad = theta.copy(), grad.copy()
    try:
        with _numpys_generator_kept(), np.errstate(all="ignore"):
            optimizer.update(theta, grad)
    except Exception as error:
        return type(error), str(error)
    return theta.tobytes()
