"""Optimizers: vectors in, vectors changed. They see ``theta`` and ``grad``, and know nothing of layers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from minidense.arguments import Configurable, lookup, real_number
from minidense.blas import AddScaled
from minidense.types import Array


class Optimizer(Configurable):
    """Base of all optimizers: a subclass implements ``update(theta, grad)``.

    ``iterations`` counts the updates made. ``state`` holds what must survive from one update to the next, by
    name: vectors as long as ``theta``. All else can be thrown away at any time.
    """

    iterations: int
    state: dict[str, Array]
    _learning_rate: float
    _add_scaled: AddScaled

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(iterations=0, state={}, _learning_rate=0.01, _add_scaled=AddScaled())
        return self

    @property
    def learning_rate(self) -> float:
        """The step size eta. Setting it checks it: a finite number above 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = real_number(f"{type(self).__name__}: learning_rate", value, above=0)

    def update(self, theta: Array, grad: Array) -> None:
        """Change ``theta`` in place by one step against ``grad``, which stays as it is. Both are (p,)."""
        raise NotImplementedError

    def moment(self, name: str, theta: Array) -> Array:
        """The vector of that name in ``state``, zeros at first."""
        vector = self.state.get(name)
        if vector is None:
            vector = self.state[name] = np.zeros_like(theta)
        elif vector.shape != theta.shape:
            raise ValueError(
                f"{self!r} has the {name} of a model with {vector.size} parameters, and this one has {theta.size}. "
                f"Give each model an optimizer of its own."
            )
        return vector


class SGD(Optimizer):
    """Gradient descent: ``theta := theta - eta * grad``, on as many rows as each batch has.

    With ``momentum`` mu (Polyak, 1964), Keras' form: ``v := mu v - eta grad``, then ``theta := theta + v``, or
    with ``nesterov`` (Sutskever et al., 2013) ``theta := theta + mu v - eta grad``.

    learning_rate: above 0. momentum: in [0, 1). Raises ValueError otherwise.

    >>> theta, grad = np.array([1.0, 2.0]), np.array([10.0, 0.0])
    >>> SGD(learning_rate=0.5).update(theta, grad)
    >>> theta
    array([-4.,  2.])
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False) -> None:
        self.learning_rate = learning_rate
        self.momentum = real_number("SGD: momentum", momentum, at_least=0, below=1)
        self.nesterov = bool(nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9.")

    def update(self, theta: Array, grad: Array) -> None:
        eta = self._learning_rate
        if not self.momentum:
            self._add_scaled(-eta, grad, theta)
        else:
            v = self.moment("velocity", theta)
            v *= self.momentum
            self._add_scaled(-eta, grad, v)
            theta += self.momentum * v - eta * grad if self.nesterov else v
        self.iterations += 1


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD}


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
