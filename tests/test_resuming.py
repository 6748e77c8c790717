"""A run that is gone on with after a crash is, to the bit, the run that had none."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minidense as md
from minidense import callbacks, schedules

random = np.random.default_rng(7)
X = random.normal(size=(150, 8)).astype("float32")
Y = random.integers(0, 4, 150)

OPTIMIZERS = {
    "sgd": lambda: md.SGD(0.1),
    "momentum": lambda: md.SGD(0.1, momentum=0.9),
    "nesterov": lambda: md.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=0.5),
    "adam": lambda: md.Adam(schedules.WarmUp(schedules.CosineDecay(0.01, 20), 4)),
    "adamw": lambda: md.AdamW(0.01),
    "rmsprop": lambda: md.RMSprop(0.003, momentum=0.5),
}


def network(optimizer, rng=3):
    layers = [md.Dense(9), md.BatchNormalization(), md.ReLU(), md.Dropout(0.3), md.Dense(4), md.Softmax()]
    metrics = ["accuracy", "auc", "f1", largest]
    return md.Sequential(layers, rng=rng).compile(optimizer, metrics=metrics)


def largest(y_true, y_pred):
    return y_pred.max()


def options(**more):
    return {"batch_size": 20, "epochs": 2, "validation_data": (X[:30], Y[:30]), "verbose": 0, **more}


class Counting(md.Callback):
    """Counts steps, and puts the number into the figures."""

    def __init__(self):
        self.steps = 0

    def on_batch_end(self, batch, logs):
        self.steps += 1

    def on_epoch_end(self, epoch, logs):
        logs["steps"] = self.steps


def assert_same(model, other):
    """Everything that could differ: what a file of the one and of the other says."""
    from minidense import persistence

    ours, theirs = persistence.encoded(model._parts()), persistence.encoded(other._parts())
    assert ours[0] == theirs[0]
    assert ours[1].keys() == theirs[1].keys()
    for name, array in ours[1].items():
        assert array.dtype == theirs[1][name].dtype
        assert array.tobytes() == theirs[1][name].tobytes(), name
    assert model.predict(X).tobytes() == other.predict(X).tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_from_every_step(optimizer, tmp_path):
    """Saved after every step of two epochs by one run; gone on with from each file; compared with a run unwatched."""
    whole = network(OPTIMIZERS[optimizer]())
    whole.fit(X, Y, **options())
    saving = network(OPTIMIZERS[optimizer]())
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every="step", keep=100)
    saving.fit(X, Y, **options(callbacks=[keep]))
    assert_same(saving, whole)
    assert len(keep.saved) == 16
    for i, path in enumerate(keep.saved):
        resumed = network(OPTIMIZERS[optimizer](), rng=99)
        # Whether the rest is watched makes no difference.
        rest = [] if i % 2 else [callbacks.ModelCheckpoint(tmp_path / "rest.npz", every=3)]
        history = resumed.fit(X, Y, **options(callbacks=rest, resume=path))
        assert history.epoch == [0, 1]
        assert_same(resumed, whole)


@pytest.mark.parametrize("size", [1, 7, 64, 150, "full"])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_of_all_sizes(size, weighted, tmp_path, monkeypatch):
    """Blocks of 32 rows: with batches larger and smaller, a run is saved within blocks and between slices."""
    for name, value in {"BLOCK_ROWS": 32, "SLICE_ROWS": 24, "GATHER_BYTES": 32 * 8 * 4}.items():
        monkeypatch.setattr(f"minidense.data.{name}", value)
    more = {"sample_weight": random.uniform(0.1, 3, 150)} if weighted else {}
    make = lambda: md.Sequential([md.Dense(9), md.Tanh(), md.Dense(4)], rng=3).compile(metrics=["accuracy"])  # noqa: E731
    whole = make()
    whole.fit(X, Y, **options(batch_size=size, **more))
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every="step", keep=1000)
    saving = make()
    saving.fit(X, Y, **options(batch_size=size, callbacks=[keep], **more))
    assert_same(saving, whole)
    for path in keep.saved[:: max(1, len(keep.saved) // 24)]:
        resumed = make()
        resumed.fit(X, Y, **options(batch_size=size, resume=path, **more))
        assert_same(resumed, whole)
