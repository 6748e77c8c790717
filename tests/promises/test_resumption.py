"""A run that is resumed after a crash gives the same result, to the bit, as a run without one."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tied import Transposed

import minidense as md
from minidense import callbacks, schedules
from minidense.files.checkpoint import run_number
from minidense.files.model_file import encoded

random = np.random.default_rng(7)
X = random.normal(size=(150, 8)).astype("float32")
Y = random.integers(0, 4, 150)


def largest(y_true, y_pred):
    return y_pred.max()


def network(optimizer, rng=3):
    layers = [md.Dense(9), md.BatchNormalization(), md.ReLU(), md.Dropout(0.3), md.Dense(4), md.Softmax()]
    return md.Sequential(layers, rng=rng).compile(optimizer, metrics=["accuracy", "auc", "f1", largest])


def plain(metrics=(), loss="softmax_crossentropy", optimizer=None):
    layers = [md.Dense(6), md.Tanh(), md.Dense(4)]
    return md.Sequential(layers, rng=3).compile(optimizer or md.SGD(0.1, momentum=0.9), loss, metrics)


def options(**more):
    return {"batch_size": 20, "epochs": 2, "validation_data": (X[:30], Y[:30]), "verbose": 0, **more}


def each_step(folder, every="step", name="{step}.npz"):
    return callbacks.ModelCheckpoint(folder / name, every=every)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_same(model, other):
    """Compare everything that could differ: what files of the two models contain, and what they predict."""
    (ours, arrays), (theirs, others) = encoded(model), encoded(other)
    assert ours == theirs
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.tobytes()) == (others[name].dtype, others[name].tobytes()), name
    assert model.predict(X).tobytes() == other.predict(X).tobytes()


def assert_resumes(make, folder, *, every="step", watch=list, data=lambda: (X, Y), most=20, **more):
    """A run without checkpoints, one with, and runs resumed from each checkpoint end alike; returns the first.

    make: the model. watch: the callbacks of each run. data: fit's x and y. most: resume from about so many files.
    """

    def run(*added, **resume):
        model = make()
        model.fit(*data(), **options(callbacks=[*watch(), *added], **more, **resume))
        return model

    whole, keep = run(), each_step(folder, every)
    assert_same(run(keep), whole)
    for i, path in enumerate(keep.files[:: -(-len(keep.files) // most)]):
        rest = [each_step(folder, 3, "rest.npz")] if i % 2 else []  # callbacks for each step make no difference
        assert_same(run(*rest, resume=path), whole)
    return whole


# ---------------------------------------------------------------------- from every step

OPTIMIZERS = {
    "sgd": lambda: md.SGD(0.1),
    "momentum": lambda: md.SGD(0.1, momentum=0.9),
    "nesterov": lambda: md.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=0.5),
    "adam": lambda: md.Adam(schedules.WarmUp(schedules.CosineDecay(0.01, 20), 4)),
    "adamw": lambda: md.AdamW(0.01),
    "shares of the run": lambda: md.Adam(schedules.WarmUp(schedules.OfRun(schedules.CosineDecay(0.01, 1)), 4)),
    "cos log": lambda: md.SGD(schedules.CosLog4(0.1), momentum=0.9),
    "rmsprop": lambda: md.RMSprop(0.003, momentum=0.5),
    "centered": lambda: md.RMSprop(0.003, momentum=0.5, centered=True),
    "nadam": lambda: md.Nadam(schedules.CosineDecayRestarts(0.01, 3)),
    "adamax, averaged": lambda: md.Adamax(0.01, use_ema=True, ema_momentum=0.8),
    "amsgrad, overwritten": lambda: md.Adam(0.01, amsgrad=True, use_ema=True, ema_overwrite_frequency=3),
    "adagrad": lambda: md.Adagrad(0.1, clipnorm=0.1),
    "adadelta": lambda: md.Adadelta(1.0, clipvalue=0.1),
    "lion": lambda: md.Lion(0.002, weight_decay=0.1, rates={"layers/0": 0.5}),
    "one's own": lambda: Cooling(0.1),
}


class Cooling(md.Optimizer):
    """Its steps shrink, by a number and along a vector that it saves."""

    saved = ("heat",)
    heat = 1.0

    def step(self, theta, grad, eta):
        self.heat *= 0.97
        velocity = self.moment("velocity", theta)
        velocity *= 0.5
        velocity -= eta * self.heat * grad
        theta += velocity


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_each_optimizer(optimizer, tmp_path):
    whole = assert_resumes(lambda: network(OPTIMIZERS[optimizer]()), tmp_path)
    assert whole.optimizer.iterations == 16 == len(names(tmp_path)) - 1


def test_with_penalties_and_constraints(tmp_path):
    """The penalty is in the loss of each step, also of those of an unfinished epoch."""
    r, c = md.regularizers, md.constraints

    def make():
        first = md.Dense(
            6, "tanh", kernel_regularizer="l2", bias_regularizer=r.L1(0.1), kernel_constraint=c.MaxNorm(0.9)
        )
        layers = [first, md.Dense(4, kernel_regularizer=r.OrthogonalRegularizer(0.3), bias_constraint="non_neg")]
        return md.Sequential(layers, rng=3).compile(md.Adam(0.05, use_ema=True, ema_momentum=0.5), metrics=["accuracy"])

    assert_resumes(make, tmp_path)


class Centred(md.Layer):
    """y = x - a moving average of x, in a buffer."""

    def build(self, input_shape):
        self.buffer("mean", input_shape)
        return input_shape

    def forward(self, x, training):
        if training:
            self.mean = 0.8 * self.mean + 0.2 * x.mean(axis=0)
        return x - self.mean

    def backward(self, dy):
        return dy


class Gate(md.Layer):
    """y = g(x) * f(x): both are made in build."""

    def __init__(self, units, rate=0.2):
        self.units, self.rate = units, rate

    def build(self, input_shape):
        self.child("g", md.Sequential([md.Dense(self.units), md.Sigmoid()]), input_shape)
        f = md.Sequential([md.Dense(self.units), md.BatchNormalization(), Centred(), md.Dropout(self.rate)])
        return self.child("f", f, input_shape)

    def forward(self, x, training):
        self.by_g, self.by_f = self.g.forward(x, training), self.f.forward(x, training)
        return self.by_g * self.by_f

    def backward(self, dy):
        return self.g.backward(dy * self.by_f) + self.f.backward(dy * self.by_g)


def tied():
    dense = md.Dense(6)
    return [dense, md.Tanh(), Transposed(dense), md.Dense(4)]


def frozen():
    within = md.Residual([md.Dense(6, "tanh"), md.Dense(6)])
    within.f.children[0].trainable = False
    return [md.Dense(6), within, md.Dense(4)]


LAYERS = {
    "residual": lambda: [md.Dense(6), md.Residual([md.BatchNormalization(), md.Dropout(0.3)]), md.Dense(4)],
    "concatenate": lambda: [md.Concatenate([md.Dense(3), [md.Dense(5, "relu"), md.Dropout(0.3)]]), md.Dense(4)],
    "models in a model": lambda: [md.Sequential([md.Dense(6), md.Sequential([md.ReLU(), md.Dropout(0.2)])]),
                                  md.Residual(md.Sequential([Centred(), md.Dense(6)])), md.Dense(4)],
    "a tied parameter": tied,
    "children made in build": lambda: [Gate(6), md.Residual([Gate(6, 0.4)]), md.Dense(4)],
    "a buffer": lambda: [md.Dense(6), Centred(), md.Tanh(), Centred(), md.Dense(4)],
    "a frozen child": frozen,
}  # fmt: skip


@pytest.mark.parametrize("layers", LAYERS)
def test_with_layers_of_layers(layers, tmp_path):
    def make():
        return md.Sequential(LAYERS[layers](), rng=1).compile(md.Adam(0.01), metrics=["accuracy"])

    whole = assert_resumes(make, tmp_path)
    start = make().build(8)
    moved = [
        name for name, w in start.network.named_arrays().items() if (w != whole.network.named_arrays()[name]).any()
    ]
    still = {"a frozen child": {"layers/1/f/0/W", "layers/1/f/0/b"}}.get(layers, set())
    assert start.network.named_arrays().keys() - moved == still


@pytest.mark.parametrize("size", [1, 7, 64, 150, "full"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("together", [1, 3])
def test_with_batches_of_all_sizes(size, weighted, together, tmp_path, monkeypatch):
    """Blocks of 32 rows: with batches larger and smaller, a run is saved within blocks and between slices."""
    if size == "full" and together > 1:
        return
    for name, value in {"BLOCK_ROWS": 32, "SLICE_ROWS": 24, "GATHER_BYTES": 32 * 8 * 4}.items():
        monkeypatch.setattr(f"minidense.data.batches.{name}", value)
    weights = {"sample_weight": random.uniform(0.1, 3, 150)} if weighted else {}
    layers = [md.BatchNormalization] if together > 1 else []  # whose averages move with each micro-batch

    def make():
        within = [layer() for layer in layers]
        made = md.Sequential([md.Dense(9), *within, md.Tanh(), md.Dense(4)], rng=3)
        return made.compile(metrics=["acc"], weighted_metrics=["acc", "auc"])

    assert_resumes(make, tmp_path, batch_size=size, gradient_accumulation_steps=together, **weights)


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


class Loader:
    """As PyTorch's DataLoader: each epoch is another iterator, over the rows in another order."""

    def __init__(self):
        self.dataset = Dataset()

    def __iter__(self):
        self.dataset.on_epoch_end()
        return (self.dataset[i] for i in range(5))


SOURCES = {"generator": lambda: batches(30), "dataset": Dataset, "iterable": Loader}


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("source", SOURCES)
def test_with_sources_of_batches(source, together, tmp_path):
    steps = {"steps_per_epoch": 5 if source == "generator" else None, "gradient_accumulation_steps": together}
    given = {"batch_size": None, "epochs": 3, **steps}
    whole = assert_resumes(lambda: network(md.Adam()), tmp_path, data=lambda: (SOURCES[source](), None), **given)
    assert whole.optimizer.iterations == {1: 15, 2: 9}[together]


@pytest.mark.parametrize("freq", [1, 2, [1, 3]])
@pytest.mark.parametrize("source", SOURCES)
def test_validated_on_a_source_of_batches(source, freq, tmp_path):
    """The batches of a generator, or an order of its own, go on from one validation to the next."""

    def run(*added, **resume):
        model = network(md.Adam())
        steps = {"validation_steps": 3 if source == "generator" else None, "validation_freq": freq}
        given = options(epochs=4, callbacks=added, **steps, **resume) | {"validation_data": SOURCES[source]()}
        model.fit(X, Y, **given)
        return model

    whole = run()
    known = freq if isinstance(freq, list) else [*range(freq, 5, freq)]
    values = whole.history.history["val_loss"]
    assert [epoch for epoch, value in enumerate(values, 1) if value == value] == known
    assert len({value for value in values if value == value}) == len(known)
    run(each_step(tmp_path, "7 steps"))
    for path in sorted(tmp_path.iterdir()):
        assert_same(run(resume=path), whole)
    freq = 3
    with pytest.raises(ValueError, match=r"validation_freq: .* in the file, 3 here"):
        run(resume=path)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("model", ["new", "loaded", "trained"])
def test_whatever_the_model_has_been_through(model, shuffle, tmp_path):
    """Also without a seed, and with a random split: the file has the seeds of the run."""
    more = options(validation_data=None, validation_split=0.2, validation_shuffle=True, shuffle=shuffle)
    whole, keep = network(md.Adam(0.01), rng=None), each_step(tmp_path, 5)
    whole.fit(X, Y, **more, callbacks=[keep])
    for path in keep.files:
        resumed = md.load_model(path, {"largest": largest}) if model == "loaded" else network(md.Adam(0.01), rng=None)
        if model == "trained":
            resumed.fit(X[:70], Y[:70], verbose=0)
        resumed.fit(X, Y, **more, resume=path)
        assert_same(resumed, whole)


@pytest.mark.parametrize("last", [False, True])
def test_the_best_epoch_is_kept_of_all_of_them(last, tmp_path):
    """Accuracies of 30 rows are often equal; the run ends in other epochs than the best."""
    found = []

    def watch():
        found.append(callbacks.KeepBest("val_accuracy", last=last))
        return found[-1:]

    whole = assert_resumes(lambda: network(md.Adam(0.03)), tmp_path, watch=watch, epochs=7)
    values = whole.history.history["val_accuracy"]
    assert len({keep.best_epoch for keep in found}) == 1
    best = [epoch for epoch, value in enumerate(values) if value == max(values)]
    assert found[0].best_epoch == best[-1 if last else 0] != 6
    assert whole.evaluate(X[:30], Y[:30])["accuracy"] == max(values)


def test_packed_members_with_rows_that_they_withhold(tmp_path):
    def make():
        layers = [md.Scale(3, rate=6.0), md.PackedDense(6, 3, kernel_rate="1/sqrt(fan_in)", bias_rate=0.1), md.ReLU()]
        layers += [md.PackedDense(4, 3), md.MembersMean(3)]
        model = md.Sequential(layers, rng=3)
        return model.compile(md.Adam(schedules.CosLog4(0.04)), md.losses.Members("softmax_crossentropy", 3), ["acc"])

    fold = np.arange(150)[:, None] % 3 == np.arange(3)
    trained, held_out = np.where(fold, -1, Y[:, None]), np.where(fold, Y[:, None], -1)
    more = {"data": lambda: (X, trained), "validation_data": (X, held_out)}
    whole = assert_resumes(make, tmp_path, watch=lambda: [callbacks.KeepBest("val_acc")], **more)
    assert np.isfinite(whole.theta).all()


# ---------------------------------------------------------------------- again and again


def test_resumed_from_a_run_that_was_resumed_itself(tmp_path):
    """Each run ends in the middle of an epoch, some steps after the one before."""

    class Crash(md.Callback):
        def __init__(self, step):
            self.step = step

        def on_batch_end(self, batch, logs):
            if self.model.optimizer.iterations == self.step:
                raise InterruptedError

    def watch():
        return [Cool(), callbacks.EarlyStopping(patience=9, restore_best_weights=True), callbacks.GradientHealth()]

    whole = network(md.AdamW(0.01))
    whole.fit(X, Y, **options(epochs=5, callbacks=watch()))
    path, found = None, set()
    for life, ends_at in enumerate([3, 5, 14, 16, 23, 26, 33, 99]):
        keep = each_step(tmp_path, name=f"{life}.npz")
        model = network(md.AdamW(0.01))
        given = options(epochs=5, callbacks=[*watch(), keep, Crash(ends_at)], resume=path)
        if ends_at < 99:
            with pytest.raises(InterruptedError):
                model.fit(X, Y, **given)
            path = tmp_path / f"{life}.npz"
            found.add(run_number(path))
        else:
            model.fit(X, Y, **given)
    assert_same(model, whole)
    assert len(found) == 1
    assert None not in found


KILLED = """
    import os, signal, sys
    sys.path.append("..")
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
    """New processes, each killed some steps after the one before, until one reaches the end."""
    whole = network(md.AdamW(0.01))
    whole.fit(X, Y, **options(epochs=3, callbacks=[Counting()]))
    path = str(tmp_path / "run.npz")
    for kill_at in [4, 8, 9, 15, 23, 99]:
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(kill_at), path]
        ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        assert ended.returncode == (0 if kill_at == 99 else -9), ended.stderr
    assert_same(md.load_model(path + ".end", {"largest": largest}), whole)


def test_a_finished_run_has_nothing_left_to_do_and_can_go_beyond(tmp_path):
    whole, keep = network(md.Adam(0.01)), each_step(tmp_path)
    whole.fit(X, Y, **options(callbacks=[keep]))
    resumed = network(md.Adam(0.01))
    assert resumed.fit(X, Y, **options(resume=keep.files[-1])).history == whole.history.history
    assert_same(resumed, whole)
    longer = network(md.Adam(0.01))
    longer.fit(X, Y, **options(epochs=4))
    for path in keep.files[::3]:
        resumed = network(md.Adam(0.01))
        resumed.fit(X, Y, **options(epochs=4, resume=path))
        assert_same(resumed, longer)


def test_two_fits_with_a_file_in_between_are_one(tmp_path):
    whole, model = network(md.Adam(0.01)), network(md.Adam(0.01))
    whole.fit(X, Y, **options(epochs=10))
    losses = model.fit(X, Y, **options(epochs=5)).history["loss"]
    model.save(tmp_path / "half.npz")
    loaded = md.load_model(tmp_path / "half.npz", {"largest": largest})
    losses += loaded.fit(X, Y, **options(epochs=5)).history["loss"]
    assert losses == whole.history.history["loss"]
    loaded.history = whole.history
    assert_same(loaded, whole)


def test_a_second_fit_resumes_as_the_first(tmp_path):
    path = tmp_path / "run.npz"
    whole = network(md.Adam())
    whole.fit(X, Y, **options())
    stop = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: 1 / (27 - whole.optimizer.iterations))
    with pytest.raises(ZeroDivisionError):
        whole.fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path, every=2), stop]))
    resumed = network(md.Adam())
    resumed.fit(X, Y, **options(resume=path))
    again = network(md.Adam())
    for _ in range(2):
        again.fit(X, Y, **options())
    assert_same(resumed, again)


# ---------------------------------------------------------------------- callbacks


class Counting(md.Callback):
    """Counts steps, and puts the number into the metrics."""

    saved = ("steps",)

    def __init__(self):
        self.steps = 0

    def on_batch_end(self, batch, logs):
        self.steps += 1

    def on_epoch_end(self, epoch, logs):
        logs["steps"] = self.steps


class Cool(md.Callback):
    """Has nothing to save: the learning rate and the rates of dropout are kept with the model."""

    def on_batch_begin(self, batch, logs):
        self.model.optimizer.learning_rate *= 0.95
        for layer in self.model.layers:
            if isinstance(layer, md.Dropout):
                layer.rate *= 0.97


class Losses(md.Callback):
    """Attributes of the class, which on_train_begin sets again."""

    saved = ("count", "losses", "rng")
    count, losses, rng = 0, (), None

    def on_train_begin(self, logs):
        self.count, self.losses, self.rng = 0, [], np.random.default_rng(5)

    def on_batch_end(self, batch, logs):
        self.count += 1
        self.losses.append({"loss": logs["loss"], "by chance": self.rng.random()})


def test_what_callbacks_have_set_of_the_model(tmp_path):
    whole = assert_resumes(lambda: network(md.RMSprop(0.01)), tmp_path, watch=lambda: [Cool()])
    assert whole.optimizer.learning_rate == pytest.approx(0.01 * 0.95**16)
    assert whole.layers[3].rate == pytest.approx(0.3 * 0.97**16)


class Thaw(md.Callback):
    """Freezes and unfreezes a layer in the middle of an epoch."""

    saved = ("steps",)
    steps: int = 0

    def on_train_begin(self, logs):
        self.steps = 0

    def on_batch_end(self, batch, logs):
        self.steps += 1
        self.model.layers[0].trainable = self.steps % 5 > 2


def test_what_callbacks_freeze_in_the_middle_of_an_epoch(tmp_path):
    assert_resumes(lambda: network(md.Adam(0.01)), tmp_path, watch=lambda: [Thaw()])


def test_callbacks_are_resumed_too(tmp_path):
    def watchers(folder):
        return [
            Counting(),
            callbacks.EarlyStopping("val_loss", patience=2, min_delta=0.02, restore_best_weights=True),
            callbacks.KeepBest("val_auc", min_delta=0.01),
            callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.05, factor=0.5, cooldown=1),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.99),
            callbacks.GradientHealth(),
            callbacks.CSVLogger(folder / "log.csv"),
        ]

    def run(folder, more=(), **resume):
        folder.mkdir(exist_ok=True)
        model = network(md.Adam(0.03))
        history = model.fit(X, Y, **options(epochs=9, callbacks=[*watchers(folder), *more], **resume))
        return model, history, (folder / "log.csv").read_text()

    whole, history, log = run(tmp_path / "whole")
    assert 3 < len(history.epoch) < 9, "early stopping is to have stopped it"
    assert len(set(history.history["steps"])) == len(history.epoch)
    keep, by_epoch = each_step(tmp_path, "3 steps"), each_step(tmp_path, "epoch", "e{epoch}.npz")
    run(tmp_path / "a", [keep])
    run(tmp_path / "b", [by_epoch])
    assert len(by_epoch.files) == len(history.epoch)
    for path in [*keep.files, *by_epoch.files]:
        resumed, again, text = run(tmp_path / "a", resume=path)  # where the log of the whole run is already
        assert again.history == history.history
        assert_same(resumed, whole)
        assert text == log


def test_the_same_callback_objects_can_be_used_again(tmp_path):
    stop, count, losses = callbacks.EarlyStopping("loss", patience=1, min_delta=10), Counting(), Losses()
    keep, whole = each_step(tmp_path), network(md.SGD(0.1))
    whole.fit(X, Y, **options(epochs=5, callbacks=[stop, count, losses, keep]))
    assert whole.history.epoch == [0, 1]
    noted = list(losses.losses)
    for step in (1, 7, 8, 9, 15):
        resumed = network(md.SGD(0.1))
        resumed.fit(X, Y, **options(epochs=5, callbacks=[stop, count, losses, keep], resume=tmp_path / f"{step}.npz"))
        assert_same(resumed, whole)
        assert count.steps == losses.count == 16
        assert losses.losses == noted
        assert (stop.stopped_epoch, stop.best_epoch) == (1, 0)


def test_callbacks_are_told_apart_by_their_order(tmp_path):
    class Curve(md.Callback):
        saved = ("curve",)

        def __init__(self, x, y):
            self.x, self.y, self.curve = x, y, []

        def on_epoch_end(self, epoch, logs):
            self.curve.append(self.model.evaluate(self.x, self.y)["loss"])

    def run(epochs, more=(), **resume):
        curves = [Curve(X[:50], Y[:50]), Curve(X[50:], Y[50:])]
        plain().fit(X, Y, **options(epochs=epochs, callbacks=[*more, *curves], **resume))
        return [each.curve for each in curves]

    whole, keep = run(4), each_step(tmp_path, 3)
    run(2, [keep])
    for path in keep.files:
        assert run(4, resume=path) == whole


@pytest.mark.parametrize("stop_at", [3, 8, 11])
def test_a_run_that_was_told_to_stop_stops(stop_at, tmp_path):
    class Stop(md.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = self.model.optimizer.iterations >= stop_at

    whole = assert_resumes(lambda: network(md.SGD(0.1)), tmp_path, watch=lambda: [Stop()])
    assert whole.optimizer.iterations == stop_at


def test_a_stopped_run_asks_its_source_for_nothing_more(tmp_path):
    class Stop(md.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = True

    data = lambda: (iter([(X[:20], Y[:20])]), None)  # noqa: E731
    assert_resumes(
        lambda: plain(["auc"]), tmp_path, watch=lambda: [Stop()], data=data, steps_per_epoch=5, batch_size=None
    )


def test_saving_makes_no_callbacks(tmp_path):
    made = []

    class Log(md.Callback):
        saved = ("seen",)

        def __init__(self, path):
            made.append(self)
            self.file, self.seen = open(path, "w"), []  # noqa: SIM115

        def on_epoch_end(self, epoch, logs):
            self.seen.append(epoch)
            self.file.write(f"{epoch}\n")
            self.file.flush()

    path, log = tmp_path / "run.npz", Log(tmp_path / "log.txt")
    plain().fit(X, Y, **options(callbacks=[log, callbacks.ModelCheckpoint(path)]))
    assert (tmp_path / "log.txt").read_text() == "0\n1\n"
    again = Log(tmp_path / "other.txt")
    plain().fit(X, Y, **options(epochs=4, callbacks=[again], resume=path))
    assert again.seen == [0, 1, 2, 3]
    assert made == [log, again]
    for each in made:
        each.file.close()


class Given(md.Callback):
    """Puts given metrics into the logs, as NumPy numbers."""

    def on_epoch_end(self, epoch, logs):
        logs["given"] = np.float32([5.0, 4.0, 4.5, 6.0][epoch])


def test_metrics_of_numpy_and_early_stopping(tmp_path):
    found = []

    def watch():
        found.append(callbacks.EarlyStopping("given", mode="max", patience=9))
        return [Given(), found[-1]]

    assert_resumes(plain, tmp_path, every="epoch", watch=watch, epochs=4)
    assert [stop.best for stop in found] == [6.0] * 6


def test_two_checkpoints_of_which_one_is_the_best(tmp_path):
    """Each file records whether the other callback's save was due."""

    def run(folder, **resume):
        best = callbacks.ModelCheckpoint(folder / "best.npz", save_best_only=True, monitor="given", mode="min")
        keep = callbacks.ModelCheckpoint(folder / "k{epoch}.npz", keep=2)
        every = callbacks.ModelCheckpoint(folder / "last{epoch}.npz", keep=9)
        plain().fit(X, Y, **options(epochs=4, callbacks=[Given(), every, best, keep], **resume))
        return best.best, md.load_model(folder / "best.npz").history.epoch, names(folder)

    whole = run(tmp_path)
    assert whole == (4.0, [0, 1], ["best.npz", "k3.npz", "k4.npz", *[f"last{i}.npz" for i in (1, 2, 3, 4)]])
    for i in (1, 2, 3, 4):
        if i <= 2:  # in the second epoch, the save of the best was due
            (tmp_path / "best.npz").unlink()
        assert run(tmp_path, resume=tmp_path / f"last{i}.npz") == whole


def test_two_checkpoints_keep_their_own_files_across_lives(tmp_path):
    def run(epochs, **resume):
        by_step = callbacks.ModelCheckpoint(tmp_path / "s{step}.npz", every="3 steps", keep=3)
        by_epoch = callbacks.ModelCheckpoint(tmp_path / "e{epoch}.npz", keep=2)
        plain().fit(X, Y, **options(epochs=epochs, callbacks=[by_step, by_epoch], **resume))
        return [[Path(file).name for file in each.files] for each in (by_step, by_epoch)]

    assert run(3) == [["s18.npz", "s21.npz", "s24.npz"], ["e2.npz", "e3.npz"]]
    number = run_number(tmp_path / "e2.npz")
    assert run(4, resume=tmp_path / "s21.npz") == [["s24.npz", "s27.npz", "s30.npz"], ["e3.npz", "e4.npz"]]
    assert names(tmp_path) == ["e3.npz", "e4.npz", "s24.npz", "s27.npz", "s30.npz"]
    assert {run_number(path) for path in tmp_path.iterdir()} == {number}


class Follows(md.Callback):
    """Refers to another callback, a layer and the optimizer, and saves nothing."""

    def __init__(self, stopper, layer, optimizer):
        self.watched, self.layer, self.optimizer = [stopper], layer, optimizer

    def on_epoch_end(self, epoch, logs):
        self.layer.rate *= 0.9
        self.optimizer.learning_rate = 0.5 if self.watched[0].wait >= 2 else 0.9 * self.optimizer.learning_rate


def test_callbacks_that_refer_to_others(tmp_path):
    def run(**more):
        model, keep = network(md.Adam(0.01)), each_step(tmp_path, 5)
        stop = callbacks.EarlyStopping("loss", min_delta=10.0, patience=50)
        follows = Follows(stop, model.layers[3], model.optimizer)
        model.fit(X, Y, **options(epochs=6, callbacks=[keep, stop, follows], **more))
        assert follows.watched[0] is stop
        assert follows.layer is model.layers[3]
        return model, keep

    whole, keep = run()
    for path in keep.files[::2]:
        assert_same(run(resume=path)[0], whole)


def test_the_best_is_the_best_of_all_fits(tmp_path):
    path, model = tmp_path / "best.npz", plain()
    keep = callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    model.fit(X, Y, **options(epochs=3, callbacks=[keep]))
    best, written = keep.best, path.read_bytes()
    model.optimizer.learning_rate = 5.0
    model.fit(X, Y, **options(epochs=1, callbacks=[keep]))
    assert keep.best == best
    assert path.read_bytes() == written


def test_a_best_value_of_another_metric_is_none(tmp_path):
    latest = tmp_path / "latest.npz"
    plain(["accuracy"]).fit(X, Y, **options(epochs=1, callbacks=[callbacks.ModelCheckpoint(latest)]))
    other = callbacks.ModelCheckpoint(tmp_path / "other.npz", save_best_only=True, monitor="val_accuracy")
    plain(["accuracy"]).fit(X, Y, **options(callbacks=[other], resume=latest))
    assert 0 <= other.best <= 1
    assert names(tmp_path) == ["latest.npz", "other.npz"]


def test_a_folder_that_was_copied_is_a_branch(tmp_path, monkeypatch):
    def run(folder, epochs, **resume):
        keep = callbacks.ModelCheckpoint(f"{folder}/{{epoch}}.npz", keep=3)
        log = callbacks.CSVLogger(f"{folder}/log.csv")
        plain().fit(X, Y, **options(epochs=epochs, callbacks=[keep, log], **resume))

    monkeypatch.chdir(tmp_path)
    for folder in "AC":
        (tmp_path / folder).mkdir()
    run("A", 4)
    shutil.copytree("A", "B")
    written = {path.name: path.read_bytes() for path in (tmp_path / "A").iterdir()}
    run("B", 6, resume="B/3.npz")
    assert {path.name: path.read_bytes() for path in (tmp_path / "A").iterdir()} == written
    assert names(tmp_path / "B") == ["4.npz", "5.npz", "6.npz", "log.csv"]
    run("C", 6)
    assert (tmp_path / "B" / "log.csv").read_text() == (tmp_path / "C" / "log.csv").read_text()


def test_the_steps_in_a_name_are_those_made(tmp_path):
    class Stop(md.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = batch == 1

    plain().fit(X, Y, **options(callbacks=[Stop(), each_step(tmp_path, "epoch", "{epoch}-{step}-{loss:.0f}.npz")]))
    assert names(tmp_path) == ["1-2-2.npz"]


def test_what_a_person_sees_of_a_run_that_is_resumed(tmp_path, capfd):
    path = tmp_path / "12.npz"
    plain().fit(X, Y, **options(epochs=3, callbacks=[each_step(tmp_path, 12)]))
    plain().fit(X, Y, **options(epochs=3, resume=path) | {"verbose": 1})
    shown = capfd.readouterr().out
    places = [
        re.search(text, shown).start() for text in ("epoch 2/3  50%", "epoch 2/3 .*s: loss", "epoch 3/3 .*s: loss")
    ]
    assert places == sorted(places)
    assert "epoch 1/3" not in shown
    plain().fit(X, Y, **options(epochs=3, resume=tmp_path / "24.npz") | {"verbose": 1})
    assert "epoch 3/3 100%" in capfd.readouterr().out
    plain().fit(X, Y, **options(epochs=3, resume=path) | {"verbose": 2})
    assert [line[:9] for line in capfd.readouterr().out.splitlines()] == ["epoch 2/3", "epoch 3/3"]


# ---------------------------------------------------------------------- runs that end early


@pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end"])
def test_an_interrupt_is_never_swallowed(hook, tmp_path):
    model, whole = plain(), plain()

    def interrupt(*_):
        if hook != "on_batch_end" or model.optimizer.iterations == 11:
            os.kill(os.getpid(), signal.SIGINT)

    keep = callbacks.ModelCheckpoint(tmp_path / "run.npz", every=1)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background has not
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, **options(callbacks=[callbacks.LambdaCallback(**{hook: interrupt}), keep]))
    signal.signal(signal.SIGINT, old)
    made = {"on_train_begin": 0, "on_batch_end": 11, "on_epoch_end": 8, "on_train_end": 16}[hook]
    assert model.optimizer.iterations == made
    assert model.history.epoch == list(range(made // 8))
    whole.fit(X, Y, **options())
    model.fit(X, Y, **options(resume=tmp_path / "run.npz" if made else None))
    assert_same(model, whole)


def test_a_failed_checkpoint_leaves_the_old_one_and_a_model_to_train_on(tmp_path, monkeypatch):
    path, whole, model = tmp_path / "run.npz", plain(), plain()
    whole.fit(X, Y, **options(epochs=3))

    def full(descriptor):
        if model.optimizer.iterations >= 11:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; nothing was saved") as caught:
        model.fit(X, Y, **options(epochs=3, callbacks=[callbacks.ModelCheckpoint(path, every=1)]))
    assert str(path) in str(caught.value)
    assert names(tmp_path) == ["run.npz"]
    assert model.optimizer.iterations == 11
    monkeypatch.undo()
    model.fit(X, Y, **options(epochs=3, resume=path))
    assert_same(model, whole)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("size", [100, 6000])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_begin", "on_batch_end"])
def test_told_to_stop_it_stops_after_that_step(hook, size, watched):
    x, y = np.tile(X, (40, 1)), np.tile(Y, 40)
    model = plain()
    stop = callbacks.LambdaCallback(**{hook: lambda *_: setattr(model, "stop_training", True)})
    watch = [callbacks.LambdaCallback(on_batch_end=lambda *_: None)] if watched else []
    metrics = model.fit(x, y, batch_size=size, epochs=2, verbose=0, shuffle=False, callbacks=[stop, *watch]).history
    assert model.optimizer.iterations == 1
    rows = x[:size], y[:size]
    assert metrics["loss"] == [pytest.approx(plain().build(8).evaluate(*rows)["loss"], rel=1e-6)]


# ---------------------------------------------------------------------- losses and metrics of one's own


class Bootstrap(md.Metric):
    """Keeps its own random generator from epoch to epoch."""

    name = "bootstrap"
    saved = ("rng", "hits", "rows")

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


class Largest(md.Metric):
    """Without a constructor: reset makes its attribute."""

    name = "most"
    saved = ("value",)

    def reset(self):
        self.value = -np.inf

    def update(self, y_true, y_pred, weights=None):
        self.value = max(self.value, float(y_pred.max()))

    def result(self):
        return self.value


class Squares(md.Loss):
    """A loss that computes whole batches, in float32."""

    def forward(self, scores, y):
        self.difference = scores - np.eye(4, dtype="float32")[y]
        return (self.difference**2).mean()

    def backward(self):
        return 2 * self.difference / self.difference.size


class Penalty(md.RowLoss):
    """Grows with the steps."""

    saved = ("steps",)
    steps = 0

    def rows(self, scores, targets):
        return ((scores - targets) ** 2).sum(axis=1)

    def gradient(self, scores, targets):
        self.steps += 1
        return 2 * (scores - targets) * (1 + 1e-2 * self.steps)


@pytest.mark.parametrize("loss", [Squares, Penalty, md.MeanSquaredError])
def test_with_losses_and_metrics_of_ones_own(loss, tmp_path):
    targets = Y if loss is Squares else np.eye(4)[Y]
    metrics = lambda: [Largest()] if loss is not Squares else [Bootstrap(), Largest(), "auc"]  # noqa: E731
    more = {"data": lambda: (X, targets), "validation_data": (X[:30], targets[:30]), "epochs": 3}
    assert_resumes(lambda: plain(metrics(), loss()), tmp_path, **more)


def test_a_file_of_many_steps_stays_small(tmp_path):
    """Metrics that keep all rows of an epoch, a thousand steps into it."""
    x, y = np.tile(X, (20, 1)), np.tile(Y, 20)

    def make():
        return plain(["auc", largest])

    assert_resumes(make, tmp_path, every="1000 steps", data=lambda: (x, y), batch_size=1, epochs=1)
    assert names(tmp_path) == ["1000.npz", "2000.npz", "3000.npz", "rest.npz"]
    assert (tmp_path / "3000.npz").stat().st_size < 3000 * (4 + 1) * 8 + 50_000


@pytest.mark.parametrize("loaded", [False, True])
def test_the_same_model_resumes_after_a_callback_has_changed_its_arguments(loaded, tmp_path):
    """As in a notebook: Ctrl-C, and the same cell again."""

    class Stop(md.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 3:
                raise KeyboardInterrupt

    def halved(epoch, rate):
        self_model[0].layers[1].rate = 0.5 - 0.05 * epoch
        return rate / 2

    def make():
        layers = [md.Dense(6, use_bias=False), md.Dropout(0.5), md.Dense(2)]
        return md.Sequential(layers, rng=0).compile(md.SGD(0.4, momentum=0.5))

    x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 2
    path = str(tmp_path / "run.npz")

    def fit(model, *more, **options):
        self_model[:] = [model]
        keep = md.callbacks.ModelCheckpoint(path, every="2 epochs")
        rates = md.callbacks.LearningRateScheduler(halved)
        return model.fit(x, y, epochs=6, callbacks=[rates, keep, *more], verbose=0, **options)

    self_model = []
    whole, model = make(), make()
    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(model, Stop())
    fit(md.load_model(path) if loaded else model, resume=path)
    assert np.array_equal(self_model[0].theta, whole.theta)
    other = make().compile(md.SGD(0.3, momentum=0.5))
    with pytest.raises(ValueError, match=r"the optimizer is SGD\(learning_rate=0\.4.* in the file, and SGD"):
        fit(other, resume=path)
