"""Softmax and its kin at the ends of the number range, against 420 digits: finite, silent, to the last places.

The difference of two scores is rounded once, before anything else is done with it. So the scores here are those whose
differences are exact, or so large that nothing depends on their last places.
"""

import decimal
import functools
import itertools
import math
from decimal import Decimal

import numpy as np
import pytest

import minidense as md
from minidense.numerics.functional import log_sum_exp, sigmoid, softmax


@pytest.fixture(autouse=True)
def many_digits():
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


DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid(dtype):
    z = points(dtype)
    together = sigmoid(np.array(z, dtype))
    for value, of_all in zip(z, together, strict=True):
        alone = sigmoid(np.array([value], dtype))[0]
        e = exp(-abs(Decimal(value)))
        exact = (1 if value >= 0 else e) / (1 + e)
        for found in (alone, of_all):
            assert units(found, exact, dtype) <= 4, (value, found)


def rows_of(dtype):
    """Pairs and triples of scores whose differences are exact or decide everything."""
    values = points(dtype)
    pairs = [pair for pair in itertools.product(values, repeat=2) if exact_enough(*pair, dtype)]
    return [*pairs, *[(*pair, max(pair)) for pair in pairs[::3]]]


def exact_enough(a, b, dtype):
    difference = np.dtype(dtype).type(a) - np.dtype(dtype).type(b)
    return Decimal(a) - Decimal(b) == Decimal(float(difference)) if abs(difference) < 1000 else True


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 20])
def test_softmax_and_log_sum_exp(dtype, n):
    with np.errstate(over="ignore"):
        scores = rows_of(dtype)
    for row in scores:
        given = np.array([row] * n, dtype)
        shifted = [Decimal(s) - Decimal(max(row)) for s in row]
        powers = [exp(s) for s in shifted]
        exact = [power / sum(powers) for power in powers]
        for found, value in zip(softmax(given)[-1], exact, strict=True):
            assert units(found, value, dtype) <= 4, row
        value = Decimal(max(row)) + log1p(sum(sorted(powers)[:-1]))
        if abs(value) < np.finfo(dtype).max and max(row) >= 0:  # below 0, the two parts may cancel
            assert units(log_sum_exp(given)[-1], value, dtype) <= 4, row


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_cross_entropy(dtype):
    loss = md.SoftmaxCrossEntropy()
    with np.errstate(over="ignore"):
        scores = rows_of(dtype)
    for row in scores:
        powers = [exp(Decimal(s) - Decimal(max(row))) for s in row]
        for label in range(len(row)):
            exact = log1p(sum(sorted(powers)[:-1])) + Decimal(max(row)) - Decimal(row[label])
            if exact < np.finfo("float64").max:
                found = loss.forward(np.array([row], dtype), [label])
                assert units(found, exact, dtype) <= 4, (row, label)
            assert np.isfinite(loss.backward()).all()


def elementwise(name, s, t):
    """The loss of one output, exactly."""
    d = abs(s - t)
    if name == "SigmoidCrossEntropy":
        return log1p(exp(-abs(s))) + ((1 - t) * s if s > 0 else -t * s)
    if name == "Huber":
        return d * d / 2 if d <= 1 else d - Decimal("0.5")
    return {"MeanSquaredError": d * d, "MeanAbsoluteError": d}[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["SigmoidCrossEntropy", "Huber", "MeanSquaredError", "MeanAbsoluteError"])
def test_target_losses(name, dtype):
    loss = getattr(md, name)()
    targets = [0.0, 1.0, 0.5, 0.25] if name == "SigmoidCrossEntropy" else points(dtype)
    for score, target in itertools.product(points(dtype), targets):
        exact = elementwise(name, Decimal(score), Decimal(target))
        found = loss.forward(np.full((3, 2), score, dtype), np.full((3, 2), target, dtype))
        if exact < np.finfo("float64").max:
            assert units(found, exact, dtype) <= 4, (score, target, found)
        assert not np.isnan(loss.backward()).any()
