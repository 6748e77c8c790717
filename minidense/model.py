"""``Sequential``: the user's model, a facade over its network."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self, overload

import numpy as np

from minidense.aliases import KerasMethods, split_input, without_batch
from minidense.callbacks.base import Callback, CallbackList, Logs
from minidense.callbacks.checkpoint import newest_file
from minidense.callbacks.reporting import progress_callback
from minidense.core.arguments import (
    check_attribute,
    file_path,
    flag,
    items,
    known_keywords,
    lookup,
    whole_numbers,
)
from minidense.core.interrupts import current, guarded, quiet
from minidense.core.named import NamedFunction
from minidense.core.rng import Generators
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_features, check_features, check_weights
from minidense.data.batches import DefaultRows
from minidense.data.names import Names
from minidense.layers.base import Layer, walk
from minidense.layers.composite import Pass, expanded
from minidense.losses import Loss, get_loss
from minidense.metrics import Metric, get_metrics
from minidense.network import Network
from minidense.optimizers import LBFGS, Optimizer, get_optimizer
from minidense.teaching.summary import Summary, summary
from minidense.training import prediction
from minidense.training.evaluation import Report, evaluate
from minidense.training.history import History
from minidense.training.inputs import Checks, HeldOut, as_rows, prepared
from minidense.training.lbfgs import run_of
from minidense.training.loop import SavedRun
from minidense.training.results import Results
from minidense.training.step import learning


class _Default(str):
    """A default that can be distinguished from the same string passed by the user."""


DTYPES = {"float32": "float32", "float64": "float64"}


class Sequential(KerasMethods):
    """A chain of layers over one flat vector of parameters.

    layers: ``Layer`` objects or other models, first to last; a Dense with an activation adds that activation as a
    separate layer. rng: an int, with which the results are the same to the bit each time, a numpy.random.Generator, or
    None for fresh entropy. dtype: "float32" or "float64", in which everything is stored and computed. name: shown by
    ``summary``. Raises TypeError or ValueError for other arguments.

    A model may be used wherever a layer may. It is then part of the outer model: it takes the outer model's rng and
    dtype, and is trained with it; ``predict``, ``get_weights`` and ``save`` still work on it.

    >>> import minidense as md
    >>> model = md.Sequential([md.Dense(100, activation="relu"), md.Dense(10, activation="softmax")], rng=0)
    >>> model.build(64).predict(np.zeros((2, 64))).shape
    (2, 10)
    """

    _made = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if own := {"forward", "backward", "call", "train_step", "test_step", "predict_step"} & vars(cls).keys():
            raise TypeError(
                f"{cls.__name__}: fit and predict would not call its {min(own)}. Write a Layer, which has its layers "
                f"as self.child(...), and put that into a Sequential."
            )

    @known_keywords
    def __init__(
        self,
        layers: Sequence[Layer | Sequential] | None = (),
        *,
        rng: int | np.random.Generator | None = None,
        dtype: str = _Default("float32"),
        name: str | None = None,
    ) -> None:
        chosen = None if isinstance(dtype, _Default) else _dtype_name(dtype)
        generators = Generators.from_rng(rng)
        if not isinstance(name, str | None):
            raise TypeError(f"name: expected a string or None, got {name!r}.")
        layers, self._said_shape = split_input(() if layers is None else layers)
        self.network = Network(layers, chosen, generators)
        self.name = name
        self.stop_training = False
        self.history: History | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: list[Metric] = []
        self.weighted_metrics: list[Metric] = []
        self._rng_given = rng is not None
        self._rows_forward: int | None = None
        self._names = Names()
        self._made = True
        """Whether the constructor has run: from then on, ``__setattr__`` checks the names of new attributes."""
        self._build_as_said()

    def _build_as_said(self) -> None:
        """Build the model if its first item said the shape of a sample."""
        if self._said_shape is not None and self.network.children:
            self.build(self._said_shape)

    def _as_layer(self) -> Network:
        """The model's network, to be used as a layer."""
        if self._rng_given:
            raise ValueError(
                f"{self!r} was made with rng= and would be part of a model: pass rng to the outermost model only."
            )
        self.network._facade = self
        return self.network

    @classmethod
    def _facade_of(cls, network: Network) -> Self:
        """The model of a network that is part of another one."""
        if network._facade is None:
            network._facade = cls()
            network._facade.network = network
        facade: Self = network._facade
        return facade

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made and type(self) is Sequential:
            check_attribute(self, name)
        object.__setattr__(self, name, value)

    # ------------------------------------------------------------------ building

    @guarded
    def add(self, layer: Layer | Sequential) -> Self:
        """Append ``layer``; return the model. Raises ValueError if the layer is part of a model already."""
        items, said = split_input([layer]) if not self.network.children else ([layer], None)
        self._said_shape = self._said_shape or said
        with self._exclusively(own="add"):
            before = self.output_shape
            self.network.extend(expanded(items))
            if self.output_shape != before:
                self._names = Names(self._names.features)  # other outputs are those of other classes
            if self.built and self.optimizer is not None:
                self.optimizer.state.clear()  # its vectors have the size of the former theta
        if not self.built:
            self._build_as_said()
        return self

    @guarded
    @known_keywords
    def pop(self) -> Layer | Sequential:
        """Remove the last layer; return a copy of it, which can be added elsewhere. The model stays ready for use."""
        with self._exclusively(own="pop"):
            if not self.network.children:
                raise ValueError("pop: the model has no layers.")
            layer = copy.deepcopy(self.layers[-1])
            self.network.remove_last()
            self._names = Names(self._names.features)
            if self.optimizer is not None:
                self.optimizer.state.clear()
        return layer

    @property
    def layers(self) -> tuple[Layer | Sequential, ...]:
        """The layers, first to last."""
        children = self.network.children
        return tuple(Sequential._facade_of(child) if isinstance(child, Network) else child for child in children)

    @property
    def built(self) -> bool:
        """Whether the parameters exist."""
        return self.network.built

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters and of all results."""
        return self.network._record.dtype

    @property
    def input_shape(self) -> Shape | None:
        """The shape of one sample; None before the model is built."""
        return self.network._record.input_shape if self.built else None

    @property
    def output_shape(self) -> Shape | None:
        """The shape of one prediction; None before the model is built."""
        return self.network._record.output_shape if self.built else None

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters, from the next step on; setting it sets it for all layers."""
        return self.network.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.network.trainable = value

    @property
    def theta(self) -> Array:
        """All parameters as one vector (p,), layer by layer. Assigning to it writes into it."""
        return self.network.theta

    @theta.setter
    @quiet
    def theta(self, values: Any) -> None:
        theta = self.network.theta
        if np.shape(values) != theta.shape:
            raise ValueError(f"theta: expected shape {theta.shape}, got {np.shape(values)}.")
        theta[...] = values

    @property
    def grad(self) -> Array:
        """The gradient of all parameters, (p,), from the last backward pass."""
        return self.network.grad

    @guarded
    def build(self, input_shape: int | Sequence[int | None]) -> Self:
        """Create the parameters for samples of ``input_shape``, which has no batch axis, or None for it, first.

        An int means ``(int,)``.

        ``fit`` does this if needed; with the same seed, the initial values are the same either way. Returns the model.
        Raises ValueError if a layer cannot take the output of the one before it, or if the model is already built for
        another shape.
        """
        shape = whole_numbers("input_shape", without_batch(input_shape))
        if self.built:
            if shape != self.input_shape:
                raise ValueError(f"the model is built for inputs of shape {self.input_shape}, not {shape}.")
            return self
        with self._exclusively(own="build"), self.network.building(shape):
            self.network.allocate()
        return self

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The columns of the first data frame that the model was trained on; None if there was none."""
        return self._names.features

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes 0, 1, 2, ..., in sorted order, if the model was trained on names; None otherwise."""
        return self._names.classes

    # ------------------------------------------------------------------ training

    @guarded
    @known_keywords
    def compile(
        self,
        optimizer: str | Optimizer = "sgd",
        loss: str | NamedFunction | Loss = "sparse_categorical_crossentropy",
        metrics: Sequence[str | Metric | Callable[..., Any]] | None = (),
        weighted_metrics: Sequence[str | Metric | Callable[..., Any]] | None = (),
    ) -> Self:
        """Set the optimizer, the loss and the metrics. Strings are Keras' names. Returns the model.

        metrics: names, Metric objects, or functions of (y_true, y_pred); "accuracy" means the one that fits the loss.
        A name as given here is the metric's name in History. Sample and class weights do not affect these metrics.
        weighted_metrics: metrics that do count rows by their weights, as the loss does; a name that is also in
        ``metrics`` becomes ``weighted_...``.
        Raises ValueError for unknown names, with the nearest one, and for a last layer that does not fit the loss.
        """
        chosen = get_optimizer(optimizer), get_loss(loss)
        plain, weighted = (() if given is None else given for given in (metrics, weighted_metrics))
        both = get_metrics(plain, weighted, chosen[1])
        with self._exclusively(own="compile"):
            self._check_last_layer(chosen[1])
            (self.optimizer, self.loss), (self.metrics, self.weighted_metrics) = chosen, both
        return self

    @guarded
    @known_keywords
    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | str | None = DefaultRows(32),
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] | Callback | None = (),
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | str | None = None,
        validation_freq: int | Collection[int] = 1,
        *,
        validation_shuffle: bool = False,
        gradient_accumulation_steps: int = 1,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for ``epochs`` passes over the data; a second call continues from the first.

        x: (n, ...) finite real numbers, one row per sample: an array, a data frame, a numpy.memmap, or anything with a
        shape, a dtype and [...], which is read in blocks. The names of a data frame's columns become ``feature_names``
        if there are none yet, and all data frames from then on must have them, in that order; arrays have no names.
        y: the n labels or targets that the loss takes; with a cross-entropy, also strings, the names of the classes, as
        many as the model has outputs, or two for one output. In sorted order they become ``class_names``, and 0, 1, 2,
        ... for the loss and the metrics; a model that has learned names takes no numbers, and the reverse.
        Instead of both, x may be a source of batches (x, y) or (x, y, sample_weight): an object with Keras' PyDataset
        protocol (``__len__``, ``__getitem__``, ``on_epoch_end``), something that each epoch iterates anew, such as
        PyTorch's DataLoader, or a generator, which is read on. steps_per_epoch: the number of its batches per epoch, by
        default all; a generator without it lasts for one epoch.

        batch_size: rows per update, by default 32, with LBFGS all; 1 for single-sample updates, "full" for all at once.
        epochs: the number of the last epoch; initial_epoch: that of the first one, where earlier calls have made some.
        validation_data: (x, y), (x, y, sample_weight), or a source of these, of validation_steps batches. It is
        evaluated after each epoch, validation_batch_size rows at a time, by default 1,024. validation_freq: after every
        so many epochs, or after those of a list, counted from 1; in the others its values in the History are NaN.
        validation_split: instead, the fraction of x and y, their last rows, to keep out of training; with
        validation_shuffle, random rows, for which the data is copied.
        shuffle: draw a new order of the rows for each epoch, from the model's own random generator.
        sample_weight: (n,), a number of copies of each row, for the loss and the weighted metrics; a mean is then
        divided by the sum of the weights. class_weight: a dict from label or name to weight, or "balanced"; it
        multiplies sample_weight of the training rows.
        gradient_accumulation_steps: the number of batches per update, made from the mean gradient over all their rows;
        the last update of an epoch may have fewer.
        callbacks: md.callbacks.Callback objects, whose hooks are called; the ``on_test_...`` for the validation.
        resume: a checkpoint of md.callbacks.ModelCheckpoint, written by the same call without resume. The run is
        resumed there, in the same process or another; the result is the same to the bit as without the break. "auto"
        is the newest file of the ModelCheckpoint in callbacks, by the run's position in it, or, where there is none,
        the start; a run that was complete is then just returned. Pass a new source of batches: a generator is read up
        to the position of the checkpoint; the batches of a dataset must depend only on their index and the calls of
        on_epoch_end. A warning is issued for another BLAS or type of processor, or, if steps are so large that they use
        BLAS's threads, another number of threads.
        verbose: 0 is silent; 2 prints a line per epoch and, if training ends early, why; 1 adds a bar for the epoch
        under way; "auto" is 1 in a terminal or Jupyter notebook, and 2 elsewhere.

        Returns a History. Raises ValueError or TypeError for wrong input, before anything has changed; a checkpoint of
        another model or run is a ValueError that lists all differences. Raises RuntimeError before ``compile``, and
        FloatingPointError if the loss is not finite: the parameters are then those before that update.
        """
        self._compiled()
        listed = CallbackList(callbacks, progress_callback(verbose))
        path = newest_file(listed.given) if isinstance(resume, str) and resume == "auto" else resume
        saved = None if path is None else self._saved_run(path)
        held_out = HeldOut(
            *(validation_data, validation_split, validation_shuffle),
            *(validation_batch_size, validation_steps, validation_freq),
        )
        with (
            self._exclusively(own="fit"),
            prepared(
                self,
                x,
                y,
                generators=(self if saved is None else saved.model).network.generators,
                batch_size=batch_size,
                gradient_accumulation_steps=gradient_accumulation_steps,
                held_out=held_out,
                sample_weight=sample_weight,
                class_weight=class_weight,
                steps_per_epoch=steps_per_epoch,
            ) as data,
        ):
            run = run_of(self, data, listed, epochs=epochs, initial_epoch=initial_epoch, shuffle=shuffle, saved=saved)
            return run.train()

    def _saved_run(self, path: str | os.PathLike[str]) -> SavedRun:
        from minidense.files import checkpoint

        path = file_path("resume", path)
        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, "there is no checkpoint; begin with resume=None", path)
        return SavedRun(path, *checkpoint.read_checkpoint(path, checkpoint.custom_of(self), Sequential))

    @overload
    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: Literal[False] = False
    ) -> Results: ...
    @overload
    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: Literal[True]) -> Logs: ...
    @guarded
    @known_keywords
    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: bool = False) -> Results | Logs:
        """One update on all rows of ``x``. Returns the loss and the metrics before it, as ``evaluate`` does.

        Raises as ``fit`` does.
        """
        optimizer, _ = self._compiled()
        optimizer.check_owner(self)
        if isinstance(optimizer, LBFGS):
            raise optimizer.of_fit_only("train_on_batch")
        return_dict = flag("return_dict", return_dict)
        with self._exclusively(own="train_on_batch"):
            logs = self._backpropagate(x, y, sample_weight, update=True).logs()
        return logs if return_dict else Results(logs)

    @guarded
    @known_keywords
    def loss_and_grad(self, x: Any, y: Any, *, sample_weight: Any = None, update_buffers: bool = False) -> float:
        """The loss on all rows of ``x``; fills ``model.grad`` with its gradient and changes no parameter.

        The loss is the mean or the sum over rows, as its reduction says. Use this for your own training loop and for
        scipy.optimize. update_buffers: keep the changes of the layers' buffers, such as the moving averages of a batch
        normalization; a training loop needs that. Raises as ``fit`` does.
        """
        update_buffers = flag("update_buffers", update_buffers)
        with self._exclusively():
            report = self._backpropagate(x, y, sample_weight, update_buffers=update_buffers)
        return report.objective

    def _backpropagate(
        self, x: Any, y: Any, sample_weight: Any, update: bool = False, update_buffers: bool = False
    ) -> Report:
        optimizer, loss = self._compiled()
        columns = self._names.columns_of(x)
        x, y = as_rows(x, y)
        weights = None if sample_weight is None else check_weights(sample_weight, len(x))
        with self.network.building(x.shape[1:]) as output_shape:
            checks = Checks(self, output_shape, columns)
            feed = checks.feed(*checks.rows(x, checks.learn(y), weights, columns=columns), len(x))
            if update:
                optimizer.check_rates(piece.name for piece in self.network.pieces())
                optimizer.check_run(None)
            if not self.built:
                self.network.allocate()
            report = Report(loss, checks.row_loss, self.metrics, self.weighted_metrics)
            learner_of_batch = learning(self, checks.row_loss, report, len(x), updates=update)
            with learner_of_batch as learner, learner.interrupts.breakable():
                for block in feed.blocks():
                    for step in block.steps:
                        if not learner.backpropagate(step):
                            raise learner.diverged(step, "this batch")
                        learner.interrupts.check()
                    report.add(block)
                if update:
                    optimizer.claim(self)
                    learner.update()
                    learner.interrupts.release()
                else:
                    learner.keep(update_buffers)
            self._names = checks.names
        return report

    # ------------------------------------------------------------------ using

    @quiet
    @known_keywords
    def predict(
        self,
        x: Any,
        batch_size: int | str | None = DefaultRows(1024),
        verbose: int | str = 0,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = (),
    ) -> Array:
        """The model's output for ``x``: (n, k), a new array of the model's dtype. Pure, and safe in any thread.

        Rows are computed in fixed chunks of ``batch_size``, each by one BLAS thread, so that the bits do not depend on
        the number of cores or on other threads; if there are many chunks, several are computed at a time. With a final
        Softmax the results are probabilities, without it scores. x may be a source of batches, as in ``fit``, of x or
        (x, y), each of which is a chunk; steps: how many of them. callbacks: their ``on_predict_...`` are called.
        verbose: 0, or 1 or 2 to print the number of rows and the seconds.
        Raises ValueError or TypeError for wrong input, and RuntimeError before the model is built.
        """
        if type(verbose) is int and not verbose:
            return prediction.predict(self, x, batch_size, steps, callbacks)
        return prediction.told(lambda: prediction.predict(self, x, batch_size, steps, callbacks), verbose)

    @quiet
    @known_keywords
    def predict_classes(self, x: Any, *, batch_size: int | str | None = DefaultRows(1024)) -> Array:
        """The class of each row of ``x``, (n,): its name, if the model was trained on names, or its number.

        It is the class with the largest output; with binary_crossentropy, the second one if its probability is above
        0.5, and for k > 1 outputs 0 and 1 for each, (n, k). Raises as ``predict`` does, RuntimeError before
        ``compile``, and TypeError if the loss is not one for classes.

        >>> import minidense as md
        >>> model = md.Sequential([md.Dense(2)], rng=0).compile("adam")
        >>> _ = model.fit(np.eye(2), ["no", "yes"], epochs=1000, verbose=0)
        >>> model.predict_classes(np.eye(2)).tolist()
        ['no', 'yes']
        """
        return prediction.predict_classes(self, self._compiled()[1], x, batch_size)

    @quiet
    @known_keywords
    def activations(self, x: Any, *, batch_size: int | str | None = DefaultRows(1024)) -> list[Array]:
        """The output of each layer for ``x``, first to last: new arrays (n, ...) of the model's dtype.

        The last one is what ``predict`` returns, to the bit. Pure, and safe in any thread. Raises as ``predict`` does.
        """
        return prediction.activations(self, x, batch_size)

    @overload
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | str | None = DefaultRows(1024),
        verbose: int | str = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = (),
        return_dict: Literal[False] = False,
        *,
        class_weight: Mapping[Any, float] | str | None = None,
    ) -> Results: ...
    @overload
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | str | None = DefaultRows(1024),
        verbose: int | str = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = (),
        *,
        return_dict: Literal[True],
        class_weight: Mapping[Any, float] | str | None = None,
    ) -> Logs: ...
    @guarded
    @known_keywords
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | str | None = DefaultRows(1024),
        verbose: int | str = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = (),
        return_dict: bool = False,
        *,
        class_weight: Mapping[Any, float] | str | None = None,
    ) -> Results | Logs:
        """The loss, as the mean over the rows, and the metrics. Pure, and safe in any thread.

        Returns Results: ``loss, accuracy = ...``, or ``[1]``, or ``["accuracy"]``. return_dict: return a dict instead.
        x may be a source of batches, as in ``fit``; steps: how many of them.
        sample_weight: (n,), a number of copies of each row, for the loss and the weighted metrics. class_weight: as
        for ``fit``. callbacks: their ``on_test_...`` are called. verbose: 0, or 1 or 2 to print the results.
        Raises as ``predict`` does, ValueError or TypeError for a wrong ``y``, and RuntimeError before ``compile``.
        """
        self._compiled()
        checks = Checks(self, self._built_shapes()[1])
        told, return_dict = progress_callback(verbose), flag("return_dict", return_dict)
        listed = CallbackList(callbacks)
        feed = checks.evaluation_feed(x, y, sample_weight, class_weight, batch_size, steps)
        listed.attach(self, {"steps": feed.steps_per_epoch, "batch_size": feed.batch_rows})
        with current().breakable():
            logs = evaluate(self, checks.row_loss, feed, listed)
        if told is not None:
            print(Results(logs))
        return logs if return_dict else Results(logs)

    @quiet
    def forward(self, x: Array, training: bool = False) -> Array:
        """The forward pass: the output of the last layer. Each layer caches what its ``backward`` needs."""
        rows = prediction.features(self, x)
        x = rows[:].astype(self.network.input_dtype, copy=False)
        y = Pass(self.network.children, flag("training", training)).forward(x)
        self._rows_forward = len(rows)
        return y.copy() if self.network.root.exclusive.busy else y  # while fit runs, layers reuse their arrays

    @quiet
    def backward(self, dy: Any) -> Array:
        """The backward pass of the last ``forward``: from dLoss/dy to dLoss/dx; fills ``grad``."""
        _, output_shape = self._built_shapes()
        dy = np.asarray(as_features(dy, "dy"), self.dtype)
        rows = self._rows_forward if self._rows_forward is not None else "n"
        if dy.shape[1:] != output_shape or dy.ndim == 0 or rows not in ("n", len(dy)):
            expected = ", ".join(map(str, (rows, *output_shape)))
            raise ValueError(f"dy: expected shape ({expected}), that of forward's output, got {dy.shape}.")
        dx = Pass(self.network.children, training=True).backward(dy)
        self.network.add_shared()
        return dx

    # ------------------------------------------------------------------ weights

    def get_weights(self) -> list[Array]:
        """Copies of all parameters and buffers, in Keras' order and layout: W (in, out), b (out,), layer by layer.

        A batch normalization has gamma, beta, moving_mean and moving_variance; a shared parameter occurs once.
        """
        self._built_shapes()
        return [array.copy() for array in self.network.named_arrays().values()]

    @guarded
    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy ``weights``, in the order of ``get_weights``, into the model; on a ValueError, none is copied."""
        self._built_shapes()
        targets = self.network.named_arrays()
        weights = items("weights", weights)
        if len(weights) != len(targets):
            raise ValueError(f"weights: expected {len(targets)} arrays, got {len(weights)}.")
        arrays = [np.array(as_features(w, f"weights[{i}]")) for i, w in enumerate(weights)]  # copies: they may be views
        for i, (array, (name, view)) in enumerate(zip(arrays, targets.items(), strict=True)):
            if array.shape != view.shape:
                raise ValueError(f"weights[{i}]: expected shape {view.shape} for {name}, got {array.shape}.")
            check_features(np.atleast_2d(array), np.atleast_2d(array).shape[1:], view.dtype, f"weights[{i}]")
        with self._exclusively(within=True):
            for array, view in zip(arrays, targets.values(), strict=True):
                view[...] = array

    def count_params(self) -> int:
        """The number of parameters, shared ones counted once; 0 before the model is built."""
        return self.network.theta.size if self.built else 0

    @known_keywords
    def summary(self, *, print_fn: Callable[[str], Any] | None = None) -> Summary:
        """Show a table of the layers, their output shapes and numbers of parameters; "?" before the model is built.

        A script prints it, Jupyter shows a table. print_fn: called with each line instead. Returns it, as a string.

        >>> import minidense as md
        >>> _ = md.Sequential([md.Dense(10)], name="linear").build(64).summary()
        linear
        layer       output shape    parameters
        Dense(10)   (n, 10)                650
        650 parameters, 2,600 bytes (float32)
        """
        return summary(self.network, self.name or "Sequential").show(print_fn)

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.network.children))
        built = f", {self.count_params():,} parameters" if self.built else ", not built"
        return f"<Sequential [{layers}]{built}, {self.dtype}>"

    # ------------------------------------------------------------------ saving

    @guarded
    @known_keywords
    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the whole model: layers, parameters, optimizer with its state, random generators, history.

        ``md.load_model(path)`` returns a model that predicts and continues training as this one would. The file is an
        uncompressed NumPy ``.npz``: ``numpy.load(path)["layers/0/W"]``. It is replaced as a whole or not at all.
        Raises ValueError if something could not be loaded again, such as a lambda, and OSError.
        """
        from minidense.files import model_file  # here, as only saving needs what it imports

        inside = [layer._facade for layer in walk(self.network) if isinstance(layer, Network) and layer._facade]
        for kind in map(type, (self, *inside)):
            if kind is not Sequential:
                raise ValueError(f"a {kind.__name__} would be loaded as a Sequential; use save_weights instead.")
        with self._exclusively(within=True):
            model_file.write_model(path, self)

    @guarded
    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Save only the parameters and buffers, by the same names. Raises RuntimeError before it is built, OSError."""
        from minidense.files import model_file

        self._built_shapes()
        with self._exclusively(within=True):
            model_file.write_weights(path, self)

    @guarded
    @known_keywords
    def load_weights(self, path: str | os.PathLike[str], *, skip_mismatch: bool = False) -> None:
        """Load the parameters and buffers from a file of ``save`` or ``save_weights``; all, or none.

        The arrays are matched by their names, such as layers/0/W, which say the places of the layers, and must have the
        same shapes; float64 values are rounded for a float32 model. skip_mismatch: load the layers of which all arrays
        fit, at least one, and warn of the others, such as a new last layer; these stay as they are. Raises ValueError
        with all that does not fit, CorruptFileError, OSError, and RuntimeError before the model is built.
        """
        from minidense.files import model_file

        self._built_shapes()
        arrays = model_file.read_weights(path, self, flag("skip_mismatch", skip_mismatch))
        with self._exclusively(within=True):
            targets = self.network.named_arrays()
            for name, array in arrays.items():
                targets[name][...] = array

    @guarded
    def export_numpy(self, path: str | os.PathLike[str]) -> None:
        """Write a Python file that needs only NumPy, whose ``predict(x)`` returns what the model's returns.

        It is the same to the bit, on the same machine and with the same NumPy. The file has the names of features and
        classes, FEATURES and CLASS_NAMES, and compares the columns of data frames; under a loss for classes, it has
        ``predict_classes(x)`` too. The file is run before it replaces another. Raises TypeError for a layer whose
        ``as_numpy`` is missing or contradicts ``forward``, RuntimeError before the model is built, and OSError.

        >>> import runpy, tempfile
        >>> import minidense as md
        >>> model = md.Sequential([md.Dense(3), md.Softmax()], rng=0).build(4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.export_numpy(f"{folder}/model.py")
        ...     predict = runpy.run_path(f"{folder}/model.py")["predict"]
        >>> bool((predict(np.eye(4)) == model.predict(np.eye(4))).all())
        True
        """
        from minidense.files.numpy_export import export_numpy

        self._built_shapes()
        with self._exclusively(within=True):
            export_numpy(path, self)

    # ------------------------------------------------------------------ copying

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # layers have one theta: there is no shallow copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        with self._exclusively(within=True):  # a callback of a fit may copy the model, another thread may not
            twin = memo[id(self)] = object.__new__(type(self))
            twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.network.allocate_copy()

    # ------------------------------------------------------------------ what these methods share

    def _compiled(self) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            if self.network.outer is not None:
                raise RuntimeError("this model is part of another one: compile and train the outermost model.")
            raise RuntimeError(
                "the model is not compiled: call model.compile(optimizer=md.SGD(0.1), loss=md.SoftmaxCrossEntropy())."
            )
        self._check_last_layer(self.loss)
        return self.optimizer, self.loss

    def _check_last_layer(self, loss: Loss) -> None:
        if trunk := self.network.trunk(loss.includes):
            loss.check_included(self.network.children[-1] if len(trunk) < len(self.network.children) else None)
            loss.check_last_layer(trunk[-1])

    def _built_shapes(self) -> tuple[Shape, Shape]:
        network = self.network
        if network._theta is None:
            _ = network.theta  # says what to do
        return network._record.input_shape or (), network._record.output_shape or ()

    @contextmanager
    def _exclusively(self, within: bool = False, own: str = "") -> Iterator[None]:
        """Prevent other threads from changing the model.

        within: allow it in callbacks of a running fit. own: the name of a method for the outermost model only.
        """
        if own and self.network.outer is not None:
            raise RuntimeError(f"this model is part of another one: call {own} on the outermost model.")
        with self.network.root.exclusive(within):
            yield


def _dtype_name(dtype: Any) -> str:
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    return lookup("dtype", name, DTYPES)
