"""Keras' module of that name: initial values."""

from minidense.layers.initializers import *  # noqa: F403
