"""``TableClassifier`` and ``TableRegressor``: from a table to predictions, without a search.

Several small networks side by side are one model. Each withholds another part of the rows, so that nothing is lost to a
hold-out: the best epoch, an honest score and the calibration come from what each network says of rows that it has not
seen.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from minidense.callbacks import Callback, KeepBest
from minidense.callbacks.base import CallbackList
from minidense.callbacks.reporting import progress_callback
from minidense.core.arguments import items, nearest, real_number, shown, whole_number
from minidense.core.configurable import Configurable, load_state_dict, signature_of, state_dict
from minidense.core.rng import random_generator
from minidense.core.types import Array
from minidense.data.arrays import as_features, check_weights
from minidense.data.labels import ClassLabels
from minidense.layers import EmbedColumns, Layer, MembersMean, PackedDense, ReLU, Rescaling, Scale
from minidense.layers.initializers import RandomNormal
from minidense.losses import MeanSquaredError, Members, RowLoss, SoftmaxCrossEntropy
from minidense.metrics import R2
from minidense.model import Sequential
from minidense.numerics.functional import softmax
from minidense.optimizers import Adam
from minidense.schedules import CosLog4
from minidense.tables.preprocessing import TablePreprocessor
from minidense.training.history import History


class TableModel(Configurable):
    """What ``TableClassifier`` and ``TableRegressor`` have in common."""

    saved: ClassVar[tuple[str, ...]] = ("oof_prediction_", "oof_score_")

    preprocessor_: TablePreprocessor
    """What makes rows of numbers of a table."""
    model_: Sequential
    """The network, from these rows to probabilities, or to standardised numbers."""
    oof_prediction_: Array
    """What the network that has not seen a training row says of it, out of fold: probabilities, or numbers."""
    oof_score_: float
    """The score of ``oof_prediction_``, an estimate of that of new rows. The epoch is chosen by it, so that it is
    somewhat too good where rows are few and say little: by 0.03 for 300 rows of noise."""

    _activation: ClassVar[str]
    _monitor: ClassVar[str]
    _rate: ClassVar[float]

    def __init__(
        self,
        rng: int | np.random.Generator | None = None,
        *,
        members: int = 8,
        hidden: Sequence[int] = (64, 64, 64),
        epochs: int = 64,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_one_hot: int = 30,
        categorical: Sequence[Any] = (),
        verbose: int | str = "auto",
    ) -> None:
        kind = type(self).__name__
        if not isinstance(rng, int | np.integer | np.random.Generator | None):
            raise TypeError(f"{kind}: rng: expected an int, a numpy.random.Generator or None, got {shown(rng)}.")
        progress_callback(verbose)  # raises errors
        self.rng = rng
        self.members = whole_number(f"{kind}: members", members, 2)
        self.hidden = [whole_number(f"{kind}: hidden", units) for units in items(f"{kind}: hidden", hidden)]
        self.epochs = whole_number(f"{kind}: epochs", epochs)
        rate = self._rate if learning_rate is None else learning_rate
        self.learning_rate = real_number(f"{kind}: learning_rate", rate, above=0)
        self.batch_size = None if batch_size is None else whole_number(f"{kind}: batch_size", batch_size)
        TablePreprocessor(max_one_hot, categorical)  # raises errors
        self.max_one_hot, self.categorical, self.verbose = max_one_hot, categorical, verbose

    # ------------------------------------------------------------------ training

    def fit(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callbacks: Sequence[Callback] | Callback | None = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train on a table; return the estimator. A second ``fit`` begins anew.

        x: a data frame, a dict of columns, an array or lists of rows, as TablePreprocessor takes them; y: one label or
        number for each row. sample_weight: (n,), a number of copies of each row. callbacks, resume: as of
        ``Sequential.fit``; resume needs an rng that is an int. Raises what TablePreprocessor and ``Sequential.fit``
        raise, and is then as before.
        """
        given = CallbackList(callbacks).given
        if resume is not None and (self.rng is None or isinstance(self.rng, np.random.Generator)):
            # other rows would be withheld than before, which the networks have been trained on
            raise ValueError(f"resume: rng must be an int, with which the same rows are withheld; got {self.rng}.")
        table = TablePreprocessor(self.max_one_hot, self.categorical)
        rows = table.fit_transform(x)
        targets, learned = self._learn(y, len(rows))
        weights = None if sample_weight is None else check_weights(sample_weight, len(rows))
        draw = self.rng.spawn(1)[0] if isinstance(self.rng, np.random.Generator) else random_generator(self.rng)
        fold = self._folds(targets, draw)
        withheld = fold[:, None] == np.arange(self.members)
        outputs = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1

        network = self._network(table, outputs)
        steps = max(1, round(len(rows) / (self.batch_size or (128 if len(rows) < 4000 else 256))))
        best = KeepBest(self._monitor, last=True)
        network.fit(
            rows,
            self._for_members(targets, ~withheld),
            batch_size=-(-len(rows) // steps),  # of even batches none is so small that its gradient is mostly noise
            epochs=self.epochs,
            validation_data=(rows, self._for_members(targets, withheld), *([] if weights is None else [weights])),
            validation_batch_size=128,
            validation_freq=range(self.epochs, 0, -2),  # every other epoch, and the last
            sample_weight=weights,
            callbacks=[best, *given],
            verbose=self.verbose,
            resume=resume,
        )
        scores = network[:-1].predict(rows).reshape(len(rows), self.members, -1)
        mine = scores[np.arange(len(rows)), fold].astype(np.float64)
        prediction = self._finish(network, mine, targets, weights, learned)
        self.__dict__.update(preprocessor_=table, model_=network, oof_prediction_=prediction, **learned)
        self.__dict__["oof_score_"] = self._score(prediction, y, weights)
        return self

    @property
    def history_(self) -> History:
        """Of the training: the loss of the rows that networks train on, and ``val_...`` of those that they withhold."""
        return self._model().history or History()

    def _network(self, table: TablePreprocessor, outputs: int) -> Sequential:
        """The compiled network, all members side by side."""
        k, layers = self.members, list[Layer]()
        if table.embedded_:  # each member has vectors of its own: shared ones would know the rows that it withholds
            layers += [EmbedColumns(table.embedded_, members=k), Scale(rate=6.0)]
        else:
            layers.append(Scale(k, rate=6.0))
        for units in self.hidden:
            layers += [
                PackedDense(
                    units,
                    k,
                    kernel_initializer="lecun_normal",
                    bias_initializer=RandomNormal(stddev=1.0),
                    kernel_rate="1/sqrt(fan_in)",
                    bias_rate=0.1,
                ),
                ReLU(),
            ]
        layers.append(PackedDense(outputs, k, kernel_initializer="zeros", kernel_rate="1/sqrt(fan_in)", bias_rate=0.1))
        model = Sequential([*layers, MembersMean(k, self._activation)], rng=self.rng)
        optimizer = Adam(CosLog4(self.learning_rate), 0.9, 0.95)
        metrics = ["accuracy"] if self._activation == "softmax" else []
        return model.compile(optimizer, Members(self._loss(), k), metrics).build(len(table.feature_names_out_))

    def _for_members(self, targets: Array, counts: Array) -> Array:
        """The targets of each row for each member, which withholds those that do not count."""
        y = np.repeat(targets[:, None], self.members, axis=1)
        if targets.dtype.kind == "i":
            y[~counts] = -1
        else:
            y[~counts] = np.nan
        return y

    def _folds(self, targets: Array, draw: np.random.Generator) -> Array:
        """For each row the member that withholds it: as many rows for each, and of each class, as possible."""
        order = draw.permutation(len(targets))
        if targets.dtype.kind == "i":
            order = order[np.argsort(targets[order], kind="stable")]
        fold = np.empty(len(targets), np.intp)
        fold[order] = np.arange(len(targets)) % self.members
        return fold

    # ------------------------------------------------------------------ what the two differ in

    def _loss(self) -> RowLoss:
        """The loss of one member."""
        raise NotImplementedError

    def _learn(self, y: Any, n: int) -> tuple[Array, dict[str, Any]]:
        """The targets for the loss, and what is learned of y."""
        raise NotImplementedError

    def _finish(
        self, network: Sequential, scores: Array, targets: Array, weights: Array | None, learned: dict[str, Any]
    ) -> Array:
        """Let the network end in what it is to predict; the predictions out of fold. scores: out of fold, (n, k)."""
        raise NotImplementedError

    def _score(self, prediction: Array, y: Any, weights: Array | None) -> float:
        """The score of predictions."""
        raise NotImplementedError

    def _fits(self, model: Sequential) -> bool:
        """Whether a model from a file has as many outputs as this estimator needs."""
        prediction = self.oof_prediction_
        of_rows = prediction.dtype.kind == "f" and prediction.ndim in (1, 2)
        return of_rows and model.output_shape == (prediction.shape[1:] or (1,))

    def _exported(self) -> str:
        """The functions of the exported file, of ``transform`` and ``rows_to_outputs``."""
        raise NotImplementedError

    # ------------------------------------------------------------------ using

    def _model(self) -> Sequential:
        if "model_" not in vars(self):
            raise RuntimeError(f"{type(self).__name__}: call fit(x, y) first.")
        return self.model_

    def _outputs(self, x: Any) -> Array:
        model = self._model()
        return model.predict(self.preprocessor_.transform(x))

    def explain(self) -> str:
        """What is done with each column of the table, a line for each. RuntimeError before ``fit``."""
        self._model()
        return self.preprocessor_.explain()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save all of it to a file, which ``md.load_model(path)`` reads. RuntimeError before ``fit``; OSError."""
        from minidense.files import model_file

        model = self._model()
        table = {
            "kind": type(self).__name__,
            "arguments": self.get_config(),
            "preprocessor": self.preprocessor_,
            "saved": state_dict(self),
        }
        model_file.write_model(path, model, table=table)

    def export_numpy(self, path: str | os.PathLike[str]) -> None:
        """Write a Python file that needs only NumPy, whose functions give what this estimator's give, to the bit.

        They are ``predict(x)`` and, of a classifier, ``predict_proba(x)``. Raises RuntimeError before ``fit``, OSError.
        """
        from minidense.files import numpy_export

        model = self._model()
        transform = textwrap.indent(self.preprocessor_.as_numpy(), "    ")
        more = (
            f"def _made():\n{transform}\n    return transform\n\n\ntransform, rows_to_outputs = _made(), predict\n\n\n"
        )
        about = "x: a data frame, a dict of columns, an array or lists of rows."
        numpy_export.export_numpy(path, model, about, more + self._exported())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name, as in scikit-learn; deep: of no effect."""
        return self.get_config()

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor; return the estimator. They count from the next ``fit`` on."""
        known = list(signature_of(type(self)).parameters)[1:]
        for name in params:
            if name not in known:
                raise ValueError(f"set_params: there is no {shown(name)}.{nearest(name, known)} There are: {known}.")
        type(self).from_config({**self.get_config(), **params})  # raises errors before anything is set
        for name, value in params.items():
            setattr(self, name, value)
        return self


class TableClassifier(TableModel, library=True):
    """A classifier for a table with numbers, text, dates and gaps; its defaults need no search.

    ``members`` networks with ``hidden`` ReLU units per layer, side by side, are trained by Adam for ``epochs`` epochs;
    each withholds another part of the rows. Scaling, initial values and the schedule are those of RealMLP (D.
    Holzmüller, L. Grinsztajn, I. Steinwart, "Better by default", 2024), simplified. The last epoch with the best
    accuracy out of fold is kept, and a temperature makes the probabilities honest. ``predict_proba`` is the mean of the
    networks' probabilities.

    rng: an int, with which the results are the same to the bit each time, a numpy.random.Generator, or None.
    learning_rate: the largest of the schedule, by default 0.04. batch_size: rows an update; by default 128 below 4,000
    rows, and 256 above. max_one_hot, categorical: as of TablePreprocessor. verbose: as of ``Sequential.fit``.

    >>> x = {"hours": [1.0, 2.0, 8.0, 9.0] * 25, "sleep": ["good", "bad", None, "good"] * 25}
    >>> model = TableClassifier(rng=0, epochs=20, verbose=0).fit(x, ["failed", "failed", "passed", "passed"] * 25)
    >>> model.predict({"hours": [1.5, 7.5], "sleep": ["good", "bad"]}).tolist()
    ['failed', 'passed']
    """

    saved = ("classes_",)

    classes_: Array
    """The classes, sorted."""

    _activation = "softmax"
    _monitor = "val_accuracy"
    _rate = 0.04

    def predict(self, x: Any) -> Array:
        """The class of each row, (n,). Raises what TablePreprocessor raises, and RuntimeError before ``fit``."""
        probabilities = self.predict_proba(x)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, x: Any) -> Array:
        """The probability of each of ``classes_`` for each row, (n, k). Raises as ``predict`` does."""
        return self._outputs(x)

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose class is predicted. Raises as ``predict`` does."""
        prediction = self.predict_proba(x)
        weights = None if sample_weight is None else check_weights(sample_weight, len(prediction))
        return self._score(prediction, y, weights)

    def _score(self, prediction: Array, y: Any, weights: Array | None) -> float:
        labels = ClassLabels(self.classes_)
        targets = labels.encode(y)
        _check_rows(targets, len(prediction))
        hits = prediction.argmax(axis=1) == targets
        return float(np.average(hits, weights=weights))

    def _exported(self) -> str:
        return f"""CLASSES = np.array({self.classes_.tolist()!a}, {self.classes_.dtype.str!r})


def predict_proba(x):
    return rows_to_outputs(transform(x))


def predict(x):
    return CLASSES[predict_proba(x).argmax(axis=1)]
"""

    def _fits(self, model: Sequential) -> bool:
        names = self.classes_
        sortable = names.dtype.kind in "biufU" and names.ndim == 1 and _finite(names)
        return (
            sortable
            and bool((names[:-1] < names[1:]).all())
            and model.output_shape == names.shape
            and super()._fits(model)
        )

    def _loss(self) -> RowLoss:
        return SoftmaxCrossEntropy(label_smoothing=0.1)

    def _learn(self, y: Any, n: int) -> tuple[Array, dict[str, Any]]:
        labels = ClassLabels(y)
        targets = labels.encode(y)
        _check_rows(targets, n)
        if len(labels.names) < 2:
            raise ValueError(f"y: expected two classes or more, got only {labels.names.tolist()}.")
        if labels.names.dtype.kind not in "biufU" or not _finite(labels.names):  # a file could not keep them
            raise TypeError(
                f"y: expected text, booleans or finite numbers, got {shown(labels.names[-1])}; convert the labels, as "
                f"by str."
            )
        return targets, {"classes_": labels.names}

    def _finish(
        self, network: Sequential, scores: Array, targets: Array, weights: Array | None, learned: dict[str, Any]
    ) -> Array:
        beta = _inverse_temperature(scores, targets, weights)
        ending = network.pop()
        network.add(Rescaling(beta)).add(ending)
        return softmax(beta * scores)


class TableRegressor(TableModel, library=True):
    """A regressor for a table with numbers, text, dates and gaps: as TableClassifier, but y is numbers.

    The networks predict standardised numbers with a squared loss; ``predict`` is their mean, in the units of y. The
    last epoch with the smallest squared error out of fold is kept. learning_rate: by default 0.07. y: (n,) or (n, m).

    >>> x = {"hours": [1.0, 2.0, 8.0, 9.0] * 25, "sleep": ["good", "bad", None, "good"] * 25}
    >>> model = TableRegressor(rng=0, epochs=20, verbose=0).fit(x, [10.0, 20.0, 80.0, 90.0] * 25)
    >>> model.oof_score_ > 0.9
    True
    """

    saved = ("target_mean_", "target_scale_")

    target_mean_: Array
    target_scale_: Array
    """The mean and the standard deviation of y, () or (m,); the networks predict ``(y - mean) / scale``."""

    _activation = "linear"
    _monitor = "val_loss"
    _rate = 0.07

    def predict(self, x: Any) -> Array:
        """The number for each row, (n,), or numbers, (n, m), in float64. RuntimeError before ``fit``."""
        return _in_units(self._outputs(x), self.target_mean_, self.target_scale_)

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination R², the mean over the outputs. Raises as ``predict`` does."""
        prediction = self.predict(x)
        weights = None if sample_weight is None else check_weights(sample_weight, len(prediction))
        return self._score(prediction, y, weights)

    def _score(self, prediction: Array, y: Any, weights: Array | None) -> float:
        r2, numbers = R2(), _numbers(y)
        _check_rows(numbers, len(prediction))
        r2.update(numbers, prediction.reshape(len(prediction), -1), *([] if weights is None else [weights]))
        return float(r2.result())

    def _exported(self) -> str:
        column = "[:, 0]" if self.target_mean_.ndim == 0 else ""
        scale, mean = self.target_scale_.tolist(), self.target_mean_.tolist()
        return f"""MEAN, SCALE = np.array({mean}), np.array({scale})


def predict(x):
    return rows_to_outputs(transform(x)){column}.astype(np.float64) * SCALE + MEAN
"""

    def _loss(self) -> RowLoss:
        return MeanSquaredError()

    def _learn(self, y: Any, n: int) -> tuple[Array, dict[str, Any]]:
        numbers = _numbers(y)
        _check_rows(numbers, n)
        _check_range(numbers)
        mean, scale = _units(numbers)
        return ((numbers - mean) / scale).reshape(n, -1), {"target_mean_": mean, "target_scale_": scale}

    def _finish(
        self, network: Sequential, scores: Array, targets: Array, weights: Array | None, learned: dict[str, Any]
    ) -> Array:
        return _in_units(scores, learned["target_mean_"], learned["target_scale_"])

    def _fits(self, model: Sequential) -> bool:
        mean, scale, shape = self.target_mean_, self.target_scale_, self.oof_prediction_.shape[1:]
        of_rows = mean.dtype.kind == scale.dtype.kind == "f" and mean.shape == scale.shape == shape
        return of_rows and bool(np.isfinite(mean).all() and (scale > 0).all()) and super()._fits(model)


def _numbers(y: Any) -> Array:
    """The targets of a regression in float64, (n,) or (n, m). Raises TypeError and ValueError."""
    numbers = np.asarray(as_features(y, "y")[:], np.float64)
    if numbers.ndim not in (1, 2):
        raise ValueError(f"y: expected one number for each row, (n,), or several, (n, m); got {numbers.shape}.")
    if not np.isfinite(numbers).all():
        row = int(np.argwhere(~np.isfinite(numbers))[0][0])
        raise ValueError(f"y: {numbers[row]} in row {row}: expected finite numbers; drop that row.")
    return numbers


def _check_range(numbers: Array) -> None:
    """Raise ValueError for numbers whose squares overflow or vanish."""
    largest = np.abs(numbers).max(axis=0)
    if not ((largest == 0) | ((largest > 1e-100) & (largest < 1e100))).all():
        raise ValueError(
            f"y: expected numbers within 1e100, and not all below 1e-100, as their squares are computed; the largest "
            f"is {np.max(largest):g}. Multiply y by a constant."
        )


def _units(numbers: Array) -> tuple[Array, Array]:
    """The mean and the standard deviation, 1 for numbers that are all the same."""
    constant = (numbers == numbers[:1]).all(axis=0)  # their mean may be rounded
    mean = np.where(constant, numbers[0], numbers.mean(axis=0))
    return mean, np.where(constant, 1.0, numbers.std(axis=0))


def _in_units(outputs: Array, mean: Array, scale: Array) -> Array:
    """The networks' outputs (n, m) in the units of y, in float64."""
    return np.asarray((outputs if mean.ndim else outputs[:, 0]).astype(np.float64) * scale + mean)


def _finite(names: Array) -> bool:
    return names.dtype.kind != "f" or bool(np.isfinite(names).all())


def _check_rows(y: Array, n: int) -> None:
    if len(y) != n:
        raise ValueError(f"x has {n} rows and y has {len(y)}; expected the same number.")


def _inverse_temperature(scores: Array, targets: Array, weights: Array | None) -> float:
    """The factor on the scores that gives their softmax the least log loss: there the derivative, which rises, is 0."""
    of_target = scores[np.arange(len(scores)), targets]
    low, high = np.log(0.05), np.log(20.0)
    for _ in range(30):
        middle = (low + high) / 2
        excess = (softmax(np.exp(middle) * scores) * scores).sum(axis=1) - of_target
        if np.average(excess, weights=weights) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp((low + high) / 2))


def restored(table: Any, model: Sequential) -> TableModel:
    """The estimator of a file: ``table`` is what ``save`` wrote of it. Raises TypeError or ValueError."""
    parts = {"kind": str, "arguments": dict, "preprocessor": TablePreprocessor, "saved": dict}
    if not isinstance(table, dict) or table.keys() != parts.keys():
        raise ValueError("its table has other parts")
    for name, kind in parts.items():
        if not isinstance(table[name], kind):
            raise ValueError(f"the {name} of its table is {shown(table[name])}")
    kinds = {kind.__name__: kind for kind in (TableClassifier, TableRegressor)}
    if table["kind"] not in kinds:
        raise ValueError(f"its table is of a {shown(table['kind'])}")
    estimator: TableModel = kinds[table["kind"]].from_config(table["arguments"])
    load_state_dict(estimator, table["saved"])
    preprocessor = table["preprocessor"]
    columns = () if preprocessor.fitted is None else preprocessor.feature_names_out_
    if not model.built or model.input_shape != (len(columns),) or not estimator._fits(model):
        raise ValueError("its table and its model do not fit each other")
    estimator.__dict__.update(preprocessor_=preprocessor, model_=model)
    return estimator
