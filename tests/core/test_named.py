"""Functions that stand for their names: copied, pickled and saved as these, and taken where a name is taken."""

import copy
import pickle

import numpy as np
import pytest

import minidense as md
from minidense.core.named import NamedFunction, name_of
from minidense.layers.activations import FUNCTIONS
from minidense.losses import FUNCTIONS as LOSSES


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *LOSSES.values()], ids=repr)
def test_copied_and_pickled_it_is_the_same(function):
    assert isinstance(function, NamedFunction)
    assert copy.deepcopy(function) is copy.copy(function) is function
    assert pickle.loads(pickle.dumps(function)) is function
    assert name_of(function) == eval(repr(function)) == function.__name__
    assert "``" in function.__doc__ or "activation" in function.__doc__


def test_errors_have_its_name():
    with pytest.raises(TypeError, match=r"^relu\(\) takes 1 positional argument"):
        md.activations.relu([1.0], 2.0)
    with pytest.raises(TypeError, match="ReLU takes no keyword 'slope'"):
        md.activations.relu([1.0], slope=2.0)


def test_a_layer_of_a_layer_is_saved_with_it(tmp_path):
    class Own(md.Layer):
        def __init__(self, inner):
            self.inner = inner

        def build(self, input_shape):
            return self.child("inner", self.inner, input_shape)

        def forward(self, x, training):
            return self.inner.forward(x, training)

        def backward(self, dy):
            return self.inner.backward(dy)

    model = md.Sequential([Own(md.Dense(3, activation=md.activations.tanh))], rng=0).build(4)
    model.save(tmp_path / "model.npz")
    x = np.eye(4)
    loaded = md.load_model(tmp_path / "model.npz", {"Own": Own})
    assert np.array_equal(loaded.predict(x), model.predict(x))
    assert np.array_equal(copy.deepcopy(model).predict(x), model.predict(x))
    assert abs(model.predict(x)).max() < 1
