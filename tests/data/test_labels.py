"""Class labels become integers and back; class weights are those given."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense.data.labels import ClassLabels, class_weights

names = st.one_of(st.lists(st.text(max_size=3), min_size=1), st.lists(st.integers(-5, 5), min_size=1))

# ------------------------------------------------------------------ ClassLabels


@given(names)
def test_labels_come_back_in_sorted_order(y):
    y = np.array(y)
    labels = ClassLabels(y)
    numbers = labels.encode(y)
    assert np.array_equal(labels.decode(numbers), y)
    assert sorted(set(numbers.tolist())) == list(range(len(labels.names)))
    assert np.array_equal(np.argsort(y, kind="stable"), np.argsort(numbers, kind="stable"))
    if len(labels.names) > 1:
        assert np.array_equal(labels.decode(np.eye(len(labels.names))[numbers]), y)  # rows of scores


def test_decode_takes_probabilities_of_one_output_and_refuses_the_rest():
    labels = ClassLabels(["no", "yes"])
    assert labels.decode(np.array([[0.9], [0.51], [0.5], [0.1]])).tolist() == ["yes", "yes", "no", "no"]
    for wrong in ([-1], [2], [0.5], np.ones((2, 3))):
        with pytest.raises(ValueError, match="expected integers from 0 to 1, or rows of 2 values"):
            labels.decode(wrong)


def test_labels_that_are_none_of_the_classes():
    labels = ClassLabels(["cat", "dog", "owl"])
    assert repr(labels) == "ClassLabels(['cat', 'dog', 'owl'])"
    with pytest.raises(ValueError, match=r"^y: 'yak' in row 1 is not one of the classes \['cat', 'dog', 'owl'\]\.$"):
        labels.encode(["cat", "yak"])
    with pytest.raises(ValueError, match="'z' in row 1 is not one of the classes"):
        ClassLabels(["a"]).encode(np.array(["a", "z"], object))
    with pytest.raises(ValueError, match="at least one label"):
        ClassLabels([])


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["a", None, "b"], ValueError, "None in row 1 is missing: drop that row, or fill in a value"),
        (["a", float("nan")], ValueError, "nan in row 1 is missing"),
        (np.array(["a", None], object), ValueError, "None in row 1 is missing"),
        (np.array([1.0, np.nan]), ValueError, "nan in row 1 is missing"),
        ([1, None], ValueError, "None in row 1 is missing"),
        (np.array(["2020", "NaT"], "M8[D]"), ValueError, "None in row 1 is missing"),
        (["a", "b", 3], ValueError, "3 in row 2 is of type int, and 'a' in row 0 of type str; expected labels of one"),
        (["a", b"b"], ValueError, "b'b' in row 1 is of type bytes"),
        ([datetime.date(2020, 1, 1), "a"], TypeError, "'a' in row 1 cannot be a class name"),
        ([{}, {}], TypeError, r"\{\} in row 0 cannot be a class name: unhashable"),
        ([["a", "b"]], ValueError, r"expected one class name for each row, shape \(n,\), got \(1, 2\)"),
    ],
)
def test_what_is_no_class_name_is_said_with_its_row(y, error, message):
    with pytest.raises(error, match=f"^y: {message}"):
        ClassLabels(y)
    if " in row" in message:  # of known names, encode says that they are not among them
        with pytest.raises(ValueError, match=r"^y: .* in row [012] is"):
            ClassLabels(["a", "b"]).encode(y)


def test_numbers_as_strings_are_names_and_no_numbers():
    for names, y in ((["1", "2"], [1, 2]), ([1, 2], ["1", "2"])):
        with pytest.raises(ValueError, match=r"1'? in row 0 is not one of the classes"):
            ClassLabels(names).encode(y)


def test_names_may_be_a_column():
    assert ClassLabels([["b"], ["a"]]).encode([["b"], ["a"]]).tolist() == [1, 0]


# ------------------------------------------------------------------ class_weights


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_balanced_classes_weigh_the_same(labels):
    y = np.array(labels)
    w = class_weights("balanced", y)
    totals = [w[y == label].sum() for label in np.unique(y)]
    assert totals == pytest.approx([len(y) / len(totals)] * len(totals))
    sk = pytest.importorskip("sklearn.utils.class_weight")
    np.testing.assert_allclose(w, sk.compute_sample_weight("balanced", y))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=40))
def test_balanced_classes_heed_the_rows_own_weights(rows):
    """A row's own weight is a number of copies, also when classes are balanced."""
    rows += [(label, 1) for label in "abc"]  # so that there is a copy of each class
    y, w = np.array([label for label, _ in rows]), np.array([weight for _, weight in rows], float)
    copied = np.repeat(y, w.astype(int))
    copies, weighted = class_weights("balanced", copied), class_weights("balanced", y, w)
    for label in "abc":
        assert weighted[y == label].sum() == pytest.approx(copies[copied == label].sum())
    assert weighted.sum() == pytest.approx(w.sum())


def test_a_class_whose_rows_weigh_nothing_divides_by_nothing():
    assert class_weights("balanced", np.array([0, 0, 1]), np.array([1.0, 1.0, 0.0])).tolist() == [0.5, 0.5, 0]


def test_weights_by_label_multiply_the_rows_own():
    y = np.array(["b", "a", "b"])
    weights = {"a": 1, "b": 3, "not there": 7}
    assert class_weights(weights, y).tolist() == [3, 1, 3]
    assert class_weights(weights, y, np.array([1.0, 2.0, 0.5])).tolist() == [3, 2, 1.5]


def test_weights_by_name():
    y = np.array([1, 0, 1])
    assert class_weights({"a": 1, "b": 3}, y, classes=("a", "b")).tolist() == [3, 1, 3]
    assert class_weights("balanced", y, classes=("a", "b")).tolist() == class_weights("balanced", y).tolist()
    with pytest.raises(ValueError, match=r"no weight for the labels \['b'\]; it has weights for \['a', 1\]"):
        class_weights({"a": 1, 1: 3}, y, classes=("a", "b"))


@pytest.mark.parametrize(
    ("weight", "labels", "error", "message"),
    [
        ("balance", [0, 1], ValueError, r"expected a dict or 'balanced', got 'balance'\. Did you mean 'balanced'\?"),
        ([1, 1], [0, 1], TypeError, r"expected a dict from label to weight, or 'balanced', got \[1, 1\]"),
        ({0: 1.0}, [0, 1, 2], ValueError, r"no weight for the labels \[1, 2\]; it has weights for \[0\]"),
        ({0: 1, 1: -1}, [0, 1], ValueError, "expected finite weights of at least 0, got -1 in row 1"),
        ("balanced", [[0, 1], [1, 0]], ValueError, r"expected one label for each row, got y of shape \(2, 2\)"),
    ],
)
def test_wrong_class_weights(weight, labels, error, message):
    with pytest.raises(error, match=f"^class_weight: {message}"):
        class_weights(weight, np.array(labels))


def test_class_names_go_in_and_come_out(digits_like):
    x, y = digits_like
    names = np.array(["cat", "dog", "owl"])[y]
    labels = ClassLabels(names)
    model = md.Sequential([md.Dense(3)], rng=0).compile(metrics=["accuracy"])
    model.fit(x, labels.encode(names), epochs=30, verbose=0)
    decoded = labels.decode(model.predict(x))
    assert (decoded == names).mean() == pytest.approx(model.evaluate(x, y)["accuracy"])
