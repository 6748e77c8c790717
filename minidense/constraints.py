"""Keras' module of that name: limits of parameters."""

from minidense.layers.constraints import *  # noqa: F403
