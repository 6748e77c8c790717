"""``Layer``: what the author of a layer writes, and what is done for them.

A layer declares its parameters in ``build``, computes in ``forward`` and caches there what ``backward`` needs.
``backward`` receives dLoss/dy, writes a gradient for each parameter, and returns dLoss/dx.
"""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Callable
from types import FunctionType, MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from minidense.core.arguments import Configurable, whole_numbers
from minidense.core.types import Array, Shape
from minidense.layers.initializers import Initializer, get_initializer
from minidense.layers.parameters import Declaration


class Layer(Configurable):
    """Base of all layers.

    Override ``forward(self, x)`` or ``forward(self, x, training)`` and ``backward(self, dy)``; and, if the layer
    has parameters or another output shape, ``build(self, input_shape)``, which returns the output shape. Shapes
    have no batch axis; arrays have it first. While ``fit`` runs, arrays are used again at each step: copy what you
    keep longer. What is to last from step to step, and to be saved, is set in the constructor or in ``build``: an
    array that only ``forward`` sets is taken for a cache.

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

    # ------------------------------------------------------------------ what the author overrides

    caches: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that ``forward`` leaves for ``backward``; not kept, copied or saved."""

    rowwise: ClassVar[bool] = False
    """Whether each row of the output depends on that row of the input only. Large batches of layers that all
    say so are computed in slices that stay in the processor's cache. A subclass with another forward says it anew."""

    draws: ClassVar[bool] = False
    """Whether ``forward`` draws random numbers: the model then gives the layer a stream of its own, ``self.rng``."""

    transient = frozenset(
        [
            "_config",
            "_declared",
            "_declared_states",
            "_states",
            "_views",
            "_values",
            "_buffers",
            "_owner",
            "_guarded",
            "index",
            "input_shape",
            "output_shape",
            "dtype",
            "needs_dx",
        ]
    )

    _settable = MappingProxyType({"trainable": "bool", "rng": "Generator"})

    trainable: bool = True
    """Set it to False before ``fit``, and ``fit`` leaves this layer's parameters as they are."""

    def build(self, input_shape: Shape) -> Shape:
        """Declare the parameters with ``self.param``; return the output shape. Neither has a batch axis."""
        return input_shape

    def as_numpy(self) -> str:
        """Lines of NumPy that turn ``x`` into what ``forward`` gives in use, for ``model.export_numpy``.

        They name the layer's parameters, states and numbers as the layer does, and functions of
        minidense.functional: ``"x = x * g"``. Raises TypeError where a layer does not say it.
        """
        raise TypeError(
            f"{self.where} does not say what it computes: give it a method as_numpy, as of md.Layer.as_numpy."
        )

    forward: Callable[..., Array]
    backward: Callable[[Array], Array | None]

    # ------------------------------------------------------------------ what the author calls

    def param(
        self,
        name: str,
        shape: int | Shape,
        initializer: str | Initializer = "zeros",
        decay: bool | None = None,
    ) -> None:
        """Declare the parameter ``self.<name>`` and its gradient ``self.d<name>``; call it in ``build``.

        Both arrays exist once the model has been built, as views of the model's ``theta`` and ``grad``.

        shape: an int or a tuple. initializer: a name, or a callable ``init(rng, shape) -> array``. decay: whether an
        optimizer's weight decay applies to it; by default, to parameters of two axes or more.
        Raises ValueError where the name is no identifier or is taken.
        """
        shape = whole_numbers(f"{type(self).__name__}: shape of {name}", shape)
        self._check_name(name, "d" + name)
        self._declared.append(
            Declaration(name, shape, get_initializer(initializer), len(shape) > 1 if decay is None else decay)
        )

    def state(self, name: str, shape: int | Shape, initializer: str | Initializer = "zeros") -> None:
        """Have an array ``self.<name>`` that is no parameter, such as a moving average; call it in ``build``.

        Like the parameters it exists once the model has been built. It starts from ``initializer``, and from then on
        is the layer's to change, in place; it is copied and saved with the layer, and no optimizer sees it.
        """
        shape = whole_numbers(f"{type(self).__name__}: shape of {name}", shape)
        self._check_name(name)
        self._declared_states.append(Declaration(name, shape, get_initializer(initializer), False))

    def _check_name(self, name: str, *more: str) -> None:
        """Raise ValueError where a parameter or state cannot have that name, and the attributes that go with it."""
        declared = {prefix + d.name for d in self._declared for prefix in ("", "d")}
        declared |= {d.name for d in self._declared_states}
        known = {*self._views, *self._states}
        for attribute in (name, *more):
            taken = hasattr(type(self), attribute) or (attribute in self.__dict__ and attribute not in known)
            if not attribute.isidentifier() or attribute in declared or taken:
                raise ValueError(
                    f"{self.where}: a parameter cannot be called {name!r}: {attribute!r} is taken or invalid."
                )

    def empty(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """An uninitialised array to write a result into.

        While ``fit`` runs, the same name and shape give the same array again at each step, which spares the
        allocation; at all other times the array is new.
        """
        buffers = self._buffers
        if buffers is None:
            return np.empty(shape, dtype)
        array = buffers.get(name)
        if array is None or array.shape != shape:
            array = buffers[name] = np.empty(shape, dtype)
        return array

    # ------------------------------------------------------------------ what the model notes and calls

    rng: np.random.Generator
    index: int | None = None
    """The place in the model, from 0."""
    input_shape: Shape | None = None
    output_shape: Shape | None = None
    dtype: np.dtype[Any] = np.dtype("float32")
    """Of the parameters and of all that the model hands from layer to layer."""
    needs_dx: bool = True
    """Whether anybody will look at what ``backward`` returns."""
    takes_training: ClassVar[bool] = False
    """Whether ``forward`` has a parameter ``training``."""
    trusted: ClassVar[bool] = False
    """Whether it is the library's own, which needs no guard at each step."""

    _declared: list[Declaration]
    _declared_states: list[Declaration]
    _states: tuple[str, ...]  # the names of the states that exist, which a copy brings along
    _views: dict[str, Array]  # the pieces of theta and grad, by attribute name; empty before the model is built
    _values: dict[str, Array]  # parameters that a copied or unpickled layer brought along
    _buffers: dict[str, Array] | None
    _owner: weakref.ref[Any] | None
    _guarded: frozenset[str]  # the attributes that cannot simply be set

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self.__dict__.update(_declared=[], _declared_states=[], _states=(), _views={}, _values={}, _guarded=_RESERVED)
        self.__dict__.update(_buffers=None, _owner=None)
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.trusted = cls.__module__.startswith("minidense.layers.")
        if "forward" in cls.__dict__ and "rowwise" not in cls.__dict__:
            cls.rowwise = cls.trusted and cls.rowwise
        parameters = inspect.signature(cls.forward).parameters if hasattr(cls, "forward") else {}
        cls.takes_training = "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    @property
    def declarations(self) -> list[Declaration]:
        """The parameters declared so far, in order."""
        return self._declared

    @property
    def declared_states(self) -> list[Declaration]:
        """The states declared so far, in order."""
        return self._declared_states

    @property
    def states(self) -> dict[str, Array]:
        """The arrays declared with ``state``, by name, where they exist."""
        return {name: self.__dict__[name] for name in self._states if name in self.__dict__}

    @property
    def values(self) -> dict[str, Array]:
        """The parameters by name: those of its model, or those it brought along as a copy; perhaps none yet."""
        return {d.name: self._views[d.name] for d in self._declared} if self._views else self._values

    @property
    def count_params(self) -> int:
        """The number of parameters, 0 before the layer is built."""
        return sum(d.size for d in self._declared)

    def note(self, **attributes: Any) -> None:
        """Set attributes that are the library's own."""
        self.__dict__.update(attributes)

    def declare(self, input_shape: Shape) -> Shape:
        """Call ``build`` and note the shapes."""
        self.note(_declared=[], _declared_states=[])
        shape = self.build(input_shape)
        if not isinstance(shape, tuple) or not all(isinstance(n, int | np.integer) for n in shape):
            raise TypeError(f"{self.where}: build must return the output shape as a tuple of ints, got {shape!r}.")
        output_shape = tuple(int(n) for n in shape)
        self.note(input_shape=input_shape, output_shape=output_shape)
        return output_shape

    def starting_states(self) -> dict[str, Array]:
        """An array for each declared state: the one that is there, or a new one."""
        states = {}
        for d in self._declared_states:
            array = self.__dict__.get(d.name)
            if array is None or array.shape != d.shape:
                array = np.asarray(d.initializer(np.random.default_rng(0), d.shape), self.dtype)
            states[d.name] = array
        return states

    def bind(self, views: dict[str, Array], states: dict[str, Array]) -> None:
        """Take ``views`` of theta and grad, and ``states``, as the attributes of those names."""
        self.note(_views=views, _values={}, _guarded=_RESERVED | views.keys() | states.keys(), **views, **states)
        self.note(_states=tuple(states))

    def unsaved(self) -> frozenset[str]:
        return self.transient.union(self._views, (d.name for d in self._declared_states), self.caches)

    def expand(self) -> list[Layer]:
        """The layers that stand for this one in a model: itself, and perhaps an activation."""
        return [self]

    def join(self, model: Any, index: int) -> None:
        """Be the layer number ``index`` of ``model``."""
        self.note(_owner=weakref.ref(model), index=index)
        if self.draws:
            self.__dict__.pop("rng", None)  # a copy's would draw what the original's draws

    def clone(self) -> Self:
        """A twin that shares the parameters and owns its caches: what ``predict`` runs on, in any thread."""
        twin = object.__new__(type(self))
        attributes = self.__dict__.copy()
        attributes["_buffers"] = None
        object.__setattr__(twin, "__dict__", attributes)
        if not self.trusted:  # a cache may also sit in a container, or in a layer inside this one
            for name, value in attributes.items():
                if isinstance(value, Layer):
                    attributes[name] = value.clone()
                elif name not in self.transient and not isinstance(value, _IMMUTABLE):
                    attributes[name] = copy.deepcopy(value)
        return twin

    def reuse_buffers(self) -> None:
        """From now on ``empty`` gives the same arrays again."""
        self.note(_buffers={})

    def forget(self) -> None:
        """Drop the caches and the reused arrays."""
        self.note(_buffers=None)
        for name in self.caches:
            self.__dict__.pop(name, None)

    @property
    def where(self) -> str:
        """How errors name this layer: ``Dense(100), layer 0``."""
        return repr(self) if self.index is None else f"{self!r}, layer {self.index}"

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._guarded:
            object.__setattr__(self, name, value)
            return
        view = self._views.get(name)
        if view is None:
            view = self.states.get(name)
        if view is None:
            raise AttributeError(
                f"{type(self).__name__}: the attribute {name!r} is the library's; choose another name."
            )
        if value is not view:  # it is after `self.dW += ...`, which has already written
            if np.shape(value) != view.shape:
                raise ValueError(f"{self.where}: {name} must have shape {view.shape}, got {np.shape(value)}.")
            view[...] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if hasattr(type(self), name):  # a property that raised an AttributeError: let it speak for itself
            return object.__getattribute__(self, name)
        if name in self._values:
            return self._values[name]
        if name in ("forward", "backward"):
            hint = "A layer must define forward and backward."
        elif any(name in (d.name, "d" + d.name) for d in self._declared):
            hint = "It is declared, and exists once the model is built."
        else:
            hint = "If forward sets it: call forward before backward."
        raise AttributeError(f"{self.where} has no attribute {name!r}. {hint}", name=name, obj=self)

    def __getstate__(self) -> dict[str, Any]:
        dropped = {"_views", "_buffers", "_owner", "_guarded", *self._views, *self.caches}
        state = {name: value for name, value in self.__dict__.items() if name not in dropped}
        return state | {"_values": self.values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.note(_views={}, _buffers=None, _owner=None, _guarded=_RESERVED, **state)


_RESERVED = frozenset(n for n in vars(Layer) if not n.startswith("_")) - {
    "build",
    "forward",
    "backward",
    "trainable",
    "rng",
}
_IMMUTABLE: tuple[Any, ...] = (
    np.ndarray,
    np.generic,
    np.dtype,
    int,
    float,
    str,
    bytes,
    tuple,
    type,
    type(None),
    FunctionType,
)
