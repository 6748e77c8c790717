"""Metrics by Keras' names, by hand and in a model, and against the figures of Keras."""

import json
from pathlib import Path

import keras_cases
import numpy as np
import pytest

import minidense as md
from minidense.core.configurable import LIBRARY
from minidense.losses import LOSSES
from minidense.metrics import METRICS, get_metric

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "keras.json").read_text())


@pytest.mark.parametrize("i", range(len(keras_cases.METRICS)), ids=lambda i: str(keras_cases.METRICS[i][:2]))
def test_by_hand_it_is_what_keras_computes(i):
    """Keras 3.15.1; some of its numbers are float32, and its F1 adds 1e-7."""
    name, arguments, y_true, y_pred = keras_cases.METRICS[i]
    arrays = keras_cases.data()
    metric, (y, p, w) = getattr(md.metrics, name)(**arguments), (arrays[key] for key in (y_true, y_pred, "weights"))
    for weights, expected in zip(((None, None), (w[:5], w[5:])), GOLDEN["metrics"][i], strict=True):
        metric.reset_state()
        metric.update_state(y[:5], p[:5], sample_weight=weights[0])
        metric.update_state(y[5:].tolist(), p[5:].tolist(), weights[1])
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-6, atol=1e-6)
    assert metric.name == {"AUC": "auc"}.get(name) or metric.name in METRICS or metric.name == "f1_score"


@pytest.mark.parametrize("i", range(len(keras_cases.METRICS)), ids=lambda i: str(keras_cases.METRICS[i][:2]))
def test_every_metric_takes_a_name(i):
    name, arguments, *_ = keras_cases.METRICS[i]
    metric = getattr(md.metrics, name)(**arguments, name="mine")
    assert (metric.name, metric.get_config()["name"]) == ("mine", "mine")
    assert type(metric).from_config(metric.get_config()).name == "mine"
    metric.name = "yours"
    assert "name='yours'" in repr(metric)
    with pytest.raises(TypeError, match="name: expected a string"):
        getattr(md.metrics, name)(name=3)


def test_a_column_and_a_vector_are_the_same_and_lengths_must_agree():
    y, p, w = [0, 1, 1, 0], [0.2, 0.9, 0.4, 0.6], [1, 2, 3, 4]
    for name in ("auc", "precision", "mse", "r2", "binary_accuracy", "bce", "true_positives", "balanced_accuracy"):
        metric, other = get_metric(name), get_metric(name)
        metric.update_state(y, p, w)
        other.update_state(np.array(y)[:, None], np.array(p)[:, None], np.array(w))
        assert metric.result() == other.result()
        assert get_metric(name)(y, p) == get_metric(name)(np.array(y), np.array(p)[:, None]) != 0
    with pytest.raises(ValueError, match="y_true has 3 rows and y_pred has 4"):
        md.metrics.Precision().update_state([0, 1, 1], p)
    with pytest.raises(ValueError, match=r"precision takes class labels .* y is 7 in row 0"):
        md.metrics.Precision().update_state([7, 1, 1, 0], p)
    with pytest.raises(ValueError, match="accuracy takes class labels"):
        md.metrics.Accuracy().update_state([0, 1, 1, 0], p)


def test_keras_names_of_classes_are_strings_too_and_the_key_is_what_was_asked_for():
    for name in ("MeanSquaredError", "SparseCategoricalAccuracy", "TruePositives", "AUC", "RootMeanSquaredError"):
        metric = get_metric(name)
        assert repr(metric) == repr(getattr(md.metrics, name)(name=name))
        assert metric.name == name
    assert all(LIBRARY[type(make()).__name__] is type(make()) for make in METRICS.values())
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    names = ["accuracy", "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy", "true_positives"]
    names += ["sparse_categorical_crossentropy", "categorical_crossentropy", "balanced_accuracy"]
    model = md.Sequential([md.Dense(3), md.Softmax()], rng=0).compile("adam", metrics=names).build(4)
    results = model.evaluate(x, y)
    assert list(results.keys()) == ["loss", *names]
    assert results["categorical_crossentropy"] == pytest.approx(results["loss"], rel=1e-6)
    regression = md.Sequential([md.Dense(1)], rng=0).compile("adam", "mse", ["mse", "rmse", "mape", "msle", "r2_score"])
    results = regression.build(4).evaluate(x, abs(x[:, 0]))
    assert results["rmse"] ** 2 == pytest.approx(results["mse"]) == results["loss"]


def test_a_loss_is_no_metric_but_can_be_made_one():
    model = md.Sequential([md.Dense(1)], rng=0).build(3)
    with pytest.raises(TypeError, match=r"expected names such as .* Use md.metrics.LossMetric\(LogCosh\(\)\)"):
        model.compile("sgd", "mse", [md.losses.LogCosh()])
    x = np.random.default_rng(0).normal(size=(9, 3))
    losses = [md.losses.LogCosh(), md.losses.Quantile(0.9), md.losses.MeanSquaredError("sum"), md.losses.Huber(0.3)]
    metrics = [md.metrics.LossMetric(loss) for loss in losses]
    for loss, value in zip(losses, list(model.compile("sgd", "mse", metrics).evaluate(x, x[:, 0]))[1:], strict=True):
        assert value == pytest.approx(loss(x[:, 0], model.predict(x)) / (9 if loss.reduction == "sum" else 1), rel=1e-6)
    for wrong in ("mse", 3, None):
        with pytest.raises(TypeError, match=r"LossMetric: loss: expected a RowLoss"):
            md.metrics.LossMetric(wrong)
    with pytest.raises(ValueError, match=r"takes scores, and metrics get probabilities: .*\.BinaryCrossentropy\(\)"):
        md.metrics.LossMetric(md.SigmoidCrossEntropy())


def test_every_loss_has_a_metric_of_its_name(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
    for name in LOSSES:
        assert get_metric(name).name in (name, get_metric(name).loss.name)
        again = get_metric(name)
        again.name = "other"
        assert get_metric(name.upper()).name == name.upper()
    names = ["hinge", "squared_hinge", "huber", "poisson", "log_cosh", "kl_divergence", "LogCoshError"]
    model = md.Sequential([md.Dense(1, "sigmoid")], rng=0).compile("adam", "binary_crossentropy", names)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz")
    assert dict(loaded.evaluate(x, y)) == dict(model.evaluate(x, y))
    p, signs = model.predict(x)[:, 0].astype(float), 2 * y - 1
    assert model.evaluate(x, y)["hinge"] == pytest.approx(np.maximum(1 - signs * p, 0).mean(), rel=1e-6)
    assert model.evaluate(x, y)["poisson"] == pytest.approx((p - y * np.log(p + 1e-7)).mean(), rel=1e-6)


def test_from_logits_is_for_use_by_hand():
    scores, y = np.array([[0.3], [-2.0], [1.0]]), [1, 0, 0]
    metric = md.metrics.BinaryCrossentropy(from_logits=True)
    assert metric(y, scores) == pytest.approx(md.SigmoidCrossEntropy().forward(scores, y))
    assert md.metrics.BinaryCrossentropy()(y, 1 / (1 + np.exp(-scores))) == pytest.approx(metric.result(), rel=1e-9)
    model = md.Sequential([md.Dense(1)], rng=0)
    with pytest.raises(ValueError, match=r"metrics get probabilities, whether or not .* leave out from_logits"):
        model.compile("sgd", "binary_crossentropy", [metric])
    model.compile("sgd", "mse", [metric])
    assert model.build(1).evaluate(scores, y)[1] == pytest.approx(metric(y, model.predict(scores)), abs=1)


def test_values_that_a_loss_refuses_are_refused_before_training():
    x, y = np.zeros((4, 2)), np.array([0.5, -1.0, 2.0, 3.0])
    for name, match in (("poisson", "at least 0"), ("kl_divergence", "from 0 to 1"), ("msle", "at least 0")):
        model = md.Sequential([md.Dense(1)], rng=0).compile("sgd", "mse", [name]).build(2)
        before = model.theta.copy()
        with pytest.raises(ValueError, match=match):
            model.fit(x, y, verbose=0)
        assert np.array_equal(model.theta, before)
        with pytest.raises(ValueError, match=match):
            get_metric(name)(y, y)


class Fourth(md.TargetLoss):
    def elements(self, scores, targets):
        return (scores - targets) ** 4

    def derivatives(self, scores, targets):
        return 4 * (scores - targets) ** 3


def test_a_metric_of_ones_own_loss_is_saved_with_the_model(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) / 20
    model = md.Sequential([md.Dense(1)], rng=0).compile("sgd", "mse", [md.metrics.LossMetric(Fourth(), "fourth")])
    keep = md.callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}.npz", every=2)
    run = model.fit(x, y, batch_size=4, epochs=2, callbacks=[keep], verbose=0)
    assert model.evaluate(x, y)["fourth"] == pytest.approx(((model.predict(x)[:, 0] - y) ** 4).mean(), rel=1e-5)
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz", {"Fourth": Fourth})
    assert dict(loaded.evaluate(x, y)) == dict(model.evaluate(x, y))
    twin = md.Sequential([md.Dense(1)], rng=0).compile("sgd", "mse", [md.metrics.LossMetric(Fourth(), "fourth")])
    path = sorted(tmp_path.glob("[0-9]*.npz"))[0]
    again = twin.fit(x, y, batch_size=4, epochs=2, callbacks=[keep], resume=path, verbose=0)
    assert again.history == run.history


def test_what_makes_a_metric_is_no_metric():
    for wrong in (md.metrics.Hinge, md.metrics.MeanSquaredError, md.AUC, md.metrics.RootMeanSquaredError):
        with pytest.raises(TypeError, match=r"make an object of it: \w+\(\)"):
            md.Sequential([md.Dense(1)]).compile("sgd", "mse", [wrong])


def test_a_metric_of_several_values_is_for_use_by_hand():
    for metric in (md.Precision([0.1, 0.5]), md.Recall(average=None), md.metrics.F1Score()):
        with pytest.raises(ValueError, match="has several values, which History has no place for"):
            md.Sequential([md.Dense(3)]).compile(metrics=[metric])
    precision = md.Precision(average=None)
    assert precision([0, 1, 2, 2], np.eye(3)[[0, 1, 1, 2]]).tolist() == [1, 0.5, 1]
    one = md.Precision(class_id=1, average=None)
    assert one([0, 1, 2, 2], np.eye(3)[[0, 1, 1, 2]]) == 0.5
    md.Sequential([md.Dense(3)]).compile(metrics=[one])


def test_saved_and_loaded_with_names_and_thresholds(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
    metrics = [
        md.AUC(name="prc", curve="PR"),
        md.Precision(0.3, name="p"),
        md.Recall(thresholds=0.7, name="r"),
        md.metrics.FalseNegatives(name="fn"),
        md.metrics.BinaryCrossentropy(),
        "BinaryAccuracy",
    ]
    model = md.Sequential([md.Dense(1, "sigmoid")], rng=0).compile("adam", "binary_crossentropy", metrics)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz")
    assert repr(loaded.metrics) == repr(model.metrics)
    assert dict(loaded.evaluate(x, y)) == dict(model.evaluate(x, y))
    assert list(loaded.evaluate(x, y).keys())[1:] == ["prc", "p", "r", "fn", "binary_crossentropy", "BinaryAccuracy"]
