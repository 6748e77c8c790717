"""Initializers: each draws from the published distribution, and uses the generator for nothing else."""

import math

import numpy as np
import pytest

from minidense.layers import initializers
from minidense.layers.initializers import INITIALIZERS, get_initializer

UNIFORM = {  # the square of the bound, by the papers' formulas
    "glorot_uniform": lambda fan_in, fan_out: 6 / (fan_in + fan_out),
    "he_uniform": lambda fan_in, fan_out: 6 / fan_in,
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
    assert set(INITIALIZERS) == {*UNIFORM, *NORMAL, *CONSTANT}
    assert all(get_initializer(name) is getattr(initializers, name) for name in INITIALIZERS)


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
        (0.5, TypeError, r"expected a name or a callable init\(rng, shape\), got 0\.5"),
    ],
)
def test_what_is_no_initializer(initializer, error, message):
    with pytest.raises(error, match=message):
        get_initializer(initializer)
