"""Optimizers, schedules and losses compared with those of PyTorch and Keras, as computed by golden/make.py.

100 steps, in float64, to 1e-6 relative. Where the two frameworks differ, the library follows Keras; with an epsilon
of 1e-12 the differences between them vanish.
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import minidense as md
from minidense import schedules as s

GOLDEN = Path(__file__).parent.parent / "golden"
FIGURES = json.loads((GOLDEN / "figures.json").read_text())
MAKE = runpy.run_path(str(GOLDEN / "make.py"))

OPTIMIZERS = {
    ("torch", "sgd"): md.SGD(0.05),
    ("torch", "momentum"): md.SGD(0.02, momentum=0.9),
    ("torch", "nesterov"): md.SGD(0.02, momentum=0.9, nesterov=True),
    ("torch", "sgd decay"): md.SGD(0.05, weight_decay=0.1),
    ("torch", "adam"): md.Adam(0.05, epsilon=1e-12),
    ("torch", "adamw"): md.AdamW(0.05, weight_decay=0.1, epsilon=1e-12),
    ("torch", "rmsprop"): md.RMSprop(0.0005, epsilon=1e-24),
    ("torch", "rmsprop momentum"): md.RMSprop(0.0005, epsilon=1e-24, momentum=0.8),
    ("torch", "exponential"): md.SGD(s.ExponentialDecay(0.05, 1, 0.97)),
    ("torch", "step"): md.SGD(s.PiecewiseConstantDecay([29, 59, 89], [0.05, 0.025, 0.0125, 0.00625])),
    ("torch", "cosine"): md.SGD(s.CosineDecay(0.05, 100)),
    ("keras", "sgd"): md.SGD(0.05),
    ("keras", "momentum"): md.SGD(0.02, momentum=0.9),
    ("keras", "nesterov"): md.SGD(0.02, momentum=0.9, nesterov=True),
    ("keras", "momentum decay"): md.SGD(0.02, momentum=0.9, weight_decay=0.1),
    ("keras", "clip"): md.SGD(0.05, global_clipnorm=0.5),
    ("keras", "adam"): md.Adam(0.05),
    ("keras", "adamw"): md.AdamW(0.05, weight_decay=0.1),
    ("keras", "rmsprop"): md.RMSprop(0.0005),
    ("keras", "rmsprop momentum"): md.RMSprop(0.0005, momentum=0.8),
    ("keras", "exponential"): md.SGD(s.ExponentialDecay(0.05, 10, 0.8)),
    ("keras", "staircase"): md.SGD(s.ExponentialDecay(0.05, 10, 0.8, staircase=True)),
    ("keras", "piecewise"): md.SGD(s.PiecewiseConstantDecay([30, 60], [0.05, 0.02, 0.01])),
    ("keras", "cosine"): md.SGD(s.CosineDecay(0.05, 80, alpha=0.1)),
}


def test_every_golden_figure_is_compared():
    assert {(f, name) for f in ("torch", "keras") for name in FIGURES[f]} == set(OPTIMIZERS)
    assert set(FIGURES["torch losses"]) == {"scores", *LOSSES}


@pytest.mark.parametrize("case", OPTIMIZERS, ids=" ".join)
def test_optimizers_and_schedules(case):
    framework, name = case
    optimizer = OPTIMIZERS[case]
    A, target, theta = MAKE["problem"]()
    start = theta.copy()
    for _ in range(100):
        grad = MAKE["gradient"](A, target, theta)
        before = grad.copy()
        optimizer.update(theta, grad)
        assert np.array_equal(grad, before)
    np.testing.assert_allclose(theta, FIGURES[framework][name], rtol=1e-6)
    assert abs(theta - start).max() > 0.04


LOSSES = {
    "softmax": md.SoftmaxCrossEntropy(),
    "softmax smoothed": md.SoftmaxCrossEntropy(label_smoothing=0.1),
    "sigmoid": md.SigmoidCrossEntropy(),
    "mse": md.MeanSquaredError(),
    "mae": md.MeanAbsoluteError(),
    "huber": md.Huber(0.7),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    golden, scores = FIGURES["torch losses"][name], np.array(FIGURES["torch losses"]["scores"])
    assert LOSSES[name].forward(scores, np.array(golden["y"])) == pytest.approx(golden["loss"], rel=1e-9)
    np.testing.assert_allclose(LOSSES[name].backward(), golden["dscores"], rtol=1e-6, atol=1e-12)


def test_the_golden_figures_are_what_pytorch_says_today():
    pytest.importorskip("torch")
    for name, theta in MAKE["torch_runs"]().items():
        np.testing.assert_allclose(theta, FIGURES["torch"][name], rtol=1e-9)
