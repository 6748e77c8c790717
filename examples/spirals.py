"""Three spirals: why a hidden layer is needed. A ReLU network against a linear one.

python examples/spirals.py [--epochs N] [--seed N]
"""

import argparse

import minidense as md


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5000, help="full-batch updates")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    x, y = md.datasets.make_spirals(samples_per_class=100, classes=3, rng=options.seed)
    networks = {
        "linear": [md.Dense(3), md.Softmax()],
        "100 hidden units": [md.Dense(100), md.ReLU(), md.Dense(3), md.Softmax()],
    }
    accuracies = {}
    for name, layers in networks.items():
        model = md.Sequential(layers, rng=options.seed)
        model.compile(md.SGD(learning_rate=1.0), md.SoftmaxCrossEntropy(), metrics=["accuracy"])
        model.fit(x, y, batch_size="full", epochs=options.epochs, verbose=0)
        accuracies[name] = model.evaluate(x, y)["accuracy"]
        print(f"{name:>16}: {accuracies[name]:.1%} of the points are classified right")
    return accuracies


if __name__ == "__main__":
    main()
