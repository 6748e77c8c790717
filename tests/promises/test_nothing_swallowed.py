"""What a person types, and what comes of it: the result, or the message; nothing is ignored, nothing silently wrong.

Each line is one call as people write it. A call that must fail has the error and a part of its message; after it the
model is what it was.
"""

import numpy as np
from frames import Frame

import minidense as md

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 3)), np.arange(24) % 2
NAMES = np.array(["no", "yes"])[Y]
FRAME = Frame({"age": X[:, 0], "fare": X[:, 1], "size": X[:, 2]})
QUIET = {"verbose": 0}


def classifier(loss="sparse_categorical_crossentropy", metrics=("accuracy",), **more):
    layers = [md.Dense(4, "relu"), md.Dense(2, "softmax")]
    return md.Sequential(layers, rng=0).compile(md.SGD(0.1), loss, list(metrics), **more).build(3)


def regressor(metrics=(), **more):
    return (
        md.Sequential([md.Dense(1)], rng=0, dtype="float64").compile(md.SGD(0.1), "mse", list(metrics), **more).build(3)
    )


def binary(metrics=(), **more):
    layers = [md.Dense(1, "sigmoid")]
    return md.Sequential(layers, rng=0).compile(md.SGD(0.1), "binary_crossentropy", list(metrics), **more).build(3)


def fitted(model, x=X, y=Y, **more):
    model.fit(x, y, **{**QUIET, **more})
    return model


class Recording(md.Callback):
    """Records the names of all hooks that are called."""

    def __init__(self):
        self.called = []


for hook in (
    *("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end"),
    *("on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end"),
):

    def record(self, *arguments, hook=hook):
        self.called.append(hook)

    setattr(Recording, hook, record)
