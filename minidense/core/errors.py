"""The library's own error class, several problems in one error, and warnings at the user's line."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 20


class CorruptFileError(ValueError):
    """The file is damaged, truncated, or was not written by this library. Nothing was loaded from it."""


class Problems:
    """Collects problems, to report all of them in one error."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def noted(self, call: Callable[[], T], what: str = "") -> T | None:
        """Return what ``call`` returns; if it raises, record the message, after ``what``, and return None."""
        try:
            return call()
        except (CorruptFileError, OSError):
            raise
        except Exception as error:  # user code may raise anything
            self.found.append(what + (str(error) or repr(error))[:1000])
            return None

    def raise_if_any(self, what: str) -> None:
        """Raise a ValueError that lists the problems, if there are any."""
        if len(self.found) == 1:
            raise ValueError(f"{what}: {self.found[0]}")
        if self.found:
            more = [f"and {len(self.found) - _MOST} more"] if len(self.found) > _MOST else []
            raise ValueError("\n- ".join([f"{what}:", *self.found[:_MOST], *more]))


def to_define(method: Callable[..., Any]) -> NotImplementedError:
    """The error of a method, bound to its object, that the object's class has to define.

    >>> class Shape:
    ...     def area(self, unit):
    ...         '''The area, a float.'''
    ...         raise to_define(self.area)
    >>> class Square(Shape): ...
    >>> Square().area("m")
    Traceback (most recent call last):
    NotImplementedError: Square has to define the method area(self, unit). The area, a float.
    """
    kind, names = type(getattr(method, "__self__", None)).__name__, ["self", *inspect.signature(method).parameters]
    what = (inspect.getdoc(method) or "").partition("\n")[0]
    return NotImplementedError(f"{kind} has to define the method {method.__name__}({', '.join(names)}). {what}")


def warn(message: str) -> None:
    """Issue a UserWarning at the line of the user's program that called the library, however deep this call is."""
    inside = os.path.dirname(os.path.dirname(__file__)) + os.sep, contextlib.__file__
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
