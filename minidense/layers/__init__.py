"""Layers: ``base`` is what they share, then one file for each family."""

from minidense.layers.activations import ACTIVATIONS, Activation, ReLU, Sigmoid, Softmax
from minidense.layers.base import Layer
from minidense.layers.dense import Dense

__all__ = ["ACTIVATIONS", "Activation", "Dense", "Layer", "ReLU", "Sigmoid", "Softmax"]
