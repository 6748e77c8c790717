"""What a person types, and what comes of it: the result, or the message; nothing is ignored, nothing silently wrong.

Each line is one call as people write it. A call that must fail has the error and a part of its message; after it the
model is what it was.
"""

import math
import re

import numpy as np
import pytest
from frames import Frame
from snapshots import picture

import minidense as md
from minidense import callbacks

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 3)), np.arange(24) % 2
NAMES = np.array(["no", "yes"])[Y]
FRAME = Frame({"age": X[:, 0], "fare": X[:, 1], "size": X[:, 2]})
QUIET = {"verbose": 0}


def classifier(loss="sparse_categorical_crossentropy", metrics=("accuracy",), **more):
    layers = [md.Dense(4, "relu"), md.Dense(2, "softmax")]
    return md.Sequential(layers, rng=0).compile(md.SGD(0.1), loss, list(metrics), **more).build(3)


def regressor(metrics=(), **more):
    return (
        md.Sequential([md.Dense(1)], rng=0, dtype="float64").compile(md.SGD(0.1), "mse", list(metrics), **more).build(3)
    )


def binary(metrics=(), **more):
    layers = [md.Dense(1, "sigmoid")]
    return md.Sequential(layers, rng=0).compile(md.SGD(0.1), "binary_crossentropy", list(metrics), **more).build(3)


def fitted(model, x=X, y=Y, **more):
    model.fit(x, y, **{**QUIET, **more})
    return model


class Recording(md.Callback):
    """Records the names of all hooks that are called."""

    def __init__(self):
        self.called = []


for hook in (
    *("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end"),
    *("on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end"),
):

    def record(self, *arguments, hook=hook):
        self.called.append(hook)

    setattr(Recording, hook, record)


# ------------------------------------------------------------------ calls and their results


def weighted_means(model, **weights):
    """The last accuracy of training without an update that matters, and that of evaluation."""
    history = model.fit(X, Y, epochs=1, validation_data=(X, Y), batch_size="full", **QUIET, **weights)
    return history.history


def rows_of_copies(weights):
    return np.repeat(np.arange(len(X)), weights)


def normalized():
    layers = [md.Dense(4), md.BatchNormalization(momentum=0.5), md.ReLU(), md.Dense(2)]
    return md.Sequential(layers, rng=0, dtype="float64").compile(md.SGD(0.1)).build(3)


def weights_are_copies():
    copies = RNG.integers(0, 4, len(X))
    weighted, repeated = normalized(), normalized()
    for _ in range(20):
        weighted.train_on_batch(X, Y, sample_weight=copies)
        rows = rows_of_copies(copies)
        repeated.train_on_batch(X[rows], Y[rows])
    return max(abs(a - b).max() for a, b in zip(weighted.get_weights(), repeated.get_weights(), strict=True))


def swapped(model):
    """A model of two layers of one shape whose weights are set from views of its own arrays, exchanged."""
    first, second = model.layers
    before = first.W.copy(), second.W.copy()
    model.set_weights([second.W, second.b, first.W, first.b])
    return np.array_equal(first.W, before[1]) and np.array_equal(second.W, before[0])


def frozen(model):
    before = model.theta.copy()
    model.trainable = False
    fitted(model)
    return np.array_equal(model.theta, before)


def hooks_of(call):
    recording = Recording()
    call([recording])
    return list(dict.fromkeys(recording.called))


def ended(stop):
    """What fit prints where it ends early."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        classifier().fit(X, Y, epochs=9, validation_data=(X, Y), callbacks=[stop], verbose=2)
    return out.getvalue().splitlines()[-1]


class StopAfter(md.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


class AddsGap(md.Callback):
    def on_epoch_end(self, epoch, logs):
        logs["gap"] = 1.0


class LastLogs(md.Callback):
    def on_train_end(self, logs):
        self.logs = dict(logs)


def last_logs():
    last = LastLogs()
    history = classifier().fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=last, **QUIET).history
    return last.logs == {name: values[-1] for name, values in history.items()}


def resumed(folder):
    """Two calls that are the same line: the first starts, the second one finds the run complete."""
    keep = callbacks.ModelCheckpoint(f"{folder}/new/{{epoch}}.npz")
    histories = [classifier().fit(X, Y, epochs=3, callbacks=[keep], resume="auto", **QUIET) for _ in range(2)]
    return [len(history.epoch) for history in histories]


def largest_error(y_true, y_pred):
    assert y_true.shape == y_pred.shape
    return abs(y_true - y_pred).max()


RESULTS = {
    "unpacked": (lambda _: len([*classifier().evaluate(X, Y)]), 2),
    "loss, accuracy =": (lambda _: [type(v) for v in fitted(classifier()).evaluate(X, Y)], [float, float]),
    "by position": (lambda _: (r := classifier().evaluate(X, Y))[1] == r["accuracy"], True),
    "as a dict": (lambda _: list(dict(classifier().evaluate(X, Y))), ["loss", "accuracy"]),
    "return_dict": (lambda _: type(classifier().evaluate(X, Y, return_dict=True)), dict),
    "train_on_batch, unpacked": (lambda _: len([*classifier().train_on_batch(X, Y)]), 2),
    "only a loss is a number": (lambda _: math.isfinite(classifier(metrics=()).evaluate(X, Y) + 0.5), True),
    "with its name": (lambda _: "loss" in classifier().evaluate(X, Y), True),
    "a function metric": (
        lambda _: (
            (m := regressor([largest_error])).evaluate(X, Y)["largest_error"]
            == pytest.approx(abs(Y - m.predict(X)[:, 0]).max())
        ),
        True,
    ),
    "a function of each row": (
        lambda _: (
            (m := regressor([lambda y_true, y_pred: abs(y_true - y_pred)[:, 0]])).evaluate(X, Y)[1]
            == pytest.approx(abs(Y - m.predict(X)[:, 0]).mean())
        ),
        True,
    ),
    "acc": (lambda _: list(fitted(classifier(metrics=["acc"])).history.history), ["loss", "acc"]),
    "mean_squared_error": (
        lambda _: list(fitted(regressor(["mean_squared_error"])).history.history),
        ["loss", "mean_squared_error"],
    ),
    "binary_accuracy": (
        lambda _: list(fitted(binary(["binary_accuracy"])).history.history),
        ["loss", "binary_accuracy"],
    ),
    "monitor val_acc": (
        lambda _: len(
            fitted(
                classifier(metrics=["acc"]),
                validation_data=(X, Y),
                epochs=3,
                callbacks=[callbacks.EarlyStopping("val_acc", patience=9)],
            ).history.epoch
        ),
        3,
    ),
    "class weights leave metrics as they are": (
        lambda _: (
            weighted_means(classifier(), class_weight={0: 1.0, 1: 50.0})["accuracy"]
            == weighted_means(classifier())["accuracy"]
        ),
        True,
    ),
    "weighted_metrics count by weight": (
        lambda _: list(weighted_means(classifier(weighted_metrics=["accuracy"]), class_weight={0: 1.0, 1: 50.0})),
        ["loss", "accuracy", "weighted_accuracy", "val_loss", "val_accuracy", "val_weighted_accuracy"],
    ),
    "a weight is a number of copies": (lambda _: weights_are_copies() < 1e-10, True),
    "weights from views of its own": (
        lambda _: swapped(md.Sequential([md.Dense(3), md.Dense(3, bias_initializer="ones")], rng=0).build(3)),
        True,
    ),
    "trainable = False": (lambda _: frozen(classifier()), True),
    "a dropout added to a built model": (
        lambda _: len(fitted(fitted(regressor()).add(md.Dropout(0.5))).history.epoch),
        1,
    ),
    "hooks of fit": (
        lambda _: hooks_of(lambda c: fitted(classifier(), callbacks=c, validation_data=(X, Y))),
        [
            *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_test_begin"),
            *("on_test_batch_begin", "on_test_batch_end", "on_test_end", "on_epoch_end", "on_train_end"),
        ],
    ),
    "hooks of evaluate": (
        lambda _: hooks_of(lambda c: classifier().evaluate(X, Y, callbacks=c)),
        ["on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"],
    ),
    "hooks of predict": (
        lambda _: hooks_of(lambda c: classifier().predict(X, callbacks=c)),
        ["on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end"],
    ),
    "on_train_end has the last logs": (lambda _: last_logs(), True),
    "a callback alone": (lambda _: len(fitted(classifier(), callbacks=StopAfter(), epochs=5).history.epoch), 2),
    "callbacks=None": (lambda _: len(fitted(classifier(), callbacks=None).history.epoch), 1),
    "a metric that a callback adds": (
        lambda _: len(
            fitted(classifier(), callbacks=[AddsGap(), callbacks.EarlyStopping("gap", mode="min")]).history.epoch
        ),
        1,
    ),
    "resume='auto', twice": (lambda folder: resumed(folder), [3, 3]),
    "why it stopped": (lambda _: ended(StopAfter()), "stopped after epoch 2: stop_training was set"),
    "early stopping says so": (
        lambda _: re.sub(r"\d", "#", ended(callbacks.EarlyStopping("loss", min_delta=9, restore_best_weights=True))),
        "stopped after epoch #: early stopping, loss has not improved for # epoch; weights of epoch # restored",
    ),
    "strings as labels": (lambda _: fitted(classifier(), y=NAMES).class_names, ("no", "yes")),
    "a list of strings": (lambda _: fitted(classifier(), y=NAMES.tolist()).class_names, ("no", "yes")),
    "the names come back": (
        lambda _: set((m := fitted(classifier(), y=NAMES)).predict_classes(X)) <= {"no", "yes"} and m.class_names,
        ("no", "yes"),
    ),
    "integers come back as integers": (lambda _: fitted(classifier()).predict_classes(X).dtype.kind, "i"),
    "class weights by name": (
        lambda _: np.array_equal(
            fitted(classifier(), y=NAMES, class_weight={"no": 1.0, "yes": 3.0}).theta,
            fitted(classifier(), class_weight={0: 1.0, 1: 3.0}).theta,
        ),
        True,
    ),
    "evaluated with names": (
        lambda _: (m := fitted(classifier(), y=NAMES)).evaluate(X, NAMES) == m.evaluate(X, NAMES.tolist()),
        True,
    ),
    "names with a sigmoid": (
        lambda _: np.array_equal(fitted(binary(), y=NAMES).theta, fitted(binary()).theta),
        True,
    ),
    "a frame's columns": (lambda _: fitted(classifier(), FRAME).feature_names, ("age", "fare", "size")),
    "an array after a frame": (lambda _: fitted(classifier(), FRAME).predict(X).shape, (24, 2)),
    "every layer's output": (
        lambda _: [a.shape for a in classifier().activations(X)],
        [(24, 4), (24, 4), (24, 2), (24, 2)],
    ),
    "fit(x, y, 8, 2, 0)": (lambda _: len(classifier().fit(X, Y, 8, 2, 0).epoch), 2),
    "epochs=0": (lambda _: len(classifier().fit(X, Y, epochs=0, verbose=0).epoch), 0),
    "initial_epoch": (lambda _: classifier().fit(X, Y, epochs=5, initial_epoch=3, verbose=0).epoch, [3, 4]),
    "model(x)": (lambda _: (m := classifier())(X).tolist() == m.predict(X).tolist(), True),
    "a part of a model": (lambda _: [(m := classifier())[:2].output_shape, len(m), m[0].name], [(4,), 4, "dense"]),
    "a layer by name": (lambda _: classifier().get_layer("dense_1").units, 2),
    "kernel and bias": (lambda _: [(d := classifier()[0]).kernel is d.W, d.bias is d.b], [True, True]),
    "verbose=True": (lambda _: len(classifier().fit(X, Y, verbose=0).epoch), 1),
}


@pytest.mark.parametrize("call", RESULTS)
def test_a_call_gives_what_it_should(call, tmp_path):
    compute, expected = RESULTS[call]
    assert compute(tmp_path) == expected


# ------------------------------------------------------------------ calls and their messages


class Typo(md.RowLoss):
    """Its gradient has the wrong shape."""

    def rows(self, scores, targets):
        return ((scores - targets) ** 2).sum(axis=1)

    def gradient(self, scores, targets):
        return 2 * (scores - targets)[:, 0]


class NoForward(md.Loss):
    """Defines nothing."""


def fit(make=classifier, x=X, y=Y, **more):
    """A model, and the call of its fit."""
    return lambda _: (make(), lambda model: fitted(model, x, y, **more))


def call(make, method, *arguments, **more):
    """A model, and the call of one of its methods."""
    return lambda _: (make(), lambda model: getattr(model, method)(*arguments, **more))


def setting(make, what, name, value):
    return lambda _: (model := make(), lambda _: setattr(what(model), name, value))


def making(make):
    """No model: only something that is made."""
    return lambda _: (None, lambda _: make())


def on_frame():
    return fitted(classifier(), FRAME)


def with_names():
    return fitted(classifier(), y=NAMES)


def early(*arguments, **more):
    return [callbacks.EarlyStopping(*arguments, **more)]


HOLE = Frame({**FRAME, "fare": np.where(np.arange(24) == 5, np.nan, FRAME["fare"])})
TEXT = Frame({**FRAME, "fare": NAMES})

MESSAGES = {
    # attributes and flags
    "optimizer.lr": (setting(classifier, lambda m: m.optimizer, "lr", 1e-9), AttributeError, "Set 'learning_rate'"),
    "model.lr": (setting(classifier, lambda m: m, "lr", 1e-9), AttributeError, "Set 'optimizer.learning_rate'"),
    "layer.weight": (setting(classifier, lambda m: m.layers[0], "weight", 0), AttributeError, "Set 'W'"),
    "model.trainabel": (setting(classifier, lambda m: m, "trainabel", False), AttributeError, "Set 'trainable'"),
    "trainable='no'": (setting(classifier, lambda m: m, "trainable", "no"), TypeError, "expected True or False, got 'no'"),
    "a rate below 0": (setting(classifier, lambda m: m.optimizer, "learning_rate", -1), ValueError, "above 0, got -1"),
    "use_bias='False'": (making(lambda: md.Dense(3, use_bias="False")), TypeError, "use_bias: expected True or False"),
    "nesterov='no'": (making(lambda: md.SGD(0.1, 0.9, nesterov="no")), TypeError, "nesterov: expected True or False"),
    "shuffle='no'": (fit(shuffle="no"), TypeError, "shuffle: expected True or False, got 'no'"),
    "restore='yes'": (making(lambda: early(restore_best_weights="yes")), TypeError, "expected True or False"),
    # callbacks
    "on_epoch_ends": (
        making(lambda: type("Mine", (md.Callback,), {"on_epoch_ends": lambda self, epoch, logs: None})),
        TypeError,
        "on_epoch_ends is no hook, .* Did you mean 'on_epoch_end'",
    ),
    "a callback's class": (fit(callbacks=[callbacks.EarlyStopping]), TypeError, "expected md.callbacks.Callback objects"),
    "monitor='accurcay'": (fit(callbacks=early("accurcay")), ValueError, "Did you mean 'accuracy'"),
    "monitor='val_loss', no validation": (fit(callbacks=early()), ValueError, "val_loss.*validation"),
    "mode='maximum'": (making(lambda: early(mode="maximum")), ValueError, "mode"),
    "a mode that cannot be known": (
        fit(lambda: regressor([largest_error]), callbacks=early("largest_error")),
        ValueError,
        "Pass mode='max' or mode='min'",
    ),
    "ModelCheckpoint('{nothing}')": (
        fit(callbacks=[callbacks.ModelCheckpoint("{nothing}.npz")]),
        ValueError,
        "nothing",
    ),
    "resume='auto' without a checkpoint": (fit(resume="auto"), ValueError, "needs one ModelCheckpoint"),
    "resume='auto' with two": (
        fit(resume="auto", callbacks=[callbacks.ModelCheckpoint(name) for name in ("a.npz", "b.npz")]),
        ValueError,
        "needs one ModelCheckpoint",
    ),
    "resume=1": (fit(resume=1), TypeError, "resume: expected a path"),
    # metrics and losses
    "metrics=['mse'] with classes": (fit(lambda: classifier(metrics=["mse"])), (ValueError, TypeError), "mse"),
    "metrics=['r2'] with classes": (fit(lambda: classifier(metrics=["r2"])), (ValueError, TypeError), "r2"),
    "metrics='accuracy'": (call(classifier, "compile", metrics="accuracy"), TypeError, r"metrics=\['accuracy'\]"),
    "metrics=['acuracy']": (call(classifier, "compile", metrics=["acuracy"]), ValueError, "Did you mean 'accuracy'"),
    "one metric twice": (call(classifier, "compile", metrics=["mse", "mse"]), ValueError, "names that differ"),
    "accuracy of a regression": (call(regressor, "compile", "sgd", "mse", ["accuracy"]), ValueError, "no accuracy under this loss"),
    "a weighted metric without weights": (
        call(classifier, "compile", weighted_metrics=[largest_error]),
        ValueError,
        "takes no sample_weight",
    ),
    "a function metric of another shape": (
        call(lambda: regressor([lambda y_true, y_pred: np.zeros((2, 3))]), "evaluate", X, Y),
        (ValueError, TypeError),
        "number",
    ),
    "float() of several": (making(lambda: float(classifier().evaluate(X, Y))), TypeError, r"take one by its name"),
    "a name that is not there": (making(lambda: classifier().evaluate(X, Y)["acuracy"]), KeyError, "accuracy"),
    "a gradient of another shape": (
        fit(lambda: md.Sequential([md.Dense(1)], rng=0).compile("sgd", Typo()).build(3)),
        ValueError,
        "Typo",
    ),
    "check_loss": (making(lambda: md.check_loss(Typo(), 1)), (AssertionError, ValueError), "Typo"),
    "a loss without forward": (
        fit(lambda: md.Sequential([md.Dense(1)], rng=0).compile("sgd", NoForward()).build(3)),
        NotImplementedError,
        "NoForward.*forward",
    ),
    # frames
    "columns reversed": (call(on_frame, "predict", FRAME[["size", "fare", "age"]]), ValueError, "order"),
    "a column renamed": (
        call(on_frame, "predict", Frame({"years": X[:, 0], **FRAME})[["years", "fare", "size"]]),
        ValueError,
        "age",
    ),
    "a column missing": (call(on_frame, "predict", FRAME[["age", "fare"]]), ValueError, "size"),
    "a column more": (call(on_frame, "predict", Frame({**FRAME, "more": X[:, 0]})), ValueError, "more"),
    "evaluated in another order": (call(on_frame, "evaluate", FRAME[["size", "fare", "age"]], Y), ValueError, "order"),
    "validated in another order": (
        fit(x=FRAME, validation_data=(FRAME[["size", "fare", "age"]], Y)),
        ValueError,
        "order",
    ),
    "a missing value in a column": (fit(x=HOLE), ValueError, "row 5, column 'fare' is missing"),
    "text in a column": (fit(x=TEXT), TypeError, "'fare'"),
    # labels
    "a name that was not fitted": (call(with_names, "evaluate", X, np.where(Y, "yes", "perhaps")), ValueError, "perhaps"),
    "more names than outputs": (fit(y=np.array(["a", "b", "c"] * 8)), ValueError, "3"),
    "fewer names than outputs": (fit(y=["a"] * 24), ValueError, "1"),
    "names for a regression": (fit(regressor, y=NAMES), TypeError, "number"),
    "names after integers": (lambda _: (m := fitted(classifier()), lambda _: fitted(m, y=NAMES)), TypeError, "expected whole numbers, on which the model was trained"),
    "integers after names": (lambda _: (m := with_names(), lambda _: fitted(m)), (ValueError, TypeError), "names"),
    "a missing name": (fit(y=np.array([None, *NAMES[1:]], object)), (ValueError, TypeError), "row 0"),
    "ClassLabels with None": (making(lambda: md.ClassLabels(["a", None, "b"])), (ValueError, TypeError), "row 1"),
    "ClassLabels of mixed types": (making(lambda: md.ClassLabels(["a", 1, "b"])), (ValueError, TypeError), "row 1"),
    "a weight for a name that is none": (
        fit(y=NAMES, class_weight={"no": 1.0, "maybe": 2.0}),
        ValueError,
        "yes",
    ),
    # keywords and positions
    "epoch=3": (fit(epoch=3), TypeError, "Did you mean 'epochs'"),
    "one positional argument too many": (call(classifier, "predict", X, 32, 0, None, (), 5), TypeError, "by position"),
    "batch_size='all'": (fit(batch_size="all"), ValueError, "full"),
    "epochs=0.5": (fit(epochs=0.5), TypeError, "whole number"),
    "Dense(0)": (making(lambda: md.Dense(0)), ValueError, "at least 1, got 0"),
    "Dense(10, 'rulu')": (making(lambda: md.Dense(10, "rulu")), ValueError, "Did you mean 'relu'"),
    "Dropout(1.5)": (making(lambda: md.Dropout(1.5)), ValueError, "below 1, got 1.5"),
    "a forward of its own": (
        making(lambda: type("Mine", (md.Sequential,), {"forward": lambda self, x: x})),
        TypeError,
        "fit and predict would not call its forward",
    ),
    "weights of another shape": (call(classifier, "set_weights", [X] * 4), ValueError, "expected shape"),
    "load_weights of something else": (call(classifier, "load_weights", __file__), md.CorruptFileError, "damaged, or not written"),
    "save to a number": (call(classifier, "save", 3), TypeError, "path: expected a path"),
}  # fmt: skip


IN_THE_FIRST_STEP = {"a gradient of another shape", "a loss without forward"}
"""What can be known only when the user's code has been called: no parameter has changed."""


@pytest.mark.parametrize("call", MESSAGES)
def test_a_call_says_what_is_wrong_and_changes_nothing(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare, kind, message = MESSAGES[call]
    model, run = prepare(tmp_path)
    seen = (lambda: model.theta.copy()) if call in IN_THE_FIRST_STEP else lambda: model and vars(model)
    before = picture(seen())
    with pytest.raises(kind) as caught:
        run(model)
    assert re.search(message, str(caught.value), re.S), str(caught.value)
    assert picture(seen()) == before
    assert not list(tmp_path.iterdir())


def test_there_are_enough_of_them():
    assert len(RESULTS) + len(MESSAGES) >= 80
