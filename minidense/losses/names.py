"""The names of the losses: those of Keras, a line each."""

from __future__ import annotations

from typing import Any

from minidense.core.arguments import lookup
from minidense.core.named import NamedFunction, name_of
from minidense.core.types import Array
from minidense.losses.base import Loss, RowLoss
from minidense.losses.classes import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from minidense.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    Quantile,
)

LOSSES: dict[str, type[RowLoss]] = {
    "sparse_categorical_crossentropy": SoftmaxCrossEntropy,
    "categorical_crossentropy": SoftmaxCrossEntropy,
    "softmax_crossentropy": SoftmaxCrossEntropy,
    "binary_crossentropy": SigmoidCrossEntropy,
    "bce": SigmoidCrossEntropy,
    "sigmoid_crossentropy": SigmoidCrossEntropy,
    "categorical_focal_crossentropy": CategoricalFocalCrossentropy,
    "binary_focal_crossentropy": BinaryFocalCrossentropy,
    "kl_divergence": KLDivergence,
    "kullback_leibler_divergence": KLDivergence,
    "kld": KLDivergence,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "categorical_hinge": CategoricalHinge,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "mean_absolute_percentage_error": MeanAbsolutePercentageError,
    "mape": MeanAbsolutePercentageError,
    "mean_squared_logarithmic_error": MeanSquaredLogarithmicError,
    "msle": MeanSquaredLogarithmicError,
    "huber": Huber,
    "log_cosh": LogCosh,
    "logcosh": LogCosh,
    "poisson": Poisson,
    "quantile": Quantile,
    "pinball": Quantile,
    "cosine_similarity": CosineSimilarity,
}

_OF_KERAS: tuple[type[RowLoss], ...] = (BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy)
_BY_CLASS: dict[str, type[RowLoss]] = {kind.__name__.lower(): kind for kind in (*LOSSES.values(), *_OF_KERAS)}


OF_PREDICTIONS: dict[str, type[RowLoss]] = {
    **LOSSES,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "softmax_crossentropy": CategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "sigmoid_crossentropy": BinaryCrossentropy,
}
"""By the same names, the class that, called by hand, takes probabilities where a model gives them."""


def _as_function(name: str, kind: type[RowLoss]) -> NamedFunction:
    def function(y_true: Any, y_pred: Any, **arguments: Any) -> Array:
        return kind(**arguments).each(y_true, y_pred)

    doc = f"The loss of each row, (n,): that of ``{kind.__name__}``, whose arguments it takes by name."
    return NamedFunction("losses", name, function, doc)


FUNCTIONS = {name: _as_function(name, kind) for name, kind in OF_PREDICTIONS.items()}
"""The same as functions of (y_true, y_pred)."""


def get_loss(loss: str | NamedFunction | Loss) -> Loss:
    """A new loss of that name, in any case, Keras' or a class's, or of that function; an object as it is.

    >>> get_loss("sparse_categorical_crossentropy"), get_loss("LogCosh")
    (SoftmaxCrossEntropy(), LogCosh())
    """
    loss = name_of(loss)
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return (_BY_CLASS.get(loss.lower()) or lookup("loss", loss.lower(), LOSSES))()
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss: got the class {loss.__name__}; make an object of it: {loss.__name__}().")
    if callable(loss):
        name = getattr(loss, "__name__", "f")
        raise TypeError(
            f"loss: got a function, whose derivative with respect to y_pred is needed too: "
            f"md.FunctionLoss({name}, derivative)."
        )
    raise TypeError(f"loss: expected a name or a Loss such as md.SoftmaxCrossEntropy(), got {loss!r}.")
