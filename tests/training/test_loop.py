"""The training loop: every row once an epoch, in an order that follows from the seed, and an end at a whole step."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    """Gradients of a linear model with one-hot rows tell which rows came: here, the callbacks' count of them."""
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
        assert layer._record.workspaces is None
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
