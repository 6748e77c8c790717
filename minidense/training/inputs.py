"""The inputs of ``fit`` and ``evaluate``, checked once, and turned into feeds of rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.core.arguments import flag, listed, real_number, shown, whole_number
from minidense.core.errors import warn
from minidense.core.rng import Generators
from minidense.core.types import Array, Shape
from minidense.data import batches
from minidense.data.arrays import Rows, as_array, as_features, check_features, check_weights, part
from minidense.data.batches import Feed, check_batch_size
from minidense.data.labels import class_weights
from minidense.data.names import Names
from minidense.data.sources import BatchFeed, as_batch, is_source_of_batches
from minidense.losses import Loss, RowLoss, by_rows
from minidense.metrics import check_targets

if TYPE_CHECKING:
    from minidense.model import Sequential


@dataclass
class Data:
    """The training and validation data of a run, checked."""

    feed: Feed | BatchFeed
    validation: Feed | None
    row_loss: RowLoss | None
    """The loss, if it is computed row by row."""
    batch_size: int
    """The number of rows of a batch, as requested."""
    names: Names
    """The names that the model has once it is trained on these data."""


@contextmanager
def prepared(
    model: Sequential,
    x: Any,
    y: Any,
    *,
    generators: Generators,
    batch_size: int | str,
    gradient_accumulation_steps: int,
    validation_data: Any,
    validation_batch_size: int | str,
    validation_split: float,
    validation_shuffle: bool,
    sample_weight: Any,
    class_weight: Any,
    steps_per_epoch: int | None,
) -> Iterator[Data]:
    """Check the inputs of ``fit``, also against the model; if this or the block fails, the model is unchanged.

    generators: for a shuffled validation split. Raises TypeError and ValueError.
    """
    held_out = _check_split(validation_data, validation_split, validation_shuffle)
    together = whole_number("gradient_accumulation_steps", gradient_accumulation_steps)
    if isinstance(batch_size, str) and batch_size == "full" and together > 1:
        raise ValueError("gradient_accumulation_steps needs a batch_size in rows; 'full' is one batch of all rows.")
    if is_source_of_batches(x):
        of_arrays = {"y": y, "sample_weight": sample_weight, "class_weight": class_weight}
        for name, value in {**of_arrays, "validation_split": held_out or None}.items():
            if value is not None:
                raise ValueError(f"fit: {name} is for arrays only; a source of batches yields (x, y, sample_weight).")
        source = BatchFeed(x, steps_per_epoch, together)
        x, y = as_batch(source.first)[:2]
        columns = model._names.columns_of(x)
        first, _ = as_rows(x, y)
        with model.network.building(first.shape[1:]) as output_shape:
            checks = Checks(model, output_shape, columns)
            checks.prepare(source)
            validation = checks.validation(validation_data, validation_batch_size)
            yield Data(source, validation, checks.row_loss, len(first), checks.names)
        return
    if steps_per_epoch is not None:
        raise ValueError("steps_per_epoch is for sources of batches only; with arrays, an epoch is all rows.")
    columns = model._names.columns_of(x)
    x, y = as_rows(x, y)
    weights = None if sample_weight is None else check_weights(sample_weight, len(x))
    with model.network.building(x.shape[1:]) as output_shape:
        checks = Checks(model, output_shape, columns)
        y = checks.learn(y)
        split = held_out > 0 and validation_data is None
        if split:
            order = generators.split_order(len(x)) if validation_shuffle else None
            x, y, weights, validation_data = _split(x, y, weights, held_out, order, model.loss)
        x, y, weights = checks.rows(x, y, weights, class_weight, columns=columns)
        size = check_batch_size(batch_size, len(x))
        feed = checks.feed(x, y, weights, size, together)
        validation = checks.validation(validation_data, validation_batch_size, columns if split else None)
        yield Data(feed, validation, checks.row_loss, size, checks.names)


def as_rows(x: Any, y: Any, what: str = "") -> tuple[Rows, Any]:
    """x and y as rows, the same number of each. Raises TypeError and ValueError."""
    series = hasattr(x, "to_frame")
    x = as_features(x, what + "x")
    if not hasattr(y, "__len__") and hasattr(y, "shape") and len(y.shape) and hasattr(y, "__getitem__"):
        y = np.asarray(y[:])
    if x.ndim < 2:
        one = " One sample? Use x[None, :] and y[None]. One feature? Use x[:, None]." if x.ndim else ""
        one = " One feature? Use x.to_frame()." if series else one
        raise ValueError(f"{what}x: expected rows of features, shape (n, d), got {x.shape}.{one}")
    if not hasattr(y, "__len__") or getattr(y, "ndim", 1) == 0:
        raise TypeError(f"{what}y: expected one label or row for each of the {len(x)} rows of x, got {y!r}.")
    if len(x) != len(y):
        raise ValueError(f"{what}x has {len(x)} rows and y has {len(y)}; expected the same number.")
    return x, y


class Checks:
    """Checks rows against a model's shapes, names, loss and metrics, and makes feeds of them.

    columns: the names of the features, if the model is to be trained on a data frame. Every method raises TypeError or
    ValueError for rows that do not fit.
    """

    def __init__(self, model: Sequential, output_shape: Shape, columns: tuple[str, ...] | None = None) -> None:
        assert model.loss is not None
        self.loss, self.metrics = model.loss, [*model.metrics, *model.weighted_metrics]
        self.dtype = model.dtype
        self.input_shape, self.output_shape = model.network.children[0]._record.input_shape or (), output_shape
        self.row_loss = by_rows(model.loss)
        self.rowwise = model.network.rowwise
        self.names = model._names.with_features(columns)
        """The model's names, and what is learned of the rows that are checked."""
        self.named_classes = self.loss.named_classes(output_shape)

    def learn(self, y: Any) -> Any:
        """Learn the names of the classes, if the loss has classes, from all labels; return these as an array."""
        if self.named_classes:
            y = as_array(y)
            self.names = self.names.with_classes(y, self.named_classes)
        return y

    def rows(
        self,
        x: Rows,
        y: Any,
        weights: Array | None,
        class_weight: Any = None,
        what: str = "",
        columns: Sequence[str] | None = None,
    ) -> tuple[Rows, Any, Array | None]:
        """x from ``as_rows`` and y, checked against the model; the weights, multiplied by the class weights.

        columns: the names of the features, for errors.
        """
        check_features(x, self.input_shape, self.dtype, what + "x", columns)
        try:
            if self.named_classes:
                y = self.names.encode(as_array(y))
            y = self.loss.check_targets(y, self.output_shape)
            counted = self.loss.counted(y)
            check_targets(self.metrics, y if counted is None else y[counted], self.loss.labels, self.output_shape)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}{error}") from None
        if class_weight is not None:
            labels = _one_axis(self.loss.labels(y))
            names, some = (
                self.names.classes if self.named_classes else None,
                slice(None) if counted is None else counted,
            )
            by_class = class_weights(class_weight, labels[some], None if weights is None else weights[some], names)
            weights = np.zeros(len(labels))
            weights[some] = by_class
        if counted is not None:
            weights = counted.astype(np.float64) if weights is None else weights * counted
        if weights is not None and self.row_loss is None:
            raise ValueError(
                f"sample_weight: {self.loss!r} computes whole batches; derive it from md.RowLoss to use weights."
            )
        return x, y, weights

    def feed(
        self, x: Rows, y: Any, weights: Array | None, batch_rows: int, together: int = 1, lasting: bool = False
    ) -> Feed:
        """The feed of checked rows, ``together`` batches per update. Raises ValueError if all weights are 0."""
        if weights is not None and not weights.any():  # the class weights or the split may have left none
            raise ValueError("sample_weight: all weights of these rows are 0; there is nothing to learn from.")
        splittable = self.row_loss is not None and self.rowwise
        return Feed(
            x,
            y,
            min(batch_rows * together, len(x)),
            min(batch_rows, batches.SLICE_ROWS) if splittable else batch_rows,
            dtype=self.dtype,
            output_shape=self.output_shape,
            encode=self._encode,
            weights=weights,
            shares=self.loss.reduction == "mean",
            lasting=lasting,
        )

    def evaluation_feed(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        batch_size: int | str,
        what: str = "",
        columns: Sequence[str] | None = None,
    ) -> Feed:
        """The feed for ``evaluate``, from rows as the user passed them. columns: of rows that are part of a frame."""
        if is_source_of_batches(x):
            raise TypeError(f"{what}x: expected rows, got a source of batches, {shown(x)}; only fit takes these for x.")
        columns = self.names.columns_of(x, what + "x") or columns
        x, y = as_rows(x, y, what)
        weights = None if sample_weight is None else check_weights(sample_weight, len(x), what + "sample_weight")
        rows = self.rows(x, y, weights, class_weight, what, columns)
        return self.feed(*rows, check_batch_size(batch_size, len(x)), lasting=True)

    def validation(
        self, data: Sequence[Any] | None, batch_size: int | str, columns: Sequence[str] | None = None
    ) -> Feed | None:
        """The feed of the validation data. columns: those of the frame that it is part of."""
        check_batch_size(batch_size, 1, "validation_batch_size")
        if data is None:
            return None
        x, y, *weights = data
        weight, what = weights[0] if weights else None, "validation_data: "
        return self.evaluation_feed(x, y, weight, None, batch_size, what, columns)

    def prepare(self, source: BatchFeed) -> None:
        """Let the source check each batch as rows are checked; the first one is checked now."""

        def check(x: Any, y: Any, weights: Any) -> tuple[Rows, Any, Array | None]:
            columns = self.names.columns_of(x)
            x, y = as_rows(x, y)
            weights = None if weights is None else check_weights(weights, len(x), all_zero=True)
            return self.rows(x, y, weights, columns=columns)

        mean = self.loss.reduction == "mean"
        source.prepare(check, dtype=self.dtype, output_shape=self.output_shape, encode=self._encode, shares=mean)
        if self.names.classes is None:  # then the labels of the first batch are numbers
            self.learn(as_batch(source.first)[1])

    @property
    def _encode(self) -> Callable[[Any, Array], Array]:
        """The function from labels to targets; a loss that computes whole batches gets the labels unchanged."""
        return self.loss.encode if self.row_loss is not None else functools.partial(Loss.encode, self.loss)


def _check_split(validation_data: Any, validation_split: float, validation_shuffle: bool) -> float:
    """The share of rows to hold out."""
    split = real_number("validation_split", validation_split, at_least=0, below=1)
    if flag("validation_shuffle", validation_shuffle) and not split:
        raise ValueError("validation_shuffle needs validation_split, the share of rows to hold out.")
    pair = isinstance(validation_data, tuple | list) and len(validation_data) in (2, 3)
    if validation_data is not None and not pair:
        raise TypeError(
            f"validation_data: expected a pair (x, y) or (x, y, sample_weight), got {_shortly(validation_data)}."
        )
    return split


def _split(
    x: Rows, y: Any, weights: Array | None, fraction: float, order: Array | None, loss: Loss | None
) -> tuple[Rows, Any, Array | None, Sequence[Any]]:
    """The training rows and the validation data: the last rows, in ``order`` if there is one. Keras' rounding."""
    n = len(x)
    keep = int(n * (1 - fraction))
    if not 0 < keep < n:
        raise ValueError(f"validation_split: {fraction:g} of {n} rows leaves one of the two parts empty.")
    if order is not None:
        x, y, weights = x[order], as_array(y)[order], None if weights is None else weights[order]
    else:
        _warn_of_missing_classes(loss, as_array(y), keep)
    held = part(x, keep, n), y[keep:], *([] if weights is None else [weights[keep:]])
    return part(x, 0, keep), y[:keep], None if weights is None else weights[:keep], held


def _warn_of_missing_classes(loss: Loss | None, y: Array, keep: int) -> None:
    if loss is None or loss.accuracy is None or y.dtype.kind not in "biufUSO" or y.ndim > 2:
        return
    labels = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
    if y.dtype.kind == "f" and not np.isfinite(labels).all():
        return  # invalid labels: the checks that follow raise the error
    missing = np.setdiff1d(labels[:keep], labels[keep:]), np.setdiff1d(labels[keep:], labels[:keep])
    for classes, where in zip(missing, ("validation", "training"), strict=True):
        if len(classes):
            shown = listed(classes.tolist())
            warn(
                f"validation_split takes the last rows, and leaves the {where} part without the classes [{shown}]. "
                f"Are the rows sorted? Use validation_shuffle=True."
            )


def _one_axis(labels: Array) -> Array:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _shortly(thing: Any) -> str:
    if isinstance(thing, tuple | list):
        return f"{len(thing)} items"
    return f"an array of shape {thing.shape}" if hasattr(thing, "shape") else repr(thing)
