"""Which y_true a metric gets, and a check, before training, that it can take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidense.core.types import Array, Shape


def as_column(y_true: Any, output_shape: Shape) -> Any:
    """``y_true`` as metrics get it: (m, 1), not (m,), for one output, where a difference of the two would be (m, m)."""
    return y_true[:, None] if output_shape == (1,) and np.ndim(y_true) == 1 else y_true


_FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "classes": ("class labels (n,) or one-hot rows (n, k), for k > 1 outputs", ("labels", "rows")),
    "positives": ("class labels (n,) for k > 1 outputs, or 0 and 1 for each output", ("labels", "rows", "column")),
    "binary": ("0 and 1 for each output", ("rows", "column", "others")),
    "numbers": ("a number for each output", ("rows", "column", "others")),
}
"""What a metric may declare that it takes: in words, and the forms that ``_form`` finds."""

_CHECK_ROWS = 65_536  # at a time


def check_targets(metrics: Sequence[Any], y: Any, labels: Callable[[Any], Any], output_shape: Shape) -> None:
    """Raise ValueError if a metric of the library cannot take ``labels(y)``, the y_true of these outputs."""
    declared = [metric for metric in metrics if metric._takes is not None]
    if not declared:
        return
    some = as_column(np.asarray(labels(y[:1])), output_shape)
    form, shape = _form(some, output_shape), ", ".join(map(str, ("n", *some.shape[1:])))
    for metric in declared:
        expected, forms = _FORMS[metric._takes or ""]
        if form not in forms:
            found = "class labels (n,)" if form == "labels" else f"y of shape ({shape}) and dtype {some.dtype}"
            outputs = ", ".join(map(str, ("n", *output_shape)))
            raise ValueError(
                f"the metric {metric.name} takes {expected}; here are {found}, and outputs of shape ({outputs})."
            )
    strict = next((metric for metric in declared if metric._takes != "numbers"), None)
    for start in range(0, len(y), _CHECK_ROWS):
        block = np.asarray(labels(y[start : start + _CHECK_ROWS]))
        if form == "labels":
            valid = (block >= 0) & (block < output_shape[0]) & (block == np.floor(block))
        else:
            valid = ((block >= 0) & (block <= 1)) | (block == -1)  # -1 and 1 serve as well as 0 and 1
        if strict and not valid.all():
            index = tuple(int(i) for i in np.argwhere(~valid)[0])
            raise ValueError(
                f"the metric {strict.name} takes {_FORMS[strict._takes or ''][0]}; y is {block[index]} in row "
                f"{start + index[0]}."
            )
        for metric in declared:
            metric.check_values(block, output_shape)


def _form(y_true: Array, output_shape: Shape) -> str:
    """How y_true and the outputs go together: "labels", or, in the same shape, "column", "rows" or "others"."""
    if y_true.dtype.kind not in "biuf":
        return "not numbers"
    if y_true.ndim == 1 and len(output_shape) == 1:
        return "labels"
    if y_true.shape[1:] != output_shape:
        return "another shape"
    return "others" if len(output_shape) > 1 else "column" if output_shape == (1,) else "rows"


def targets_of(y_true: Any, y_pred: Array) -> Array:
    """``y_true`` in the shape of ``y_pred``: (m,) is taken for (m, 1), and nothing is broadcast."""
    return np.asarray(y_true).reshape(y_pred.shape)


def labels_of(name: str, y_true: Any, y_pred: Array) -> Array:
    """Integer labels (m,), from such labels or from one-hot rows (m, k)."""
    if y_pred.ndim != 2 or y_pred.shape[1] < 2:
        raise ValueError(f"{name}: expected one output for each class, at least two, got shape {y_pred.shape}.")
    y_true = np.asarray(y_true)
    labels: Array = y_true.argmax(axis=1) if y_true.ndim == 2 and y_true.shape[1] > 1 else y_true.reshape(-1)
    return labels
