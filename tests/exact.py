"""Numbers to 420 digits, scores at the ends of the number range, and distances in units of the last place.

The library rounds the difference of two scores once, before it uses it. So the scores here have differences that are
exact, or so large that nothing depends on their last digits.
"""

import decimal
import functools
import itertools
import math
from contextlib import contextmanager
from decimal import Decimal

import numpy as np

DTYPES = ["float32", "float64"]


@contextmanager
def many_digits():
    """Within it, decimal numbers have 420 digits; also a decorator."""
    with decimal.localcontext(decimal.Context(prec=420, Emax=10**9, Emin=-(10**9))):
        yield


@functools.cache
def exp(x):
    return x.exp()


@functools.cache
def log1p(x):
    return (1 + x).ln() if x > Decimal("1e-60") else x - x * x / 2


def units(found, exact, dtype):
    """How many units in the last place of the dtype, at the exact value, lie between them."""
    assert math.isfinite(found)
    if abs(exact) > np.finfo(dtype).max:
        dtype = "float64"  # which the loss of a batch is
    here = np.dtype(dtype).type(float(abs(exact)))
    below = np.nextafter(here, np.zeros((), dtype)) if here else -np.finfo(dtype).smallest_subnormal
    return abs(Decimal(float(found)) - exact) / (Decimal(float(here)) - Decimal(float(below)))


def points(dtype):
    info = np.finfo(dtype)
    low, high = math.log(info.smallest_subnormal), math.log(info.max)
    special = [0.0, 1.0, 0.5, 17.0, 40.0, 1e4, info.max, info.max / 2, info.tiny, info.smallest_subnormal, info.eps]
    special += [-low - 2, -low - 0.5, high - 0.25, high + 0.25, high - 2, 60.5]
    here = np.array(special, np.float64).astype(dtype)
    return [float(value) for value in np.concatenate([here, -here])]


def rows_of(dtype):
    """Pairs and triples of scores whose differences are exact or very large."""
    values = points(dtype)
    pairs = [pair for pair in itertools.product(values, repeat=2) if exact_enough(*pair, dtype)]
    return [*pairs, *[(*pair, max(pair)) for pair in pairs[::3]]]


def exact_enough(a, b, dtype):
    difference = np.dtype(dtype).type(a) - np.dtype(dtype).type(b)
    return Decimal(a) - Decimal(b) == Decimal(float(difference)) if abs(difference) < 1000 else True
