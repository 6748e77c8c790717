"""minidense: dense neural networks on NumPy, small, exact and fast.

>>> import minidense as md
>>> model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=0)
"""

from minidense import callbacks, datasets, initializers
from minidense.callbacks import Callback, History
from minidense.gradcheck import check_layer
from minidense.layers import Activation, Dense, Layer, ReLU, Sigmoid, Softmax
from minidense.losses import Loss, RowLoss, SoftmaxCrossEntropy
from minidense.metrics import Accuracy, Metric
from minidense.model import Sequential
from minidense.optimizers import SGD, Optimizer

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Accuracy",
    "Activation",
    "Callback",
    "Dense",
    "History",
    "Layer",
    "Loss",
    "Metric",
    "Optimizer",
    "ReLU",
    "RowLoss",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "callbacks",
    "check_layer",
    "datasets",
    "initializers",
]
