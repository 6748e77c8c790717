"""What NumPy does not expose of BLAS: ``y := b y + a x`` and ``W += a X^T Z`` in one pass, and the number of threads.

All are OpenBLAS's functions, found in the library that NumPy has already loaded. With another BLAS, the two sums are
lines of NumPy, and the number of threads is left as it is.

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
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from minidense.core.types import Array

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


def aligned_zeros(n: int, dtype: np.dtype[Any]) -> Array:
    """n zeros that begin where a line of the processor's cache does: up to 10 % faster to read and write.

    >>> aligned_zeros(3, np.dtype("float32"))
    array([0., 0., 0.], dtype=float32)
    """
    memory = np.zeros(n * dtype.itemsize + _LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % _LINE
    return memory[start : start + n * dtype.itemsize].view(dtype)


_LINE = 64
"""The bytes of a cache line."""


_NO_VECTOR = np.empty(0)


class AddScaled:
    """``y := b y + a x``, in place, made for repeated calls with the same few vectors.

    >>> x, y = np.array([1.0, 2.0]), np.array([10.0, 10.0])
    >>> AddScaled()(-2.0, x, y)
    >>> y
    array([8., 6.])
    """

    def __init__(self) -> None:
        self._known: dict[int, _Sum] = {}

    def __call__(self, a: float, x: Array, y: Array, b: float = 1.0) -> None:
        """x, y: vectors of one dtype and length."""
        sum_ = self._known.get(id(y))
        if sum_ is None or x is not sum_.x or y is not sum_.y:
            if len(self._known) == _MOST_SUMS:
                self._known.clear()
            sum_ = self._known[id(y)] = _Sum(x, y)
        sum_.make(a, b)

    def __reduce__(self) -> tuple[type[AddScaled], tuple[()]]:
        return AddScaled, ()  # a copy starts without the vectors


_MOST_SUMS = 4
"""An optimizer has fewer; but whoever calls ``update`` may pass others each time."""


class _Sum:
    """``y := b y + a x`` for two vectors, which it keeps, so that their addresses stay valid."""

    def __init__(self, x: Array, y: Array) -> None:
        if x.shape != y.shape or x.dtype != y.dtype or y.ndim != 1:
            raise ValueError(
                f"expected two vectors of one length and dtype, got {x.shape} {x.dtype}, {y.shape} {y.dtype}."
            )
        self.x, self.y = x, y
        self._axpy: Callable[[], object] | None = None
        axpy = _openblas.axpy.get(y.dtype.char) if _plain(x) and _plain(y) and y.flags.writeable else None
        if axpy is None:
            self._product = np.empty_like(y)
        else:
            n, one = _openblas.integer(len(y)), _openblas.integer(1)
            self._a, self._b = _number(y.dtype), _number(y.dtype)
            at_x, at_y = ctypes.c_void_p(_address(x)), ctypes.c_void_p(_address(y))
            self._axpy = functools.partial(axpy, n, self._a, at_x, one, at_y, one)
            axpby = _openblas.axpby[y.dtype.char]
            self._axpby = functools.partial(axpby, n, self._a, at_x, one, self._b, at_y, one)

    def make(self, a: float, b: float) -> None:
        if self._axpy is None:
            np.multiply(self.x, a, out=self._product)
            if b != 1:
                np.multiply(self.y, b, out=self.y)
            np.add(self.y, self._product, out=self.y)
        elif b == 1:
            self._a.value = a
            self._axpy()
        else:
            self._a.value, self._b.value = a, b
            self._axpby()


class AddProduct:
    """``W += a X^T Z``, in place, made for repeated calls with the same W. X is (n, d), Z is (n, u), W is (d, u).

    The product is never written down, which saves a pass over memory; ``worthwhile`` tells where that is faster.

    >>> W = np.zeros((2, 3))
    >>> AddProduct(W)(0.5, np.array([[1.0, 2.0]]), np.ones((1, 3)))
    >>> W
    array([[0.5, 0.5, 0.5],
           [1. , 1. , 1. ]])
    """

    def __init__(self, W: Array) -> None:
        self.W = W
        self._x = self._z = _NO_VECTOR
        self._gemm: Callable[[], object] | None = None
        gemm = _openblas.gemm.get(W.dtype.char) if _plain(W) and W.flags.writeable else None
        if gemm is not None:
            integer, pointer = _openblas.integer, ctypes.c_void_p
            d, u = map(integer, W.shape)
            self._n, self._a, self._px, self._pz = integer(), _number(W.dtype), pointer(), pointer()
            sizes, one = (d, u, self._n), _number(W.dtype, 1)
            of_x, of_z, of_W = (self._px, d), (self._pz, u), (pointer(_address(W)), u)
            self._gemm = functools.partial(
                gemm, _BY_ROWS, _TRANSPOSED, _AS_IT_IS, *sizes, self._a, *of_x, *of_z, one, *of_W
            )

    @staticmethod
    def worthwhile(W: Array) -> bool:
        """Whether it is faster than a product and ``AddScaled``: for matrices that are neither narrow nor small."""
        return W.dtype.char in _openblas.gemm and W.shape[1] >= 16 and W.size >= 4096

    def __call__(self, a: float, x: Array, z: Array) -> None:
        """x, z: matrices of W's dtype."""
        if x is not self._x or z is not self._z:
            self._prepare(x, z)
        if self._gemm is not None and self._x is x:
            self._a.value = a
            self._gemm()
        else:
            self.W += a * x.T.dot(z)

    def _prepare(self, x: Array, z: Array) -> None:
        known, self._x, self._z = self._z, _NO_VECTOR, _NO_VECTOR  # if interrupted here, the next call prepares again
        d, u = self.W.shape
        if x.shape != (len(z), d) or z.shape[1:] != (u,) or x.dtype != self.W.dtype or z.dtype != self.W.dtype:
            raise ValueError(
                f"expected X (n, {d}) and Z (n, {u}) of {self.W.dtype}, got {x.shape} {x.dtype}, {z.shape} {z.dtype}."
            )
        if self._gemm is not None and _plain(x) and _plain(z):
            self._px.value = _address(x)
            if z is not known:
                self._n.value, self._pz.value = len(z), _address(z)
            self._x, self._z = x, z  # kept, so that the addresses stay valid


_BY_ROWS, _AS_IT_IS, _TRANSPOSED = map(ctypes.c_int, (101, 111, 112))  # CBLAS's numbers


def _plain(array: Array) -> bool:
    """Whether BLAS can read the array: its elements lie one after the other, aligned, in the machine's byte order."""
    flags = array.flags
    return flags.c_contiguous and flags.aligned and array.dtype.isnative


def _address(array: Array) -> int:
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # three times as fast
    address: int = array.__array_interface__["data"][0]
    return address


def _number(dtype: np.dtype[Any], value: float = 0) -> Any:
    """A number of that dtype, as BLAS takes it; its ``value`` can be set."""
    return ctypes.c_float(value) if dtype.char == "f" else ctypes.c_double(value)


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
        with suppress(OSError, ValueError):
            used, period = " ".join(Path(path).read_text() for path in paths).split()
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
