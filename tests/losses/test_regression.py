"""The losses for numbers: their derivatives, their digits, their targets."""

import math
from decimal import Decimal

import numpy as np
import pytest
from exact import DTYPES, exp, log1p, many_digits, points, units

import minidense as md

RNG = np.random.default_rng(3)
POSITIVE = RNG.exponential(1, (9, 3)) + 0.01


@pytest.mark.parametrize("dtype", DTYPES)
@many_digits()
def test_log_cosh_is_exact_to_four_units(dtype):
    for score in points(dtype):
        d = abs(Decimal(score))
        small = d * d / 2 - d**4 / 12 if d < Decimal("1e-6") else None
        exact = small if small is not None else d + log1p(exp(-2 * d)) - Decimal(2).ln()
        if exact < Decimal(float(np.finfo("float64").max)):
            found = md.losses.LogCosh().forward(np.array([[score]], dtype), np.zeros((1, 1), dtype))
            assert units(found, exact, dtype) <= 4, (score, found)


def test_quantile_is_least_at_the_quantile():
    numbers = np.arange(101.0)
    for q in (0.1, 0.5, 0.9):
        losses = [md.losses.Quantile(q).forward(np.full((101, 1), s), numbers) for s in numbers]
        assert np.argmin(losses) == pytest.approx(100 * q)
    model = md.Sequential([md.Dense(1)], rng=0).compile(md.SGD(0.1), md.losses.Quantile(0.9))
    x, y = np.ones((400, 1)), RNG.exponential(1, 400)
    model.fit(x, y, epochs=400, batch_size="full", verbose=0)
    assert model.predict([[1.0]]).item() == pytest.approx(np.quantile(y, 0.9), abs=0.1)


def test_cosines_of_zero_huge_and_tiny_vectors():
    loss = md.losses.CosineSimilarity()
    scores = np.array([[0, 0], [3e37, 4e37], [3e-30, 4e-30], [3, 4]], "float32")
    rows = loss.rows(scores, np.tile(np.array([[3, 4]], "float32"), (4, 1)))
    np.testing.assert_allclose(rows, [0, -1, -5e-23, -1], rtol=1e-6)  # 5e-30 / 1e-7
    assert np.isfinite(loss.gradient(scores, scores)).all()


def test_poisson_needs_positive_outputs_and_counts():
    with pytest.raises(
        ValueError, match=r"takes rates.*Dense\(1\), layer 0, whose outputs may be of any sign.*Softplus"
    ):
        md.Sequential([md.Dense(1)]).compile("sgd", "poisson")
    model = md.Sequential([md.Dense(1, "softplus")], rng=0).compile("adam", "poisson")
    with pytest.raises(ValueError, match="numbers of at least 0, got -1 in row 1"):
        model.fit(np.ones((2, 1)), [1, -1], verbose=0)
    with pytest.raises(ValueError, match=r"numbers of at least 0, got -0.5 in row 0"):
        md.losses.MeanSquaredLogarithmicError()([-0.5], [1.0])
    assert md.losses.Poisson()([2.0], [-5.0]) == pytest.approx(-2 * math.log(1e-7))


def test_a_function_loss_must_return_what_it_says():
    x, y = np.ones((4, 2)), np.ones((4, 3))
    for functions, message in (
        ((lambda t, p: abs(p - t).mean(axis=-1), lambda t, p: p - t), r"elements must return the loss of each output"),
        ((lambda t, p: abs(p - t), lambda t, p: 1.0), r"derivatives must return .*, got float"),
    ):
        model = md.Sequential([md.Dense(3)], rng=0).compile("sgd", md.FunctionLoss(*functions)).build(2)
        before = model.theta.copy()
        with pytest.raises((TypeError, ValueError), match=message):
            model.fit(x, y, verbose=0)
        assert np.array_equal(model.theta, before)
    with pytest.raises(TypeError, match="derivative: expected a function"):
        md.FunctionLoss(max, 3)

    def spoils(t, p):
        p -= t
        return p

    with pytest.raises(ValueError, match="read-only"):
        md.FunctionLoss(spoils, spoils)(y, y)


def test_a_function_loss_is_the_loss_of_the_same_formula():
    x, y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 2))
    pair = md.FunctionLoss(lambda t, p: (p - t) ** 2, lambda t, p: 2 * (p - t))
    models = [md.Sequential([md.Dense(2)], rng=0).compile("adam", loss) for loss in (pair, "mse")]
    histories = [model.fit(x, y, epochs=3, verbose=0).history for model in models]
    assert histories[0] == histories[1]
    assert np.array_equal(models[0].theta, models[1].theta)


def test_axis():
    assert md.losses.CosineSimilarity(axis=1)([[1.0, 0.0]], [[1.0, 0.0]]) == -1
    for wrong in (0, True, None):
        with pytest.raises(ValueError, match="axis: the outputs of a row lie along the last axis"):
            md.losses.CosineSimilarity(axis=wrong)
