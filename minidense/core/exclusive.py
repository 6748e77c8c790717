"""``Exclusive``: a lock for one thread at a time, which raises an error in other threads instead of waiting."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Exclusive:
    """A lock that is free in a copy, an unpickled object and a forked child.

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
        """Whether a thread holds it."""
        return self._lock.locked()

    def check(self) -> None:
        """Raise RuntimeError if another thread holds it."""
        if self._owner not in (None, threading.get_ident()):
            raise RuntimeError(
                "the model is being trained or changed in another thread: copy it when that has ended, or in a "
                "callback of that training."
            )

    @contextmanager
    def __call__(self, within: bool) -> Iterator[None]:
        """Hold it during the block. within: the thread that holds it may enter again. RuntimeError if it is held."""
        if within and self._owner == threading.get_ident():
            yield
            return
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "the model is already being trained, saved or changed: by another thread, or by the fit that called "
                "this callback. Wait until that has ended."
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
    """A forked child has only the thread that forked: free what the other threads held."""
    for exclusive in list(_held):
        if exclusive._owner != threading.get_ident():
            _held.discard(exclusive)
            exclusive._lock, exclusive._owner = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)
