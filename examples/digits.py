"""Classify handwritten digits, by gradient descent on all rows, on 32, or on one.

python examples/digits.py [--rule full|mini-batch|single] [--epochs N] [--seed N]
"""

import argparse

import numpy as np

import minidense as md

# For each update rule: batch size, learning rate, epochs.
RULES = {"full": ("full", 1.0, 1000), "mini-batch": (32, 0.2, 60), "single": (1, 0.01, 20)}


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rule", choices=RULES, default="mini-batch", help="rows per update")
    parser.add_argument("--epochs", type=int, help="passes over the data")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    batch_size, learning_rate, epochs = RULES[options.rule]
    epochs = options.epochs or epochs

    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    x_train, x_test = x_train / 16, x_test / 16

    model = md.Sequential([md.Dense(100), md.ReLU(), md.Dense(10), md.Softmax()], rng=options.seed)
    model.compile(md.SGD(learning_rate), md.SoftmaxCrossEntropy(), metrics=["accuracy"])
    model.build(64)
    model.summary()
    print()

    history = model.fit(x_train, y_train, batch_size=batch_size, epochs=epochs, verbose=1)

    print("\nlearning curve")
    for epoch in sorted({int(e) for e in np.linspace(0, epochs - 1, 10)}):
        loss, accuracy = history.history["loss"][epoch], history.history["accuracy"][epoch]
        print(f"  epoch {epoch + 1:3}   loss {loss:.4f}   accuracy {accuracy:.4f}  {'#' * round(40 * accuracy)}")

    confusion = md.confusion_matrix(y_test, model.predict(x_test))
    print("\nconfusion matrix: rows are the true digits, columns the predicted ones")
    print("     " + "".join(f"{d:5}" for d in range(10)))
    for digit, row in enumerate(confusion):
        print(f"{digit:5}" + "".join(f"{count or '.':>5}" for count in row))

    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    print(f"\ntest accuracy, on {len(y_test)} digits by other writers: {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    main()
