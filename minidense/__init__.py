"""minidense: dense neural networks on NumPy, small, exact and fast.

>>> import minidense as md
>>> model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=0)
"""

from minidense import callbacks, datasets, schedules
from minidense.callbacks.base import Callback
from minidense.core.errors import CorruptFileError
from minidense.core.version import __version__ as __version__
from minidense.data.labels import ClassLabels
from minidense.layers import (
    ELU,
    GELU,
    Activation,
    BatchNormalization,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNormalization,
    LeakyReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    initializers,
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
from minidense.teaching.gradcheck import check_layer
from minidense.training.history import History

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
    "Concatenate",
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
    "Residual",
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
