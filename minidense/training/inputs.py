"""The inputs of ``fit`` and ``evaluate``, checked once, and turned into feeds of rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.core.arguments import flag, listed, real_number, whole_number
from minidense.core.errors import warn
from minidense.core.rng import Generators
from minidense.core.types import Array, Shape
from minidense.data import batches
from minidense.data.arrays import Rows, as_array, as_features, check_features, check_weights, part
from minidense.data.batches import DefaultRows, Feed, check_batch_size
from minidense.data.labels import class_weights
from minidense.data.names import Names
from minidense.data.sources import BatchFeed, Source, as_batch, is_source_of_batches
from minidense.losses import Loss, Members, RowLoss, by_rows
from minidense.metrics import check_targets
from minidense.optimizers import LBFGS

if TYPE_CHECKING:
    from minidense.model import Sequential


@dataclass
class Data:
    """The training and validation data of a run, checked."""

    feed: Feed | BatchFeed
    validation: Feed | BatchFeed | None
    row_loss: RowLoss | None
    """The loss, if it is computed row by row."""
    batch_size: int
    """The number of rows of a batch, as requested; of a source, those of the first batch."""
    names: Names
    """The names that the model has once it is trained on these data."""
    validation_freq: int | Collection[int]
    """After how many epochs, or after which ones, it is validated."""


@dataclass
class HeldOut:
    """What ``fit`` was told of its validation: each is its argument ``validation_...`` of that name."""

    data: Any
    split: float
    shuffle: bool
    batch_size: int | str | None
    steps: int | None
    freq: int | Collection[int]


@contextmanager
def prepared(
    model: Sequential,
    x: Any,
    y: Any,
    *,
    generators: Generators,
    batch_size: int | str | None,
    gradient_accumulation_steps: int,
    held_out: HeldOut,
    sample_weight: Any,
    class_weight: Any,
    steps_per_epoch: int | None,
) -> Iterator[Data]:
    """Check the inputs of ``fit``, also against the model; if this or the block fails, the model is unchanged.

    generators: for a shuffled validation split. Raises TypeError and ValueError.
    """
    share = _check_split(held_out)
    together = whole_number("gradient_accumulation_steps", gradient_accumulation_steps)
    if isinstance(model.optimizer, LBFGS):
        if is_source_of_batches(x):
            raise ValueError("fit: LBFGS evaluates all rows again and again; pass arrays x and y, not batches.")
        batch_size = "full" if batch_size is None or isinstance(batch_size, DefaultRows) else batch_size
    if isinstance(batch_size, str) and batch_size == "full" and together > 1:
        raise ValueError("gradient_accumulation_steps needs a batch_size in rows; 'full' is one batch of all rows.")
    if is_source_of_batches(x):
        of_arrays = {"y": y, "sample_weight": sample_weight, "class_weight": class_weight, "batch_size": batch_size}
        not_with_a_source("fit: ", **of_arrays, validation_split=share or None)
        feed: Feed | BatchFeed
        source = Source(x, steps_per_epoch)
        x, y = as_batch(source.first)[:2]
        columns = model._names.columns_of(x)
        first, _ = as_rows(x, y)
        with model.network.building(first.shape[1:]) as output_shape:
            checks = Checks(model, output_shape, columns)
            feed = checks.source_feed(source, together)
            if checks.names.classes is None:  # then the labels of the first batch are numbers
                checks.learn(as_batch(source.first)[1])
            validation = checks.validation(held_out.data, held_out)
            yield Data(feed, validation, checks.row_loss, len(first), checks.names, held_out.freq)
        return
    only_with_a_source("steps_per_epoch", steps_per_epoch)
    columns = model._names.columns_of(x)
    x, y = as_rows(x, y)
    weights = None if sample_weight is None else check_weights(sample_weight, len(x))
    with model.network.building(x.shape[1:]) as output_shape:
        checks = Checks(model, output_shape, columns)
        y = checks.learn(y)
        data, split = held_out.data, share > 0 and held_out.data is None
        if split:
            order = generators.split_order(len(x)) if held_out.shuffle else None
            x, y, weights, data = _split(x, y, weights, share, order, model.loss)
        x, y, weights = checks.rows(x, y, weights, class_weight, columns=columns)
        size = check_batch_size(32 if batch_size is None else batch_size, len(x))
        feed = checks.feed(x, y, weights, size, together)
        validation = checks.validation(data, held_out, columns if split else None)
        yield Data(feed, validation, checks.row_loss, size, checks.names, held_out.freq)


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
        self.dtype, self.x_dtype = model.dtype, model.network.input_dtype
        self.input_shape, self.output_shape = model.network.children[0]._record.input_shape or (), output_shape
        trunk = model.network.trunk(model.loss.includes)
        self.scores_shape = output_shape if not trunk else trunk[-1]._record.output_shape or ()
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
        check_features(x, self.input_shape, self.x_dtype, what + "x", columns)
        try:
            if self.named_classes:
                y = self.names.encode(as_array(y))
            y = self.loss.check_targets(y, self.scores_shape)
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
            x_dtype=self.x_dtype,
            output_shape=self.scores_shape,
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
        batch_size: int | str | None,
        steps: int | None,
        what: str = "",
        columns: Sequence[str] | None = None,
    ) -> Feed | BatchFeed:
        """The feed for ``evaluate``, from what the user passed. columns: of rows that are part of a frame."""
        name = "validation_steps" if what else "steps"
        if is_source_of_batches(x):
            of_arrays = {"y": y, "sample_weight": sample_weight, "class_weight": class_weight, "batch_size": batch_size}
            not_with_a_source(what or "evaluate: ", **of_arrays)
            return self.source_feed(Source(x, steps, name), what=what)
        only_with_a_source(name, steps)
        columns = self.names.columns_of(x, what + "x") or columns
        x, y = as_rows(x, y, what)
        weights = None if sample_weight is None else check_weights(sample_weight, len(x), what + "sample_weight")
        rows = self.rows(x, y, weights, class_weight, what, columns)
        size = check_batch_size(1024 if batch_size is None else batch_size, len(x))
        return self.feed(*rows, size, lasting=True)

    def validation(self, data: Any, held_out: HeldOut, columns: Sequence[str] | None = None) -> Feed | BatchFeed | None:
        """The feed of the validation data. columns: those of the frame that it is part of."""
        batch_size, steps, freq = held_out.batch_size, held_out.steps, held_out.freq
        if batch_size is not None:
            check_batch_size(batch_size, 1, "validation_batch_size")
        if data is None:
            given = {"batch_size": batch_size, "steps": steps, "freq": freq if freq != 1 else None}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(f"validation_{name} needs validation_data, or validation_split.")
            return None
        x, y, *weights = (data, None) if is_source_of_batches(data) else data
        weight, what = weights[0] if weights else None, "validation_data: "
        return self.evaluation_feed(x, y, weight, None, batch_size, steps, what, columns)

    def source_feed(self, source: Source, together: int = 1, what: str = "") -> BatchFeed:
        """The feed of a source, each of whose batches is checked as rows are; the first one is checked now."""

        def check(x: Any, y: Any, weights: Any) -> tuple[Rows, Any, Array | None]:
            columns = self.names.columns_of(x, what + "x")
            x, y = as_rows(x, y, what)
            if weights is not None:
                weights = check_weights(weights, len(x), what + "sample_weight", all_zero=True)
            return self.rows(x, y, weights, what=what, columns=columns)

        feed = BatchFeed(source, together)
        feed.prepare(
            check,
            dtype=self.dtype,
            x_dtype=self.x_dtype,
            output_shape=self.scores_shape,
            encode=self._encode,
            shares=self.loss.reduction == "mean",
        )
        return feed

    @property
    def _encode(self) -> Callable[[Any, Array], Array]:
        """The function from labels to targets; a loss that computes whole batches gets the labels unchanged."""
        return self.loss.encode if self.row_loss is not None else functools.partial(Loss.encode, self.loss)


def only_with_a_source(name: str, steps: int | None) -> None:
    """Raise ValueError if a number of batches is given for rows."""
    if steps is not None:
        raise ValueError(f"{name} is for sources of batches only; with arrays, an epoch is all rows.")


def not_with_a_source(what: str, **of_arrays: Any) -> None:
    """Raise ValueError if one of these is given besides a source of batches."""
    for name, value in of_arrays.items():
        if not (value is None or isinstance(value, DefaultRows)):
            raise ValueError(f"{what}{name} is for arrays only; a source of batches yields (x, y, sample_weight).")


def _check_split(held_out: HeldOut) -> float:
    """The share of rows to hold out."""
    data, split = held_out.data, real_number("validation_split", held_out.split, at_least=0, below=1)
    if flag("validation_shuffle", held_out.shuffle) and not split:
        raise ValueError("validation_shuffle needs validation_split, the share of rows to hold out.")
    pair = isinstance(data, tuple | list) and len(data) in (2, 3)
    if not (data is None or pair or is_source_of_batches(data)):
        raise TypeError(
            f"validation_data: expected a pair (x, y) or (x, y, sample_weight), got {_shortly(data)}. A source of "
            f"such batches may be given, too."
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
    if y.ndim == 2 and isinstance(loss, Members):
        return  # a column for each member: no rows of 0 and 1
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
