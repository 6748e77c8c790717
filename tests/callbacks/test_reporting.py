"""Reports: metrics in a file, diagnostics of layers, and the progress on the terminal."""

import contextlib
import copy
import csv
import functools
import io
import os
import re
import signal
import struct
import sys
import threading
import time
import types

import numpy as np
import pytest

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None
from hypothesis import given
from hypothesis import strategies as st
from snapshots import picture

import minidense as md
from minidense import callbacks
from minidense.callbacks.base import CallbackList
from minidense.callbacks.reporting import ProgressBar, ProgressLines, _duration, progress_callback
from minidense.core.configurable import load_state_dict, state_dict
from minidense.layers import Residual
from minidense.training.history import History

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


# ------------------------------------------------------------------ CSVLogger


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


VALUES = [2.5, 1 / 3, 1e-9, 7.0, 0.1, 5.0]


class LoggedRun:
    """A run that only logs: ``values`` are its losses, with a checkpoint after each epoch."""

    def __init__(self, path, values=VALUES, **options):
        self.path, self.values, self.options, self.checkpoints = path, values, options, []

    def train(self, epochs, checkpoint=None, forge=lambda state: None):
        logger, history = callbacks.CSVLogger(self.path, **self.options), History()
        done, state = checkpoint or (0, None)
        for epoch in range(done):
            history.append(epoch, {"loss": self.values[epoch]})
        several = CallbackList([logger])
        several.attach(types.SimpleNamespace(history=history), {"resumed": state is not None})
        several.call("on_train_begin", {})
        if state is not None:
            state = copy.deepcopy(state)
            forge(state[0]["saved"])
            assert several.check(state) == []
            several.resume(state, None)
        else:
            self.checkpoints.append((0, several.state()))
        for epoch in range(done, epochs):
            logs = {"loss": self.values[epoch]}
            several.call("on_epoch_end", epoch, logs)
            history.append(epoch, logs)
            self.checkpoints.append((epoch + 1, copy.deepcopy(several.state())))
        return self


def lines(*epochs):
    return b"".join(f"{epoch},{VALUES[epoch]!r}\r\n".encode() for epoch in epochs)


HEADER = b"epoch,loss\r\n"
NOTES = HEADER + b"0,9\r\n1,9\r\n2,9\r\n"


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("before", [None, b"", NOTES, NOTES + b"torn", b"epoch,loss,other\n0,1,2\n"])
@pytest.mark.parametrize("resume_at", [0, 1, 3, 5])
@pytest.mark.parametrize("logged", ["all", "less", "torn"])
def test_a_resumed_run_leaves_the_log_of_one_that_went_through(append, before, resume_at, logged, tmp_path):
    path, whole = tmp_path / "log.csv", tmp_path / "whole.csv"
    for file in (path, whole):
        if before is not None:
            file.write_bytes(before)
    LoggedRun(whole, append=append).train(6)
    run = LoggedRun(path, append=append).train(5)
    if logged != "all":
        text, start = path.read_bytes(), len(before or b"") if append else 0
        cut = text.rfind(b"\r\n", start, len(text) - 2) + (2 if logged == "less" else 4)  # in or after the fourth line
        path.write_bytes(text[:cut])
    run.train(6, run.checkpoints[resume_at])
    assert path.read_bytes() == whole.read_bytes()
    if append and before:
        assert path.read_bytes().startswith(before)


def test_a_log_that_was_lost_is_written_again(tmp_path):
    for append in (False, True):
        path = tmp_path / f"{append}.csv"
        path.write_bytes(NOTES)
        run = LoggedRun(path, append=append).train(3)
        path.unlink()
        run.train(4, run.checkpoints[2])
        assert path.read_bytes() == HEADER + lines(0, 1, 2, 3)


@pytest.mark.parametrize("start", [0, 5, len(HEADER), len(HEADER) + 5, len(NOTES), 10**9, -1, -(10**9)])
@pytest.mark.parametrize("resume_at", [0, 2])
def test_a_forged_place_wipes_nothing_that_this_run_has_not_written(start, resume_at, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(NOTES)
    run = LoggedRun(path, append=True).train(3)
    path.write_bytes(NOTES)  # whose lines would do as this run's by their numbers
    run.train(3, run.checkpoints[resume_at], forge=lambda saved: saved.update(_start=start))
    assert path.read_bytes() == NOTES + lines(0, 1, 2)


@given(text=st.text("epoch,los0123.5\r\n").map(str.encode), start=st.integers(-5, 80), done=st.integers(0, 3))
def test_below_a_log_nothing_is_lost(text, start, done, tmp_path_factory):
    """Whatever the log contains below a header, and wherever a checkpoint claims that the run began."""
    path = tmp_path_factory.mktemp("logs") / "log.csv"
    path.write_bytes(HEADER + text)
    run = LoggedRun(path, append=True)
    logger = CallbackList([callbacks.CSVLogger(path)])
    run.train(done + 1, (done, logger.state()), forge=lambda saved: saved.update(_start=start))
    left = path.read_bytes()
    own = lines(*range(done + 1))
    assert left.endswith(own)
    assert left.startswith(HEADER + text) or own.startswith((HEADER + text)[left.index(own) :])


def test_the_checkpoint_of_another_log_leaves_this_one_alone(tmp_path):
    """The other log began at the top of its file."""
    run = LoggedRun(tmp_path / "log.csv").train(3)
    notes = tmp_path / "notes.csv"
    notes.write_bytes(NOTES)
    LoggedRun(notes, append=True).train(4, run.checkpoints[2])
    assert notes.read_bytes() == NOTES + lines(0, 1, 2, 3)


def test_an_earlier_run_that_was_the_same_keeps_its_lines(tmp_path):
    path = tmp_path / "log.csv"
    LoggedRun(path, append=True).train(3)
    run = LoggedRun(path, append=True).train(3)
    run.train(4, run.checkpoints[1])
    assert path.read_bytes() == HEADER + lines(0, 1, 2, 0, 1, 2, 3)


@pytest.mark.parametrize("more", [b"0,9\r\n", b"4,9\r\n", b"2,9\r\n0,9\r\n", b"notes\r\n", b"no"])
def test_what_others_have_written_below_stays(more, tmp_path):
    path = tmp_path / "log.csv"
    run = LoggedRun(path, append=True).train(2)
    path.write_bytes(path.read_bytes() + more)
    run.train(2, run.checkpoints[1])
    ended = more if more.endswith(b"\n") else more + b"\r\n"
    assert path.read_bytes() == HEADER + lines(0, 1) + ended + lines(0, 1)


def test_a_metric_without_a_column_is_an_error_and_writes_nothing(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,accuracy\r\n0,1\r\n")
    with pytest.raises(ValueError, match=r"log.csv has no columns for \['loss'\]; it has \['accuracy'\]"):
        LoggedRun(path, append=True).train(1)
    assert path.read_bytes() == b"epoch,accuracy\r\n0,1\r\n"


def test_a_metric_that_an_epoch_lacks_is_nan_as_in_the_history(tmp_path):
    logger, history = callbacks.CSVLogger(tmp_path / "log.csv", separator=";"), History()
    logger.on_train_begin({})
    for epoch, logs in enumerate([{"loss": 1.0, "extra": 2.0}, {"loss": 0.5}]):
        logger.on_epoch_end(epoch, logs)
        history.append(epoch, logs)
    history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "log.csv").read_text().replace(";", ",") == (tmp_path / "history.csv").read_text()


def test_csv_columns_stay_in_their_places(tmp_path):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin({})
    logger.on_epoch_end(0, {"loss": 1.0, "extra": 2.0})
    logger.on_epoch_end(1, {"extra": 3.0, "loss": 0.5})
    assert (tmp_path / "log.csv").read_text().split() == ["epoch,loss,extra", "0,1.0,2.0", "1,0.5,3.0"]
    more = callbacks.CSVLogger(tmp_path / "log.csv", append=True)
    more.on_train_begin({})
    with pytest.raises(ValueError, match=r"has no columns for \['val_loss'\]; it has \['loss', 'extra'\]"):
        more.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})


def test_a_missing_folder_is_made(tmp_path):
    make().fit(X, Y, callbacks=[callbacks.CSVLogger(tmp_path / "new" / "er" / "log.csv")], verbose=0)
    assert (tmp_path / "new" / "er" / "log.csv").read_text().startswith("epoch,loss,accuracy")


@pytest.mark.parametrize("header", ["epoch,loss,accuracy", "epoch,accuracy,loss,val_loss", "epoch"])
def test_a_column_that_is_known_to_be_missing_is_an_error_before_anything_changes(header, tmp_path):
    path, model = tmp_path / "log.csv", make()
    path.write_text(header + "\n")
    before = picture(model), path.read_bytes()
    missing = {"epoch,loss,accuracy": "val_loss", "epoch": "loss"}.get(header, "val_accuracy")
    for append in (True, False):
        logger = callbacks.CSVLogger(path, append=append)
        if append:
            with pytest.raises(ValueError, match=rf"log.csv has no columns for \['{missing}'.*\]; it has \["):
                model.fit(X, Y, validation_data=(X, Y), callbacks=[logger], verbose=0)
            assert (picture(model), path.read_bytes()) == before
        else:
            model.fit(X, Y, validation_data=(X, Y), callbacks=[logger], verbose=0)


def test_an_empty_log_has_no_columns_to_miss(tmp_path):
    (tmp_path / "log.csv").touch()
    for name in ("log.csv", "new.csv"):
        make().fit(X, Y, callbacks=[callbacks.CSVLogger(tmp_path / name, append=True)], verbose=0)
        assert len((tmp_path / name).read_text().splitlines()) == 2


# ------------------------------------------------------------------ GradientHealth


def test_gradient_health():
    layers = [md.Dense(5), md.ReLU(), md.Dense(2)]
    model = md.Sequential(layers, rng=0).compile(md.SGD(0.1)).build(3)
    layers[0].W[:, 0], layers[0].b[0] = 0, -1.0  # a unit that is dead for good
    before = layers[2].W.copy()
    history = model.fit(X, Y, batch_size="full", callbacks=[callbacks.GradientHealth()], verbose=0).history
    assert history["dead_1"][0] >= 0.2 - 1e-9
    assert set(history) == {"loss", "update_ratio_0", "update_ratio_2", "dead_1"}
    change, bias = layers[2].W - before, layers[2].b  # the bias was 0
    expected = np.sqrt((change**2).sum() + (bias**2).sum()) / np.linalg.norm(before)
    assert history["update_ratio_2"][0] == pytest.approx(expected, rel=1e-5)
    plain = md.Sequential([md.Dense(5), md.ReLU(), md.Dense(2)], rng=0).compile(md.SGD(0.1))
    watched = md.Sequential([md.Dense(5), md.ReLU(), md.Dense(2)], rng=0).compile(md.SGD(0.1))
    plain.fit(X, Y, batch_size=6, epochs=2, verbose=0)
    watched.fit(X, Y, batch_size=6, epochs=2, callbacks=[callbacks.GradientHealth()], verbose=0)
    assert np.array_equal(plain.theta, watched.theta)


def nested():
    return md.Sequential([md.Dense(4), Residual([md.Dense(4), md.ReLU()]), md.Dense(2)], rng=0).compile().build(3)


def take_steps(model, health, steps):
    """Steps that multiply all parameters by 1 + step / 4."""
    for step in steps:
        health.on_train_batch_begin(step, {})
        model.forward(X, training=True)
        model.theta[...] *= 1 + step / 4
        health.on_train_batch_end(step, {})


def test_gradient_health_of_layers_within_layers_and_resumed_within_an_epoch():
    def begin():
        health, model = callbacks.GradientHealth(), nested()
        health.model = model
        health.on_train_begin({})
        health.on_epoch_begin(0, {})
        return health, model

    health, model = begin()
    take_steps(model, health, [1, 2, 3])
    logs = {}
    health.on_epoch_end(0, logs)
    assert list(logs) == ["update_ratio_0", "update_ratio_1/f/0", "update_ratio_2", "dead_1/f/1"]
    assert logs["update_ratio_1/f/0"] == pytest.approx((1 / 4 + 2 / 4 + 3 / 4) / 3, rel=1e-6)

    first, model = begin()
    take_steps(model, first, [1, 2])
    second = callbacks.GradientHealth()
    second.model = model
    second.on_train_begin({})
    load_state_dict(second, copy.deepcopy(state_dict(first)))
    take_steps(model, second, [3])
    again = {}
    second.on_epoch_end(0, again)
    assert again == logs


# ------------------------------------------------------------------ what a person sees


LINE = r"epoch +\d+/\d+ [\d.e-]+s: loss=[\d.]+ accuracy=[\d.]+ val_loss=[\d.]+ val_accuracy=[\d.]+"
BAR = r"epoch +\d+/\d+ +\d+%\|[^|]{10}\| (\?|[\d:]+) left"


class Terminal:
    """A terminal of that width: ``stream`` writes to it, and ``lines`` tells what can be read on it."""

    def __init__(self, width):
        self.leader, follower = os.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.stream, self.width, self.text = os.fdopen(follower, "w"), width, b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.leader, 10_000):
                self.text += data

    def lines(self):
        """The lines that stay, those that were wrapped joined again; and all rows as they were at some time."""
        self.stream.close()
        self.reader.join()
        os.close(self.leader)
        lines, seen = [[""]], []
        column = 0
        for sign in self.text.decode():
            rows = lines[-1]
            if sign in "\r\n":
                seen.append(rows[-1].rstrip())
                column = 0
                if sign == "\n":
                    lines.append([""])
                continue
            assert sign.isprintable(), "no escape codes are known here"
            if column == self.width:
                rows.append("")
                column = 0
            rows[-1] = rows[-1][:column].ljust(column) + sign + rows[-1][column + 1 :]
            column += 1
        return ["".join(rows).rstrip() for rows in lines], seen


@pytest.mark.skipif(fcntl is None, reason="there are no pseudo-terminals")
@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_a_terminal_shows(width, monkeypatch):
    monkeypatch.setattr(ProgressBar, "seconds", 0)  # each picture, not only some of them
    terminal = Terminal(width)
    x, y = np.random.default_rng(0).normal(size=(12_000, 40)), np.arange(12_000) % 2
    metrics = ["accuracy", "f1", "precision", "recall", "top_k_accuracy"]
    model = md.Sequential([md.Dense(2), md.Softmax()], rng=0).compile(metrics=metrics)
    bar = ProgressBar(terminal.stream)
    monkeypatch.setattr("minidense.model.progress_callback", lambda verbose: bar)
    history = model.fit(x, y, batch_size=50, epochs=11, validation_data=(x, y))
    lines, seen = terminal.lines()
    bars = [row for row in seen if re.match(BAR, row)]
    under_way = [row for row in bars if not row.endswith("left")]
    assert len(under_way) > 11
    assert all(re.match(BAR + r", loss=\d\.\d+( |$)", row) for row in under_way), "the loss is seen"
    assert not any("val_" in row for row in bars)
    assert {re.match("epoch +[0-9]+", row)[0] for row in bars} == {f"epoch {n:2}" for n in range(1, 12)}
    expected = []
    for epoch in range(11):
        logs = " ".join(f"{name}={values[epoch]:.4g}" for name, values in history.history.items())
        expected.append(f"epoch {epoch + 1:2}/11 : {logs}")
    assert [re.sub(r"[\d.e-]+s:", ":", line) for line in lines] == [*expected, ""], "nothing is left of the bars"


def ended(model, *watch, error=None, **options):
    """The lines of a fit that ends early."""
    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minidense.model.progress_callback", lambda verbose: ProgressLines(screen) if verbose else None)
        with pytest.raises(error) if error else contextlib.nullcontext():
            model.fit(X, Y, epochs=9, batch_size=5, callbacks=list(watch), **options)
    return screen.getvalue().splitlines()


def at(epoch, batch, action):
    """A callback that acts after that batch, or, without one, at the epoch's end."""

    class At(md.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, number, logs=None):
            if (self.epoch, number) == (epoch, batch):
                action(self.model)

        def on_epoch_end(self, number, logs=None):
            if (number, None) == (epoch, batch):
                action(self.model)

    return At()


def stop(model):
    model.stop_training = True


def interrupt(model):
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a program in the foreground."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_why_training_ended_is_said_once(ctrl_c):
    *lines, last = ended(make(), callbacks.EarlyStopping("loss", min_delta=9, patience=3, restore_best_weights=True))
    assert (
        last == "stopped after epoch 4: early stopping, loss has not improved for 3 epochs; weights of epoch 1 restored"
    )
    assert [line.split()[1] for line in lines] == ["1/9", "2/9", "3/9", "4/9"]
    assert ended(make(), at(2, None, stop))[3:] == ["stopped after epoch 3: stop_training was set"]
    assert ended(make(), at(2, 1, stop))[3:] == ["stopped after epoch 3, step 2: stop_training was set"]
    assert ended(make(), at(2, 3, stop))[3:] == ["stopped after epoch 3: stop_training was set"]
    interrupted = functools.partial(ended, error=KeyboardInterrupt)
    assert interrupted(make(), at(2, 1, interrupt))[2:] == ["interrupted in epoch 3, after step 2"]
    assert interrupted(make(), at(2, None, interrupt))[3:] == ["interrupted after epoch 3"]
    begin = callbacks.LambdaCallback(on_train_begin=interrupt)
    assert interrupted(make(), begin) == ["interrupted before epoch 1"]
    best = callbacks.EarlyStopping("loss", patience=30, min_delta=9, restore_best_weights=True)
    assert interrupted(make(), at(2, 1, interrupt), best)[2:] == [
        "interrupted in epoch 3, after step 2: weights of epoch 1 restored"
    ]
    assert len(ended(make(), callbacks.EarlyStopping("loss", patience=30))) == 9, "nothing to say"
    assert ended(make(), at(2, 1, stop), verbose=0) == []
    assert len(ended(make(), at(1, 1, lambda model: 1 / 0), error=ZeroDivisionError)) == 1, "the error says it"


def test_the_same_lines_in_a_terminal_a_log_and_a_notebook(capsys):
    """They are printed, whatever stands below them meanwhile."""
    make().fit(X, Y, epochs=2, validation_data=(X, Y))
    make().fit(X, Y, epochs=2, validation_data=(X, Y), verbose=1)
    out, err = capsys.readouterr()
    kept = [line.split("\r")[-1] for line in out.split("\n")]
    assert [bool(re.fullmatch(LINE, line)) for line in kept[:4]] == [True] * 4
    assert re.fullmatch(r"[\r ]*", out[out.rindex("\n") + 1 :]), "the bar is wiped out"
    assert not err


def test_verbose_levels(capsys):
    make().fit(X, Y, callbacks=[at(0, None, stop)], verbose=0)
    assert capsys.readouterr() == ("", "")
    make().fit(X, Y, verbose=2)
    assert re.match(r"epoch 1/1 [\d.e-]+s: loss=", capsys.readouterr().out)


class Stream(io.StringIO):
    pass


def test_the_callback_for_verbose(monkeypatch):
    assert [type(progress_callback(level)) for level in (0, 1, 2)] == [type(None), ProgressBar, ProgressLines]
    terminal, notebook = Stream(), type("OutStream", (Stream,), {"__module__": "ipykernel.iostream"})()
    terminal.isatty = lambda: True
    for stream, kind in ((terminal, ProgressBar), (notebook, ProgressBar), (Stream(), ProgressLines)):
        monkeypatch.setattr(sys, "stdout", stream)
        assert type(progress_callback("auto")) is kind
    with pytest.raises(ValueError, match="verbose: expected 'auto', 0, 1 or 2, got 3"):
        progress_callback(3)
    with pytest.raises(ValueError, match="unknown verbose 'quiet'"):
        progress_callback("quiet")


def test_a_notebook_sees_the_epoch_under_way(monkeypatch):
    """Without a terminal: text that is overwritten, no widgets, and not with every step."""
    notebook = type("OutStream", (Stream,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stdout", notebook)
    x, y = np.random.default_rng(0).normal(size=(40_000, 40)), np.arange(40_000) % 2
    slow = callbacks.LambdaCallback(on_block_end=lambda steps, logs: time.sleep(0.01))
    make().fit(x, y, validation_split=0.5, callbacks=[slow])
    pictures = notebook.getvalue().split("\r")
    assert sum(", loss=" in picture for picture in pictures) >= 1
    assert len(pictures) < 15, "some 20 blocks in 0.2 seconds, of which each tenth is shown"
    assert re.match("epoch 1/1 .*val_accuracy", "".join(pictures[-3:]).lstrip())


def test_the_bar_of_a_resumed_run_begins_where_it_does(monkeypatch):
    monkeypatch.setattr(ProgressBar, "seconds", 0)
    screen = io.StringIO()
    bar = ProgressBar(screen)
    bar.params = {"epochs": 3, "steps": 8, "initial_epoch": 1, "initial_step": 4}
    bar.on_train_begin({})
    bar.on_block_end(2, {"loss": 0.25})
    bar.on_train_end({})
    assert re.search(r"epoch 2/3  50%", screen.getvalue())
    assert re.search(r"epoch 2/3  75%.* left, loss=0.25", screen.getvalue())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00123, "0.0012s"),
        (0.5, "0.5s"),
        (5.24, "5.2s"),
        (52.4, "52s"),
        (59.4, "59s"),
        (59.9, "1:00"),
        (60, "1:00"),
        (3599.6, "1:00:00"),
    ],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_a_log_has_columns_for_a_validation_that_comes_later(tmp_path):
    path = tmp_path / "log.csv"
    x, y = np.eye(3), np.arange(3)
    model = md.Sequential([md.Dense(3)], rng=0).compile(metrics=["accuracy"])
    history = model.fit(
        x, y, epochs=4, validation_data=(x, y), validation_freq=2, callbacks=md.callbacks.CSVLogger(path), verbose=0
    ).history
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    np.testing.assert_array_equal([float(row["val_loss"]) for row in rows], history["val_loss"])
    assert [row["val_loss"] == "nan" for row in rows] == [True, False, True, False]


def test_history_as_a_callback_is_what_fit_returns(tmp_path):
    class Look(md.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(list(history.epoch))

    x, y, seen, history = np.eye(4), np.arange(4) % 2, [], callbacks.History()
    model = md.Sequential([md.Dense(2)], rng=0).compile("sgd", metrics=["accuracy"])
    assert (history.history, history.epoch) == ({}, [])
    keep = callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}.npz")
    run = model.fit(x, y, epochs=3, callbacks=[history, Look(), keep], verbose=0)
    assert (history.history, history.epoch) == (run.history, run.epoch) == (run.history, [0, 1, 2])
    assert seen == [[], [0], [0, 1]]
    model.fit(x, y, verbose=0)
    assert history.epoch == [0, 1, 2]  # of the run that it was part of
    history.history["mine"] = []
    assert "mine" not in run.history
    again = callbacks.History()
    twin = md.Sequential([md.Dense(2)], rng=0).compile("sgd", metrics=["accuracy"])
    twin.fit(x, y, epochs=3, callbacks=[again], resume=f"{tmp_path}/1.npz", verbose=0)
    assert again.history == run.history
