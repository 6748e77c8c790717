"""Inputs of fit: data frames, files read in blocks, generators, datasets, labels, weights, validation splits."""

import re
import sys
import warnings

import numpy as np
import pytest
from frames import LIBRARIES, frame_of
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
    with pytest.raises(TypeError, match=r"x: expected real numbers, got strings in the columns 'town', 'name'"):
        make().fit(bad, [0, 1], verbose=0)


# ------------------------------------------------------------------ names of features

COLUMNS = [f"c{i}" for i in range(5)]
TURNED = COLUMNS[::-1]


def frame(library, x=X):
    return frame_of(library, {name: x[:, i] for i, name in enumerate(COLUMNS)})


def learning_calls(x, y):
    """Each method that trains, or gives gradients to train with."""
    return [
        lambda m: m.fit(x, y, verbose=0),
        lambda m: m.fit(iter([(x, y)]), steps_per_epoch=1, verbose=0),
        lambda m: m.train_on_batch(x, y),
        lambda m: m.loss_and_grad(x, y),
    ]


def other_calls(x, y):
    return [
        lambda m: m.fit(X, Y, validation_data=(x, y), verbose=0),
        lambda m: m.evaluate(x, y),
        lambda m: m.predict(x),
        lambda m: m.forward(x),
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_are_compared_wherever_a_frame_comes(library):
    given = frame(library)
    for learn in learning_calls(given, Y):
        model = make()
        assert model.feature_names is None
        learn(model)
        assert model.feature_names == tuple(COLUMNS)
        for call in (*learning_calls(given[TURNED], Y), *other_calls(given[TURNED], Y)):
            before = picture(model)
            with pytest.raises(ValueError, match=r"x: columns in another order: expected \['c0', .*use x\[list"):
                call(model)
            assert picture(model) == before
        for call in (*learning_calls(X, Y), *other_calls(X, Y)):  # arrays have no names
            call(model)
        for call in (*learning_calls(given[TURNED][list(model.feature_names)], Y), *other_calls(given, Y)):
            call(model)
        assert model.feature_names == tuple(COLUMNS)


def test_names_are_those_of_the_first_frame_that_was_accepted():
    model, good, bad = make(), frame("a stand-in"), frame("a stand-in", np.where(X[7, 2] == X, np.nan, X))
    for learn in (*learning_calls(bad, Y), *learning_calls(good, Y + 9)):
        with pytest.raises(ValueError, match=r"row 7, column 'c2' is missing|row 0|labels from 0"):
            learn(model)
        assert (model.feature_names, model.class_names, model.built) == (None, None, False)
    with pytest.raises(TypeError, match="epochs"):  # what is checked last
        model.fit(good, Y, epochs="many", verbose=0)
    assert model.feature_names is None
    with pytest.raises(ValueError, match=r"validation_data: x: columns in another order"):
        model.fit(good, Y, validation_data=(good[TURNED], Y), verbose=0)
    assert model.feature_names is None
    model.fit(X, Y, verbose=0)
    model.fit(good[TURNED], Y, verbose=0)
    assert model.feature_names == tuple(TURNED)
    with pytest.raises(ValueError, match="columns in another order"):
        model.predict(good)


@pytest.mark.parametrize("library", LIBRARIES)
def test_errors_of_frames_name_the_column(library):
    for value, message in ((np.nan, "is missing, remove or impute it"), (1e39, "is 1e.39, which overflows float32")):
        x = X.astype("float64")
        x[50, 3] = value
        given = frame(library, x)
        for learn in learning_calls(given, Y):
            with pytest.raises(ValueError, match=f"^x: row 50, column 'c3' {message}"):
                learn(make())
        for call in other_calls(given, Y):
            with pytest.raises(ValueError, match=f"x: row 50, column 'c3' {message}"):
                call(make().build(5))
        with pytest.raises(ValueError, match=f"^validation_data: x: row 5, column 'c3' {message}"):
            make().fit(given, Y, validation_split=0.25, verbose=0)


def test_a_series_is_no_frame():
    series = pytest.importorskip("pandas").Series(X[:, 0])
    with pytest.raises(ValueError, match=r"expected rows of features.*One feature\? Use x.to_frame\(\)"):
        make().fit(series, Y, verbose=0)
    make().fit(series.to_frame("a"), Y, sample_weight=series.abs(), verbose=0)


# ------------------------------------------------------------------ names of classes

NAMES = np.array(["cat", "dog", "owl"])[Y]


def binary(**options):
    layers = [md.Dense(6, "tanh"), md.Dense(1)]
    return md.Sequential(layers, rng=0).compile(md.SGD(0.1), "binary_crossentropy", ["accuracy"], **options)


def pandas_form(dtype):
    def form(names):
        pandas = pytest.importorskip("pandas")
        return pandas.Series(names, dtype=dtype, index=range(7, 7 + len(names)))

    return form


FORMS = {
    "list": lambda names: names.tolist(),
    "U": lambda names: names,
    "S": lambda names: names.astype("S"),
    "O": lambda names: names.astype(object),
    "(n, 1)": lambda names: names[:, None],
    "numpy strings": lambda names: names.astype(np.dtypes.StringDType()),
    "pandas str": pandas_form("str"),
    "pandas object": pandas_form("object"),
    "pandas string": pandas_form("string"),
    "pandas category": pandas_form("category"),
    "pandas frame": lambda names: pandas_form("object")(names).to_frame(),
    "polars": lambda names: pytest.importorskip("polars").Series(names.tolist()),
    "polars categories": lambda n: (p := pytest.importorskip("polars")).Series(n.tolist(), dtype=p.Categorical),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [make, binary])
def test_names_train_like_the_integers_they_stand_for(form, kind):
    numbers = Y if kind is make else (Y > 0).astype(int)
    names = NAMES if kind is make else np.array(["no", "yes"])[numbers]
    classes = ("cat", "dog", "owl") if kind is make else ("no", "yes")
    y, options = FORMS[form](names), {"epochs": 2, "batch_size": 8, "verbose": 0}
    for more in ({}, {"validation_split": 0.3, "validation_shuffle": True}, {"class_weight": "balanced"}):
        named, numbered = kind(), kind()
        histories = [named.fit(X, y, **options, **more).history, numbered.fit(X, numbers, **options, **more).history]
        assert histories[0] == histories[1]
        assert named.theta.tobytes() == numbered.theta.tobytes()
        assert (named.class_names, numbered.class_names) == (classes, None)
    assert named.evaluate(X, y) == numbered.evaluate(X, numbers)
    assert named.loss_and_grad(X, y) == numbered.loss_and_grad(X, numbers)
    assert named.train_on_batch(X, y) == numbered.train_on_batch(X, numbers)
    validated = named.fit(X, y, validation_data=(X[:9], y[:9]), **options).history
    assert validated == numbered.fit(X, numbers, validation_data=(X[:9], numbers[:9]), **options).history
    few = named.fit(iter([(X[:9], y[:9]), (X[:1], y[:1])]), steps_per_epoch=2, verbose=0).history
    assert few == numbered.fit(iter([(X[:9], numbers[:9]), (X[:1], numbers[:1])]), steps_per_epoch=2, verbose=0).history


def test_class_weights_have_the_names_as_keys():
    named, numbered = make(), make()
    named.fit(X, NAMES, class_weight={"owl": 3, "cat": 1, "dog": 2}, verbose=0)
    numbered.fit(X, Y, class_weight={0: 1, 1: 2, 2: 3}, verbose=0)
    assert named.theta.tobytes() == numbered.theta.tobytes()
    with pytest.raises(ValueError, match=r"no weight for the labels \['owl'\]; it has weights for \['cat', 'dog'\]"):
        make().fit(X, NAMES, class_weight={"cat": 1, "dog": 2}, verbose=0)


def test_numbers_as_strings_are_names():
    model = md.Sequential([md.Dense(12)], rng=0).compile()
    model.fit(X, (np.arange(60) % 12).astype(str), verbose=0)
    assert model.class_names == ("0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9")


def test_a_split_takes_the_names_of_all_rows():
    model, order = make(), np.argsort(Y == 2)
    with pytest.warns(UserWarning, match=r"leaves the training part without the classes \['owl'\]"):
        model.fit(X[order], NAMES[order], validation_split=0.6, verbose=0)
    assert model.class_names == ("cat", "dog", "owl")


@pytest.mark.parametrize("learn", range(4))
def test_names_where_numbers_were_and_numbers_where_names_were(learn):
    for first, then, message in (
        (Y, NAMES, "y: expected whole numbers, on which the model was trained, got dtype <U3"),
        (NAMES, Y, r"y: expected names of the classes \['cat', 'dog', 'owl'\], on which the model was trained, got"),
        (NAMES, np.eye(3)[Y], r"y: expected names of the classes"),
        (NAMES, np.where(NAMES == "owl", "yak", NAMES), "y: 'yak' in row .* is not one of the classes"),
    ):
        model = make()
        if learn == 1 and first is NAMES:
            model.fit(X, NAMES, verbose=0)
        learning_calls(X, first)[learn](model)
        for call in (*learning_calls(X, then), lambda m, then=then: m.evaluate(X, then)):
            before = picture(model)
            with pytest.raises((TypeError, ValueError), match=message):
                call(model)
            assert picture(model) == before


def test_names_that_are_new_in_evaluate_or_in_a_source_of_batches():
    for call in (
        lambda m: m.evaluate(X, NAMES),
        lambda m: m.fit(iter([(X, NAMES)]), steps_per_epoch=1, verbose=0),
    ):
        model = make().build(5)
        with pytest.raises(
            ValueError, match=r"does not know the names of the classes yet.* md.ClassLabels\(all_names\)"
        ):
            call(model)
        assert model.class_names is None


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "binary_crossentropy"])
def test_names_are_for_classes(loss):
    model = md.Sequential([md.Dense(3)], rng=0).compile("sgd", loss)
    for call in (*learning_calls(X, NAMES), lambda m: m.evaluate(X, NAMES)):
        with pytest.raises(TypeError, match=r"y: expected real numbers, got dtype <U3\. Class names are for Softmax"):
            call(model.build(5))
    assert model.class_names is None


def test_a_loss_of_the_users_gets_its_labels_as_they_are():
    class Lengths(md.Loss):
        def forward(self, scores, y):
            seen.append(y)
            self.d = scores[:, :1] - np.char.str_len(y)[:, None]
            return float((self.d**2).mean())

        def backward(self):
            return np.repeat(self.d, 3, axis=1)

    seen = []
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(1e-6), Lengths())
    model.fit(X, NAMES, batch_size=60, shuffle=False, verbose=0)
    assert np.array_equal(seen[0], NAMES)
    assert model.class_names is None


def test_metrics_see_integers():
    class Sees(md.Metric):
        name = "sees"

        def reset(self):
            pass

        def update(self, y_true, y_pred):
            assert y_true.dtype.kind in "iu"

        def result(self):
            return 0.0

    model = md.Sequential([md.Dense(3)], rng=0).compile(metrics=[Sees()])
    model.fit(X, NAMES, validation_split=0.5, validation_shuffle=True, verbose=0)


def test_other_outputs_are_of_other_classes():
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    model.fit(frame("a stand-in"), NAMES, verbose=0)
    model.add(md.Softmax())
    assert model.class_names == ("cat", "dog", "owl")
    model.add(md.Dense(2))
    assert (model.class_names, model.feature_names) == (None, tuple(COLUMNS))
    model.fit(X, np.where(Y > 0, "a", "b"), verbose=0)
    assert model.class_names == ("a", "b")


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
        (lambda m: m.fit(batches(), epochs=2), "a generator is read once, so .* left for epoch 2 of 2"),
        (lambda m: m.fit(batches(), steps_per_epoch=3, batch_size=32), "fit: batch_size is for arrays only"),
        (lambda m: m.fit(X, Y, validation_data=batches(), epochs=2), "validation_steps: a generator is read once"),
        (lambda m: m.fit(X, Y, validation_data=(X, Y), validation_steps=2), "validation_steps is for sources"),
        (lambda m: m.fit(X, Y, validation_steps=2), "validation_steps needs validation_data"),
        (lambda m: m.fit(X, Y, validation_batch_size=2), "validation_batch_size needs validation_data"),
        (lambda m: m.fit(X, Y, validation_freq=2), "validation_freq needs validation_data"),
        (lambda m: m.fit(X, Y, validation_data=(X, Y), validation_freq=0), "validation_freq"),
        (lambda m: m.fit(X, Y, validation_data=(X, Y), validation_freq=[1, "a"]), "validation_freq"),
        (lambda m: m.fit(X, Y, validation_data=Dataset(), validation_batch_size=2), "validation_data: batch_size is"),
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
