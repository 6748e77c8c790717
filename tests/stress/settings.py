"""Does every public call give the same bits if NumPy raises floating-point errors and warnings are errors?

    python tests/stress/settings.py                60 seconds
    python tests/stress/settings.py --count 12     so many cases, as the tests do

A case draws layers, an optimizer, a loss, metrics and numbers that underflow and overflow, makes all calls with them,
and then all of them again under ``np.seterr(all="raise")`` and ``warnings.simplefilter("error")``: the results must
have the same bits, or be the same exceptions. UserWarnings, which are the library's own, are left out.

Not among the calls are, called by hand, ``forward`` and ``backward`` of a layer, ``rows`` and ``gradient`` of a loss,
and the functions that these are made of (sigmoid, softplus, gelu_inner, normal_cdf, column_sums): they run at each step
of ``fit``, where to set NumPy's settings and set them back would cost time, and they obey those that there are. It
prints one line.
"""

import argparse
import contextlib
import copy
import io
import pickle
import runpy
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import minidense as md
from minidense import datasets
from minidense.layers.initializers import INITIALIZERS
from minidense.metrics import get_metric
from minidense.numerics import functional

ROWS = 24

NUMBERS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "zero": lambda rng, shape: np.zeros(shape),
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-30,
    "below what float32 has": lambda rng, shape: rng.normal(size=shape) * 1e-42,
    "below what float64 has": lambda rng, shape: rng.normal(size=shape) * 1e-310,
    "large": lambda rng, shape: rng.normal(size=shape) * 1e4,
    "huge": lambda rng, shape: np.clip(rng.normal(size=shape), -3, 3) * 1e38,
    "huge, of float64": lambda rng, shape: np.clip(rng.normal(size=shape), -3, 3) * 5e307,
    "constant columns": lambda rng, shape: np.broadcast_to(rng.normal(size=shape[1:]), shape).copy(),
    "of all sizes": lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.integers(-45, 38, shape),
}

LAYERS = (
    lambda: md.Dense(4),
    lambda: md.Dense(4, kernel_initializer="he_normal", use_bias=False),
    lambda: md.Dense(4, "relu"),
    md.Sigmoid,
    md.Tanh,
    md.ELU,
    md.GELU,
    lambda: md.GELU(approximate=True),
    md.SiLU,
    md.Softplus,
    md.Softmax,
    lambda: md.LeakyReLU(0.1),
    lambda: md.Dropout(0.5),
    md.Flatten,
    md.BatchNormalization,
    md.LayerNormalization,
    lambda: md.Residual([md.Dense(5), md.Tanh(), md.Dense(4)]),
    lambda: md.Concatenate([[md.Dense(2)], [md.Dense(2), md.SiLU()]]),
    lambda: md.Sequential([md.Dense(4), md.BatchNormalization()]),
)

OPTIMIZERS = (
    lambda **more: md.SGD(0.1, **more),
    lambda **more: md.SGD(1e-30, momentum=0.9, **more),
    lambda **more: md.SGD(1e3, momentum=0.9, nesterov=True, **more),
    lambda **more: md.Adam(0.1, **more),
    lambda **more: md.AdamW(md.schedules.CosineDecay(0.1, 5), epsilon=1e-300, **more),
    lambda **more: md.RMSprop(0.1, centered=True, use_ema=True, **more),
    lambda **more: md.Nadam(0.1, **more),
    lambda **more: md.Lion(0.1, use_ema=True, ema_overwrite_frequency=2, **more),
    lambda **more: md.RMSprop(
        md.schedules.WarmUp(md.schedules.ExponentialDecay(0.1, 1, 1e-10), 2), momentum=0.9, **more
    ),
)

LOSSES = (  # and how many outputs, and what for y
    (lambda reduction: md.SoftmaxCrossEntropy(reduction), 3, "labels"),
    (lambda reduction: md.SoftmaxCrossEntropy(reduction, label_smoothing=0.1), 3, "shares"),
    (lambda reduction: md.SigmoidCrossEntropy(reduction), 1, "binary"),
    (lambda reduction: md.MeanSquaredError(reduction), 2, "numbers"),
    (lambda reduction: md.MeanAbsoluteError(reduction), 2, "numbers"),
    (lambda reduction: md.Huber(1e-20, reduction), 2, "numbers"),
)

METRICS = {
    "labels": (md.Accuracy, lambda: md.TopKAccuracy(2), md.Precision, lambda: md.F1("micro"), md.AUC),
    "binary": (md.BinaryAccuracy, md.Precision, md.Recall, md.F1, md.AUC, lambda: "mse", lambda: "r2"),
    "numbers": (md.R2, lambda: "mse", lambda: "mae", lambda: largest_error),
}
METRICS["shares"] = METRICS["labels"][:2]


def largest_error(y_true, y_pred, sample_weight=1):
    return np.max(np.square(y_true - y_pred).T * sample_weight)


def numbers(rng, shape, dtype="float64"):
    """Numbers of one of the kinds, finite in that dtype."""
    kinds = list(NUMBERS)
    drawn = NUMBERS[kinds[rng.integers(len(kinds))]](rng, shape)
    return np.clip(drawn, np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def calls(seed, folder):
    """The calls of a case, in order: (name, function)."""
    rng = np.random.default_rng(seed)
    dtype = pick(rng, ("float32", "float64"))
    make_loss, outputs, kind = pick(rng, LOSSES)
    make_optimizer, reduction = pick(rng, OPTIMIZERS), pick(rng, ("mean", "sum"))
    more = pick(rng, ({}, {"global_clipnorm": 1e-3}, {"weight_decay": 0.1}, {"weight_decay": 1e-30, "decay_all": True}))
    parts = [pick(rng, LAYERS) for _ in range(rng.integers(1, 4))]
    x = numbers(rng, (ROWS, 4), pick(rng, ("float32", "float64", dtype)))
    targets = numbers(rng, (ROWS, outputs), dtype)
    scores = numbers(rng, (ROWS, outputs), dtype)
    values, dy = numbers(rng, (7, 5)), numbers(rng, (ROWS, outputs), dtype)
    y = {
        "labels": rng.integers(0, outputs, ROWS),
        "shares": np.eye(outputs)[rng.integers(0, outputs, ROWS)] * (1 - 1e-300),
        "binary": rng.integers(0, 2, (ROWS, 1)),
        "numbers": targets,
    }[kind]
    weights = abs(numbers(rng, (ROWS,)))
    weights[0] += weights.max() == 0
    theta, grad = numbers(rng, (50,), dtype), numbers(rng, (50,), dtype)
    y_true = {"shares": y.argmax(axis=-1)}.get(kind, y)
    probabilities = abs(rng.dirichlet(np.full(outputs, 1e-2), ROWS)) if outputs > 1 else rng.random((ROWS, 1))
    predictions = scores if kind == "numbers" else probabilities
    own_weights, which = pick(rng, (None, weights)), pick(rng, ("metrics", "weighted_metrics"))

    def metrics():
        return [make() for make in METRICS[kind]]

    def model():
        layers = [make() for make in parts]
        return md.Sequential([*layers, md.Dense(outputs)], rng=seed, dtype=dtype)

    held = {}  # what one call leaves for the next ones

    def made():
        held["model"] = model().compile(make_optimizer(**more), make_loss(reduction), **{which: metrics()})
        return held["model"].build(4).theta

    def state():
        m = held["model"]
        return m.theta, m.network.buffers, sorted(m.optimizer.state.items()), m.optimizer.iterations

    def on(call):
        return lambda: (call(held["model"]), state())

    run = str(folder / "run.npz")
    fit = {"batch_size": 5, "verbose": 0, "validation_data": (x[:7], y[:7])}

    def fit_with_callbacks(m, **more):
        callbacks = [
            md.callbacks.ModelCheckpoint(run, every=1),
            md.callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True),
            md.callbacks.CSVLogger(folder / "log.csv"),
            md.callbacks.GradientHealth(),
        ]
        history = m.fit(x, y, callbacks=callbacks, **fit, **more)
        return history.history, (folder / "log.csv").read_bytes()

    yield "build", made
    yield "predict", on(lambda m: m.predict(x))
    yield "predict by 5", on(lambda m: m.predict(x, batch_size=5))
    if kind != "numbers":
        yield "predict_classes", on(lambda m: m.predict_classes(x))
    yield "activations", on(lambda m: m.activations(x))
    yield "evaluate", on(lambda m: m.evaluate(x, y))
    yield "evaluate, weighted", on(lambda m: m.evaluate(x, y, batch_size=5, sample_weight=weights))
    yield "forward", on(lambda m: m.forward(x))
    yield "backward", on(lambda m: (m.backward(dy), m.grad.copy()))
    yield "forward, training", on(lambda m: m.forward(x, training=True))
    yield "backward, training", on(lambda m: (m.backward(dy), m.grad.copy()))
    yield "loss_and_grad", on(lambda m: (m.loss_and_grad(x, y), m.grad.copy()))
    yield "loss_and_grad, weighted", on(lambda m: (m.loss_and_grad(x, y, sample_weight=weights), m.grad.copy()))
    yield "train_on_batch", on(lambda m: m.train_on_batch(x, y, sample_weight=own_weights))
    yield "fit", on(lambda m: m.fit(x, y, **fit).history)
    yield "fit, accumulating", on(lambda m: m.fit(x, y, gradient_accumulation_steps=2, **fit).history)
    yield "fit, weighted", on(lambda m: m.fit(x, y, sample_weight=weights, **fit).history)
    yield "fit, of one row", on(lambda m: m.fit(x[:3], y[:3], batch_size=1, verbose=0).history)
    if kind == "labels":
        yield "fit, balanced", on(lambda m: m.fit(x, y, class_weight="balanced", **fit).history)
    yield (
        "fit, of batches",
        on(lambda m: m.fit(iter([(x[:5], y[:5]), (x[5:], y[5:])]), steps_per_epoch=2, verbose=0).history),
    )
    yield (
        "fit, with a split",
        on(lambda m: m.fit(x, y, validation_split=0.3, validation_shuffle=True, verbose=0).history),
    )
    yield "fit with callbacks", on(lambda m: fit_with_callbacks(m, epochs=2))
    yield "fit(resume=)", on(lambda m: fit_with_callbacks(m, epochs=3, resume=run))
    yield "fit with output", on(lambda m: m.fit(x, y, batch_size=5, verbose=2).history)
    yield "save", on(lambda m: m.save(folder / "model.npz"))
    yield (
        "load_model",
        lambda: weights_of(md.load_model(folder / "model.npz", custom_objects={"largest_error": largest_error})),
    )
    yield "save_weights", on(lambda m: m.save_weights(folder / "weights.npz"))
    yield "load_weights", on(lambda m: m.load_weights(folder / "weights.npz"))
    yield "set_weights", on(lambda m: m.set_weights([w[::-1] for w in m.get_weights()]))
    yield (
        "set_weights, of float64",
        on(lambda m: m.set_weights([np.full(w.shape, values.flat[0]) for w in m.get_weights()])),
    )
    yield "export_numpy", on(lambda m: m.export_numpy(folder / "exported.py"))
    yield "the exported predict", lambda: runpy.run_path(str(folder / "exported.py"))["predict"](x)
    yield "copy", lambda: weights_of(copy.deepcopy(held["model"]))
    yield "pickle", lambda: weights_of(pickle.loads(pickle.dumps(held["model"])))
    yield "summary", on(lambda m: (str(m.summary()), repr(m)))
    yield "theta", on(lambda m: setattr(m, "theta", np.full(m.theta.shape, values.flat[0])))

    yield "add", on(lambda m: m.add(md.Dense(outputs)))
    for i, part in enumerate(parts):
        yield f"check_layer {i}", lambda part=part: md.check_layer(part(), 4, batch_sizes=(3,), entries=5)
        yield f"check_layer {i}, x=", lambda part=part: md.check_layer(part(), 4, x=x[:3], entries=5)

    optimizer, vector = make_optimizer(**more), theta.copy()

    def update():
        optimizer.update(vector, grad)
        return vector, sorted(optimizer.state.items())

    for _ in range(3):
        yield "Optimizer.update", update
    loss = make_loss(reduction)
    yield "Loss.forward", lambda: loss.forward(scores, y)
    yield "Loss.backward", loss.backward
    for metric in map(get_metric, metrics()):
        of_rows = (own_weights,) if own_weights is not None and metric.takes_weights else ()
        for half in (slice(0, 10), slice(10, ROWS)):
            those = [w[half] for w in of_rows]
            yield (
                f"{type(metric).__name__}.update",
                lambda metric=metric, half=half, those=those: metric.update(y_true[half], predictions[half], *those),
            )
            yield f"{type(metric).__name__}.result", lambda metric=metric: metric.result()
    for name in ("softmax", "log_sum_exp"):
        yield name, lambda name=name: getattr(functional, name)(values)
    yield "mean", lambda: (functional.mean(values), functional.mean(values, axis=0))
    yield "one_hot", lambda: functional.one_hot(np.arange(3), 3)
    yield (
        "schedules",
        lambda: [
            schedule(step)
            for step in (0, 3, 10**9)
            for schedule in (md.schedules.ExponentialDecay(1e-300, 1, 1e-5), md.schedules.CosineDecay(1e-320, 10))
        ],
    )
    yield "ClassLabels", lambda: md.ClassLabels(values.ravel()).decode(np.zeros((3, len(np.unique(values)))))
    yield "initializers", lambda: [make(np.random.default_rng(seed), (3, 4)) for make in INITIALIZERS.values()]
    yield "make_spirals", lambda: datasets.make_spirals(5, rng=seed)
    yield "load_penguins", datasets.load_penguins
    yield "load_digits", lambda: datasets.load_digits()[1]


def weights_of(model):
    return model.get_weights(), sorted(model.optimizer.state.items()), model.optimizer.iterations


def bits(thing, folder):
    """Equal for two results only if all their bits are the same; paths are relative to the folder."""
    if isinstance(thing, np.ndarray | np.generic):
        return thing.dtype.str, thing.shape, thing.tobytes()
    if isinstance(thing, float):
        return np.float64(thing).tobytes()
    if isinstance(thing, dict):
        return [(key, bits(value, folder)) for key, value in thing.items()]
    if isinstance(thing, list | tuple):
        return [bits(each, folder) for each in thing]
    if isinstance(thing, BaseException):
        return type(thing), str(thing).replace(folder, "")
    return repr(thing).replace(folder, "")


def outcomes(seed, settings):
    """For each call of a case, by name: the bits of its result under the settings, and the beginning of it as text."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, call in calls(seed, Path(folder)):
            with settings(), contextlib.redirect_stdout(io.StringIO()):
                try:
                    result = call()
                except Exception as error:
                    result = error
            found.append((name, bits(result, folder), repr(result)[:200]))
    return found


@contextlib.contextmanager
def lax():
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        yield


@contextlib.contextmanager
def strict():
    with np.errstate(all="raise"), warnings.catch_warnings(action="error"):
        warnings.simplefilter("ignore", UserWarning)
        yield


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, help="end after so many cases instead")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    options = parser.parse_args(arguments)
    end, cases, made, raised, failures = time.monotonic() + options.seconds, 0, 0, 0, Counter()
    while cases < options.count if options.count is not None else time.monotonic() < end:
        seed = options.seed + cases
        cases += 1
        for (name, expected, shown), (_, found, other) in zip(outcomes(seed, lax), outcomes(seed, strict), strict=True):
            made += 1
            raised += isinstance(expected, tuple) and isinstance(expected[0], type)
            if found != expected:
                failures[name] += 1
                if failures[name] == 1:
                    print(f"{name}, case {seed}: {shown}, and under the settings {other}")
    what = ", ".join(f"{count} of {name}" for name, count in failures.most_common())
    print(f"{made:,} calls in {cases:,} cases ({raised:,} raise), {failures.total()} failures{': ' * bool(what)}{what}")
    return failures


if __name__ == "__main__":
    sys.exit(bool(main()))
