"""The checks around layers of the user: each mistake is an error that names the layer."""

import copy
import pickle

import numpy as np
import pytest

import minidense as md


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


def test_a_gradient_that_is_never_written_is_named():
    class Forgets(Scale):
        def backward(self, dy):
            return dy * self.g

    model = md.Sequential([md.Dense(3), Forgets()], rng=0).build(4).compile()
    with pytest.raises(
        ValueError, match=r"^Forgets\(\), layer 1: backward never wrote the gradient dg: set self.dg = "
    ):
        model.loss_and_grad(np.ones((2, 4)), [0, 1])


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


class Noted(md.Layer):
    """Records the flag; the forward methods below take it in different ways."""

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


# ------------------------------------------------------------------ called once; gradients written

X, Y = np.random.default_rng(3).normal(size=(12, 4)), np.arange(12) % 3


class Counts(Scale):
    """Counts its calls, and updates an average in backward."""

    def __init__(self):
        self.calls = {"forward": 0, "backward": 0}
        self.average = 0.0

    def forward(self, x):
        self.calls["forward"] += 1
        return super().forward(x)

    def backward(self, dy):
        self.calls["backward"] += 1
        self.average = 0.5 * self.average + 1
        return super().backward(dy)


@pytest.mark.parametrize("zero", [False, True])
def test_each_method_is_called_once_a_step(zero):
    layer, inner = Counts(), Counts()
    model = md.Sequential([layer, md.Residual([inner]), md.Dense(3)], rng=0).compile(md.SGD(0.0 + 1e-9))
    x = np.zeros_like(X) if zero else X
    average = 0.0
    for step in range(1, 4):
        model.train_on_batch(x, Y)
        average = 0.5 * average + 1
        for each in (layer, inner):
            assert each.calls == {"forward": step, "backward": step}
            assert each.average == average
    model.fit(x, Y, batch_size=4, epochs=2, verbose=0)
    assert layer.calls == inner.calls == {"forward": 9, "backward": 9}
    model.loss_and_grad(x, Y)
    model.backward(np.ones_like(model.forward(x)))
    assert layer.calls == inner.calls == {"forward": 11, "backward": 11}


MINUS_ZEROS = {
    "set": lambda self, value: setattr(self, "dg", value),
    "added": lambda self, value: setattr(self, "dg", self.dg.__iadd__(value)),
    "items": lambda self, value: self.dg.__setitem__(..., value),
    "out": lambda self, value: np.copyto(self.dg, value),
    "out of a ufunc": lambda self, value: np.add(value, value, out=self.dg),
}


class Writes(Scale):
    calls = 0

    def __init__(self, how):
        self.how = how

    def backward(self, dy):
        self.calls += 1
        MINUS_ZEROS[self.how](self, np.full(self.g.shape, -0.0, dy.dtype))
        return dy * self.g


@pytest.mark.parametrize("how", MINUS_ZEROS)
def test_a_gradient_of_minus_zeros_is_a_gradient(how):
    model = md.Sequential([Writes(how), md.Dense(3)], rng=0).compile("sgd")
    for step in (1, 2):
        model.train_on_batch(X, Y)
        assert (np.signbit(model.grad[:4]) & (model.grad[:4] == 0)).all()
        assert model.layers[0].calls == step


class Forgets(Scale):
    def backward(self, dy):
        return dy * self.g


NEVER = r"Forgets\(\)(, layer \d)?: backward never wrote the gradient dg: set self\.dg = \.\.\."


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.train_on_batch(X, Y),
        lambda model: model.fit(X, Y, verbose=0),
        lambda model: model.loss_and_grad(X, Y),
        lambda model: model.build(4).backward(np.ones_like(model.forward(X))),
        lambda model: md.check_layer(model.layers[0], 4),
        lambda model: md.check_layer(model, 4),
    ],
)
def test_a_gradient_that_is_never_written_is_an_error_at_the_first_step(call):
    for _ in range(2):  # and at the second try
        model = md.Sequential([Forgets(), md.Dense(3)], rng=0).compile("sgd")
        with pytest.raises(ValueError, match=NEVER):
            call(model)
        if model.built:
            assert "dg" in vars(model.layers[0])
            with pytest.raises(ValueError, match=NEVER):
                call(model)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_rebuilt_layers_are_checked_again(duplicate):
    model = md.Sequential([Sometimes(), md.Dense(3)], rng=0).compile("sgd")
    model.train_on_batch(X, Y)
    model.layers[0].writes = False
    model.train_on_batch(X, Y)  # it has been seen to write its gradient
    for again in (duplicate(model), md.Sequential([duplicate(model.layers[0]), md.Dense(3)]).compile("sgd")):
        with pytest.raises(ValueError, match="backward never wrote the gradient dg"):
            again.train_on_batch(X, Y)
    model.add(md.Dense(3))
    with pytest.raises(ValueError, match="backward never wrote the gradient dg"):
        model.train_on_batch(X, Y)


class Sometimes(Scale):
    writes = True

    def backward(self, dy):
        if self.writes:
            self.dg = (dy * self.x).sum(axis=0)
        return dy * self.g


def test_adding_to_a_gradient_starts_from_zero_at_each_step():
    class Adds(Scale):
        def backward(self, dy):
            for x, d in zip(self.x, dy, strict=True):
                self.dg += x * d
            return dy * self.g

    models = [md.Sequential([kind(), md.Dense(3)], rng=0, dtype="float64").compile("sgd") for kind in (Adds, Scale)]
    for _ in range(3):
        for model in models:
            model.train_on_batch(X, Y)
        np.testing.assert_allclose(models[0].grad, models[1].grad, rtol=1e-12, atol=1e-15)


# ------------------------------------------------------------------ what does not fit


def misbehaves(method, result):
    class Misbehaves(Scale):
        pass

    def replaced(self, argument):
        value = getattr(Scale, method)(self, argument)
        return result(argument, value)

    setattr(Misbehaves, method, replaced)
    Misbehaves.__init_subclass__()
    return Misbehaves()


@pytest.mark.parametrize(
    ("method", "result", "error", "message"),
    [
        ("forward", lambda x, y: y[:, :2], ValueError, r"forward must return shape \(12, 4\), got \(12, 2\)"),
        ("forward", lambda x, y: y[:3], ValueError, r"forward must return shape \(12, 4\), got \(3, 4\)"),
        ("forward", lambda x, y: y.tolist(), TypeError, r"forward must return an array of shape \(12, 4\), got list"),
        ("forward", lambda x, y: np.multiply(x, 2, out=x), ValueError, "read-only"),
        ("backward", lambda dy, dx: dx[:, :1], ValueError, r"backward must return shape \(12, 4\), got \(12, 1\)"),
        ("backward", lambda dy, dx: None, TypeError, r"backward must return an array of shape \(12, 4\), got NoneType"),
        ("backward", lambda dy, dx: 1 / 0, ZeroDivisionError, "division by zero"),
    ],
)
def test_what_does_not_fit_names_the_layer(method, result, error, message):
    model = md.Sequential([md.Dense(4), misbehaves(method, result), md.Dense(3)], rng=0).compile("sgd")
    with pytest.raises(error, match=message) as caught:
        model.fit(X, Y, verbose=0)
    text = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "Misbehaves(), layer 1" in text


def test_a_layer_without_backward_says_so():
    class Without(md.Layer):
        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"Without\(\), layer 1: a layer must define forward and backward"):
        md.Sequential([md.Dense(3), Without()]).compile("sgd").fit(X, Y, verbose=0)


def test_the_users_data_is_never_changed():
    class Doubles(md.Layer):
        def forward(self, x):
            x *= 2
            return x

    for dtype in ("float32", "float64"):
        x = np.ones((3, 4), dtype)
        with pytest.raises(ValueError, match="read-only") as caught:
            md.Sequential([Doubles()], dtype=dtype).build(4).predict(x)
        assert "A layer must not change its input, nor, outside training," in caught.value.__notes__[1]
        assert (x == 1).all()


def test_a_gradient_of_another_shape_is_told():
    class Wrong(Scale):
        def backward(self, dy):
            self.dg = dy
            return dy

    with pytest.raises(ValueError, match=r"Wrong\(\), layer 0: dg must have shape \(4,\), got \(12, 4\)"):
        md.Sequential([Wrong(), md.Dense(3)]).compile("sgd").fit(X, Y, verbose=0)


class Skips(md.Layer):
    """y = x + f(x), or y = x, as ``skip`` says."""

    skip = False

    def build(self, input_shape):
        return self.child("f", md.Dense(3), input_shape)

    def forward(self, x, training):
        return x if self.skip else x + self.f.forward(x, training)

    def backward(self, dy):
        return dy if self.skip else dy + self.f.backward(dy)


def test_a_child_that_is_not_called_has_no_gradient_left_from_before():
    layer = Skips()
    model = md.Sequential([layer], rng=0).compile("sgd", "mse")
    x = np.ones((4, 3), "float32")
    model.loss_and_grad(x, 0 * x)
    assert np.all(model.grad != 0)
    layer.skip = True
    model.loss_and_grad(x, 0 * x)
    assert not np.any(model.grad)


def test_a_child_that_backward_leaves_out_is_an_error():
    class LeavesOut(Skips):
        def backward(self, dy):
            return dy

    model = md.Sequential([LeavesOut()], rng=0).compile("sgd", "mse")
    x = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"LeavesOut\(\), layer 0: .* did not call self.f.backward"):
        model.fit(x, x, verbose=0)
    model.layers[0].f.trainable = False
    model.fit(x, x, verbose=0)
    skipping = Skips()
    skipping.skip = True  # at the first step
    md.Sequential([skipping], rng=0).compile("sgd", "mse").fit(x, x, verbose=0)


@pytest.mark.parametrize("kind", [lambda: md.LayerNormalization(), lambda: Scale()])
def test_a_child_is_given_what_it_is_built_for(kind):
    class Cuts(md.Layer):
        cut = "forward"

        def build(self, input_shape):
            return self.child("f", kind(), 3 if self.cut == "int" else input_shape)

        def forward(self, x, training):
            y = self.f.forward(x[:, :1] if self.cut == "forward" else x.astype("float64"), training)
            assert y.dtype == self.dtype
            return y

        def backward(self, dy):
            return self.f.backward(dy[:, :1] if self.cut == "backward" else dy.astype("float64"))

    for cut in ("forward", "backward", "nothing", "int"):
        layer = Cuts()
        layer.cut = cut
        model, x = md.Sequential([layer], rng=0).compile("sgd", "mse"), np.eye(4, 3)
        if cut in ("nothing", "int"):
            model.fit(x, x, verbose=0)
        else:
            with pytest.raises(ValueError, match=rf"layer 0/f: {cut}: d?[xy]: expected shape \(n, 3\), got \(4, 1\)"):
                model.fit(x, x, verbose=0)


# ---------------------------------------------------------------------- weights


class Weighs(md.Layer):
    """y = x - the weighted mean of the rows."""

    def build(self, input_shape):
        self.seen = []
        return input_shape

    def forward(self, x, training, sample_weight=None):
        self.w = np.ones(len(x)) if sample_weight is None else sample_weight
        self.seen.append((training, sample_weight))
        return x - (self.w @ x) / self.w.sum()

    def backward(self, dy):
        return dy - self.w[:, None] / self.w.sum() * dy.sum(axis=0)


class Folds(md.Layer):
    """Calls its child with the rows' halves as rows of their own."""

    def __init__(self, passes):
        self.passes = passes

    def build(self, input_shape):
        self.child("f", md.Sequential([Weighs()]), input_shape[0] // 2)
        return input_shape

    def forward(self, x, training, sample_weight=None):
        weights = () if sample_weight is None or not self.passes else (np.repeat(sample_weight, 2),)
        return self.f.forward(x.reshape(2 * len(x), -1), training, *weights).reshape(x.shape)

    def backward(self, dy):
        return self.f.backward(dy.reshape(2 * len(dy), -1)).reshape(dy.shape)


def test_a_layer_of_ones_own_gets_the_weights_in_training_only():
    model = md.Sequential([md.Dense(4), Weighs(), md.Dense(2)], rng=0).build(4).compile(md.SGD(0.1))
    x, y, w = np.random.default_rng(0).normal(size=(4, 4)), [0, 1, 0, 1], [1.0, 2.0, 0.0, 5.0]
    seen = model.layers[1].seen
    model.train_on_batch(x, y, sample_weight=w)
    model.train_on_batch(x, y)
    model.forward(x, training=True)
    model.forward(x)
    assert [training for training, _ in seen] == [True, True, True, False]
    weights = seen[0][1]
    np.testing.assert_allclose(weights / weights.sum(), np.array(w) / 8)
    assert weights.shape == (4,)
    with pytest.raises(ValueError, match="read-only"):
        weights[0] = 1
    assert [given for _, given in seen[1:]] == [None] * 3
    before = len(seen)
    model.evaluate(x, y, sample_weight=w)
    model.predict(x)
    assert len(seen) == before  # those run on clones
    assert md.check_layer(Weighs(), 3) < 1e-7


class AtInference(md.Layer):
    """Calls its child as at inference."""

    def build(self, input_shape):
        return self.child("f", Weighs(), input_shape)

    def forward(self, x):
        return self.f.forward(x)

    def backward(self, dy):
        return self.f.backward(dy)


def test_a_child_called_as_at_inference_gets_no_weights():
    model = md.Sequential([AtInference(), md.Dense(2)], rng=0).build(4).compile()
    model.train_on_batch(np.eye(4), [0, 1, 0, 1], sample_weight=[1, 2, 3, 4])
    assert model.layers[0].f.seen == [(False, None)]


def test_a_layer_that_changes_the_number_of_rows_passes_their_weights():
    x, y, w = np.random.default_rng(0).normal(size=(3, 4)), [0, 1, 0], [1.0, 2.0, 4.0]

    def make(passes):
        return md.Sequential([Folds(passes), md.Dense(2)], rng=0, dtype="float64").build(4).compile()

    model, copied = make(True), make(True)
    rows = [0, 1, 1, 2, 2, 2, 2]
    value = model.loss_and_grad(x, y, sample_weight=w), copied.loss_and_grad(x[rows], np.array(y)[rows])
    assert value[0] == pytest.approx(value[1], rel=1e-12)
    np.testing.assert_allclose(model.grad, copied.grad, rtol=1e-12, atol=1e-15)
    model = make(False)
    before = model.theta.copy()
    with pytest.raises(ValueError, match=r"Weighs\(\), layer 0/f/0: 3 weights for 6 rows. A layer around it"):
        model.train_on_batch(x, y, sample_weight=w)
    assert np.array_equal(model.theta, before)
    model.train_on_batch(x, y)  # and no weights are left behind
    md.check_layer(Folds(True), 4)


def test_a_child_without_parameters_need_not_be_asked_for_its_backward():
    class Shown(md.Layer):
        """Looks at what a ReLU would make of x, and returns x."""

        def build(self, input_shape):
            return self.child("f", md.ReLU(), input_shape)

        def forward(self, x, training):
            self.share = (self.f.forward(x, training) > 0).mean()
            return x

        def backward(self, dy):
            return dy

    model = md.Sequential([Shown(), md.Dense(2)], rng=0).compile()
    model.fit(np.eye(3), [0, 1, 0], verbose=0)
