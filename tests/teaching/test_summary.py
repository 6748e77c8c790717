"""The table of a model, as text and as HTML."""

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
