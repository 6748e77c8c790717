"""Checks of arguments, with errors that suggest the nearest valid name."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

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


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """``table[name]``. Raises a ValueError that lists the known names if there is no such name.

    >>> lookup("fruit", "pear", {"pear": 1})
    1
    """
    if name in table:
        return table[name]
    known = ", ".join(map(repr, sorted(table)))
    raise ValueError(f"unknown {kind} {shown(name)}.{nearest(name, table)} Known: {known}.")


def whole_number(name: str, value: Any, at_least: int = 1) -> int:
    """``value`` as an int. Raises TypeError for anything else, True included, and ValueError below ``at_least``.

    >>> whole_number("units", 3)
    3
    """
    if type(value) is int and value >= at_least:  # by far the most frequent
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected a whole number, got {shown(value)} ({type(value).__name__}).")
    if value < at_least:
        raise ValueError(f"{name}: expected a whole number of at least {at_least}, got {shown(value)}.")
    return int(value)


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
    number = float(value)
    if not (math.isfinite(number) and above < number < below and number >= at_least):
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"at least {at_least:g}"] * (at_least > -math.inf)
        bounds += [f"below {below:g}"] * (below < math.inf)
        raise ValueError(f"{name}: expected a finite number {' and '.join(bounds)}, got {shown(value)}.")
    return number


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
    meant = _ELSEWHERE.get(name, "")
    if meant.split(".")[0] not in known:
        import difflib

        meant = next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), "")
    if meant:
        kind = type(thing).__name__
        raise AttributeError(f"{kind} has no attribute {name!r}; setting it has no effect. Set {meant!r} instead.")


def _annotated(kind: type) -> set[str]:
    """The attributes that a class and its bases announce by annotations, such as ``W: Array``."""
    return {name for base in kind.__mro__ for name in inspect.get_annotations(base)}


_ELSEWHERE = {
    "lr": "learning_rate",
    "eta": "learning_rate",
    "decay": "weight_decay",
    "p": "rate",
    "kernel": "W",
    "weight": "W",
    "bias": "b",
    "learning_rate": "optimizer.learning_rate",
    "requires_grad": "trainable",
}
"""What Keras or PyTorch call an attribute, and what it is called here."""


def check_keywords(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first keyword that ``what`` does not take."""
    known = [name for name in known if name != "self"]
    for keyword in given:
        if keyword not in known:
            takes = f"It takes: {', '.join(known)}." if known else "It takes no arguments."
            raise TypeError(f"{what} takes no keyword {shown(keyword)}.{nearest(keyword, known)} {takes}")


def known_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: an unknown keyword is a TypeError that suggests the nearest known one."""
    known = list(inspect.signature(function).parameters)
    accepted = frozenset(known)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs and not accepted.issuperset(kwargs):
            check_keywords(f"{function.__qualname__}()", kwargs, known)
        return function(*args, **kwargs)

    return checked
