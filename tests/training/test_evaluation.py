"""The loss and the metrics over all rows, whatever the batch size, without any change of the model."""

import numpy as np
import pytest

import minidense as md


def make(rng=0, dtype="float32"):
    model = md.Sequential([md.Dense(8), md.ReLU(), md.Dense(3), md.Softmax()], rng=rng, dtype=dtype)
    return model.compile(md.SGD(0.1), "sparse_categorical_crossentropy", ["accuracy"])


def test_evaluate_agrees_with_predict(digits_like):
    x, y = digits_like
    model = make()
    history = model.fit(x, y, epochs=2, validation_data=(x, y), verbose=0).history
    probabilities = model.predict(x).astype("float64")
    for size in (1, 7, 1024, "full"):
        results = model.evaluate(x, y, batch_size=size)
        assert results["loss"] == pytest.approx(-np.log(probabilities[np.arange(60), y]).mean(), rel=1e-5)
        assert results["accuracy"] == (probabilities.argmax(axis=1) == y).mean()
    assert history["val_loss"][-1] == pytest.approx(results["loss"], rel=1e-6)
    assert history["val_accuracy"][-1] == results["accuracy"]


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


def test_a_class_of_weight_0_is_left_out_of_an_evaluation(digits_like):
    x, y = digits_like
    weight = {0: 1.0, 1: 0.0, 2: 1.0}
    model = make().build(7).compile(weighted_metrics=["accuracy"])
    assert model.evaluate(x, y, class_weight=weight) == pytest.approx(dict(model.evaluate(x[y != 1], y[y != 1])))
