"""``check_layer`` and ``check_loss``: compare the backward pass of a layer or a loss with central differences."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidense.core.arguments import items, real_number, shown, whole_number, whole_numbers
from minidense.core.interrupts import quiet
from minidense.core.rng import Generators, random_generator
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_array, as_features
from minidense.layers.base import Layer, own_params, walk
from minidense.layers.composite import Pass, expanded
from minidense.losses import Loss, by_rows, gradient_of, rows_of
from minidense.network import Network

STEPS = (1e-3, 1e-4, 1e-5)
"""The steps h of the differences, in float64; an entry passes if it agrees at one of them. Extrapolated from h and h/2,
their error is about h**4 / 480 times the fifth derivative, plus rounding / h: strong curvature needs a smaller h."""

ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""The error of a difference due to rounding of outputs of unit size, times h."""


class GradientError(AssertionError):
    """A backward pass that is not the derivative of its forward pass, or a layer or loss that breaks the contract."""


@quiet
def check_layer(
    layer: Any,
    input_shape: int | Shape,
    *,
    batch_sizes: Sequence[int] = (3, 1, 9),
    x: Any = None,
    rng: int | np.random.Generator | None = 0,
    tolerance: float = 1e-7,
    entries: int = 200,
) -> float:
    """Compare ``layer.backward`` with central differences in float64, for every parameter and for the input.

    layer: a Layer, or a model; the parameters of layers within it are compared too. The check works on a copy. For each
    of ``batch_sizes`` it draws an ``x`` (or takes the given one) and a dy, standard normal, the last x four times as
    large, and compares all entries of each gradient, or ``entries`` of them drawn at random. It also checks that
    neither pass changes its argument or a parameter, that shapes are right, that all gradients are written, that
    caches are renewed at each pass, that ``rowwise`` is true if set, and a layer that takes ``sample_weight`` also with
    random weights. Points on a kink, such as 0 for ReLU, have no
    derivative and are left out.

    Returns the largest relative error: the difference divided by the larger of the two values, but at least by a
    thousandth of the largest entry, and by the size below which rounding hides an error. Raises GradientError if it
    exceeds ``tolerance``, naming the layer, the parameter, the index and both values; TypeError or ValueError for
    wrong arguments.

    >>> from minidense.layers import Dense
    >>> check_layer(Dense(3), 4) < 1e-7
    True
    """
    if isinstance(layer, type) or not hasattr(layer, "_as_layer"):
        raise TypeError(f"check_layer: expected a layer object such as md.Dense(3), got {layer!r}.")
    shape = whole_numbers("input_shape", input_shape)
    sizes = [whole_number("batch_sizes", n) for n in items("batch_sizes", batch_sizes)]
    given = None if x is None else np.array(as_features(x), np.float64)
    if not sizes or (given is not None and (given.shape[1:] != shape or not len(given))):
        raise ValueError(
            f"check_layer: expected some batch_sizes, or x of shape (n, *{shape}); got {batch_sizes}, {x!r}."
        )
    entries, tolerance = whole_number("entries", entries), real_number("tolerance", tolerance, above=0)
    random = random_generator(rng)

    network = Network([], "float64", Generators.from_rng(random))
    network.extend(expanded([_copy(layer)]))  # a Dense may have an activation
    with network.building(shape):
        network.allocate()
    network.theta[...] += 0.1 * random.standard_normal(network.theta.shape)  # zeros and ones hide mistakes
    place = layer._record.path or () if isinstance(layer, Layer) and len(network.children) == 1 else ()
    for part in walk(network):  # errors name the layer as the one that was given
        part._record.path = (*place, *(part._record.path or ())[1:])
    worst = 0.0
    for part in network.children:
        check = _LayerCheck(part, network, random, tolerance, entries)
        if given is not None and part is network.children[0]:
            worst = max(worst, check(given))
            continue
        for n in sizes:
            scale = 4.0 if n == sizes[-1] and not part._discrete else 1.0
            worst = max(worst, check(scale * part._examples(random, n)))
    return worst


@quiet
def check_loss(
    loss: Any,
    outputs: int | Shape = 3,
    *,
    y: Any = None,
    scores: Any = None,
    batch_sizes: Sequence[int] = (3, 1, 9),
    rng: int | np.random.Generator | None = 0,
    tolerance: float = 1e-7,
    entries: int = 200,
) -> float:
    """Compare the gradient of ``loss`` with central differences in float64, with respect to the scores.

    loss: a Loss; the check works on a copy. outputs: the shape of a row of scores; an int k means (k,). For each of
    ``batch_sizes``, scores are drawn, standard normal, the last ones four times as large; ``scores``, (n, k), are taken
    instead. y: n labels or targets as ``fit`` takes them; by default the first of these that ``loss.check_targets``
    accepts: standard normal numbers (n, k), class labels (n,), zeros and ones (n, k).

    Of a RowLoss it compares ``gradient`` with differences of ``rows``, and checks the shapes, that a row's loss depends
    on that row only, and that ``forward`` and ``backward`` are the mean and the sum of these. Of any other Loss it
    compares ``backward`` with differences of ``forward``, and checks its ``reduction``. Scores on a kink are left out.

    Returns the largest relative error, as ``check_layer`` does. Raises GradientError if it exceeds ``tolerance``,
    naming the loss, the index and both values; TypeError or ValueError for wrong arguments and wrong shapes.

    >>> from minidense.losses import Huber, SoftmaxCrossEntropy
    >>> max(check_loss(SoftmaxCrossEntropy()), check_loss(Huber(), 1)) < 1e-7
    True
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"check_loss: expected a loss object such as md.MeanSquaredError(), got {loss!r}.")
    shape, random = whole_numbers("outputs", outputs), random_generator(rng)
    entries, tolerance = whole_number("entries", entries), real_number("tolerance", tolerance, above=0)
    sizes = [whole_number("batch_sizes", n) for n in items("batch_sizes", batch_sizes)]
    given = None if scores is None else np.atleast_1d(np.array(as_features(scores, "scores"), np.float64))
    y = None if y is None else np.atleast_1d(as_array(y))
    if y is not None or given is not None:
        sizes = [len(array) for array in (y, given) if array is not None][:1]
    if not sizes or (given is not None and given.shape != (sizes[0], *shape)):
        raise ValueError(
            f"check_loss: expected some batch_sizes, or scores of shape (n, {', '.join(map(str, shape))}), and as many "
            f"y; got {batch_sizes} and scores of shape {np.shape(scores)}."
        )
    worst = 0.0
    for n in sizes:
        targets, drawn = (y, "") if y is not None else _drawn_targets(loss, shape, n, random)
        scale = 4.0 if n == sizes[-1] else 1.0
        x = scale * random.standard_normal((n, *shape)) if given is None else given
        try:
            worst = max(worst, _LossCheck(copy.deepcopy(loss), targets, random, tolerance, entries)(x))
        except Exception as error:
            if drawn:
                error.add_note(f"y was drawn: {drawn}. If the loss takes something else, pass y.")
            raise
    return worst


def _drawn_targets(loss: Loss, shape: Shape, n: int, random: np.random.Generator) -> tuple[Array, str]:
    """The first kind of y that the loss accepts, and what it is."""
    kinds: dict[str, Callable[[], Array]] = {
        "standard normal numbers in the scores' shape": lambda: random.standard_normal((n, *shape)),
        "class labels (n,)": lambda: random.integers(0, shape[-1], n),
        "zeros and ones in the scores' shape": lambda: random.integers(0, 2, (n, *shape)),
    }
    for kind, draw in kinds.items():
        y = draw()
        try:
            loss.check_targets(y, shape)
        except (TypeError, ValueError):
            continue
        return y, kind
    raise ValueError(f"check_loss: {loss!r} accepts none of {', '.join(kinds)}: pass y, as fit takes it.")


def _copy(layer: Any) -> Any:
    """A copy that can be part of another network, with another dtype and other random numbers."""
    twin = copy.deepcopy(layer)
    network = getattr(twin, "network", None)
    if isinstance(network, Network):  # of a model
        network._said_dtype = None
        return network
    return twin


class _Check:
    """Compares derivatives with central differences of ``forward``."""

    def __init__(self, where: str, random: np.random.Generator, tolerance: float, entries: int) -> None:
        self.where, self.random, self.tolerance, self.entries = where, random, tolerance, entries
        self.weights: Array | None = None

    def forward(self, x: Array) -> Array:
        """The outputs, the same at each call."""
        raise NotImplementedError

    def _normal(self, shape: Shape) -> Array:
        return np.asarray(self.random.standard_normal(shape))

    def _compare(self, name: str, analytic: Array, argument: Array, x: Array, dy: Array) -> float:
        """The largest relative error between ``analytic`` and the differences for the entries of ``argument``."""
        chosen = np.arange(argument.size)
        if argument.size > self.entries:
            chosen = self.random.choice(argument.size, self.entries, replace=False)
        indices = [tuple(int(j) for j in np.unravel_index(i, argument.shape)) for i in chosen]
        found = np.array([analytic[index] for index in indices])
        numeric = np.full(len(indices), np.nan)
        error = np.full(len(indices), np.inf)
        # Intermediate results are at least of unit size, even if the outputs are small, as a sigmoid's may be.
        rounding = ROUNDING * float((abs(dy) * np.maximum(abs(self.forward(x)), 1)).sum())
        for h in STEPS:
            wrong = np.flatnonzero(~(error <= self.tolerance))
            again = np.array([self._difference(argument, indices[i], x, dy, h) for i in wrong])
            numeric[wrong] = np.where(np.isnan(again), numeric[wrong], again)
            error = _relative_error(found, numeric, rounding / h / self.tolerance)
        smooth = ~np.isnan(numeric)
        if not smooth.any():
            raise self._error(f"{name}: forward has a kink at every entry tried; give check_layer another x")
        error[~smooth] = 0
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        if not error[worst] <= self.tolerance:
            raise self._error(
                f"{name} [{_show(indices[worst])}]: backward gives {found[worst]:.9g}, central differences "
                f"{numeric[worst]:.9g} (n = {len(x)}; {int((~(error <= self.tolerance)).sum())} of {len(error)} "
                f"entries are wrong)"
            )
        return float(error[worst])

    def _difference(self, argument: Array, index: tuple[int, ...], x: Array, dy: Array, h: float) -> float:
        """The derivative of sum(dy * forward(x)) with respect to one entry; NaN if there is none."""
        value = argument[index]

        def outputs(step: float) -> tuple[Array, Array]:
            argument[index] = value + step
            after = self.forward(x).copy()
            argument[index] = value - step
            before = self.forward(x).copy()
            argument[index] = value
            return after, before

        here = self.forward(x).copy()
        (a, b), (c, d) = outputs(h), outputs(h / 2)
        # From h/2 to h the second difference of a smooth function becomes four times as large, across a kink less.
        second, kink = a + b - 2 * here, a + b - 4 * (c + d) + 6 * here
        if (abs(kink) > 0.2 * abs(second) + 1e-12 * (1 + abs(here).max())).any():  # and more than rounding
            return float("nan")
        coarse, fine = float((dy * (a - b)).sum()) / (2 * h), float((dy * (c - d)).sum()) / h
        return (4 * fine - coarse) / 3

    def _error(self, message: str) -> GradientError:
        weighted = "" if self.weights is None else ", with sample_weight"
        return GradientError(f"{self.where}: {message}{weighted}.")


class _LayerCheck(_Check):
    def __init__(
        self,
        layer: Layer,
        network: Network,
        random: np.random.Generator,
        tolerance: float,
        entries: int,
    ) -> None:
        super().__init__(layer._where, random, tolerance, entries)
        self.layer, self.network = layer, network
        self.chain = Pass([layer], training=True)
        self.generators = [part.rng.bit_generator for part in walk(layer) if part.draws]

    def forward(self, x: Array) -> Array:
        """The layer's output, with the same random numbers and buffers at each call."""
        states = [bits.state for bits in self.generators]
        self.network.snapshot_buffers()
        y = self.chain.forward(x, self.weights)
        self.network.restore_buffers()
        for bits, state in zip(self.generators, states, strict=True):
            bits.state = state
        return y

    def backward(self, dy: Array) -> Array:
        dx = self.chain.backward(dy)
        self.network.add_shared()
        return dx

    def __call__(self, x: Array) -> float:
        worst = self._agreement(x)
        if self.chain.takers:
            plain, weights = self.forward(x).copy(), self.random.uniform(0.5, 2, len(x))
            for equal in (np.ones(len(x)), np.full(len(x), 3.0)):
                self.weights = equal
                if not np.allclose(self.forward(x), plain, rtol=1e-9, atol=1e-9):
                    raise self._error("equal weights give another output than none")
            self.weights = weights
            worst = max(worst, self._agreement(x))
            self.weights = None
        return worst

    def _agreement(self, x: Array) -> float:
        layer = self.layer
        other = layer._examples(self.random, len(x))  # a stale cache would be of this input
        self._unchanged("forward", "its input", other, lambda: self.forward(other))
        y = self._unchanged("forward", "its input", x, lambda: self.forward(x)).copy()
        if not np.isfinite(y).all():
            raise self._error(f"forward gives {y[_first(~np.isfinite(y))]} for finite input (n = {len(x)})")
        if not np.array_equal(y, self.forward(x)):
            raise self._error(f"forward gives another result for the same input (n = {len(x)})")
        if layer.rowwise and not self.generators and self.weights is None:
            self._check_rowwise(x, y)
        dy = self._normal(y.shape)
        self.forward(x)
        dx = self._unchanged("backward", "dy", dy, lambda: self.backward(dy)).copy()
        parameters = [(self._name(part, d.name), part, d.name) for part in walk(layer) for d in own_params(part)]
        gradients = [part._record.gradients["d" + name].copy() for _, part, name in parameters]
        worst = 0.0
        if not layer._discrete:
            worst = self._compare("dx, the gradient with respect to the input", dx, x, x, dy)
        for (called, part, name), gradient in zip(parameters, gradients, strict=True):
            worst = max(worst, self._compare(called, gradient, part._record.views[name], x, dy))
        return worst

    def _name(self, part: Layer, name: str) -> str:
        """``dW``, or, of a child, ``f/0/dW``."""
        inside = (part._record.path or ())[len(self.layer._record.path or ()) :]
        return "/".join([*map(str, inside), "d" + name])

    def _unchanged(self, method: str, what: str, argument: Array, call: Callable[[], Array]) -> Array:
        before, theta = argument.copy(), self.network.theta.copy()
        try:
            result = call()
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise self._error(f"{method} changes {what} in place (n = {len(argument)}): {error}") from error
        if not np.array_equal(argument, before):
            index = _first(argument != before)
            raise self._error(
                f"{method} changes {what} in place: [{_show(index)}] was {before[index]:.9g} and is "
                f"{argument[index]:.9g} (n = {len(argument)})"
            )
        if not np.array_equal(self.network.theta, theta):
            raise self._error(f"{method} changes a parameter")
        return result

    def _check_rowwise(self, x: Array, y: Array) -> None:
        for i in range(len(x)):
            if not np.allclose(self.forward(x[i : i + 1])[0], y[i], rtol=1e-9, atol=1e-9):
                raise self._error(f"rowwise is True, but row {i} gives another output when computed alone")


class _LossCheck(_Check):
    def __init__(self, loss: Loss, y: Any, random: np.random.Generator, tolerance: float, entries: int) -> None:
        super().__init__(repr(loss), random, tolerance, entries)
        self.loss, self.y, self.row_loss = loss, y, by_rows(loss)
        self.targets = np.empty(0)

    def forward(self, x: Array) -> Array:
        """The loss of each row, or, if it is computed for whole batches, that of the batch."""
        if self.row_loss is not None:
            return rows_of(self.row_loss, x, self.targets)
        return np.array([self._value(x, self.y)])

    def __call__(self, scores: Array) -> float:
        if self.row_loss is None:
            return self._of_whole_batch(scores)
        checked = self.loss.check_targets(self.y, scores.shape[1:])
        self.targets = self.loss.encode(checked, np.empty_like(scores))
        rows = self.forward(scores)
        if not np.array_equal(rows, self.forward(scores)):
            raise self._error("rows gives another result for the same arguments")
        gradient = gradient_of(self.row_loss, scores, self.targets)
        counted = self.loss.counted(checked)
        weights = np.ones(len(rows)) if counted is None else counted.astype(np.float64)
        weighted = gradient * weights.reshape(-1, *[1] * (gradient.ndim - 1))
        for reduction in ("mean", "sum"):
            self.loss.reduction = reduction
            n = (weights.sum() or 1) if reduction == "mean" else 1
            value, expected = self._value(scores, self.y), float(rows @ weights) / n
            if not math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12):
                raise self._error(f"forward gives {value:.9g}, and the {reduction} of rows is {expected:.9g}")
            self._same("backward", self.loss.backward(), f"the {reduction} of gradient", weighted / n)
        # Each row with a factor of its own: a row's loss must not depend on other rows' scores.
        factors = self._normal(rows.shape)
        scaled = gradient * factors.reshape(-1, *[1] * (gradient.ndim - 1))
        return self._compare("dLoss/dscores, each row times a random number,", scaled, scores, scores, factors)

    def _of_whole_batch(self, scores: Array) -> float:
        if self.loss.reduction not in ("mean", "sum"):
            raise self._error(f"reduction must be 'mean' or 'sum', not {self.loss.reduction!r}")
        twice = self._value(np.concatenate([scores, scores]), np.concatenate([self.y, self.y]))
        value = self._value(scores, self.y)
        dscores = self.loss.backward()
        self._same("backward", dscores, "itself", dscores, scores.shape)
        for reduction, other, expected in (("mean", "sum", 2 * value), ("sum", "mean", value)):
            if self.loss.reduction == reduction and value and math.isclose(twice, expected, rel_tol=1e-9):
                raise self._error(
                    f"its reduction is {reduction!r}, but it is a {other}: {value:.9g} for {len(scores)} rows, and "
                    f"{twice:.9g} for each of them twice. Set reduction = {other!r}"
                )
        return self._compare("dLoss/dscores", dscores.copy(), scores, scores, np.ones(1))

    def _value(self, scores: Array, y: Any) -> float:
        before = scores.copy()
        value = self.loss.forward(scores, y)
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise self._error(f"forward must return a finite number, got {shown(value)} (n = {len(scores)})")
        if not np.array_equal(scores, before):
            raise self._error("forward changes its scores in place")
        return float(value)

    def _same(self, what: str, found: Any, other: str, expected: Array, shape: Shape | None = None) -> None:
        shape = expected.shape if shape is None else shape
        if np.shape(found) != shape or not isinstance(found, np.ndarray):
            raise self._error(f"{what} must return an array of the scores' shape {shape}, got {np.shape(found)}")
        wrong = ~np.isclose(found, expected, rtol=1e-9, atol=1e-12)
        if wrong.any():
            index = _first(wrong)
            raise self._error(
                f"{what} [{_show(index)}] gives {found[index]:.9g}, and {other} is {expected[index]:.9g} "
                f"(n = {len(found)})"
            )


def _relative_error(found: Array, numeric: Array, hidden: float) -> Array:
    """|found - numeric|, divided by the largest of both, of a thousandth of the largest entry, and of ``hidden``."""
    known = abs(numeric[~np.isnan(numeric)])
    floor = max(1e-3 * float(known.max(initial=0)), hidden, float(np.finfo(np.float64).tiny))
    error: Array = abs(found - numeric) / np.maximum(np.maximum(abs(found), abs(numeric)), floor)
    return error


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _show(index: tuple[int, ...]) -> str:
    return ", ".join(map(str, index))
