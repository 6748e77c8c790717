"""The tutorials for Keras users run as they are written, and show what they say."""

import runpy
from pathlib import Path

import numpy as np
import pytest

TUTORIALS = Path(__file__).parents[2] / "examples" / "keras"


def run(name, *arguments):
    return runpy.run_path(str(TUTORIALS / f"{name}.py"))["main"](["--short", *arguments])


def test_basic_classification(capsys):
    found = run("basic_classification")
    assert found["accuracy"] > 0.8 > 0.2 > found["majority"]
    right = np.argmax(found["predictions"], axis=1) == found["test_labels"]
    assert right.mean() == pytest.approx(found["accuracy"])  # a softmax does not change which score is the largest
    np.testing.assert_allclose(found["predictions"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found["single"], found["predictions"][1:2], rtol=1e-4)
    assert "test accuracy" in capsys.readouterr().out


def test_regression(tmp_path):
    pytest.importorskip("matplotlib")
    error = run("regression", "--plot", str(tmp_path / "loss.png"))
    assert sorted(error, key=error.get, reverse=True) == [
        "the mean",
        "line, horsepower",
        "plane, all columns",
        "deep, horsepower",
        "deep, all columns",
    ]
    # The noise is a normal factor with a deviation of 6 %, whose mean absolute value is 6 % * sqrt(2 / pi).
    _, distance = runpy.run_path(str(TUTORIALS / "regression.py"))["make_cars"]()
    noise = 0.06 * np.sqrt(2 / np.pi) * distance.mean()
    assert 0.8 * noise < error["deep, all columns"] < 1.3 * noise
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_imbalanced():
    found = run("imbalanced")
    start, results = found["start"], found["results"]
    # With the bias of the odds, the loss begins near what the share of frauds alone allows.
    assert start["bias log(pos / neg)"] < 1.5 * start["always that probability"] < 0.2 * start["bias 0"]
    for name in ("class weights", "oversampled"):
        assert results[name]["recall"] > results["as it is"]["recall"] + 0.3
        assert results[name]["fp"] > results["as it is"]["fp"]  # what it costs
    for values in results.values():
        assert values["auc"] > 0.9
        assert values["prc"] > 20 * found["share"]  # by chance, it is the share of frauds
    matrices = list(found["confusion"].values())
    missed, alarms = ([matrix[place] for matrix in matrices] for place in ((1, 0), (0, 1)))
    assert missed == sorted(missed, reverse=True)
    assert alarms == sorted(alarms)
    (_, _), (fn, tp) = matrices[0]
    assert (tp, fn) == (results["as it is"]["tp"], results["as it is"]["fn"])  # 0.5 is what the metrics use


def test_structured_data():
    found = run("structured_data")
    assert found["gaps"] == 11 + 3 * 2  # 11 penguins of unknown sex, 2 of which have no measurements
    assert found["accuracy"] > found["majority"] + 0.3
    chinstrap = {island: species["Chinstrap"] for island, species in found["by island"].items()}
    assert chinstrap["Dream"] > 0.3 > 0.05 > max(chinstrap["Biscoe"], chinstrap["Torgersen"])  # they live on Dream only


def test_overfit_underfit(tmp_path):
    pytest.importorskip("matplotlib")
    found = run("overfit_underfit", "--plot", str(tmp_path / "curves.png"))
    gap = {name: values["validation"] - values["training"] for name, values in found.items()}
    assert gap["tiny"] < 0.05 < gap["small"] + 0.05 < gap["medium"] < gap["large"]
    for name in ("large, L2", "large, dropout", "large, both"):
        assert gap[name] < 0.75 * gap["large"]
    assert found["large, L2"]["validation"] < found["large"]["validation"] - 0.02
    assert found["tiny"]["best"] > found["small"]["best"] > found["medium"]["best"]  # these three underfit
    # Without penalties the parameters are those of dense layers of 12, 4, 1 units.
    assert found["tiny"]["parameters"] == 12 * 4 + 4 + 4 + 1
    assert (tmp_path / "curves.png").exists()


def test_save_load(tmp_path, capsys):
    found = run("save_load", "--folder", str(tmp_path))
    accuracy = found["accuracy"]
    assert accuracy["trained"] > 0.7 > 0.3 > accuracy["untrained"]  # by chance: 0.1
    for name in ("weights of the last epoch", "weights saved by hand", "whole model, loaded"):
        assert accuracy[name] == accuracy["trained"]
    assert accuracy["untrained"] < accuracy["weights of the first epoch"] < accuracy["trained"]
    assert found["files"] == [f"cp-{epoch:04d}.weights.npz" for epoch in range(5)]
    for file in found["files"]:  # no optimizer, whose vectors are twice as large as the weights
        assert (tmp_path / "training" / file).stat().st_size < 2 * 4 * (64 * 128 + 128 + 128 * 10 + 10)
    assert found["equal"]
    assert found["equal later"]
    assert found["best"]["saved"] == pytest.approx(found["best"]["lowest"])  # which is seldom the last epoch's
    assert "epoch 1: saved" in capsys.readouterr().out
