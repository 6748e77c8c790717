"""Keras' module of that name: the activations as functions of arrays, which may also be passed as ``activation=``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidense.core.arguments import lookup
from minidense.core.instead import module_attribute
from minidense.core.named import NamedFunction, name_of
from minidense.layers.activations import FUNCTIONS

elu = FUNCTIONS["elu"]
exponential = FUNCTIONS["exponential"]
gelu = FUNCTIONS["gelu"]
hard_sigmoid = FUNCTIONS["hard_sigmoid"]
leaky_relu = FUNCTIONS["leaky_relu"]
linear = FUNCTIONS["linear"]
log_softmax = FUNCTIONS["log_softmax"]
mish = FUNCTIONS["mish"]
relu = FUNCTIONS["relu"]
relu6 = FUNCTIONS["relu6"]
selu = FUNCTIONS["selu"]
sigmoid = FUNCTIONS["sigmoid"]
silu = FUNCTIONS["silu"]
softmax = FUNCTIONS["softmax"]
softplus = FUNCTIONS["softplus"]
softsign = FUNCTIONS["softsign"]
swish = FUNCTIONS["swish"]
tanh = FUNCTIONS["tanh"]


def get(identifier: str | NamedFunction | None) -> NamedFunction:
    """The function of that name; None is ``linear``.

    >>> get("relu")([-1.0, 2.0])
    array([0., 2.])
    """
    return linear if identifier is None else lookup("activation", name_of(identifier), FUNCTIONS)


if not TYPE_CHECKING:
    __getattr__ = module_attribute("activations")
