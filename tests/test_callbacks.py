"""Callbacks and what a person sees while a model trains."""

import io
import re

import numpy as np

import minidense as md
from minidense.callbacks import LambdaCallback, ProgressBar

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
    assert callback.params == {"epochs": 2, "steps": 3, "batch_size": 8}
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


def test_one_line_an_epoch_in_a_pipe(capsys):
    make().fit(X, Y, epochs=2, validation_data=(X, Y))
    out, err = capsys.readouterr()
    pattern = r"epoch \d/2: loss=[\d.]+, accuracy=[\d.]+, val_loss=[\d.]+, val_accuracy=[\d.]+"
    assert [bool(re.fullmatch(pattern, line)) for line in out.splitlines()] == [True, True]
    assert not err


def test_verbose_levels(capsys):
    make().fit(X, Y, verbose=0)
    assert capsys.readouterr() == ("", "")
    make().fit(X, Y, verbose=2)
    assert capsys.readouterr().out.startswith("epoch 1/1: loss=")


def test_the_bar_shows_epoch_step_and_figures():
    screen = io.StringIO()
    make().fit(X, Y, epochs=3, batch_size=5, validation_data=(X, Y), callbacks=[ProgressBar(screen)], verbose=0)
    last = screen.getvalue().split("\r")[-1]
    assert re.search(r"epoch 3/3: 100%.* 12/12 .*loss=[\d.]+, accuracy=[\d.]+, val_loss=[\d.]+, val_accuracy=", last)
