"""Counts, per class and for several thresholds; balanced accuracy; the confusion matrix they agree with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import minidense as md

KINDS = ["TruePositive", "FalsePositive", "TrueNegative", "FalseNegative"]


def by_rows(y, p, threshold):
    """(true positives, false positives, true negatives, false negatives), output by output."""
    found = np.zeros(4)
    for actual, value in zip(np.ravel(y), np.ravel(p), strict=True):
        said = value > threshold
        found[0 if said and actual else 1 if said else 3 if actual else 2] += 1
    return found


@given(n=st.integers(1, 20), k=st.integers(1, 3), seed=seeds)
def test_counts_of_outputs(n, k, seed):
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, (n, k)), rng.random((n, k)).round(1)
    kinds = [getattr(md.metrics, name + "s") for name in KINDS]
    assert [kind()(y, p) for kind in kinds] == by_rows(y, p, 0.5).tolist()
    levels = [0.1, 0.4, 0.9]
    found = np.array([kind(levels)(y, p) for kind in kinds])
    np.testing.assert_array_equal(found, np.transpose([by_rows(y, p, level) for level in levels]))


@given(n=st.integers(1, 30), k=st.integers(2, 4), seed=seeds)
def test_counts_of_labels_are_those_of_the_confusion_matrix(n, k, seed):
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, k, n), rng.random((n, k)).round(1)
    counts = np.asarray(md.confusion_matrix(y, p))
    assert counts.shape == (k, k)
    right = counts.diagonal().sum()
    assert md.metrics.TruePositives()(y, p) == right == round(n * md.Accuracy()(y, p))
    assert md.metrics.FalsePositives()(y, p) == md.metrics.FalseNegatives()(y, p) == n - right
    assert md.metrics.TrueNegatives()(y, p) == n * (k - 2) + right
    for c in range(k):
        said, real = counts[:, c].sum(), counts[c].sum()
        assert md.Precision(class_id=c)(y, p) == (counts[c, c] / said if said else 0)
        assert md.Recall(class_id=c)(y, p) == (counts[c, c] / real if real else 0)
    occur = counts.sum(axis=1) > 0
    shares = counts.diagonal()[occur] / counts.sum(axis=1)[occur]
    assert md.metrics.BalancedAccuracy()(y, p) == pytest.approx(shares.mean())
    if k == 2:  # one output for two classes is the same
        assert md.metrics.BalancedAccuracy()(y, (p.argmax(axis=1) * 1.0)[:, None]) == pytest.approx(shares.mean())


def test_weighted_and_top_k():
    y, p = np.array([0, 0, 0, 1, 2]), np.array([[0.5, 0.3, 0.2]] * 4 + [[0.1, 0.4, 0.5]])
    each = md.Recall(average=None)(y, p)
    assert each.tolist() == [1, 0, 1]
    assert md.Recall(average="weighted")(y, p) == 4 / 5
    assert md.Recall(top_k=2, average=None)(y, p).tolist() == [1, 1, 1]
    assert md.Precision(top_k=2, average="micro")(y, p) == 0.5
    with pytest.raises(ValueError, match="class_id: expected one of 3 classes"):
        md.Recall(class_id=3)(y, p)
    for wrong, message in (((), "at least one"), ([-1], "at least 0"), (["a"], "expected a number")):
        with pytest.raises((TypeError, ValueError), match=message):
            md.Precision(thresholds=wrong)


# ------------------------------------------------------------------ the confusion matrix


def test_confusion_matrix_of_labels_names_and_outputs():
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    y, guess = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    names = np.array(["cat", "dog", "owl"])
    found = md.confusion_matrix(y, guess)
    assert found.tolist() == expected
    assert found.dtype == np.int64
    for true in (y, y[:, None], np.eye(3)[y], y.astype("uint8"), y * 1.0):
        for predicted in (guess, np.eye(3)[guess] * 0.7, 2 * np.eye(3)[guess] - 5):
            assert md.confusion_matrix(true, predicted).tolist() == expected
    named = md.confusion_matrix(names[y], names[guess])
    assert (named.tolist(), named.names) == (expected, ("cat", "dog", "owl"))
    assert repr(named) == repr(md.confusion_matrix(y, guess, names=names)) == str(named)
    assert (
        md.confusion_matrix(names[y], names[guess], names=["owl", "dog", "cat"]).tolist() == np.flip(expected).tolist()
    )
    weights = np.arange(6.0)
    assert md.confusion_matrix(y, guess, weights).tolist() == [[0, 1, 0], [0, 2, 0], [3, 0, 9]]
    assert md.confusion_matrix([0, 1, 1], [0.2, 0.9, 0.4]).tolist() == [[1, 0], [1, 1]]
    assert md.confusion_matrix([0, 1, 1], [[0.2], [0.9], [0.4]]).tolist() == [[1, 0], [1, 1]]
    assert md.confusion_matrix([0, 0], [0, 0]).shape == (2, 2)


def test_it_prints_with_names_and_computes_as_an_array():
    found = md.confusion_matrix(["a", "bb"], ["bb", "bb"])
    assert str(found).split("\n") == ["true \\ predicted  a  bb", "a                 0   1", "bb                0   1"]
    assert repr(found / found.sum(axis=1, keepdims=True)) == "array([[0., 1.],\n       [0., 1.]])"
    assert (found.sum(), found[0, 1], found.T.tolist()) == (2, 1, [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("y_true", "y_pred", "options", "message"),
    [
        ([0, 1], [0], {}, "as many rows of y_true as of y_pred, at least one; got 2 and 1"),
        ([], [], {}, "at least one; got 0 and 0"),
        ([0, -1], [0, 1], {}, "y_true: expected labels from 0 to 1, got -1 in row 1"),
        ([0, 2], [0, 1], {"names": ["a", "b"]}, "y_true: expected labels from 0 to 1, got 2 in row 1"),
        (["a", "c"], ["a", "b"], {"names": ["a", "b"]}, "'c' in y_true or y_pred; the names are 'a', 'b'"),
        ([0, 1], [0.5, 1.5], {}, "y_pred: expected whole numbers, or probabilities"),
        ([0, 1], np.zeros((2, 2, 2)), {}, r"y_pred: expected labels \(n,\)"),
        ([0, 1], [None, 1], {}, "None in row 0 is missing"),
        ([0, 1], [3j, 1], {}, "y_pred: expected labels, names or probabilities"),
    ],
)
def test_what_it_cannot_count(y_true, y_pred, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        md.confusion_matrix(y_true, y_pred, **options)


@pytest.mark.parametrize(
    "metric",
    [
        md.metrics.BinaryAccuracy(threshold=0),
        md.metrics.Precision(thresholds=0.0),
        md.metrics.TruePositives(thresholds=[0]),
        md.F1(threshold=0),
    ],
    ids=repr,
)
def test_a_threshold_of_scores_where_metrics_get_probabilities(metric):
    model = md.Sequential([md.Dense(1)])
    with pytest.raises(ValueError, match=r"has the threshold 0, which is one for scores, .*: use 0\.5\."):
        model.compile("adam", md.losses.BinaryCrossentropy(from_logits=True), [metric])
    assert model.loss is None
    model.compile("adam", "hinge", [md.metrics.BinaryAccuracy(threshold=0)])  # whose outputs are scores
    model.compile("adam", "binary_crossentropy", [md.metrics.Precision(thresholds=0.5)])
