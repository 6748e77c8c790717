"""minidense: dense neural networks on NumPy, small, exact and fast.

>>> import minidense as md
>>> model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidense import callbacks, constraints, initializers, losses, metrics, regularizers, schedules
from minidense.callbacks.base import Callback
from minidense.core.errors import CorruptFileError
from minidense.core.instead import module_attribute
from minidense.core.version import __version__ as __version__
from minidense.data.labels import ClassLabels
from minidense.layers import (
    ELU,
    GELU,
    SELU,
    Activation,
    BatchNormalization,
    CategoryEncoding,
    Concatenate,
    Dense,
    Dropout,
    Elementwise,
    EmbedColumns,
    Embedding,
    Exponential,
    Flatten,
    GaussianNoise,
    HardSigmoid,
    Input,
    Layer,
    LayerNormalization,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MembersMean,
    Mish,
    Normalization,
    PackedDense,
    PReLU,
    ReLU,
    Rescaling,
    Reshape,
    Residual,
    RMSNormalization,
    Scale,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from minidense.losses import (
    FunctionLoss,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    RowLoss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    TargetLoss,
)
from minidense.metrics import (
    AUC,
    F1,
    R2,
    Accuracy,
    BinaryAccuracy,
    Metric,
    Precision,
    Recall,
    TopKAccuracy,
    confusion_matrix,
)
from minidense.model import Sequential
from minidense.models import load_model
from minidense.optimizers import LBFGS, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, Optimizer, RMSprop
from minidense.training.history import History

if TYPE_CHECKING:
    from minidense import datasets
    from minidense.tables.estimators import TableClassifier, TableRegressor
    from minidense.tables.preprocessing import TablePreprocessor
    from minidense.teaching.gradcheck import check_layer, check_loss

__all__ = [
    "AUC",
    "ELU",
    "F1",
    "GELU",
    "LBFGS",
    "R2",
    "SELU",
    "SGD",
    "Accuracy",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "BatchNormalization",
    "BinaryAccuracy",
    "Callback",
    "CategoryEncoding",
    "ClassLabels",
    "Concatenate",
    "CorruptFileError",
    "Dense",
    "Dropout",
    "Elementwise",
    "EmbedColumns",
    "Embedding",
    "Exponential",
    "Flatten",
    "FunctionLoss",
    "GaussianNoise",
    "HardSigmoid",
    "History",
    "Huber",
    "Input",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Linear",
    "Lion",
    "LogSoftmax",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MembersMean",
    "Metric",
    "Mish",
    "Nadam",
    "Normalization",
    "Optimizer",
    "PReLU",
    "PackedDense",
    "Precision",
    "RMSNormalization",
    "RMSprop",
    "ReLU",
    "Recall",
    "Rescaling",
    "Reshape",
    "Residual",
    "RowLoss",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Softsign",
    "TableClassifier",
    "TablePreprocessor",
    "TableRegressor",
    "Tanh",
    "TargetLoss",
    "TopKAccuracy",
    "callbacks",
    "check_layer",
    "check_loss",
    "confusion_matrix",
    "constraints",
    "datasets",
    "initializers",
    "load_model",
    "losses",
    "metrics",
    "regularizers",
    "schedules",
]

_WHEN_USED = {
    "Identity": "minidense.layers",
    "InputLayer": "minidense.layers",
    "activations": "",
    "models": "",
    "utils": "",
    "check_layer": "minidense.teaching.gradcheck",
    "check_loss": "minidense.teaching.gradcheck",
    "datasets": "",
    "TableClassifier": "minidense.tables.estimators",
    "TablePreprocessor": "minidense.tables.preprocessing",
    "TableRegressor": "minidense.tables.estimators",
}
"""Public names that are imported on first use, and the module that has them; "" for a module of that name."""


def _found(name: str) -> Any:
    from importlib import import_module

    place = _WHEN_USED[name]
    found = getattr(import_module(place), name) if place else import_module(f"minidense.{name}")
    globals()[name] = found
    return found


__getattr__ = module_attribute("", _found)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHEN_USED})
