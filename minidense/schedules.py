"""Learning-rate schedules: callables of the step, counted from 0. Any function of the step can be used instead.

``OfRun`` and ``CosLog4`` go by the share of the run of ``fit`` that is over, instead of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minidense.core.arguments import flag, function_of, items, real_number, text, whole_number
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.instead import module_attribute


class Schedule(Configurable):
    """Base of the schedules. name: of no effect, as in Keras; None is the class's name."""

    name: str

    def __init__(self, name: str | None = None) -> None:
        self.name = type(self).__name__ if name is None else text(f"{type(self).__name__}: name", name)

    def __call__(self, step: int) -> float:
        """The learning rate of the update number ``step``, from 0."""
        raise to_define(self.__call__)

    by_share: bool = False
    """Whether the rate depends on when the run of ``fit`` began, and how many updates it has."""

    def in_run(self, step: int, first: int, updates: int) -> float:
        """The learning rate of update number ``step`` in a run of so many updates, the first of that number."""
        return self(step)


class Constant(Schedule, library=True):
    """The same rate at every step, for use in WarmUp.

    >>> Constant(0.1)(1000)
    0.1
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = real_number("Constant: rate", rate, above=0)

    def __call__(self, step: int) -> float:
        return self.rate


class PiecewiseConstantDecay(Schedule, library=True):
    """``values[0]`` up to and including step ``boundaries[0]``, then ``values[1]``, and so on.

    >>> [PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])(step) for step in (10, 11, 21)]
    [1.0, 0.5, 0.1]
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str | None = None) -> None:
        super().__init__(name)
        what = f"{type(self).__name__}:"
        self.boundaries = [
            real_number(f"{what} boundaries", each, at_least=0) for each in items(f"{what} boundaries", boundaries)
        ]
        self.values = [real_number(f"{what} values", each, above=0) for each in items(f"{what} values", values)]
        if len(self.values) != len(self.boundaries) + 1 or self.boundaries != sorted(self.boundaries):
            raise ValueError(f"{what} expected rising boundaries and one more value, got {boundaries}, {values}.")

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class _Decay(Schedule):
    """What the schedules have in common that begin with a rate and have a number of steps."""

    def __init__(self, initial_learning_rate: float, decay_steps: float, name: str | None) -> None:
        super().__init__(name)
        self.initial_learning_rate = self._number("initial_learning_rate", initial_learning_rate, above=0)
        self.decay_steps = self._number("decay_steps", decay_steps, above=0)

    def _number(self, name: str, value: Any, **bounds: float) -> float:
        return real_number(f"{type(self).__name__}: {name}", value, **bounds)


class ExponentialDecay(_Decay, library=True):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``; with ``staircase`` the exponent is rounded down.

    >>> ExponentialDecay(1.0, decay_steps=10, decay_rate=0.5)(20)
    0.25
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, name)
        self.decay_rate = self._number("decay_rate", decay_rate, above=0)
        self.staircase = flag(f"{type(self).__name__}: staircase", staircase)

    def __call__(self, step: int) -> float:
        rate: float = self.initial_learning_rate * self.decay_rate ** self._periods(step)
        return rate

    def _periods(self, step: int) -> float:
        return step // self.decay_steps if self.staircase else step / self.decay_steps


class InverseTimeDecay(ExponentialDecay, library=True):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``; with ``staircase`` the quotient rounded down.

    >>> InverseTimeDecay(1.0, decay_steps=10, decay_rate=0.5)(20)
    0.5
    """

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


class PolynomialDecay(_Decay, library=True):
    """From ``initial_learning_rate`` to ``end_learning_rate`` at step ``decay_steps``, and that rate afterwards.

    ``(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps) ** power + end_learning_rate``. With
    ``cycle``, instead of staying there, the rate is that of the first multiple of ``decay_steps`` that is not below
    the step.

    >>> PolynomialDecay(1.0, decay_steps=100, end_learning_rate=0.0, power=2.0)(50)
    0.25
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, name)
        self.end_learning_rate = self._number("end_learning_rate", end_learning_rate, at_least=0)
        self.power = self._number("power", power, at_least=0)
        self.cycle = flag("PolynomialDecay: cycle", cycle)

    def __call__(self, step: int) -> float:
        steps = self.decay_steps
        if self.cycle:
            steps *= max(1, math.ceil(step / steps))
        share: float = (1 - min(step, steps) / steps) ** self.power
        return (self.initial_learning_rate - self.end_learning_rate) * share + self.end_learning_rate


class CosineDecay(_Decay, library=True):
    """Half a cosine from ``initial_learning_rate`` to ``alpha`` times it at step ``decay_steps``, constant afterwards.

    (Loshchilov and Hutter, 2017.) With a ``warmup_target``, the rate first goes linearly from
    ``initial_learning_rate``, which can then be 0, to the target at step ``warmup_steps``, where the cosine begins.

    >>> CosineDecay(1.0, decay_steps=100)(50)
    0.5
    >>> [CosineDecay(0.0, 100, warmup_target=1.0, warmup_steps=10)(step) for step in (0, 5, 10, 60)]
    [0.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str | None = None,
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        if warmup_target is None:
            super().__init__(initial_learning_rate, decay_steps, name)
        else:
            super().__init__(warmup_target, decay_steps, name)
            self.initial_learning_rate = self._number("initial_learning_rate", initial_learning_rate, at_least=0)
        self.alpha = self._number("alpha", alpha, at_least=0)
        self.warmup_target = warmup_target
        self.warmup_steps = self._number("warmup_steps", warmup_steps, at_least=0)

    def __call__(self, step: int) -> float:
        start, rate = 0.0, self.initial_learning_rate
        if self.warmup_target is not None:
            start, rate = self.warmup_steps, self.warmup_target
            if step < start:
                return self.initial_learning_rate + (rate - self.initial_learning_rate) * step / start
        return rate * _half_cosine(min(step - start, self.decay_steps) / self.decay_steps, 1.0, self.alpha)


class CosineDecayRestarts(Schedule, library=True):
    """Half cosines from ``initial_learning_rate`` to ``alpha`` times it, again and again (Loshchilov and Hutter, 2017).

    The first has ``first_decay_steps`` steps; each next one is ``t_mul`` times as long and ``m_mul`` times as high.

    >>> [CosineDecayRestarts(1.0, first_decay_steps=10)(step) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        what = "CosineDecayRestarts:"
        self.initial_learning_rate = real_number(f"{what} initial_learning_rate", initial_learning_rate, above=0)
        self.first_decay_steps = real_number(f"{what} first_decay_steps", first_decay_steps, above=0)
        self.t_mul = real_number(f"{what} t_mul", t_mul, at_least=1)
        self.m_mul = real_number(f"{what} m_mul", m_mul, at_least=0)
        self.alpha = real_number(f"{what} alpha", alpha, at_least=0)

    def __call__(self, step: int) -> float:
        periods = step / self.first_decay_steps
        if self.t_mul == 1:
            restarts = int(periods)
            share = periods - restarts
        else:  # before the i-th restart there are 1 + t_mul + t_mul**2 + ... periods
            restarts = int(math.log1p(periods * (self.t_mul - 1)) / math.log(self.t_mul) + 1e-9)
            length = self.t_mul**restarts
            share = max(0.0, periods - (length - 1) / (self.t_mul - 1)) / length
        return self.initial_learning_rate * _half_cosine(share, self.m_mul**restarts, self.alpha)


def _half_cosine(share: float, height: float, alpha: float) -> float:
    """From ``height`` above the bottom ``alpha`` at share 0 down to ``alpha`` at share 1, for a top at 1."""
    return (1 - alpha) * height * 0.5 * (1 + math.cos(math.pi * share)) + alpha


class _ByShare(Schedule):
    """Base of the schedules that go by the share of the run that is over, from 0 at its first update to 1 at its end.

    A run is one ``fit``, of ``epochs - initial_epoch`` epochs; one that is resumed goes on in the run that was saved.
    Elsewhere there is no rate: ``train_on_batch``, and ``fit`` with a source that does not say its number of batches,
    raise ValueError.
    """

    by_share = True

    def at(self, share: float) -> float:
        """The learning rate at that share of the run."""
        raise to_define(self.at)

    def __call__(self, step: int) -> float:
        raise ValueError(
            f"{self!r} gives the learning rate by the share of the run that is over, and there is a run in fit only. "
            f"Use fit, or a schedule of the step."
        )

    def in_run(self, step: int, first: int, updates: int) -> float:
        return self.at((step - first) / updates)


class OfRun(_ByShare, library=True):
    """``schedule(t)``, where t is the share of the run of ``fit`` that is over: 0 at its first update, 1 at its end.

    schedule: another schedule, whose steps are then whole runs, or a function of t. So a cosine over the whole run is
    ``OfRun(CosineDecay(0.1, decay_steps=1))``. A warm-up goes around it, not within: ``WarmUp(OfRun(...), 100)``; that
    of CosineDecay, which has shares of steps too, may be within.

    >>> OfRun(CosineDecay(1.0, decay_steps=1)).in_run(75, first=50, updates=50)
    0.5
    """

    def __init__(self, schedule: Callable[[float], float]) -> None:
        super().__init__()
        self.schedule: Callable[[float], float] = function_of("OfRun: schedule", schedule)
        if isinstance(schedule, _ByShare | WarmUp):
            raise ValueError(
                f"OfRun: schedule: {schedule!r} cannot be in OfRun; for a warm-up, WarmUp(OfRun(...), 100)."
            )

    def at(self, share: float) -> float:
        return self.schedule(share)


class CosLog4(_ByShare, library=True):
    """``learning_rate (1 - cos(2 pi log2(1 + 15 t))) / 2``: four waves, each twice as long as the one before.

    (Holzmüller et al., 2024, "Better by default", RealMLP.) t is the share of the run of ``fit`` that is over, as for
    OfRun. The rate is 0 at t = 0, 1/15, 3/15, 7/15 and 1.

    >>> [round(CosLog4(1.0).at(fifteenths / 15), 3) for fifteenths in (0, 1, 2, 3)]
    [0.0, 0.0, 0.93, 0.0]
    """

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = real_number("CosLog4: learning_rate", learning_rate, above=0)

    def at(self, share: float) -> float:
        return self.learning_rate * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * share))) / 2


class WarmUp(Schedule, library=True):
    """A linear warm-up: over ``steps`` steps the rate rises to the first one of ``schedule``, which then follows.

    Step s, from 0, has ``(s + 1) / steps`` of that rate, so that the first step already has an effect.

    >>> [WarmUp(Constant(1.0), steps=4)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, schedule: Callable[[int], float], steps: int) -> None:
        super().__init__()
        self.schedule = function_of("WarmUp: schedule", schedule)
        self.steps = whole_number("WarmUp: steps", steps)

    @property
    def by_share(self) -> bool:  # type: ignore[override]
        return isinstance(self.schedule, Schedule) and self.schedule.by_share

    def __call__(self, step: int) -> float:
        return self._rate(step, self.schedule)

    def in_run(self, step: int, first: int, updates: int) -> float:
        begin = max(first, self.steps)  # what is left of the run after the warm-up is a run of its own
        rest, schedule = max(1, first + updates - begin), self.schedule
        if not isinstance(schedule, Schedule):
            return self(step)
        return self._rate(step, lambda after: schedule.in_run(after, begin - self.steps, rest))

    def _rate(self, step: int, schedule: Callable[[int], float]) -> float:
        if step < self.steps:
            return schedule(0) * (step + 1) / self.steps
        return schedule(step - self.steps)


if not TYPE_CHECKING:
    __getattr__ = module_attribute("schedules")
