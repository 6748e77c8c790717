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


# ------------------------------------------------------------------ losses

LOSSES = [
    (md.SoftmaxCrossEntropy(), 3, None),
    (md.SoftmaxCrossEntropy("sum", label_smoothing=0.1), 4, None),
    (md.SoftmaxCrossEntropy(), 3, np.random.default_rng(0).dirichlet(np.ones(3), 6)),
    (md.SigmoidCrossEntropy(label_smoothing=0.2), 1, None),
    (md.SigmoidCrossEntropy("sum"), (2, 3), None),
    *((loss, k, None) for loss in (md.MeanSquaredError(), md.MeanAbsoluteError("sum"), md.Huber(0.7)) for k in (1, 3)),
]


@pytest.mark.parametrize(("loss", "outputs", "y"), LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_every_loss_of_the_library_passes(loss, outputs, y, seed):
    assert md.check_loss(loss, outputs, y=y, rng=seed) < 1e-7


class Cauchy(md.RowLoss):
    """sum_j log(1 + (s_j - t_j)**2); its subclasses below have planted mistakes."""

    def rows(self, scores, targets):
        return np.log1p((scores - targets) ** 2).sum(axis=1)

    def gradient(self, scores, targets):
        d = scores - targets
        return 2 * d / (1 + d**2)


class Whole(md.Loss):
    """The mean of the squares, of whole batches."""

    def forward(self, scores, y):
        self.d = scores - y
        return float((self.d**2).sum(axis=1).mean())

    def backward(self):
        return 2 * self.d / len(self.d)


class Contrast(Whole):
    """It is no sum over rows: how far the rows are from their mean."""

    def forward(self, scores, y):
        self.d = scores - scores.mean(axis=0)
        return float((self.d**2).sum())

    def backward(self):
        return 2 * self.d


def test_the_right_losses_of_ones_own_pass():
    for loss in (Cauchy(), Cauchy("sum"), Whole()):
        for outputs in (1, 3):
            assert md.check_loss(loss, outputs) < 1e-7
    summed = Contrast()
    summed.reduction = "sum"
    assert md.check_loss(summed) < 1e-7


def planted(base, **methods):
    return type("Planted", (base,), methods)()


def scores_with(change):
    def gradient(self, scores, targets):
        return change(Cauchy.gradient(self, scores, targets), scores, targets)

    return planted(Cauchy, gradient=gradient)


def one_entry(g, s, t):
    g[0, 1] += 1e-5
    return g


NUMBERS = (
    r"\[\d, \d\]: backward gives [-0-9.e]+, central differences [-0-9.e]+ \(n = \d; \d+ of \d+ entries are wrong\)"
)
PLANTED = {
    "a factor": (scores_with(lambda g, s, t: g * 1.0005), r"Planted\(\): dLoss/dscores.* " + NUMBERS),
    "the sign": (scores_with(lambda g, s, t: -g), r"dLoss/dscores.* " + NUMBERS),
    "divided by n already": (scores_with(lambda g, s, t: g / (3 * len(g))), r"dLoss/dscores"),
    "one entry": (scores_with(one_entry), r"\[0, 1\]: backward gives .* 1 of "),
    "a transposed gradient": (scores_with(lambda g, s, t: g.T), "dLoss/dscores"),
    "a short gradient": (
        scores_with(lambda g, s, t: g[:, :2]),
        r"gradient must return .* \(3, 3\), got shape \(3, 2\)",
    ),
    "a row that depends on others": (
        planted(Cauchy, rows=lambda self, s, t: Cauchy.rows(self, s - s.mean(axis=0), t)),
        "dLoss/dscores",
    ),
    "rows with the others' sum": (
        planted(
            Cauchy,
            rows=lambda self, s, t: np.full(len(s), Cauchy.rows(self, s, t).sum()),
            gradient=lambda self, s, t: len(s) * Cauchy.gradient(self, s, t),
        ),
        "each row times a random number",
    ),
    "rows for each output": (planted(Cauchy, rows=lambda self, s, t: s - t), r"rows must return .* got shape \(3, 3\)"),
    "random rows": (
        planted(Cauchy, rows=lambda self, s, t: np.random.default_rng().random(len(s))),
        "another result for the same arguments",
    ),
    "arguments changed": (planted(Cauchy, rows=lambda self, s, t: s.__isub__(t).sum(axis=1)), "read-only"),
    "a wrong factor of a whole batch": (
        planted(Whole, backward=lambda self: 2 * self.d),
        r"Planted\(\): dLoss/dscores " + NUMBERS,
    ),
    "a shape of a whole batch": (
        planted(Whole, backward=lambda self: self.d[:, 0]),
        r"backward must return an array of the scores' shape \(3, 3\), got \(3,\)",
    ),
    "a sum that says mean": (
        planted(
            Whole,
            forward=lambda self, s, y: Whole.forward(self, s, y) * len(s),
            backward=lambda self: 2 * self.d,
        ),
        "its reduction is 'mean', but it is a sum: .* Set reduction = 'sum'",
    ),
    "a mean that says sum": (planted(Whole, reduction="sum"), "its reduction is 'sum', but it is a mean"),
    "another reduction": (planted(Whole, reduction="average"), "reduction must be 'mean' or 'sum', not 'average'"),
    "no number": (planted(Whole, forward=lambda self, s, y: (s - y) ** 2), "forward must return a finite number"),
    "NaN": (planted(Whole, forward=lambda self, s, y: float("nan")), "forward must return a finite number, got nan"),
    "scores changed": (planted(Whole, forward=lambda self, s, y: float((s.__isub__(y) ** 2).sum())), "in place"),
    "the last batch but one": (
        planted(Whole, backward=lambda self: (vars(self).setdefault("first", self.d), 2 * self.first / 3)[1]),
        "dLoss/dscores",
    ),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_each_planted_mistake_of_a_loss_is_caught_and_named(mistake):
    loss, message = PLANTED[mistake]
    with pytest.raises((AssertionError, ValueError), match=message):
        md.check_loss(loss)


def test_the_loss_given_stays_as_it_was_and_kinks_are_left_out():
    loss = md.MeanAbsoluteError()
    assert (
        md.check_loss(loss, 2, scores=[[1.0, 2.0], [3.0, 4.0]], y=[[1.0, 0.0], [0.0, 0.0]]) < 1e-7
    )  # at 0 there is one
    assert (loss.reduction, set(vars(loss))) == ("mean", {"reduction", "name", "_config"})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: md.check_loss(md.MeanSquaredError), TypeError, "expected a loss object"),
        (lambda: md.check_loss("mse"), TypeError, "expected a loss object"),
        (lambda: md.check_loss(Cauchy(), 0), ValueError, "outputs"),
        (lambda: md.check_loss(Cauchy(), batch_sizes=()), ValueError, "expected some batch_sizes"),
        (lambda: md.check_loss(Cauchy(), scores=np.ones((2, 4))), ValueError, r"scores of shape \(n, 3\)"),
        (lambda: md.check_loss(Cauchy(), scores=np.ones((2, 3)), y=np.ones((4, 3))), ValueError, "as many y"),
        (
            lambda: md.check_loss(planted(Cauchy, check_targets=lambda self, y, shape: 1 / 0)),
            ZeroDivisionError,
            "division",
        ),
        (
            lambda: md.check_loss(planted(md.MeanSquaredError, check_targets=refuse)),
            ValueError,
            "pass y, as fit takes it",
        ),
    ],
)
def test_what_check_loss_is_given(call, error, message):
    with pytest.raises(error, match=message):
        call()


def refuse(self, y, shape):
    raise ValueError("no")


def test_an_error_of_the_loss_says_what_y_was_drawn():
    class OfLabels(md.RowLoss):
        def rows(self, scores, targets):
            return scores[np.arange(len(scores)), targets]

        def gradient(self, scores, targets):
            return np.eye(scores.shape[1])[targets]

    with pytest.raises(IndexError) as caught:
        md.check_loss(OfLabels())
    assert "y was drawn: standard normal numbers" in caught.value.__notes__[0]
    assert md.check_loss(OfLabels(), y=np.array([0, 2, 1, 1])) < 1e-7
