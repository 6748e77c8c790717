"""What a person sees while a model trains, what a file gets of it, and how the layers fare."""

import io
import re

import numpy as np
import pytest

import minidense as md
from minidense import callbacks
from minidense.callbacks.reporting import ProgressBar

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


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
    before = [layer.W.copy() for layer in (layers[0], layers[2])]
    history = model.fit(X, Y, batch_size="full", callbacks=[callbacks.GradientHealth()], verbose=0).history
    assert history["dead_1"][0] >= 0.2 - 1e-9
    assert set(history) == {"loss", "update_ratio_0", "update_ratio_2", "dead_1"}
    change = layers[2].W - before[1]
    bias = layers[2].b  # was 0
    expected = np.sqrt((change**2).sum() + (bias**2).sum()) / np.linalg.norm(before[1])
    assert history["update_ratio_2"][0] == pytest.approx(expected, rel=1e-5)
    plain = md.Sequential([md.Dense(5), md.ReLU(), md.Dense(2)], rng=0).compile(md.SGD(0.1))
    watched = md.Sequential([md.Dense(5), md.ReLU(), md.Dense(2)], rng=0).compile(md.SGD(0.1))
    plain.fit(X, Y, batch_size=6, epochs=2, verbose=0)
    watched.fit(X, Y, batch_size=6, epochs=2, callbacks=[callbacks.GradientHealth()], verbose=0)
    assert np.array_equal(plain.theta, watched.theta)


def test_csv_columns_stay_in_their_places(tmp_path):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin({})
    logger.on_epoch_end(0, {"loss": 1.0, "extra": 2.0})
    logger.on_epoch_end(1, {"loss": 0.5})
    assert (tmp_path / "log.csv").read_text().split() == ["epoch,loss,extra", "0,1.0,2.0", "1,0.5,nan"]
    more = callbacks.CSVLogger(tmp_path / "log.csv", append=True)
    more.on_train_begin({})
    with pytest.raises(ValueError, match=r"has no columns for \['val_loss'\]; it has \['loss', 'extra'\]"):
        more.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
