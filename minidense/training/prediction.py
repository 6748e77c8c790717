"""Predictions: rows in fixed chunks, each computed by one BLAS thread, so that the bits depend on nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.callbacks.base import Callback, CallbackList
from minidense.callbacks.reporting import progress_callback
from minidense.core.types import Array
from minidense.data.arrays import Rows, as_features, check_finite, check_shape
from minidense.data.batches import SLICE_ROWS, DefaultRows, check_batch_size, read_only
from minidense.data.labels import largest_or_above
from minidense.data.sources import Source, features_of, is_source_of_batches
from minidense.losses import Loss, threshold_of
from minidense.network import Network, inference_steps
from minidense.numerics.helpers import each
from minidense.training import plans
from minidense.training.inputs import not_with_a_source, only_with_a_source

if TYPE_CHECKING:
    from minidense.model import Sequential


def features(model: Sequential, x: Any) -> Rows:
    """``x`` as rows that the built model takes, checked. Raises TypeError and ValueError."""
    rows, columns = _of_right_shape(model, x)
    check_finite(rows, model.network.input_dtype, names=columns)
    return rows


def _of_right_shape(model: Sequential, x: Any) -> tuple[Rows, Sequence[str] | None]:
    """``x`` as rows, which are still to be checked for values that are not finite, and the names of their columns."""
    input_shape, _ = model._built_shapes()
    if type(x) is not np.ndarray and is_source_of_batches(x):
        raise TypeError(f"x: expected rows, got a source of batches, {type(x).__name__}; pass its batches one by one.")
    columns = None if type(x) is np.ndarray else model._names.columns_of(x)
    rows = as_features(x)
    check_shape(rows, input_shape)
    return rows, columns


def predict(
    model: Sequential,
    x: Any,
    batch_size: int | str | None = DefaultRows(1024),
    steps: int | None = None,
    callbacks: Sequence[Callback] | Callback | None = (),
) -> Array:
    """The output for each row of ``x``, or of the batches of a source, a new array.

    Batches are computed by several threads; by this thread alone if callbacks see each batch.
    """
    if type(x) is not np.ndarray and is_source_of_batches(x):
        not_with_a_source("predict: ", batch_size=batch_size)
        return _of_source(model, Source(x, steps, "steps"), CallbackList(callbacks))
    only_with_a_source("steps", steps)
    x, columns = _of_right_shape(model, x)
    size = _size(batch_size, len(x))
    rows = _rows_at_a_time(model, size)
    if rows == len(x) and isinstance(x, np.ndarray) and type(callbacks) is tuple and not callbacks:
        check_finite(x, model.network.input_dtype, names=columns)
        x = np.ascontiguousarray(x, model.network.input_dtype)
        with model.network.one_thread(rows):
            if rows == 1 and (y := _of_one_row(model.network, x)) is not None:
                return y
            y = model.network.inference()(x)
        return y if y is not x and y.flags.owndata and model.network.children[-1]._of_library else y.copy()
    return _in_batches(model, x, columns, size, rows, CallbackList(callbacks))


def _of_source(model: Sequential, source: Source, callbacks: CallbackList) -> Array:
    """The output for each row of the batches, each computed as a whole."""
    outputs: list[Array] = []
    callbacks.attach(model, {"steps": source.steps, "batch_size": None})
    with callbacks.spanning("predict"):
        for number, batch in enumerate(source.batches()):
            callbacks.call("on_predict_batch_begin", number, {})
            try:
                outputs.append(predict(model, features_of(batch), "full"))
            except (TypeError, ValueError) as error:
                error.add_note(f"in the batch of step {number + 1}")
                raise
            callbacks.call("on_predict_batch_end", number, {"outputs": read_only(outputs[-1])})
    return np.concatenate(outputs)


def _of_one_row(network: Network, x: Array) -> Array | None:
    """The output for one row, by a chain on ready buffers; no other call uses it meanwhile. None if there is none."""
    ready = network.ready_for_one_row
    try:
        chain = ready.pop()
    except IndexError:
        chain = plans.for_one_row(network.children)
    if chain is None:
        return None
    for forward in chain:
        x = forward(x)
    y = x.copy()
    ready.append(chain)  # to the list that it came from: with other layers, the network has a new one
    return y


def told(compute: Callable[[], Array], verbose: int | str) -> Array:
    """What ``compute`` returns; unless ``verbose`` is 0, it prints how many rows there are and how long it took."""
    shown, begun = progress_callback(verbose) is not None, time.perf_counter()
    y = compute()
    if shown:
        print(f"{len(y):,} rows in {time.perf_counter() - begun:.2g}s")
    return y


def _in_batches(
    model: Sequential, x: Rows, columns: Sequence[str] | None, size: int, rows: int, callbacks: CallbackList
) -> Array:
    """The output for rows in batches of ``size``, of which ``rows`` are checked and computed at a time.

    If callbacks see each batch, all rows are checked before.
    """
    n, network, dtype = len(x), model.network, model.network.input_dtype
    y = np.empty((n, *(model.output_shape or ())), model.dtype)
    watched = callbacks.wants("on_predict_batch_begin", "on_predict_batch_end")
    if watched:
        check_finite(x, dtype, names=columns)

    def worker() -> Callable[[tuple[int, Array]], None]:
        infer = network.inference(workspaces=True)

        def compute(piece: tuple[int, Array]) -> None:
            start, part = piece
            if not watched:
                check_finite(part, dtype, names=columns, first=start)
            y[start : start + rows] = infer(np.ascontiguousarray(part, dtype))

        return compute

    def show(piece: tuple[int, Array]) -> None:
        """Call the hooks of the batches that begin or end in the piece."""
        first, last = piece[0], min(piece[0] + rows, n)
        for batch in range(first // size, -(-last // size)):
            start, end = batch * size, min(n, batch * size + size)
            if start >= first:
                callbacks.call("on_predict_batch_begin", batch, {})
            if end <= last:
                callbacks.call("on_predict_batch_end", batch, {"outputs": read_only(y[start:end])})

    starts = range(0, n, rows)
    pieces = ((start, x[start : start + rows]) for start in starts)  # a source is read by one thread at a time
    callbacks.attach(model, {"steps": -(-n // size), "batch_size": size})
    with callbacks.spanning("predict"):
        helpers = 0 if watched else network.helpers_for(n, len(starts))
        each(pieces, worker, show if watched else None, helpers=helpers)
    return y


def predict_classes(model: Sequential, loss: Loss, x: Any, batch_size: int | str | None) -> Array:
    """The class of each row under that loss: its name, or its number if the classes have no names."""
    _, output_shape = model._built_shapes()
    threshold = threshold_of(loss, model.network.children[-1])
    labels = largest_or_above(predict(model, x, batch_size), threshold)
    names = model._names.of_classes(loss.named_classes(output_shape))
    return labels if names is None else np.asarray(np.array(names)[labels])


def activations(model: Sequential, x: Any, batch_size: int | str | None) -> list[Array]:
    """The output of each layer for each row, new arrays; in the chunks of ``predict``."""
    x, layers = features(model, x), model.network.children
    size = _rows_at_a_time(model, _size(batch_size, len(x)))
    outputs = [np.empty((len(x), *(layer._record.output_shape or ())), model.dtype) for layer in layers]
    steps = inference_steps(layers)
    for start in range(0, len(x), size):
        rows = np.ascontiguousarray(x[start : start + size], model.network.input_dtype)
        with model.network.one_thread(len(rows)):
            for step, output in zip(steps, outputs, strict=True):
                rows = output[start : start + size] = step(rows)
    return outputs


def _size(batch_size: int | str | None, n: int) -> int:
    """The number of rows of a batch."""
    return check_batch_size(1024 if batch_size is None else batch_size, n)


def _rows_at_a_time(model: Sequential, batch_rows: int) -> int:
    """How many rows of a batch are computed at a time."""
    return SLICE_ROWS if batch_rows > SLICE_ROWS and model.network.rowwise else batch_rows
