"""Losses and metrics as Keras users write them, and the data that they are computed on: for Keras and for minidense.

Each case is the name of a class, its keyword arguments, and the names of y_true and y_pred in ``data``.
"""

import numpy as np


def data():
    """Arrays by name, the same on every machine."""
    rng = np.random.default_rng(12)
    scores = rng.normal(size=(9, 4))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    binary = rng.integers(0, 2, (9, 4))
    return {
        "labels": rng.integers(0, 4, 9),
        "one_hot": np.eye(4)[rng.integers(0, 4, 9)],
        "rows": rng.dirichlet(np.ones(4), 9),
        "binary": binary,
        "column": binary[:, :1],
        "signs": 2 * binary - 1,
        "scores": scores,
        "probabilities": probabilities,
        "sigmoid": 1 / (1 + np.exp(-scores)),
        "sigmoid_column": np.round(1 / (1 + np.exp(-2 * scores[:, :1])), 1),
        "numbers": rng.normal(3, 2, (9, 4)),
        "predicted": rng.normal(3, 2, (9, 4)),
        "counts": rng.poisson(2.0, (9, 4)),
        "positive": rng.exponential(2.0, (9, 4)),
        "some_ignored": np.array([0, 1, -1, 3, -1, 2, 2, 1, 0]),
        "weights": rng.random(9) + 0.1,
    }


LOSSES = [
    ("BinaryCrossentropy", {}, "binary", "sigmoid"),
    ("BinaryCrossentropy", {"from_logits": True}, "binary", "scores"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "binary", "scores"),
    ("BinaryFocalCrossentropy", {}, "binary", "sigmoid"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "gamma": 0.7}, "binary", "scores"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3}, "binary", "sigmoid"),
    ("BinaryFocalCrossentropy", {"gamma": 3.0, "label_smoothing": 0.1}, "binary", "sigmoid"),
    ("CategoricalCrossentropy", {}, "one_hot", "probabilities"),
    ("CategoricalCrossentropy", {"from_logits": True}, "rows", "scores"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "one_hot", "probabilities"),
    ("CategoricalFocalCrossentropy", {}, "one_hot", "probabilities"),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.3, 0.4], "gamma": 1.5}, "rows", "probabilities"),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "one_hot", "scores"),
    ("SparseCategoricalCrossentropy", {}, "labels", "probabilities"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "labels", "scores"),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": -1}, "some_ignored", "scores"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, "labels", "probabilities"),
    ("CategoricalHinge", {}, "one_hot", "scores"),
    ("Hinge", {}, "signs", "scores"),
    ("Hinge", {}, "binary", "scores"),
    ("SquaredHinge", {}, "signs", "scores"),
    ("SquaredHinge", {}, "binary", "scores"),
    ("KLDivergence", {}, "rows", "probabilities"),
    ("Poisson", {}, "counts", "positive"),
    ("MeanSquaredError", {}, "numbers", "predicted"),
    ("MeanAbsoluteError", {}, "numbers", "predicted"),
    ("MeanAbsolutePercentageError", {}, "numbers", "predicted"),
    ("MeanAbsolutePercentageError", {}, "counts", "predicted"),
    ("MeanSquaredLogarithmicError", {}, "counts", "positive"),
    ("MeanSquaredLogarithmicError", {}, "counts", "predicted"),
    ("LogCosh", {}, "numbers", "predicted"),
    ("Huber", {}, "numbers", "predicted"),
    ("Huber", {"delta": 0.3}, "numbers", "predicted"),
    ("CosineSimilarity", {}, "numbers", "predicted"),
]

METRICS = [
    ("MeanSquaredError", {}, "numbers", "predicted"),
    ("RootMeanSquaredError", {}, "numbers", "predicted"),
    ("MeanAbsoluteError", {}, "numbers", "predicted"),
    ("MeanAbsolutePercentageError", {}, "numbers", "predicted"),
    ("MeanSquaredLogarithmicError", {}, "counts", "positive"),
    ("CosineSimilarity", {}, "numbers", "predicted"),
    ("BinaryCrossentropy", {}, "binary", "sigmoid"),
    ("CategoricalCrossentropy", {}, "one_hot", "probabilities"),
    ("SparseCategoricalCrossentropy", {}, "labels", "probabilities"),
    ("BinaryAccuracy", {}, "binary", "sigmoid"),
    ("BinaryAccuracy", {"threshold": 0.3}, "binary", "sigmoid"),
    ("CategoricalAccuracy", {}, "one_hot", "probabilities"),
    ("SparseCategoricalAccuracy", {}, "labels", "probabilities"),
    ("TopKCategoricalAccuracy", {"k": 2}, "one_hot", "probabilities"),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, "labels", "probabilities"),
    ("TruePositives", {}, "binary", "sigmoid"),
    ("FalsePositives", {}, "binary", "sigmoid"),
    ("TrueNegatives", {}, "binary", "sigmoid"),
    ("FalseNegatives", {}, "binary", "sigmoid"),
    ("FalseNegatives", {"thresholds": [0.2, 0.7]}, "binary", "sigmoid"),
    ("TrueNegatives", {"thresholds": 0.7}, "binary", "sigmoid"),
    ("Precision", {}, "column", "sigmoid_column"),
    ("Precision", {"thresholds": [0.2, 0.5, 0.7]}, "column", "sigmoid_column"),
    ("Precision", {"class_id": 2}, "binary", "sigmoid"),
    ("Precision", {"top_k": 2, "class_id": 1}, "one_hot", "probabilities"),
    ("Recall", {}, "column", "sigmoid_column"),
    ("Recall", {"thresholds": 0.3}, "column", "sigmoid_column"),
    ("Recall", {"class_id": 0, "thresholds": [0.1, 0.6]}, "binary", "sigmoid"),
    ("F1Score", {}, "one_hot", "probabilities"),
    ("F1Score", {"average": "macro"}, "one_hot", "probabilities"),
    ("F1Score", {"average": "micro", "threshold": 0.4}, "binary", "sigmoid"),
    ("F1Score", {"average": "weighted", "threshold": 0.4}, "binary", "sigmoid"),
    ("AUC", {"num_thresholds": 200}, "column", "sigmoid_column"),
    ("AUC", {"num_thresholds": 5}, "column", "sigmoid_column"),
    ("AUC", {"num_thresholds": 200, "curve": "PR"}, "column", "sigmoid_column"),
    ("AUC", {"num_thresholds": 7, "curve": "PR"}, "column", "sigmoid_column"),
    ("R2Score", {}, "numbers", "predicted"),
]
