"""Callbacks that steer a run: when they stop it, and what they make of the learning rate."""

import math

import numpy as np
import pytest

import minidense as md
from minidense import callbacks
from minidense.callbacks.base import LambdaCallback

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


def run(callback, values, model=None, name="val_loss"):
    """Feed the callback one value an epoch; the epochs until it stops, and the model."""
    model = model or make().build(3)
    callback.model, callback.params = model, {}
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
    message = r"there is no metric 'val_los' to monitor\. Did you mean 'val_loss'\? There are: loss,"
    with pytest.raises(ValueError, match=message):
        make().fit(X, Y, validation_data=(X, Y), callbacks=[callbacks.EarlyStopping("val_los")], verbose=0)


def test_early_stopping_restores_layer_states_too():
    layers = [md.Dense(4), md.BatchNormalization(0.5), md.Dense(2)]
    model = md.Sequential(layers, rng=0).compile(md.SGD(3.0))
    seen = []
    watch = LambdaCallback(on_epoch_end=lambda e, logs: seen.append((layers[1].moving_mean.copy(), model.theta.copy())))
    stopping = callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True)
    model.fit(X, Y, epochs=30, batch_size=5, callbacks=[stopping, watch], verbose=0)
    mean, theta = seen[stopping.best_epoch]
    assert np.array_equal(layers[1].moving_mean, mean)
    assert np.array_equal(model.theta, theta)


def test_early_stopping_starts_anew_with_each_fit():
    stopping = callbacks.EarlyStopping("loss", patience=2)
    for _ in range(2):
        assert run(stopping, [1, 2, 3, 4], name="loss")[0] == 3


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
    watch = LambdaCallback(on_epoch_end=lambda e, logs: rates.append(model.optimizer.learning_rate))
    model.fit(X, Y, epochs=3, callbacks=[scheduler, watch], verbose=0)
    assert rates == [0.5, 0.25, 0.5 / 3]
    model.compile(md.SGD(lambda step: 0.1))
    for callback in (scheduler, callbacks.ReduceLROnPlateau("loss")):
        with pytest.raises(ValueError, match="sets the learning rate, which the optimizer takes from"):
            model.fit(X, Y, callbacks=[callback], verbose=0)


def test_a_monitor_of_unknown_direction_asks_for_the_mode():
    def balanced(y_true, y_pred):
        return (y_pred.argmax(axis=1) == y_true).mean()

    model = make().compile(metrics=[balanced])
    for cls in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        with pytest.raises(ValueError, match=r"is 'balanced' to grow or to fall\? Say mode='max'"):
            model.fit(X, Y, callbacks=[cls("balanced")], verbose=0)
    model.fit(X, Y, callbacks=[callbacks.EarlyStopping("balanced", mode="max")], verbose=0)
