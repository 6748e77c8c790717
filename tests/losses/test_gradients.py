"""The gradient of every loss is its derivative, in float64: at most 1e-7 from differences."""

import numpy as np
import pytest

import minidense as md
from minidense import losses
from minidense.core.configurable import LIBRARY

RNG = np.random.default_rng(3)
POSITIVE = RNG.exponential(1, (9, 3)) + 0.01
ROWS = RNG.dirichlet(np.ones(3), 9)
SCORES = RNG.normal(size=(9, 3))
LABELS = RNG.integers(0, 4, 9)
WITHHELD = RNG.integers(-1, 2, (9, 3))  # by three members, of two classes
WITHHELD[3] = -1
PAIRS = RNG.normal(size=(9, 2, 3))  # by two members, of vectors
PAIRS[2:5, 1] = np.nan

CASES = [
    *[(loss, {"outputs": k}) for loss in (losses.MeanSquaredError(), losses.MeanAbsoluteError("sum")) for k in (1, 3)],
    *[(losses.Huber(0.7), {"outputs": k}) for k in (1, 3, (2, 3))],
    (losses.MeanAbsolutePercentageError(), {}),
    (losses.MeanSquaredLogarithmicError(), {"y": POSITIVE}),
    (losses.MeanSquaredLogarithmicError(), {"y": POSITIVE, "scores": POSITIVE[::-1]}),
    (losses.LogCosh(), {}),
    (losses.LogCosh(), {"outputs": (2, 3)}),
    (losses.Quantile(0.9), {}),
    (losses.CosineSimilarity(), {}),
    (losses.CosineSimilarity(), {"outputs": (2, 3)}),
    (losses.CosineSimilarity(), {"outputs": 1}),
    (losses.Poisson(), {"y": RNG.poisson(2, (9, 3)), "scores": POSITIVE}),
    (md.FunctionLoss(lambda t, p: (p - t) ** 4, lambda t, p: 4 * (p - t) ** 3), {}),
    (losses.SoftmaxCrossEntropy(), {}),
    (losses.SoftmaxCrossEntropy("sum", label_smoothing=0.1), {"outputs": 4}),
    (losses.SoftmaxCrossEntropy(), {"y": ROWS}),
    (losses.SparseCategoricalCrossentropy(), {}),
    (losses.SigmoidCrossEntropy("sum"), {"outputs": (2, 3)}),
    (losses.SigmoidCrossEntropy(label_smoothing=0.2), {"outputs": 1}),
    (losses.BinaryCrossentropy(), {"outputs": 1}),
    (losses.CategoricalCrossentropy(label_smoothing=0.1), {}),
    (losses.SparseCategoricalCrossentropy(ignore_class=2), {}),
    *[
        (losses.CategoricalFocalCrossentropy([0.1, 0.2, 0.3], gamma), {"y": ROWS, "scores": SCORES})
        for gamma in (0, 0.5, 1, 2)
    ],
    (losses.CategoricalFocalCrossentropy(label_smoothing=0.1), {}),
    *[(losses.BinaryFocalCrossentropy(True, 0.3, gamma), {}) for gamma in (0, 0.5, 1, 2)],
    (losses.BinaryFocalCrossentropy(label_smoothing=0.1), {}),
    (losses.Hinge(), {}),
    (losses.SquaredHinge(), {"y": 2 * (SCORES > 0) - 1, "scores": RNG.normal(size=(9, 3))}),
    (losses.CategoricalHinge(), {}),
    *[(losses.Members(losses.SoftmaxCrossEntropy("sum", e), 3), {"outputs": 12, "y": LABELS}) for e in (0.0, 0.1)],
    (losses.Members("softmax_crossentropy", 3), {"outputs": 6, "y": WITHHELD}),
    (losses.Members("mse", 3), {"y": np.where(WITHHELD < 0, np.nan, SCORES)}),
    (losses.Members(losses.MeanSquaredError(), 2), {"outputs": 6, "y": PAIRS}),
    (losses.Members("huber", 1), {"outputs": 1}),
    (losses.CategoricalHinge(), {"y": ROWS, "scores": SCORES}),
    (losses.KLDivergence(), {"y": ROWS, "scores": RNG.random((9, 3)) + 0.01}),
    (
        losses.KLDivergence(),
        {"outputs": (3, 2), "y": RNG.random((9, 3, 2)), "scores": RNG.random((9, 3, 2)) + 0.01},
    ),
]


def test_every_loss_of_the_library_is_here():
    assert {type(loss) for loss, _ in CASES} == {kind for kind in LIBRARY.values() if issubclass(kind, md.Loss)}


@pytest.mark.parametrize(("loss", "options"), CASES, ids=[repr(loss)[:60] for loss, _ in CASES])
@pytest.mark.parametrize("seed", range(3))
def test_gradients(loss, options, seed):
    assert md.check_loss(loss, rng=seed, **options) <= 1e-7
