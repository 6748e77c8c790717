"""A rare class: recognise the eights among handwritten digits when only one training image in fifty is an eight.

    python examples/imbalanced.py [--epochs N] [--seed N]

A model that always says no is right nine times in ten, and useless. With class weights the network finds more of the
eights, but raises more false alarms; the area under the ROC curve does not depend on that choice.
"""

import argparse

import numpy as np

import minidense as md


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    eight_train, eight_test = y_train == 8, y_test == 8
    rng = np.random.default_rng(options.seed)
    few = rng.choice(np.flatnonzero(eight_train), size=(~eight_train).sum() // 49, replace=False)
    rows = rng.permutation(np.concatenate([np.flatnonzero(~eight_train), few]))
    x, y, x_test = x_train[rows] / 16, eight_train[rows], x_test / 16
    print(f"{y.sum()} eights among {len(y)} training digits, {eight_test.sum()} among {len(y_test)} test digits")

    results = {"always no": {"accuracy": float((~eight_test).mean()), "recall": 0.0, "f1": 0.0, "auc": 0.5}}
    for name, weight in (("network", None), ("... with class_weight", "balanced")):
        model = md.Sequential([md.Dense(32, activation="relu"), md.Dense(1), md.Sigmoid()], rng=options.seed)
        model.compile(md.Adam(0.003), "binary_crossentropy", metrics=["accuracy", "precision", "recall", "f1", "auc"])
        model.fit(x, y, batch_size=32, epochs=options.epochs, class_weight=weight, verbose=0)
        results[name] = model.evaluate(x_test, eight_test, return_dict=True)
    for name, metrics in results.items():
        shown = ", ".join(f"{metric} {metrics[metric]:.3f}" for metric in ("accuracy", "recall", "f1", "auc"))
        print(f"{name:>22}: {shown}")
    return results


if __name__ == "__main__":
    main()
