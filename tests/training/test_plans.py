"""Plans: the bits of the layers' own equations; plain descent straight into theta, whoever watches."""

import copy
import itertools
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense.numerics import blas
from minidense.numerics.sums import AddProduct
from minidense.training import plans
from minidense.training.plans import PLANS

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(60, 9)), RNG.integers(0, 3, 60)
needs_openblas = pytest.mark.skipif(not blas._openblas.name, reason="NumPy's BLAS is not OpenBLAS")


@pytest.fixture
def everywhere(monkeypatch):
    """Plain descent by products for small matrices, too."""
    monkeypatch.setattr(AddProduct, "worthwhile", staticmethod(lambda W: W.dtype.char in blas._openblas.gemm))


@pytest.fixture
def calls(monkeypatch):
    """The products by which matrices change."""
    found, call = [], AddProduct.__call__
    monkeypatch.setattr(AddProduct, "__call__", lambda self, a, x, z: (found.append(len(x)), call(self, a, x, z))[1])
    return found


def network(dtype="float64", optimizer=None, **options):
    layers = [
        md.Dense(8, "relu"),
        md.Dense(7, "sigmoid"),
        md.Dense(6, "tanh", use_bias=False),
        md.Dense(3),
        md.Softmax(),
    ]
    return md.Sequential(layers, rng=0, dtype=dtype, **options).compile(optimizer or md.SGD(0.1), metrics=["accuracy"])


# ------------------------------------------------------------------ the layers

LAYERS = {
    "Dense": lambda: md.Dense(5),
    "Dense without b": lambda: md.Dense(5, use_bias=False),
    "ReLU": md.ReLU,
    "ReLU with a slope": lambda: md.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.25),
    "Sigmoid": md.Sigmoid,
    "Softmax": md.Softmax,
    "Tanh": md.Tanh,
}


def test_every_plan_is_compared():
    assert {type(make()) for make in LAYERS.values()} == set(PLANS)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(n=st.integers(1, 70), d=st.integers(1, 70), scale=st.sampled_from([0, 1, 30, 1e30]), nan=st.booleans())
def test_a_plan_has_the_bits_of_the_layer(name, dtype, n, d, scale, nan):
    model = md.Sequential([LAYERS[name]()], rng=0, dtype=dtype).build(d)
    layer = model.layers[0]
    planned = PLANS[type(layer)](layer, n, {})
    rng = np.random.default_rng(n * d)
    for _ in range(2):  # the buffers are used again
        x = (scale * rng.normal(size=(n, d))).astype(dtype)
        x[0, 0] = np.nan if nan else x[0, 0]
        with np.errstate(all="ignore"):
            y, expected = planned.forward(x), layer.forward(x)
            assert y.dtype == expected.dtype
            np.testing.assert_array_equal(y, expected)
            dy = rng.normal(size=y.shape).astype(dtype)
            before = dy.copy()
            expected, of_layer = layer.backward(dy), model.grad.copy()
            model.grad[...] = 7
            dx = planned.backward(dy)
        np.testing.assert_array_equal(dx, expected)
        np.testing.assert_array_equal(model.grad, of_layer)
        np.testing.assert_array_equal(dy, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [md.SoftmaxCrossEntropy(), md.SoftmaxCrossEntropy("sum"), md.MeanSquaredError()])
@given(size=st.integers(1, 60))
def test_a_training_on_plans_has_the_bits_of_one_without(dtype, loss, size):
    """For an update that needs the gradient."""
    found = []
    for known in (PLANS, {}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plans, "PLANS", known)
            model = network(dtype, md.SGD(0.1, momentum=0.5)).compile(md.SGD(0.1, momentum=0.5), loss)
            y = Y if isinstance(loss, md.SoftmaxCrossEntropy) else np.eye(3)[Y]
            model.fit(X, y, batch_size=size, epochs=2, verbose=0)
            found.append((model.theta.tobytes(), model.grad.tobytes(), model.history.history))
    assert found[0] == found[1]


def test_layers_of_ones_own_are_called_in_the_same_chain():
    """A subclass may compute something else, whatever it overrides."""
    seen = []

    class Doubled(md.Dense):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(2 * x)

        def backward(self, dz):
            return 2 * super().backward(dz)

    class Renamed(md.ReLU):
        pass

    model = md.Sequential([md.Dense(4), Renamed(), Doubled(4), md.Dense(3)], rng=0, dtype="float64").compile(
        md.SGD(0.1)
    )
    model.fit(X, Y, batch_size=20, verbose=0)
    assert seen == [20, 20, 20]
    md.check_layer(Doubled(4), (5,))


def test_a_slope_may_be_set_while_training_runs():
    found = []
    for known in (PLANS, {}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plans, "PLANS", known)
            model = network(optimizer=md.SGD(0.1, momentum=0.1)).build(9)
            change = md.callbacks.LambdaCallback(
                on_batch_end=lambda batch, logs, model=model: setattr(model.layers[1], "negative_slope", 0.1 * batch)
            )
            model.fit(X, Y, batch_size=10, verbose=0, callbacks=[change])
            found.append(model.theta.tobytes())
    assert found[0] == found[1]


def test_what_the_layers_note_can_be_read_at_each_step():
    """As GradientHealth reads what ReLU passes on."""
    model, seen = network(), []

    def look(batch, logs):
        x = X[batch * 16 : batch * 16 + 16]
        assert np.array_equal(model.layers[0].x, x)
        assert np.array_equal(model.layers[1].h, model.layers[2].x)
        seen.append([model.layers[i].h.copy() for i in (1, 3, 5)])

    model.fit(X, Y, batch_size=16, shuffle=False, verbose=0, callbacks=[md.callbacks.LambdaCallback(on_batch_end=look)])
    assert [len(h) for (h, _, _) in seen] == [16, 16, 16, 12]
    assert not any({"x", "h"} & vars(layer).keys() for layer in model.network.children)


# ------------------------------------------------------------------ plain descent


def layers_of_all_kinds():
    inner = [md.Dense(8, "relu"), md.Dense(8)]
    norm = [md.BatchNormalization(), md.LayerNormalization(), md.PReLU(), md.Dropout(0.2)]
    return [md.Dense(8), *norm, md.Dense(8, "tanh"), md.Residual(inner), md.Dense(5, "gelu"), md.Dense(3), md.Softmax()]


@needs_openblas
@pytest.mark.parametrize("weighted", [False, True])
@given(size=st.integers(1, 60))
def test_it_is_theta_minus_eta_times_the_gradient(weighted, size):
    """Both ways round differently, by a few eps in each of at most 120 updates."""
    found = []
    for way in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AddProduct, "worthwhile", staticmethod(lambda W, way=way: way))
            model = md.Sequential(layers_of_all_kinds(), rng=0, dtype="float64").compile(md.SGD(0.05))
            weights = RNG.__class__(np.random.PCG64(1)).random(60) if weighted else None
            model.fit(X, Y, batch_size=size, epochs=2, sample_weight=weights, verbose=0)
            found.append(model)
    np.testing.assert_allclose(found[0].theta, found[1].theta, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[0].grad, found[1].grad, rtol=1e-10, atol=1e-12)
    assert found[0].optimizer.iterations == found[1].optimizer.iterations == 2 * -(-60 // size)


@needs_openblas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_do_not_depend_on_who_watches(dtype, everywhere, calls, tmp_path):
    """Callbacks of steps and epochs, validation, checkpoints, a progress bar, ``train_on_batch``."""
    batch, epoch = (md.callbacks.LambdaCallback(**{f"on_{of}_end": lambda *a: None}) for of in ("batch", "epoch"))
    keep = md.callbacks.ModelCheckpoint(str(tmp_path / "{step}.npz"), every="step")
    found = []
    for options in (
        {},
        {"callbacks": [batch]},
        {"callbacks": [epoch, md.callbacks.EarlyStopping("loss", patience=9)], "validation_data": (X, Y)},
        {"callbacks": [keep]},
        {"verbose": 1},
        {"verbose": 2, "validation_data": (X, Y)},
    ):
        model = network(dtype)
        model.fit(X, Y, batch_size=16, epochs=2, shuffle=False, **{"verbose": 0, **options})
        found.append((model.theta.tobytes(), model.grad.tobytes()))
    model = network(dtype)
    for _ in range(2):
        for start in range(0, 60, 16):
            model.train_on_batch(X[start : start + 16], Y[start : start + 16])
    found.append((model.theta.tobytes(), model.grad.tobytes()))
    assert len(set(found)) == 1
    assert len(calls) == 4 * 8 * len(found)


@needs_openblas
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_end", "on_train_end", "after fit", "train_on_batch"])
def test_whoever_reads_the_gradient_sees_that_of_the_last_batch(hook, everywhere, calls):
    model, before, seen = network().build(9), network().build(9), []
    before.fit(X[:48], Y[:48], batch_size=16, shuffle=False, verbose=0)
    before.loss_and_grad(X[48:], Y[48:])

    def look(*_):
        weights = [layer.dW.copy() for layer in model.layers if isinstance(layer, md.Dense)]
        seen.append((model.grad.copy(), weights))

    if hook == "train_on_batch":
        for start in range(0, 60, 16):
            model.train_on_batch(X[start : start + 16], Y[start : start + 16])
    else:
        callbacks = [md.callbacks.LambdaCallback(**{hook: look})] if hook.startswith("on_") else []
        model.fit(X, Y, batch_size=16, shuffle=False, verbose=0, callbacks=callbacks)
    look()
    assert len(calls) == 4 * (3 + 4)
    for grad, weights in (seen[-1], seen[-2] if len(seen) > 1 else seen[-1]):
        np.testing.assert_allclose(grad, before.grad, rtol=1e-12, atol=1e-15)
        for dW, layer in zip(weights, before.layers[::2], strict=False):
            np.testing.assert_allclose(dW, layer.dW, rtol=1e-12, atol=1e-15)


class Frozen(md.Callback):
    def on_train_begin(self, logs):
        self.model.layers[0].trainable = False


class MoreMomentum(md.Callback):
    def on_train_begin(self, logs):
        self.model.optimizer.momentum = 0.5


class Mine(md.Layer):
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


class MySGD(md.SGD):
    def step(self, theta, grad, eta):
        theta -= eta * grad


def tied():
    class Again(md.Layer):
        def __init__(self, other):
            self.other = other

        def build(self, input_shape):
            self.param("W", shared=(self.other, "W"))
            return input_shape

        def forward(self, x):
            self.x = x
            return x @ self.W

        def backward(self, dz):
            self.dW = self.x.T @ dz
            return dz @ self.W.T

    first = md.Dense(9)
    return [first, Again(first), md.Dense(3)]


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(
    ("layers", "optimizer", "options"),
    [
        ([md.Dense(3)], md.SGD(0.1, momentum=0.5), {}),
        ([md.Dense(3)], md.SGD(0.1, weight_decay=0.01), {}),
        ([md.Dense(3)], md.SGD(0.1, clipnorm=1), {}),
        ([md.Dense(3)], md.SGD(0.1, clipvalue=1), {}),
        ([md.Dense(3)], md.SGD(0.1, global_clipnorm=1), {}),
        ([md.Dense(3)], md.SGD(0.1, use_ema=True), {}),
        ([md.Dense(3)], md.SGD(0.1, rates={"layers/0/b": 0.5}), {}),
        ([md.Dense(3)], md.Adam(0.1), {}),
        ([md.Dense(3)], MySGD(0.1), {}),
        ([md.Dense(3, kernel_regularizer="l2")], md.SGD(0.1), {}),
        ([md.Dense(3, bias_regularizer="l2")], md.SGD(0.1), {}),
        ([md.Dense(3, kernel_constraint="non_neg")], md.SGD(0.1), {}),
        ([Mine(), md.Dense(3)], md.SGD(0.1), {}),
        ([md.Residual([Mine()]), md.Dense(3)], md.SGD(0.1), {}),
        (tied(), md.SGD(0.1), {}),
        ([md.Dense(3)], md.SGD(0.1), {"gradient_accumulation_steps": 2}),
        ([md.Dense(4), md.Dense(3)], md.SGD(0.1), {"callbacks": [Frozen()]}),
        ([md.Dense(3)], md.SGD(0.1), {"callbacks": [MoreMomentum()]}),
    ],
)
def test_any_other_update_has_its_gradient_written_down(layers, optimizer, options, calls):
    model = md.Sequential(copy.deepcopy(layers), rng=0).compile(copy.deepcopy(optimizer))
    model.fit(X, Y, batch_size=16, verbose=0, **options)
    assert not calls


@needs_openblas
def test_a_layer_that_is_frozen_halfway_stays_as_it_is(everywhere, calls, monkeypatch):
    """And the others learn from their gradients, which then are written down."""
    thetas = []
    for way in (True, False):
        monkeypatch.setattr(AddProduct, "worthwhile", staticmethod(lambda W, way=way: way))
        model, kept = network().build(9), []

        def freeze(batch, logs, layer=model.layers[0], kept=kept):
            layer.trainable = batch == 1
            kept.append(layer.W.copy())

        watch = md.callbacks.LambdaCallback(on_batch_end=freeze)
        model.fit(X, Y, batch_size=16, verbose=0, callbacks=[watch])
        assert [np.array_equal(a, b) for a, b in itertools.pairwise(kept)] == [True, False, True]
        thetas.append(model.theta)
    assert len(calls) == 4 * 2
    np.testing.assert_allclose(*thetas, rtol=1e-12, atol=1e-14)


@needs_openblas
def test_a_loss_that_is_not_finite_stops_before_the_update(everywhere, calls):
    """A batch that broke off leaves no gradient of another one that is lost."""
    model = md.Sequential([md.Dense(5, "relu"), md.Dense(3)], rng=0, dtype="float64").compile(md.SGD(0.1)).build(9)
    x = X.copy()
    x[33] = 1.7e308
    expected = copy.deepcopy(model)
    expected.fit(x[:32], Y[:32], batch_size=16, shuffle=False, verbose=0)
    with pytest.raises(FloatingPointError, match="epoch 1, step 3"):
        model.fit(x, Y, batch_size=16, shuffle=False, verbose=0)
    assert np.array_equal(model.theta, expected.theta)
    assert model.optimizer.iterations == 2
    assert len(calls) == 2 * 2 * 2
    assert not model.grad.any()


@needs_openblas
def test_without_openblas_there_is_no_difference_but_in_the_last_bits(monkeypatch, everywhere, calls):
    found = []
    for gemm in (blas._openblas.gemm, {}):
        monkeypatch.setattr(blas._openblas, "gemm", gemm)
        model = network()
        model.fit(X, Y, batch_size=16, verbose=0)
        found.append(model.theta)
        assert len(calls) == 16
    np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-13)


def test_sources_of_batches_of_many_sizes_and_layouts(everywhere):
    sizes = [1, 5, 2, 7, 3, 1, 11, 5, 2]
    ends = np.cumsum(sizes)
    models = []
    for order in "CF":
        batches = [(np.array(X[e - s : e], order=order), Y[e - s : e]) for s, e in zip(sizes, ends, strict=True)]
        model = network()
        model.fit(iter(batches), steps_per_epoch=len(sizes), verbose=0)
        models.append(model)
        assert len(model.network.plans) == 0
    np.testing.assert_allclose(models[0].theta, models[1].theta, rtol=1e-12, atol=1e-14)


def test_plans_are_those_of_the_loss_that_the_model_has():
    """Kept from one call of ``train_on_batch`` to the next; with a loss of one's own, that cannot be hashed, too."""

    class Own(md.SoftmaxCrossEntropy):
        __hash__ = None

        def gradient(self, scores, targets):
            return 2 * super().gradient(scores, targets)

    class Plain(md.RowLoss):
        includes = None

        def rows(self, scores, targets):
            return ((scores - targets) ** 2).sum(axis=1)

        def gradient(self, scores, targets):
            return 2 * (scores - targets)

        def encode(self, y, out):
            out[...] = y
            return out

    losses = [
        md.SoftmaxCrossEntropy(),
        Own(),
        Plain(),
        md.MeanSquaredError(),
        md.losses.KLDivergence(),
        md.SoftmaxCrossEntropy(),
    ]
    kept = network()
    for loss in losses * 2:
        fresh = copy.deepcopy(kept) if kept.built else network()
        for model in (kept, fresh):
            model.compile(md.SGD(0.1), loss).train_on_batch(X, np.eye(3)[Y])
        assert np.array_equal(kept.theta, fresh.theta)
        assert np.array_equal(kept.grad, fresh.grad)
        assert len(kept.network.plans) <= 4


# ------------------------------------------------------------------ copies, and predictions of one row


def test_models_are_copied_with_plans_in_any_state(everywhere):
    model = network()
    model.train_on_batch(X[:8], Y[:8])
    model.predict(X[:1])
    assert model.network.plans
    assert model.network.ready_for_one_row
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not twin.network.plans
        assert not twin.network.ready_for_one_row
        before = model.theta.copy()
        expected = model.predict(X[:1])
        twin.train_on_batch(X[:8], Y[:8])
        assert np.array_equal(model.theta, before)
        assert np.array_equal(model.predict(X[:1]), expected)
        assert not np.array_equal(twin.predict(X[:1]), expected)


def test_one_row_is_predicted_as_by_the_layers():
    model = network("float32").build(9)
    for change in (
        lambda: None,
        lambda: model.train_on_batch(X, Y),
        lambda: model.pop(),
        lambda: model.add(md.Dense(4)),
        lambda: model.set_weights([w + 1 for w in model.get_weights()]),
        lambda: setattr(model.layers[1], "negative_slope", 0.5),
        lambda: model.add(md.GELU()),
        lambda: model.add(Mine()),
    ):
        change()
        before = [dict(vars(layer)) for layer in model.network.children]
        for row in X[:3].astype("float32"):
            y = model.predict(row[None])
            assert np.array_equal(y, model.network.inference()(row[None]))
            kept = y.copy()
            model.predict(row[None] + 1)
            assert np.array_equal(y, kept)
        for layer, attributes in zip(model.network.children, before, strict=True):
            assert {name: id(value) for name, value in attributes.items()} == {n: id(v) for n, v in vars(layer).items()}


def test_one_row_is_predicted_by_many_threads_at_once_while_fit_runs():
    model = md.Sequential([md.Dense(50, "relu"), md.Dense(40, "sigmoid"), md.Dense(3), md.Softmax()], rng=0).build(9)
    rows = X[:, None].astype("float32")
    expected, wrong = [model.predict(row) for row in rows], []
    other = md.Sequential([md.Dense(50, "relu"), md.Dense(3)], rng=0).compile().build(9)

    def work(seed):
        for i in np.random.default_rng(seed).integers(0, 60, 300):
            if not np.array_equal(model.predict(rows[i]), expected[i]):
                wrong.append(i)
            other.predict(rows[i])

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    other.fit(X, Y, epochs=20, verbose=0)
    for worker in workers:
        worker.join()
    assert not wrong
    assert 1 <= len(model.network.ready_for_one_row) <= 6
