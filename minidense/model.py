"""``Sequential``: the model that the user holds."""

from __future__ import annotations

import copy
import dataclasses
import errno
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from minidense.callbacks.base import Callback, Logs
from minidense.callbacks.hooks import Hooks
from minidense.callbacks.progress import progress_callback
from minidense.core.arguments import known_keywords, lookup, whole_number, whole_numbers
from minidense.core.errors import Problems
from minidense.core.rng import Streams
from minidense.core.types import Array, Shape
from minidense.data.arrays import as_features, check_features, check_weights
from minidense.data.batches import BatchFeed, Feed, check_batch_size
from minidense.layers import Layer
from minidense.layers.parameters import Fill, allocate, start_of
from minidense.losses import Loss, get_loss
from minidense.metrics import Metric, get_metric
from minidense.network import Chain, inference
from minidense.numerics.blas import SMALL, one_thread_if
from minidense.optimizers import Optimizer, get_optimizer
from minidense.teaching.summary import Summary
from minidense.training.history import History
from minidense.training.inputs import Intake, as_rows, sort_out
from minidense.training.loop import Run, deferred_interrupts
from minidense.training.step import Learner, Report, evaluate

if TYPE_CHECKING:
    from minidense.files.loading import SavedModel
    from minidense.files.saving import Parts

DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in ("float32", "float64")}


class Sequential:
    """A chain of layers over one flat vector of parameters.

    layers: ``Layer`` objects, first to last; a Dense with an activation adds that activation as a layer of its own.
    rng: None for fresh entropy, an int, or a numpy.random.Generator: the same one gives the same results, to the
    bit. dtype: "float32" or "float64", in which everything is stored and computed. name: shown by ``summary``.

    >>> import minidense as md
    >>> model = md.Sequential([md.Dense(100, activation="relu"), md.Dense(10, activation="softmax")], rng=0)
    >>> model.build(64).predict(np.zeros((2, 64))).shape
    (2, 10)
    """

    @known_keywords
    def __init__(
        self,
        layers: Sequence[Layer] = (),
        *,
        rng: int | np.random.Generator | None = None,
        dtype: str = "float32",
        name: str | None = None,
    ) -> None:
        self._dtype = _model_dtype(dtype)
        self._streams = Streams.from_rng(rng)
        if not isinstance(name, str | None):
            raise TypeError(f"name: expected a string or None, got {name!r}.")
        self.name = name
        self.stop_training = False
        self.history: History | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: list[Metric] = []
        self._layers: list[Layer] = []
        self._theta: Array | None = None
        self._grad: Array | None = None
        self._rows_forward: int | None = None
        self._fitting = threading.Lock()
        self._fitting_thread: int | None = None
        if isinstance(layers, Layer):
            raise TypeError(f"layers: expected a list of layers, got one layer; use Sequential([{layers!r}]).")
        self._extend(_expanded(layers))

    # ------------------------------------------------------------------ building

    def add(self, layer: Layer) -> Self:
        """Append ``layer``; return the model. Raises ValueError where the layer is in a model already."""
        with self._exclusively():
            self._extend(_expanded([layer]))
        return self

    def _extend(self, parts: list[Layer]) -> None:
        seen: set[int] = set()
        for new in parts:
            owner = new._owner() if new._owner is not None else None
            if owner is not None or id(new) in seen:
                place = "part of another model" if owner not in (None, self) else "in this model already"
                raise ValueError(
                    f"{new.where} is {place}; a layer has one place and one set of parameters. Make a new one, or "
                    f"use copy.deepcopy(layer) to start from its values."
                )
            seen.add(id(new))
        before = self._layers, self._theta, self._grad
        self._layers = self._layers + parts
        if self.built:
            self._theta = self._grad = None
            try:
                self.build(before[0][0].input_shape or ())
            except BaseException:
                self._layers, self._theta, self._grad = before
                raise
            if self.optimizer is not None:
                self.optimizer.state.clear()  # its vectors were as long as the theta that was
        for index, new in enumerate(parts, len(before[0])):
            new.join(self, index)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, first to last."""
        return tuple(self._layers)

    @property
    def built(self) -> bool:
        """Whether the parameters exist."""
        return self._theta is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters and of all that is computed."""
        return self._dtype

    @property
    def input_shape(self) -> Shape | None:
        """The shape of one sample; None before the model is built."""
        return self._layers[0].input_shape if self.built else None

    @property
    def output_shape(self) -> Shape | None:
        """The shape of one prediction; None before the model is built."""
        return self._layers[-1].output_shape if self.built else None

    @property
    def theta(self) -> Array:
        """All parameters as one vector (p,), layer by layer. Assigning to it writes into it."""
        return self._built_vectors()[0]

    @theta.setter
    def theta(self, values: Any) -> None:
        theta = self._built_vectors()[0]
        if np.shape(values) != theta.shape:
            raise ValueError(f"theta: expected shape {theta.shape}, got {np.shape(values)}.")
        theta[...] = values

    @property
    def grad(self) -> Array:
        """The gradient by all parameters, (p,), as the last backward pass left it."""
        return self._built_vectors()[1]

    def build(self, input_shape: int | Shape) -> Self:
        """Make the parameters for samples of ``input_shape``, which has no batch axis; an int means ``(int,)``.

        ``fit`` does it by itself; early or late, one seed gives the same weights. Returns the model. Raises
        ValueError where a layer cannot take what the one before it gives, or the model is built for another shape.
        """
        shape = whole_numbers("input_shape", input_shape)
        if self.built:
            if shape != self.input_shape:
                raise ValueError(f"the model is built for inputs of shape {self.input_shape}, not {shape}.")
            return self
        with self._building(shape):
            self._allocate()
        return self

    @contextmanager
    def _building(self, input_shape: Shape) -> Iterator[Shape]:
        """The output shape for ``input_shape``; where the block fails, no layer remembers having been built."""
        if self.built:
            assert self.output_shape is not None
            yield self.output_shape
            return
        if not self._layers:
            raise ValueError("the model has no layers; add some: model.add(md.Dense(10)).")
        before = [dict(layer.__dict__) for layer in self._layers]
        try:
            shape = input_shape
            for layer in self._layers:
                layer.note(dtype=self._dtype)
                shape = layer.declare(shape)
            yield shape
        except BaseException:
            if not self.built:
                for layer, attributes in zip(self._layers, before, strict=True):
                    layer.__dict__.clear()
                    layer.__dict__.update(attributes)
            raise

    def _allocate(self, fill: Fill | None = None) -> None:
        if not self.built:
            streams = [self._streams.start_of_layer(index) for index in range(len(self._layers))]
            fill = fill or start_of(self._layers, streams)
            self._theta, self._grad = allocate(self._layers, self._dtype, fill)
            for index, layer in enumerate(self._layers):
                if layer.draws and "rng" not in layer.__dict__:
                    layer.rng = self._streams.noise_of_layer(index)

    def _built_vectors(self) -> tuple[Array, Array]:
        if self._theta is None or self._grad is None:
            raise RuntimeError(
                "the model is not built: it does not know the width of its input yet. "
                "Call model.build(input_shape), or fit it first."
            )
        return self._theta, self._grad

    # ------------------------------------------------------------------ training

    @known_keywords
    def compile(
        self,
        optimizer: str | Optimizer = "sgd",
        loss: str | Loss = "sparse_categorical_crossentropy",
        metrics: Sequence[str | Metric | Callable[..., Any]] = (),
    ) -> Self:
        """Choose how to train. Strings are Keras' names. Returns the model.

        metrics: names, Metric objects, or functions of (y_true, y_pred); "accuracy" is the right one for the loss.
        Raises ValueError for unknown names, with the nearest one, and for a last layer that does not suit the loss.
        """
        chosen = get_optimizer(optimizer), get_loss(loss)
        if isinstance(metrics, str | Metric):
            raise TypeError(f"metrics: expected a list, got {metrics!r}; use metrics=[{metrics!r}].")
        chosen_metrics = [get_metric(metric, chosen[1].accuracy) for metric in metrics]
        names = [metric.name for metric in chosen_metrics]
        if len({"loss", *names}) <= len(names):
            raise ValueError(f"metrics: expected names that differ from each other and from 'loss', got {names}.")
        with self._exclusively():
            self._check_last_layer(chosen[1])
            (self.optimizer, self.loss), self.metrics = chosen, chosen_metrics
        return self

    @known_keywords
    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int | str = 32,
        epochs: int = 1,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        validation_shuffle: bool = False,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | str | None = None,
        steps_per_epoch: int | None = None,
        callbacks: Sequence[Callback] = (),
        resume: str | os.PathLike[str] | None = None,
        verbose: int | str = "auto",
    ) -> History:
        """Train for ``epochs`` passes over the data; a second call goes on from the first.

        x: (n, ...) real numbers, rows first, finite: an array, a frame, a numpy.memmap, or anything with a shape, a
        dtype and [...], which is read by blocks. y: what the loss takes, n of them. Or, instead of both, a generator of
        batches (x, y), or an object that gives them by Keras' PyDataset protocol (``__len__``, ``__getitem__``,
        ``on_epoch_end``); steps_per_epoch is then the number of batches an epoch has.

        batch_size: rows an update; 1 for single-sample updates, "full" for all rows at once.
        validation_data: (x, y) or (x, y, sample_weight), evaluated after each epoch.
        validation_split: or the last part of x and y, as a fraction, kept out of the training; with
        validation_shuffle, a random part, for which the data is copied.
        shuffle: draw a new order of the rows for each epoch, from the model's own stream.
        sample_weight: (n,), how many times each row counts; a mean is then divided by the sum of the weights.
        class_weight: a dict from label to weight, or "balanced"; it multiplies sample_weight.
        resume: a file of md.callbacks.ModelCheckpoint, written by the same call without it: the run goes on from
        there, in the same process or another, to the bit as if it had not ended. A source of batches is made anew: a
        generator is read on; a dataset's batches must follow from their number and the calls of on_epoch_end.
        verbose: "auto" is a progress bar in a terminal and a line an epoch elsewhere; 0 is silent, 1 the bar, 2 the
        lines.

        Returns a History. Raises ValueError or TypeError for input that does not fit, before anything has changed,
        RuntimeError before ``compile``, and FloatingPointError where the loss is not finite any more: the
        parameters are then those before that update. A file to resume from that is of another model or run is a
        ValueError too, with all differences.
        """
        optimizer, loss = self._compiled()
        hooks = Hooks(callbacks, progress_callback(verbose))
        saved = None if resume is None else self._saved_run(resume, hooks)
        streams = self._streams if saved is None else saved.model._streams
        epochs = whole_number("epochs", epochs)
        if not isinstance(shuffle, bool | np.bool):
            raise TypeError(f"shuffle: expected True or False, got {shuffle!r}.")
        given = sort_out(
            x,
            y,
            loss,
            streams.split_order,
            validation_data=validation_data,
            validation_split=validation_split,
            validation_shuffle=validation_shuffle,
            sample_weight=sample_weight,
            class_weight=class_weight,
            steps_per_epoch=steps_per_epoch,
        )
        input_shape = given.x.shape[1:]
        batch_rows = len(given.x) if given.source else check_batch_size(batch_size, len(given.x))
        optimizer.claim(self)
        with self._exclusively(), self._building(input_shape) as output_shape:
            intake = self._intake(output_shape)
            if given.source is not None:
                feed: Feed | BatchFeed = intake.prepared(given.source)
            else:
                feed = intake.feed(*intake.weighted(given.x, given.y, given.weights, class_weight), batch_rows)
            held_out = intake.held_out(given.validation_data)
            params = {"epochs": epochs, "steps": feed.steps_per_epoch, "batch_size": batch_rows}
            place = (0, 0) if saved is None else saved.place
            begin = {"resumed": saved is not None, "initial_epoch": place[0], "initial_step": place[1]}
            history = History() if saved is None or saved.model.history is None else saved.model.history
            history.params = params
            run = Run(
                optimizer,
                feed,
                Report(loss, self.metrics, self._output_of_scores),
                hooks,
                history,
                shuffle=streams.shuffle if shuffle and feed.batch_rows < feed.n else None,
                validate=lambda: self._evaluate(intake.feed(*held_out, 1024)) if held_out else {},
                validation_rows=len(held_out[0]) if held_out else 0,
                stopped=lambda: self.stop_training,
                write=self._save_run,
            )
            if saved is not None or run.hooks.save:
                self._check_run(run, saved, input_shape, epochs)
            self._allocate()
            hooks.attach(self, params | begin)
            self.history, self.stop_training = history, False
            if saved is not None:
                self._take_over(saved)
            with (
                self._learner(run.report, batch_rows, reuse_buffers=True) as learner,
                deferred_interrupts() as interrupts,
                np.errstate(over="ignore", invalid="ignore"),
            ):
                run.train(learner, epochs, interrupts, saved and saved.state)
        return history

    def _saved_run(self, path: str | os.PathLike[str], hooks: Hooks) -> _SavedRun:
        from minidense.files import loading, saving

        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, "there is no run to resume; the first one has resume=None", path)
        custom = saving.custom_objects(self._parts(), hooks.attributes())
        with loading.open_file(path, custom, resuming=True) as file:
            return _SavedRun(os.fspath(path), file.making(Sequential._from_file), file.run())

    def _check_run(self, run: Run, saved: _SavedRun | None, input_shape: Shape, epochs: int) -> None:
        """Raise ValueError where a run cannot be saved as its callbacks want, or cannot go on from a saved one."""
        from minidense.files import loading, saving

        if saved is not None:
            mine = dataclasses.replace(self._parts(), input_shape=input_shape)
            problems = Problems()
            problems.found += loading.differences(mine, saved.model._parts()) + run.check(saved.state, epochs)
            problems.raise_if_any(f"cannot resume from {saved.path}")
            run.feed.skip(*saved.place)
        if run.hooks.save:
            saving.encoded(self._parts(), run.state())

    def _take_over(self, saved: _SavedRun) -> None:
        """Be, in the objects that the user holds, the model that was saved."""
        from minidense.files import loading

        loading.take_over(self._parts(), saved.model._parts())
        self._streams = saved.model._streams
        self.stop_training = bool(saved.state["stopped"])

    def _save_run(self, path: str | None, run: Run) -> None:
        """Write a checkpoint; without a path, only see whether it could be written."""
        from minidense.files import saving

        parts = self._parts()
        if run.order_of_epoch is not None:
            shuffle = copy.deepcopy(self._streams.shuffle)
            shuffle.bit_generator.state = run.order_of_epoch
            parts.streams = self._streams._replace(shuffle=shuffle)
        if path is None:
            saving.encoded(parts, run.state())
        else:
            saving.write(path, parts, run.state())

    @known_keywords
    def train_on_batch(self, x: Any, y: Any, *, sample_weight: Any = None) -> Logs:
        """One update on all rows of ``x``. Returns the figures before the update. Raises what ``fit`` raises."""
        optimizer, _ = self._compiled()
        optimizer.claim(self)
        with self._exclusively():
            return self._backpropagate(x, y, sample_weight, optimizer).logs()

    @known_keywords
    def loss_and_grad(self, x: Any, y: Any, *, sample_weight: Any = None) -> float:
        """The loss on all rows of ``x``; fills ``model.grad`` with its gradient and changes no parameter.

        The loss is scaled as its reduction says, so that ``grad`` is its gradient: this is the primitive for loops
        of your own and for scipy.optimize.
        """
        _, loss = self._compiled()
        with self._exclusively():
            report = self._backpropagate(x, y, sample_weight)
        return report.loss_sum if loss.reduction == "sum" else report.logs()["loss"]

    def _backpropagate(self, x: Any, y: Any, sample_weight: Any, optimizer: Optimizer | None = None) -> Report:
        _, loss = self._compiled()
        x, y = as_rows(x, y)
        weights = None if sample_weight is None else check_weights(sample_weight, len(x))
        with self._building(x.shape[1:]) as output_shape:
            intake = self._intake(output_shape)
            feed = intake.feed(*intake.checked(x, y), weights, "full")
            self._allocate()
            report = Report(loss, self.metrics, self._output_of_scores)
            with self._learner(report, len(x)) as learner, np.errstate(over="ignore", invalid="ignore"):
                for block in feed.blocks():
                    for step in block.steps:
                        if not learner.backpropagate(step):
                            raise learner.diverged(step, "this batch", optimizer)
                    report.add(block)
                if optimizer is not None:
                    learner.prepare(optimizer)
                    learner.update(optimizer)
        return report

    # ------------------------------------------------------------------ using

    @known_keywords
    def predict(self, x: Any, *, batch_size: int | str = 1024) -> Array:
        """The model's output for ``x``: (n, k), a new array of the model's dtype. Pure, and safe in any thread.

        With a final Softmax these are probabilities, without one the scores. Raises ValueError or TypeError for
        input that does not fit and RuntimeError before the model is built.
        """
        input_shape, output_shape = self._built_shapes()
        x = as_features(x)
        check_features(x, input_shape, self._dtype)
        size = check_batch_size(batch_size, len(x))
        if size == len(x) and isinstance(x, np.ndarray):
            y = inference(self._layers)(x if x.dtype == self._dtype else x.astype(self._dtype))
            return y if y is not x and y.flags.owndata and self._layers[-1].trusted else y.copy()
        infer = inference(self._layers, batches=True)
        y = np.empty((len(x), *output_shape), self._dtype)
        for start in range(0, len(x), size):
            y[start : start + size] = infer(x[start : start + size].astype(self._dtype, copy=False))
        return y

    @known_keywords
    def evaluate(
        self,
        x: Any,
        y: Any,
        *,
        batch_size: int | str = 1024,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | str | None = None,
    ) -> Logs:
        """The loss, as the mean over the rows, and the metrics: a dict. Pure, and safe in any thread.

        sample_weight: (n,), how many times each row counts. class_weight: as for ``fit``.
        Raises what ``predict`` raises, ValueError for a ``y`` that does not fit, RuntimeError before ``compile``.
        """
        self._compiled()
        _, output_shape = self._built_shapes()
        intake = self._intake(output_shape)
        return self._evaluate(intake.feed(*intake.weighted(x, y, sample_weight, class_weight), batch_size))

    def _evaluate(self, feed: Feed) -> Logs:
        _, loss = self._compiled()
        return evaluate(self._trunk(), feed, Report(copy.deepcopy(loss), self.metrics, self._output_of_scores))

    def forward(self, x: Any, training: bool = False) -> Array:
        """The chain itself: the output of the last layer. Each layer caches what its backward needs."""
        input_shape, _ = self._built_shapes()
        x = as_features(x)
        check_features(x, input_shape, self._dtype)
        y = Chain(self._layers, training).forward(x[:].astype(self._dtype, copy=False))
        self._rows_forward = len(x)
        return y.copy() if self._fitting.locked() else y  # while fit runs, the layers use their arrays again

    def backward(self, dy: Any) -> Array:
        """From dLoss/dy of the last ``forward`` to dLoss/dx, filling ``grad`` on the way."""
        _, output_shape = self._built_shapes()
        dy = np.asarray(dy, self._dtype)
        rows = self._rows_forward if self._rows_forward is not None else "n"
        if dy.shape[1:] != output_shape or dy.ndim == 0 or rows not in ("n", len(dy)):
            expected = ", ".join(map(str, (rows, *output_shape)))
            raise ValueError(f"dy: expected shape ({expected}), that of forward's output, got {dy.shape}.")
        return Chain(self._layers, training=True).backward(dy)

    # ------------------------------------------------------------------ weights

    def get_weights(self) -> list[Array]:
        """Copies of all parameters and layer states, in Keras' order and layout: W (in, out), b (out,), layer by layer.

        A batch normalization has gamma, beta, moving_mean and moving_variance.
        """
        return [array.copy() for _, _, array in self._arrays()]

    def _arrays(self) -> list[tuple[Layer, str, Array]]:
        """Each parameter and state: its layer, its name, and the array itself."""
        self._built_vectors()
        names = [(layer, [d.name for d in layer.declarations] + list(layer.states)) for layer in self._layers]
        return [(layer, name, getattr(layer, name)) for layer, own in names for name in own]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy ``weights``, as ``get_weights`` gives them, into the model; all or, with a ValueError, none."""
        targets = self._arrays()
        if len(weights) != len(targets):
            raise ValueError(f"weights: expected {len(targets)} arrays, got {len(weights)}.")
        arrays = [np.asarray(as_features(w, f"weights[{i}]")) for i, w in enumerate(weights)]
        for i, (array, (layer, name, view)) in enumerate(zip(arrays, targets, strict=True)):
            if array.shape != view.shape:
                raise ValueError(
                    f"weights[{i}]: expected shape {view.shape} for {name} of {layer.where}, got {array.shape}."
                )
            check_features(np.atleast_2d(array), np.atleast_2d(array).shape[1:], self._dtype, f"weights[{i}]")
        for array, (_, _, view) in zip(arrays, targets, strict=True):
            view[...] = array

    @property
    def count_params(self) -> int:
        """The number of parameters; 0 before the model is built."""
        return sum(layer.count_params for layer in self._layers)

    def summary(self) -> Summary:
        """A table of the layers, their output shapes and their parameters; "?" where not built yet.

        A string, which shows as itself, and as a table in Jupyter.

        >>> import minidense as md
        >>> md.Sequential([md.Dense(10)], name="linear").build(64).summary()
        linear
        layer       output shape    parameters
        Dense(10)   (n, 10)                650
        650 parameters, 2,600 bytes (float32)
        """
        rows = [("layer", "output shape", "parameters")]
        for layer in self._layers:
            shape = "?" if not self.built else "(n, " + ", ".join(map(str, layer.output_shape or ())) + ")"
            frozen = "" if layer.trainable else ", frozen"
            rows.append((f"{layer!r}{frozen}", shape, f"{layer.count_params:,}" if self.built else "?"))
        total = self.count_params
        totals = f"{total:,} parameters, {total * self._dtype.itemsize:,} bytes" if self.built else "? parameters"
        return Summary(self.name or "Sequential", rows, f"{totals} ({self._dtype})")

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self._layers))
        built = f", {self.count_params:,} parameters" if self.built else ", not built"
        return f"<Sequential [{layers}]{built}, {self._dtype}>"

    # ------------------------------------------------------------------ saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save all of the model: layers, parameters, optimizer and its state, random streams, history.

        ``md.load_model(path)`` gives a model that predicts, and trains on, as this one would. The file is an
        uncompressed NumPy ``.npz``: ``numpy.load(path)["layers/0/W"]``. It is replaced as a whole or not at all.
        Raises ValueError where something could not be loaded again, such as an unnamed function, and OSError.
        """
        from minidense.files import saving  # here, for only those who save should wait for what it imports

        if type(self) is not Sequential:
            raise ValueError(f"a {type(self).__name__} would come back as a Sequential; use save_weights instead.")
        with self._exclusively(within=True):
            saving.write(path, self._parts())

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Save the parameters and layer states only, under the same names. Raises RuntimeError before it is built."""
        from minidense.files import saving

        self._built_vectors()
        with self._exclusively(within=True):
            saving.write_weights(path, self._parts())

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Take the parameters and layer states from a file of ``save`` or ``save_weights``; all, or none.

        The layers must declare arrays of the same names and shapes; a file of float64 is rounded for a float32 model.
        Raises ValueError with all that does not fit, CorruptFileError, OSError, and RuntimeError before it is built.
        """
        from minidense.files import loading

        targets = {f"layers/{layer.index}/{name}": array for layer, name, array in self._arrays()}
        with loading.open_file(path) as file, self._exclusively(within=True):
            file.check_shapes(self._layers)
            arrays = {name: file.read_weight(name) for name in targets}
            problems = Problems()
            for name, array in arrays.items():
                with np.errstate(over="ignore"):
                    arrays[name] = array.astype(self._dtype, copy=False)
                if np.isinf(arrays[name]).sum() > np.isinf(array).sum():
                    problems.found.append(f"{name} has numbers that overflow {self._dtype}")
            problems.raise_if_any(f"{file.archive.path} does not fit the model")
            for name, array in arrays.items():
                targets[name][...] = array

    def export_numpy(self, path: str | os.PathLike[str]) -> None:
        """Write one Python file that needs NumPy and nothing else, whose ``predict(x)`` gives what ``predict`` gives.

        To the bit, on the same machine and NumPy. Raises TypeError for a layer of your own that has no ``as_numpy``,
        RuntimeError before the model is built, and OSError.

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

        shapes = self._built_shapes()
        with self._exclusively(within=True):
            export_numpy(path, self._layers, self._dtype, *shapes, title=self.name or "A model")

    def _parts(self) -> Parts:
        from minidense.files.saving import Parts

        return Parts(
            self.name,
            self._dtype,
            self.input_shape,
            self._layers,
            self._streams,
            self.optimizer,
            self.loss,
            self.metrics,
            self.history,
        )

    @classmethod
    def _from_file(cls, file: SavedModel) -> Self:
        from minidense.files import saving

        parts = file.parts()
        model = cls(dtype=parts.dtype.name, name=parts.name)
        model._streams = parts.streams
        model._extend(list(parts.layers))
        if parts.input_shape is not None:
            with model._building(parts.input_shape):
                file.check_shapes(model._layers)
                file.check_dtype(model._layers)
                model._allocate(file.fill)
            file.read_states(model._layers)
        file.put_back_attributes(model._layers)  # building has reset some, and the streams they draw from
        if parts.optimizer is not None and parts.loss is not None:
            saving.check_vectors(parts.optimizer, model._layers, model._dtype)
            model.compile(parts.optimizer, parts.loss, parts.metrics)
        model.history = parts.history
        file.check_all_used()
        return model

    # ------------------------------------------------------------------ copying

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # layers have one theta: there is no shallow copy

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in _UNCOPIED}
        return state | {"built": self.built}

    def __setstate__(self, state: dict[str, Any]) -> None:
        built = state.pop("built")
        self.__dict__.update(state, _theta=None, _grad=None, _fitting=threading.Lock(), _fitting_thread=None)
        for layer in self._layers:
            layer.note(_owner=weakref.ref(self))
        if built:  # the layers brought their values along; they become views of a theta of their own
            self._allocate()

    # ------------------------------------------------------------------ what these methods share

    def _compiled(self) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            raise RuntimeError(
                "the model is not compiled: call model.compile(optimizer=md.SGD(0.1), loss=md.SoftmaxCrossEntropy())."
            )
        self._check_last_layer(self.loss)
        return self.optimizer, self.loss

    def _check_last_layer(self, loss: Loss) -> None:
        if trunk := self._trunk(loss):
            loss.check_last_layer(trunk[-1])

    def _built_shapes(self) -> tuple[Shape, Shape]:
        if self._theta is None:
            self._built_vectors()  # says what to do
        return self._layers[0].input_shape or (), self._layers[-1].output_shape or ()

    @contextmanager
    def _exclusively(self, within: bool = False) -> Iterator[None]:
        """Keep all others from changing the model. within: callbacks of a running fit may do it too."""
        if within and self._fitting_thread == threading.get_ident():
            yield
            return
        if not self._fitting.acquire(blocking=False):
            raise RuntimeError(
                "the model is being trained already, or saved, in another thread or by the caller of a callback."
            )
        self._fitting_thread = threading.get_ident()
        try:
            yield
        finally:
            self._fitting_thread = None
            self._fitting.release()

    @contextmanager
    def _learner(self, report: Report, batch_rows: int, reuse_buffers: bool = False) -> Iterator[Learner]:
        _, loss = self._compiled()
        if reuse_buffers:
            for layer in self._layers:
                layer.reuse_buffers()
        try:
            largest = max((d.size for layer in self._layers for d in layer.declarations), default=0)
            with one_thread_if(2 * batch_rows * largest < SMALL):
                yield Learner(self._trunk(), loss, *self._built_vectors(), report)
        finally:
            for layer in self._layers:
                layer.note(needs_dx=True)
                if reuse_buffers:
                    layer.forget()

    def _trunk(self, loss: Loss | None = None) -> list[Layer]:
        """The layers that lead to the scores: all of them but a last one that the loss includes."""
        loss = loss or self.loss
        fused = loss is not None and self._layers and type(self._layers[-1]) is loss.includes
        return self._layers[:-1] if fused else self._layers

    def _output_of_scores(self, scores: Array) -> Array:
        """What metrics see: probabilities where the loss works on scores, whether or not the model ends in them."""
        included = self.loss.includes if self.loss is not None else None
        return scores.copy() if included is None else included().forward(scores)

    def _intake(self, output_shape: Shape) -> Intake:
        _, loss = self._compiled()
        input_shape = self._layers[0].input_shape or ()
        return Intake(self._layers, loss, self.metrics, self._dtype, input_shape, output_shape)


def load_model(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """The model that ``model.save`` or a checkpoint has written to ``path``, ready to predict and to be trained on.

    custom_objects: your own layers, losses, metrics, ... by the names of their classes, ``{"Scale": Scale}``. A file
    is data: it names classes of the library and those passed here, and nothing that it has is ever run, imported or
    opened. Raises CorruptFileError for a file that is damaged or something else, ValueError with all that cannot be
    made of it, and OSError.

    >>> import tempfile
    >>> import minidense as md
    >>> model = md.Sequential([md.Dense(3), md.Softmax()], rng=0).build(4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.npz")
    ...     loaded = md.load_model(f"{folder}/model.npz")
    >>> bool((loaded.theta == model.theta).all())
    True
    """
    from minidense.files import loading

    with loading.open_file(path, custom_objects) as file:
        return file.making(Sequential._from_file)


class _SavedRun(NamedTuple):
    """What ``fit`` goes on from."""

    path: str
    model: Sequential
    state: dict[str, Any]

    @property
    def place(self) -> tuple[int, int]:
        return self.state.get("epoch", 0), self.state.get("step", 0)


def _expanded(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, each as those that stand for it. Raises TypeError for what is no layer."""
    for layer in layers:
        if not isinstance(layer, Layer):
            made = f" Make an object of it: {layer.__name__}(...)." if isinstance(layer, type) else ""
            raise TypeError(f"layers: expected a Layer such as md.Dense(10), got {layer!r}.{made}")
    return [part for layer in layers for part in layer.expand()]


_UNCOPIED = ("_theta", "_grad", "_fitting", "_fitting_thread")


def _model_dtype(dtype: Any) -> np.dtype[Any]:
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    return lookup("dtype", name, DTYPES)
