"""Fashion-MNIST with one hidden layer of 100, as in the data set's paper (0.871 for scikit-learn's MLPClassifier).

python examples/fashion_mnist.py [--epochs N] [--seeds N] [--rows N] [--folder FOLDER]
"""

import argparse

import numpy as np

import minidense as md


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5, help="runs to average over")
    parser.add_argument("--rows", type=int, help="train on the first so many rows only")
    parser.add_argument("--folder", help="where the four files are")
    options = parser.parse_args(arguments)

    (x_train, y_train), (x_test, y_test) = md.datasets.load_fashion_mnist(options.folder)
    x_train, x_test = (np.float32(x.reshape(len(x), -1)) / 255 for x in (x_train, x_test))
    x_train, y_train = x_train[: options.rows], y_train[: options.rows]

    accuracies = []
    for seed in range(options.seeds):
        model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=seed)
        model.compile(md.SGD(learning_rate=0.1), md.SoftmaxCrossEntropy(), metrics=["accuracy"])
        model.fit(x_train, y_train, batch_size=32, epochs=options.epochs)
        accuracies.append(model.evaluate(x_test, y_test)["accuracy"])
        print(f"seed {seed}: {accuracies[-1]:.2%} of {len(x_test)} test images")
    print(f"mean of {len(accuracies)} seeds: {np.mean(accuracies):.2%}")
    return float(np.mean(accuracies))


if __name__ == "__main__":
    main()
