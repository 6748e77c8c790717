"""Layers made of layers: their formulas, their gradients, children in all they can be."""

import copy
import gc
import pickle
import runpy
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays, seeds, sizes

import minidense as md
from minidense.layers.base import walk

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(0, 3, 40)


class Gated(md.Layer):
    """y = sigmoid(g(x)) * f(x): a composite of one's own, whose children are made in build."""

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
        md.Residual([md.Dense(8, "tanh"), md.BatchNormalization(0.8), md.Dropout(0.2), md.Dense(8)]),
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
    assert model.count_params == 18
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
    with pytest.raises(ValueError, match=r"Decoder.*: the attribute 'encoder' has Dense\(3\), which is no part"):
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
    assert inner.theta.tolist() == model.theta[: inner.count_params].tolist()
    np.testing.assert_array_equal(inner.predict(X), md.network.inference(model.network.children[:1])(np.float32(X)))
    assert len(inner.get_weights()) == 4
    assert copy.deepcopy(model).layers[0].count_params == inner.count_params


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
    with pytest.raises(ValueError, match="leave rng to the outermost one"):
        md.Sequential([md.Sequential([md.Dense(3)], rng=0)])
    with pytest.raises(ValueError, match="leave dtype to the outermost model"):
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
    assert built() == parts == ["Chain(layers=[Dense(3), ReLU()])", "Dense(3)", "ReLU()"]


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"Residual.*must give the shape they take, \(6,\); they give \(4,\)"):
        md.Sequential([md.Residual([md.Dense(4)])]).build(6)
    with pytest.raises(TypeError, match=r"branches: expected a list of layers"):
        md.Concatenate(md.Dense(3))
    with pytest.raises(AttributeError, match="layers cannot be set once it is made"):
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
