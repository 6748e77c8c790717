"""Initializers: each draws from the published distribution, and uses the generator for nothing else."""

import copy
import math

import numpy as np
import pytest

import minidense as md
from minidense.layers import initializers
from minidense.layers.initializers import INITIALIZERS, get_initializer

UNIFORM = {  # the square of the bound, by the papers' formulas
    "glorot_uniform": lambda fan_in, fan_out: 6 / (fan_in + fan_out),
    "he_uniform": lambda fan_in, fan_out: 6 / fan_in,
    "lecun_uniform": lambda fan_in, fan_out: 3 / fan_in,
}
NORMAL = {  # the variance
    "glorot_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
}
CONSTANT = {"zeros": 0, "ones": 1}
SHAPES = [(300, 200), (150, 400), (50000,), (200, 3, 100)]  # fan_in is the first axis, fan_out the last


def drawn(name, shape, seed=0):
    return get_initializer(name)(np.random.default_rng(seed), shape)


def test_every_initializer_is_tested_here():
    others = {"identity", "orthogonal", "normal", "uniform", "random_normal", "random_uniform", "truncated_normal"}
    assert set(initializers.FUNCTIONS) == {*UNIFORM, *NORMAL, *CONSTANT}
    assert set(INITIALIZERS) == {*initializers.FUNCTIONS, *others}
    assert all(get_initializer(name) is getattr(initializers, name) for name in initializers.FUNCTIONS)


def test_those_of_fixed_width():
    w = drawn("random_normal", (200_000,))
    assert abs(w.mean()) < 5 * 0.05 / 200_000**0.5
    assert abs(w.std() / 0.05 - 1) < 5 / (2 * 200_000) ** 0.5  # the standard error of a standard deviation
    w = drawn("random_uniform", (100_000,))
    assert -0.05 <= w.min() < -0.0499
    assert 0.0499 < w.max() <= 0.05
    w = initializers.TruncatedNormal(1.0, 2.0)(np.random.default_rng(0), (100_000,))
    assert abs(w - 1).max() <= 4
    # A normal variable between -2 and 2 has variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737.
    assert w.var() / 4 == pytest.approx(0.7737, abs=5 * (2 / 100_000) ** 0.5)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (2, 3, 4)])
def test_orthogonal(shape):
    w = initializers.Orthogonal(2.0)(np.random.default_rng(0), shape).reshape(-1, shape[-1])
    product = w.T @ w if len(w) >= shape[-1] else w @ w.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-13)


def test_a_number_and_an_array_are_constants(tmp_path):
    W = np.arange(6.0).reshape(2, 3)
    model = md.Sequential([md.Dense(3, kernel_initializer=W, bias_initializer=0.25)], rng=0).build(2)
    assert np.array_equal(model.layers[0].W, W)
    assert np.array_equal(model.layers[0].b, [0.25] * 3)
    model.save(tmp_path / "model.npz")
    assert np.array_equal(md.load_model(tmp_path / "model.npz").theta, model.theta)
    with pytest.raises(ValueError, match=r"W must have shape \(4, 3\); the initializer returned \(2, 3\)"):
        md.Sequential([md.Dense(3, kernel_initializer=W)]).build(4)


@pytest.mark.parametrize("name", sorted(set(INITIALIZERS) - set(initializers.FUNCTIONS)))
def test_a_model_made_with_it_is_saved(name, tmp_path):
    layer = md.Dense(3, kernel_initializer=copy.deepcopy(INITIALIZERS[name]))
    md.Sequential([layer, md.Dense(2, kernel_initializer=name)], rng=0).build(4).save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz")
    assert repr(loaded.layers[0].get_config()["kernel_initializer"]) == repr(INITIALIZERS[name])
    assert loaded.layers[1].get_config()["kernel_initializer"] == name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONSTANT)
def test_constants(name, shape):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert np.array_equal(get_initializer(name)(rng, shape), np.full(shape, CONSTANT[name]))
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_ones_are_numpys_own_draw(name, shape):
    bound = math.sqrt(UNIFORM[name](shape[0], shape[-1]))
    assert np.array_equal(drawn(name, shape, 3), np.random.default_rng(3).uniform(-bound, bound, shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NORMAL)
def test_normal_ones_are_numpys_own_draw(name, shape):
    expected = np.random.default_rng(3).normal(0, math.sqrt(NORMAL[name](shape[0], shape[-1])), shape)
    assert np.array_equal(drawn(name, shape, 3), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL])
def test_mean_and_variance(name, shape):
    """Within 5 standard errors: sqrt(v / n) of the mean, and sqrt((E x^4 - v^2) / n) of the mean square.

    E x^4 is 3 v^2 for normal numbers. For uniform ones within ±b it is b^4 / 5, where v = b^2 / 3: 9/5 v^2.
    """
    fans, n = (shape[0], shape[-1]), math.prod(shape)
    v, fourth = (NORMAL[name](*fans), 3) if name in NORMAL else (UNIFORM[name](*fans) / 3, 9 / 5)
    x = drawn(name, shape)
    assert abs(x.mean()) <= 5 * math.sqrt(v / n)
    assert abs((x**2).mean() - v) <= 5 * v * math.sqrt((fourth - 1) / n)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_ones_keep_and_nearly_reach_their_bound(name, shape):
    """The probability that none of n numbers is above b (1 - 40 / n) is (1 - 20 / n)^n, less than e^-20."""
    bound, n = math.sqrt(UNIFORM[name](shape[0], shape[-1])), math.prod(shape)
    x = drawn(name, shape)
    assert abs(x).max() <= bound
    assert x.max() > bound * (1 - 40 / n)
    assert x.min() < -bound * (1 - 40 / n)


def test_a_callable_is_taken_as_it_is():
    def halves(rng, shape):
        return np.full(shape, 0.5)

    assert get_initializer(halves) is halves


@pytest.mark.parametrize(
    ("initializer", "error", "message"),
    [
        ("glorot_unifrom", ValueError, r"unknown initializer 'glorot_unifrom'\. Did you mean 'glorot_uniform'\?"),
        ("he-normal", ValueError, r"Did you mean 'he_normal'\? Known: 'glorot_normal', .* 'zeros'\."),
        ("Zero", ValueError, r"Did you mean 'zeros'\?"),
        ("x", ValueError, r"unknown initializer 'x'\. Known: "),
        (None, TypeError, r"expected a name, a number, an array or a callable init\(rng, shape\), got None"),
        (initializers.Orthogonal, TypeError, r"got the class Orthogonal; make an object of it: Orthogonal\(\)"),
    ],
)
def test_what_is_no_initializer(initializer, error, message):
    with pytest.raises(error, match=message):
        get_initializer(initializer)


def test_an_identity_is_a_matrix():
    assert np.array_equal(drawn("identity", (2, 3)), [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match="Identity: expected the shape of a matrix"):
        drawn("identity", (2, 3, 4))
