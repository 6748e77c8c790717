"""Losses for classes, one of several or each on its own: cross-entropies, the focal losses and the hinges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidense.core.arguments import flag, items, real_number, whole_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_array
from minidense.layers import Elementwise, Layer, Linear, Sigmoid, Softmax
from minidense.losses.base import EPSILON, Loss, RowLoss, TargetLoss, check_values, last_axis, refuse_linear
from minidense.numerics.functional import log_sum_exp_shifted, shifted, sigmoid, softmax_of

_CHECK_ROWS = 65_536  # of labels, at a time


class ClassLoss(RowLoss):
    """Base of the losses for one of k classes: k outputs, and as targets rows (m, k) that sum to 1.

    y: integers (n,) or (n, 1) in [0, k), or one-hot or probability rows (n, k).
    """

    label_smoothing: float = 0.0

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


class SoftmaxCrossEntropy(ClassLoss, library=True):
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

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0, name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.label_smoothing = _smoothing(self, label_smoothing)

    def check_last_layer(self, layer: Layer) -> None:
        _refuse_activation(self, layer, "one for each class", "Dense(classes), or in Dense(classes), Softmax()")

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


class SigmoidCrossEntropy(TargetLoss, library=True):
    """``L = -t log p - (1 - t) log(1 - p)`` with ``p = sigmoid(scores)``; ``dscore = p - t``.

    For one binary label, or several independent ones. It takes **scores** (logits); training skips a final
    ``Sigmoid``, as SoftmaxCrossEntropy does with Softmax. y: 0 and 1, booleans, or probabilities, (n, k), or (n,) for
    one output. label_smoothing: e in [0, 1) turns the targets into ``(1 - e) t + e / 2``.

    >>> loss = SigmoidCrossEntropy()
    >>> round(loss.forward(np.zeros((2, 1)), [0, 1]), 4)
    0.6931
    """

    accuracy = "binary_accuracy"
    includes = Sigmoid

    def __init__(self, reduction: str = "mean", label_smoothing: float = 0.0, name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.label_smoothing = _smoothing(self, label_smoothing)

    def check_last_layer(self, layer: Layer) -> None:
        _refuse_activation(self, layer, "one for each label", "Dense(labels), or in Dense(labels), Sigmoid()")

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        targets = super().check_targets(y, output_shape)
        check_values(targets, (targets >= 0) & (targets <= 1), "0, 1 or probabilities between")
        return targets

    def named_classes(self, output_shape: Shape) -> int:
        return _two_of_one(output_shape)

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


class _OfProbabilities(RowLoss):
    """What the classes with Keras' names have in common: they accept ``from_logits`` and ``axis``.

    The loss is computed from scores in any case, and training skips a final activation: ``from_logits`` changes nothing
    in a model, and one that contradicts the model's last layer is a ValueError. Called by hand, the loss takes
    probabilities unless it is True.
    """

    from_logits: bool | None

    def __init__(
        self,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        # Of the two bases, the cross-entropy comes next.
        super().__init__(reduction, label_smoothing, name)  # type: ignore[call-arg, arg-type]
        kind = type(self).__name__
        self.from_logits = None if from_logits is None else flag(f"{kind}: from_logits", from_logits)
        self.axis = last_axis(kind, axis)

    def check_included(self, skipped: Layer | None) -> None:
        if self.from_logits is None or self.from_logits is not (skipped is not None):
            return
        last = self.includes.__name__ if self.includes is not None else ""
        says, model = ("scores", "ends in") if skipped else ("probabilities", "does not end in")
        raise ValueError(
            f"{self!r} says that the model's outputs are {says}, but the model {model} {last}. Leave out from_logits: "
            f"the loss is computed from the scores here, and training skips a final {last}, so that both kinds of "
            f"models are right as they are."
        )

    def _as_scores(self, y_pred: Array) -> Array:
        if self.from_logits:
            return y_pred
        p = np.clip(y_pred.astype(np.float64), EPSILON, 1 - EPSILON)  # as Keras clips them
        return np.asarray(np.log(p) - np.log1p(-p) if self.includes is Sigmoid else np.log(p))


class CategoricalCrossentropy(_OfProbabilities, SoftmaxCrossEntropy, library=True):
    """SoftmaxCrossEntropy with Keras' arguments. from_logits: need not be given; it is checked against the model.

    >>> round(CategoricalCrossentropy()([[0, 1, 0]], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """


class SparseCategoricalCrossentropy(_OfProbabilities, SoftmaxCrossEntropy, library=True):
    """SoftmaxCrossEntropy with Keras' arguments. from_logits: need not be given; it is checked against the model.

    ignore_class: a label, such as -1, whose rows count neither in the loss, its mean nor the metrics.

    >>> round(SparseCategoricalCrossentropy()([1], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    def __init__(
        self,
        from_logits: bool | None = None,
        ignore_class: int | None = None,
        reduction: str = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, 0.0, axis, reduction, name)
        self.ignore_class = ignore_class
        if ignore_class is not None:
            whole_number("SparseCategoricalCrossentropy: ignore_class", ignore_class, at_least=-(2**63))

    def counted(self, y: Array) -> Array | None:
        if self.ignore_class is None or y.ndim == 2:
            return None
        return np.asarray(y != self.ignore_class)

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        y = as_array(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        counted = self.counted(y)
        if counted is None or counted.all():
            return super().check_targets(y, output_shape)
        super().check_targets(np.where(counted, y, 0), output_shape)
        labels: Array = y
        return labels

    def encode(self, y: Array, out: Array) -> Array:
        counted = self.counted(y)
        return super().encode(y if counted is None else np.where(counted, y, 0), out)


class BinaryCrossentropy(_OfProbabilities, SigmoidCrossEntropy, library=True):
    """SigmoidCrossEntropy with Keras' arguments. from_logits: need not be given; it is checked against the model.

    >>> round(BinaryCrossentropy()([0, 1], [0.1, 0.9]), 4)
    0.1054
    """


class CategoricalFocalCrossentropy(_OfProbabilities, SoftmaxCrossEntropy, library=True):
    """``L_i = -sum_j alpha_j (1 - p_ij)**gamma t_ij log p_ij`` with ``p = softmax(scores)`` (Lin et al., 2017).

    alpha: a factor of at least 0, or a list of one for each class. gamma: at least 0; the larger it is, the less count
    rows that are predicted well. The other arguments are those of CategoricalCrossentropy.

    >>> round(CategoricalFocalCrossentropy()([[0, 1, 0]], [[0.05, 0.9, 0.05]]), 6)
    0.000263
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name)
        what = "CategoricalFocalCrossentropy: alpha"
        several = isinstance(alpha, list | tuple | np.ndarray)
        for factor in items(what, alpha) if several else [alpha]:
            real_number(what, factor, at_least=0)
        self.alpha = alpha
        self.gamma = real_number("CategoricalFocalCrossentropy: gamma", gamma, at_least=0)

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        if np.ndim(self.alpha) and np.shape(self.alpha) != output_shape:
            raise ValueError(
                f"{self!r}: alpha has {np.size(self.alpha)} numbers; expected one for each of {output_shape[0]} "
                f"classes."
            )
        return super().check_targets(y, output_shape)

    def rows(self, scores: Array, targets: Array) -> Array:
        log_p = _log_softmax(scores)
        factors = np.asarray(self.alpha, scores.dtype) * targets * -log_p * (-np.expm1(log_p)) ** self.gamma
        return np.asarray(np.where(targets != 0, factors, 0).sum(axis=1))  # 0 * log 0 counts as 0

    def gradient(self, scores: Array, targets: Array) -> Array:
        log_p = _log_softmax(scores)
        p, rest = np.exp(log_p), -np.expm1(log_p)  # rest = 1 - p, to all digits
        slope = np.where(rest > 0, self.gamma * np.where(rest > 0, rest, 1) ** (self.gamma - 1), 0)
        # The derivative with respect to log p, and from there through log softmax.
        of_log_p = slope * np.where(p > 0, p * np.where(p > 0, log_p, 0), 0) - rest**self.gamma
        of_log_p *= np.asarray(self.alpha, scores.dtype) * targets
        return np.asarray(of_log_p - p * of_log_p.sum(axis=1, keepdims=True), scores.dtype)


class BinaryFocalCrossentropy(_OfProbabilities, SigmoidCrossEntropy, library=True):
    """SigmoidCrossEntropy times ``q**gamma`` with ``q = t (1 - p) + (1 - t) p``, the error (Lin et al., 2017).

    gamma: at least 0; the larger it is, the less count rows that are predicted well. apply_class_balancing: also weight
    1 by alpha and 0 by 1 - alpha. The other arguments are those of BinaryCrossentropy.

    >>> round(BinaryFocalCrossentropy()([0, 1], [0.1, 0.9]), 6)
    0.001054
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name)
        what = "BinaryFocalCrossentropy: "
        self.apply_class_balancing = flag(f"{what}apply_class_balancing", apply_class_balancing)
        self.alpha = real_number(f"{what}alpha", alpha, at_least=0, below=1)
        self.gamma = real_number(f"{what}gamma", gamma, at_least=0)

    def elements(self, scores: Array, targets: Array) -> Array:
        p, rest = sigmoid(scores), sigmoid(-scores)
        error = targets * rest + (1 - targets) * p
        return np.asarray(self._balance(targets) * error**self.gamma * super().elements(scores, targets))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        p, rest = sigmoid(scores), sigmoid(-scores)  # rest = 1 - p, to all digits
        error = targets * rest + (1 - targets) * p
        slope = np.where(error > 0, self.gamma * np.where(error > 0, error, 1) ** (self.gamma - 1), 0)
        through_error = slope * (1 - 2 * targets) * p * rest * super().elements(scores, targets)
        return np.asarray(
            self._balance(targets) * (through_error + error**self.gamma * ((1 - targets) * p - targets * rest))
        )

    def _balance(self, targets: Array) -> Any:
        return targets * self.alpha + (1 - targets) * (1 - self.alpha) if self.apply_class_balancing else 1


class KLDivergence(TargetLoss, library=True):
    """``L_i = sum_j t_ij log(t_ij / p_ij)`` for the model's outputs p, probabilities. y: probabilities (n, k).

    A term with t = 0 counts as 0. An output is taken as at least the smallest number of its dtype, and at most 1; Keras
    clips t and p at 1e-7, which adds up to 2e-6 for each t = 0, and stops learning where p is less.

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """

    of_vectors = True

    def check_last_layer(self, layer: Layer) -> None:
        refuse_linear(self, layer, "probabilities", "Softmax() or Sigmoid()")

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        targets = super().check_targets(y, output_shape)
        check_values(targets, (targets >= 0) & (targets <= 1), "probabilities from 0 to 1")
        return targets

    def elements(self, scores: Array, targets: Array) -> Array:
        p = np.clip(scores, np.finfo(scores.dtype).tiny, 1)
        logs = np.log(np.where(targets > 0, targets, 1)) - np.log(p)
        return np.asarray((targets * logs).sum(axis=-1))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        tiny = np.finfo(scores.dtype).tiny
        inside = (scores >= tiny) & (scores <= 1)
        return np.asarray(np.where(inside, -targets / np.maximum(scores, tiny), 0))


class Hinge(TargetLoss, library=True):
    """``L = max(1 - t s, 0)``, for one label, or several independent ones. y: -1 and 1, or 0 and 1, booleans.

    The score s may be any number; the label is positive where it is above 0.

    >>> Hinge().forward(np.array([[0.5], [-2.0]]), [1, 0])
    0.25
    """

    accuracy = "sign_accuracy"

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        targets = super().check_targets(y, output_shape)
        check_values(targets, (targets == 0) | (abs(targets.astype(np.int8)) == 1), "labels -1 and 1, or 0 and 1")
        if (targets == 0).any():
            check_values(targets, targets >= 0, "labels 0 and 1, as there are zeros")
        return targets

    def named_classes(self, output_shape: Shape) -> int:
        return _two_of_one(output_shape)

    def encode(self, y: Array, out: Array) -> Array:
        super().encode(y, out)
        out[out == 0] = -1
        return out

    def elements(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.maximum(1 - targets * scores, 0))

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.where(targets * scores < 1, -targets, 0))


class SquaredHinge(Hinge, library=True):
    """``L = max(1 - t s, 0)**2``. y: as for Hinge.

    >>> SquaredHinge().forward(np.array([[0.5], [-2.0]]), [1, 0])
    0.125
    """

    def elements(self, scores: Array, targets: Array) -> Array:
        return np.asarray(np.maximum(1 - targets * scores, 0) ** 2)

    def derivatives(self, scores: Array, targets: Array) -> Array:
        return np.asarray(-2 * targets * np.maximum(1 - targets * scores, 0))


class CategoricalHinge(ClassLoss, library=True):
    """``L_i = max(neg - pos + 1, 0)`` with ``pos = sum_j t_ij s_ij`` and ``neg = max_j (1 - t_ij) s_ij``.

    y: integers (n,) or (n, 1) in [0, k), or one-hot rows (n, k).

    >>> CategoricalHinge().forward(np.array([[0.5, 2.0, 0.0]]), [0])
    2.5
    """

    def rows(self, scores: Array, targets: Array) -> Array:
        others = ((1 - targets) * scores).max(axis=1)
        return np.asarray(np.maximum(others - (targets * scores).sum(axis=1) + 1, 0))

    def gradient(self, scores: Array, targets: Array) -> Array:
        others = (1 - targets) * scores
        largest = others.argmax(axis=1)[:, None]
        dscores = -targets
        own = np.take_along_axis(dscores, largest, axis=1)
        np.put_along_axis(dscores, largest, own + 1 - np.take_along_axis(targets, largest, axis=1), axis=1)
        dscores[self.rows(scores, targets) <= 0] = 0
        return dscores


def _log_softmax(scores: Array) -> Array:
    z, axis = shifted(scores)
    z -= np.expand_dims(log_sum_exp_shifted(z, axis), axis)
    return z if axis == 1 else z.T


def _two_of_one(output_shape: Shape) -> int:
    return 2 if output_shape == (1,) else 0


def _smoothing(loss: Loss, value: Any) -> float:
    return real_number(f"{type(loss).__name__}: label_smoothing", value, at_least=0, below=1)


def _refuse_activation(loss: Loss, layer: Layer, of_what: str, ending: str) -> None:
    if isinstance(layer, Elementwise | Softmax) and not isinstance(layer, Linear):
        raise ValueError(
            f"{loss!r} takes scores: real numbers of any size, {of_what}. The model ends in {layer._where}, which "
            f"limits their range. End it in {ending}."
        )


def threshold_of(loss: Loss, last: Layer) -> float | None:
    """What an output of a model that ends in ``last`` is above where the label is 1; None where the largest one counts.

    Raises TypeError if the loss is not one for classes.
    """
    if loss.accuracy is None:
        raise TypeError(f"{loss!r} is for numbers, not for classes: use predict.")
    if loss.accuracy not in ("binary_accuracy", "sign_accuracy"):
        return None
    of_scores = loss.accuracy == "sign_accuracy" or (loss.includes is Sigmoid and type(last) is not Sigmoid)
    return 0.0 if of_scores else 0.5


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
