"""Inputs of fit: data frames, files read in blocks, generators, datasets, labels, weights, validation splits."""

import re
import sys
import warnings

import numpy as np
import pytest
from on_disk import OnDisk
from snapshots import picture

import minidense as md
from minidense.losses import by_rows
from minidense.training import inputs

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 5)).astype("float32"), RNG.integers(0, 3, 60)


def make(**options):
    return md.Sequential([md.Dense(6, "tanh"), md.Dense(3)], rng=0).compile(
        md.SGD(0.1), metrics=["accuracy"], **options
    )


# ------------------------------------------------------------------ frames


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    lib = pytest.importorskip(library)
    frame = lib.DataFrame({f"c{i}": X[:, i] for i in range(5)})
    series = lib.Series("y", Y) if library == "polars" else lib.Series(Y, index=RNG.permutation(60))
    models = [make(), make()]
    models[0].fit(X, Y, epochs=2, validation_split=0.2, verbose=0)
    models[1].fit(frame, series, epochs=2, validation_split=0.2, verbose=0)
    assert np.array_equal(models[0].theta, models[1].theta)
    assert np.array_equal(models[0].predict(X), models[1].predict(frame))
    bad = lib.DataFrame({"age": [1.0, 2.0], "town": ["a", "b"], "name": ["x", "y"]})
    with pytest.raises(TypeError, match=r"x: expected real numbers, got objects .* in the columns 'town', 'name'"):
        make().fit(bad, [0, 1], verbose=0)


# ------------------------------------------------------------------ read by blocks


@pytest.mark.parametrize("size", [1, 8, "full"])
def test_arrays_on_disk_are_read_by_blocks(size, monkeypatch):
    monkeypatch.setattr(md.data.batches, "GATHER_BYTES", 4 * 5 * 10)
    monkeypatch.setattr(md.data.arrays, "CHECK_BYTES", 4 * 5 * 10)
    monkeypatch.setattr(md.data.batches, "SLICE_ROWS", 10)
    models, disk = [make(), make()], OnDisk(X)
    histories = [
        model.fit(x, Y, batch_size=size, epochs=2, validation_split=0.25, verbose=0).history
        for model, x in zip(models, (X, disk), strict=True)
    ]
    assert np.array_equal(models[0].theta, models[1].theta)
    assert histories[0] == histories[1]
    assert disk.largest <= 15  # the validation rows are one batch
    assert np.array_equal(models[0].predict(X, batch_size=7), models[1].predict(disk, batch_size=7))
    assert models[0].evaluate(X, Y) == models[1].evaluate(disk, Y)
    bad = X.copy()
    bad[41, 2] = np.nan
    with pytest.raises(ValueError, match="x: row 41, column 2 is nan"):
        make().fit(OnDisk(bad), Y, verbose=0)


# ------------------------------------------------------------------ generators and datasets


def batches(size=20):
    while True:
        for start in range(0, 60, size):
            yield X[start : start + size], Y[start : start + size]


class Dataset:
    def __init__(self):
        self.asked, self.epochs = [], 0

    def __len__(self):
        return 3

    def __getitem__(self, i):
        self.asked.append(i)
        return X[20 * i : 20 * i + 20], Y[20 * i : 20 * i + 20]

    def on_epoch_end(self):
        self.epochs += 1


@pytest.mark.parametrize("source", [batches, Dataset])
def test_batches_train_like_the_arrays_they_come_from(source):
    arrays, streamed = make(), make()
    one = arrays.fit(X, Y, batch_size=20, epochs=3, shuffle=False, validation_data=(X, Y), verbose=0)
    two = streamed.fit(source(), steps_per_epoch=3, epochs=3, shuffle=False, validation_data=(X, Y), verbose=0)
    assert np.array_equal(arrays.theta, streamed.theta)
    assert one.history["accuracy"] == two.history["accuracy"]
    np.testing.assert_allclose(one.history["loss"], two.history["loss"], rtol=1e-6)
    assert two.params["steps"] == 3


def test_a_dataset_is_shuffled_batch_by_batch_and_told_the_epochs_end():
    dataset = Dataset()
    make().fit(dataset, epochs=4, verbose=0)
    epochs = [dataset.asked[i : i + 3] for i in range(1, 13, 3)]  # the first is a look ahead
    assert all(sorted(order) == [0, 1, 2] for order in epochs)
    assert len({tuple(order) for order in epochs}) > 1
    assert dataset.epochs == 4


def test_a_generator_goes_on_from_epoch_to_epoch_and_loses_no_batch():
    given = []

    def counting():
        for i in range(6):
            given.append(i)
            yield X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]

    model, reference = make(), make()
    model.fit(counting(), steps_per_epoch=2, epochs=3, verbose=0)
    assert given == list(range(6))
    for start in range(0, 60, 10):
        reference.train_on_batch(X[start : start + 10], Y[start : start + 10])
    assert np.array_equal(model.theta, reference.theta)


def test_weights_may_come_with_the_batches():
    w = RNG.random(60)

    def weighted():
        while True:
            yield X, Y, w

    streamed, arrays = make(), make()
    streamed.fit(weighted(), steps_per_epoch=1, epochs=2, verbose=0)
    arrays.fit(X, Y, sample_weight=w, batch_size="full", epochs=2, verbose=0)
    np.testing.assert_allclose(streamed.theta, arrays.theta, rtol=1e-6)


def failing(kind):
    yield X[:20], Y[:20]
    yield X[20:40], Y[20:40]
    if kind == "raises":
        raise OSError("the disk is gone")
    if kind == "other shape":
        yield X[:20, :3], Y[:20]
    if kind == "other length":
        yield X[:20], Y[:10]
    if kind == "no pair":
        yield X[:20]
    if kind == "NaN":
        yield X[:20] * np.nan, Y[:20]


def test_a_dataset_that_fails_in_its_on_epoch_end_is_said_to(tmp_path):
    class Fails(Dataset):
        def on_epoch_end(self):
            super().on_epoch_end()
            if self.epochs == 2:
                raise OSError("the disk is gone")

    model, reference = make(), make()
    with pytest.raises(
        RuntimeError, match=r"failed in its on_epoch_end after epoch 2: OSError\('the disk is gone'\). The steps"
    ) as caught:
        model.fit(Fails(), epochs=3, verbose=0)
    assert isinstance(caught.value.__cause__, OSError)
    reference.fit(Dataset(), epochs=2, verbose=0)
    assert np.array_equal(model.theta, reference.theta)
    keep = md.callbacks.ModelCheckpoint(tmp_path / "run.npz")
    make().fit(Dataset(), epochs=2, callbacks=[keep], verbose=0)
    with pytest.raises(RuntimeError, match=r"on_epoch_end after epoch 2: .* These batches are skipped to resume"):
        make().fit(Fails(), epochs=3, resume=tmp_path / "run.npz", verbose=0)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("ends early", ValueError, r"the generator ended before epoch 1, step 3; it must give 5 batches"),
        ("raises", RuntimeError, r"the data source failed in epoch 1, step 3: OSError\('the disk is gone'\)"),
        ("other shape", ValueError, r"expected shape \(n, 5\), got \(20, 3\)"),
        ("other length", ValueError, "x has 20 rows and y has 10"),
        ("no pair", TypeError, r"expected batches \(x, y\) or \(x, y, sample_weight\), got ndarray"),
        ("NaN", ValueError, "row 0, column 0 is nan"),
    ],
)
def test_a_source_that_fails_keeps_the_steps_before(kind, error, message):
    model, reference = make(), make()
    with pytest.raises(error) as caught:
        model.fit(failing(kind), steps_per_epoch=5, verbose=0)
    assert re.search(message, str(caught.value)), caught.value
    if kind == "raises":
        assert isinstance(caught.value.__cause__, OSError)
    elif kind != "ends early":
        assert caught.value.__notes__ == ["in the batch of epoch 1, step 3; the steps before are kept"]
    for start in (0, 20):
        reference.train_on_batch(X[start : start + 20], Y[start : start + 20])
    assert np.array_equal(model.theta, reference.theta)
    model.fit(X, Y, verbose=0)  # and the model is usable


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(batches()), "a generator has no length"),
        (lambda m: m.fit(batches(), Y, steps_per_epoch=3), "y is for arrays only"),
        (lambda m: m.fit(batches(), steps_per_epoch=3, validation_split=0.5), "validation_split is for arrays only"),
        (lambda m: m.fit(batches(), steps_per_epoch=3, class_weight="balanced"), "class_weight is for arrays only"),
        (lambda m: m.fit(Dataset(), steps_per_epoch=4), "there are 3 batches, fewer than 4"),
        (lambda m: m.fit(X, Y, steps_per_epoch=3), "steps_per_epoch is for sources of batches"),
        (lambda m: m.fit(batches(), steps_per_epoch=0), "steps_per_epoch"),
        (lambda m: m.fit(X), "y: expected one label or row for each of the 60 rows"),
    ],
)
def test_what_does_not_go_together(call, message):
    model = make()
    before = picture(model)
    with pytest.raises((ValueError, TypeError), match=message):
        call(model)
    assert picture(model) == before


# ------------------------------------------------------------------ validation splits


def test_a_split_that_leaves_a_class_out_warns_and_can_shuffle():
    order = np.argsort(Y)
    with pytest.warns(
        UserWarning, match=r"leaves the validation part without the classes \[0, 1\].*validation_shuffle=True"
    ):
        make().fit(X[order], Y[order], validation_split=0.2, verbose=0)
    shuffled = make()
    history = shuffled.fit(X[order], Y[order], validation_split=0.2, validation_shuffle=True, verbose=0).history
    assert history["val_loss"][0] > 0
    again = make()
    assert again.fit(X[order], Y[order], validation_split=0.2, validation_shuffle=True, verbose=0).history == history


# ------------------------------------------------------------------ arrays and labels of every kind


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


def test_validation_split_holds_out_the_last_rows(digits_like):
    x, y = digits_like
    split, given = make(), make()
    histories = [
        split.fit(x, y, validation_split=0.25, verbose=0).history,
        given.fit(x[:45], y[:45], validation_data=(x[45:], y[45:]), verbose=0).history,
    ]
    assert histories[0] == histories[1]
    assert np.array_equal(split.theta, given.theta)


# ------------------------------------------------------------------ weights, and what is refused


def test_mixed_batches_are_weighted_as_they_come():
    w = RNG.random(30)
    source = [(X[:30], Y[:30]), (X[30:], Y[30:], w)]
    model = make().compile(md.SGD(1e-12), weighted_metrics=["auc"])
    for order in ([0, 1], [1, 0]):
        history = model.fit((source[i] for i in order), steps_per_epoch=2, verbose=0).history
        together = model.evaluate(X, Y, sample_weight=np.concatenate([np.ones(30), w]))
        assert history["auc"][0] == pytest.approx(together["auc"], abs=1e-6)


def test_weights_that_come_to_nothing_are_refused():
    w = np.zeros(60)
    w[50:] = 1
    with pytest.raises(ValueError, match=r"all weights .*are 0"):
        make().fit(X, Y, validation_split=0.2, sample_weight=w, verbose=0)
    with pytest.raises(ValueError, match="all weights of these rows are 0"):
        make().fit(X, Y, sample_weight=Y == 1, class_weight={0: 1, 1: 0, 2: 1}, verbose=0)
    half = iter([(X[:30], Y[:30], np.zeros(30)), (X[30:], Y[30:], np.ones(30))])
    make().fit(half, steps_per_epoch=2, verbose=0)  # one batch of no weight is no update, and no error


def test_a_loss_and_a_metric_cannot_change_the_users_labels():
    class Shifts(md.MeanSquaredError):
        def forward(self, scores, y):
            y -= 1
            return super().forward(scores, y)

    class Clears(md.Metric):
        name = "cleared"

        def reset(self):
            pass

        def update(self, y_true, y_pred):
            y_true[...] = 0

        def result(self):
            return 0.0

    for loss, metrics, y in (Shifts(), [], RNG.normal(size=(60, 3))), ("softmax_crossentropy", [Clears()], Y.copy()):
        before, model = y.copy(), md.Sequential([md.Dense(3)], rng=0).compile("sgd", loss, metrics).build(5)
        for call in (model.fit, model.evaluate, model.train_on_batch):
            with pytest.raises(ValueError, match="read-only"):
                call(X, y)
        with pytest.raises(ValueError, match="read-only"):
            model.fit(iter([(X, y)]), steps_per_epoch=1)
        assert np.array_equal(y, before)


def test_a_masked_y_and_a_sparse_x_are_refused():
    with pytest.raises(TypeError, match="y: expected an array without a mask"):
        make().fit(X, np.ma.array(Y, mask=Y == 1), verbose=0)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"x: expected a dense array, got csr_array; use x.toarray\(\)"):
        make().fit(sparse.csr_array(X), Y, verbose=0)


def test_a_function_metric_is_called_once_an_epoch():
    def mine(y_true, y_pred):
        calls.append(len(y_true))
        return 0.0

    calls = []
    model = make().build(5).compile("sgd", metrics=[mine])
    model.fit(X, Y, sample_weight=np.ones(60), verbose=0)
    assert calls == [60]
    calls.clear()
    watch = md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)
    model.fit(X, Y, batch_size=10, callbacks=[watch], verbose=0)
    assert calls == [60]  # on all rows, once


def test_a_first_batch_that_fails_changes_nothing():
    def breaks():
        raise OSError("gone")
        yield

    for source, error, match in [
        (iter([]), ValueError, "ended before epoch 1, step 1"),
        (breaks(), RuntimeError, r"failed in epoch 1, step 1: OSError\('gone'\)"),
        (iter([(X, Y + 7)]), ValueError, "got [78] in row 0"),
    ]:
        model = make()
        with pytest.raises(error, match=match):
            model.fit(source, steps_per_epoch=1, verbose=0)
        assert not model.built
        assert model.history is None


@pytest.mark.parametrize("form", [lambda y: y * 1.0, lambda y: np.eye(3)[y], lambda y: y[:, None]])
def test_missing_classes_are_seen_in_every_form_of_labels(form):
    y = np.sort(RNG.integers(0, 3, 60))
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    with pytest.warns(UserWarning, match="leaves the validation part without the classes"):
        model.fit(X, form(y), validation_split=0.2, verbose=0)
    with pytest.raises(ValueError, match="needs validation_split"):
        model.fit(X, y, validation_shuffle=True, verbose=0)


def test_scalar_weights_and_mixed_frames():
    with pytest.raises(ValueError, match=r"one weight for each of the 60 rows, shape \(60,\), got \(\)"):
        make().fit(X, Y, sample_weight=0.5, verbose=0)
    pandas = pytest.importorskip("pandas")
    columns = {"a": X[:, 0], "b": X[:, 1] > 0, "c": X[:, 2] > 0, "d": X[:, 3]}
    model, plain = make(), make()
    model.fit(pandas.DataFrame(columns), Y, verbose=0)
    plain.fit(np.column_stack(list(columns.values())), Y, verbose=0)
    assert np.array_equal(model.theta, plain.theta)


# ------------------------------------------------------------------ once, and before anything changes


def test_the_warning_of_a_split_names_the_users_line():
    order = np.argsort(Y)
    x, y = X[order], Y[order]

    def helper(model):
        return model.fit(x, y, validation_split=0.2, verbose=0), sys._getframe().f_lineno

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, line = make().fit(x, y, validation_split=0.2, verbose=0), sys._getframe().f_lineno
        _, line_of_helper = helper(make())
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, line), (__file__, line_of_helper)]


def test_each_array_is_checked_once(monkeypatch):
    checked = []

    def counting(name, function):
        def counted(array, *args, **kwargs):
            checked.append((name, array.base if array.base is not None else array))
            return function(array, *args, **kwargs)

        return counted

    for name in ("as_features", "check_features", "check_weights"):
        monkeypatch.setattr(inputs, name, counting(name, getattr(inputs, name)))
    x, w, x_val, w_val = X.copy(), RNG.random(60), X[:20].copy(), RNG.random(20)
    y, y_val = Y.copy(), Y[:20].copy()
    check_targets = md.SoftmaxCrossEntropy.check_targets
    patched = counting_method("check_targets", check_targets, checked)
    monkeypatch.setattr(md.SoftmaxCrossEntropy, "check_targets", patched)
    make().fit(x, y, sample_weight=w, validation_data=(x_val, y_val, w_val), epochs=3, batch_size=7, verbose=0)
    for array, names in ((x, 2), (x_val, 2), (w, 1), (w_val, 1), (y, 1), (y_val, 1)):
        found = [name for name, seen in checked if seen is array]
        assert len(found) == len(set(found)) == names, found


def counting_method(name, function, checked):
    def counted(self, array, *args):
        checked.append((name, array))
        return function(self, array, *args)

    return counted


@pytest.mark.parametrize("source", ["arrays", "generator"])
def test_the_loss_is_asked_once_a_fit_whether_it_works_by_rows(source, monkeypatch):
    asked = []

    def counted(loss):
        asked.append(loss)
        return by_rows(loss)

    monkeypatch.setattr(inputs, "by_rows", counted)
    given = (X, Y) if source == "arrays" else (batches(), None)
    steps = {} if source == "arrays" else {"steps_per_epoch": 3}
    model = make()
    model.fit(*given, validation_data=(X, Y), epochs=3, gradient_accumulation_steps=2, verbose=0, **steps)
    assert asked == [model.loss]
