"""The user's data becomes checked rows, or an error that says which row, which column, and what to do."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_disk import OnDisk
from strategies import seeds

from minidense.data import arrays
from minidense.data.arrays import Blockwise, as_features, check_features, check_weights, part

# ------------------------------------------------------------------ as_features


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float32", "float64"])
def test_an_array_of_numbers_is_not_copied(dtype):
    x = np.ones((3, 2), dtype)
    assert as_features(x) is x
    assert np.shares_memory(as_features(x[::2, :1]), x)


def test_lists_and_scalars_become_arrays():
    assert np.array_equal(as_features([[1, 2.5], [3, True]]), [[1, 2.5], [3, 1]])
    assert as_features(3).shape == ()


class Frame(dict):
    """What data frames of pandas and polars have in common: named columns, an object array if their types differ."""

    columns = property(list)

    def to_numpy(self):
        return np.column_stack([np.array(column, object) for column in self.values()])

    def __array__(self, dtype=None, copy=None):
        return self.to_numpy().astype(dtype or object)


@pytest.mark.parametrize("library", ["a stand-in", "pandas", "polars"])
def test_frames_of_numbers_and_booleans(library):
    frame_of = Frame if library == "a stand-in" else pytest.importorskip(library).DataFrame
    frame = frame_of({"a": [1.5, 2.5], "b": [True, False], "c": [3, 4]})
    assert np.array_equal(as_features(frame), [[1.5, 1, 3], [2.5, 0, 4]])
    wrong = frame_of({"age": [1.0, 2.0], "town": ["a", "b"], "name": ["x", "y"]})
    with pytest.raises(TypeError, match=r"x: expected real numbers, got objects .* in the columns 'town', 'name'\."):
        as_features(wrong)


class Sparse:
    def toarray(self):
        raise AssertionError("nothing is converted unasked")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([["a"]], TypeError, r"x: expected real numbers, got strings \(dtype <U1\)"),
        ([[b"a"]], TypeError, "got bytes"),
        ([[1j]], TypeError, r"got complex numbers \(dtype complex128\)"),
        ([[None]], TypeError, r"got objects \(dtype object\)"),
        (np.array(["2020-01-01"], "datetime64[D]"), TypeError, r"got something else \(dtype datetime64"),
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
