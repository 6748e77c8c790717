"""The base of all metrics, which are exact over all rows, whatever the batch size.

``y_true`` is the targets: integer class labels (m,) for several outputs, or numbers of the outputs' shape, (m, 1) for
one output. ``y_pred`` is the model's output; under a cross-entropy it is always probabilities, even if the model itself
ends in scores.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import text
from minidense.core.configurable import Configurable
from minidense.core.errors import to_define
from minidense.core.interrupts import quiet
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_array, as_outputs, check_weights
from minidense.losses import Loss
from minidense.metrics.forms import as_column, check_targets


class Metric(Configurable):
    """Base of all metrics: ``update`` takes some rows, ``result`` is the value over all rows since ``reset``.

    Name in ``saved`` the attributes that ``update`` changes, so that a checkpoint within an epoch keeps them. By hand
    there are also Keras' ``update_state``, ``reset_state``, and the call ``metric(y_true, y_pred)``.

    >>> class Largest(Metric):
    ...     name = "largest"
    ...     saved = ("value",)
    ...     def reset(self):
    ...         self.value = -np.inf
    ...     def update(self, y_true, y_pred, weights=None):
    ...         self.value = max(self.value, float(y_pred.max()))
    ...     def result(self):
    ...         return self.value
    """

    name = "metric"
    """Its key in ``History`` and ``Results``."""

    higher_is_better: ClassVar[bool | None] = None
    """Whether a higher value is a better one; None if that is not known."""

    running: ClassVar[bool] = True
    """Whether ``result`` is cheap and meaningful for part of the rows: it is then shown while an epoch runs."""

    takes_weights: bool = True
    """Whether ``update`` accepts weights; only such a metric can be one of ``weighted_metrics``."""

    _takes: str | None = None
    """The form of y_true that it takes, a key of ``_FORMS``, which is checked before training; None for any."""

    def __init__(self, name: str | None = None) -> None:
        self.name = type(self).name if name is None else text(f"{type(self).__name__}: name", name)

    def reset(self) -> None:
        """Forget all rows."""
        raise to_define(self.reset)

    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        """Add m rows; a weight counts as a number of copies. A metric may keep the arrays."""
        raise to_define(self.update)

    def result(self) -> float:
        """The value over all rows added."""
        raise to_define(self.result)

    def check_values(self, y_true: Array, output_shape: Shape) -> None:
        """Raise ValueError for values in checked forms of y_true that the metric cannot take."""

    def check_loss(self, loss: Loss) -> None:
        """Raise ValueError if the metric contradicts the model's loss."""
        if self._levels() == [0] and loss._activation is not None:
            raise ValueError(
                f"metrics: {self.name} has the threshold 0, which is one for scores, but under {loss!r} metrics get "
                f"probabilities, all above 0, whether or not the model ends in {loss._activation.__name__}: use 0.5."
            )

    def _levels(self) -> list[float]:
        """The thresholds that were passed."""
        return []

    @property
    def several(self) -> bool:
        """Whether ``result`` is an array of values, which History has no place for."""
        return False

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """As in Keras, and by hand: add rows, as lists or arrays; y_pred may be (m,) for one output.

        Raises ValueError or TypeError for what the metric cannot take.

        >>> import minidense as md
        >>> metric = md.metrics.Precision()
        >>> metric.update_state([0, 1, 1], [0.9, 0.8, 0.1])
        >>> metric.result()
        0.5
        """
        y_pred = as_outputs(y_pred)
        y_true = as_column(as_array(y_true), y_pred.shape[1:])
        if y_true.shape[:1] != y_pred.shape[:1]:
            raise ValueError(
                f"{self.name}: y_true has {len(y_true) if y_true.ndim else 0} rows and y_pred has {len(y_pred)}."
            )
        check_targets([self], y_true, lambda y: y, y_pred.shape[1:])
        weights = [] if sample_weight is None else [check_weights(sample_weight, len(y_pred))]
        self.update(y_true, y_pred, *weights)

    def reset_state(self) -> None:
        """As in Keras: ``reset``."""
        self.reset()

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """As in Keras: add rows, and return the value over all rows added."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class MeanMetric(Metric):
    """Base of the metrics that are a mean over rows: a subclass defines the value of each row."""

    saved: ClassVar[tuple[str, ...]] = ("_sum", "_weight")

    _sum: float
    _weight: float

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.reset()

    def reset(self) -> None:
        self._sum, self._weight = 0.0, 0.0

    @quiet
    def update(self, y_true: Any, y_pred: Array, weights: Array | None = None) -> None:
        values = self.rows(y_true, y_pred)
        self._sum += float(values.sum(dtype=np.float64) if weights is None else np.vdot(values, weights))
        self._weight += len(values) if weights is None else float(weights.sum(dtype=np.float64))

    @quiet
    def result(self) -> float:
        return self._sum / self._weight if self._weight else float("nan")

    def rows(self, y_true: Any, y_pred: Array) -> Array:
        """The value of each row, (m,)."""
        raise to_define(self.rows)
