"""Schedules: their values at the boundaries, and the arguments they refuse."""

import copy

import numpy as np
import pytest

import minidense as md
from minidense import schedules as s
from minidense.core.configurable import LIBRARY, state_dict
from minidense.schedules import Constant, CosineDecay, ExponentialDecay, PiecewiseConstantDecay, WarmUp


def test_corners():
    assert Constant(0.3)(0) == Constant(0.3)(10**9) == 0.3
    cosine = CosineDecay(2.0, 10, alpha=0.1)
    assert [cosine(0), cosine(10), cosine(99)] == pytest.approx([2.0, 0.2, 0.2])
    assert cosine(5) == pytest.approx(1.1)
    warm = WarmUp(cosine, 4)
    assert [warm(step) for step in range(6)] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, cosine(1)])
    assert ExponentialDecay(1.0, 4, 0.5, staircase=True)(7) == 0.5


def test_corners_of_keras_other_schedules():
    polynomial = s.PolynomialDecay(1.0, 10, 0.1, power=2.0)
    assert [polynomial(step) for step in (0, 5, 10, 99)] == pytest.approx([1.0, 0.1 + 0.9 / 4, 0.1, 0.1])
    cycle = s.PolynomialDecay(1.0, 10, 0.0, cycle=True)
    assert [cycle(step) for step in (0, 10, 11, 15, 20, 21)] == pytest.approx([1, 0, 0.45, 0.25, 0, 0.3])
    assert [s.InverseTimeDecay(1.0, 10, 0.5)(step) for step in (0, 10, 15)] == pytest.approx([1, 2 / 3, 1 / 1.75])
    assert s.InverseTimeDecay(1.0, 10, 0.5, staircase=True)(19) == pytest.approx(2 / 3)
    warm = s.CosineDecay(0.2, 10, 0.1, warmup_target=1.0, warmup_steps=4)
    assert [warm(step) for step in (0, 1, 4, 9, 14, 99)] == pytest.approx([0.2, 0.4, 1.0, 0.55, 0.1, 0.1])
    assert s.CosineDecay(0.2, 10, warmup_target=1.0)(0) == 1.0
    assert s.CosineDecay(0.2, 10, warmup_steps=5)(0) == 0.2  # without a target there is no warm-up, as in Keras
    piecewise = s.PiecewiseConstantDecay([10], [1.0, 0.5], "mine")
    assert piecewise.get_config() == {"boundaries": [10], "values": [1.0, 0.5], "name": "mine"}
    assert (piecewise.name, warm.name) == ("mine", "CosineDecay")


@pytest.mark.parametrize("t_mul", [1.0, 1.1, 1.5, 2.0, 3.0])
def test_a_cosine_restarts_at_the_step_at_which_it_ends(t_mul):
    """The closed form of the number of restarts, against adding up the periods one by one."""
    restarts = s.CosineDecayRestarts(0.5, 10, t_mul, m_mul=0.8, alpha=0.1)
    begin, length, height = 0.0, 10.0, 1.0
    for step in range(2000):
        while step >= begin + length * (1 - 1e-12):
            begin, length, height = begin + length, length * t_mul, height * 0.8
        share = max(0, step - begin) / length
        expected = 0.5 * (0.1 + 0.9 * height * (1 + np.cos(np.pi * share)) / 2)
        assert restarts(step) == pytest.approx(expected, rel=1e-9)


def test_the_optimizer_follows_a_function_of_the_step():
    theta, sgd = np.zeros(1), md.SGD(lambda step: 1.0 / (step + 1))
    for _ in range(4):
        sgd.update(theta, np.ones(1))
    assert theta[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3 + 1 / 4))
    assert sgd.rate == 1 / 5


def test_the_schedule_goes_on_over_fits(digits_like):
    rates = []

    def schedule(step):
        rates.append(step)
        return 0.1

    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(schedule))
    for _ in range(2):
        model.fit(*digits_like, batch_size=20, verbose=0)
    assert rates == list(range(6))


def test_a_schedule_that_ends_at_zero_says_so():
    sgd = md.SGD(CosineDecay(0.1, 2))
    theta = np.zeros(1)
    sgd.update(theta, np.ones(1))
    sgd.update(theta, np.ones(1))
    sgd.update(theta, np.ones(1))  # the end of a cosine: a rate of 0 changes nothing
    before = theta.copy()
    sgd.update(theta, np.ones(1))
    assert np.array_equal(theta, before)
    with pytest.raises(ValueError, match="learning_rate: expected a finite number at least 0, got -1"):
        md.SGD(lambda step: -1.0).update(theta, np.ones(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(0),
        lambda: CosineDecay(0.1, 0),
        lambda: ExponentialDecay(0.1, 10, -1),
        lambda: WarmUp(Constant(1.0), 0),
        lambda: PiecewiseConstantDecay([10, 5], [1.0, 1.0, 1.0]),
        lambda: PiecewiseConstantDecay([10], [1.0]),
        lambda: CosineDecay(0.0, 10),
        lambda: CosineDecay(0.1, 10, warmup_target=0.0),
        lambda: CosineDecay(-0.1, 10, warmup_target=0.1),
        lambda: s.CosineDecayRestarts(0.1, 10, t_mul=0.5),
        lambda: s.PolynomialDecay(0.1, 10, -0.1),
        lambda: s.PolynomialDecay(0.1, 10, power=-1.0),
        lambda: s.InverseTimeDecay(0.1, -10, 0.5),
        lambda: s.CosLog4(0.0),
    ],
)
def test_what_they_refuse(make):
    with pytest.raises(ValueError, match="expected"):
        make()


MADE = [
    (Constant(0.5), "rate", 0.25, 0),
    (PiecewiseConstantDecay([1], [1.0, 0.5]), "values", [1.0, 0.1], [1.0]),
    (ExponentialDecay(1.0, 4, 0.5), "decay_rate", 0.25, -1),
    (ExponentialDecay(1.0, 4, 0.5), "staircase", True, None),
    (CosineDecay(1.0, 4), "alpha", 0.5, -1),
    (WarmUp(Constant(1.0), 4), "steps", 9, 0),
    (WarmUp(Constant(1.0), 4), "schedule", Constant(0.5), None),
]


@pytest.mark.parametrize(("schedule", "name", "right", "wrong"), MADE, ids=lambda value: repr(value))
def test_arguments_set_later_are_checked_and_count(schedule, name, right, wrong):
    def rates(schedule):
        return [schedule(step) for step in range(8)]

    schedule, before = copy.deepcopy(schedule), rates(schedule)
    if wrong is not None:
        with pytest.raises(ValueError, match=f"{type(schedule).__name__}: "):
            setattr(schedule, name, wrong)
    assert rates(schedule) == before
    setattr(schedule, name, right)
    assert rates(schedule) == rates(type(schedule).from_config(schedule.get_config())) != before
    assert LIBRARY[type(schedule).__name__] is type(schedule)
    assert state_dict(schedule) == {}


# ------------------------------------------------------------------ shares of a run


class Rates(md.Callback):
    """The learning rate of each update."""

    def __init__(self):
        self.found = []

    def on_train_batch_begin(self, batch, logs=None):
        self.found.append(self.model.optimizer.rate)


def fitted(schedule, *, model=None, n=50, **options):
    """The model, and the rates of its updates: 5 an epoch."""
    model = model or md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(schedule))
    rates = Rates()
    x, y = np.random.default_rng(0).normal(size=(n, 4)), np.arange(n) % 3
    model.fit(x, y, **{"batch_size": 10, "verbose": 0, "callbacks": [rates], **options})
    return model, rates.found


def test_the_share_of_the_run_goes_from_0_to_1_in_each_fit():
    model, rates = fitted(s.OfRun(lambda t: 1 - t), epochs=4)
    assert rates == [1 - step / 20 for step in range(20)]
    _, rates = fitted(None, model=model, epochs=2, n=31)  # the last batch is of one row
    assert rates == [1 - step / 8 for step in range(8)]
    _, rates = fitted(None, model=model, epochs=5, initial_epoch=3)
    assert rates == [1 - step / 10 for step in range(10)]
    _, rates = fitted(None, model=model, epochs=2, gradient_accumulation_steps=2)
    assert rates == [1 - step / 6 for step in range(6)]


def test_other_schedules_in_shares_of_the_run():
    """Each with the run as its unit is the same as with its number of updates."""
    pairs = [
        (CosineDecay(0.1, 1, alpha=0.1), CosineDecay(0.1, 20, alpha=0.1)),
        (CosineDecay(0.0, 0.7, 0, None, 0.1, 0.25), CosineDecay(0.0, 14, 0, None, 0.1, 5)),
        (s.PolynomialDecay(0.1, 0.5, power=2.0), s.PolynomialDecay(0.1, 10, power=2.0)),
        (ExponentialDecay(0.1, 0.25, 0.5, staircase=True), ExponentialDecay(0.1, 5, 0.5, staircase=True)),
        (PiecewiseConstantDecay([0.5, 0.75], [0.3, 0.2, 0.1]), PiecewiseConstantDecay([10, 15], [0.3, 0.2, 0.1])),
        (s.CosineDecayRestarts(0.1, 0.25, 1.0), s.CosineDecayRestarts(0.1, 5, 1.0)),
    ]  # fmt: skip
    for share, whole in pairs:
        assert fitted(s.OfRun(share), epochs=4)[1] == pytest.approx(fitted(whole, epochs=4)[1], rel=1e-12)


def test_cos_log_4_is_its_definition():
    _, rates = fitted(s.CosLog4(0.4), epochs=3)
    t = np.arange(15) / 15
    np.testing.assert_allclose(rates, 0.4 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))) / 2, atol=1e-15)
    schedule = s.CosLog4(1.0)
    assert [schedule.at(share) for share in (0, 1 / 15, 3 / 15, 7 / 15, 1)] == pytest.approx([0] * 5, abs=1e-12)
    peaks = [(2 ** (wave + 0.5) - 1) / 15 for wave in range(4)]
    assert [schedule.at(share) for share in peaks] == pytest.approx([1] * 4)


@pytest.mark.parametrize("steps", [1, 3, 7, 20, 30])
def test_a_warm_up_before_what_is_left_of_the_run(steps):
    model, rates = fitted(WarmUp(s.OfRun(lambda t: 1 - t), steps), epochs=4)
    warm = [(step + 1) / steps for step in range(min(20, steps))]
    assert rates == pytest.approx([*warm, *(1 - step / (20 - steps) for step in range(20 - steps))])
    _, rates = fitted(None, model=model, epochs=4)  # the next run has what the first has left of the warm-up
    left = max(0, steps - 20)
    warm = [(step + 1) / steps for step in range(20, 20 + left)]
    assert rates == pytest.approx([*warm, *(1 - step / (20 - left) for step in range(20 - left))])


def test_where_there_is_no_run_it_says_so():
    x, y = np.zeros((4, 4)), [0, 1, 2, 0]
    for schedule in (s.CosLog4(0.1), s.OfRun(CosineDecay(0.1, 1)), WarmUp(s.CosLog4(0.1), 3)):
        model = md.Sequential([md.Dense(3)], rng=0).compile(md.Adam(schedule))
        with pytest.raises(
            ValueError, match=r"Adam: learning_rate: .* goes by the share .* Use fit with arrays or with"
        ):
            model.train_on_batch(x, y)
        with pytest.raises(ValueError, match="the number of its updates is not known here"):
            model.fit(((x, y) for _ in range(3)), verbose=0)
        assert not model.built
        model.fit(((x, y) for _ in range(6)), steps_per_epoch=3, epochs=2, verbose=0)
        assert model.optimizer.iterations == 6
        before = model.theta.copy()
        with pytest.raises(ValueError, match="there is a run in fit only"):
            model.optimizer.update(model.theta, model.grad)
        with pytest.raises(ValueError, match="there is a run in fit only"):
            _ = copy.deepcopy(model).optimizer.rate
        assert np.array_equal(model.theta, before)
    for wrong in (s.CosLog4(0.1), s.OfRun(Constant(0.1)), WarmUp(Constant(0.1), 3)):
        with pytest.raises(ValueError, match=r"cannot be in OfRun; for a warm-up, WarmUp\(OfRun"):
            s.OfRun(wrong)


def test_a_loss_that_is_not_finite_is_told_in_and_outside_a_run():
    x = np.full((4, 4), 1e30)
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(s.OfRun(Constant(0.25))), "mse")
    with pytest.raises(FloatingPointError, match=r"Try a smaller learning rate \(it is 0.25\), or inputs"):
        model.fit(x, np.zeros((4, 3)), verbose=0)
    with pytest.raises(FloatingPointError, match="Try inputs of about unit size"):
        model.loss_and_grad(x, np.zeros((4, 3)))


def test_the_run_is_over_when_fit_fails():
    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(s.CosLog4(0.1)))

    def interrupt(epoch, logs):
        twin = copy.deepcopy(model)
        assert model.optimizer.rate > 0
        with pytest.raises(ValueError, match="there is a run in fit only"):
            _ = twin.optimizer.rate
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fitted(None, model=model, epochs=2, callbacks=[md.callbacks.LambdaCallback(on_epoch_end=interrupt)])
    with pytest.raises(ValueError, match="there is a run in fit only"):
        _ = model.optimizer.rate


class Halving(s.Schedule):
    """One's own: the rate halves with each tenth of the run."""

    def __call__(self, step):
        return 0.1

    def in_run(self, step, first, updates):
        return 0.1 * 0.5 ** (10 * (step - first) // updates)


def test_a_schedule_of_ones_own_may_know_the_run():
    _, rates = fitted(Halving(), epochs=4)
    assert rates == [0.1 * 0.5 ** (step // 2) for step in range(20)]
