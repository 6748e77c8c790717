"""Predict the mass of a penguin from its measurements: is a network better than linear regression?

    python examples/regression.py [--epochs N] [--seed N]

Five-fold cross-validation: each penguin is predicted by a model that has not seen it. 333 penguins are few, and their
mass is nearly linear in the measurements, so the network is only about as good as least squares.
"""

import argparse

import numpy as np

import minidense as md


def network(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> md.Sequential:
    model = md.Sequential([md.Dense(16, activation="relu"), md.Dense(1)], rng=seed)
    model.compile(md.Adam(0.01, weight_decay=0.1), md.MeanSquaredError(), metrics=["mae", "r2"])
    stop = md.callbacks.EarlyStopping(patience=30, restore_best_weights=True)
    split = {"validation_split": 0.2, "validation_shuffle": True}
    model.fit(x, y, batch_size=16, epochs=epochs, callbacks=[stop], verbose=0, **split)
    return model


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=300, help="the most there may be")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    x, y = md.datasets.load_penguins()
    fold = np.random.default_rng(options.seed).permutation(len(x)) % 5
    predicted = {name: np.empty(len(y)) for name in ("the mean", "least squares", "network")}
    for k in range(5):
        train, test = fold != k, fold == k
        mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
        z = (x - mean) / spread
        grams, scale = y[train].mean(), y[train].std()

        predicted["the mean"][test] = grams
        with_ones = np.column_stack([z, np.ones(len(z))])
        line, *_ = np.linalg.lstsq(with_ones[train], y[train], rcond=None)
        predicted["least squares"][test] = with_ones[test] @ line
        model = network(z[train], (y[train] - grams) / scale, options.epochs, options.seed)
        predicted["network"][test] = grams + scale * model.predict(z[test])[:, 0]

    r2 = {name: 1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum() for name, p in predicted.items()}
    for name, p in predicted.items():
        print(f"{name:>13}: off by {abs(y - p).mean():5.0f} g on average, R² {r2[name]:6.3f}")
    return r2


if __name__ == "__main__":
    main()
