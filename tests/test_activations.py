"""The activations as functions: what their layers compute, of arrays of any shape."""

import numpy as np
import pytest

import minidense as md
from minidense.layers.activations import ACTIVATIONS, FUNCTIONS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_what_the_layer_computes(name):
    z = np.random.default_rng(0).normal(size=(3, 4, 5))
    function = getattr(md.activations, name)
    expected = np.stack([ACTIVATIONS[name]().forward(rows.copy()) for rows in z])
    np.testing.assert_allclose(function(z), expected, rtol=4 * np.finfo(z.dtype).eps)  # BLAS sums rows by the number
    assert np.array_equal(function(z[0, 0]), expected[0, 0])
    assert function(np.float32(0.5)).shape == ()
    assert function([1, 2]).dtype == "float32"
    assert not np.isnan(function([-1e30, 1e30])).any()  # nor a warning
    assert function(z.tolist()).dtype == "float64"
    assert md.activations.get(name) is md.activations.get(function) is function
    model = md.Sequential([md.Dense(5, activation=function), md.Activation(function)], rng=0).build(5)
    named = md.Sequential([md.Dense(5, activation=name), md.Activation(name)], rng=0).build(5)
    assert np.array_equal(model.predict(z[0]), named.predict(z[0]))
    assert model.to_json() == named.to_json()


def test_all_of_them_are_in_the_module():
    assert all(getattr(md.activations, name) is function for name, function in FUNCTIONS.items())


def test_arguments_are_those_of_the_layer():
    z = np.array([-1.0, 0.05, 2.0])
    relu = md.activations.relu(z, negative_slope=0.5, max_value=1, threshold=0.1)
    assert relu == pytest.approx([-0.55, -0.025, 1])
    assert md.activations.leaky_relu(z)[0] == pytest.approx(-0.2)
    assert md.activations.leaky_relu(z, negative_slope=0.1)[0] == pytest.approx(-0.1)


def test_other_functions_and_names_are_refused():
    for wrong in (np.tanh, md.losses.mean_squared_error, abs, md.Dense):
        with pytest.raises((TypeError, ValueError), match=r"activation"):
            md.Dense(3, activation=wrong)
    with pytest.raises(ValueError, match="Did you mean 'relu'"):
        md.activations.get("rleu")
    with pytest.raises(TypeError, match="expected one of the names"):
        md.activations.get(np.tanh)
