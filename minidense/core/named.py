"""``NamedFunction``: one of Keras' functions, which stands for its name where a name is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NamedFunction:
    """A function that is passed on by its name: ``Dense(3, activation=md.activations.relu)``.

    It is pickled and saved as that name. module: the library's module that has it. doc: its docstring.
    """

    def __init__(self, module: str, name: str, function: Callable[..., Any], doc: str) -> None:
        self.__name__ = self.__qualname__ = name
        self.__module__, self.__doc__ = f"minidense.{module}", doc
        function.__name__ = function.__qualname__ = name  # for errors
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> str:
        return self.__name__

    def __repr__(self) -> str:
        return repr(self.__name__)


def name_of(thing: Any) -> Any:
    """The name that a function of the library stands for; anything else as it is.

    >>> import minidense as md
    >>> name_of(md.activations.relu), name_of("tanh")
    ('relu', 'tanh')
    """
    return thing.__name__ if isinstance(thing, NamedFunction) else thing
