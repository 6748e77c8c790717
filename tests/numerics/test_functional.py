"""The functions against independent definitions, in higher precision and at the ends of the number range."""

import math
from decimal import Decimal

import numpy as np
import pytest
from exact import DTYPES, exp, log1p, many_digits, points, rows_of, units
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays

from minidense.numerics.functional import (
    column_sums,
    gelu_inner,
    log_sum_exp,
    normal_cdf,
    one_hot,
    sigmoid,
    softmax,
    softplus,
)


def extremes(dtype):
    info = np.finfo(dtype)
    values = [0, 1, 30, 88, 1e4, float(info.max), float(info.tiny), float(info.smallest_subnormal)]
    return np.array(values + [-v for v in values], dtype)


def ulps(found, exact):
    """The distance in units in the last place of the exact value, in the dtype of what was found."""
    exact_here = exact.astype(found.dtype)
    return abs(found.astype(np.longdouble) - exact) / np.spacing(
        np.maximum(abs(exact_here), np.finfo(found.dtype).tiny)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_at_the_extremes(dtype):
    z = extremes(dtype)
    y = sigmoid(z)
    assert y.dtype == dtype
    assert ((y >= 0) & (y <= 1)).all()
    np.testing.assert_allclose(y + sigmoid(-z), 1, rtol=4 * np.finfo(dtype).eps)


@given(normal_arrays(scale=10.0))
def test_sigmoid_is_its_definition(z):
    np.testing.assert_allclose(sigmoid(z), 1 / (1 + np.exp(-z)), rtol=1e-13, atol=1e-15)
    out = z.copy()
    assert sigmoid(out, out=out) is out
    np.testing.assert_array_equal(out, sigmoid(z))


@given(normal_arrays(rows=st.integers(1, 40), columns=st.sampled_from([1, 2, 10, 64, 65, 70]), scale=20.0))
def test_softmax_is_its_definition_in_higher_precision(scores):
    exact = np.exp(scores.astype(np.longdouble) - scores.max())
    exact /= exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(scores), exact.astype("float64"), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("rows", [1, 7, 8, 100])
def test_softmax_by_rows_and_transposed_agree(rows):
    scores = np.random.default_rng(0).normal(size=(rows, 10))
    alone = np.concatenate([softmax(row[None]) for row in scores])
    np.testing.assert_allclose(softmax(scores), alone, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_at_the_extremes(dtype):
    scores = np.stack(np.meshgrid(extremes(dtype), extremes(dtype)), axis=-1).reshape(-1, 2)
    y = softmax(scores)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [0.0, 1e-3, 0.5, 1.0, 5.0, 20.0, 40.0, 80.0])
def test_log_sum_exp_keeps_what_one_plus_little_loses(dtype, gap):
    """log(1 + exp(-gap)) to within 4 units in the last place, even if 1 + exp(-gap) rounds to 1."""
    scores = np.array([[0.0, -gap], [-gap, 0.0]], dtype)
    exact = np.log1p(np.exp(-np.longdouble((dtype == "float32" and np.float32(gap)) or gap)))
    assert (ulps(log_sum_exp(scores), np.array([exact, exact])) <= 4).all()


def test_one_hot_and_column_sums():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    for n in (1, 2, 50):
        a = np.random.default_rng(0).normal(size=(n, 4))
        np.testing.assert_allclose(column_sums(a), a.sum(axis=0), rtol=1e-13)
        out = np.empty(4)
        assert column_sums(a, out=out) is out
        np.testing.assert_array_equal(out, column_sums(a))


@given(st.floats(-40, 40))
def test_normal_cdf(x):
    assert float(normal_cdf(np.array(x))) == pytest.approx(0.5 * math.erfc(-x / math.sqrt(2)), rel=1e-12, abs=1e-300)


@given(st.floats(-700, 700))
def test_softplus(x):
    exact = max(x, 0) + math.log1p(math.exp(-abs(x)))
    assert float(softplus(np.array(x))) == pytest.approx(exact, rel=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@many_digits()
def test_sigmoid_is_exact_to_four_units(dtype):
    z = points(dtype)
    together = sigmoid(np.array(z, dtype))
    for value, of_all in zip(z, together, strict=True):
        alone = sigmoid(np.array([value], dtype))[0]
        e = exp(-abs(Decimal(value)))
        exact = (1 if value >= 0 else e) / (1 + e)
        for found in (alone, of_all):
            assert units(found, exact, dtype) <= 4, (value, found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 20])
@many_digits()
def test_softmax_and_log_sum_exp_are_exact_to_four_units(dtype, n):
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


@pytest.mark.parametrize("z", [-3.0, -0.5, 0.0, 0.25, 2.0, 7.0])
def test_the_inner_part_of_gelu_is_its_formula(z):
    expected = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
    assert gelu_inner(np.array([z]))[0] == pytest.approx(expected, rel=1e-15 * 8)
