"""Handling of Ctrl-C, and of NumPy's floating-point error settings, during the library's long calls.

A ``guarded`` call records the first Ctrl-C and raises KeyboardInterrupt where the model is consistent: at its next
``check``, or at its end. A second Ctrl-C raises immediately, but only within ``breakable``, and there not between
``hold`` and ``release``. So neither an update, nor entering and leaving a call with its locks, is ever interrupted.

This applies in the main thread, if the program has no SIGINT handler of its own. Otherwise KeyboardInterrupt, or what
that handler raises, may come at any line.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")


class Interrupts:
    """The number of Ctrl-C since a call began, and whether a second one may raise now."""

    def __init__(self) -> None:
        self.noted = 0
        self._may_raise = False
        self._held = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self.noted += 1
        if self.noted > 1 and self._may_raise and not self._held:
            self._raise()

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C. Called where the model is consistent."""
        if self.noted:
            self._raise()

    def _raise(self) -> None:
        self._may_raise = False  # a further one does not interrupt the clean-up
        raise KeyboardInterrupt

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """A block that a second Ctrl-C interrupts at any line; the code around it undoes what the block has begun."""
        self.check()
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    def hold(self) -> None:
        """From here on no Ctrl-C raises, until ``release``."""
        self._held = True

    def release(self) -> None:
        """End ``hold``, and raise a second Ctrl-C that came meanwhile."""
        self._held = False
        if self.noted > 1 and self._may_raise:
            self._raise()


_UNDISTURBED = Interrupts()  # for calls that do not handle Ctrl-C: it never counts any
_in_charge: tuple[int, Interrupts] = (0, _UNDISTURBED)


def current() -> Interrupts:
    """The interrupts of the guarded call that this thread is in."""
    thread, interrupts = _in_charge
    return interrupts if thread == threading.get_ident() else _UNDISTURBED


def guarded(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a public method: Ctrl-C is handled as above, and NumPy's floating-point errors are ignored.

    That is whatever the program has set: the library itself checks for values that are not finite.
    """

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with np.errstate(all="ignore"):
            if (
                signal.getsignal(signal.SIGINT) is not signal.default_int_handler
                or threading.current_thread() is not threading.main_thread()
            ):
                return method(*args, **kwargs)  # within a guarded call, or Ctrl-C is handled elsewhere
            return _in_charge_of_interrupts(method, *args, **kwargs)

    return call


def quiet(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a public method: NumPy's floating-point errors are ignored in it, whatever the program has set."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with np.errstate(all="ignore"):
            return method(*args, **kwargs)

    return call


def _in_charge_of_interrupts(method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    global _in_charge
    interrupts = Interrupts()
    before = _in_charge
    signal.signal(signal.SIGINT, interrupts.note)
    try:
        _in_charge = threading.get_ident(), interrupts
        result = method(*args, **kwargs)
    finally:
        _in_charge = before
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupts.noted:
        raise KeyboardInterrupt
    return result
