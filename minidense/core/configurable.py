"""``Configurable``: base of objects that remember their constructor's arguments and name what else is saved."""

from __future__ import annotations

import ast
import collections
import functools
import inspect
import numbers
from abc import ABCMeta
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from minidense.core.arguments import check_attribute, check_keywords, nearest, shown

LIBRARY: dict[str, type[Configurable]] = {}
"""The library's own classes by name. A class registers itself: ``class Dense(Layer, library=True)``."""

_OF_DATACLASS = "_HAS_DEFAULT_FACTORY_CLASS"  # placeholder for a dataclass default that a factory makes


@functools.lru_cache(maxsize=512)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def signature_of(kind: type) -> inspect.Signature:
    """The constructor's parameters, ``self`` first; for a class without a constructor only ``self``."""
    return _signature(kind.__init__ if kind.__init__ is not object.__init__ else _no_arguments)  # type: ignore[misc]


def _no_arguments(self: Any) -> None: ...


class _Remembering(ABCMeta):
    """Metaclass that records the constructor's arguments; an ABCMeta, so that abstract bases can be mixed in."""

    _common: tuple[str, ...]

    @property
    def __signature__(cls) -> inspect.Signature:
        signature = signature_of(cls)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        takes = signature_of(cls).parameters
        common = {name: kwargs.pop(name) for name in cls._common if name in kwargs and name not in takes}
        config = cls._bound(args, kwargs)
        self = super().__call__(*args, **kwargs)
        self._remember(config)
        if common:
            self._take_common(common)
        return self

    def _bound(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, defaults included. Raises TypeError for those the constructor does not take."""
        signature = signature_of(cls)
        known = list(signature.parameters)[1:]
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            check_keywords(cls.__name__, kwargs, [*known, *cls._common])
        try:
            bound = signature.bind(None, *args, **kwargs)
        except TypeError as error:
            takes = f"It takes: {', '.join(known)}." if known else "It takes no arguments."
            raise TypeError(f"{cls.__name__}: {error}. {takes}") from None
        bound.apply_defaults()
        given = list(bound.arguments.items())[1:]
        return {name: value for name, value in given if type(value).__name__ != _OF_DATACLASS}


class Configurable(metaclass=_Remembering):
    """An object that remembers its constructor's arguments, for its ``repr`` and ``get_config``.

    Subclasses need no code for this, not even ``super().__init__()``. An attribute with the name of an argument *is*
    that argument: a value assigned later is checked by the constructor and appears in ``get_config``. Of the library's
    own classes, an attribute whose name is close to that of another one cannot be set: it would have no effect.

    >>> class Gain(Configurable):
    ...     def __init__(self, amount, bias=0.0):
    ...         self.amount = float(amount)
    >>> gain = Gain(3)
    >>> gain.amount = 4
    >>> gain, gain.get_config()
    (Gain(4), {'amount': 4, 'bias': 0.0})
    """

    saved: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that are saved besides the arguments: numbers, bools, strings, arrays, or lists and
    dicts of them. Those named by base classes are saved too."""

    _common: ClassVar[tuple[str, ...]] = ()
    """Keywords that all subclasses take, whatever their constructors take."""

    _config: Mapping[str, Any] = MappingProxyType({})  # while the constructor runs
    _of_library: ClassVar[bool] = False

    def __init_subclass__(cls, library: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.saved, tuple | list) or not all(isinstance(name, str) for name in cls.saved):
            raise TypeError(
                f"{cls.__name__}: saved: expected a tuple of names, got {shown(cls.saved)}; a tuple with one name "
                f"needs a comma: saved = ('best',)."
            )
        cls._of_library = library
        if library:
            LIBRARY[cls.__name__] = cls

    def _remember(self, config: dict[str, Any]) -> None:
        """Record the arguments after the constructor has run: from now on, such an attribute sets its argument."""
        self.__dict__["_config"] = config

    def _take_common(self, given: dict[str, Any]) -> None:
        """Take keywords of ``_common``."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, defaults included, by name."""
        return dict(self._config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A new object from the arguments that ``get_config`` returned. Raises TypeError for unknown ones."""
        signature = signature_of(cls)
        first, *known = signature.parameters
        check_keywords(cls.__name__, config, [*known, *cls._common])
        common = {name: value for name, value in config.items() if name in cls._common and name not in known}
        own = {name: value for name, value in config.items() if name not in common}
        bound = inspect.BoundArguments(signature, collections.OrderedDict({first: None, **own}))
        return cls(*bound.args[1:], **bound.kwargs, **common)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._config:
            self._set_argument(name, value)
        else:
            if self._of_library and self._config:
                check_attribute(self, name)
            object.__setattr__(self, name, value)

    def _set_argument(self, name: str, value: Any) -> None:
        """Set the attribute to what the constructor makes of ``value``, with all other arguments unchanged."""
        config = {**self._config, name: value}
        made = type(self).from_config(config)
        self.__dict__["_config"] = config
        object.__setattr__(self, name, vars(made).get(name, value))

    def __repr__(self) -> str:
        return call_of(type(self), self.get_config(), _short)


def call_of(kind: type[Configurable], config: Mapping[str, Any], text_of: Callable[[Any], str]) -> str:
    """The call of a constructor as text, ``Dropout(0.5)``, without the arguments that equal their defaults."""
    parts: list[str] = []
    parameters = signature_of(kind).parameters
    for name, value in config.items():
        if name not in parameters:  # an overridden get_config may have more
            if name in kind._common:
                parts.append(f"{name}={text_of(value)}")
            continue
        way, default = parameters[name].kind, parameters[name].default
        if way is inspect.Parameter.VAR_POSITIONAL:
            parts += map(text_of, value)
        elif way is inspect.Parameter.VAR_KEYWORD:
            parts += [f"{keyword}={text_of(item)}" for keyword, item in value.items()]
        elif default is inspect.Parameter.empty:
            parts.append(text_of(value))
        elif value is not default and (text := text_of(value)) != text_of(default):
            parts.append(f"{name}={text}")
    return f"{kind.__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    return f"<array of shape {value.shape}>" if isinstance(value, np.ndarray) and value.ndim else repr(value)


def saved_names(kind: type[Configurable]) -> list[str]:
    """The names in ``saved`` of a class and its bases, without duplicates, the bases' first."""
    names = [name for base in reversed(kind.__mro__) for name in base.__dict__.get("saved", ())]
    return list(dict.fromkeys(names))


def state_dict(thing: Configurable) -> dict[str, Any]:
    """The state dict of ``thing``: the attributes named in ``saved``. ValueError if one is missing or cannot be saved.

    >>> class Counter(Configurable):
    ...     saved = ("count",)
    ...     count = 0
    >>> state_dict(Counter())
    {'count': 0}
    """
    state = {}
    for name in saved_names(type(thing)):
        if not hasattr(thing, name):
            guess = nearest(name, vars(thing))
            raise ValueError(f"{thing!r} names {name!r} in `saved`, but has no such attribute.{guess}")
        state[name] = getattr(thing, name)
        _check_is_state(type(thing), name, state[name])
    return state


def load_state_dict(thing: Configurable, state: Mapping[str, Any]) -> None:
    """Set the attributes from a state dict; first, ``check_state_dict`` raises ValueError if it does not fit.

    >>> counter = type("Counter", (Configurable,), {"saved": ("count",), "count": 0})()
    >>> load_state_dict(counter, {"count": 3})
    >>> counter.count
    3
    """
    check_state_dict(thing, state)
    for name, value in state.items():
        object.__setattr__(thing, name, value)


def check_state_dict(thing: Configurable, state: Mapping[str, Any]) -> None:
    """Raise ValueError unless ``state`` has the names that ``thing`` saves, with values of the annotated types."""
    kind = type(thing)
    names = saved_names(kind)
    if missing := [name for name in names if name not in state]:
        raise ValueError(f"{kind.__name__} saves {missing[0]!r}, which is missing in the file.")
    if others := [name for name in state if name not in names]:
        raise ValueError(f"{kind.__name__} does not save {shown(others[0])}, which is in the file.")
    for name, value in state.items():
        _check_is_state(kind, name, value)
        expected = _annotated(kind, name)
        if not _is_of(value, expected):
            raise ValueError(f"{kind.__name__}: {name} must be of type {expected}; the file has {shown(value)}.")


def _check_is_state(kind: type, name: str, value: Any, depth: int = 0) -> None:
    """Raise ValueError for functions, classes, layers, models and the like, which cannot be part of a state dict."""
    if isinstance(value, list | tuple | dict):
        if depth < 50:  # anything nested more deeply cannot be saved anyway
            for item in value.values() if isinstance(value, dict) else value:
                _check_is_state(kind, name, item, depth + 1)
    elif callable(value) or isinstance(value, Configurable) or hasattr(value, "_as_layer"):
        raise ValueError(
            f"{kind.__name__}: {name} in `saved`: expected numbers, bools, strings, arrays, or lists and dicts of "
            f"them, got {shown(value)}."
        )


def _annotated(kind: type, name: str) -> str:
    """The attribute's annotation in the class or a base, such as ``"float | None"``; "Any" if there is none.

    For a property, the annotation of what it returns.
    """
    for base in kind.__mro__:
        annotation = inspect.get_annotations(base).get(name)
        of_class = base.__dict__.get(name)
        if annotation is None and isinstance(of_class, property):
            annotation = inspect.get_annotations(of_class.fget).get("return") if of_class.fget else None
        if annotation is not None:
            return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return "Any"


_KINDS: dict[str, Any] = {
    "bool": (bool, np.bool),
    "int": numbers.Integral,
    "float": numbers.Real,
    "str": str,
    "list": list,
    "dict": dict,
    "Array": np.ndarray,
}


def _is_of(value: Any, annotation: str) -> bool:
    """Whether ``value`` is of a type such as ``"dict[str, float] | None"``; names not in ``_KINDS`` match anything."""
    try:
        return _fits(value, _tree_of(annotation))
    except SyntaxError:
        return True


@functools.lru_cache(maxsize=512)
def _tree_of(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _fits(value: Any, kind: ast.expr) -> bool:
    match kind:
        case ast.BinOp(left=left, right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="int" | "float") if isinstance(value, int):
            return not isinstance(value, bool) and abs(value) < 2**1000  # larger ones cannot be used with floats
        case ast.Name(id=name):
            return isinstance(value, _KINDS.get(name, object))
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return isinstance(value, list) and all(_fits(each, item) for each in value)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, item])):
            return isinstance(value, dict) and all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    return True
