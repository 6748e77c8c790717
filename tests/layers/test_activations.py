"""Activations: definitions, derivatives, and extreme values."""

import copy
import math
import runpy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays, seeds, sizes

import minidense as md
from minidense.layers.activations import ACTIVATIONS

ELEMENTWISE = [md.ReLU, md.Sigmoid, md.Softmax]


DEFINED = [
    md.Tanh(),
    md.LeakyReLU(),
    md.LeakyReLU(0.0),
    md.ELU(),
    md.ELU(1.7),
    md.GELU(),
    md.GELU(approximate=True),
    md.SiLU(),
    md.Softplus(),
]


def built(layer, shape, dtype="float64"):
    return md.Sequential([layer], rng=0, dtype=dtype).build(shape).layers[0]


def test_the_gradient_check_allows_for_the_rounding_of_a_saturated_sigmoid():
    assert md.check_layer(md.Sigmoid(), 1, x=[[-17.52950034]], rng=755) <= 1e-7


@pytest.mark.parametrize("layer", ELEMENTWISE)
@given(features=sizes, rows=sizes, seed=seeds, scale=st.sampled_from([0.1, 1.0, 4.0]))
def test_activations_pass_the_gradient_check(layer, features, rows, seed, scale):
    x = scale * np.random.default_rng(seed).normal(size=(rows, features))
    x += np.where(abs(x) < 1e-3, 1e-2, 0)  # away from the kink at 0
    if layer is md.Softmax and features == 1:
        return  # its derivative is 0 everywhere: differences of rounding errors
    assert md.check_layer(layer(), features, x=x, rng=seed) <= 1e-7


@pytest.mark.parametrize("layer", DEFINED, ids=repr)
@given(features=st.integers(2, 6), seed=seeds)
def test_the_others_pass_it_too(layer, features, seed):
    assert md.check_layer(layer, features, rng=seed) <= 1e-7


def test_every_name_is_that_of_its_class():
    """Keras' names, in lower case with underscores; SiLU has two."""
    same = {name.replace("_", ""): repr(make()).lower() for name, make in ACTIVATIONS.items()}
    special = {"swish": "silu()", "relu6": "relu(max_value=6.0)", "leakyrelu": "leakyrelu(negative_slope=0.2)"}
    assert same == {name: special.get(name, f"{name}()") for name in same}


BY_DEFINITION = {  # of numbers, with the standard library's functions
    md.ReLU(max_value=1.5): lambda z: min(max(z, 0), 1.5),
    md.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.5): lambda z: (
        2.0 if z >= 2.0 else z if z >= 0.5 else 0.1 * (z - 0.5)
    ),
    md.Linear(): lambda z: z,
    md.SELU(): lambda z: 1.0507009873554804934 * (z if z > 0 else 1.6732632423543772848 * math.expm1(z)),
    md.Softsign(): lambda z: z / (1 + abs(z)),
    md.Exponential(): math.exp,
    md.HardSigmoid(): lambda z: min(max(z / 6 + 0.5, 0), 1),
    md.Mish(): lambda z: z * math.tanh(math.log1p(math.exp(z))),
    md.PReLU(0.3): lambda z: z if z > 0 else 0.3 * z,
}


@pytest.mark.parametrize("layer", BY_DEFINITION, ids=repr)
@given(z=st.lists(st.floats(-20, 20), min_size=1, max_size=6))
def test_activations_by_their_definition(layer, z):
    model = md.Sequential([copy.deepcopy(layer)], rng=0, dtype="float64").build(len(z))
    expected = [BY_DEFINITION[layer](v) for v in z]
    np.testing.assert_allclose(model.predict([z])[0], expected, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("layer", BY_DEFINITION, ids=repr)
@given(features=st.integers(1, 6), seed=seeds)
def test_their_derivatives(layer, features, seed):
    assert md.check_layer(layer, features, rng=seed) <= 1e-7


@pytest.mark.parametrize("layer", [*BY_DEFINITION, md.LogSoftmax()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_inputs_are_finite_and_the_dtype_stays(layer, dtype):
    model = md.Sequential([copy.deepcopy(layer)], rng=0, dtype=dtype).build(4)
    big = 80.0 if isinstance(layer, md.Exponential) else 1e30
    y = model.predict([[-big, -1.0, 0.0, big]])
    assert y.dtype == dtype
    assert np.isfinite(y).all()


@given(seed=seeds, classes=st.integers(2, 5))
def test_log_softmax(seed, classes):
    z = np.random.default_rng(seed).normal(size=(3, classes)) * 10
    expected = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(md.LogSoftmax().forward(z), expected, atol=1e-12)
    assert md.check_layer(md.LogSoftmax(), classes, rng=seed) <= 1e-7


@pytest.mark.parametrize("layer", [*BY_DEFINITION, md.LogSoftmax()], ids=repr)
def test_they_are_saved_and_exported(layer, tmp_path):
    model = md.Sequential([md.Dense(4), copy.deepcopy(layer)], rng=0).build(3)
    x = np.random.default_rng(0).normal(size=(9, 3)).astype("float32")
    model.save(tmp_path / "model.npz")
    model.export_numpy(tmp_path / "model.py")
    assert np.array_equal(md.load_model(tmp_path / "model.npz").predict(x), model.predict(x))
    assert np.array_equal(runpy.run_path(tmp_path / "model.py")["predict"](x), model.predict(x))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_an_activation_by_name_is_a_layer_of_its_own(name):
    by_name = md.Sequential([md.Dense(3), md.layers.Activation(name)])
    assert [type(layer) for layer in by_name.layers] == [md.Dense, type(ACTIVATIONS[name]())]
    assert md.check_layer(md.layers.Activation(name), 3) <= 1e-7


def test_linear_scores_are_scores():
    model = md.Sequential([md.Dense(3, activation="linear")], rng=0).compile()
    model.fit(np.eye(3), [0, 1, 2], verbose=0)


def test_what_a_relu_cannot_be():
    with pytest.raises(ValueError, match=r"ReLU: max_value: expected a finite number above 2"):
        md.ReLU(max_value=1.0, threshold=2.0)


def test_samples_of_any_shape():
    assert md.check_layer(md.Tanh(), (2, 3), batch_sizes=(4, 2)) <= 1e-7


def test_relu_is_zero_at_zero_and_so_is_its_derivative():
    relu = md.ReLU()
    assert relu.forward(np.float32([[-1, 0, 2]])).tolist() == [[0, 0, 2]]
    assert relu.backward(np.float32([[5, 5, 5]])).tolist() == [[0, 0, 5]]


@given(normal_arrays(scale=3.0))
def test_softmax_backward_is_the_full_jacobian_product(z):
    softmax = built(md.Softmax(), z.shape[1])
    y = softmax.forward(z)
    dy = np.random.default_rng(0).normal(size=y.shape)
    jacobians = y[:, :, None] * (np.eye(z.shape[1]) - y[:, None, :])
    expected = np.einsum("nij,ni->nj", jacobians, dy)
    np.testing.assert_allclose(softmax.backward(dy), expected, rtol=1e-12, atol=1e-14)


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [md.Sigmoid, md.Softmax])
def test_huge_inputs_are_finite_and_silent(layer, dtype):
    x = np.array([[-1e4, 0, 1e4], [1e4, 1e4, -1e4]], dtype)
    model = md.Sequential([layer()], dtype=dtype).build(3)
    y = model.forward(x, training=True)  # the test run turns warnings into errors
    assert np.isfinite(y).all()
    assert np.isfinite(model.backward(np.ones_like(y))).all()
    assert y.dtype == dtype
    expected = [[0, 0.5, 1], [1, 1, 0]] if layer is md.Sigmoid else [[0, 0, 1], [0.5, 0.5, 0]]
    np.testing.assert_allclose(y, expected, atol=1e-7)


@pytest.mark.parametrize("layer", DEFINITIONS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_inputs_are_finite_for_the_others(layer, dtype):
    model = md.Sequential([copy.deepcopy(layer)], dtype=dtype).build(4)
    y = model.forward(np.array([[-1e4, 0, 1e4, 5], [1e4, 1, -1e4, -1e4]]), training=True)
    assert np.isfinite(y).all()
    assert y.dtype == dtype
    assert np.isfinite(model.backward(np.ones_like(y))).all()


@pytest.mark.parametrize("layer", [md.Dense(3), *(cls() for cls in ELEMENTWISE)], ids=repr)
def test_no_layer_changes_its_input_or_returns_a_view_of_it(layer):
    rng = np.random.default_rng(0)
    model = md.Sequential([copy.deepcopy(layer)], rng=0).build(4)
    x, dy = rng.normal(size=(5, 4)).astype("float32"), None
    before = x.copy()
    y = model.forward(x)
    dy = rng.normal(size=y.shape).astype("float32")
    dx = model.backward(dy.copy())
    assert np.array_equal(x, before)
    assert not np.shares_memory(x, y)
    assert not np.shares_memory(dx, dy)
