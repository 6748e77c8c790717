"""Keras' module of that name: penalties."""

from minidense.layers.regularizers import *  # noqa: F403
