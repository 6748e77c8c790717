"""Sigmoid, softmax, log-sum-exp and the like, computed so that no finite input overflows.

What layers compute at each step, such as ``sigmoid``, leaves NumPy's floating-point settings as they are: in a program
that lets underflow raise, a direct call raises it.
"""

from __future__ import annotations

import collections.abc
import functools
import math

import numpy as np

from minidense.core.types import Array

_ONE = np.ones((), "float32")  # as an array, cheaper to compute with than the number
_EXP_OVERFLOWS = {"f": -88.0, "d": -709.0}  # exp(-z) overflows below these
_TRANSPOSED_FROM_ROWS = 8  # from this many rows on, reducing over a transposed copy is faster
_TRANSPOSED_TO_COLUMNS = 64


def sigmoid(z: Array, out: Array | None = None) -> Array:
    """``1 / (1 + exp(-z))``, elementwise, to a few units in the last place everywhere; nothing overflows.

    z: any shape, floating. out: where to write, may be ``z`` itself. Returns an array of z's shape and dtype.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    if not z.size or not z.item(z.argmin()) > _EXP_OVERFLOWS[z.dtype.char]:  # as it would be for NaN, too
        e = np.exp(np.minimum(z, 0))  # where z is negative, the fraction is expanded by exp(z)
        return np.asarray(np.divide(e, 1 + np.exp(-abs(z)), out=out))
    h: Array = np.negative(z, out)
    np.exp(h, h)
    np.add(h, _ONE, h)
    np.divide(_ONE, h, h)
    return h


@np.errstate(all="ignore")
def softmax(scores: Array, out: Array | None = None) -> Array:
    """``exp(s_j) / sum_k exp(s_k)`` for each row, shifted by the row's largest score, so that it cannot overflow.

    scores: (n, k), floating. Returns (n, k) of the same dtype, rows summing to 1.

    >>> softmax(np.array([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    return softmax_of(scores, out)


def softmax_of(scores: Array, out: Array | None = None) -> Array:
    """``softmax``, for callers that already ignore overflow, as in the smallest number minus the largest."""
    return ready_softmax(np.empty(scores.shape, scores.dtype) if out is None else out)(scores)


def ready_softmax(out: Array) -> collections.abc.Callable[[Array], Array]:
    """``softmax`` for scores (n, k) of one n, which writes into ``out`` at each call; what it needs is made once.

    The sums over the classes are products with ones, which BLAS does faster. Many short rows are copied transposed:
    each reduction is then one vectorised pass instead of a loop per row. For one row, numbers lie in arrays without
    axes, which NumPy combines faster than arrays of one element.
    """
    n, k = out.shape
    by_columns = n >= _TRANSPOSED_FROM_ROWS and k <= _TRANSPOSED_TO_COLUMNS
    e = np.empty((k, n), out.dtype) if by_columns else out
    axis, shape = (None, ()) if n == 1 else (0, (n,)) if by_columns else (1, (n, 1))
    ones, total, largest = np.ones(k, out.dtype), np.empty(n, out.dtype), np.empty(shape, out.dtype)
    totals = total.reshape(shape)

    def softmax(scores: Array) -> Array:
        z = scores
        if by_columns:
            np.copyto(e, scores.T)
            z = e
        np.maximum.reduce(z, axis, None, largest, axis == 1)  # type: ignore[call-overload]
        np.subtract(z, largest, e)
        np.exp(e, e)
        if by_columns:
            ones.dot(e, total)
        else:
            e.dot(ones, total)
        np.divide(e, totals, e)
        if by_columns:
            np.copyto(out, e.T)
        return out

    return softmax


def shifted(scores: Array) -> tuple[Array, int]:
    """A new array, ``scores`` minus the largest score of each row, and the axis of its classes.

    Many short rows are stored transposed, with axis 0: each reduction is then one vectorised pass instead of a loop
    per row. Otherwise the axis is 1.
    """
    n, k = scores.shape
    axis = 0 if n >= _TRANSPOSED_FROM_ROWS and k <= _TRANSPOSED_TO_COLUMNS else 1
    z = np.array(scores if axis == 1 else scores.T, order="C")
    z -= np.maximum.reduce(z, axis=axis, keepdims=True)
    return z, axis


@np.errstate(all="ignore")
def log_sum_exp(scores: Array) -> Array:
    """``log sum_k exp(s_k)`` for each row. scores: (n, k). Returns (n,).

    >>> log_sum_exp(np.array([[1000.0, 1000.0]]))
    array([1000.69314718])
    """
    largest: Array = scores.max(axis=1)
    return largest + log_sum_exp_shifted(*shifted(scores))


def log_sum_exp_shifted(z: Array, axis: int) -> Array:
    """log-sum-exp of what ``shifted`` returned, accurate even if the sum is hardly more than 1.

    The largest term is exactly 1: log1p of the sum of the others keeps the digits that adding 1 would round away.
    """
    e = np.exp(z)
    total = np.add.reduce(e, axis=axis)
    e *= z < 0
    rest = np.add.reduce(e, axis=axis)
    # A total below 1.5 has a single largest term: with a tie it would be at least 2.
    return np.asarray(np.where(total < 1.5, np.log1p(rest), np.log(total)))


@np.errstate(all="ignore")
def mean(values: Array, axis: int | None = None) -> Array:
    """The mean in float64 along ``axis``, or of all values; finite even if their sum overflows.

    >>> float(mean(np.array([1e308, 1e308])))
    1e+308
    """
    found = np.asarray(values.mean(axis=axis, dtype=np.float64))
    if not np.isfinite(found).all():
        count = values.size // found.size
        scale = 2.0 ** count.bit_length()  # a power of two, which rounds nothing
        found = np.asarray((values.astype(np.float64) / scale).sum(axis=axis) / count * scale)
    return found


def softplus(z: Array) -> Array:
    """``log(1 + exp(z))``, elementwise, as ``max(z, 0) + log1p(exp(-|z|))``, which cannot overflow.

    >>> softplus(np.array([-1e4, 0.0, 1e4]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+04])
    """
    return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-abs(z))))


def selu(z: Array) -> Array:
    """``scale * z`` where z > 0, else ``scale * alpha * (exp(z) - 1)``: it keeps mean 0 and variance 1.

    The two constants are those of Klambauer et al. (2017), equation 14.

    >>> selu(np.array([-1e4, 0.0, 1.0])).round(4)
    array([-1.7581,  0.    ,  1.0507])
    """
    return np.asarray(np.maximum(z, 0) * SELU_SCALE + np.expm1(np.minimum(z, 0)) * (SELU_SCALE * SELU_ALPHA))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def softsign(z: Array) -> Array:
    """``z / (1 + |z|)``, elementwise.

    >>> softsign(np.array([-3.0, 0.0, 1.0]))
    array([-0.75,  0.  ,  0.5 ])
    """
    return np.asarray(z / (1 + abs(z)))


def hard_sigmoid(z: Array) -> Array:
    """``z / 6 + 0.5``, but at least 0 and at most 1; elementwise.

    >>> hard_sigmoid(np.array([-9.0, 0.0, 1.5]))
    array([0.  , 0.5 , 0.75])
    """
    return np.asarray(np.clip(z / 6 + 0.5, 0, 1))


def mish(z: Array) -> Array:
    """``z tanh(log(1 + exp(z)))``, elementwise (Misra, 2019).

    >>> mish(np.array([-1e4, 0.0, 1.0])).round(4)
    array([-0.    ,  0.    ,  0.8651])
    """
    return np.asarray(z * np.tanh(softplus(z)))


def log_softmax(scores: Array) -> Array:
    """``s_j - log sum_k exp(s_k)`` for each row. scores: (n, k). Returns (n, k).

    >>> log_softmax(np.array([[0.0, 0.0], [1e4, -1e4]])).round(4)
    array([[-6.931e-01, -6.931e-01],
           [ 0.000e+00, -2.000e+04]])
    """
    z = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(z - log_sum_exp_shifted(z, 1)[:, None])


def gelu_inner(z: Array) -> Array:
    """``sqrt(2 / pi) (z + 0.044715 z**3)``, whose tanh is nearly ``2 Phi(z) - 1`` (Hendrycks and Gimpel, 2016).

    >>> gelu_inner(np.array([1.0])).round(4)
    array([0.8336])
    """
    inner: Array = math.sqrt(2 / math.pi) * (z + 0.044715 * z * z * z)
    return inner


def normal_cdf(x: Array) -> Array:
    """The standard normal distribution function, ``erfc(-x / sqrt(2)) / 2``, elementwise, to about 1e-15.

    NumPy has no erf. For u = |x| / sqrt(2), ``exp(u**2) erfc(u)`` is smooth in t = 2 / (2 + u), so a Chebyshev
    series through the standard library's math.erfc at a few points gives it everywhere.

    >>> normal_cdf(np.array([-1.0, 0.0, 1.0]))
    array([0.15865525, 0.5       , 0.84134475])
    """
    u = abs(x).astype(np.float64) * math.sqrt(0.5)
    half_tail = 0.5 * np.exp(-u * u) * np.polynomial.chebyshev.chebval(4 / (2 + u) - 1, _scaled_erfc())
    cdf: Array = np.where(x < 0, half_tail, 1 - half_tail)
    return cdf.astype(x.dtype)


@functools.cache
def _scaled_erfc() -> Array:
    def exact(s: Array) -> Array:
        t = (s + 1) / 2
        u = 2 / t - 2
        # Beyond 5, where erfc underflows and exp(u * u) overflows, its continued fraction converges at once.
        return np.array([math.exp(v * v) * math.erfc(v) if v < 5 else _erfc_fraction(v) for v in u])

    points = np.polynomial.chebyshev.chebpts1(31)
    return np.polynomial.chebyshev.chebfit(points, exact(points), 30)


def _erfc_fraction(u: float) -> float:
    tail = u
    for k in range(60, 0, -1):
        tail = u + k / 2 / tail
    return 1 / (tail * math.sqrt(math.pi))


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
    out = np.empty(a.shape[1:], a.dtype) if out is None else out
    if len(a) == 1:
        out[:] = a
    else:
        _ones(len(a), a.dtype).dot(a, out=out)
    return out


def _ones(n: int, dtype: np.dtype[np.generic]) -> Array:
    ones = _ONES.get(dtype.char)
    if ones is None or len(ones) < n:
        ones = _ONES[dtype.char] = np.ones(n, dtype)
    return ones[:n]


_ONES: dict[str, Array] = {}
