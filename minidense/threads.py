"""How many threads the matrix products use: as many as pay.

NumPy's BLAS starts a thread on each core for all but the smallest products. For a training step of moderate size
that is a loss. Splitting a product of a few million operations saves some tens of microseconds; but a core that has
read ``theta`` in the forward pass keeps it in its cache, and the update, which writes ``theta`` from one core, then
takes several times as long. So products that read the parameters run on one thread, products that write the
gradient on all of them, and large ones on all in any case.

OpenBLAS is told through its own function. Another BLAS, or none found: nothing happens.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LARGE = 100e6
"""From so many operations (2 n d u) in its largest product, a pass is worth all threads."""

MEDIUM = 4e6
"""From so many on, a backward pass is: it writes the gradient, and reads little of theta."""


def passes(operations: float) -> tuple[int, int]:
    """The threads for a step's forward and backward pass, whose largest product has so many ``operations``.

    >>> passes(1000)
    (1, 1)
    """
    everything = available()
    if operations >= LARGE:
        return everything, everything
    return 1, everything if operations >= MEDIUM else 1


def available() -> int:
    """The number of threads that BLAS would use by itself; 1 where it cannot be told."""
    return _before if _users else _get()


@contextmanager
def controlled() -> Iterator[Callable[[int], object]]:
    """A function that sets the number of threads, process-wide; at the end of the last such block it is as before."""
    global _users, _before
    with _lock:
        if not _users:
            _before = _get()
        _users += 1
    try:
        yield _set
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _set(_before)


_lock = threading.Lock()
_users, _before = 0, 1


def _openblas() -> tuple[Callable[[int], object], Callable[[], int]]:
    try:
        numpy = importlib.import_module("numpy._core._multiarray_umath")
        library = ctypes.CDLL(numpy.__file__)  # in which to find what NumPy itself is linked to
    except (ImportError, OSError, TypeError):
        return lambda n: None, lambda: 1
    for name in ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}"):
        try:
            setter, getter = library[name.format("set_num_threads")], library[name.format("get_num_threads")]
        except AttributeError:
            continue
        setter.argtypes, setter.restype = [ctypes.c_int], None
        getter.argtypes, getter.restype = [], ctypes.c_int
        return setter, getter
    return lambda n: None, lambda: 1


_set, _get = _openblas()
