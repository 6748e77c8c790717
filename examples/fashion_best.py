"""How well can dense layers alone classify Fashion-MNIST? Better than the best support-vector machine, 89.7 %.

    python examples/fashion_best.py [--epochs N] [--seeds N] [--hold-out N]

Two hidden layers of 512 with batch normalization and dropout, label smoothing, AdamW with averaged weights, a warm-up
and a cosine schedule. Each time an image is seen, it is shifted by up to a pixel.

Measured: 91.56 % of the test images, the mean of seeds 0, 1 and 2 (91.49, 91.60 and 91.59 %), each after its last
epoch. A seed took 311 to 321 s of processor time with OPENBLAS_NUM_THREADS=1, which were 765, 764 and 579 s on a
2-core Xeon VM busy with other work. The settings were chosen on 5,000 training images held out (91.88 %).
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np

import minidense as md

BATCH = 512


def shifted(x: np.ndarray, y: np.ndarray, pixels: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of images (n, h, w), each shifted at random by up to ``pixels`` in both directions.

    A shift is a table of the places, in an image with a margin, that the pixels are taken from. So a whole batch is one
    look-up, which costs far less than the training step that follows.
    """
    n, h, w = x.shape
    wide = np.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels))).reshape(n, -1)
    places = np.arange(wide.shape[1]).reshape(h + 2 * pixels, w + 2 * pixels)
    steps = range(2 * pixels + 1)
    shifts = np.array([places[down : down + h, right : right + w] for down in steps for right in steps])
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        for begin in range(0, n, BATCH):
            rows = order[begin : begin + BATCH]
            yield wide[rows[:, None, None], shifts[rng.integers(len(shifts), size=len(rows))]], y[rows]


def make(steps: int, seed: int) -> md.Sequential:
    """A compiled network, to be trained for so many steps."""
    layers: list[md.Layer] = [md.Flatten()]
    for _ in range(2):
        dense = md.Dense(512, use_bias=False, kernel_initializer="he_normal")  # the normalization has a bias
        layers += [dense, md.BatchNormalization(), md.ReLU(), md.Dropout(0.25)]
    model = md.Sequential([*layers, md.Dense(10), md.Softmax()], rng=seed)
    warm_up = steps // 20 or 1
    rate = md.schedules.WarmUp(md.schedules.CosineDecay(0.008, steps - warm_up or 1, alpha=0.001), warm_up)
    optimizer = md.AdamW(rate, weight_decay=0.02, use_ema=True)
    return model.compile(optimizer, md.SoftmaxCrossEntropy(label_smoothing=0.1), metrics=["accuracy"])


def train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> md.Sequential:
    batches = -(-len(x) // BATCH)
    model = make(epochs * batches, seed)
    model.fit(shifted(x, y, 1, seed), steps_per_epoch=batches, epochs=epochs, verbose=0)
    return model


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--seeds", type=int, default=3, help="runs to average over")
    parser.add_argument("--hold-out", type=int, default=0, help="test on that many training images, to choose settings")
    parser.add_argument("--rows", type=int, help="train on this many rows only")
    parser.add_argument("--folder", help="where the four files are")
    options = parser.parse_args(arguments)

    (x_train, y_train), (x_test, y_test) = md.datasets.load_fashion_mnist(options.folder)
    x_train, x_test = np.float32(x_train) / 255, np.float32(x_test) / 255
    if options.hold_out:
        x_train, x_test = np.split(x_train, [-options.hold_out])
        y_train, y_test = np.split(y_train, [-options.hold_out])
    x_train, y_train = x_train[: options.rows], y_train[: options.rows]

    accuracies = []
    for seed in range(options.seeds):
        begin = time.perf_counter()
        model = train(x_train, y_train, options.epochs, seed)
        accuracies.append(model.evaluate(x_test, y_test)["accuracy"])
        print(f"seed {seed}: {accuracies[-1]:.2%} in {time.perf_counter() - begin:.0f} s", flush=True)
    print(f"mean of {len(accuracies)} seeds: {np.mean(accuracies):.2%}; support-vector machine: 89.7%")
    return float(np.mean(accuracies))


if __name__ == "__main__":
    main()
