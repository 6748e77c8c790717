"""OpenBLAS, as NumPy has loaded it: functions that NumPy does not expose, and the number of its threads.

With another BLAS the functions are missing, and the number of threads is left as it is.

Why set the threads? BLAS uses one per core for all but the smallest products. For small training steps this is
slower: the second core saves less time in the products than is lost because the cores must fetch the parameters and
the gradient from each other's caches. Also, a product computed by two threads differs in its last bits from one
computed by one thread, because sums are split differently. The number of threads is a setting of the whole process.
So whatever must have the same bits regardless of other threads is computed within ``one_thread()``.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Any

import numpy as np

SMALL = 4e6
"""A training step with fewer operations (2 n d u) in its largest product is faster on one thread."""

ONE_ANYWAY = 9216
"""OpenBLAS always computes a product of fewer multiplications (n d u) on one thread. Its limit is 2304 times
GEMM_MULTITHREAD_THRESHOLD, which is 4, for a matrix and a vector (interface/gemv.c), and 65536 times it for two
matrices."""


class _OpenBLAS:
    """OpenBLAS's functions, or stand-ins if NumPy uses another library."""

    def __init__(self) -> None:
        self.axpy: dict[str, Any] = {}
        self.axpby: dict[str, Any] = {}
        self.gemm: dict[str, Any] = {}
        self.set_threads: Callable[[int], object] = lambda n: None
        self.get_threads: Callable[[], int] = lambda: 1
        self.name, self.core_type = "", ""
        try:
            # Looking up a name in a library also searches the libraries it is linked to.
            path = str(importlib.import_module("numpy._core._multiarray_umath").__file__)
            library, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
        except (ImportError, OSError):
            return
        for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
            try:
                self._take(library, quick, prefix, suffix)
            except AttributeError:
                continue
            return

    def _take(self, library: ctypes.CDLL, quick: ctypes.PyDLL, prefix: str, suffix: str) -> None:
        """quick: the same library, whose functions are called without releasing the GIL."""

        def function(of: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
            found = of[f"{prefix}{name}{suffix}"]
            found.restype = result
            if arguments:
                found.argtypes = arguments
            return found

        config = function(quick, "openblas_get_config", ctypes.c_char_p)().decode()
        integer = ctypes.c_int64 if "USE64BITINT" in config else ctypes.c_int32
        of_chars = {"f": "s", "d": "d"}
        axpy = {char: function(library, f"cblas_{of_blas}axpy", None) for char, of_blas in of_chars.items()}
        axpby = {char: function(library, f"cblas_{of_blas}axpby", None) for char, of_blas in of_chars.items()}
        gemm = {char: function(library, f"cblas_{of_blas}gemm", None) for char, of_blas in of_chars.items()}
        self.name = " ".join(config.split()[:2])
        self.core_type = function(quick, "openblas_get_corename", ctypes.c_char_p)().decode()
        self.get_threads = function(quick, "openblas_get_num_threads", ctypes.c_int)
        self.set_threads = function(quick, "openblas_set_num_threads", None, ctypes.c_int)
        self.integer, self.axpy, self.axpby, self.gemm = integer, axpy, axpby, gemm


_openblas = _OpenBLAS()


class one_thread:  # in lower case, as it is used like a function
    """Limit BLAS to one thread in the whole process, until the last such block of any thread ends.

    Then the previous number is restored. With a BLAS other than OpenBLAS, this does nothing.

    >>> with one_thread():
    ...     product = np.ones((2, 3)) @ np.ones((3, 2))
    """

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        self._thread = 0

    def __enter__(self) -> None:
        global _outside
        thread = threading.get_ident()
        with _lock:
            if thread in _blocks:  # no Ctrl-C can come between here, as nothing is called,
                _blocks[thread] += 1
            else:
                _blocks[thread] = 1
            self._thread = thread  # and here, from where on __del__ would end the block
            if len(_blocks) == 1 == _blocks[thread]:
                _outside = _openblas.get_threads()
                _openblas.set_threads(1)

    def __exit__(self, *error: object) -> None:
        with _lock:
            thread, self._thread = self._thread, 0
            _blocks[thread] -= 1
            if not _blocks[thread]:
                del _blocks[thread]
                if not _blocks:
                    _openblas.set_threads(_outside)

    def __del__(self) -> None:
        if self._thread:
            self.__exit__()


def one_thread_if(small: bool) -> AbstractContextManager[None]:
    """``one_thread()`` for small work; for large work, a block without effect."""
    return one_thread() if small else _NOTHING


def one_thread_for(operations: float) -> AbstractContextManager[None]:
    """``one_thread()``; without effect if BLAS uses one thread anyway for products of ``operations`` (n d u)."""
    return _NOTHING if operations < ONE_ANYWAY else one_thread()


_NOTHING = nullcontext()
_lock = threading.RLock()  # reentrant, as __del__ may run at any line
_blocks: dict[int, int] = {}
"""For each thread, the number of blocks it is in."""
_outside = 1
"""While there are blocks, the number of BLAS threads to restore after the last one."""


def _in_child() -> None:
    """In a forked child, which has only one thread: end the blocks of the others."""
    others = _blocks.keys() - {threading.get_ident()}
    for thread in others:
        del _blocks[thread]
    if others and not _blocks:
        _openblas.set_threads(_outside)
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)


def cores() -> int:
    """The number of CPUs that the process may use: by its affinity, and by the quota of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(min(allowed, _quota(*_CGROUPS)))


@functools.cache
def _quota(*files: tuple[str, ...]) -> float:
    """The CPUs that Linux' control groups allow, at least 1; infinity without a limit. It is read once."""
    for paths in files:
        with suppress(OSError, ValueError), ExitStack() as opened:
            used, period = " ".join(opened.enter_context(open(path)).read() for path in paths).split()
            return max(1, int(used) // int(period)) if used.isdecimal() else math.inf
    return math.inf


_CGROUPS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Where the microseconds that may be used in each period stand, and the period's: version 2 and version 1."""


# ---------------------------------------------------------------------- what the bits depend on


def name() -> str:
    """The library with which NumPy computes products: ``"OpenBLAS 0.3.31"``, ``"accelerate"``, ``"mkl-sdl"``."""
    if _openblas.name:
        return _openblas.name
    config: Any = np.show_config(mode="dicts")
    return str(config["Build Dependencies"]["blas"]["name"])


def core_type() -> str:
    """The type of processor that BLAS computes for, such as ``"Haswell"``; "" if unknown."""
    return _openblas.core_type


def threads() -> int:
    """The number of threads that BLAS uses outside ``one_thread()``; 1 if unknown."""
    with _lock:
        return _outside if _blocks else _openblas.get_threads()


def described(number: int) -> str:
    """What the bits of products by ``number`` threads depend on: ``"OpenBLAS 0.3.31, Haswell, 2 threads"``."""
    count = f"{number} thread{'s' * (number > 1)}" if _openblas.name else "threads unknown"
    return ", ".join(filter(None, [name(), core_type(), count]))
