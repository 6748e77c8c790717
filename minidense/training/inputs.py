"""From what the user passes to ``fit`` and ``evaluate`` to rows that have been checked, and to feeds of them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidense.core.arguments import real_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import Rows, as_features, check_features, check_weights, part
from minidense.data.batches import BatchFeed, Feed, as_batch, check_batch_size, is_source_of_batches
from minidense.data.labels import class_weights
from minidense.layers import Layer
from minidense.losses import Loss, as_array, by_rows
from minidense.metrics import Metric


class Given(NamedTuple):
    """What ``fit`` was given, sorted: rows, or a source of batches of which x and y are the first."""

    x: Rows
    y: Any
    weights: Array | None
    source: BatchFeed | None
    validation_data: Sequence[Any] | None


def sort_out(
    x: Any,
    y: Any,
    loss: Loss,
    split_order: Callable[[int], Array],
    *,
    validation_data: Any,
    validation_split: float,
    validation_shuffle: bool,
    sample_weight: Any,
    class_weight: Any,
    steps_per_epoch: int | None,
) -> Given:
    """Tell rows from sources of batches, and set rows aside for validation. Raises TypeError and ValueError."""
    split = real_number("validation_split", validation_split, at_least=0, below=1)
    if validation_shuffle and not split:
        raise ValueError("validation_shuffle goes with validation_split, the share of rows to hold out.")
    pair = isinstance(validation_data, tuple | list) and len(validation_data) in (2, 3)
    if validation_data is not None and not pair:
        raise TypeError(
            f"validation_data: expected a pair (x, y) or (x, y, sample_weight), got {_shortly(validation_data)}."
        )
    if is_source_of_batches(x):
        of_arrays = {"y": y, "sample_weight": sample_weight, "class_weight": class_weight}
        for name, value in {**of_arrays, "validation_split": split or None}.items():
            if value is not None:
                raise ValueError(f"fit: {name} goes with arrays; a source of batches gives (x, y, sample_weight).")
        source = BatchFeed(x, steps_per_epoch)
        return Given(*as_rows(*as_batch(source.first)[:2]), None, source, validation_data)
    if steps_per_epoch is not None:
        raise ValueError("steps_per_epoch goes with a generator; of arrays, an epoch is all rows.")
    x, y = as_rows(x, y)
    weights = None if sample_weight is None else check_weights(sample_weight, len(x))
    if validation_data is not None or not split:
        return Given(x, y, weights, None, validation_data)
    keep = _split(len(x), split)
    if validation_shuffle:
        rows = split_order(len(x))
        x, y, weights = x[rows], as_array(y)[rows], None if weights is None else weights[rows]
    else:
        _warn_of_missing_classes(loss, as_array(y), keep)
    held = part(x, keep, len(x)), y[keep:], *([] if weights is None else [weights[keep:]])
    return Given(part(x, 0, keep), y[:keep], None if weights is None else weights[:keep], None, held)


def as_rows(x: Any, y: Any, what: str = "") -> tuple[Rows, Any]:
    """x and y as rows, as many of one as of the other. Raises TypeError and ValueError."""
    x = as_features(x, what + "x")
    if not hasattr(y, "__len__") and hasattr(y, "shape") and len(y.shape) and hasattr(y, "__getitem__"):
        y = np.asarray(y[:])
    if x.ndim < 2:
        one = " One sample? Use x[None, :] and y[None]. One feature? Use x[:, None]." if x.ndim else ""
        raise ValueError(f"{what}x: expected rows of features, shape (n, d), got {x.shape}.{one}")
    if not hasattr(y, "__len__") or getattr(y, "ndim", 1) == 0:
        raise TypeError(f"{what}y: expected one label or row for each of the {len(x)} rows of x, got {y!r}.")
    if len(x) != len(y):
        raise ValueError(f"{what}x has {len(x)} rows and y has {len(y)}; expected as many of one as of the other.")
    return x, y


class Intake:
    """Checks rows against a model's shapes, its loss and its metrics, and makes feeds of them.

    layers: all of the model's. Every method raises TypeError or ValueError for what does not fit.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss,
        metrics: Sequence[Metric],
        dtype: np.dtype[Any],
        input_shape: Shape,
        output_shape: Shape,
    ) -> None:
        self.loss, self.metrics, self.dtype = loss, metrics, dtype
        self.input_shape, self.output_shape = input_shape, output_shape
        self.row_loss = by_rows(loss)
        self.rowwise = all(layer.rowwise for layer in layers)

    def checked(self, x: Any, y: Any, what: str = "") -> tuple[Rows, Any]:
        """x and y fit to be fed to the model."""
        x, y = as_rows(x, y, what)
        check_features(x, self.input_shape, self.dtype, what + "x")
        try:
            return x, self.loss.check_targets(y, self.output_shape)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}{error}") from None

    def weighted(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Mapping[Any, float] | str | None
    ) -> tuple[Rows, Any, Array | None]:
        """x and y as ``checked``, and the rows' weights multiplied by those of their classes."""
        x, y = self.checked(x, y)
        weights = None if sample_weight is None else check_weights(sample_weight, len(x))
        if class_weight is not None:
            weights = class_weights(class_weight, _one_axis(self.loss.labels(y)), weights)
        if weights is not None and not weights.any():
            raise ValueError("sample_weight: all weights of these rows are 0; there is nothing to learn from.")
        return x, y, weights

    def held_out(self, data: Sequence[Any] | None) -> tuple[Rows, Any, Array | None] | None:
        """The validation data, fit to be evaluated."""
        if data is None:
            return None
        what = "validation_data: "
        x, y = self.checked(data[0], data[1], what)
        return x, y, check_weights(data[2], len(x), what + "sample_weight") if len(data) == 3 else None

    def feed(self, x: Rows, y: Any, weights: Array | None, batch_size: int | str) -> Feed:
        """The feed of checked rows."""
        if weights is not None:
            self._check_weights_are_taken()
        return Feed(
            x,
            y,
            check_batch_size(batch_size, len(x)),
            dtype=self.dtype,
            output_shape=self.output_shape,
            encode=self._encode,
            splittable=self.row_loss is not None and self.rowwise,
            weights=weights,
            shares=self.loss.reduction == "mean",
        )

    def prepared(self, source: BatchFeed) -> BatchFeed:
        """The source, each of whose batches will be checked as rows are; the first is now."""

        def check(x: Any, y: Any, weights: Any) -> tuple[Rows, Any, Array | None]:
            x, y = self.checked(x, y)
            if weights is not None:
                self._check_weights_are_taken()
                weights = check_weights(weights, len(x), all_zero=True)
            return x, y, weights

        mean = self.loss.reduction == "mean"
        source.prepare(check, dtype=self.dtype, output_shape=self.output_shape, encode=self._encode, shares=mean)
        return source

    @property
    def _encode(self) -> Callable[[Any, Array], Array]:
        """What turns labels into targets; a loss that computes in its own way gets its labels as they are."""
        return self.loss.encode if self.row_loss is not None else functools.partial(Loss.encode, self.loss)

    def _check_weights_are_taken(self) -> None:
        if self.row_loss is None:
            raise ValueError(
                f"sample_weight: {self.loss!r} computes whole batches; derive it from md.RowLoss to use weights."
            )
        for metric in self.metrics:
            if not metric.takes_weights:
                raise ValueError(
                    f"the metric {metric.name} takes no sample_weight; give it one, or leave out the weights."
                )


def _split(n: int, fraction: float) -> int:
    """How many of n rows are left to train on; Keras' rounding."""
    keep = int(n * (1 - fraction))
    if not 0 < keep < n:
        raise ValueError(f"validation_split: {fraction:g} of {n} rows leaves one of the two parts empty.")
    return keep


def _warn_of_missing_classes(loss: Loss, y: Array, keep: int) -> None:
    if loss.accuracy is None or y.dtype.kind not in "biuf" or y.ndim > 2:
        return
    labels = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
    missing = np.setdiff1d(labels[:keep], labels[keep:]), np.setdiff1d(labels[keep:], labels[:keep])
    for classes, where in zip(missing, ("validation", "training"), strict=True):
        if len(classes):
            shown = ", ".join(map(str, classes.tolist()[:10])) + (", ..." if len(classes) > 10 else "")
            warnings.warn(
                f"validation_split takes the last rows, and leaves the {where} part without the classes [{shown}]. "
                f"Are the rows sorted? Use validation_shuffle=True.",
                stacklevel=6,
            )


def _one_axis(labels: Array) -> Array:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _shortly(thing: Any) -> str:
    if isinstance(thing, tuple | list):
        return f"{len(thing)} things"
    return f"an array of shape {thing.shape}" if hasattr(thing, "shape") else repr(thing)
