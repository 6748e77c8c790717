"""Fashion-MNIST, compared with scikit-learn's MLPClassifier in the data set's paper.

python examples/fashion_mnist.py [--hidden 100 10] [--activation relu] [--dropout 0.2] [--epochs N] [--seeds N]
python examples/fashion_mnist.py --table
"""

import argparse

import numpy as np

import minidense as md

# H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017, table 3; the last is the data set's README, "256-128-100".
PUBLISHED = {
    ("relu", (100,), 0.0): 0.871,
    ("relu", (100, 10), 0.0): 0.870,
    ("relu", (10, 10), 0.0): 0.850,
    ("relu", (10,), 0.0): 0.848,
    ("tanh", (100,), 0.0): 0.868,
    ("tanh", (100, 10), 0.0): 0.863,
    ("tanh", (10, 10), 0.0): 0.841,
    ("tanh", (10,), 0.0): 0.840,
    ("relu", (256, 128, 100), 0.2): 0.8833,
}
BATCH = 64


def make(hidden: list[int], activation: str, dropout: float, steps: int, seed: int) -> md.Sequential:
    """A compiled network; its learning rate falls along a cosine to 1 % at the last step."""
    layers: list[md.Layer] = [md.Flatten()]
    for units in hidden:
        layers.append(md.Dense(units, activation=activation))
        if dropout:
            layers.append(md.Dropout(dropout))
    model = md.Sequential([*layers, md.Dense(10), md.Softmax()], rng=seed)
    rate = md.schedules.WarmUp(md.schedules.CosineDecay(0.002, steps, alpha=0.01), steps=steps // 50 or 1)
    return model.compile(md.Adam(rate), md.SoftmaxCrossEntropy(), metrics=["accuracy"])


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[100], help="units of the hidden layers")
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5, help="runs to average over")
    parser.add_argument("--rows", type=int, help="train on this many rows only")
    parser.add_argument("--folder", help="where the four files are")
    parser.add_argument("--table", action="store_true", help="all networks of the paper's table")
    options = parser.parse_args(arguments)

    (x_train, y_train), (x_test, y_test) = md.datasets.load_fashion_mnist(options.folder)
    x_train, x_test = np.float32(x_train) / 255, np.float32(x_test) / 255
    x_train, y_train = x_train[: options.rows], y_train[: options.rows]

    wanted = list(PUBLISHED) if options.table else [(options.activation, tuple(options.hidden), options.dropout)]
    mean = 0.0
    for activation, hidden, dropout in wanted:
        accuracies = []
        for seed in range(options.seeds):
            steps = options.epochs * -(-len(x_train) // BATCH)
            model = make(list(hidden), activation, dropout, steps, seed)
            model.fit(x_train, y_train, batch_size=BATCH, epochs=options.epochs, verbose=0 if options.table else "auto")
            accuracies.append(model.evaluate(x_test, y_test)["accuracy"])
        mean = float(np.mean(accuracies))
        published = PUBLISHED.get((activation, hidden, dropout))
        against = f", published {published:.4f}" if published else ""
        print(
            f"{activation} {list(hidden)} dropout {dropout:g}: {mean:.4f}, mean of {len(accuracies)} seeds{against}",
            flush=True,
        )
    return mean


if __name__ == "__main__":
    main()
