"""Regularizers: penalties in every loss, gradients checked by differences, once an update, saved with the layer."""

import copy
import pickle

import numpy as np
import pytest
from tied import Transposed

import minidense as md
from minidense.layers.regularizers import L1, L1L2, L2, OrthogonalRegularizer, get_regularizer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 5)), RNG.integers(0, 3, 30)
STRENGTHS = (0.3, 0.2)


class Quartic(md.regularizers.Regularizer):
    def __call__(self, w):
        return 0.1 * (w**4).sum()

    def gradient(self, w):
        return 0.4 * w**3


def model(reduction="mean", dtype="float64", **of_first):
    layers = [md.Dense(6, "tanh", bias_initializer="ones", **of_first), md.Dense(3)]
    made = md.Sequential(layers, rng=0, dtype=dtype).compile(md.SGD(0.1), md.SoftmaxCrossEntropy(reduction))
    return made.build(5)


def penalty_of(w, b):
    """That of L1L2(0.3, 0.2) for W, and L2(0.1) for b."""
    return 0.3 * abs(w).sum() + 0.2 * (w**2).sum() + 0.1 * (b**2).sum()


PENALIZED = {"kernel_regularizer": L1L2(0.3, 0.2), "bias_regularizer": L2(0.1)}
EVERY = [L1(0.1), L2(0.1), L1L2(0.1, 0.2), OrthogonalRegularizer(0.5), OrthogonalRegularizer(0.5, "columns"), Quartic()]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("regularizer", EVERY, ids=repr)
def test_the_gradient_of_the_loss_with_a_penalty_is_its_differences(regularizer, reduction):
    it = model(reduction, kernel_regularizer=regularizer)
    it.loss_and_grad(X, Y)
    grad, theta, size = it.grad.copy(), it.theta, 1e-5
    for i in range(36):
        middle, values = theta[i], []
        for theta[i] in (middle + size, middle - size):
            values.append(it.loss_and_grad(X, Y))
        theta[i] = middle
        difference = (values[0] - values[1]) / (2 * size)
        assert difference == pytest.approx(grad[i], rel=1e-7, abs=1e-7 * max(1, abs(grad).max()))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_penalty_is_undivided_in_every_loss(reduction):
    plain, penalized = model(reduction), model(reduction, **PENALIZED)
    expected = penalty_of(*penalized.get_weights()[:2])
    for value in (
        lambda m: m.loss_and_grad(X, Y),
        lambda m: float(m.evaluate(X, Y)),
        lambda m: float(m.evaluate(X, Y, batch_size=7)),
    ):
        assert value(penalized) - value(plain) == pytest.approx(expected, rel=1e-9)
    for update in (
        lambda m: float(m.train_on_batch(X, Y)),
        lambda m: m.fit(X, Y, batch_size="full", verbose=0).history["loss"][0],
    ):
        before = model(reduction), model(reduction, **PENALIZED)
        assert update(before[1]) - update(before[0]) == pytest.approx(expected, rel=1e-9)
    weights = RNG.uniform(0.5, 2, 30)
    values = [m.loss_and_grad(X, Y, sample_weight=weights) for m in (penalized, plain)]
    assert values[0] - values[1] == pytest.approx(expected, rel=1e-9)


def test_history_has_the_mean_of_the_penalties_before_each_update():
    """Weighted by the rows of each batch: 12, 12 and 6."""
    it, seen, losses = model(**PENALIZED), [], []

    class Note(md.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs):
            seen.append(penalty_of(*self.model.get_weights()[:2]))
            losses.append(data_loss(self.model, slice(12 * batch, 12 * batch + 12)))

        def on_train_batch_end(self, batch, logs):
            rows, so_far = [12, 12, 6][: batch + 1], np.add(seen, losses)[-batch - 1 :]
            assert logs["loss"] == pytest.approx(np.average(so_far, weights=rows), rel=1e-9)

    def data_loss(m, rows):
        p = m.predict(X[rows]) - m.predict(X[rows]).max(axis=1, keepdims=True)
        return np.mean(np.log(np.exp(p).sum(axis=1)) - p[np.arange(len(p)), Y[rows]])

    options = {"batch_size": 12, "shuffle": False, "verbose": 0}
    history = it.fit(X, Y, callbacks=[Note()], validation_data=(X, Y), **options).history
    assert history["loss"][0] == pytest.approx(np.average(np.add(seen, losses), weights=[12, 12, 6]), rel=1e-9)
    assert history["val_loss"][0] == pytest.approx(
        data_loss(it, slice(None)) + penalty_of(*it.get_weights()[:2]), rel=1e-9
    )
    unseen = model(**PENALIZED).fit(X, Y, validation_data=(X, Y), **options).history
    assert unseen == history
    seen.clear(), losses.clear()
    second = it.fit(X, Y, callbacks=[Note()], epochs=2, **options).history["loss"]
    for epoch in (0, 1):
        each = np.add(seen, losses)[3 * epoch : 3 * epoch + 3]
        assert second[epoch] == pytest.approx(np.average(each, weights=[12, 12, 6]), rel=1e-9)


def test_the_penalty_counts_once_an_update_however_its_batch_is_cut():
    x, y = RNG.normal(size=(5000, 5)), RNG.integers(0, 3, 5000)  # more rows than a slice has
    plain, penalized = model(), model(**PENALIZED)
    expected = penalty_of(*penalized.get_weights()[:2])
    assert penalized.loss_and_grad(x, y) - plain.loss_and_grad(x, y) == pytest.approx(expected, rel=1e-9)
    w, b = penalized.get_weights()[:2]
    of_penalty = np.concatenate([(0.3 * np.sign(w) + 0.4 * w).ravel(), 0.2 * b])
    np.testing.assert_allclose((penalized.grad - plain.grad)[:36], of_penalty, rtol=1e-9)
    once, cut = model(**PENALIZED), model(**PENALIZED)
    once.fit(X, Y, batch_size="full", verbose=0)
    cut.fit(X, Y, batch_size=10, gradient_accumulation_steps=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(cut.theta, once.theta, rtol=1e-12)
    assert cut.history.history["loss"] == pytest.approx(once.history.history["loss"], rel=1e-12)


def test_a_frozen_layer_is_penalized_and_does_not_move():
    it = model(**PENALIZED)
    it.layers[0].trainable = False
    before = it.get_weights()
    plain = model()
    plain.layers[0].trainable = False
    expected = penalty_of(*before[:2])
    assert float(it.train_on_batch(X, Y)) - float(plain.train_on_batch(X, Y)) == pytest.approx(expected, rel=1e-9)
    assert np.array_equal(it.layers[0].W, before[0])
    assert np.array_equal(it.layers[0].b, before[1])
    assert not np.array_equal(it.layers[-1].W, before[2])


def test_a_shared_parameter_is_penalized_once():
    def tied(regularizer):
        dense = md.Dense(3, kernel_regularizer=regularizer)
        return md.Sequential([dense, Transposed(dense)], rng=0, dtype="float64").compile(loss="mse").build(5)

    plain, penalized = tied(None), tied(L2(0.5))
    w = plain.layers[0].W
    assert penalized.loss_and_grad(X, X) - plain.loss_and_grad(X, X) == pytest.approx(0.5 * (w**2).sum(), rel=1e-9)
    np.testing.assert_allclose(penalized.grad[:15] - plain.grad[:15], w.ravel(), rtol=1e-9)


def test_alpha_of_scikit_learn():
    """MLPClassifier adds alpha / (2 n) times the sum of the squares of all W to the mean of the batch of n rows."""
    alpha, plain = 0.7, model()
    it = model(kernel_regularizer=L2(alpha / (2 * len(X))))
    w = it.layers[0].W
    expected = plain.loss_and_grad(X, Y) + alpha / (2 * len(X)) * (w**2).sum()
    assert it.loss_and_grad(X, Y) == pytest.approx(expected, rel=1e-12)
    x, y = X - X.mean(axis=0), X[:, :1] * 2 + np.arange(30)[:, None] / 30
    y = y - y.mean()
    ridge = md.Sequential([md.Dense(1, use_bias=False, kernel_regularizer=L2(alpha / 30))], rng=0, dtype="float64")
    ridge.compile(md.SGD(0.1), "mse").fit(x, y, batch_size="full", epochs=3000, verbose=0)
    solution = np.linalg.solve(x.T @ x + alpha * np.eye(5), x.T @ y)
    np.testing.assert_allclose(ridge.layers[0].W, solution, rtol=1e-9)


def test_copies_and_pickles_have_the_penalty():
    it = model(**PENALIZED)
    for twin in (copy.deepcopy(it), pickle.loads(pickle.dumps(it))):
        assert twin.loss_and_grad(X, Y) == it.loss_and_grad(X, Y)
        assert np.array_equal(twin.grad, it.grad)
    layer = md.Dense.from_config(it.layers[0].get_config())
    assert repr(layer) == repr(it.layers[0])
    assert "kernel_regularizer=L1L2(l1=0.3, l2=0.2)" in repr(layer)


def test_a_penalty_that_overflows_is_an_infinite_loss():
    it = model(dtype="float32", kernel_regularizer=L2(1e300))
    before = it.theta.copy()
    it.theta[:36] = before[:36] = 1e20
    with pytest.raises(FloatingPointError, match="The loss is not finite in this batch"):
        it.train_on_batch(X, Y)
    assert np.array_equal(it.theta, before)


def test_names():
    assert [repr(get_regularizer(name)) for name in ("l1", "L2", "l1_l2", "L1L2", "orthogonal_regularizer")] == [
        *("L1()", "L2()", "L1L2(l1=0.01, l2=0.01)", "L1L2(l1=0.01, l2=0.01)", "OrthogonalRegularizer()")
    ]
    assert md.regularizers.l2(0.1)(np.ones(2)) == pytest.approx(0.2)
    assert get_regularizer(None) is None
    with pytest.raises(ValueError, match=r"unknown regularizer 'l3'\. Known: 'l1', 'l1_l2'"):
        md.Dense(3, kernel_regularizer="l3")
    with pytest.raises(TypeError, match=r"kernel_regularizer: got the class L2; make an object of it: L2\(\)"):
        md.Dense(3, kernel_regularizer=L2)
    with pytest.raises(TypeError, match=r"expected a name, None or a Regularizer such as md.regularizers.L2\(0.01\)"):
        md.Dense(3, bias_regularizer=lambda w: 0.0)
    with pytest.raises(ValueError, match="L1: l1: expected a finite number at least 0, got -1"):
        L1(-1)
    with pytest.raises(ValueError, match="activity_regularizer: penalties on outputs are not supported"):
        md.Dense(3, activity_regularizer="l2")


def test_it_is_set_when_the_layer_is_made():
    """Later it would have no effect, or, for one made of a name, not be saved."""
    it = model(**PENALIZED)
    with pytest.raises(AttributeError, match="kernel_regularizer cannot be set once it is built"):
        it.layers[0].kernel_regularizer = L2(0.5)
    with pytest.raises(AttributeError, match="l2 cannot be set later; make a new L2"):
        it.layers[0].bias_regularizer.l2 = 0.5
    layer = md.Dense(3)
    layer.kernel_regularizer = "l2"
    assert md.Sequential([layer]).compile().build(5).network.penalties()


class Wrong(md.regularizers.Regularizer):
    def __init__(self, value, gradient):
        self.value, self.made = value, gradient

    def __call__(self, w):
        return self.value

    def gradient(self, w):
        return self.made


@pytest.mark.parametrize(
    ("value", "gradient", "message"),
    [
        ("1", 0.0, "must return the penalty as a number, got"),
        (np.ones(3), 0.0, "must return the penalty as a number, got"),
        (None, 0.0, "must return the penalty as a number, got"),
        (1.0, np.ones(3), r"expected a gradient of shape \(5, 3\), got \(3,\)"),
    ],
)
def test_what_is_wrong_with_ones_own_is_told_when_the_layer_is_built(value, gradient, message):
    it = md.Sequential([md.Dense(3, kernel_regularizer=Wrong(value, gradient))]).compile()
    with pytest.raises((TypeError, ValueError), match=message):
        it.fit(X, Y, verbose=0)
    assert not it.built


def test_one_that_needs_a_matrix():
    with pytest.raises(ValueError, match=r"OrthogonalRegularizer\(\): expected a matrix, got shape \(3,\)"):
        md.Sequential([md.Dense(3, bias_regularizer=OrthogonalRegularizer())]).build(5)
    zeros = OrthogonalRegularizer(1.0)
    assert zeros(np.zeros((3, 2))) == 0
    assert not zeros.gradient(np.array([[0.0, 0.0], [1.0, 2.0]])).any()
    assert zeros(np.ones((1, 2))) == 0  # a row alone has no pair


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda **more: md.BatchNormalization(**more), "gamma"),
        (lambda **more: md.BatchNormalization(**more), "beta"),
        (lambda **more: md.LayerNormalization(**more), "gamma"),
        (lambda **more: md.LayerNormalization(**more), "beta"),
        (lambda **more: md.PReLU(0.3, **more), "alpha"),
    ],
)
def test_other_layers_than_dense(make, parameter, tmp_path):
    """The penalty is in the loss, its gradient in the parameter's, and the constraint holds after each update."""
    x, y = np.random.default_rng(0).normal(size=(8, 4)), np.zeros((8, 4))
    arguments = {f"{parameter}_regularizer": md.regularizers.L2(0.5), f"{parameter}_constraint": "non_neg"}
    plain, limited = (md.Sequential([make(**more)], rng=0, dtype="float64").build(4) for more in ({}, arguments))
    losses = [model.compile("sgd", "mse").loss_and_grad(x, y) for model in (plain, limited)]
    w = getattr(limited[0], parameter)
    assert losses[1] - losses[0] == pytest.approx(0.5 * (w**2).sum())
    gradients = [getattr(model[0], f"d{parameter}") for model in (plain, limited)]
    assert gradients[1] - gradients[0] == pytest.approx(w)
    limited.compile(md.SGD(5.0), "mse").fit(x, y - 9, epochs=3, verbose=0)
    assert (getattr(limited[0], parameter) >= 0).all()
    limited.save(tmp_path / "model.npz")
    assert repr(md.load_model(tmp_path / "model.npz")[0]) == repr(limited[0])
    for name in arguments:
        with pytest.raises(AttributeError, match=f"{name} cannot be set once it is built"):
            setattr(limited[0], name, None)


def test_an_embedding():
    layer = md.Embedding(3, 2, "ones", embeddings_regularizer="l2", embeddings_constraint=md.constraints.MaxNorm(0.5))
    model = md.Sequential([layer, md.Flatten()], dtype="float64").build(1).compile("sgd", "mse")
    assert model.loss_and_grad([[0]], [[1.0, 1.0]]) == pytest.approx(0.01 * 6)
    assert layer.dE == pytest.approx(np.full((3, 2), 0.02))
    model.fit([[0]], [[1.0, 1.0]], verbose=0)
    assert np.linalg.norm(layer.E, axis=0).max() <= 0.5 + 1e-9
