"""Keras' module of that name: penalties."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.layers.regularizers import *  # noqa: F403
from minidense.layers.regularizers import get_regularizer

get = get_regularizer

if not TYPE_CHECKING:
    __getattr__ = module_attribute("regularizers")
