"""Regression: how far does a car go on a litre of fuel?

    python examples/keras/regression.py [--short] [--plot FILE.png]

Four models, each with a Normalization that has seen the training rows: a line through the horsepower, a plane through
all columns, and a deep network for either. The cars are invented: their fuel consumption follows from weight, power
and year of construction, with noise, and the distance per litre is one over it, so that no plane fits well.
"""

import argparse

import numpy as np

import minidense as keras
from minidense import layers

COLUMNS = ["cylinders", "displacement", "horsepower", "weight", "acceleration", "year", "Europe", "Japan", "USA"]


def make_cars(n=400, seed=0):
    """A table (n, 9) of invented cars, and the kilometres that each goes on a litre."""
    rng = np.random.default_rng(seed)
    origin = rng.choice(3, size=n, p=[0.2, 0.2, 0.6])
    size = np.clip(rng.beta(2, 3, n) + 0.25 * (origin == 2), 0, 1)
    cylinders = np.select([size < 0.5, size < 0.75], [4, 6], 8)
    displacement = 1.1 + 5 * size + rng.normal(0, 0.2, n)
    horsepower = 45 + 150 * size + rng.normal(0, 10, n)
    weight = 750 + 1100 * size + rng.normal(0, 70, n)
    acceleration = 8 + 0.7 * weight / horsepower + rng.normal(0, 1, n)
    year = rng.integers(1970, 1983, n)
    litres = 1.5 + 0.0045 * weight + 0.035 * horsepower - 0.12 * (year - 1970)  # per 100 km
    distance = 100 / (litres * rng.normal(1, 0.06, n))
    numbers = [cylinders, displacement, horsepower, weight, acceleration, year]
    return np.column_stack([*numbers, origin[:, None] == np.arange(3)]).astype(float), distance


def linear(normalizer):
    model = keras.Sequential([normalizer, layers.Dense(units=1)], rng=0)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss="mean_absolute_error")
    return model


def deep(normalizer):
    model = keras.Sequential(
        [
            normalizer,
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(1),
        ],
        rng=0,
    )
    model.compile(loss="mean_absolute_error", optimizer=keras.optimizers.Adam(0.001))
    return model


def plot_loss(histories, file):
    """The curves of loss and val_loss, one picture for each model."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        print("no curves: matplotlib is not installed")
        return
    figure, axes = plt.subplots(1, len(histories), figsize=(4 * len(histories), 3), sharey=True, layout="constrained")
    for ax, (name, history) in zip(axes, histories.items(), strict=True):
        ax.plot(history.epoch, history.history["loss"], label="loss")
        ax.plot(history.epoch, history.history["val_loss"], label="val_loss")
        ax.set(title=name, xlabel="epoch", ylabel="error in km per litre")
        ax.legend()
    figure.savefig(file)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer epochs")
    parser.add_argument("--plot", metavar="FILE", help="write the curves of the loss to this image file")
    options = parser.parse_args(arguments)
    epochs = 60 if options.short else 100

    features, distance = make_cars()
    train_features, test_features = features[:320], features[320:]
    train_labels, test_labels = distance[:320], distance[320:]

    normalizer = layers.Normalization(axis=-1)
    normalizer.adapt(train_features)
    print("what the normalization subtracts, and what it divides by:")
    for name, mean, variance in zip(COLUMNS, normalizer.mean, normalizer.variance, strict=True):
        print(f"{name:>13}  {mean:8.2f}  {np.sqrt(variance):7.2f}")

    power = [COLUMNS.index("horsepower")]
    results, histories = {}, {}
    for name, build, columns in (
        ("line, horsepower", linear, power),
        ("plane, all columns", linear, range(9)),
        ("deep, horsepower", deep, power),
        ("deep, all columns", deep, range(9)),
    ):
        normalizer = layers.Normalization(axis=-1)
        normalizer.adapt(train_features[:, columns])
        model = build(normalizer)
        history = model.fit(train_features[:, columns], train_labels, epochs=epochs, validation_split=0.2, verbose=0)
        histories[name] = history
        results[name] = float(model.evaluate(test_features[:, columns], test_labels, verbose=0))
    if options.plot:
        plot_loss(histories, options.plot)

    results["the mean"] = abs(test_labels - train_labels.mean()).mean()
    print("\nmean absolute error on the test rows, in km per litre:")
    for name, error in sorted(results.items(), key=lambda item: -item[1]):
        print(f"{name:>18}  {error:.3f}")

    predictions = model.predict(test_features).flatten()
    error = predictions - test_labels
    counts, edges = np.histogram(error, bins=8)
    print("\nerrors of the last model:")
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        print(f"{left:6.2f} to {right:5.2f}  {'*' * count}")
    return results


if __name__ == "__main__":
    main()
