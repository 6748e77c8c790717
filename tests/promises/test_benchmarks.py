"""The benchmarks run. No timing is asserted."""

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_steps(tmp_path, capsys):
    main = runpy.run_path(str(BENCHMARKS / "steps.py"))["main"]
    cases = ["tiny-b1", "adam-b128", "predict-1", "busy"]
    results = main(["--cases", *cases, "--rounds", "1", "--peers", "--json", str(tmp_path / "figures.json")])
    assert json.loads((tmp_path / "figures.json").read_text()) == results
    assert list(results) == cases
    assert set(results["tiny-b1"]) == {"minidense", "floor", "floor + gather", "plain numpy"}
    assert set(results["adam-b128"]) == {"minidense", "floor", "floor + gather"}
    assert {name.split(",")[0] for name in results["busy"]} == {"quiet", "busy"}
    assert "÷ floor" in capsys.readouterr().out


def test_memory(tmp_path):
    main = runpy.run_path(str(BENCHMARKS / "memory.py"))["main"]
    results = main(["--rows", "100", "3000", "--widths", "8", "--json", str(tmp_path / "figures.json")])
    assert json.loads((tmp_path / "figures.json").read_text()) == results
    assert len(results) == 4


class Constant:
    """Predicts the mean, or the first class, and each class with the same probability."""

    fitted = 0

    def __init__(self, kind, seed):
        self.kind = kind

    def fit(self, x, y):
        type(self).fitted += 1
        self.y = y

    def predict(self, x):
        rows = len(next(iter(x.values())))
        return np.full(rows, np.unique(self.y)[0] if self.kind == "classes" else self.y.mean())

    def predict_proba(self, x):
        k = len(np.unique(self.y))
        return np.full((len(next(iter(x.values()))), k), 1 / k)


class Scored(Constant):
    """The same, with an out-of-fold score: a quarter right, or a quarter of the variance explained."""

    fitted = 0
    oof_score_ = 0.25


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The program with stand-ins for a peer and for ours, and a table of its own: 8 rows unknown, 10 "a", 30 "b"."""
    program = runpy.run_path(str(BENCHMARKS / "tables.py"))
    Constant.fitted = Scored.fitted = 0
    make = program["Contestant"]
    program["CONTESTANTS"][:] = [make("peer", Constant, dict), make(program["OURS"], Scored, dict)]
    (tmp_path / "little").mkdir()
    rows = [
        f"{i if i % 7 else 'NA'},{'red' if i % 2 else '?'},{'' if i < 8 else 'a' if i < 18 else 'b'}\n"
        for i in range(48)
    ]
    (tmp_path / "little" / "data.csv").write_text("size, colour,class\n" + "".join(rows))
    monkeypatch.syspath_prepend(tmp_path)
    program["TABLES"].append(program["Table"]("little", "tuning", "classes", "little", "data.csv", "class"))
    program["TABLES"].append(program["Table"]("nowhere", "fresh", "classes", "not_installed", "data.csv", "class"))
    return program


def test_a_table_becomes_columns_with_holes(tables):
    x, y = next(table for table in tables["TABLES"] if table.name == "little").load()
    assert y.tolist() == ["a"] * 10 + ["b"] * 30
    np.testing.assert_array_equal(x["size"], [i if i % 7 else np.nan for i in range(8, 48)])
    assert x["colour"].tolist() == [None, "red"] * 20


def test_a_split_keeps_the_shares_of_the_classes(tables):
    y = np.array(["a"] * 8 + ["b"] * 20 + ["rare"])
    train, test = tables["split"](y, "classes", seed=0)
    assert sorted([*train, *test]) == list(range(29))
    assert sorted(y[test]) == ["a"] * 2 + ["b"] * 5
    train, test = tables["split"](np.arange(20.0), "numbers", seed=0)
    assert sorted([*train, *test]) == list(range(20))
    assert len(test) == 5
    again, other = (tables["split"](np.arange(20.0), "numbers", seed)[1] for seed in (0, 1))
    assert set(again) == set(test) != set(other)


def test_tables_classes(tables, capsys):
    (result,) = tables["main"](["--tables", "little", "nowhere", "--splits", "2"])
    for figures in result.figures.values():  # of the 10 rows for testing 2 are of the first class
        assert figures["error"] == pytest.approx(8 / 10)
        assert figures["log loss"] == pytest.approx(math.log(2))
    assert result.figures["minidense"]["oof error"] == 0.75
    out = capsys.readouterr().out
    assert "left out: nowhere (not_installed is not installed)" in out
    assert "| little | tuning | 40 × 2 | classes | 0.8000 | 0.8000 |" in out
    assert "mean(out-of-fold error - test error) = -0.0500" in out


def test_tables_numbers(tables, tmp_path):
    arguments = ["--tables", "penguins", "--splits", "2", "--cache", str(tmp_path / "peers.json")]
    (result,) = tables["main"](arguments)
    _, y = result.table.load()
    expected, oof = [], []
    for seed in range(2):
        train, test = tables["split"](y, "numbers", seed)
        expected.append(math.sqrt(np.mean((y[test] - y[train].mean()) ** 2)) / y.std())
        oof.append(math.sqrt(0.75) * y[train].std() / y.std())
    assert result.rows == 342
    assert result.figures["peer"]["error"] == pytest.approx(np.mean(expected))
    assert result.figures["minidense"]["oof error"] == pytest.approx(np.mean(oof))
    assert "log loss" not in result.figures["peer"]
    kept = json.loads((tmp_path / "peers.json").read_text())
    assert list(kept) == ["penguins/0/peer", "penguins/1/peer"]
    assert (Constant.fitted, Scored.fitted) == (2, 2)
    (again,) = tables["main"](arguments)
    assert again.figures["peer"] == result.figures["peer"]
    assert (Constant.fitted, Scored.fitted) == (2, 4)  # the peer's figures are those of the file


def test_tables_without_ours(tables, capsys):
    def missing(kind, seed):
        raise AttributeError("no TableClassifier")

    tables["CONTESTANTS"][1] = tables["Contestant"](tables["OURS"], missing, dict)
    (result,) = tables["main"](["--group", "tuning", "--tables", "little", "penguins", "--splits", "1"])
    assert list(result.figures) == ["peer"]
    assert "left out: minidense (no TableClassifier)" in capsys.readouterr().out
    assert tables["main"](["--tables", "little", "--peers"]) == []


def test_tables_compared(tables):
    assert tables["ranks"]([0.3, 0.1, 0.1, 0.2]) == [4, 1.5, 1.5, 3]
    errors = {"peer": [0.0, 0.19, 0.1, 0.03], "minidense": [0.0, 0.09, 0.12, 0.09]}
    results = []
    for i, rows in enumerate((400, 5000, 300, 299)):
        table = tables["Table"](f"table {i}", "fresh", "numbers", "little", "", "")
        figures = {name: {"error": e[i], "seconds": i, "cpu": 10 * i} for name, e in errors.items()}
        results.append(tables["Result"](table, rows, 2, figures))
    row = tables["summary"](results, "minidense")["peer"]
    assert row["mean rank"] == f"{(1.5 + 2 + 1 + 1) / 4:.2f}"
    assert row["error"] == f"{(0.01 * 0.2 * 0.11 * 0.04) ** (1 / 4):.4f}"
    assert row["minidense: error"] == f"{100 * (0.1 / 0.2 * 0.13 / 0.11 * 0.1 / 0.04) ** (1 / 4) - 100:+.1f}%"
    assert row["it wins"] == "1 of 4"
    assert row["above 1.1 × (n ≥ 300)"] == "1; worst 1.20, table 2"
    assert (row["fit, s"], row["fit, s (n ≤ 3,000)"]) == ("1.50", "2.00")
    assert (row["CPU, s"], row["CPU, s (n ≤ 3,000)"]) == ("15.00", "20.00")


def test_log_loss_of_tables(tables):
    probabilities, classes = np.array([[0.2, 0.8], [0.5, 0.5], [2.0, 0.0]]), np.array(["a", "b"])
    log_loss = tables["log_loss"]
    assert log_loss(probabilities[:2], classes, np.array(["b", "a"])) == pytest.approx(-math.log(0.8 * 0.5) / 2)
    assert log_loss(probabilities[2:], classes, np.array(["a"])) == 0  # rows are made to sum to 1
    assert log_loss(probabilities[2:], classes, np.array(["b"])) == pytest.approx(52 * math.log(2))  # not infinite


def test_tables_of_the_packages():
    program = runpy.run_path(str(BENCHMARKS / "tables.py"))
    assert len({table.name for table in program["TABLES"]}) == len(program["TABLES"]) >= 24
    loaded = 0
    for table in program["TABLES"]:
        try:
            x, y = table.load()
        except ImportError:
            continue
        loaded += 1
        assert 200 <= len(y) <= 50_000, table.name
        assert table.target not in x, table.name
        assert all(len(values) == len(y) and values.dtype in (float, object) for values in x.values()), table.name
        if table.kind == "classes":
            assert np.unique(y, return_counts=True)[1].min() >= 8, table.name
    assert loaded >= 1  # the penguins are minidense's own


@pytest.mark.parametrize("name", ["MLP", "HistGradientBoosting", "RandomForest", "linear"])
def test_tables_peers(name):
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    main = runpy.run_path(str(BENCHMARKS / "tables.py"))["main"]
    (result,) = main(["--tables", "penguins", "--splits", "1", "--peers", name])
    assert result.figures[name]["error"] < 0.6
