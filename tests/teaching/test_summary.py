"""The table of a model, as text and as HTML."""

import sys
import types

import pytest

import minidense as md


def test_summary_and_repr():
    model = md.Sequential([md.Dense(8, "relu"), md.Dense(3)], rng=0, name="net")
    assert "?" in model.summary()
    assert repr(model) == "<Sequential [Dense(8), ReLU(), Dense(3)], not built, float32>"
    assert model.build(7).summary().splitlines() == [
        "net",
        "layer      output shape    parameters",
        "Dense(8)   (n, 8)                  64",
        "ReLU()     (n, 8)                   0",
        "Dense(3)   (n, 3)                  27",
        "91 parameters, 364 bytes (float32)",
    ]
    assert repr(model) == "<Sequential [Dense(8), ReLU(), Dense(3)], 91 parameters, float32>"


def test_summary_is_also_html():
    summary = md.Sequential([md.Dense(2)], name="<b>").build(3).summary()
    assert repr(summary) == str(summary)
    assert "<td>Dense(2)</td><td>(n, 2)</td><td>8</td>" in summary._repr_html_()
    assert "&lt;b&gt;" in summary._repr_html_()


def test_a_script_prints_it_once_and_it_is_returned(capsys, monkeypatch):
    model = md.Sequential([md.Dense(2)], name="net").build(3)
    table = model.summary()
    assert capsys.readouterr().out == table + "\n"
    lines = []
    assert model.summary(print_fn=lines.append) == table
    assert lines == table.splitlines()
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)  # there the value of the line is shown
    assert model.summary() == table
    assert capsys.readouterr().out == ""
    with pytest.raises(TypeError, match="summary: print_fn: expected a function"):
        model.summary(print_fn=3)


def test_ipython_shows_it_once_a_cell(monkeypatch):
    class Shell:
        execution_count, shown = 1, []

        @property
        def display_pub(self):
            return self

        def publish(self, data):
            self.shown.append((self.execution_count, *data))

    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    table = md.Sequential([md.Dense(2)]).build(3).summary()
    table._ipython_display_()  # as the value of the cell
    shell.execution_count = 2
    table._ipython_display_()
    assert shell.shown == [(1, "text/plain", "text/html"), (2, "text/plain", "text/html")]
