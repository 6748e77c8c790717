"""Layers made of layers: in sequence, with a shortcut, in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidense.core.configurable import signature_of
from minidense.core.types import Array, Shape
from minidense.layers.base import Layer, adopt, as_layer, check_free, declare
from minidense.layers.guard import backward_of, forward_of, takers, weighing


class Pass:
    """The layers' forward and backward methods, looked up once.

    With ``for_input`` False, the backward pass ends at the first layer that has parameters: the gradient with respect
    to the input is not computed.
    """

    def __init__(self, layers: Sequence[Layer], training: bool, for_input: bool = True) -> None:
        self.forwards = [forward_of(layer, training) for layer in layers]
        first = 0
        if not for_input:
            first = next((i for i, layer in enumerate(layers) if has_params(layer)), len(layers))
        for i, layer in enumerate(layers):
            layer._record.needs_dx = for_input or i > first or not layer._of_library
        self.backwards = [backward_of(layer) for layer in reversed(layers[first:])]
        self.takers = [taker for layer in layers for taker in takers(layer)]

    def forward(self, x: Array, weights: Array | None = None) -> Array:
        """The output. weights: of the rows, (n,), for the layers that take them, at any depth."""
        if weights is not None and self.takers:
            with weighing(self.takers, weights):
                return self.forward(x)
        for forward in self.forwards:
            x = forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        for backward in self.backwards:
            dy = backward(dy)
        return dy


def has_params(layer: Layer) -> bool:
    """Whether the layer or a layer within it declares a parameter, its own or a shared one."""
    return bool(layer._record.params) or any(map(has_params, layer._record.children.values()))


class Composite(Layer):
    """Base of the layers that only call their children: rowwise if all of these are."""

    _keeps_children = True

    def _set_argument(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}: {name} cannot be set after construction; make a new one.")

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        """Whether each row of the output depends only on the same row of the input."""
        return all(child.rowwise for child in self._record.children.values())


def _check_names(layers: Sequence[Layer]) -> None:
    """Raise ValueError for two layers that were given the same name."""
    given = (layer for layer in layers if "name" in layer._config)
    names = [layer._config["name"] for layer in given if "name" not in signature_of(type(layer)).parameters]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the layers of a chain need different names; {names.count(name)} are called {name!r}.")


class Chain(Composite, library=True):
    """Layers in sequence: each takes the output of the one before it. Its children are numbered.

    layers: Layer objects or models; a Dense with an activation adds that activation as a separate layer.
    Raises TypeError for anything that is not a layer, and ValueError for a layer that is part of a model already.

    >>> from minidense.layers import Dense
    >>> Chain([Dense(3, "relu")]).children
    [Dense(3), ReLU()]
    """

    caches = ("_passes",)

    def __init__(self, layers: Sequence[Any] = ()) -> None:
        if isinstance(layers, Layer) or not isinstance(layers, Sequence):
            hint = f" use [{layers!r}]." if hasattr(layers, "_as_layer") else ""
            raise TypeError(f"layers: expected a list of layers, got {type(layers).__name__};{hint}")
        self.append(expanded(layers))

    @property
    def children(self) -> list[Layer]:
        """The layers, first to last."""
        return list((self._record.former or self._record.children).values())  # while it is built, the former ones

    def append(self, layers: Sequence[Layer]) -> None:
        """Add layers, already expanded, at the end. They are not built yet."""
        check_free(layers, self)
        _check_names([*self.children, *layers])
        for layer in layers:
            adopt(self, str(len(self._record.children)), layer)
            layer._settle()

    def get_config(self) -> dict[str, Any]:
        return {"layers": self.children} if self._of_library else super().get_config()

    def __repr__(self) -> str:
        return repr(self.children) if self._of_library else super().__repr__()

    def build(self, input_shape: Shape) -> Shape:
        for name, layer in self._record.former.items():
            adopt(self, name, layer)
            input_shape = declare(layer, input_shape)
        return input_shape

    def _examples(self, rng: np.random.Generator, n: int) -> Array:
        return self.children[0]._examples(rng, n) if self.children else super()._examples(rng, n)

    def forward(self, x: Array, training: bool = False) -> Array:
        return self._pass(training).forward(x)

    def backward(self, dy: Array) -> Array:
        return self._pass(True).backward(dy)

    def _pass(self, training: bool) -> Pass:
        passes: dict[bool, Pass] = self.__dict__.setdefault("_passes", {})
        if training not in passes:
            passes[training] = Pass(self.children, training)
        return passes[training]


def expanded(layers: Sequence[Any]) -> list[Layer]:
    """The layers, each replaced by those it expands into. Raises TypeError for anything that is not a layer."""
    parts = []
    for layer in layers:
        parts += layer._expand() if isinstance(layer, Layer) else [as_layer(layer)]
    return parts


def as_one_layer(layers: Any) -> Layer:
    """A layer or a model as a single layer, a list of them as a chain."""
    return Chain(layers) if isinstance(layers, list | tuple) else as_layer(layers)


class Residual(Composite, library=True):
    """``y = x + f(x)``, ``dx = dy + f.backward(dy)``, where f is the layers in sequence (He et al., 2016).

    layers: a list of layers, a single one, or a model. Raises ValueError in ``build`` if f changes the shape of x.

    >>> import minidense as md
    >>> model = md.Sequential([Residual([md.Dense(8, "relu"), md.Dense(4)])], rng=0).build(4)
    >>> model.output_shape
    (4,)
    """

    f: Layer

    def __init__(self, layers: Any) -> None:
        self.f = as_one_layer(layers)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config | {"layers": self.f} if "layers" in config else config

    def build(self, input_shape: Shape) -> Shape:
        shape = self.child("f", self.f, input_shape)
        if shape != input_shape:
            raise ValueError(
                f"{self._where}: the layers must return the shape of their input, {input_shape}; got {shape}."
            )
        return shape

    def as_numpy(self) -> str:
        return "x = x + f(x)"

    def forward(self, x: Array, training: bool = False) -> Array:
        y: Array = x + self.f.forward(x, training)
        return y

    def backward(self, dy: Array) -> Array:
        dx: Array = dy + self.f.backward(dy)
        return dx


class Concatenate(Composite, library=True):
    """``y = [f_0(x), f_1(x), ...]`` along the last axis: parallel branches, all with the same input.

    branches: a list; each branch is a layer, a list of layers, or a model. Raises ValueError in ``build`` if their
    outputs differ in an axis other than the last.

    >>> import minidense as md
    >>> model = md.Sequential([Concatenate([md.Dense(3), [md.Dense(8, "relu"), md.Dense(2)]])], rng=0).build(4)
    >>> model.output_shape
    (5,)
    """

    def __init__(self, branches: Sequence[Any]) -> None:
        if not isinstance(branches, list | tuple) or not branches:
            raise TypeError(f"Concatenate: branches: expected a list of layers, got {branches!r}.")
        self._names = [f"branch_{i}" for i in range(len(branches))]
        self.__dict__.update(zip(self._names, map(as_one_layer, branches), strict=True))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config | {"branches": [getattr(self, name) for name in self._names]} if "branches" in config else config

    def build(self, input_shape: Shape) -> Shape:
        shapes = [self.child(name, getattr(self, name), input_shape) for name in self._names]
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ValueError(f"{self._where}: the branches' outputs may differ in the last axis only, got {shapes}.")
        self._ends = [sum(shape[-1] for shape in shapes[: i + 1]) for i in range(len(shapes))]
        return (*shapes[0][:-1], self._ends[-1])

    def as_numpy(self) -> str:
        calls = ", ".join(f"{name}(x)" for name in self._record.children)
        return f"x = np.concatenate([{calls}], axis=-1)"

    def forward(self, x: Array, training: bool = False) -> Array:
        parts = [branch.forward(x, training) for branch in self._record.children.values()]
        return np.concatenate(parts, axis=-1)

    def backward(self, dy: Array) -> Array:
        dx: Array | None = None
        for branch, part in zip(self._record.children.values(), np.split(dy, self._ends[:-1], axis=-1), strict=True):
            of_branch = branch.backward(np.ascontiguousarray(part))
            dx = of_branch if dx is None else dx + of_branch
        assert dx is not None
        return dx

    _ends: list[int]
