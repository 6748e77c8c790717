"""``Members``: the loss of several networks side by side, each of which may withhold rows of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidense.core.arguments import whole_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_array
from minidense.layers import Layer, MembersMean, Sigmoid, Softmax
from minidense.losses.base import RowLoss, by_rows, gradient_of, rows_of
from minidense.losses.classes import ClassLoss
from minidense.losses.names import get_loss


class Members(RowLoss, library=True):
    """``L_i = (1 / k) sum over the members m that count row i of L(scores of m, y of m)``, for k members.

    loss: L, a RowLoss or a name. members: k. The model ends in MembersMean(k, ...), which training skips; the scores
    are (n, k * c), and the model's outputs (n, c). y: (n,) is the same for all members. (n, k) has a label or number
    for each, NaN where that member withholds the row, from which it learns nothing; where labels are 0, 1, ..., so does
    -1. If L takes vectors of c numbers, y is (n, k, c), NaN where withheld. A row that all members withhold does not
    count. reduction: None is that of L.

    Metrics compare the y of the first member that counts the row with the mean over the members that count it. So
    ``evaluate`` with the y of just the members that did not train on a row gives the loss, divided by k, and the
    metrics of out-of-fold predictions.

    >>> loss = Members("mse", 2)
    >>> loss.forward(np.array([[1.0, 3.0], [5.0, 7.0]]), [[0.0, 0.0], [np.nan, 7.0]])
    2.5
    """

    includes = MembersMean

    def __init__(
        self, loss: str | RowLoss, members: int, reduction: str | None = None, name: str | None = None
    ) -> None:
        inner = by_rows(get_loss(loss))
        if inner is None or isinstance(inner, Members):
            raise ValueError(f"Members: loss: expected a loss that is computed row by row, got {loss!r}.")
        super().__init__(inner.reduction if reduction is None else reduction, name)
        self.loss, self.members = inner, whole_number("Members: members", members)

    @property
    def accuracy(self) -> str | None:  # type: ignore[override]
        """What the metric "accuracy" means under the loss of each member."""
        return self.loss.accuracy

    def _set_argument(self, name: str, value: Any) -> None:
        super()._set_argument(name, value)
        if self._config["reduction"] is None:
            self.__dict__["reduction"] = self.loss.reduction

    # ------------------------------------------------------------------ the model

    @property
    def _activation(self) -> type[Layer] | None:
        return self.loss.includes

    @property
    def _ending(self) -> MembersMean:
        """What the model ends in."""
        names: dict[Any, str] = {Softmax: "softmax", Sigmoid: "sigmoid"}
        return MembersMean(self.members, names.get(self._activation, "linear"))

    def check_last_layer(self, layer: Layer) -> None:
        self.loss.check_last_layer(layer)

    def check_included(self, skipped: Layer | None) -> None:
        ending = self._ending
        settings = [getattr(layer, name, None) for layer in (skipped, ending) for name in ("members", "activation")]
        if settings[:2] != settings[2:]:
            found = "" if skipped is None else f", not in {skipped!r}"
            raise ValueError(f"{self!r}: the model has to end in {ending!r}{found}.")
        self.loss.check_included(None if self._activation is None else skipped)

    def named_classes(self, output_shape: Shape) -> int:
        return self.loss.named_classes(output_shape)

    def _outputs(self, scores: Array, y: Array) -> Array:
        of_members = self._ending.of_members(scores)
        counts = self._counts(y)
        if counts is None:
            return np.asarray(of_members.mean(axis=1))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return np.asarray(np.einsum("nk,nkc->nc", shares.astype(scores.dtype), of_members))

    # ------------------------------------------------------------------ the labels

    def check_targets(self, y: Any, output_shape: Shape) -> Array:
        if len(output_shape) != 1 or output_shape[0] % self.members:
            raise ValueError(
                f"{self!r} takes scores of shape (n, {self.members} * c), c for each member; got (n, *{output_shape})."
            )
        k, c = self.members, output_shape[0] // self.members
        y = as_array(y)
        if y.ndim == 1 or (y.shape[1:] == (1,) and k > 1):
            return np.asarray(self.loss.check_targets(y.reshape(-1), (c,)))
        if y.shape[1:] not in ((k,), (k, c)) or y.dtype.kind not in "biuf":
            raise ValueError(
                f"y: expected numbers of shape (n,), or (n, {k}), one for each member, or (n, {k}, {c}); got "
                f"{y.shape}, {y.dtype}. The same rows for all members: np.repeat(y[:, None], {k}, axis=1)."
            )
        if y.ndim == 2 and 1 < k == c and isinstance(self.loss, ClassLoss) and (np.sort(y) == np.eye(k)[-1]).all():
            raise ValueError(f"y: expected labels for each of {k} members, got one-hot rows: use y.argmax(axis=1).")
        counts = self._counts(y)
        for m in range(k):
            own = y[:, m]
            if counts is not None and counts[:, m].any():
                own = own.copy()
                own[~counts[:, m]] = own[counts[:, m]][0]  # any that can be checked
            if counts is None or counts[:, m].any():
                self.loss.check_targets(own, (c,))
        return np.asarray(y)

    def _counts(self, y: Array) -> Array | None:
        """Which members count which rows of checked ``y``, (n, k); None if all do."""
        if y.ndim == 1:
            counted = self.loss.counted(y)
            return None if counted is None else np.repeat(counted[:, None], self.members, axis=1)
        counts = ~np.isnan(y) if y.ndim == 2 else ~np.isnan(y).all(axis=2)
        if y.ndim == 2 and self.accuracy not in (None, "sign_accuracy"):  # there -1 is a label
            counts &= y != -1
        own = self.loss.counted(y.reshape(-1, *y.shape[2:]))
        if own is not None:
            counts &= own.reshape(counts.shape)
        return None if counts.all() else np.asarray(counts)

    def counted(self, y: Array) -> Array | None:
        counts = self._counts(y)
        return None if counts is None or (rows := counts.any(axis=1)).all() else np.asarray(rows)

    def encode(self, y: Array, out: Array) -> Array:
        targets = np.full((len(y), self.members, out.shape[1] // self.members), np.nan, out.dtype)
        if y.ndim == 1:
            targets[...] = self._encoded_by(y, targets)[:, None]
        else:
            counts = self._counts(y)
            some = np.ones(y.shape[:2], bool) if counts is None else counts
            targets[some] = self._encoded_by(y[some], targets)
        out[...] = targets.reshape(out.shape)
        return out

    def _encoded_by(self, y: Array, like: Array) -> Array:
        """The targets of rows of one member each, (m, c)."""
        targets = np.empty((len(y), like.shape[2]), like.dtype)
        return self.loss.encode(y, targets).reshape(targets.shape)

    def labels(self, y: Array) -> Any:
        if y.ndim > 1:
            counts = self._counts(y)
            first = 0 if counts is None else counts.argmax(axis=1)
            y = y[np.arange(len(y)), first]
            if counts is not None:
                y[~counts.any(axis=1)] = 0  # it will not count
        return self.loss.labels(y)

    # ------------------------------------------------------------------ the loss

    def rows(self, scores: Array, targets: Array) -> Array:
        of_each = np.zeros(len(scores) * self.members)
        scores, targets, counts = self._by_member(scores, targets)
        if len(scores):
            of_each[counts] = rows_of(self.loss, scores, targets)
        return np.asarray(of_each.reshape(-1, self.members).mean(axis=1))

    def gradient(self, scores: Array, targets: Array) -> Array:
        dscores = np.zeros(scores.shape, scores.dtype)
        scores, targets, counts = self._by_member(scores, targets)
        if len(scores):
            of_each = gradient_of(self.loss, scores, targets)
            of_each *= 1 / self.members
            dscores.reshape(-1, scores.shape[1])[counts] = of_each
        return dscores

    def _by_member(self, scores: Array, targets: Array) -> tuple[Array, Array, Any]:
        """Scores and targets of one member each, (m, c), where they count; and which do, of all n * k."""
        scores, targets = (a.reshape(len(a) * self.members, -1) for a in (scores, targets))
        counts = ~np.isnan(targets[:, 0])
        return (scores, targets, slice(None)) if counts.all() else (scores[counts], targets[counts], counts)
