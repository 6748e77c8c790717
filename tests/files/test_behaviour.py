"""Whatever a layer's output depends on is in the file, or saving is an error that names the layer."""

import dataclasses
import functools

import numpy as np
import pytest
from snapshots import picture

import minidense as md
from minidense.files import behaviour, model_file

random = np.random.default_rng(3)
X = random.normal(size=(40, 4)).astype("float32")
Y = random.integers(0, 3, 40)


class Same(md.Layer):
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


# ---------------------------------------------------------------------- what is said, and so comes back


class Average(Same):
    """A buffer, in place and by assignment."""

    def build(self, input_shape):
        self.buffer("mu", input_shape)
        self.buffer("seen", 1)
        return input_shape

    def forward(self, x, training):
        if training:
            self.mu = 0.9 * self.mu + 0.1 * x.mean(axis=0, dtype=np.float64)
            self.seen += len(x)
        return x - self.mu * self.seen


class Times(Same):
    def __init__(self, *factors, table=None, **more):
        self.factors, self.table, self.more = factors, table, more

    def forward(self, x):
        for factor in self.factors:
            x = x * factor
        return x if self.table is None else x + self.table.sum(axis=0)


class Noise(Same):
    def __init__(self, rng):
        self.rng_of_mine = rng

    def forward(self, x, training):
        return x + self.rng_of_mine.normal(size=x.shape).astype(x.dtype) if training else x


class Spawns(Same):
    draws = True

    def forward(self, x, training):
        return x + self.rng.spawn(1)[0].normal(size=x.shape).astype("f") if training else x


class Cached(Same):
    def __init__(self, k):
        self.k = k

    @functools.cached_property
    def double(self):
        return 2 * self.k

    def forward(self, x):
        self.shape = x.shape
        return x * self.double


class Unhashable(Same):
    def __eq__(self, other):
        return self is other


class Doubled(md.Layer):
    """Its constructor makes something else of its argument."""

    def __init__(self, units):
        self.units = units * 2

    def build(self, input_shape):
        self.param("W", (*input_shape, self.units), "glorot_uniform")
        return (self.units,)

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dy):
        self.dW = self.x.T @ dy
        return dy @ self.W.T


class Hidden(md.Dense):
    """Makes its activation itself."""

    def __init__(self, units):
        super().__init__(units, activation="relu")


class Passing(md.Dense):
    def __init__(self, units, scale=2.0, **kwargs):
        super().__init__(units, **kwargs)
        self.scale = scale


@dataclasses.dataclass(eq=False)
class Record(Same):
    a: float = 2.0
    b: list = dataclasses.field(default_factory=list)

    def forward(self, x):
        return x * self.a


class Block(md.Layer):
    """A composite whose children are made of its argument."""

    def __init__(self, parts):
        self.parts = parts

    def build(self, input_shape):
        return self.child("f", md.Sequential(self.parts), input_shape)

    def forward(self, x, training):
        return self.f.forward(x, training)

    def backward(self, dy):
        return self.f.backward(dy)


class Around(Block):
    """A composite whose child is its argument."""

    def __init__(self, inner):
        self.inner = inner

    def build(self, input_shape):
        return self.child("f", self.inner, input_shape)


class Early(Block):
    """A composite that makes a model of its argument at once."""

    def __init__(self, parts):
        self.inner = md.Sequential(parts)

    def build(self, input_shape):
        return self.child("f", self.inner, input_shape)


class Made(Block):
    """A composite that makes its children in build."""

    def __init__(self, units):
        self.units = units

    def build(self, input_shape):
        return self.child("f", md.Sequential([md.Dense(self.units, "tanh"), md.Dropout(0.5)]), input_shape)


class Tied(md.Layer):
    """The transpose of another layer's matrix."""

    def __init__(self, other):
        self.other = other

    def build(self, input_shape):
        other = getattr(self.other, "layers", [self.other])[0]
        self.param("W", shared=(other, "W"))
        return other.input_shape

    def forward(self, x):
        self.x = x
        return x @ self.W.T

    def backward(self, dy):
        self.dW = dy.T @ self.x
        return dy @ self.W


class Fails(Same):
    def forward(self, x):
        if len(x) == 3:
            raise ValueError("three rows are too few")
        return x


def tied():
    encoder = md.Dense(3, "tanh")
    return [encoder, Tied(encoder)]


def tied_to_a_model():
    encoder = md.Sequential([md.Dense(3, "tanh")], name="encoder")
    return [encoder, Tied(encoder)]


OWN = {
    "a buffer": lambda: [Average()],
    "arguments of all kinds": lambda: [Times(2.0, np.float64(0.1), table=np.eye(4, dtype="f"), a=[1, (2, None)], b={"x": {3: "y"}, "$z": True})],
    "numbers of numpy": lambda: [Times(np.float32(0.1), np.int8(3), more=[np.float64(0.5)] * 20, nan=float("nan"))],
    "columns": lambda: [Times(table=np.asfortranarray(random.normal(size=(40, 4)).astype("f")))],
    "a generator": lambda: [Noise(np.random.default_rng(3))],
    "a generator that spawns": lambda: [Spawns()],
    "a cached property": lambda: [Cached(1.5)],
    "no hash": lambda: [Unhashable(), Average()],
    "a constructor that makes something of its argument": lambda: [Doubled(3)],
    "a Dense with its activation": lambda: [Hidden(5)],
    "a Dense that hands on": lambda: [Passing(5, activation="tanh"), Passing(4, 3.0)],
    "a dataclass": lambda: [Record(), Record(3.0), Record(1.5, [1, 2])],
    "children from a list": lambda: [Block([md.Dense(5, "relu"), md.BatchNormalization(), md.Dropout(0.3), Average()])],
    "a model from a list": lambda: [Early([md.Dense(5, "relu"), md.Dropout(0.3), Average()]), md.Residual([Early([md.Dense(5, "tanh")])])],
    "a child with its activation": lambda: [Around(md.Dense(5, "relu")), Around(md.Dense(2, md.Tanh()))],
    "a child that is a model": lambda: [Around(md.Sequential([md.Dense(5, "relu")], name="inside"))],
    "children made in build": lambda: [Made(5)],
    "deep inside": lambda: [md.Residual([Made(5), md.Residual([Average()]), md.Dense(4)]), md.Sequential([Made(3)])],
    "tied": tied,
    "tied to a model": tied_to_a_model,
    "tied within": lambda: [md.Residual(tied())],
    "tied within a block": lambda: [Block(tied())],
    "a forward that fails for three rows": lambda: [Fails()],
}  # fmt: skip
CLASSES = {c.__name__: c for c in (*Same.__subclasses__(), Doubled, Hidden, Passing, Block, Around, Early, Made, Tied)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", OWN)
def test_what_is_said_comes_back(layers, dtype, tmp_path):
    """Saved new, built and trained; each time the loaded model predicts and trains on alike, and nothing changed."""
    model = md.Sequential([*OWN[layers](), md.Dense(3)], rng=0, dtype=dtype).compile(md.SGD(0.01))
    for prepare in (lambda: None, lambda: model.build(4), lambda: model.fit(X, Y, batch_size=16, verbose=0)):
        prepare()
        before, numpys = picture(model), picture(np.random.get_state())
        model.save(tmp_path / "model.npz")
        assert picture(model) == before
        assert picture(np.random.get_state()) == numpys
        loaded = md.load_model(tmp_path / "model.npz", CLASSES)
        loaded.save(tmp_path / "again.npz")
        assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()
        if model.built:
            assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    for each in (model, loaded):
        each.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    assert loaded.theta.tobytes() == model.theta.tobytes()
    assert loaded.network.buffers.tobytes() == model.network.buffers.tobytes()


# ---------------------------------------------------------------------- what is not said


class Gain(Same):
    """Adapts to data by a plain attribute."""

    def __init__(self, k):
        self.k = k
        self.mean = 0.0

    def adapt(self, x):
        self.mean = x.mean()
        return self

    def forward(self, x):
        return (x - self.mean) * self.k


class Counter(Same):
    """Counts in training, and changes what it gives with it."""

    n = 0

    def forward(self, x, training):
        self.n += training
        return x * (1 + 0.01 * self.n)


class InPlace(Same):
    """Changes an array of its own in place."""

    def __init__(self):
        self.total = np.zeros(1, "f")

    def forward(self, x, training):
        if training:
            self.total += 1
        return x + self.total


class Buffered(Average):
    """Changes its buffer by what it has kept elsewhere."""

    def __init__(self):
        self.steps = 0

    def forward(self, x, training):
        if training:
            self.steps += 1
            self.mu = self.mu + self.steps
        return x


class Projection(md.Layer):
    """Draws from its argument in the constructor."""

    def __init__(self, rng):
        self.P = rng.normal(size=(4, 4)).astype("float32")

    def forward(self, x):
        return x @ self.P

    def backward(self, dy):
        return dy @ self.P.T


class OwnGenerator(Same):
    def __init__(self):
        self.rng_of_mine = np.random.default_rng(0)

    def forward(self, x, training):
        return x + self.rng_of_mine.normal(size=x.shape).astype("f") if training else x


class Varies(Same):
    built = 0

    def build(self, input_shape):
        Varies.built += 1
        self.param("g", Varies.built)
        return input_shape


class Grows(Doubled):
    """Its arguments, as it says them, are others each time."""

    def get_config(self):
        return {"units": self.units}


class Fussy(Same):
    def __init__(self, size):
        if size > 1:
            raise RuntimeError("too large")

    def get_config(self):
        return {"size": 2}


class FromOutside(Same):
    """Made in a list that its argument is; the list grows."""

    def __init__(self, items):
        self.n, self.items = len(items), items

    def forward(self, x):
        self.items.append(0)
        return x * self.n


class Twice(Block):
    """Remakes its child with what was set after it was made."""

    units = 3

    def __init__(self):
        pass

    def build(self, input_shape):
        return self.child("f", md.Dense(self.units), input_shape)


def adapted():
    return Gain(3).adapt(X + 1)


def regrown():
    layer = Twice()
    layer.units = 5
    return layer


UNSAID = {
    "adapt": (adapted, r"layers/1: Gain\(3\) cannot be saved: made anew from its arguments, parameters and buffers it gives other output at inference. What lasts belongs into an argument of the constructor, a parameter or a buffer \(self.buffer in build\)"),
    "a counter": (Counter, r"layers/1: Counter\(\) .* at inference"),
    "an array in place": (InPlace, r"layers/1: InPlace\(\) .* other output"),
    "a buffer moved by a counter": (Buffered, r"layers/1: Buffered\(\) .* other output in training"),
    "a constructor that draws": (lambda: Projection(np.random.default_rng(0)), "other output at inference"),
    "a generator of its own": (OwnGenerator, "other output in training"),
    "a build that varies": (Varies, r"the model made anew .* layers/1/g has shape \(\d+,\) in the file, and \(\d+,\) in Varies\(\), layer 1"),
    "a build from what was set since": (regrown, r"layers/1/f/W has shape \(4, 5\) in the file, and \(4, 3\) in Dense\(3\), layer 1/f"),
    "arguments that grow": (lambda: Grows(3), r"layers/1/W has shape \(4, 6\) in the file, and \(4, 12\) in Grows\(12\), layer 1"),
    "a fussy constructor": (lambda: Fussy(1), r"the model made anew cannot be loaded: layers/1: too large"),
    "a list that grows": (lambda: FromOutside([]), "other output"),
    "within a residual": (lambda: md.Residual([Counter()]), r"layers/1/f/0: Counter\(\)"),
    "within a block": (lambda: Block([Counter()]), r"layers/1: Block"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAID)
def test_what_is_not_said_is_an_error(case, tmp_path):
    make, message = UNSAID[case]
    model = md.Sequential([md.Dense(4), make(), md.Dense(3)], rng=0).build(4)
    before, numpys = picture(model) if case != "a list that grows" else None, picture(np.random.get_state())
    with pytest.raises(ValueError, match=message):
        model.save(tmp_path / "model.npz")
    assert before is None or picture(model) == before
    assert picture(np.random.get_state()) == numpys
    assert not (tmp_path / "model.npz").exists()
    model.save_weights(tmp_path / "weights.npz")


class Global(Same):
    """Draws from NumPy's global generator, which no file has."""

    def forward(self, x, training):
        return x + np.random.normal(size=x.shape).astype(x.dtype) if training else x


def test_the_check_changes_nothing():
    """Neither an array that forward changes in place, nor a buffer, nor a generator within, nor NumPy's own."""
    layers = InPlace(), Average(), Block([md.Dropout(0.5), Average()]), Global()
    model = md.Sequential([*layers, md.Dense(3)], rng=0).build(4)
    numpys, noise = picture(np.random.get_state()), picture(layers[2].f.children[0].rng)
    with pytest.raises(ValueError, match=r"layers/0: InPlace\(\)"):
        model_file.check_savable(model)
    assert (layers[0].total == 0).all()
    assert (model.network.buffers == 0).all()
    assert picture(layers[2].f.children[0].rng) == noise
    assert picture(np.random.get_state()) == numpys


def test_a_layer_that_another_one_makes_is_no_argument():
    made = Made(5)
    model = md.Sequential([made, md.Dense(4)], rng=0).build(4)
    model.add(Tied(made.f.children[0]))
    with pytest.raises(ValueError, match=r"layer 2: .* has no parameter 'W' to share"):
        model_file.check_savable(model)


def test_a_model_of_the_librarys_own_layers_is_not_run(monkeypatch):
    monkeypatch.setattr(behaviour, "words_of", None)
    model_file.check_savable(md.Sequential([md.Residual([md.Dense(4)]), md.Dense(3)], rng=0).build(4))


def test_a_run_that_saves_is_refused_before_its_first_step(tmp_path):
    keep = md.callbacks.ModelCheckpoint(tmp_path / "run.npz")
    model = md.Sequential([Counter(), md.Dense(3)], rng=0).compile()
    with pytest.raises(ValueError, match="Counter"):
        model.fit(X, Y, callbacks=[keep], verbose=0)
    assert model.optimizer.iterations == 0


# ---------------------------------------------------------------------- optimizers, losses and metrics


class Friction(md.Optimizer):
    """Says all that lasts."""

    saved = ("calls",)

    def __init__(self, learning_rate=0.1, friction=0.5):
        super().__init__(learning_rate)
        self.friction, self.calls = friction, 0

    def step(self, theta, grad, eta):
        self.calls += 1
        v = self.moment("v", theta)
        v *= self.friction
        v -= eta * grad / self.calls
        theta += v


class Forgets(Friction):
    """Counts in what it does not say."""

    def __init__(self):
        super().__init__()
        self.more = 0

    def step(self, theta, grad, eta):
        self.more += 1
        theta -= eta * grad / self.more


class Lazy(md.Optimizer):
    """Makes its vector when it needs it, and does not say so."""

    def step(self, theta, grad, eta):
        if not hasattr(self, "v"):
            self.v = np.zeros_like(theta)
        self.v = 0.9 * self.v - eta * grad
        theta += self.v


class Around2(md.Optimizer):
    """An optimizer around another one, whose vectors nobody has said."""

    def __init__(self, inner):
        super().__init__(inner.learning_rate)
        self.inner = inner

    def step(self, theta, grad, eta):
        self.inner.update(theta, grad)


def test_an_optimizer_that_says_all(tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile(Friction())
    for _ in range(2):
        model.save(tmp_path / "model.npz")
        loaded = md.load_model(tmp_path / "model.npz", {"Friction": Friction})
        for each in (model, loaded):
            each.fit(X, Y, epochs=2, verbose=0)
        assert loaded.theta.tobytes() == model.theta.tobytes()


@pytest.mark.parametrize("optimizer", [Forgets, Lazy, lambda: Around2(md.Adam())])
def test_an_optimizer_that_does_not(optimizer, tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile(optimizer())
    keep = md.callbacks.ModelCheckpoint(tmp_path / "run.npz")
    with pytest.raises(ValueError, match=r"optimizer: .* it makes another update. .* self.state, .* in `saved`"):
        model.fit(X, Y, verbose=0, callbacks=[keep])
    assert model.optimizer.iterations == 0
    model.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="it makes another update"):
        model.save(tmp_path / "model.npz")


def test_a_loss_and_a_metric_that_cannot_be_made_anew():
    class Grown(md.MeanSquaredError):
        def __init__(self, size):
            super().__init__()
            self.size = size + 1

        def get_config(self):
            return {"size": self.size}

    model = md.Sequential([md.Dense(3)], rng=0).compile(loss=Grown(3))
    with pytest.raises(ValueError, match=r"loss: Grown\(4\) cannot be saved: made anew, it has other arguments"):
        model_file.check_savable(model)
