"""``Layer``: what the author of a layer writes, and what the library does with it.

A layer declares its parameters in ``build``, computes in ``forward`` and caches there what ``backward`` needs.
``backward`` receives dLoss/dy, writes a gradient for each parameter, and returns dLoss/dx.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from reprlib import recursive_repr
from types import FunctionType
from typing import Any, ClassVar, Self

import numpy as np

from minidense.core.arguments import check_attribute, flag, items, lookup, real_number, text, whole_numbers
from minidense.core.configurable import Configurable
from minidense.core.types import Array, Shape
from minidense.layers.constraints import Constraint, check_constraint, get_constraint
from minidense.layers.guard import backward_as_child, forward_as_child
from minidense.layers.initializers import Initializer, get_initializer
from minidense.layers.regularizers import Regularizer, check_regularizer, get_regularizer


@dataclass(frozen=True)
class Declaration:
    """What ``param`` and ``buffer`` declare: an array's name, shape, initializer, and how a parameter is trained."""

    name: str
    shape: Shape
    initializer: Initializer
    decay: bool = False
    rate: float = 1.0
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    dtype: str | None = None
    """Of a buffer that does not have the model's."""
    owner: tuple[Layer, str] | None = None
    """For a shared parameter: the layer that owns it, and its name there."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Record:
    """The library's own data about a layer, in one place, so that every other attribute is the author's."""

    def __init__(self) -> None:
        self.path: tuple[int | str, ...] | None = None
        """The place in the outermost network: ``(3, "f", 0)``."""
        self.parent: weakref.ref[Any] | None = None
        """The layer or the network that this one is a child of."""
        self.dtype = np.dtype("float32")
        self.said_shape: Shape | None = None
        """The shape of a sample that the first layer of a model was given, as ``input_shape=`` or ``input_dim=``."""
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        self.params: list[Declaration] = []
        self.buffers: list[Declaration] = []
        self.children: dict[str, Layer] = {}
        self.former: dict[str, Layer] = {}
        """While the layer is built: the children it had before."""
        self.views: dict[str, Array] = {}
        """The parameters and buffers by name, once allocated: views of the network's vectors."""
        self.gradients: dict[str, Array] = {}
        """The gradients by attribute name, ``dW``."""
        self.values: dict[str, Array] = {}
        """The parameters and buffers of a copied or unpickled layer, until a network allocates them."""
        self.guarded: frozenset[str] = _RESERVED
        """The attributes whose assignment ``__setattr__`` handles."""
        self.building = False
        """While ``build`` runs."""
        self.simple = False
        """Whether it is one of the library's own layers without children."""
        self.needs_dx = True
        """Whether what ``backward`` returns is used."""
        self.backward_seen = False
        """Whether a backward pass has written all gradients."""
        self.backward_due = False
        """For a child: whether its forward has been called since its last backward."""
        self.weights: Array | None = None
        """During a forward pass in training: the weights of the rows, if there are any and ``forward`` takes them."""
        self.touched: set[str] | None = None
        """During the first backward pass: the gradients that were set or read."""

    def copy(self) -> Record:
        twin = object.__new__(Record)
        twin.__dict__ = self.__dict__.copy()
        twin.children = self.children.copy()  # a chain adds children to it
        return twin

    @property
    def arrays(self) -> dict[str, Array]:
        """The parameters and buffers by name: views of the network's vectors, or the values of a copy."""
        return self.views or self.values


class _FromRecord:
    """An attribute read from the layer's record; an author's own attribute of that name shadows it."""

    def __init__(self, read: Callable[[Layer], Any]) -> None:
        self.read = read
        self.__doc__ = read.__doc__

    def __get__(self, layer: Layer | None, kind: type[Layer]) -> Any:
        return self if layer is None else self.read(layer)


class Layer(Configurable):
    """Base of all layers.

    Override ``forward(self, x)`` or ``forward(self, x, training)`` and ``backward(self, dy)``; and, if the layer
    has parameters or another output shape, ``build(self, input_shape)``, which returns the output shape. Shapes
    have no batch axis; arrays have it first. While ``fit`` runs, arrays are reused at each step: copy what you keep
    longer. Whatever must last from step to step must be a parameter, a buffer or a constructor argument: only these
    are saved. A layer whose rows depend on each other may take ``sample_weight`` in ``forward`` as well: in training,
    the weights (n,) of the rows, of any scale, where a weight stands for a number of copies; otherwise None.

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
    """Names of the attributes that ``forward`` stores for ``backward``; not copied, and dropped after ``fit``."""

    rowwise: ClassVar[bool] = False
    """Whether each row of the output depends only on the same row of the input. If so for all layers, large batches
    are computed in slices that stay in the processor's cache. A subclass that overrides ``forward`` sets it again."""

    draws: ClassVar[bool] = False
    """Whether ``forward`` draws random numbers: the network then gives the layer a generator, ``self.rng``."""

    float64_input: ClassVar[bool] = False
    """Whether, as the first layer of a model, it is given x in float64, before x is rounded to the model's dtype."""

    trainable: bool = True
    """If False, training does not change the parameters of this layer and its children, from the next step on."""

    def build(self, input_shape: Shape) -> Shape:
        """Declare parameters, buffers and children; return the output shape. Neither shape has a batch axis."""
        return input_shape

    def as_numpy(self) -> str:
        """Lines of NumPy code that turn ``x`` into what ``forward`` returns at inference, for ``model.export_numpy``.

        They may use the layer's parameters, buffers and other attributes by name, its children as functions of x, and
        the functions of minidense.numerics.functional: ``"x = x * g"``. Raises TypeError unless overridden.
        """
        raise TypeError(
            f"{self._where} cannot be exported: define its method as_numpy, as described at md.Layer.as_numpy."
        )

    forward: Callable[..., Array]
    backward: Callable[[Array], Array | None]

    # ------------------------------------------------------------------ what the author calls

    def param(
        self,
        name: str,
        shape: int | Shape | None = None,
        initializer: str | Initializer = "zeros",
        decay: bool | None = None,
        *,
        rate: float = 1.0,
        regularizer: str | Regularizer | None = None,
        constraint: str | Constraint | None = None,
        shared: tuple[Layer, str] | None = None,
    ) -> None:
        """Declare the parameter ``self.<name>`` and its gradient ``self.d<name>``; call it in ``build``.

        Both arrays exist once the network is built, as views of its ``theta`` and ``grad``.

        shape: an int or a tuple. initializer: a name, or a callable ``init(rng, shape) -> array``. decay: whether
        weight decay applies to it; by default, if it has two axes or more. rate: a factor on the optimizer's learning
        rate. regularizer, constraint: a name or an object of md.regularizers or md.constraints, or None. shared:
        instead of these, ``(layer, name)`` to use a parameter of another layer, built earlier in the same network; each
        of the two layers writes its own gradient, and the network adds them.
        Raises ValueError if the name is not an identifier or is taken, and RuntimeError outside ``build``.
        """
        self._check_name(name, "d" + name)
        if shared is not None:
            self._record.params.append(replace(_declared(self, shared), name=name))
            return
        if shape is None:
            raise TypeError(f"{self._where}: the parameter {name!r} needs a shape.")
        shape = whole_numbers(f"{type(self).__name__}: shape of {name}", shape)
        decay = len(shape) > 1 if decay is None else decay
        what = f"{self._where}: {name}"
        rate = real_number(f"{what}: rate", rate, at_least=0)
        penalty = get_regularizer(regularizer, f"{what}: regularizer")
        limit = get_constraint(constraint, f"{what}: constraint")
        if penalty is not None:
            check_regularizer(penalty, shape, what)
        if limit is not None:
            check_constraint(limit, shape, what)
        declared = Declaration(name, shape, get_initializer(initializer), decay, rate, penalty, limit)
        self._record.params.append(declared)

    def buffer(
        self, name: str, shape: int | Shape, initializer: str | Initializer = "zeros", *, dtype: str | None = None
    ) -> None:
        """Declare the buffer ``self.<name>``, a saved array that is not trained; call it in ``build``.

        An example is a moving average. Like a parameter, it exists once the network is built. In training, ``forward``
        may change it, by ``self.<name> = ...`` or in place; the change is kept if the update of that step is made, and
        undone otherwise. A buffer is copied and saved with the layer. dtype: "float32" or "float64"; None is that of
        the model. Raises what ``param`` raises.
        """
        shape = whole_numbers(f"{type(self).__name__}: shape of {name}", shape)
        if dtype is not None:
            lookup(f"{type(self).__name__}: dtype of {name}", dtype, {"float32": 0, "float64": 0})
        self._check_name(name)
        self._record.buffers.append(Declaration(name, shape, get_initializer(initializer), dtype=dtype))

    def child(self, name: str, layer: Any, input_shape: int | Shape) -> Shape:
        """Declare ``layer`` (a Layer or a Sequential) as ``self.<name>``, and build it; call it in ``build``.

        Returns its output shape. Its parameters are part of the same network. ``forward`` and ``backward`` call
        ``self.<name>.forward(x, training)`` and ``self.<name>.backward(dy)``.
        Raises ValueError if the name is not an identifier or is taken, or if the layer is used elsewhere already.
        """
        child, held = as_layer(layer, f"{self._where}: child {name}"), self.__dict__.get(name)
        former = self._record.former.get(name)
        check_free([child], self)
        mine = held is not None and any(held is each for each in (layer, child, former))
        if mine:
            self.__dict__.pop(name)
        self._check_name(name, mine=mine)
        adopt(self, name, child)
        self.__dict__[name] = child
        return declare(child, whole_numbers(f"{type(self).__name__}: input_shape of {name}", input_shape))

    def workspace(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """An uninitialised array to write a result into.

        While ``fit`` runs, the same name and shape give the same array at each step, which saves the allocation;
        otherwise the array is new.
        """
        workspaces = self._workspaces
        if workspaces is None:
            return np.empty(shape, dtype)
        array = workspaces.get(name)
        if array is None or array.shape != shape:
            array = workspaces[name] = np.empty(shape, dtype)
        return array

    rng: np.random.Generator
    """The random generator of a layer that ``draws``."""

    # ------------------------------------------------------------------ what users read

    name = _FromRecord(lambda layer: _default_name(layer))
    weights = _FromRecord(lambda layer: _arrays(layer))
    trainable_weights = _FromRecord(lambda layer: _arrays(layer, trained=True))
    non_trainable_weights = _FromRecord(lambda layer: _arrays(layer, trained=False))
    input_shape = _FromRecord(lambda layer: layer._record.input_shape)
    output_shape = _FromRecord(lambda layer: layer._record.output_shape)
    dtype = _FromRecord(lambda layer: layer._record.dtype)

    def count_params(self) -> int:
        """The number of parameters of the layer and its children, without shared ones; 0 before it is built."""
        return sum(d.size for part in walk(self) for d in own_params(part))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError: a layer is put into a model, and the model is called."""
        raise TypeError(
            f"{self._where}: a layer is not called. Put it into a chain, md.Sequential([...]), and call model(x). "
            f"Branches are md.Residual and md.Concatenate, or a layer with children, which calls their forward."
        )

    # ------------------------------------------------------------------ what the library calls

    _record: Record
    _workspaces: dict[str, Array] | None = None
    """The arrays that ``workspace`` reuses. Not in the record, which clones share: each clone has its own."""
    _takes_training: ClassVar[bool] = False
    """Whether ``forward`` has a parameter ``training``."""
    _takes_weights: ClassVar[bool] = False
    """Whether ``forward`` has a parameter ``sample_weight``."""
    _keeps_children: ClassVar[bool] = False
    """Whether the children are added by the constructor, not by ``build``."""
    _fixed: ClassVar[tuple[str, ...]] = ()
    """Of the library's own layers: arguments that cannot be set once it is built, besides regularizers and so on."""
    _own_caches: ClassVar[frozenset[str]] = frozenset()
    """The ``caches`` of one of the library's own layers."""
    _notes_reading: ClassVar[bool] = True
    """Whether reading a missing attribute calls ``Layer.__getattr__``, and not an author's own."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self.__dict__["_record"] = Record()
        return self

    _common = ("name", "trainable", "input_shape", "input_dim")

    def _take_common(self, given: dict[str, Any]) -> None:
        kind = type(self).__name__
        shapes = {key: given[key] for key in ("input_shape", "input_dim") if given.get(key) is not None}
        if len(shapes) == 2:
            raise TypeError(f"{kind}: pass input_shape or input_dim, not both.")
        for key, shape in shapes.items():
            self._record.said_shape = whole_numbers(f"{kind}: {key}", shape)
        if given.get("name") is not None:
            self.__dict__["name"] = text(f"{kind}: name", given["name"])
            self._config = {**self._config, "name": given["name"]}
            self._record.guarded = self._record.guarded | {"name"}
        if "trainable" in given:
            self.trainable = given["trainable"]

    def get_weights(self) -> list[Array]:
        """Copies of the layer's parameters and buffers, in the order of ``weights``, with those of its children."""
        return [array.copy() for array in _arrays(self)]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy ``weights``, in the order of ``get_weights``, into the layer. Raises ValueError for other shapes."""
        targets, arrays = _arrays(self), [np.array(array) for array in items("weights", weights)]
        shapes = [view.shape for view in targets], [array.shape for array in arrays]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{self._where}: weights: expected arrays of shapes {shapes[0]}, got {shapes[1]}.")
        if not all(np.isfinite(array.astype(self.dtype)).all() for array in arrays):
            raise ValueError(f"{self._where}: weights: expected numbers that are finite in {self.dtype}.")
        for view, array in zip(targets, arrays, strict=True):
            view[...] = array

    def __init_subclass__(cls, library: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(library, **kwargs)
        if not isinstance(cls.caches, tuple | list):
            raise TypeError(f"{cls.__name__}: caches: expected a tuple of names, such as ('x',), got {cls.caches!r}.")
        if any(kind.__dict__.get("__slots__") for kind in cls.__mro__):
            raise TypeError(f"{cls.__name__}: __slots__ would not be copied or saved with a layer: remove them.")
        if not library and _is_of_another_forward(cls, "rowwise"):
            cls.rowwise = False
        if not library and _is_of_another_forward(cls, "as_numpy"):
            cls.as_numpy = Layer.as_numpy  # type: ignore[method-assign]
        cls._own_caches = frozenset(cls.caches if library else ())
        cls._notes_reading = cls.__getattr__ is Layer.__getattr__
        parameters = inspect.signature(cls.forward).parameters if hasattr(cls, "forward") else {}
        cls._takes_training = "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        cls._takes_weights = "sample_weight" in parameters

    _discrete: ClassVar[bool] = False
    """Whether the input is categories, which have no gradient."""

    def _examples(self, rng: np.random.Generator, n: int) -> Array:
        """n random rows that the layer accepts, for checks: standard normal."""
        return rng.standard_normal((n, *(self._record.input_shape or ())))

    @property
    def _where(self) -> str:
        """How errors name this layer: ``Dense(100), layer 0``."""
        path, shown = self._record.path, self._shown()
        return f"{shown}, layer {'/'.join(map(str, path))}" if path else shown

    @recursive_repr()  # an author's __repr__ may read a missing attribute, and that error calls repr again
    def _shown(self) -> str:
        try:
            return repr(self)
        except Exception:
            return f"{type(self).__name__}(...)"

    def _remember(self, config: dict[str, Any]) -> None:
        super()._remember(config)
        self._record.guarded = self._record.guarded.union(config)

    def _set_argument(self, name: str, value: Any) -> None:
        fixed = name in self._fixed or (self._of_library and name.endswith(("_regularizer", "_constraint")))
        if fixed and self._record.views:
            if repr(value) not in (repr(self._config[name]), repr(self.get_config().get(name))):
                raise AttributeError(f"{self._where}: {name} cannot be set once it is built; make a new layer.")
        else:
            super()._set_argument(name, value)

    def _expand(self) -> list[Layer]:
        """The layers that replace this one in a chain: itself, and perhaps an activation."""
        return [self]

    def _settle(self) -> None:
        """Called when the layers of ``_expand`` have been added to a chain."""

    def _unsettle(self) -> None:
        """Undo ``_settle``."""

    def _as_layer(self) -> Layer:
        """This layer as a single one: a chain, if it expands into several."""
        return self

    def _check_name(self, name: str, *more: str, mine: bool = False) -> None:
        """Raise ValueError if an array or child cannot have that name, or ``more`` names that go with it.

        mine: the attribute already is that child, and may be a constructor argument.
        """
        record = self._record
        if not record.building:
            raise RuntimeError(f"{self._where}: {name!r} is declared outside build; declare it there.")
        declared = {prefix + d.name for d in record.params for prefix in ("", "d")}
        declared |= {d.name for d in record.buffers} | record.children.keys()
        for attribute in (name, *more):
            own = attribute in self.__dict__ and attribute not in record.views and attribute not in record.gradients
            taken = (hasattr(type(self), attribute) and attribute not in ("name", "weights")) or own
            taken = taken or attribute in _RESERVED
            taken = taken or (attribute in self._config and not mine)
            if not attribute.isidentifier() or attribute in declared or taken:
                raise ValueError(
                    f"{self._where}: a parameter, buffer or child cannot be called {name!r}: {attribute!r} is taken or "
                    f"invalid."
                )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._own_caches:  # by far the most frequent
            object.__setattr__(self, name, value)
            return
        record = self._record
        if name not in record.guarded:
            if self._of_library and self._config:
                check_attribute(self, name)
            object.__setattr__(self, name, value)
            return
        view = record.views.get(name)
        if view is None:
            view = record.gradients.get(name)
        if view is not None:
            if record.touched is not None:
                record.touched.add(name)
            if value is not view:  # it is the view itself after `self.dW += ...`, which has written already
                if np.shape(value) != view.shape:
                    raise ValueError(f"{self._where}: {name} must have shape {view.shape}, got {np.shape(value)}.")
                view[...] = value
        elif name == "trainable":
            value = flag(f"{self._where}: trainable", value)
            if name in self._config:
                self._set_argument(name, value)
            for layer in walk(self):
                layer.__dict__["trainable"] = value
            vars(outermost(self))["_frozen"] = None
        elif name in self._config:
            self._set_argument(name, value)
        else:
            raise AttributeError(
                f"{type(self).__name__}: the attribute {name!r} is reserved by the library; choose another name."
            )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if hasattr(type(self), name):  # a property that raised an AttributeError: raise that one
            return object.__getattribute__(self, name)
        record = self._record
        if record.touched is not None and name in record.gradients:
            record.touched.add(name)
            return record.gradients[name]
        if name in record.values:
            return record.values[name]
        if name in ("forward", "backward"):
            hint = "A layer must define forward and backward."
        elif any(name in (d.name, "d" + d.name) for d in [*record.params, *record.buffers]):
            hint = "It is declared, and exists once the model is built."
        else:
            hint = "If forward sets it: call forward before backward."
        raise AttributeError(f"{self._where} has no attribute {name!r}. {hint}", name=name, obj=self)

    def __getstate__(self) -> dict[str, Any]:
        if (exclusive := vars(outermost(self)).get("exclusive")) is not None:
            exclusive.check()  # a copy of what another thread is changing would be inconsistent
        record = self._record.copy()
        dropped = {*record.views, *record.gradients, *_caches(self), "forward", "backward", "_workspaces"}
        record.values = record.arrays
        if record.views:  # initializers are not needed any more, and may be functions that cannot be pickled
            record.params, record.buffers = _without_initializers(record.params), _without_initializers(record.buffers)
        record.views, record.gradients, record.parent = {}, {}, None
        record.guarded = _RESERVED.union(self._config)
        return {name: value for name, value in self.__dict__.items() if name not in dropped} | {"_record": record}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for child in self._record.children.values():
            child._record.parent = weakref.ref(self)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # a shallow one would share its children and arrays


def _is_of_another_forward(kind: type[Layer], attribute: str) -> bool:
    """Whether a class nearer than the one that defines the attribute has another ``forward``."""
    forwards = 0
    for base in kind.__mro__:
        forwards += "forward" in base.__dict__
        if attribute in base.__dict__:
            return forwards > 1
    return False


def _without_initializers(declarations: list[Declaration]) -> list[Declaration]:
    return [replace(d, initializer=get_initializer("zeros")) for d in declarations]


_RESERVED = frozenset(
    ["build", "forward", "backward", "param", "buffer", "child", "workspace", "as_numpy", "get_config", "from_config"]
) | {"trainable", "draws", "rowwise", "caches"}
"""The names that an author cannot use for other things; ``rng`` may be set."""


# ---------------------------------------------------------------------- layers within layers


def walk(layer: Layer) -> Iterator[Layer]:
    """The layer and all layers within it, parents before children: the order of the parameters in ``theta``."""
    yield layer
    for child in layer._record.children.values():
        yield from walk(child)


def _arrays(layer: Layer, trained: bool | None = None) -> list[Array]:
    """The parameters and buffers of a layer and its children, without shared ones; or those that training changes, or
    the others. RuntimeError before it is built."""
    found = []
    for part in walk(layer):
        if part._record.params and not part._record.arrays:
            raise RuntimeError(f"{layer._where} has no weights yet: build the model first, model.build(input_shape).")
        for d in [*own_params(part), *part._record.buffers]:
            if trained in (None, part.trainable and d not in part._record.buffers):
                found.append(part._record.arrays[d.name])
    return found


def _default_name(layer: Layer) -> str:
    """As in Keras: the class in small letters, and from the second such layer of a model on its number: ``dense_1``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
    parent = parent_of(layer)
    kin = [child for child in parent._record.children.values() if type(child) is type(layer)] if parent else []
    place = next((i for i, child in enumerate(kin) if child is layer), 0)
    return f"{name}_{place}" if place else name


def own_params(layer: Layer) -> list[Declaration]:
    """The parameters that the layer owns: all but those it shares from another layer."""
    return [d for d in layer._record.params if d.owner is None]


def held(value: Any, depth: int = 0) -> Iterator[Layer]:
    """The layers in a value, also within lists and dicts; for a model, its network."""
    if hasattr(value, "_as_layer") and not isinstance(value, Layer):
        value = getattr(value, "network", None)
    if isinstance(value, Layer):
        yield value
    elif isinstance(value, list | tuple | set | dict) and depth < 4:
        for item in value.values() if isinstance(value, dict) else value:
            yield from held(item, depth + 1)


def as_layer(thing: Any, what: str = "layers") -> Layer:
    """A layer or a model as a single layer. Raises TypeError for anything else."""
    if isinstance(thing, type) or not hasattr(thing, "_as_layer"):
        made = f" Make an object of it: {thing.__name__}(...)." if isinstance(thing, type) else ""
        raise TypeError(f"{what}: expected a Layer such as md.Dense(10), got {thing!r}.{made}")
    layer: Layer = thing._as_layer()
    return layer


def parent_of(layer: Layer) -> Layer | None:
    """The layer or network that this one is a child of."""
    parent = layer._record.parent
    return None if parent is None else parent()


def outermost(layer: Layer) -> Layer:
    """The outermost layer or network that this one is part of, or itself."""
    while (parent := parent_of(layer)) is not None:
        layer = parent
    return layer


def check_free(layers: Iterable[Layer], parent: Layer) -> None:
    """Raise ValueError for a layer that is part of a model already, or occurs twice."""
    seen = {id(child) for child in parent._record.children.values()}
    for layer in layers:
        owner = parent_of(layer)
        if id(layer) in seen or (owner is not None and owner is not parent):
            here = owner is None or outermost(owner) is outermost(parent)
            place = "in this model already" if here else "part of another model"
            raise ValueError(
                f"{layer._where} is {place}; a layer has one place and one set of parameters. Make a new one, or "
                f"use copy.deepcopy(layer) to start from its values."
            )
        around: Layer | None = parent
        while around is not None:
            if around is layer:
                raise ValueError(f"{layer._where} would be part of itself; use copy.deepcopy(model) for a second one.")
            around = parent_of(around)
        seen.add(id(layer))


def adopt(parent: Layer, name: str, child: Layer) -> None:
    """Make ``child``, which is not part of a model yet, the child of that name.

    If ``build`` runs again and makes a new child, it takes over the values of the former one.
    """
    mine, record = parent._record, child._record
    if record.parent is None:
        for part in walk(child):
            if part.draws and part._record.input_shape is not None:
                part.__dict__.pop("rng", None)  # a copied generator would draw the same as the original's
    record.parent = weakref.ref(parent)
    record.path = (*(mine.path or ()), int(name) if name.isdigit() else name)
    record.dtype = mine.dtype
    if name in mine.former:
        _inherit(child, mine.former[name])
    if not parent.trainable:
        child.trainable = False
    mine.children[name] = child


def _inherit(new: Layer, former: Layer) -> None:
    """Give a new child the values of the former one, if both are of the same class."""
    if new is former or type(new) is not type(former):
        return
    new._record.values = former._record.arrays
    new.trainable = former.trainable
    new._record.children = new._record.children or former._record.children  # a chain has its children before build
    for name in new._record.children.keys() & former._record.children.keys():
        _inherit(new._record.children[name], former._record.children[name])


def _release_children(layer: Layer) -> list[Layer]:
    """Before ``layer`` is built again: detach its children, undo ``_settle`` of those it was given, return these."""
    inside = {id(part): part for part in walk(layer) if part is not layer}
    for part in inside.values():
        part._record.parent = None
    attributes = [value for name, value in vars(layer).items() if name != "_record"]
    given = [part for part in held(attributes) if id(part) in inside]
    for part in given:
        part._unsettle()
    return given


def declare(layer: Layer, input_shape: Shape) -> Shape:
    """Call ``build``, record what it declares and the shapes, and return the output shape."""
    record = layer._record
    given = _release_children(layer) if record.children and not layer._keeps_children else []
    record.values, record.former = record.arrays, record.children
    record.params, record.buffers, record.children = [], [], {}
    record.building = True
    shape = layer.build(input_shape)
    record.building, record.former = False, {}
    for part in given:
        part._settle()
    if not isinstance(shape, tuple) or not all(isinstance(n, int | np.integer) for n in shape):
        raise TypeError(f"{layer._where}: build must return the output shape as a tuple of ints, got {shape!r}.")
    record.input_shape, record.output_shape = input_shape, tuple(int(n) for n in shape)
    return record.output_shape


def bind(layer: Layer, views: dict[str, Array], gradients: dict[str, Array]) -> None:
    """Use these views of a network's vectors as the layer's parameters, buffers and gradients."""
    record = layer._record
    record.views, record.gradients, record.values = views, gradients, {}
    record.simple = layer._of_library and not record.children
    record.guarded, record.backward_seen = _RESERVED.union(views, gradients, layer._config), False
    layer.__dict__.update(views)
    layer.__dict__.update(gradients)
    for name, child in record.children.items():
        child._record.parent = weakref.ref(layer)
        if not name.isdigit():
            _call_guarded(child)


def _call_guarded(child: Layer) -> None:
    """Make ``self.f.forward(x, training)`` and ``self.f.backward(dy)`` of a child f go through the guard."""
    child.__dict__["forward"] = functools.partial(forward_as_child, child)
    child.__dict__["backward"] = functools.partial(backward_as_child, child)


def clones(layers: Sequence[Layer]) -> list[Layer]:
    """Clones that share the parameters and have their own caches: ``predict`` runs on them, in any thread."""
    if not [layer for layer in layers if not layer._record.simple]:
        return [_twin(layer) for layer in layers]
    twins: dict[int, Any] = {id(part): object.__new__(type(part)) for layer in layers for part in walk(layer)}
    outer = parent_of(layers[0])
    while outer is not None:  # layers around these are referred to, not copied
        twins[id(outer)], outer = outer, parent_of(outer)
    for layer in layers:
        for part in walk(layer):
            twin, attributes = twins[id(part)], part.__dict__.copy()
            record = attributes["_record"] = part._record.copy()
            attributes["_workspaces"] = None
            for name in _caches(part):
                attributes.pop(name, None)
            if not part._of_library:
                record.views = {name: _read_only(view) for name, view in record.views.items()}
                for name in record.gradients:
                    attributes.pop(name, None)
                for name, value in attributes.items():  # a cache may sit in a container, or refer to another layer
                    if name in record.views:
                        attributes[name] = record.views[name]
                    elif not isinstance(value, _IMMUTABLE):
                        attributes[name] = _own(value, twins)
            if record.children:
                record.children = {name: twins[id(child)] for name, child in record.children.items()}
                attributes.update((name, child) for name, child in record.children.items() if name in attributes)
            object.__setattr__(twin, "__dict__", attributes)
            if "forward" in attributes:
                _call_guarded(twin)
    return [twins[id(layer)] for layer in layers]


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _own(value: Any, twins: dict[int, Any]) -> Any:
    """A copy, with other layers replaced by their clones; what cannot be copied, such as a lock, is shared."""
    try:
        return copy.deepcopy(value, twins)
    except TypeError:
        return value


def _twin(layer: Layer) -> Layer:
    """The clone of one of the library's own layers without children."""
    twin = object.__new__(type(layer))
    attributes = layer.__dict__.copy()
    attributes["_workspaces"] = None
    object.__setattr__(twin, "__dict__", attributes)
    return twin


def drop_caches(layer: Layer) -> None:
    """Drop the caches and workspaces."""
    layer.__dict__["_workspaces"] = None
    for name in _caches(layer):
        layer.__dict__.pop(name, None)


def _caches(layer: Layer) -> set[str]:
    return {name for kind in type(layer).__mro__ for name in kind.__dict__.get("caches", ())}


def _declared(layer: Layer, shared: Any) -> Declaration:
    """The declaration of another layer's parameter, by (layer, name). Raises ValueError and TypeError."""
    if not isinstance(shared, tuple) or len(shared) != 2:
        raise TypeError(f"{layer._where}: shared: expected a pair (layer, name), got {shared!r}.")
    owner, name = as_layer(shared[0], f"{layer._where}: shared"), shared[1]
    for d in owner._record.params:
        if d.name == name:
            return d if d.owner is not None else replace(d, owner=(owner, name))
    known = ", ".join(d.name for d in owner._record.params)
    raise ValueError(
        f"{layer._where}: {owner._where} has no parameter {name!r} to share. "
        + (f"It has: {known}." if known else "Is it built before this layer, in the same network?")
    )


_IMMUTABLE: tuple[Any, ...] = (
    *(np.generic, np.dtype, int, float, str, bytes, type, type(None), FunctionType, Record),
    functools.partial,
)
