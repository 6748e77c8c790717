"""Ctrl-C, and the program's floating-point settings, around the library's long calls.

A call that is ``guarded`` notes a first Ctrl-C, and raises it where everything is whole: where the call says
``check``, or at its end. A second one raises at once, but only within ``breakable``, and there not between ``hold`` and
``release``: so neither an update that is being written nor the way in and out of a call, with its locks, is ever torn.

This holds in the main thread, and where the program has no SIGINT handler of its own; elsewhere a Ctrl-C, or whatever
that handler raises, comes at any line.
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
    """What has been noted since a call began, and whether a second Ctrl-C may raise now."""

    def __init__(self) -> None:
        self.noted = 0
        self._may_raise = False
        self._held = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self.noted += 1
        if self.noted > 1 and self._may_raise and not self._held:
            self._raise()

    def check(self) -> None:
        """Raise KeyboardInterrupt where one has been noted: everything is whole here."""
        if self.noted:
            self._raise()

    def _raise(self) -> None:
        self._may_raise = False  # what follows is the way out, which no further one disturbs
        raise KeyboardInterrupt

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """A block that a second Ctrl-C breaks off at any line; whoever is around it takes back what it has begun."""
        self.check()
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    def hold(self) -> None:
        """From here on nothing raises, until ``release``."""
        self._held = True

    def release(self) -> None:
        self._held = False
        if self.noted > 1 and self._may_raise:
            self._raise()


_UNDISTURBED = Interrupts()  # of calls that are not in charge of Ctrl-C: nothing is ever noted in it
_in_charge: tuple[int, Interrupts] = (0, _UNDISTURBED)


def current() -> Interrupts:
    """The interrupts of the guarded call that this thread is in."""
    thread, interrupts = _in_charge
    return interrupts if thread == threading.get_ident() else _UNDISTURBED


def guarded(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a public call: Ctrl-C as above, and NumPy's floating-point errors silent whatever the program has set.

    The library looks for what is not finite by itself.
    """

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with np.errstate(all="ignore"):
            if (
                signal.getsignal(signal.SIGINT) is not signal.default_int_handler
                or threading.current_thread() is not threading.main_thread()
            ):
                return method(*args, **kwargs)  # within another one, or not in charge
            return _in_charge_of_interrupts(method, *args, **kwargs)

    return call


def quiet(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a public call: NumPy's floating-point errors are silent in it, whatever the program has set."""

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
