"""Normalization: formulas, gradients, and moving averages, which change only with an update."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, sizes

import minidense as md

NORMALIZATIONS = [md.BatchNormalization(), md.LayerNormalization()]


@pytest.mark.parametrize("layer", NORMALIZATIONS, ids=repr)
@given(features=st.integers(2, 6), seed=seeds)
def test_they_pass_the_gradient_check(layer, features, seed):
    sizes = (3, 9) if isinstance(layer, md.BatchNormalization) else (3, 1, 9)  # one row has no variance
    assert md.check_layer(layer, features, rng=seed, batch_sizes=sizes) <= 1e-7
    assert md.check_layer(layer, (2, features), rng=seed, batch_sizes=(4, 2)) <= 1e-7


@pytest.mark.parametrize("layer", NORMALIZATIONS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_inputs_are_finite_and_silent(layer, dtype):
    model = md.Sequential([copy.deepcopy(layer)], dtype=dtype).build(4)
    y = model.forward(np.array([[-1e4, 0, 1e4, 5], [1e4, 1, -1e4, -1e4]]), training=True)
    assert np.isfinite(y).all()
    assert y.dtype == dtype
    assert np.isfinite(model.backward(np.ones_like(y))).all()


def normalized(momentum=0.9, dtype="float64"):
    layers = [md.Dense(6), md.BatchNormalization(momentum), md.ReLU(), md.Dense(3)]
    return md.Sequential(layers, rng=0, dtype=dtype).compile(md.SGD(0.05))


def test_batch_normalization_follows_its_moving_averages():
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 3, size=(30, 4)), np.arange(30) % 3
    model = normalized().build(4)
    mean, variance = np.zeros(6), np.ones(6)
    for start in (0, 10, 20):
        batch = x[start : start + 10]
        z = batch @ model.layers[0].W + model.layers[0].b
        model.train_on_batch(batch, y[start : start + 10])
        mean, variance = 0.9 * mean + 0.1 * z.mean(axis=0), 0.9 * variance + 0.1 * z.var(axis=0)
    layer = model.layers[1]
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-12)
    z = x @ model.layers[0].W + model.layers[0].b
    expected = layer.gamma * (z - mean) / np.sqrt(variance + 1e-3) + layer.beta
    np.testing.assert_allclose(md.network.inference(model.layers[:2])(x), expected, rtol=1e-10)


def test_moving_averages_are_no_parameters_and_are_copied():
    model = normalized().build(4)
    assert model.count_params == 4 * 6 + 6 + 2 * 6 + 6 * 3 + 3
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    model.fit(x, y, verbose=0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.predict(x), model.predict(x))
        assert not np.shares_memory(twin.layers[1].moving_mean, model.layers[1].moving_mean)
    before = model.layers[1].moving_mean.copy()
    model.predict(x)
    model.evaluate(x, y)
    assert np.array_equal(model.layers[1].moving_mean, before)
    model.add(md.Dense(3))
    assert np.array_equal(model.layers[1].moving_mean, before)


def test_a_step_that_is_not_made_does_not_move_the_averages():
    model = normalized(dtype="float32").build(4)
    layer = model.layers[1]
    layer.gamma[...] = 3e38
    with pytest.raises(FloatingPointError):
        model.train_on_batch(np.random.default_rng(0).normal(size=(8, 4)) * 100, np.zeros(8, int))
    assert (layer.moving_mean == 0).all()


def test_a_batch_with_batch_normalization_is_not_computed_in_slices():
    x, y = np.random.default_rng(0).normal(size=(5000, 4)), np.arange(5000) % 3
    model = normalized(momentum=0.0)
    model.fit(x, y, batch_size="full", verbose=0)
    z = x @ normalized().build(4).layers[0].W
    np.testing.assert_allclose(model.layers[1].moving_mean, z.mean(axis=0), rtol=1e-9, atol=1e-12)


@given(rows=sizes, features=st.integers(2, 6), seed=seeds)
def test_layer_normalization_is_its_formula(rows, features, seed):
    x = np.random.default_rng(seed).normal(3, 2, size=(rows, features))
    model = md.Sequential([md.LayerNormalization(epsilon=1e-3)], dtype="float64").build(features)
    expected = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-9, atol=1e-12)
