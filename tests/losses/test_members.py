"""The loss of members: what each of them would compute alone, and nothing from the rows that it withholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, sizes

import minidense as md
from minidense import losses
from minidense.losses import Members

INNER = {  # the loss, and labels or numbers for it, of so many rows and c outputs
    "softmax": (lambda: losses.SoftmaxCrossEntropy(label_smoothing=0.1), lambda rng, n, c: rng.integers(0, c, n)),
    "sum": (lambda: losses.SoftmaxCrossEntropy("sum"), lambda rng, n, c: rng.integers(0, c, n)),
    "sigmoid": (lambda: losses.SigmoidCrossEntropy(), lambda rng, n, c: rng.integers(0, 2, n)),
    "hinge": (lambda: losses.Hinge(), lambda rng, n, c: 2 * rng.integers(0, 2, n) - 1),
    "mse": (lambda: losses.MeanSquaredError(), lambda rng, n, c: rng.normal(size=n)),
    "huber": (lambda: losses.Huber(0.5), lambda rng, n, c: rng.normal(size=n)),
}


def drawn(name, n, k, seed, share=0.3):
    """The loss, scores (n, k, c), y (n,), and y (n, k) with some withheld."""
    make, labels = INNER[name]
    rng = np.random.default_rng(seed)
    c = 3 if name in ("softmax", "sum") else 1
    y, held = labels(rng, n, c), rng.random((n, k)) < share
    by_member = np.repeat(y[:, None], k, axis=1)
    minus = name in ("softmax", "sum", "sigmoid")
    by_member = np.where(held, -1, by_member) if minus else np.where(held, np.nan, by_member)
    return make(), rng.normal(size=(n, k, c)), y, by_member, held


@pytest.mark.parametrize("name", INNER)
@given(n=sizes, k=sizes, seed=seeds)
def test_it_is_the_sum_over_the_members_that_count_a_row(name, n, k, seed):
    inner, scores, y, by_member, held = drawn(name, n, k, seed)
    loss = Members(inner, k)
    value = loss.forward(scores.reshape(n, -1), by_member)
    dscores = loss.backward().reshape(scores.shape)
    expected, gradient = 0.0, np.zeros_like(scores)
    for i, m in zip(*np.nonzero(~held), strict=True):
        expected += inner.forward(scores[i : i + 1, m], y[i : i + 1]) / k
        gradient[i, m] = inner.backward()[0] / k
    rows = (~held).any(axis=1).sum() or 1
    scale = 1 if inner.reduction == "sum" else rows
    assert value == pytest.approx(expected / scale, rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(dscores, gradient / scale, rtol=1e-12, atol=1e-15)
    assert not dscores[held].any()


@pytest.mark.parametrize("name", INNER)
def test_one_label_of_a_row_is_the_label_of_all_members(name):
    inner, scores, y, _, _ = drawn(name, 9, 4, 0)
    scores = scores.reshape(9, -1)
    loss, by_member = Members(inner, 4), np.repeat(y[:, None], 4, axis=1)
    forms = [y, y[:, None], by_member, by_member * 1.0]
    found = [(loss.forward(scores, form), loss.backward().tolist()) for form in forms]
    assert found[1:] == found[:-1]


def test_the_order_of_the_scores_in_memory_makes_no_difference():
    inner, scores, _, by_member, _ = drawn("softmax", 9, 4, 0)
    loss, scores = Members(inner, 4), scores.reshape(9, -1)
    found = [(loss.forward(x, by_member), loss.backward().tolist()) for x in (scores, np.asfortranarray(scores))]
    assert found[0] == found[1]


def test_vectors_for_each_member():
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=(9, 2, 3)), rng.normal(size=(9, 2, 3))
    y[1:4, 0] = np.nan
    found = Members("mse", 2).forward(scores.reshape(9, 6), y)
    assert found == pytest.approx(np.nan_to_num((scores - y) ** 2).mean(), rel=1e-13)
    rows = rng.dirichlet(np.ones(3), (9, 2))
    found = Members("categorical_crossentropy", 2).forward(scores.reshape(9, 6), rows)
    p = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    assert found == pytest.approx(-(rows * np.log(p)).sum(axis=2).mean(), rel=1e-12)


def test_a_class_that_the_inner_loss_ignores_is_withheld_too():
    _, scores, y, by_member, held = drawn("softmax", 30, 4, 0)
    ignoring = Members(losses.SparseCategoricalCrossentropy(ignore_class=2), 4)
    plain = Members("softmax_crossentropy", 4)
    for mine, same in ((y, np.where(y[:, None] == 2, -1, y[:, None].repeat(4, axis=1))),
                       (by_member, np.where(by_member == 2, -1, by_member))):  # fmt: skip
        assert ignoring.forward(scores.reshape(30, -1), mine) == pytest.approx(
            plain.forward(scores.reshape(30, -1), same), rel=1e-13
        )
        np.testing.assert_allclose(ignoring.backward(), plain.backward(), rtol=1e-13)
    assert held.any()


# ------------------------------------------------------------------ in a model

K, X = 3, np.random.default_rng(5).normal(size=(60, 4))
Y = (X @ np.random.default_rng(6).normal(size=(4, 3))).argmax(axis=1)
FOLD = np.arange(60) % K
TRAINED = np.where(np.arange(K) == FOLD[:, None], -1, Y[:, None])  # each member withholds its fold
HELD_OUT = np.where(np.arange(K) == FOLD[:, None], Y[:, None], -1)


def ensemble(metrics=("accuracy",), dtype="float64"):
    layers = [md.Scale(K), md.PackedDense(8, K), md.Tanh(), md.PackedDense(3, K), md.MembersMean(K)]
    model = md.Sequential(layers, rng=0, dtype=dtype)
    return model.compile(md.Adam(0.02), Members("softmax_crossentropy", K), list(metrics))


def member(model, m):
    """A model of its own, as the member is now."""
    s, W, b, W2, b2 = (parameter[m] for parameter in model.get_weights())
    alone = md.Sequential([md.Dense(8), md.Tanh(), md.Dense(3), md.Softmax()], rng=0, dtype="float64").build(4)
    alone.set_weights([s[:, None] * W, b, W2, b2])
    return alone


def test_each_member_trains_as_if_it_were_alone():
    """With SGD of k times the rate, as each has a kth of the loss; without Scale, which has no counterpart in Dense."""
    layers = [
        md.Concatenate([md.Linear() for _ in range(K)]),
        md.PackedDense(8, K),
        md.Tanh(),
        md.PackedDense(3, K),
        md.MembersMean(K),
    ]
    model = md.Sequential(layers, rng=0, dtype="float64").build(4)
    model.compile(md.SGD(0.1 * K), Members(losses.SoftmaxCrossEntropy("sum"), K))
    own, alone = TRAINED.T >= 0, []
    for m in range(K):
        one = md.Sequential([md.Dense(8), md.Tanh(), md.Dense(3)], rng=0, dtype="float64").build(4)
        one.set_weights([parameter[m] for parameter in model.get_weights()])
        alone.append(one.compile(md.SGD(0.1), md.SoftmaxCrossEntropy("sum")))
    for _ in range(5):
        model.train_on_batch(X, TRAINED)
        for m, one in enumerate(alone):
            one.train_on_batch(X[own[m]], Y[own[m]])
    for m, one in enumerate(alone):
        for mine, its in zip(model.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(mine[m], its, rtol=1e-9, atol=1e-12)


def test_out_of_fold_loss_and_metrics_and_those_of_the_ensemble():
    model = ensemble(["accuracy", "f1"])
    history = model.fit(X, TRAINED, epochs=5, validation_data=(X, HELD_OUT), verbose=0).history
    p = np.array([member(model, m).predict(X) for m in range(K)])
    own = p[FOLD, np.arange(60)]
    assert history["val_accuracy"][-1] == (own.argmax(axis=1) == Y).mean()
    assert history["val_loss"][-1] == pytest.approx(-np.log(own[np.arange(60), Y]).mean() / K, rel=1e-12)
    others = (p.sum(axis=0) - own) / (K - 1)
    assert model.evaluate(X, TRAINED)["accuracy"] == (others.argmax(axis=1) == Y).mean()
    np.testing.assert_allclose(model.predict(X), p.mean(axis=0), rtol=1e-12)
    assert model.evaluate(X, Y)["accuracy"] == (model.predict_classes(X) == Y).mean()
    assert model.evaluate(X, Y)["loss"] == pytest.approx(-np.log(p[:, np.arange(60), Y]).mean(), rel=1e-12)


def test_a_row_that_all_members_withhold_is_no_row():
    y = TRAINED.copy()
    y[7:20] = -1
    kept = np.r_[0:7, 20:60]
    one, other = ensemble(), ensemble()
    with_them = one.fit(X, y, batch_size="full", epochs=3, verbose=0).history
    without = other.fit(X[kept], y[kept], batch_size="full", epochs=3, verbose=0).history
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-9, atol=1e-12)
    for name in without:
        np.testing.assert_allclose(with_them[name], without[name], rtol=1e-10)
    weights = np.random.default_rng(0).random(60)
    class_weight = {0: 1.0, 1: 2.0, 2: 0.5}
    found = one.evaluate(X, y, sample_weight=weights, class_weight=class_weight)["loss"]
    expected = one.evaluate(X[kept], y[kept], sample_weight=weights[kept], class_weight=class_weight)["loss"]
    assert found == pytest.approx(expected, rel=1e-12)


def test_names_of_classes_and_numbers():
    model = ensemble()
    names = np.array(["no", "perhaps", "yes"])[Y]
    model.fit(X, names, epochs=30, verbose=0)
    assert (model.predict_classes(X) == names).mean() == model.evaluate(X, names)["accuracy"] > 0.8
    layers = [md.Scale(2), md.PackedDense(1, 2), md.MembersMean(2, "linear")]
    model = md.Sequential(layers, rng=0).compile("adam", Members("mse", 2), ["mae"])
    numbers = np.stack([X[:, 0], np.where(FOLD == 0, np.nan, X[:, 0])], axis=1)
    found = model.fit(X, numbers, verbose=0, epochs=2).history
    assert np.isfinite([found["loss"], found["mae"]]).all()
    layers = [md.Scale(2), md.PackedDense(1, 2), md.MembersMean(2, "sigmoid")]
    model = md.Sequential(layers, rng=0).compile("adam", Members("bce", 2), ["accuracy", "auc"])
    model.fit(X, np.where(np.isnan(numbers), -1, numbers > 0), epochs=2, verbose=0)
    assert (model.predict_classes(X) == (model.predict(X)[:, 0] > 0.5)).all()


def test_accuracy_of_a_hinge_is_that_of_the_sign():
    layers = [md.Scale(2), md.PackedDense(1, 2), md.MembersMean(2, "linear")]
    model = md.Sequential(layers, rng=0).compile(md.Adam(0.05), Members("hinge", 2), ["accuracy"])
    y = np.sign(X[:, 0])
    model.fit(X, np.stack([y, np.where(FOLD == 0, np.nan, y)], axis=1), epochs=30, verbose=0)
    assert model.evaluate(X, y)["accuracy"] == (model.predict(X)[:, 0] * y > 0).mean() > 0.9
    assert (model.predict_classes(X) == (y > 0)).mean() > 0.9


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_it_is_validated_saved_and_exported_as_any_model(share, tmp_path):
    model = ensemble(dtype="float32")
    model.fit(X, TRAINED, epochs=2, validation_split=share, verbose=0)
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz")
    assert repr(loaded.loss) == repr(model.loss) == "Members('softmax_crossentropy', 3)"
    for each in (model, loaded):
        each.fit(X, TRAINED, epochs=2, verbose=0)
    assert np.array_equal(loaded.theta, model.theta)
    model.export_numpy(tmp_path / "model.py")


def test_a_column_for_each_member_is_not_taken_for_rows_of_0_and_1(recwarn):
    y = np.where(np.arange(60)[:, None] < 40, [1, 0, -1], [0, 1, -1])
    ensemble().fit(X, y, validation_split=0.3, verbose=0)
    assert not recwarn.list


def test_sources_of_batches():
    one, other = ensemble(), ensemble()
    one.fit(X, TRAINED, batch_size=20, epochs=2, shuffle=False, verbose=0)
    other.fit(Batches(), epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-12)


class Batches:
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[20 * i : 20 * i + 20], TRAINED[20 * i : 20 * i + 20]


# ------------------------------------------------------------------ what it refuses


def of(loss, k=3, last=None, outputs=3):
    layers = [md.Scale(k), md.PackedDense(outputs, k), *([md.MembersMean(k)] if last is None else last)]
    return md.Sequential(layers, rng=0).build(4).compile("sgd", loss)


ENDINGS = {
    "no end": (Members("softmax_crossentropy", 3), []),
    "softmax": (Members("softmax_crossentropy", 3), [md.Softmax()]),
    "another number": (Members("softmax_crossentropy", 3), [md.MembersMean(1)]),
    "another activation": (Members("softmax_crossentropy", 3), [md.MembersMean(3, "linear")]),
    "of numbers": (Members("mse", 3), [md.MembersMean(3)]),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_how_the_model_ends(ending):
    loss, last = ENDINGS[ending]
    expected = r"MembersMean\(3, activation='linear'\), not in M" if ending == "of numbers" else r"MembersMean\(3\)[,.]"
    with pytest.raises(ValueError, match=f"the model has to end in {expected}"):
        of(loss, last=last).evaluate(X, Y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(3)[Y], r"got one-hot rows: use y.argmax"),
        (TRAINED[:, :2], r"expected numbers of shape \(n,\), or \(n, 3\), one for each member, or \(n, 3, 3\); got"),
        (np.where(FOLD == 0, -1, Y), "expected labels from 0 to 2"),  # of all members: use weights
        (np.where(TRAINED == 2, 3, TRAINED), "expected labels from 0 to 2, as the model has 3 outputs; got 3 in row"),
        (np.full((60, 3), -1), "all weights of these rows are 0"),
        (np.where(TRAINED == 2, np.inf, TRAINED), "expected whole numbers from 0 to 2, got inf"),
    ],
)
def test_labels_that_it_refuses(y, message):
    model = ensemble()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, verbose=0)
    assert not model.built


def test_an_end_without_an_activation_where_outputs_must_be_positive():
    with pytest.raises(ValueError, match=r"Poisson\(\) takes .* whose outputs may be of any sign"):
        of(Members("poisson", 3), last=[md.MembersMean(3, "linear")], outputs=1).evaluate(X, X[:, 0] ** 2)


def test_losses_that_it_refuses():
    class Whole(md.Loss):
        def forward(self, scores, y):
            return 0.0

        def backward(self):
            return np.zeros(1)

    for loss in (Whole(), Members("mse", 2)):
        with pytest.raises(ValueError, match="Members: loss: expected a loss that is computed row by row, got"):
            Members(loss, 2)
    with pytest.raises(ValueError, match="takes scores of shape"):
        Members("mse", 2).forward(np.zeros((4, 3)), np.zeros(4))
    loss = Members(losses.Huber(reduction="sum"), 2)
    assert loss.reduction == "sum"
    loss.loss = losses.Huber()
    assert (loss.reduction, Members("huber", 2, "sum").reduction) == ("mean", "sum")


@given(st.data())
def test_an_inner_loss_of_ones_own_sees_only_rows_that_count(data):
    seen = []

    class Mine(md.TargetLoss):
        def elements(self, scores, targets):
            seen.append(targets.copy())
            return (scores - targets) ** 2

        def derivatives(self, scores, targets):
            seen.append(targets.copy())
            return 2 * (scores - targets)

    k = data.draw(sizes)
    _, scores, _, by_member, _ = drawn("mse", 6, k, data.draw(seeds))
    loss, theirs = Members(Mine(), k), Members("mse", k)
    flat = scores.reshape(6, -1)
    assert loss.forward(flat, by_member) == theirs.forward(flat, by_member)
    assert np.array_equal(loss.backward(), theirs.backward())
    assert all(np.isfinite(targets).all() for targets in seen)
