"""The benchmarks run. No timing is asserted."""

import json
import runpy
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_steps(tmp_path, capsys):
    main = runpy.run_path(str(BENCHMARKS / "steps.py"))["main"]
    cases = ["tiny-b1", "predict-1"]
    results = main(["--cases", *cases, "--rounds", "1", "--peers", "--json", str(tmp_path / "figures.json")])
    assert json.loads((tmp_path / "figures.json").read_text()) == results
    assert list(results) == cases
    assert set(results["tiny-b1"]) == {"minidense", "floor", "plain numpy"}
    assert "÷ floor" in capsys.readouterr().out


def test_memory(tmp_path):
    main = runpy.run_path(str(BENCHMARKS / "memory.py"))["main"]
    results = main(["--rows", "100", "3000", "--widths", "8", "--json", str(tmp_path / "figures.json")])
    assert json.loads((tmp_path / "figures.json").read_text()) == results
    assert len(results) == 4
