"""The base of all losses: from scores and labels to one number, and to its gradient dscore.

A loss is a sum or a mean over rows. A subclass of ``RowLoss`` defines the loss of each row and its derivative, one of
``TargetLoss`` that of each output, and the library does the rest; a subclass of ``Loss`` computes whole batches itself.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import function_of, lookup, shown, text
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_array, as_outputs, check_weights
from minidense.layers import Dense, Layer, Linear, PackedDense
from minidense.numerics.functional import mean

EPSILON = 1e-7
"""What Keras adds to numbers, or clips them at."""

_QUIET = np.errstate(all="ignore")  # an overflow gives inf, which is checked for


class Loss(Configurable):
    """Base of all losses: ``forward(scores, y)`` returns a float and ``backward()`` dLoss/dscores, (n, k).

    ``scores`` is the model's output. A custom loss needs only these two methods; it then gets ``y`` as the user passed
    it, one batch at a time, and the mean of its values over the rows is reported. Name in ``saved`` the attributes that
    must last from batch to batch; all others that ``forward`` sets are caches.
    """

    reduction: str = "mean"
    """"mean" or "sum" over the rows of a batch: how forward and backward are scaled."""

    name: str = "loss"
    """As in Keras, a name for the user's own purposes."""

    accuracy: ClassVar[str | None] = "accuracy"
    """The metric that "accuracy" means under this loss, such as "binary_accuracy"; None where it means nothing."""

    includes: ClassVar[type[Layer] | None] = None
    """The activation that this loss computes itself: training skips a final layer of that class."""

    _trusted: ClassVar[bool] = False
    """Whether what it returns need not be checked: it is the library's own, and calls no functions of the user's."""

    def __init_subclass__(cls, library: bool = False, trusted: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(library, **kwargs)
        cls._trusted = library and trusted

    def forward(self, scores: Array, y: Any) -> float:
        """The loss of the batch."""
        raise to_define(self.forward)

    def backward(self) -> Array:
        """dLoss/dscores of the last ``forward``, a new array."""
        raise to_define(self.backward)

    def check_last_layer(self, layer: Layer) -> None:
        """Raise ValueError if the output of ``layer`` cannot be this loss's scores."""

    def check_included(self, skipped: Layer | None) -> None:
        """Raise ValueError if the arguments contradict the final layer, of class ``includes``, that training skips."""

    def check_targets(self, y: Any, output_shape: Shape) -> Any:
        """``y`` as an array, to be cut into batches; raises ValueError if it cannot be used."""
        return as_array(y)

    def named_classes(self, output_shape: Shape) -> int:
        """How many classes ``y`` may give by their names, which become 0, 1, 2, ...; 0 if it has no names."""
        return 0

    def counted(self, y: Any) -> Array | None:
        """Which rows of checked ``y`` count in the loss and the metrics, as booleans (n,); None if all do."""
        return None

    def encode(self, y: Any, out: Array) -> Array:
        """Write the targets of some rows into ``out`` (m, k), the model's dtype, or return them as they are."""
        return np.asarray(y)

    def labels(self, y: Any) -> Any:
        """Rows of ``y`` in the form that metrics get."""
        return y

    @property
    def _activation(self) -> type[Layer] | None:
        """The activation that metrics see the scores after, whatever the model ends in; None if that is none."""
        return self.includes

    def _outputs(self, scores: Array, y: Any) -> Array:
        """What metrics get for rows of checked ``y``, a new array."""
        return scores.copy() if self._activation is None else self._activation().forward(scores)


def by_rows(loss: Loss) -> RowLoss | None:
    """``loss``, if its ``rows`` and ``gradient`` define it; None if it computes whole batches itself."""
    own_way = type(loss).forward is not RowLoss.forward or type(loss).backward is not RowLoss.backward
    return loss if isinstance(loss, RowLoss) and not own_way else None


def rows_of(loss: RowLoss, scores: Array, targets: Array) -> Array:
    """``loss.rows``, (n,); after a check if the loss is not trusted."""
    if loss._trusted:
        return loss.rows(scores, targets)
    found = loss.rows(_read_only(scores), _read_only(targets))
    return _as_expected(loss, "rows", "the loss of each row", found, scores.shape[:1])


def gradient_of(loss: RowLoss, scores: Array, targets: Array) -> Array:
    """``loss.gradient``, (n, k), a new array; after a check if the loss is not trusted."""
    if loss._trusted:
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
    whether ``gradient`` is the derivative of ``rows``. As in Keras, a loss can be called by hand, with predictions:
    ``loss(y_true, y_pred, sample_weight=None)``.

    reduction: "mean" over the batch's rows, with weights divided by their sum, or "sum"; Keras' "sum_over_batch_size"
    is the mean. name: any text; by default, the class's name in Keras' spelling. Raises ValueError otherwise.
    """

    def __init__(self, reduction: str = "mean", name: str | None = None) -> None:
        self.reduction = lookup("reduction", reduction, _REDUCTIONS)
        self.name = text(f"{type(self).__name__}: name", name) if name is not None else _snake_case(type(self).__name__)

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
        targets, counted = self._encoded(scores, y)
        self.scores, self.targets, self.counts = scores, targets, counted
        return self._reduced(scores, targets, counted)

    def _encoded(self, scores: Array, y: Any) -> tuple[Array, Array | None]:
        """The targets for these scores, and which rows count."""
        checked = self.check_targets(y, scores.shape[1:])
        if len(checked) != len(scores):
            raise ValueError(f"{self!r}: {len(scores)} rows of scores, but {len(checked)} of y.")
        return self.encode(checked, np.empty_like(scores)), self.counted(checked)

    def _rows(self, scores: Array, targets: Array) -> Array:
        """The loss of each row, computed in float64."""
        targets = targets.astype(np.float64) if targets.dtype.kind == "f" else targets
        return rows_of(self, scores.astype(np.float64), targets)

    def _reduced(self, scores: Array, targets: Array, weights: Array | None) -> float:
        """The mean or the sum of the rows' losses."""
        rows = self._rows(scores, targets)
        if weights is None:
            return float(mean(rows) if self.reduction == "mean" else rows.sum())
        total = float(np.vdot(rows, weights))
        return total / float(weights.sum() or 1) if self.reduction == "mean" else total

    @_QUIET
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The loss of predictions, by hand and in Keras' order; changes nothing.

        y_pred: what the loss takes, (n, k), or (n,) for one output: scores, or, for a class of Keras' name without
        ``from_logits=True``, probabilities. sample_weight: (n,); a mean is then divided by the sum of the weights.

        >>> import minidense as md
        >>> round(md.losses.BinaryCrossentropy()([0.0, 1.0], [0.5, 0.5]), 4)
        0.6931
        """
        scores, targets, weights = self._of_predictions(y_true, y_pred)
        if sample_weight is not None:
            weights = check_weights(sample_weight, len(scores)) * (1 if weights is None else weights)
        return self._reduced(scores, targets, weights)

    @_QUIET
    def each(self, y_true: Any, y_pred: Any) -> Array:
        """The loss of each row of predictions, (n,), float64, by hand; 0 for rows that do not count."""
        scores, targets, counted = self._of_predictions(y_true, y_pred)
        rows = self._rows(scores, targets)
        return rows if counted is None else rows * counted

    def _of_predictions(self, y_true: Any, y_pred: Any) -> tuple[Array, Array, Array | None]:
        y_pred = as_outputs(y_pred)
        scores = self._as_scores(y_pred if y_pred.dtype.char in "fd" else y_pred.astype(np.float64))
        return scores, *self._encoded(scores, y_true)

    def _as_scores(self, y_pred: Array) -> Array:
        """The scores of predictions that were passed by hand."""
        return y_pred

    @_QUIET
    def backward(self) -> Array:
        """dLoss/dscores of the last ``forward``, (n, k); divided by n for the mean."""
        if "scores" not in self.__dict__:
            raise RuntimeError(f"{self!r}: call forward before backward.")
        dscores, rows = gradient_of(self, self.scores, self.targets), len(self.scores)
        if self.counts is not None:
            dscores[~self.counts], rows = 0, int(self.counts.sum()) or 1
        if self.reduction == "mean":
            dscores *= 1 / rows
        return dscores

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("scores", "targets", "counts")}


_REDUCTIONS = {"mean": "mean", "sum": "sum", "sum_over_batch_size": "mean", "mean_with_sample_weight": "mean"}


def _snake_case(name: str) -> str:
    """``MeanSquaredError`` as ``mean_squared_error``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("kldiv", "kl_div")


class TargetLoss(RowLoss):
    """Base of the losses that compare each output with a number: (n, k) targets for (n, k) outputs.

    Targets (n,) fit outputs (n, 1). Any other difference in shape is an error: nothing is broadcast. A row's loss is
    the mean over its k outputs, as in Keras.
    """

    accuracy: ClassVar[str | None] = None

    of_vectors: ClassVar[bool] = False
    """Whether ``elements`` gives one loss for each vector along the last axis, (n,), instead of one for each output."""

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
        check_values(targets, np.isfinite(targets), "finite numbers")
        return targets

    def encode(self, y: Array, out: Array) -> Array:
        out[...] = y.reshape(out.shape)
        return out

    def rows(self, scores: Array, targets: Array) -> Array:
        elements = self.elements(scores, targets)
        if not self._trusted:
            what = "the loss of each vector" if self.of_vectors else "the loss of each output"
            elements = _as_expected(self, "elements", what, elements, scores.shape[: -1 if self.of_vectors else None])
        elements = elements.reshape(len(scores), -1)
        return elements[:, 0] if elements.shape[1] == 1 else mean(elements, axis=1)

    def gradient(self, scores: Array, targets: Array) -> Array:
        dscores = self.derivatives(scores, targets)
        if not self._trusted:
            dscores = _as_expected(self, "derivatives", "the derivative of each output", dscores, scores.shape)
            dscores = dscores.astype(scores.dtype, copy=not dscores.flags.writeable)
        elements = dscores.size // dscores.shape[-1] if self.of_vectors else dscores.size
        if elements > len(dscores):
            dscores *= len(dscores) / elements
        return dscores

    def elements(self, scores: Array, targets: Array) -> Array:
        """The loss of each output, in the shape of the scores; see ``of_vectors``."""
        raise to_define(self.elements)

    def derivatives(self, scores: Array, targets: Array) -> Array:
        """The derivative of each output's, or vector's, loss with respect to the scores, a new array."""
        raise to_define(self.derivatives)


class FunctionLoss(TargetLoss, library=True, trusted=False):
    """A loss from a pair of functions of (y_true, y_pred), both (n, k): the loss of each output, and its derivative.

    function: returns the loss of each output, (n, k), whose mean is a row's loss. derivative: returns the derivative of
    each with respect to y_pred, (n, k). Neither may change its arguments. ``md.check_loss`` compares the two.
    A saved model keeps their names; pass them as ``custom_objects`` when loading.

    >>> loss = FunctionLoss(lambda t, p: (p - t) ** 4, lambda t, p: 4 * (p - t) ** 3)
    >>> loss.forward(np.array([[1.0], [2.0]]), [1.0, 4.0])
    8.0
    >>> loss.backward().ravel().tolist()
    [0.0, -16.0]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        derivative: Callable[..., Any],
        reduction: str = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, getattr(function, "__name__", None) if name is None else name)
        self.function = function_of("FunctionLoss: function", function)
        self.derivative = function_of("FunctionLoss: derivative", derivative)

    def elements(self, scores: Array, targets: Array) -> Array:
        elements: Array = self.function(targets, scores)
        return elements

    def derivatives(self, scores: Array, targets: Array) -> Array:
        derivatives: Array = self.derivative(targets, scores)
        return derivatives


def refuse_linear(loss: Loss, layer: Layer, takes: str, ending: str) -> None:
    """Raise ValueError if the model ends in a Dense without an activation, whose outputs may be of any sign."""
    if isinstance(layer, Dense | PackedDense | Linear):
        raise ValueError(
            f"{loss!r} takes {takes}. The model ends in {layer._where}, whose outputs may be of any sign. End it in "
            f"{ending}."
        )


def check_values(y: Array, valid: Array, expected: str) -> None:
    """Raise ValueError for the first value of ``y`` that is not valid."""
    if not valid.all():
        index = tuple(int(i) for i in np.argwhere(~valid)[0])
        raise ValueError(f"y: expected {expected}, got {y[index]} in row {index[0]}.")


def last_axis(name: str, axis: Any) -> int:
    """``axis``, which must be the last one: -1, or 1 of rows. Raises ValueError."""
    if isinstance(axis, bool) or not isinstance(axis, numbers.Integral) or axis not in (-1, 1):
        raise ValueError(f"{name}: axis: the outputs of a row lie along the last axis, -1, here; got {shown(axis)}.")
    return int(axis)
