"""History: a column for each metric, as a table, in a file and as a plot."""

import sys

import numpy as np
import pytest

import minidense as md

X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def make():
    return md.Sequential([md.Dense(2)], rng=0).compile(metrics=["accuracy"])


def test_history_plot(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    history = make().fit(X, Y, epochs=3, validation_data=(X, Y), verbose=0)
    _, ax = pyplot.subplots()
    assert history.plot(["loss", "accuracy"], ax=ax) is ax
    assert [line.get_label() for line in ax.lines] == ["loss", "val_loss", "accuracy", "val_accuracy"]
    assert ax.lines[1].get_ydata().tolist() == history.history["val_loss"]
    for args, name in (((), "loss"), (("accuracy",), "accuracy"), ((("accuracy",),), "accuracy")):
        assert [line.get_label() for line in history.plot(*args).lines] == [name, f"val_{name}"]
    assert len(history.plot(metrics="loss").lines) == 2
    pyplot.close("all")
    with pytest.raises(ValueError, match=r"unknown metric 'los'\. Did you mean 'loss'"):
        history.plot(metrics=["los"])
    with pytest.raises(ValueError, match=r"unknown metric 'acuracy'\. Did you mean 'accuracy'"):
        history.plot("acuracy")
    with pytest.raises(
        TypeError, match=r"plot: expected a metric's name, or a list of names, got <Axes.* passed as ax="
    ):
        history.plot(ax)
    assert not pyplot.get_fignums(), "none was begun"


def test_history_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "minidense\[plot\]"'):
        make().fit(X, Y, verbose=0).plot()


def test_a_metric_that_comes_and_goes_is_nan_where_it_is_not(tmp_path):
    history = md.History()
    for epoch, logs in enumerate([{"a": 1.0}, {"a": 2.0, "b": 3.0}, {"b": 4.0}]):
        history.append(epoch, logs)
    history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().split()[1:] == ["0,1.0,nan", "1,2.0,3.0", "2,nan,4.0"]
