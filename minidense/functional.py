"""The functions of the mathematics, computed so that no finite input overflows."""

from __future__ import annotations

import numpy as np

from minidense.types import Array

_TRANSPOSED_FROM_ROWS = 8  # from here on, reducing over the transposed copy is the faster way
_TRANSPOSED_TO_COLUMNS = 64


def sigmoid(z: Array, out: Array | None = None) -> Array:
    """``1 / (1 + exp(-z))``, elementwise, as ``(1 + tanh(z / 2)) / 2``, which cannot overflow.

    z: any shape, floating. out: where to write, may be ``z`` itself. Returns an array of z's shape and dtype.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    h: Array = np.multiply(z, 0.5, out=out)
    np.tanh(h, out=h)
    h *= 0.5
    h += 0.5
    return h


def shifted_exp(scores: Array) -> tuple[Array, Array, Array]:
    """``z = scores - max``, ``exp(z)`` and its sums, per row: what softmax and log-sum-exp have in common.

    scores: (n, k). Returns z (n, k), exp(z) (n, k) and the sums (n,). Where there are many short rows, the work
    is done on the transposed copy: there each reduction is one vectorised pass instead of a loop for each row.
    """
    n, k = scores.shape
    if n >= _TRANSPOSED_FROM_ROWS and k <= _TRANSPOSED_TO_COLUMNS:
        z = np.array(scores.T, order="C")
        z -= np.maximum.reduce(z, axis=0)
        e = np.exp(z)
        return z.T, e.T, np.add.reduce(e, axis=0)
    z = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    e = np.exp(z)
    return z, e, np.add.reduce(e, axis=1)


def softmax(scores: Array, out: Array | None = None) -> Array:
    """``exp(s_j) / sum_k exp(s_k)`` for each row, shifted by the row's largest score, so that it cannot overflow.

    scores: (n, k), floating. Returns (n, k) of the same dtype, rows summing to 1.

    >>> softmax(np.array([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    if len(scores) == 1:  # reductions over everything are the faster ones
        e = np.subtract(scores, np.maximum.reduce(scores, axis=None), out=out)
        np.exp(e, out=e)
        e /= np.add.reduce(e, axis=None)
        return e
    _, e, total = shifted_exp(scores)
    if out is None:
        out = np.empty(scores.shape, scores.dtype)
    return np.divide(e, total[:, None], out=out)


def log_sum_exp(scores: Array) -> Array:
    """``log sum_k exp(s_k)`` for each row. scores: (n, k). Returns (n,).

    >>> log_sum_exp(np.array([[1000.0, 1000.0]]))
    array([1000.69314718])
    """
    total: Array = scores.max(axis=1) + log_of_shifted_sum(*shifted_exp(scores))
    return total


def log_of_shifted_sum(z: Array, e: Array, total: Array) -> Array:
    """``log(total)``, exact to rounding also where ``total`` is 1 plus next to nothing.

    ``z, e, total`` are what ``shifted_exp`` returned. There the largest term is exactly 1; leaving it out of the
    sum and using log1p keeps what adding it to 1 would round away.
    """
    rest = np.where(z < 0, e, 0).sum(axis=1, dtype=total.dtype)
    # A total below 1.5 has one largest term only: with a tie it would be at least 2.
    return np.where(total < 1.5, np.log1p(rest), np.log(total))


def one_hot(labels: Array, classes: int, dtype: object = "float32") -> Array:
    """Rows of zeros with a one at each label. labels: integers (n,) in [0, classes). Returns (n, classes).

    >>> one_hot(np.array([1, 0]), 3)
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    rows = np.zeros((len(labels), classes), np.dtype(dtype))  # type: ignore[call-overload]
    rows[np.arange(len(labels)), labels] = 1
    return rows


def column_sums(a: Array, out: Array | None = None) -> Array:
    """``a.sum(axis=0)`` as a product with ones, which BLAS does faster. a: (n, d). Returns (d,).

    >>> column_sums(np.ones((3, 2)))
    array([3., 3.])
    """
    if len(a) == 1:
        out = np.empty_like(a[0]) if out is None else out
        np.copyto(out, a[0])
        return out
    sums: Array = np.dot(_ones(len(a), a.dtype), a, out=out)
    return sums


def _ones(n: int, dtype: np.dtype[np.generic]) -> Array:
    ones = _ONES.get(dtype.char)
    if ones is None or len(ones) < n:
        ones = _ONES[dtype.char] = np.ones(n, dtype)
    return ones[:n]


_ONES: dict[str, Array] = {}
