"""Sequential: one seed one result, purity, copies, building, and what it shows."""

import copy
import itertools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import picture
from strategies import seeds

import minidense as md


def make(rng=0, dtype="float32", extra=(), **options):
    layers = [md.Dense(8), md.ReLU(), *extra, md.Dense(3), md.Softmax()]
    model = md.Sequential(layers, rng=rng, dtype=dtype)
    return model.compile(md.SGD(0.1, **options), "sparse_categorical_crossentropy", ["accuracy"])


# ------------------------------------------------------------------ one seed, one result


@pytest.mark.parametrize("size", [1, 7, "full"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_runs_are_the_same_to_the_bit(digits_like, size, momentum):
    runs = [make(momentum=momentum) for _ in range(2)]
    histories = [model.fit(*digits_like, batch_size=size, epochs=3, verbose=0).history for model in runs]
    assert np.array_equal(runs[0].theta, runs[1].theta)
    assert histories[0] == histories[1]
    assert not np.array_equal(runs[0].theta, make(rng=1).build(7).theta)


@pytest.mark.parametrize("size", [1, 7, "full"])
def test_five_epochs_twice_are_ten_epochs(digits_like, size):
    twice, once = make(momentum=0.9), make(momentum=0.9)
    halves = [twice.fit(*digits_like, batch_size=size, epochs=5, verbose=0).history["loss"] for _ in range(2)]
    whole = once.fit(*digits_like, batch_size=size, epochs=10, verbose=0).history["loss"]
    assert np.array_equal(twice.theta, once.theta)
    assert halves[0] + halves[1] == whole


SCRIPT = """
import numpy as np, minidense as md
rng = np.random.default_rng(0)
x, y = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)
model = md.Sequential([md.Dense(8, "relu"), md.Dense(3)], rng=5).compile()
model.fit(x, y, epochs=3, batch_size=4, verbose=0)
print(model.theta.tobytes().hex())
"""


def test_two_processes_are_the_same_to_the_bit():
    outputs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    ]
    assert len(outputs[0]) > 100
    assert outputs[0] == outputs[1]


def test_numpys_global_random_state_is_untouched(digits_like):
    before = repr(np.random.get_state())
    make(rng=None).fit(*digits_like, verbose=0)
    assert repr(np.random.get_state()) == before


def test_a_generator_is_a_seed_too_and_gives_two_models_two_starts():
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    assert np.array_equal(make(one).build(7).theta, make(two).build(7).theta)
    assert not np.array_equal(make(one).build(7).theta, make(two).build(8).theta[: make().build(7).theta.size])
    assert one.random() == np.random.default_rng(3).random()  # its own numbers are not drawn


def test_building_early_or_late_or_in_parts_gives_the_same_weights():
    early = make().build(7)
    late = make()
    late.fit(np.zeros((3, 7)), [0, 1, 2], shuffle=False, verbose=0, epochs=1)
    parts = md.Sequential([md.Dense(8)], rng=0).build((7,))
    for layer in (md.ReLU(), md.Dense(3), md.Softmax()):
        parts.add(layer)
    assert np.array_equal(early.theta, parts.theta)
    assert np.array_equal(early.layers[0].W, late.layers[0].W)  # zeros in, so its gradient is zero


def test_both_dtypes_start_alike():
    single, double = make().build(7), make(dtype="float64").build(7)
    assert single.theta.dtype == "float32"
    assert double.theta.dtype == "float64"
    assert np.array_equal(single.theta, double.theta.astype("float32"))


@given(st.integers(1, 40), st.integers(1, 45), seeds)
def test_each_epoch_sees_every_row_once(n, size, seed):
    """Gradients of a linear model with one-hot rows tell which rows came: here, the callbacks' count of them."""
    seen = []

    class Spy(md.Layer):
        def forward(self, x, training):
            if training:
                seen.extend(x[:, 0].tolist())
            return x

        def backward(self, dy):
            return dy

    x = np.arange(n, dtype="float32")[:, None]
    model = md.Sequential([Spy(), md.Dense(2)], rng=seed).compile(md.SGD(1e-6))
    model.fit(x, np.zeros(n, int), batch_size=size, epochs=2, verbose=0)
    first, second = seen[:n], seen[n:]
    assert sorted(first) == sorted(second) == x[:, 0].tolist()
    if n >= 20 and size < n:
        assert first != second
        assert first != x[:, 0].tolist()


@pytest.mark.parametrize("kind", ["read-only", "fortran", "strided", "uint8", "list", "float64", "float32"])
def test_the_kind_of_array_makes_no_difference_and_it_is_not_changed(kind):
    rng = np.random.default_rng(0)
    plain, y = rng.integers(0, 9, (30, 7)).astype("float32"), rng.integers(0, 3, 30)
    x = {
        "read-only": lambda: plain.copy(),
        "fortran": lambda: np.asfortranarray(plain),
        "strided": lambda: np.repeat(plain, 2, axis=0)[::2],
        "list": lambda: plain.tolist(),
    }.get(kind, lambda: plain.astype(kind))()
    if kind == "read-only":
        x.flags.writeable = y.flags.writeable = False
    before = picture(x if isinstance(x, np.ndarray) else np.array(x))
    models = [make(), make()]
    models[0].fit(plain, y, batch_size=8, epochs=2, verbose=0)
    models[1].fit(x, y.tolist() if kind == "list" else y, batch_size=8, epochs=2, verbose=0)
    assert np.array_equal(models[0].theta, models[1].theta)
    assert np.array_equal(models[0].predict(plain), models[1].predict(x))
    assert picture(x if isinstance(x, np.ndarray) else np.array(x)) == before


@pytest.mark.parametrize("labels", ["(n, 1)", "float", "bool", "uint8", "one-hot"])
def test_the_form_of_the_labels_makes_no_difference(digits_like, labels):
    x, y = digits_like
    y = y % 2 if labels == "bool" else y
    form = {
        "(n, 1)": y[:, None],
        "float": y.astype(float),
        "bool": y.astype(bool),
        "uint8": y.astype("uint8"),
        "one-hot": np.eye(3)[y],
    }[labels]
    models = [make(), make()]
    histories = [m.fit(x, target, epochs=2, verbose=0).history for m, target in zip(models, (y, form), strict=True)]
    assert np.array_equal(models[0].theta, models[1].theta)
    assert histories[0] == histories[1]


def test_large_batches_in_slices_are_the_whole_batch(monkeypatch):
    """Computed in slices of 16 rows, a batch of 50 has the gradient of the whole, to rounding."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(130, 7)), rng.integers(0, 3, 130)
    models = [make(dtype="float64"), make(dtype="float64")]
    histories = []
    for model, rows in zip(models, (2048, 16), strict=True):
        monkeypatch.setattr(md.data.batches, "SLICE_ROWS", rows)
        monkeypatch.setattr(md.data.batches, "GATHER_BYTES", 8 * 7 * 16)
        histories.append(model.fit(x, y, batch_size=50, epochs=3, verbose=0).history)
    np.testing.assert_allclose(models[1].theta, models[0].theta, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(histories[1]["loss"], histories[0]["loss"], rtol=1e-12)
    assert histories[1]["accuracy"] == histories[0]["accuracy"]


def test_being_watched_batch_by_batch_changes_nothing(digits_like):
    watched, alone = make(), make()
    nothing = md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)
    histories = [
        watched.fit(*digits_like, batch_size=4, epochs=3, callbacks=[nothing], verbose=0).history,
        alone.fit(*digits_like, batch_size=4, epochs=3, verbose=0).history,
    ]
    assert np.array_equal(watched.theta, alone.theta)
    assert histories[0]["accuracy"] == histories[1]["accuracy"]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)


# ------------------------------------------------------------------ figures


def test_evaluate_agrees_with_predict(digits_like):
    x, y = digits_like
    model = make()
    history = model.fit(x, y, epochs=2, validation_data=(x, y), verbose=0).history
    probabilities = model.predict(x).astype("float64")
    for size in (1, 7, 1024, "full"):
        figures = model.evaluate(x, y, batch_size=size)
        assert figures["loss"] == pytest.approx(-np.log(probabilities[np.arange(60), y]).mean(), rel=1e-5)
        assert figures["accuracy"] == (probabilities.argmax(axis=1) == y).mean()
    assert history["val_loss"][-1] == pytest.approx(figures["loss"], rel=1e-6)
    assert history["val_accuracy"][-1] == figures["accuracy"]


def test_train_on_batch_is_one_full_batch_step(digits_like):
    one, other = make(), make()
    figures = one.train_on_batch(*digits_like)
    history = other.fit(*digits_like, batch_size="full", verbose=0).history
    assert np.array_equal(one.theta, other.theta)
    assert figures == {name: values[0] for name, values in history.items()}


def test_validation_split_holds_out_the_last_rows(digits_like):
    x, y = digits_like
    split, given = make(), make()
    histories = [
        split.fit(x, y, validation_split=0.25, verbose=0).history,
        given.fit(x[:45], y[:45], validation_data=(x[45:], y[45:]), verbose=0).history,
    ]
    assert histories[0] == histories[1]
    assert np.array_equal(split.theta, given.theta)


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


def test_stop_training_ends_the_epoch(digits_like):
    model = make()

    def stop(batch, logs):
        model.stop_training = batch == 2

    history = model.fit(
        *digits_like, batch_size=4, epochs=9, callbacks=[md.callbacks.LambdaCallback(on_batch_end=stop)], verbose=0
    )
    assert history.epoch == [0]
    assert model.fit(*digits_like, epochs=2, verbose=0).epoch == [0, 1]


# ------------------------------------------------------------------ purity


class Caching(md.Layer):
    """Caches always, in an attribute and in a container."""

    def __init__(self):
        self.kept = {}

    def forward(self, x):
        self.x = self.kept["x"] = x
        return np.tanh(x)

    def backward(self, dy):
        return dy * (1 - np.tanh(self.x) ** 2)


def test_predict_and_evaluate_change_nothing_and_keep_nothing(digits_like):
    x, y = digits_like
    x = x.astype("float32")
    model = make(extra=[Caching()]).build(7)
    before = picture(model)
    references = sys.getrefcount(x)
    y_pred = model.predict(x)
    model.evaluate(x, y)
    assert picture(model) == before
    assert sys.getrefcount(x) == references
    assert not np.shares_memory(y_pred, x)


def test_predict_of_a_model_that_hands_its_input_through_is_a_copy():
    class Nothing(md.Layer):
        def forward(self, x):
            return x

    x = np.ones((2, 3), "float32")
    y = md.Sequential([Nothing()]).build(3).predict(x)
    y[...] = 5
    assert (x == 1).all()


def test_a_layer_that_changes_its_input_cannot_change_the_users_array():
    class Greedy(Caching):
        def forward(self, x):
            x *= 2
            return super().forward(x)

    model = md.Sequential([Greedy()]).build(3)
    with pytest.raises(ValueError, match="read-only") as caught:
        model.predict(np.ones((2, 3), "float32"))
    assert "Greedy(), layer 0" in caught.value.__notes__[0]


def test_eight_threads_predict_what_one_does():
    model = make(extra=[Caching()]).build(7)
    xs = [np.random.default_rng(i).normal(size=(64, 7)) for i in range(8)]
    expected = [model.predict(x) for x in xs]
    wrong = []

    def work(i):
        for _ in range(100):
            if not np.array_equal(model.predict(xs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_row_at_a_time_gives_what_all_rows_give(digits_like):
    x, _ = digits_like
    model = make().build(7)
    alone = np.concatenate([model.predict(row[None]) for row in x])
    np.testing.assert_allclose(alone, model.predict(x), rtol=1e-5)  # sums of 8 float32 products: 8 eps = 1e-6
    assert np.array_equal(model.predict(x, batch_size=1), alone)


def test_fit_of_a_model_that_is_being_fitted_is_an_error(digits_like):
    model = make()
    again = md.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.fit(*digits_like, verbose=0))
    with pytest.raises(RuntimeError, match="being trained already"):
        model.fit(*digits_like, callbacks=[again], verbose=0)
    model.fit(*digits_like, verbose=0)  # and the lock is free again


def test_fit_leaves_no_batch_behind(digits_like):
    model = make()
    model.fit(*digits_like, verbose=0)
    assert all(
        not isinstance(v, np.ndarray) or n in layer._views for layer in model.layers for n, v in layer.__dict__.items()
    )
    assert len(pickle.dumps(model)) < 20_000


# ------------------------------------------------------------------ theta and copies


def assert_views(model):
    start = 0
    for layer in model.layers:
        for d in layer.declarations:
            view, gradient = getattr(layer, d.name), getattr(layer, "d" + d.name)
            assert np.array_equal(view.ravel(), model.theta[start : start + view.size])
            assert view.base is model.theta or np.shares_memory(view, model.theta)
            assert np.shares_memory(gradient, model.grad)
            start += view.size
    assert start == model.theta.size == model.grad.size == model.count_params
    assert model.theta.flags.c_contiguous


def test_layers_hold_views_of_theta():
    model = make().build(7)
    assert_views(model)
    model.theta[:] = 3
    assert (model.layers[0].W == 3).all()
    model.layers[0].W += 1  # in place, and through the attribute
    assert (model.theta[:56] == 4).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_are_independent_and_train_on_identically(digits_like, duplicate):
    model = make(momentum=0.9)
    model.fit(*digits_like, epochs=2, batch_size=7, verbose=0)
    twin = duplicate(model)
    assert_views(twin)
    assert not np.shares_memory(twin.theta, model.theta)
    assert np.array_equal(twin.theta, model.theta)
    before = model.theta.copy()
    twin.fit(*digits_like, epochs=2, batch_size=7, verbose=0)
    assert np.array_equal(model.theta, before)
    model.fit(*digits_like, epochs=2, batch_size=7, verbose=0)
    assert np.array_equal(twin.theta, model.theta)
    assert_views(model)


def test_an_unbuilt_copy_builds_alike():
    model = make()
    twin = copy.deepcopy(model)
    assert np.array_equal(model.build(5).theta, twin.build(5).theta)


def test_weights_in_and_out(digits_like):
    model, other = make().build(7), make(rng=1).build(7)
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(7, 8), (8,), (8, 3), (3,)]
    assert not any(np.shares_memory(w, model.theta) for w in weights)
    other.set_weights([w.tolist() for w in weights])
    assert np.array_equal(other.theta, model.theta)


def test_forward_and_backward_are_the_chain_on_paper(digits_like):
    x, y = digits_like
    model = make(dtype="float64").build(7)
    dense, relu, last, softmax = model.layers
    p = model.forward(x, training=True)
    np.testing.assert_allclose(p, softmax.forward(last.forward(relu.forward(dense.forward(x)))))
    dp = np.where(np.eye(3)[y] == 1, -1 / p, 0) / len(x)  # the loss by the probabilities, through Softmax.backward
    dx = model.backward(dp)
    assert dx.shape == x.shape
    slow = model.grad.copy()
    model.loss_and_grad(x, y)
    np.testing.assert_allclose(model.grad, slow, rtol=1e-10, atol=1e-14)


def test_forward_gives_new_arrays():
    model = make().build(7)
    a = model.forward(np.zeros((2, 7)))
    before = a.copy()
    model.forward(np.ones((2, 7)))
    assert np.array_equal(a, before)


# ------------------------------------------------------------------ what it shows


def test_summary_and_repr():
    model = md.Sequential([md.Dense(8, "relu"), md.Dense(3)], rng=0, name="net")
    assert "?" in model.summary()
    assert repr(model) == "<Sequential [Dense(8), ReLU(), Dense(3)], not built, float32>"
    assert model.build(7).summary().splitlines() == [
        "net",
        "layer      output shape    parameters",
        "Dense(8)   (n, 8)                  64",
        "ReLU()     (n, 8)                   0",
        "Dense(3)   (n, 3)                  27",
        "91 parameters, 364 bytes (float32)",
    ]
    assert repr(model) == "<Sequential [Dense(8), ReLU(), Dense(3)], 91 parameters, float32>"


def test_scipy_style_minimisation_with_loss_and_grad(digits_like):
    """Plain gradient descent on (theta, grad) from outside the library brings the loss down."""
    model = make(dtype="float64").build(7)
    losses = []
    for _ in range(50):
        losses.append(model.loss_and_grad(*digits_like))
        model.theta[:] -= 0.5 * model.grad
    assert losses[-1] < 0.8 * losses[0]
    assert all(b < a for a, b in itertools.pairwise(losses))


# ------------------------------------------------------------------ found by trying to break it


def test_copy_copy_is_a_copy_of_its_own(digits_like):
    model = make().build(7)
    twin = copy.copy(model)
    model.fit(*digits_like, verbose=0)
    assert_views(model)
    assert_views(twin)
    assert not np.array_equal(model.theta, twin.theta)


@pytest.mark.parametrize("last", [md.Softmax, md.ReLU, md.Sigmoid])
def test_an_activation_before_the_final_softmax_is_refused(last):
    with pytest.raises(ValueError, match=r"takes scores.*layer 1"):
        md.Sequential([md.Dense(3), last(), md.Softmax()]).compile()


def test_a_failed_add_leaves_the_model_whole(digits_like):
    class Refuses(md.Layer):
        def build(self, input_shape):
            raise ValueError("not me")

    model = make(momentum=0.9)
    model.fit(*digits_like, verbose=0)
    before = picture(model)
    with pytest.raises(ValueError, match="not me"):
        model.add(Refuses())
    assert picture(model) == before


def test_a_failed_initializer_does_not_change_what_the_seed_gives():
    fails = [True]

    def sometimes(rng, shape):
        values = rng.normal(size=shape)
        if fails.pop() if fails else False:
            raise RuntimeError("once")
        return values

    model = md.Sequential([md.Dense(3), md.Dense(2, kernel_initializer=sometimes)], rng=0)
    with pytest.raises(RuntimeError):
        model.build(4)
    again = model.build(4).theta
    assert np.array_equal(
        again, md.Sequential([md.Dense(3), md.Dense(2, kernel_initializer=sometimes)], rng=0).build(4).theta
    )


def test_predictions_are_the_callers():
    class Constant(md.Layer):
        def build(self, input_shape):
            self.param("b", input_shape, "ones")
            return input_shape

        def forward(self, x):
            return np.broadcast_to(self.b, x.shape)

    model = md.Sequential([Constant()]).build(3)
    y = model.predict(np.zeros((2, 3)))
    model.theta[:] = 7
    assert (y == 1).all()
    assert y.flags.writeable


def test_caches_in_containers_of_any_kind_stay_out_of_the_model():
    import collections
    import types

    class Hides(md.Layer):
        def __init__(self):
            self.box, self.space, self.nested = collections.deque(), types.SimpleNamespace(), [[]]

        def forward(self, x):
            self.box.append(x)
            self.nested[0].append(x)
            self.space.x = x
            return x * 2

    model = md.Sequential([Hides()]).build(3)
    before = picture(model)
    model.predict(np.ones((2, 3)))
    layer = model.layers[0]
    assert picture(model) == before
    assert (list(layer.box), layer.nested, vars(layer.space)) == ([], [[]], {})


def test_forward_from_a_callback_gives_arrays_to_keep(digits_like):
    x, y = digits_like
    model, kept = make(), []
    keep = md.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: kept.append(model.forward(x)))
    model.fit(x, y, epochs=3, callbacks=[keep], verbose=0)
    assert not np.shares_memory(kept[0], kept[1])
    assert not np.array_equal(kept[0], kept[1])


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


def test_a_row_loss_with_a_forward_of_its_own_is_heeded(digits_like):
    class Hundredfold(md.SoftmaxCrossEntropy):
        def forward(self, scores, y):
            return 100 * super().forward(scores, y)

        def backward(self):
            return 100 * super().backward()

    plain, scaled = make(dtype="float64"), make(dtype="float64").compile("sgd", Hundredfold())
    loss, hundredfold = plain.loss_and_grad(*digits_like), scaled.loss_and_grad(*digits_like)
    assert hundredfold == pytest.approx(100 * loss)
    np.testing.assert_allclose(scaled.grad, 100 * plain.grad, rtol=1e-9)
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


def test_a_metric_may_keep_what_it_is_given_and_the_models_own_stays_clean():
    class Keeps(md.Metric):
        name = "sum"

        def __init__(self):
            self.kept = []

        def reset(self):
            self.kept.clear()

        def update(self, y_true, y_pred):
            self.kept.append(y_pred)

        def result(self):
            return float(sum(p.sum(dtype="float64") for p in self.kept))

    x, y = np.random.default_rng(0).normal(size=(5000, 4)), np.arange(5000) % 3
    model = md.Sequential([md.Dense(3), md.Softmax()], rng=0).build(4).compile(metrics=[Keeps()])
    expected = model.predict(x).sum(dtype="float64")
    assert model.evaluate(x, y)["sum"] == pytest.approx(expected)
    assert model.metrics[0].kept == []


def test_an_update_that_overflows_is_an_error_at_the_epochs_end(digits_like):
    model = make().compile(md.SGD(1e39))
    with pytest.raises(FloatingPointError, match=r"An update in epoch 1 made parameters infinite.*1e\+39"):
        model.fit(*digits_like, batch_size="full", verbose=0)


def test_probability_rows_are_normalised():
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.random.default_rng(1).dirichlet(np.ones(3), 6)
    models = [md.Sequential([md.Dense(3)], rng=0, dtype="float64").build(4).compile() for _ in range(2)]
    losses = [model.loss_and_grad(x, t) for model, t in zip(models, (y, 1.0008 * y), strict=True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    np.testing.assert_allclose(models[0].grad, models[1].grad, rtol=1e-9)


def test_a_layer_that_changes_its_input_in_mid_model_is_an_error(digits_like):
    class Doubles(md.Layer):
        def forward(self, x):
            x *= 2
            return x

        def backward(self, dy):
            return dy * 2

    model = md.Sequential([md.Dense(4), md.Sigmoid(), Doubles(), md.Dense(3)]).compile()
    with pytest.raises(ValueError, match="read-only") as caught:
        model.fit(*digits_like, verbose=0)
    assert "Doubles(), layer 2" in caught.value.__notes__[0]


def test_the_update_of_train_on_batch_is_within_the_lock(digits_like):
    seen = []

    class Watches(md.SGD):
        def update(self, theta, grad):
            seen.append(model._fitting.locked())
            super().update(theta, grad)

    model = make().compile(Watches(0.1))
    model.train_on_batch(*digits_like)
    assert seen == [True]
    assert not model._fitting.locked()
