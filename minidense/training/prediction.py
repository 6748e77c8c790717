"""Predictions: rows in fixed chunks, each computed by one BLAS thread, so that the bits depend on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.core.types import Array
from minidense.data.arrays import Rows, as_features, check_features
from minidense.data.batches import SLICE_ROWS, check_batch_size
from minidense.data.labels import largest_or_above
from minidense.losses import Loss, threshold_of
from minidense.network import inference_steps
from minidense.numerics.helpers import each

if TYPE_CHECKING:
    from minidense.model import Sequential


def features(model: Sequential, x: Any) -> Rows:
    """``x`` as rows that the built model takes, checked. Raises TypeError and ValueError."""
    input_shape, _ = model._built_shapes()
    columns = None if type(x) is np.ndarray else model._names.columns_of(x)
    rows = as_features(x)
    check_features(rows, input_shape, model.dtype, names=columns)
    return rows


def predict(model: Sequential, x: Any, batch_size: int | str) -> Array:
    """The output for each row of ``x``, a new array."""
    x, dtype, network = features(model, x), model.dtype, model.network
    size = _chunk_rows(model, batch_size, len(x))
    if size == len(x) and isinstance(x, np.ndarray):
        with network.one_thread(len(x)):
            y = network.inference()(np.ascontiguousarray(x, dtype))
        return y if y is not x and y.flags.owndata and network.children[-1]._of_library else y.copy()
    y = np.empty((len(x), *(network._record.output_shape or ())), dtype)

    def worker() -> Callable[[tuple[int, Array]], None]:
        infer = network.inference(workspaces=True)

        def compute(piece: tuple[int, Array]) -> None:
            start, rows = piece
            y[start : start + size] = infer(np.ascontiguousarray(rows, dtype))

        return compute

    starts = range(0, len(x), size)
    pieces = ((start, x[start : start + size]) for start in starts)
    each(pieces, worker, helpers=network.helpers_for(len(x), len(starts)))
    return y


def predict_classes(model: Sequential, loss: Loss, x: Any, batch_size: int | str) -> Array:
    """The class of each row under that loss: its name, or its number if the classes have no names."""
    _, output_shape = model._built_shapes()
    threshold = threshold_of(loss, model.network.children[-1])
    labels = largest_or_above(predict(model, x, batch_size), threshold)
    names = model._names.of_classes(loss.named_classes(output_shape))
    return labels if names is None else np.asarray(np.array(names)[labels])


def activations(model: Sequential, x: Any, batch_size: int | str) -> list[Array]:
    """The output of each layer for each row, new arrays; in the chunks of ``predict``."""
    x, layers = features(model, x), model.network.children
    size = _chunk_rows(model, batch_size, len(x))
    outputs = [np.empty((len(x), *(layer._record.output_shape or ())), model.dtype) for layer in layers]
    steps = inference_steps(layers)
    for start in range(0, len(x), size):
        rows = np.ascontiguousarray(x[start : start + size], model.dtype)
        with model.network.one_thread(len(rows)):
            for step, output in zip(steps, outputs, strict=True):
                rows = output[start : start + size] = step(rows)
    return outputs


def _chunk_rows(model: Sequential, batch_size: int | str, n: int) -> int:
    """How many of n rows are computed at a time."""
    size = check_batch_size(batch_size, n)
    return SLICE_ROWS if size > SLICE_ROWS and model.network.rowwise else size
