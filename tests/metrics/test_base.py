"""Metrics: exact for any batch size, with weights as numbers of copies, and equal to scikit-learn's."""

import copy
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshots import picture
from strategies import seeds

import minidense as md
from minidense.core.configurable import LIBRARY, load_state_dict, state_dict
from minidense.metrics import FunctionMetric, get_metric


def classes_data(rng, n, k):
    p = rng.dirichlet(np.ones(k), n).round(2)  # rounded, so that there are ties
    return rng.integers(0, k, n), p


def binary_data(rng, n, k):
    return rng.integers(0, 2, (n, k)), rng.random((n, k)).round(1)


def numbers(rng, n, k):
    return rng.normal(3, 2, (n, k)), rng.normal(3, 2, (n, k))


METRICS = {
    "accuracy": (md.Accuracy(), classes_data),
    "top-2": (md.TopKAccuracy(2), classes_data),
    "binary": (md.BinaryAccuracy(), binary_data),
    "precision": (md.Precision(), classes_data),
    "recall": (md.Recall(), classes_data),
    "f1": (md.F1(), classes_data),
    "f1 micro": (md.F1("micro"), classes_data),
    "precision of outputs": (md.Precision(), binary_data),
    "auc": (md.AUC(), binary_data),
    "auc of classes": (md.AUC(), classes_data),
    "pr auc": (md.AUC(curve="PR"), binary_data),
    "auc of 20 thresholds": (md.AUC(20), binary_data),
    "mse": (md.metrics.MeanSquaredError(), numbers),
    "mae": (md.metrics.MeanAbsoluteError(), numbers),
    "rmse": (md.metrics.RootMeanSquaredError(), numbers),
    "mape": (md.metrics.MeanAbsolutePercentageError(), numbers),
    "msle": (md.metrics.MeanSquaredLogarithmicError(), numbers),
    "cosine": (md.metrics.CosineSimilarity(), numbers),
    "huber": (md.metrics.LossMetric(md.losses.Huber(0.7)), numbers),
    "hinge": (md.metrics.Hinge(), binary_data),
    "categorical hinge": (md.metrics.CategoricalHinge(), classes_data),
    "r2": (md.R2(), numbers),
    "r2 score": (md.metrics.R2Score(), numbers),
    "log loss of outputs": (md.metrics.BinaryCrossentropy(), binary_data),
    "log loss": (md.metrics.CategoricalCrossentropy(), classes_data),
    "sparse log loss": (md.metrics.SparseCategoricalCrossentropy(), classes_data),
    "categorical accuracy": (md.metrics.CategoricalAccuracy(), classes_data),
    "sparse accuracy": (md.metrics.SparseCategoricalAccuracy(), classes_data),
    "top-2 of Keras": (md.metrics.TopKCategoricalAccuracy(2), classes_data),
    "sparse top-2": (md.metrics.SparseTopKCategoricalAccuracy(2), classes_data),
    "signs": (md.metrics.SignAccuracy(), binary_data),
    "balanced": (md.metrics.BalancedAccuracy(), classes_data),
    "balanced, of outputs": (md.metrics.BalancedAccuracy(), binary_data),
    "true positives": (md.metrics.TruePositives(), binary_data),
    "false positives": (md.metrics.FalsePositives(0.3), binary_data),
    "true negatives": (md.metrics.TrueNegatives(), classes_data),
    "false negatives": (md.metrics.FalseNegatives(), binary_data),
    "precision of a class": (md.Precision(class_id=1), classes_data),
    "recall of the top 2": (md.Recall(top_k=2), classes_data),
    "recall, weighted": (md.Recall(0.3, average="weighted"), binary_data),
    "f1 score": (md.metrics.F1Score("macro"), classes_data),
}


def value_of(metric, y, p, w=None, size=None):
    metric.reset()
    for start in range(0, len(p), size or len(p)):
        rows = slice(start, start + (size or len(p)))
        metric.update(y[rows], p[rows], *([] if w is None else [w[rows]]))
    return metric.result()


@pytest.mark.parametrize("name", METRICS)
@given(n=st.integers(1, 30), k=st.integers(2, 4), seed=seeds)
def test_the_batch_size_makes_no_difference(name, n, k, seed):
    metric, draw = METRICS[name]
    y, p = draw(np.random.default_rng(seed), n, k)
    whole = value_of(metric, y, p)
    for size in (1, 7):
        assert value_of(metric, y, p, size=size) == pytest.approx(whole, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
@given(n=st.integers(1, 20), k=st.integers(2, 4), seed=seeds)
def test_a_weighted_row_counts_as_so_many_copies(name, n, k, seed):
    metric, draw = METRICS[name]
    rng = np.random.default_rng(seed)
    y, p = draw(rng, n, k)
    w = rng.integers(0, 4, n)
    w[0] = 1
    weighted = value_of(metric, y, p, w.astype(float), size=7)
    copies = value_of(metric, np.repeat(y, w, axis=0), np.repeat(p, w, axis=0))
    assert weighted == pytest.approx(copies, rel=1e-9, abs=1e-12, nan_ok=True)


def by_hand(y, p, average):
    """(precision, recall, F1) of integer labels, counted row by row."""
    k = p.shape[1]
    predicted = [max(range(k), key=lambda j: row[j]) for row in p.tolist()]  # the first of several largest
    both, said, real = np.zeros((3, k))
    for label, guess in zip(y.tolist(), predicted, strict=True):
        both[guess] += label == guess
        said[guess] += 1
        real[label] += 1
    if average == "micro":
        both, said, real = ([sum(counts)] for counts in (both, said, real))
    share = lambda part, whole: part / whole if whole else 0.0  # noqa: E731
    rows = [(share(b, s), share(b, r), share(2 * b, s + r)) for b, s, r in zip(both, said, real, strict=True)]
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("average", ["macro", "micro"])
@given(n=st.integers(1, 30), k=st.integers(2, 4), seed=seeds)
def test_precision_recall_and_f1_are_their_definitions(average, n, k, seed):
    y, p = classes_data(np.random.default_rng(seed), n, k)
    found = [value_of(metric(average=average), y, p) for metric in (md.Precision, md.Recall, md.F1)]
    np.testing.assert_allclose(found, by_hand(y, p, average), rtol=1e-12)


@settings(max_examples=30)
@given(
    n=st.integers(3, 40), k=st.integers(2, 4), seed=seeds, weighted=st.booleans(), size=st.sampled_from([1, 7, None])
)
def test_as_scikit_learn(n, k, seed, weighted, size):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    y, p = classes_data(rng, n, k)
    w = rng.random(n) + 0.1 if weighted else None
    options = {"labels": np.arange(k), "average": "macro", "zero_division": 0, "sample_weight": w}
    hits = p.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(y, hits, sample_weight=w),
        "precision": sk.precision_score(y, hits, **options),
        "recall": sk.recall_score(y, hits, **options),
        "f1": sk.f1_score(y, hits, **options),
        "f1 micro": sk.f1_score(y, hits, **{**options, "average": "micro"}),
    }
    for name, value in expected.items():
        assert value_of(METRICS[name][0], y, p, w, size) == pytest.approx(value, rel=1e-9, abs=1e-12), name
    b, q = binary_data(rng, n, 1)
    if 0 < b.sum() < n:
        value = sk.roc_auc_score(b[:, 0], q[:, 0], sample_weight=w)
        assert value_of(md.AUC(), b, q, w, size) == pytest.approx(value, rel=1e-9)
    t, s = numbers(rng, n, k)
    assert value_of(md.R2(), t, s, w, size) == pytest.approx(sk.r2_score(t, s, sample_weight=w), rel=1e-9)
    assert value_of(METRICS["mse"][0], t, s, w, size) == pytest.approx(sk.mean_squared_error(t, s, sample_weight=w))
    assert value_of(METRICS["mae"][0], t, s, w, size) == pytest.approx(sk.mean_absolute_error(t, s, sample_weight=w))


@given(n=st.integers(2, 12), seed=seeds)
def test_auc_is_the_share_of_pairs_in_order(n, seed):
    y, p = binary_data(np.random.default_rng(seed), n, 1)
    positives, negatives = p[y == 1], p[y == 0]
    pairs = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    expected = np.mean(pairs) if len(pairs) else math.nan
    assert value_of(md.AUC(), y, p) == pytest.approx(expected, nan_ok=True)


def test_equal_scores_at_place_k_all_count():
    """Which classes are among the k largest does not depend on the order of classes with equal scores."""
    p = np.array([[0.4, 0.2, 0.2, 0.2]])
    for label in range(4):
        assert value_of(md.TopKAccuracy(2), np.array([label]), p) == 1
        assert value_of(md.TopKAccuracy(1), np.array([label]), p) == (label == 0)


@pytest.mark.parametrize(
    ("metric", "expected"), [(md.Recall(), 1 / 2), (md.Precision(), 1), (md.BinaryAccuracy(), 2 / 3)]
)
def test_an_output_at_the_threshold_is_not_above_it(metric, expected):
    assert value_of(metric, np.array([0, 1, 1]), np.array([[0.5], [0.5], [0.75]])) == expected


def test_r2_far_from_zero_keeps_its_digits():
    y = 1e9 + np.arange(100.0)[:, None]
    p = y + 0.5
    assert value_of(md.R2(), y, p, size=7) == pytest.approx(1 - 0.25 / np.var(np.arange(100)), rel=1e-9)
    assert value_of(md.R2(), np.ones((5, 1)), np.ones((5, 1))) == 1
    assert value_of(md.R2(), np.ones((5, 1)), np.zeros((5, 1))) == 0


def test_accuracy_is_the_right_one_for_the_loss():
    def chosen(loss):
        return type(md.Sequential([md.Dense(2)]).compile("sgd", loss, ["accuracy"]).metrics[0])

    assert chosen("sparse_categorical_crossentropy") is md.Accuracy
    assert chosen("binary_crossentropy") is md.BinaryAccuracy
    with pytest.raises(ValueError, match="no accuracy under this loss"):
        chosen("mse")


@pytest.mark.parametrize("final", [[], [md.Sigmoid]])
def test_metrics_see_probabilities_also_of_a_model_that_ends_in_scores(final):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    model = md.Sequential([md.Dense(1), *(cls() for cls in final)], rng=0).build(3)
    model.compile("sgd", "binary_crossentropy", ["accuracy", "auc", "precision"])
    scores = x @ model.layers[0].W[:, 0]
    values = model.evaluate(x, y)
    assert values["accuracy"] == pytest.approx(((scores > 0) == y).mean())
    assert values["precision"] == pytest.approx(y[scores > 0].mean())


def test_a_function_is_a_metric(digits_like):
    x, y = digits_like
    calls = []

    def worst(y_true, y_pred):
        calls.append((y_true.shape, y_pred.shape))
        return y_pred[np.arange(len(y_true)), y_true].min()

    model = md.Sequential([md.Dense(3), md.Softmax()], rng=0).build(7).compile(metrics=[worst])
    p = model.predict(x)
    assert model.evaluate(x, y, batch_size=7) == {
        "loss": model.evaluate(x, y)["loss"],
        "worst": p[np.arange(60), y].min(),
    }
    assert calls[0] == ((60,), (60, 3))

    def weighted(y_true, y_pred, sample_weight=None):
        return -1 if sample_weight is None else sample_weight.sum()

    model.compile(metrics=[weighted], weighted_metrics=[weighted])
    found = model.evaluate(x, y, sample_weight=np.full(60, 2.0))
    assert (found["weighted"], found["weighted_weighted"]) == (-1, 120)


class Notes(md.Metric):
    """Notes the shapes of what it is given."""

    name = "notes"

    def __init__(self):
        self.seen = set()

    def reset(self):
        pass

    def update(self, y_true, y_pred, weights=None):
        SEEN.append((y_true.shape, y_pred.shape))

    def result(self):
        return 0.0


SEEN = []


@pytest.mark.parametrize(
    ("loss", "k"), [("mse", 1), ("mse", 2), ("binary_crossentropy", 1), ("softmax_crossentropy", 3)]
)
def test_y_true_comes_in_the_shape_of_y_pred_and_labels_come_as_labels(loss, k):
    """(n,) against (n, 1) would be broadcast to (n, n): a wrong number, and n**2 memory."""

    def gap(y_true, y_pred):
        SEEN.append((y_true.shape, y_pred.shape))
        return 0.0

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)), rng.integers(0, 2, (8, k) if loss == "mse" and k > 1 else 8)
    model = md.Sequential([md.Dense(k)], rng=0).compile("sgd", loss, [gap, Notes()])
    expected = (8,) if loss == "softmax_crossentropy" else (8, k)
    for call in (model.train_on_batch, model.evaluate, lambda x, y: model.fit(x, y, verbose=0)):
        SEEN.clear()
        call(x, y)
        assert [(expected, (8, k))] * 2 == SEEN


def row_errors(y_true, y_pred, sample_weight=None):
    return abs(y_true - y_pred)[:, 0]


def column_errors(y_true, y_pred, sample_weight=None):
    return abs(y_true - y_pred)


@pytest.mark.parametrize("function", [row_errors, column_errors])
@pytest.mark.parametrize("n", [1, 7])
def test_the_mean_is_taken_of_a_number_for_each_row(function, n):
    rng = np.random.default_rng(0)
    y, p, w = rng.normal(size=(n, 1)), rng.normal(size=(n, 1)), rng.integers(1, 4, n)
    errors = abs(y - p)[:, 0].tolist()
    metric = FunctionMetric(function)
    assert value_of(metric, y, p, size=3) == pytest.approx(sum(errors) / n, rel=1e-12)
    copies = [error for error, weight in zip(errors, w, strict=True) for _ in range(weight)]
    assert value_of(metric, y, p, w * 1.0, size=3) == pytest.approx(sum(copies) / len(copies), rel=1e-12)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (np.zeros((6, 6)), r"shape \(6, 6\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((1, 6)), r"shape \(1, 6\)"),
        ([], r"shape \(0,\)"),
        (None, "None"),
        ("0.5", "'0.5'"),
        (1j, "1j"),
    ],
)
def test_a_function_that_returns_something_else_is_told_what_is_expected(returned, found):
    metric = FunctionMetric(lambda y_true, y_pred: returned)
    metric.update(np.zeros((6, 1)), np.zeros((6, 1)))
    with pytest.raises(
        ValueError, match=rf"a number, or one for each of the 6 rows, shape \(6,\); .* returned {found}"
    ):
        metric.result()


@pytest.mark.parametrize("returned", [0.5, np.float32(0.5), np.array(0.5), True / 2, np.full(6, 0.5), [0.5] * 6])
def test_a_function_may_return_any_number(returned):
    metric = FunctionMetric(lambda y_true, y_pred: returned)
    metric.update(np.zeros((6, 1)), np.zeros((6, 1)))
    assert metric.result() == 0.5
    assert type(metric.result()) is float


def test_one_hot_labels_are_labels_to_the_metrics(digits_like):
    x, y = digits_like
    model = md.Sequential([md.Dense(3)], rng=0).build(7).compile(metrics=["accuracy", "f1", "auc", "top_k_accuracy"])
    assert model.evaluate(x, y) == model.evaluate(x, np.eye(3)[y])


# ------------------------------------------------------------------ what cannot be computed is refused at once


def column(rng):
    return rng.normal(size=8)


def binary(rng):
    return rng.integers(0, 2, 8)


def of_classes(rng):
    return rng.integers(0, 3, 8)


def rows(rng):
    return rng.normal(3, 1, size=(8, 3))


class Squares(md.Loss):
    """A loss of whole batches, which takes any y."""

    def forward(self, scores, y):
        return float((scores**2).mean())

    def backward(self):
        return np.zeros((8, 3))


REFUSED = {  # the loss, its outputs, the metric, y
    "mse of classes": ("softmax_crossentropy", 3, "mse", of_classes, r"mse takes a number .*; here are class labels"),
    "mae of classes": ("softmax_crossentropy", 3, "mae", of_classes, "mae takes a number for each output"),
    "r2 of classes": ("softmax_crossentropy", 3, "r2", of_classes, r"r2 .* and outputs of shape \(n, 3\)"),
    "binary accuracy of classes": ("softmax_crossentropy", 3, "binary_accuracy", of_classes, "takes 0 and 1"),
    "classes of a regression": ("mse", 1, md.Accuracy(), column, r"accuracy takes class labels .* shape \(n, 1\)"),
    "classes of numbers": ("mse", 3, md.Accuracy(), rows, r"accuracy takes class labels .*; y is [0-9.]+ in row 0"),
    "top k of numbers": ("mae", 3, md.TopKAccuracy(2), rows, "top_k_accuracy takes class labels"),
    "classes of one output": ("binary_crossentropy", 1, "top_k_accuracy", binary, "for k > 1 outputs"),
    "auc of a regression": ("mse", 1, "auc", lambda rng: 3 + column(rng), r"auc .* y is [0-9.]+ in row 0"),
    "precision of a regression": ("huber", 3, "precision", rows, r"precision .* y is"),
    "recall, f1": ("huber", 1, "f1", lambda rng: np.full(8, 0.5) + (np.arange(8) == 5), "y is 1.5 in row 5"),
    "binary accuracy of a regression": ("mse", 1, "binary_accuracy", lambda rng: 9 + column(rng), "y is"),
    "labels out of range": (Squares(), 3, "accuracy", lambda rng: np.arange(8), "y is 3 in row 3"),
    "labels that are not whole": (Squares(), 3, "auc", lambda rng: np.arange(8) / 4, "y is 0.25 in row 1"),
    "names": (Squares(), 3, "f1", lambda rng: np.array(list("abcabcab")), r"dtype <U1"),
    "rows too long": (Squares(), 3, "mse", lambda rng: rng.normal(size=(8, 4)), r"y of shape \(n, 4\)"),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_a_metric_that_cannot_take_y_is_refused_before_anything_changes(case, weighted, monkeypatch):
    loss, outputs, metric, draw, message = REFUSED[case]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)), draw(rng)
    monkeypatch.setattr("minidense.metrics.forms._CHECK_ROWS", 2)
    model = md.Sequential([md.Dense(outputs)], rng=0)
    model.compile(md.Adam(), loss, **{"weighted_metrics" if weighted else "metrics": [metric]})
    good = np.zeros((8, outputs)) if loss not in ("softmax_crossentropy",) else y
    fits = {
        "fit": lambda: model.fit(x, y, batch_size=2, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, y),
        "batches": lambda: model.fit(iter([(x, y)]), steps_per_epoch=1, verbose=0),
        "evaluate": lambda: model.evaluate(x, y),
    }
    if "y is" in message:
        fits["validation"] = lambda: model.fit(x, good, validation_data=(x, y), verbose=0)
    for built in (False, True):
        if built:
            model.build(4)
        before = picture(model)
        for name, call in fits.items():
            if built or name != "evaluate":
                where = "^validation_data: the metric" if name == "validation" else "^the metric"
                with pytest.raises(ValueError, match=where + ".*" + message):
                    call()
                assert picture(model) == before, name


def test_what_can_be_computed_is_not_refused():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 4))
    for loss, outputs, metrics, y in [
        ("mse", 3, [md.Accuracy(), "auc", "f1", "mse", "r2"], np.eye(3)[of_classes(rng)]),  # one-hot rows
        ("mse", 1, ["binary_accuracy", "auc"], 2 * binary(rng) - 1),  # -1 and 1
        ("binary_crossentropy", 1, ["acc", "auc", "precision", "mse"], binary(rng)[:, None]),
        ("binary_crossentropy", 1, ["acc", "auc", "mae"], rng.random(8)),  # probabilities
        ("binary_crossentropy", 3, ["acc", "auc"], rng.integers(0, 2, (8, 3)) == 1),
        ("softmax_crossentropy", 3, ["acc", "top_k_accuracy", "auc"], rng.dirichlet(np.ones(3), 8)),
        (Squares(), 3, ["accuracy"], of_classes(rng) * 1.0),
        (Squares(), 3, [lambda y_true, y_pred: 0], np.array(list("abcabcab"))),
        ("mse", 1, [], column(rng)),
    ]:
        model = md.Sequential([md.Dense(outputs)], rng=0).compile("sgd", loss, metrics)
        assert all(np.isfinite(value) for value in model.train_on_batch(x, y))


# ------------------------------------------------------------------ names


def test_names():
    assert {type(get_metric(name)).__name__ for name in ("acc", "mse", "mae", "r2", "auc", "f1")}
    with pytest.raises(ValueError, match="Did you mean 'precision'"):
        get_metric("precison")
    with pytest.raises(TypeError, match="names such as"):
        get_metric(3)


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ("softmax_crossentropy", ["acc", "accuracy", "Accuracy", "categorical_accuracy", "top_k_accuracy", "f1"]),
        ("binary_crossentropy", ["acc", "accuracy", "binary_accuracy", "AUC", "mean_squared_error"]),
        ("mse", ["mean_squared_error", "mse", "MSE", "mae", "mean_absolute_error", "r2"]),
    ],
)
def test_the_name_that_was_asked_for_is_the_key(loss, names):
    x, y = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 2
    model = md.Sequential([md.Dense(2 if loss[0] == "s" else 1)], rng=0).compile("sgd", loss, metrics=names)
    keys = ["loss", *names]
    assert list(model.train_on_batch(x, y).keys()) == list(model.evaluate(x, y).keys()) == keys
    history = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert list(history) == [*keys, *(f"val_{key}" for key in keys)]


def test_an_object_keeps_its_own_name():
    metric = md.TopKAccuracy(2)
    metric.name = "top two"
    model = md.Sequential([md.Dense(3)]).compile(metrics=["acc", metric, md.F1()])
    assert [each.name for each in model.metrics] == ["acc", "top two", "f1"]
    assert md.Accuracy().name == "accuracy"


def test_whether_higher_is_better_is_said_by_the_metric_whatever_its_name():
    lower = ["mse", "mae", "rmse", "mape", "msle", "log loss of outputs", "log loss", "sparse log loss"]
    lower += ["false positives", "false negatives", "huber", "hinge", "categorical hinge"]
    expected = {**dict.fromkeys(lower, False), "function": None}
    for name, (metric, _) in SAVED.items():
        assert metric.higher_is_better is expected.get(name, True), name
    assert get_metric("acc").higher_is_better
    assert get_metric("MSE").higher_is_better is False


# ------------------------------------------------------------------ weights


def test_weights_count_for_the_loss_and_the_weighted_metrics_only():
    """The same in training, validation and evaluation; rows 0 to 3 count as three copies."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)), rng.integers(0, 2, 8)
    w = np.where(np.arange(8) < 4, 3.0, 1.0)
    copied = np.repeat(np.arange(8), w.astype(int))
    names = ["accuracy", "precision", "auc", "mse"]

    def make(**metrics):
        model = md.Sequential([md.Dense(1)], rng=0, dtype="float64").build(4)
        return model.compile(md.SGD(1e-300), "binary_crossentropy", **metrics)

    plain, copies = make(metrics=names).evaluate(x, y), make(metrics=names).evaluate(x[copied], y[copied])
    model = make(metrics=names, weighted_metrics=names)
    expected = {"loss": copies["loss"]} | {name: plain[name] for name in names}
    expected |= {f"weighted_{name}": copies[name] for name in names}
    assert all(expected[name] != expected[f"weighted_{name}"] for name in names)
    history = model.fit(x, y, sample_weight=w, validation_data=(x, y, w), verbose=0).history
    for found in (
        model.evaluate(x, y, sample_weight=w, return_dict=True),
        model.train_on_batch(x, y, sample_weight=w, return_dict=True),
        {name: history[name][0] for name in expected},
        {name: history[f"val_{name}"][0] for name in expected},
    ):
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, rel=1e-9)
    unweighted = model.evaluate(x, y)
    assert [unweighted[f"weighted_{name}"] for name in names] == [plain[name] for name in names]


def test_a_name_in_both_lists_is_prefixed_and_an_object_is_to_be_renamed():
    def mine(y_true, y_pred, sample_weight=None):
        return 0.0

    def named(metrics, weighted):
        model = md.Sequential([md.Dense(3)]).compile(metrics=metrics, weighted_metrics=weighted)
        return [metric.name for metric in (*model.metrics, *model.weighted_metrics)]

    assert named(["acc", mine], ["acc", "auc", mine]) == ["acc", "mine", "weighted_acc", "auc", "weighted_mine"]
    assert named([md.F1()], ["f1"]) == ["f1", "weighted_f1"]
    for metrics, weighted in (["f1"], [md.F1()]), (["f1", "f1"], []), ([], ["f1", "f1"]), (["weighted_f1"], []):
        with pytest.raises(ValueError, match=r"names that differ .* metric.name = \.\.\.|unknown metric"):
            named(metrics, weighted)
    with pytest.raises(TypeError, match=r"use weighted_metrics=\['acc'\]"):
        named([], "acc")
    assert [m.name for m in md.Sequential([md.Dense(3)]).compile("sgd", "mse", [], ["mse"]).weighted_metrics] == ["mse"]


def test_a_metric_that_takes_no_weights_is_refused_as_a_weighted_one():
    def mine(y_true, y_pred):
        return 0.0

    class Says(Notes):
        takes_weights = False

    class Lacks(Notes):
        def update(self, y_true, y_pred):
            pass

    for metric, message in ((mine, "mine takes no sample_weight"), (Says(), "notes takes no weights in its update"),
                            (Lacks(), "notes takes no weights")):  # fmt: skip
        model = md.Sequential([md.Dense(3)]).compile(metrics=["acc"])
        with pytest.raises(ValueError, match=f"weighted_metrics: the metric {message}.*list it in metrics="):
            model.compile(weighted_metrics=[metric])
        assert [metric.name for metric in model.metrics] == ["acc"]
        model.compile(metrics=[metric, "acc"]).build(4).evaluate(np.ones((2, 4)), [0, 1], sample_weight=[1, 2])


# ------------------------------------------------------------------ saved within an epoch


def largest_gap(y_true, y_pred, sample_weight=None):
    return abs(y_true - y_pred).max()


SAVED = METRICS | {"function": (FunctionMetric(largest_gap), numbers)}


def test_every_metric_of_the_library_is_tested():
    assert {type(metric) for metric, _ in SAVED.values()} == {c for c in LIBRARY.values() if issubclass(c, md.Metric)}


@pytest.mark.parametrize("name", SAVED)
@given(cuts=st.lists(st.integers(0, 20), max_size=3), k=st.integers(2, 4), weighted=st.booleans(), seed=seeds)
def test_resumed_after_any_rows_it_has_the_same_value_to_the_bit(name, cuts, k, weighted, seed):
    original, draw = SAVED[name]
    rng = np.random.default_rng(seed)
    y, p = draw(rng, 20, k)
    w = [rng.random(20)] if weighted else []
    stops = [0, *sorted(cuts), 20]
    whole, resumed = copy.deepcopy(original), copy.deepcopy(original)
    whole.reset()
    resumed.reset()
    for start, stop in itertools.pairwise(stops):
        if start < stop:
            rows = slice(start, stop)
            for metric in (whole, resumed):
                metric.update(y[rows], p[rows], *(part[rows] for part in w))
        state = copy.deepcopy(state_dict(resumed))
        resumed = copy.deepcopy(original)
        load_state_dict(resumed, state)
        assert repr(state_dict(resumed)) == repr(state)
    assert repr(resumed.result()) == repr(whole.result())


def test_what_is_collected_is_merged_in_place():
    auc = md.AUC()
    for i in range(5):
        auc.update(np.array([i % 2]), np.array([[i / 5]]), np.array([1.0]) if i == 3 else None)
    y_true, y_pred, weights = auc.collected
    assert (len(auc._parts), y_true.tolist(), weights.tolist()) == (1, [0, 1, 0, 1, 0], [1.0] * 5)
    assert y_pred.shape == (5, 1)
    auc.reset()
    assert auc.collected == []


@pytest.mark.parametrize(
    ("metric", "forged"),
    [
        (md.Accuracy(), {"_sum": "5", "_weight": 1.0}),
        (md.Accuracy(), {"_sum": 5.0, "_weight": None}),
        (md.Accuracy(), {"_sum": 5.0}),
        (md.Accuracy(), {"_sum": 5.0, "_weight": 1.0, "name": "loss"}),
        (md.R2(), {"_weight": 1.0, "_mean": 1.0, "_spread": np.ones(1), "_error": np.ones(1)}),
        (md.F1(), {"_true_positives": [1], "_predicted": np.ones((1, 1)), "_actual": np.ones(1), "_rows": 1.0}),
        (md.AUC(), {"collected": None}),
        (md.AUC(), {"collected": ["x", np.ones((2, 1)), None]}),
        (md.AUC(), {"collected": [np.ones(2), np.ones((2, 1))]}),
        (md.AUC(), {"collected": [np.ones(2), None, None]}),
        (md.AUC(), {"collected": [np.ones(2), np.ones((3, 1)), None]}),
    ],
)
def test_a_forged_state_is_refused_before_anything_is_set(metric, forged):
    before = copy.deepcopy(vars(metric))
    with pytest.raises(ValueError, match=type(metric).__name__):
        load_state_dict(metric, forged)
    assert repr(vars(metric)) == repr(before)


def test_arguments_are_checked_when_set_and_metrics_without_take_none():
    f1 = md.F1()
    f1.threshold = 0.7
    assert repr(f1) == "F1(threshold=0.7)"
    with pytest.raises(ValueError, match="F1: threshold: expected a finite number at least 0, got -1"):
        f1.threshold = -1
    with pytest.raises(ValueError, match=r"unknown average 'mikro'. Did you mean 'micro'"):
        f1.average = "mikro"
    with pytest.raises(TypeError, match=r"R2: too many positional arguments. It takes: name."):
        md.R2("r2", 3)
    with pytest.raises(TypeError, match=r"R2: name: expected a string, got 3."):
        md.R2(3)
    with pytest.raises(TypeError, match=r"Accuracy takes no keyword 'k'. It takes: name."):
        md.Accuracy(k=3)


# ---------------------------------------------------------------------- NumPy's floating-point settings


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e308])
@pytest.mark.parametrize("name", METRICS)
def test_numpys_settings_change_nothing(name, scale):
    """Weights and values so large or small that squares, sums and products leave the range of float64."""
    metric, data = METRICS[name]
    rng = np.random.default_rng(0)
    y_true, y_pred = data(rng, 20, 3)
    weights = rng.random(20) * scale
    if data is numbers:
        y_true, y_pred = y_true / 10 * scale, y_pred / 10 * scale
    found = []
    for setting in ("ignore", "raise"):
        twin = copy.deepcopy(metric)
        twin.reset()  # other tests have used it
        with np.errstate(all=setting):
            for half in (slice(0, 9), slice(9, 20)):
                twin.update(y_true[half], y_pred[half], weights[half])
            found.append(np.float64(twin.result()).tobytes())
    assert found[0] == found[1]


def test_numpys_settings_change_nothing_for_a_function():
    metric = FunctionMetric(lambda y_true, y_pred: ((y_true - y_pred) ** 2).sum())
    with np.errstate(all="raise"):
        metric.update(np.array([1e200]), np.array([-1e200]))
        assert metric.result() == math.inf
