"""Drawn data: where the points lie, and that the seed decides."""

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
