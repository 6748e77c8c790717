"""Learning-rate schedules: callables of the step, counted from 0. Any function of the step can be used instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from minidense.core.arguments import flag, function_of, items, real_number, whole_number
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define


class Schedule(Configurable):
    """Base of the schedules."""

    def __call__(self, step: int) -> float:
        """The learning rate of the update number ``step``, from 0."""
        raise to_define(self.__call__)


class Constant(Schedule, library=True):
    """The same rate at every step, for use in WarmUp.

    >>> Constant(0.1)(1000)
    0.1
    """

    def __init__(self, rate: float) -> None:
        self.rate = real_number("Constant: rate", rate, above=0)

    def __call__(self, step: int) -> float:
        return self.rate


class PiecewiseConstantDecay(Schedule, library=True):
    """``values[0]`` up to and including step ``boundaries[0]``, then ``values[1]``, and so on, as in Keras.

    >>> [PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])(step) for step in (10, 11, 21)]
    [1.0, 0.5, 0.1]
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        name = "PiecewiseConstantDecay"
        self.boundaries = [whole_number(f"{name}: boundaries", b, 0) for b in items(f"{name}: boundaries", boundaries)]
        self.values = [real_number(f"{name}: values", v, above=0) for v in items(f"{name}: values", values)]
        if len(self.values) != len(self.boundaries) + 1 or self.boundaries != sorted(self.boundaries):
            raise ValueError(f"{name}: expected rising boundaries and one more value, got {boundaries}, {values}.")

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class ExponentialDecay(Schedule, library=True):
    """``rate * decay_rate ** (step / decay_steps)``; with ``staircase`` the exponent is rounded down.

    >>> ExponentialDecay(1.0, decay_steps=10, decay_rate=0.5)(20)
    0.25
    """

    def __init__(self, rate: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> None:
        self.rate = real_number("ExponentialDecay: rate", rate, above=0)
        self.decay_steps = whole_number("ExponentialDecay: decay_steps", decay_steps)
        self.decay_rate = real_number("ExponentialDecay: decay_rate", decay_rate, above=0)
        self.staircase = flag("ExponentialDecay: staircase", staircase)

    def __call__(self, step: int) -> float:
        exponent = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.rate * self.decay_rate**exponent


class CosineDecay(Schedule, library=True):
    """Half a cosine from ``rate`` down to ``alpha * rate`` at step ``decay_steps``, and that rate afterwards.

    (Loshchilov and Hutter, 2017.)

    >>> CosineDecay(1.0, decay_steps=100)(50)
    0.5
    """

    def __init__(self, rate: float, decay_steps: int, alpha: float = 0.0) -> None:
        self.rate = real_number("CosineDecay: rate", rate, above=0)
        self.decay_steps = whole_number("CosineDecay: decay_steps", decay_steps)
        self.alpha = real_number("CosineDecay: alpha", alpha, at_least=0)

    def __call__(self, step: int) -> float:
        share = 0.5 * (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return self.rate * ((1 - self.alpha) * share + self.alpha)


class WarmUp(Schedule, library=True):
    """A linear warm-up: over ``steps`` steps the rate rises to the first one of ``schedule``, which then follows.

    Step s, from 0, has ``(s + 1) / steps`` of that rate, so that the first step already has an effect.

    >>> [WarmUp(Constant(1.0), steps=4)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, schedule: Callable[[int], float], steps: int) -> None:
        self.schedule = function_of("WarmUp: schedule", schedule)
        self.steps = whole_number("WarmUp: steps", steps)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.schedule(0) * (step + 1) / self.steps
        return self.schedule(step - self.steps)
