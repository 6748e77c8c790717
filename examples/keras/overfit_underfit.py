"""Overfit and underfit: how large may a network be, and what helps if it is too large?

    python examples/keras/overfit_underfit.py [--short] [--plot FILE.png]

Tiny, small, medium and large networks learn from the same few rows; then the large one again with L2 penalties, with
dropout, and with both. Networks are compared by the cross-entropy alone: ``loss`` includes the penalties.
"""

import argparse

import numpy as np

import minidense as keras
from minidense import layers, regularizers

BATCH_SIZE = 100


def make_data(n, rng):
    """Points in 12 dimensions, of two classes with a curved border; one label in ten is wrong."""
    x = rng.normal(0, 1, (n, 12)).astype("float32")
    inside = x[:, 0] * x[:, 1] + x[:, 2] + 0.5 * x[:, 3] ** 2 - 0.5 > 0
    return x, (inside ^ (rng.random(n) < 0.1)).astype(int)


def make_networks(width):
    """The networks by name, none of them compiled. width: that of the large ones."""

    def penalized(units):
        return layers.Dense(units, kernel_regularizer=regularizers.l2(0.001), activation="elu")

    def network(*hidden):
        return keras.Sequential([keras.Input(shape=(12,)), *hidden, layers.Dense(1)], rng=0)

    return {
        "tiny": network(layers.Dense(4, activation="elu")),
        "small": network(*[layers.Dense(16, activation="elu") for _ in range(2)]),
        "medium": network(*[layers.Dense(64, activation="elu") for _ in range(3)]),
        "large": network(*[layers.Dense(width, activation="elu") for _ in range(4)]),
        "large, L2": network(*[penalized(width) for _ in range(4)]),
        "large, dropout": network(
            *[layer for _ in range(4) for layer in (layers.Dense(width, activation="elu"), layers.Dropout(0.5))]
        ),
        "large, both": network(*[layer for _ in range(4) for layer in (penalized(width), layers.Dropout(0.5))]),
    }


def compile_and_fit(model, train, validation, max_epochs, patience):
    steps_per_epoch = len(train[0]) // BATCH_SIZE
    schedule = keras.optimizers.schedules.InverseTimeDecay(
        0.001, decay_steps=steps_per_epoch * 1000, decay_rate=1, staircase=False
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryCrossentropy(name="binary_crossentropy"), "accuracy"],
    )
    stop = keras.callbacks.EarlyStopping(monitor="val_binary_crossentropy", patience=patience)
    return model.fit(
        *train, batch_size=BATCH_SIZE, epochs=max_epochs, validation_data=validation, callbacks=[stop], verbose=0
    )


def plot(histories, file):
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        print("no curves: matplotlib is not installed")
        return
    figure, ax = plt.subplots(layout="constrained")
    for name, history in histories.items():
        (line,) = ax.plot(history.history["val_binary_crossentropy"], label=name)
        ax.plot(history.history["binary_crossentropy"], "--", color=line.get_color())
    ax.set(xlabel="epoch", ylabel="cross-entropy (dashed: training)", xscale="log", ylim=(0, 1))
    ax.legend()
    figure.savefig(file)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="narrower networks, fewer epochs")
    parser.add_argument("--plot", metavar="FILE", help="write the curves to this image file")
    options = parser.parse_args(arguments)
    width, max_epochs, patience = (80, 50, 30) if options.short else (256, 200, 60)

    rng = np.random.default_rng(0)
    train, validation = make_data(1000, rng), make_data(1000, rng)
    results, histories = {}, {}
    print("cross-entropy          parameters   epochs   training   validation   best validation")
    for name, model in make_networks(width).items():
        history = histories[name] = compile_and_fit(model, train, validation, max_epochs, patience)
        values = history.history["val_binary_crossentropy"]
        parameters = sum(array.size for array in model.get_weights())
        results[name] = {
            "parameters": parameters,
            "training": history.history["binary_crossentropy"][-1],
            "validation": values[-1],
            "best": min(values),
        }
        counts = f"{parameters:10,} {len(values):8}"
        print("{:>21}  {} {training:10.3f} {validation:12.3f} {best:17.3f}".format(name, counts, **results[name]))
    if options.plot:
        plot(histories, options.plot)
    return results


if __name__ == "__main__":
    main()
