"""The training loop: every row once per epoch, in an order determined by the seed, and always whole steps."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import picture
from strategies import seeds

import minidense as md


def make(rng=0, dtype="float32", extra=(), **options):
    layers = [md.Dense(8), md.ReLU(), *extra, md.Dense(3), md.Softmax()]
    model = md.Sequential(layers, rng=rng, dtype=dtype)
    return model.compile(md.SGD(0.1, **options), "sparse_categorical_crossentropy", ["accuracy"])


@pytest.mark.parametrize("size", [1, 7, "full"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_runs_are_the_same_to_the_bit(digits_like, size, momentum):
    runs = [make(momentum=momentum) for _ in range(2)]
    histories = [model.fit(*digits_like, batch_size=size, epochs=3, verbose=0).history for model in runs]
    assert np.array_equal(runs[0].theta, runs[1].theta)
    assert histories[0] == histories[1]
    assert not np.array_equal(runs[0].theta, make(rng=1).build(7).theta)


@pytest.mark.parametrize("size", [1, 7, "full"])
def test_five_epochs_twice_are_ten_epochs(digits_like, size):
    twice, once = make(momentum=0.9), make(momentum=0.9)
    halves = [twice.fit(*digits_like, batch_size=size, epochs=5, verbose=0).history["loss"] for _ in range(2)]
    whole = once.fit(*digits_like, batch_size=size, epochs=10, verbose=0).history["loss"]
    assert np.array_equal(twice.theta, once.theta)
    assert halves[0] + halves[1] == whole


@given(st.integers(1, 40), st.integers(1, 45), seeds)
def test_each_epoch_sees_every_row_once(n, size, seed):
    """The gradient of a linear model on one-hot rows shows which rows were in a batch: a callback counts them."""
    seen = []

    class Spy(md.Layer):
        def forward(self, x, training):
            if training:
                seen.extend(x[:, 0].tolist())
            return x

        def backward(self, dy):
            return dy

    x = np.arange(n, dtype="float32")[:, None]
    model = md.Sequential([Spy(), md.Dense(2)], rng=seed).compile(md.SGD(1e-6))
    model.fit(x, np.zeros(n, int), batch_size=size, epochs=2, verbose=0)
    first, second = seen[:n], seen[n:]
    assert sorted(first) == sorted(second) == x[:, 0].tolist()
    if n >= 20 and size < n:
        assert first != second
        assert first != x[:, 0].tolist()


def test_being_watched_batch_by_batch_changes_nothing(digits_like):
    watched, alone = make(), make()
    nothing = md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)
    histories = [
        watched.fit(*digits_like, batch_size=4, epochs=3, callbacks=[nothing], verbose=0).history,
        alone.fit(*digits_like, batch_size=4, epochs=3, verbose=0).history,
    ]
    assert np.array_equal(watched.theta, alone.theta)
    assert histories[0]["accuracy"] == histories[1]["accuracy"]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)


def test_stop_training_ends_the_epoch(digits_like):
    model = make()

    def stop(batch, logs):
        model.stop_training = batch == 2

    history = model.fit(
        *digits_like, batch_size=4, epochs=9, callbacks=[md.callbacks.LambdaCallback(on_batch_end=stop)], verbose=0
    )
    assert history.epoch == [0]
    assert model.fit(*digits_like, epochs=2, verbose=0).epoch == [0, 1]


def test_fit_leaves_no_batch_behind(digits_like):
    model = make()
    model.fit(*digits_like, verbose=0)
    for layer in model.layers:
        own = layer._record.views.keys() | layer._record.gradients.keys()
        assert {name for name, value in vars(layer).items() if isinstance(value, np.ndarray)} == own
        assert layer._workspaces is None
    assert len(pickle.dumps(model)) < 20_000


def test_forward_from_a_callback_gives_arrays_to_keep(digits_like):
    x, y = digits_like
    model, kept = make(), []
    keep = md.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: kept.append(model.forward(x)))
    model.fit(x, y, epochs=3, callbacks=[keep], verbose=0)
    assert not np.shares_memory(kept[0], kept[1])
    assert not np.array_equal(kept[0], kept[1])


def test_an_update_that_overflows_is_an_error_at_the_epochs_end(digits_like):
    model = make().compile(md.SGD(1e39))
    with pytest.raises(FloatingPointError, match=r"An update in epoch 1 made parameters infinite.*1e\+39"):
        model.fit(*digits_like, batch_size="full", verbose=0)


LAST = """
import os, signal
import numpy as np, minidense as md
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background has not
model = md.Sequential([md.Dense(2)], rng=0).compile()
kill = md.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: os.kill(os.getpid(), signal.SIGINT))
try:
    model.fit(np.ones((4, 3)), [0, 1, 0, 1], callbacks=[kill], verbose=0)
except KeyboardInterrupt:
    print("interrupted after", len(model.history.epoch))
"""


def test_ctrl_c_in_the_last_epochs_end_is_not_swallowed():
    result = subprocess.run([sys.executable, "-c", LAST], capture_output=True, text=True, check=False)
    assert result.stdout == "interrupted after 1\n", result.stderr


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np, minidense as md
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background has not
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


# ------------------------------------------------------------------ a fit that fails before it begins


class Wrong(md.Callback):
    saved = ("seen",)


X, Y = np.random.default_rng(7).normal(size=(60, 7)), np.arange(60) % 3
NAN = np.where(np.arange(60)[:, None] == 41, np.nan, X)

FAILS = {
    "x": lambda m, c: m.fit(NAN, Y, callbacks=[c]),
    "y": lambda m, c: m.fit(X, Y + 1, callbacks=[c]),
    "weights": lambda m, c: m.fit(X, Y, sample_weight=-X[:, 0], callbacks=[c]),
    "class weights": lambda m, c: m.fit(X, Y, class_weight={0: 1}, callbacks=[c]),
    "validation_data": lambda m, c: m.fit(X, Y, validation_data=(NAN, Y), callbacks=[c]),
    "validation_split": lambda m, c: m.fit(X, Y, validation_split=0.999, validation_shuffle=True, callbacks=[c]),
    "a validation part that weighs nothing": lambda m, c: m.fit(
        X, Y, validation_split=0.5, validation_shuffle=True, sample_weight=np.arange(60) == 3, callbacks=[c]
    ),
    "batch_size": lambda m, c: m.fit(X, Y, batch_size=0, callbacks=[c]),
    "epochs": lambda m, c: m.fit(X, Y, epochs=-1, callbacks=[c]),
    "shuffle": lambda m, c: m.fit(X, Y, shuffle=2, callbacks=[c]),
    "verbose": lambda m, c: m.fit(X, Y, verbose=9, callbacks=[c]),
    "accumulation": lambda m, c: m.fit(X, Y, gradient_accumulation_steps=0, callbacks=[c]),
    "a callback": lambda m, c: m.fit(X, Y, callbacks=[c, print]),
    "a first batch": lambda m, c: m.fit(iter([(NAN, Y)]), steps_per_epoch=1, callbacks=[c]),
    "resume, none": lambda m, c: m.fit(X, Y, resume="none.npz", callbacks=[c]),
    "resume, other": lambda m, c: m.fit(X, Y, batch_size=7, resume="run.npz", verbose=0, callbacks=[c]),
    "a callback that cannot be saved": lambda m, c: m.fit(
        X, Y, callbacks=[c, Wrong(), md.callbacks.ModelCheckpoint("new.npz")]
    ),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("fault", FAILS)
def test_a_fit_that_fails_before_it_begins_has_changed_nothing(fault, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if fault == "resume, other":
        keep = md.callbacks.ModelCheckpoint("run.npz")
        make(extra=[md.BatchNormalization()], momentum=0.5).fit(X, Y, batch_size=8, callbacks=[keep], verbose=0)
    model = make(extra=[md.BatchNormalization()], momentum=0.5)
    if trained:
        model.fit(X, Y, verbose=0)
        model.stop_training = True
    callback = md.callbacks.LambdaCallback(on_train_begin=lambda logs: pytest.fail("it has begun"))
    before, owner, history, on_disk = picture(model), model.optimizer._owner, model.history, list(tmp_path.iterdir())
    with pytest.raises((TypeError, ValueError, FileNotFoundError)):
        FAILS[fault](model, callback)
    assert picture(model) == before
    assert model.optimizer._owner is owner
    assert model.history is history
    assert model.stop_training == trained
    assert callback.model is None
    assert list(tmp_path.iterdir()) == on_disk
    assert not model.network.exclusive.busy
    twin = make(extra=[md.BatchNormalization()], momentum=0.5)
    if trained:
        twin.fit(X, Y, verbose=0)
    for each in (model, twin):
        each.fit(X, Y, verbose=0)
    assert np.array_equal(model.theta, twin.theta)


def test_an_optimizer_of_another_model_is_refused_before_anything_changes():
    sgd = md.SGD(0.1, momentum=0.9)
    first = md.Sequential([md.Dense(3)], rng=0).compile(sgd)
    first.fit(X, Y, verbose=0)
    second = md.Sequential([md.Dense(3)], rng=0).compile(sgd)
    before, owner = picture(second), sgd._owner
    for method in (second.fit, second.train_on_batch):
        with pytest.raises(ValueError, match="the state of another model"):
            method(X, Y)
    assert picture(second) == before
    assert sgd._owner is owner


def test_equal_runs_write_equal_checkpoints(digits_like, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = []
    for resume in (None, None, "2.npz"):
        saves = md.callbacks.ModelCheckpoint("{step}.npz", every=2)
        model = make(rng=3, extra=[md.Dropout(0.3)])
        model.fit(*digits_like, batch_size=30, epochs=2, callbacks=[saves], resume=resume, verbose=0)
        files.append([(name, (tmp_path / name).read_bytes()) for name in saves.files])
    assert len(files[0]) >= 2
    assert files[1] == files[0]
    assert files[2] == files[0]


def test_a_run_that_trains_nothing_says_so(capsys):
    model = md.Sequential([md.Dense(3, "softmax"), md.Dense(3, "softmax")], rng=0).compile().build(2)
    x, y = np.eye(2), [0, 1]
    for layer in model.layers[:-2]:
        layer.trainable = False
    model.fit(x, y, verbose=2)
    assert "nothing is trained" not in capsys.readouterr().out
    model.layers[2].trainable = False
    model.fit(x, y, verbose=2)
    assert capsys.readouterr().out.startswith("all layers with parameters are frozen: nothing is trained\n")
    model.fit(x, y, verbose=0)
    assert capsys.readouterr().out == ""
    md.Sequential([md.Softmax()]).compile().fit(x, y, verbose=2)
    assert "nothing is trained" not in capsys.readouterr().out
