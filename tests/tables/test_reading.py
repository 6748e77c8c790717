"""Columns of any table: the same kinds and values from frames, dicts, arrays and lists; errors that name the column."""

import datetime as dt
import re
from decimal import Decimal

import numpy as np
import pytest
from frames import LIBRARIES, frame_of
from hypothesis import given
from hypothesis import strategies as st

from minidense.tables.reading import columns_for, columns_of, read

nan = np.nan
DAY = 86400.0
BERLIN = dt.timezone(dt.timedelta(hours=2))


def values_of(found):
    kind, values = found
    return kind, values if isinstance(values, list) else [None if v != v else v for v in values.tolist()]


COLUMNS = {
    "ints": ([3, 4], "numbers", [3.0, 4.0]),
    "numbers and gaps": ([3, None, nan, 0.5], "numbers", [3.0, None, None, 0.5]),
    "unsigned": (np.array([2**64 - 1], np.uint64), "numbers", [2.0**64]),
    "decimals": ([Decimal("0.5"), None], "numbers", [0.5, None]),
    "booleans": ([True, False], "booleans", [1.0, 0.0]),
    "booleans and gaps": ([True, None, nan], "booleans", [1.0, None, None]),
    "text": (["a", "", "a"], "text", ["a", "", "a"]),
    "text and gaps": (["a", None, nan, np.float32("nan")], "text", ["a", None, None, None]),
    "an array of text": (np.array(["a", "bc"]), "text", ["a", "bc"]),
    "strings of NumPy": (np.array(["a", "bc"], np.dtypes.StringDType()), "text", ["a", "bc"]),
    "strings and gaps": (np.array(["a", nan], np.dtypes.StringDType(na_object=nan)), "text", ["a", None]),
    "bytes": ([b"a", "ü".encode(), None, b"\xff"], "text", ["a", "ü", None, "\\xff"]),
    "an array of bytes": (np.array([b"a"]), "text", ["a"]),
    "days": ([dt.date(1970, 1, 2), None], "dates", [DAY, None]),
    "days and times": ([dt.date(1970, 1, 2), dt.datetime(1970, 1, 1, 0, 0, 1, 500000)], "dates", [DAY, 1.5]),
    "dates of NumPy": (np.array(["1970-01-02", "NaT", "1969-12-31T12"], "M8[h]"), "dates", [DAY, None, -DAY / 2]),
    "months": (np.array(["1970-02"], "M8[M]"), "dates", [31 * DAY]),
    "before 1970": (np.array([-1], "M8[ms]"), "dates", [-0.001]),
    "with a zone": ([dt.datetime(1970, 1, 1, 3, tzinfo=BERLIN)], "dates with a time zone", [3600.0]),
    "time spans": ([dt.timedelta(days=1, microseconds=250000), None], "time spans", [DAY + 0.25, None]),
    "time spans of NumPy": (np.array([90], "m8[m]"), "time spans", [5400.0]),
    "objects of NumPy": (np.array([np.datetime64("1970-01-02"), None], object), "dates", [DAY, None]),
    "steps of 25 s": (np.array([2], "M8[25s]"), "dates", [50.0]),
    "objects of NumPy, spans": (np.array([np.timedelta64(3, "s"), None], object), "time spans", [3.0, None]),
    "masked": (np.ma.array([1, 2, 3], mask=[0, 1, 0]), "numbers", [1.0, None, 3.0]),
    "masked dates": (np.ma.array(np.array([10**9, 0], "M8[ns]"), mask=[0, 1]), "dates", [1.0, None]),
    "masked text": (np.ma.array(["a", "b"], mask=[1, 0]), "text", [None, "b"]),
    "only NaN": ([nan, nan], "nothing", [None, None]),
    "only None": ([None], "nothing", [None]),
    "only NaT": (np.array(["NaT"], "M8[s]"), "nothing", [None]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_kinds_and_values(case):
    column, kind, values = COLUMNS[case]
    assert values_of(read(column, "c")) == (kind, values)


def test_the_kinds_of_pandas():
    pandas = pytest.importorskip("pandas")
    for column, kind, values in [
        (pandas.Series([1, None], dtype="Int64"), "numbers", [1.0, None]),
        (pandas.Series([0.5, None], dtype="Float64"), "numbers", [0.5, None]),
        (pandas.Series([True, None], dtype="boolean"), "booleans", [1.0, None]),
        (pandas.Series(["a", None], dtype="string"), "text", ["a", None]),
        (pandas.Series(["a", None], dtype=object), "text", ["a", None]),
        (pandas.Series(["a", None, "a"], dtype="category"), "text", ["a", None, "a"]),
        (pandas.Series([7, None], dtype="category"), "numbers", [7.0, None]),
        (pandas.to_datetime(pandas.Series(["1970-01-02", None])), "dates", [DAY, None]),
        (pandas.to_datetime(pandas.Series(["1970-01-02", None])).astype(object), "dates", [DAY, None]),
        (
            pandas.Series(pandas.to_datetime(["1970-01-01T03", None])).dt.tz_localize("Europe/Kyiv"),
            "dates with a time zone",
            [0.0, None],
        ),
        (pandas.to_timedelta(pandas.Series(["1 day", None])), "time spans", [DAY, None]),
        (pandas.Series([pandas.NA, pandas.NaT], dtype=object), "nothing", [None, None]),
    ]:
        assert values_of(read(column, "c")) == (kind, values)


def test_the_kinds_of_polars():
    polars = pytest.importorskip("polars")
    instants = [dt.datetime(1970, 1, 1, 3), None]
    for column, kind, values in [
        (polars.Series([1, None]), "numbers", [1.0, None]),
        (polars.Series([True, None]), "booleans", [1.0, None]),
        (polars.Series(["a", None]), "text", ["a", None]),
        (polars.Series(["a", None], dtype=polars.Categorical), "text", ["a", None]),
        (polars.Series([b"a", None]), "text", ["a", None]),
        (polars.Series([dt.date(1970, 1, 2), None]), "dates", [DAY, None]),
        (polars.Series(instants), "dates", [3 * 3600.0, None]),
        (polars.Series(instants).dt.replace_time_zone("Europe/Kyiv"), "dates with a time zone", [0.0, None]),
        (polars.Series([dt.timedelta(days=1), None]), "time spans", [DAY, None]),
        (polars.Series([None, None]), "nothing", [None, None]),
    ]:
        assert values_of(read(column, "c")) == (kind, values)
    with pytest.raises(TypeError, match=r"got a LazyFrame; use x\.collect\(\)"):
        columns_of(polars.DataFrame({"a": [1]}).lazy())


@given(st.integers(-(2**50), 2**50))
def test_an_instant_has_the_same_bits_in_any_unit(microseconds):
    date = np.array([microseconds], "M8[us]")
    (expected,) = read(date, "c")[1]
    assert expected == microseconds / 10**6 or abs(expected - microseconds / 10**6) <= np.spacing(abs(expected))
    assert read(date.tolist(), "c")[1] == [expected]
    assert read(np.ma.array(date, mask=[0]), "c")[1] == [expected]
    if abs(microseconds) < 2**63 // 1000:
        assert read(date.astype("M8[ns]"), "c")[1] == [expected]
    if microseconds % 10**6 == 0:
        assert read(date.astype("M8[s]"), "c")[1] == [expected]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", 1.5], "expected values of one kind, got 'a' (text) in row 0 and 1.5 (numbers) in row 1. Convert"),
        ([None, True, 2], "got True (booleans) in row 1 and 2 (numbers) in row 2"),
        (["a", nan, 2.0], "got 'a' (text) in row 0 and 2.0 (numbers) in row 2"),
        (["a", b"a"], "got 'a' (text) in row 0 and b'a' (bytes) in row 1"),
        (
            [dt.datetime(2000, 1, 1), dt.datetime(2000, 1, 1, tzinfo=BERLIN)],
            "(dates) in row 0 and a datetime (dates with a time zone) in row 1",
        ),
        ([None, [1]], "expected numbers, text, booleans, dates or time spans, got [1] (list) in row 1."),
        ([1j], "expected numbers, text, booleans, dates or time spans, got dtype complex128."),
        ([None, 1j], "got 1j (complex) in row 1."),
        (np.zeros(2, "V3"), "got dtype |V3."),
    ],
)
def test_what_is_no_column_of_one_kind(column, message):
    column = np.array(column, object) if isinstance(column, list) and None in column else column
    with pytest.raises(TypeError, match=re.escape("x: column 'c': ") + ".*" + re.escape(message)):
        read(column, "c")


def test_infinite_values_and_other_shapes():
    for column in ([0.5, -np.inf], np.array([0, -(10**400)], object)):
        with pytest.raises(ValueError, match=r"x: row 1, column 'c' is -inf: remove or impute it\.$"):
            read(column, "c")
    with pytest.raises(ValueError, match=r"x: column 'c': expected one value for each row, got shape \(2, 1\)"):
        read(np.zeros((2, 1)), "c")
    with pytest.raises(ValueError, match=r"x: column 'c': expected values, rows of equal length"):
        read([[1], [1, 2]], "c")


# ------------------------------------------------------------------ tables

TABLE = {"a": [1.0, 2.0], "b": ["x", "y"]}


@pytest.mark.parametrize("library", [*LIBRARIES, "a dict", "a structured array", "rows", "objects"])
def test_tables_of_any_kind(library):
    tables = {
        "a dict": TABLE,
        "a structured array": np.array([(1.0, "x"), (2.0, "y")], [("a", float), ("b", "U1")]),
        "rows": [[1.0, "x"], (2.0, "y")],
        "objects": np.array([[1.0, "x"], [2.0, "y"]], object),
    }
    columns = columns_of(tables[library] if library in tables else frame_of(library, TABLE))
    assert list(columns) == ([0, 1] if library in ("rows", "objects") else ["a", "b"])
    assert [values_of(read(column, name)) for name, column in columns.items()] == [
        ("numbers", [1.0, 2.0]),
        ("text", ["x", "y"]),
    ]


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        ([1, 2], ValueError, "expected a table, such as an array of shape (n, d), got shape (2,). One row? Use"),
        (np.ones((2, 2, 2)), ValueError, "got shape (2, 2, 2)."),
        (3, ValueError, "got shape ()."),
        ([[1], [1, 2]], ValueError, "x: expected values, rows of equal length"),
        (np.ones((0, 2)), ValueError, "expected at least one row, got none"),
        (np.ones((2, 0)), ValueError, "expected at least one column, got none"),
        ({}, ValueError, "expected at least one column, got none"),
        ({"a": []}, ValueError, "expected at least one row, got none"),
        ({"a": [1, 2], "b": [1]}, ValueError, "expected columns of equal length, got 2 values in 'a' and 1 in 'b'"),
        ({"a": 3}, TypeError, "x: column 'a': expected a list or an array of values, got 3"),
        ({"a": np.float64(3)}, TypeError, "x: column 'a': expected a list or an array of values"),
        ({"a": np.array(3)}, TypeError, "x: column 'a': expected a list or an array of values"),
        ({"a": "text"}, TypeError, "x: column 'a': expected a list or an array of values, got 'text'"),
        ({("a", 1): [1]}, TypeError, "expected columns named by text, got ('a', 1)"),
        ({True: [1]}, TypeError, "expected columns named by text, got True"),
    ],
)
def test_what_is_no_table(x, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        columns_of(x)


def test_two_columns_of_a_name_and_sparse_arrays():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="x: two columns are named 'b'; rename one of them"):
        columns_of(pandas.DataFrame(np.ones((2, 3)), columns=["a", "b", "b"]))
    sparse = type("Sparse", (), {"toarray": None, "shape": (1, 1)})()
    with pytest.raises(TypeError, match=r"x: expected a dense array, got Sparse; use x\.toarray\(\)"):
        columns_of(sparse)


# ------------------------------------------------------------------ columns that were seen before


def test_columns_are_taken_by_name_and_those_of_an_array_by_position():
    assert columns_for({"b": [2], "a": [1]}, ["a", "b"]) == [[1], [2]]
    assert columns_for([[1, 2]], ["a", "b"]) == [1, 2]
    assert columns_for({"b": [1], "a": [2]}, [0, 1]) == [[1], [2]]  # fitted on an array
    assert columns_for({1: [2], 0: [1]}, [0, 1]) == [[1], [2]]
    assert columns_for([[1, 2]], [1, 0]) == [1, 2]  # fitted on a frame with these names


@pytest.mark.parametrize(
    ("x", "names", "message"),
    [
        ({"a": [1]}, "ab", "expected the columns of fit, ['a', 'b']; 'b' missing."),
        ({"a": [1], "b": [1], "c": [1]}, "ab", "'c' not known. Leave out what is not known."),
        ({"a": [1], "B": [1]}, "ab", "'b' missing and 'B' not known."),
        ({5: [1], 7: [1]}, [0, 1], "expected the columns of fit, [0, 1]; 0, 1 missing and 5, 7 not known."),
        ([[1, 2, 3]], "ab", "x: expected 2 columns, as in fit, got 3."),
        ({"a": [1]}, [0, 1], "x: expected 2 columns, as in fit, got 1."),
    ],
)
def test_other_columns(x, names, message):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        columns_for(x, list(names))
