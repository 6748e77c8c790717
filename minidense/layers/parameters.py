"""One flat vector ``theta`` of all parameters, one flat ``grad``, and the views into them that layers hold.

First every layer declares what it needs, then the two vectors are laid out and allocated once, then each layer
gets its views: ``layer.W`` and ``layer.dW`` are pieces of the model's ``theta`` and ``grad``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from minidense.core.types import Array, Shape
from minidense.layers.initializers import Initializer


@dataclass(frozen=True)
class Declaration:
    """What ``Layer.param`` notes down: one parameter's name, shape and initializer, and whether weights decay."""

    name: str
    shape: Shape
    initializer: Initializer
    decay: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Owner(Protocol):
    """What this file needs of a layer."""

    @property
    def declarations(self) -> Sequence[Declaration]: ...

    @property
    def values(self) -> dict[str, Array]: ...

    @property
    def where(self) -> str: ...

    def starting_states(self) -> dict[str, Array]: ...

    def bind(self, views: dict[str, Array], states: dict[str, Array]) -> None: ...


Fill: TypeAlias = Callable[[int, Declaration, Array], None]
"""``fill(layer's index, declaration, view)`` writes the values that a parameter starts from."""


def allocate(layers: Sequence[Owner], dtype: np.dtype[Any], fill: Fill) -> tuple[Array, Array]:
    """Allocate ``theta`` and ``grad`` for ``layers``, fill ``theta``, and bind each layer's views and states.

    Returns (theta, grad), both (p,).
    """
    total = sum(d.size for layer in layers for d in layer.declarations)
    theta, grad = np.empty(total, dtype), np.zeros(total, dtype)
    bound: list[tuple[Owner, dict[str, Array], dict[str, Array]]] = []
    start = 0
    for index, layer in enumerate(layers):
        views: dict[str, Array] = {}
        for d in layer.declarations:
            stop = start + d.size
            views[d.name] = theta[start:stop].reshape(d.shape)
            views["d" + d.name] = grad[start:stop].reshape(d.shape)
            fill(index, d, views[d.name])
            start = stop
        bound.append((layer, views, layer.starting_states()))
    for layer, views, states in bound:  # only now that nothing can fail any more
        layer.bind(views, states)
    return theta, grad


def start_of(layers: Sequence[Owner], streams: Sequence[np.random.Generator]) -> Fill:
    """The ``fill`` of a new model.

    A layer that has values already (a copied or unpickled one, or one built earlier) keeps them; the others start
    from their initializers, each layer from its own stream, so that no layer's start depends on another's.
    """

    def fill(index: int, d: Declaration, view: Array) -> None:
        view[...] = _starting_values(layers[index], d, streams[index])

    return fill


def _starting_values(layer: Owner, d: Declaration, stream: np.random.Generator) -> Array:
    values, source = layer.values.get(d.name), "the layer this one is a copy of has"
    if values is None:
        values, source = np.asarray(d.initializer(stream, d.shape)), "the initializer returned"
    if values.shape != d.shape:
        raise ValueError(f"{layer.where}: {d.name} must have shape {d.shape}; {source} {values.shape}.")
    return values
