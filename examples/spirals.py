"""Three spirals: why a hidden layer is needed. A ReLU network against a linear one.

python examples/spirals.py [--epochs N] [--seed N] [--picture PATH]
"""

import argparse

import numpy as np

import minidense as md


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5000, help="full-batch updates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help='draw the regions into this file; needs pip install "minidense[plot]"')
    options = parser.parse_args(arguments)

    x, y = md.datasets.make_spirals(samples_per_class=100, classes=3, rng=options.seed)
    networks = {
        "linear": [md.Dense(3), md.Softmax()],
        "100 hidden units": [md.Dense(100), md.ReLU(), md.Dense(3), md.Softmax()],
    }
    accuracies, models = {}, {}
    for name, layers in networks.items():
        model = md.Sequential(layers, rng=options.seed)
        model.compile(md.SGD(learning_rate=1.0), md.SoftmaxCrossEntropy(), metrics=["accuracy"])
        model.fit(x, y, batch_size="full", epochs=options.epochs, verbose=0)
        models[name], accuracies[name] = model, model.evaluate(x, y)["accuracy"]
        print(f"{name:>16}: {accuracies[name]:.1%} of the points are classified right")
    if options.picture:
        draw(models, x, y, options.picture)
    return accuracies


def draw(models: dict[str, md.Sequential], x: np.ndarray, y: np.ndarray, path: str) -> None:
    """The points, on the class that each model predicts at every place."""
    from matplotlib import pyplot

    colors = pyplot.get_cmap("viridis", 3)
    figure, axes = pyplot.subplots(1, len(models), figsize=(3 * len(models), 3), layout="constrained")
    places = np.linspace(-1.1, 1.1, 300)
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    for ax, (name, model) in zip(axes, models.items(), strict=True):
        classes = model.predict(grid).argmax(axis=1).reshape(300, 300)
        ax.imshow(classes, cmap=colors, alpha=0.4, origin="lower", extent=(-1.1, 1.1, -1.1, 1.1))
        ax.scatter(*x.T, c=y, cmap=colors, s=8, linewidths=0.3, edgecolors="white")
        ax.set(title=name, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
