"""L-BFGS: the points are those of SciPy called directly, each is an epoch, and what does not fit it is refused."""

import copy
import importlib.util
import io
import os
import pickle
import signal
import sys

import numpy as np
import pytest
from forge import sealed, taken_apart
from snapshots import picture

import minidense as md
from minidense import callbacks, regularizers
from minidense.files.model_file import encoded

needs_scipy = pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="SciPy is an extra")

random = np.random.default_rng(5)
X = random.normal(size=(60, 5))
Y = random.normal(size=(60, 2))
LABELS = random.integers(0, 2, 60)
SCIPY_NAMES = {"memory": "maxcor", "max_evaluations": "maxfun", "max_line_search": "maxls"}


def make(*first, loss="mse", dtype="float64", metrics=("mae",), **options):
    l2 = regularizers.L2(1e-3)
    layers = [*first, md.Dense(6, "tanh", kernel_regularizer=l2), md.Dense(2)]
    return md.Sequential(layers, rng=3, dtype=dtype).compile(md.LBFGS(**options), loss, metrics).build(5)


def fit(model, x=X, y=Y, epochs=12, verbose=0, **more):
    return model.fit(x, y, epochs=epochs, verbose=verbose, **more)


def by_scipy(model, x=X, y=Y, epochs=12, weights=None, free=slice(None), **options):
    """SciPy's result for the loss of a model that ``fit`` has not seen; the model is then at that point."""
    from scipy.optimize import minimize

    def loss_and_grad(part):
        model.theta[free] = part
        loss = model.loss_and_grad(x, y, sample_weight=weights)
        return loss, model.grad[free].astype(np.float64)

    options = {SCIPY_NAMES.get(name, name): value for name, value in options.items()}
    start = model.theta[free].astype(np.float64)
    found = minimize(loss_and_grad, start, jac=True, method="L-BFGS-B", options={"maxiter": epochs, **options})
    model.theta[free] = found.x
    return found


# ---------------------------------------------------------------------- the points are SciPy's


@needs_scipy
def test_least_squares_to_the_exact_solution():
    """At a point where the gradient's norm is g, the distance to the minimum is at most g / (least curvature)."""
    model = md.Sequential([md.Dense(2)], rng=0, dtype="float64").compile(md.LBFGS(ftol=0, gtol=1e-10), "mse")
    history = fit(model, epochs=500)
    design = np.c_[X, np.ones(60)]
    exact, *_ = np.linalg.lstsq(design, Y)
    curvature = np.linalg.eigvalsh(design.T @ design / 60)[0]  # mean over 60 rows of half of both outputs' 2 (...)**2
    W, b = model.get_weights()
    assert np.linalg.norm(np.vstack([W, b]) - exact) < np.sqrt(12) * 1e-10 / curvature
    assert model.optimizer.message.startswith("CONVERGENCE: NORM")
    assert 3 < len(history.epoch) < 60
    assert history.history["loss"][-1] == pytest.approx(((design @ exact - Y) ** 2).mean(), rel=1e-12)


CASES = {
    "as it is": {},
    "other arguments": {"options": {"memory": 3, "ftol": 1e-3, "gtol": 1e-3, "max_line_search": 4}},
    "few evaluations": {"options": {"max_evaluations": 7}},
    "a sum": {"model": {"loss": md.MeanSquaredError("sum")}},
    "float32": {"model": {"dtype": "float32"}},
    "weights": {"weights": random.uniform(0, 2, 60)},
    "several slices": {"data": (np.tile(X, (80, 1)), np.tile(Y, (80, 1)))},
    "a batch normalization": {"layers": [md.BatchNormalization]},
}


@needs_scipy
@pytest.mark.parametrize("case", CASES)
def test_it_ends_where_scipy_does_to_the_bit(case):
    case = CASES[case]
    options, data, weights = case.get("options", {}), case.get("data", (X, Y)), case.get("weights")
    model, other = (
        make(*[kind() for kind in case.get("layers", ())], **case.get("model", {}), **options) for _ in range(2)
    )
    history = fit(model, *data, sample_weight=weights)
    found = by_scipy(other, *data, weights=weights, **options)
    assert model.theta.tobytes() == other.theta.tobytes()
    assert (len(history.epoch), model.optimizer.iterations) == (found.nit, found.nit)
    assert (model.optimizer.message, found.nit > 1) == (found.message, True)
    if "a sum" not in case and not case.get("model"):
        assert history.history["loss"][-1] == found.fun


@needs_scipy
def test_a_second_fit_begins_with_an_empty_memory():
    model, other = make(), make()
    fit(model, epochs=4)
    assert fit(model, epochs=10, initial_epoch=4).epoch == list(range(4, 10))
    by_scipy(other, epochs=4)
    by_scipy(other, epochs=6)
    assert model.theta.tobytes() == other.theta.tobytes()
    assert model.optimizer.iterations == 10


@needs_scipy
def test_frozen_layers_stay_and_the_others_are_minimized_over():
    model, other = make(), make()
    model.layers[0].trainable = False
    frozen = model.layers[0].W.tobytes(), model.layers[0].b.tobytes()
    fit(model)
    assert (model.layers[0].W.tobytes(), model.layers[0].b.tobytes()) == frozen
    free = slice(5 * 6 + 6, None)
    by_scipy(other, free=free)
    assert model.theta.tobytes() == other.theta.tobytes()


@needs_scipy
@pytest.mark.parametrize(("rows", "alpha", "activation"), [(300, 1e-2, "tanh"), (300, 1e-4, "relu")])
def test_it_goes_to_scikit_learns_point(rows, alpha, activation, monkeypatch):
    """Its alpha / (2 n) times the squares is L2; rounding is amplified with each of the 28 and 37 iterations."""
    networks = pytest.importorskip("sklearn.neural_network")
    (x, y), _ = md.datasets.load_digits()
    x, y, start, run = x[:rows] / 16, y[:rows], [], networks.MLPClassifier._fit_lbfgs

    def noting_the_start(self, *args, **more):
        for W, b in zip(self.coefs_, self.intercepts_, strict=True):
            start.extend([W.copy(), b.copy()])
        run(self, *args, **more)

    monkeypatch.setattr(networks.MLPClassifier, "_fit_lbfgs", noting_the_start)
    theirs = networks.MLPClassifier(
        20, activation, solver="lbfgs", alpha=alpha, max_iter=200, tol=1e-4, random_state=0
    ).fit(x, y)
    penalty = regularizers.L2(alpha / (2 * rows))
    layers = [md.Dense(20, activation, kernel_regularizer=penalty), md.Dense(10, kernel_regularizer=penalty)]
    model = md.Sequential([*layers, md.Softmax()], dtype="float64").compile(md.LBFGS(gtol=1e-4)).build(64)
    model.set_weights(start)
    history = fit(model, x, y, epochs=200)
    assert len(history.epoch) == theirs.n_iter_ < 60
    for mine, (W, b) in zip(model.layers[::2], zip(theirs.coefs_, theirs.intercepts_, strict=True), strict=False):
        np.testing.assert_allclose(mine.W, W, rtol=0, atol=1e-9)
        np.testing.assert_allclose(mine.b, b, rtol=0, atol=1e-9)
    np.testing.assert_allclose(model.predict(x), theirs.predict_proba(x), rtol=0, atol=1e-9)
    assert history.history["loss"][-1] == pytest.approx(theirs.loss_, rel=1e-9)


@needs_scipy
def test_an_accepted_point_that_was_not_evaluated_last_is_evaluated_again(monkeypatch):
    import scipy.optimize

    points = []

    def best_of_two(fun, x, callback, **more):
        fun(x)
        for _ in range(2):
            _, gradient = fun(x)
            better, worse = x - 0.01 * gradient, x - gradient
            fun(better)
            fun(worse)
            callback(better)
            points.append(better)
            x = better
        return scipy.optimize.OptimizeResult(x=x, message="enough")

    monkeypatch.setattr(scipy.optimize, "minimize", best_of_two)
    model = make()
    history = fit(model)
    assert model.theta.tobytes() == points[-1].tobytes()
    assert history.history["loss"][-1] == pytest.approx(model.evaluate(X, Y)["loss"], rel=1e-12)


# ---------------------------------------------------------------------- each is an epoch


class Noting(md.Callback):
    """Notes the hooks that are called, and what the parameters are then."""

    def __init__(self):
        self.hooks, self.thetas, self.logs = [], [], []

    def note(self, hook):
        self.hooks.append(hook)
        self.thetas.append(self.model.theta.copy())

    def on_train_begin(self, logs):
        self.note("train begins")

    def on_epoch_begin(self, epoch, logs):
        self.note(f"{epoch} begins")

    def on_batch_begin(self, batch, logs):
        self.note(f"batch {batch} begins")

    def on_batch_end(self, batch, logs):
        self.note(f"batch {batch} ends")

    def on_epoch_end(self, epoch, logs):
        self.note(f"{epoch} ends")
        self.logs.append(dict(logs))

    def on_train_end(self, logs):
        self.note("train ends")


class Counting(md.Layer):
    """The identity; calls ``at(count)`` in its forward pass."""

    rowwise = True

    def __init__(self, at=None):
        self.at, self.count = at, 0

    def forward(self, x, training):
        if training:
            self.count += 1
            if self.at is not None:
                self.at(self.count)
        return x

    def backward(self, dy):
        return dy


@needs_scipy
def test_callbacks_see_only_accepted_points_and_history_says_what_these_are():
    noting, layer = Noting(), Counting()
    model = make(layer)
    start = model.theta.copy()
    history = fit(model, epochs=9, validation_data=(X[:20], Y[:20]), callbacks=[noting])
    assert layer.count > 10  # the line search has tried more than the start and nine points
    of_epoch = ["{} begins", "batch 0 begins", "batch 0 ends", "{} ends"]
    expected = [hook.format(epoch) for epoch in range(9) for hook in of_epoch]
    assert noting.hooks == ["train begins", *expected, "train ends"]
    thetas = [start, *noting.thetas[4:-1:4], model.theta]
    assert len({theta.tobytes() for theta in thetas}) == 10
    for i, theta in enumerate(noting.thetas[:-1]):
        assert theta.tobytes() == thetas[(i + 1) // 4 + (i % 4 == 3) - (i > 0 and (i + 1) % 4 == 0)].tobytes()
    assert [dict(zip(history.history, row, strict=True)) for row in zip(*history.history.values(), strict=True)] == (
        noting.logs
    )
    other = make()
    for i, theta in enumerate(thetas[1:10]):
        other.theta = theta
        for prefix, rows in (("", slice(None)), ("val_", slice(20))):
            for name, value in dict(other.evaluate(X[rows], Y[rows])).items():
                assert history.history[prefix + name][i] == pytest.approx(value, rel=1e-12)


@needs_scipy
def test_it_says_why_it_has_ended(capfd):
    model = make(gtol=0.05)
    history = fit(model, epochs=500, verbose=2)
    *lines, last = capfd.readouterr().out.splitlines()
    n = len(history.epoch)
    assert len(lines) == n < 100
    assert last == f"ended after epoch {n}: {model.optimizer.message}"
    assert fit(model, epochs=500, verbose=2).epoch == []
    assert capfd.readouterr().out == f"ended after epoch 0: {model.optimizer.message}\n"
    fit(make(), epochs=2, verbose=1)
    assert "LIMIT" not in capfd.readouterr().out


@needs_scipy
@pytest.mark.parametrize(("hook", "made"), [("on_train_begin", 0), ("on_epoch_begin", 1), ("on_epoch_end", 1)])
def test_it_stops_when_told_to(hook, made):
    model = make()
    history = fit(model, callbacks=callbacks.LambdaCallback(**{hook: lambda *_: setattr(model, "stop_training", True)}))
    assert (len(history.epoch), model.optimizer.iterations, model.optimizer.message) == (made, made, "")
    other = make()
    if made:
        by_scipy(other, epochs=1)
    assert model.theta.tobytes() == other.theta.tobytes()


@needs_scipy
def test_early_stopping_and_checkpoints(tmp_path):
    stop = callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz", save_weights_only=True)
    model = make()
    history = fit(model, X[:20], Y[:20], epochs=200, validation_data=(X[20:], Y[20:]), callbacks=[stop, keep])
    best = int(np.argmin(history.history["val_loss"]))
    assert len(history.epoch) == best + 4 < 200
    other = make()
    other.load_weights(tmp_path / f"{best + 1}.npz")
    assert model.theta.tobytes() == other.theta.tobytes()


@needs_scipy
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end", "on_batch_end"])
@pytest.mark.parametrize("error", [StopIteration, KeyError, KeyboardInterrupt])
def test_what_a_callback_raises_is_raised(hook, error):
    model, other = make(), make()

    def fail(*_):
        if model.optimizer.iterations == 3:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        fit(model, callbacks=callbacks.LambdaCallback(**{hook: fail}))
    by_scipy(other, epochs=3)
    assert model.theta.tobytes() == other.theta.tobytes()
    assert model.history.epoch == list(range(2 if hook == "on_batch_end" else 3))


@needs_scipy
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_where_callbacks_move_theta_or_freeze_it_begins_anew(hook):
    def change(model):
        model.layers[0].W[...] *= 0.5
        model.layers[1].trainable = model.layers[2].trainable = False

    model, other = make(), make()
    done = []

    def once(*_):
        if model.optimizer.iterations == 4 and not done:
            done.append(change(model))

    noting = Noting()
    history = fit(model, callbacks=[noting, callbacks.LambdaCallback(**{hook: once})])
    assert history.epoch == list(range(12))
    assert [hook for hook in noting.hooks if hook.endswith("begins") and hook[0].isdigit()] == [
        f"{epoch} begins" for epoch in range(12)
    ]
    by_scipy(other, epochs=4)
    change(other)
    by_scipy(other, epochs=8, free=slice(0, 36))
    assert model.theta.tobytes() == other.theta.tobytes()


@needs_scipy
def test_a_batch_normalization_updates_its_moving_averages_once_an_iteration():
    noting = Noting()
    model, other = make(md.BatchNormalization(momentum=0.5)), make(md.BatchNormalization(momentum=0.5))
    mean, variance, n = np.zeros(5), np.ones(5), 9
    fit(model, epochs=n, callbacks=[noting])
    for _ in range(n):
        mean, variance = 0.5 * mean + 0.5 * X.mean(axis=0), 0.5 * variance + 0.5 * X.var(axis=0)
    np.testing.assert_allclose(model.layers[0].moving_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(model.layers[0].moving_variance, variance, rtol=1e-12)
    by_scipy(other, epochs=n)
    assert model.theta.tobytes() == other.theta.tobytes()


# ---------------------------------------------------------------------- errors and Ctrl-C


@needs_scipy
@pytest.mark.parametrize(("more", "times", "passes"), [((md.BatchNormalization,), 1, 8), ((), 80, 17)])
def test_ctrl_c_leaves_the_last_accepted_point(more, times, passes):
    """Also between the slices of one evaluation: 60 x 80 rows are three."""

    def interrupt(count):
        if count == passes:
            os.kill(os.getpid(), signal.SIGINT)

    data = np.tile(X, (times, 1)), np.tile(Y, (times, 1))
    model = make(Counting(interrupt), *[kind() for kind in more])
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        fit(model, *data)
    signal.signal(signal.SIGINT, old)
    done = len(model.history.epoch)
    assert 2 < done == model.optimizer.iterations < 8
    assert model.layers[0].count == passes  # it ended at once
    other = make(Counting(), *[kind() for kind in more])
    fit(other, *data, epochs=done)
    assert model.theta.tobytes() == other.theta.tobytes()
    assert model.network.buffers.tobytes() == other.network.buffers.tobytes()
    assert len(fit(model, epochs=3).epoch) == 3


@needs_scipy
def test_ctrl_c_at_the_end_of_an_epoch_begins_no_other():
    model, noting = make(), Noting()
    interrupt = callbacks.LambdaCallback(on_epoch_end=lambda *_: os.kill(os.getpid(), signal.SIGINT))
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[noting, interrupt])
    signal.signal(signal.SIGINT, old)
    assert noting.hooks[-2:] == ["0 ends", "train ends"]
    assert model.history.epoch == [0]


class Cliff(md.MeanSquaredError):
    """The squared error, but infinite where a score is above 3; its gradient stays finite."""

    def rows(self, scores, targets):
        return np.where((scores > 3).any(axis=1), np.inf, super().rows(scores, targets))


@needs_scipy
def test_a_loss_that_is_not_finite_is_an_error_and_the_last_accepted_point_stays():
    model, noting = make(loss=Cliff()), Noting()
    with pytest.raises(FloatingPointError, match=r"not finite in epoch \d+; .* the loss itself.*Try inputs") as caught:
        fit(model, y=4 * np.abs(Y), epochs=50, callbacks=[noting])
    assert "rate" not in str(caught.value)
    done = len(model.history.epoch)
    assert 0 < done == model.optimizer.iterations
    assert model.evaluate(X, 4 * np.abs(Y))["loss"] == pytest.approx(model.history.history["loss"][-1], rel=1e-12)
    bad = X.copy()
    bad[0] = 1e200
    model, before = make(), make().theta.tobytes()
    with pytest.raises(FloatingPointError, match="not finite in epoch 1"):
        fit(model, y=bad[:, :2])
    assert (model.theta.tobytes(), model.history.epoch, model.optimizer.iterations) == (before, [], 0)


class Cautious(md.RowLoss):
    saved = ("calls",)
    calls = 0

    def rows(self, scores, targets):
        return ((scores - targets) ** 2).sum(axis=1)

    def gradient(self, scores, targets):
        return 2 * (scores - targets)


def limited(optimizer=None):
    layers = [md.Dense(2, kernel_constraint="max_norm")]
    return md.Sequential(layers, rng=0).compile(optimizer or md.LBFGS(), "mse")


class Slow(md.Dense):
    def build(self, input_shape):
        self.param("g", input_shape, "ones", rate=0.5)
        return super().build(input_shape)


def frozen():
    model = make()
    model.trainable = False
    return model


REFUSED = {
    "batch_size: it evaluates all 60 rows at once, not 32; leave": (make, {"batch_size": 32}),
    "not 20; leave batch_size out": (make, {"batch_size": 20, "gradient_accumulation_steps": 3}),
    "gradient_accumulation_steps needs a batch_size": (make, {"gradient_accumulation_steps": 2}),
    r"Dropout\(0.3\), layer 0 draws other random numbers": (lambda: make(md.Dropout(0.3)), {}),
    "GaussianNoise.*draws other": (lambda: make(md.GaussianNoise(0.1)), {}),
    r"Dropout\(0.3\), layer 0/f/0 draws": (lambda: make(md.Residual([md.Dropout(0.3)])), {}),
    "layers/0/W has a constraint": (limited, {}),
    "layers/0/g has a factor on its learning rate": (lambda: make(Slow(5)), {}),
    "no parameters to train": (frozen, {}),
    r"saves \['calls'\]": (lambda: make(loss=Cautious()), {}),
    "sets a learning rate": (make, {"callbacks": [callbacks.ReduceLROnPlateau("loss")]}),
    "every='epoch'": (make, {"callbacks": [callbacks.ModelCheckpoint("run.npz", every="5 steps")]}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_changes(message):
    model, more = REFUSED[message]
    model = model()
    before = picture(model)
    with pytest.raises(ValueError, match=message):
        fit(model, **more)
    assert picture(model) == before


def test_all_that_does_not_fit_is_listed_and_a_model_that_is_not_built_stays_so():
    layers = [md.Dropout(0.5), md.Dense(2, kernel_constraint="max_norm")]
    model = md.Sequential(layers, rng=0).compile(md.LBFGS(), "mse")
    with pytest.raises(ValueError, match=r"LBFGS:\n- batch_size.*\n- Dropout.*\n- layers/1/W has a constraint"):
        fit(model, batch_size=10)
    assert not model.built


def test_generators_and_single_updates_are_refused():
    model = make()
    before, batches = picture(model), iter([(X, Y)])
    with pytest.raises(ValueError, match="LBFGS evaluates all rows again and again; pass arrays"):
        fit(model, batches, None, steps_per_epoch=1)
    assert len(list(batches)) == 1
    with pytest.raises(TypeError, match=r"train_on_batch: LBFGS makes no single updates: .* Use model.fit"):
        model.train_on_batch(X, Y)
    with pytest.raises(TypeError, match="update: LBFGS makes no single updates"):
        model.optimizer.update(np.ones(3), np.ones(3))
    assert picture(model) == before


def test_without_scipy_it_says_what_to_install(monkeypatch):
    model = make()
    before = picture(model)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'LBFGS minimizes with SciPy: pip install "minidense\[scipy\]"'):
        fit(model)
    assert picture(model) == before


@needs_scipy
def test_a_batch_size_of_all_rows_is_none_too_small():
    thetas = set()
    for size in (None, "full", 60, 1000):
        model = make()
        fit(model, batch_size=size)
        thetas.add(model.theta.tobytes())
    assert len(thetas) == 1


# ---------------------------------------------------------------------- the optimizer as an object


def test_its_arguments():
    optimizer = md.LBFGS(20, gtol=1e-4)
    assert repr(optimizer) == "LBFGS(memory=20, gtol=0.0001)"
    assert md.LBFGS.from_config(optimizer.get_config()).get_config() == optimizer.get_config()
    assert repr(md.Sequential([md.Dense(1)]).compile("lbfgs", "mse").optimizer) == "LBFGS()"
    optimizer.memory = 5
    assert (optimizer.memory, optimizer.get_config()["memory"]) == (5, 5)
    for wrong in ({"memory": 0}, {"ftol": -1}, {"gtol": np.nan}, {"max_evaluations": 0}, {"max_line_search": 0}):
        with pytest.raises(ValueError, match=f"LBFGS: {min(wrong)}"):
            md.LBFGS(**wrong)
    for name in ("learning_rate", "weight_decay", "clipnorm", "use_ema", "rates"):
        with pytest.raises(TypeError, match=name):
            md.LBFGS(**{name: 0.1})
        with pytest.raises(AttributeError, match=f"LBFGS has no {name}: a line search"):
            setattr(optimizer, name, 0.1)


def test_it_is_saved_loaded_copied_and_pickled(tmp_path):
    model = make(memory=7)
    model.optimizer.iterations = 3
    model.save(tmp_path / "model.npz")
    for other in (md.load_model(tmp_path / "model.npz"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (repr(other.optimizer), other.optimizer.iterations) == ("LBFGS(memory=7)", 3)


# ---------------------------------------------------------------------- resuming


class Bootstrap(md.Metric):
    """Draws from its own random generator."""

    name = "bootstrap"
    saved = ("rng", "total")

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.reset()

    def reset(self):
        self.total = 0.0

    def update(self, y_true, y_pred, weights=None):
        self.total += float(y_pred[self.rng.integers(0, len(y_pred), 9)].sum())

    def result(self):
        return self.total


class Moving(md.Callback):
    """Moves theta once, and freezes a layer later."""

    steers = True

    def on_epoch_end(self, epoch, logs):
        if epoch == 2:
            self.model.layers[1].b[...] += 0.1
        self.model.layers[1].trainable = epoch < 5

    def on_epoch_begin(self, epoch, logs):
        if epoch == 8:
            self.model.layers[3].b[...] -= 0.2


def assert_same(model, other):
    (ours, arrays), (theirs, others) = encoded(model), encoded(other)
    assert ours == theirs
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in others.items()
    }


@needs_scipy
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("watch", [list, lambda: [Moving()], lambda: [callbacks.EarlyStopping("loss", 0.005, 2)]])
def test_a_resumed_run_ends_like_a_whole_one(watch, dtype, tmp_path):
    def run(*added, **more):
        model = make(md.BatchNormalization(), dtype=dtype, metrics=["mae", Bootstrap()], gtol=2e-2)
        history = fit(model, epochs=60, validation_data=(X[:9], Y[:9]), callbacks=[*watch(), *added], **more)
        return model, history

    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz")
    (whole, history), (model, _) = run(), run(keep)
    assert_same(model, whole)
    n = len(history.epoch)
    assert 8 < n < 60
    assert len(keep.files) == n
    for path in [*keep.files[1:10], keep.files[-1]]:
        resumed, again = run(resume=path)
        assert_same(resumed, whole)
        assert again.history == history.history
        assert resumed.optimizer.message == whole.optimizer.message
    # and on from a resumed one's own files
    middle = callbacks.ModelCheckpoint(tmp_path / "again-{epoch}.npz")
    run(middle, resume=keep.files[3])
    assert_same(run(resume=middle.files[2])[0], whole)


def checkpoint(folder, epochs=5):
    keep = callbacks.ModelCheckpoint(folder / "{epoch}.npz")
    model = make(md.BatchNormalization(), gtol=2e-2)
    fit(model, epochs=epochs, callbacks=[keep])
    return keep.files[-1], model


@needs_scipy
@pytest.mark.parametrize("data", [(X + 0.01, Y), (0 * X, 0 * Y)], ids=["near", "converges at once"])
def test_with_other_data_no_run_is_resumed(data, tmp_path):
    path, saved = checkpoint(tmp_path)
    model = make(md.BatchNormalization(), gtol=2e-2)
    with pytest.raises(ValueError, match="its 5 iterations, made again, lead to other parameters"):
        fit(model, *data, resume=path)
    assert model.theta.tobytes() == saved.theta.tobytes()
    assert model.network.buffers.tobytes() == saved.network.buffers.tobytes()
    assert model.history.history == saved.history.history
    assert len(fit(model, *data, epochs=2).epoch) <= 2


@needs_scipy
def test_an_interrupted_replay_leaves_the_checkpoint(tmp_path, monkeypatch):
    path, saved = checkpoint(tmp_path)
    model = make(md.BatchNormalization(), gtol=2e-2)
    calls, forward = [], md.BatchNormalization.forward

    def interrupted(*args, **more):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(*args, **more)

    monkeypatch.setattr(md.BatchNormalization, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, resume=path)
    monkeypatch.undo()
    assert model.theta.tobytes() == saved.theta.tobytes()
    assert model.network.buffers.tobytes() == saved.network.buffers.tobytes()
    whole = make(md.BatchNormalization(), gtol=2e-2)
    fit(whole)
    fit(model, resume=path)
    assert_same(model, whole)


@needs_scipy
def test_a_complete_run_is_just_returned(tmp_path):
    path, saved = checkpoint(tmp_path)
    model = make(md.BatchNormalization(), gtol=2e-2)
    assert fit(model, X + 1, epochs=5, resume=path).epoch == list(range(5))
    assert_same(model, saved)


@needs_scipy
def test_runs_of_other_optimizers_are_others(tmp_path):
    path, _ = checkpoint(tmp_path)
    other = make(md.BatchNormalization(), gtol=2e-2).compile("sgd", "mse", ["mae"])
    with pytest.raises(ValueError, match=r"the optimizer is LBFGS\(.* in the file, and SGD"):
        fit(other, batch_size="full", resume=path)
    fit(other, batch_size="full", epochs=2, callbacks=callbacks.ModelCheckpoint(tmp_path / "sgd.npz"))
    with pytest.raises(ValueError, match=r"the optimizer is SGD\(.* in the file, and LBFGS"):
        fit(make(md.BatchNormalization(), gtol=2e-2), resume=tmp_path / "sgd.npz")


def array_file(values):
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


@needs_scipy
def test_a_forged_record_of_the_minimization_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path)
    manifest, arrays = taken_apart((tmp_path / "5.npz").read_bytes())
    training, victim = manifest["training"], make(md.BatchNormalization(), gtol=2e-2)
    before = picture(victim)
    theta = "values/training/origin/theta"
    assert np.load(io.BytesIO(arrays[theta])).shape == victim.theta.shape

    def refused(message, run=training, **changed):
        with open(path, "wb") as file:
            file.write(sealed({**manifest, "training": run}, {**arrays, **changed}))
        with pytest.raises(ValueError, match=message):
            fit(victim, resume=path)
        assert picture(victim) == before

    for count in (-1, 6, 2.0, True, None, "5", 2**70):
        refused("no .* iterations in its 5 epochs", {**training, "iterations": count})
    for origin in (None, 3, {}, {"theta": training["origin"]["theta"]}, {**training["origin"], "more": 1}):
        refused("does not say where the minimization began", {**training, "origin": origin})
    for part in ("theta", "buffers"):
        refused(f"the {part} where", {**training, "origin": {**training["origin"], part: 1.0}})
    size = victim.theta.size
    for values in (np.zeros(size, "float32"), np.zeros(size - 1), np.zeros((size, 1)), np.full(size, np.nan)):
        refused("the theta where the minimization began do not fit", **{theta: array_file(values)})
    refused("record of the run is incomplete", {k: v for k, v in training.items() if k != "origin"})
