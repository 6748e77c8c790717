"""check_layer is itself checked: it accepts correct layers, and finds each of the planted mistakes."""

import re

import numpy as np
import pytest

import minidense as md


class Scale(md.Layer):
    """The correct layer; its subclasses below have planted mistakes."""

    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        self.param("b", input_shape)
        return input_shape

    def forward(self, x):
        self.x = x
        return np.tanh(x * self.g + self.b)

    def dz(self, dy):
        return dy * (1 - np.tanh(self.x * self.g + self.b) ** 2)

    def backward(self, dy):
        dz = self.dz(dy)
        self.dg = (dz * self.x).sum(axis=0)
        self.db = dz.sum(axis=0)
        return dz * self.g


class MissingTerm(Scale):
    def dz(self, dy):
        return dy


class WrongSign(Scale):
    def backward(self, dy):
        dx = super().backward(dy)
        self.dg *= -1
        return dx


class WrongFactor(Scale):
    def backward(self, dy):
        dx = super().backward(dy)
        self.dg *= 1.0005
        return dx


class OneWrongEntry(Scale):
    def backward(self, dy):
        dx = super().backward(dy)
        self.db[1] += 1e-3
        return dx


class ForgottenBias(Scale):
    def backward(self, dy):
        dz = self.dz(dy)
        self.dg = (dz * self.x).sum(axis=0)
        return dz * self.g


class WrongDx(Scale):
    def backward(self, dy):
        super().backward(dy)
        return self.dz(dy)


class PassesDyOn(Scale):
    def backward(self, dy):
        super().backward(dy)
        return dy


class StaleCache(Scale):
    def forward(self, x):
        if "kept" not in self.__dict__ or self.kept.shape != x.shape:
            self.kept = x.copy()
        y = super().forward(x)
        self.x = self.kept
        return y


class Averages(Scale):
    """Right for one row only: averaging belongs to the loss."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.dg = self.dg / len(dy)
        return dx


class OnlyTheFirstRow(Scale):
    def backward(self, dy):
        dx = super().backward(dy)
        self.db = self.dz(dy)[0]
        return dx


class ChangesItsInput(Scale):
    def forward(self, x):
        y = super().forward(x.copy())
        x *= 2
        return y


class ChangesDy(Scale):
    def backward(self, dy):
        dy *= 1 - np.tanh(self.x * self.g + self.b) ** 2
        self.dg = (dy * self.x).sum(axis=0)
        self.db = dy.sum(axis=0)
        return dy * self.g


class ChangesAParameter(Scale):
    def forward(self, x):
        self.g[...] = np.round(self.g)
        return super().forward(x)


class Noisy(Scale):
    def forward(self, x):
        return super().forward(x + np.random.default_rng().normal(size=x.shape))


class ClaimsToBeRowwise(md.Layer):
    rowwise = True

    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, dy):
        return dy - dy.mean(axis=0)


class TransposedProduct(md.Layer):
    """Its W is square, so that shapes do not reveal the mistake."""

    def build(self, input_shape):
        self.param("W", input_shape * 2, "glorot_normal")
        return input_shape

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dy):
        self.dW = self.x.T @ dy
        return dy @ self.W


class TransposedGradient(TransposedProduct):
    def backward(self, dy):
        self.dW = dy.T @ self.x
        return dy @ self.W.T


WRONG_VALUE = r"{name}, layer 2: d{parameter}.*\[[\d, ]+\]: backward gives -?[\d.e-]+, central differences -?[\d.e-]+"

mistakes = {
    MissingTerm: ("x", None),
    WrongSign: ("g", None),
    WrongFactor: ("g", None),
    OneWrongEntry: ("b", r"\[1\]"),
    ForgottenBias: (None, "backward never wrote the gradient db"),
    WrongDx: ("x", None),
    PassesDyOn: ("x", None),
    StaleCache: ("x", None),
    Averages: ("g", "n = 3"),
    OnlyTheFirstRow: ("b", "n = 3"),
    ChangesItsInput: (None, r"forward changes its input in place \(n = 3\): .*read-only"),
    ChangesDy: (None, r"backward changes dy in place: \[0, 0\] was .* and is"),
    ChangesAParameter: (None, "forward changes a parameter"),
    Noisy: (None, "another result for the same input"),
    ClaimsToBeRowwise: (None, "rowwise"),
    TransposedProduct: ("x", None),
    TransposedGradient: ("W", None),
}


@pytest.mark.parametrize("mistake", mistakes, ids=lambda cls: cls.__name__)
def test_each_planted_mistake_is_caught_and_named(mistake):
    parameter, message = mistakes[mistake]
    layer = mistake()
    md.Sequential([md.ReLU(), md.ReLU(), layer]).build(4)
    with pytest.raises((AssertionError, ValueError)) as caught:
        md.check_layer(layer, 4)
    text = str(caught.value)
    assert f"{mistake.__name__}(), layer 2" in text
    if parameter:
        assert re.search(WRONG_VALUE.format(name=rf"{mistake.__name__}\(\)", parameter=parameter), text), text
    if message:
        assert re.search(message, text), text


def test_the_right_layer_passes():
    assert md.check_layer(Scale(), 4) <= 1e-7
    assert md.check_layer(Scale(), (2, 3)) <= 1e-7


def test_an_error_of_a_ten_millionth_is_caught_and_one_of_a_billionth_is_not():
    class Slightly(Scale):
        factor = 1 + 3e-7

        def backward(self, dy):
            dx = super().backward(dy)
            self.dg *= self.factor
            return dx

    with pytest.raises(AssertionError, match="dg"):
        md.check_layer(Slightly(), 4)
    Slightly.factor = 1 + 1e-9
    md.check_layer(Slightly(), 4)


def test_the_layer_given_stays_as_it_was():
    layer = Scale()
    before = dict(layer.__dict__)
    md.check_layer(layer, 4)
    assert layer.__dict__ == before
    model = md.Sequential([md.Dense(3), Scale()], rng=0).build(4)
    theta = model.theta.copy()
    md.check_layer(model.layers[1], 3)
    assert np.array_equal(model.theta, theta)
    assert np.shares_memory(model.layers[1].g, model.theta)


def test_kinks_are_left_out_rather_than_averaged_over():
    x = np.array([[0.0, 1.0, -2.0], [3.0, 0.0, -1e-5]])
    md.check_layer(md.ReLU(), 3, x=x)
    with pytest.raises(AssertionError, match="kink at every entry"):
        md.check_layer(md.ReLU(), 3, x=np.zeros((2, 3)))


def test_a_gradient_written_by_adding_is_right_too():
    class Adds(Scale):
        def backward(self, dy):
            dz = self.dz(dy)
            for row in range(len(dy)):
                self.dg += dz[row] * self.x[row]
                self.db += dz[row]
            return dz * self.g

    assert md.check_layer(Adds(), 4) <= 1e-7


def test_wrong_shapes_and_types_are_named():
    class WrongShape(Scale):
        def backward(self, dy):
            dx = super().backward(dy)
            self.dg = np.zeros(5)
            return dx

    class ScalarGradient(Scale):
        def backward(self, dy):
            dx = super().backward(dy)
            self.dg = 0.0
            return dx

    class WrongDxShape(Scale):
        def backward(self, dy):
            return super().backward(dy)[:, :1]

    class ReturnsNothing(Scale):
        def backward(self, dy):
            super().backward(dy)

    class WrongOutput(Scale):
        def forward(self, x):
            return super().forward(x)[:, :2]

    for layer, match in [
        (WrongShape(), r"dg must have shape \(4,\), got \(5,\)"),
        (ScalarGradient(), r"dg must have shape \(4,\), got \(\)"),
        (WrongDxShape(), r"backward must return shape \(3, 4\), got \(3, 1\)"),
        (ReturnsNothing(), r"backward must return an array of shape \(3, 4\), got NoneType"),
        (WrongOutput(), r"forward must return shape \(3, 4\), got \(3, 2\)"),
    ]:
        with pytest.raises((ValueError, TypeError), match=match):
            md.check_layer(layer, 4)


def function_layer(f, derivative, **attributes):
    class Function(md.Layer):
        def forward(self, x):
            self.x = x
            return f(x)

        def backward(self, dy):
            return dy * derivative(self.x)

    layer = Function()
    layer.__dict__.update(attributes)
    return layer


@pytest.mark.parametrize(
    ("f", "derivative", "x"),
    [
        (lambda x: np.sin(100 * x), lambda x: 100 * np.cos(100 * x), np.linspace(-1, 1, 8)),
        (lambda x: 1e-5 * np.maximum(x, 0), lambda x: 1e-5 * (x > 0), np.array([0.0, 1, -1, 2])),
        (lambda x: np.exp(6 * x), lambda x: 6 * np.exp(6 * x), np.array([0.1, 0.2, 2.5, 3])),
    ],
    ids=["strongly curved", "tiny with a kink", "steep"],
)
def test_difficult_functions_are_judged_right(f, derivative, x):
    rows = x.reshape(2, -1)
    md.check_layer(function_layer(f, derivative), rows.shape[1], x=rows)
    with pytest.raises(AssertionError, match="backward gives"):
        md.check_layer(function_layer(f, lambda x: 1.001 * derivative(x)), rows.shape[1], x=rows)


def test_a_gradient_wrong_only_for_steep_inputs_is_found():
    steep = function_layer(lambda x: np.exp(6 * x), lambda x: np.where(x > 1.7, 0, 6 * np.exp(6 * x)))
    with pytest.raises(AssertionError, match="backward gives 0"):
        md.check_layer(steep, 4, x=[[0.1, 0.2, 2.5, 3.0]])


def test_a_gradient_wrong_only_for_large_batches_or_large_inputs_is_found():
    class FourRows(Scale):
        def backward(self, dy):
            dx = super().backward(dy)
            self.db = self.dz(dy)[:4].sum(axis=0)
            return dx

    with pytest.raises(AssertionError, match=r"db .*n = 9"):
        md.check_layer(FourRows(), 4)
    with pytest.raises(AssertionError, match=r"dx.*n = 9"):
        md.check_layer(function_layer(lambda x: np.clip(x, -6, 6), lambda x: 1.0), 6)


def test_an_activation_within_a_dense_is_checked_too():
    bad = function_layer(np.tanh, lambda x: 1.0)
    with pytest.raises(AssertionError, match=r"Function\(\): dx"):
        md.check_layer(md.Dense(3, activation=bad), 4)
    assert md.check_layer(md.Dense(3, activation="sigmoid"), 4) <= 1e-7


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer": md.Dense}, TypeError, "expected a layer object"),
        ({"layer": "dense"}, TypeError, "expected a layer object"),
        ({"entries": 0}, ValueError, "entries"),
        ({"batch_sizes": ()}, ValueError, "some batch_sizes"),
        ({"batch_sizes": (0,)}, ValueError, "batch_sizes"),
        ({"x": np.ones((2, 3))}, ValueError, r"x of shape \(n, \*\(4,\)\)"),
        ({"layer": function_layer(lambda x: x * np.nan, lambda x: x)}, AssertionError, "forward gives nan for finite"),
        ({"layer": function_layer(np.tanh, lambda x: 1 - np.tanh(x) ** 2, rng=None)}, None, None),
    ],
)
def test_what_check_layer_is_given(arguments, error, message):
    arguments = {"layer": md.Dense(3), "input_shape": 4, **arguments}
    if error is None:
        md.check_layer(**arguments)
    else:
        with pytest.raises(error, match=message):
            md.check_layer(**arguments)


# ------------------------------------------------------------------ weights


class Centred(md.Layer):
    """y = x - the weighted mean of the rows."""

    def shares(self, x, sample_weight):
        w = np.ones(len(x)) if sample_weight is None else sample_weight
        return w / w.sum()

    def forward(self, x, training, sample_weight=None):
        self.w = self.shares(x, sample_weight)
        return x - self.w @ x

    def backward(self, dy):
        return dy - self.w[:, None] * dy.sum(axis=0)


class UnweightedBackward(Centred):
    def backward(self, dy):
        return dy - dy.mean(axis=0)


class NotOfEveryScale(Centred):
    def shares(self, x, sample_weight):
        return (np.ones(len(x)) if sample_weight is None else sample_weight) / len(x)


class EqualWeightsMatter(Centred):
    def shares(self, x, sample_weight):
        return np.full(len(x), 1 / len(x) if sample_weight is None else 2 / len(x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (UnweightedBackward, r"dx, .* backward gives .*, with sample_weight"),
        (NotOfEveryScale, "equal weights give another output than none, with sample_weight"),
        (EqualWeightsMatter, "equal weights give another output than none"),
    ],
)
def test_a_layer_that_takes_weights_is_checked_with_weights(layer, message):
    with pytest.raises(AssertionError, match=message):
        md.check_layer(layer(), 4)
    with pytest.raises(AssertionError, match=message):
        md.check_layer(md.Residual([md.Dense(4), layer()]), 4)
    assert md.check_layer(Centred(), 4) < 1e-7
    assert md.check_layer(md.BatchNormalization(), 4, batch_sizes=(3, 9)) < 1e-7
