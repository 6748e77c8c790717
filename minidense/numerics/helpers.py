"""Work on several threads, each with one BLAS thread, with the same bits as on a single one.

The calling thread works too, and helper threads join it if the process has idle cores. So nested calls never wait for
a thread, and many simultaneous calls do not start too many. Helpers end with the call.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from minidense.core.interrupts import Interrupts, current
from minidense.numerics import blas

T = TypeVar("T")


def each(
    pieces: Iterable[T],
    worker: Callable[[], Callable[[T], object]],
    in_turn: Callable[[T], object] | None = None,
    *,
    helpers: int = 0,
) -> None:
    """Process pieces on several threads: each calls ``worker()`` once, and what that returns for the pieces it takes.

    Pieces are taken one at a time, in order. in_turn: called with each piece after its work, also one at a time and in
    order. helpers: how many threads may help, if there are idle cores; they see the caller's context variables, and so
    its ``np.errstate``. If pieces fail, the error of the first one is raised.

    >>> squares = [0] * 4
    >>> each(range(4), lambda: lambda i: squares.__setitem__(i, i * i), helpers=1)
    >>> squares
    [0, 1, 4, 9]
    """
    work = _Work(pieces, worker, in_turn)
    interrupts = current()
    interrupts.hold()  # except between the pieces
    try:
        started = _start(work, helpers)
        work.run(interrupts)
        for thread in started:
            thread.join()
    except BaseException as error:  # if Ctrl-C is not held: helpers end after their piece
        work.fail(0, error)
        raise
    finally:
        interrupts.release()
    work.raise_first()


class _Work(Generic[T]):
    """The pieces, the number of the one whose turn it is, and the failures."""

    def __init__(
        self, pieces: Iterable[T], worker: Callable[[], Callable[[T], object]], in_turn: Callable[[T], object] | None
    ) -> None:
        self.pieces, self.worker, self.in_turn = iter(pieces), worker, in_turn
        self.taken = self.turn = 0
        self.failures: list[tuple[bool, int, BaseException]] = []
        self.changed = threading.Condition()

    def run(self, interrupts: Interrupts) -> None:
        """Take pieces until none is left or one has failed."""
        number = 0
        try:
            with blas.one_thread():
                work = self.worker()
                while True:
                    with self.changed:
                        if self.failures:
                            return
                        number = self.taken
                        try:
                            piece = next(self.pieces)
                        except StopIteration:
                            return
                        self.taken += 1
                    interrupts.release()
                    interrupts.hold()
                    work(piece)
                    if self.in_turn is not None:
                        with self.changed:
                            while self.turn != number and not self._failed(number):
                                self.changed.wait()
                        if self._failed(number):
                            return
                        self.in_turn(piece)
                        with self.changed:
                            self.turn += 1
                            self.changed.notify_all()
        except BaseException as error:
            self.fail(number, error)

    def fail(self, number: int, error: BaseException) -> None:
        """Record a failure, after which no piece is taken. KeyboardInterrupt takes precedence over errors."""
        with self.changed:
            self.failures.append((isinstance(error, Exception), number, error))
            self.changed.notify_all()

    def _failed(self, number: int) -> bool:
        """Whether a piece before that one has failed, or the work was interrupted."""
        return any(not ordinary or failed < number for ordinary, failed, _ in self.failures)

    def raise_first(self) -> None:
        """Raise the error of the first piece that failed, as a single thread would have."""
        if self.failures:
            try:
                raise min(self.failures, key=lambda failure: failure[:2])[2]
            finally:
                self.failures.clear()  # else the error and its frames would keep each other alive


def _start(work: _Work[T], wanted: int) -> list[threading.Thread]:
    """Start up to ``wanted`` helpers, as long as the process has at most one working thread per core."""
    global _running
    started: list[threading.Thread] = []
    room = min(_cores(), blas.threads()) - 1 if wanted else 0
    wanted = min(wanted, room)

    def help() -> None:
        global _running
        try:
            work.run(current())
        finally:
            with _lock:
                _running -= 1

    while len(started) < wanted:
        with _lock:
            if _running >= room:
                break
            _running += 1
        thread = threading.Thread(target=contextvars.copy_context().run, args=(help,), name="minidense helper")
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            with _lock:
                _running -= 1
            break
        started.append(thread)
    return started


_cores = blas.cores

_lock = threading.Lock()
_running = 0
"""The number of helpers in this process."""


def _in_child() -> None:
    """In a forked child there are no helpers."""
    global _running
    _running = 0
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)
