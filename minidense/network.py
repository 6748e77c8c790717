"""``Network``: layers over one vector of parameters and one vector of gradients.

First every layer declares what it needs, then the vectors are laid out and allocated once, then each layer gets its
views: ``layer.W`` and ``layer.dW`` are slices of ``theta`` and ``grad``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from minidense.core.exclusive import Exclusive
from minidense.core.rng import Generators
from minidense.core.types import Array, Shape
from minidense.layers.base import (
    Declaration,
    Layer,
    bind,
    check_free,
    clones,
    declare,
    drop_caches,
    held,
    own_params,
    parent_of,
    walk,
)
from minidense.layers.composite import Chain
from minidense.layers.guard import forward_of
from minidense.layers.regularizers import Penalty
from minidense.numerics.blas import one_thread_for
from minidense.numerics.sums import aligned_zeros
from minidense.optimizers import Piece

WORTH_HELPERS = 1e8
"""From this many operations (2 n p, for n rows and p parameters), prediction is faster on several threads."""


class Network(Chain, library=True):
    """A chain of layers that owns the vector of their parameters; within another network, a slice of its vector.

    dtype: of all arrays. generators: for initial values, shuffling and noise. A network within another one uses the
    dtype and generators of the outermost one.
    """

    def __init__(
        self, layers: Sequence[Any] = (), dtype: str | None = None, generators: Generators | None = None
    ) -> None:
        self._said_dtype = dtype
        self._record.dtype = np.dtype(dtype or "float32")
        self.generators = generators or Generators.from_rng(None)
        self._facade: Any = None  # its Sequential, if it is part of another network
        self._theta: Array | None = None
        self._grad: Array | None = None
        self._buffers: Array = np.empty(0)
        self._of_other_dtype: list[Array] = []
        self._kept: list[Array] = []
        self._input_dtype: np.dtype[Any] | None = None  # when built
        self._shared: list[tuple[Array, Array]] = []
        self._frozen: list[slice] | None = None  # when known
        self._parameters: list[tuple[Layer, Declaration, Piece]] | None = None  # when known
        self.plans: dict[Any, Any] = {}
        """The training passes on ready buffers, by the number of rows; see training/plans."""
        self.ready_for_one_row: list[Any] = []
        """The chains for predictions of one row that no thread is using; see training/prediction."""
        self._simple = False
        """Whether all layers are the library's own, without children: then ``theta.size`` bounds the products."""
        self.exclusive = Exclusive()
        super().__init__(layers)

    def _set_argument(self, name: str, value: Any) -> None:
        if name != "generators":
            super()._set_argument(name, value)
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.children))}])"

    # ------------------------------------------------------------------ the vectors

    @property
    def built(self) -> bool:
        """Whether the parameters exist."""
        return self._theta is not None

    @property
    def theta(self) -> Array:
        """All parameters as one vector (p,), layer by layer. Raises RuntimeError before the network is built."""
        return self._vectors()[0]

    @property
    def grad(self) -> Array:
        """The gradient of all parameters, (p,), from the last backward pass."""
        return self._vectors()[1]

    @property
    def buffers(self) -> Array:
        """All buffers of the model's dtype as one vector."""
        return self._buffers

    @property
    def all_buffers(self) -> list[Array]:
        """Arrays with all buffers: that vector, and those of another dtype."""
        return [self._buffers, *self._of_other_dtype]

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """The dtype of x as the first layer is given it."""
        if self._input_dtype is not None:
            return self._input_dtype
        first: Layer = self
        while isinstance(first, Chain) and first.children:
            first = first.children[0]
        return np.dtype("float64") if first.float64_input else self._record.dtype

    def _vectors(self) -> tuple[Array, Array]:
        if self._theta is None or self._grad is None:
            raise RuntimeError(
                "the model is not built: it does not know the width of its input yet. "
                "Call model.build(input_shape), or fit it first."
            )
        return self._theta, self._grad

    @property
    def root(self) -> Network:
        """The outermost network that this one is part of, or itself."""
        found, layer = self, self.outer
        while layer is not None:
            found, layer = (layer if isinstance(layer, Network) else found), parent_of(layer)
        return found

    @property
    def outer(self) -> Layer | None:
        """The layer or network that this one is part of."""
        return parent_of(self)

    def named_arrays(self) -> dict[str, Array]:
        """All parameters and buffers by name, ``layers/0/W``, layer by layer; shared ones under the owner's name."""
        return {self.name_of(layer, d.name): layer._record.arrays[d.name] for layer, d in self.declarations()}

    def declarations(self) -> Iterator[tuple[Layer, Declaration]]:
        """Each layer's own parameters, and then its buffers."""
        for layer in walk(self):
            for d in [*own_params(layer), *layer._record.buffers]:
                yield layer, d

    def name_of(self, layer: Layer, array: str | None = None) -> str:
        """The name of a layer, or of an array of it, in files and errors: ``layers/3/f/0/W``."""
        path = (layer._record.path or ())[len(self._record.path or ()) :]
        return "/".join(["layers", *map(str, path), *([array] if array else [])])

    def parameters(self) -> Sequence[tuple[Layer, Declaration, Piece]]:
        """Each parameter's layer, its declaration, and where it is in ``theta``; shared ones once."""
        if self._parameters is None:
            self._parameters, start = [], 0
            for layer in walk(self):
                for d in own_params(layer):
                    piece = Piece(self.name_of(layer, d.name), slice(start, start + d.size), d.shape)
                    self._parameters.append((layer, d, piece))
                    start += d.size
        return self._parameters

    def pieces(self, wanted: Callable[[Layer, Declaration], bool] = lambda layer, d: True) -> list[Piece]:
        """The parameters for which ``wanted`` is true, and where they are in ``theta``."""
        return [piece for layer, d, piece in self.parameters() if wanted(layer, d)]

    def penalties(self) -> list[Penalty]:
        """The penalty for each parameter that has a regularizer."""
        return [
            Penalty(d.regularizer, layer._record.views[d.name], layer._record.gradients["d" + d.name], piece.name)
            for layer, d, piece in self.parameters()
            if d.regularizer is not None
        ]

    @property
    def frozen(self) -> list[slice]:
        """The slices of ``theta`` that belong to layers with ``trainable = False``."""
        if self._frozen is None:
            self._frozen = [piece.slice for piece in self.pieces(lambda layer, d: not layer.trainable)]
        return self._frozen

    @property
    def is_frozen(self) -> bool:
        """Whether there are parameters, and all of them belong to layers with ``trainable = False``."""
        frozen = [piece.stop - piece.start for piece in self.frozen]
        return bool(frozen) and sum(frozen) == self.theta.size

    # ------------------------------------------------------------------ building

    def build(self, input_shape: Shape) -> Shape:
        self.__dict__.pop("_passes", None)
        if self._said_dtype not in (None, self._record.dtype.name):
            raise ValueError(
                f"{self._where}: it was made with dtype={self._said_dtype!r}, but the model around it computes in "
                f"{self._record.dtype}; pass dtype to the outermost model only."
            )
        return super().build(input_shape)

    @contextmanager
    def building(self, input_shape: Shape) -> Iterator[Shape]:
        """Let the layers declare their arrays; yield the output shape. If the block fails, this is undone."""
        if self.built:
            yield self._record.output_shape or ()
            return
        if self.outer is not None:
            raise RuntimeError("this model is part of another one, which is not built: build the outermost model.")
        if not self.children:
            raise ValueError("the model has no layers; add some: model.add(md.Dense(10)).")
        with self._undone_if_failed():
            shape = declare(self, input_shape)
            self._check_held()
            yield shape

    @contextmanager
    def _undone_if_failed(self, more: Sequence[Layer] = ()) -> Iterator[None]:
        """If the block fails, restore the layers, and ``more`` that were to be added."""
        before = [(layer, layer.__dict__.copy(), layer._record.copy()) for layer in _reachable([self, *more])]
        children = dict(self._record.children)
        theta = self._theta
        try:
            yield
        except BaseException:
            if self._theta is theta:  # not allocated
                for layer, attributes, record in before:
                    layer.__dict__.clear()
                    layer.__dict__.update(attributes, _record=record)
                self._record.children = children
            raise

    def extend(self, layers: Sequence[Layer]) -> None:
        """Add layers at the end, and build them if the network is built; on an error, none is added."""
        check_free(layers, self)
        with self._undone_if_failed(layers):
            self.append(layers)
            self.__dict__.pop("_passes", None)
            if self.built:
                for layer in layers:
                    self._record.output_shape = declare(layer, self._record.output_shape or ())
                self._check_held()
                self.allocate()

    def remove_last(self) -> None:
        """Remove the last layer; the others keep their values."""
        children, record = self._record.children, self._record
        _, removed = children.popitem()
        removed._record.parent = None
        self.__dict__.pop("_passes", None)
        if self.built:
            last = next(reversed(children.values()), None)
            record.output_shape = record.input_shape if last is None else last._record.output_shape
            self.allocate()

    def allocate(self, values: Mapping[str, Array] | None = None) -> None:
        """Allocate the vectors and give each layer its views.

        The initial values are ``values``, by name; or those a layer already has, because it is a copy or was built
        before; or else what the initializers draw, with a separate generator for each layer, so that no layer's
        initial values depend on another layer.
        """
        if self.outer is None:
            self._record.path = ()
        layers, dtype = list(walk(self)), self._record.dtype
        for layer in layers:
            for name, child in layer._record.children.items():
                child._record.path = (*(layer._record.path or ()), int(name) if name.isdigit() else name)
        theta = aligned_zeros(sum(d.size for layer in layers for d in own_params(layer)), dtype)
        flat = [d for layer in layers for d in layer._record.buffers if d.dtype in (None, dtype.name)]
        buffers = np.empty(sum(d.size for d in flat), dtype)
        grad = aligned_zeros(theta.size, dtype)
        views: dict[int, dict[str, Array]] = {}
        gradients: dict[int, dict[str, Array]] = {}
        shared: list[tuple[Array, Array]] = []
        networks: list[tuple[Network, slice, slice, list[tuple[Array, Array]]]] = []

        def lay_out(layer: Layer, place: int, buffer_place: int) -> tuple[int, int]:
            """Give the layer its slices of the vectors, from these positions on; return the positions after them."""
            begin, start = (place, buffer_place), self.generators.start_of_layer(layer._record.path or ())
            mine, mine_d = views.setdefault(id(layer), {}), gradients.setdefault(id(layer), {})
            shared_before = len(shared)
            for d in layer._record.params:
                if d.owner is None:
                    piece, place = slice(place, place + d.size), place + d.size
                    mine[d.name], mine_d["d" + d.name] = theta[piece].reshape(d.shape), grad[piece].reshape(d.shape)
                    mine[d.name][...] = self._starting_values(layer, d, values, start)
                else:
                    owner, name = d.owner
                    if id(owner) not in views:
                        raise ValueError(f"{layer._where}: {d.name} is shared with {owner!r}, not in this network.")
                    mine[d.name], mine_d["d" + d.name] = views[id(owner)][name], np.zeros(d.shape, dtype)
                    shared.append((gradients[id(owner)]["d" + name], mine_d["d" + d.name]))
            for d in layer._record.buffers:
                if d.dtype in (None, dtype.name):
                    piece, buffer_place = slice(buffer_place, buffer_place + d.size), buffer_place + d.size
                    mine[d.name] = buffers[piece].reshape(d.shape)
                else:
                    mine[d.name] = np.empty(d.shape, d.dtype)
                mine[d.name][...] = self._starting_values(layer, d, values, start)
            for child in layer._record.children.values():
                place, buffer_place = lay_out(child, place, buffer_place)
            if isinstance(layer, Network):
                pieces = slice(begin[0], place), slice(begin[1], buffer_place)
                networks.append((layer, *pieces, shared[shared_before:]))
            return place, buffer_place

        lay_out(self, 0, 0)
        for layer in layers:  # only now that nothing can fail any more
            bind(layer, views[id(layer)], gradients[id(layer)])
            if layer.draws and "rng" not in layer.__dict__:
                layer.rng = self.generators.noise_of_layer(layer._record.path or ())
        for network, piece, buffer_piece, pairs in networks:
            network._theta, network._grad, network._buffers = theta[piece], grad[piece], buffers[buffer_piece]
            network._frozen = network._parameters = None
            network.plans, network.ready_for_one_row = {}, []
            network.parameters()
            network._of_other_dtype = [
                views[id(layer)][d.name]
                for layer in walk(network)
                for d in layer._record.buffers
                if d.dtype not in (None, dtype.name)
            ]
            network._kept = [np.empty_like(array) for array in network.all_buffers]
            network._input_dtype = None
            network._input_dtype = network.input_dtype
            network._shared = [pair for pair in pairs if np.may_share_memory(pair[0], network._grad)]
        self._simple = all(layer._record.simple for layer in self.children)

    def _starting_values(
        self, layer: Layer, d: Declaration, values: Mapping[str, Array] | None, start: np.random.Generator
    ) -> Array:
        if values is not None:
            return values[self.name_of(layer, d.name)]
        found, source = layer._record.arrays.get(d.name), "the layer this one is a copy of has"
        if found is None:
            found, source = np.asarray(d.initializer(start, d.shape)), "the initializer returned"
        if found.shape != d.shape:
            raise ValueError(f"{layer._where}: {d.name} must have shape {d.shape}; {source} {found.shape}.")
        return found

    def _check_held(self) -> None:
        """Raise ValueError if a layer holds another one that is not in this network and would not be trained."""
        inside = {id(layer) for layer in walk(self)}
        for layer in walk(self):
            for name, value in vars(layer).items():
                for other in held(value) if name not in ("_record", "_config", "_facade") else ():
                    if id(other) not in inside:
                        raise ValueError(
                            f"{layer._where}: the attribute {name!r} holds {other!r}, which is not in this model and "
                            f"would not be trained: declare it with self.child({name!r}, layer, input_shape) in build."
                        )

    # ------------------------------------------------------------------ passes

    def trunk(self, last: type[Layer] | None) -> list[Layer]:
        """The layers that compute the scores: all but a final one of class ``last``, which the loss includes."""
        layers = self.children
        return layers[:-1] if layers and type(layers[-1]) is last else layers

    @property
    def has_shared(self) -> bool:
        """Whether there are shared parameters."""
        return bool(self._shared)

    def add_shared(self) -> None:
        """After a backward pass: add to each shared parameter's gradient those of the layers that share it."""
        for gradient, other in self._shared:
            gradient += other

    def snapshot_buffers(self) -> None:
        """Before a step, in which layers change the buffers: keep a copy for ``restore_buffers``."""
        for kept, array in zip(self._kept, self.all_buffers, strict=True):
            np.copyto(kept, array)

    def restore_buffers(self) -> None:
        """Set the buffers to what they were at the last ``snapshot_buffers``."""
        for kept, array in zip(self._kept, self.all_buffers, strict=True):
            np.copyto(array, kept)

    def buffers_before(self) -> list[Array]:
        """``all_buffers`` at the last ``snapshot_buffers``."""
        return self._kept

    def inference(self, workspaces: bool = False) -> Callable[[Array], Array]:
        """``inference`` with all layers of the network."""
        return inference(self.children, workspaces)

    def reuse_workspaces(self) -> None:
        """Until ``pass_is_over(forget=True)``, let each layer's ``workspace`` return the same arrays again."""
        for layer in walk(self):
            layer.__dict__["_workspaces"] = {}

    def pass_is_over(self, forget: bool) -> None:
        """After training steps. forget: drop the layers' caches and workspaces."""
        for layer in walk(self):
            layer._record.needs_dx = True
            if forget:
                drop_caches(layer)
        if forget:
            self.plans.clear()

    def one_thread(self, rows: int) -> AbstractContextManager[None]:
        """A block with one BLAS thread, for inference on ``rows`` rows."""
        return one_thread_for(rows * self._theta.size if self._simple and self._theta is not None else math.inf)

    def helpers_for(self, rows: int, pieces: int) -> int:
        """How many helper threads may be used for inference on ``rows`` rows, in ``pieces`` pieces."""
        large = pieces > 1 and 2 * rows * self.theta.size >= WORTH_HELPERS
        draws = any(layer.draws and not layer._of_library for layer in walk(self))  # then the order matters
        return pieces - 1 if large and not draws else 0

    # ------------------------------------------------------------------ copying

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        none = dict.fromkeys(("_theta", "_grad", "_parameters", "_input_dtype"))
        empty = {"_buffers": np.empty(0), "_of_other_dtype": [], "_kept": [], "_shared": []}
        empty |= {"plans": {}, "ready_for_one_row": []}
        return state | none | empty | {"_was_built": self.built}

    def allocate_copy(self) -> None:
        """Allocate the vectors of a copy, with the values that its layers were copied with."""
        if self.__dict__.pop("_was_built", False):
            self.allocate()


def inference(layers: Sequence[Layer], workspaces: bool = False) -> Callable[[Array], Array]:
    """A function from x to the output. It runs on clones of the layers, so that no layer changes, in any thread.

    workspaces: the function may overwrite its previous output at each call.
    """
    forwards = inference_steps(layers, workspaces)

    def infer(x: Array) -> Array:
        for forward in forwards:
            x = forward(x)
        return x

    return infer


def inference_steps(layers: Sequence[Layer], workspaces: bool = False) -> list[Callable[[Array], Array]]:
    """The functions that ``inference`` calls one after the other, one for each layer."""
    twins = clones(layers)
    if workspaces:
        for twin in twins:
            for layer in walk(twin):
                layer.__dict__["_workspaces"] = {}
    return [forward_of(twin, False) for twin in twins]


def first_not_finite(layers: Sequence[Layer], x: Array) -> Layer | None:
    """The first layer whose output for ``x`` has a NaN or an infinity."""
    for layer in layers:
        x = inference([layer])(x)
        if not np.isfinite(x).all():
            return layer
    return None


def _reachable(layers: Iterable[Layer], found: dict[int, Layer] | None = None) -> Iterable[Layer]:
    """The layers, their children, and those that will be children once the layers that hold them are built."""
    found = {} if found is None else found
    for layer in layers:
        if id(layer) not in found:
            found[id(layer)] = layer
            _reachable([*layer._record.children.values(), *held([*vars(layer).values()])], found)
    return found.values()
