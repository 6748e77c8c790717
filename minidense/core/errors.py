"""The one kind of error that is the library's own, all that is wrong said at once, and warnings at the user's line."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_MOST = 20


class CorruptFileError(ValueError):
    """The file is not what was written: it is damaged, cut off, or something else. Nothing was loaded from it."""


class Problems:
    """All that is wrong, to be said at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def noted(self, call: Callable[[], T], what: str = "") -> T | None:
        """What ``call`` returns; where it raises, note the error and return None."""
        try:
            return call()
        except (CorruptFileError, OSError):
            raise
        except Exception as error:  # a constructor of the user's may raise anything
            self.found.append(what + (str(error) or repr(error))[:1000])
            return None

    def raise_if_any(self, what: str) -> None:
        """ValueError where there are any."""
        if len(self.found) == 1:
            raise ValueError(f"{what}: {self.found[0]}")
        if self.found:
            more = [f"and {len(self.found) - _MOST} more"] if len(self.found) > _MOST else []
            raise ValueError("\n- ".join([f"{what}:", *self.found[:_MOST], *more]))


def warn(message: str) -> None:
    """A UserWarning at the line of the user's program that called the library, however deep this call is."""
    inside = os.path.dirname(os.path.dirname(__file__)) + os.sep, contextlib.__file__
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
