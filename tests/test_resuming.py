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
    from minidense import saving

    ours, theirs = saving.encoded(model._parts()), saving.encoded(other._parts())
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


def test_callbacks_go_on_too(tmp_path):
    def watchers(folder):
        folder.mkdir(exist_ok=True)
        return [
            Counting(),
            callbacks.EarlyStopping("val_loss", patience=2, min_delta=0.02, restore_best_weights=True),
            callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.05, factor=0.5, cooldown=1),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.99),
            callbacks.GradientHealth(),
            callbacks.CSVLogger(folder / "log.csv"),
        ]

    def run(folder, more=(), **resume):
        model = network(md.Adam(0.03))
        history = model.fit(X, Y, **options(epochs=9, callbacks=[*watchers(folder), *more], **resume))
        return model, history, (folder / "log.csv").read_text()

    whole, history, log = run(tmp_path / "whole")
    assert 3 < len(history.epoch) < 9, "early stopping is to have stopped it"
    assert len(set(history.history["steps"])) == len(history.epoch)
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every="3 steps", keep=100)
    run(tmp_path / "a", [keep])
    by_epoch = callbacks.ModelCheckpoint(tmp_path / "e{epoch}.npz", keep=100)
    run(tmp_path / "b", [by_epoch])
    assert len(by_epoch.saved) == len(history.epoch)
    for path in [*keep.saved, *by_epoch.saved]:
        resumed, again, text = run(tmp_path / "a", resume=path)  # where the log of the whole run is already
        assert again.history == history.history
        assert_same(resumed, whole)
        assert text == log


def test_the_same_callback_objects_can_be_used_again(tmp_path):
    stop, count = callbacks.EarlyStopping("loss", patience=1, min_delta=10), Counting()
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=1, keep=50)
    whole = network(md.SGD(0.1))
    whole.fit(X, Y, **options(epochs=5, callbacks=[stop, count, keep]))
    assert whole.history.epoch == [0, 1]
    for path in [str(tmp_path / f"{step}.npz") for step in (1, 7, 8, 9, 15)]:
        resumed = network(md.SGD(0.1))
        resumed.fit(X, Y, **options(epochs=5, callbacks=[stop, count, keep], resume=path))
        assert_same(resumed, whole)
        assert count.steps == 16
        assert (stop.stopped_epoch, stop.best_epoch) == (1, 0)


@pytest.mark.parametrize("stop_at", [3, 8, 11])
def test_a_run_that_was_told_to_stop_stops(stop_at, tmp_path):
    class Stop(md.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = self.model.optimizer.iterations >= stop_at

    whole = network(md.SGD(0.1))
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=1, keep=50)
    whole.fit(X, Y, **options(callbacks=[Stop(), keep]))
    assert whole.optimizer.iterations == stop_at
    for path in keep.saved:
        resumed = network(md.SGD(0.1))
        resumed.fit(X, Y, **options(callbacks=[Stop()], resume=path))
        assert_same(resumed, whole)


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    path = tmp_path / "run.npz"
    whole = network(md.Adam(0.01))
    whole.fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path)]))
    resumed = network(md.Adam(0.01))
    assert resumed.fit(X, Y, **options(resume=path)).history == whole.history.history
    assert_same(resumed, whole)
    longer = whole.fit(X, Y, **options(epochs=1)).history["loss"]
    assert network(md.Adam(0.01)).fit(X, Y, **options(epochs=3, resume=path)).history["loss"][2:] == longer


def batches(rows):
    for start in range(0, 10**9, rows):
        part = np.arange(start, start + rows) % len(X)
        yield X[part], Y[part]


class Dataset:
    """Keras' protocol, shuffled by itself after each epoch."""

    def __init__(self):
        self.order, self.rng = np.arange(len(X)), np.random.default_rng(1)

    def __len__(self):
        return 5

    def __getitem__(self, batch):
        part = self.order[30 * batch : 30 * batch + 30]
        return X[part], Y[part]

    def on_epoch_end(self):
        self.rng.shuffle(self.order)


@pytest.mark.parametrize("source", ["generator", "dataset"])
def test_sources_of_batches(source, tmp_path):
    def fit(**more):
        data, steps = (batches(30), 4) if source == "generator" else (Dataset(), None)
        model = network(md.SGD(0.1, momentum=0.9))
        model.fit(data, steps_per_epoch=steps, epochs=3, verbose=0, **more)
        return model

    whole = fit()
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=1, keep=50)
    assert_same(fit(callbacks=[keep]), whole)
    assert len(keep.saved) == (12 if source == "generator" else 15)
    for path in keep.saved:
        assert_same(fit(resume=path), whole)


class Noisy(md.Layer):
    """A layer of the user's, with numbers of its own: a counter, a stream, an average."""

    def __init__(self, size=0.1):
        self.size, self.calls, self.average = size, 0, np.zeros(3)
        self.noise = np.random.default_rng(5)

    def forward(self, x, training):
        if not training:
            return x + self.average.sum()
        self.calls += 1
        self.average = self.average + x[:3, 0] / self.calls
        return x + self.size * self.noise.normal(size=x.shape)

    def backward(self, dy):
        return dy


class Squares(md.Loss):
    """A loss that computes whole batches in its own way."""

    def forward(self, scores, y):
        self.difference = scores - np.eye(4)[y]
        return float((self.difference**2).mean())

    def backward(self):
        return 2 * self.difference / self.difference.size


def test_layers_and_losses_of_ones_own(tmp_path):
    def make():
        return md.Sequential([md.Dense(6), Noisy(size=0.5), md.Dense(4)], rng=0).compile(md.Adam(), Squares())

    whole = make()
    whole.fit(X, Y, **options())
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=1, keep=50)
    make().fit(X, Y, **options(callbacks=[keep]))
    for path in keep.saved:
        resumed = make()
        resumed.fit(X, Y, **options(resume=path))
        assert_same(resumed, whole)
        assert resumed.layers[1].calls == 16


def test_without_a_seed_and_with_a_shuffled_split(tmp_path):
    """The file has the entropy of the run that was: another run's is of no consequence."""
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=3, keep=50)
    more = options(validation_data=None, validation_split=0.2, validation_shuffle=True)
    whole = network(md.SGD(0.1), rng=None)
    whole.fit(X, Y, **more | {"callbacks": [keep]})
    for path in keep.saved:
        resumed = network(md.SGD(0.1), rng=None)
        resumed.fit(X, Y, **more, resume=path)
        assert_same(resumed, whole)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loaded_model_resumes_as_a_new_one(shuffle, tmp_path):
    whole = network(md.SGD(0.1, momentum=0.5))
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=5, keep=50)
    whole.fit(X, Y, **options(callbacks=[keep], shuffle=shuffle))
    for path in keep.saved:
        loaded = md.load_model(path, {"largest": largest})
        loaded.fit(X, Y, **options(resume=path, shuffle=shuffle))
        assert_same(loaded, whole)


def test_a_second_fit_resumes_as_the_first(tmp_path):
    path = tmp_path / "run.npz"
    whole = network(md.Adam())
    whole.fit(X, Y, **options())
    stop = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: 1 / (11 - whole.optimizer.iterations + 16))
    with pytest.raises(ZeroDivisionError):
        whole.fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path, every=2), stop]))
    resumed = network(md.Adam())
    resumed.fit(X, Y, **options(resume=path))
    again = network(md.Adam())
    again.fit(X, Y, **options())
    again.fit(X, Y, **options())
    assert_same(resumed, again)


KILLED = """
    import os, signal, sys
    import numpy as np
    import minidense as md
    from test_resuming import X, Y, Counting, network, options

    class Kill(md.Callback):
        def on_batch_end(self, batch, logs):
            if self.model.optimizer.iterations == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)

    path = sys.argv[2]
    model = network(md.AdamW(0.01))
    keep = md.callbacks.ModelCheckpoint(path, every="step")
    resume = path if os.path.exists(path) else None
    model.fit(X, Y, **options(epochs=3, callbacks=[keep, Counting(), Kill()], resume=resume))
    model.save(path + ".end")
"""


def test_killed_at_step_after_step_in_new_processes(tmp_path):
    """A process a life, each killed some steps later than the last, until one reaches the end."""
    whole = network(md.AdamW(0.01))
    whole.fit(X, Y, **options(epochs=3, callbacks=[Counting()]))
    path = str(tmp_path / "run.npz")
    lives = [4, 8, 9, 15, 23, 99]
    for kill_at in lives:
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(kill_at), path]
        ended = subprocess.run(command, cwd="tests", capture_output=True, text=True, check=False)
        assert ended.returncode == (0 if kill_at == 99 else -9), ended.stderr
    assert_same(md.load_model(path + ".end", {"largest": largest}), whole)


def test_what_does_not_fit_is_said_at_once_and_changes_nothing(tmp_path):
    from snapshots import picture

    path = tmp_path / "run.npz"
    keep = callbacks.ModelCheckpoint(path, every=3)
    network(md.SGD(0.1)).fit(X, Y, **options(callbacks=[keep, callbacks.EarlyStopping(patience=9)]))

    other = md.Sequential([md.Dense(7), md.BatchNormalization(), md.Tanh(), md.Dropout(0.3), md.Dense(4)], rng=0)
    for built in (False, True):
        other.compile(md.Adam(), md.SoftmaxCrossEntropy("sum"), metrics=["accuracy", "auc", "f1", largest])
        if built:
            other.build(8)
        before = picture(other)
        with pytest.raises(ValueError, match="cannot resume") as caught:
            other.fit(X, Y, **options(resume=path))
        for line in (
            "number of layers is 6 in the file, and 5 here",
            r"the optimizer is SGD\(learning_rate=0.1\) in the file, and Adam\(\) here",
            r"the loss is SoftmaxCrossEntropy\(\) in the file, and SoftmaxCrossEntropy\(reduction='sum'\) here",
        ):
            caught.match(line)
        assert picture(other) == before

    model = network(md.SGD(0.1))
    before = picture(model)
    for wrong, message in (
        (options(batch_size=10), "rows a batch: 20 in the file, 10 here"),
        (options(shuffle=False), "shuffle: True in the file, False here"),
        (options(callbacks=[callbacks.ModelCheckpoint(path)]), "the callback EarlyStopping is missing here"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, **wrong, resume=path)
        assert picture(model) == before
    with pytest.raises(ValueError, match="rows: 150 in the file, 100 here"):
        model.fit(X[:100], Y[:100], **options(resume=path))
    with pytest.raises(FileNotFoundError):
        model.fit(X, Y, **options(resume=tmp_path / "none.npz"))
    model.build(8).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"no training run to resume: it was written by model.save"):
        model.fit(X, Y, **options(resume=tmp_path / "model.npz"))
    model.save_weights(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="weights only"):
        model.fit(X, Y, **options(resume=tmp_path / "weights.npz"))
