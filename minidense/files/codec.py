"""Python values as JSON and arrays, and back: data only, nothing that a file could make run.

What JSON does not know is an object whose first key begins with ``$``: ``{"$tuple": [1, 2]}``. Objects of the
library and of the user's are their class's name and their constructor's arguments as they are now:
``{"$object": "Dropout", "config": {"rate": 0.5}}``. Names are looked up in tables that are fixed, or in the one that
the caller passes; nothing is imported, and nothing is found by a path.
"""

from __future__ import annotations

import inspect
import math
import re
import zlib
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from minidense.core.arguments import checked, shown
from minidense.core.configurable import LIBRARY, Configurable, call_of
from minidense.core.errors import CorruptFileError, Problems
from minidense.core.named import name_of
from minidense.core.types import Array
from minidense.layers.base import Layer, walk
from minidense.layers.composite import Chain
from minidense.layers.constraints import Constraint
from minidense.layers.dense import Dense
from minidense.layers.initializers import FUNCTIONS, WithArguments
from minidense.layers.regularizers import Regularizer
from minidense.losses import Loss
from minidense.metrics import Metric
from minidense.network import Network
from minidense.optimizers import Optimizer
from minidense.schedules import Schedule
from minidense.tables.preprocessing import TablePreprocessor

_PLAIN = (type(None), bool, int, str)
_KINDS = (Layer, Optimizer, Loss, Metric, Schedule, WithArguments, Regularizer, Constraint, TablePreprocessor)
"""Of the library's objects, those that can be in a file."""

_NAMED: dict[str, Mapping[str, Any]] = {"object": LIBRARY, "function": FUNCTIONS}  # what needs no caller's help
_MANY = 16  # a list of so many numbers is an array
_LONGEST = 1_000_000  # numbers in all lists of a file: as Python's numbers they take four times the memory
_DEEPEST = 50
_MOST_LAYERS = 4_000  # each takes some kilobytes and a third of a millisecond to make
_LARGEST_SEED = 64  # in words of 32 bits, for entropy and for the spawn key


class Encoder:
    """Turns values into JSON; notes their arrays in ``arrays`` and what is not the library's own in ``custom``.

    network: whose layers it will meet. Raises TypeError or ValueError for what a Decoder could not turn back.
    """

    def __init__(self, network: Network | None = None) -> None:
        self.arrays: dict[str, Array] = {}
        self.custom: dict[str, Any] = {}
        self.problems = Problems()
        """For the caller: what could not be encoded."""
        self.layers: dict[str, Layer] = {}
        """The layers met so far, by their place in the file: the first ones' is also their name in the network."""
        self._network = network
        self._own = {id(layer) for layer in walk(network)} if network is not None else set()
        self._met: dict[int, tuple[str, Any]] = {}  # layers and generators with their places, by id
        self._listed = self._depth = 0

    def value(self, value: Any, where: str, chained: bool = False) -> Any:
        """``value`` as JSON. where: its place, by which its arrays are named. chained: it is a layer in a chain."""
        kind = type(value := name_of(value))
        if kind in _PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if self._depth == _DEEPEST:
            raise ValueError(f"{where[:80]}...: nested more than {_DEEPEST} levels deep, or within itself.")
        self._depth += 1
        try:
            return self._composed(value, kind, where, chained)
        finally:
            self._depth -= 1

    def _composed(self, value: Any, kind: type, where: str, chained: bool) -> Any:
        if kind is list:
            return self._list(value, where)
        if kind is tuple:
            return {"$tuple": [self.value(item, f"{where}/{i}") for i, item in enumerate(value)]}
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {key: self.value(item, _part(where, key)) for key, item in value.items()}
            pairs = enumerate(value.items())
            return {"$dict": [[self.value(k, f"{where}/key"), self.value(v, f"{where}/{i}")] for i, (k, v) in pairs]}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            return {"$number": [value.dtype.str, self.value(value.item(), where)]}
        if kind is np.ndarray and (value.dtype.kind == "U" or (value.dtype.kind in "biuf" and value.itemsize <= 8)):
            return {"$array": self._place(value, where)}
        if kind is np.random.Generator:
            return {"$generator": self._generator(value, where)}
        if kind is np.random.SeedSequence:
            return {"$seed": _seed_to_data(value)}
        if isinstance(value, Layer) or isinstance(getattr(value, "network", None), Network):
            return self._layer(value, network_of(value), where, chained)
        if isinstance(value, Configurable):
            return self._object(value, where)
        if isinstance(value, FunctionType | type | np.ufunc) or inspect.isbuiltin(value):
            return self._named(value, "function", where)
        hint = " A function is to be made with def." if callable(value) else ""
        raise TypeError(
            f"{where}: {shown(value)} cannot be saved. Numbers, text, None, arrays, and lists, tuples and dicts of "
            f"them can; so can functions, PCG64 generators, layers, and whatever else is a Configurable.{hint}"
        )

    def _layer(self, given: Any, layer: Layer, where: str, chained: bool) -> dict[str, Any]:
        """A layer, or a model as the network in it; the second time, by its place."""
        if id(layer) in self._met:
            return {"$layer": self._met[id(layer)][0]}
        network = self._network
        lost = network is not None and not (id(layer) in self._own and network._record.input_shape is not None)
        if lost and any(part._record.arrays for part in walk(layer)):
            raise ValueError(
                f"{where}: {layer!r} has parameters which would be lost, for they are not part of the model; of copied "
                f"layers they are once model.build(input_shape) has been called."
            )
        if isinstance(layer, Chain) and layer._of_library:
            parts = [self.value(child, f"{where}/{i}", chained=True) for i, child in enumerate(layer.children)]
            data: dict[str, Any] = {"$chain": parts}
            if isinstance(layer, Network):
                facade = layer._facade if given is layer else given
                data = {"$network": {"name": getattr(facade, "name", None), "layers": parts}}
        else:
            data = self._object(layer, where, chained)
        place = _new_place(where, self.layers)
        self.layers[place], self._met[id(layer)] = layer, (place, layer)
        return data

    def _object(self, thing: Configurable, where: str, chained: bool = False) -> dict[str, Any]:
        """An object by its class and its arguments."""
        kind = type(thing)
        if kind._of_library and not issubclass(kind, _KINDS):
            raise TypeError(f"{where}: {thing!r} cannot be saved as part of something.")
        data = self._named(kind, "object", where)
        config = arguments(thing, chained).items()
        return data | {"config": {name: self.value(value, _part(where, name)) for name, value in config}}

    def _named(self, thing: Any, kind: str, where: str) -> dict[str, Any]:
        name = thing.__name__
        if _NAMED[kind].get(name) is thing:
            return {f"${kind}": name}
        if not name.isidentifier():
            raise TypeError(
                f"{where}: a function without a name cannot be saved; give it one with def, and pass it in "
                f"custom_objects when loading."
            )
        if self.custom.setdefault(name, thing) is not thing:
            raise ValueError(f"{where}: there are two different things called {name}; rename one of them.")
        return {f"$custom_{kind}": name}

    def _generator(self, generator: np.random.Generator, where: str) -> dict[str, Any]:
        if id(generator) in self._met:
            raise ValueError(
                f"{where}: it is the same random generator as {self._met[id(generator)][0]}, and would be another when "
                f"loaded; give each its own: rng.spawn(2)."
            )
        self._met[id(generator)] = where, generator
        return _generator_to_data(generator, where)

    def _place(self, array: Array, where: str) -> str:
        """Note an array under a name that a file's member can have, and no other has."""
        name = _free("values/" + re.sub(r"[^\w .+/-]", "_", where)[:200], self.arrays)
        self.arrays[name] = array
        return name

    def _list(self, values: list[Any], where: str) -> Any:
        kinds = set(map(type, values)) if len(values) >= _MANY else set()
        if kinds != {float} and (kinds != {int} or not all(abs(value) < 2**63 for value in values)):
            return [self.value(value, f"{where}/{i}") for i, value in enumerate(values)]
        self._listed += len(values)
        if self._listed > _LONGEST:
            raise ValueError(f"{where}: lists of more than {_LONGEST:,} numbers; keep them as arrays.")
        return {"$list": self._place(np.array(values, np.float64 if kinds == {float} else np.int64), where)}


def arguments(thing: Configurable, chained: bool) -> dict[str, Any]:
    """The constructor's arguments as they are now.

    An activation of a Dense is a layer of its own in a chain. But the arguments of a layer of the user's, which will
    make a chain of them again, have it as it was.
    """
    config = thing.get_config()
    if isinstance(thing, Dense) and not chained and "activation" in config:
        config["activation"] = thing._config.get("activation")
    return config


def network_of(thing: Any) -> Layer:
    """The layer, or the network of a model."""
    layer: Layer = thing if isinstance(thing, Layer) else thing.network
    return layer


def described(thing: Any, chained: bool = False, met: dict[int, str] | None = None) -> str:
    """A value in words, which are the same for what is made of the same arguments: ``Dropout(0.5)``.

    Of an array they have a checksum, of a random generator not where it stands. chained: it is a layer in a chain.
    met: the words of layers by id; what refers to one of them has the same.
    """
    thing, met = name_of(thing), {} if met is None else met
    if not isinstance(thing, Layer) and isinstance(getattr(thing, "network", None), Network):
        thing = thing.network
    if id(thing) in met:
        return met[id(thing)]
    text = _described(thing, chained, lambda value, chained=False: described(value, chained, met))
    if isinstance(thing, Layer):
        met[id(thing)] = text
    return text


def _described(thing: Any, chained: bool, of: Callable[..., str]) -> str:
    if isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        bits = zlib.crc32(np.asarray(thing, thing.dtype.newbyteorder("=")).tobytes())
        return f"<array of shape {thing.shape}, {thing.dtype.name}, with the checksum {bits:08x}>"
    if isinstance(thing, list | tuple):
        ends = "[]" if isinstance(thing, list) else "()"
        return ends[0] + ", ".join(map(of, thing)) + ends[1]
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{of(key)}: {of(value)}" for key, value in thing.items()) + "}"
    if isinstance(thing, Chain) and thing._of_library:
        children = ", ".join(of(child, True) for child in thing.children)
        return f"Sequential([{children}])" if isinstance(thing, Network) else f"[{children}]"
    if isinstance(thing, Configurable):
        return call_of(type(thing), arguments(thing, chained), of)
    if isinstance(thing, (*_PLAIN, float, np.generic)):
        return repr(thing)
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))


def _part(where: str, key: str) -> str:
    return f"{where}/{key.replace('/', '_')[:50]}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _new_place(where: str, layers: Mapping[str, Any]) -> str:
    if len(layers) == _MOST_LAYERS:
        raise ValueError(f"{where[:80]}: more than {_MOST_LAYERS:,} layers.")
    return _free(where, layers)


class Decoder:
    """Turns JSON into values; arrays come from ``arrays``, each once, and names from the library and ``custom``.

    make: gives the model of a list of layers and a name. Raises ValueError for JSON that no Encoder has made,
    CorruptFileError for arrays that are not as it says, and what constructors raise.
    """

    def __init__(
        self, arrays: Mapping[str, Array], custom: Mapping[str, Any], make: Callable[..., Any] = Network
    ) -> None:
        self.unused = dict(arrays)
        self.layers: dict[str, Any] = {}
        """The layers and models made so far, by their place."""
        self.problems = Problems()
        """For the caller: what could not be made."""
        self._custom, self._make = custom, make
        self._listed = self._depth = 0

    def array(self, name: Any) -> Array:
        """The array of that name, read-only. CorruptFileError where it is not there, or has been used."""
        if not isinstance(name, str) or name not in self.unused:
            raise CorruptFileError(f"the array {shown(name)} is missing, or referred to twice.")
        return self.unused.pop(name)

    def object(self, data: Any, kind: type, where: str) -> Any:
        """The object of that kind that ``data`` describes, made anew."""
        made = self.value(data, where)
        if not isinstance(made, kind):
            raise ValueError(f"{shown(made)} is no {kind.__name__}")
        return made

    def layer(self, data: Any, where: str) -> Any:
        """The layer, or the model, that stands in a chain."""
        made = self.value(data, where)
        layer = made if isinstance(made, Layer) else getattr(made, "network", None)
        if not isinstance(layer, Layer):
            raise ValueError(f"{shown(made)} is no Layer")
        if len(layer._expand()) > 1:
            if layer._of_library:
                raise ValueError(f"{made!r} stands for several layers")
            layer._settle()  # the activation that it makes itself is the next layer
        return made

    def value(self, data: Any, where: str) -> Any:
        """The value that ``data`` stands for, at that place."""
        if isinstance(data, (float, *_PLAIN)):
            return data
        if self._depth == _DEEPEST:
            raise ValueError(f"{where[:80]}...: nested more than {_DEEPEST} levels deep.")
        self._depth += 1
        try:
            if isinstance(data, list):
                return [self.value(item, f"{where}/{i}") for i, item in enumerate(data)]
            tag = next((key for key in data if key.startswith("$")), None)
            if tag is None:
                return {key: self.value(item, _part(where, key)) for key, item in data.items()}
            return self._tagged(tag, data, where)
        finally:
            self._depth -= 1

    def _tagged(self, tag: str, data: dict[str, Any], where: str) -> Any:
        content = data[tag]
        if data.keys() == {tag, "config"} and tag in ("$object", "$custom_object"):
            return self._object(content, self._found(tag, content), data["config"], where)
        if len(data) == 1:
            match tag:
                case "$float" if content in ("nan", "inf", "-inf"):
                    return float(content)
                case "$number":
                    number, item = _items(content, tag)
                    return _number(number, self.value(item, where))
                case "$tuple":
                    return tuple(self.value(item, f"{where}/{i}") for i, item in enumerate(_items(content, tag)))
                case "$dict":
                    pairs = enumerate(_items(pair, tag) for pair in _items(content, tag))
                    return {self.value(k, f"{where}/key"): self.value(v, f"{where}/{i}") for i, (k, v) in pairs}
                case "$array":
                    array = self.array(content)  # a copy is aligned, and can be written to
                    return array.astype(array.dtype.newbyteorder("="), order="K", copy=True)
                case "$list":
                    return self._list(content)
                case "$generator":
                    return _generator_from_data(content)
                case "$seed":
                    return _seed_from_data(content)
                case "$function" | "$custom_function":
                    return self._found(tag, content)
                case "$chain":
                    return self._noted(Chain(self._chain(content, where)), where)
                case "$network" if isinstance(content, dict) and content.keys() == {"name", "layers"}:
                    return self._noted(self._make(self._chain(content["layers"], where), name=content["name"]), where)
                case "$layer" if isinstance(content, str) and content in self.layers:
                    return self.layers[content]
        raise ValueError(f"its manifest has {shown(tag)}: {shown(content)}, which means nothing here")

    def _object(self, name: str, kind: Any, config: Any, where: str) -> Any:
        fits = isinstance(kind, type) and issubclass(kind, Configurable)
        if not fits or (kind._of_library and (not issubclass(kind, _KINDS) or issubclass(kind, Chain))):
            raise ValueError(f"{name} is no {' or '.join(each.__name__ for each in _KINDS)}, made of its arguments")
        given = checked(config, dict, "config")
        thing = kind.from_config({name: self.value(item, _part(where, name)) for name, item in given.items()})
        return self._noted(thing, where) if isinstance(thing, Layer) else thing

    def _chain(self, items: Any, where: str) -> list[Any]:
        return [self.layer(item, f"{where}/{i}") for i, item in enumerate(_items(items, "$chain"))]

    def _noted(self, made: Any, where: str) -> Any:
        """``made``, a layer or a model, which can be referred to from now on."""
        self.layers[_new_place(where, self.layers)] = made
        return made

    def _found(self, tag: str, name: Any) -> Any:
        table = self._custom if tag.startswith("$custom_") else _NAMED[tag[1:]]
        if not isinstance(name, str) or name not in table:
            raise ValueError(f"{shown(name)} is unknown here")
        return table[name]

    def _list(self, name: Any) -> list[Any]:
        array = self.array(name)
        self._listed += array.size
        if array.ndim != 1 or array.dtype not in (np.float64, np.int64) or self._listed > _LONGEST:
            raise ValueError(f"the list {shown(name)} is an array of shape {array.shape}, {array.dtype}")
        return list(array.tolist())


def unknown_names(data: Any, custom: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names in ``data`` that the library does not have, and those that are not in ``custom``."""
    strange: set[str] = set()
    missing: set[str] = set()
    waiting = [data]
    while waiting:
        part = waiting.pop()
        for tag, table in _NAMED.items() if isinstance(part, dict) else ():
            for name, known, found in ((f"${tag}", table, strange), (f"$custom_{tag}", custom, missing)):
                if isinstance(part.get(name), str) and part[name] not in known:
                    found.add(part[name][:80])
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return sorted(strange), sorted(missing)


def _items(data: Any, tag: str) -> list[Any]:
    return list(checked(data, list, tag))


def _number(kind: Any, value: Any) -> Any:
    if not re.fullmatch(r"<f[248]|<[iu][248]|\|[iu]1|\|b1", checked(kind, str, "$number")):
        raise ValueError(f"its manifest has a number of the kind {shown(kind)}")
    if not isinstance(value, bool | int | float):
        raise ValueError("its manifest has a number that is none")
    return np.array(value, kind)[()]


# ---------------------------------------------------------------------- random generators, as integers

_LIMITS = {"state": 2**128, "inc": 2**128, "has_uint32": 2, "uinteger": 2**32}


def _generator_to_data(generator: np.random.Generator, where: str) -> dict[str, Any]:
    """The state of a generator, and the seed that it spawns others from."""
    bits = generator.bit_generator
    if type(bits) is not np.random.PCG64:
        raise TypeError(
            f"{where}: a random generator of the kind {type(bits).__name__} cannot be saved; PCG64 can: "
            f"np.random.default_rng(seed)."
        )
    state: dict[str, Any] = {**bits.state, **bits.state["state"]}
    seed = _seed_to_data(bits.seed_seq) if isinstance(bits.seed_seq, np.random.SeedSequence) else None
    return {name: int(state[name]) for name in _LIMITS} | {"seed": seed}


def _generator_from_data(data: Any) -> np.random.Generator:
    """The generator in that state. ValueError for a state that no generator has."""
    state = checked(data, dict, "$generator")
    whole = state.keys() == {*_LIMITS, "seed"}
    whole = whole and all(type(state[name]) is int and 0 <= state[name] < limit for name, limit in _LIMITS.items())
    if not whole or not state["inc"] % 2:
        raise ValueError("a random generator is in an impossible state")
    bits = np.random.PCG64(0 if state["seed"] is None else _seed_from_data(state["seed"]))
    bits.state = {**bits.state, **state, "state": {"state": state["state"], "inc": state["inc"]}}
    return np.random.Generator(bits)


def _seed_to_data(seed: np.random.SeedSequence) -> list[Any]:
    """What a seed is made of, and how many it has spawned."""
    entropy: Any = seed.entropy
    whole = int(entropy) if np.ndim(entropy) == 0 else [int(part) for part in np.ravel(entropy)]
    data = [whole, [int(part) for part in seed.spawn_key], seed.pool_size, seed.n_children_spawned]
    _seed_from_data(data)
    return data


def _seed_from_data(data: Any) -> np.random.SeedSequence:
    """The seed of these parts. ValueError for parts that no seed has."""
    if not isinstance(data, list) or len(data) != 4:
        raise ValueError("a seed is of four parts")
    entropy, spawn_key, pool_size, spawned = data
    words = entropy if isinstance(entropy, list) else [entropy]
    numbers = [*words, *checked(spawn_key, list, "a spawn key"), pool_size, spawned]
    whole = all(type(number) is int and 0 <= number < 2 ** (32 * _LARGEST_SEED) for number in numbers)
    if not whole or max(len(words), len(spawn_key)) > _LARGEST_SEED or not 4 <= pool_size <= 64:
        raise ValueError(f"a seed is of whole numbers, at most {_LARGEST_SEED} words and a pool of 4 to 64")
    return np.random.SeedSequence(entropy, spawn_key=tuple(spawn_key), pool_size=pool_size, n_children_spawned=spawned)
