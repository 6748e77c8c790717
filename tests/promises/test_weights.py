"""Sample and class weights: a weight is a number of copies, for every loss; wrong ones are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshots import picture
from strategies import seeds

import minidense as md
from minidense.layers.base import walk

LOSSES = {
    "softmax": (md.SoftmaxCrossEntropy, 3, lambda rng, n: rng.integers(0, 3, n)),
    "softmax of rows": (md.SoftmaxCrossEntropy, 3, lambda rng, n: rng.dirichlet(np.ones(3), n)),
    "sigmoid": (md.SigmoidCrossEntropy, 2, lambda rng, n: rng.integers(0, 2, (n, 2))),
    "mse": (md.MeanSquaredError, 2, lambda rng, n: rng.normal(size=(n, 2))),
    "mae": (md.MeanAbsoluteError, 1, lambda rng, n: rng.normal(size=n)),
    "huber": (md.Huber, 1, lambda rng, n: rng.normal(size=n)),
}


def make(loss, reduction="mean", metrics=()):
    """A small model with these weighted metrics."""
    cls, outputs, _ = LOSSES[loss]
    model = md.Sequential([md.Dense(5, activation="tanh"), md.Dense(outputs)], rng=0, dtype="float64").build(4)
    return model.compile(md.SGD(0.1), cls(reduction=reduction), weighted_metrics=metrics)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
@given(n=st.integers(1, 12), seed=seeds)
def test_a_weight_is_a_number_of_copies(loss, reduction, n, seed):
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=(n, 4)), LOSSES[loss][2](rng, n), rng.integers(0, 4, n)
    w[0] = 2
    weighted, copied = make(loss, reduction), make(loss, reduction)
    xs, ys = np.repeat(x, w, axis=0), np.repeat(y, w, axis=0)
    values = weighted.loss_and_grad(x, y, sample_weight=w), copied.loss_and_grad(xs, ys)
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    np.testing.assert_allclose(weighted.grad, copied.grad, rtol=1e-9, atol=1e-12)
    assert weighted.evaluate(x, y, sample_weight=w)["loss"] == pytest.approx(copied.evaluate(xs, ys)["loss"], rel=1e-10)
    logs = weighted.fit(
        x, y, sample_weight=w, batch_size="full", epochs=3, validation_data=(x, y, w), verbose=0
    ).history
    other = copied.fit(xs, ys, batch_size="full", epochs=3, validation_data=(xs, ys), verbose=0).history
    np.testing.assert_allclose(weighted.theta, copied.theta, rtol=1e-8, atol=1e-10)
    for name in other:
        # A squared difference d of rounded numbers errs by d times their rounding, however small it is itself.
        np.testing.assert_allclose(logs[name], other[name], rtol=1e-8, atol=1e-13)


def test_equal_weights_are_no_weights():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    plain, weighted = make("softmax", metrics=["accuracy", "f1"]), make("softmax", metrics=["accuracy", "f1"])
    a = plain.fit(x, y, epochs=3, batch_size=8, verbose=0).history
    b = weighted.fit(x, y, epochs=3, batch_size=8, sample_weight=np.full(50, 3.7), verbose=0).history
    np.testing.assert_allclose(plain.theta, weighted.theta, rtol=1e-10)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-10)


def test_weights_follow_their_rows_through_shuffling_splitting_and_slices(monkeypatch):
    """Rows of weight 0 have wrong labels, which must have no effect."""
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(200, 4)), rng.integers(0, 3, 200), (np.arange(200) % 4 != 0) * 1.0
    wrong = np.where(w > 0, y, (y + 1) % 3)
    monkeypatch.setattr(md.data.batches, "SLICE_ROWS", 30)
    monkeypatch.setattr(md.data.batches, "GATHER_BYTES", 8 * 4 * 10)
    for size in (1, 8, 100, "full"):
        runs = []
        for labels in (y, wrong):
            model = make("softmax", metrics=["accuracy", "auc"])
            history = model.fit(x, labels, sample_weight=w, batch_size=size, validation_split=0.2, verbose=0).history
            runs.append((model.theta.tobytes(), history))
        assert runs[0] == runs[1]


def test_class_weights_are_sample_weights():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    weight = {0: 1.0, 1: 5.0, 2: 0.5}
    by_class, by_sample, both = make("softmax"), make("softmax"), make("softmax")
    by_class.fit(x, y, class_weight=weight, verbose=0)
    w = np.array([weight[label] for label in y])
    by_sample.fit(x, np.eye(3)[y], sample_weight=w, verbose=0)
    both.fit(x, y, sample_weight=w / 7, class_weight=dict.fromkeys(range(3), 7.0), verbose=0)
    assert np.array_equal(by_class.theta, by_sample.theta)
    np.testing.assert_allclose(both.theta, by_sample.theta, rtol=1e-12)


# ------------------------------------------------------------------ layers whose rows depend on each other


class Within(md.Layer):
    """A child with a batch normalization in it; it knows nothing of weights."""

    def build(self, input_shape):
        return self.child("f", md.Sequential([md.Dense(5), md.BatchNormalization(momentum=0.5)]), input_shape)

    def forward(self, x, training):
        return np.tanh(self.f.forward(x, training))

    def backward(self, dy):
        y = self.f.children[1]
        return self.f.backward(dy * (1 - np.tanh(y.gamma * y.xhat + y.beta) ** 2))


NORMALIZED = {
    "in a chain": lambda: [md.Dense(5), md.BatchNormalization(momentum=0.5), md.Tanh()],
    "first": lambda: [md.BatchNormalization(momentum=0.5), md.Dense(5, "tanh")],
    "in a residual": lambda: [md.Residual([md.Dense(4), md.BatchNormalization(momentum=0.5), md.Tanh()])],
    "in a branch": lambda: [md.Concatenate([md.BatchNormalization(momentum=0.5), [md.Dense(3), md.Tanh()]])],
    "in a model": lambda: [md.Sequential([md.Dense(5), md.BatchNormalization(momentum=0.5)]), md.Tanh()],
    "in a layer of one's own": lambda: [Within()],
}


def with_normalization(place, reduction="mean"):
    model = md.Sequential([*NORMALIZED[place](), md.Dense(3)], rng=0, dtype="float64").build(4)
    return model.compile(md.SGD(0.05), md.SoftmaxCrossEntropy(reduction))


def assert_trained_alike(one, other):
    """Float64 rounds by 1e-16; a few thousand roundings, and the slopes of these layers, are far below 1e-9."""
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(one.network.buffers, other.network.buffers, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("place", NORMALIZED)
@settings(max_examples=15)
@given(n=st.integers(4, 12), seed=seeds)
def test_with_batch_normalization_too_a_weight_is_a_number_of_copies(place, reduction, n, seed):
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=(n, 4)), rng.integers(0, 3, n), rng.integers(0, 4, n)
    w[:3] = 1
    xs, ys = np.repeat(x, w, axis=0), np.repeat(y, w, axis=0)
    weighted, copied = with_normalization(place, reduction), with_normalization(place, reduction)
    values = weighted.loss_and_grad(x, y, sample_weight=w), copied.loss_and_grad(xs, ys)
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    np.testing.assert_allclose(weighted.grad, copied.grad, rtol=1e-9, atol=1e-11)
    weighted.fit(x, y, sample_weight=w, batch_size="full", epochs=5, verbose=0)
    copied.fit(xs, ys, batch_size="full", epochs=5, verbose=0)
    assert_trained_alike(weighted, copied)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("place", NORMALIZED)
def test_micro_batches_with_batch_normalization_are_weighted_as_copies(place, reduction):
    """Three micro-batches an update, of different weight; one of them has none, and is as if it were not there."""
    rng = np.random.default_rng(0)
    parts = [(rng.normal(size=(6, 4)), rng.integers(0, 3, 6), rng.integers(1, 4, 6)) for _ in range(3)]
    parts[1][2][:] = 0
    copies = [(np.repeat(x, w, axis=0), np.repeat(y, w)) for x, y, w in (parts[0], parts[2])]
    weighted, copied = with_normalization(place, reduction), with_normalization(place, reduction)
    for model, batches in ((weighted, parts), (copied, copies)):
        steps = {"steps_per_epoch": len(batches), "gradient_accumulation_steps": len(batches)}
        model.fit((batch for _ in range(4) for batch in batches), epochs=4, verbose=0, **steps)
    assert_trained_alike(weighted, copied)


def test_class_weights_reach_the_batch_normalization():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    weights = {0: 1.0, 1: 0.0, 2: 3.0}
    by_class, left_out = with_normalization("in a chain"), with_normalization("in a chain")
    by_class.fit(x, y, class_weight=weights, batch_size="full", epochs=3, verbose=0)
    rows = np.repeat(np.arange(30), np.array([1, 0, 3])[y])
    left_out.fit(x[rows], y[rows], batch_size="full", epochs=3, verbose=0)
    assert_trained_alike(by_class, left_out)


def test_after_a_weighted_run_no_layer_keeps_the_weights():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    for place in NORMALIZED:
        model, seen = with_normalization(place), []
        forward = md.callbacks.LambdaCallback(
            on_batch_end=lambda batch, logs, m=model, s=seen: s.append(m.forward(x, True))
        )
        model.fit(x, y, sample_weight=rng.random(30), batch_size=8, callbacks=[forward], verbose=0)
        assert len(seen) == 4  # 30 rows, where the last batch had 6 weights
        model.train_on_batch(x[:5], y[:5])
        assert [layer._record.weights for layer in walk(model.network)].count(None) == len([*walk(model.network)])


X, Y = np.ones((6, 4)), np.array([0, 1, 2, 0, 1, 2])
FAULTS = {
    "negative": ({"sample_weight": [1, 1, -1, 1, 1, 1]}, ValueError, "at least 0, got -1 in row 2"),
    "NaN": ({"sample_weight": [1, np.nan, 1, 1, 1, 1]}, ValueError, "got nan in row 1"),
    "all zero": ({"sample_weight": np.zeros(6)}, ValueError, "all weights are 0"),
    "length": ({"sample_weight": np.ones(5)}, ValueError, r"each of the 6 rows, shape \(6,\), got \(5,\)"),
    "shape": ({"sample_weight": np.ones((6, 1))}, ValueError, r"got \(6, 1\)"),
    "strings": ({"sample_weight": list("abcdef")}, TypeError, "sample_weight: expected real numbers"),
    "class missing": ({"class_weight": {0: 1.0, 2: 1.0}}, ValueError, r"no weight for the labels \[1\]"),
    "class negative": ({"class_weight": {0: 1, 1: -1, 2: 1}}, ValueError, "class_weight: expected finite weights"),
    "class name": ({"class_weight": "balance"}, ValueError, "Did you mean 'balanced'"),
    "class list": ({"class_weight": [1, 1, 1]}, TypeError, "expected a dict from label to weight"),
    "validation": ({"validation_data": (X, Y, np.ones(3))}, ValueError, "validation_data: sample_weight: expected one"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault):
    options, error, message = FAULTS[fault]
    model = make("softmax")
    before = picture(model)
    with pytest.raises(error, match=message):
        model.fit(X, Y, verbose=0, **options)
    assert picture(model) == before


def test_a_loss_of_whole_batches_takes_no_weights():
    class Own(md.Loss):
        def forward(self, scores, y):
            return 0.0

        def backward(self):
            return np.zeros((6, 3))

    model = md.Sequential([md.Dense(3)]).compile("sgd", Own())
    with pytest.raises(ValueError, match=r"Own\(\) computes whole batches"):
        model.fit(X, Y, sample_weight=np.ones(6), verbose=0)
    with pytest.raises(ValueError, match="expected one label for each row"):
        make("sigmoid").fit(X, np.ones((6, 2)), class_weight="balanced", verbose=0)
