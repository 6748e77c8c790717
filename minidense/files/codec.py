"""Python values as JSON and arrays, and back: data only, nothing that a file could make run.

What JSON does not know is an object whose first key begins with ``$``: ``{"$tuple": [1, 2]}``. Objects of the
library and of the user's are their class's name and their constructor's arguments, and the attributes that have
changed since: ``{"$object": "Dense", "config": {"units": 3}, "attributes": {}}``. Names are looked up in a table that
is fixed, or in the one that the caller passes; nothing is imported, and nothing is found by a path.
"""

from __future__ import annotations

import collections
import copy
import inspect
import math
import pickle
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType
from typing import Any

import numpy as np

from minidense.core.arguments import Configurable, checked, shown
from minidense.core.types import Array
from minidense.files.objects import PLAIN, check_attributes, has_arrays, identical, interchangeable, put_back, remade
from minidense.files.random_states import generator_from_data, generator_to_data, seed_from_data, seed_to_data

Names = Mapping[str, Any]
"""Classes and functions by name."""

_MANY = 16  # a list of so many numbers is an array
_LONGEST = 1_000_000  # numbers in all lists of a file: as Python's numbers they take four times the memory
_DEEPEST = 50
_COLLECTIONS: tuple[Any, ...] = (set, frozenset, collections.deque, collections.Counter, collections.defaultdict)
_FACTORIES: tuple[Any, ...] = (int, float, str, bool, list, dict, set)
_DEEPEST_OBJECT = 6  # objects in the arguments of objects: what they cost grows with a power of it


class Encoder:
    """Turns values into JSON, noting their arrays in ``arrays`` and what is not the library's own in ``custom``.

    states: whether what has changed since things were made matters, and the states of random streams. Raises TypeError
    or ValueError for what a Decoder could not turn back.
    """

    def __init__(self, library: Names, states: bool = True) -> None:
        self._library = library
        self._names = {id(thing): name for name, thing in library.items()}
        self._states = states
        self._places: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._listed = self._depth = 0
        self.arrays: dict[str, Array] = {}
        self.custom: dict[str, Any] = {}

    def value(self, value: Any, where: str) -> Any:
        """``value`` as JSON. where: its place, which its arrays are named by."""
        kind = type(value)
        if kind is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if kind in PLAIN:
            return value
        if where.count("/") > _DEEPEST:
            raise ValueError(f"{where[:80]}...: nested more than {_DEEPEST} levels deep, or within itself.")
        if kind is list:
            return self._list(value, where)
        if kind is tuple:
            return {"$tuple": [self.value(item, f"{where}/{i}") for i, item in enumerate(value)]}
        if kind is dict:
            return self._dict(value, where)
        if kind in _COLLECTIONS:
            return self._collection(value, where)
        if kind is np.ndarray and value.dtype.kind in "biufU":
            return {"$array": self._place(value, where)}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf":
            return {"$number": value.dtype.str, "value": self.value(value.item(), where)}
        if isinstance(value, np.random.Generator):
            number = self._again(value, where)
            if number is not None:
                return {"$stream": number}
            return {"$generator": generator_to_data(value) if self._states else type(value.bit_generator).__name__}
        if isinstance(value, np.random.SeedSequence):
            self._only_once(value, where)
            return {"$seed": seed_to_data(value)}
        if isinstance(value, Configurable):
            if getattr(value, "declarations", None):
                raise ValueError(f"{where}: {value!r}, a layer within a layer, has parameters, which would be lost.")
            return self.object(value, where)
        if isinstance(value, FunctionType | type | np.ufunc) or inspect.isbuiltin(value):
            return self._named(value, "$function", where)
        name = where.rpartition("/")[2]
        problem = f"{where}: {shown(value)} cannot be saved; numbers, text, arrays and collections of them can."
        if "callbacks" in where:
            problem += f" Where it need not be: transient = md.Callback.transient | {{{name!r}}} in the class."
        elif "/config/" not in where:
            problem += f" Where it is a cache of forward: caches = ({name!r},) in the class."
        elif callable(value):
            problem += " A function is to be made with def; a class of schedules, derived from md.schedules.Schedule."
        raise TypeError(problem)

    def object(self, thing: Configurable, where: str, changed: dict[str, Any] | None = None) -> dict[str, Any]:
        """An object by its class, its arguments, and what has ``changed`` since it was made.

        TypeError or ValueError where it could not be made anew.
        """
        if not self._depth:
            self._numbers = {}
        self._depth += 1
        if self._depth > _DEEPEST_OBJECT:
            raise ValueError(f"{where}: objects in objects, more than {_DEEPEST_OBJECT} deep.")
        try:
            return self._object(thing, where, changed)
        finally:
            self._depth -= 1

    def _object(self, thing: Configurable, where: str, changed: dict[str, Any] | None) -> dict[str, Any]:
        fresh = remade(thing, where)
        config = {name: self.value(value, f"{where}/config/{name}") for name, value in thing.get_config().items()}
        if not self._states:
            return {**self._named(type(thing), "$object", where), "config": config}
        if not Encoder(self._library, states=False).alike(fresh.get_config(), thing.get_config()):
            raise ValueError(f"{where}: {thing!r} cannot be saved: made anew, it has other arguments, {fresh!r}.")
        changed = self.changes(thing, fresh) if changed is None else changed
        try:
            check_attributes(fresh, changed)
        except ValueError as error:
            raise ValueError(f"{where}: {thing!r} cannot be saved: {error}") from None
        attributes = {name: self.value(changed[name], f"{where}/attributes/{name}") for name in sorted(changed)}
        return {**self._named(type(thing), "$object", where), "config": config, "attributes": attributes}

    def alike(self, a: Any, b: Any) -> bool:
        """Whether two values would be saved as the same; of what is no data, whether nothing tells them apart."""
        if a is b:
            return True
        one, other = Encoder(self._library, self._states), Encoder(self._library, self._states)
        try:
            if repr(one.value(a, "")) != repr(other.value(b, "")):
                return False
        except (TypeError, ValueError):
            return interchangeable(a, b, self.alike)
        for name, thing in one.custom.items():
            if thing is not other.custom[name] and not interchangeable(thing, other.custom[name], self.alike):
                return False
        return all(identical(array, other.arrays[name]) for name, array in one.arrays.items())

    def changes(self, thing: Configurable, fresh: Configurable) -> dict[str, Any]:
        """The attributes that are not what they are in a new object, and are to be saved.

        Arrays, and things that are no data, of which a new object has not even the name, are taken for caches.
        """
        new = fresh.attributes()
        return {
            name: value
            for name, value in thing.attributes().items()
            if (name in new and not self.alike(value, new[name]))
            or (name not in new and is_data(value) and not (thing.sets_caches and has_arrays(value)))
        }

    def _again(self, stream: np.random.Generator, where: str) -> int | None:
        """The number of a stream that has been met in the same object's attributes; None for a new one."""
        known = self._numbers.get(id(stream))
        if known is not None and self._depth and "/attributes/" in where and "/attributes/" in self._places[id(stream)]:
            return known
        self._only_once(stream, where)
        self._numbers[id(stream)] = len(self._numbers)
        return None

    def _only_once(self, thing: Any, where: str, what: str = "random stream") -> None:
        if self._states and self._places.setdefault(id(thing), where) != where:
            spawn = ": rng.spawn(2)" if what == "random stream" else ""
            raise ValueError(
                f"{where}: it is the same {what} as {self._places[id(thing)]}, and would be another when loaded; give "
                f"each its own{spawn}, or name one in `transient`."
            )

    def _named(self, thing: Any, kind: str, where: str) -> dict[str, Any]:
        name = self._names.get(id(thing))
        if name is not None:
            return {kind: name}
        name = thing.__name__
        if not name.isidentifier():
            raise TypeError(
                f"{where}: a function without a name cannot be saved; give it one with def, and pass it in "
                f"custom_objects when loading."
            )
        if "/attributes/" in where and "<locals>" in thing.__qualname__:
            raise TypeError(f"{where}: {thing.__qualname__} cannot be saved, a function made within another.")
        if self.custom.setdefault(name, thing) is not thing:
            raise ValueError(f"{where}: there are two different things called {name}; rename one of them.")
        return {f"$custom_{kind[1:]}": name}

    def _place(self, array: Array, where: str) -> str:
        """Note an array under a name that a file's member can have, and no other has."""
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if "/attributes/" in where:
            self._only_once(root, where, "memory")
        name = re.sub(r"[^\w .+/-]", "_", where)[:200]
        while name in self.arrays:
            name += "_"
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

    def _dict(self, values: dict[Any, Any], where: str) -> dict[str, Any]:
        if all(type(key) is str and not key.startswith("$") for key in values):
            return {key: self.value(value, f"{where}/{key.replace('/', '_')[:50]}") for key, value in values.items()}
        return {"$dict": self._pairs(values, where)}

    def _collection(self, values: Any, where: str) -> dict[str, Any]:
        kind, more = type(values), getattr(values, "maxlen", None)
        if isinstance(values, dict):
            factory = getattr(values, "default_factory", None)
            if factory is not None and factory not in _FACTORIES:
                raise TypeError(f"{where}: a defaultdict of {shown(factory)} cannot be saved; of int or list it can.")
            more, content = factory and factory.__name__, self._pairs(values, where)
        else:
            items = values if kind is collections.deque else sorted(values, key=repr)
            content = [self.value(item, f"{where}/{i}") for i, item in enumerate(items)]
        return {"$collection": kind.__name__, "items": content, "more": more}

    def _pairs(self, values: dict[Any, Any], where: str) -> list[Any]:
        pairs = enumerate(values.items())
        return [[self.value(k, f"{where}/key"), self.value(v, f"{where}/{i}")] for i, (k, v) in pairs]


class Decoder:
    """Turns JSON into values. read(name) gives an array; names come from ``library`` and ``custom``.

    Raises ValueError for JSON that no Encoder has made.
    """

    def __init__(self, read: Callable[[str], Array], library: Names, custom: Names) -> None:
        self.read, self.library, self.custom = read, library, custom
        self._known: list[np.random.Generator] = []
        self._listed = self._depth = 0

    def value(self, data: Any) -> Any:
        """The value that ``data`` stands for."""
        if isinstance(data, PLAIN):
            return data
        if isinstance(data, list):
            return [self.value(item) for item in data]
        tag = next(iter(data), "")
        if not any(key.startswith("$") for key in data):
            return {key: self.value(item) for key, item in data.items()}
        decode: dict[str, Callable[[Any], Any]] = {
            "$float": _float,
            "$tuple": lambda items: tuple(self.value(item) for item in checked(items, list, tag)),
            "$dict": self._dict,
            "$array": lambda name: self.read(checked(name, str, tag)),
            "$floats": lambda name: self._column(name, np.float64),
            "$ints": lambda name: self._column(name, np.int64),
            "$generator": self._stream,
            "$stream": lambda number: self._known[checked(number, int, tag)],
            "$seed": seed_from_data,
            "$function": lambda name: _lookup(self.library, name, FunctionType | type),
            "$custom_function": lambda name: _lookup(self.custom, name, object),
        }
        if tag in ("$object", "$custom_object"):
            return self.object(data, Configurable)[0]
        if tag == "$number" and data.keys() == {"$number", "value"}:
            return _number(data[tag], self.value(data["value"]))
        if tag == "$collection" and data.keys() == {"$collection", "items", "more"}:
            return self._collection(**{key.lstrip("$"): value for key, value in data.items()})
        if tag not in decode or len(data) > 1:
            raise ValueError(f"its manifest has an object {shown(tag)} that is unknown")
        return decode[tag](data[tag])

    def object(self, data: Any, kind: type[Configurable], again: bool = False) -> tuple[Any, dict[str, Any]]:
        """The object of that kind that ``data`` describes, made anew, and the attributes that it was given.

        again: whether it is to be given them again, after something may have changed them.
        """
        tag = next(iter(checked(data, dict, "an object")), "")
        if tag not in ("$object", "$custom_object") or data.keys() != {tag, "config", "attributes"}:
            raise ValueError("its manifest has an object that is not of a class, config and attributes")
        of_kind = _lookup(self.library if tag == "$object" else self.custom, data[tag], type)
        if not issubclass(of_kind, kind):
            raise ValueError(f"{data[tag]} is no {kind.__name__}")
        if not self._depth:
            self._known = []
        self._depth += 1
        if self._depth > _DEEPEST_OBJECT:
            raise ValueError(f"its manifest has objects in objects, more than {_DEEPEST_OBJECT} deep")
        config, attributes = (
            {key: self.value(item) for key, item in checked(data[part], dict, part).items()}
            for part in ("config", "attributes")
        )
        self._depth -= 1
        thing = of_kind.from_config(_own_streams(config))  # from which a constructor may draw
        object.__setattr__(thing, "_config", {**thing._config, **config})
        put_back(thing, copy.deepcopy(attributes) if again else attributes)
        return thing, attributes

    def _dict(self, pairs: Any) -> dict[Any, Any]:
        decoded = {}
        for pair in checked(pairs, list, "$dict"):
            key, value = checked(pair, list, "$dict")
            decoded[self.value(key)] = self.value(value)
        return decoded

    def _stream(self, data: Any) -> np.random.Generator:
        self._known.append(generator_from_data(data))
        return self._known[-1]

    def _collection(self, collection: Any, items: Any, more: Any) -> Any:
        kind = {kind.__name__: kind for kind in _COLLECTIONS}.get(checked(collection, str, "$collection"))
        if kind is None:
            raise ValueError(f"its manifest has a collection {shown(collection)}")
        if issubclass(kind, dict):
            factory = {factory.__name__: factory for factory in _FACTORIES}.get(more)
            return kind(factory, self._dict(items)) if kind is collections.defaultdict else kind(self._dict(items))
        content = [self.value(item) for item in checked(items, list, "$collection")]
        return collections.deque(content, more) if kind is collections.deque else kind(content)

    def _column(self, name: Any, dtype: Any) -> list[Any]:
        array = self.read(checked(name, str, "a list"))
        self._listed += array.size
        if array.ndim != 1 or array.dtype != dtype or self._listed > _LONGEST:
            raise ValueError(f"the list {shown(name)} is an array of shape {array.shape}, {array.dtype}")
        return list(array.tolist())


def _own_streams(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments with copies of those that are random streams or hold objects, lists or dicts."""
    kept = (*PLAIN, np.generic, np.ndarray)
    return {name: value if isinstance(value, kept) else copy.deepcopy(value) for name, value in config.items()}


def unknown_names(data: Any, library: Names, custom: Names) -> tuple[set[str], set[str]]:
    """The names in ``data`` that are not in the library, and those that are not in ``custom``."""
    strange: set[str] = set()
    missing: set[str] = set()
    for part in _parts(data):
        for tag, table, found in (
            ("$object", library, strange),
            ("$function", library, strange),
            ("$custom_object", custom, missing),
            ("$custom_function", custom, missing),
        ):
            if isinstance(part.get(tag), str) and part[tag] not in table:
                found.add(part[tag][:80])
    return strange, missing


def _parts(data: Any) -> Iterator[dict[str, Any]]:
    """All objects within ``data``, however deep."""
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _lookup(table: Names, name: Any, kind: Any) -> Any:
    thing = table.get(checked(name, str, "a name"))
    if not isinstance(thing, kind):
        raise ValueError(f"{shown(name)} is unknown here")
    return thing


def _float(name: Any) -> float:
    if name not in ("nan", "inf", "-inf"):
        raise ValueError(f"its manifest has the number {shown(name)}")
    return float(name)


def _number(kind: Any, value: Any) -> Any:
    if not re.fullmatch(r"<f[248]|<[iu][248]|\|[iu]1|\|b1", checked(kind, str, "$number")):
        raise ValueError(f"its manifest has a number of the kind {shown(kind)}")
    if not isinstance(value, bool | int | float):
        raise ValueError("its manifest has a number that is none")
    return np.array(value, kind)[()]


class Remembered:
    """A value as it was, to tell later whether it still is."""

    def __init__(self, value: Any) -> None:
        self._value = value
        with suppress(Exception):  # a collection of files, for example, is its own copy
            self._value = copy.deepcopy(value) if isinstance(value, (list, dict, *_COLLECTIONS)) else value
        self._was = fingerprint(value)

    def again(self) -> Any:
        """The value that it was; an array, or a thing of the user's, as it is now."""
        return copy.deepcopy(self._value) if isinstance(self._value, (list, dict, *_COLLECTIONS)) else self._value

    def is_still(self, value: Any) -> bool:
        """Whether ``value`` is what it was."""
        return bool(fingerprint(value) == self._was)


def fingerprint(value: Any) -> Any:
    """What tells a value from others, in little space; of what is no data, what pickle says of it, or which it is."""
    encoder = Encoder({})
    try:
        text = repr(encoder.value(value, ""))
    except (TypeError, ValueError):
        try:
            return zlib.crc32(pickle.dumps(value))
        except Exception:  # a file, for example, or a thing of a class within a function
            inside = vars(value) if type(value).__bases__ == (object,) and hasattr(value, "__dict__") else {}
            return id(value), [(name, fingerprint(item)) for name, item in inside.items() if item is not value]
    return text, [(a.dtype.str, a.shape, zlib.crc32(np.ascontiguousarray(a).data)) for a in encoder.arrays.values()]


def is_data(value: Any) -> bool:
    """Whether an Encoder takes it."""
    try:
        Encoder({}).value(value, "")
    except (TypeError, ValueError):
        return False
    return True
