"""Sample and class weights: a weight is a number of copies, for every loss; wrong ones are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import picture
from strategies import seeds

import minidense as md

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
