"""Normalization: each feature, or each sample, gets mean 0 and variance 1, and is then scaled and shifted."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from minidense.core.arguments import flag, real_number, whole_number
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_features
from minidense.layers.base import Layer
from minidense.layers.constraints import Constraint, get_constraint
from minidense.layers.initializers import Initializer, get_initializer
from minidense.layers.regularizers import Regularizer, get_regularizer
from minidense.numerics.functional import column_sums

Init = str | float | Array | Initializer
Penalty: TypeAlias = str | Regularizer | None
Limit: TypeAlias = str | Constraint | None


class _Affine(Layer):
    """Base of the layers that end in ``y = gamma * xhat + beta``, over the last axis.

    axis: -1, or the number of the last axis. center: whether there is a beta. scale: whether there is a gamma.
    beta, gamma: for each the initializer, the regularizer and the constraint.
    """

    beta_initializer: Initializer
    gamma_initializer: Initializer

    gamma: Array
    beta: Array
    dgamma: Array
    dbeta: Array

    beta_regularizer: Regularizer | None
    beta_constraint: Constraint | None
    gamma_regularizer: Regularizer | None
    gamma_constraint: Constraint | None

    _fixed = ("axis", "center", "scale")

    def __init__(
        self,
        axis: int,
        epsilon: float,
        center: bool,
        scale: bool,
        beta: tuple[Init, Penalty, Limit],
        gamma: tuple[Init, Penalty, Limit],
    ) -> None:
        name = type(self).__name__
        self.axis = whole_number(f"{name}: axis", axis, -1)
        self.epsilon = real_number(f"{name}: epsilon", epsilon, above=0)
        self.center, self.scale = flag(f"{name}: center", center), flag(f"{name}: scale", scale)
        for which, (initializer, penalty, limit) in (("beta", beta), ("gamma", gamma)):
            setattr(self, f"{which}_initializer", get_initializer(initializer))
            setattr(self, f"{which}_regularizer", get_regularizer(penalty, f"{name}: {which}_regularizer"))
            setattr(self, f"{which}_constraint", get_constraint(limit, f"{name}: {which}_constraint"))

    def build(self, input_shape: Shape) -> Shape:
        if self.axis not in (-1, len(input_shape)):
            raise ValueError(f"{self._where}: axis: only the last axis can be normalized: -1, not {self.axis}.")
        if self.scale:
            penalty, limit = self.gamma_regularizer, self.gamma_constraint
            self.param("gamma", input_shape[-1], self.gamma_initializer, False, regularizer=penalty, constraint=limit)
        if self.center:
            penalty, limit = self.beta_regularizer, self.beta_constraint
            self.param("beta", input_shape[-1], self.beta_initializer, False, regularizer=penalty, constraint=limit)
        return input_shape

    def _text(self, xhat: str) -> str:
        """The line of NumPy that ends ``as_numpy``."""
        return f"x = {'gamma * ' * self.scale}({xhat}){' + beta' * self.center}"

    def _affine(self, xhat: Array) -> Array:
        y = self.gamma * xhat if self.scale else xhat
        return y + self.beta if self.center else y

    def _affine_backward(self, dy: Array, xhat: Array) -> Array:
        """Set dgamma and dbeta; return dLoss/dxhat. Both arguments are rows (n, d)."""
        if self.scale:
            column_sums(dy * xhat, out=self.dgamma)
        if self.center:
            column_sums(dy, out=self.dbeta)
        return dy * self.gamma if self.scale else dy


class BatchNormalization(_Affine, library=True):
    """``y = gamma * xhat + beta``, ``xhat = (x - mean) / sqrt(variance + epsilon)``, feature by feature.

    In training, mean and variance are those of the batch (Ioffe and Szegedy, 2015); at inference they are moving
    averages, which each training step updates: ``moving := momentum * moving + (1 - momentum) * batch``. These are
    buffers, copied and saved with the layer. With ``trainable = False``, training uses the moving averages too.

    With sample or class weights, mean and variance are weighted: a weight of 2 is two copies of the row, and a row of
    weight 0 has no influence. (Keras ignores the weights here.)

    axis: -1, the last one. momentum: in [0, 1). epsilon: above 0. center, scale: whether there are beta and gamma. The
    regularizers and constraints are those of Dense.
    x: (n, ..., d), normalized for each of the d.

    >>> import minidense as md
    >>> layer = BatchNormalization(epsilon=1e-9)
    >>> model = md.Sequential([layer]).build(1)
    >>> layer.forward(np.array([[0.0], [2.0]]), training=True)
    array([[-1.],
           [ 1.]])
    """

    caches = ("xhat", "inverse", "of_batch", "shares")

    moving_mean: Array
    moving_variance: Array

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        moving_mean_initializer: Init = "zeros",
        moving_variance_initializer: Init = "ones",
        beta_regularizer: Penalty = None,
        gamma_regularizer: Penalty = None,
        beta_constraint: Limit = None,
        gamma_constraint: Limit = None,
    ) -> None:
        beta = beta_initializer, beta_regularizer, beta_constraint
        gamma = gamma_initializer, gamma_regularizer, gamma_constraint
        super().__init__(axis, epsilon, center, scale, beta, gamma)
        self.momentum = real_number("BatchNormalization: momentum", momentum, at_least=0, below=1)
        self.moving_mean_initializer = get_initializer(moving_mean_initializer)
        self.moving_variance_initializer = get_initializer(moving_variance_initializer)

    def build(self, input_shape: Shape) -> Shape:
        self.buffer("moving_mean", input_shape[-1], self.moving_mean_initializer)
        self.buffer("moving_variance", input_shape[-1], self.moving_variance_initializer)
        return super().build(input_shape)

    def as_numpy(self) -> str:
        return self._text("(x - moving_mean) * (1 / np.sqrt(moving_variance + epsilon))")

    def forward(self, x: Array, training: bool, sample_weight: Array | None = None) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        self.of_batch = training and self.trainable and (sample_weight is None or bool(sample_weight.any()))
        mean, variance = self.moving_mean, self.moving_variance
        if self.of_batch:
            self.shares = None if sample_weight is None else _shares(sample_weight, len(rows), x.dtype)
            mean = self._mean(rows)
            variance = self._mean((rows - mean) ** 2)
            self.moving_mean *= self.momentum
            self.moving_mean += (1 - self.momentum) * mean
            self.moving_variance *= self.momentum
            self.moving_variance += (1 - self.momentum) * variance
        self.inverse = 1 / np.sqrt(variance + self.epsilon)
        self.xhat = (rows - mean) * self.inverse
        return self._affine(self.xhat).reshape(x.shape)

    def _mean(self, rows: Array) -> Array:
        mean: Array = column_sums(rows) / len(rows) if self.shares is None else self.shares @ rows
        return mean

    def backward(self, dy: Array) -> Array:
        dxhat = self._affine_backward(dy.reshape(-1, dy.shape[-1]), self.xhat)
        dx: Array = dxhat * self.inverse
        if self.of_batch:  # mean and variance depend on every row, by its share of the weights
            share = self.inverse / len(dx) if self.shares is None else self.shares[:, None] * self.inverse
            dx -= share * (column_sums(dxhat) + self.xhat * column_sums(dxhat * self.xhat))
        return dx.reshape(dy.shape)

    shares: Array | None


def _shares(weights: Array, rows: int, dtype: np.dtype[Any]) -> Array:
    """Each row's share of the weights, (rows,); each of the n weights is that of several rows in turn."""
    shares = np.repeat(weights, rows // len(weights))
    return np.asarray(shares / shares.sum(), dtype)


class LayerNormalization(_Affine, library=True):
    """``y = gamma * xhat + beta``, ``xhat = (x - mean) / sqrt(variance + epsilon)``, sample by sample.

    Mean and variance are those of each sample's d features (Ba et al., 2016), in training and at inference alike.

    axis: -1, the last one. epsilon: above 0. center, scale: whether there are beta and gamma. The regularizers and
    constraints are those of Dense. x: (n, ..., d), normalized over the d.

    >>> import minidense as md
    >>> model = md.Sequential([LayerNormalization(epsilon=1e-9)]).build(2)
    >>> model.predict([[1.0, 3.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    rowwise = True
    caches = ("xhat", "inverse")

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        beta_regularizer: Penalty = None,
        gamma_regularizer: Penalty = None,
        beta_constraint: Limit = None,
        gamma_constraint: Limit = None,
    ) -> None:
        beta = beta_initializer, beta_regularizer, beta_constraint
        gamma = gamma_initializer, gamma_regularizer, gamma_constraint
        super().__init__(axis, epsilon, center, scale, beta, gamma)

    def as_numpy(self) -> str:
        mean = "x = x - x.mean(axis=-1, keepdims=True)\n"
        return mean + self._text("x * (1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon))")

    def forward(self, x: Array) -> Array:
        xhat = x - x.mean(axis=-1, keepdims=True)
        self.inverse = 1 / np.sqrt((xhat * xhat).mean(axis=-1, keepdims=True) + self.epsilon)
        xhat *= self.inverse
        self.xhat = xhat
        return self._affine(xhat)

    def backward(self, dy: Array) -> Array:
        features = dy.shape[-1]
        rows = self._affine_backward(dy.reshape(-1, features), self.xhat.reshape(-1, features))
        dxhat = rows.reshape(dy.shape)
        along = (dxhat * self.xhat).mean(axis=-1, keepdims=True)
        return np.asarray((dxhat - dxhat.mean(axis=-1, keepdims=True) - self.xhat * along) * self.inverse)


class RMSNormalization(_Affine, library=True):
    """``y = gamma * xhat``, ``xhat = x / sqrt(mean(x**2) + epsilon)``, sample by sample (Zhang and Sennrich, 2019).

    axis: -1, the last one. epsilon: above 0.

    >>> import minidense as md
    >>> md.Sequential([RMSNormalization()]).build(2).predict([[3.0, -4.0]]).round(4)
    array([[ 0.8485, -1.1314]], dtype=float32)
    """

    rowwise = True
    caches = ("xhat", "inverse")

    def __init__(self, axis: int = -1, epsilon: float = 1e-6, gamma_initializer: Init = "ones") -> None:
        super().__init__(axis, epsilon, False, True, ("zeros", None, None), (gamma_initializer, None, None))

    def as_numpy(self) -> str:
        return self._text("x * (1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon))")

    def forward(self, x: Array) -> Array:
        self.inverse = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon)
        self.xhat = x * self.inverse
        return self._affine(self.xhat)

    def backward(self, dy: Array) -> Array:
        features = dy.shape[-1]
        rows = self._affine_backward(dy.reshape(-1, features), self.xhat.reshape(-1, features))
        dxhat = rows.reshape(dy.shape)
        along = (dxhat * self.xhat).mean(axis=-1, keepdims=True)
        return np.asarray((dxhat - self.xhat * along) * self.inverse)


class Normalization(Layer, library=True):
    """``y = (x - mean) / sqrt(variance)`` for each feature, with a fixed mean and variance of the training data.

    ``adapt(x)`` computes them, in float64; or pass both. A feature that is constant becomes 0. It has no parameters:
    mean and deviation are buffers, in float64. As the first layer it is given x in float64, whatever the model's dtype,
    so that large numbers that differ little, such as timestamps, are not rounded before the mean is subtracted.

    axis: -1, one mean for each feature of the last axis; None, one for all. invert: ``y = x * sqrt(variance) + mean``.
    Raises RuntimeError in ``build`` if it has neither adapted nor been given them.

    >>> import minidense as md
    >>> layer = Normalization()
    >>> layer.adapt([[0.0, 5.0], [2.0, 5.0]])
    >>> md.Sequential([layer]).build(2).predict([[2.0, 5.0]])
    array([[1., 0.]], dtype=float32)
    """

    rowwise = True
    float64_input = True

    location: Array
    """The mean, (d,)."""
    spread: Array
    """The standard deviation, (d,); 1 where it is 0."""

    def __init__(self, axis: int | None = -1, mean: Any = None, variance: Any = None, invert: bool = False) -> None:
        self.axis = None if axis is None else whole_number("Normalization: axis", axis, -1)
        if self.axis not in (-1, None):
            raise ValueError(f"Normalization: axis: expected -1 or None, got {axis!r}.")
        self.invert = flag("Normalization: invert", invert)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization: pass both mean and variance, or neither, and call adapt.")
        self.mean = None if mean is None else np.atleast_1d(np.array(as_features(mean, "mean"), np.float64))
        self.variance = (
            None if variance is None else np.atleast_1d(np.array(as_features(variance, "variance"), np.float64))
        )
        if self.mean is not None and not np.isfinite(self.mean).all():
            raise ValueError("Normalization: mean: expected finite numbers.")
        if self.variance is not None and not ((self.variance >= 0) & (self.variance < np.inf)).all():
            raise ValueError("Normalization: variance: expected finite numbers of at least 0.")

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of the rows of ``data``, (n, ..., d). Before the model is built."""
        if self._record.views:
            raise RuntimeError(f"{self._where}: adapt before the model is built, and before the first fit.")
        rows = np.asarray(as_features(data, "data"), np.float64)
        rows = rows.reshape(-1, rows.shape[-1] if self.axis == -1 and rows.ndim > 1 else 1)
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            constant = (rows == rows[:1]).all(axis=0)
            mean = np.where(constant, rows[0], rows.mean(axis=0))  # the mean of equal numbers may be rounded
            variance = ((rows - mean) ** 2).mean(axis=0)
        if not np.isfinite(variance).all():
            raise ValueError(
                f"{self._where}: data: expected finite numbers, of finite squares; remove or impute others."
            )
        config = {**self._config, "mean": mean, "variance": variance}
        self.__dict__.update(_config=config, mean=config["mean"], variance=config["variance"])

    def build(self, input_shape: Shape) -> Shape:
        if self.mean is None or self.variance is None:
            raise RuntimeError(f"{self._where}: call adapt(x) with the training data first, or pass mean and variance.")
        features = input_shape[-1] if self.axis == -1 else 1
        for name, values in (("mean", self.mean), ("variance", self.variance)):
            if values.shape not in ((features,), (1,)):
                raise ValueError(f"{self._where}: {name}: expected {features} values, got shape {values.shape}.")
        deviation = np.sqrt(self.variance)
        spread, wide = np.where(deviation, deviation, 1.0), "float64"
        self.buffer("location", features, lambda rng, shape: np.broadcast_to(self.mean, shape), dtype=wide)
        self.buffer("spread", features, lambda rng, shape: np.broadcast_to(spread, shape), dtype=wide)
        return input_shape

    def as_numpy(self) -> str:
        return "x = x * spread + location" if self.invert else "x = (x - location) / spread"

    def forward(self, x: Array) -> Array:
        y = x * self.spread + self.location if self.invert else (x - self.location) / self.spread
        return y.astype(self.dtype, copy=False)

    def backward(self, dy: Array) -> Array:
        return (dy * self.spread if self.invert else dy / self.spread).astype(self.dtype, copy=False)
