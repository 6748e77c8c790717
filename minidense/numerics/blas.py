"""The two things NumPy does not let one ask of its BLAS: ``y := y + a x`` in one pass, and the number of threads.

Both are OpenBLAS's own functions, found in the library that NumPy has already loaded. With another BLAS, or none
found, ``add_scaled`` is two lines of NumPy and the number of threads stays what it is.

Why the threads. BLAS starts one on each core for all but the smallest products. For small training steps that is a
loss: what the second core saves in the products is less than what it costs that each core has to fetch, and to take
away from the other, the parameters and the gradient that the other has just read or written. And a product computed
by two threads has other last bits than by one: sums are cut elsewhere. The number of threads is the whole process's,
so what is to have the same bits whatever other threads do is computed within ``one_thread()``.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from minidense.core.types import Array

SMALL = 4e6
"""With fewer operations (2 n d u) in its largest product, a training step is faster on one thread."""

ONE_ANYWAY = 9216
"""OpenBLAS computes a product of fewer multiplications (n d u) by one thread, whatever their number: 2304 times its
GEMM_MULTITHREAD_THRESHOLD, 4, for a matrix and a vector (interface/gemv.c), 65536 times that for two matrices."""


class _OpenBLAS:
    """The functions, or their stand-ins where NumPy is linked to something else."""

    def __init__(self) -> None:
        self.axpy: dict[str, Any] = {}
        self.set_threads: Callable[[int], object] = lambda n: None
        self.get_threads: Callable[[], int] = lambda: 1
        self.name, self.core_type = "", ""
        try:
            # Looking a name up in a library also looks in those it is linked to.
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
        """quick: the library once more, whose functions are called without letting other Python threads in."""

        def function(of: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
            found = of[f"{prefix}{name}{suffix}"]
            found.restype, found.argtypes = result, arguments
            return found

        config = function(quick, "openblas_get_config", ctypes.c_char_p)().decode()
        integer = ctypes.c_int64 if "USE64BITINT" in config else ctypes.c_int32
        pointer = ctypes.c_void_p
        axpy = {
            char: function(
                library, f"cblas_{char_of_blas}axpy", None, integer, real, pointer, integer, pointer, integer
            )
            for char, char_of_blas, real in (("f", "s", ctypes.c_float), ("d", "d", ctypes.c_double))
        }
        self.name = " ".join(config.split()[:2])
        self.core_type = function(quick, "openblas_get_corename", ctypes.c_char_p)().decode()
        self.get_threads = function(quick, "openblas_get_num_threads", ctypes.c_int)
        self.set_threads = function(quick, "openblas_set_num_threads", None, ctypes.c_int)
        self.axpy = axpy


_openblas = _OpenBLAS()


_NO_VECTOR = np.empty(0)


class AddScaled:
    """``y += a * x``, in place, for vectors that stay where they are from call to call.

    >>> x, y = np.array([1.0, 2.0]), np.array([10.0, 10.0])
    >>> AddScaled()(-2.0, x, y)
    >>> y
    array([8., 6.])
    """

    def __init__(self) -> None:
        self._x = self._y = self._product = _NO_VECTOR
        self._x_address = self._y_address = 0
        self._axpy: Any = None

    def __call__(self, a: float, x: Array, y: Array) -> None:
        """x, y: vectors of one dtype and length."""
        if x is not self._x or y is not self._y:
            self._prepare(x, y)
        if self._axpy is not None:
            self._axpy(len(y), a, self._x_address, 1, self._y_address, 1)
        else:
            np.multiply(x, a, out=self._product)
            np.add(y, self._product, out=y)

    def _prepare(self, x: Array, y: Array) -> None:
        if x.shape != y.shape or x.dtype != y.dtype or y.ndim != 1:
            raise ValueError(
                f"expected two vectors of one length and dtype, got {x.shape} {x.dtype}, {y.shape} {y.dtype}."
            )
        self._x = self._y = _NO_VECTOR  # until all else is theirs: a call that is broken off here prepares again
        plain = x.flags.c_contiguous and y.flags.carray and y.flags.aligned and x.flags.aligned
        self._axpy = _openblas.axpy.get(y.dtype.char) if plain and y.dtype.isnative else None
        if self._axpy is not None:
            self._x_address, self._y_address = (v.__array_interface__["data"][0] for v in (x, y))
        else:
            self._product = np.empty_like(y)
        self._x, self._y = x, y  # kept, so that the addresses stay theirs

    def __reduce__(self) -> tuple[type[AddScaled], tuple[()]]:
        return AddScaled, ()  # a copy starts without the vectors


class one_thread:  # used as a function is
    """Keep BLAS to one thread, process-wide, until the last such block of any thread ends.

    Then the number is again what it was. With another BLAS than OpenBLAS, this does nothing.

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
            if thread in _blocks:  # from here on no Ctrl-C comes in between, for nothing is called,
                _blocks[thread] += 1
            else:
                _blocks[thread] = 1
            self._thread = thread  # until here, from where on __del__ would give the block back
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
    """``one_thread()``; or, for large work, nothing."""
    return one_thread() if small else _NOTHING


def one_thread_for(operations: float) -> AbstractContextManager[None]:
    """``one_thread()``; or, where no product takes more than so many (n d u), and BLAS uses one anyway, nothing."""
    return _NOTHING if operations < ONE_ANYWAY else one_thread()


_NOTHING = nullcontext()
_lock = threading.RLock()  # for __del__ may come at any line
_blocks: dict[int, int] = {}
"""By thread: the number of blocks that it is in."""
_outside = 1
"""The number of BLAS threads outside all blocks, while there are any."""


def _in_child() -> None:
    """Of a forked process: it has one thread, and the blocks of the others never end there."""
    others = _blocks.keys() - {threading.get_ident()}
    for thread in others:
        del _blocks[thread]
    if others and not _blocks:
        _openblas.set_threads(_outside)
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)


# ---------------------------------------------------------------------- what decides the bits


def name() -> str:
    """The library that NumPy computes products with: ``"OpenBLAS 0.3.31"``, ``"accelerate"``, ``"mkl-sdl"``."""
    if _openblas.name:
        return _openblas.name
    config: Any = np.show_config(mode="dicts")
    return str(config["Build Dependencies"]["blas"]["name"])


def core_type() -> str:
    """The kind of processor that the library computes for, ``"Haswell"``; "" where it does not say."""
    return _openblas.core_type


def threads() -> int:
    """The number of threads that BLAS uses outside ``one_thread()``; 1 where it does not say."""
    with _lock:
        return _outside if _blocks else _openblas.get_threads()


def described(number: int) -> str:
    """What decides the bits of a product computed by so many threads: ``"OpenBLAS 0.3.31, Haswell, 2 threads"``."""
    count = f"{number} thread{'s' * (number > 1)}" if _openblas.name else "threads unknown"
    return ", ".join(filter(None, [name(), core_type(), count]))
