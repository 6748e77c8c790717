"""The losses for classes: their derivatives, from_logits against the model, labels that are ignored, the hinges."""

import numpy as np
import pytest

import minidense as md
from minidense import losses

RNG = np.random.default_rng(4)
ROWS = RNG.dirichlet(np.ones(3), 9)
SCORES = RNG.normal(size=(9, 3))
CROSS_ENTROPIES = [
    losses.CategoricalCrossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.CategoricalFocalCrossentropy,
    losses.BinaryCrossentropy,
    losses.BinaryFocalCrossentropy,
]


@pytest.mark.parametrize("kind", CROSS_ENTROPIES)
def test_from_logits_is_checked_against_the_last_layer(kind):
    last = md.Sigmoid if kind in (losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy) else md.Softmax
    for from_logits, final in ((None, []), (None, [last()]), (True, []), (False, [last()])):
        md.Sequential([md.Dense(3), *final]).compile("sgd", kind(from_logits=from_logits))
    for from_logits, final, said in (
        (True, [last()], "scores.*ends in"),
        (False, [], "probabilities.*does not end in"),
    ):
        model = md.Sequential([md.Dense(3), *final])
        with pytest.raises(ValueError, match=rf"the model's outputs are {said} {last.__name__}.*Leave out from_logits"):
            model.compile("sgd", kind(from_logits=from_logits))
        assert model.loss is None
    later = md.Sequential([], rng=0).compile("sgd", kind(from_logits=False)).add(md.Dense(3))
    with pytest.raises(ValueError, match="Leave out from_logits"):
        later.fit(np.ones((4, 2)), np.eye(4)[:, :3] * 0 + [1, 0, 0], verbose=0)
    with pytest.raises(TypeError, match="from_logits: expected True or False"):
        kind(from_logits="yes")
    with pytest.raises(ValueError, match="axis"):
        kind(axis=0)


@pytest.mark.parametrize("kind", CROSS_ENTROPIES[:2])
def test_keras_classes_train_as_the_library_names_do(kind):
    x, y = RNG.normal(size=(30, 4)), RNG.integers(0, 3, 30)
    models = [
        md.Sequential([md.Dense(3), *last], rng=0).compile("adam", loss, ["accuracy"])
        for loss, last in ((kind(), []), (kind(from_logits=True), []), (kind(), [md.Softmax()]), (kind.__name__, []))
    ]
    twin = md.Sequential([md.Dense(3)], rng=0).compile("adam", metrics=["accuracy"])
    expected = twin.fit(x, y, epochs=2, verbose=0).history
    for model in models:
        assert model.fit(x, y, epochs=2, verbose=0).history == expected
        assert np.array_equal(model.theta, twin.theta)


def test_by_hand_probabilities_and_scores_give_the_same():
    p = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
    y = p.argmin(axis=1)
    found = [
        losses.SparseCategoricalCrossentropy()(y, p),
        losses.SparseCategoricalCrossentropy(from_logits=True)(y, SCORES),
        md.SoftmaxCrossEntropy()(y, SCORES),
        md.SoftmaxCrossEntropy().forward(SCORES, y),
    ]
    assert found == pytest.approx([found[0]] * 4, rel=1e-12)
    assert losses.BinaryCrossentropy()([1, 0], [1.0, 0.0]) == pytest.approx(1e-7)  # clipped, as in Keras
    assert losses.BinaryCrossentropy()([1, 0], [0, 1]) == pytest.approx(16.118096)
    with pytest.raises(ValueError, match="3 rows of scores, but 2 of y"):
        losses.BinaryCrossentropy()([1, 0], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("ignored", [-1, 1, 255])
@pytest.mark.parametrize("weighted", [False, True])
def test_ignored_labels_are_rows_that_are_not_there(ignored, weighted):
    x, y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
    w = RNG.random(40) + 0.1 if weighted else None
    y[y == ignored] = 0
    y[::5] = ignored
    kept = y != ignored
    metrics = {"metrics": ["accuracy", md.TopKAccuracy(2)], "weighted_metrics": [md.Precision()]}
    loss = losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    model = md.Sequential([md.Dense(3)], rng=0, dtype="float64").compile(md.SGD(0.1), loss, **metrics).build(4)
    twin = md.Sequential([md.Dense(3)], rng=0, dtype="float64").compile(md.SGD(0.1), **metrics).build(4)
    some = {"sample_weight": w, "class_weight": {0: 1.0, 1: 2.0, 2: 3.0}}
    of_kept = {**some, "sample_weight": None if w is None else w[kept]}
    for _ in range(3):
        model.fit(x, y, batch_size="full", verbose=0, **some)
        twin.fit(x[kept], y[kept], batch_size="full", verbose=0, **of_kept)
    np.testing.assert_allclose(model.theta, twin.theta, rtol=1e-12)
    found, expected = model.evaluate(x, y, **some), twin.evaluate(x[kept], y[kept], **of_kept)
    assert dict(found) == pytest.approx(dict(expected), rel=1e-12)
    scores = model.predict(x)
    assert loss.forward(scores, y[:, None]) == pytest.approx(md.SoftmaxCrossEntropy().forward(scores[kept], y[kept]))
    dscores = loss.backward()
    assert not dscores[~kept].any()
    with pytest.raises(ValueError, match="all weights of these rows are 0"):
        model.fit(x, np.full(40, ignored), verbose=0)
    with pytest.raises(ValueError, match="got 7 in row 1"):
        model.fit(x[:2], [ignored, 7], verbose=0)
    with pytest.raises(TypeError, match="ignore_class: expected a whole number"):
        losses.SparseCategoricalCrossentropy(ignore_class=0.5)


def test_hinge_labels_and_accuracy():
    x, signs = RNG.normal(size=(60, 2)), np.where(RNG.random(60) < 0.5, -1, 1)
    x[:, 0] += 3 * signs
    thetas = []
    for y in (signs, (signs + 1) // 2, signs > 0, np.where(signs > 0, "yes", "no")):
        model = md.Sequential([md.Dense(1)], rng=0).compile(md.SGD(0.1), "hinge", ["accuracy"])
        model.fit(x, y, epochs=20, verbose=0)
        assert model.evaluate(x, y)["accuracy"] == np.mean((model.predict(x)[:, 0] > 0) == (signs > 0)) > 0.95
        thetas.append(model.theta)
    assert all(np.array_equal(theta, thetas[0]) for theta in thetas)
    assert model.predict_classes([[9.0, 0.0], [-9.0, 0.0]]).tolist() == ["yes", "no"]
    for wrong, message in (([0, 2], "-1 and 1, or 0 and 1, got 2 in row 1"), ([0, -1], "there are zeros, got -1")):
        with pytest.raises(ValueError, match=message):
            losses.Hinge()(wrong, [0.5, 0.5])
    with pytest.raises(ValueError, match=r"got 0.5 in row 0"):
        losses.Hinge()([0.5, 1], [0.5, 0.5])


def test_the_divergence_learns_where_keras_clips():
    """A softmax of -40 has a derivative in float32; below Keras' 1e-7 it would have none."""
    loss, softmax = losses.KLDivergence(), md.Softmax()
    p = softmax.forward(np.array([[-40.0, 0.0]], "float32"))
    loss.forward(p, [[1.0, 0.0]])
    np.testing.assert_allclose(softmax.backward(loss.backward()), [[-1, 1]], rtol=1e-6)
    assert loss([[1.0, 0.0]], [[1.0, 0.0]]) == 0
    with pytest.raises(ValueError, match=r"takes probabilities.*Softmax"):
        md.Sequential([md.Dense(3)]).compile("sgd", "kld")
    with pytest.raises(ValueError, match=r"probabilities from 0 to 1, got 1.5 in row 0"):
        loss([[1.5, 0.0]], [[0.5, 0.5]])


def test_alpha_for_each_class():
    loss = losses.CategoricalFocalCrossentropy([0.1, 0.2])
    with pytest.raises(ValueError, match="alpha has 2 numbers; expected one for each of 3 classes"):
        loss.forward(np.zeros((1, 3)), [0])
    with pytest.raises(ValueError, match="alpha"):
        losses.CategoricalFocalCrossentropy([0.1, -0.2])
    assert losses.CategoricalFocalCrossentropy(1.0, 0).forward(SCORES, ROWS) == pytest.approx(
        md.SoftmaxCrossEntropy().forward(SCORES, ROWS)
    )
    assert losses.BinaryFocalCrossentropy(gamma=0).forward(SCORES, ROWS) == pytest.approx(
        md.SigmoidCrossEntropy().forward(SCORES, ROWS)
    )
