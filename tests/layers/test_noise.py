"""Dropout: what it draws, from its own random generator, and that it is the identity at inference."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import minidense as md


@pytest.mark.parametrize("rate", [0.0, 0.3])
@given(features=st.integers(2, 6), seed=seeds)
def test_it_passes_the_gradient_check(rate, features, seed):
    assert md.check_layer(md.Dropout(rate), features, rng=seed) <= 1e-7


def dropout_model(rate=0.5, rng=0):
    return md.Sequential([md.Dense(40), md.Dropout(rate), md.Dense(3)], rng=rng).compile()


def test_dropout_keeps_the_mean_and_drops_its_share():
    x = np.ones((4000, 50))
    layer = md.Sequential([md.Dropout(0.3)], rng=0, dtype="float64").build(50).layers[0]
    y = layer.forward(x, training=True)
    share, n = (y == 0).mean(), y.size
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / n)  # five standard deviations of a binomial share
    assert np.allclose(y[y != 0], 1 / 0.7)
    assert layer.forward(x, training=False) is x


def test_dropout_draws_from_a_generator_of_its_own():
    x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 3
    seen = {}
    for rate in (0.0, 0.5):
        order = seen[rate] = []

        class Spy(md.Layer):
            def forward(self, x, training, order=order):
                order.extend(x[:, 0].tolist() if training else [])
                return x

            def backward(self, dy):
                return dy

        layers = [Spy(), md.Dense(40), *([md.Dropout(rate)] if rate else []), md.Dense(3)]
        model = md.Sequential(layers, rng=0).compile()
        model.fit(x, y, epochs=2, batch_size=8, verbose=0)
    assert seen[0.0] == seen[0.5]  # the batches' order is not changed by it
    assert np.array_equal(dropout_model().build(5).layers[0].W, dropout_model(0.1).build(5).layers[0].W)


def test_dropout_is_reproducible_and_survives_copying():
    x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 3
    one, two = dropout_model(), dropout_model()
    one.fit(x, y, epochs=4, verbose=0)
    two.fit(x, y, epochs=2, verbose=0)
    for twin in (copy.deepcopy(two), pickle.loads(pickle.dumps(two))):
        twin.fit(x, y, epochs=2, verbose=0)
        assert np.array_equal(twin.theta, one.theta)
    assert not np.array_equal(
        dropout_model(0.2).fit(x, y, verbose=0).history["loss"], one.fit(x, y, verbose=0).history["loss"]
    )


def test_dropout_is_nothing_in_predict():
    model = dropout_model().build(5)
    x = np.ones((3, 5))
    assert np.array_equal(model.predict(x), model.predict(x))
    alone = md.Sequential([md.Dropout(0.5)]).build(2)
    given = np.ones((2, 2), "float32")
    given_back = alone.predict(given)
    given_back[...] = 7
    assert (given == 1).all()


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan")])
def test_rates_that_are_none(rate):
    with pytest.raises(ValueError, match="rate: expected a finite number at least 0 and below 1"):
        md.Dropout(rate)


def test_a_layer_of_ones_own_can_draw():
    class Noise(md.Layer):
        draws = True

        def forward(self, x, training):
            return x + self.rng.normal(size=x.shape) if training else x

        def backward(self, dy):
            return dy

    assert md.check_layer(Noise(), 3) <= 1e-7
    models = [md.Sequential([Noise(), md.Dense(2)], rng=1).compile() for _ in range(2)]
    for model in models:
        model.fit(np.ones((6, 3)), [0, 1] * 3, epochs=2, verbose=0)
    assert np.array_equal(models[0].theta, models[1].theta)


def test_gaussian_noise():
    x = np.ones((4000, 50))
    layer = md.Sequential([md.GaussianNoise(0.3)], rng=0, dtype="float64").build(50).layers[0]
    noise = layer.forward(x, training=True) - x
    assert abs(noise.mean()) < 5 * 0.3 / noise.size**0.5
    assert abs(noise.std() / 0.3 - 1) < 5 / (2 * noise.size) ** 0.5
    assert layer.forward(x, training=False) is x
    assert md.check_layer(md.GaussianNoise(0.3), 4) <= 1e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_has_the_models_dtype(dtype):
    model = md.Sequential([md.GaussianNoise(0.1)], rng=0, dtype=dtype).build(3)
    assert model.forward(np.ones((2, 3)), training=True).dtype == dtype
