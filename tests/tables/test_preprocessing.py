"""TablePreprocessor: the outcome of each kind of column, to the last bit the same after saving, copying and export."""

import copy
import datetime as dt
import json
import math
import os
import pickle
import re
import subprocess
import symtable
import sys

import numpy as np
import pytest
from frames import LIBRARIES, frame_of
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense.files.codec import Decoder, Encoder
from minidense.tables.preprocessing import _sources

nan = np.nan
random = np.random.default_rng(0)


def clipped(z):
    return z / math.sqrt(1 + (z / 3) ** 2)


def fitted(column, **arguments):
    return md.TablePreprocessor(dtype="float64", **arguments).fit({"c": column})


def outcome(table, column):
    return table.transform({"c": column}).tolist()


# ------------------------------------------------------------------ numbers


def test_numbers_are_scaled_by_median_and_quartiles_and_clipped_smoothly():
    table = fitted([1.0, 2.0, 3.0, 4.0, 100.0])  # median 3, quartiles 2 and 4
    found = outcome(table, [3.0, 4.0, -7.0, 103.0, 1e300, -1e300, nan])
    expected = [0.0, clipped(0.5), clipped(-5.0), clipped(50.0), 3.0, -3.0, 0.0]
    np.testing.assert_allclose(np.ravel(found), expected, rtol=4e-16)
    assert table.feature_names_out_ == ("c",)


def test_half_the_range_where_the_quartiles_are_equal_and_0_for_a_constant():
    table = fitted([0] * 9 + [4])
    np.testing.assert_allclose(outcome(table, [0, 4]), [[0], [clipped(2.0)]], rtol=4e-16)
    constant = fitted([7.0, 7.0])
    assert outcome(constant, [7, 1e300, -1e308, None]) == [[0], [0], [0], [0]]
    assert "0, for it is constant" in constant.explain()


@pytest.mark.parametrize(
    "values", [[-1.7e308, 0, 1.7e308], [-1.7e308] * 2 + [1.7e308] * 2, [0, 5e-324], [0, 1e-310, 1]]
)
def test_the_largest_and_the_smallest_numbers(values):
    found = np.ravel(outcome(fitted(values), [*values, 1.7e308, -1.7e308]))
    assert np.isfinite(found).all()
    assert (np.abs(found) <= 3).all()
    assert (np.diff(found[: len(values)]) >= 0).all()


def test_a_range_that_no_number_has():
    table = fitted([-1.7e308] * 2 + [1.7e308] * 2)
    low, high = np.ravel(outcome(table, [-1.7e308, 1.7e308]))
    assert low < 0 < high
    assert type(table).from_config(table.get_config()).fitted == table.fitted


@given(st.lists(st.floats(-1e9, 1e9) | st.just(nan), min_size=1, max_size=20))
def test_numbers_keep_their_order(values):
    table = fitted(values)
    found = np.array(outcome(table, values))[:, 0]
    present = ~np.isnan(values)
    order = np.argsort(np.array(values)[present])
    assert (np.diff(found[present][order]) >= 0).all()
    assert (found[~present] == 0).all()
    assert (np.abs(found) <= 3).all()


def test_gaps_in_training_have_an_indicator_and_others_are_the_median():
    table = fitted([1.0, None, 3.0])
    assert table.feature_names_out_ == ("c", "c missing")
    assert outcome(table, [2.0, None]) == [[0, 0], [0, 1]]
    assert outcome(table, [None, None]) == [[0, 1], [0, 1]]
    assert outcome(fitted([1.0, 2.0, 3.0]), [2.0, nan]) == [[0], [0]]
    assert outcome(fitted([5.0, None]), [5.0, 9.0, None]) == [[0, 0], [0, 0], [0, 1]]


def test_timestamps_survive():
    seconds = 1.7e9 + np.arange(100)  # in float32 they are all the same
    found = md.TablePreprocessor().fit_transform({"c": seconds})
    expected = [clipped((i - 49.5) / 49.5) for i in range(100)]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)  # of the cast to float32
    dates = np.datetime64("2024-01-01", "us") + np.arange(100).astype("m8[us]")
    found = md.TablePreprocessor().fit_transform({"c": dates})
    np.testing.assert_allclose(found[:, 0], expected, atol=0.03)  # a float64 of 1.7e9 has steps of 0.24 microseconds


def test_dates_and_time_spans_are_numbers():
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(5)]
    expected = fitted(range(5))
    table = fitted(days)
    np.testing.assert_allclose(outcome(table, days), outcome(expected, range(5)), rtol=1e-15)
    assert outcome(table, np.array(days, "M8[s]")) == outcome(table, days)
    assert outcome(table, [None] * 2) == [[0], [0]]
    assert "(x - 2020-01-03T00:00:00) / 172800 s" in table.explain()
    spans = [day - days[0] for day in days]
    np.testing.assert_allclose(outcome(fitted(spans), spans), outcome(expected, range(5)), rtol=1e-15)
    assert "(x - 172800 s) / 172800 s" in fitted(spans).explain()
    zoned = [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]
    with pytest.raises(TypeError, match="x: column 'c': expected dates, as in fit, got dates with a time zone"):
        outcome(table, zoned)


# ------------------------------------------------------------------ categories


@pytest.mark.parametrize("values", [["a", "b", "c"], ["c", "a", "b", "a"]])
def test_categories_are_one_hot_in_sorted_order(values):
    table = fitted(values)
    assert outcome(table, ["c", "a", "b", None, "other", ""]) == [*np.eye(3)[[2, 0, 1]].tolist(), *[[0, 0, 0]] * 3]
    assert table.feature_names_out_ == ("c=a", "c=b", "c=c")


def test_two_categories_are_one_column():
    table = fitted(["m", "f", None])
    assert outcome(table, ["f", "m", None, "x"]) == [[-1], [1], [0], [0]]
    assert table.feature_names_out_ == ("c=m",)


def test_booleans_are_two_categories():
    table = fitted([True, False, None])
    assert outcome(table, [False, True]) == [[-1], [1]]
    assert outcome(table, [0, 1, 2, None]) == [[-1], [1], [0], [0]]  # booleans of a file are often numbers
    assert table.feature_names_out_ == ("c=1",)
    assert "-1 for False, 1 for True" in table.explain()
    assert outcome(fitted([0, 1]), [False, True]) == outcome(fitted([0, 1]), [0, 1])  # numbers stay numbers
    assert outcome(fitted([True, True]), [True, False]) == [[0], [0]]


def test_a_single_category_tells_something_only_beside_gaps():
    assert outcome(fitted(["a", "a"]), ["a", "b", None]) == [[0], [0], [0]]
    assert outcome(fitted(["a", None]), ["a", "b", None]) == [[1], [0], [0]]


def test_an_empty_string_and_bytes_are_categories():
    table = fitted(["", "a", "b"])
    assert outcome(table, ["", "a", None]) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert outcome(table, np.array([b"b"])) == [[0, 0, 1]]


def test_the_most_categories_that_are_one_hot():
    names = [f"town {i:03}" for i in range(500)]
    assert len(fitted(names[:30]).feature_names_out_) == 30
    assert fitted(names[:30]).embedded_ == {}
    table = md.TablePreprocessor().fit({"c": names, "d": [*range(499), None], "e": names[::-1]})
    assert table.feature_names_out_ == ("d", "d missing", "c", "e")
    assert table.embedded_ == {2: 501, 3: 501}
    found = table.transform({"c": [*names[:2], None, "other"], "d": [0] * 4, "e": names[-4:]})
    assert found[:, 2:].tolist() == [[1, 497], [2, 498], [0, 499], [0, 500]]
    assert md.TablePreprocessor(max_one_hot=2).fit({"c": ["a", "b", "c"]}).embedded_ == {0: 4}


def test_numbers_as_categories():
    codes = [30, 10, 20, None]
    table = fitted(codes, categorical=["c"])
    assert table.feature_names_out_ == ("c=10", "c=20", "c=30")
    assert outcome(table, [10, 20.0, 25, None, 99]) == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    array = md.TablePreprocessor(categorical=[1]).fit(np.array([[5, 1], [6, 2], [7, 3]]))
    assert array.feature_names_out_ == ("0", "1=1", "1=2", "1=3")
    embedded = md.TablePreprocessor(2, categorical=("c",)).fit({"c": codes})
    assert embedded.transform({"c": [10, 30, 31, None, -5]})[:, 0].tolist() == [1, 3, 0, 0, 0]
    with pytest.raises(ValueError, match=r"categorical: x has no column 'C'. Did you mean 'c'\? It has \['c'\]"):
        fitted(codes, categorical=["C"])
    pandas = pytest.importorskip("pandas")
    said = md.TablePreprocessor().fit(pandas.DataFrame({"c": pandas.Categorical([30, 10, 20, None])}))
    assert said.feature_names_out_ == table.feature_names_out_
    assert said.transform({"c": [30]}).tolist() == [[0, 0, 1]]


# ------------------------------------------------------------------ a column, and a table, of any kind


def test_a_column_that_is_all_missing():
    for column in ([None, None], [nan, nan], np.array(["NaT"] * 2, "M8[s]")):
        table = fitted(column)
        assert outcome(table, column) == outcome(table, ["a", "b"]) == outcome(table, [1, 2]) == [[0], [0]]
        assert table.feature_names_out_ == ("c",)
    for column in (["a", "b", "c"], [1.0, 2.0, 3.0], [True, False], [dt.date(2000, 1, 1), dt.date(2000, 1, 2)]):
        table = fitted(column)
        assert not np.any(outcome(table, [None]))
        assert not np.any(outcome(table, [nan]))


@pytest.mark.parametrize("rows", [1, 10])
def test_few_rows(rows):
    x = {"a": np.arange(rows), "b": ["x"] * rows, "c": [None] * rows, "d": [True] * rows}
    found = md.TablePreprocessor().fit_transform(x)
    assert found.shape == (rows, 4)
    assert np.isfinite(found).all()
    assert not found[:, 1:].any()


def test_2000_columns():
    x = random.normal(size=(30, 2000))
    found = md.TablePreprocessor(dtype="float64").fit_transform(x)
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    z = (x - median) / (high - low)
    np.testing.assert_allclose(found, z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12, atol=1e-14)


def test_columns_are_scaled_in_groups_as_they_are_alone():
    x = random.normal(size=(400_000, 5))  # groups of 2
    x[0, 3] = nan
    found = md.TablePreprocessor().fit_transform(x)
    alone = [md.TablePreprocessor().fit_transform(x[:, i : i + 1]) for i in range(5)]
    assert np.array_equal(found, np.hstack(alone))


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        ({"c": ["a"]}, TypeError, "x: column 'c': expected numbers, as in fit, got text."),
        ({"c": [np.inf]}, ValueError, "x: row 0, column 'c' is inf: remove or impute it."),
        ({"d": [1]}, ValueError, "expected the columns of fit, ['c']; 'c' missing and 'd' not known."),
        ({"c": [1], "d": [1]}, ValueError, "'d' not known. Leave out what is not known."),
        ([[1, 2]], ValueError, "x: expected 1 columns, as in fit, got 2."),
        ({"c": []}, ValueError, "x: expected at least one row, got none."),
        ({"c": [1, "a"]}, TypeError, "x: column 'c': expected values of one kind, got 1 (numbers) in row 0 and 'a'"),
    ],
)
def test_other_tables(x, kind, message):
    table = fitted([1.0, 2.0])
    with pytest.raises(kind, match=re.escape(message)):
        table.transform(x)


def test_text_that_was_numbers_or_dates():
    with pytest.raises(TypeError, match="x: column 'c': expected text, as in fit, got numbers"):
        outcome(fitted(["1", "2"]), [1, 2])
    with pytest.raises(TypeError, match="x: column 'c': expected dates, as in fit, got text"):
        outcome(fitted(np.array(["2020"], "M8[s]")), ["2020"])


def test_a_constant_column_is_still_looked_at():
    with pytest.raises(TypeError, match="x: column 'c': expected text, as in fit, got numbers"):
        outcome(fitted(["a", "a"]), [1])
    for column in (["a", "a"], [1, 1], [None]):
        with pytest.raises(ValueError, match="x: row 0, column 'c' is inf"):
            outcome(fitted(column), [np.inf])


def test_a_failed_fit_changes_nothing():
    table = fitted([1.0, 2.0])
    before = outcome(table, [1.5]), table.get_config()
    with pytest.raises(ValueError, match="inf"):
        table.fit({"d": ["a"], "c": [np.inf]})
    assert (outcome(table, [1.5]), table.get_config()) == before


def test_before_fit():
    table = md.TablePreprocessor()
    for use in (table.explain, table.as_numpy, lambda: table.transform([[1]])):
        with pytest.raises(RuntimeError, match=r"call fit\(x\) first"):
            use()
    assert not any(hasattr(table, name) for name in ("feature_names_in_", "feature_names_out_", "embedded_"))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"max_one_hot": 1}, ValueError, "max_one_hot: expected a whole number of at least 2"),
        ({"max_one_hot": 2.5}, TypeError, "max_one_hot: expected a whole number"),
        ({"categorical": "zip"}, TypeError, "categorical: expected a list, got 'zip'"),
        ({"dtype": "int8"}, ValueError, "dtype"),
        ({"onehot": 3}, TypeError, "takes no keyword 'onehot'. Did you mean 'max_one_hot'?"),
    ],
)
def test_arguments(arguments, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        md.TablePreprocessor(**arguments)


def test_arguments_may_be_set_later():
    table = fitted(["a", "b", "c"])
    assert repr(table) == "TablePreprocessor(dtype='float64')"
    table.dtype = "float32"
    assert table.transform({"c": ["a"]}).dtype == np.float32
    table.max_one_hot = 2
    assert table.embedded_ == {}  # from the next fit on
    assert table.fit({"c": ["a", "b", "c"]}).embedded_ == {0: 4}


def test_what_is_done_is_explained():
    towns = [f"town {i}" for i in range(40)]
    x = {"age": [20, 30, 40, None] * 10, "town": towns, "zip": ["1", "2.5", "-3", None] * 10, "b": [False, True] * 20}
    assert md.TablePreprocessor().fit(x | {"since": [dt.date(2020, 1, 1)] * 40}).explain().splitlines() == [
        "column  kind      becomes",
        "age     numbers   (x - 30) / 20, within -3 and 3; 1 where missing",
        "town    text      a number from 1 to 40 for its value, 0 for others: "
        "'town 0', 'town 1', 'town 10', 'town 11', 'town 12', and 35 more",
        "zip     text      3 columns of 0 and 1: '-3', '1', '2.5'; these are numbers as text",
        "b       booleans  -1 for False, 1 for True",
        "since   dates     0, for it is constant",
    ]


# ------------------------------------------------------------------ the same bits, wherever it goes

N = 60


def mixed(n=N):
    """Columns of all kinds, with gaps."""
    rng = np.random.default_rng(3)
    gaps = rng.random(n) < 0.2
    return {
        "age": np.where(gaps, nan, rng.normal(40, 20, n)),
        "count": rng.integers(0, 10**12, n),
        "town": [None if gap else name for gap, name in zip(gaps, rng.choice(["Ulm", "Kiel", "Bonn"], n), strict=True)],
        "sex": rng.choice(["f", "m"], n).tolist(),
        "id": [f"№ {i}" for i in range(n)],
        "member": (rng.random(n) < 0.5).tolist(),
        "since": [None if gap else dt.datetime(2020, 1, 1) + dt.timedelta(seconds=i**4) for i, gap in enumerate(gaps)],
        "for": [dt.timedelta(hours=int(i)) for i in rng.integers(0, 99, n)],
        "empty": [None] * n,
        'a "quote"\n': [1.0] * n,
        "zip": rng.integers(0, 45, n),
    }


@pytest.fixture(scope="module")
def table():
    return md.TablePreprocessor(categorical=["zip"]).fit(mixed())


def picture(table):
    return json.dumps(table.fitted), table.feature_names_in_, table.feature_names_out_, table.embedded_, repr(table)


def saved(table):
    encoder = Encoder()
    data = json.loads(json.dumps(encoder.value(table, "x"), allow_nan=False))
    decoder = Decoder(encoder.arrays, {})
    made = decoder.value(data, "x")
    assert not decoder.unused
    return made


TWINS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda table: pickle.loads(pickle.dumps(table)),
    "config": lambda table: type(table).from_config(table.get_config()),
    "a file": saved,
    "fitted again": lambda table: copy.copy(table).fit(mixed()),
}


@pytest.mark.parametrize("twin", TWINS)
def test_twins_give_the_same_bits(twin, table):
    expected, before = table.transform(mixed()), picture(table)
    made = TWINS[twin](table)
    assert made.transform(mixed()).tobytes() == expected.tobytes()
    assert picture(made) == picture(table) == before


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_give_the_bits_of_a_dict_in_any_order_of_columns(library, table):
    columns = mixed()
    columns["since"] = np.array(columns["since"], "M8[us]")
    columns["for"] = np.array(columns["for"], "m8[us]")
    expected = table.transform(columns)
    assert expected.tobytes() == table.transform(mixed()).tobytes()
    backwards = frame_of(library, dict(reversed(columns.items())))
    assert table.transform(backwards).tobytes() == expected.tobytes()
    assert md.TablePreprocessor(categorical=["zip"]).fit(frame_of(library, columns)).fitted == table.fitted


def test_rows_of_objects_give_the_bits_of_a_dict(table):
    rows = [list(row) for row in zip(*mixed().values(), strict=True)]
    assert table.transform(rows).tobytes() == table.transform(mixed()).tobytes()
    assert table.transform(np.array(rows, object)).tobytes() == table.transform(mixed()).tobytes()


def test_a_row_alone_has_the_bits_it_has_among_others(table):
    columns, whole = mixed(), table.transform(mixed())
    for i in range(N):
        assert (
            table.transform({name: column[i : i + 1] for name, column in columns.items()}).tobytes()
            == whole[i].tobytes()
        )


def test_what_is_given_is_not_changed(table):
    columns = {name: np.array(column) for name, column in mixed().items()}
    for column in columns.values():
        column.flags.writeable = False
    before = pickle.dumps(columns)
    table.transform(columns)
    md.TablePreprocessor().fit(columns)
    assert pickle.dumps(columns) == before


FORGED = [
    None,
    {},
    {"name": "c"},
    {"name": "c", "kind": "other"},
    {"name": "c", "kind": ["numbers"]},
    {"name": None, "kind": "nothing"},
    {"name": ["c"], "kind": "nothing"},
    {"name": True, "kind": "nothing"},
    {"name": "c", "kind": "numbers", "median": 1, "spread": 1.0, "missing": True},
    {"name": "c", "kind": "numbers", "median": nan, "spread": 1.0, "missing": True},
    {"name": "c", "kind": "numbers", "median": 0.0, "spread": -1.0, "missing": True},
    {"name": "c", "kind": "numbers", "median": 0.0, "spread": math.inf, "missing": True},
    {"name": "c", "kind": "numbers", "median": 0.0, "spread": 1.0, "missing": 5},
    {"name": "c", "kind": "numbers", "median": 0.0, "spread": 1.0},
    {"name": "c", "kind": "text", "median": 0.0, "spread": 1.0, "missing": True},
    {"name": "c", "kind": "text", "values": [], "embedded": False},
    {"name": "c", "kind": "text", "values": "ab", "embedded": False},
    {"name": "c", "kind": "text", "values": ["b", "a"], "embedded": False},
    {"name": "c", "kind": "text", "values": ["a", "a"], "embedded": False},
    {"name": "c", "kind": "text", "values": ["a", 1.0], "embedded": False},
    {"name": "c", "kind": "text", "values": ["a", "b"], "embedded": 1},
    {"name": "c", "kind": "booleans", "values": ["a", "b"], "embedded": False},
    {"name": "c", "kind": "numbers", "values": [0.0, nan], "embedded": False},
    {"name": "c", "kind": "numbers", "values": [0.0, math.inf], "embedded": False},
    {"name": "c", "kind": "nothing", "values": [0.0, 1.0], "embedded": False},
    {"name": "c", "kind": "nothing", "more": 0},
]


@pytest.mark.parametrize("column", FORGED)
def test_a_forged_state_is_refused(column):
    with pytest.raises(ValueError, match="fitted"):
        md.TablePreprocessor(fitted=[{"name": "a", "kind": "nothing"}, column])


def test_other_forged_states_are_refused():
    for state in ([], "text", {}, 3, [{"name": "a", "kind": "nothing"}] * 2):
        with pytest.raises(ValueError, match="fitted"):
            md.TablePreprocessor(fitted=state)


# ------------------------------------------------------------------ as a file of its own


def exported(table):
    namespace = {}
    exec(compile(table.as_numpy(), "the exported file", "exec", dont_inherit=True), namespace)
    return namespace["transform"]


def test_an_exported_file_gives_the_same_bits(table):
    transform, columns = exported(table), mixed()
    expected = table.transform(columns)
    assert transform(columns).tobytes() == expected.tobytes()
    assert transform(columns).dtype == expected.dtype
    assert exported(saved(table))(columns).tobytes() == expected.tobytes()
    wide = copy.deepcopy(table)
    wide.dtype = "float64"
    assert exported(wide)(columns).tobytes() == wide.transform(columns).tobytes()
    for library in LIBRARIES[1:]:
        columns["since"], columns["for"] = np.array(columns["since"], "M8[us]"), np.array(columns["for"], "m8[us]")
        assert transform(frame_of(library, columns)).tobytes() == expected.tobytes()


def test_an_exported_file_says_what_is_wrong(table):
    transform = exported(table)
    wrong = [{}, [[1]], 3, mixed() | {"age": ["a"] * N}, mixed() | {"age": [np.inf] * N}, mixed() | {"more": [0] * N}]
    wrong += [mixed() | {"age": [1, "a"] * (N // 2)}, mixed() | {"town": [1j] * N}, mixed() | {"age": [10**400] * N}]
    for x in wrong:
        with pytest.raises((ValueError, TypeError)) as expected:
            table.transform(x)
        with pytest.raises((ValueError, TypeError)) as found:
            transform(x)
        assert (str(found.value), found.type) == (str(expected.value), expected.type)


def test_an_exported_file_needs_numpy_only(table, tmp_path):
    (tmp_path / "table.py").write_text(table.as_numpy(), encoding="utf-8")
    code = (
        "import sys, table; print(table.transform(eval(input())).tolist());"
        "print([name for name in sys.modules if name.startswith(('minidense', 'pandas'))])"
    )
    row = {name: list(column[:1]) for name, column in mixed().items()}
    row |= {"age": [31.5], "count": [3], "zip": [7], "since": [None], "for": [None]}
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=repr(row),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "PYTHONUTF8": "1"},
    )
    assert run.stdout.splitlines() == [repr(table.transform(row).tolist()), "[]"]


def test_names_and_values_cannot_end_a_string_of_an_exported_file():
    names = ["'''", '"""', "\\", "\n", "{x}", "__import__('os')", "\ud800"]
    x = dict.fromkeys(names, names)
    table = md.TablePreprocessor().fit(x)
    assert exported(table)(x).tolist() == table.transform(x).tolist()


def test_the_names_in_an_exported_file_are_not_those_of_an_exported_network(table, tmp_path):
    def names(source):
        table = symtable.symtable(source, "a file", "exec")
        return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()}

    layers = [md.Dense(4), md.GELU(), md.Dense(4), md.Sigmoid(), md.LayerNormalization(), md.Dense(3), md.Softmax()]
    model = md.Sequential(layers, rng=0).build(5)
    model.compile(loss="sparse_categorical_crossentropy")
    model.export_numpy(tmp_path / "model.py")
    of_network = names((tmp_path / "model.py").read_text())
    assert {"predict", "predict_classes", "layers", "CLASS_NAMES"} <= of_network
    assert not names(table.as_numpy()) & of_network


def test_each_name_in_an_exported_file_is_defined_once():
    names = [re.match(r"(?:def |class )?(\w+)", source)[1] for source in _sources("Encoding")]
    assert len(set(names)) == len(names)
    assert {"Encoding", "columns_for", "read", "shown", "listed", "is_missing", "numbers_of"} <= set(names)
    assert "learned" not in names
