"""Layers: their common base, and one file for each family."""

from minidense.layers.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    Activation,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidense.layers.base import Layer
from minidense.layers.composite import Chain, Concatenate, Residual
from minidense.layers.dense import Dense
from minidense.layers.dropout import Dropout
from minidense.layers.flatten import Flatten
from minidense.layers.normalization import BatchNormalization, LayerNormalization

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "Activation",
    "BatchNormalization",
    "Chain",
    "Concatenate",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "ReLU",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
