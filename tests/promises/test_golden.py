"""Optimizers, schedules and losses compared with those of PyTorch and Keras, as computed by golden/make.py.

100 steps, in float64, to 1e-6 relative, or 1e-8, as Keras computes cosines in float32, to 2e-7 of a rate of 0.05.
Where the two frameworks differ, the library follows Keras; with an epsilon of 1e-12 the differences between them
vanish.
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import minidense as md
from minidense import schedules as s
from minidense.optimizers import Piece

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
    ("keras", "adam amsgrad"): md.Adam(0.05, amsgrad=True),
    ("keras", "nadam"): md.Nadam(0.05),
    ("keras", "adamax"): md.Adamax(0.05),
    ("keras", "adagrad"): md.Adagrad(0.2),
    ("keras", "adadelta"): md.Adadelta(1.0),
    ("keras", "lion"): md.Lion(0.003),
    ("keras", "rmsprop centered"): md.RMSprop(0.0005, centered=True),
    ("keras", "rmsprop centered momentum"): md.RMSprop(0.0005, centered=True, momentum=0.8),
    ("keras", "clipnorm"): md.SGD(0.05, clipnorm=0.3),
    ("keras", "clipvalue"): md.SGD(0.05, clipvalue=0.2),
    ("keras", "average"): md.SGD(0.02, momentum=0.9, use_ema=True, ema_momentum=0.9),
    ("keras", "average overwrites"): md.SGD(
        0.02, momentum=0.9, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7
    ),
    ("keras", "polynomial"): md.SGD(s.PolynomialDecay(0.05, 60, 0.001, power=2.0)),
    ("keras", "polynomial cycle"): md.SGD(s.PolynomialDecay(0.05, 30, 0.001, power=0.5, cycle=True)),
    ("keras", "inverse time"): md.SGD(s.InverseTimeDecay(0.05, 10, 0.5)),
    ("keras", "inverse time staircase"): md.SGD(s.InverseTimeDecay(0.05, 10, 0.5, staircase=True)),
    ("keras", "cosine warm-up"): md.SGD(s.CosineDecay(0.0, 60, 0.1, warmup_target=0.05, warmup_steps=20)),
    ("keras", "cosine restarts"): md.SGD(s.CosineDecayRestarts(0.05, 11, t_mul=1.5, m_mul=0.8, alpha=0.1)),
    ("keras", "cosine equal restarts"): md.SGD(s.CosineDecayRestarts(0.05, 13, t_mul=1.0)),
}
PIECES = {"clipnorm": [Piece("a", slice(0, 5), (5,)), Piece("b", slice(5, 12), (7,))]}


def test_every_golden_figure_is_compared():
    assert {(f, name) for f in ("torch", "keras") for name in FIGURES[f]} == set(OPTIMIZERS)
    assert set(FIGURES["torch losses"]) == {"scores", *LOSSES}
    assert set(FIGURES["keras penalties"]) == {*PENALTIES, *CONSTRAINTS}


@pytest.mark.parametrize("case", OPTIMIZERS, ids=" ".join)
def test_optimizers_and_schedules(case):
    framework, name = case
    optimizer = OPTIMIZERS[case]
    A, target, theta = MAKE["problem"]()
    start = theta.copy()
    optimizer.pieces = PIECES.get(name)
    for _ in range(100):
        grad = MAKE["gradient"](A, target, theta)
        before = grad.copy()
        optimizer.update(theta, grad)
        assert np.array_equal(grad, before)
    optimizer.finalize_variable_values(theta)
    np.testing.assert_allclose(theta, FIGURES[framework][name], rtol=1e-6, atol=1e-8)
    assert abs(theta - start).max() > 0.04


PENALTIES = {
    "l1": md.regularizers.L1(0.1),
    "l2": md.regularizers.L2(0.1),
    "l1_l2": md.regularizers.L1L2(0.1, 0.2),
    "rows": md.regularizers.OrthogonalRegularizer(0.1),
    "columns": md.regularizers.OrthogonalRegularizer(0.1, "columns"),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_regularizers(name):
    penalty, gradient = FIGURES["keras penalties"][name]
    assert PENALTIES[name](MAKE["matrix"]()) == pytest.approx(penalty, rel=1e-9)
    np.testing.assert_allclose(PENALTIES[name].gradient(MAKE["matrix"]()), gradient, rtol=1e-9, atol=1e-12)


CONSTRAINTS = {
    "max_norm": md.constraints.MaxNorm(1.5),
    "max_norm of rows": md.constraints.MaxNorm(1.5, axis=1),
    "unit_norm": md.constraints.UnitNorm(),
    "unit_norm of all": md.constraints.UnitNorm(axis=[0, 1]),
    "non_neg": md.constraints.NonNeg(),
    "min_max_norm": md.constraints.MinMaxNorm(1.0, 1.5, rate=0.25),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name):
    w = MAKE["matrix"]()
    np.testing.assert_allclose(CONSTRAINTS[name](w), FIGURES["keras penalties"][name], rtol=1e-9)
    assert np.array_equal(w, MAKE["matrix"]())
    CONSTRAINTS[name].projection(w)()
    assert np.array_equal(w, CONSTRAINTS[name](MAKE["matrix"]()))


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
