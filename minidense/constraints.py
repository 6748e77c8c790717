"""Keras' module of that name: limits of parameters."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.layers.constraints import *  # noqa: F403
from minidense.layers.constraints import get_constraint

get = get_constraint

if not TYPE_CHECKING:
    __getattr__ = module_attribute("constraints")
