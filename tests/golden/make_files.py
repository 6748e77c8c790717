"""Writes the golden files of this version's layout; run once for each layout, never again for the same one.

A file is small, because tests flip each of its bits, and contains one of everything that a file can contain.
"""

import sys
from pathlib import Path

import numpy as np

import minidense as md

HERE = Path(__file__).parent
rng = np.random.default_rng(2026)
X = rng.normal(size=(24, 3)).astype("float32").round(3)
Y = np.arange(24) % 2


def model():
    layers = [md.Dense(2), md.BatchNormalization(), md.LeakyReLU(0.1), md.Dropout(0.25), md.Dense(2), md.Softmax()]
    rate = md.schedules.WarmUp(md.schedules.CosineDecay(0.05, 50), 5)
    return md.Sequential(layers, rng=1, name="golden").compile(md.Adam(rate), metrics=["accuracy"])


def main(layout):
    made = model()
    made.layers[4].trainable = False
    stop = md.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    checkpoint = md.callbacks.ModelCheckpoint(HERE / f"checkpoint-{layout}.npz", every="5 steps")
    data = {"batch_size": 8, "epochs": 2, "validation_data": (X[:8], Y[:8]), "verbose": 0}
    made.fit(X, Y, callbacks=[stop, checkpoint], **data)
    made.save(HERE / f"model-{layout}.npz")
    made.save_weights(HERE / f"weights-{layout}.npz")
    np.savez(HERE / f"predictions-{layout}.npz", x=X, y=made.predict(X), end=made.theta)


if __name__ == "__main__":
    main(sys.argv[1])
