"""The author's contract: what param, buffer and child declare, names, arguments, copies, attributes."""

import copy
import pickle

import numpy as np
import pytest

import minidense as md
from minidense.layers.base import declare


class Scale(md.Layer):
    """The layer of the documentation."""

    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        return input_shape

    def forward(self, x):
        self.x = x
        return x * self.g

    def backward(self, dy):
        self.dg = (dy * self.x).sum(axis=0)
        return dy * self.g


def test_assigning_a_parameter_writes_into_theta():
    model = md.Sequential([Scale()]).build(2)
    model.layers[0].g = [3.0, 4.0]
    assert model.theta.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"Scale\(\), layer 0: g must have shape \(2,\), got \(3,\)"):
        model.layers[0].g = np.ones(3)


def test_backward_before_forward_names_the_layer():
    model = md.Sequential([md.Dense(3)]).build(4)
    with pytest.raises(AttributeError, match=r"Dense\(3\), layer 0 has no attribute 'x'.*call forward before backward"):
        model.backward(np.ones((2, 3)))


def test_a_parameter_read_before_the_model_is_built_says_so():
    layer = Scale()
    declare(layer, (2,))
    with pytest.raises(AttributeError, match=r"no attribute 'g'. It is declared, and exists once the model is built"):
        _ = layer.g


def test_a_layer_without_forward_says_so():
    class Empty(md.Layer):
        pass

    with pytest.raises(AttributeError, match="must define forward and backward"):
        md.Sequential([Empty()]).build(2).predict(np.ones((1, 2)))


def test_parameter_names_that_are_taken_are_refused():
    class Twice(md.Layer):
        def build(self, input_shape):
            self.param("g", 1)
            self.param(self.second, 1)
            return input_shape

    for name in ("g", "dg", "build", "not a name"):
        layer = Twice()
        layer.second = name
        with pytest.raises(ValueError, match="cannot be called"):
            md.Sequential([layer]).build(2)


def test_a_parameter_cannot_take_an_attributes_name():
    class Clash(md.Layer):
        def __init__(self, g=0.5):
            self.g = g

        def build(self, input_shape):
            self.param("g", input_shape)
            return input_shape

    with pytest.raises(ValueError, match="'g' is taken"):
        md.Sequential([Clash()]).build(3)


def test_config_and_repr_come_from_the_constructor():
    class Power(md.Layer):
        def __init__(self, exponent, shift=0.0):
            self.exponent = exponent

    assert repr(Power(3)) == "Power(3)"
    assert repr(Power(3, shift=1.5)) == "Power(3, shift=1.5)"
    assert Power(exponent=2).get_config() == {"exponent": 2, "shift": 0.0}
    assert md.Dense(5).get_config()["kernel_initializer"] == "glorot_uniform"


def test_array_arguments_have_a_short_repr():
    class Normalize(md.Layer):
        def __init__(self, mean=0.0):
            self.mean = mean

        def build(self, input_shape):
            self.param("g", input_shape, "ones")
            return input_shape

        def forward(self, x):
            self.x = x - self.mean
            return self.x * self.g

        def backward(self, dy):
            self.dg = (dy * self.x).sum(axis=0)
            return dy * self.g

    layer = Normalize(np.ones(4))
    assert repr(layer) == "Normalize(mean=<array of shape (4,)>)"
    assert md.check_layer(layer, 4) <= 1e-7


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copied_layer_keeps_its_values_and_can_start_another_model(duplicate):
    source = md.Sequential([md.Dense(3), md.ReLU()], rng=0).build(4)
    layer = duplicate(source.layers[0])
    assert not np.shares_memory(layer.W, source.theta)
    other = md.Sequential([layer, md.Dense(2)], rng=1).build(4)
    assert np.array_equal(other.layers[0].W, source.layers[0].W)
    assert np.shares_memory(other.layers[0].W, other.theta)


def test_values_of_another_shape_are_refused():
    source = md.Sequential([md.Dense(3)], rng=0).build(1)
    layer = copy.deepcopy(source.layers[0])
    assert np.array_equal(layer.W, source.layers[0].W)
    with pytest.raises(ValueError, match=r"W must have shape \(4, 3\); the layer this one is a copy of has \(1, 3\)"):
        md.Sequential([layer]).build(4)


def test_a_property_that_fails_speaks_for_itself():
    class Fails(md.Layer):
        @property
        def scale(self):
            return self.missing_thing

    with pytest.raises(AttributeError, match="missing_thing"):
        _ = Fails().scale


def test_a_layer_inside_a_layer_computes_in_the_models_dtype_and_is_cloned():
    class Outer(md.Layer):
        def __init__(self):
            self.inner = md.Sigmoid()

        def build(self, input_shape):
            return self.child("inner", self.inner, input_shape)

        def forward(self, x):
            return self.inner.forward(x)

        def backward(self, dy):
            return self.inner.backward(dy)

    assert md.check_layer(Outer(), 4) <= 1e-7
    model = md.Sequential([Outer()], dtype="float64").build(3)
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(model.predict(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    assert "h" not in model.layers[0].inner.__dict__


ARRAYS = {md.Dense: ["W", "b"], md.BatchNormalization: ["gamma", "beta", "moving_mean", "moving_variance"]}


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
        same = all(np.array_equal(getattr(layer, name), getattr(old, name)) for name in ARRAYS[type(layer)])
        assert same == (index in frozen)
    if 1 in frozen:
        assert np.array_equal(model.layers[1].moving_mean, before.layers[1].moving_mean)
    thawed = model.layers[frozen[0]]
    thawed.trainable = True
    model.fit(*digits_like, verbose=0)
    name = ARRAYS[type(thawed)][0]
    assert not np.array_equal(getattr(thawed, name), getattr(before.layers[frozen[0]], name))
