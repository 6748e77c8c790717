"""The layers: their formulas, their gradients over drawn shapes and values, and the author's contract."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays, seeds, sizes

import minidense as md

ELEMENTWISE = [md.ReLU, md.Sigmoid, md.Softmax]


def built(layer, shape, dtype="float64"):
    return md.Sequential([layer], rng=0, dtype=dtype).build(shape).layers[0]


@given(units=sizes, features=sizes, bias=st.booleans(), seed=seeds)
def test_dense_passes_the_gradient_check(units, features, bias, seed):
    assert md.check_layer(md.Dense(units, use_bias=bias), features, rng=seed, batch_sizes=(1, 3)) <= 1e-7


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


@given(normal_arrays())
def test_dense_is_the_equation(x):
    dense = built(md.Dense(3, bias_initializer="ones"), x.shape[1])
    y = dense.forward(x)
    np.testing.assert_allclose(y, x @ dense.W + dense.b, rtol=1e-14, atol=1e-14)
    dy = np.ones_like(y)
    np.testing.assert_allclose(dense.backward(dy), dy @ dense.W.T, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(dense.dW, x.T @ dy, rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(dense.db, dy.sum(axis=0), rtol=1e-14)


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


def writes(how):
    class Writer(Scale):
        def backward(self, dy):
            value = (dy * self.x).sum(axis=0)
            if how == "assign":
                self.dg = value
            elif how == "add":
                self.dg += value
            elif how == "items":
                self.dg[...] = value
            else:
                np.sum(dy * self.x, axis=0, out=self.dg)
            return dy * self.g

    return Writer()


@pytest.mark.parametrize("how", ["assign", "add", "items", "out"])
def test_every_way_of_writing_a_gradient_ends_in_the_models(how):
    model = md.Sequential([md.Dense(3), writes(how), md.Dense(2)], rng=0).build(4).compile()
    x, y = np.ones((5, 4)), [0, 1, 0, 1, 1]
    for _ in range(2):  # overwritten, not accumulated
        model.loss_and_grad(x, y)
        layer = model.layers[1]
        assert np.shares_memory(layer.dg, model.grad)
        assert layer.dg.tolist() == model.grad[15:18].tolist()
        reference = md.Sequential([md.Dense(3), Scale(), md.Dense(2)], rng=0).build(4).compile()
        reference.loss_and_grad(x, y)
        np.testing.assert_array_equal(model.grad, reference.grad)


def test_a_gradient_that_is_minus_zero_counts_as_written():
    class Negative(Scale):
        def backward(self, dy):
            np.multiply((dy * self.x).sum(axis=0), -0.0, out=self.dg)
            self.dg[...] = -abs(self.dg)
            return dy * self.g

    model = md.Sequential([Negative()], rng=0).build(2)
    model.forward(np.ones((1, 2)))
    model.backward(np.ones((1, 2)))
    assert np.signbit(model.grad).all()


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
    layer.declare((2,))
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


def test_an_error_in_a_layer_of_ones_own_names_the_layer():
    class Broken(md.Layer):
        def forward(self, x):
            return x @ np.ones((3, 3))

    model = md.Sequential([md.Dense(5), Broken()]).build(4)
    with pytest.raises(ValueError, match="matmul") as caught:
        model.predict(np.ones((2, 4)))
    assert caught.value.__notes__ == ["in forward of Broken(), layer 1, for an input of shape (2, 5)"]


def test_a_layer_that_computes_in_double_precision_is_brought_back():
    class Doubles(Scale):
        def forward(self, x):
            return super().forward(x) * np.ones(1)

    model = md.Sequential([Doubles(), md.Dense(2)], rng=0).build(3).compile()
    assert model.predict(np.ones((2, 3))).dtype == "float32"
    model.fit(np.ones((2, 3)), [0, 1], verbose=0)


def test_forward_may_take_training():
    seen = []

    class Watches(md.Layer):
        def forward(self, x, training):
            seen.append(training)
            return x

        def backward(self, dy):
            return dy

    model = md.Sequential([Watches(), md.Dense(2)], rng=0).compile()
    model.fit(np.ones((2, 3)), [0, 1], verbose=0)
    model.predict(np.ones((2, 3)))
    model.evaluate(np.ones((2, 3)), [0, 1])
    assert seen == [True, False, False]


def test_config_and_repr_come_from_the_constructor():
    class Power(md.Layer):
        def __init__(self, exponent, shift=0.0):
            self.exponent = exponent

    assert repr(Power(3)) == "Power(3)"
    assert repr(Power(3, shift=1.5)) == "Power(3, shift=1.5)"
    assert Power(exponent=2).get_config() == {"exponent": 2, "shift": 0.0}
    assert md.Dense(5).get_config()["kernel_initializer"] == "glorot_uniform"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copied_layer_keeps_its_values_and_can_start_another_model(duplicate):
    source = md.Sequential([md.Dense(3), md.ReLU()], rng=0).build(4)
    layer = duplicate(source.layers[0])
    assert not np.shares_memory(layer.W, source.theta)
    other = md.Sequential([layer, md.Dense(2)], rng=1).build(4)
    assert np.array_equal(other.layers[0].W, source.layers[0].W)
    assert np.shares_memory(other.layers[0].W, other.theta)


def test_dense_expands_its_activation_into_a_layer():
    model = md.Sequential([md.Dense(4, activation="relu"), md.Dense(2, activation=md.Softmax())])
    assert list(map(repr, model.layers)) == ["Dense(4)", "ReLU()", "Dense(2)", "Softmax()"]
    assert [layer.index for layer in model.layers] == [0, 1, 2, 3]


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


class Noted(md.Layer):
    """Notes the flag it is called with; the forward methods below are ways to take it."""

    def backward(self, dy):
        return dy


class ByMixin:
    def forward(self, x, training=False):
        self.seen.append(training)
        return x


class Mixed(ByMixin, Noted):
    pass


class ByKeywords(Noted):
    def forward(self, x, **options):
        return ByMixin.forward(self, x, **options)


class ByKeywordOnly(Noted):
    def forward(self, x, *, training):
        return ByMixin.forward(self, x, training)


class NotSecond(Noted):
    def forward(self, x, scale=1.0, training=False):
        assert scale == 1.0
        return ByMixin.forward(self, x, training)


@pytest.mark.parametrize("cls", [Mixed, ByKeywords, ByKeywordOnly, NotSecond])
def test_forward_gets_training_however_it_takes_it(cls):
    layer = cls()
    layer.seen = seen = []
    model = md.Sequential([layer, md.Dense(2)], rng=0).compile()
    model.fit(np.ones((2, 3)), [0, 1], verbose=0)
    assert seen == [True]


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
    model.loss_and_grad(x, y)  # in slices of 2048 rows, each centred by itself, it would be another gradient
    loss = md.SoftmaxCrossEntropy()
    layer = copy.deepcopy(model).layers[0]
    loss.forward(layer.forward(x), y)
    layer.backward(loss.backward())
    np.testing.assert_allclose(model.layers[0].dW, layer.dW, rtol=1e-9, atol=1e-12)


def test_a_subclass_of_dense_can_be_the_first_layer():
    model = md.Sequential([Centered(3)], rng=0).compile()
    model.fit(np.random.default_rng(0).normal(size=(8, 4)), [0, 1] * 4, verbose=0)


@pytest.mark.parametrize("name", ["index", "expand", "where", "caches", "dtype"])
def test_the_librarys_own_attributes_cannot_be_taken(name):
    with pytest.raises(AttributeError, match=f"the attribute '{name}' is the library's; choose another name"):
        setattr(Scale(), name, 2)


def test_a_parameter_cannot_take_an_attributes_name():
    class Clash(md.Layer):
        def __init__(self, g=0.5):
            self.g = g

        def build(self, input_shape):
            self.param("g", input_shape)
            return input_shape

    with pytest.raises(ValueError, match="'g' is taken"):
        md.Sequential([Clash()]).build(3)


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


def test_a_layer_inside_a_layer_computes_in_the_models_dtype_and_is_cloned():
    class Outer(md.Layer):
        def __init__(self):
            self.inner = md.Sigmoid()

        def forward(self, x):
            return self.inner.forward(x)

        def backward(self, dy):
            return self.inner.backward(dy)

    assert md.check_layer(Outer(), 4) <= 1e-7
    model = md.Sequential([Outer()], dtype="float64").build(3)
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(model.predict(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    assert "h" not in model.layers[0].inner.__dict__
