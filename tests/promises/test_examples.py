"""The examples run, with fewer epochs, and reach the accuracy they promise."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](list(arguments))


@pytest.mark.parametrize("rule", ["full", "mini-batch", "single"])
def test_digits_reaches_its_accuracy_with_each_rule(rule, capsys):
    assert run("digits", "--rule", rule) >= 0.955
    printed = capsys.readouterr().out
    assert "confusion matrix" in printed
    assert "learning curve" in printed


def test_spirals():
    accuracies = run("spirals")
    assert accuracies["100 hidden units"] >= 0.98
    assert 0.40 <= accuracies["linear"] <= 0.60  # three arms, one line each: about half


def test_sigmoid_network():
    assert run("sigmoid_network", "--epochs", "30") >= 0.94


def test_custom_layer(capsys):
    assert run("custom_layer", "--epochs", "10") >= 0.9
    assert "HastySwish(): dx" in capsys.readouterr().out


def test_regression():
    r2 = run("regression")
    assert r2["the mean"] < 0.01
    assert r2["network"] > 0.84
    assert abs(r2["network"] - r2["least squares"]) < 0.03  # what the example says: about as good


def test_imbalanced():
    results = run("imbalanced")
    plain, weighted = results["network"], results["... with class_weight"]
    assert weighted["recall"] > plain["recall"] + 0.05
    assert weighted["auc"] > 0.95


def test_digits_best():
    assert run("digits_best", "--epochs", "25", "--seeds", "1") >= 0.97


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def dark_and_bright(tmp_path):
    """A folder with files in Fashion-MNIST's format, as small as can be: two classes, dark and bright."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 200), ("t10k", 50)):
        y = rng.integers(0, 2, n).astype("uint8")
        x = (rng.integers(0, 100, (n, 28, 28)) + 120 * y[:, None, None]).astype("uint8")
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", x)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", y)
    return str(tmp_path)


def test_fashion_mnist_on_files_of_the_same_format(dark_and_bright):
    assert run("fashion_mnist", "--folder", dark_and_bright, "--epochs", "40", "--seeds", "1") >= 0.9


def test_fashion_best_on_files_of_the_same_format(dark_and_bright, capsys):
    assert run("fashion_best", "--folder", dark_and_bright, "--epochs", "40", "--seeds", "2") >= 0.9
    assert "mean of 2 seeds" in capsys.readouterr().out
    assert run("fashion_best", "--folder", dark_and_bright, "--epochs", "40", "--seeds", "1", "--hold-out", "50") >= 0.9
    run("fashion_best", "--folder", dark_and_bright, "--epochs", "1", "--seeds", "1", "--rows", "100")  # a single step


def test_fashion_best_shifts_each_image_by_itself():
    """An epoch has each image once. It is shifted by up to a pixel, all nine ways occur, and the border is black."""
    shifted = runpy.run_path(str(EXAMPLES / "fashion_best.py"))["shifted"]
    images, number = np.zeros((900, 4, 5), np.float32), np.arange(900)
    images[:, 2, 2] = 1 + number  # one bright dot, whose brightness says which image it is
    images[:, 0, 0] = -1  # and one in a corner, which half of the shifts push out
    batches = shifted(images, number, 1, seed=0)
    for _ in range(2):
        x, y = (np.concatenate(parts) for parts in zip(*[next(batches) for _ in range(2)], strict=True))
        assert x.shape == images.shape
        assert x.dtype == np.float32
        assert sorted(y) == list(number)
        assert (x.max(axis=(1, 2)) == 1 + y).all()
        image, down, right = np.nonzero(x > 0)
        assert list(image) == list(number)  # each has its dot once
        assert {*zip(down - 2, right - 2, strict=True)} == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        corner = [(dot == -1).any() for dot in x]
        assert corner == [bool(i >= 2 and j >= 2) for i, j in zip(down, right, strict=True)]


@pytest.mark.skipif(not os.path.isdir("/usr/share/datasets/fashion-mnist"), reason="Debian's package is not installed")
def test_fashion_mnist_itself():
    assert run("fashion_mnist", "--epochs", "4", "--seeds", "1", "--rows", "20000") >= 0.8


def test_resume(tmp_path):
    """Killed three times and started four times, it ends like a single run."""
    program = [sys.executable, str(EXAMPLES / "resume.py"), "--epochs", "3"]
    (tmp_path / "whole").mkdir()
    whole = subprocess.run([*program, "--folder", str(tmp_path / "whole")], capture_output=True, text=True, check=True)
    for step in (60, 140, 211):
        killed = subprocess.run(
            [*program, "--folder", str(tmp_path), "--kill-at", str(step)], capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL
    resumed = subprocess.run([*program, "--folder", str(tmp_path)], capture_output=True, text=True, check=True)
    assert resumed.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]


def test_table():
    assert run("table", "--epochs", "16") >= 0.95
