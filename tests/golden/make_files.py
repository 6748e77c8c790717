"""Writes the golden files of this version's layout: ``make_files.py 2``; once for a layout, never again for the same.

The files are small, because tests flip each of their bits, and contain one of nearly everything that a file can.
"""

import sys
from pathlib import Path

import numpy as np

import minidense as md

HERE = Path(__file__).parent
rng = np.random.default_rng(2026)
X = rng.normal(size=(24, 3)).astype("float32").round(3)
Y = np.array(["no", "yes"])[np.arange(24) % 2]


class Frame:
    """X as a data frame."""

    columns = ("a", "b", "c")

    def __array__(self, dtype=None, copy=None):
        return X


def model():
    layers = [md.Dense(2), md.BatchNormalization(), md.Residual([md.Dense(2, "tanh"), md.Dropout(0.25)]), md.Dense(2)]
    rate = md.schedules.WarmUp(md.schedules.PiecewiseConstantDecay(list(range(1, 17)), [0.05] * 17), 5)
    return md.Sequential([*layers, md.Softmax()], rng=1, name="golden").compile(md.Adam(rate), metrics=["accuracy"])


def main(layout):
    made = model()
    made.layers[3].trainable = False
    stop = md.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    checkpoint = md.callbacks.ModelCheckpoint(HERE / f"checkpoint-{layout}.npz", every="5 steps")
    data = {"batch_size": 8, "epochs": 2, "validation_data": (X[:8], Y[:8]), "verbose": 0}
    made.fit(Frame(), Y, callbacks=[stop, checkpoint], **data)
    made.save(HERE / f"model-{layout}.npz")
    made.save_weights(HERE / f"weights-{layout}.npz")
    np.savez(HERE / f"predictions-{layout}.npz", x=X, y=made.predict(X), end=made.theta)


if __name__ == "__main__":
    main(sys.argv[1])
