"""``Exclusive``: one thread at a time, and whoever comes meanwhile is told instead of waiting."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Exclusive:
    """A lock that a copy, an unpickled object and a forked child have anew.

    >>> alone = Exclusive()
    >>> with alone(within=False):
    ...     with alone(within=True):
    ...         alone.busy
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @property
    def busy(self) -> bool:
        """Whether some thread has it."""
        return self._lock.locked()

    def check(self) -> None:
        """Raise RuntimeError where another thread has it."""
        if self._owner not in (None, threading.get_ident()):
            raise RuntimeError(
                "the model is being trained, or changed, in another thread: wait for that before copying it, or copy "
                "it in a callback of the training."
            )

    @contextmanager
    def __call__(self, within: bool) -> Iterator[None]:
        """Have it during the block. within: the thread that has it may enter again. Raises RuntimeError for others."""
        if within and self._owner == threading.get_ident():
            yield
            return
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "the model is being trained already, or saved, in another thread or by the caller of a callback."
            )
        self._owner = threading.get_ident()
        _held.add(self)
        try:
            yield
        finally:
            _held.discard(self)
            self._owner = None
            self._lock.release()

    def __reduce__(self) -> tuple[type[Exclusive], tuple[()]]:
        return Exclusive, ()


_held: set[Exclusive] = set()


def _free_in_child() -> None:
    """In a forked child there is only the thread that forked; what the others had is free."""
    for exclusive in list(_held):
        if exclusive._owner != threading.get_ident():
            _held.discard(exclusive)
            exclusive._lock, exclusive._owner = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)
