"""After any sequence of operations, parameters are views of one theta, and no two models share memory."""

import copy
import pickle
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

import minidense as md
from minidense.layers.base import own_params, walk

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = np.arange(12) % 4

LAYERS = {
    "dense": lambda: md.Dense(4),
    "relu": lambda: md.ReLU(),
    "activated": lambda: md.Dense(4, activation="tanh"),
    "batch": lambda: md.BatchNormalization(),
    "layer": lambda: md.LayerNormalization(),
    "dropout": lambda: md.Dropout(0.5),
    "within": lambda: md.Concatenate([md.Dense(2, "relu"), [md.BatchNormalization(), md.Dense(2)]]),
}
OPTIMIZERS = [lambda: md.SGD(0.05), lambda: md.SGD(0.05, momentum=0.9), lambda: md.Adam(0.01)]


def assert_is_piece(view, vector, place, shape):
    assert view.base is not None
    assert view.__array_interface__["data"] == vector[place:].__array_interface__["data"]
    assert view.shape == shape


def arrays_of(model):
    """All arrays that a model changes in place."""
    if model.built:
        yield from (model.theta, model.grad, model.network.buffers)
    if model.optimizer is not None:
        yield from model.optimizer.state.values()


class Models(RuleBasedStateMachine):
    """Every model ends in a Dense(4) followed by nothing, or by what has been added since."""

    models = Bundle("models")

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "model.npz"
        self.all = []

    def teardown(self):
        self.folder.cleanup()

    def known(self, model):
        self.all.append(model)
        return model

    @rule(target=models, names=st.lists(st.sampled_from(sorted(LAYERS)), max_size=4), seed=st.integers(0, 3))
    def make(self, names, seed):
        layers = [LAYERS[name]() for name in names]
        return self.known(md.Sequential([*layers, md.Dense(4)], rng=seed))

    @rule(model=models, name=st.sampled_from(["dense", "batch", "layer", "dropout", "within"]))
    def add(self, model, name):
        before = [values.copy() for values in model.get_weights()] if model.built else []
        model.add(LAYERS[name]())
        if before:
            for old, new in zip(before, model.get_weights(), strict=False):
                np.testing.assert_array_equal(old, new)

    @rule(model=models)
    def build(self, model):
        model.build(3)

    @rule(model=models, optimizer=st.sampled_from(OPTIMIZERS))
    def compile(self, model, optimizer):
        model.compile(optimizer(), metrics=["accuracy"])

    @rule(model=models, size=st.sampled_from([1, 5, "full"]))
    def fit(self, model, size):
        if model.optimizer is not None:
            model.fit(X, Y, batch_size=size, epochs=1, verbose=0)

    @rule(model=models)
    def predict(self, model):
        if model.built:
            before = model.theta.tobytes()
            assert model.predict(X).tobytes() == model.predict(X).tobytes()
            assert model.theta.tobytes() == before

    @rule(model=models)
    def set_weights(self, model):
        if model.built:
            model.set_weights([values + 0.125 for values in model.get_weights()])

    @rule(model=models)
    def freeze(self, model):
        model.layers[0].trainable = not model.layers[0].trainable

    @rule(target=models, model=models, how=st.sampled_from(["copy", "deepcopy", "pickle", "file"]))
    def duplicate(self, model, how):
        if how == "file":
            model.save(self.path)
            twin = md.load_model(self.path)
        elif how == "pickle":
            twin = pickle.loads(pickle.dumps(model))
        else:
            twin = getattr(copy, how)(model)
        if model.built:
            assert twin.predict(X).tobytes() == model.predict(X).tobytes()
        if model.optimizer is not None:  # both train on alike: on copies of both, which leaves them as they are
            pair = [pickle.loads(pickle.dumps(each)) for each in (model, twin)]
            for each in pair:
                each.fit(X, Y, batch_size=5, verbose=0)
            assert pair[0].theta.tobytes() == pair[1].theta.tobytes()
        return self.known(twin)

    @rule(model=models, other=models)
    def weights_by_file(self, model, other):
        if not (model.built and other.built):
            return
        model.save_weights(self.path)
        before = other.theta.copy()
        try:
            other.load_weights(self.path)
        except ValueError:
            np.testing.assert_array_equal(other.theta, before)
        else:
            np.testing.assert_array_equal(other.theta, model.theta)

    @rule(model=consumes(models))
    def forget(self, model):
        self.all = [other for other in self.all if other is not model]

    @invariant()
    def parameters_are_views_of_their_own_theta(self):
        for model in getattr(self, "all", []):
            if not model.built:
                continue
            place = buffer_place = 0
            for layer in walk(model.network):
                for declared in own_params(layer):
                    for vector, name in ((model.theta, declared.name), (model.grad, "d" + declared.name)):
                        assert_is_piece(getattr(layer, name), vector, place, declared.shape)
                    place += declared.size
                for declared in layer._record.buffers:
                    assert_is_piece(getattr(layer, declared.name), model.network.buffers, buffer_place, declared.shape)
                    buffer_place += declared.size
            assert place == model.theta.size == model.count_params()
            assert buffer_place == model.network.buffers.size

    @invariant()
    def no_two_models_share_memory(self):
        arrays = [list(arrays_of(model)) for model in getattr(self, "all", [])]
        for i, mine in enumerate(arrays):
            for theirs in arrays[:i]:
                assert not any(np.shares_memory(a, b) for a in mine for b in theirs)


TestModels = Models.TestCase
TestModels.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
