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


# ------------------------------------------------------------------ sources of batches


def pieces(x, y, weights=None, size=17):
    """Batches in arrays that are used again."""
    made = [np.empty_like(array[:size]) for array in (x, y, weights) if array is not None]
    for start in range(0, len(x), size):
        stop = min(start + size, len(x))
        for of_all, piece in zip((x, y, weights), made, strict=False):
            piece[: stop - start] = of_all[start:stop]
        yield tuple(piece[: stop - start] for piece in made)


def dataset(batches):
    class Dataset:
        ended = 0

        def __len__(self):
            return len(batches)

        def __getitem__(self, i):
            return batches[i]

        def on_epoch_end(self):
            self.ended += 1

    return Dataset()


def copies(x, y, weights=None):
    return [tuple(array.copy() for array in batch) for batch in pieces(x, y, weights)]


SOURCES = {
    "generator": pieces,
    "dataset": lambda *arrays: dataset(copies(*arrays)),
    "iterable": lambda *arrays: dict(enumerate(copies(*arrays))).values(),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_of_batches_is_evaluated_as_its_rows(source, weighted, digits_like):
    x, y = digits_like
    weights = np.random.default_rng(0).random(len(x)) if weighted else None
    model = make(dtype="float64").build(x.shape[1]).compile(metrics=["accuracy"], weighted_metrics=["auc"])
    rows, batches = model.evaluate(x, y, sample_weight=weights), model.evaluate(source(x, y, weights))
    assert rows.keys() == batches.keys()
    for name, value in rows.items():
        assert batches[name] == pytest.approx(value, rel=1e-12), name
    assert np.array_equal(
        model.predict(source(x, y, weights)), np.concatenate([model.predict(b[0]) for b in copies(x, y)])
    )
    first = model.evaluate(x[:34], y[:34], sample_weight=None if weights is None else weights[:34])
    assert model.evaluate(source(x, y, weights), steps=2)["loss"] == pytest.approx(first["loss"], rel=1e-12)
    assert len(model.predict(source(x, y, weights), steps=2)) == 34
    assert model.predict_classes(source(x, y)).tolist() == model.predict_classes(x).tolist()


def test_a_source_of_features_only_is_predicted(digits_like):
    x, _ = digits_like
    model = make().build(x.shape[1])
    whole = np.concatenate([model.predict(x[:10]), model.predict(x[10:30])])
    for source in ([x[:10], x[10:30]], [(x[:10],), (x[10:30],)]):
        assert np.array_equal(model.predict(iter(source)), whole)
        assert np.array_equal(model.predict(dataset(source)), whole)


def test_validation_data_may_be_a_source(digits_like):
    x, y = digits_like
    runs = {}
    for name, given in {
        "rows": (x, y),
        "dataset": dataset(copies(x, y)),
        "iterable": SOURCES["iterable"](x, y),
        "generator": (batch for _ in range(3) for batch in pieces(x, y)),
    }.items():
        model = make()
        steps = -(-len(x) // 17) if name == "generator" else None
        runs[name] = model.fit(x, y, epochs=3, validation_data=given, validation_steps=steps, verbose=0).history
        assert getattr(given, "ended", 3) == 3
    for history in runs.values():
        assert history.keys() == runs["rows"].keys()
        np.testing.assert_allclose(history["val_loss"], runs["rows"]["val_loss"], rtol=1e-6)


def test_hooks_see_the_batches_of_a_source(digits_like):
    x, y = digits_like
    seen = []

    class Watch(md.Callback):
        def on_test_batch_end(self, batch, logs):
            seen.append((batch, pytest.approx(logs["loss"], rel=1e-5)))

        def on_predict_batch_end(self, batch, logs):
            seen.append((batch, logs["outputs"].shape))

    model = make().build(x.shape[1])
    model.evaluate(pieces(x, y), callbacks=Watch())
    of_source, seen[:] = list(seen), []
    model.evaluate(x, y, batch_size=17, callbacks=Watch())
    assert [batch for batch, _ in seen] == list(range(-(-len(x) // 17)))
    assert of_source == [(batch, loss.expected) for batch, loss in seen]
    seen.clear()
    model.predict(pieces(x, y), callbacks=Watch())
    assert seen[0] == (0, (17, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: m.evaluate(pieces(x, y), y), "evaluate: y is for arrays only"),
        (lambda m, x, y: m.evaluate(pieces(x, y), batch_size=7), "evaluate: batch_size is for arrays only"),
        (lambda m, x, y: m.predict(pieces(x, y), batch_size=7), "predict: batch_size is for arrays only"),
        (lambda m, x, y: m.evaluate(x, y, steps=2), "steps is for sources of batches only"),
        (lambda m, x, y: m.predict(x, steps=2), "steps is for sources of batches only"),
        (lambda m, x, y: m.evaluate(pieces(x, y), steps=99), r"the generator ended before .* must give 99 batches"),
        (lambda m, x, y: m.predict(pieces(x, y), steps=99), r"the generator ended before .* must give 99 batches"),
        (lambda m, x, y: m.predict(iter([])), "the generator ended before epoch 1, step 1; it must give at least one"),
        (lambda m, x, y: m.evaluate(pieces(x[:, :3], y)), r"expected shape \(n, .*got \(17, 3\)"),
        (lambda m, x, y: m.evaluate(iter([x])), r"expected batches \(x, y\)"),
        (lambda m, x, y: m.predict(iter([x, x * np.nan])), "is nan"),
        (
            lambda m, x, y: m.fit(x, y, validation_data=pieces(x * np.nan, y), verbose=0),
            "validation_data: x: .* is nan",
        ),
    ],
)
def test_errors_of_sources(call, message, digits_like):
    model = make().build(digits_like[0].shape[1])
    before = model.theta.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        call(model, *digits_like)
    assert np.array_equal(model.theta, before)
