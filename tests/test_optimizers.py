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
from minidense.optimizers import OPTIMIZERS, Piece, get_optimizer

RULES = [cls for cls in OPTIMIZERS.values() if cls is not md.LBFGS]  # which tests/training/test_lbfgs.py tests


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
@pytest.mark.parametrize(
    "options", [{"global_clipnorm": 2.0}, {"use_ema": True, "ema_overwrite_frequency": 2}], ids=repr
)
@pytest.mark.parametrize("cls", RULES)
def test_made_anew_from_what_is_saved_it_goes_on_to_the_bit(cls, options, made, before, seed):
    """Also if its moments began later than its iterations, as when a layer is added."""
    rng = np.random.default_rng(seed)
    theta, optimizer = rng.normal(size=4), cls(0.1, **options)
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


@pytest.mark.parametrize("cls", [md.Adam, md.AdamW, md.Nadam, md.Adamax])
def test_moments_that_begin_later_are_those_of_a_new_optimizer(cls):
    rng = np.random.default_rng(0)
    used, new, a, b = cls(0.1), cls(0.1), np.zeros(3), np.zeros(3)
    for _ in range(5):
        used.update(np.zeros(3), rng.normal(size=3))
    used.state.clear()
    for grad in rng.normal(size=(4, 3)):
        used.update(a, grad)
        new.update(b, grad)
    assert np.array_equal(a, b)


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
    md.RMSprop(0.01, momentum=0.5, centered=True),
    md.Adam(0.01, amsgrad=True, clipnorm=0.1),
    md.Nadam(0.01),
    md.Adamax(0.01, clipvalue=0.01),
    md.Adagrad(0.1),
    md.Adadelta(1.0),
    md.Lion(0.001, weight_decay=0.1),
    md.SGD(0.1, rates={"layers/0": 0.5, "layers/2/W": 0.0}),
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


@pytest.mark.parametrize("cls", RULES)
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


@pytest.mark.parametrize("cls", RULES)
@pytest.mark.parametrize("option", ["learning_rate", "weight_decay", "clipnorm", "clipvalue", "ema_momentum"])
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


# ------------------------------------------------------------------ the formulas, written down once more, in float64

B1, B2, EPS = 0.9, 0.99, 1e-7


def adam(g, t, s):
    s["m"], s["v"] = B1 * s["m"] + (1 - B1) * g, B2 * s["v"] + (1 - B2) * g**2
    return 0.1 * np.sqrt(1 - B2**t) / (1 - B1**t) * s["m"] / (np.sqrt(s["v"]) + EPS)


def amsgrad(g, t, s):
    s["m"], s["v"] = B1 * s["m"] + (1 - B1) * g, B2 * s["v"] + (1 - B2) * g**2
    s["top"] = np.maximum(s["top"], s["v"])
    return 0.1 * np.sqrt(1 - B2**t) / (1 - B1**t) * s["m"] / (np.sqrt(s["top"]) + EPS)


def nadam(g, t, s):
    s["m"], s["v"] = B1 * s["m"] + (1 - B1) * g, B2 * s["v"] + (1 - B2) * g**2
    u = B1 * (1 - 0.5 * 0.96 ** np.arange(1, t + 2))  # u_1 to u_(t+1)
    m = u[t] * s["m"] / (1 - u.prod()) + (1 - u[t - 1]) * g / (1 - u[:t].prod())
    return 0.1 * m / (np.sqrt(s["v"] / (1 - B2**t)) + EPS)


def adamax(g, t, s):
    s["m"], s["u"] = B1 * s["m"] + (1 - B1) * g, np.maximum(B2 * s["u"], abs(g))
    return 0.1 * s["m"] / ((1 - B1**t) * (s["u"] + EPS))


def adagrad(g, t, s):
    s["v"] = s["v"] + g**2
    return 0.1 * g / np.sqrt(0.5 + s["v"] + EPS)


def adadelta(g, t, s):
    s["v"] = 0.95 * s["v"] + 0.05 * g**2
    d = g * np.sqrt(s["u"] + EPS) / np.sqrt(s["v"] + EPS)
    s["u"] = 0.95 * s["u"] + 0.05 * d**2
    return 0.1 * d


def lion(g, t, s):
    change = 0.1 * np.sign(B1 * s["m"] + (1 - B1) * g)
    s["m"] = B2 * s["m"] + (1 - B2) * g
    return change


def centered(g, t, s):
    s["v"], s["a"] = 0.9 * s["v"] + 0.1 * g**2, 0.9 * s["a"] + 0.1 * g
    s["u"] = 0.5 * s["u"] + 0.1 * g / np.sqrt(s["v"] - s["a"] ** 2 + EPS)
    return s["u"]


FORMULAS = [
    (md.Adam(0.1, B1, B2, EPS), adam),
    (md.Adam(0.1, B1, B2, EPS, True), amsgrad),
    (md.Nadam(0.1, B1, B2, EPS), nadam),
    (md.Adamax(0.1, B1, B2, EPS), adamax),
    (md.Adagrad(0.1, 0.5, EPS), adagrad),
    (md.Adadelta(0.1, 0.95, EPS), adadelta),
    (md.Lion(0.1, B1, B2), lion),
    (md.RMSprop(0.1, 0.9, 0.5, EPS, True), centered),
]


@pytest.mark.parametrize(("optimizer", "formula"), FORMULAS, ids=lambda each: getattr(each, "__name__", repr(each)))
def test_an_optimizer_is_its_formula(optimizer, formula):
    """To rounding: a hundred updates of a few roundings each, 1e-16 apart."""
    rng = np.random.default_rng(1)
    theta, state = rng.normal(size=20), dict.fromkeys(("m", "v", "u", "a", "top"), 0.0)
    mine = theta.copy()
    for t in range(1, 101):
        grad = rng.normal(size=20) * rng.choice([1e-3, 1.0, 30.0])
        before = grad.copy()
        optimizer.update(mine, grad)
        theta = theta - formula(grad, t, state)
        assert np.array_equal(grad, before)
        np.testing.assert_allclose(mine, theta, rtol=1e-11, atol=1e-12)


def test_a_centered_variance_is_not_below_zero_by_rounding():
    theta, optimizer = np.zeros(1, "float32"), md.RMSprop(0.001, centered=True)
    for _ in range(300):
        optimizer.update(theta, np.array([94316.3], "float32"))
        assert np.isfinite(theta).all()


def test_names_are_those_of_keras_in_any_case():
    for name in ("SGD", "adam", "AdamW", "NADAM", "Adamax", "rmsprop", "Adagrad", "adadelta", "lion"):
        assert type(get_optimizer(name)).__name__.lower() == name.lower() == get_optimizer(name).name
    assert md.Adam(name="mine").get_config()["name"] == md.Adam(name="mine").name == "mine"
    with pytest.raises(ValueError, match=r"unknown optimizer 'ftrl'.*Known: 'adadelta'"):
        get_optimizer("ftrl")


def test_arguments_come_in_the_order_of_keras():
    assert (
        md.SGD(0.1, 0.9, True, 1e-4, 2.0).get_config()
        == md.SGD(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, clipnorm=2.0).get_config()
    )
    assert md.AdamW(0.1, 0.2, 0.8, 0.9, 1e-3, True).weight_decay == 0.2
    assert md.Adam(0.1, 0.8, 0.9, 1e-3, True, 0.2).weight_decay == 0.2
    assert md.Adam(weight_decay=None).weight_decay is None
    with pytest.raises(TypeError, match="AdamW: weight_decay: expected a number, got None"):
        md.AdamW(weight_decay=None)
    with pytest.raises(TypeError, match="SGD: too many positional arguments"):
        md.SGD(0.1, 0.9, True, 1e-4, 2.0, None, None, False, 0.9, None, "name")


# ------------------------------------------------------------------ clipping, averages, rates


def test_clipping_goes_by_parameter_by_element_or_over_all():
    pieces = [Piece("a", slice(0, 2), (2,)), Piece("b", slice(2, 5), (3,))]
    grad = np.array([3.0, 4.0, 0.0, -0.5, 0.0])
    for option, expected in (
        ("clipnorm", [0.6, 0.8, 0.0, -0.5, 0.0]),
        ("clipvalue", [1.0, 1.0, 0.0, -0.5, 0.0]),
        ("global_clipnorm", grad / np.sqrt(25.25)),
    ):
        theta, sgd = np.zeros(5), md.SGD(1.0, **{option: 1.0})
        sgd.pieces = pieces
        sgd.update(theta, grad)
        np.testing.assert_allclose(theta, -np.array(expected), rtol=1e-15)
    with pytest.raises(ValueError, match="expected one of clipnorm, clipvalue, global_clipnorm at most"):
        md.Adam(clipnorm=1.0, clipvalue=0.5)


def test_the_model_clips_each_parameter(digits_like):
    model = md.Sequential([md.Dense(6, "tanh"), md.Dense(3)], rng=0, dtype="float64").compile(
        md.SGD(1.0, clipnorm=1e-3)
    )
    model.build(digits_like[0].shape[1])
    before = model.get_weights()
    model.train_on_batch(*digits_like)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.linalg.norm(new - old) == pytest.approx(1e-3, rel=1e-9)


def test_at_the_end_of_fit_theta_is_the_average_of_the_thetas(digits_like):
    thetas = []

    class Note(md.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            thetas.append(self.model.theta.copy())

        def on_train_end(self, logs):
            thetas.append(self.model.theta.copy())

    model = md.Sequential([md.Dense(3)], rng=0, dtype="float64").compile(md.SGD(0.5, use_ema=True, ema_momentum=0.75))
    model.fit(*digits_like, epochs=2, verbose=0, callbacks=[Note()])
    *made, last = thetas
    average = made[0]
    for theta in made[1:]:
        average = 0.75 * average + 0.25 * theta
    np.testing.assert_allclose(model.theta, average, rtol=1e-12)
    assert np.array_equal(last, model.theta)  # before on_train_end, as in Keras
    assert not np.allclose(average, made[-1], rtol=1e-3)
    model.compile(md.SGD(0.5, use_ema=True))
    before = model.theta.copy()
    model.loss_and_grad(*digits_like)
    assert np.array_equal(model.theta, before)


def test_an_average_is_kept_over_a_second_fit_and_begins_anew_with_more_layers(digits_like):
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.5, use_ema=True))
    model.fit(*digits_like, verbose=0)
    assert np.array_equal(model.theta, model.optimizer.state["average"])
    model.add(md.Dense(3))
    model.fit(*digits_like, verbose=0)
    assert model.optimizer.state["average"].shape == model.theta.shape


def test_frozen_parameters_do_not_become_their_average(digits_like):
    model = md.Sequential([md.Dense(4, "tanh"), md.Dense(3)], rng=0).compile(md.SGD(0.5, use_ema=True))
    model.fit(*digits_like, verbose=0)
    model.layers[0].W[...] += 1
    model.layers[0].trainable = False
    before = model.layers[0].W.copy()
    model.fit(*digits_like, verbose=0)
    assert np.array_equal(model.layers[0].W, before)
    assert np.array_equal(model.layers[2].W.ravel(), model.optimizer.state["average"][-15:-3])


def test_a_rate_of_ones_own_scales_every_change(digits_like):
    def trained(optimizer):
        model = md.Sequential([md.Dense(4, "tanh"), md.Dense(3)], rng=0, dtype="float64").compile(optimizer)
        model.build(digits_like[0].shape[1])
        before = model.get_weights()
        model.train_on_batch(*digits_like)
        return [new - old for new, old in zip(model.get_weights(), before, strict=True)]

    for cls in RULES:
        whole = trained(cls(0.1, weight_decay=0.01))
        part = trained(cls(0.1, weight_decay=0.01, rates={"layers/0": 0.25, "layers/0/b": 0.0, "layers/2/b": 3}))
        for a, b, factor in zip(whole, part, (0.25, 0.0, 1.0, 3.0), strict=True):
            np.testing.assert_allclose(b, factor * a, rtol=1e-9, atol=1e-15)
        assert np.array_equal(whole[2], part[2])


def test_a_layer_can_say_the_rate_of_its_parameter(digits_like):
    class Gain(md.Layer):
        def build(self, input_shape):
            self.param("g", input_shape, "ones", rate=0.5)
            self.param("h", input_shape, "ones")
            return input_shape

        def forward(self, x):
            self.x = x
            return x * (self.g + self.h)

        def backward(self, dy):
            self.dg = self.dh = (dy * self.x).sum(axis=0)
            return dy * (self.g + self.h)

    model = md.Sequential([Gain(), md.Dense(3)], rng=0, dtype="float64")
    model.compile(md.SGD(0.1, rates={"layers/0": 0.5})).train_on_batch(*digits_like)
    gain = model.layers[0]
    np.testing.assert_allclose(gain.g - 1, 0.5 * (gain.h - 1), rtol=1e-9)
    with pytest.raises(ValueError, match=r"rate: expected a finite number at least 0, got -1"):
        md.Sequential([_with_rate(-1)]).build(2)


def _with_rate(rate):
    class Rated(md.Layer):
        def build(self, input_shape):
            self.param("g", input_shape, rate=rate)
            return input_shape

        def forward(self, x):
            return x

        def backward(self, dy):
            return dy

    return Rated()


def test_a_name_in_rates_ends_where_a_name_in_the_path_does():
    sgd = md.SGD(0.1, rates={"layers/1": 0.5})
    assert [sgd.factor_of(name) for name in ("layers/1", "layers/1/W", "layers/10/W")] == [0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match=r"no parameter has a name that begins with 'layers/1'\."):
        sgd.check_rates(["layers/0/W", "layers/10/W"])


class Steps(md.Optimizer):
    def step(self, theta, grad, eta):
        theta -= eta * grad


def test_an_optimizer_of_ones_own_has_averages_rates_and_clipping_and_is_saved(digits_like, tmp_path):
    def made(cls):
        optimizer = cls(0.5, rates={"layers/0": 0.5}, use_ema=True, clipnorm=0.1)
        return md.Sequential([md.Dense(4, "tanh"), md.Dense(3)], rng=0).compile(optimizer)

    ours, theirs = made(md.SGD), made(Steps)
    for model in (ours, theirs):
        model.fit(*digits_like, epochs=2, verbose=0)
    np.testing.assert_allclose(theirs.theta, ours.theta, rtol=1e-5, atol=1e-7)
    theirs.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz", {"Steps": Steps})
    for model in (loaded, theirs):
        model.fit(*digits_like, epochs=2, verbose=0)
    assert np.array_equal(loaded.theta, theirs.theta)


def test_rates_of_unknown_parameters_are_told_before_anything_changes(digits_like):
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.1, rates={"layers/1": 0.5}))
    for call in (model.fit, model.train_on_batch):
        with pytest.raises(
            ValueError, match=r"SGD: rates: no parameter has a name that begins with 'layers/1'.*layers/0/W"
        ):
            call(*digits_like)
        assert not model.built
    with pytest.raises(TypeError, match="rates: expected a dict"):
        md.SGD(rates=[0.1])
    with pytest.raises(ValueError, match=r"rates\['layers/0'\]: expected a finite number at least 0"):
        md.SGD(rates={"layers/0": -1})


def test_an_update_is_plain_if_it_is_theta_minus_eta_times_grad_and_nothing_else():
    class Mine(md.SGD):
        def step(self, theta, grad, eta):
            theta -= eta * grad

    assert md.SGD(0.1).is_plain
    assert md.SGD(md.schedules.CosineDecay(0.1, 9)).is_plain
    others = [md.Adam(), Mine(0.1), md.SGD(momentum=0.5), md.SGD(weight_decay=0.1), md.SGD(clipnorm=1.0)]
    assert not any(optimizer.is_plain for optimizer in others)
    changed = md.SGD(0.1)
    changed.momentum = 0.9
    assert not changed.is_plain


@pytest.mark.parametrize(
    "optimizer", [md.Adam(), md.SGD(momentum=0.9), md.RMSprop(momentum=0.5), md.Adamax(), md.Nadam()], ids=repr
)
def test_averages_of_what_has_no_gradient_become_0(optimizer):
    """Not subnormal numbers, of which some never would, and which processors are slow with."""
    theta, grad = np.ones(8, "float32"), np.array([1e-3, -1.0, 1e-20, 1e3, 0, 1, 1, 1], "float32")
    for step in range(10 * 256 + 1):
        optimizer.update(theta, grad if step < 9 else np.zeros_like(grad))
    tiny = np.finfo("float32").tiny
    for name, vector in optimizer.state.items():
        assert ((vector == 0) | (np.abs(vector) >= tiny)).all(), name
    assert any((vector == 0).any() for vector in optimizer.state.values())
