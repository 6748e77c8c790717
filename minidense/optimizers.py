"""Optimizers: they change the vector ``theta``, given the vector ``grad``, and know nothing of layers."""

from __future__ import annotations

import functools
import inspect
import math
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, ParamSpec, Self, TypedDict, Unpack

import numpy as np

from minidense import schedules as schedules
from minidense.core.arguments import flag, lookup, nearest, real_number, shown, text, whole_number
from minidense.core.configurable import Configurable, signature_of
from minidense.core.errors import to_define
from minidense.core.instead import module_attribute
from minidense.core.types import Array, Shape
from minidense.numerics.sums import AddScaled


class Piece(NamedTuple):
    """Where a parameter is: ``theta[piece.slice].reshape(piece.shape)``."""

    name: str
    """``layers/0/W``"""
    slice: slice
    shape: Shape


_ROUNDED_EVERY = 256
"""After so many updates, numbers in the optimizer's vectors that are too small for full precision become 0."""


class Optimizer(Configurable):
    """Base of all optimizers: a subclass implements ``step(theta, grad, eta)``.

    learning_rate: a number above 0, or a function of the step, from 0, such as those of md.schedules.
    weight_decay: before each update, ``theta := theta - eta * weight_decay * theta`` (decoupled from the gradient, as
    in AdamW and in Keras); not for biases and the parameters of normalizations, unless ``decay_all``. None is 0.
    At most one of: clipnorm, a parameter's gradient with a larger norm is scaled down to this norm; clipvalue, each
    element of the gradient is limited to this absolute value; global_clipnorm, as clipnorm, for the gradient of all
    parameters together.
    use_ema: keep an average of theta, ``average := ema_momentum * average + (1 - ema_momentum) * theta`` after each
    update, which begins as the first theta. At the end of ``fit``, theta becomes the average, as in Keras; and also
    after each ``ema_overwrite_frequency`` updates, if that is not None.
    rates: factors on the learning rate by the names of the parameters, or their beginnings: ``{"layers/0": 0.1}`` for
    a first layer that learns ten times as slowly. The longest name that fits counts; 0 leaves a parameter unchanged.
    name: "adam" for an Adam, if it is None.

    ``iterations`` counts the updates made. ``pieces`` has the name, slice and shape of each parameter, for a rule that
    treats them separately. ``state`` holds, by name, the vectors of ``theta``'s size that must last from one update to
    the next; name numbers that must last in ``saved``. Only these are kept.
    """

    iterations: int = 0
    state: dict[str, Array]
    vectors: ClassVar[tuple[str, ...]] = ()
    """The names that can be in ``state``, for the library's optimizers, besides "average"."""

    pieces: Sequence[Piece] | None = None
    """The parameters in ``theta``, first to last. The model sets it before training; until then it is None."""

    decayed: Sequence[slice] | None = None
    """The slices of theta that weight decay applies to; None for all of it. The model sets it before training."""

    factors: Sequence[tuple[slice, float]] = ()
    """The slices of theta whose learning rate has a factor other than 1. The model sets it before training."""

    weight_decay: float | None = None
    decay_all: bool = False
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None
    rates: dict[str, float] | None = None

    _extended: bool = False
    """Whether there is more to an update than weight decay and ``step``."""

    _learning_rate: float | Callable[[int], float] = 0.01
    _add_scaled: AddScaled
    _scratch: dict[str, Array]
    _owner: weakref.ref[Any] | None = None
    _run: tuple[int, int] | None = None
    """While ``fit`` runs: the number of its first update, and how many it has if that is known."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)  # a subclass may not call __init__
        self.__dict__.update(state={}, _scratch={}, _add_scaled=AddScaled(), _extended=False)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _EXTENDING:  # decided here, not at each update
            self.__dict__["_extended"] = any(getattr(self, option) not in (None, False, ()) for option in _EXTENDING)

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.01,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        *,
        name: str | None = None,
        decay_all: bool = False,
        rates: dict[str, float] | None = None,
    ) -> None:
        kind = type(self).__name__
        self.learning_rate = learning_rate
        self.weight_decay = (
            None if weight_decay is None else real_number(f"{kind}: weight_decay", weight_decay, at_least=0)
        )
        self.decay_all = flag(f"{kind}: decay_all", decay_all)
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {option: limit for option, limit in limits.items() if limit is not None}
        for option, limit in given.items():
            setattr(self, option, real_number(f"{kind}: {option}", limit, above=0))
        if len(given) > 1:
            raise ValueError(f"{kind}: expected one of clipnorm, clipvalue, global_clipnorm at most, got {given}.")
        self.use_ema = flag(f"{kind}: use_ema", use_ema)
        self.ema_momentum = real_number(f"{kind}: ema_momentum", ema_momentum, at_least=0, below=1)
        if ema_overwrite_frequency is not None:
            self.ema_overwrite_frequency = whole_number(f"{kind}: ema_overwrite_frequency", ema_overwrite_frequency)
        self.name = kind.lower() if name is None else text(f"{kind}: name", name)
        self.rates = None if rates is None else _checked_rates(f"{kind}: rates", rates)

    @property
    def learning_rate(self) -> float | Callable[[int], float]:
        """The step size eta, or the schedule it follows. Setting it checks it: a finite number above 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float | Callable[[int], float]) -> None:
        name = f"{type(self).__name__}: learning_rate"
        self._learning_rate = value if callable(value) else real_number(name, value, above=0)

    @property
    def rate(self) -> float:
        """The step size of the next update."""
        eta = self._learning_rate
        if not callable(eta):
            return eta
        if self._run is not None and isinstance(eta, schedules.Schedule):
            value = eta.in_run(self.iterations, *self._run)
        else:
            value = eta(self.iterations)
        return real_number(f"{type(self).__name__}: learning_rate", value, at_least=0)

    def update(self, theta: Array, grad: Array) -> None:
        """Make one update: change ``theta`` in place, given ``grad``, which is not changed. Both are (p,).

        Raises TypeError for anything but arrays of float32 or float64, and ValueError for different shapes.
        """
        if not all(isinstance(vector, np.ndarray) and vector.dtype.kind == "f" for vector in (theta, grad)):
            raise TypeError(f"update: expected arrays of floats, got theta={shown(theta)}, grad={shown(grad)}.")
        if theta.shape != grad.shape or not theta.flags.writeable:
            raise ValueError(
                f"update: expected a theta that can be written to, and a grad of its shape; got shapes {theta.shape} "
                f"and {grad.shape}."
            )
        with np.errstate(all="ignore"):
            self.apply(theta, grad)

    @property
    def is_plain(self) -> bool:
        """Whether an update is ``theta -= eta * grad`` and nothing else, so that a step may do without the gradient."""
        return False

    def apply(self, theta: Array, grad: Array, step: Callable[[Array, Array, float], None] | None = None) -> None:
        """``update`` under the current floating-point settings. Whatever can fail comes before any change.

        step: to be called instead of ``self.step``, which does the same.
        """
        self._check_iterations()
        eta = self.rate
        finish = None
        if self._extended:
            grad, finish = self._clipped(grad), self._finisher(theta)
        self.prepare(theta)
        if self._of_library and not self.iterations % _ROUNDED_EVERY:
            self._round_to_zero()
        if self.weight_decay:
            for piece in [slice(None)] if self.decayed is None or self.decay_all else self.decayed:
                theta[piece] *= 1 - eta * self.weight_decay
        (step or self.step)(theta, grad, eta)
        if finish is not None:
            finish()
        self.__dict__["iterations"] = self.iterations + 1  # not by __setattr__, which is slower

    def _round_to_zero(self) -> None:
        """Set what is too small for full precision to 0.

        Such averages are those of parameters without a gradient, as of dead units. Multiplied by 0.9, the smallest one
        is rounded to itself, so that it never becomes 0; and processors take many times as long for these numbers.
        """
        for vector in self.state.values():
            vector[np.abs(vector) < np.finfo(vector.dtype).tiny] = 0

    def prepare(self, theta: Array) -> None:
        """Allocate the vectors that ``step`` needs, so that ``step`` allocates nothing and cannot fail halfway."""

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        """The update rule: change ``theta`` in place. Clipping and weight decay have been applied before."""
        raise to_define(self.step)

    def finalize_variable_values(self, theta: Array) -> None:
        """With ``use_ema``: set theta to the average of what it was after each update. ``fit`` ends with this."""
        if self.use_ema and "average" in self.state:
            theta[...] = self.moment("average", theta)

    def _clipped(self, grad: Array) -> Array:
        if self.clipvalue is not None:
            return np.clip(grad, -self.clipvalue, self.clipvalue)
        if self.global_clipnorm is not None:
            shrinkage = _shrinkage(grad, self.global_clipnorm)
            return grad * shrinkage if shrinkage < 1 else grad
        if self.clipnorm is None:
            return grad
        clipped = grad.copy()
        for piece in [slice(None)] if self.pieces is None else [piece.slice for piece in self.pieces]:
            clipped[piece] *= _shrinkage(grad[piece], self.clipnorm)
        return clipped

    def _finisher(self, theta: Array) -> Callable[[], None]:
        """What follows ``step``, as a function that allocates nothing: factors on the rates, and the average."""
        slowed = [(theta[piece], theta[piece].copy(), factor) for piece, factor in self.factors]
        average = None
        if self.use_ema:
            self.scratch(theta)
            average = self.moment("average", theta) if "average" in self.state else np.empty_like(theta)

        def finish() -> None:
            for part, before, factor in slowed:
                part -= before
                part *= factor
                part += before
            if average is not None:
                self._take_into(average, theta)

        return finish

    def _take_into(self, average: Array, theta: Array) -> None:
        """Take theta into the average, and set theta to it if that is due. Where they are equal, they stay so."""
        if "average" in self.state:
            change = np.subtract(theta, average, out=self.scratch(theta))
            change *= 1 - self.ema_momentum
            average += change
        else:
            average[...] = theta
            self.state["average"] = average
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            theta[...] = average

    def moment(self, name: str, theta: Array, initial: float = 0.0) -> Array:
        """The vector of that name in ``state``, at first of ``initial`` values."""
        vector = self.state.get(name)
        if vector is None:
            vector = self.state[name] = np.full_like(theta, initial)
        elif vector.shape != theta.shape:
            raise ValueError(
                f"{self!r} has the {name} of a model with {vector.size} parameters, but this one has {theta.size}. "
                f"Give each model an optimizer of its own."
            )
        return vector

    def _average(self, vector: Array, x: Array, decay: float) -> None:
        """``vector := decay vector + (1 - decay) x``, in place."""
        self._add_scaled(1 - decay, x, vector, decay)

    def _average_squares(self, v: Array, grad: Array, decay: float, work: Array) -> None:
        """``v := decay v + (1 - decay) grad**2``, in place, computing in ``work``."""
        np.multiply(grad, grad, out=work)
        self._average(v, work, decay)

    def scratch(self, theta: Array, name: str = "") -> Array:
        """An uninitialised workspace like ``theta``; another name gives another one."""
        found = self._scratch.get(name)
        if found is None or found.shape != theta.shape or found.dtype != theta.dtype:
            found = self._scratch[name] = np.empty_like(theta)
        return found

    def factor_of(self, name: str) -> float:
        """The factor in ``rates`` for the parameter of that name, such as "layers/0/W"; 1 where there is none.

        >>> SGD(0.1, rates={"layers": 0.5, "layers/2": 0.1}).factor_of("layers/2/W")
        0.1
        """
        fitting = [key for key in self.rates or () if _is_beginning(key, name)]
        return self.rates[max(fitting, key=len)] if self.rates and fitting else 1.0

    def check_rates(self, names: Iterable[str]) -> None:
        """Raise ValueError for a name in ``rates`` that is not the beginning of any of these names of parameters."""
        names = list(names)
        for key in self.rates or ():
            if not any(_is_beginning(key, name) for name in names):
                raise ValueError(
                    f"{type(self).__name__}: rates: no parameter has a name that begins with {key!r}."
                    f"{nearest(key, names)} The parameters: {', '.join(names)[:1000]}."
                )

    def _check_iterations(self) -> None:
        if type(self.iterations) is not int or self.iterations < 0:  # powers of a NumPy integer are rounded otherwise
            self.__dict__["iterations"] = whole_number(f"{type(self).__name__}: iterations", self.iterations, 0)

    def begin_run(self, made: int, updates: int | None) -> None:
        """For the learning rate: a run of so many updates, None if unknown, has begun, and made the first ones."""
        self._check_iterations()
        self.__dict__["_run"] = None if updates is None else (self.iterations - made, max(1, updates))

    def end_run(self) -> None:
        """Forget the run."""
        self.__dict__["_run"] = None

    @property
    def knows_rate(self) -> bool:
        """Whether ``rate`` is known now: a schedule by shares of the run has none outside ``fit``."""
        eta = self._learning_rate
        return self._run is not None or not (isinstance(eta, schedules.Schedule) and eta.by_share)

    def check_run(self, updates: int | None) -> None:
        """Raise ValueError if the learning rate depends on how many updates the run has, and that is not known."""
        if updates is None and not self.knows_rate:
            raise ValueError(
                f"{type(self).__name__}: learning_rate: {self._learning_rate!r} goes by the share of the run that is "
                f"over, and the number of its updates is not known here. Use fit with arrays or with steps_per_epoch, "
                f"or a schedule of the step."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_scratch", "_owner", "_run")}

    def check_owner(self, model: Any) -> None:
        """Raise ValueError if its state is that of another model, which still exists."""
        owner = self._owner() if self._owner is not None else None
        if owner is not None and owner is not model and self.state:
            raise ValueError(f"{self!r} has the state of another model. Give each model an optimizer of its own.")

    def claim(self, model: Any) -> None:
        """Record that ``model`` trains with it from now on."""
        if self._owner is None or self._owner() is not model:
            self._owner = weakref.ref(model)


_EXTENDING = ("clipnorm", "clipvalue", "global_clipnorm", "use_ema", "factors")
"""The attributes that an update is extended by."""


def _is_beginning(key: str, name: str) -> bool:
    return name == key or name.startswith(key + "/")


def _checked_rates(name: str, rates: Any) -> dict[str, float]:
    if not isinstance(rates, dict):
        raise TypeError(f"{name}: expected a dict such as {{'layers/0': 0.1}}, got {shown(rates)}.")
    return {text(name, key): real_number(f"{name}[{key!r}]", value, at_least=0) for key, value in rates.items()}


def _shrinkage(grad: Array, limit: float) -> float:
    """The factor by which a gradient is scaled down to this norm; 1 if its norm is not larger."""
    norm = math.sqrt(np.vdot(grad, grad))
    if math.isinf(norm):  # the squares overflowed
        norm = float(np.linalg.norm(grad.astype(np.float64)))
    return limit / norm if norm > limit else 1.0


P = ParamSpec("P")


class _MoreOptions(TypedDict, total=False):
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    name: str | None
    decay_all: bool
    rates: dict[str, float] | None


class _Options(_MoreOptions, total=False):
    weight_decay: float | None


def _with_options(init: Callable[P, None]) -> Callable[P, None]:
    """Decorator of an optimizer's constructor: after its own arguments it takes the other ones of ``Optimizer``."""
    own = [p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD]
    of_base = inspect.signature(Optimizer.__init__).parameters.values()
    signature = inspect.Signature([*own, *(p for p in of_base if p.name not in {mine.name for mine in own})])

    @functools.wraps(init)
    def constructor(*args: P.args, **kwargs: P.kwargs) -> None:
        run: Callable[..., None] = init
        run(**signature.bind(*args, **kwargs).arguments)

    constructor.__signature__ = signature  # type: ignore[attr-defined]
    return constructor


class SGD(Optimizer, library=True):
    """Gradient descent: ``theta := theta - eta * grad``, with the gradient of each batch.

    With ``momentum`` mu (Polyak, 1964), Keras' form: ``v := mu v - eta grad``, then ``theta := theta + v``, or
    with ``nesterov`` (Sutskever et al., 2013) ``theta := theta + mu v - eta grad``.

    momentum: in [0, 1). The other arguments are those of Optimizer. Raises ValueError for numbers out of range.

    >>> theta, grad = np.array([1.0, 2.0]), np.array([10.0, 0.0])
    >>> SGD(learning_rate=0.5).update(theta, grad)
    >>> theta
    array([-4.,  2.])
    """

    vectors = ("velocity",)

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = real_number("SGD: momentum", momentum, at_least=0, below=1)
        self.nesterov = flag("SGD: nesterov", nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9.")

    @property
    def is_plain(self) -> bool:
        return self._of_library and not (self.momentum or self.weight_decay or self._extended)

    def prepare(self, theta: Array) -> None:
        if self.momentum:
            self.moment("velocity", theta)
            self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        if not self.momentum:
            self._add_scaled(-eta, grad, theta)
            return
        v, work = self.moment("velocity", theta), self.scratch(theta)
        self._add_scaled(-eta, grad, v, self.momentum)
        if self.nesterov:
            np.multiply(grad, eta, out=work)
            theta -= work
            np.multiply(v, self.momentum, out=work)
            theta += work
        else:
            theta += v


class _WithMoments(Optimizer):
    """What the variants of Adam have in common."""

    saved = ("_begun",)

    _begun: int = 0
    """The updates made before the moments were set to zero, as at the start and when layers are added."""

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        name = type(self).__name__
        self.beta_1 = real_number(f"{name}: beta_1", beta_1, at_least=0, below=1)
        self.beta_2 = real_number(f"{name}: beta_2", beta_2, at_least=0, below=1)
        self.epsilon = real_number(f"{name}: epsilon", epsilon, above=0)

    def prepare(self, theta: Array) -> None:
        if not self.state:
            self._begin()
        for name in self.vectors[:2]:
            self.moment(name, theta)
        self.scratch(theta)

    def _begin(self) -> None:
        self._begun = self.iterations


class Adam(_WithMoments, library=True):
    """``m := b1 m + (1 - b1) g``, ``v := b2 v + (1 - b2) g**2``, ``theta := theta - eta_t m / (sqrt(v) + epsilon)``.

    ``eta_t = eta sqrt(1 - b2**t) / (1 - b1**t)`` at the t-th update (Kingma and Ba, 2015, the form at the end of
    their section 2, which is Keras'; PyTorch adds epsilon to the corrected root instead).

    beta_1, beta_2: in [0, 1). epsilon: above 0. amsgrad: divide by the largest v so far (Reddi et al., 2018). The other
    arguments are those of Optimizer.

    >>> theta = np.array([1.0, 1.0])
    >>> Adam(0.1).update(theta, np.array([3.0, -0.01]))
    >>> theta.round(4)
    array([0.9, 1.1])
    """

    vectors = ("m", "v", "v_hat")

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)
        self.amsgrad = flag(f"{type(self).__name__}: amsgrad", amsgrad)

    def prepare(self, theta: Array) -> None:
        super().prepare(theta)
        if self.amsgrad:
            self.moment("v_hat", theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        t, work = self.iterations - self._begun + 1, self.scratch(theta)
        m, v = self.moment("m", theta), self.moment("v", theta)
        self._average(m, grad, self.beta_1)
        self._average_squares(v, grad, self.beta_2, work)
        if self.amsgrad:
            v_hat = self.moment("v_hat", theta)
            v = np.maximum(v_hat, v, out=v_hat)
        np.sqrt(v, out=work)
        work += self.epsilon
        np.divide(m, work, out=work)
        self._add_scaled(-eta * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t), work, theta)


class AdamW(Adam, library=True):
    """Adam with a decoupled weight decay of 0.004 by default (Loshchilov and Hutter, 2019; Keras' default).

    >>> AdamW(0.1).weight_decay
    0.004
    """

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[_MoreOptions],
    ) -> None:
        decay = real_number(f"{type(self).__name__}: weight_decay", weight_decay, at_least=0)  # None is none of it
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=decay, **options)


class Nadam(_WithMoments, library=True):
    """Adam with Nesterov's momentum: its m is the one that the next update would have with the same gradient.

    With ``u_t = b1 (1 - 0.96**t / 2)`` and ``U_t = u_1 u_2 ... u_t``, ``theta := theta - eta m_t / (sqrt(v_t) +
    epsilon)``, where ``m_t = u_(t+1) m / (1 - U_(t+1)) + (1 - u_t) g / (1 - U_t)`` and ``v_t = v / (1 - b2**t)``
    (Dozat, 2016; Keras' form).

    The arguments are those of Adam without amsgrad.

    >>> theta = np.array([1.0, 1.0])
    >>> Nadam(0.1).update(theta, np.array([3.0, -0.01]))
    >>> bool(theta[0] < 0.9), bool(theta[1] > 1.1)
    (True, True)
    """

    saved = ("_product",)
    vectors = ("m", "v")

    _product: float = 1.0
    """``U_t`` of the last update."""

    def prepare(self, theta: Array) -> None:
        super().prepare(theta)
        self.scratch(theta, "more")

    def _begin(self) -> None:
        super()._begin()
        self._product = 1.0

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        t, work, more = self.iterations - self._begun + 1, self.scratch(theta), self.scratch(theta, "more")
        m, v = self.moment("m", theta), self.moment("v", theta)
        u, u_next = (self.beta_1 * (1 - 0.5 * 0.96**s) for s in (t, t + 1))
        product = self._product * u
        of_m, of_grad = eta * u_next / (1 - product * u_next), eta * (1 - u) / (1 - product)
        correction = 1 / (1 - self.beta_2**t)
        self.__dict__["_product"] = product
        self._average(m, grad, self.beta_1)
        self._average_squares(v, grad, self.beta_2, work)
        np.multiply(m, of_m, out=work)
        np.multiply(grad, of_grad, out=more)
        work += more
        np.multiply(v, correction, out=more)
        np.sqrt(more, out=more)
        more += self.epsilon
        work /= more
        theta -= work


class Adamax(_WithMoments, library=True):
    """Adam with a maximum: ``u := max(b2 u, |g|)``, ``theta := theta - eta m / ((1 - b1**t) (u + epsilon))``.

    (Kingma and Ba, 2015, section 7.1.) The arguments are those of Adam without amsgrad.

    >>> theta = np.array([1.0, 1.0])
    >>> Adamax(0.1).update(theta, np.array([3.0, -0.01]))
    >>> theta.round(4)
    array([0.9, 1.1])
    """

    vectors = ("m", "u")

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        t, work = self.iterations - self._begun + 1, self.scratch(theta)
        m, u = self.moment("m", theta), self.moment("u", theta)
        self._average(m, grad, self.beta_1)
        u *= self.beta_2
        np.maximum(u, np.abs(grad, out=work), out=u)
        np.add(u, self.epsilon, out=work)
        np.divide(m, work, out=work)
        self._add_scaled(-eta / (1 - self.beta_1**t), work, theta)


class RMSprop(Optimizer, library=True):
    """``v := rho v + (1 - rho) g**2``, ``theta := theta - eta g / sqrt(v + epsilon)`` (Tieleman and Hinton, 2012).

    Keras' form. With ``momentum`` mu: ``u := mu u + eta g / sqrt(v + epsilon)``, ``theta := theta - u``. With
    ``centered``, instead of v the variance ``v - a**2`` is used, ``a := rho a + (1 - rho) g`` (Graves, 2013).

    rho, momentum: in [0, 1). epsilon: above 0. The other arguments are those of Optimizer.

    >>> theta = np.array([1.0])
    >>> RMSprop(0.1, rho=0.0).update(theta, np.array([5.0]))
    >>> theta.round(4)
    array([0.9])
    """

    vectors = ("v", "momentum", "a")

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = real_number("RMSprop: rho", rho, at_least=0, below=1)
        self.momentum = real_number("RMSprop: momentum", momentum, at_least=0, below=1)
        self.epsilon = real_number("RMSprop: epsilon", epsilon, above=0)
        self.centered = flag("RMSprop: centered", centered)

    def prepare(self, theta: Array) -> None:
        for name, used in (("v", True), ("momentum", self.momentum), ("a", self.centered)):
            if used:
                self.moment(name, theta)
        self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        v, work = self.moment("v", theta), self.scratch(theta)
        self._average_squares(v, grad, self.rho, work)
        if self.centered:
            a = self.moment("a", theta)
            self._average(a, grad, self.rho)
            np.multiply(a, a, out=work)
            np.subtract(v, work, out=work)
            np.maximum(work, 0, out=work)  # where g hardly varies, rounding can make it negative
            work += self.epsilon
        else:
            np.add(v, self.epsilon, out=work)
        np.sqrt(work, out=work)
        np.divide(grad, work, out=work)
        if self.momentum:
            u = self.moment("momentum", theta)
            self._add_scaled(eta, work, u, self.momentum)
            theta -= u
        else:
            self._add_scaled(-eta, work, theta)


class Adagrad(Optimizer, library=True):
    """``v := v + g**2``, ``theta := theta - eta g / sqrt(v + epsilon)`` (Duchi et al., 2011; Keras' form).

    initial_accumulator_value: the v of the beginning, at least 0. epsilon: above 0. The other arguments are those of
    Optimizer.

    >>> theta = np.array([1.0])
    >>> Adagrad(0.1, initial_accumulator_value=0.0).update(theta, np.array([5.0]))
    >>> theta.round(4)
    array([0.9])
    """

    vectors = ("v",)

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        initial = real_number("Adagrad: initial_accumulator_value", initial_accumulator_value, at_least=0)
        self.initial_accumulator_value = initial
        self.epsilon = real_number("Adagrad: epsilon", epsilon, above=0)

    def prepare(self, theta: Array) -> None:
        self.moment("v", theta, self.initial_accumulator_value)
        self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        v, work = self.moment("v", theta), self.scratch(theta)
        v += np.multiply(grad, grad, out=work)
        np.add(v, self.epsilon, out=work)
        np.sqrt(work, out=work)
        np.divide(grad, work, out=work)
        work *= eta
        theta -= work


class Adadelta(Optimizer, library=True):
    """``d := g sqrt(u + epsilon) / sqrt(v + epsilon)``, ``theta := theta - eta d`` (Zeiler, 2012).

    Here v and u are averages of the squares of g and of d: ``v := rho v + (1 - rho) g**2`` before d is computed, and
    ``u := rho u + (1 - rho) d**2`` after. The method's own learning rate is 1.

    rho: in [0, 1). epsilon: above 0. The other arguments are those of Optimizer.

    >>> theta = np.array([1.0])
    >>> Adadelta(1.0, rho=0.0, epsilon=0.01).update(theta, np.array([5.0]))
    >>> theta.round(4)
    array([0.9])
    """

    vectors = ("v", "u")

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = real_number("Adadelta: rho", rho, at_least=0, below=1)
        self.epsilon = real_number("Adadelta: epsilon", epsilon, above=0)

    def prepare(self, theta: Array) -> None:
        self.moment("v", theta)
        self.moment("u", theta)
        self.scratch(theta)
        self.scratch(theta, "more")

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        v, u = self.moment("v", theta), self.moment("u", theta)
        d, more = self.scratch(theta), self.scratch(theta, "more")
        self._average_squares(v, grad, self.rho, more)
        np.sqrt(np.add(u, self.epsilon, out=d), out=d)
        d *= grad
        d /= np.sqrt(np.add(v, self.epsilon, out=more), out=more)
        self._average_squares(u, d, self.rho, more)
        d *= eta
        theta -= d


class Lion(Optimizer, library=True):
    """``theta := theta - eta sign(b1 m + (1 - b1) g)``, then ``m := b2 m + (1 - b2) g`` (Chen et al., 2023).

    beta_1, beta_2: in [0, 1). The other arguments are those of Optimizer. Each element of theta changes by eta: a rate
    for Adam is to be divided by 3 to 10.

    >>> theta = np.array([1.0, 1.0])
    >>> Lion(0.1).update(theta, np.array([3.0, -0.01]))
    >>> theta
    array([0.9, 1.1])
    """

    vectors = ("m",)

    @_with_options
    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Unpack[_Options],
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = real_number("Lion: beta_1", beta_1, at_least=0, below=1)
        self.beta_2 = real_number("Lion: beta_2", beta_2, at_least=0, below=1)

    def prepare(self, theta: Array) -> None:
        self.moment("m", theta)
        self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        m, work = self.moment("m", theta), self.scratch(theta)
        np.subtract(m, grad, out=work)
        work *= self.beta_1
        work += grad
        np.sign(work, out=work)
        work *= eta
        theta -= work
        self._average(m, grad, self.beta_2)


class LBFGS(Optimizer, library=True):
    """The limited-memory BFGS method, L-BFGS-B of SciPy (Byrd et al., 1995; Zhu et al., 1997), without bounds.

    For small data and networks, on all rows at once. Needs SciPy: ``pip install "minidense[scipy]"``.

    ``fit`` minimizes the loss of all rows with its penalties. Each of SciPy's iterations is an epoch, whose loss and
    metrics are those of the point that it reached; the line search may evaluate the loss several times for it. Where
    the method ends before ``epochs``, so does ``fit``: History is shorter, and ``message`` has what SciPy says of it.

    memory: how many earlier iterations the curvature is estimated from (SciPy's maxcor). ftol: converged if an
    iteration reduces the loss by at most ``ftol * max(|loss before|, |loss after|, 1)``. gtol: converged if no element
    of the gradient is larger. max_evaluations: of loss and gradient in one ``fit`` (maxfun); max_line_search: in one
    iteration (maxls). Raises ValueError and TypeError for others.

    The loss must be one function of theta: layers that draw random numbers are refused; so are constraints, learning
    rates, a batch_size below the number of rows, generators, and ``train_on_batch``. A batch normalization updates its
    moving averages once an iteration. Frozen layers stay as they are. Each ``fit`` begins with an empty memory, and so
    does one whose callbacks change parameters or freeze layers, from there on. A resumed run makes the iterations of
    the checkpoint again, without callbacks, and goes on to the same bits, with the same data, SciPy and BLAS. SciPy
    computes in float64, of which a float32 model takes the nearest numbers: its line search ends where the loss no
    longer changes by more than float32's rounding. dtype="float64" converges further.

    >>> LBFGS(memory=20)
    LBFGS(memory=20)
    """

    _learning_rate = 1.0

    message: str = ""
    """Why the last ``fit`` ended, in SciPy's words; "" if a callback or an error ended it."""

    def __init__(
        self,
        memory: int = 10,
        ftol: float = 2.220446049250313e-09,
        gtol: float = 1e-5,
        max_evaluations: int = 15000,
        max_line_search: int = 20,
        *,
        name: str | None = None,
    ) -> None:
        self.memory = whole_number("LBFGS: memory", memory)
        self.ftol = real_number("LBFGS: ftol", ftol, at_least=0)
        self.gtol = real_number("LBFGS: gtol", gtol, at_least=0)
        self.max_evaluations = whole_number("LBFGS: max_evaluations", max_evaluations)
        self.max_line_search = whole_number("LBFGS: max_line_search", max_line_search)
        self.name = "lbfgs" if name is None else text("LBFGS: name", name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "name" and name in signature_of(Optimizer).parameters:
            raise AttributeError(f"LBFGS has no {name}: a line search finds how far each iteration goes.")
        super().__setattr__(name, value)

    def options(self) -> dict[str, float]:
        """Its arguments by SciPy's names."""
        limits = {"maxfun": self.max_evaluations, "maxls": self.max_line_search}
        return {"maxcor": self.memory, "ftol": self.ftol, "gtol": self.gtol, **limits}

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        raise self.of_fit_only("update")

    def of_fit_only(self, method: str) -> TypeError:
        """The error of a method that makes one update from one gradient."""
        return TypeError(
            f"{method}: LBFGS makes no single updates: its line search evaluates the loss of all rows at several "
            f"points. Use model.fit(x, y, epochs=...)."
        )


OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Adam, AdamW, Nadam, Adamax, RMSprop, Adagrad, Adadelta, Lion, LBFGS)
}


def get_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """A new optimizer of that name, in any case, with its default settings; an object is returned as it is.

    >>> get_optimizer("sgd")
    SGD()
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return lookup("optimizer", optimizer.lower(), OPTIMIZERS)()
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        raise TypeError(f"optimizer: got the class {optimizer.__name__}; make an object of it: {optimizer.__name__}().")
    raise TypeError(f"optimizer: expected a name or an Optimizer such as md.SGD(0.1), got {optimizer!r}.")


get = get_optimizer
sys.modules[f"{__name__}.schedules"] = schedules  # for ``from minidense.optimizers.schedules import CosineDecay``

if not TYPE_CHECKING:
    __getattr__ = module_attribute("optimizers")
