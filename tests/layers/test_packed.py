"""Packed layers: each member is the Dense it stands for; where members begin and end; what they refuse."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, sizes

import minidense as md
from minidense.core.configurable import LIBRARY
from minidense.data import batches
from minidense.layers.initializers import FUNCTIONS

EPS = np.finfo(float).eps


def built(layer, shape, dtype="float64", rng=0):
    return md.Sequential([layer], rng=rng, dtype=dtype).build(shape).layers[0]


@given(units=sizes, features=sizes, members=sizes, bias=st.booleans(), seed=seeds)
def test_packed_dense_passes_the_gradient_check(units, features, members, bias, seed):
    layer = md.PackedDense(units, members, use_bias=bias)
    assert md.check_layer(layer, members * features, rng=seed, batch_sizes=(1, 3)) <= 1e-7


@given(features=sizes, members=sizes, seed=seeds)
def test_where_members_begin_and_end_passes_the_gradient_check(features, members, seed):
    assert md.check_layer(md.Scale(members), features, rng=seed, batch_sizes=(1, 3)) <= 1e-7
    for activation in ("softmax", "sigmoid", "linear"):
        layer = md.MembersMean(members, activation)
        assert md.check_layer(layer, members * features, rng=seed, batch_sizes=(1, 3)) <= 1e-7


@given(n=sizes, units=sizes, features=sizes, members=sizes, bias=st.booleans(), seed=seeds)
def test_it_is_as_many_dense_layers(n, units, features, members, bias, seed):
    """To rounding: a sum of m products in any order errs by at most m eps times the sum of their absolute values."""
    rng = np.random.default_rng(seed)
    packed = built(md.PackedDense(units, members, use_bias=bias, bias_initializer="normal"), members * features)
    x, dz = rng.normal(size=(n, members, features)), rng.normal(size=(n, members, units))
    z, dx = packed.forward(x.reshape(n, -1)), packed.backward(dz.reshape(n, -1))
    for m in range(members):
        dense = built(md.Dense(units, use_bias=bias), features)
        dense.W[...] = packed.W[m]
        if bias:
            dense.b[...] = packed.b[m]
        limit = 2 * (features + units + n + 1) * EPS * 50  # no product is above 50 here
        np.testing.assert_allclose(z.reshape(n, members, -1)[:, m], dense.forward(x[:, m]), rtol=0, atol=limit)
        np.testing.assert_allclose(dx.reshape(n, members, -1)[:, m], dense.backward(dz[:, m]), rtol=0, atol=limit)
        np.testing.assert_allclose(packed.dW[m], dense.dW, rtol=0, atol=limit)
        if bias:
            np.testing.assert_allclose(packed.db[m], dense.db, rtol=0, atol=limit)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_member_begins_as_its_dense(name):
    """One member draws what its Dense draws; several draw one after another, with the fan-in of one."""
    init = FUNCTIONS[name]
    one = built(md.PackedDense(5, 1, kernel_initializer=name, bias_initializer=name), 4)
    dense = built(md.Dense(5, kernel_initializer=name, bias_initializer=name), 4)
    assert np.array_equal(one.W[0], dense.W)
    assert np.array_equal(one.b[0], dense.b)
    found = built(md.PackedDense(5, 3, kernel_initializer=init, use_bias=False), 12).W
    rng = md.Sequential([md.Dense(1)], rng=0).network.generators.start_of_layer((0,))
    assert np.array_equal(found, [init(rng, (4, 5)) for _ in range(3)])


def test_an_array_is_the_beginning_of_each_member():
    W = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(built(md.PackedDense(3, 4, kernel_initializer=W), 8).W, [W] * 4)
    assert np.array_equal(built(md.Scale(3, initializer=W[1]), 3).s, [W[1]] * 3)


def test_factors_on_the_learning_rate():
    """One step of SGD with gradients of 1 says the rate of each parameter; weight decay takes W only."""
    layers = [
        md.Scale(2, rate=6.0),
        md.PackedDense(3, 2, kernel_rate="1/sqrt(fan_in)", bias_rate=0.1),
        md.PackedDense(3, 2, kernel_rate=0.5, bias_rate="1/sqrt(fan_in)"),
    ]
    model = md.Sequential(layers, rng=0, dtype="float64").build(16).compile(md.SGD(0.1), "mse")
    model.fit(np.zeros((1, 16)), np.zeros((1, 6)), verbose=0)
    factors = {piece.name: [f for where, f in model.optimizer.factors if where == piece.slice]
               for piece in model.optimizer.pieces}  # fmt: skip
    third = 1 / np.sqrt(3)
    assert factors == {
        "layers/0/s": [6.0], "layers/1/W": [1 / 4], "layers/1/b": [0.1], "layers/2/W": [0.5], "layers/2/b": [third],
    }  # fmt: skip
    decayed = [piece.name for piece in model.optimizer.pieces if piece.slice in model.optimizer.decayed]
    assert decayed == ["layers/1/W", "layers/2/W"]


def test_the_rate_by_fan_in_is_the_ntk_parametrization_under_adam():
    """W = V / sqrt(d) of a standard normal V that Adam trains: its step is the same in V, and so 1 / sqrt(d) in W."""

    class NTK(md.Layer):
        def build(self, input_shape):
            self.param("V", (input_shape[0], 4), md.initializers.RandomNormal(stddev=1.0))
            return (4,)

        def forward(self, x):
            self.x = x
            return x @ self.V / 3

        def backward(self, dy):
            self.dV = self.x.T @ dy / 3
            return dy @ self.V.T / 3

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 9)), rng.normal(size=(50, 4))
    layer = md.PackedDense(4, 1, kernel_initializer="lecun_normal", use_bias=False, kernel_rate="1/sqrt(fan_in)")
    models = [md.Sequential([layer], rng=0, dtype="float64") for layer in (layer, NTK())]
    for model in models:
        model.compile(md.Adam(0.01, epsilon=1e-15), "mse").fit(x, y, epochs=20, batch_size=10, verbose=0)
    np.testing.assert_allclose(models[0].layers[0].W[0], models[1].layers[0].V / 3, rtol=1e-9, atol=1e-12)


@given(n=sizes, outputs=sizes, members=sizes, seed=seeds)
def test_the_mean_over_the_members(n, outputs, members, seed):
    x = np.random.default_rng(seed).normal(size=(n, members, outputs))
    e = np.exp(x)
    for name, each in {"linear": x, "softmax": e / e.sum(axis=2, keepdims=True), "sigmoid": e / (1 + e)}.items():
        found = built(md.MembersMean(members, name), members * outputs).forward(x.reshape(n, -1))
        np.testing.assert_allclose(found, each.sum(axis=1) / members, rtol=1e-13, atol=1e-15)


def ensemble(members=3, outputs=4, dtype="float64", activation="softmax"):
    layers = [md.Scale(members), md.PackedDense(6, members), md.ReLU(), md.PackedDense(outputs, members)]
    return md.Sequential([*layers, md.MembersMean(members, activation)], rng=1, dtype=dtype).build(5)


def test_slices_of_a_large_batch_give_the_same_gradient(monkeypatch):
    """All are rowwise, so that a batch is computed in slices; whole, it has the same gradient."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 5)), rng.integers(0, 4, 300)
    found = []
    for rows in (64, 10_000):
        monkeypatch.setattr(batches, "SLICE_ROWS", rows)
        model = ensemble().compile("sgd", md.losses.Members("softmax_crossentropy", 3))
        assert model.network.rowwise
        found.append((model.loss_and_grad(x, y), model.grad.copy()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-13)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-11, atol=1e-15)


def test_copies_are_of_their_own():
    model, x = ensemble(), np.random.default_rng(0).normal(size=(7, 5))
    before = model.predict(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.predict(x), before)
        twin.theta[...] += 1
        assert np.array_equal(model.predict(x), before)
        assert not np.array_equal(twin.predict(x), before)


def test_what_they_refuse():
    for make, message in (
        (lambda: md.PackedDense(3, 0), "PackedDense: members: expected a whole number of at least 1, got 0"),
        (lambda: md.PackedDense(3, 2, kernel_rate=-1.0), "PackedDense: kernel_rate: expected a finite number at least"),
        (
            lambda: md.PackedDense(3, 2, bias_rate="1/sqrt(fanin)"),
            r"unknown rate '1/sqrt\(fanin\)'. Did you mean '1/sq",
        ),
        (lambda: md.Scale(rate=-1), "Scale: rate: expected"),
        (lambda: md.MembersMean(2, "relu"), "unknown activation 'relu'"),
        (
            lambda: built(md.PackedDense(3, 2), 5),
            r"PackedDense\(3, 2\), layer 0: expected as many features for each of 2",
        ),
        (lambda: built(md.MembersMean(3), 7), "expected as many features for each of 3 members, got 7 in all"),
        (
            lambda: built(md.Scale(2), (3, 3)),
            r"Scale\(members=2\), layer 0: expected inputs of shape \(n, d\), got \(n, 3, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize(
    ("layer", "changes"),
    [
        (md.PackedDense(2, 2), {"units": 3, "members": 1, "use_bias": False, "kernel_rate": 2.0}),
        (md.Scale(2), {"members": 1, "rate": 0.5}),
    ],
)
def test_what_a_model_is_made_by_cannot_be_set_later(layer, changes):
    assert LIBRARY[type(layer).__name__] is type(layer)
    free = copy.deepcopy(layer)
    built(layer, 4)
    for name, value in changes.items():
        with pytest.raises(AttributeError, match=f"layer 0: {name} cannot be set once it is built"):
            setattr(layer, name, value)
        setattr(layer, name, getattr(layer, name))
        setattr(free, name, value)
        assert free.get_config()[name] == value
