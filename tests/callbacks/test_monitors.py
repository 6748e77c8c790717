"""EarlyStopping, ReduceLROnPlateau, LearningRateScheduler: when they act, also in a resumed run."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import picture

import minidense as md
from minidense import callbacks
from minidense.core.configurable import load_state_dict, state_dict

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


def run(callback, values, name="val_loss"):
    """Give the callback one value per epoch; return the number of epochs until it stops, and the model."""
    callback.model = model = make().build(3)
    model.stop_training = False
    callback.on_train_begin({})
    epochs = 0
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch, {})
        model.theta[:] = epoch
        callback.on_epoch_end(epoch, {"loss": 0.0, name: value})
        epochs += 1
        if model.stop_training:
            break
    callback.on_train_end({})
    return epochs, model


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({"patience": 2}, [3, 2, 2.5, 2.4, 1], 4, 1),
        ({"patience": 0}, [3, 2, 2, 1], 3, 1),
        ({"patience": 1}, [3, 2, 2, 1], 3, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2, 1], 5, 2),
        ({"patience": 2}, [math.nan, math.nan, 1], 2, None),
        ({"patience": 3}, [math.nan, 2, math.nan, 3, 3], 5, 1),
        ({"patience": 2, "mode": "min"}, [3, 2, 2.5, 2.4, 1], 4, 1),
        ({"patience": 2, "mode": "max"}, [1, 2, 3, 2, 2, 9], 5, 2),
    ],
)
def test_early_stopping(options, values, epochs, best):
    stopping = callbacks.EarlyStopping(restore_best_weights=True, **options)
    stopped, model = run(stopping, values)
    assert stopped == epochs
    assert stopping.best_epoch == best
    assert (model.theta == (epochs - 1 if best is None else best)).all()


@pytest.mark.parametrize("name", ["accuracy", "val_accuracy", "r2", "val_auc"])
def test_metrics_that_are_to_grow_are_known(name):
    stopping = callbacks.EarlyStopping(monitor=name, patience=1)
    assert run(stopping, [0.1, 0.2, 0.3, 0.2], name=name)[0] == 4


def fails_before_it_begins(message, *watch, model=None, **options):
    """It is that error, nothing of the model has changed, and no other callback has been called."""
    model, untouched = (
        model or make(),
        callbacks.LambdaCallback(on_train_begin=lambda logs: pytest.fail("it has begun")),
    )
    before = picture(model)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, callbacks=[untouched, *watch], verbose=0, **options)
    assert picture(model) == before
    assert untouched.model is None


KINDS = [
    callbacks.EarlyStopping,
    callbacks.KeepBest,
    lambda monitor, **more: callbacks.ReduceLROnPlateau(monitor, **more),
    lambda monitor, **more: callbacks.ModelCheckpoint("no.npz", save_best_only=True, monitor=monitor, **more),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_monitor_that_is_known_to_be_missing_is_an_error_before_anything_changes(kind):
    misspelt = r"no metric 'val_los' to monitor. Did you mean 'val_loss'\? There are: loss, accuracy, val_loss, val_acc"
    fails_before_it_begins(misspelt, kind("val_los"), validation_data=(X, Y))
    fails_before_it_begins(
        r"'val_loss' to monitor. There is no validation data. There are: loss, acc", kind("val_loss")
    )
    fails_before_it_begins(r"'acuracy' to monitor. Did you mean 'accuracy'\?", kind("acuracy"), kind("loss"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_monitor_of_unknown_direction_asks_for_the_mode(kind, tmp_path, monkeypatch):
    def balanced(y_true, y_pred):
        return (y_pred.argmax(axis=1) == y_true).mean()

    monkeypatch.chdir(tmp_path)
    model = make().compile(metrics=[balanced])
    asks = r"is 'balanced' better higher or lower\? Pass mode='max'"
    fails_before_it_begins(asks, kind("balanced"), model=model)
    fails_before_it_begins(asks.replace("bal", "val_bal"), kind("val_balanced"), model=model, validation_data=(X, Y))
    model.fit(X, Y, callbacks=[kind("balanced", mode="max")], verbose=0)


class Adds(md.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["size"] = epoch


class AddsToItsOwn(callbacks.EarlyStopping):
    def on_epoch_end(self, epoch, logs=None):
        logs["size"] = epoch
        super().on_epoch_end(epoch, logs)


@pytest.mark.parametrize(
    "adds",
    [Adds(), callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(size=epoch))],
)
def test_a_metric_that_another_callback_may_add_is_missed_after_the_first_epoch(adds, tmp_path):
    stop = callbacks.EarlyStopping("size", mode="min", patience=1)
    assert make().fit(X, Y, epochs=5, callbacks=[adds, stop], verbose=0).epoch == [0, 1]
    keep = callbacks.ModelCheckpoint(tmp_path / "{size}.npz")
    assert make().fit(X, Y, callbacks=[adds, keep], verbose=0).epoch == [0]
    model = make()
    with pytest.raises(ValueError, match=r"no metric 'sizes' to monitor. Did you mean 'size'"):
        model.fit(X, Y, epochs=3, callbacks=[adds, callbacks.EarlyStopping("sizes", mode="min")], verbose=0)
    assert model.history.epoch == [0]
    model = make()
    with pytest.raises(ValueError, match=r"cannot be filled in: there is no 'sizes'. Did you mean 'size'"):
        model.fit(X, Y, epochs=3, callbacks=[adds, callbacks.ModelCheckpoint(tmp_path / "{sizes}.npz")], verbose=0)
    assert model.history.epoch == [0]
    fails_before_it_begins("is 'size' better higher or lower", adds, callbacks.EarlyStopping("size"))


def test_which_callbacks_may_add_metrics():
    own = AddsToItsOwn("size", mode="min", patience=1)
    assert make().fit(X, Y, epochs=5, callbacks=[own], verbose=0).epoch == [0, 1]
    dead = callbacks.EarlyStopping("update_ratio_0", mode="min", patience=1)
    make().fit(X, Y, callbacks=[dead, callbacks.GradientHealth()][::-1], verbose=0)

    class Patient(callbacks.EarlyStopping):
        pass

    others = [
        Patient("loss"),
        callbacks.CSVLogger("no.csv"),
        callbacks.ReduceLROnPlateau("loss"),
        callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        callbacks.LambdaCallback(on_batch_end=print, on_test_end=print),
        callbacks.ModelCheckpoint("no.npz"),
    ]
    fails_before_it_begins("no metric 'size'", *others, callbacks.EarlyStopping("size", mode="min"))


class Largest(md.Metric):
    name = "largest"
    saved = ("value",)
    higher_is_better = True

    def reset(self):
        self.value = -np.inf

    def update(self, y_true, y_pred, weights=None):
        self.value = max(self.value, float(y_pred.max()))

    def result(self):
        return self.value


def test_what_is_better_is_known_from_the_name_or_the_metric():
    """As in Keras: "acc" in the name; otherwise what the metric says, the library's as they are defined."""
    expected = {"accuracy": 1, "acc": 1, "my_acc_2": 1, "loss": 0, "r2": 1, "auc": 1, "f1": 1, "precision": 1}
    expected |= {"recall": 1, "mse": 0, "mean_squared_error": 0, "mae": 0, "top_k_accuracy": 1, "largest": 1}
    model = make().compile(metrics=[Largest()])
    for name, upwards in expected.items():
        for monitor in (name, f"val_{name}"):
            stopping = callbacks.EarlyStopping(monitor)
            stopping.model = model
            for value in (1.0, 2.0, 0.0):
                stopping.improved({monitor: value})
            assert stopping.best == (2.0 if upwards else 0.0), monitor
    model.fit(X, Y, callbacks=[callbacks.EarlyStopping("largest")], verbose=0)


def test_it_says_what_it_has_done():
    def outcome(values, **options):
        stopping = callbacks.EarlyStopping(**options)
        run(stopping, values)
        return stopping.outcome

    stopped = "early stopping, val_loss has not improved for"
    assert outcome([3, 2, 2, 2, 2], patience=2) == f"{stopped} 2 epochs"
    assert outcome([3, 2, 2, 2, 2], patience=1) == f"{stopped} 1 epoch"
    both = f"{stopped} 2 epochs; weights of epoch 2 restored"
    assert outcome([3, 2, 2, 2, 2], patience=2, restore_best_weights=True) == both
    assert outcome([3, 2, 2], patience=2, restore_best_weights=True) == "weights of epoch 2 restored"
    assert outcome([3, 2], patience=2, restore_best_weights=True) == ""
    assert outcome([3, 2, 2], patience=2) == ""


def test_early_stopping_restores_buffers_too():
    layers = [md.Dense(4), md.BatchNormalization(momentum=0.5), md.Dense(2)]
    model = md.Sequential(layers, rng=0).compile(md.SGD(3.0))
    seen = []
    watch = callbacks.LambdaCallback(
        on_epoch_end=lambda e, logs: seen.append((layers[1].moving_mean.copy(), model.theta.copy()))
    )
    stopping = callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True)
    model.fit(X, Y, epochs=30, batch_size=5, callbacks=[stopping, watch], verbose=0)
    mean, theta = seen[stopping.best_epoch]
    assert len(seen) > stopping.best_epoch + 1
    assert np.array_equal(layers[1].moving_mean, mean)
    assert np.array_equal(model.theta, theta)


@pytest.mark.parametrize(
    ("options", "values", "best"),
    [
        ({}, [3, 2, 2, 4], 2),
        ({"last": False}, [3, 2, 2, 4], 1),
        ({}, [3, 2, 1, 4, 5, 5, 5], 2),
        ({"min_delta": 0.5}, [3, 2, 1.8, 2, 1.9], 3),  # 1.8 is no improvement
        ({"min_delta": 0.5, "last": False}, [3, 2, 1.8, 2, 1.9], 1),
        ({"mode": "max"}, [1, 3, 3, 2, math.nan], 2),
        ({}, [math.nan, math.nan], None),
        ({}, [math.nan, 2, math.nan, 2, math.nan], 3),
        ({}, [math.inf, math.inf], 1),
    ],
)
def test_the_best_epoch_is_kept_and_the_run_goes_on(options, values, best):
    keep = callbacks.KeepBest(**options)
    epochs, model = run(keep, values)
    assert epochs == len(values)
    assert keep.best_epoch == best
    assert (model.theta == (epochs - 1 if best is None else best)).all()
    restored = best is not None and best != epochs - 1
    assert keep.outcome == (f"weights of epoch {best + 1} restored" if restored else "")
    run(keep, [9.0])  # the next run begins anew
    assert keep.best_epoch == 0


def test_keep_best_restores_buffers_and_is_saved(tmp_path):
    layers = [md.Dense(4), md.BatchNormalization(momentum=0.5), md.Dense(2)]
    model = md.Sequential(layers, rng=0).compile(md.SGD(3.0))
    seen = []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append([v.copy() for v in keep._vectors()]))
    keep = callbacks.KeepBest("loss")
    model.fit(X, Y, epochs=12, batch_size=5, callbacks=[keep, watch], verbose=0)
    assert keep.best_epoch < 11
    assert all(map(np.array_equal, keep._vectors(), seen[keep.best_epoch]))
    with pytest.raises(TypeError, match="KeepBest: last: expected True or False"):
        callbacks.KeepBest(last="first")


def test_what_is_kept_does_not_change_with_the_model():
    model = md.Sequential([md.Dense(2), md.BatchNormalization()], rng=0).compile().build(3)
    stopping = callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    stopping.model = model
    theta, buffers = model.theta.copy(), model.network.buffers.copy()
    stopping.on_epoch_end(0, {"loss": 1.0})
    model.theta[:], model.network.buffers[:] = 7, 8
    stopping.on_epoch_end(1, {"loss": 2.0})
    assert [array.tolist() for array in state_dict(stopping)["_kept"]] == [theta.tolist(), buffers.tolist()]
    stopping.on_train_end({})
    assert np.array_equal(model.theta, theta)
    assert np.array_equal(model.layers[1].moving_variance, np.ones(2))


def test_early_stopping_starts_anew_with_each_fit():
    stopping = callbacks.EarlyStopping("loss", patience=2)
    for _ in range(2):
        assert run(stopping, [1, 2, 3, 4], name="loss")[0] == 3


def test_the_best_of_another_metric_is_not_the_best():
    """After ``monitor`` was set, and after resuming with another one."""
    keep, other = (callbacks.ModelCheckpoint("x", save_best_only=True, monitor=m) for m in ("val_loss", "accuracy"))
    assert keep.improved({"val_loss": 5.0})
    load_state_dict(other, state_dict(keep))
    keep.monitor = "accuracy"
    for each in (keep, other):
        assert each.best == 5.0
        assert each.improved({"accuracy": 0.5})
        assert each.best == 0.5
        assert not each.improved({"accuracy": 0.4})


MONITORS = [
    callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True),
    callbacks.ReduceLROnPlateau("loss", patience=2, factor=0.5, cooldown=2),
]


@pytest.mark.parametrize("monitor", MONITORS, ids=lambda monitor: type(monitor).__name__)
@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=12), cut=st.integers(0, 12))
def test_a_resumed_monitor_acts_as_one_that_went_through(monitor, values, cut):
    def feed(callback, model, values, seen):
        for value in values:
            if not model.stop_training:
                model.theta[:] += 1
                callback.on_epoch_end(len(seen), {"loss": float(value)})
                seen.append((model.stop_training, model.optimizer.learning_rate, repr(state_dict(callback))))

    def begin():
        callback, model = copy.deepcopy(monitor), make().build(3)
        model.theta[:], model.stop_training, callback.model = 0, False, model
        callback.on_train_begin({})
        return callback, model

    whole, (callback, model) = [], begin()
    feed(callback, model, values, whole)
    halves, (callback, model) = [], begin()
    feed(callback, model, values[:cut], halves)
    state = copy.deepcopy(state_dict(callback))
    callback, other = begin()
    other.theta[:], other.stop_training = model.theta, model.stop_training
    other.optimizer.learning_rate = model.optimizer.learning_rate
    load_state_dict(callback, state)
    feed(callback, other, values[cut:], halves)
    assert halves == whole


def test_reduce_on_plateau():
    model = make().build(3)
    model.optimizer.learning_rate = 1.0
    rates = []
    plateau = callbacks.ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.2)
    plateau.model = model
    plateau.on_train_begin({})
    for value in [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]:
        plateau.on_epoch_end(0, {"val_loss": value})
        rates.append(model.optimizer.learning_rate)
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_learning_rate_scheduler_and_schedules_do_not_mix():
    model, rates = make(), []
    scheduler = callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 / (epoch + 1))
    watch = callbacks.LambdaCallback(on_epoch_end=lambda e, logs: rates.append(model.optimizer.learning_rate))
    model.fit(X, Y, epochs=3, callbacks=[scheduler, watch], verbose=0)
    assert rates == [0.5, 0.25, 0.5 / 3]
    model.compile(md.SGD(lambda step: 0.1))
    for callback in (scheduler, callbacks.ReduceLROnPlateau("loss")):
        with pytest.raises(ValueError, match="sets the learning rate, but the optimizer takes it from"):
            model.fit(X, Y, callbacks=[callback], verbose=0)


@pytest.mark.parametrize(
    ("name", "wrong"), [("factor", 1.0), ("factor", 0), ("cooldown", -1), ("min_lr", -0.1), ("patience", 1.5)]
)
def test_arguments_set_later_are_checked(name, wrong):
    plateau = callbacks.ReduceLROnPlateau()
    before = getattr(plateau, name)
    with pytest.raises((ValueError, TypeError), match=f"ReduceLROnPlateau: {name}"):
        setattr(plateau, name, wrong)
    assert getattr(plateau, name) == before
    assert plateau.get_config()[name] == before


@pytest.mark.parametrize("name", ["acc", "accuracy", "categorical_accuracy", "f1"])
def test_a_metric_is_watched_by_the_name_that_compile_was_given(name):
    model = make().compile(metrics=[name])
    stop = callbacks.EarlyStopping(f"val_{name}", min_delta=9, patience=1)
    assert model.fit(X, Y, epochs=5, validation_data=(X, Y), callbacks=[stop], verbose=0).epoch == [0, 1]
    weighted = make().compile(weighted_metrics=[name])
    stop = callbacks.EarlyStopping(name, min_delta=9, patience=1)
    assert weighted.fit(X, Y, epochs=5, callbacks=[stop], verbose=0).epoch == [0, 1]


# ------------------------------------------------------------------ Keras' arguments


def stopping_epoch(losses, **options):
    """The number of epochs that a run with these losses takes."""
    stop = callbacks.EarlyStopping("loss", **options)
    stop.model = type("Model", (), {"stop_training": False, "metrics": [], "weighted_metrics": []})()
    stop.on_train_begin({})
    for epoch, loss in enumerate(losses):
        stop.on_epoch_end(epoch, {"loss": loss})
        if stop.model.stop_training:
            return epoch + 1
    return len(losses)


def test_baseline_and_start_from_epoch_as_in_keras():
    """The numbers of epochs are those of Keras 3.15.1 with its EarlyStopping fed the same losses."""
    falling_slowly, rising = [9.0, 8.0, 7.0, 7.0, 7.0, 1.0, 7.0, 7.0, 7.0], [1.0, 2, 3, 4, 5, 6, 7, 8]
    found = [
        stopping_epoch(falling_slowly, patience=3),
        stopping_epoch(falling_slowly, patience=3, baseline=5.0),
        stopping_epoch(falling_slowly, patience=5, baseline=5.0),
        stopping_epoch(falling_slowly, patience=5, baseline=0.5),
        stopping_epoch(rising, patience=2),
        stopping_epoch(rising, patience=2, start_from_epoch=3),
        stopping_epoch(rising, patience=0, start_from_epoch=6),
    ]
    assert found == [9, 4, 5, 5, 3, 6, 8]


def test_positions_are_those_of_keras():
    stop = callbacks.EarlyStopping("loss", 0.1, 2, 1, "min", 0.5, True, 3)
    assert stop.get_config() == {
        "monitor": "loss",
        "min_delta": 0.1,
        "patience": 2,
        "verbose": 1,
        "mode": "min",
        "baseline": 0.5,
        "restore_best_weights": True,
        "start_from_epoch": 3,
    }
    assert list(callbacks.ReduceLROnPlateau("loss", 0.5, 3, 1, "min", 0.1, 2, 0.01).get_config().values()) == [
        *("loss", 0.5, 3, 1, "min", 0.1, 2, 0.01)
    ]
    keep = callbacks.ModelCheckpoint("x.npz", "loss", 1, True, False, "min", 5, 0.5)
    assert list(keep.get_config()) == [
        *("filepath", "monitor", "verbose", "save_best_only", "save_weights_only", "mode", "save_freq"),
        *("initial_value_threshold", "every", "keep", "min_delta"),
    ]
    assert callbacks.LearningRateScheduler(lambda epoch: 0.1, 1).verbose == 1
    for kind in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        for wrong in (3, -1, "yes", None):
            with pytest.raises((TypeError, ValueError), match="verbose"):
                kind(verbose=wrong)


def test_the_learning_rate_is_in_history_and_for_other_callbacks(tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.4))
    log = callbacks.CSVLogger(tmp_path / "log.csv", append=True)  # before the other: it has the column all the same
    halve = callbacks.LearningRateScheduler(lambda epoch: 0.4 / 2**epoch)
    history = model.fit(X, Y, epochs=3, callbacks=[log, halve], validation_data=(X, Y), verbose=0).history
    assert list(history) == ["loss", "val_loss", "learning_rate"]
    assert history["learning_rate"] == [0.4, 0.2, 0.1]
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch,loss,val_loss,learning_rate"
    plateau = callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=9)
    assert model.fit(X, Y, epochs=4, callbacks=plateau, verbose=0).history["learning_rate"] == [0.1, 0.1, 0.05, 0.025]
    model.fit(X, Y, callbacks=[halve, callbacks.EarlyStopping("learning_rate", mode="min")], verbose=0)
    assert "learning_rate" not in model.fit(X, Y, verbose=0).history


def test_a_schedule_takes_the_epoch_and_if_it_can_the_rate():
    seen = []

    class Schedule:
        def __call__(self, epoch, lr):
            seen.append((epoch, lr))
            return lr / 2

    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.4))
    for schedule in (Schedule(), lambda epoch: seen.append(epoch) or 0.3, lambda epoch, rate=None: rate):
        model.fit(X, Y, callbacks=[callbacks.LearningRateScheduler(schedule)], verbose=0)
    assert seen == [(0, 0.4), 0]
    assert model.optimizer.learning_rate == 0.3
    for wrong in (lambda: 0.1, lambda a, b, c: 0.1):
        with pytest.raises(TypeError, match=r"expected a function of \(epoch, rate\) or of \(epoch\), got \("):
            callbacks.LearningRateScheduler(wrong)
    with pytest.raises(TypeError, match="learning_rate: expected a number, got None"):
        model.fit(X, Y, callbacks=[callbacks.LearningRateScheduler(lambda epoch: None)], verbose=0)


def said(capsys, *watch, verbose=0, **options):
    capsys.readouterr()
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.1))
    model.fit(X, Y, callbacks=list(watch), verbose=verbose, **options)
    return capsys.readouterr().out.splitlines()


def test_verbose_says_what_was_done_also_where_fit_is_silent(capsys, tmp_path):
    stop = {"monitor": "loss", "min_delta": 9, "patience": 1, "restore_best_weights": True}
    ending = "stopped after epoch 2: early stopping, loss has not improved for 1 epoch; weights of epoch 1 restored"
    assert said(capsys, callbacks.EarlyStopping(**stop), epochs=5) == []
    assert said(capsys, callbacks.EarlyStopping(**stop, verbose=1), epochs=5) == [ending]
    lines = said(capsys, callbacks.EarlyStopping(**stop, verbose=1), epochs=5, verbose=2)
    assert lines[2:] == [ending], "said once"
    rates = callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1), verbose=1)
    assert said(capsys, rates, epochs=2) == [f"epoch {n}: the learning rate is {r}" for n, r in ((1, 0.1), (2, 0.05))]
    plateau = callbacks.ReduceLROnPlateau("loss", 0.5, 1, 1, min_delta=9, min_lr=0.04)
    expected = ["epoch 2: the learning rate is reduced from 0.1 to 0.05"]
    expected += ["epoch 3: the learning rate is reduced from 0.05 to 0.04"]
    assert said(capsys, plateau, epochs=5) == expected
    lines = said(capsys, plateau, epochs=2, verbose=2)
    assert lines[2:] == expected[:1], "after the line of its epoch"
    path = f"{tmp_path}/{{epoch}}.npz"
    assert said(capsys, callbacks.ModelCheckpoint(path, verbose=1), epochs=2) == [
        f"epoch {n}: saved {tmp_path}/{n}.npz" for n in (1, 2)
    ]
    best = callbacks.ModelCheckpoint(path, "loss", 1, save_best_only=True, min_delta=9)
    first, second = said(capsys, best, epochs=2)
    assert first.startswith("epoch 1: loss is 1.")
    assert first.endswith(f", the best so far; saved {tmp_path}/1.npz")
    assert second.startswith("epoch 2: loss is not better than 1.")
    steps = callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}-{{batch}}.npz", verbose=1, save_freq=2)
    assert said(capsys, steps, batch_size=len(X) // 3)[0] == f"epoch 1, step 2: saved {tmp_path}/0-2.npz"


def test_terminate_on_nan_is_accepted_and_says_that_it_is_always_on(capsys):
    assert said(capsys, callbacks.TerminateOnNaN()) == []
    assert (
        "TerminateOnNaN is not needed: training always ends where"
        in said(capsys, callbacks.TerminateOnNaN(), verbose=2)[0]
    )
    with pytest.raises(TypeError, match=r"BackupAndRestore: use fit\(.*ModelCheckpoint.*resume='auto'\)"):
        callbacks.BackupAndRestore("folder")


def test_a_resumed_run_may_be_more_or_less_verbose(tmp_path):
    path, options = tmp_path / "run.npz", {"epochs": 2, "verbose": 0}

    def watch(verbose):
        rates = callbacks.LearningRateScheduler(halved, verbose=verbose)
        return [callbacks.EarlyStopping("loss", patience=9, verbose=verbose), rates, callbacks.ModelCheckpoint(path)]

    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.1))
    model.fit(X, Y, callbacks=watch(0), **{**options, "epochs": 1})
    twin = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.1))
    twin.fit(X, Y, callbacks=watch(1), resume=path, **options)
    assert twin.history.history["learning_rate"] == [0.1, 0.05]


def halved(epoch, rate):
    return rate / 2 if epoch else rate


def test_epochs_without_validation_do_not_count():
    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    reduce = callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0)
    model = make()
    history = model.fit(
        X, Y, epochs=40, validation_data=(X, 1 - Y), validation_freq=3, callbacks=[stop, reduce], verbose=0
    )
    validated = [epoch for epoch, value in enumerate(history.history["val_loss"]) if not math.isnan(value)]
    assert validated == list(range(2, len(history.epoch), 3))
    assert stop.stopped_epoch == stop.best_epoch + 6  # two validations later
    rates = history.history["learning_rate"]
    assert [epoch for epoch in range(1, len(rates)) if rates[epoch] != rates[epoch - 1]] == [stop.best_epoch + 4]
