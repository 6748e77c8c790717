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
