"""Each loss: its definition, its derivative, its labels, its precision."""

import copy
import itertools
import pickle
from decimal import Decimal

import numpy as np
import pytest
from exact import DTYPES, exp, log1p, many_digits, points, rows_of, units
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal_arrays, seeds

import minidense as md
from minidense.core.configurable import LIBRARY, load_state_dict, state_dict


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
    """Scores (0, -gap, -2 gap): losses from exp(-80) to 1e4, also where 1 + exp(-gap) rounds to 1."""
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


ARGUMENTS = [
    (md.SoftmaxCrossEntropy, "label_smoothing", 0.2, 1.0),
    (md.SigmoidCrossEntropy, "label_smoothing", 0.2, -0.1),
    (md.Huber, "delta", 2.0, 0.0),
    *[
        (cls, "reduction", "sum", "total")
        for cls in (md.SoftmaxCrossEntropy, md.SigmoidCrossEntropy, md.Huber, md.MeanSquaredError, md.MeanAbsoluteError)
    ],
]


@pytest.mark.parametrize(("cls", "name", "right", "wrong"), ARGUMENTS)
def test_arguments_set_later_are_checked_and_count(cls, name, right, wrong):
    scores, y = np.array([[0.5], [3.0]]) if cls is not md.SoftmaxCrossEntropy else np.eye(2), [0, 1]
    loss = cls()
    before = loss.forward(scores, y)
    with pytest.raises(ValueError, match=name):
        setattr(loss, name, wrong)
    assert loss.forward(scores, y) == before
    setattr(loss, name, right)
    assert loss.get_config()[name] == right
    assert loss.forward(scores, y) == cls(**{name: right}).forward(scores, y) != before


@pytest.mark.parametrize("cls", sorted({cls for cls, *_ in ARGUMENTS}, key=lambda cls: cls.__name__))
def test_a_copy_leaves_the_last_batch_behind(cls):
    assert LIBRARY[cls.__name__] is cls
    loss = cls("sum") if cls is not md.Huber else cls(reduction="sum")
    loss.forward(np.eye(2), np.eye(2))
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert vars(twin).keys() == vars(loss).keys() - {"scores", "targets", "counts"}
        assert (twin.get_config(), twin.reduction) == (loss.get_config(), "sum")
        with pytest.raises(RuntimeError, match="call forward before backward"):
            twin.backward()
    assert state_dict(loss) == {}
    with pytest.raises(ValueError, match=f"{cls.__name__} does not save 'scores'"):
        load_state_dict(loss, {"scores": np.ones(2)})


# ------------------------------------------------------------------ losses on targets


def definitions(delta=0.7):
    return {
        md.MeanSquaredError: (md.MeanSquaredError(), lambda s, t: (s - t) ** 2),
        md.MeanAbsoluteError: (md.MeanAbsoluteError(), lambda s, t: abs(s - t)),
        md.Huber: (
            md.Huber(delta),
            lambda s, t: np.where(abs(s - t) <= delta, (s - t) ** 2 / 2, delta * (abs(s - t) - delta / 2)),
        ),
        md.SigmoidCrossEntropy: (
            md.SigmoidCrossEntropy(),
            lambda s, t: -t * np.log(1 / (1 + np.exp(-s))) - (1 - t) * np.log(1 - 1 / (1 + np.exp(-s))),
        ),
    }


@pytest.mark.parametrize("cls", definitions())
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(scores=normal_arrays(scale=2.0), seed=seeds)
def test_target_losses_are_their_definitions(cls, reduction, scores, seed):
    loss, definition = definitions()[cls]
    loss.reduction = reduction
    targets = np.random.default_rng(seed).random(scores.shape)
    rows = definition(scores, targets).mean(axis=1)
    expected = rows.mean() if reduction == "mean" else rows.sum()
    value = loss.forward(scores, targets)
    assert value == pytest.approx(expected, rel=1e-9)
    dscores, h = loss.backward(), 1e-5
    # Of at most 6 + 6 additions and 3 other roundings, in both values; and the third derivative, which is below 1.
    tolerance = 15 * np.finfo(float).eps * max(1, value) / h + h**2
    for index in np.ndindex(*scores.shape):
        step = np.zeros_like(scores)
        step[index] = h
        difference = (loss.forward(scores + step, targets) - loss.forward(scores - step, targets)) / (2 * h)
        kink = abs(abs(scores[index] - targets[index]) - (0.7 if cls is md.Huber else 0)) < 2 * h
        assert kink or dscores[index] == pytest.approx(difference, rel=0, abs=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("score", [0.0, 1e-6, 1.0, 17.0, 40.0, 80.0, 1e4, -0.5, -17.0, -80.0, -1e4])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_sigmoid_cross_entropy_to_four_units_in_the_last_place(dtype, score, target):
    s = np.array([[score]], dtype)
    (found,) = md.SigmoidCrossEntropy().rows(s, np.array([[target]], dtype))
    signed = np.longdouble(s[0, 0]) * (1 if target == 0 else -1)
    exact = max(signed, np.longdouble(0)) + np.log1p(np.exp(-abs(signed)))
    assert abs(np.longdouble(found) - exact) <= 4 * np.spacing(np.dtype(dtype).type(max(exact, np.finfo(dtype).tiny)))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "binary_crossentropy"])
def test_targets_of_one_axis_go_with_one_output_and_nothing_is_broadcast(loss):
    x, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2
    models = [md.Sequential([md.Dense(1)], rng=0).compile("sgd", loss) for _ in range(2)]
    for model, targets in zip(models, (y, y[:, None]), strict=True):
        model.fit(x, targets, verbose=0)
    assert np.array_equal(models[0].theta, models[1].theta)
    two = md.Sequential([md.Dense(2)], rng=0).compile("sgd", loss)
    for wrong in (y, y[:, None], np.zeros((12, 3)), np.zeros((12, 2, 1))):
        with pytest.raises(ValueError, match=r"the model's outputs, \(n, 2\); got \(12"):
            two.fit(x, wrong, verbose=0)
    with pytest.raises(ValueError, match=r"\(n, 1\) or \(n,\); got \(12, 2\)"):
        models[0].fit(x, np.zeros((12, 2)), verbose=0)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("mse", [1.0, np.nan], "finite numbers, got nan in row 1"),
        ("mae", [np.inf, 0.0], "got inf in row 0"),
        ("mse", ["a", "b"], "expected real numbers, got dtype <U1"),
        ("binary_crossentropy", [0.0, 1.5], "expected 0, 1 or probabilities between, got 1.5 in row 1"),
        ("binary_crossentropy", [-1, 1], "got -1 in row 0"),
    ],
)
def test_bad_targets(loss, y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        md.Sequential([md.Dense(1)]).compile("sgd", loss).fit(np.ones((2, 3)), y, verbose=0)


def test_sigmoid_is_fused_as_softmax_is():
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.random.default_rng(1).integers(0, 2, (40, 2))
    models = [
        md.Sequential([md.Dense(2), *last], rng=0).compile("sgd", "binary_crossentropy", ["accuracy"])
        for last in ([], [md.Sigmoid()])
    ]
    histories = [model.fit(x, y, epochs=3, verbose=0).history for model in models]
    assert np.array_equal(models[0].theta, models[1].theta)
    assert histories[0] == histories[1]
    np.testing.assert_allclose(models[1].predict(x), 1 / (1 + np.exp(-models[0].predict(x))), rtol=1e-5)
    with pytest.raises(ValueError, match=r"takes scores.*End it in Dense\(labels\)"):
        md.Sequential([md.Dense(2), md.Softmax()]).compile("sgd", "binary_crossentropy")


@pytest.mark.parametrize("e", [0.1, 0.5])
def test_label_smoothing_is_training_on_smoothed_rows(e):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    smooth, plain = md.SoftmaxCrossEntropy(label_smoothing=e), md.SoftmaxCrossEntropy()
    rows = (1 - e) * np.eye(4)[labels] + e / 4
    assert smooth.forward(scores, labels) == pytest.approx(plain.forward(scores, rows), rel=1e-12)
    np.testing.assert_allclose(smooth.backward(), plain.backward(), rtol=1e-12, atol=1e-15)
    binary = (rng.random((6, 4)) > 0.5) * 1.0
    smooth, plain = md.SigmoidCrossEntropy(label_smoothing=e), md.SigmoidCrossEntropy()
    assert smooth.forward(scores, binary) == pytest.approx(plain.forward(scores, (1 - e) * binary + e / 2), rel=1e-12)
    with pytest.raises(ValueError, match="label_smoothing"):
        md.SoftmaxCrossEntropy(label_smoothing=1.0)


@pytest.mark.parametrize("total", [0.99, 0.9985, 1.0015, 1.01])
def test_probability_rows_far_from_1_are_refused(total):
    rows = np.full((2, 4), 0.25)
    rows[1] *= total
    with pytest.raises(ValueError, match=rf"row 1 is .*, with sum {total}\."):
        md.SoftmaxCrossEntropy().forward(np.zeros((2, 4)), rows)


def test_probability_rows_are_normalised():
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.random.default_rng(1).dirichlet(np.ones(3), 6)
    twin, *models = [md.Sequential([md.Dense(3)], rng=0, dtype="float64").build(4).compile() for _ in range(4)]
    loss = twin.loss_and_grad(x, y)
    for model, total in zip(models, (0.9992, 1.0005, 1.0008), strict=True):
        assert model.loss_and_grad(x, total * y) == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(model.grad, twin.grad, rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@many_digits()
def test_softmax_cross_entropy_is_exact_to_four_units(dtype):
    loss = md.SoftmaxCrossEntropy()
    with np.errstate(over="ignore"):
        scores = rows_of(dtype)
    for row in scores:
        powers = [exp(Decimal(s) - Decimal(max(row))) for s in row]
        for label in range(len(row)):
            exact = log1p(sum(sorted(powers)[:-1])) + Decimal(max(row)) - Decimal(row[label])
            if exact < np.finfo("float64").max:
                found = loss.forward(np.array([row], dtype), [label])
                assert units(found, exact, dtype) <= 4, (row, label)
            assert np.isfinite(loss.backward()).all()


def elementwise(name, s, t):
    """The loss of one output, exactly."""
    d = abs(s - t)
    if name == "SigmoidCrossEntropy":
        return log1p(exp(-abs(s))) + ((1 - t) * s if s > 0 else -t * s)
    if name == "Huber":
        return d * d / 2 if d <= 1 else d - Decimal("0.5")
    return {"MeanSquaredError": d * d, "MeanAbsoluteError": d}[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["SigmoidCrossEntropy", "Huber", "MeanSquaredError", "MeanAbsoluteError"])
@many_digits()
def test_target_losses_are_exact_to_four_units(name, dtype):
    loss = getattr(md, name)()
    targets = [0.0, 1.0, 0.5, 0.25] if name == "SigmoidCrossEntropy" else points(dtype)
    for score, target in itertools.product(points(dtype), targets):
        exact = elementwise(name, Decimal(score), Decimal(target))
        found = loss.forward(np.full((3, 2), score, dtype), np.full((3, 2), target, dtype))
        if exact < np.finfo("float64").max:
            assert units(found, exact, dtype) <= 4, (score, target, found)
        assert not np.isnan(loss.backward()).any()
