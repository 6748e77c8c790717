"""A network of three sigmoid layers, with a summed loss and one-hot labels.

python examples/sigmoid_network.py [--epochs N] [--seed N]
"""

import argparse

import numpy as np

import minidense as md


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    x_train, x_test = x_train / 16, x_test / 16
    one_hot = np.eye(10)[y_train]

    layers = []
    for units in (128, 64, 32):
        layers += [md.Dense(units), md.Sigmoid()]
    model = md.Sequential([*layers, md.Dense(10), md.Softmax()], rng=options.seed)
    # The gradient of a sum over 16 rows is 16 times that of their mean, so the learning rate is smaller.
    model.compile(md.SGD(learning_rate=0.03), md.SoftmaxCrossEntropy(reduction="sum"), metrics=["accuracy"])
    model.fit(x_train, one_hot, batch_size=16, epochs=options.epochs)

    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    print(f"test accuracy: {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    main()
