"""Callback and CallbackList: hooks in their order, and what they are told."""

import numpy as np

import minidense as md
from minidense.callbacks.base import LambdaCallback

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


def test_hooks_come_in_order():
    seen = []
    names = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end"]
    hooks = {name: lambda *args, name=name: seen.append((name, *args[:-1])) for name in names}
    make().fit(X, Y, batch_size=10, epochs=2, callbacks=[LambdaCallback(**hooks)], verbose=0)
    epoch = [("on_batch_begin", 0), ("on_batch_end", 0), ("on_batch_begin", 1), ("on_batch_end", 1)]
    expected = [("on_train_begin",)]
    for number in range(2):
        expected += [("on_epoch_begin", number), *epoch, ("on_epoch_end", number)]
    assert seen == [*expected, ("on_train_end",)]


def test_logs_and_params():
    class Keeps(md.Callback):
        def on_epoch_end(self, epoch, logs):
            self.logs = logs

    callback, model = Keeps(), make()
    history = model.fit(X, Y, batch_size=8, epochs=2, validation_data=(X, Y), callbacks=[callback], verbose=0)
    assert callback.model is model
    begin = {"resumed": False, "initial_epoch": 0, "initial_step": 0}
    assert callback.params == {"epochs": 2, "steps": 3, "batch_size": 8} | begin
    assert callback.logs == {name: values[-1] for name, values in history.history.items()}
    assert list(callback.logs) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert repr(history).startswith("History(2 epochs, last: loss=")


def test_train_end_comes_also_after_an_error():
    seen = []

    def fail(epoch, logs):
        raise KeyError("mine")

    hooks = LambdaCallback(on_epoch_end=fail, on_train_end=seen.append)
    model = make()
    try:
        model.fit(X, Y, callbacks=[hooks], verbose=0)
    except KeyError:
        seen.append("raised")
    assert seen == [{}, "raised"]
    assert len(model.history.epoch) == 1


# ------------------------------------------------------------------ the ready-made ones
