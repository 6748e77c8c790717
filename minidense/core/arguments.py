"""Checks of arguments, with errors that suggest the nearest valid name."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

from minidense.core.instead import keyword_hint

P = ParamSpec("P")
T = TypeVar("T")


def nearest(name: object, known: Iterable[str]) -> str:
    """A sentence that suggests the closest known name; "" if none is close.

    >>> nearest("ful", ["full"])
    " Did you mean 'full'?"
    """
    import difflib

    close = difflib.get_close_matches(str(name)[:80].lower(), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """``repr(value)`` for an error message, or only its type where that is long.

    >>> shown("relu"), shown("x" * 1000)
    ("'relu'", 'a str')
    """
    if isinstance(value, str | bytes | list | tuple | dict | set) and len(value) > 80:
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"


def listed(values: Iterable[Any], most: int = 10) -> str:
    """The first values for an error message, and how many more there are.

    >>> listed(["age", "fare"]), listed(range(12), most=2)
    ("'age', 'fare'", '0, 1, and 10 more')
    """
    values = list(values)
    more = [f"and {len(values) - most:,} more"] if len(values) > most else []
    return ", ".join([*map(shown, values[:most]), *more])


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """``table[name]``. Raises a ValueError that lists the known names if there is no such name, or a TypeError.

    >>> lookup("fruit", "pear", {"pear": 1})
    1
    """
    known = ", ".join(map(repr, sorted(table)))
    if not isinstance(name, str):
        raise TypeError(f"{kind}: expected one of the names {known}, got {shown(name)}.")
    if name in table:
        return table[name]
    raise ValueError(f"unknown {kind} {shown(name)}.{nearest(name, table)} Known: {known}.")


def whole_number(name: str, value: Any, at_least: int = 1) -> int:
    """``value`` as an int. Raises TypeError for anything else, True included, and ValueError below ``at_least``.

    >>> whole_number("units", 3)
    3
    """
    if type(value) is int and at_least <= value < 2**63:  # by far the most frequent
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected a whole number, got {shown(value)} ({type(value).__name__}).")
    number = int(value)
    if not at_least <= number < 2**63:
        most = "" if number < at_least else " and below 2**63"
        raise ValueError(f"{name}: expected a whole number of at least {at_least}{most}, got {shown(value)}.")
    return number


def whole_numbers(name: str, shape: Any) -> tuple[int, ...]:
    """``shape`` as a tuple of whole numbers of at least 1; an int ``n`` means ``(n,)``.

    >>> whole_numbers("input_shape", 3), whole_numbers("input_shape", (28, 28))
    ((3,), (28, 28))
    """
    return tuple(whole_number(name, size) for size in np.atleast_1d(np.array(shape, object)))


def checked(value: Any, kind: type, what: str) -> Any:
    """``value``, if it is an instance of ``kind``; raises ValueError otherwise.

    >>> checked([1], list, "a shape")
    [1]
    """
    if not isinstance(value, kind):
        raise ValueError(f"{what} is of type {type(value).__name__}, not {kind.__name__}")
    return value


def real_number(
    name: str, value: Any, *, above: float = -math.inf, at_least: float = -math.inf, below: float = math.inf
) -> float:
    """``value`` as a finite float: above ``above``, below ``below``, and at least ``at_least``.

    >>> real_number("rate", 0.5, at_least=0, below=1)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {shown(value)} ({type(value).__name__}).")
    try:
        number = float(value)
    except OverflowError:  # a large int
        number = math.inf
    if not (math.isfinite(number) and above < number < below and number >= at_least):
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"at least {at_least:g}"] * (at_least > -math.inf)
        bounds += [f"below {below:g}"] * (below < math.inf)
        raise ValueError(f"{name}: expected a finite number {' and '.join(bounds)}, got {shown(value)}.")
    return number


def text(name: str, value: Any) -> str:
    """``value``, which must be a string, and not empty. Raises TypeError and ValueError.

    >>> text("monitor", "loss")
    'loss'
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {shown(value)}.")
    if not value:
        raise ValueError(f"{name}: expected a string that is not empty.")
    return value


def file_path(name: str, value: Any) -> str:
    """The path as a string. Raises TypeError unless it is a string, bytes or os.PathLike; ValueError for an empty one.

    >>> file_path("path", "model.npz")
    'model.npz'
    """
    if not isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"{name}: expected a path such as 'model.npz', got {shown(value)}.")
    return text(name, os.fsdecode(value))


def path_to_write(name: str, value: Any) -> str:
    """``file_path``, of a file to be written. Raises ValueError for one that is named as HDF5.

    >>> path_to_write("path", "model.weights.h5")
    Traceback (most recent call last):
    ...
    ValueError: path: no HDF5 is written here, but NumPy's format: use 'model.weights.npz'.
    """
    path = file_path(name, value)
    stem, dot, ending = path.rpartition(".")
    if dot and ending.lower() in ("h5", "hdf5"):
        raise ValueError(f"{name}: no HDF5 is written here, but NumPy's format: use {stem + '.npz'!r}.")
    return path


def items(name: str, value: Any) -> list[Any]:
    """The items of a list, a tuple or an array. Raises TypeError for anything else.

    >>> items("sizes", (3, 4))
    [3, 4]
    """
    if not isinstance(value, list | tuple) and not (isinstance(value, np.ndarray) and value.ndim):
        raise TypeError(f"{name}: expected a list, got {shown(value)}.")
    return list(value)


def function_of(name: str, value: T) -> T:
    """``value``, which must be callable. Raises TypeError otherwise.

    >>> function_of("schedule", max)
    <built-in function max>
    """
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {shown(value)}.")
    return value


def flag(name: str, value: Any) -> bool:
    """``value`` as a bool. Raises TypeError for anything but True and False: the text "False" would be true.

    >>> flag("shuffle", True)
    True
    """
    if isinstance(value, bool | np.bool):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {shown(value)}.")


def check_attribute(thing: Any, name: str) -> None:
    """Raise AttributeError for a new attribute of one of the library's objects that is likely a mistake.

    That is a name close to that of an existing attribute, or what other libraries call one: setting it would have no
    effect. Other names are the user's own.
    """
    if name.startswith("_") or hasattr(thing, name):
        return
    known = [other for other in sorted({*dir(thing), *_annotated(type(thing))}) if not other.startswith("_")]
    if name in known:
        return
    meant = next((other for other in _ELSEWHERE.get(name, ()) if other.split(".")[0] in known), "")
    if not meant:
        import difflib

        meant = next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), "")
    if meant:
        kind = type(thing).__name__
        raise AttributeError(f"{kind} has no attribute {name!r}; setting it has no effect. Set {meant!r} instead.")


def _annotated(kind: type) -> set[str]:
    """The attributes that a class and its bases announce by annotations, such as ``W: Array``."""
    return {name for base in kind.__mro__ for name in inspect.get_annotations(base)}


_ELSEWHERE = {
    "lr": ("learning_rate", "optimizer.learning_rate"),
    "eta": ("learning_rate", "optimizer.learning_rate"),
    "learning_rate": ("optimizer.learning_rate",),
    "decay": ("weight_decay",),
    "p": ("rate",),
    "weight": ("W",),
    "requires_grad": ("trainable",),
}
"""What Keras or PyTorch call an attribute, and what it is called here."""


def check_keywords(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first keyword that ``what`` does not take."""
    known = [name for name in known if name != "self"]
    for keyword in given:
        if keyword not in known:
            takes = f"It takes: {', '.join(known)}." if known else "It takes no arguments."
            hint = keyword_hint(keyword) or nearest(keyword, known)
            raise TypeError(f"{what} takes no keyword {shown(keyword)}.{hint} {takes}")


def known_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: a TypeError that suggests the nearest name for an unknown keyword, and names for surplus arguments."""
    parameters = inspect.signature(function).parameters
    known, accepted = list(parameters), frozenset(parameters)
    by_position = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    most = len(by_position)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs and not accepted.issuperset(kwargs):
            check_keywords(f"{function.__qualname__}()", kwargs, known)
        if len(args) > most:
            taken = ", ".join(name for name in by_position if name != "self") or "nothing"
            others = ", ".join(f"{name}=" for name in known if name not in by_position)
            raise TypeError(
                f"{function.__qualname__}() takes {taken} by position, got {len(args) - (known[0] == 'self')} arguments"
                + (f"; pass others by name: {others}." if others else ".")
            )
        return function(*args, **kwargs)

    return checked
