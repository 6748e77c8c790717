"""Every loss by its names: what Keras calls it, trained, saved and resumed; and against the figures of Keras."""

import json
from pathlib import Path

import keras_cases
import numpy as np
import pytest

import minidense as md
from minidense.core.configurable import LIBRARY
from minidense.losses import LOSSES, Loss, get_loss

NAMES = {
    "sparse_categorical_crossentropy": "SoftmaxCrossEntropy",
    "categorical_crossentropy": "SoftmaxCrossEntropy",
    "softmax_crossentropy": "SoftmaxCrossEntropy",
    "binary_crossentropy": "SigmoidCrossEntropy",
    "bce": "SigmoidCrossEntropy",
    "sigmoid_crossentropy": "SigmoidCrossEntropy",
    "categorical_focal_crossentropy": "CategoricalFocalCrossentropy",
    "binary_focal_crossentropy": "BinaryFocalCrossentropy",
    "kl_divergence": "KLDivergence",
    "kullback_leibler_divergence": "KLDivergence",
    "KLD": "KLDivergence",
    "hinge": "Hinge",
    "squared_hinge": "SquaredHinge",
    "categorical_hinge": "CategoricalHinge",
    "mean_squared_error": "MeanSquaredError",
    "MSE": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "mae": "MeanAbsoluteError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "mape": "MeanAbsolutePercentageError",
    "mean_squared_logarithmic_error": "MeanSquaredLogarithmicError",
    "msle": "MeanSquaredLogarithmicError",
    "huber": "Huber",
    "log_cosh": "LogCosh",
    "logcosh": "LogCosh",
    "poisson": "Poisson",
    "quantile": "Quantile",
    "pinball": "Quantile",
    "cosine_similarity": "CosineSimilarity",
}


def test_names_in_any_case_and_names_of_classes():
    assert {name.lower() for name in NAMES} == set(LOSSES)
    assert {name: type(get_loss(name)).__name__ for name in NAMES} == NAMES
    for name in {*NAMES.values(), "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "BinaryCrossentropy"}:
        assert type(get_loss(name)) is getattr(md.losses, name) is LIBRARY[name]
    with pytest.raises(ValueError, match=r"unknown loss 'log_cos'. Did you mean 'log_cosh'\?"):
        get_loss("log_cos")
    with pytest.raises(TypeError, match=r"derivative with respect to y_pred is needed too: md.FunctionLoss\(mine, "):
        md.Sequential([md.Dense(1)]).compile("sgd", mine)


def mine(y_true, y_pred):
    return (y_pred - y_true) ** 2


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "keras.json").read_text())


@pytest.mark.parametrize("i", range(len(keras_cases.LOSSES)), ids=lambda i: str(keras_cases.LOSSES[i][:2]))
def test_by_hand_it_is_what_keras_computes(i):
    """Keras 3.15.1, in float64 but for its constants: about 1e-7 remains."""
    name, arguments, y_true, y_pred = keras_cases.LOSSES[i]
    kind, arrays = getattr(md.losses, name), keras_cases.data()
    y, p, w = arrays[y_true], arrays[y_pred], arrays["weights"]
    mean, total = kind(**arguments), kind(**arguments, reduction="sum")
    assert [mean(y, p), total(y, p), mean(y, p, w), total(y, p, sample_weight=w)] == pytest.approx(
        GOLDEN["losses"][i], rel=1e-7
    )
    assert vars(mean).keys() == vars(kind(**arguments)).keys()  # nothing is cached


DATA = keras_cases.data()
Y = {
    **dict.fromkeys(["SoftmaxCrossEntropy", "CategoricalHinge", "CategoricalFocalCrossentropy"], DATA["labels"]),
    **dict.fromkeys(["SparseCategoricalCrossentropy"], DATA["labels"]),
    **dict.fromkeys(["CategoricalCrossentropy"], DATA["one_hot"]),
    **dict.fromkeys(["SigmoidCrossEntropy", "BinaryCrossentropy", "BinaryFocalCrossentropy"], DATA["binary"]),
    **dict.fromkeys(["Hinge", "SquaredHinge"], DATA["signs"]),
    **dict.fromkeys(["KLDivergence"], DATA["rows"]),
    **dict.fromkeys(["Poisson", "MeanSquaredLogarithmicError"], DATA["counts"]),
}
"""Targets for each loss, (9,) or (9, 4); ``numbers`` for all others."""

LAST = {"KLDivergence": md.Softmax, "Poisson": md.Softplus, "Members": lambda: md.MembersMean(4, "linear")}


def every_loss():
    """One of each of the library's losses, with arguments that are not the defaults where that is easy."""
    arguments = {
        "FunctionLoss": (mine, mine),
        "Huber": (0.5,),
        "Members": ("huber", 4),
        "Quantile": (0.9,),
        "SparseCategoricalCrossentropy": (None, 2),
        "CategoricalFocalCrossentropy": ([0.1, 0.2, 0.3, 0.4],),
    }
    found = [kind for kind in LIBRARY.values() if issubclass(kind, Loss)]
    return [pytest.param(kind, arguments.get(kind.__name__, ()), id=kind.__name__) for kind in found]


def model_for(kind, loss):
    last = [LAST[kind.__name__]()] if kind.__name__ in LAST else []
    model = md.Sequential([md.Dense(5), md.Tanh(), md.Dense(4), *last], rng=0, dtype="float64")
    return model.compile(md.Adam(0.01), loss).build(4)


@pytest.mark.parametrize(("kind", "arguments"), every_loss())
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_every_loss_trains_saves_loads_and_resumes_to_the_bit(kind, arguments, reduction, tmp_path):
    x, y = DATA["scores"], Y.get(kind.__name__, DATA["numbers"])
    loss = kind(*arguments, reduction=reduction, name="its_name")
    options = {"batch_size": 4, "verbose": 0}
    model = model_for(kind, loss)
    first = model.evaluate(x, y)[0]
    through = model.fit(x, y, epochs=60, **options).history["loss"]
    assert kind.__name__ == "FunctionLoss" or through[-1] < min(through[0], first)

    save = md.callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}.npz")
    broken = model_for(kind, kind(*arguments, reduction=reduction, name="its_name"))
    broken.fit(x, y, epochs=7, callbacks=[save], **options)
    resumed = model_for(kind, kind(*arguments, reduction=reduction, name="its_name"))
    resumed.fit(x, y, epochs=60, callbacks=[save], resume=f"{tmp_path}/4.npz", **options)
    assert np.array_equal(resumed.theta, model.theta)

    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz", {"mine": mine})
    assert (repr(loaded.loss), loaded.loss.name, loaded.loss.reduction) == (repr(loss), "its_name", reduction)
    assert loaded.evaluate(x, y)[0] == model.evaluate(x, y)[0]


@pytest.mark.parametrize(("kind", "arguments"), every_loss())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_loss_is_finite_for_extreme_scores(kind, arguments, dtype):
    scores = np.array(np.meshgrid(*[[-1e10, -1.0, -1e-10, 0.0, 1e-30, 1.0, 1e10]] * 4)).reshape(4, -1).T.astype(dtype)
    loss = kind(*arguments)
    for row in range(9):
        y = np.repeat(Y.get(kind.__name__, DATA["numbers"])[row : row + 1], len(scores), axis=0)
        if kind.__name__ == "SparseCategoricalCrossentropy":
            y = np.zeros(len(scores), int)
        assert np.isfinite(loss.forward(scores, y))
        dscores = loss.backward()
        assert np.isfinite(dscores).all()
        assert dscores.dtype == dtype


@pytest.mark.parametrize(("kind", "arguments"), every_loss())
def test_keras_reductions_and_names(kind, arguments):
    assert kind(*arguments, reduction="sum_over_batch_size").reduction == "mean"
    assert kind(*arguments, name="mine").name == "mine"
    with pytest.raises(ValueError, match=r"unknown reduction 'means'. Did you mean 'mean"):
        kind(*arguments, reduction="means")
    with pytest.raises(TypeError, match="name: expected a string"):
        kind(*arguments, name=3)


def test_default_names_are_keras():
    assert md.losses.MeanSquaredError().name == "mean_squared_error"
    assert md.losses.KLDivergence().name == "kl_divergence"
    assert md.losses.LogCosh().name == "log_cosh"
    assert md.FunctionLoss(mine, mine).name == "mine"
