"""One update: micro-batches whose gradients are added, and buffers that change with the update or not at all."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense.data import batches

RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(50, 6)), RNG.integers(0, 3, 50)


def plain(dtype="float64"):
    return md.Sequential([md.Dense(5, "tanh"), md.Dense(3)], rng=0, dtype=dtype).compile(md.SGD(0.1, momentum=0.5))


class Counting(md.Layer):
    """Its buffer counts rows in training; changed in place or by assignment."""

    def __init__(self, in_place=True):
        self.in_place = in_place

    def build(self, input_shape):
        self.buffer("rows", 1)
        return input_shape

    def forward(self, x, training):
        if training and self.in_place:
            self.rows += len(x)
        elif training:
            self.rows = self.rows + len(x)
        return x

    def backward(self, dy):
        return dy


# ------------------------------------------------------------------ micro-batches


@given(micro=st.integers(1, 12), steps=st.integers(1, 6))
def test_accumulated_gradients_are_those_of_the_whole_batch(micro, steps):
    together, apart = plain(), plain()
    together.fit(X, Y, batch_size=micro * steps, epochs=2, verbose=0)
    apart.fit(X, Y, batch_size=micro, gradient_accumulation_steps=steps, epochs=2, verbose=0)
    np.testing.assert_allclose(apart.theta, together.theta, rtol=1e-10, atol=1e-13)
    assert apart.optimizer.iterations == together.optimizer.iterations == 2 * -(-50 // (micro * steps))
    assert apart.history.params["steps"] == -(-50 // (micro * steps))
    assert apart.history.history["loss"] == pytest.approx(together.history.history["loss"], rel=1e-12)


def test_a_micro_batch_is_what_a_layer_sees():
    seen = []

    class Watch(md.Layer):
        def forward(self, x, training):
            if training:
                seen.append(len(x))
            return x

        def backward(self, dy):
            return dy

    model = md.Sequential([Watch(), md.Dense(3)], rng=0).compile("sgd")
    model.fit(X, Y, batch_size=8, gradient_accumulation_steps=3, verbose=0)
    assert seen == [8, 8, 8, 8, 8, 8, 2]
    assert model.optimizer.iterations == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulation_over_batches_from_a_source(weighted):
    w = RNG.random(50)
    cut = [slice(0, 7), slice(7, 20), slice(20, 26), slice(26, 41), slice(41, 50)]
    source = [(X[c], Y[c], w[c]) if weighted else (X[c], Y[c]) for c in cut]
    model = plain()
    model.fit(iter(source), steps_per_epoch=5, gradient_accumulation_steps=2, verbose=0)
    other = plain().build(6)
    for first, last in ((0, 20), (20, 41), (41, 50)):
        rows = slice(first, last)
        other.train_on_batch(X[rows], Y[rows], sample_weight=w[rows] if weighted else None)
    np.testing.assert_allclose(model.theta, other.theta, rtol=1e-10, atol=1e-13)
    assert model.optimizer.iterations == 3


def test_weighted_rows_and_losses_of_ones_own_accumulate_too():
    class Whole(md.Loss):
        accuracy = None

        def forward(self, scores, y):
            self.d = scores - y
            return float((self.d**2).mean(axis=1).mean())

        def backward(self):
            return 2 * self.d / self.d.size

    target = RNG.normal(size=(50, 3))
    one, other = plain().compile("sgd", Whole()), plain().compile("sgd", md.MeanSquaredError())
    one.fit(X, target, batch_size=8, gradient_accumulation_steps=3, verbose=0)
    other.fit(X, target, batch_size=24, verbose=0)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-10, atol=1e-13)
    w = RNG.random(50)
    one, other = plain(), plain()
    one.fit(X, Y, batch_size=4, gradient_accumulation_steps=4, sample_weight=w, verbose=0)
    other.fit(X, Y, batch_size=16, sample_weight=w, verbose=0)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-10, atol=1e-13)


def test_an_accumulating_run_resumes_to_the_bit(tmp_path):
    def options(**more):
        return {"batch_size": 4, "gradient_accumulation_steps": 3, "epochs": 3, "verbose": 0, **more}

    whole = plain()
    keep = md.callbacks.ModelCheckpoint(str(tmp_path / "{step}.npz"), every="step")
    whole.fit(X, Y, **options(callbacks=[keep]))
    for step in (1, 4, 7, 12):
        resumed = plain()
        resumed.fit(X, Y, **options(resume=str(tmp_path / f"{step}.npz")))
        assert np.array_equal(resumed.theta, whole.theta)
        assert resumed.history.history == whole.history.history
    with pytest.raises(ValueError, match="rows a micro-batch: 4 in the file, 6 here"):
        plain().fit(X, Y, **options(resume=str(tmp_path / "4.npz"), batch_size=6, gradient_accumulation_steps=2))


def test_wrong_numbers_of_steps_are_told():
    for wrong, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="gradient_accumulation_steps: expected a whole number"):
            plain().fit(X, Y, gradient_accumulation_steps=wrong, verbose=0)
    with pytest.raises(ValueError, match="needs a batch_size in rows"):
        plain().fit(X, Y, batch_size="full", gradient_accumulation_steps=2, verbose=0)


def test_large_batches_are_cut_into_micro_batches_whatever_the_limits(monkeypatch):
    x, y = RNG.normal(size=(500, 6)), RNG.integers(0, 3, 500)
    whole = plain()
    expected = whole.fit(x, y, batch_size=200, epochs=2, verbose=0).history["loss"]
    for rows in (1, 7, 64):
        monkeypatch.setattr(batches, "SLICE_ROWS", rows)
        monkeypatch.setattr(batches, "GATHER_BYTES", 8 * 6 * 10)
        cut = plain()
        found = cut.fit(x, y, batch_size=200, epochs=2, verbose=0).history["loss"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(cut.theta, whole.theta, rtol=1e-10, atol=1e-13)


# ------------------------------------------------------------------ buffers


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_move_with_updates_and_where_they_are_asked_to(in_place):
    model = md.Sequential([Counting(in_place), md.Dense(3)], rng=0).compile("sgd").build(6)
    layer = model.layers[0]
    assert np.shares_memory(layer.rows, model.network.buffers)
    model.train_on_batch(X, Y)
    assert layer.rows.tolist() == [50]
    model.loss_and_grad(X, Y)
    assert layer.rows.tolist() == [50]
    model.loss_and_grad(X, Y, update_buffers=True)
    assert layer.rows.tolist() == [100]
    model.forward(X, training=True)
    assert layer.rows.tolist() == [150]
    model.predict(X)
    model.evaluate(X, Y)
    model.forward(X)
    assert layer.rows.tolist() == [150]
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    assert layer.rows.tolist() == [250]


def test_over_micro_batches_a_buffer_moves_by_the_mean_weighted_by_rows():
    model = md.Sequential([Counting(), md.Dense(3)], rng=0, dtype="float64").compile("sgd").build(6)
    model.fit(X, Y, batch_size=20, gradient_accumulation_steps=3, verbose=0)
    expected = (20 * 20 + 20 * 20 + 10 * 10) / 50
    np.testing.assert_allclose(model.layers[0].rows, [expected], rtol=1e-15)


class Summing(md.Layer):
    """Adds up its inputs in float64."""

    def build(self, input_shape):
        self.buffer("total", 1, dtype="float64")
        self.buffer("calls", 1)
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.total += np.float64(len(x)) / 3
            self.calls = self.calls + 1
        return x

    def backward(self, dy):
        return dy


def test_a_buffer_of_another_dtype_moves_and_is_undone_as_the_others(tmp_path):
    model = md.Sequential([Summing(), md.Dense(3)], rng=0).compile("sgd").build(6)
    layer = model.layers[0]
    assert (layer.total.dtype, layer.calls.dtype) == (np.float64, np.float32)
    model.train_on_batch(X, Y)
    assert layer.total.tolist() == [50 / 3]
    model.loss_and_grad(X, Y)
    assert (layer.total.tolist(), layer.calls.tolist()) == ([50 / 3], [1])
    model.fit(X, Y, batch_size=25, gradient_accumulation_steps=2, verbose=0)
    np.testing.assert_allclose(layer.total, [50 / 3 + 25 / 3], rtol=1e-15)
    model.save(tmp_path / "model.npz")
    assert md.load_model(tmp_path / "model.npz", {"Summing": Summing}).layers[0].total.tolist() == layer.total.tolist()
    stop = md.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9, restore_best_weights=True)
    model.fit(X, Y, batch_size=50, epochs=5, callbacks=stop, verbose=0)
    np.testing.assert_allclose(layer.total, [50 / 3 + 25 / 3 + 50 / 3], rtol=1e-15)
    with pytest.raises(ValueError, match="dtype of total"):
        type("Wrong", (Summing,), {"build": lambda self, shape: self.buffer("total", 1, dtype="int8")})().build((3,))


def test_a_step_that_fails_leaves_the_buffers_of_the_step_before():
    class Fails(md.Layer):
        def __init__(self, after):
            self.after = after
            self.calls = 0

        def forward(self, x):
            return x

        def backward(self, dy):
            self.calls += 1
            if self.calls > self.after:
                raise ZeroDivisionError
            return dy

    for accumulate in (1, 2):
        model = md.Sequential([Counting(), md.Dense(4), Fails(2 * accumulate), md.Dense(3)], rng=0, dtype="float64")
        model.compile("sgd")
        with pytest.raises(ZeroDivisionError):
            model.fit(X, Y, batch_size=10, gradient_accumulation_steps=accumulate, verbose=0)
        assert model.layers[0].rows.tolist() == [20]
    model = md.Sequential([Counting(), md.Dense(3)], rng=0).build(6).compile("sgd")
    model.theta[...] = 3e38
    with pytest.raises(FloatingPointError):
        model.train_on_batch(X, Y)
    assert model.layers[0].rows.tolist() == [0]


def test_an_error_in_a_callback_between_steps_keeps_the_buffers_of_the_steps():
    def stop(batch, logs):
        raise ZeroDivisionError

    model = md.Sequential([Counting(), md.Dense(3)], rng=0).compile("sgd")
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, batch_size=10, callbacks=[md.callbacks.LambdaCallback(on_batch_end=stop)], verbose=0)
    assert model.layers[0].rows.tolist() == [10]
    assert model.optimizer.iterations == 1


def test_a_user_may_set_a_buffer_between_steps():
    model = md.Sequential([Counting(), md.Dense(3)], rng=0).compile("sgd").build(6)
    reset = md.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: model.layers[0].rows.fill(1000))
    model.fit(X, Y, batch_size=25, callbacks=[reset], verbose=0)
    assert model.layers[0].rows.tolist() == [1050]


def test_a_loss_of_ones_own_needs_two_methods(digits_like):
    x, y = digits_like

    class HalfSquares(md.Loss):
        """Mean over rows of half the squared distance to the one-hot row."""

        def forward(self, scores, y):
            self.difference = scores - np.eye(3)[y]
            return float((self.difference**2).sum() / 2 / len(y))

        def backward(self):
            return self.difference / len(self.difference)

    model = md.Sequential([md.Dense(3)], rng=0, dtype="float64").compile(md.SGD(0.1), HalfSquares())
    W, b = (w.copy() for w in model.build(7).get_weights())
    history = model.fit(x, y, batch_size="full", epochs=20, validation_data=(x, y), verbose=0).history
    for _ in range(20):
        difference = x @ W + b - np.eye(3)[y]
        W -= 0.1 * x.T @ difference / len(x)
        b -= 0.1 * difference.mean(axis=0)
    np.testing.assert_allclose(model.layers[0].W, W, rtol=1e-12, atol=1e-14)
    assert history["val_loss"][:-1] == pytest.approx(history["loss"][1:])
    assert model.evaluate(x, y)["loss"] == history["val_loss"][-1]


class Squares(md.Loss):
    """The mean over rows of half the squared difference; computes in the dtype of y."""

    def forward(self, scores, y):
        self.difference = scores - y.reshape(scores.shape)
        return float((self.difference**2).sum() / 2 / len(y))

    def backward(self):
        return self.difference / len(self.difference)


@pytest.mark.parametrize("kind", [np.asarray, list, "series", lambda y: np.asarray(y)[:, None]])
def test_a_loss_of_ones_own_takes_every_kind_of_y(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4))
    y = 2 * x[:, 0]
    if kind == "series":
        pandas = pytest.importorskip("pandas")
        y = pandas.Series(y, index=rng.permutation(100))
    else:
        y = kind(y)
    model = md.Sequential([md.Dense(1)], rng=0).compile(md.SGD(0.1), Squares())
    assert model.fit(x, y, epochs=20, verbose=0).history["loss"][-1] < 1e-3


def test_a_loss_with_a_wrong_dscores_is_named():
    class Wrong(Squares):
        def backward(self):
            return super().backward()[:, 0]

    with pytest.raises(ValueError, match=r"Wrong\(\): dLoss/dscores must have the scores' shape \(4, 1\), got \(4,\)"):
        md.Sequential([md.Dense(1)]).compile("sgd", Wrong()).fit(np.ones((4, 2)), np.ones(4), verbose=0)


class RowSquares(md.RowLoss):
    accuracy = None

    def rows(self, scores, targets):
        return ((scores - targets) ** 2).sum(axis=1)

    def gradient(self, scores, targets):
        return 2 * (scores - targets)


def altered(method, change, base=RowSquares):
    """A loss whose ``method`` returns something else."""
    former = getattr(base, method)
    return type("Mine", (base,), {method: lambda self, scores, targets: change(former(self, scores, targets))})


WRONG = {  # with 8 rows of 3 scores
    "rows for each output": (altered("rows", lambda r: r[:, None] * np.ones(3)), r"rows .* \(8,\), got shape \(8, 3\)"),
    "rows as a column": (altered("rows", lambda r: r[:, None]), r"rows must return the loss of each row, .* \(8, 1\)"),
    "rows as a sum": (altered("rows", lambda r: r.sum()), r"rows must return .* an array of shape \(8,\), got float"),
    "rows as a list": (altered("rows", lambda r: r.tolist()), r"rows .* got list"),
    "rows of complex numbers": (altered("rows", lambda r: r * 1j), r"rows .* real numbers .* dtype complex"),
    "one gradient a row": (altered("gradient", lambda g: g[:, 0]), r"gradient .* \(8, 3\), got shape \(8,\)"),
    "a gradient transposed": (altered("gradient", lambda g: g.T), r"gradient .* \(8, 3\), got shape \(3, 8\)"),
    "one gradient for all": (altered("gradient", lambda g: g[:1]), r"gradient .* got shape \(1, 3\)"),
    "no gradient": (altered("gradient", lambda g: None), r"gradient .* got NoneType"),
    "elements of rows": (altered("elements", lambda e: e[:, 0], md.MeanSquaredError), r"elements .* got shape \(8,\)"),
    "derivatives of rows": (
        altered("derivatives", lambda e: e[:, :1], md.MeanSquaredError),
        r"derivatives must return the derivative of each output, .* \(8, 3\), got shape \(8, 1\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_loss_with_a_wrong_shape_is_told_before_any_update(case, weighted):
    loss, message = WRONG[case]
    x, y = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3))
    weights = {"sample_weight": np.ones(8)} if weighted else {}
    for call in ("fit", "train_on_batch", "loss_and_grad", "evaluate"):
        model = md.Sequential([md.BatchNormalization(), md.Dense(3)], rng=0).build(4).compile(md.Adam(), loss())
        before = model.theta.copy(), model.network.buffers.copy()
        if call == "evaluate" and "rows" not in message and "elements" not in message:
            continue  # it needs no gradient
        with pytest.raises((ValueError, TypeError), match=r"^Mine\(\): " + message):
            getattr(model, call)(x, y, **weights, **({"verbose": 0} if call == "fit" else {}))
        assert np.array_equal(model.theta, before[0])
        assert np.array_equal(model.network.buffers, before[1])
        assert model.optimizer.iterations == 0
    made = loss()
    with pytest.raises((ValueError, TypeError), match=message):
        _ = made.forward(x[:, :3], y), made.backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda g: np.broadcast_to(g, g.shape),
        lambda g: g.astype("float64"),
        lambda g: np.asfortranarray(g),
    ],
)
def test_a_gradient_of_another_kind_of_array_is_the_same_gradient(change):
    x, y = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3))
    one, other = (md.Sequential([md.Dense(3)], rng=0).compile("sgd", loss()) for loss in
                  (RowSquares, altered("gradient", change)))  # fmt: skip
    for model in (one, other):
        model.fit(x, y, epochs=3, batch_size=3, verbose=0)
    assert np.array_equal(one.theta, other.theta)


def test_a_gradient_that_is_its_argument_or_of_integers_is_not_written_into():
    class Half(md.RowLoss):
        def rows(self, scores, targets):
            return 0.5 * (scores**2).sum(axis=1)

        def gradient(self, scores, targets):
            return scores

    class Signs(md.RowLoss):
        def rows(self, scores, targets):
            return abs(scores).sum(axis=1)

        def gradient(self, scores, targets):
            return np.where(scores > 0, 1, -1)

    x = RNG.normal(size=(8, 4))
    for loss, derivative, row in ((Half(), lambda s: s, lambda s: s**2 / 2), (Signs(), np.sign, abs)):
        model = md.Sequential([md.Dense(3)], rng=0, dtype="float64").build(4).compile("sgd", loss)
        scores = model.predict(x)
        value = model.loss_and_grad(x, np.zeros(8), sample_weight=np.full(8, 2.0))
        assert value == pytest.approx(row(scores).sum() / 8, rel=1e-12)
        np.testing.assert_allclose(model.layers[0].db, derivative(scores).mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.layers[0].dW, x.T @ derivative(scores) / 8, rtol=1e-12)


def test_a_row_loss_with_a_forward_of_its_own_is_heeded(digits_like):
    class Hundredfold(md.SoftmaxCrossEntropy):
        def forward(self, scores, y):
            return 100 * super().forward(scores, y)

        def backward(self):
            return 100 * super().backward()

    usual, scaled = plain().build(7), plain().build(7).compile("sgd", Hundredfold())
    loss, hundredfold = usual.loss_and_grad(*digits_like), scaled.loss_and_grad(*digits_like)
    assert hundredfold == pytest.approx(100 * loss)
    np.testing.assert_allclose(scaled.grad, 100 * usual.grad, rtol=1e-9)
    assert scaled.evaluate(*digits_like)["loss"] == pytest.approx(100 * loss)


def test_outputs_of_any_shape_train_under_a_loss_of_ones_own():
    class Reshape(md.Layer):
        def build(self, input_shape):
            return (2, 3)

        def forward(self, x):
            return x.reshape(-1, 2, 3)

        def backward(self, dy):
            return dy.reshape(-1, 6)

    model = md.Sequential([md.Dense(6), Reshape()], rng=0).compile("sgd", Squares())
    model.fit(np.ones((8, 4)), np.ones((8, 6)), verbose=0)
    assert model.predict(np.ones((2, 4))).shape == (2, 2, 3)


def test_the_update_of_train_on_batch_is_within_the_lock(digits_like):
    seen = []

    class Watches(md.SGD):
        def update(self, theta, grad):
            seen.append(model.network.exclusive.busy)
            super().update(theta, grad)

    model = plain().compile(Watches(0.1))
    model.train_on_batch(*digits_like)
    assert seen == [True]
    assert not model.network.exclusive.busy


def test_label_smoothing_is_applied_once_in_a_subclass_with_its_own_forward():
    class Wrapped(md.SoftmaxCrossEntropy):
        def forward(self, scores, y):
            return super().forward(scores, y)

    losses = []
    for cls in (md.SoftmaxCrossEntropy, Wrapped):
        model = plain().compile("sgd", cls(label_smoothing=0.3)).build(6)
        losses.append((model.evaluate(X, Y)["loss"], model.loss_and_grad(X, Y), *model.grad))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12, atol=1e-15)


# ------------------------------------------------------------------ however the rows of an update come


class WholeBatch(md.Loss):
    """Half the squared distances, computed for all rows of a batch at once."""

    accuracy = None

    def __init__(self, reduction="mean"):
        self.reduction = reduction

    def forward(self, scores, y):
        self.difference = scores - y
        return float((self.difference**2).sum() / 2 / (len(y) if self.reduction == "mean" else 1))

    def backward(self):
        return self.difference / len(self.difference) if self.reduction == "mean" else self.difference


class Parts:
    """Parts of the rows, with Keras' PyDataset protocol; it records which one was requested."""

    def __init__(self, arrays, edges):
        self.parts = [slice(*edge) for edge in itertools.pairwise(edges)]
        self.arrays, self.asked = arrays, []

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, i):
        self.asked.append(int(i))
        return tuple(array[self.parts[i]] for array in self.arrays)


@given(data=st.data(), kind=st.sampled_from(["softmax", "mse", "whole"]), reduction=st.sampled_from(["mean", "sum"]))
def test_an_update_is_the_same_however_its_rows_come(data, kind, reduction):
    """Arrays, generators and datasets, in micro-batches of any size, shuffled, weighted, with frozen layers."""
    n, micro, together = (
        data.draw(st.integers(1, top), name) for top, name in ((40, "n"), (12, "micro"), (5, "steps"))
    )
    source = data.draw(st.sampled_from(["arrays", "generator", "dataset"]), "source")
    frozen = data.draw(st.sampled_from([0, 1, 2]), "frozen")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    x, y = rng.normal(size=(n, 6)), rng.integers(0, 3, n) if kind == "softmax" else rng.normal(size=(n, 3))
    arrays = [x, y] if kind == "whole" or data.draw(st.booleans(), "unweighted") else [x, y, rng.random(n)]
    watch = [md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)] * data.draw(st.booleans(), "watched")
    loss = {"softmax": md.SoftmaxCrossEntropy, "mse": md.MeanSquaredError, "whole": WholeBatch}[kind]

    def make():
        layers = [md.Dense(4, "tanh"), md.Residual([md.Dense(4, "relu")]), md.LayerNormalization(), md.Dense(3)]
        model = md.Sequential(layers, rng=0, dtype="float64").compile(md.SGD(0.1 / n, momentum=0.5), loss(reduction))
        model.layers[frozen].trainable = frozen == 0
        return model.build(6)

    model, other = make(), make()
    options = {"gradient_accumulation_steps": together, "epochs": 2, "callbacks": watch, "verbose": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SLICE_ROWS", data.draw(st.sampled_from([3, 2048]), "slice"))
        patch.setattr(batches, "GATHER_BYTES", 8 * 6 * 5)
        patch.setattr(batches, "BLOCK_ROWS", data.draw(st.sampled_from([7, 1024]), "block"))
        if source == "arrays":
            edges = [*range(0, n, micro), n]
            weights = {"sample_weight": arrays[2]} if len(arrays) == 3 else {}
            model.fit(x, y, batch_size=micro, shuffle=False, **weights, **options)
            parts = Parts(arrays, edges)
            order = [*range(len(parts))] * 2
        else:
            edges = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=5), "cuts")})
            parts = Parts(arrays, edges)
            order = [*range(len(parts))] * 2
            if source == "generator":
                model.fit((parts[i] for i in order), steps_per_epoch=len(parts), **options)
            else:
                model.fit(parts, **options)
                order = parts.asked[1:]  # the first is a look ahead
    for epoch in (order[: len(parts)], order[len(parts) :]):
        assert sorted(epoch) == list(range(len(parts)))
        for first in range(0, len(parts), together):
            rows = np.concatenate([np.arange(n)[parts.parts[i]] for i in epoch[first : first + together]])
            weights = {"sample_weight": arrays[2][rows]} if len(arrays) == 3 else {}
            other.train_on_batch(x[rows], y[rows], **weights)
    np.testing.assert_allclose(model.theta, other.theta, rtol=1e-9, atol=1e-12)
    assert model.optimizer.iterations == other.optimizer.iterations


def test_batch_normalization_takes_each_micro_batch_by_itself():
    model = (
        md.Sequential([md.BatchNormalization(momentum=0.9), md.Dense(3)], rng=0, dtype="float64")
        .compile("sgd")
        .build(6)
    )
    model.fit(X, Y, batch_size=20, gradient_accumulation_steps=3, shuffle=False, verbose=0)
    parts = [X[:20], X[20:40], X[40:]]
    mean = sum(len(part) * part.mean(axis=0) for part in parts) / 50
    variance = sum(len(part) * part.var(axis=0) for part in parts) / 50
    np.testing.assert_allclose(model.layers[0].moving_mean, 0.1 * mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model.layers[0].moving_variance, 0.9 + 0.1 * variance, rtol=1e-12)


def test_a_loss_that_ends_in_the_second_micro_batch_keeps_what_was_before_the_first():
    class Ends(WholeBatch):
        calls = 0

        def forward(self, scores, y):
            self.calls += 1
            return np.nan if self.calls == 4 else super().forward(scores, y)

    model = md.Sequential([Counting(), md.Dense(3)], rng=0).compile("sgd", Ends())
    with pytest.raises(FloatingPointError, match="epoch 1, step 2"):
        model.fit(X, np.ones((50, 3)), batch_size=10, gradient_accumulation_steps=2, shuffle=False, verbose=0)
    twin = md.Sequential([Counting(), md.Dense(3)], rng=0).compile("sgd", WholeBatch()).build(6)
    twin.fit(X[:20], np.ones((20, 3)), batch_size=10, gradient_accumulation_steps=2, shuffle=False, verbose=0)
    assert np.array_equal(model.theta, twin.theta)
    assert np.array_equal(model.layers[0].rows, twin.layers[0].rows)
    assert model.optimizer.iterations == 1


class Cliff(md.MeanSquaredError):
    """Infinite where the first output is above 0, but with a finite gradient."""

    def rows(self, scores, targets):
        return np.where(scores[:, 0] > 0, np.inf, super().rows(scores, targets))

    def gradient(self, scores, targets):
        return np.zeros_like(scores)


def test_an_infinite_loss_is_told_where_all_parameters_are_finite():
    model = md.Sequential([md.Dense(3)], rng=0).compile("sgd", Cliff()).build(6)
    before = model.theta.copy()
    with pytest.raises(
        FloatingPointError, match=r"The loss of epoch 1 is inf. Try a smaller learning rate \(it is 0.01"
    ):
        model.fit(X, np.ones((50, 3)), verbose=0)
    assert np.array_equal(model.theta, before)


@pytest.mark.parametrize("frozen", [0, 2])
def test_a_frozen_layer_does_not_count_in_the_norm_that_is_clipped(frozen):
    """theta - eta grad / |grad|, over the layers that are trained, whose gradient alone is left in ``grad``."""
    models = [md.Sequential([md.Dense(5), md.Tanh(), md.Dense(3)], rng=0, dtype="float64") for _ in range(3)]
    for model in models:
        model.compile(md.SGD(0.1, global_clipnorm=0.01)).build(6).layers[frozen].trainable = False
    twin, by_batch, by_fit = models
    twin.loss_and_grad(X, Y)
    free = twin.layers[2 - frozen]
    norm = np.sqrt((free.dW**2).sum() + (free.db**2).sum())
    assert norm > 0.01
    expected = {"W": free.W - 0.1 * 0.01 * free.dW / norm, "b": free.b - 0.1 * 0.01 * free.db / norm}
    by_batch.train_on_batch(X, Y)
    by_fit.fit(X, Y, batch_size="full", verbose=0)
    for model in (by_batch, by_fit):
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(model.layers[2 - frozen], name), value, rtol=1e-12)
            assert np.array_equal(getattr(model.layers[frozen], name), getattr(twin.layers[frozen], name))
        assert not model.layers[frozen].dW.any()


# ------------------------------------------------------------------ frozen layers


class FreezeAt(md.Callback):
    """Freezes the first layer after some steps, and unfreezes it later."""

    def __init__(self, first, last):
        self.first, self.last = first, last

    def on_train_begin(self, logs):
        self.seen = [self.model.layers[0].W.copy()]

    def on_batch_end(self, batch, logs):
        self.seen.append(self.model.layers[0].W.copy())
        if len(self.seen) - 1 == self.first:
            self.model.layers[0].trainable = False
        if len(self.seen) - 1 == self.last:
            self.model.layers[0].trainable = True


@given(first=st.integers(1, 8), length=st.integers(1, 4))
def test_a_layer_is_frozen_from_the_next_step_on(first, length):
    model, watch = plain(), FreezeAt(first, first + length)
    model.fit(X, Y, batch_size=16, epochs=3, callbacks=[watch], verbose=0)
    changed = [not np.array_equal(a, b) for a, b in itertools.pairwise(watch.seen)]
    assert changed == [not first <= step < first + length for step in range(12)]


def test_a_layer_that_is_added_frozen_stays_as_it_is():
    model = plain()
    model.fit(X, Y, verbose=0)
    layer = md.Dense(3, bias_initializer="ones")
    layer.trainable = False
    model.add(layer)
    model.fit(X, Y, verbose=0)
    assert np.array_equal(layer.b, np.ones(3))
    layer.trainable = True
    model.fit(X, Y, verbose=0)
    assert not np.array_equal(layer.b, np.ones(3))
