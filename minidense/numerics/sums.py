"""Vectors and matrices that change in place, in one pass over memory: ``y := b y + a x`` and ``W += a X^T Z``.

NumPy exposes neither. With a BLAS other than OpenBLAS they are lines of NumPy.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidense.core.types import Array
from minidense.numerics import blas


class Sum:
    """``y := b y + a x``, in place, for two vectors; it keeps these, so that their addresses stay valid.

    >>> x, y = np.array([1.0, 2.0]), np.array([10.0, 10.0])
    >>> Sum(x, y)(-2.0, 0.5)
    >>> y
    array([3., 1.])
    """

    def __init__(self, x: Array, y: Array) -> None:
        if x.shape != y.shape or x.dtype != y.dtype or y.ndim != 1:
            raise ValueError(
                f"expected two vectors of one length and dtype, got {x.shape} {x.dtype}, {y.shape} {y.dtype}."
            )
        self.x, self.y = x, y
        self._axpy: Callable[[], object] | None = None
        axpy = blas._openblas.axpy.get(y.dtype.char) if _plain(x) and _plain(y) and y.flags.writeable else None
        if axpy is None:
            self._product = np.empty_like(y)
        else:
            n, one = blas._openblas.integer(len(y)), blas._openblas.integer(1)
            self._a, self._b = _number(y.dtype), _number(y.dtype)
            at_x, at_y = ctypes.c_void_p(_address(x)), ctypes.c_void_p(_address(y))
            self._axpy = functools.partial(axpy, n, self._a, at_x, one, at_y, one)
            axpby = blas._openblas.axpby[y.dtype.char]
            self._axpby = functools.partial(axpby, n, self._a, at_x, one, self._b, at_y, one)

    def __call__(self, a: float, b: float = 1.0) -> None:
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


class AddScaled:
    """``y := b y + a x``, in place, for any vectors: made for repeated calls with the same few.

    >>> x, y = np.array([1.0, 2.0]), np.array([10.0, 10.0])
    >>> AddScaled()(-2.0, x, y)
    >>> y
    array([8., 6.])
    """

    def __init__(self) -> None:
        self._known: dict[int, Sum] = {}

    def __call__(self, a: float, x: Array, y: Array, b: float = 1.0) -> None:
        """x, y: vectors of one dtype and length."""
        sum_ = self._known.get(id(y))
        if sum_ is None or x is not sum_.x or y is not sum_.y:
            if len(self._known) == _MOST_SUMS:
                self._known.clear()
            sum_ = self._known[id(y)] = Sum(x, y)
        sum_(a, b)

    def __reduce__(self) -> tuple[type[AddScaled], tuple[()]]:
        return AddScaled, ()  # a copy starts without the vectors


_MOST_SUMS = 4
"""An optimizer has fewer; but whoever calls ``update`` may pass others each time."""


_NO_ARRAY = np.empty(0)


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
        self._x = self._z = _NO_ARRAY
        self._gemm: Callable[[], object] | None = None
        gemm = blas._openblas.gemm.get(W.dtype.char) if _plain(W) and W.flags.writeable else None
        if gemm is not None:
            integer, pointer = blas._openblas.integer, ctypes.c_void_p
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
        return W.dtype.char in blas._openblas.gemm and W.shape[1] >= 16 and W.size >= 4096

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
        known, self._x, self._z = self._z, _NO_ARRAY, _NO_ARRAY  # if interrupted here, the next call prepares again
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
