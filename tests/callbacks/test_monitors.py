"""EarlyStopping, ReduceLROnPlateau, LearningRateScheduler: when they act, also in a resumed run."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_metric_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"no metric 'val_los' to monitor. Did you mean 'val_loss'\? There are: loss,"):
        make().fit(X, Y, validation_data=(X, Y), callbacks=[callbacks.EarlyStopping("val_los")], verbose=0)


def test_a_monitor_of_unknown_direction_asks_for_the_mode():
    def balanced(y_true, y_pred):
        return (y_pred.argmax(axis=1) == y_true).mean()

    model = make().compile(metrics=[balanced])
    for cls in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        with pytest.raises(ValueError, match=r"is 'balanced' better higher or lower\? Pass mode='max'"):
            model.fit(X, Y, callbacks=[cls("balanced")], verbose=0)
    model.fit(X, Y, callbacks=[callbacks.EarlyStopping("balanced", mode="max")], verbose=0)


def test_early_stopping_restores_buffers_too():
    layers = [md.Dense(4), md.BatchNormalization(0.5), md.Dense(2)]
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
