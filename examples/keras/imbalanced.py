"""Imbalanced classes: find the frauds, when only one payment in a hundred is one.

    python examples/keras/imbalanced.py [--short]

The last bias starts at the logarithm of the odds, so that training need not learn first that frauds are rare. Then
three ways are compared: as it is, with class weights, and with batches that are half fraud. The payments are invented.
"""

import argparse
import os
import tempfile

import numpy as np

import minidense as keras
from minidense import layers


def make_payments(n, seed=0):
    """Payments (n, 8), and for each whether it is a fraud, 0 or 1: frauds are large, far away and at night."""
    rng = np.random.default_rng(seed)
    fraud = (rng.random(n) < 0.01).astype(int)
    log_amount = rng.normal(3 + 2 * fraud, 1)
    log_kilometres = rng.normal(2 + 2 * fraud, 1.5)
    hour = np.where(rng.random(n) < 0.4 * fraud, rng.uniform(0, 6, n), rng.uniform(6, 24, n))
    others = rng.normal(0, 1, (n, 5)) + fraud[:, None] * [1, -1, 0.5, 0, 0]
    return np.column_stack([log_amount, log_kilometres, hour, others]), fraud


def make_model(n_features, output_bias=0.0):
    model = keras.Sequential(
        [
            keras.Input(shape=(n_features,)),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid", bias_initializer=keras.initializers.Constant(output_bias)),
        ],
        rng=0,
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=3e-3),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[
            keras.metrics.TruePositives(name="tp"),
            keras.metrics.FalsePositives(name="fp"),
            keras.metrics.TrueNegatives(name="tn"),
            keras.metrics.FalseNegatives(name="fn"),
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.Precision(name="precision"),
            keras.metrics.Recall(name="recall"),
            keras.metrics.AUC(name="auc"),
            keras.metrics.AUC(name="prc", curve="PR"),
        ],
    )
    return model


def half_frauds(features, labels, batch_size, rng):
    """Batches without end, half of each drawn from the frauds."""
    fraud, honest = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    while True:
        rows = np.concatenate([rng.choice(fraud, batch_size // 2), rng.choice(honest, batch_size // 2)])
        yield features[rows], labels[rows]


def show_confusion(labels, probabilities, threshold):
    matrix = keras.confusion_matrix(labels, (probabilities > threshold).astype(int))
    (tn, fp), (fn, tp) = matrix
    print(f"threshold {threshold}: {tp} frauds found, {fn} missed; {fp} false alarms, {tn} left alone")
    return matrix


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer payments and epochs")
    options = parser.parse_args(arguments)
    epochs, batch_size = (30 if options.short else 60), 256

    features, labels = make_payments(20_000 if options.short else 40_000)
    test, validation = len(labels) // 5, 2 * len(labels) // 5
    x_test, x_val, x_train = np.split(features, [test, validation])
    y_test, y_val, y_train = np.split(labels, [test, validation])
    mean, spread = x_train.mean(axis=0), x_train.std(axis=0)  # of the training rows only
    x_train, x_val, x_test = (np.clip((x - mean) / spread, -5, 5) for x in (x_train, x_val, x_test))
    neg, pos = np.bincount(y_train)
    print(f"{pos} frauds among {pos + neg} payments ({100 * pos / (pos + neg):.2f} %)")

    # The bias of the last layer: sigmoid(log(pos / neg)) is the share of frauds.
    initial_bias = np.log([pos / neg])
    careless, careful = make_model(x_train.shape[-1]), make_model(x_train.shape[-1], output_bias=initial_bias)
    share = pos / (pos + neg)
    at_best = -share * np.log(share) - (1 - share) * np.log(1 - share)
    start = {
        "bias 0": careless.evaluate(x_train, y_train, verbose=0)[0],
        "bias log(pos / neg)": careful.evaluate(x_train, y_train, verbose=0)[0],
        "always that probability": at_best,
    }
    print("loss before training: " + ", ".join(f"{name}: {loss:.3f}" for name, loss in start.items()))

    results, models = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        initial_weights = os.path.join(folder, "initial.weights.npz")
        careful.save_weights(initial_weights)
        for name in ("as it is", "class weights", "oversampled"):
            model = make_model(x_train.shape[-1])
            model.load_weights(initial_weights)  # all three start from here
            early_stopping = keras.callbacks.EarlyStopping(
                monitor="val_prc", verbose=1, patience=10, mode="max", restore_best_weights=True
            )
            settings = {"epochs": epochs, "callbacks": [early_stopping], "validation_data": (x_val, y_val)}
            if name == "oversampled":
                batches = half_frauds(x_train, y_train, batch_size, np.random.default_rng(0))
                model.fit(batches, steps_per_epoch=len(y_train) // batch_size, verbose=0, **settings)
            else:
                total = pos + neg
                weights = {0: total / neg / 2, 1: total / pos / 2} if name == "class weights" else None
                model.fit(x_train, y_train, batch_size=batch_size, class_weight=weights, verbose=0, **settings)
            models[name] = model
            results[name] = model.evaluate(x_test, y_test, batch_size=batch_size, verbose=0, return_dict=True)

    print(f"\n{'test payments':>14}   tp   fp     tn   fn  precision  recall    auc    prc")
    for name, r in results.items():
        counts = f"{r['tp']:4.0f} {r['fp']:4.0f} {r['tn']:6.0f} {r['fn']:4.0f}"
        print(f"{name:>14} {counts} {r['precision']:10.3f} {r['recall']:7.3f} {r['auc']:6.3f} {r['prc']:6.3f}")

    print("\nThe model as it is, with other thresholds:")
    probabilities = models["as it is"].predict(x_test, batch_size=batch_size).flatten()
    confusion = {threshold: show_confusion(y_test, probabilities, threshold) for threshold in (0.5, 0.1, 0.01)}
    return {"start": start, "results": results, "confusion": confusion, "share": y_test.mean()}


if __name__ == "__main__":
    main()
