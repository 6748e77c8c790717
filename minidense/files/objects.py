"""Objects made anew from their arguments: what else can be set on them, and whether two things can be told apart."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from minidense.core.arguments import Configurable, shown
from minidense.core.types import Array

PLAIN = (type(None), bool, str, int, float)


def remade(thing: Configurable, where: str) -> Any:
    """A new object from the same arguments. ValueError where that fails."""
    if any(vars(kind).get("__slots__") for kind in type(thing).__mro__):
        raise ValueError(f"{where}: {thing!r} cannot be saved, for its class has __slots__.")
    try:
        return type(thing).from_config(copy.deepcopy(thing.get_config()))
    except Exception as error:
        raise ValueError(f"{where}: {thing!r} cannot be saved: made anew from its arguments, {error!r}.") from error


def put_back(thing: Configurable, attributes: Mapping[str, Any], strict: bool = True) -> None:
    """Set attributes that have been saved; ValueError, before any is set, for those that cannot be the object's."""
    check_attributes(thing, attributes, strict)
    for name, value in attributes.items():
        if isinstance(inspect.getattr_static(type(thing), name, None), property):
            setattr(thing, name, value)
        else:
            thing.__dict__[name] = value


def check_attributes(thing: Configurable, attributes: Mapping[str, Any], strict: bool = True) -> None:
    """ValueError for attributes that are not the object's to have.

    Those are methods, what the library keeps there itself, and, where ``strict``, of the library's own objects all
    that they do not have anyway, or that their constructor would not take.
    """
    kind, present = type(thing), thing.attributes()
    own = strict and kind.__module__.startswith("minidense.")
    for name, value in attributes.items():
        problem = f"{kind.__name__} has no attribute {shown(name)} that could be saved and set"
        of_class = inspect.getattr_static(kind, name, None)
        method = isinstance(of_class, FunctionType | classmethod | staticmethod) or (
            hasattr(of_class, "__set__") and getattr(of_class, "fset", None) is None
        )
        if method or name in thing.unsaved() or name.startswith("__") or not name.isidentifier():
            raise ValueError(problem)
        settable = kind._settable.get(name) == type(value).__name__
        if strict and name not in present and not settable and (own or _of_library(kind, name)):
            raise ValueError(problem)
        if own and name in present and not _possible(present[name], value):
            raise ValueError(f"{kind.__name__}: {name} is {shown(present[name])}, and cannot become {shown(value)}")
    arguments = {name: attributes[name] for name in attributes if name in thing.get_config()}
    if own and arguments:
        try:
            kind.from_config({**thing.get_config(), **arguments})
        except Exception as error:
            raise ValueError(f"{kind.__name__} takes no such {', '.join(arguments)}: {error}") from None


def _of_library(kind: type, name: str) -> bool:
    return any(name in vars(base) and base.__module__.startswith("minidense.") for base in kind.__mro__)


def _possible(before: Any, value: Any) -> bool:
    """Whether an attribute of the library's own can go from the one value to the other."""
    before, value = (thing.item() if isinstance(thing, np.generic) else thing for thing in (before, value))
    if before is None or value is None or callable(before):
        return True
    if isinstance(before, np.ndarray):
        return isinstance(value, np.ndarray) and value.dtype == before.dtype
    if type(before) is int:
        return type(value) is int and value >= 0
    return type(value) is type(before) or (type(before) is float and (type(value) is int or callable(value)))


def has_arrays(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_arrays(item) for item in value.values())
    return isinstance(value, np.ndarray) or (isinstance(value, list | tuple) and any(has_arrays(v) for v in value))


def identical(a: Array, b: Array) -> bool:
    same_layout = a.flags.c_contiguous == b.flags.c_contiguous
    return a.dtype == b.dtype and a.shape == b.shape and same_layout and a.tobytes() == b.tobytes()


def interchangeable(a: Any, b: Any, alike: Callable[[Any, Any], bool]) -> bool:
    """Whether nothing tells two things apart that are no data."""
    if type(a) is not type(b):
        return False
    if isinstance(a, FunctionType):
        inside = [tuple(cell.cell_contents for cell in f.__closure__ or ()) for f in (a, b)]
        defaults = [(f.__defaults__, f.__kwdefaults__) for f in (a, b)]
        return a.__code__ == b.__code__ and alike(*defaults) and alike(*inside)
    if isinstance(a, MethodType):
        of_the_objects_compared = isinstance(a.__self__, Configurable)
        return alike(a.__func__, b.__func__) and (of_the_objects_compared or alike(a.__self__, b.__self__))
    if isinstance(a, functools.partial):
        return alike((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if isinstance(a, BuiltinFunctionType):
        return bool(a == b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    try:
        return pickle.dumps(a) == pickle.dumps(b)
    except Exception:  # a class within a function, for example
        plain = type(a).__bases__ == (object,) and type(a).__dict__.get("__new__") is None and hasattr(a, "__dict__")
        return plain and alike(vars(a), vars(b))


def is_plain(value: Any) -> bool:
    """Whether it is nothing, or a number, or text."""
    return isinstance(value, (*PLAIN, np.generic))
