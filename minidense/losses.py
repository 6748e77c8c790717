"""Losses: from scores and labels to one number, and to its gradient dscore, where the backward pass begins.

A loss is a sum or a mean over rows. A subclass of ``RowLoss`` defines the loss of each row and its derivative, and the
library does the rest; a subclass of ``Loss`` computes whole batches itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import lookup, real_number
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_array
from minidense.layers import Elementwise, Layer, Linear, Sigmoid, Softmax
from minidense.metrics import Accuracy, BinaryAccuracy, Metric
from minidense.numerics.functional import log_sum_exp_shifted, mean, shifted, sigmoid, softmax_of

_CHECK_ROWS = 65_536  # of labels, at a time

_QUIET = np.errstate(all="ignore")  # an overflow gives inf, which is checked for


class Loss(Configurable):
    """Base of all losses: ``forward(scores, y)`` returns a float and ``backward()`` dLoss/dscores, (n, k).

    ``scores`` is the model's output. A custom loss needs only these two methods; it then gets ``y`` as the user passed
    it, one batch at a time, and the mean of its values over the rows is reported. Name in ``saved`` the attributes that
    must last from batch to batch; all others that ``forward`` sets are caches.
    """

    reduction: str = "mean"
    """"mean" or "sum" over the rows of a batch: how forward and backward are scaled."""

    accuracy: ClassVar[type[Metric] | None] = Accuracy
    """What the metric "accuracy" means under this loss; None where it means nothing."""

    includes: ClassVar[type[Layer] | None] = None
    """The activation that this loss computes itself: training skips a final layer of that class."""

    def forward(self, scores: Array, y: Any) -> float:
        """The loss of the batch."""
        raise to_define(self.forward)

    def backward(self) -> Array:
        """dLoss/dscores of the last ``forward``, a new array."""
        raise to_define(self.backward)

    def check_last_layer(self, layer: Layer) -> None:
        """Raise ValueError if the output of ``layer`` cannot be this loss's scores."""

    def check_targets(self, y: Any, output_shape: Shape) -> Any:
        """``y`` as an array, to be cut into batches; raises ValueError if it cannot be used."""
        return as_array(y)

    def named_classes(self, output_shape: Shape) -> int:
        """How many classes ``y`` may give by their names, which become 0, 1, 2, ...; 0 if it has no names."""
        return 0

    def encode(self, y: Any, out: Array) -> Array:
        """Write the targets of some rows into ``out`` (m, k), the model's dtype, or return them as they are."""
        return np.asarray(y)

    def labels(self, y: Any) -> Any:
        """Rows of ``y`` in the form that metrics get."""
        return y


def by_rows(loss: Loss) -> RowLoss | None:
    """``loss``, if its ``rows`` and ``gradient`` define it; None if it computes whole batches itself."""
    own_way = type(loss).forward is not RowLoss.forward or type(loss).backward is not RowLoss.backward
    return loss if isinstance(loss, RowLoss) and not own_way else None


def rows_of(loss: RowLoss, scores: Array, targets: Array) -> Array:
    """``loss.rows``, (n,); of a loss that is not the library's own after a check."""
    if loss._of_library:
        return loss.rows(scores, targets)
    found = loss.rows(_read_only(scores), _read_only(targets))
    return _as_expected(loss, "rows", "the loss of each row", found, scores.shape[:1])


def gradient_of(loss: RowLoss, scores: Array, targets: Array) -> Array:
    """``loss.gradient``, (n, k), a new array; of a loss that is not the library's own after a check."""
    if loss._of_library:
        return loss.gradient(scores, targets)
    found = loss.gradient(_read_only(scores), _read_only(targets))
    found = _as_expected(loss, "gradient", "dLoss/dscores of each row", found, scores.shape)
    return found.astype(scores.dtype, copy=not found.flags.writeable)


def _as_expected(loss: Loss, method: str, what: str, found: Any, shape: Shape) -> Array:
    if not isinstance(found, np.ndarray):
        raise TypeError(
            f"{loss!r}: {method} must return {what}, an array of shape {shape}, got {type(found).__name__}."
        )
    if found.shape != shape or found.dtype.kind not in "biuf":
        raise ValueError(
            f"{loss!r}: {method} must return {what}, real numbers of shape {shape}, got shape {found.shape} and dtype "
            f"{found.dtype}."
        )
    return found


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


class RowLoss(Loss):
    """A loss that is a sum or mean over rows: ``rows`` gives each row's loss, ``gradient`` its derivative.

    Both depend on their arguments only: they are called for any rows, any number of times. ``md.check_loss`` tells
    whether ``gradient`` is the derivative of ``rows``.

    reduction: "mean" over the batch's rows, or "sum". Raises ValueError otherwise.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = lookup("reduction", reduction, {"mean": "mean", "sum": "sum"})

    def rows(self, scores: Array, targets: Array) -> Array:
        """The loss of each row, (n,). scores, targets: (n, k)."""
        raise to_define(self.rows)

    def gradient(self, scores: Array, targets: Array) -> Array:
        """The derivative of each row's loss with respect to its scores, (n, k), a new array."""
        raise to_define(self.gradient)

    @_QUIET
    def forward(self, scores: Array, y: Any) -> float:
        """The mean or the sum of the rows' losses. scores: (n, k); y: labels or targets of n rows."""
        scores = np.asarray(scores)
        checked = self.check_targets(y, scores.shape[1:])
        if len(checked) != len(scores):
            raise ValueError(f"{self!r}: {len(scores)} rows of scores, but {len(checked)} of y.")
        self.scores, self.targets = scores, self.encode(checked, np.empty_like(scores))
        targets = self.targets.astype(np.float64) if self.targets.dtype.kind == "f" else self.targets
        rows = rows_of(self, scores.astype(np.float64), targets)
        return float(mean(rows) if self.reduction == "mean" else rows.sum())

    @_QUIET
    def backward(self) -> Array:
        """dLoss/dscores of the last ``forward``, (n, k); divided by n for the mean."""
        if "scores" not in self.__dict__:
            raise RuntimeError(f"{self!r}: call forward before backward.")
        dscores = gradient_of(self, self.scores, self.targets)
        if self.reduction == "mean":
            dscores *= 1 / len(dscores)
        return dscores

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("scores", "targets")}


class SoftmaxCrossEntropy(RowLoss, library=True):
    """``L_i = -log y[i, label_i]`` with ``y = softmax(scores)``; ``dscore = y - onehot(label)``.

    It takes **scores** (logits) and applies the softmax itself. The model ends in the scores, or in ``Softmax``, which
    training then skips. y: integers (n,) or (n, 1) in [0, k), or one-hot or probability rows (n, k),
    for which ``L_i = -sum_j t_ij log y_ij``. reduction: "mean" divides loss and dscore by n; "sum" does not.
    label_smoothing: e in [0, 1) turns the targets t into ``(1 - e) t + e / k`` (Szegedy et al., 2016).

    >>> loss = SoftmaxCrossEntropy()
    >>> round(loss.forward(np.zeros((1, 2)), [1]), 4)
    0.6931
    >>> loss.backward()
    array([[ 0.5, -0.5]])
    """

    includes = Softmax

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.label_smoothing = real_number(
            f"{type(self).__name__}: label_smoothing", label_smoothing, at_least=0, below=1
        )

    def check_last_layer(self, layer: Layer) -> None:
        _refuse_activation(self, layer, "one for each class", "Dense(classes), or in Dense(classes), Softmax()")

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        if len(output_shape) != 1:
            raise ValueError(f"{self!r} takes scores of shape (n, k); the model's outputs are (n, *{output_shape}).")
        classes = output_shape[0]
        y = as_array(y)
        if y.dtype.kind not in "biuf":
            raise TypeError(
                f"y: expected whole numbers from 0 to {classes - 1}, or rows of {classes} probabilities, "
                f"got dtype {y.dtype}. Convert names first: classes, y = np.unique(y, return_inverse=True)."
            )
        if y.ndim == 2 and y.shape[1] == classes and classes > 1:
            return _check_probability_rows(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ValueError(
                f"y: expected labels of shape (n,) or (n, 1), or rows of shape (n, {classes}) as the model has "
                f"{classes} outputs; got {y.shape}."
            )
        return _check_labels(y, classes)

    def named_classes(self, output_shape: Shape) -> int:
        return output_shape[0] if len(output_shape) == 1 else 0

    def encode(self, y: Array, out: Array) -> Array:
        if y.ndim == 2:
            np.divide(y, y.sum(axis=1, keepdims=True), out=out)
        else:
            out[...] = 0
            out[np.arange(len(y)), self.labels(y)] = 1
        if self.label_smoothing:
            out *= 1 - self.label_smoothing
            out += self.label_smoothing / out.shape[1]
        return out

    def labels(self, y: Array) -> Array:
        if y.ndim == 2:
            return np.asarray(y.argmax(axis=1))
        return y if y.dtype.kind in "iu" else y.astype(np.intp)

    def rows(self, scores: Array, targets: Array) -> Array:
        z, axis = shifted(scores)
        targets = targets if axis == 1 else targets.T
        of_target = np.add.reduce(targets * z, axis=axis)
        if np.isnan(of_target).any():  # 0 * -inf, which counts as 0 in the sum
            of_target = np.where(targets != 0, targets * z, 0).sum(axis=axis)
        losses: Array = log_sum_exp_shifted(z, axis) - of_target
        return losses

    def gradient(self, scores: Array, targets: Array) -> Array:
        dscores = softmax_of(scores)
        dscores -= targets
        return dscores


class TargetLoss(RowLoss):
    """Base of the losses that compare each output with a number: (n, k) targets for (n, k) outputs.

    Targets (n,) fit outputs (n, 1). Any other difference in shape is an error: nothing is broadcast. A row's loss is
    the mean over its k outputs, as in Keras.
    """

    accuracy: ClassVar[type[Metric] | None] = None

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        targets = as_array(y)
        if targets.dtype.kind not in "biuf":
            raise TypeError(
                f"y: expected real numbers, got dtype {targets.dtype}. Class names are for SoftmaxCrossEntropy, or for "
                f"SigmoidCrossEntropy with one output."
            )
        if targets.shape[1:] != output_shape and not (targets.ndim == 1 and output_shape == (1,)):
            outputs = ", ".join(map(str, ("n", *output_shape)))
            raise ValueError(
                f"y: expected the shape of the model's outputs, ({outputs}){' or (n,)' * (output_shape == (1,))}; "
                f"got {targets.shape}."
            )
        _check_finite_targets(targets)
        return targets

    def encode(self, y: Array, out: Array) -> Array:
        out[...] = y.reshape(out.shape)
        return out

    def rows(self, scores: Array, targets: Array) -> Array:
        elements = self.elements(scores, targets)
        if not self._of_library:
            elements = _as_expected(self, "elements", "the loss of each output", elements, scores.shape)
        elements = elements.reshape(len(scores), -1)
        return elements[:, 0] if elements.shape[1] == 1 else mean(elements, axis=1)

    def gradient(self, scores: Array, targets: Array) -> Array:
        dscores = self.derivatives(scores, targets)
        if not self._of_library:
            dscores = _as_expected(self, "derivatives", "the derivative of each output", dscores, scores.shape)
            dscores = dscores.astype(scores.dtype, copy=not dscores.flags.writeable)
        if dscores.size > len(dscores):
            dscores *= len(dscores) / dscores.size
        return dscores

    def elements(self, scores: Array, targets: Array) -> Array:
        """The loss of each output, in the shape of the scores."""
        raise to_define(self.elements)

    def derivatives(self, scores: Array, targets: Array) -> Array:
        """The derivative of each output's loss with respect to its score, a new array."""
        raise to_define(self.derivatives)


class MeanSquaredError(TargetLoss, library=True):
    """``L_i = mean_j (s_ij - t_ij)**2``, ``dscore = 2 (s - t) / k``. y: (n, k), or (n,) for one output.

    >>> MeanSquaredError().forward(np.array([[1.0], [2.0]]), [1.0, 4.0])
    2.0
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        difference: Array = scores - targets
        difference *= difference
        return difference

    def derivatives(self, scores: Array, targets: Array) -> Array:
        difference: Array = scores - targets
        difference *= 2
        return difference


class MeanAbsoluteError(TargetLoss, library=True):
    """``L_i = mean_j |s_ij - t_ij|``; its derivative at 0 is taken as 0. y: (n, k), or (n,) for one output.

    >>> MeanAbsoluteError().forward(np.array([[1.0], [2.0]]), [1.0, 4.0])
    1.0
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        return np.asarray(abs(scores - targets))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.sign(scores - targets))


class Huber(TargetLoss, library=True):
    """With ``d = |s - t|``: ``d**2 / 2`` up to delta, ``delta (d - delta / 2)`` beyond (Huber, 1964).

    >>> Huber(delta=1.0).forward(np.array([[0.0], [0.0]]), [1.0, 3.0])
    1.5
    """

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.delta = real_number("Huber: delta", delta, above=0)

    def elements(self, scores: Array, targets: Array) -> Array:
        d = abs(scores - targets)
        near = np.minimum(d, self.delta)
        losses: Array = near * (d - 0.5 * near)
        return losses

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.clip(scores - targets, -self.delta, self.delta))


class SigmoidCrossEntropy(TargetLoss, library=True):
    """``L = -t log p - (1 - t) log(1 - p)`` with ``p = sigmoid(scores)``; ``dscore = p - t``.

    For one binary label, or several independent ones. It takes **scores** (logits); training skips a final
    ``Sigmoid``, as SoftmaxCrossEntropy does with Softmax. y: 0 and 1, booleans, or probabilities, (n, k), or (n,) for
    one output. label_smoothing: e in [0, 1) turns the targets into ``(1 - e) t + e / 2``.

    >>> loss = SigmoidCrossEntropy()
    >>> round(loss.forward(np.zeros((2, 1)), [0, 1]), 4)
    0.6931
    """

    accuracy = BinaryAccuracy
    includes = Sigmoid

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.label_smoothing = real_number(
            f"{type(self).__name__}: label_smoothing", label_smoothing, at_least=0, below=1
        )

    def check_last_layer(self, layer: Layer) -> None:
        _refuse_activation(self, layer, "one for each label", "Dense(labels), or in Dense(labels), Sigmoid()")

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        targets = super().check_targets(y, output_shape)
        valid = (targets >= 0) & (targets <= 1)
        if not valid.all():
            index = tuple(int(i) for i in np.argwhere(~valid)[0])
            raise ValueError(f"y: expected 0, 1 or probabilities between, got {targets[index]} in row {index[0]}.")
        return targets

    def named_classes(self, output_shape: Shape) -> int:
        return 2 if output_shape == (1,) else 0

    def encode(self, y: Array, out: Array) -> Array:
        super().encode(y, out)
        if self.label_smoothing:
            out *= 1 - self.label_smoothing
            out += self.label_smoothing / 2
        return out

    def elements(self, scores: Array, targets: Array) -> Array:
        # log(1 + exp(s)) - t s, arranged so that neither overflows nor cancels.
        positive = np.maximum(scores, 0)
        losses: Array = np.where(scores > 0, (1 - targets) * positive, -targets * np.minimum(scores, 0))
        losses += np.log1p(np.exp(-abs(scores)))
        return losses

    def derivatives(self, scores: Array, targets: Array) -> Array:
        dscores = sigmoid(scores)
        dscores -= targets
        return dscores


def _refuse_activation(loss: Loss, layer: Layer, of_what: str, ending: str) -> None:
    if isinstance(layer, Elementwise | Softmax) and not isinstance(layer, Linear):
        raise ValueError(
            f"{loss!r} takes scores: real numbers of any size, {of_what}. The model ends in {layer._where}, which "
            f"limits their range. End it in {ending}."
        )


def _check_finite_targets(y: Array) -> None:
    finite = np.isfinite(y)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"y: expected finite numbers, got {y[index]} in row {index[0]}.")


def _check_labels(y: Array, classes: int) -> Array:
    """``y``, after a check block by block, as it may be long."""
    for first in range(0, len(y), _CHECK_ROWS):
        block = y[first : first + _CHECK_ROWS]
        whole = np.isfinite(block) & (np.floor(block) == block) if y.dtype.kind == "f" else np.True_
        if not whole.all():
            row = first + int(np.argmin(whole))
            raise ValueError(f"y: expected whole numbers from 0 to {classes - 1}, got {y[row]} in row {row}.")
        valid = (block >= 0) & (block < classes)
        if valid.all():
            continue
        row = first + int(np.argmin(valid))
        start = " Do the labels start at 1? Use y - 1." if y.min() == 1 and y.max() == classes else ""
        raise ValueError(
            f"y: expected labels from 0 to {classes - 1}, as the model has {classes} outputs; "
            f"got {y[row]} in row {row}.{start}"
        )
    return y


def _check_probability_rows(y: Array) -> Array:
    with np.errstate(all="ignore"):
        valid = (y >= 0).all(axis=1) & (abs(y.sum(axis=1, dtype=np.float64) - 1) <= 1e-3)
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(
            f"y: expected one-hot or probability rows, at least 0 and summing to 1; row {row} is {y[row]}, "
            f"with sum {y[row].sum():g}."
        )
    return y


LOSSES: dict[str, type[Loss]] = {
    "sparse_categorical_crossentropy": SoftmaxCrossEntropy,
    "categorical_crossentropy": SoftmaxCrossEntropy,
    "softmax_crossentropy": SoftmaxCrossEntropy,
    "binary_crossentropy": SigmoidCrossEntropy,
    "sigmoid_crossentropy": SigmoidCrossEntropy,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
}


def threshold_of(loss: Loss, last: Layer) -> float | None:
    """What an output of a model that ends in ``last`` is above where the label is 1; None where the largest one counts.

    Raises TypeError if the loss is not one for classes.
    """
    if loss.accuracy is None:
        raise TypeError(f"{loss!r} is for numbers, not for classes: use predict.")
    if not issubclass(loss.accuracy, BinaryAccuracy):
        return None
    return 0.0 if loss.includes is Sigmoid and type(last) is not Sigmoid else 0.5


def get_loss(loss: str | Loss) -> Loss:
    """A new loss of that name (Keras' names); an object is returned as it is.

    >>> get_loss("sparse_categorical_crossentropy")
    SoftmaxCrossEntropy()
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return lookup("loss", loss.lower(), LOSSES)()
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss: got the class {loss.__name__}; make an object of it: {loss.__name__}().")
    raise TypeError(f"loss: expected a name or a Loss such as md.SoftmaxCrossEntropy(), got {loss!r}.")
