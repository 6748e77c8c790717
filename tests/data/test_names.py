"""A model's names: learned once, compared with the data that come later, and errors that name what differs."""

import re

import numpy as np
import pytest
from frames import LIBRARIES, frame_of
from hypothesis import given
from hypothesis import strategies as st

from minidense.data.names import Names

TWO = Names(("age", "fare"))


def columns(*names):
    return {name: [1.0, 2.0] for name in names}


# ------------------------------------------------------------------ features


@pytest.mark.parametrize("library", LIBRARIES)
def test_only_frames_whose_columns_are_strings_have_names(library):
    assert Names().columns_of(frame_of(library, columns("b", "a"))) == ("b", "a")
    for x in (np.ones((2, 2)), [[1.0]], None):
        assert TWO.columns_of(x) is None
    if library == "pandas":
        assert TWO.columns_of(frame_of(library, {0: [1.0], "age": [2.0]})) is None
        assert TWO.columns_of(frame_of(library, {"age": [2.0]})["age"]) is None


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("fare", "age"),
            "x: columns in another order: expected ['age', 'fare'], got ['fare', 'age'], the first that differs is "
            "column 0; use x[list(model.feature_names)].",
        ),
        (("age",), "x: expected the columns that the model was trained on, ['age', 'fare']; 'fare' missing."),
        (("age", "Fare"), "; 'fare' missing and 'Fare' not known."),
        (("town", "age", "fare"), "; 'town' not known. Use x[list(model.feature_names)]."),
    ],
)
def test_other_columns_are_named(library, given, message):
    frame = frame_of(library, columns(*given))
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        TWO.columns_of(frame)
    if "Use x" in message or "use x" in message:
        assert TWO.columns_of(frame[list(TWO.features)]) == TWO.features


def test_many_and_long_names_stay_short_in_errors():
    names = tuple(f"{'x' * 90}{i}" for i in range(500))
    with pytest.raises(ValueError, match="the first that differs is column 498") as caught:
        Names(names).columns_of(frame_of("a stand-in", columns(*names[:498], names[499], names[498])))
    assert len(str(caught.value)) < 500


def test_two_columns_of_a_name():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="x: two columns are named 'b'; rename one of them"):
        Names().columns_of(pandas.DataFrame(np.ones((2, 3)), columns=["a", "b", "b"]))


def test_the_first_names_stay():
    assert Names().with_features(("a",)) == Names(("a",))
    assert TWO.with_features(None) is TWO
    assert TWO.with_features(("b",)) is TWO


# ------------------------------------------------------------------ classes


def forms(names):
    return [np.array(names), np.array(names, object), np.array(names, "S"), np.array(names)[:, None]]


@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_names_are_numbered_in_sorted_order(words):
    classes = sorted(set(words))
    for y in forms(words):
        learned = Names().with_classes(y, len(classes))
        assert learned.classes == tuple(classes)
        assert [classes[i] for i in learned.encode(y)] == words


def test_numbers_are_remembered_as_numbers():
    for y in (np.array([0, 1]), np.array([True, False]), np.eye(2)):
        assert Names().with_classes(y, 2) == Names(numbered=True)
        assert Names(numbered=True).encode(y) is y
        assert Names().encode(y) is y


NAMED, NUMBERED = Names(classes=("cat", "dog")), Names(numbered=True)


@pytest.mark.parametrize(
    ("names", "y", "error", "message"),
    [
        (
            Names(),
            ["a", "b", "c"],
            ValueError,
            r"outputs for 2 classes, but y has 3: \['a', 'b', 'c'\]\. Give the last",
        ),
        (Names(), ["a", "a"], ValueError, r"outputs for 2 classes, but y has 1: \['a'\]\. If rows .* md.ClassLabels"),
        (Names(), [["a", "b"], ["b", "a"]], ValueError, r"one class name for each row, shape \(n,\), got \(2, 2\)"),
        (NAMED, ["dog", "yak"], ValueError, r"'yak' in row 1 is not one of the classes \['cat', 'dog'\]"),
        (NAMED, [0, 1], TypeError, r"expected names of the classes \['cat', 'dog'\], on which .* got dtype int64"),
        (NUMBERED, ["cat", "dog"], TypeError, r"expected whole numbers, on which the model was trained, got dtype <U3"),
        (NAMED, np.array([{}], object), TypeError, r"expected class names or whole numbers, got \{\} in row 0"),
    ],
)
def test_labels_that_are_none_of_the_models(names, y, error, message):
    y = np.asarray(y)
    with pytest.raises(error, match=f"^y: .*{message}"):
        names.with_classes(y, 2).encode(y)


def test_names_of_one_batch_are_not_taken_for_all():
    with pytest.raises(ValueError, match="does not know the names of the classes yet"):
        Names().encode(np.array(["a", "b"]))


# ------------------------------------------------------------------ differences


def test_differences_are_of_what_both_know():
    assert TWO.differences(Names()) == Names().differences(TWO) == NAMED.differences(NAMED) == []
    (found,) = TWO.differences(Names(("fare", "age")))
    assert found == "the columns of x: ['fare', 'age'] in the file, ['age', 'fare'] here"
    (found,) = NAMED.differences(NUMBERED)
    assert found == "the classes of y: numbers in the file, ['cat', 'dog'] here"
