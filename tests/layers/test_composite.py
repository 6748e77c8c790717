"""Layers made of layers: formulas, gradients, and everything that children do."""

import copy
import gc
import pickle
import runpy
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import normal_arrays, seeds, sizes

import minidense as md
from minidense.layers.base import walk

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(0, 3, 40)


class Gated(md.Layer):
    """y = sigmoid(g(x)) * f(x): a user's composite, which makes its children in build."""

    def __init__(self, units):
        self.units = units

    def build(self, input_shape):
        shape = self.child("f", md.Sequential([md.Dense(self.units, "tanh"), md.Dropout(0.1)]), input_shape)
        self.child("g", md.Dense(self.units), input_shape)
        self.param("scale", shape, "ones")
        return shape

    def forward(self, x, training):
        self.a = self.f.forward(x, training)
        self.b = 1 / (1 + np.exp(-self.g.forward(x, training)))
        return self.a * self.b * self.scale

    def backward(self, dy):
        self.dscale = (dy * self.a * self.b).sum(axis=0)
        dy = dy * self.scale
        return self.f.backward(dy * self.b) + self.g.backward(dy * self.a * self.b * (1 - self.b))


class Decoder(md.Layer):
    """y = x W^T with the weights of an encoder."""

    def __init__(self, encoder):
        self.encoder = encoder

    def build(self, input_shape):
        self.param("W", shared=(self.encoder, "W"))
        return (self.encoder.W.shape[0] if hasattr(self.encoder, "W") else self.encoder.input_shape[0],)

    def forward(self, x):
        self.x = x
        return x @ self.W.T

    def backward(self, dy):
        self.dW = dy.T @ self.x
        return dy @ self.W


def residual_network(dtype="float32"):
    layers = [
        md.Dense(8, "relu"),
        md.Residual([md.Dense(8, "tanh"), md.BatchNormalization(momentum=0.8), md.Dropout(0.2), md.Dense(8)]),
        Gated(8),
        md.Concatenate([md.Dense(2), [md.Dense(4, "relu"), md.Dense(3)], md.Sequential([md.Sigmoid()], name="gate")]),
        md.Dense(3),
    ]
    return md.Sequential(layers, rng=0, dtype=dtype).compile(md.Adam(0.01), metrics=["accuracy"])


def autoencoder(dtype="float32"):
    encoder = md.Dense(3, use_bias=False)
    model = md.Sequential([encoder, md.Tanh(), Decoder(encoder)], rng=0, dtype=dtype)
    return model.compile(md.SGD(0.1), md.MeanSquaredError())


@given(x=normal_arrays(columns=st.just(4)), seed=seeds)
def test_residual_is_its_formula(x, seed):
    model = md.Sequential([md.Residual([md.Dense(5, "tanh"), md.Dense(4)])], rng=seed, dtype="float64").build(4)
    f = model.layers[0].f.children
    expected = x + np.tanh(x @ f[0].W + f[0].b) @ f[2].W + f[2].b
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12, atol=1e-14)


@given(x=normal_arrays(columns=st.just(4)), seed=seeds)
def test_concatenate_is_its_formula(x, seed):
    model = md.Sequential([md.Concatenate([md.Dense(2), md.Dense(3)])], rng=seed, dtype="float64").build(4)
    a, b = model.layers[0].branch_0, model.layers[0].branch_1
    expected = np.hstack([x @ a.W + a.b, x @ b.W + b.b])
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "layer",
    [
        md.Residual([md.Dense(5, "tanh"), md.Dense(4)]),
        md.Residual(md.Sequential([md.Dense(4)])),
        md.Residual([md.Residual(md.Dense(4, "sigmoid")), md.BatchNormalization()]),
        md.Concatenate([md.Dense(2), [md.Dense(3, "tanh"), md.Dense(1)]]),
        md.Concatenate([md.Sequential([md.Tanh()]), md.Residual([md.Dense(4)])]),
        Gated(3),
        md.Residual([Gated(4)]),
    ],
    ids=repr,
)
def test_gradients_of_the_composite_and_of_its_children(layer):
    assert md.check_layer(layer, 4) <= 1e-7


def test_check_layer_names_the_child_that_is_wrong():
    class Wrong(md.Dense):
        def forward(self, x):
            return super().forward(x)

        def backward(self, dz):
            dx = super().backward(dz)
            self.dW *= 2.001 / 2
            return dx

    with pytest.raises(AssertionError, match=r"Residual.*: f/1/dW \["):
        md.check_layer(md.Residual([md.Dense(4, use_bias=False), Wrong(4)]), 4)


def test_a_tied_autoencoder_passes_the_check():
    assert md.check_layer(autoencoder(), 5) <= 1e-7


def test_shared_parameters_are_counted_once_and_their_gradients_added():
    model = autoencoder("float64").build(6)
    encoder, _, decoder = model.layers
    assert model.count_params() == 18
    assert list(model.network.named_arrays()) == ["layers/0/W"]
    assert [w.shape for w in model.get_weights()] == [(6, 3)]
    assert np.shares_memory(decoder.W, model.theta)
    model.loss_and_grad(X, X)
    W = encoder.W
    h = np.tanh(X @ W)
    dy = 2 * (h @ W.T - X) / X.size
    by_decoder = dy.T @ h
    by_encoder = X.T @ (dy @ W * (1 - h * h))
    np.testing.assert_allclose(model.grad.reshape(6, 3), by_decoder + by_encoder, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(decoder.dW, by_decoder, rtol=1e-12, atol=1e-15)
    assert not np.shares_memory(decoder.dW, model.grad)


def test_of_a_shared_parameter_the_owner_rules():
    model = autoencoder().build(6)
    model.layers[2].trainable = False
    before = model.theta.copy()
    model.fit(X, X, verbose=0)
    assert not np.array_equal(model.theta, before)
    model.layers[0].trainable = False
    before = model.theta.copy()
    model.fit(X, X, verbose=0)
    assert np.array_equal(model.theta, before)


def test_sharing_with_a_layer_that_is_elsewhere_is_an_error():
    encoder = md.Dense(3)
    md.Sequential([encoder], rng=0).build(6)
    with pytest.raises(ValueError, match=r"Decoder.*: the attribute 'encoder' holds Dense\(3\), which is not"):
        md.Sequential([md.Dense(3), Decoder(encoder)]).build(6)
    late = md.Dense(3)
    with pytest.raises(ValueError, match=r"has no parameter 'W' to share\. Is it built before this layer"):
        md.Sequential([Decoder(late), late]).build(6)


def test_a_layer_that_is_held_and_not_declared_is_an_error():
    class Holds(md.Layer):
        def __init__(self, inner):
            self.parts = [inner]

        def forward(self, x):
            return self.parts[0].forward(x)

    for inner in (md.Dense(3), md.Sequential([md.Dense(3)]), {"a": ([md.Dense(3)],)}):
        model = md.Sequential([Holds(inner)])
        with pytest.raises(ValueError, match=r"declare it with self\.child\('parts', layer, input_shape\) in build"):
            model.build(4)
        assert not model.built


def test_children_are_pieces_of_the_same_vectors():
    model = residual_network().build(6)
    assert sum(a.size for a in model.network.named_arrays().values()) == model.theta.size + 16
    names = list(model.network.named_arrays())
    assert {"layers/2/f/0/W", "layers/3/scale", "layers/3/f/0/W", "layers/3/g/b", "layers/4/branch_1/2/b"} <= set(names)
    for name, array in model.network.named_arrays().items():
        vector = model.network.buffers if "moving" in name else model.theta
        assert np.shares_memory(array, vector), name
    assert model.layers[3].f.children[0].W.base is not None
    assert model.layers[4].branch_2 is not None


def test_it_trains_as_the_same_layers_written_out():
    flat = md.Sequential([md.Dense(5, "tanh"), md.Dense(3)], rng=0, dtype="float64").build(6).compile("sgd")
    nested = md.Sequential([md.Sequential([md.Dense(5, "tanh")]), md.Dense(3)], rng=1, dtype="float64").build(6)
    nested.compile("sgd").set_weights(flat.get_weights())
    for model in (flat, nested):
        model.fit(X, Y, epochs=3, shuffle=False, verbose=0)
    assert np.array_equal(flat.theta, nested.theta)


def test_a_residual_network_does_all_that_a_model_does(tmp_path):
    model = residual_network()
    keep = md.callbacks.ModelCheckpoint(str(tmp_path / "run.npz"), every="3 steps")
    model.fit(X, Y, epochs=4, batch_size=8, callbacks=[keep], verbose=0)
    expected = model.predict(X)

    resumed = residual_network()
    resumed.fit(X, Y, epochs=4, batch_size=8, verbose=0, resume=str(tmp_path / "run.npz"))
    assert np.array_equal(resumed.theta, model.theta)
    assert resumed.history.history == model.history.history

    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz", {"Gated": Gated})
    for twin in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.predict(X), expected)
        assert not np.shares_memory(twin.theta, model.theta)
        twin.fit(X, Y, batch_size=8, verbose=0)
    model.fit(X, Y, batch_size=8, verbose=0)
    assert np.array_equal(loaded.theta, model.theta)

    found = []
    threads = [threading.Thread(target=lambda: found.append(loaded.predict(X))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(y, loaded.predict(X)) for y in found)
    assert len(found) == 8


def test_residual_and_concatenate_are_exported(tmp_path):
    model = md.Sequential(
        [
            md.Dense(4, "relu"),
            md.Residual([md.Dense(4, "tanh")]),
            md.Concatenate([md.Dense(2), md.Sequential([md.Dense(3)])]),
        ],
        rng=0,
    ).build(6)
    model.export_numpy(tmp_path / "exported.py")
    predict = runpy.run_path(str(tmp_path / "exported.py"))["predict"]
    assert np.array_equal(predict(X), model.predict(X))


def test_a_tied_autoencoder_is_saved_copied_and_pickled(tmp_path):
    model = autoencoder()
    model.fit(X, X, epochs=2, verbose=0)
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz", {"Decoder": Decoder})
    for twin in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.layers[2].encoder is twin.layers[0]
        assert np.shares_memory(twin.layers[2].W, twin.layers[0].W)
        twin.fit(X, X, verbose=0)
    model.fit(X, X, verbose=0)
    assert np.array_equal(loaded.theta, model.theta)


def test_freezing_a_child_and_a_composite():
    model = residual_network().build(6)
    block = model.layers[3]
    block.f.trainable = False
    arrays = model.network.named_arrays()
    before = {name: array.copy() for name, array in arrays.items()}
    model.fit(X, Y, batch_size=8, verbose=0)
    for name in arrays:
        assert np.array_equal(arrays[name], before[name]) == name.startswith("layers/3/f/"), name
    block.trainable = False
    assert not block.g.trainable
    block.trainable = True
    assert block.f.children[0].trainable


def test_freezing_a_model_and_a_model_within_a_model():
    inner = md.Sequential([md.Dense(4, "relu")])
    model = md.Sequential([inner, md.Dense(3)], rng=0).compile("sgd").build(6)
    inner.trainable = False
    before = model.theta.copy()
    model.fit(X, Y, verbose=0)
    changed = model.theta != before
    assert not changed[: inner.count_params()].any()
    assert changed[inner.count_params() :].any()
    model.trainable = False
    before = model.theta.copy()
    model.fit(X, Y, verbose=0)
    assert np.array_equal(model.theta, before)
    assert not any(layer.trainable for layer in model.layers)
    model.trainable = True
    assert inner.trainable
    for wrong in ("no", 1, None):
        with pytest.raises(TypeError, match="trainable: expected True or False"):
            model.layers[1].trainable = wrong


def test_the_summary_shows_the_tree():
    model = md.Sequential([md.Residual([md.Dense(4), md.ReLU()]), md.Sequential([md.Dense(2)])], name="tree").build(4)
    lines = str(model.summary()).splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["Residual", ""]
    assert lines[-1] == "30 parameters, 120 bytes (float32)"
    assert any(line.startswith("    Dense(4)") for line in lines)
    assert any(line.startswith("Sequential") for line in lines)


# ------------------------------------------------------------------ a model within a model


def test_a_model_within_a_model_is_given_back_and_works():
    inner = md.Sequential([md.Dense(5, "relu"), md.Dense(4)], name="inner")
    model = md.Sequential([inner, md.Dense(3)], rng=0).compile("sgd")
    assert model.layers[0] is inner
    model.fit(X, Y, verbose=0)
    assert np.shares_memory(inner.theta, model.theta)
    assert inner.theta.tolist() == model.theta[: inner.count_params()].tolist()
    np.testing.assert_array_equal(inner.predict(X), md.network.inference(model.network.children[:1])(np.float32(X)))
    assert len(inner.get_weights()) == 4
    assert copy.deepcopy(model).layers[0].count_params() == inner.count_params()


def test_a_model_within_a_model_saves_itself(tmp_path):
    inner = md.Sequential([md.Dense(5, "relu"), md.Dense(4)])
    md.Sequential([md.Dense(7), inner], rng=0).build(6)
    inner.save(tmp_path / "inner.npz")
    x = RNG.normal(size=(3, 7))
    assert np.array_equal(md.load_model(tmp_path / "inner.npz").predict(x), inner.predict(x))


def test_what_belongs_to_the_outermost_model_is_refused():
    inner = md.Sequential([md.Dense(4)]).compile("sgd")
    md.Sequential([inner, md.Dense(3)], rng=0).build(6)
    calls = {
        "fit": lambda: inner.fit(X, Y),
        "compile": lambda: inner.compile("sgd"),
        "add": lambda: inner.add(md.ReLU()),
        "train_on_batch": lambda: inner.train_on_batch(X, Y),
    }
    for name, call in calls.items():
        with pytest.raises(RuntimeError, match=f"part of another one: call {name} on the outermost model"):
            call()
    never_compiled = md.Sequential([md.Dense(4)])
    outer = md.Sequential([never_compiled])
    with pytest.raises(RuntimeError, match="part of another one: compile and train the outermost model"):
        outer.layers[0].fit(X, Y)
    with pytest.raises(ValueError, match="pass rng to the outermost model"):
        md.Sequential([md.Sequential([md.Dense(3)], rng=0)])
    with pytest.raises(
        ValueError, match=r"Sequential\(\[Dense\(3\)\]\), layer 0: .* pass dtype to the outermost model"
    ):
        md.Sequential([md.Sequential([md.Dense(3)], dtype="float64")]).build(4)
    assert md.Sequential([md.Sequential([md.Dense(3)])], dtype="float64").build(4).theta.dtype == "float64"


def test_one_layer_in_two_places_of_the_tree_is_refused():
    dense = md.Dense(4)
    with pytest.raises(ValueError, match=r"Dense\(4\).* is part of another model"):
        md.Sequential([dense, md.Residual([dense])])


def test_the_seed_of_a_child_follows_its_path():
    a = residual_network().build(6).network.named_arrays()
    model = residual_network()
    model.add(md.Dense(2))
    b = model.build(6).network.named_arrays()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    starts = [a["layers/3/f/0/W"], a["layers/3/g/W"], a["layers/0/W"][:, :8]]
    assert not np.array_equal(starts[0], starts[1])


def test_a_copied_composite_starts_from_its_values():
    model = residual_network()
    model.fit(X, Y, verbose=0)
    block = copy.deepcopy(model.layers[3])
    other = md.Sequential([block], rng=5).build(8)
    assert np.array_equal(other.layers[0].f.children[0].W, model.layers[3].f.children[0].W)
    assert np.array_equal(other.layers[0].scale, model.layers[3].scale)
    assert not np.shares_memory(other.theta, model.theta)


def test_adding_a_layer_keeps_what_composites_have_learned():
    model = residual_network()
    model.fit(X, Y, verbose=0)
    before = {name: array.copy() for name, array in model.network.named_arrays().items()}
    model.add(md.Dropout(0.5)).add(md.Dense(3))
    for name, array in before.items():
        assert np.array_equal(model.network.named_arrays()[name], array), name
    model.fit(X, Y, verbose=0)


def test_a_child_keeps_its_activation_when_it_is_built_again():
    class Within(md.Layer):
        def __init__(self):
            self.inner = md.Dense(3, activation="relu")

        def build(self, input_shape):
            return self.child("f", self.inner, input_shape)

    def built():
        model = md.Sequential([layer], rng=0).build(4)
        return [repr(part) for part in walk(model.network)][2:]

    layer = Within()
    parts = built()
    gc.collect()  # the model that had it is no more
    assert built() == parts == ["[Dense(3), ReLU()]", "Dense(3)", "ReLU()"]


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"Residual.*must return the shape of their input, \(6,\); got \(4,\)"):
        md.Sequential([md.Residual([md.Dense(4)])]).build(6)
    with pytest.raises(TypeError, match=r"branches: expected a list of layers"):
        md.Concatenate(md.Dense(3))
    with pytest.raises(AttributeError, match="layers cannot be set after construction"):
        md.Residual([md.Dense(3)]).layers = [md.Dense(4)]


@given(rows=sizes, seed=seeds)
def test_a_child_that_does_not_take_training_is_called_all_the_same(rows, seed):
    model = md.Sequential([Gated(3)], rng=seed, dtype="float64").build(4)
    x = np.random.default_rng(seed).normal(size=(rows, 4))
    block = model.layers[0]
    a = np.tanh(x @ block.f.children[0].W + block.f.children[0].b)
    b = 1 / (1 + np.exp(-(x @ block.g.W + block.g.b)))
    np.testing.assert_allclose(model.predict(x), a * b, rtol=1e-12)


def test_children_of_ones_own_are_guarded():
    class Forgets(md.Layer):
        def build(self, input_shape):
            self.param("g", input_shape, "ones")
            return input_shape

        def forward(self, x):
            return x * self.g

        def backward(self, dy):
            return dy * self.g

    class Holds(md.Layer):
        def build(self, input_shape):
            return self.child("inside", Forgets(), input_shape)

        def forward(self, x):
            return self.inside.forward(x)

        def backward(self, dy):
            return self.inside.backward(dy)

    model = md.Sequential([Holds(), md.Dense(2)], rng=0).compile("sgd")
    with pytest.raises(ValueError, match=r"Forgets\(\), layer 0/inside: backward never wrote the gradient dg"):
        model.fit(X, Y % 2, verbose=0)


# ------------------------------------------------------------------ built again: copies, retries


class Holder(md.Layer):
    """Gets its layers in the constructor, and makes them children in one of several ways."""

    def __init__(self, inner, how="child", units=None):
        self.inner, self.how, self.units = inner, how, units
        if how == "made in the constructor":
            self.f = md.Sequential(inner)

    def build(self, input_shape):
        if self.how == "child":
            return self.child("f", self.inner, input_shape)
        if self.how == "same name":
            return self.child("inner", self.inner, input_shape)
        if self.how == "model":
            return self.child("f", md.Sequential(self.inner), input_shape)
        if self.how == "made in the constructor":
            return self.child("f", self.f, input_shape)
        if self.how == "made in build":
            return self.child("f", md.Sequential([md.Dense(4, "relu"), md.Dense(self.units or 4)]), input_shape)
        for i, layer in enumerate(self.inner):
            input_shape = self.child(f"f{i}", layer, input_shape)
        return input_shape

    def forward(self, x, training):
        for child in self._record.children.values():
            x = child.forward(x, training)
        return x

    def backward(self, dy):
        for child in reversed(self._record.children.values()):
            dy = child.backward(dy)
        return dy


HOLDERS = {
    "child": lambda: Holder(md.Dense(4, "relu")),
    "same name": lambda: Holder(md.Dense(4, "relu"), "same name"),
    "model": lambda: Holder([md.Dense(4, "relu"), md.Dense(4)], "model"),
    "each": lambda: Holder([md.Dense(4, "relu"), md.Dense(4)], "each"),
    "made in the constructor": lambda: Holder([md.Dense(4, "relu"), md.Dense(4)], "made in the constructor"),
    "made in build": lambda: Holder(None, "made in build"),
    "a model": lambda: Holder(md.Sequential([md.Dense(4, "relu"), md.Dense(4, md.ELU())])),
    "nested": lambda: Holder(Holder(Holder(md.Dense(4, "relu")), "same name")),
}


def kinds(layer):
    return [type(part).__name__ for part in walk(layer)]


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_a_composite_that_is_built_again_is_the_same(make, tmp_path):
    holder = make()
    assert md.check_layer(holder, 4) <= 1e-7
    model = md.Sequential([holder], rng=0).build(4)
    x = RNG.normal(size=(5, 4))
    expected, names = model.predict(x), list(model.network.named_arrays())
    assert "ReLU" in kinds(holder)
    for duplicate in (copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))):
        other = md.Sequential([duplicate(holder)], rng=1).build(4)
        assert kinds(other.layers[0]) == kinds(holder)
        assert list(other.network.named_arrays()) == names
        assert np.array_equal(other.predict(x), expected)
        twice = md.Sequential([duplicate(other.layers[0])], rng=2).build(4)
        assert np.array_equal(twice.predict(x), expected)
    assert md.check_layer(holder, 4) <= 1e-7
    assert np.array_equal(model.predict(x), expected)
    model.save(tmp_path / "m.npz")
    assert np.array_equal(md.load_model(tmp_path / "m.npz", {"Holder": Holder}).predict(x), expected)


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_a_failed_build_is_undone_for_all_that_it_reached(make):
    class Picky(md.Layer):
        ready = False

        def build(self, input_shape):
            if not self.ready:
                raise ValueError("not yet")
            return input_shape

        def forward(self, x):
            return x

    holder, picky = make(), Picky()
    model = md.Sequential([holder, md.Residual(Holder([picky], "each"))], rng=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            model.build(4)
        assert holder.count_params() == 0
    picky.ready = True
    plain = md.Sequential([make()], rng=0).build(4)
    assert kinds(model.build(4).layers[0]) == kinds(plain.layers[0])
    assert np.array_equal(model.theta, plain.theta)


def test_layers_of_a_failed_build_can_go_elsewhere():
    dense = md.Dense(3)
    with pytest.raises(ValueError, match="must return the shape of their input"):
        md.Sequential([md.Residual(dense)]).build(4)
    holder = Holder(md.Dense(3, "relu"))
    with pytest.raises(ValueError, match="must return the shape of their input"):
        md.Sequential([holder, md.Residual(md.Dense(4))]).build(4)
    assert (dense.count_params(), holder.inner.count_params()) == (0, 0)
    md.Sequential([holder.inner], rng=0).build(4)


def test_a_copy_with_another_argument_is_built_by_it():
    holder = Holder(None, "made in build", units=3)
    md.Sequential([holder], rng=0).build(4)
    twin = copy.deepcopy(holder)
    twin.units = 5
    with pytest.raises(ValueError, match=r"W must have shape \(4, 5\); the layer this one is a copy of has \(4, 3\)"):
        md.Sequential([twin]).build(4)


def test_children_declared_in_another_order_keep_their_values():
    class TwoWays(md.Layer):
        def __init__(self, names):
            self.names = names

        def build(self, input_shape):
            for name in self.names:
                self.child(name, md.Dense(4, use_bias=name == "a"), input_shape)
            return input_shape

        def forward(self, x):
            return self.a.forward(x) - self.b.forward(x)

    model = md.Sequential([TwoWays(["a", "b"])], rng=0).build(4)
    twin = copy.deepcopy(model.layers[0])
    twin.names = ["b", "a"]
    other = md.Sequential([twin]).build(4)
    assert list(other.network.named_arrays()) == ["layers/0/b/W", "layers/0/a/W", "layers/0/a/b"]
    x = RNG.normal(size=(5, 4))
    assert np.array_equal(other.predict(x), model.predict(x))


def test_one_child_twice_is_refused():
    class Twice(md.Layer):
        def build(self, input_shape):
            dense = md.Dense(4)
            self.child("a", dense, input_shape)
            return self.child("b", dense, input_shape)

    with pytest.raises(ValueError, match=r"Dense\(4\), layer 0/a is in this model already"):
        md.Sequential([Twice()]).build(4)


def test_freezing_before_the_build_and_of_copies():
    for make in (lambda: md.Residual([md.Dense(6, "relu"), md.Dense(6)]), lambda: Holder([md.Dense(6)], "model")):
        block = make()
        block.trainable = False
        model = md.Sequential([block, md.Dense(3)], rng=0).compile("sgd").build(6)
        twin = md.Sequential([copy.deepcopy(block), md.Dense(3)], rng=0).compile("sgd").build(6)
        for each in (model, twin):
            frozen, before = each.layers[0].count_params(), each.theta.copy()
            assert not any(part.trainable for part in walk(each.layers[0]))
            each.fit(X, Y, verbose=0)
            assert np.array_equal(each.theta[:frozen], before[:frozen])
            assert not np.array_equal(each.theta[frozen:], before[frozen:])
        block.trainable = True
        before = model.theta.copy()
        model.fit(X, Y, verbose=0)
        assert not np.array_equal(model.theta[:frozen], before[:frozen])


# ------------------------------------------------------------------ any tree


LEAVES = st.sampled_from(
    [
        lambda: md.Dense(3),
        lambda: md.Dense(3, "tanh"),
        lambda: md.Tanh(),
        lambda: md.LayerNormalization(),
        lambda: md.BatchNormalization(),
        lambda: Gated(3),
    ]
)


def branches(layers):
    """Layers of layers, each from 3 features to 3."""
    lists = st.lists(layers, min_size=1, max_size=2)
    return st.one_of(
        lists.map(lambda makers: lambda: md.Sequential([make() for make in makers])),
        lists.map(lambda makers: lambda: md.Residual([make() for make in makers])),
        lists.map(lambda makers: lambda: Holder([make() for make in makers], "each")),
        st.tuples(layers, layers).map(
            lambda pair: lambda: md.Sequential([md.Concatenate([pair[0](), [pair[1]()]]), md.Dense(3)])
        ),
    )


@settings(max_examples=25)
@given(st.lists(st.recursive(LEAVES, branches, max_leaves=5), min_size=1, max_size=3), seeds)
def test_the_gradient_of_any_tree_is_that_of_central_differences(makers, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    model = md.Sequential([make() for make in makers], rng=seed % 2**31, dtype="float64").build(3)
    for layer in walk(model.network):
        if isinstance(layer, md.Dropout):
            layer.rate = 0.0  # the same function at each call
    model.compile("sgd", md.MeanSquaredError())
    model.theta += 0.1 * rng.normal(size=model.theta.size)
    model.loss_and_grad(x, y)
    grad, theta = model.grad.copy(), model.theta.copy()
    along = rng.normal(size=(4, theta.size))
    for direction in along:
        losses = []
        h = 1e-5
        for step in (h, -h, 2 * h, -2 * h):
            model.theta = theta + step * direction
            losses.append(model.loss_and_grad(x, y))
        numeric = (8 * (losses[0] - losses[1]) - (losses[2] - losses[3])) / (12 * h)
        # rounding of the loss, some 1e-15 of it, is divided by h; the rest is of the order h**4
        assert abs(numeric - direction @ grad) <= 1e-6 * max(1.0, abs(direction) @ abs(grad))
    model.theta = theta
    twin = pickle.loads(pickle.dumps(model))
    assert np.array_equal(twin.predict(x), model.predict(x))
