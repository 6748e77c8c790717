"""The user's data becomes checked rows, or an error that says which row, which column, and what to do."""

import decimal
import re

import numpy as np
import pytest
from frames import LIBRARIES, Frame, frame_of
from hypothesis import given
from hypothesis import strategies as st
from on_disk import OnDisk
from strategies import seeds

from minidense.data import arrays
from minidense.data.arrays import Blockwise, as_array, as_features, check_features, check_weights, part
from minidense.data.labels import ClassLabels

# ------------------------------------------------------------------ as_features


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float32", "float64"])
def test_an_array_of_numbers_is_not_copied(dtype):
    x = np.ones((3, 2), dtype)
    assert as_features(x) is x
    assert np.shares_memory(as_features(x[::2, :1]), x)


def test_lists_and_scalars_become_arrays():
    assert np.array_equal(as_features([[1, 2.5], [3, True]]), [[1, 2.5], [3, 1]])
    assert as_features(3).shape == ()


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_of_numbers_and_booleans(library):
    frame = frame_of(library, {"a": [1.5, 2.5], "b": [True, False], "c": [3, 4]})
    assert np.array_equal(as_features(frame), [[1.5, 1, 3], [2.5, 0, 4]])
    wrong = frame_of(library, {"age": [1.0, 2.0], "town": ["a", "b"], "name": ["x", "y"]})
    with pytest.raises(
        TypeError, match=r"^x: expected real numbers, got strings in the columns 'town', 'name'\. Encode"
    ):
        as_features(wrong)


DAYS = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
KINDS = {
    "dates": (DAYS, "days since the first"),
    "time spans": (DAYS - DAYS[0], "such as seconds"),
    "strings": (np.array(["1", "2"]), "Encode strings as numbers"),
    "objects": (np.array([{}, {}], object), "Convert or encode them first"),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("contents", KINDS)
def test_columns_that_are_no_numbers_are_named(library, contents):
    column, advice = KINDS[contents]
    for others in ({}, {"age": [1.0, None]}, {"age": [1, 2], "fare": [True, False]}):
        with pytest.raises(TypeError, match=f"^x: .*got {contents} in the column 'c'.*{advice}"):
            as_features(frame_of(library, {**others, "c": column}))


def test_all_columns_that_are_no_numbers_are_said_at_once():
    frame = Frame({"a": [1.0, 2.0], "town": ["x", "y"], "born": DAYS.tolist(), "name": ["u", None]})
    frame["born"] = DAYS
    message = "got strings in the columns 'town', 'name' and dates in the column 'born'. Encode strings"
    with pytest.raises(TypeError, match=message):
        as_features(frame)


@pytest.mark.parametrize("values", [["s", "m"], [1, 2]])
def test_categories_are_no_numbers(values):
    """Also where their names are numbers, as of months: to be 12 is not to be 12 times 1."""
    pandas = pytest.importorskip("pandas")
    for others in ({}, {"a": [1.0, 2.0]}):
        frame = pandas.DataFrame({**others, "size": pandas.Categorical(values)})
        with pytest.raises(
            TypeError, match=r"got categories in the column 'size'. Encode categories as numbers, as md.Table"
        ):
            as_features(frame)
    with pytest.raises(TypeError, match=r"^sample_weight: expected real numbers, got categories. Encode"):
        check_weights(frame["size"], 2)
    polars = pytest.importorskip("polars")
    for dtype in (polars.Categorical, polars.Enum(["s", "m"])):
        with pytest.raises(TypeError, match="got categories in the column 'size'"):
            as_features(polars.DataFrame({"a": [1.0, 2.0], "size": polars.Series(["s", "m"], dtype=dtype)}))


@pytest.mark.parametrize("others", [{}, {"b": [0.5, 1.5]}, {"b": [True, False]}])
@pytest.mark.parametrize(("dtype", "value"), [("Int64", 7), ("Float64", 7.0), ("boolean", True), ("UInt8", 7)])
def test_nullable_columns(dtype, value, others):
    """pandas.NA is missing; without it the columns are numbers like any others."""
    pandas = pytest.importorskip("pandas")
    whole = pandas.DataFrame({"age": pandas.array([value, value], dtype), **others})
    assert as_features(whole)[:, 0].tolist() == [value, value]
    frame = pandas.DataFrame({"age": pandas.array([value, None], dtype), **others})
    x = as_features(frame)
    assert np.isnan(x[:, 0]).tolist() == [False, True]
    with pytest.raises(ValueError, match=r"^x: row 1, column 'age' is missing, remove or impute it\.$"):
        check_features(x, x.shape[1:], np.dtype("float32"), names=tuple(frame.columns))
    with pytest.raises(ValueError, match=r"sample_weight: .*got nan in row 1"):
        check_weights(frame["age"], 2)
    assert check_weights(whole["age"], 2).tolist() == [value, value]


@pytest.mark.parametrize("library", ["a stand-in", "polars"])
def test_missing_values_of_other_frames(library):
    x = as_features(frame_of(library, {"a": [1.0, 2.0], "b": [True, None], "c": [None, 2]}))
    assert np.array_equal(x, [[1, 1, np.nan], [2, np.nan, 2]], equal_nan=True)


def test_numbers_that_are_too_large_name_their_column():
    x = np.array([[1.0, 1e39]])
    with pytest.raises(ValueError, match=r"x: row 0, column 'fare' is 1e\+39, which overflows float32: scale it down"):
        check_features(x, (2,), np.dtype("float32"), names=("age", "fare"))


def test_an_empty_frame_has_no_rows():
    for columns in ({}, {"a": []}):
        with pytest.raises(ValueError, match=r"expected at least one (row|feature), got shape"):
            as_features(pytest.importorskip("pandas").DataFrame(columns))


# ------------------------------------------------------------------ as_array


def test_labels_of_one_type_become_arrays():
    for y in (["a", "b"], np.array(["a", "b"]), np.array(["a", "b"], object), [["a"], ["b"]], [b"a", b"b"]):
        assert as_array(y).tolist() == np.asarray(y).tolist()
    for y in ([1, True], np.array([1, np.True_], object), [[1, 0.5]]):
        assert as_array(y).dtype.kind in "if"
        assert np.array_equal(as_array(y), y)
    assert as_array(np.array([decimal.Decimal("0.5")], object)).tolist() == [0.5]
    assert as_array([{}, None]).tolist() == [{}, None]  # a loss of the user's may take it
    y = np.arange(3)
    assert as_array(y) is y


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan")])
@pytest.mark.parametrize("form", [list, tuple, lambda y: np.array(y, object), lambda y: [[value] for value in y]])
@pytest.mark.parametrize("value", ["a", b"a", True, 3])
def test_labels_that_are_missing(value, form, missing):
    y = form([value, value, missing, value])
    if form is not list or value not in (True, 3) or missing is None:
        with pytest.raises(
            ValueError, match=r"y: (None|nan|np.float32.nan.) in row 2 is missing: drop that row, or fill"
        ):
            as_array(y) if isinstance(value, str | bytes) or missing is None else ClassLabels(y)


def test_labels_of_several_types():
    for y in (["a", 3], np.array(["a", 3], object), [["a"], [3]]):
        with pytest.raises(
            ValueError, match="y: 3 in row 1 is of type int, and 'a' in row 0 of type str; expected labels of"
        ):
            as_array(y)


class Sparse:
    def toarray(self):
        raise AssertionError("nothing is converted unasked")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([["a"]], TypeError, r"x: expected real numbers, got strings \(dtype <U1\)"),
        ([[b"a"]], TypeError, "got bytes"),
        ([[1j]], TypeError, r"got complex numbers \(dtype complex128\)"),
        (test_lists_and_scalars_become_arrays, TypeError, r"got the function test_\w+; call it: test_\w+\(\)\."),
        ([[None]], TypeError, r"got objects \(dtype object\)"),
        (np.array(["2020-01-01"], "datetime64[D]"), TypeError, r"got dates \(dtype datetime64"),
        (np.ma.array([[1.0]], mask=[[True]]), TypeError, "expected an array without a mask"),
        (Sparse(), TypeError, r"expected a dense array, got Sparse; use x\.toarray\(\)"),
        ([[1, 2], [3]], ValueError, "rows of equal length"),
        (np.ones((0, 3)), ValueError, r"expected at least one row, got shape \(0, 3\)"),
        (np.ones((3, 0)), ValueError, r"expected at least one feature, got shape \(3, 0\)"),
        (OnDisk(np.ones((0, 3))), ValueError, "expected at least one row"),
        (OnDisk(np.array([["a"]])), TypeError, "got strings"),
    ],
)
def test_what_is_no_array_of_numbers(x, error, message):
    with pytest.raises(error, match=message):
        as_features(x)
    with pytest.raises(error, match=r"^validation_data: "):
        as_features(x, "validation_data")


# ------------------------------------------------------------------ Blockwise and part


@given(seed=seeds, n=st.integers(1, 20), cuts=st.lists(st.integers(0, 20), min_size=6, max_size=6))
def test_rows_on_disk_are_those_of_the_array(seed, n, cuts):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(n, 3))
    disk = OnDisk(array)
    rows = as_features(disk)
    assert isinstance(rows, Blockwise)
    assert as_features(rows) is rows
    for cut in zip(cuts[::2], cuts[1::2], strict=True):  # a part of a part of a part
        start, stop = sorted(min(row, len(array)) for row in cut)
        array, rows = part(array, start, stop), part(rows, start, stop)
        assert (rows.shape, rows.dtype, len(rows), rows.ndim) == (array.shape, array.dtype, len(array), 2)
    assert disk.largest == 0  # nothing is read before it is asked for
    order = rng.permutation(len(array))[: 1 + len(array) // 2]
    assert np.array_equal(rows[order], array[order])
    assert disk.largest == len(order)
    assert np.array_equal(rows[1:4], array[1:4])
    assert np.array_equal(np.asarray(rows), array)
    assert np.asarray(rows, "float32").dtype == "float32"


# ------------------------------------------------------------------ check_features


@pytest.mark.parametrize("kind", [np.asarray, OnDisk])
@pytest.mark.parametrize("check_bytes", [1, 100, 10**6])
@given(
    data=st.data(), n=st.integers(1, 12), shape=st.sampled_from([(3,), (2, 2)]), bad=st.sampled_from([np.nan, -np.inf])
)
def test_the_first_number_that_is_not_finite_is_found(kind, check_bytes, data, n, shape, bad):
    x = np.ones((n, *shape))
    places = data.draw(st.lists(st.integers(0, x.size - 1), min_size=1, max_size=3))
    x.flat[places] = bad
    row, *column = np.unravel_index(min(places), x.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHECK_BYTES", check_bytes)
        message = f"x: row {row}, column {', '.join(map(str, column))} is {bad}, remove or impute it."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_features(as_features(kind(x)), shape, np.dtype("float64"))
        check_features(as_features(kind(np.ones_like(x))), shape, np.dtype("float64"))


def test_finite_is_meant_in_the_models_dtype():
    largest = float(np.finfo("float32").max)
    # The sum of its squares overflows, the number does not.
    for dtype in ("float32", "float64"):
        check_features(np.full((2, 2), largest, dtype), (2,), np.dtype("float32"))
    x = np.array([[1, 2], [3, 2 * largest]])
    check_features(x, (2,), np.dtype("float64"))
    with pytest.raises(ValueError, match=r"row 1, column 1 is 6\.8\d*e\+38, which overflows float32: scale it down"):
        check_features(x, (2,), np.dtype("float32"))


@pytest.mark.parametrize(
    ("shape", "expected", "hint"),
    [
        ((4,), (4,), "One sample? Use x[None, :]."),
        ((2, 3), (2, 3), "One sample? Use x[None]."),
        ((5, 2, 2), (4,), "Flatten each sample first: x.reshape(len(x), -1)."),
        ((5,), (1,), "One feature? Use x[:, None]."),
        ((5,), (4,), ""),
        ((5, 3), (4,), "The model was built for another number of features."),
        ((5, 3), (2, 2), ""),
    ],
)
def test_wrong_shapes(shape, expected, hint):
    rows = "(n, " + ", ".join(map(str, expected)) + ")"
    message = f"x: expected shape {rows}, got {shape}.{hint and ' ' + hint}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_features(np.ones(shape), expected, np.dtype("float32"))


# ------------------------------------------------------------------ check_weights


@pytest.mark.parametrize("given", [[2, 0, 1], np.array([2, 0, 1], "float32"), OnDisk(np.array([2, 0, 1]))])
def test_weights_become_float64(given):
    weights = check_weights(given, 3)
    assert weights.dtype == np.float64
    assert weights.tolist() == [2, 0, 1]


def test_weights_are_the_callers_no_more():
    given = np.ones(3)
    checked = check_weights(given, 3)
    assert np.shares_memory(checked, given)
    with pytest.raises(ValueError, match="read-only"):
        checked[0] = 5


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 1], ValueError, r"one weight for each of the 3 rows, shape \(3,\), got \(2,\)"),
        (np.ones((3, 1)), ValueError, r"got \(3, 1\)"),
        (0.5, ValueError, r"got \(\)"),
        ([1, -1, np.nan], ValueError, r"finite weights of at least 0, got -1\.0 in row 1"),
        ([1, 1, np.inf], ValueError, "got inf in row 2"),
        ([0, 0, 0], ValueError, "all weights are 0; there is nothing to learn from"),
        (list("abc"), TypeError, "expected real numbers, got strings"),
    ],
)
def test_wrong_weights(weights, error, message):
    with pytest.raises(error, match=f"^sample_weight: .*{message}"):
        check_weights(weights, 3)


def test_weights_may_all_be_0_where_it_is_said():
    assert check_weights(np.zeros(3), 3, all_zero=True).tolist() == [0, 0, 0]


def test_a_numpy_scalar_is_an_array_without_axes():
    assert as_features(np.float32(3)).shape == ()
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 6\), got \(\)"):
        check_features(as_features(np.float32(3)), (6,), np.dtype("float32"))
