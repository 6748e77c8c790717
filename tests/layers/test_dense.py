"""Dense: its equations, its gradients, and the activation that becomes a separate layer."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays, seeds, sizes

import minidense as md


def built(layer, shape, dtype="float64"):
    return md.Sequential([layer], rng=0, dtype=dtype).build(shape).layers[0]


@given(units=sizes, features=sizes, bias=st.booleans(), seed=seeds)
def test_dense_passes_the_gradient_check(units, features, bias, seed):
    assert md.check_layer(md.Dense(units, use_bias=bias), features, rng=seed, batch_sizes=(1, 3)) <= 1e-7


@given(normal_arrays())
def test_dense_is_the_equation(x):
    dense = built(md.Dense(3, bias_initializer="ones"), x.shape[1])
    y = dense.forward(x)
    np.testing.assert_allclose(y, x @ dense.W + dense.b, rtol=1e-14, atol=1e-14)
    dy = np.ones_like(y)
    np.testing.assert_allclose(dense.backward(dy), dy @ dense.W.T, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(dense.dW, x.T @ dy, rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(dense.db, dy.sum(axis=0), rtol=1e-14)


def test_dense_expands_its_activation_into_a_layer():
    model = md.Sequential([md.Dense(4, activation="relu"), md.Dense(2, activation=md.Softmax())])
    assert list(map(repr, model.layers)) == ["Dense(4)", "ReLU()", "Dense(2)", "Softmax()"]
    assert [layer._record.path for layer in model.layers] == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize(
    "build", [lambda layers: md.Sequential(layers), lambda layers: [md.Sequential().add(x) for x in layers]]
)
def test_a_failed_constructor_takes_no_layer(build):
    layers = [md.Dense(5, activation="relu"), md.ReLU]
    with pytest.raises(TypeError, match="Make an object of it"):
        md.Sequential(layers)
    assert repr(layers[0]) == "Dense(5, activation='relu')"
    assert len(md.Sequential(layers[:1]).layers) == 2


def test_one_activation_object_in_two_places_is_refused():
    relu = md.ReLU()
    with pytest.raises(ValueError, match=r"ReLU\(\) is in this model already"):
        md.Sequential([md.Dense(5, activation=relu), md.Dense(5, activation=relu)])
    md.Sequential([md.Dense(5, activation=relu)])  # nothing was taken


def test_an_activation_may_bring_its_own():
    model = md.Sequential([md.Dense(3, activation=md.Dense(4, activation="relu"))])
    assert list(map(repr, model.layers)) == ["Dense(3)", "Dense(4)", "ReLU()"]


class Centered(md.Dense):
    def forward(self, x):
        z = super().forward(x)
        return z - z.mean(axis=0)

    def backward(self, dz):
        return super().backward(dz - dz.mean(axis=0))


def test_a_subclass_with_another_forward_is_not_taken_for_rowwise():
    assert not Centered.rowwise
    x, y = np.random.default_rng(0).normal(size=(5000, 4)), np.arange(5000) % 3
    model = md.Sequential([Centered(3)], rng=0, dtype="float64").build(4).compile()
    model.loss_and_grad(x, y)  # slices of 2048 rows, each centred separately, would give another gradient
    loss = md.SoftmaxCrossEntropy()
    layer = copy.deepcopy(model).layers[0]
    loss.forward(layer.forward(x), y)
    layer.backward(loss.backward())
    np.testing.assert_allclose(model.layers[0].dW, layer.dW, rtol=1e-9, atol=1e-12)


def test_a_subclass_of_dense_can_be_the_first_layer():
    model = md.Sequential([Centered(3)], rng=0).compile()
    model.fit(np.random.default_rng(0).normal(size=(8, 4)), [0, 1] * 4, verbose=0)


def test_what_a_model_is_made_by_cannot_be_set_later():
    model = md.Sequential([md.Dense(4, activation="tanh"), md.Dense(3)], rng=0)
    first, last = model.layers[0], model.layers[-1]
    with pytest.raises(AttributeError, match=r"Dense\(3\), layer 2: activation cannot be set once it is in a model"):
        last.activation = "relu"
    first.units = 5  # it is not built yet
    model.build(6)
    for name, value in {"units": 7, "use_bias": False, "activation": "relu"}.items():
        with pytest.raises(
            AttributeError, match=rf"Dense\(5\), layer 0: {name} cannot be set once it is (built|in a model)"
        ):
            setattr(first, name, value)
    first.units, first.use_bias, first.activation = 5, True, None  # what they are
    assert model.predict(np.ones((2, 6))).shape == (2, 3)
    assert first.W.shape == (6, 5)
