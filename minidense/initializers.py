"""Keras' module of that name: initial values."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.layers.initializers import *  # noqa: F403
from minidense.layers.initializers import get_initializer

get = get_initializer

if not TYPE_CHECKING:
    __getattr__ = module_attribute("initializers")
