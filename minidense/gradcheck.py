"""Is the backward pass the derivative of the forward pass? Central differences tell, for a layer of anybody's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidense.arguments import whole_number
from minidense.chain import Chain
from minidense.layers import Layer
from minidense.parameters import allocate
from minidense.types import Array, Shape

STEP = 1e-3
"""h of the differences, in float64. Extrapolated from h and h/2 they err by about h**4 / 480 times the fifth
derivative, 2e-15, and by rounding / h."""

ROUNDING = 8 * np.finfo(np.float64).eps / STEP
"""What rounding the outputs can change in a difference, for outputs of unit size."""


class GradientError(AssertionError):
    """A backward pass that is not the derivative of its forward pass, or a layer that breaks the contract."""


def check_layer(
    layer: Layer,
    input_shape: int | Shape,
    *,
    batch_sizes: Sequence[int] = (3, 1, 4),
    x: Any = None,
    rng: int | np.random.Generator | None = 0,
    tolerance: float = 1e-7,
    entries: int = 200,
) -> float:
    """Compare ``layer.backward`` with central differences in float64, for every parameter and for the input.

    The check works on a copy of the layer. For each of ``batch_sizes`` it draws an ``x`` (or takes the rows of the
    one given) and a dy, standard normal, and compares all entries of each gradient, or ``entries`` of them drawn at
    random. It also sees to it that neither pass changes its argument or a parameter, that shapes are right, that
    caches are fresh at each pass, and that a layer that claims to be ``rowwise`` is. Points that lie on a kink,
    such as 0 for ReLU, have no derivative and are left out.

    Returns the largest relative error: the difference divided by the larger of the two values, or, where that is
    more, by a thousandth of the largest entry or by what rounding hides. Raises GradientError, naming the layer,
    the parameter, the index and both values, where it exceeds ``tolerance``.

    >>> from minidense.layers import Dense
    >>> check_layer(Dense(3), 4) < 1e-7
    True
    """
    shape = tuple(whole_number("input_shape", s) for s in np.atleast_1d(np.array(input_shape, object)))
    random = np.random.default_rng(rng)
    layer = copy.deepcopy(layer)
    layer.dtype = np.dtype("float64")
    layer.declare(shape)
    theta, _ = allocate([layer], layer.dtype, [random])
    theta += 0.1 * random.standard_normal(theta.shape)  # zeros and ones hide mistakes
    check = _Check(layer, theta, random, tolerance, entries)
    given = None if x is None else np.array(x, layer.dtype)
    sizes = batch_sizes if given is None else [len(given)]
    return max(check(random.standard_normal((n, *shape)) if given is None else given) for n in sizes)


class _Check:
    def __init__(self, layer: Layer, theta: Array, random: np.random.Generator, tolerance: float, entries: int) -> None:
        self.layer, self.theta, self.random = layer, theta, random
        self.tolerance, self.entries = tolerance, entries
        self.chain = Chain([layer], training=True)
        self.stream = getattr(layer, "rng", None)

    def forward(self, x: Array) -> Array:
        """The layer's output, with the same random numbers at each call."""
        if self.stream is None:
            return self.chain.forward(x)
        state = self.stream.bit_generator.state
        y = self.chain.forward(x)
        self.stream.bit_generator.state = state
        return y

    def __call__(self, x: Array) -> float:
        layer = self.layer
        other: Array = self._normal(x.shape)  # what a stale cache would hold on to
        self._unchanged("forward", "its input", other, lambda: self.forward(other))
        y = self._unchanged("forward", "its input", x, lambda: self.forward(x)).copy()
        if not np.array_equal(y, self.forward(x)):
            raise self._error(f"forward gives another result for the same input (n = {len(x)})")
        if layer.rowwise:
            self._check_rowwise(x, y)
        dy: Array = self._normal(y.shape)
        self.forward(x)
        dx: Array = self._unchanged("backward", "dy", dy, lambda: self.chain.backward(dy)).copy()
        analytic = {d.name: getattr(layer, "d" + d.name).copy() for d in layer.declarations}
        worst = self._compare("dx, the gradient by the input", dx, x, x, dy)
        for name, gradient in analytic.items():
            worst = max(worst, self._compare(f"d{name}", gradient, getattr(layer, name), x, dy))
        return worst

    def _normal(self, shape: Shape) -> Array:
        return np.asarray(self.random.standard_normal(shape))

    def _unchanged(self, method: str, what: str, argument: Array, call: Callable[[], Array]) -> Array:
        before, theta = argument.copy(), self.theta.copy()
        result = call()
        if not np.array_equal(argument, before):
            index = _first(argument != before)
            raise self._error(
                f"{method} changes {what} in place: [{_show(index)}] was {before[index]:.9g} and is "
                f"{argument[index]:.9g} (n = {len(argument)})"
            )
        if not np.array_equal(self.theta, theta):
            raise self._error(f"{method} changes a parameter")
        return result

    def _check_rowwise(self, x: Array, y: Array) -> None:
        for i in range(len(x)):
            if not np.allclose(self.forward(x[i : i + 1])[0], y[i], rtol=1e-9, atol=1e-9):
                raise self._error(f"it says rowwise = True, but row {i} gives another output when it is alone")

    def _compare(self, name: str, analytic: Array, argument: Array, x: Array, dy: Array) -> float:
        """The largest relative error between ``analytic`` and the differences by the entries of ``argument``."""
        chosen = np.arange(argument.size)
        if argument.size > self.entries:
            chosen = self.random.choice(argument.size, self.entries, replace=False)
        indices = [tuple(int(j) for j in np.unravel_index(i, argument.shape)) for i in chosen]
        numeric = np.array([self._difference(argument, index, x, dy) for index in indices])
        smooth = np.isfinite(numeric)
        if not smooth.any():
            raise self._error(f"{name}: forward has a kink at every entry tried; give check_layer another x")
        found = np.array([analytic[index] for index in indices])
        rounding = ROUNDING * (abs(dy) * abs(self.forward(x))).sum()
        floor = max(1e-3 * abs(numeric[smooth]).max(), rounding / self.tolerance, np.finfo(np.float64).tiny)
        error = np.where(smooth, abs(found - numeric), 0) / np.maximum(np.maximum(abs(found), abs(numeric)), floor)
        error[~smooth] = 0
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        if not error[worst] <= self.tolerance:
            raise self._error(
                f"{name} [{_show(indices[worst])}]: backward gives {found[worst]:.9g}, central differences "
                f"{numeric[worst]:.9g} (n = {len(x)}; {int((~(error <= self.tolerance)).sum())} of {len(error)} "
                f"entries are wrong)"
            )
        return float(error[worst])

    def _difference(self, argument: Array, index: tuple[int, ...], x: Array, dy: Array) -> float:
        """The derivative of sum(dy * forward(x)) by one entry; NaN where that has none."""
        value = argument[index]

        def outputs(step: float) -> tuple[Array, Array]:
            argument[index] = value + step
            after = self.forward(x).copy()
            argument[index] = value - step
            before = self.forward(x).copy()
            argument[index] = value
            return after, before

        here = self.forward(x).copy()
        (a, b), (c, d) = outputs(STEP), outputs(STEP / 2)
        # The second differences of a smooth function go by 4 from h/2 to h; across a kink they go by less.
        kink = ((a + b - 2 * here) - 4 * (c + d - 2 * here)) * dy
        if abs(kink).max() > 1e-4 * STEP * abs(dy).max():
            return float("nan")
        coarse, fine = (dy * (a - b)).sum() / (2 * STEP), (dy * (c - d)).sum() / STEP
        return float((4 * fine - coarse) / 3)

    def _error(self, message: str) -> GradientError:
        return GradientError(f"{self.layer.where}: {message}.")


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _show(index: tuple[int, ...]) -> str:
    return ", ".join(map(str, index))
