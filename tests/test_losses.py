"""SoftmaxCrossEntropy: its definition, its derivative, its labels, its precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays, seeds

import minidense as md


def exact_losses(scores, targets):
    """-sum t log softmax(s), in 80-bit numbers."""
    s = scores.astype(np.longdouble)
    s = s - s.max(axis=1, keepdims=True)
    top = s.argmax(axis=1)
    rest = np.exp(s)
    rest[np.arange(len(s)), top] = 0
    log_sum = np.log1p(rest.sum(axis=1))
    return (targets * (log_sum[:, None] - s)).sum(axis=1)


@given(normal_arrays(columns=st.integers(2, 7), scale=5.0), st.sampled_from(["mean", "sum"]), seeds)
def test_forward_and_backward_are_the_definition(scores, reduction, seed):
    n, k = scores.shape
    labels = np.random.default_rng(seed).integers(0, k, n)
    loss = md.SoftmaxCrossEntropy(reduction)
    expected = exact_losses(scores, np.eye(k)[labels])
    value = loss.forward(scores, labels)
    assert value == pytest.approx(float(expected.mean() if reduction == "mean" else expected.sum()), rel=1e-13)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    dscores = p - np.eye(k)[labels]
    np.testing.assert_allclose(loss.backward(), dscores / n if reduction == "mean" else dscores, rtol=1e-11, atol=1e-15)


@given(normal_arrays(columns=st.integers(2, 5)), seeds)
def test_backward_is_the_derivative_of_forward_for_probability_rows(scores, seed):
    targets = np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]), len(scores))
    loss = md.SoftmaxCrossEntropy()
    loss.forward(scores, targets)
    dscores, h = loss.backward(), 1e-5
    for index in np.ndindex(*scores.shape):
        step = np.zeros_like(scores)
        step[index] = h
        difference = (loss.forward(scores + step, targets) - loss.forward(scores - step, targets)) / (2 * h)
        assert dscores[index] == pytest.approx(difference, abs=1e-9)  # h**2 and eps / h are both near 1e-11


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gap", [0.0, 1e-6, 0.1, 1.0, 5.0, 17.0, 30.0, 80.0, 1e4])
@pytest.mark.parametrize("label", [0, 1])
def test_four_units_in_the_last_place(dtype, gap, label):
    """Scores (0, -gap, -2 gap): losses from exp(-80) to 1e4, where 1 plus a little would be rounded to 1."""
    scores = np.array([[0, -gap, -2 * gap]], dtype)
    targets = np.eye(3, dtype=dtype)[[label]]
    (found,) = md.SoftmaxCrossEntropy().rows(scores, targets)
    (exact,) = exact_losses(scores, targets.astype(np.longdouble))
    unit = np.spacing(np.dtype(dtype).type(max(float(exact), float(np.finfo(dtype).tiny))))
    assert found.dtype == dtype
    assert abs(np.longdouble(found) - exact) <= 4 * unit


def test_label_forms_agree():
    scores = np.random.default_rng(0).normal(size=(4, 3))
    labels = np.array([0, 2, 1, 2])
    forms = [labels, labels[:, None], labels.tolist(), labels.astype("uint8"), labels * 1.0, np.eye(3)[labels]]
    assert len({md.SoftmaxCrossEntropy().forward(scores, form) for form in forms}) == 1


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 rows of scores, but 3 of y"):
        md.SoftmaxCrossEntropy().forward(np.zeros((2, 3)), [0, 1, 2])


@pytest.mark.parametrize(
    "name", ["sparse_categorical_crossentropy", "categorical_crossentropy", "softmax_crossentropy"]
)
def test_keras_names(name):
    assert type(md.losses.get_loss(name)) is md.SoftmaxCrossEntropy
