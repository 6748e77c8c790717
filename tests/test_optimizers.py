"""Each optimizer against its formula; settings, copies, and one model per optimizer."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import minidense as md
from minidense.core.configurable import load_state_dict, state_dict


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_its_formula_and_leaves_grad_alone(momentum, nesterov):
    rng = np.random.default_rng(0)
    theta, v = rng.normal(size=20), np.zeros(20)
    mine, sgd = theta.copy(), md.SGD(0.1, momentum=momentum, nesterov=nesterov)
    for _ in range(30):
        grad = rng.normal(size=20)
        before = grad.copy()
        sgd.update(mine, grad)
        assert np.array_equal(grad, before)
        v = momentum * v - 0.1 * grad
        theta = theta + (momentum * v - 0.1 * grad if nesterov else v)
        np.testing.assert_allclose(mine, theta, rtol=1e-12)
    assert sgd.iterations == 30


def test_update_is_in_place_and_keeps_the_dtype():
    theta = np.ones(3, "float32")
    md.SGD(0.5, momentum=0.9).update(theta, np.ones(3, "float32"))
    assert theta.dtype == "float32"
    assert theta.tolist() == [0.5] * 3


def test_the_rate_can_be_changed_between_updates():
    theta, sgd = np.zeros(1), md.SGD(1.0)
    sgd.update(theta, np.ones(1))
    sgd.learning_rate = 0.25
    sgd.update(theta, np.ones(1))
    assert theta[0] == -1.25


def test_a_copy_goes_on_alike():
    theta, sgd = np.zeros(3), md.SGD(0.1, momentum=0.9)
    sgd.update(theta, np.ones(3))
    twin, other = copy.deepcopy(sgd), theta.copy()
    sgd.update(theta, np.ones(3))
    twin.update(other, np.ones(3))
    assert np.array_equal(theta, other)


def test_settings_set_later_are_checked_and_leave_the_state_alone():
    theta, sgd = np.zeros(3), md.SGD(0.1, momentum=0.9)
    sgd.update(theta, np.ones(3))
    velocity = sgd.state["velocity"]
    sgd.momentum, sgd.learning_rate, sgd.nesterov = 0.5, 0.2, True
    assert (sgd.iterations, sgd.state) == (1, {"velocity": velocity})
    assert repr(sgd) == "SGD(learning_rate=0.2, momentum=0.5, nesterov=True)"
    sgd.update(theta, np.ones(3))
    np.testing.assert_allclose(theta, -0.1 + 0.5 * (0.5 * -0.1 - 0.2) - 0.2, rtol=1e-12)
    for name, wrong, message in (
        ("momentum", 1.0, "SGD: momentum: expected a finite number"),
        ("momentum", 0.0, "nesterov=True needs a momentum above 0"),
        ("learning_rate", 0, "SGD: learning_rate: expected a finite number above 0, got 0"),
        ("global_clipnorm", -1, "SGD: global_clipnorm"),
    ):
        before = getattr(sgd, name)
        with pytest.raises(ValueError, match=message):
            setattr(sgd, name, wrong)
        assert getattr(sgd, name) == before
    sgd.nesterov = False
    sgd.momentum = 0.0
    with pytest.raises(ValueError, match="needs a momentum above 0"):
        sgd.nesterov = True


def test_the_learning_rate_is_checked_also_where_the_constructor_does_not_take_it():
    class Steady(md.Optimizer):
        def __init__(self, factor=2.0):  # not even the base's constructor is called
            self.factor = factor

        def step(self, theta, grad, eta):
            theta -= self.factor * eta * grad

    steady, theta = Steady(), np.zeros(1)
    steady.learning_rate = 0.5
    steady.update(theta, np.ones(1))
    assert (theta[0], steady.iterations) == (-1.0, 1)
    with pytest.raises(ValueError, match="Steady: learning_rate: expected a finite number above 0, got -1"):
        steady.learning_rate = -1
    assert (steady.learning_rate, steady.get_config()) == (0.5, {"factor": 2.0})
    assert Steady().state is not Steady().state


@given(made=st.integers(0, 5), before=st.integers(0, 3), seed=seeds)
@pytest.mark.parametrize("cls", [md.SGD, md.Adam, md.AdamW, md.RMSprop])
def test_made_anew_from_what_is_saved_it_goes_on_to_the_bit(cls, made, before, seed):
    """Also if its moments began later than its iterations, as when a layer is added."""
    rng = np.random.default_rng(seed)
    theta, optimizer = rng.normal(size=4), cls(0.1, global_clipnorm=2.0)
    for i in range(before + made):
        if i == before:
            optimizer.state.clear()
        optimizer.update(theta, rng.normal(size=4))
    again, other = cls.from_config(optimizer.get_config()), theta.copy()
    again.iterations, again.state = optimizer.iterations, copy.deepcopy(optimizer.state)
    load_state_dict(again, state_dict(optimizer))
    for _ in range(2):
        grad = rng.normal(size=4)
        optimizer.update(theta, grad)
        again.update(other, grad)
        assert np.array_equal(theta, other)
    assert state_dict(again) == state_dict(optimizer)


def test_moments_that_begin_later_are_corrected_from_there():
    theta, adam = np.zeros(2), md.Adam(0.1)
    for _ in range(5):
        adam.update(theta, np.ones(2))
    adam.state.clear()
    theta[:] = 0
    adam.update(theta, np.array([3.0, -4.0]))  # a first step goes by the rate, whatever the gradient
    np.testing.assert_allclose(theta, [-0.1, 0.1], rtol=1e-5)
    assert (adam.iterations, state_dict(adam)) == (6, {"_begun": 5})


def test_a_forged_state_is_refused():
    for forged in ({}, {"_begun": "0"}, {"_begun": 1.5}, {"_begun": 0, "iterations": 5}):
        with pytest.raises(ValueError, match="Adam"):
            load_state_dict(md.Adam(), forged)
    with pytest.raises(ValueError, match="SGD does not save 'state'"):
        load_state_dict(md.SGD(), {"state": {}})


def test_it_is_claimed_only_when_it_trains_a_model():
    class Model:
        pass

    a, b, sgd = Model(), Model(), md.SGD(0.1, momentum=0.9)
    sgd.check_owner(a)  # of a fit that then fails
    sgd.check_owner(b)
    sgd.claim(b)
    sgd.check_owner(a)  # it has no state yet
    sgd.update(np.zeros(2), np.ones(2))
    sgd.check_owner(b)
    before = dict(vars(sgd))
    with pytest.raises(ValueError, match=r"has the state of another model. Give each model an optimizer of its own"):
        sgd.check_owner(a)
    assert vars(sgd) == before
    copy.deepcopy(sgd).check_owner(a)
    del b
    sgd.check_owner(a)


EVERY = [
    md.SGD(0.1),
    md.SGD(0.1, momentum=0.9),
    md.Adam(0.01),
    md.AdamW(0.01),
    md.RMSprop(0.01),
    md.RMSprop(0.01, momentum=0.5),
]


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_every_optimizer_is_deterministic_resumable_and_in_place(optimizer, digits_like):
    def make():
        return md.Sequential([md.Dense(6, "tanh"), md.Dense(3)], rng=0).compile(copy.deepcopy(optimizer))

    once, twice = make(), make()
    once.fit(*digits_like, epochs=4, verbose=0)
    twice.fit(*digits_like, epochs=2, verbose=0)
    twin = copy.deepcopy(twice)
    for model in (twice, twin):
        model.fit(*digits_like, epochs=2, verbose=0)
        assert np.array_equal(model.theta, once.theta)
    assert np.shares_memory(once.layers[0].W, once.theta)
    history = make().fit(*digits_like, epochs=30, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize("cls", [md.SGD, md.Adam, md.AdamW, md.RMSprop])
def test_weight_decay_shrinks_weights_and_spares_biases_and_normalizations(cls, digits_like):
    def train(**options):
        layers = [md.Dense(6, bias_initializer="ones"), md.BatchNormalization(), md.Dense(3)]
        model = md.Sequential(layers, rng=0).compile(cls(1e-6, **options))
        return model.fit(*digits_like, epochs=1, batch_size="full", verbose=0), model

    _, plain = train(weight_decay=0.0)
    _, decayed = train(weight_decay=1e5)  # times a rate of 1e-6: a tenth off
    for a, b in zip(plain.get_weights(), decayed.get_weights(), strict=True):
        if a.ndim > 1:
            np.testing.assert_allclose(b, 0.9 * a, rtol=1e-3, atol=1e-5)
        else:
            np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
    _, everything = train(weight_decay=1e5, decay_all=True)
    np.testing.assert_allclose(everything.layers[0].b, 0.9 * plain.layers[0].b, rtol=1e-3)


def test_a_parameter_can_say_whether_it_decays():
    class Gain(md.Layer):
        def build(self, input_shape):
            self.param("g", input_shape, "ones", decay=True)
            return input_shape

        def forward(self, x):
            self.x = x
            return x * self.g

        def backward(self, dy):
            self.dg = (dy * self.x).sum(axis=0)
            return dy * self.g

    model = md.Sequential([Gain()], rng=0).compile(md.SGD(1e-9, weight_decay=1e8))
    model.fit(np.zeros((4, 3)), [0, 1, 2, 0], verbose=0)
    np.testing.assert_allclose(model.theta, 0.9, rtol=1e-6)


def test_clipping_shortens_long_gradients_only():
    theta = np.zeros(2)
    md.SGD(1.0, global_clipnorm=1.0).update(theta, np.array([3.0, 4.0]))
    np.testing.assert_allclose(theta, [-0.6, -0.8])
    theta = np.zeros(2)
    md.SGD(1.0, global_clipnorm=10.0).update(theta, np.array([3.0, 4.0]))
    assert theta.tolist() == [-3, -4]


@pytest.mark.parametrize("cls", [md.Adam, md.AdamW, md.RMSprop, md.SGD])
@pytest.mark.parametrize("option", ["learning_rate", "weight_decay", "global_clipnorm"])
def test_numbers_out_of_range(cls, option):
    with pytest.raises(ValueError, match=f"{cls.__name__}: {option}"):
        cls(**{option: -1.0})
    with pytest.raises(TypeError, match=f"{cls.__name__}: {option}"):
        cls(**{option: "fast"})


def test_an_optimizer_of_ones_own(digits_like):
    class SignDescent(md.Optimizer):
        def step(self, theta, grad, eta):
            theta -= eta * np.sign(grad)

    model = md.Sequential([md.Dense(3)], rng=0).compile(SignDescent(0.01))
    history = model.fit(*digits_like, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_an_optimizer_with_the_state_of_another_model_is_refused(digits_like):
    sgd = md.SGD(0.1, momentum=0.9)
    a, b = (md.Sequential([md.Dense(3)], rng=0).compile(sgd) for _ in range(2))
    a.fit(*digits_like, verbose=0)
    with pytest.raises(ValueError, match="Give each model an optimizer of its own"):
        b.fit(*digits_like, verbose=0)
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        twin.fit(*digits_like, verbose=0)


def test_clipping_survives_squares_that_overflow():
    theta = np.ones(3, "float32")
    md.SGD(0.5, global_clipnorm=1.0).update(theta, np.array([1e20, 0, 0], "float32"))
    assert theta.tolist() == [0.5, 1, 1]


class LAMB(md.Optimizer):
    """You et al. (2020), without weight decay: the step of each parameter is as long as the parameter, times eta."""

    def step(self, theta, grad, eta):
        m, v, t = self.moment("m", theta), self.moment("v", theta), self.iterations + 1
        m += 0.1 * (grad - m)
        v += 0.001 * (grad * grad - v)
        r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
        for piece in self.pieces:
            length = np.linalg.norm(theta[piece.slice]) or 1.0
            theta[piece.slice] -= eta * length / np.linalg.norm(r[piece.slice]) * r[piece.slice]


def test_an_optimizer_that_treats_each_parameter_separately(digits_like, tmp_path):
    layers = [md.Dense(6, "tanh"), md.Residual([md.Dense(6, bias_initializer="ones")]), md.Dense(3)]
    model = md.Sequential(layers, rng=0, dtype="float64").compile(LAMB(0.1)).build(digits_like[0].shape[1])
    before = {name: array.copy() for name, array in model.network.named_arrays().items()}
    model.train_on_batch(*digits_like)
    for name, array in model.network.named_arrays().items():  # the length of a change is 0.1 of the parameter's
        length = np.linalg.norm(before[name]) or 1.0
        assert np.linalg.norm(array - before[name]) == pytest.approx(0.1 * length, rel=1e-9)
    pieces = model.optimizer.pieces
    assert [piece.name for piece in pieces] == list(before)
    assert [piece.shape for piece in pieces] == [array.shape for array in before.values()]
    path = tmp_path / "model.npz"
    model.save(path)  # makes the optimizer anew, and compares its updates
    loaded = md.load_model(path, {"LAMB": LAMB})
    for each in (model, loaded):
        each.fit(*digits_like, epochs=2, verbose=0)
    assert np.array_equal(loaded.theta, model.theta)


@pytest.mark.parametrize("wrong", [None, -1, 2.5, "3"])
def test_iterations_are_a_whole_number(wrong, digits_like):
    model = md.Sequential([md.Dense(3)], rng=0).compile("adam").build(digits_like[0].shape[1])
    before = model.theta.copy()
    model.optimizer.iterations = wrong
    with pytest.raises((TypeError, ValueError), match="Adam: iterations: expected a whole number"):
        model.fit(*digits_like, verbose=0)
    assert np.array_equal(model.theta, before)
