"""Saved and loaded, a model is what it was: in its bytes, in what it predicts, in how it trains on."""

import dataclasses
import functools
import json
import os
import random as random_module
import re
import subprocess
import sys
import threading
from collections import Counter as Counted
from collections import defaultdict, deque

import numpy as np
import pytest
from forge import SEAL, members, sealed, signed, taken_apart, zipped
from snapshots import picture

import minidense as md
from minidense import schedules

random = np.random.default_rng(3)
X = random.normal(size=(40, 4)).astype("float32")
Y = random.integers(0, 3, 40)


def mean_error(y_true, y_pred):
    return abs(y_pred.argmax(axis=1) - y_true).mean()


def stepwise(step):
    return 0.1 / (1 + step)


MODELS = {
    "all layers": lambda: [md.Dense(6), md.BatchNormalization(0.9, 0.01), md.GELU(), md.Dropout(0.2), md.LayerNormalization(),
                           md.Dense(5, use_bias=False, kernel_initializer="he_normal"), md.LeakyReLU(0.2), md.ELU(0.5),
                           md.SiLU(), md.Softplus(), md.Tanh(), md.Sigmoid(), md.Flatten(), md.ReLU(), md.Dense(3), md.Softmax()],
    "dense only": lambda: [md.Dense(3)],
    "activation within": lambda: [md.Dense(4, activation="relu"), md.Dense(3, activation="softmax")],
    "no parameters": lambda: [md.Dense(3), md.Softmax()],
    "an initializer of ones own": lambda: [md.Dense(3, kernel_initializer=halves)],
}  # fmt: skip


def halves(rng, shape):
    return np.full(shape, 0.5)


OPTIMIZERS = [
    lambda: md.SGD(0.05),
    lambda: md.SGD(schedules.ExponentialDecay(0.1, 5, 0.9), momentum=0.9, nesterov=True),
    lambda: md.Adam(schedules.PiecewiseConstantDecay([5, 9], [0.01, 0.005, 0.001]), weight_decay=0.01),
    lambda: md.AdamW(stepwise, global_clipnorm=1.0),
    lambda: md.RMSprop(0.001, momentum=0.9),
]
CUSTOM = {"mean_error": mean_error, "stepwise": stepwise, "halves": halves}


def assert_alike(model, path, custom=None, fit=True):
    """The file of ``model`` gives a model that has the same file, predicts and trains on alike."""
    model.save(path)
    written, before = path.read_bytes(), picture(model)
    loaded = md.load_model(path, custom)
    again = path.with_name("again.npz")
    loaded.save(again)
    assert again.read_bytes() == written
    model.save(again)
    assert again.read_bytes() == written, "saving changed the model"
    assert picture(model) == before
    assert loaded.name == model.name
    assert re.sub("0x[0-9A-F]+", "", repr(loaded)) == re.sub("0x[0-9A-F]+", "", repr(model))
    if model.built:
        assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
        for layer in loaded.layers:
            for name, values in layer.values.items():
                assert np.shares_memory(values, loaded.theta), name
    if fit:
        for each in (model, loaded):
            each.fit(X, Y, epochs=2, batch_size=16, verbose=0)
        assert loaded.theta.tobytes() == model.theta.tobytes()
        assert loaded.history.history == model.history.history
    return loaded


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", MODELS)
def test_every_layer(layers, dtype, tmp_path):
    model = md.Sequential(MODELS[layers](), rng=5, dtype=dtype, name="a model").compile(metrics=["accuracy", "auc"])
    assert_alike(model, tmp_path / "unbuilt.npz", CUSTOM)
    model.fit(X, Y, epochs=2, batch_size=7, verbose=0)
    assert_alike(model, tmp_path / "trained.npz", CUSTOM)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_schedule(optimizer, tmp_path):
    model = md.Sequential([md.Dense(5, activation="tanh"), md.Dense(3)], rng=0)
    model.compile(optimizer(), metrics=["accuracy", mean_error, "f1", md.TopKAccuracy(2)])
    model.fit(X, Y, epochs=3, batch_size=7, verbose=0)
    assert_alike(model, tmp_path / "model.npz", CUSTOM)


LOSSES = [
    (md.SoftmaxCrossEntropy("sum", label_smoothing=0.1), Y, 3), (md.SigmoidCrossEntropy(label_smoothing=0.1), Y % 2, 1),
    (md.MeanSquaredError("sum"), random.normal(size=(40, 3)), 3), (md.MeanAbsoluteError(), random.normal(size=(40, 3)), 3),
    (md.Huber(0.3), random.normal(size=40), 1),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "y", "outputs"), LOSSES)
def test_every_loss(loss, y, outputs, tmp_path):
    model = md.Sequential([md.Dense(outputs)], rng=0).compile(md.SGD(0.01), loss)
    model.fit(X, y, verbose=0)
    assert repr(assert_alike(model, tmp_path / "model.npz", fit=False).loss) == repr(loss)


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_kind_of_random_stream(bits, tmp_path):
    seeds = [5, [1, 2, 3], np.random.SeedSequence(3, spawn_key=(np.int64(4),), pool_size=8), list(range(40))]
    for seed in seeds:
        rng = np.random.Generator(getattr(np.random, bits)(seed))
        assert_alike(md.Sequential([md.Dropout(0.5), md.Dense(3)], rng=rng).compile(), tmp_path / "model.npz")
    assert_alike(md.Sequential([md.Dropout(0.5), md.Dense(3)], rng=True).compile(), tmp_path / "model.npz")


def test_settings_changed_since(tmp_path):
    model = md.Sequential([md.Dropout(0.5), md.Dense(4), md.Dense(3)], rng=0).compile(md.Adam(0.1), metrics=["f1"])
    model.layers[0].rate, model.layers[1].units, model.layers[2].trainable = 0.25, 6, False
    model.optimizer.learning_rate, model.optimizer.beta_1, model.optimizer.global_clipnorm = 0.05, 0.5, 1
    model.loss.label_smoothing, model.metrics[0].name = 0.2, "F"
    model.fit(X, Y, epochs=2, verbose=0)
    loaded = assert_alike(model, tmp_path / "model.npz")
    assert (loaded.layers[0].rate, loaded.layers[1].units, loaded.layers[2].trainable) == (0.25, 6, False)
    assert (loaded.optimizer.rate, loaded.optimizer.beta_1, loaded.optimizer.global_clipnorm) == (0.05, 0.5, 1)
    assert (loaded.loss.label_smoothing, loaded.metrics[0].name) == (0.2, "F")


def test_numpy_alone_reads_it(tmp_path):
    model = md.Sequential([md.Dense(5, activation="relu"), md.Dense(3, activation="softmax")], rng=0).build(4)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert json.loads(file["manifest.json"])["model"]["layers"][0]["config"]["units"] == 5
        h = np.maximum(X @ file["layers/0/W"] + file["layers/0/b"], 0)
        e = np.exp(h @ file["layers/2/W"] + file["layers/2/b"])
    np.testing.assert_allclose(e / e.sum(axis=1, keepdims=True), model.predict(X), rtol=1e-5)


def test_the_members_of_the_file_are_what_the_format_says(tmp_path):
    """The headers are written by hand here: numpy's own reader and writer are asked whether they are right."""
    arrays = [np.arange(6.0).reshape(2, 3), np.float32(2.5), np.zeros((0, 4)), np.asfortranarray(np.eye(3)[:2]),
              np.array(["a", "bcd"]), np.arange(5)[::2], np.array([True, False]), np.arange(4, dtype=">i4")]  # fmt: skip
    from minidense.files import archive

    written = {f"a/{i}": np.asarray(array) for i, array in enumerate(arrays)}
    archive.write_archive(tmp_path / "x.npz", {}, written)
    with np.load(tmp_path / "x.npz") as file, archive.Archive(tmp_path / "x.npz") as checked:
        for name, array in written.items():
            for found in (file[name], checked.read(name)):
                np.testing.assert_array_equal(found, array)
                assert (found.shape, found.dtype) == (array.shape, array.dtype.newbyteorder("<"))
            if array.flags.contiguous or array.flags.f_contiguous:
                assert checked.read(name).flags.f_contiguous == array.flags.f_contiguous


# ---------------------------------------------------------------------- things of the user's own


class Same(md.Layer):
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


class Counter(Same):
    """Counts in build, and changes what it gives with it."""

    def build(self, input_shape):
        self.n = 0
        return input_shape

    def forward(self, x, training):
        self.n += training
        return x * (1 + 0.01 * self.n)


class Average(Same):
    def __init__(self):
        self.mean = None

    def forward(self, x, training):
        if training:
            self.mean = x.mean(axis=0) if self.mean is None else 0.9 * self.mean + 0.1 * x.mean(axis=0)
        return x if self.mean is None else x - self.mean


class State(Same):
    def build(self, input_shape):
        self.state("mu", input_shape)
        return input_shape

    def forward(self, x, training):
        if training:
            self.mu = 0.9 * self.mu + 0.1 * x.mean(axis=0, dtype=np.float64)
        return x - self.mu


class Times(Same):
    def __init__(self, *factors, table=None, **more):
        self.factors, self.table, self.more = factors, table, more

    def forward(self, x):
        for factor in self.factors:
            x = x * factor
        return x if self.table is None else x + self.table.sum(axis=0) + self.table.sum()


class Noise(Same):
    def __init__(self, rng):
        self.rng_of_mine = rng

    def forward(self, x, training):
        return x + self.rng_of_mine.normal(size=x.shape).astype(x.dtype) if training else x


class Spawns(Same):
    draws = True

    def forward(self, x, training):
        return x + self.rng.spawn(1)[0].normal(size=x.shape).astype("f") if training else x


class Projection(md.Layer):
    def __init__(self, rng):
        self.P = rng.normal(size=(4, 4)).astype("float32")

    def forward(self, x):
        return x @ self.P

    def backward(self, dy):
        return dy @ self.P.T


class Cached(Same):
    def __init__(self, k):
        self.k = k

    @functools.cached_property
    def double(self):
        return 2 * self.k

    def forward(self, x):
        return x * self.double


class Unhashable(Same):
    draws = True

    def __eq__(self, other):
        return self is other


class Classwide(Same):
    seen: list = []  # noqa: RUF012

    def forward(self, x, training):
        if training:
            self.seen = [*self.seen, len(x)]
        return x * (1 + 0.001 * len(self.seen))


class Wrapper(md.Layer):
    """A layer made from another one."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, dy):
        return self.inner.backward(dy)


class Regularized(md.Dense):
    """A Dense with a constructor of its own."""

    def __init__(self, units, l2=0.1):
        super().__init__(units)
        self.l2 = l2


@dataclasses.dataclass(eq=False)
class Record(Same):
    a: float = 2.0
    b: list = dataclasses.field(default_factory=list)

    def forward(self, x):
        return x * self.a


class Inside(Same):
    """With functions made in the constructor."""

    def __init__(self, a=2.0):
        def act(v, *, times=1):
            return a * v * times

        self.a, self.act, self.part = a, act, functools.partial(np.multiply, a)

    def forward(self, x):
        return self.act(x) + self.part(x)


class Passing(md.Dense):
    def __init__(self, units, scale=2.0, **kwargs):
        super().__init__(units, **kwargs)
        self.scale = scale


class Hidden(md.Dense):
    def __init__(self, units):
        super().__init__(units, activation="relu")


class WithDropout(Same):
    """Hands its stream to a Dropout inside."""

    draws = True

    def __init__(self, rate):
        self.drop = md.Dropout(rate)

    def forward(self, x, training):
        self.drop.rng = self.rng if training else None
        return self.drop.forward(x, training)

    def backward(self, dy):
        return self.drop.backward(dy)


class Collects(Same):
    def __init__(self):
        self.kinds = {"set": {3, 1}, "frozen": frozenset("ab"), "deque": deque([1], 3), "count": Counted("aab")}
        self.lists = defaultdict(list)

    def forward(self, x, training):
        if training:
            self.kinds["set"].add(len(x))
            self.kinds["deque"].append(len(x))
            self.kinds["count"][len(x)] += 1
            self.lists[len(x)].append(0.5)
        return x * (1 + 0.001 * sum(self.kinds["deque"]))


OWN = {
    "a Dense that hands on": lambda: [Passing(5, activation="tanh"), Passing(4, 3.0)],
    "a Dense with its activation": lambda: [Hidden(5)],
    "a layer with a Dropout": lambda: [WithDropout(0.5)],
    "collections": lambda: [Collects()],
    "a Dense with a constructor of its own": lambda: [Regularized(3), Regularized(4, l2=0.5)],
    "a dataclass": lambda: [Record(), Record(3.0), Record(1.5, [1, 2])],
    "functions from the constructor": lambda: [Inside(3.0)],
    "counter": lambda: [Counter()],
    "average": lambda: [Average()],
    "state": lambda: [State()],
    "arguments of all kinds": lambda: [Times(2.0, np.float64(0.1), table=np.eye(4, dtype="f"), a=[1, (2, None)], b={"x": {3: "y"}, "$z": True})],
    "numbers of numpy": lambda: [Times(np.float32(0.1), np.int8(3), np.float64(np.sqrt(2)), more=[np.float64(0.5)] * 20, nan=float("nan"))],
    "columns": lambda: [Times(table=np.asfortranarray(random.normal(size=(4000, 4)).astype("f")))],
    "a stream": lambda: [Noise(np.random.default_rng(3))],
    "a stream that spawns": lambda: [Spawns()],
    "a stream that the constructor draws from": lambda: [Projection(np.random.default_rng(0))],
    "a cached property": lambda: [Cached(1.5)],
    "no hash": lambda: [Unhashable()],
    "a list in the class": lambda: [Classwide()],
    "a layer in a layer": lambda: [Wrapper(md.Tanh())],
    "names that could clash": lambda: [Times(t={"a": {"b": np.ones(2)}, "a/b": np.zeros(2), "a\0b": np.ones(1), "a" * 70000: np.ones(3)})],
}  # fmt: skip
CLASSES = {c.__name__: c for c in Same.__subclasses__()} | {
    c.__name__: c for c in (Projection, Wrapper, Regularized, Passing, Hidden)
}


@pytest.mark.parametrize("layers", OWN)
def test_layers_of_ones_own(layers, tmp_path):
    model = md.Sequential([*OWN[layers](), md.Dense(3)], rng=0).compile(md.SGD(0.01))
    model.build(4)
    assert_alike(model, tmp_path / "new.npz", CLASSES)
    assert_alike(model, tmp_path / "trained.npz", CLASSES)


class Momentum(md.Optimizer):
    """An optimizer of the user's."""

    def __init__(self, learning_rate=0.1, friction=0.5):
        super().__init__(learning_rate)
        self.friction, self.calls = friction, 0

    def step(self, theta, grad, eta):
        self.calls += 1
        v = self.moment("v", theta)
        v *= self.friction
        v -= eta * grad / self.calls
        theta += v


class Lazy(md.Optimizer):
    """Makes its vector when it needs it."""

    def step(self, theta, grad, eta):
        if not hasattr(self, "v"):
            self.v = np.zeros_like(theta)
        self.v = 0.9 * self.v - eta * grad
        theta += self.v


class Lookahead(md.Optimizer):
    """An optimizer around another one."""

    def __init__(self, inner):
        super().__init__(inner.learning_rate)
        self.inner = inner

    def step(self, theta, grad, eta):
        self.inner.update(theta, grad)


class Running(md.Loss):
    """A loss of the user's, with a memory."""

    def __init__(self):
        self.scale = None

    def forward(self, scores, y):
        self.difference = scores - np.eye(3, dtype=scores.dtype)[y]
        spread = float((self.difference**2).mean())
        self.scale = np.float64(spread) if self.scale is None else 0.9 * self.scale + 0.1 * spread
        return spread / float(self.scale)

    def backward(self):
        return 2 * self.difference / self.difference.size / float(self.scale)


class Half(schedules.Schedule):
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate / 2


def test_optimizers_losses_and_schedules_of_ones_own(tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile(Momentum(Half(0.1)), Running())
    model.fit(X, Y, epochs=3, verbose=0)
    assert_alike(model, tmp_path / "model.npz", {"Momentum": Momentum, "Running": Running, "Half": Half})


@pytest.mark.parametrize(
    "optimizer", [lambda: Lazy(0.01), lambda: Lookahead(md.Adam(0.01)), lambda: Lookahead(Momentum())]
)
def test_optimizers_that_make_and_hold_things(optimizer, tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile(optimizer())
    keep = md.callbacks.ModelCheckpoint(tmp_path / "run.npz")
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[keep])
    resumed, whole = (md.Sequential([md.Dense(3)], rng=0).compile(optimizer()) for _ in range(2))
    resumed.fit(X, Y, epochs=4, verbose=0, resume=tmp_path / "run.npz")
    whole.fit(X, Y, epochs=4, verbose=0)
    assert whole.theta.tobytes() == resumed.theta.tobytes()
    assert_alike(model, tmp_path / "model.npz", {c.__name__: c for c in (Lazy, Lookahead, Momentum)})


class Slotted(schedules.Schedule):
    __slots__ = ("n",)

    def __init__(self, n=0.1):
        self.n = n

    def __call__(self, step):
        return self.n


class Holder(Same):
    def __init__(self):
        self.held = None


class Fussy(Same):
    def __init__(self, size):
        if size > 1:
            raise RuntimeError("too large")
        self.size = self._config["size"] = size + 1


class Mine(md.Sequential):
    pass


def holding(thing):
    def make():
        model = md.Sequential([Holder(), md.Dense(3)], rng=0).build(4)
        model.layers[0].held = thing
        return model

    return make


def edited(edit, *layers, **options):
    def make():
        model = md.Sequential([*layers, md.Dense(3)], rng=0, **options).build(4).compile()
        edit(model)
        return model

    return make


def set_to(thing, name, value):
    setattr(thing(), name, value) if callable(thing) else setattr(thing, name, value)


class Inner(Same):
    """Trains a layer of its own inside, which the model knows nothing of."""

    def __init__(self):
        self.inner = md.Dense(4)

    def build(self, input_shape):
        self.inner.declare(input_shape)
        self.inner.W, self.inner.b = np.eye(4, dtype="f"), np.zeros(4, "f")
        return input_shape


class Varies(Same):
    built = 0

    def build(self, input_shape):
        Varies.built += 1
        self.param("g", Varies.built)
        return input_shape


class Alias(Same):
    def __init__(self):
        self.total = np.ones(1)
        self.view = self.total[:]


class Gain:
    def __init__(self, g):
        self.g = g

    def run(self, x):
        return self.g * x


class Method(Same):
    def __init__(self):
        self.f = Gain(2.0).run


def state_called(name):
    class Named(Same):
        def build(self, input_shape):
            self.state(name, input_shape)
            return input_shape

    return Named()


shared = np.random.default_rng(0)
UNSAVEABLE = {
    "a lambda as a schedule": (lambda: md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(lambda step: 0.1)), "learning_rate: a function without a name"),
    "a lambda as a metric": (lambda: md.Sequential([md.Dense(3)], rng=0).compile(metrics=[lambda t, p: 0.0]), "function without a name"),
    "a set of things": (holding({object()}), r"layers/0/attributes/held/0: <object.* cannot be saved"),
    "a defaultdict of a function": (holding(defaultdict(lambda: 1)), "a defaultdict of <function.* cannot be saved"),
    "bytes": (holding(b"x"), "cannot be saved"),
    "a lock": (holding(threading.Lock()), r"caches = \('held',\) in the class"),
    "an array of objects": (holding(np.array([{}], object)), "cannot be saved"),
    "a random.Random": (holding(random_module.Random(0)), "cannot be saved"),
    "another function than at first": (edited(lambda m: setattr(m.layers[0], "f", lambda z: -z), type("F", (Same,), {"__init__": lambda self: setattr(self, "f", lambda z: z)})()), "without a name"),
    "a list within itself": (holding((loop := [], loop.append(loop))[0]), "within itself"),
    "a shared stream": (lambda: md.Sequential([Noise(shared), Noise(shared), md.Dense(3)], rng=0).build(4), r"same random stream as layers/0/config/rng.*rng.spawn\(2\)"),
    "a strange stream": (lambda: md.Sequential([Noise(np.random.Generator(type("My", (np.random.PCG64,), {})(1)))], rng=0).build(4), "stream of the kind My"),
    "a fussy constructor": (lambda: md.Sequential([Fussy(1)], rng=0).build(4), "made anew from its arguments, RuntimeError"),
    "another partial": (edited(lambda m: setattr(m.layers[0], "part", functools.partial(np.multiply, 5.0)), Inside()), "cannot be saved"),
    "another method": (edited(lambda m: setattr(m.layers[0], "f", Gain(7.0).run), Method()), "cannot be saved"),
    "an object that changed": (edited(lambda m: setattr(m.layers[0].f.__self__, "g", 7.0), Method()), "cannot be saved"),
    "defaults that changed": (edited(lambda m: setattr(m.layers[0].act, "__kwdefaults__", {"times": 3}), Inside()), "attribute|cannot be saved|two different"),
    "parameters within a layer": (edited(lambda m: None, Inner()), "a layer within a layer, has parameters"),
    "memory under two names": (edited(lambda m: m.layers[0].total.__iadd__(1), Alias()), "the same memory as layers/0/attributes/total"),
    "objects in objects in objects": (lambda: md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(functools.reduce(lambda s, _: schedules.WarmUp(s, 1), range(9), schedules.Constant(0.1)))), "objects in objects, more than 6 deep"),
    "a build that varies": (lambda: md.Sequential([Varies(), md.Dense(3)], rng=0).build(4), "made anew, it has {'g': "),
    "slots": (lambda: md.Sequential([md.Dense(3)], rng=0).build(4).compile(md.SGD(Slotted())), "__slots__"),
    "a name that is no identifier": (edited(lambda m: setattr(m.layers[0], "learning-rate", 3), Same()), "no attribute 'learning-rate'"),
    "optimizer state that is no array": (edited(lambda m: m.optimizer.state.update(t=5)), "is no vector as long as the model's parameters"),
    "optimizer state with a path": (edited(lambda m: m.optimizer.state.update({"a/b": np.ones(2)})), "is no vector as long as the model's parameters"),
    "a broken history": (edited(lambda m: (m.fit(X, Y, verbose=0, epochs=2), m.history.history.update(lr=[0.1]))), "history: its columns"),
    "a note in the history": (edited(lambda m: (m.fit(X, Y, verbose=0), setattr(m.history, "note", "hello"))), "history: its columns"),
    "two classes of a name": (lambda: md.Sequential([type("A", (Same,), {})(), type("A", (Same,), {})()], rng=0).build(4), "two different things called A"),
    "a subclass of Sequential": (lambda: Mine([md.Dense(3)], rng=0).build(4), "a Mine would come back as a Sequential"),
    "a method replaced": (edited(lambda m: setattr(m.layers[0], "forward", stepwise), Same()), "no attribute 'forward'"),
    "too long a list": (holding([0.5] * 1_000_001), "keep them as arrays"),
    "too much in lists": (holding([[0.5, "x"]] * 200_000), "the description of this model"),
    "values of a copy": (lambda: md.Sequential([__import__("copy").deepcopy(md.Sequential([md.Dense(3)], rng=0).build(4).layers[0])], rng=0), "call model.build"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAVEABLE)
def test_what_could_not_be_loaded_is_an_error_when_saving(case, tmp_path):
    make, message = UNSAVEABLE[case]
    model, path = make(), tmp_path / "model.npz"
    md.Sequential([md.Dense(3)], rng=9).build(4).save(path)
    written, before = path.read_bytes(), picture(model) if "within itself" not in case and "list" not in case else None
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert path.read_bytes() == written
    assert os.listdir(tmp_path) == ["model.npz"]
    assert before is None or picture(model) == before


@pytest.mark.parametrize("name", ["a/b", "", "forward", "x-y"])
def test_names_of_states(name):
    with pytest.raises(ValueError, match="is taken or invalid"):
        md.Sequential([state_called(name)], rng=0).build(4)


def test_numbers_of_numpy_as_settings(tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.1, momentum=0.9))
    model.optimizer.momentum, model.optimizer.iterations = np.float64(0.5), np.int64(4)
    assert_alike(model, tmp_path / "model.npz")


def test_all_that_cannot_be_saved_is_said_at_once(tmp_path):
    model = md.Sequential([Holder(), Holder(), md.Dense(3)], rng=0).build(4).compile(md.SGD(lambda step: 0.1))
    model.layers[0].held, model.layers[1].held = b"1", b"2"
    with pytest.raises(ValueError, match=r"the model cannot be saved:\n- layers/0/.*\n- layers/1/.*\n- optimizer/"):
        model.save(tmp_path / "model.npz")


def test_what_only_forward_sets_is_a_cache(tmp_path):
    class Plain(Same):
        def forward(self, x):
            self.x = x
            return x

    model = md.Sequential([Plain(), md.Dense(3)], rng=0).compile()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        assert file.files == ["manifest.json", "layers/1/W", "layers/1/b"]


# ---------------------------------------------------------------------- loading


def test_missing_names_are_said_at_once(tmp_path):
    model = (
        md.Sequential([Counter(), Times(2.0), md.Dense(3)], rng=0)
        .build(4)
        .compile(Momentum(Half(0.1)), metrics=[mean_error])
    )
    model.save(tmp_path / "model.npz")
    with pytest.raises(
        ValueError, match="Counter': Counter, 'Half': Half, 'Momentum': Momentum, 'Times': Times, 'mean_error'"
    ):
        md.load_model(tmp_path / "model.npz")
    with pytest.raises(TypeError, match="custom_objects: expected a dict"):
        md.load_model(tmp_path / "model.npz", [Counter])
    with pytest.raises(ValueError, match="layers/0: Counter is no Layer"):
        md.load_model(
            tmp_path / "model.npz",
            {**CLASSES, "Half": Half, "Momentum": Momentum, "mean_error": mean_error, "Counter": md.SGD},
        )


def test_a_class_of_ones_own_is_not_taken_for_the_librarys(tmp_path):
    own = type("Dense", (Same,), {})
    md.Sequential([own()], rng=0).build(4).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"custom_objects=\{'Dense': Dense\}"):
        md.load_model(tmp_path / "model.npz")
    assert type(md.load_model(tmp_path / "model.npz", {"Dense": own}).layers[0]) is own


def test_a_file_of_a_later_layout(tmp_path):
    md.Sequential([md.Dense(3)], rng=0).build(4).save(tmp_path / "model.npz")
    manifest, arrays = taken_apart((tmp_path / "model.npz").read_bytes())
    (tmp_path / "later.npz").write_bytes(sealed(signed(manifest | {"format": 2, "library": "7.0"}, arrays), arrays))
    with pytest.raises(ValueError, match=r"written by minidense 7.0 in the layout 2.*Install a newer minidense"):
        md.load_model(tmp_path / "later.npz")


def test_weights_alone(tmp_path):
    path = tmp_path / "weights.npz"
    model = md.Sequential([md.Dense(5), md.BatchNormalization(), md.Dense(3)], rng=0).compile()
    with pytest.raises(RuntimeError, match="not built"):
        model.save_weights(path)
    model.fit(X, Y, verbose=0)
    model.save_weights(path)
    for source in (path, tmp_path / "whole.npz"):
        if source is not path:
            model.save(source)
        for dtype in ("float32", "float64"):
            other = md.Sequential([md.Dense(5), md.BatchNormalization(), md.Dense(3)], rng=1, dtype=dtype).build(4)
            other.load_weights(source)
            for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)
                assert theirs.dtype == dtype
    with pytest.raises(ValueError, match=r"has weights only: make the model, and call model.load_weights\("):
        md.load_model(path)
    model.theta[0] = np.nan  # what is in a file can be loaded
    model.save_weights(path)
    other.load_weights(path)
    assert np.isnan(other.theta[0])


def test_weights_that_do_not_fit_are_listed_and_nothing_changes(tmp_path):
    path = tmp_path / "weights.npz"
    md.Sequential([md.Dense(5), md.BatchNormalization(), md.Dense(3), md.Dense(3)], rng=0).build(4).save_weights(path)
    model = md.Sequential([md.Dense(6), md.LayerNormalization(), md.Dense(3)], rng=0).build(4)
    before = picture(model)
    with pytest.raises(ValueError, match="does not fit the model:\n") as caught:
        model.load_weights(path)
    for line in (
        r"layers/0/W has shape \(4, 5\) in the file, and \(4, 6\) in Dense\(6\), layer 0",
        "layers/1/moving_mean is not in the model",
        "layers/3/b is not in the model",
        r"layers/2/W has shape \(5, 3\) in the file",
    ):
        caught.match(line)
    assert picture(model) == before
    wide = md.Sequential([md.Dense(6), md.LayerNormalization(), md.Dense(3)], rng=0, dtype="float64").build(4)
    wide.theta[:2], wide.theta[-1] = 1e300, -1e300
    wide.save_weights(path)
    with pytest.raises(ValueError, match=r"layers/0/W has numbers that overflow float32\n- layers/2/b"):
        model.load_weights(path)
    assert picture(model) == before
    manifest, arrays = taken_apart(path.read_bytes())
    manifest["arrays"]["layers/2/b"]["dtype"] = "<i8"
    arrays["layers/2/b"] = arrays["layers/2/b"].replace(b"<f8", b"<i8")
    path.write_bytes(sealed(signed(manifest, arrays), arrays))
    with pytest.raises(ValueError, match="layers/2/b is of dtype int64, not of floating numbers"):
        model.load_weights(path)
    assert picture(model) == before


def test_what_is_no_file_of_ours(tmp_path):
    path = tmp_path / "x.npz"
    for content, error in (
        (b"", md.CorruptFileError),
        (b"PK\3\4 and so on", md.CorruptFileError),
        (b"\x80\x04K\x01.", md.CorruptFileError),
    ):
        path.write_bytes(content)
        with pytest.raises(
            error, match=r"x.npz: damaged, or not written by minidense: it does not end as its files do"
        ):
            md.load_model(path)
    np.savez(path, W=np.ones(3))
    with pytest.raises(md.CorruptFileError, match="not written by minidense"):
        md.load_model(path)
    with pytest.raises(FileNotFoundError):
        md.load_model(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        md.load_model(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for strange in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            md.load_model(strange)


def forged():
    """Files that say what they should not, and what is said of them; all hashes are right but the one that is not."""
    whole = md.Sequential([md.Dense(3)], rng=0).build(4)
    import io

    from minidense.files import archive, saving

    out = io.BytesIO()
    archive.dump(out, *saving.encoded(whole._parts()))
    data = out.getvalue()
    manifest, arrays = taken_apart(data)
    text = json.dumps(manifest).encode()
    parts = members(data)
    seal = data[-len(SEAL) - 64 :]
    other = {**arrays, "layers/0/b": arrays["layers/0/b"][:-1] + b"\1"}
    yield "another array", sealed(manifest, other), "'layers/0/b.npy' is not the one that was written"
    yield (
        "another header",
        sealed(signed(manifest, h := {**arrays, "layers/0/b": arrays["layers/0/b"].replace(b"False", b"True ")}), h),
        "'layers/0/b.npy' is not the one",
    )
    yield "another seal", zipped(parts, SEAL + b"0" * 64), "its manifest is not the one that was written"
    yield "no seal", zipped(parts, b"minidense"), "it does not end as its files do"
    yield (
        "a key twice",
        sealed(text.replace(b'"format"', b'"format": 1, "format"', 1), arrays),
        "its manifest has a key twice",
    )
    yield "NaN", sealed(text.replace(b'"format"', b'"x": NaN, "format"', 1), arrays), "its manifest has the number NaN"
    yield "1e999", sealed(text.replace(b'"format"', b'"x": 1e999, "format"', 1), arrays), "a number that is too large"
    yield "a member twice", zipped([*parts, parts[1]], seal), "two members of one name"
    yield "a member more", zipped([*parts, ("more", b"")], seal), "members that its manifest does not name"
    yield "a member less", zipped(parts[:-1], seal), "is missing or of another size"
    yield "compressed", sealed(manifest, arrays, compression=8), "is compressed or encrypted"
    yield "something before", b"#!/bin/sh" + data, "it does not begin as its files do"
    yield "something behind", data + b" ", "it does not end as its files do"
    yield (
        "many members",
        zipped([*parts, *[(f"{i:099}", b"") for i in range(16_000)]], seal),
        "its directory is too large",
    )
    yield "many values", sealed(b'{"x": [' + b"0," * 250_000 + b"0]}", {}), "its manifest is too large"
    wide = {
        **manifest,
        "arrays": {**manifest["arrays"], "layers/0/b": {**manifest["arrays"]["layers/0/b"], "shape": [2**40]}},
    }
    yield "a shape", sealed(wide, arrays), "'layers/0/b.npy' is missing or of another size"
    yield "a dtype", sealed(json.dumps(manifest).replace("<f4", "|O").encode(), arrays), "is of dtype '|O'"
    yield "an entry", sealed({**manifest, "arrays": {"layers/0/W": 5}}, arrays), "not of dtype, shape and sha256"
    even = json.loads(text)
    even["model"]["streams"]["shuffle"]["$generator"]["state"]["state"]["inc"] = 2
    yield "an impossible stream", sealed(even, arrays), "a random stream is in an impossible state"
    left = {**manifest, "arrays": {**manifest["arrays"], "x": manifest["arrays"]["layers/0/b"]}}
    yield (
        "an array of nobody",
        sealed(signed(left, h := {**arrays, "x": arrays["layers/0/b"]}), h),
        "arrays that belong to nothing",
    )
    half = json.loads(text)
    half["model"]["optimizer"] = {"$object": "SGD", "config": {}, "attributes": {}}
    yield "half compiled", sealed(half, arrays), "it has one of optimizer and loss, and not the other"
    active = json.loads(text)
    active["model"]["layers"][0]["config"]["activation"] = "relu"
    yield "an activation within", sealed(active, arrays), "Dense(3, activation='relu') stands for several layers"
    double = json.loads(text)
    double["model"]["dtype"] = "float64"
    yield "another dtype", sealed(double, arrays), "layers/0/W is of dtype <f4, not float64"


@pytest.mark.parametrize(("data", "message"), [pytest.param(*case[1:], id=case[0]) for case in forged()])
def test_forged_files(data, message, tmp_path):
    path = tmp_path / "forged.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(message)):
        md.load_model(path)


def test_nothing_is_imported_once_the_file_is_open(tmp_path):
    """In a process that has loaded nothing yet, all imports come before the file is opened."""
    model = md.Sequential([md.Dense(3, activation="gelu"), md.Dropout(0.1)], rng=0).compile(md.Adam(), metrics=["f1"])
    model.fit(X, np.arange(40) % 3, verbose=0)
    model.save(tmp_path / "model.npz")
    code = """if True:
        import sys
        import minidense as md
        seen = []
        def note(event, arguments):
            if event in ("open", "import", "exec", "compile") or event.split(".")[0] in ("os", "subprocess", "socket"):
                seen.append((event, arguments[0] if event in ("open", "import") else ""))
        sys.addaudithook(note)
        md.load_model(sys.argv[1])
        rest = seen[seen.index(("open", sys.argv[1])) + 1:]
        assert not rest, rest
        try:
            md.load_model(sys.argv[1] + "x")
        except FileNotFoundError:
            pass
    """
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.npz")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_attacks():
    """A sample of what tests/stress/attacks.py does in full."""
    ran = subprocess.run(
        [sys.executable, "tests/stress/attacks.py", "--sample", "700", "--untimed"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr


# ---------------------------------------------------------------------- several threads


def test_predicting_from_eight_threads_during_saves(tmp_path):
    model = md.Sequential([md.Dense(50, activation="relu"), md.Dense(3)], rng=0).build(4).compile()
    expected, wrong, stop = model.predict(X).tobytes(), [], threading.Event()

    def predict():
        while not stop.is_set():
            if model.predict(X).tobytes() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=predict, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            model.save(tmp_path / "model.npz")
            assert md.load_model(tmp_path / "model.npz").theta.tobytes() == model.theta.tobytes()
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_saving_and_fitting_from_two_threads_is_an_error(tmp_path):
    """In the middle of a step parameters are half updated: only callbacks, between steps, may save."""
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    errors, saved = [], []

    def in_another_thread():
        for call in (lambda: model.save(tmp_path / "other.npz"), lambda: model.fit(X, Y, verbose=0),
                     lambda: model.load_weights(tmp_path / "mine.npz"), lambda: model.train_on_batch(X, Y)):  # fmt: skip
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    class Meanwhile(md.Callback):
        def on_batch_end(self, batch, logs):
            if not saved:
                model.save(tmp_path / "mine.npz")
                saved.append(model.theta.copy())
                thread = threading.Thread(target=in_another_thread)
                thread.start()
                thread.join()

    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Meanwhile()])
    assert len(errors) == 4
    assert all("is being trained already" in error for error in errors)
    assert not (tmp_path / "other.npz").exists()
    assert (md.load_model(tmp_path / "mine.npz").theta == saved[0]).all()
