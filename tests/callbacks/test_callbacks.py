"""Callbacks and what a person sees while a model trains."""

import io
import math
import re
import subprocess
import sys

import numpy as np
import pytest

import minidense as md
from minidense import callbacks
from minidense.callbacks.base import LambdaCallback
from minidense.callbacks.progress import ProgressBar

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


# ------------------------------------------------------------------ the ready-made ones


def run(callback, values, model=None, name="val_loss"):
    """Feed the callback one figure an epoch; the epochs until it stops, and the model."""
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
def test_figures_that_are_to_grow_are_known(name):
    stopping = callbacks.EarlyStopping(monitor=name, patience=1)
    assert run(stopping, [0.1, 0.2, 0.3, 0.2], name=name)[0] == 4


def test_a_figure_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"no figure 'val_los' to monitor. Did you mean 'val_loss'\? There are: loss,"):
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


def test_csv_logger_and_history_to_csv_write_the_same(tmp_path):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    model = make()
    history = model.fit(X, Y, epochs=3, validation_data=(X, Y), callbacks=[logger], verbose=0)
    history.to_csv(tmp_path / "history.csv")
    text = (tmp_path / "log.csv").read_text()
    assert text == (tmp_path / "history.csv").read_text()
    assert text.splitlines()[0] == "epoch,loss,accuracy,val_loss,val_accuracy"
    assert [float(line.split(",")[1]) for line in text.splitlines()[1:]] == history.history["loss"]
    more = callbacks.CSVLogger(tmp_path / "log.csv", append=True)
    model.fit(X, Y, validation_data=(X, Y), callbacks=[more], verbose=0)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5


def test_gradient_health():
    layers = [md.Dense(5), md.ReLU(), md.Dense(2)]
    model = md.Sequential(layers, rng=0).compile(md.SGD(0.1)).build(3)
    layers[0].W[:, 0], layers[0].b[0] = 0, -1.0  # a unit that is dead for good
    before = [layer.values["W"].copy() for layer in (layers[0], layers[2])]
    history = model.fit(X, Y, batch_size="full", callbacks=[callbacks.GradientHealth()], verbose=0).history
    assert history["dead_1"][0] >= 0.2 - 1e-9
    assert set(history) == {"loss", "update_ratio_0", "update_ratio_2", "dead_1"}
    change = layers[2].values["W"] - before[1]
    bias = layers[2].values["b"]  # was 0
    expected = np.sqrt((change**2).sum() + (bias**2).sum()) / np.linalg.norm(before[1])
    assert history["update_ratio_2"][0] == pytest.approx(expected, rel=1e-5)
    plain = md.Sequential([md.Dense(5), md.ReLU(), md.Dense(2)], rng=0).compile(md.SGD(0.1))
    watched = md.Sequential([md.Dense(5), md.ReLU(), md.Dense(2)], rng=0).compile(md.SGD(0.1))
    plain.fit(X, Y, batch_size=6, epochs=2, verbose=0)
    watched.fit(X, Y, batch_size=6, epochs=2, callbacks=[callbacks.GradientHealth()], verbose=0)
    assert np.array_equal(plain.theta, watched.theta)


def test_history_plot(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    history = make().fit(X, Y, epochs=3, validation_data=(X, Y), verbose=0)
    _, ax = pyplot.subplots()
    assert history.plot(ax, ["loss", "accuracy"]) is ax
    assert [line.get_label() for line in ax.lines] == ["loss", "val_loss", "accuracy", "val_accuracy"]
    assert ax.lines[1].get_ydata().tolist() == history.history["val_loss"]
    assert len(history.plot().lines) == 2
    pyplot.close("all")
    with pytest.raises(ValueError, match=r"unknown figure 'los'\. Did you mean 'loss'"):
        history.plot(figures=["los"])


def test_history_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "minidense\[plot\]"'):
        make().fit(X, Y, verbose=0).plot()


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np, minidense as md
x, y = np.random.default_rng(0).normal(size=(64, 5)), np.arange(64) % 3
model = md.Sequential([md.Dense(8, "relu"), md.Dense(3)], rng=0).compile(md.SGD(0.01, momentum=0.9))
model.build(5)
updates = []
step = md.SGD.step
def noting(self, theta, grad, eta):
    if len(updates) == 21:
        os.kill(os.getpid(), signal.SIGINT)  # in the middle of the third epoch, before the update is made
    step(self, theta, grad, eta)
    updates.append(theta.copy())
md.SGD.step = noting
try:
    model.fit(x, y, batch_size=8, epochs=9, verbose=0)
except KeyboardInterrupt:
    assert np.array_equal(model.theta, updates[-1]), "not at a whole step"
    assert len(updates) == 22, len(updates)
    assert model.history.epoch == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    md.SGD.step = step
    model.fit(x, y, epochs=1, verbose=0)
    print("ended at a whole step")
"""


def test_ctrl_c_ends_at_a_whole_step():
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert result.stdout == "ended at a whole step\n", result.stderr


def test_summary_is_also_html():
    summary = md.Sequential([md.Dense(2)], name="<b>").build(3).summary()
    assert repr(summary) == str(summary)
    assert "<td>Dense(2)</td><td>(n, 2)</td><td>8</td>" in summary._repr_html_()
    assert "&lt;b&gt;" in summary._repr_html_()
