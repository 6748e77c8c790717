"""Estimators of tables: what they learn, what they promise of their score, and what they refuse."""

import copy
import datetime
import pickle
import runpy

import numpy as np
import pytest

import minidense as md
from minidense.tables import estimators

RNG = np.random.default_rng(0)
N = 240
X = {
    "hours": RNG.normal(size=N).round(3).tolist(),
    "town": RNG.choice(["Bonn", "Kiel", "Ulm"], N).tolist(),
    "street": RNG.integers(0, 40, N).astype(str).tolist(),
    "tired": RNG.choice([True, False], N).tolist(),
}
X["hours"][3] = X["town"][5] = None
SIGNAL = np.array([h or 0.0 for h in X["hours"]]) + (np.array(X["town"]) == "Ulm")
NAMES = np.where(SIGNAL > 0.3, "passed", "failed")
QUICK = {"epochs": 6, "members": 3, "hidden": [8], "verbose": 0}


def some(x, rows):
    return {name: [column[i] for i in rows] for name, column in x.items()}


def classifier(**more):
    return md.TableClassifier(0, **{**QUICK, **more}).fit(X, NAMES)


def regressor(**more):
    return md.TableRegressor(0, **{**QUICK, **more}).fit(X, 100 + 10 * SIGNAL)


def test_a_classifier_learns_names_numbers_and_booleans():
    model = md.TableClassifier(0, epochs=24, verbose=0).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.95
    assert model.classes_.tolist() == ["failed", "passed"]
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (model.predict(X) == model.classes_[probabilities.argmax(axis=1)]).all()
    for y in ((SIGNAL > 0).astype(int) + 5, SIGNAL > 0, np.digitize(SIGNAL, [0, 1]).astype("int8")):
        other = md.TableClassifier(0, **QUICK).fit(X, y)
        assert other.predict(X).dtype == np.asarray(y).dtype
        assert set(other.predict(X).tolist()) <= set(np.asarray(y).tolist())


def test_a_regressor_predicts_in_the_units_of_y():
    y = 1e6 + 1e3 * SIGNAL
    model = md.TableRegressor(0, epochs=24, verbose=0).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.predict(X).shape == (N,)
    both = md.TableRegressor(0, epochs=24, verbose=0).fit(X, np.column_stack([y, -SIGNAL]))
    assert both.predict(X).shape == both.oof_prediction_.shape == (N, 2)
    assert both.score(X, np.column_stack([y, -SIGNAL])) > 0.9
    flat = md.TableRegressor(0, **QUICK).fit(X, np.full(N, 7.0))
    np.testing.assert_allclose(flat.predict(X), 7, atol=0.5)


# ------------------------------------------------------------------ out of fold


@pytest.mark.parametrize("make", [classifier, regressor])
def test_the_score_out_of_fold_is_that_of_rows_not_seen(make):
    """The prediction of a row out of fold does not depend on its own y."""
    model = make()
    y = NAMES.copy() if make is classifier else 100 + 10 * SIGNAL
    row = 17
    y[row] = {"passed": "failed", "failed": "passed"}[y[row]] if make is classifier else y[row] + 1
    fold = type(model)(0, **QUICK)
    targets, _ = fold._learn(y, N)
    before, _ = fold._learn(NAMES if make is classifier else 100 + 10 * SIGNAL, N)
    folds = [fold._folds(each, np.random.default_rng(0)) for each in (targets, before)]
    assert np.bincount(folds[0]).tolist() == [80, 80, 80]
    network = model.model_
    k = model.members
    outputs = network[:-1].predict(model.preprocessor_.transform(X)).reshape(N, k, -1)
    of_fold = outputs[np.arange(N), folds[1]]
    if make is classifier:
        expected = np.exp(of_fold) / np.exp(of_fold).sum(axis=1, keepdims=True)
    else:
        expected = of_fold * model.target_scale_ + model.target_mean_
    np.testing.assert_allclose(model.oof_prediction_.reshape(N, -1), expected, rtol=1e-4, atol=1e-5)


def test_noise_is_learned_by_heart_and_has_no_score_out_of_fold():
    y = RNG.choice(["a", "b"], N)
    model = md.TableClassifier(0, epochs=40, verbose=0).fit(X, y)
    assert model.history_.history["accuracy"][-1] > 0.8
    assert model.oof_score_ < 0.62  # 0.5, and the best of 40 epochs: four standard deviations of 240 throws


def test_folds_have_as_many_rows_of_each_class_as_possible():
    y = np.array([0] * 100 + [1] * 23 + [2] * 3 + [3])
    fold = md.TableClassifier(0, members=8)._folds(y, np.random.default_rng(0))
    for label in range(4):
        counts = np.bincount(fold[y == label], minlength=8)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(fold, minlength=8)) <= 1


def test_the_temperature_has_the_least_log_loss():
    scores = RNG.normal(size=(300, 4)) * 5
    targets = np.array([RNG.choice(4, p=np.exp(z / 3) / np.exp(z / 3).sum()) for z in scores])
    beta = estimators._inverse_temperature(scores, targets, None)

    def log_loss(b):
        z = b * scores
        return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(300), targets]).mean()

    assert log_loss(beta) <= min(log_loss(beta * 1.01), log_loss(beta / 1.01))
    assert 0.2 < beta < 0.5


# ------------------------------------------------------------------ the same bits


def test_the_same_rng_gives_the_same_bits():
    assert np.array_equal(classifier().predict_proba(X), classifier().predict_proba(X))
    other = md.TableClassifier(1, **QUICK).fit(X, NAMES)
    assert not np.array_equal(classifier().predict_proba(X), other.predict_proba(X))
    twins = [md.TableRegressor(np.random.default_rng(3), **QUICK).fit(X, SIGNAL).predict(X) for _ in range(2)]
    assert np.array_equal(*twins)


@pytest.mark.parametrize("make", [classifier, regressor])
def test_saved_exported_and_copied_with_the_same_bits(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.npz")
    model.export_numpy(tmp_path / "model.py")
    exported = runpy.run_path(tmp_path / "model.py")
    for twin in (md.load_model(tmp_path / "model.npz"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is type(model)
        assert twin.get_params() == model.get_params()
        assert twin.oof_score_ == model.oof_score_
        assert twin.explain() == model.explain()
        np.testing.assert_equal(twin.history_.history, model.history_.history)  # NaN where not validated
        assert np.array_equal(twin.predict(X), model.predict(X))
        assert np.array_equal(twin.oof_prediction_, model.oof_prediction_)
    assert np.array_equal(exported["predict"](X), model.predict(X))
    if make is classifier:
        assert np.array_equal(exported["predict_proba"](X), model.predict_proba(X))
        assert exported["predict"](X).dtype == model.predict(X).dtype


def test_a_run_that_was_interrupted_is_resumed_to_the_same_bits(tmp_path):
    whole = md.TableClassifier(0, **QUICK).fit(X, NAMES)
    keep = md.callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz")
    assert np.array_equal(
        md.TableClassifier(0, **QUICK).fit(X, NAMES, callbacks=keep).predict_proba(X), whole.predict_proba(X)
    )
    again = md.TableClassifier(0, **QUICK).fit(X, NAMES, resume=tmp_path / "2.npz")
    assert np.array_equal(again.predict_proba(X), whole.predict_proba(X))
    np.testing.assert_equal(again.history_.history, whole.history_.history)  # NaN where not validated


@pytest.mark.parametrize("part", ["kind", "arguments", "preprocessor", "saved"])
def test_a_forged_table_is_refused(part, tmp_path):
    from minidense.files import model_file

    model = classifier()
    table = {"kind": "TableClassifier", "arguments": model.get_config(), "preprocessor": model.preprocessor_}
    table["saved"] = {name: getattr(model, name) for name in ("oof_prediction_", "oof_score_", "classes_")}
    wrong = {
        "kind": ["Dense", 3],
        "arguments": [{"members": 0}, {"evil": 1}, []],
        "preprocessor": [md.TablePreprocessor(), 3, md.TablePreprocessor().fit({"a": [1, 2]})],
        "saved": [{}, {**table["saved"], "oof_score_": "x"}, {**table["saved"], "oof_prediction_": np.ones((3, 5))}],
    }
    for value in wrong[part]:
        model_file.write_model(tmp_path / "m.npz", model.model_, table={**table, part: value})
        with pytest.raises(md.CorruptFileError):
            md.load_model(tmp_path / "m.npz")
    model_file.write_model(tmp_path / "m.npz", model.model_, table={k: v for k, v in table.items() if k != part})
    with pytest.raises(md.CorruptFileError, match="its table has other parts"):
        md.load_model(tmp_path / "m.npz")


# ------------------------------------------------------------------ small, odd and wrong


@pytest.mark.parametrize("n", [2, 3, 10])
def test_few_rows(n):
    x, y = some(X, range(n)), ["a", "b", "a", "a", "b", "b", "a", "b", "a", "a"][:n]
    assert set(md.TableClassifier(0, epochs=3, verbose=0).fit(x, y).predict(x)) <= {"a", "b"}
    assert np.isfinite(md.TableRegressor(0, epochs=3, verbose=0).fit(x, np.arange(n)).predict(x)).all()


def test_one_row_of_a_class():
    y = NAMES.astype("U9")
    y[7] = "withdrawn"
    model = md.TableClassifier(0, **QUICK).fit(X, y)
    assert model.classes_.tolist() == ["failed", "passed", "withdrawn"]
    assert model.predict_proba(X).shape == (N, 3)


def test_weights_are_copies_of_rows():
    weights = np.where(NAMES == "passed", 50.0, 1.0)
    plain, weighted = classifier(), md.TableClassifier(0, **QUICK).fit(X, NAMES, weights)
    assert (weighted.predict(X) == "passed").mean() > (plain.predict(X) == "passed").mean()
    assert weighted.score(X, NAMES, weights) == np.average(weighted.predict(X) == NAMES, weights=weights)


def test_frames_and_arrays():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X)
    assert np.array_equal(
        md.TableClassifier(0, **QUICK).fit(frame, pd.Series(NAMES)).predict(frame), classifier().predict(X)
    )
    array = RNG.normal(size=(50, 3))
    assert md.TableRegressor(0, **QUICK).fit(array, array[:, 0]).predict(array[:4]).shape == (4,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: md.TableClassifier(0).predict(X), RuntimeError, r"TableClassifier: call fit\(x, y\) first"),
        (lambda: md.TableRegressor(0).explain(), RuntimeError, r"TableRegressor: call fit\(x, y\) first"),
        (lambda: md.TableClassifier(0).save("m.npz"), RuntimeError, "call fit"),
        (lambda: md.TableClassifier(members=1), ValueError, "members: expected .* at least 2, got 1"),
        (lambda: md.TableClassifier(hidden=[64, 0]), ValueError, "hidden"),
        (lambda: md.TableClassifier(epoch=3), TypeError, "Did you mean 'epochs'"),
        (lambda: md.TableRegressor(learning_rate=-1), ValueError, "learning_rate"),
        (lambda: md.TableClassifier(**QUICK).fit(X, ["a"] * N), ValueError, "expected two classes or more"),
        (lambda: md.TableClassifier(**QUICK).fit(X, NAMES[:-1]), ValueError, f"x has {N} rows and y has {N - 1}"),
        (lambda: md.TableRegressor(**QUICK).fit(X, NAMES), TypeError, "y: expected real numbers, got strings"),
        (lambda: md.TableRegressor(**QUICK).fit(X, [*SIGNAL[:-1], np.nan]), ValueError, f"nan in row {N - 1}"),
        (lambda: md.TableRegressor(**QUICK).fit({**X, "hours": [np.inf] * N}, SIGNAL), ValueError, "hours"),
        (lambda: classifier().predict({"hours": [1.0]}), ValueError, "town"),
        (lambda: classifier().set_params(epoch=3), ValueError, "Did you mean 'epochs'"),
        (lambda: classifier().set_params(epochs=0), ValueError, "epochs"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    model = classifier()
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="expected two classes"):
        model.fit(X, ["a"] * N)
    assert np.array_equal(model.predict_proba(X), before)
    assert model.set_params(epochs=2) is model
    assert model.get_params()["epochs"] == model.epochs == 2
    assert len(model.fit(X, NAMES).history_.epoch) == 2


# ------------------------------------------------------------------ what once went wrong


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_a_run_whose_withheld_rows_are_not_known_is_not_resumed(rng, tmp_path):
    keep = md.callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz")
    model = md.TableClassifier(rng, **QUICK).fit(X, NAMES, callbacks=keep)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="rng must be an int"):
        model.fit(X, NAMES, resume=tmp_path / "2.npz")
    assert np.array_equal(model.predict_proba(X), before)


def test_a_fit_that_fails_draws_nothing_from_the_generator():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    for wrong in (3, [3]):
        with pytest.raises(TypeError, match="callbacks: expected"):
            md.TableClassifier(rng, **QUICK).fit(X, NAMES, callbacks=wrong)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("value", [0.1, 1 / 3, -1e17])
def test_a_constant_y_is_predicted(value):
    y = np.full(N, value)
    model = md.TableRegressor(0, **QUICK).fit(X, y)
    assert np.array_equal(model.oof_prediction_, y)
    assert model.oof_score_ == 1.0


@pytest.mark.parametrize("factor", [1e300, 1e-200])
def test_numbers_whose_squares_are_no_numbers_are_refused(factor):
    with pytest.raises(ValueError, match="Multiply y by a constant"):
        md.TableRegressor(0, **QUICK).fit(X, factor * SIGNAL)


DAYS = [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)]


@pytest.mark.parametrize("labels", [[b"failed", b"passed"], DAYS, np.array(DAYS, "M8[D]"), [1.0, np.inf]])
def test_classes_that_no_file_keeps_are_refused_before_the_training(labels):
    with pytest.raises(TypeError, match="expected text, booleans or finite numbers"):
        md.TableClassifier(0, **QUICK).fit(X, np.resize(labels, N))


def test_a_score_of_other_rows_says_so():
    for model, y in ((classifier(), NAMES), (regressor(), SIGNAL)):
        with pytest.raises(ValueError, match=f"x has {N} rows and y has 5"):
            model.score(X, y[:5])


@pytest.mark.parametrize("classes", [["failed"], [], ["passed", "failed"], ["a", "a"], ["a", "b", "c"], [["a", "b"]]])
def test_forged_classes_are_refused(classes, tmp_path):
    model = classifier()
    model.__dict__["classes_"] = np.array(classes, "U6")
    model.save(tmp_path / "m.npz")
    with pytest.raises(md.CorruptFileError):
        md.load_model(tmp_path / "m.npz")


@pytest.mark.parametrize("offset", [1e7, 1e12])
def test_numbers_far_from_0_are_told_apart(offset):
    """The networks compute in float32; y is not rounded to it."""
    plain, far = md.TableRegressor(0, **QUICK), md.TableRegressor(0, **QUICK)
    plain.fit(X, SIGNAL)
    far.fit(X, offset + SIGNAL)
    np.testing.assert_allclose(far.predict(X) - offset, plain.predict(X), atol=2e-3)
    assert far.score(X, offset + SIGNAL) == pytest.approx(plain.score(X, SIGNAL), abs=1e-2)


def test_only_the_best_epoch_is_saved_though_not_each_is_validated(tmp_path):
    keep = md.callbacks.ModelCheckpoint(tmp_path / "best.npz", monitor="val_accuracy", save_best_only=True)
    md.TableClassifier(0, **QUICK).fit(X, NAMES, callbacks=keep)
    assert (tmp_path / "best.npz").exists()
    with pytest.raises(TypeError, match="rng: expected an int"):
        md.TableClassifier("x")
    with pytest.raises(ValueError, match="verbose"):
        md.TableClassifier(verbose="loud")
