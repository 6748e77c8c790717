"""Synthetic data: where the points lie, and that they depend on the seed only."""

import numpy as np

import minidense as md

EPS = np.finfo(float).eps  # of sin or cos, of the product and of hypot: about one each


def test_spirals():
    x, y = md.datasets.make_spirals(50, 4, rng=1)
    assert x.shape == (200, 2)
    assert np.bincount(y).tolist() == [50] * 4
    for arm in range(4):
        np.testing.assert_allclose(np.hypot(*x[y == arm].T), np.linspace(0, 1, 50), rtol=4 * EPS)
    assert np.array_equal(x, md.datasets.make_spirals(50, 4, rng=1)[0])
    assert not np.array_equal(x, md.datasets.make_spirals(50, 4, rng=2)[0])


def test_spirals_turn_through_four_radians_with_noise_of_a_fifth():
    n = 2000
    x, y = md.datasets.make_spirals(n, 3, rng=1)
    x, y = x[np.hypot(*x.T) > 0], y[np.hypot(*x.T) > 0]  # at the centre there is no angle
    along = np.arctan2(x[:, 0], x[:, 1]) - 4 * y - 4 * np.hypot(*x.T)
    noise = (along + np.pi) % (2 * np.pi) - np.pi
    assert abs(noise.mean()) < 5 * 0.2 / np.sqrt(3 * n)  # five standard errors
    assert abs(noise.std() - 0.2) < 5 * 0.2 / np.sqrt(6 * n)


def test_spirals_as_they_are_without_arguments():
    x, y = md.datasets.make_spirals()
    assert (x.shape, np.bincount(y).tolist()) == ((300, 2), [100, 100, 100])
