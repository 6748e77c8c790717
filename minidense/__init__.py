"""minidense: dense neural networks on NumPy, small, exact and fast.

>>> import minidense as md
>>> model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=0)
"""

from minidense import callbacks, datasets, initializers, schedules
from minidense.callbacks import Callback
from minidense.data import ClassLabels
from minidense.errors import CorruptFileError
from minidense.gradcheck import check_layer
from minidense.history import History
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
from minidense.losses import (
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    RowLoss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    TargetLoss,
)
from minidense.metrics import AUC, F1, R2, Accuracy, BinaryAccuracy, Metric, Precision, Recall, TopKAccuracy
from minidense.model import Sequential, load_model
from minidense.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from minidense.version import __version__ as __version__

__all__ = [
    "AUC",
    "ELU",
    "F1",
    "GELU",
    "R2",
    "SGD",
    "Accuracy",
    "Activation",
    "Adam",
    "AdamW",
    "BatchNormalization",
    "BinaryAccuracy",
    "Callback",
    "ClassLabels",
    "CorruptFileError",
    "Dense",
    "Dropout",
    "Flatten",
    "History",
    "Huber",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Optimizer",
    "Precision",
    "RMSprop",
    "ReLU",
    "Recall",
    "RowLoss",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Tanh",
    "TargetLoss",
    "TopKAccuracy",
    "callbacks",
    "check_layer",
    "datasets",
    "initializers",
    "load_model",
    "schedules",
]
