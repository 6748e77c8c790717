"""Wrong arguments for every public constructor, method and function: is each one an error that teaches, or obeyed?

    python tests/stress/arguments.py                 20,000 calls
    python tests/stress/arguments.py --count 300     so many, as the tests do

A call that is right is drawn, and one thing of it is made wrong: a value of another type or out of range, a keyword
that does not exist, or one positional argument too many. The outcome must be a TypeError, ValueError or RuntimeError
that the library itself raises, or an OSError where it was given a path; or, if the value is of the type that the
signature says, a result, and ``get_config`` has the value. After an error the model must be the same, byte for byte.
It prints one line.
"""

import argparse
import contextlib
import inspect
import io
import linecache
import os
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from snapshots import picture

import minidense as md
from minidense.core.configurable import _is_of
from minidense.layers import initializers

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)).astype("float32"), np.arange(12) % 3
LIBRARY = os.path.dirname(md.__file__) + os.sep

WRONG = (
    *(None, True, False, "", "abc", "relu", "False", b"abc", -1, 0, 1, 3, 1.5, -0.5, np.nan, np.inf, -np.inf, 1e300),
    *(10**400, 2 + 1j, [], [1, 2], (), (2, 3), {}, {"a": 1}, set(), range(3), int, md.Dense, object(), ...),
    *(np.float64(0.5), np.int64(2), np.array([1.0, 2.0]), np.array(3), np.array(["a"]), np.zeros((2, 3, 4)), X, Y),
    *(lambda *a, **k: None, lambda *a, **k: 0.5, lambda *a, **k: "abc"),
)
UNENDING = {"epochs", "steps_per_epoch", "n", "n_per_class"}
"""Arguments that are not made large, for the call would take too long."""


def compiled():
    model = md.Sequential([md.Dense(4, "relu"), md.BatchNormalization(), md.Dropout(0.2), md.Dense(3)], rng=0)
    return model.compile(md.Adam(0.01), metrics=["accuracy"]).build(4)


def constructors(folder):
    """Each public class, and arguments that are right."""
    right = {
        "units": 3,
        "rate": 0.25,
        "layers": [md.Dense(4)],
        "branches": [md.Dense(4)],
        "y": ["a", "b"],
        "p": 2,
        "filename": f"{folder}/log.csv",
        "filepath": f"{folder}/run.npz",
        "derivative": max,
        "schedule": lambda epoch, rate: rate,
        "initial_learning_rate": 0.1,
        "first_decay_steps": 10,
        "decay_steps": 10,
        "decay_rate": 0.5,
        "boundaries": [5],
        "rates": [0.1, 0.01],
        "monitor": "loss",
        "warmup_steps": 3,
        "values": [0.1, 0.01],
        "function": max,
        "after": 0.1,
        "steps": 10,
        "value": 0.5,
    }
    modules = (md, md.callbacks, md.losses, md.metrics, md.schedules, md.regularizers, md.constraints, initializers)
    for module in modules:
        for name in getattr(module, "__all__", dir(module)):
            kind = getattr(module, name)
            if not isinstance(kind, type) or name.startswith("_") or inspect.isabstract(kind) or name == "Initializer":
                continue
            if not kind.__module__.startswith("minidense") or issubclass(kind, BaseException | md.History):
                continue
            parameters = inspect.signature(kind).parameters
            needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
            if all(argument in right for argument in needed):
                yield name, kind, {argument: right[argument] for argument in needed}, None


def methods(folder):
    """Each public method and function, a model to call it on, and arguments that are right."""
    saved, weights, checkpoint = f"{folder}/model.npz", f"{folder}/weights.npz", f"{folder}/run.npz"
    model = compiled()
    model.fit(X, Y, verbose=0, callbacks=[md.callbacks.ModelCheckpoint(checkpoint)])
    model.save(saved)
    model.save_weights(weights)
    right = {
        "fit": {"x": X, "y": Y, "verbose": 0},
        "evaluate": {"x": X, "y": Y},
        "predict": {"x": X},
        "train_on_batch": {"x": X, "y": Y},
        "loss_and_grad": {"x": X, "y": Y},
        "compile": {},
        "build": {"input_shape": 4},
        "add": {"layer": md.Dense(2)},
        "set_weights": {"weights": compiled().get_weights()},
        "forward": {"x": X},
        "backward": {"dy": np.ones((12, 3), "float32")},
        "save": {"path": f"{folder}/again.npz"},
        "save_weights": {"path": f"{folder}/again.npz"},
        "load_weights": {"path": weights},
        "export_numpy": {"path": f"{folder}/again.py"},
        "predict_classes": {"x": X},
        "activations": {"x": X},
        "get_weights": {},
        "summary": {},
    }
    for name, arguments in right.items():
        if hasattr(md.Sequential, name):
            yield name, name, arguments, compiled
    yield "load_model", md.load_model, {"path": saved}, None
    yield "check_layer", md.check_layer, {"layer": md.Dense(3), "input_shape": 4}, None
    yield "check_loss", md.check_loss, {"loss": md.MeanSquaredError()}, None
    yield "confusion_matrix", md.confusion_matrix, {"y_true": [0, 1, 2], "y_pred": [0, 2, 2]}, None
    rows = {"y_true": Y, "y_pred": np.eye(3)[Y]}
    for metric in (md.Accuracy(), md.AUC(), md.Precision(), md.metrics.CategoricalCrossentropy()):
        yield "update_state", metric.update_state, rows, None
    for loss in (md.losses.SparseCategoricalCrossentropy(), md.losses.CategoricalHinge()):
        yield "__call__", loss.__call__, rows, None
    yield "__call__", md.losses.KLDivergence().__call__, {"y_true": np.eye(3)[Y], "y_pred": np.eye(3)[Y]}, None
    labels = md.ClassLabels(["a", "b", "c"])
    yield "ClassLabels.encode", labels.encode, {"y": ["a", "c"]}, None
    yield "ClassLabels.decode", labels.decode, {"numbers": [0, 1]}, None
    for optimizer in (md.SGD(0.1), md.Adam(0.1)):
        yield "update", optimizer.update, {"theta": np.ones(3), "grad": np.ones(3)}, None


def spoiled(rng, signature, arguments):
    """The arguments with one thing wrong: positional ones, keywords, which one, and the annotation of that one."""
    named = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    way = rng.random()
    if way < 0.06 and not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return (), {**arguments, "unheard_of": 1}, "unheard_of", "nothing"
    if way < 0.12 and not any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        positional = [p for p in named if p.kind is p.POSITIONAL_OR_KEYWORD]
        values = [arguments.get(p.name, p.default) for p in positional]
        return (
            (*values, 1),
            {k: v for k, v in arguments.items() if signature.parameters[k] not in positional},
            "",
            "nothing",
        )
    if not named:
        return (), arguments, "", "Any"
    parameter = named[rng.integers(len(named))]
    value = WRONG[rng.integers(len(WRONG))]
    if parameter.name in UNENDING and isinstance(value, int) and value > 5:
        value = 2
    return (), {**arguments, parameter.name: value}, parameter.name, parameter.annotation


def own_words(error, name):
    """Whether the library raised the error itself, or Python did for the call's signature."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if frame.filename.startswith(LIBRARY):
        line = linecache.getline(frame.filename, frame.lineno).strip()
        if line.startswith("raise") or isinstance(error, OSError):
            return True
    return (
        isinstance(error, OSError)
        or (f"{name}()" in str(error) and "argument" in str(error))
        or "__init__()" in str(error)
    )


def attempt(rng, name, function, arguments, make):
    """Make one call; return what was wrong with its outcome, or None."""
    model = make() if make else None
    call = getattr(model, function) if make else function
    positional, keywords, which, annotation = spoiled(rng, inspect.signature(call), arguments)
    value = keywords.get(which)
    said = f"{name}({which}={value!r:.60})"
    if name == "backward":
        model.forward(X, True)
    before = picture(vars(model)) if model else None
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            result = call(*positional, **keywords)
    except (TypeError, ValueError, RuntimeError, OSError, FloatingPointError, ImportError) as error:
        if isinstance(error, OSError) and not isinstance(value, str | bytes):
            return f"{said}: {error!r}, though it got no path"
        if not own_words(error, call.__name__):
            return f"{said}: not in the library's own words: {error!r:.150}"
        if model and picture(vars(model)) != before:
            return f"{said}: an error, and the model has changed: {error!r:.100}"
        return None
    except Exception as error:
        return f"{said}: {error!r:.150}"
    if annotation == "nothing":
        return f"{said}: accepted, with {positional!r:.60}"
    fits = isinstance(annotation, str) and (_is_of(value, annotation) or _is_also_fine(which, value, annotation))
    if isinstance(annotation, str) and not fits:
        return f"{said}: accepted, though it is not of type {annotation}"
    if which in getattr(result, "_config", {}) and result.get_config()[which] is not value:
        with contextlib.suppress(ValueError):
            if repr(result.get_config()[which]) not in (
                repr(value),
                repr([*value]) if isinstance(value, tuple) else None,
            ):
                return f"{said}: get_config has {result.get_config()[which]!r:.60}"
    return None


def _is_also_fine(which, value, annotation):
    """A tuple for a list, and Keras' ``verbose=True``."""
    return (isinstance(value, tuple) and "list" in annotation) or (which == "verbose" and isinstance(value, bool))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    found = Counter()
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where files land whose name is one of the wrong values
        try:
            calls = [*constructors(folder), *methods(folder)]
            for i in range(options.count):
                problem = attempt(rng, *calls[i % len(calls)])
                if problem:
                    found[problem] += 1
        finally:
            os.chdir(here)
    print(f"{options.count:,} calls of {len(calls)} constructors, methods and functions, {found.total()} failures")
    for problem, count in sorted(found.items()):
        print(f"  {count}x {problem}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
