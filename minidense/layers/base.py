"""``Layer``: what the author of a layer writes, and what is done for them.

A layer declares its parameters in ``build``, computes in ``forward`` and caches there what ``backward`` needs.
``backward`` receives dLoss/dy, writes a gradient for each parameter, and returns dLoss/dx.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from minidense.arguments import Configurable, whole_number
from minidense.initializers import Initializer, get_initializer
from minidense.parameters import Declaration
from minidense.types import Array, Shape


class Views(dict[str, Array]):
    """A bound layer's pieces of theta and grad, by attribute name."""


class Layer(Configurable):
    """Base of all layers.

    Override ``forward(self, x)`` or ``forward(self, x, training)`` and ``backward(self, dy)``; and, if the layer
    has parameters or another output shape, ``build(self, input_shape)``, which returns the output shape. Shapes
    have no batch axis; arrays have it first.

    >>> class Scale(Layer):
    ...     '''y = x * g, one gain per feature.'''
    ...     def build(self, input_shape):
    ...         self.param("g", input_shape, "ones")
    ...         return input_shape
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * self.g
    ...     def backward(self, dy):
    ...         self.dg = (dy * self.x).sum(axis=0)
    ...         return dy * self.g
    """

    caches: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that ``forward`` leaves for ``backward``; dropped after ``fit`` and when copied."""

    rowwise: ClassVar[bool] = False
    """Whether each row of the output depends on that row of the input only. Large batches of layers that all
    say so are computed in slices that stay in the processor's cache."""

    takes_training: ClassVar[bool] = False
    trusted: ClassVar[bool] = False

    index: int | None = None
    input_shape: Shape | None = None
    output_shape: Shape | None = None
    needs_dx: bool = True
    dtype: np.dtype[Any] = np.dtype("float32")

    # ------------------------------------------------------------------ what the author overrides

    def build(self, input_shape: Shape) -> Shape:
        """Declare the parameters with ``self.param``; return the output shape. Neither has a batch axis."""
        return input_shape

    forward: Callable[..., Array]
    backward: Callable[[Array], Array | None]

    # ------------------------------------------------------------------ what the author calls

    def param(self, name: str, shape: int | Shape, initializer: str | Initializer = "zeros") -> None:
        """Declare the parameter ``self.<name>`` and its gradient ``self.d<name>``; call it in ``build``.

        Both arrays exist once the model has been built, as views of the model's ``theta`` and ``grad``.

        shape: an int or a tuple. initializer: a name, or a callable ``init(rng, shape) -> array``.
        Raises ValueError where the name is no identifier or is taken.
        """
        shape = tuple(whole_number(f"{self!r}: shape of {name}", s) for s in np.atleast_1d(np.array(shape, object)))
        for attribute in (name, "d" + name):
            taken = any(attribute in (d.name, "d" + d.name) for d in self._declared)
            if not attribute.isidentifier() or taken or hasattr(type(self), attribute):
                raise ValueError(f"{self!r}: a parameter cannot be called {name!r}: {attribute!r} is taken or invalid.")
        self._declared.append(Declaration(name, shape, get_initializer(initializer)))

    def empty(self, name: str, shape: Shape) -> Array:
        """An uninitialised array to write a result into, in the model's dtype.

        While ``fit`` runs, the same name and shape give the same array again at each step, which spares the
        allocation; at all other times the array is new.
        """
        buffers = self._buffers
        if buffers is None:
            return np.empty(shape, self.dtype)
        array = buffers.get(name)
        if array is None or array.shape != shape:
            array = buffers[name] = np.empty(shape, self.dtype)
        return array

    # ------------------------------------------------------------------ what the model calls

    _declared: list[Declaration]
    _views: Views
    _buffers: Views | None
    _owner: weakref.ref[Any] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(_views=Views(), _declared=[], _buffers=None, _owner=None)
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.trusted = cls.__module__.startswith("minidense.layers.")
        if "forward" in cls.__dict__:
            cls.takes_training = "training" in inspect.signature(cls.__dict__["forward"]).parameters

    @property
    def declarations(self) -> list[Declaration]:
        """The parameters declared so far, in order."""
        return self._declared

    @property
    def count_params(self) -> int:
        """The number of parameters, 0 before the layer is built."""
        return sum(d.size for d in self._declared)

    def declare(self, input_shape: Shape) -> Shape:
        """Call ``build`` and note the shapes; declare nothing where it fails."""
        self._declared = []
        shape = self.build(input_shape)
        if not isinstance(shape, tuple) or not all(isinstance(n, int | np.integer) for n in shape):
            raise TypeError(f"{self.where}: build must return the output shape as a tuple of ints, got {shape!r}.")
        self.input_shape, self.output_shape = input_shape, tuple(int(n) for n in shape)
        return self.output_shape

    def bind(self, views: dict[str, Array]) -> None:
        """Take ``views`` of theta and grad as the attributes of those names."""
        self.__dict__.update(views)
        self._views = Views(views)

    def expand(self) -> list[Layer]:
        """The layers that stand for this one in a model: itself, and perhaps an activation of its own."""
        return [self]

    def clone(self) -> Self:
        """A twin that shares the parameters and owns its caches: what ``predict`` runs on, in any thread."""
        twin = object.__new__(type(self))
        attributes = twin.__dict__
        attributes.update(self.__dict__)
        attributes["_buffers"] = None
        if not self.trusted:  # a cache may also sit in a container
            for name, value in attributes.items():
                if type(value) in (dict, list, set):
                    attributes[name] = value.copy()
        return twin

    def reuse_buffers(self) -> None:
        """From now on ``empty`` gives the same arrays again."""
        self._buffers = Views()

    def forget(self) -> None:
        """Drop the caches and the reused arrays."""
        self._buffers = None
        for name in self.caches:
            self.__dict__.pop(name, None)

    @property
    def where(self) -> str:
        """How errors name this layer: ``Dense(100), layer 0``."""
        return repr(self) if self.index is None else f"{self!r}, layer {self.index}"

    def __setattr__(self, name: str, value: Any) -> None:
        view = self._views.get(name)
        if view is None:
            object.__setattr__(self, name, value)
        elif value is not view:  # it is after `self.dW += ...`, which has already written
            if np.shape(value) != view.shape:
                raise ValueError(f"{self.where}: {name} must have shape {view.shape}, got {np.shape(value)}.")
            view[...] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in ("forward", "backward"):
            hint = "A layer must define forward and backward."
        elif any(name in (d.name, "d" + d.name) for d in self._declared):
            hint = "It is declared, and exists once the model is built."
        else:
            hint = "If forward sets it: call forward before backward."
        raise AttributeError(f"{self.where} has no attribute {name!r}. {hint}", name=name, obj=self)

    def __getstate__(self) -> dict[str, Any]:
        dropped = {"_views", "_buffers", "_owner", *self.caches}
        dropped.update(name for name in self._views if name not in {d.name for d in self._declared})
        return {name: value for name, value in self.__dict__.items() if name not in dropped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(_views=Views(), _buffers=None, _owner=None)
        self.__dict__.update(state)
