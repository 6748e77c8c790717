"""Layers: their common base, and one file for each family."""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.layers.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Elementwise,
    Exponential,
    HardSigmoid,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from minidense.layers.base import Layer
from minidense.layers.composite import Chain, Concatenate, Residual
from minidense.layers.dense import Dense
from minidense.layers.embedding import CategoryEncoding, EmbedColumns, Embedding
from minidense.layers.noise import Dropout, GaussianNoise
from minidense.layers.normalization import BatchNormalization, LayerNormalization, Normalization, RMSNormalization
from minidense.layers.packed import MembersMean, PackedDense, Scale
from minidense.layers.shaping import Flatten, Input, Rescaling, Reshape

Identity, InputLayer = Linear, Input  # Keras' other names

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "BatchNormalization",
    "CategoryEncoding",
    "Chain",
    "Concatenate",
    "Dense",
    "Dropout",
    "Elementwise",
    "EmbedColumns",
    "Embedding",
    "Exponential",
    "Flatten",
    "GaussianNoise",
    "HardSigmoid",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MembersMean",
    "Mish",
    "Normalization",
    "PReLU",
    "PackedDense",
    "RMSNormalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "Scale",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
]

if not TYPE_CHECKING:
    __getattr__ = module_attribute("layers")
