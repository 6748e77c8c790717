"""The network: one theta, one gradient, one vector of buffers, and the names of its arrays."""

import copy
import gc
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tied import Transposed

import minidense as md
from minidense.layers.base import walk
from minidense.network import Network, first_not_finite

LAYERS = [
    lambda: md.Dense(4),
    lambda: md.BatchNormalization(),
    lambda: md.Residual([md.Dense(4, "relu"), md.Dense(4)]),
    lambda: md.Concatenate([md.Dense(2), md.Dense(2)]),
    lambda: md.Sequential([md.Dense(4, "tanh")]),
    lambda: md.LayerNormalization(),
    lambda: md.Dropout(0.5),
]
trees = st.lists(st.sampled_from(LAYERS), min_size=1, max_size=5)


def assert_whole(network):
    """Every array is a piece of its vector, in the order of the names, and nothing is left over."""
    params, buffers = [], []
    for layer, d in network.declarations():
        array = getattr(layer, d.name)
        is_buffer = d in layer._record.buffers
        (buffers if is_buffer else params).append(array)
        assert np.shares_memory(array, network.buffers if is_buffer else network.theta)
    flat = [np.concatenate([a.ravel() for a in of] or [np.empty(0)]) for of in (params, buffers)]
    assert np.array_equal(flat[0], network.theta)
    assert np.array_equal(flat[1], network.buffers)
    assert network.grad.shape == network.theta.shape


@given(trees)
def test_vectors_are_cut_without_a_gap(makers):
    model = md.Sequential([make() for make in makers], rng=0).build(4)
    assert_whole(model.network)
    names = list(model.network.named_arrays())
    assert len(names) == len(set(names))
    for layer in walk(model.network):
        if isinstance(layer, Network):
            assert_whole(layer)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_whole(twin.network)
        assert list(twin.network.named_arrays()) == names
        assert np.array_equal(twin.theta, model.theta)
        assert not np.shares_memory(twin.theta, model.theta)


@given(trees, st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3))
def test_adding_to_a_built_network_keeps_what_there_is(makers, more):
    model = md.Sequential([make() for make in makers], rng=0).build(4)
    before = {name: array.copy() for name, array in model.network.named_arrays().items()}
    for make in more:
        model.add(make())
    assert_whole(model.network)
    after = model.network.named_arrays()
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_pieces_are_the_slices_of_theta():
    model = md.Sequential([md.Dense(3), md.BatchNormalization(), md.Residual([md.Dense(3)])]).build(4)
    decayed = [("layers/0/W", slice(0, 12), (4, 3)), ("layers/2/f/0/W", slice(21, 30), (3, 3))]
    assert model.network.pieces(lambda layer, d: d.decay) == decayed
    arrays = model.network.named_arrays()
    for name, piece, shape in model.network.pieces():
        assert np.array_equal(model.theta[piece].reshape(shape), arrays[name])
    assert sum(p.slice.stop - p.slice.start for p in model.network.pieces()) == model.theta.size


def test_a_build_that_fails_leaves_no_trace():
    class Picky(md.Layer):
        def build(self, input_shape):
            self.param("g", input_shape)
            self.child("f", md.Dense(3), input_shape)
            raise ValueError("not this one")

    dense, picky = md.Dense(3), Picky()
    model = md.Sequential([dense, md.Residual([md.Dense(3)]), picky], rng=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="not this one"):
            model.build(4)
        assert not model.built
        assert dense.input_shape is None
        assert dense.count_params() == 0
        assert "f" not in vars(picky)


def test_an_initializer_that_returns_another_shape_is_told():
    model = md.Sequential([md.Dense(3, kernel_initializer=lambda rng, shape: np.zeros(2))])
    with pytest.raises(ValueError, match=r"Dense.*W must have shape \(4, 3\); the initializer returned \(2,\)"):
        model.build(4)


def test_a_buffer_of_the_users_own_is_in_get_weights_and_in_files(tmp_path):
    class Mean(md.Layer):
        def build(self, input_shape):
            self.buffer("mean", input_shape)
            return input_shape

        def forward(self, x, training):
            if training:
                self.mean += 0.1 * (x.mean(axis=0) - self.mean)
            return x - self.mean

        def backward(self, dy):
            return dy

    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 1, size=(40, 4)), rng.integers(0, 2, 40)
    model = md.Sequential([Mean(), md.Dense(2)], rng=0).compile("sgd")
    model.fit(x, y, epochs=3, verbose=0)
    assert [w.shape for w in model.get_weights()] == [(4,), (4, 2), (2,)]
    assert abs(model.layers[0].mean).min() > 0.1
    model.save(tmp_path / "m.npz")
    assert np.array_equal(md.load_model(tmp_path / "m.npz", {"Mean": Mean}).predict(x), model.predict(x))


def test_an_add_that_fails_adds_nothing():
    class Picky(md.Layer):
        ready = False

        def build(self, input_shape):
            if not self.ready:
                raise ValueError("not yet")
            return input_shape

        def forward(self, x):
            return x

    model = md.Sequential([md.Dense(4)], rng=0).build(4)
    theta = model.theta
    for kind in (lambda *layers: layers[-1], lambda *layers: md.Sequential(layers), md.Concatenate, md.Residual):
        inner = md.Dense(4, "relu")
        added = kind([inner, Picky()]) if isinstance(kind, type) else kind(inner, Picky())
        for _ in range(2):
            with pytest.raises(ValueError, match="not yet"):
                model.add(added)
            assert len(model.layers) == 1
            assert model.output_shape == (4,)
            assert model.theta is theta
            assert inner.count_params() == 0
        Picky.ready = True
        assert_whole(copy.deepcopy(model).add(added).network)
        Picky.ready = False


def test_copies_of_models_within_models_keep_their_facades():
    inner = md.Sequential([md.Dense(4, "relu")], name="inner")
    model = md.Sequential([inner, md.Residual([md.Sequential([md.Dense(4)], name="deep")])], rng=0)
    for built in (False, True):
        if built:
            model.build(4)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            twin.build(4)
            assert twin.layers[0].name == "inner"
            assert twin.layers[0] is not inner
            assert twin.layers[0].network is twin.network.children[0]
            assert np.shares_memory(twin.layers[0].theta, twin.theta)
            assert_whole(twin.network)
    alone = pickle.loads(pickle.dumps(inner))
    x = np.ones((2, 4))
    assert np.array_equal(alone.predict(x), inner.predict(x))
    assert alone.network.outer is None
    alone.add(md.Dense(3)).compile("sgd").fit(x, [0, 1], verbose=0)
    assert inner.output_shape == (4,)


def test_a_model_cannot_be_part_of_itself():
    a = md.Sequential([md.Dense(4)])
    b = md.Sequential([a])
    for model in (a, b):
        with pytest.raises((ValueError, RuntimeError), match="part of"):
            a.add(model)


def test_layers_that_outlive_their_model_can_join_another():
    dense, block = md.Dense(4), md.Residual([md.Dense(4, "tanh")])
    values = md.Sequential([dense, block], rng=0).build(4).get_weights()
    gc.collect()
    model = md.Sequential([dense, block, md.Dense(2)], rng=1).build(4)
    assert all(map(np.array_equal, values, model.get_weights()))
    assert_whole(model.network)


def test_a_model_cannot_be_added_to_itself():
    model = md.Sequential([md.Dense(4)])
    with pytest.raises(ValueError, match="would be part of itself"):
        model.add(model)
    assert len(model.layers) == 1
    model.build(4)
    around = md.Sequential([md.Dense(4)])
    around.add(md.Residual(around))
    with pytest.raises(ValueError, match="would be part of itself"):
        around.build(4)


def test_a_model_within_a_model_computes_the_whole_gradient():
    x = np.random.default_rng(0).normal(size=(7, 6))
    encoder = md.Dense(3)
    inner = md.Sequential([encoder, Transposed(encoder), md.BatchNormalization()]).compile("sgd", "mse")
    outer = md.Sequential([inner], rng=0, dtype="float64").compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="part of another one, which is not built"):
        inner.loss_and_grad(x, x)
    outer.build(6)
    loss = outer.loss_and_grad(x, x)
    expected = outer.grad.copy()
    assert np.any(expected)
    moving = outer.network.buffers.copy()
    outer.grad[:] = 0
    assert inner.loss_and_grad(x, x) == loss
    assert np.array_equal(outer.grad, expected)
    assert np.array_equal(outer.network.buffers, moving)
    outer.grad[:] = 0
    inner.backward(2 * (inner.forward(x, training=True) - x) / x.size)
    assert np.allclose(outer.grad, expected, rtol=0, atol=1e-13)  # sums of some ten terms of about 1
    assert not np.array_equal(outer.network.buffers, moving)


def test_inference_of_a_network_is_its_prediction():
    model = md.Sequential([md.Dense(4), md.Dropout(0.5), md.Dense(2)], rng=0).build(3)
    x = np.ones((5, 3), "float32")
    assert np.array_equal(model.network.inference()(x), model.predict(x))


@pytest.mark.parametrize(
    ("scale", "first"), [((1, 1, 1), None), ((1, 1e39, 1), 1), ((np.nan, 1, np.inf), 0), ((1, 1, 1e39), 2)]
)
def test_the_first_layer_that_is_not_finite_is_found(scale, first):
    layers = [md.Dense(3) for _ in scale]
    md.Sequential(layers, rng=0).build(3)
    with np.errstate(all="ignore"):
        for layer, by in zip(layers, scale, strict=True):
            layer.W[...] = np.float32(by) * np.eye(3, dtype="float32")
        found = first_not_finite(layers, np.ones((2, 3), "float32"))
    assert found is (None if first is None else layers[first])
