"""Optimizers: they change the vector ``theta``, given the vector ``grad``, and know nothing of layers."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from minidense.core.arguments import flag, lookup, real_number, shown, whole_number
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.types import Array, Shape
from minidense.numerics.blas import AddScaled


class Piece(NamedTuple):
    """Where a parameter is: ``theta[piece.slice].reshape(piece.shape)``."""

    name: str
    """``layers/0/W``"""
    slice: slice
    shape: Shape


class Optimizer(Configurable):
    """Base of all optimizers: a subclass implements ``step(theta, grad, eta)``.

    learning_rate: a number above 0, or a function of the step, from 0, such as those of md.schedules.
    weight_decay: before each update, ``theta := theta - eta * weight_decay * theta`` (decoupled from the gradient, as
    in AdamW and in Keras); not for biases and the parameters of normalizations, unless ``decay_all``.
    global_clipnorm: a gradient with a larger norm is scaled down to this norm.

    ``iterations`` counts the updates made. ``pieces`` has the name, slice and shape of each parameter, for a rule that
    treats them separately. ``state`` holds, by name, the vectors of ``theta``'s size that must last from one update to
    the next; name numbers that must last in ``saved``. Only these are kept.
    """

    iterations: int = 0
    state: dict[str, Array]
    vectors: ClassVar[tuple[str, ...]] = ()
    """The names that can be in ``state``, for the library's optimizers."""

    pieces: Sequence[Piece] | None = None
    """The parameters in ``theta``, first to last. The model sets it before training; until then it is None."""

    decayed: Sequence[slice] | None = None
    """The slices of theta that weight decay applies to; None for all of it. The model sets it before training."""

    weight_decay: float = 0.0
    decay_all: bool = False
    global_clipnorm: float | None = None

    _learning_rate: float | Callable[[int], float] = 0.01
    _add_scaled: AddScaled
    _scratch: Array = np.empty(0)
    _owner: weakref.ref[Any] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self.__dict__.update(state={}, _add_scaled=AddScaled())  # even if a subclass does not call __init__
        return self

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.01,
        weight_decay: float = 0.0,
        decay_all: bool = False,
        global_clipnorm: float | None = None,
    ) -> None:
        name = type(self).__name__
        self.learning_rate = learning_rate
        self.weight_decay = real_number(f"{name}: weight_decay", weight_decay, at_least=0)
        self.decay_all = flag(f"{name}: decay_all", decay_all)
        if global_clipnorm is not None:
            global_clipnorm = real_number(f"{name}: global_clipnorm", global_clipnorm, above=0)
        self.global_clipnorm = global_clipnorm

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
        return real_number(f"{type(self).__name__}: learning_rate", eta(self.iterations), at_least=0)

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

    def apply(self, theta: Array, grad: Array) -> None:
        """``update`` under the current floating-point settings. Whatever can fail comes before any change."""
        if type(self.iterations) is not int or self.iterations < 0:  # powers of a NumPy integer are rounded otherwise
            self.__dict__["iterations"] = whole_number(f"{type(self).__name__}: iterations", self.iterations, 0)
        eta = self.rate
        if self.global_clipnorm is not None:
            grad = self._clipped(grad)
        self.prepare(theta)
        if self.weight_decay:
            for piece in [slice(None)] if self.decayed is None or self.decay_all else self.decayed:
                theta[piece] *= 1 - eta * self.weight_decay
        self.step(theta, grad, eta)
        self.__dict__["iterations"] = self.iterations + 1  # not by __setattr__, which is slower

    def prepare(self, theta: Array) -> None:
        """Allocate the vectors that ``step`` needs, so that ``step`` allocates nothing and cannot fail halfway."""

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        """The update rule: change ``theta`` in place. Clipping and weight decay have been applied before."""
        raise to_define(self.step)

    def _clipped(self, grad: Array) -> Array:
        norm = math.sqrt(np.vdot(grad, grad))
        if math.isinf(norm):  # the squares overflowed
            norm = float(np.linalg.norm(grad.astype(np.float64)))
        assert self.global_clipnorm is not None
        return grad * (self.global_clipnorm / norm) if norm > self.global_clipnorm else grad

    def moment(self, name: str, theta: Array) -> Array:
        """The vector of that name in ``state``, zeros at first."""
        vector = self.state.get(name)
        if vector is None:
            vector = self.state[name] = np.zeros_like(theta)
        elif vector.shape != theta.shape:
            raise ValueError(
                f"{self!r} has the {name} of a model with {vector.size} parameters, but this one has {theta.size}. "
                f"Give each model an optimizer of its own."
            )
        return vector

    def scratch(self, theta: Array) -> Array:
        """An uninitialised workspace like ``theta``."""
        if self._scratch.shape != theta.shape or self._scratch.dtype != theta.dtype:
            self._scratch = np.empty_like(theta)
        return self._scratch

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_scratch", "_owner")}

    def check_owner(self, model: Any) -> None:
        """Raise ValueError if its state is that of another model, which still exists."""
        owner = self._owner() if self._owner is not None else None
        if owner is not None and owner is not model and self.state:
            raise ValueError(f"{self!r} has the state of another model. Give each model an optimizer of its own.")

    def claim(self, model: Any) -> None:
        """Record that ``model`` trains with it from now on."""
        self._owner = weakref.ref(model)


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

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_all: bool = False,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, decay_all, global_clipnorm)
        self.momentum = real_number("SGD: momentum", momentum, at_least=0, below=1)
        self.nesterov = flag("SGD: nesterov", nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9.")

    def prepare(self, theta: Array) -> None:
        if self.momentum:
            self.moment("velocity", theta)
            self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        if not self.momentum:
            self._add_scaled(-eta, grad, theta)
            return
        v, work = self.moment("velocity", theta), self.scratch(theta)
        v *= self.momentum
        self._add_scaled(-eta, grad, v)
        if self.nesterov:
            np.multiply(grad, eta, out=work)
            theta -= work
            np.multiply(v, self.momentum, out=work)
            theta += work
        else:
            theta += v


def _average_squares(v: Array, grad: Array, decay: float, work: Array) -> None:
    """``v := decay v + (1 - decay) grad**2``, in place, computing in ``work``."""
    np.multiply(grad, grad, out=work)
    work *= 1 - decay
    v *= decay
    v += work


class Adam(Optimizer, library=True):
    """``m := b1 m + (1 - b1) g``, ``v := b2 v + (1 - b2) g**2``, ``theta := theta - eta_t m / (sqrt(v) + epsilon)``.

    ``eta_t = eta sqrt(1 - b2**t) / (1 - b1**t)`` at the t-th update (Kingma and Ba, 2015, the form at the end of
    their section 2, which is Keras'; PyTorch adds epsilon to the corrected root instead).

    beta_1, beta_2: in [0, 1). epsilon: above 0. The other arguments are those of Optimizer.

    >>> theta = np.array([1.0, 1.0])
    >>> Adam(0.1).update(theta, np.array([3.0, -0.01]))
    >>> theta.round(4)
    array([0.9, 1.1])
    """

    saved = ("_begun",)
    vectors = ("m", "v")

    _begun: int = 0
    """The updates made before the moments were set to zero, as at the start and when layers are added."""

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        decay_all: bool = False,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, decay_all, global_clipnorm)
        name = type(self).__name__
        self.beta_1 = real_number(f"{name}: beta_1", beta_1, at_least=0, below=1)
        self.beta_2 = real_number(f"{name}: beta_2", beta_2, at_least=0, below=1)
        self.epsilon = real_number(f"{name}: epsilon", epsilon, above=0)

    def prepare(self, theta: Array) -> None:
        if not self.state:
            self._begun = self.iterations
        self.moment("m", theta)
        self.moment("v", theta)
        self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        t, work = self.iterations - self._begun + 1, self.scratch(theta)
        m, v = self.moment("m", theta), self.moment("v", theta)
        m *= self.beta_1
        self._add_scaled(1 - self.beta_1, grad, m)
        _average_squares(v, grad, self.beta_2, work)
        np.sqrt(v, out=work)
        work += self.epsilon
        np.divide(m, work, out=work)
        work *= eta * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        theta -= work


class AdamW(Adam, library=True):
    """Adam with a decoupled weight decay of 0.004 by default (Loshchilov and Hutter, 2019; Keras' default).

    >>> AdamW(0.1).weight_decay
    0.004
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        decay_all: bool = False,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay, decay_all, global_clipnorm)


class RMSprop(Optimizer, library=True):
    """``v := rho v + (1 - rho) g**2``, ``theta := theta - eta g / sqrt(v + epsilon)`` (Tieleman and Hinton, 2012).

    Keras' form. With ``momentum`` mu: ``u := mu u + eta g / sqrt(v + epsilon)``, ``theta := theta - u``.

    rho, momentum: in [0, 1). epsilon: above 0. The other arguments are those of Optimizer.

    >>> theta = np.array([1.0])
    >>> RMSprop(0.1, rho=0.0).update(theta, np.array([5.0]))
    >>> theta.round(4)
    array([0.9])
    """

    vectors = ("v", "momentum")

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        decay_all: bool = False,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, decay_all, global_clipnorm)
        self.rho = real_number("RMSprop: rho", rho, at_least=0, below=1)
        self.momentum = real_number("RMSprop: momentum", momentum, at_least=0, below=1)
        self.epsilon = real_number("RMSprop: epsilon", epsilon, above=0)

    def prepare(self, theta: Array) -> None:
        for name in self.vectors[: 2 if self.momentum else 1]:
            self.moment(name, theta)
        self.scratch(theta)

    def step(self, theta: Array, grad: Array, eta: float) -> None:
        v, work = self.moment("v", theta), self.scratch(theta)
        _average_squares(v, grad, self.rho, work)
        np.add(v, self.epsilon, out=work)
        np.sqrt(work, out=work)
        np.divide(grad, work, out=work)
        work *= eta
        if self.momentum:
            u = self.moment("momentum", theta)
            u *= self.momentum
            u += work
            theta -= u
        else:
            theta -= work


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def get_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """A new optimizer of that name with its default settings; an object is returned as it is.

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
