"""Python values as JSON and arrays, and back: data only, nothing that a file could make run.

What JSON does not know is an object whose first key begins with ``$``: ``{"$tuple": [1, 2]}``. Objects of the
library and of the user's are their class's name and their constructor's arguments, and the attributes that have
changed since: ``{"$object": "Dense", "config": {"units": 3}, "attributes": {}}``. Names are looked up in a table that
is fixed, or in the one that the caller passes; nothing is imported, and nothing is found by a path.
"""

from __future__ import annotations

import inspect
import math
import numbers
import re
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from minidense.arguments import Configurable, checked
from minidense.types import Array

Names = Mapping[str, Any]
"""Classes and functions by name."""

_PLAIN = (type(None), bool, str, int, float)
_MANY = 16  # a list of so many numbers is an array


class Encoder:
    """Turns values into JSON, noting their arrays in ``arrays`` and what is not the library's own in ``custom``."""

    def __init__(self, library: Names, streams: bool = True) -> None:
        self.names = {id(thing): name for name, thing in library.items()}
        self.streams = streams
        self.arrays: dict[str, Array] = {}
        self.custom: dict[str, Any] = {}

    def value(self, value: Any, where: str) -> Any:
        """``value`` as JSON; TypeError where it is no data. where: its place, which its arrays are named by."""
        kind = type(value)
        if kind is float or kind is np.float64:
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if kind in _PLAIN:
            return value
        if kind is list:
            return self._list(value, where)
        if kind is tuple:
            return {"$tuple": [self.value(item, f"{where}/{i}") for i, item in enumerate(value)]}
        if kind is dict:
            return self._dict(value, where)
        if kind is np.ndarray and value.dtype.kind in "biufU":
            return {"$array": self._place(value, where)}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf":
            return {"$number": value.dtype.str, "value": self.value(value.item(), where)}
        if isinstance(value, np.random.Generator):
            state = value.bit_generator.state
            return {"$generator": _plain_state(state) if self.streams else state["bit_generator"]}
        if isinstance(value, np.random.SeedSequence):
            return {"$seed": [self.value(part, where) for part in _seed_parts(value)]}
        if isinstance(value, Configurable):
            return self.object(value, where)
        if isinstance(value, FunctionType | type | np.ufunc) or inspect.isbuiltin(value):
            return self._named(value, "$function", where)
        raise TypeError(
            f"{where}: {_shown(value)} cannot be saved; numbers, text, arrays and lists of them can. What need not be, "
            f"a layer names in its `caches`, and a callback in its `transient`."
        )

    def object(self, thing: Configurable, where: str, fresh: Configurable | None = None) -> dict[str, Any]:
        """An object by its class, its arguments, and what has changed since it was made.

        fresh: what making it anew gives, where that takes more than its arguments. TypeError or ValueError where it
        could not be made anew.
        """
        config = {name: self.value(value, f"{where}/config/{name}") for name, value in thing.get_config().items()}
        if fresh is None:
            fresh = remade(thing, where)
        if not self.alike(fresh.get_config(), thing.get_config()):
            raise ValueError(f"{where}: {thing!r} cannot be saved: made anew, it has other arguments, {fresh!r}.")
        changed = self._changes(thing, fresh)
        check_attributes(fresh, changed)
        attributes = {name: self.value(value, f"{where}/attributes/{name}") for name, value in changed.items()}
        return {**self._named(type(thing), "$object", where), "config": config, "attributes": attributes}

    def _changes(self, thing: Configurable, fresh: Configurable) -> dict[str, Any]:
        """The attributes that are not what they are in a new object.

        Arrays and things that are no data, of which a new object has not even the name, are taken for caches.
        """
        new = fresh.attributes()
        return {
            name: value
            for name, value in thing.attributes().items()
            if (name in new and not (value is new[name] or self.alike(value, new[name])))
            or (name not in new and _is_data(value) and not _has_arrays(value))
        }

    def _named(self, thing: Any, kind: str, where: str) -> dict[str, Any]:
        name = self.names.get(id(thing))
        if name is not None:
            return {kind: name}
        name = thing.__name__
        if not name.isidentifier():
            raise TypeError(
                f"{where}: a function without a name cannot be saved; give it one with def, and pass it in "
                f"custom_objects when loading."
            )
        if self.custom.setdefault(name, thing) is not thing:
            raise ValueError(f"{where}: there are two different things called {name}; rename one of them.")
        return {f"$custom_{kind[1:]}": name}

    def _place(self, array: Array, where: str) -> str:
        """Note an array under a name that a file's member can have, and no other has."""
        name = re.sub(r"[^\w .+/-]", "_", where)
        while name in self.arrays:
            name += "_"
        self.arrays[name] = array
        return name

    def _list(self, values: list[Any], where: str) -> Any:
        if len(values) >= _MANY and all(type(value) is float for value in values):
            return {"$floats": self._place(np.array(values), where)}
        if len(values) >= _MANY and all(type(value) is int and abs(value) < 2**63 for value in values):
            return {"$ints": self._place(np.array(values, np.int64), where)}
        return [self.value(value, f"{where}/{i}") for i, value in enumerate(values)]

    def _dict(self, values: dict[Any, Any], where: str) -> dict[str, Any]:
        if all(type(key) is str and not key.startswith("$") for key in values):
            return {key: self.value(value, f"{where}/{key}") for key, value in values.items()}
        pairs = enumerate(values.items())
        return {"$dict": [[self.value(k, where), self.value(v, f"{where}/{i}")] for i, (k, v) in pairs]}

    def alike(self, a: Any, b: Any) -> bool:
        """Whether two values would be saved as the same; of what is no data, whether nothing tells them apart."""
        one, other = Encoder({}, self.streams), Encoder({}, self.streams)
        one.names = other.names = self.names
        try:
            if repr(one.value(a, "")) != repr(other.value(b, "")) or one.custom != other.custom:
                return False
        except (TypeError, ValueError):
            return _interchangeable(a, b, self.alike)
        return all(_identical(array, other.arrays[name]) for name, array in one.arrays.items())


def remade(thing: Configurable, where: str) -> Configurable:
    """A new object from the same arguments."""
    try:
        return type(thing).from_config(thing.get_config())
    except Exception as error:
        raise ValueError(f"{where}: {thing!r} cannot be saved: made anew from its arguments, {error!r}.") from error


def put_back(thing: Configurable, attributes: Mapping[str, Any]) -> None:
    """Set attributes that have been saved; ValueError for those that cannot be the object's."""
    check_attributes(thing, attributes)
    for name, value in attributes.items():
        if isinstance(inspect.getattr_static(type(thing), name, None), property):
            setattr(thing, name, value)
        else:
            thing.__dict__[name] = value


def check_attributes(thing: Configurable, attributes: Mapping[str, Any]) -> None:
    """ValueError for attributes that could not be set: methods, what is the library's own, another kind of thing."""
    present = thing.attributes()
    for name, value in attributes.items():
        of_class = inspect.getattr_static(type(thing), name, None)
        fixed = isinstance(of_class, FunctionType | classmethod | staticmethod) or (
            hasattr(of_class, "__set__") and getattr(of_class, "fset", None) is None
        )
        if fixed or name in thing.transient or name.startswith("__") or not name.isidentifier():
            raise ValueError(f"{type(thing).__name__} has no attribute {name!r} that could be saved and set")
        before = present.get(name)
        own = type(thing).__module__.startswith("minidense.") and not isinstance(of_class, property)
        if own and isinstance(before, bool | str | int | float) and _kind(before) is not _kind(value):
            raise ValueError(f"{type(thing).__name__}: {name} is {before!r}, and cannot become {_shown(value)}")


class Decoder:
    """Turns JSON into values. read(name) gives an array; names come from ``library`` and ``custom``.

    Raises ValueError for JSON that no Encoder has made.
    """

    def __init__(self, read: Callable[[str], Array], library: Names, custom: Names) -> None:
        self.read, self.library, self.custom = read, library, custom

    def value(self, data: Any) -> Any:
        """The value that ``data`` stands for."""
        if isinstance(data, _PLAIN):
            return data
        if isinstance(data, list):
            return [self.value(item) for item in data]
        tag = next(iter(data), "")
        if not tag.startswith("$"):
            return {key: self.value(item) for key, item in data.items()}
        decode: dict[str, Callable[[Any], Any]] = {
            "$float": self._float,
            "$tuple": lambda items: tuple(self.value(item) for item in checked(items, list, tag)),
            "$dict": self._dict,
            "$array": lambda name: self.read(checked(name, str, tag)),
            "$floats": lambda name: self._column(name, np.float64),
            "$ints": lambda name: self._column(name, np.int64),
            "$generator": _generator,
            "$seed": lambda parts: _seed(self.value(checked(parts, list, tag))),
            "$function": lambda name: _lookup(self.library, name, FunctionType | type),
            "$custom_function": lambda name: _lookup(self.custom, name, object),
        }
        if tag in ("$object", "$custom_object"):
            return self.object(data, Configurable)
        if tag == "$number" and data.keys() == {"$number", "value"}:
            return _number(data[tag], self.value(data["value"]))
        if tag not in decode or len(data) > 1:
            raise ValueError(f"its manifest has an object {tag!r} that is unknown")
        return decode[tag](data[tag])

    def object(self, data: Any, kind: type[Configurable]) -> Any:
        """The object of that kind that ``data`` describes, made anew."""
        tag = next(iter(checked(data, dict, "an object")), "")
        if tag not in ("$object", "$custom_object") or data.keys() != {tag, "config", "attributes"}:
            raise ValueError("its manifest has an object that is not of a class, config and attributes")
        of_kind = _lookup(self.library if tag == "$object" else self.custom, data[tag], type)
        if not issubclass(of_kind, kind):
            raise ValueError(f"{data[tag]} is no {kind.__name__}")
        thing = of_kind.from_config(self._of_strings(data["config"]))
        put_back(thing, self._of_strings(data["attributes"]))
        return thing

    def _of_strings(self, data: Any) -> dict[str, Any]:
        return {key: self.value(item) for key, item in checked(data, dict, "an object's part").items()}

    def _float(self, name: Any) -> float:
        if name not in ("nan", "inf", "-inf"):
            raise ValueError(f"its manifest has the number {name!r}")
        return float(name)

    def _dict(self, pairs: Any) -> dict[Any, Any]:
        decoded = {}
        for pair in checked(pairs, list, "$dict"):
            key, value = checked(pair, list, "$dict")
            decoded[self.value(key)] = self.value(value)
        return decoded

    def _column(self, name: Any, dtype: Any) -> list[Any]:
        array = self.read(checked(name, str, "a list"))
        if array.ndim != 1 or array.dtype != dtype:
            raise ValueError(f"the list {name!r} is an array of shape {array.shape}, {array.dtype}")
        return list(array.tolist())


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
            if tag in part and (not isinstance(part[tag], str) or part[tag] not in table):
                found.add(str(part[tag]))
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
        raise ValueError(f"{name!r} is unknown here")
    return thing


def _is_data(value: Any) -> bool:
    try:
        Encoder({}).value(value, "")
    except (TypeError, ValueError):
        return False
    return True


def _has_arrays(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_arrays(item) for item in value.values())
    return isinstance(value, np.ndarray) or (isinstance(value, list | tuple) and any(_has_arrays(v) for v in value))


def _identical(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _interchangeable(a: Any, b: Any, alike: Callable[[Any, Any], bool]) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, FunctionType | BuiltinFunctionType | MethodType):
        return True
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    return bool(a == b) or (hasattr(a, "__dict__") and alike(vars(a), vars(b)))


def is_plain(value: Any) -> bool:
    """Whether it is nothing, or a number, or text."""
    return isinstance(value, (*_PLAIN, np.generic))


def _kind(value: Any) -> type:
    return type(value) if isinstance(value, bool) or not isinstance(value, numbers.Real) else float


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"


def _number(kind: Any, value: Any) -> Any:
    if not re.fullmatch(r"<f[248]|<[iu][248]|\|[iu]1|\|b1", checked(kind, str, "$number")):
        raise ValueError(f"its manifest has a number of the kind {kind!r}")
    return np.array(value, kind)[()]


# ---------------------------------------------------------------------- random streams

_LARGEST = {"state": 2**128, "inc": 2**128, "has_uint32": 2, "uinteger": 2**32, "pos": 625, "buffer_pos": 5}
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def _plain_state(state: Any) -> Any:
    """A bit generator's state with its arrays as lists."""
    if isinstance(state, dict):
        return {key: _plain_state(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _generator(data: Any) -> np.random.Generator:
    """The random stream in that state, every number of which has been checked to be one that it can have."""
    name = checked(data, dict, "a random stream").get("bit_generator")
    if name not in _BIT_GENERATORS:
        raise ValueError(f"its manifest has a random stream of the kind {name!r}")
    bits = getattr(np.random, name)(0)
    bits.state = _like(data, bits.state, "")
    return np.random.Generator(bits)


def _like(data: Any, example: Any, key: str) -> Any:
    fits: bool
    if isinstance(example, dict):
        if isinstance(data, dict) and data.keys() == example.keys():
            return {name: _like(data[name], example[name], name) for name in example}
        fits = False
    elif isinstance(example, np.ndarray):
        limit = 2 ** (8 * example.itemsize)
        fits = isinstance(data, list) and len(data) == len(example)
        if fits and all(type(number) is int and 0 <= number < limit for number in data):
            return np.array(data, example.dtype)
        fits = False
    elif isinstance(example, str):
        fits = data == example
    else:
        fits = type(data) is int and 0 <= data < _LARGEST[key]
    if not fits:
        raise ValueError("its manifest has a random stream in an impossible state")
    return data


def _seed_parts(seed: np.random.SeedSequence) -> list[Any]:
    entropy = seed.entropy
    whole = entropy if entropy is None or isinstance(entropy, int) else [int(part) for part in np.atleast_1d(entropy)]
    return [whole, list(seed.spawn_key), seed.pool_size]


def _seed(parts: list[Any]) -> np.random.SeedSequence:
    entropy, spawn_key, pool_size = parts
    numbers = [*(entropy if isinstance(entropy, list) else [entropy]), *checked(spawn_key, list, "$seed"), pool_size]
    if not all(type(number) is int and number >= 0 for number in numbers) or not 4 <= pool_size <= 64:
        raise ValueError("its manifest has a seed that is none")
    return np.random.SeedSequence(entropy, spawn_key=tuple(spawn_key), pool_size=pool_size)
