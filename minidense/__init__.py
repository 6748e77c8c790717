"""minidense: dense neural networks on NumPy, small, exact and fast.

>>> import minidense as md
>>> model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=0)
"""

from minidense import callbacks, datasets, initializers
from minidense.callbacks import Callback, History
from minidense.gradcheck import check_layer
from minidense.layers import (
    ELU,
    GELU,
    Activation,
    BatchNormalization,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNormalization,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidense.losses import Loss, RowLoss, SoftmaxCrossEntropy
from minidense.metrics import Accuracy, Metric
from minidense.model import Sequential
from minidense.optimizers import SGD, Optimizer

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "GELU",
    "SGD",
    "Accuracy",
    "Activation",
    "BatchNormalization",
    "Callback",
    "Dense",
    "Dropout",
    "Flatten",
    "History",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Loss",
    "Metric",
    "Optimizer",
    "ReLU",
    "RowLoss",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Tanh",
    "callbacks",
    "check_layer",
    "datasets",
    "initializers",
]
