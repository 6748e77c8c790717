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
    from minidense.files import saving

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
        monkeypatch.setattr(f"minidense.data.batches.{name}", value)
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
    from test_resumption import X, Y, Counting, network, options

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
        ended = subprocess.run(command, cwd="tests/promises", capture_output=True, text=True, check=False)
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
    with pytest.raises(FileNotFoundError, match="there is no run to resume; the first one has resume=None"):
        model.fit(X, Y, **options(resume=tmp_path / "none.npz"))
    model.build(8).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"no training run to resume: it was written by model.save"):
        model.fit(X, Y, **options(resume=tmp_path / "model.npz"))
    model.save_weights(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="weights only"):
        model.fit(X, Y, **options(resume=tmp_path / "weights.npz"))


# ---------------------------------------------------------------------- found by breaking


def plain(metrics=(), loss="softmax_crossentropy", optimizer=None):
    layers = [md.Dense(6), md.Tanh(), md.Dense(4)]
    return md.Sequential(layers, rng=3).compile(optimizer or md.SGD(0.1, momentum=0.9), loss, metrics)


class Given(md.Callback):
    """Puts given figures into the logs."""

    values = (5.0, 4.0, 4.5, 6.0)

    def on_epoch_end(self, epoch, logs):
        logs["fig"] = np.float32(self.values[epoch])


def test_two_checkpoints_of_which_one_is_the_best(tmp_path):
    """Each file knows what the other one was about to do."""

    def run(folder, **resume):
        best = callbacks.ModelCheckpoint(folder / "best.npz", save_best_only=True, monitor="fig", mode="min")
        keep = callbacks.ModelCheckpoint(folder / "k{epoch}.npz", keep=2)
        every = callbacks.ModelCheckpoint(folder / "last{epoch}.npz", keep=9)
        plain().fit(X, Y, **options(epochs=4, callbacks=[Given(), every, best, keep], **resume))
        names = sorted(path.name for path in folder.iterdir())
        return best.best, md.load_model(folder / "best.npz").history.epoch, names

    whole = run(tmp_path)
    assert whole == (4.0, [0, 1], ["best.npz", "k3.npz", "k4.npz", *[f"last{i}.npz" for i in (1, 2, 3, 4)]])
    for i in (1, 2, 3, 4):
        if i <= 2:  # of the second epoch, the best was about to be saved
            (tmp_path / "best.npz").unlink()
        assert run(tmp_path, resume=tmp_path / f"last{i}.npz") == whole


def test_saving_makes_no_callbacks(tmp_path):
    made = []

    class Log(md.Callback):
        transient = md.Callback.transient | {"file"}

        def __init__(self, path, seen):
            made.append(self)
            self.file, self.seen = open(path, "w"), seen  # noqa: SIM115

        def on_epoch_end(self, epoch, logs):
            self.seen.append(epoch)
            self.file.write(f"{epoch}\n")
            self.file.flush()

    log = Log(tmp_path / "log.txt", [])
    plain().fit(X, Y, **options(callbacks=[log, callbacks.ModelCheckpoint(tmp_path / "run.npz")]))
    assert (tmp_path / "log.txt").read_text() == "0\n1\n"
    again = Log(tmp_path / "other.txt", [])
    plain().fit(X, Y, **options(epochs=4, callbacks=[again], resume=tmp_path / "run.npz"))
    assert again.seen == [0, 1, 2, 3]
    assert len(made) == 2
    for each in made:
        each.file.close()


class InTheClass(md.Callback):
    count, losses = 0, []

    def on_train_begin(self, logs):
        self.losses = []

    def on_batch_end(self, batch, logs):
        self.count += 1
        self.losses.append(logs["loss"])


def test_attributes_that_the_class_has(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=3, keep=99)
    whole = InTheClass()
    plain().fit(X, Y, **options(callbacks=[whole, keep]))
    counted = whole.count
    for path in keep.saved:
        for each in (InTheClass(), whole):
            plain().fit(X, Y, **options(callbacks=[each], resume=path))
            assert each.count == counted == 16
            assert len(each.losses) == 16


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("size", [100, 6000])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_begin", "on_batch_end"])
def test_told_to_stop_it_stops_after_that_step(hook, size, watched):
    x, y = np.tile(X, (40, 1)), np.tile(Y, 40)
    model = plain()
    stop = callbacks.LambdaCallback(**{hook: lambda *_: setattr(model, "stop_training", True)})
    watch = [callbacks.LambdaCallback(on_batch_end=lambda *_: None)] if watched else []
    figures = model.fit(x, y, batch_size=size, epochs=2, verbose=0, shuffle=False, callbacks=[stop, *watch]).history
    assert model.optimizer.iterations == 1
    rows = x[:size], y[:size]
    assert figures["loss"] == [pytest.approx(plain().build(8).evaluate(*rows)["loss"], rel=1e-6)]


class Largest(md.Metric):
    name = "largest"

    def __init__(self):
        self.reset()

    def reset(self):
        self.value = 0.0

    def update(self, y_true, y_pred, weights=None):
        self.value = max(self.value, float(y_pred.max()))

    def result(self):
        return self.value


class Keeps(md.Callback):
    def __init__(self):
        self.metric = Largest()

    def on_epoch_end(self, epoch, logs):
        self.metric.update(Y, self.model.predict(X))
        logs["kept"] = self.metric.result()


def test_a_stopped_run_asks_its_source_for_nothing_more(tmp_path):
    class Stop(md.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = True

    def run(**more):
        source = iter([(X[:20], Y[:20])])
        model = plain([Largest()])
        model.fit(source, steps_per_epoch=5, epochs=2, verbose=0, **more)
        return model

    whole = run(callbacks=[Stop(), callbacks.ModelCheckpoint(tmp_path / "run.npz", every=1)])
    assert_same(run(callbacks=[Stop()], resume=tmp_path / "run.npz"), whole)


def test_callbacks_that_hold_things_of_ones_own(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "run.npz")
    whole = plain()
    whole.fit(X, Y, **options(epochs=3, callbacks=[Keeps()]))
    plain().fit(X, Y, **options(epochs=1, callbacks=[Keeps(), keep]))
    resumed = plain()
    resumed.fit(X, Y, **options(epochs=3, callbacks=[Keeps()], resume=tmp_path / "run.npz"))
    assert_same(resumed, whole)
    assert md.load_model(tmp_path / "run.npz").history.epoch == [0]


def test_figures_of_numpy_and_early_stopping(tmp_path):
    def watch():
        return [Given(), callbacks.EarlyStopping("fig", mode="max", patience=9)]

    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz", keep=9)
    whole = plain()
    whole.fit(X, Y, **options(epochs=4, callbacks=[*watch(), keep]))
    for path in keep.saved:
        resumed, again = plain(), watch()
        resumed.fit(X, Y, **options(epochs=4, callbacks=again, resume=path))
        assert_same(resumed, whole)
        assert again[1].best == 6.0


def test_a_file_of_many_steps_stays_small(tmp_path):
    x, y = np.tile(X, (20, 1)), np.tile(Y, 20)
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every="1000 steps", keep=9)
    plain(["auc", largest]).fit(x, y, batch_size=1, verbose=0, callbacks=[keep])
    assert len(keep.saved) == 3
    resumed, whole = plain(["auc", largest]), plain(["auc", largest])
    whole.fit(x, y, batch_size=1, verbose=0)
    resumed.fit(x, y, batch_size=1, verbose=0, resume=keep.saved[1])
    assert_same(resumed, whole)


def test_refused_runs_change_no_callback_and_say_everything(tmp_path):
    path = tmp_path / "run.npz"
    stop = callbacks.EarlyStopping("loss", patience=9)
    plain().fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path), stop]))
    model, other = plain(optimizer=md.Adam()), callbacks.EarlyStopping("accuracy", patience=3)
    with pytest.raises(ValueError, match="cannot resume from") as caught:
        model.fit(X, Y, **options(batch_size=10, shuffle=False, validation_data=None, callbacks=[other], resume=path))
    for line in (
        "the optimizer is SGD",
        "rows a batch: 20 in the file, 10 here",
        "shuffle: True",
        "validation rows: 30 in the file, 0 here",
        "the monitor of EarlyStopping is 'loss' in the file, and 'accuracy' here",
        "the patience of",
    ):
        caught.match(line)
    assert other.model is None
    assert model.optimizer.iterations == 0
    with pytest.raises(ValueError, match="weights: None in the file, with the checksum"):
        plain().fit(X, Y, **options(callbacks=[stop], class_weight="balanced", resume=path))
    plain([largest]).fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path)]))
    with pytest.raises(ValueError, match="it has largest, which are not in this model and its callbacks"):
        plain().fit(X, Y, **options(resume=path))


def test_a_source_that_ends_on_the_way_changes_nothing(tmp_path):
    from snapshots import picture

    path = tmp_path / "run.npz"
    plain().fit(batches(30), steps_per_epoch=4, epochs=2, verbose=0, callbacks=[callbacks.ModelCheckpoint(path)])
    model = plain().build(8)
    before = picture(model)
    few = iter([batch for batch, _ in zip(batches(30), range(5), strict=False)])
    with pytest.raises(ValueError, match=r"ended before epoch 2, step 2.*These batches are skipped to resume the run"):
        model.fit(few, steps_per_epoch=4, epochs=3, verbose=0, resume=path)
    assert picture(model) == before


def test_the_steps_in_a_name_are_those_made(tmp_path):
    class Stop(md.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = batch == 1

    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{step}-{loss:.0f}.npz")
    plain().fit(X, Y, **options(callbacks=[Stop(), keep]))
    assert [path.rsplit("/")[-1] for path in keep.saved] == ["1-2-2.npz"]


def test_a_log_that_was_lost_is_written_again(tmp_path):
    log, path = tmp_path / "log.csv", tmp_path / "run.npz"
    plain().fit(X, Y, **options(epochs=3, callbacks=[callbacks.CSVLogger(log)]))
    whole = log.read_text()
    plain().fit(X, Y, **options(callbacks=[callbacks.CSVLogger(log), callbacks.ModelCheckpoint(path)]))
    log.unlink()
    plain().fit(X, Y, **options(epochs=3, callbacks=[callbacks.CSVLogger(log)], resume=path))
    assert log.read_text() == whole


def test_a_failed_checkpoint_leaves_the_old_one_and_a_model_to_train_on(tmp_path, monkeypatch):
    import os

    path = tmp_path / "run.npz"
    whole, model = plain(), plain()
    whole.fit(X, Y, **options(epochs=3))

    def full(descriptor):
        if model.optimizer.iterations >= 11:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; nothing was saved") as caught:
        model.fit(X, Y, **options(epochs=3, callbacks=[callbacks.ModelCheckpoint(path, every=1)]))
    assert str(path) in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
    assert model.optimizer.iterations == 11
    monkeypatch.undo()
    model.fit(X, Y, **options(epochs=3, resume=path))
    assert_same(model, whole)


CHECKPOINT_FAULTS = {
    "every": (lambda: callbacks.ModelCheckpoint("x", every="sometimes"), "every: expected 'epoch', '5 epochs'"),
    "every 0": (lambda: callbacks.ModelCheckpoint("x", every=0), "at least 1, got 0"),
    "keep": (
        lambda: callbacks.ModelCheckpoint("x.npz", keep=3),
        "keep=3 files need names that differ: {epoch} in 'x.npz'",
    ),
    "template": (lambda: callbacks.ModelCheckpoint("x{epoch"), "is no template"),
    "positions": (lambda: callbacks.ModelCheckpoint("x{}.npz"), "expected names such as {epoch}"),
    "figure": (
        lambda: plain().fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint("x{accuracy}.npz")])),
        "cannot be filled in: KeyError('accuracy'). Known: loss, val_loss, epoch, step",
    ),
}


@pytest.mark.parametrize("fault", CHECKPOINT_FAULTS)
def test_bad_checkpoints(fault):
    call, message = CHECKPOINT_FAULTS[fault]
    with pytest.raises(ValueError, match="ModelCheckpoint") as caught:
        call()
    assert message in str(caught.value)


def test_what_a_person_sees_of_a_run_that_goes_on(tmp_path, capfd):
    path = tmp_path / "12.npz"
    plain().fit(X, Y, **options(epochs=3, callbacks=[callbacks.ModelCheckpoint(tmp_path / "{step}.npz", 12, keep=9)]))
    plain().fit(X, Y, **options(epochs=3, resume=path, verbose=1))
    shown = capfd.readouterr().err
    assert " 50%|" in shown
    assert "epoch 2/3:  67%" in shown
    assert "epoch 3/3: 100%" in shown
    assert "24/24" in shown
    plain().fit(X, Y, **options(epochs=3, resume=tmp_path / "24.npz", verbose=1))
    assert "epoch 3/3" in capfd.readouterr().err
    with pytest.raises(ValueError, match="epochs: 1 and 4 steps are over in the file, 1 wanted here"):
        plain().fit(X, Y, **options(epochs=1, resume=path))
    plain().fit(X, Y, **options(epochs=3, resume=path, verbose=2))
    assert [line[:9] for line in capfd.readouterr().out.splitlines()] == ["epoch 2/3", "epoch 3/3"]


@pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end"])
def test_an_interrupt_is_never_swallowed(hook, tmp_path):
    import os
    import signal

    model = plain()

    def interrupt(*_):
        if hook != "on_batch_end" or model.optimizer.iterations == 11:
            os.kill(os.getpid(), signal.SIGINT)

    keep = callbacks.ModelCheckpoint(tmp_path / "run.npz", every=1)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background has not
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, **options(callbacks=[callbacks.LambdaCallback(**{hook: interrupt}), keep]))
    signal.signal(signal.SIGINT, old)
    made = {"on_train_begin": 1, "on_batch_end": 11, "on_epoch_end": 8, "on_train_end": 16}[hook]
    assert model.optimizer.iterations == made
    assert model.history.epoch == list(range(made // 8))
    whole = plain()
    whole.fit(X, Y, **options())
    model.fit(X, Y, **options(resume=tmp_path / "run.npz"))
    assert_same(model, whole)


# ---------------------------------------------------------------------- files that are others', or elsewhere


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_takes_over_what_its_like_has_saved_and_nothing_else(tmp_path):
    best, latest = tmp_path / "best.npz", tmp_path / "latest.npz"

    def run(epochs, *paths, **resume):
        given = [callbacks.ModelCheckpoint(path, save_best_only=path is best) for path in paths]
        plain().fit(X, Y, **options(epochs=epochs, callbacks=given, **resume))
        return given

    run(2, best, latest)
    before = best.read_bytes()
    run(3, latest, resume=latest)
    assert names(tmp_path) == ["best.npz", "latest.npz"]
    assert best.read_bytes() == before
    run(4, latest, best, resume=latest)
    assert names(tmp_path) == ["best.npz", "latest.npz"]
    other = callbacks.ModelCheckpoint(tmp_path / "other.npz", save_best_only=True, monitor="val_accuracy")
    plain(["accuracy"]).fit(X, Y, **options(epochs=1, callbacks=[callbacks.ModelCheckpoint(latest)]))
    plain(["accuracy"]).fit(X, Y, **options(epochs=2, callbacks=[other], resume=latest))
    assert 0 <= other.best <= 1
    assert names(tmp_path) == ["best.npz", "latest.npz", "other.npz"]


def test_a_folder_that_was_copied_is_a_branch(tmp_path, monkeypatch):
    import shutil

    def run(folder, epochs, **resume):
        keep = callbacks.ModelCheckpoint(f"{folder}/{{epoch}}.npz", keep=3)
        log = callbacks.CSVLogger(f"{folder}/log.csv")
        plain().fit(X, Y, **options(epochs=epochs, callbacks=[keep, log], **resume))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "A").mkdir()
    run("A", 4)
    shutil.copytree("A", "B")
    written = {path.name: path.read_bytes() for path in (tmp_path / "A").iterdir()}
    run("B", 6, resume="B/3.npz")
    assert {path.name: path.read_bytes() for path in (tmp_path / "A").iterdir()} == written
    assert names(tmp_path / "B") == ["4.npz", "5.npz", "6.npz", "log.csv"]
    (tmp_path / "C").mkdir()
    run("C", 6)
    assert (tmp_path / "B" / "log.csv").read_text() == (tmp_path / "C" / "log.csv").read_text()


def test_a_file_cannot_name_files_to_delete(tmp_path):
    precious, path = tmp_path / "precious.txt", tmp_path / "{epoch}.npz"
    precious.write_text("mine")
    keep = callbacks.ModelCheckpoint(path, keep=1)
    keep._names = [str(precious), "../precious.txt", "precious.txt", "0.npz/../precious.txt", "9.npz"]
    (tmp_path / "9.npz").write_text("a file of that pattern, which it may have written")
    plain().fit(X, Y, **options(epochs=1, callbacks=[keep]))
    plain().fit(
        X, Y, **options(epochs=2, callbacks=[callbacks.ModelCheckpoint(path, keep=1)], resume=tmp_path / "1.npz")
    )
    assert precious.read_text() == "mine"
    assert names(tmp_path) == ["2.npz", "precious.txt"]


def test_a_log_of_another_name_is_left_alone(tmp_path):
    path, notes = tmp_path / "run.npz", tmp_path / "notes.csv"
    run = [callbacks.CSVLogger(tmp_path / "log.csv"), callbacks.ModelCheckpoint(path)]
    plain().fit(X, Y, **options(callbacks=run))
    lines = "epoch,loss,val_loss\n" + "".join(f"{i},9,9\n" for i in range(60))
    notes.write_text(lines)
    plain().fit(X, Y, **options(epochs=3, callbacks=[callbacks.CSVLogger(notes, append=True)], resume=path))
    assert notes.read_text().startswith(lines)
    whole = tmp_path / "whole.csv"
    plain().fit(X, Y, **options(epochs=3, callbacks=[callbacks.CSVLogger(whole)], resume=path))
    assert [line[0] for line in whole.read_text().splitlines()] == ["e", "0", "1", "2"]


def test_the_best_is_the_best_of_all_fits(tmp_path):
    path = tmp_path / "best.npz"
    keep = callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    model = plain()
    model.fit(X, Y, **options(epochs=3, callbacks=[keep]))
    best, written = keep.best, path.read_bytes()
    model.optimizer.learning_rate = 5.0
    model.fit(X, Y, **options(epochs=1, callbacks=[keep]))
    assert keep.best == best
    assert path.read_bytes() == written


def test_all_files_stay_unless_told_otherwise(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.3f}.npz")
    plain().fit(X, Y, **options(epochs=4, callbacks=[keep]))
    assert len(keep.saved) == len(names(tmp_path)) == 4


# ---------------------------------------------------------------------- things of the user's that remember


class Bootstrap(md.Metric):
    """Keeps a stream of its own from epoch to epoch."""

    name = "bootstrap"

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.reset()

    def reset(self):
        self.hits = self.rows = 0

    def update(self, y_true, y_pred, weights=None):
        rows = self.rng.integers(0, len(y_true), len(y_true))
        self.hits += int((y_pred.argmax(axis=1) == y_true)[rows].sum())
        self.rows += len(y_true)

    def result(self):
        return self.hits / self.rows


class Penalty(md.RowLoss):
    """Counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def rows(self, scores, targets):
        self.calls += 1
        return ((scores - targets) ** 2).sum(axis=1)

    def gradient(self, scores, targets):
        return 2 * (scores - targets) * (1 + 1e-3 * self.calls)


def test_metrics_that_remember_and_losses_that_count(tmp_path):
    def run(model, targets, **more):
        return model.fit(X, targets, **options(epochs=3, validation_data=None, **more)).history

    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=4, keep=9)
    whole = run(plain([Bootstrap()]), Y)
    assert run(plain([Bootstrap()]), Y, callbacks=[keep]) == whole
    for path in keep.saved:
        assert run(plain([Bootstrap()]), Y, resume=path) == whole
    targets = np.eye(4)[Y]
    unwatched, watched = plain(loss=Penalty()), plain(loss=Penalty())
    run(unwatched, targets)
    run(watched, targets, callbacks=[callbacks.LambdaCallback(on_batch_end=lambda *_: None)])
    assert (unwatched.theta == watched.theta).all()


class Rows(md.Callback):
    """An everyday callback: the figures of each batch, rows to look at, a folder."""

    def __init__(self, folder, x):
        from pathlib import Path

        self.folder, self.file, self.x, self.rows = Path(folder), f"{folder}/log.txt", x, []

    def on_batch_end(self, batch, logs):
        self.rows.append(dict(logs))


def test_everyday_callbacks(tmp_path):
    def rows(folder):
        return Rows(folder, np.zeros((1000, 100)))

    keep = callbacks.ModelCheckpoint(tmp_path / "run.npz", every="20 epochs")
    whole = rows("A")
    plain().fit(X, Y, batch_size=1, epochs=60, verbose=0, callbacks=[whole])
    plain().fit(X, Y, batch_size=1, epochs=40, verbose=0, callbacks=[rows("A"), keep])
    assert (tmp_path / "run.npz").stat().st_size < 3_000_000  # without the thousand rows
    resumed = rows("B")
    plain().fit(X, Y, batch_size=1, epochs=60, verbose=0, callbacks=[resumed], resume=tmp_path / "run.npz")
    assert resumed.rows == whole.rows
    assert resumed.file == "B/log.txt"


def test_frozen_layers_are_compared(tmp_path):
    path = tmp_path / "run.npz"
    for frozen in (True, False):
        model, other = plain(), plain()
        model.layers[0].trainable, other.layers[0].trainable = not frozen, frozen
        model.fit(X, Y, **options(epochs=1, callbacks=[callbacks.ModelCheckpoint(path)]))
        with pytest.raises(ValueError, match=f"trainable of layer 0 is {not frozen} in the file, and {frozen} here"):
            other.fit(X, Y, **options(resume=path))


def test_what_a_killed_process_left_is_removed(tmp_path):
    import os
    import platform
    import zlib

    path = tmp_path / "model.npz"
    kin = f".minidense-{zlib.crc32(f'{platform.node()}:{path}'.encode()):08x}-"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"{kin}{dead.pid}-00.tmp").write_text("left behind")
    (tmp_path / f"{kin}{os.getpid()}-00.tmp").write_text("of a process that lives")
    (tmp_path / ".minidense-00000000-1-00.tmp").write_text("for another file")
    plain().build(8).save(path)
    assert names(tmp_path) == [".minidense-00000000-1-00.tmp", f"{kin}{os.getpid()}-00.tmp", "model.npz"]


class Plateau(md.Callback):
    """Looks at another callback, at a layer and at the optimizer."""

    def __init__(self, stopper, layer, optimizer):
        self.watched, self.layer, self.optimizer = [stopper], layer, optimizer

    def on_epoch_end(self, epoch, logs):
        self.layer.rate *= 0.9
        self.optimizer.learning_rate *= 0.9
        if self.watched[0].wait >= 2:
            self.optimizer.learning_rate = 0.5


class Tracker:
    def __init__(self):
        self.wait = 0


class Tracking(md.Callback):
    def __init__(self):
        self.tracker = Tracker()

    def on_epoch_end(self, epoch, logs):
        self.tracker.wait += 1


def test_callbacks_that_refer_to_others(tmp_path):
    def run(**more):
        model = network(md.Adam(0.01))
        stop = callbacks.EarlyStopping("loss", min_delta=10.0, patience=50)
        refers = Plateau(stop, model.layers[3], model.optimizer)
        keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=5, keep=99)
        model.fit(X, Y, **options(**{"epochs": 6, "callbacks": [keep, stop, refers], **more}))
        assert refers.watched[0] is stop
        assert refers.layer is model.layers[3]
        return model, keep

    whole, keep = run()
    for path in keep.saved[::2]:
        assert_same(run(resume=path)[0], whole)


def test_what_a_callback_cannot_save_is_said_before_the_first_step(tmp_path):
    import datetime

    class Stamp(md.Callback):
        def on_train_begin(self, logs):
            self.since = datetime.datetime.now()

    model, path = plain(), tmp_path / "run.npz"
    with pytest.raises(ValueError, match=r"transient = md.Callback.transient \| {'since'} in the class"):
        model.fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path), Stamp()]))
    assert model.optimizer.iterations == 0
    tracking = Tracking()
    tracking.tracker.wait = 1  # a helper that has changed since the callback was made
    with pytest.raises(ValueError, match=r"tracker: <.*Tracker object.* cannot be saved"):
        model.fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path), tracking]))


class Curve(md.Callback):
    def __init__(self, x, y):
        self.x, self.y, self.curve = x, y, []

    def on_epoch_end(self, epoch, logs):
        self.curve.append(self.model.evaluate(self.x, self.y)["loss"])


def test_callbacks_in_another_order(tmp_path):
    path = tmp_path / "run.npz"
    parts = (X[:50], Y[:50]), (X[50:], Y[50:])
    whole = [Curve(*part) for part in parts]
    plain().fit(X, Y, **options(epochs=4, callbacks=whole))
    plain().fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path), *[Curve(*part) for part in parts]]))
    again = [Curve(*part) for part in parts]
    plain().fit(X, Y, **options(epochs=4, callbacks=again[::-1], resume=path))
    assert [each.curve for each in again] == [each.curve for each in whole]
    curves = [list(each.curve) for each in whole]
    early = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=3, keep=99)
    plain().fit(X, Y, **options(epochs=1, callbacks=[early, *[Curve(*part) for part in parts]]))
    plain().fit(X, Y, **options(epochs=4, callbacks=whole, resume=early.saved[0]))  # with what another run left
    assert [each.curve for each in whole] == curves
