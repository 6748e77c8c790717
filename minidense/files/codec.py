"""Python values as JSON and arrays, and back: data only, nothing that a file could make run.

What JSON does not know is an object whose first key begins with ``$``: ``{"$tuple": [1, 2]}``. Objects of the
library and of the user's are their class's name and their constructor's arguments, and those that have been set since:
``{"$object": "Dropout", "config": {"rate": 0.5}, "changed": {"rate": 0.4}}``. Names are looked up in tables that are
fixed, or in the one that the caller passes; nothing is imported, and nothing is found by a path.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np

from minidense.core.arguments import checked, shown
from minidense.core.configurable import LIBRARY, Configurable
from minidense.core.errors import CorruptFileError, Problems
from minidense.core.types import Array
from minidense.layers.base import Layer, parent_of, walk
from minidense.layers.composite import Composite
from minidense.layers.dense import Dense
from minidense.layers.initializers import INITIALIZERS
from minidense.losses import Loss
from minidense.metrics import Metric
from minidense.network import Network
from minidense.optimizers import Optimizer
from minidense.schedules import Schedule

_PLAIN = (type(None), bool, int, str)
_KINDS = (Layer, Optimizer, Loss, Metric, Schedule)  # of the library's objects, those that can be in a file
_MANY = 16  # a list of so many numbers is an array
_LONGEST = 1_000_000  # numbers in all lists of a file: as Python's numbers they take four times the memory
_DEEPEST = 50
_LARGEST_SEED = 64  # in words of 32 bits, for entropy and for the spawn key


class Encoder:
    """Turns values into JSON; notes their arrays in ``arrays`` and what is not the library's own in ``custom``.

    network: whose layers it will meet. layers: those that it is to refer to by name. states: whether it matters where
    random generators stand, and which arguments were set after the constructor had been called.
    Raises TypeError or ValueError for what a Decoder could not turn back.
    """

    def __init__(
        self, network: Network | None = None, layers: Mapping[str, Any] | None = None, states: bool = True
    ) -> None:
        self.arrays: dict[str, Array] = {}
        self.custom: dict[str, Any] = {}
        self.problems = Problems()
        """For the caller: what could not be encoded."""
        self.layers: dict[str, Any] = dict(layers or {})
        """The layers met so far, by their place in the file: the first ones' is also their name in the network."""
        self.generators: dict[str, np.random.Generator] = {}
        """The random generators met so far, by their place."""
        self._network, self._states = network, states
        self._known = {id(network_of(layer)): place for place, layer in self.layers.items()}
        self._own = {id(layer) for layer in walk(network)} if network is not None else set()
        self._inside: Layer | None = None  # the layer whose arguments are being encoded
        self._in_chain = False
        self._listed = self._depth = 0

    def layer(self, layer: Layer, where: str) -> Any:
        """A layer that stands in a chain, where an activation that it had is a layer of its own."""
        with self._within(None, in_chain=True):
            return self.value(layer, where)

    def value(self, value: Any, where: str) -> Any:
        """``value`` as JSON. where: its place, by which its arrays are named."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if self._depth == _DEEPEST:
            raise ValueError(f"{where[:80]}...: nested more than {_DEEPEST} levels deep, or within itself.")
        self._depth += 1
        try:
            return self._composed(value, kind, where)
        finally:
            self._depth -= 1

    def _composed(self, value: Any, kind: type, where: str) -> Any:
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
            return {"$number": value.dtype.str, "value": self.value(value.item(), where)}
        if kind is np.ndarray and (value.dtype.kind == "U" or (value.dtype.kind in "biuf" and value.itemsize <= 8)):
            return {"$array": self._place(value, where)}
        if kind is np.random.Generator:
            return self._generator(value, where)
        if kind is np.random.SeedSequence:
            return {"$seed": _seed_to_data(value)}
        if isinstance(value, Layer) or isinstance(getattr(value, "network", None), Network):
            return self._layer(value, network_of(value), where)
        if isinstance(value, Configurable):
            return self._object(value, where)
        if isinstance(value, FunctionType | type | np.ufunc) or inspect.isbuiltin(value):
            return self._named(value, "function", where)
        hint = " A function is to be made with def." if callable(value) else ""
        raise TypeError(
            f"{where}: {shown(value)} cannot be saved. Numbers, text, None, arrays, and lists, tuples and dicts of "
            f"them can; so can functions, PCG64 generators, layers, and whatever else is a Configurable.{hint}"
        )

    def _layer(self, given: Any, layer: Layer, where: str) -> dict[str, Any]:
        """A layer, or a model as the network in it; the second time, by its place."""
        if id(layer) in self._known:
            return {"$layer": self._known[id(layer)]}
        own = id(layer) in self._own
        if own and self._inside is not None and not _is_within(layer, self._inside):
            raise ValueError(
                f"{where}: {self._inside!r} refers to {layer._where}, which comes later, or which another layer makes "
                f"in build; a file has only what is an argument of a layer before it."
            )
        lost = self._network is not None and not (own and self._network._record.input_shape is not None)
        if lost and any(part._record.arrays for part in walk(layer)):
            raise ValueError(
                f"{where}: {layer!r} has parameters which would be lost, for they are not part of the model; of copied "
                f"layers they are once model.build(input_shape) has been called."
            )
        if isinstance(layer, Network):
            with self._within(layer, in_chain=True):
                parts = [self.value(child, f"{where}/{i}") for i, child in enumerate(layer.children)]
            facade = layer._facade if given is layer else given
            data = {"$network": {"name": getattr(facade, "name", None), "layers": parts}}
        else:
            data = self._object(layer, where)
        place = _free(where, self.layers)
        self.layers[place], self._known[id(layer)] = layer, place
        return data

    def _object(self, thing: Configurable, where: str) -> dict[str, Any]:
        """An object by its class and its arguments."""
        kind = type(thing)
        if kind._of_library and not issubclass(kind, _KINDS):
            raise TypeError(f"{where}: {thing!r} cannot be saved as part of something.")
        data = self._named(kind, "object", where)
        config, changed = _arguments(thing, self._in_chain)
        of_arguments = thing if isinstance(thing, Layer) and not isinstance(thing, Dense) else self._inside
        with self._within(of_arguments, in_chain=kind._of_library and isinstance(thing, Composite)):
            data["config"] = {name: self.value(value, _part(where, name)) for name, value in config.items()}
            if changed and self._states:
                data["changed"] = {name: self.value(value, _part(where, name)) for name, value in changed.items()}
        return data

    @contextmanager
    def _within(self, layer: Layer | None, in_chain: bool) -> Iterator[None]:
        before = self._inside, self._in_chain
        self._inside, self._in_chain = layer, in_chain
        try:
            yield
        finally:
            self._inside, self._in_chain = before

    def _named(self, thing: Any, kind: str, where: str) -> dict[str, Any]:
        name = thing.__name__
        if _NAMED.get(kind, {}).get(name) is thing:
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
        if id(generator) in self._known:
            raise ValueError(
                f"{where}: it is the same random generator as {self._known[id(generator)]}, and would be another when "
                f"loaded; give each its own: rng.spawn(2)."
            )
        data = _generator_to_data(generator, where)
        place = self._known[id(generator)] = _free(where, self.generators)
        self.generators[place] = generator
        return {"$generator": data if self._states else None}

    def _place(self, array: Array, where: str) -> str:
        """Note an array under a name that a file's member can have, and no other has."""
        name = _free("values/" + re.sub(r"[^\w .+/-]", "_", where)[:200], self.arrays)
        self.arrays[name] = array
        return name

    def _list(self, values: list[Any], where: str) -> Any:
        kinds = set(map(type, values)) if len(values) >= _MANY else set()
        if kinds == {float}:
            return {"$floats": self._column(np.array(values), where)}
        if kinds == {int} and all(abs(value) < 2**63 for value in values):
            return {"$ints": self._column(np.array(values, np.int64), where)}
        return [self.value(value, f"{where}/{i}") for i, value in enumerate(values)]

    def _column(self, numbers: Array, where: str) -> str:
        self._listed += len(numbers)
        if self._listed > _LONGEST:
            raise ValueError(f"{where}: lists of more than {_LONGEST:,} numbers; keep them as arrays.")
        return self._place(numbers, where)


def _arguments(thing: Configurable, in_chain: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that the constructor was given, and those that have been set since.

    An activation of a Dense is a layer of its own in a chain. But the arguments of a layer of the user's, which will
    make a chain of them again, have it as it was.
    """
    config = thing.get_config()
    given = {**config, **vars(thing).get("_given", {})} if type(thing).get_config is Configurable.get_config else config
    changed = {name: value for name, value in config.items() if value is not given[name]}
    if isinstance(thing, Dense) and "activation" in config:
        changed.pop("activation", None)
        if in_chain:
            given["activation"] = config["activation"]
    return given, changed


def network_of(thing: Any) -> Layer:
    """The layer, or the network of a model."""
    layer: Layer = thing if isinstance(thing, Layer) else thing.network
    return layer


def _is_within(layer: Layer, other: Layer) -> bool:
    parent: Layer | None = layer
    while parent is not None and parent is not other:
        parent = parent_of(parent)
    return parent is other


def _part(where: str, key: str) -> str:
    return f"{where}/{key.replace('/', '_')[:50]}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


class Decoder:
    """Turns JSON into values; arrays come from ``arrays``, each once, and names from the library and ``custom``.

    make: gives the model of a list of layers and a name. layers: those that are referred to by name.
    Raises ValueError for JSON that no Encoder has made, CorruptFileError for arrays that are not as it says, and what
    constructors raise.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        custom: Mapping[str, Any],
        make: Callable[..., Any] | None = None,
        layers: Mapping[str, Any] | None = None,
    ) -> None:
        self.unused = dict(arrays)
        self.layers: dict[str, Any] = dict(layers or {})
        """The layers made so far, by their place."""
        self.problems = Problems()
        """For the caller: what could not be made."""
        self._custom, self._make = custom, make or (lambda layers, name: Network(layers))
        self._in_chain = False
        self._listed = self._depth = 0

    def array(self, name: Any) -> Array:
        """The array of that name, read-only. CorruptFileError where it is not there, or has been used."""
        if not isinstance(name, str) or name not in self.unused:
            raise CorruptFileError(f"the array {shown(name)} is missing, or referred to twice.")
        return self.unused.pop(name)

    def layer(self, data: Any, where: str) -> Any:
        """The layer, or the model, that stands in a chain."""
        described = isinstance(data, dict) and data.keys() & {"$object", "$custom_object"}
        made = self._chained(lambda: self.object(data, Layer, where) if described else self.value(data, where), True)
        if not hasattr(made, "_as_layer"):
            raise ValueError(f"{shown(made)} is no Layer")
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
        if tag in ("$object", "$custom_object"):
            return self.object(data, (*_KINDS, *([Configurable] if tag == "$custom_object" else [])), where)
        if tag == "$number" and data.keys() == {"$number", "value"}:
            return _number(content, self.value(data["value"], where))
        if len(data) == 1:
            match tag:
                case "$float" if content in ("nan", "inf", "-inf"):
                    return float(content)
                case "$tuple":
                    return tuple(self.value(item, f"{where}/{i}") for i, item in enumerate(checked(content, list, tag)))
                case "$dict":
                    return dict(self._pairs(checked(content, list, tag), where))
                case "$array":
                    return _own(self.array(content))
                case "$floats" | "$ints":
                    return self._column(content, np.float64 if tag == "$floats" else np.int64)
                case "$generator":
                    return _generator_from_data(content)
                case "$seed":
                    return _seed_from_data(content)
                case "$function" | "$custom_function":
                    return self._found(tag, content)
                case "$network":
                    return self._network(content, where)
                case "$layer" if isinstance(content, str) and content in self.layers:
                    return self.layers[content]
        raise ValueError(f"its manifest has {shown(tag)}: {shown(content)}, which means nothing here")

    def object(self, data: Any, kind: type | tuple[type, ...], where: str) -> Any:
        """The object of that kind that ``data`` describes, made anew."""
        tag = next(iter(checked(data, dict, "an object")), "")
        if tag not in ("$object", "$custom_object") or not {tag, "config"} <= data.keys() <= {tag, "config", "changed"}:
            raise ValueError("its manifest has an object that is not of a class and its arguments")
        of_kind: Any = self._found(tag, data[tag])
        fits = isinstance(of_kind, type) and issubclass(of_kind, kind) and not issubclass(of_kind, Network)
        if not fits:
            wanted = " or ".join(base.__name__ for base in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"{data[tag]} is no {wanted}")

        def arguments(part: str) -> dict[str, Any]:
            given = checked(data.get(part, {}), dict, part)
            return {name: self.value(item, _part(where, name)) for name, item in given.items()}

        of_chain = of_kind._of_library and issubclass(of_kind, Composite)
        config, changed = self._chained(lambda: (arguments("config"), arguments("changed")), of_chain)
        if of_kind._of_library and not issubclass(of_kind, Layer) and any(map(is_initializer, config.values())):
            raise ValueError(f"{data[tag]} takes no initializer")
        thing = of_kind.from_config(config)
        for name, value in changed.items():
            if name not in thing._config:
                raise ValueError(f"{data[tag]} has no argument {shown(name)}")
            setattr(thing, name, value)
        if isinstance(thing, Layer):
            if self._in_chain and len(thing._expand()) > 1 and not of_kind._of_library:
                thing._settle()  # the activation that it makes itself is the next layer
            if self._in_chain and len(thing._expand()) > 1:
                raise ValueError(f"{thing!r} stands for several layers")
            self.layers[_free(where, self.layers)] = thing
        return thing

    def _network(self, data: Any, where: str) -> Any:
        if checked(data, dict, "$network").keys() != {"name", "layers"}:
            raise ValueError("its manifest has a model that is not of a name and layers")
        items = checked(data["layers"], list, "layers")
        layers = [self.layer(item, f"{where}/{i}") for i, item in enumerate(items)]
        made = self._make(layers, name=data["name"])
        self.layers[_free(where, self.layers)] = made
        return made

    def _chained(self, call: Callable[[], Any], in_chain: bool) -> Any:
        before, self._in_chain = self._in_chain, in_chain
        try:
            return call()
        finally:
            self._in_chain = before

    def _found(self, tag: str, name: Any) -> Any:
        table = self._custom if tag.startswith("$custom_") else _NAMED[tag[1:]]
        if not isinstance(name, str) or name not in table:
            raise ValueError(f"{shown(name)} is unknown here")
        return table[name]

    def _pairs(self, pairs: list[Any], where: str) -> Iterator[tuple[Any, Any]]:
        for i, pair in enumerate(pairs):
            key, value = checked(pair, list, "$dict")
            yield self.value(key, f"{where}/key"), self.value(value, f"{where}/{i}")

    def _column(self, name: Any, dtype: Any) -> list[Any]:
        array = self.array(name)
        self._listed += array.size
        if array.ndim != 1 or array.dtype != dtype or self._listed > _LONGEST:
            raise ValueError(f"the list {shown(name)} is an array of shape {array.shape}, {array.dtype}")
        return list(array.tolist())


_NAMED: dict[str, Mapping[str, Any]] = {"object": LIBRARY, "function": INITIALIZERS}
"""What a file can name without the caller's help."""


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


def is_initializer(value: Any) -> bool:
    """Whether it is one of the library's."""
    return any(value is initializer for initializer in INITIALIZERS.values())


def _own(array: Array) -> Array:
    """A copy in the machine's byte order, aligned, that can be written to."""
    return array.astype(array.dtype.newbyteorder("="), order="K", copy=True)


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
    seed = bits.seed_seq
    own = _seed_to_data(seed) if isinstance(seed, np.random.SeedSequence) else None
    return {**{name: int(state[name]) for name in _LIMITS}, "seed": own}


def _generator_from_data(data: Any) -> np.random.Generator:
    """The generator in that state. ValueError for a state that no generator has."""
    state = checked(data, dict, "$generator")
    whole = state.keys() == {*_LIMITS, "seed"} and all(type(state[name]) is int for name in _LIMITS)
    if not whole or not all(0 <= state[name] < limit for name, limit in _LIMITS.items()) or not state["inc"] % 2:
        raise ValueError("a random generator is in an impossible state")
    bits = np.random.PCG64(0 if state["seed"] is None else _seed_from_data(state["seed"]))
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": state["state"], "inc": state["inc"]},
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }
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
