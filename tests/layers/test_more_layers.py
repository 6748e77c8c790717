"""Activations, dropout, normalization, flatten, frozen layers: values, gradients, what is drawn and what moves."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, sizes

import minidense as md
from minidense.numerics.functional import normal_cdf, softplus

LAYERS = [
    md.Tanh(),
    md.LeakyReLU(),
    md.LeakyReLU(0.0),
    md.ELU(),
    md.ELU(1.7),
    md.GELU(),
    md.GELU(approximate=True),
    md.SiLU(),
    md.Softplus(),
    md.Dropout(0.3),
    md.Dropout(0.0),
    md.BatchNormalization(),
    md.LayerNormalization(),
    md.Flatten(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@given(features=st.integers(2, 6), seed=seeds)
def test_every_layer_passes_the_gradient_check(layer, features, seed):
    sizes = (3, 9) if isinstance(layer, md.BatchNormalization) else (3, 1, 9)  # one row has no variance
    assert md.check_layer(layer, features, rng=seed, batch_sizes=sizes) <= 1e-7


@pytest.mark.parametrize("layer", [md.Flatten(), md.LayerNormalization(), md.BatchNormalization(), md.Tanh()], ids=repr)
def test_samples_of_any_shape(layer):
    assert md.check_layer(layer, (2, 3), batch_sizes=(4, 2)) <= 1e-7


DEFINITIONS = {
    md.Tanh(): math.tanh,
    md.LeakyReLU(0.2): lambda v: v if v > 0 else 0.2 * v,
    md.ELU(1.5): lambda v: v if v > 0 else 1.5 * math.expm1(v),
    md.GELU(): lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)),
    md.GELU(True): lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    md.SiLU(): lambda v: v / (1 + math.exp(-v)),
    md.Softplus(): lambda v: math.log1p(math.exp(v)),
}


@pytest.mark.parametrize("layer", DEFINITIONS, ids=repr)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=8))
def test_activations_are_their_definitions(layer, values):
    found = copy.deepcopy(layer).forward(np.array([values]))[0]
    expected = [DEFINITIONS[layer](v) for v in values]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layer", [*DEFINITIONS, md.LayerNormalization(), md.BatchNormalization()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_inputs_are_finite_and_silent(layer, dtype):
    model = md.Sequential([copy.deepcopy(layer)], dtype=dtype).build(4)
    y = model.forward(np.array([[-1e4, 0, 1e4, 5], [1e4, 1, -1e4, -1e4]]), training=True)
    assert np.isfinite(y).all()
    assert y.dtype == dtype
    assert np.isfinite(model.backward(np.ones_like(y))).all()


@given(st.floats(-40, 40))
def test_normal_cdf(x):
    assert float(normal_cdf(np.array(x))) == pytest.approx(0.5 * math.erfc(-x / math.sqrt(2)), rel=1e-12, abs=1e-300)


@given(st.floats(-700, 700))
def test_softplus(x):
    exact = max(x, 0) + math.log1p(math.exp(-abs(x)))
    assert float(softplus(np.array(x))) == pytest.approx(exact, rel=1e-15)


# ------------------------------------------------------------------ dropout


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


def test_dropout_draws_from_a_stream_of_its_own():
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


# ------------------------------------------------------------------ normalization


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


# ------------------------------------------------------------------ flatten, and frozen layers


def test_images_go_in_through_flatten():
    images = np.random.default_rng(0).random((20, 6, 6))
    flat = md.Sequential([md.Dense(3)], rng=0).build(36)
    model = md.Sequential([md.Flatten(), md.Dense(3)], rng=0).build((6, 6)).compile()
    model.set_weights(flat.get_weights())
    np.testing.assert_allclose(model.predict(images), flat.predict(images.reshape(20, -1)))
    model.fit(images, np.arange(20) % 3, epochs=2, verbose=0)


@pytest.mark.parametrize("optimizer", [md.SGD(0.1), md.SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("frozen", [[0], [2], [0, 2], [1]])
def test_frozen_layers_stay_as_they_are(optimizer, frozen, digits_like):
    layers = [md.Dense(8), md.BatchNormalization(), md.Dense(5), md.Dense(3)]
    model = md.Sequential(layers, rng=0).build(7).compile(copy.deepcopy(optimizer))
    for index in frozen:
        layers[index].trainable = False
    before = copy.deepcopy(model)
    model.fit(*digits_like, epochs=3, verbose=0)
    for index, (layer, old) in enumerate(zip(model.layers, before.layers, strict=True)):
        same = all(np.array_equal(getattr(layer, d.name), getattr(old, d.name)) for d in layer.declarations)
        assert same == (index in frozen)
    if 1 in frozen:
        assert np.array_equal(model.layers[1].moving_mean, before.layers[1].moving_mean)
    thawed = model.layers[frozen[0]]
    thawed.trainable = True
    model.fit(*digits_like, verbose=0)
    assert not np.array_equal(
        thawed.values[thawed.declarations[0].name], before.layers[frozen[0]].values[thawed.declarations[0].name]
    )
