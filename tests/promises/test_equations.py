"""The library compared with the equations in reference.py: every parameter after every update."""

import numpy as np
import pytest
import reference

import minidense as md

UPDATES = 50
N, D, K = 24, 7, 4

# Both sides round each product and sum differently, by at most a few eps = 2.2e-16 times the terms' size, and a
# contraction by small learning rates does not amplify that: 50 updates stay far below this.
RTOL = 1e-12

networks = {
    "a: d-100-k, ReLU, mean": ([100], "relu", "mean", 0.1),
    "b: d-d1-d2-d3-k, sigmoid, sum": ([9, 8, 6], "sigmoid", "sum", 0.02),
    "one layer": ([], "relu", "mean", 0.1),
    "ten layers": ([8] * 9, "relu", "mean", 0.05),
    "ten layers, sigmoid": ([6] * 9, "sigmoid", "sum", 0.02),
}


def make(hidden, activation, reduction, eta, *, final_softmax=True, dtype="float64"):
    layers = [md.Dense(u, activation=activation, bias_initializer="ones") for u in hidden] + [md.Dense(K)]
    if final_softmax:
        layers.append(md.Softmax())
    model = md.Sequential(layers, rng=3, dtype=dtype).build(D)
    return model.compile(md.SGD(eta), md.SoftmaxCrossEntropy(reduction))


def interleaved(weights, biases):
    return [array for pair in zip(weights, biases, strict=True) for array in pair]


def data(rng):
    return rng.normal(size=(N, D)), rng.integers(0, K, N)


@pytest.mark.parametrize("labels_as", ["integers", "one-hot"])
@pytest.mark.parametrize("rule", ["full", "mini-batch", "single"])
@pytest.mark.parametrize("network", networks)
def test_every_parameter_after_every_update(network, rule, labels_as):
    hidden, activation, reduction, eta = networks[network]
    x, labels = data(np.random.default_rng(1))
    y = labels if labels_as == "integers" else np.eye(K)[labels]
    model = make(hidden, activation, reduction, eta)
    arrays = model.get_weights()
    weights, biases = arrays[0::2], arrays[1::2]
    size = {"full": N, "mini-batch": 5, "single": 1}[rule]  # 24 rows are four batches of 5 and one of 4
    compared = 0

    def compare(batch, logs):
        nonlocal compared
        start = batch * size
        rows = slice(start, min(start + size, N))
        reference.update(x[rows], labels[rows], weights, biases, activation, reduction, eta)
        for mine, theirs in zip(model.get_weights(), interleaved(weights, biases), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=RTOL, atol=RTOL * abs(theirs).max())
        compared += 1
        model.stop_training = compared >= UPDATES

    callback = md.callbacks.LambdaCallback(on_batch_end=compare)
    model.fit(x, y, batch_size=size, epochs=UPDATES, shuffle=False, callbacks=[callback], verbose=0)
    assert compared == UPDATES


@pytest.mark.parametrize("network", networks)
def test_loss_and_gradient(network):
    hidden, activation, reduction, eta = networks[network]
    x, labels = data(np.random.default_rng(2))
    model = make(hidden, activation, reduction, eta)
    arrays = model.get_weights()
    arguments = (x, labels, arrays[0::2], arrays[1::2], activation, reduction)
    before = model.theta.copy()
    assert model.loss_and_grad(x, labels) == pytest.approx(reference.loss(*arguments), rel=RTOL)
    dWs, dbs = reference.gradients(*arguments)
    expected = np.concatenate([a.ravel() for a in interleaved(dWs, dbs)])
    np.testing.assert_allclose(model.grad, expected, rtol=RTOL, atol=RTOL * abs(expected).max())
    assert np.array_equal(model.theta, before)


@pytest.mark.parametrize("network", networks)
@pytest.mark.parametrize("size", [1, 5, "full"])
def test_with_and_without_a_final_softmax_the_parameters_are_the_same_to_the_bit(network, size):
    x, labels = data(np.random.default_rng(3))
    models = [make(*networks[network], final_softmax=final, dtype="float32") for final in (True, False)]
    for model in models:
        model.fit(x, labels, batch_size=size, epochs=5, verbose=0)
    assert np.array_equal(models[0].theta, models[1].theta)
    scores = models[1].predict(x)
    np.testing.assert_allclose(models[0].predict(x), reference.probabilities(scores), rtol=1e-5)


def test_history_reports_the_mean_per_sample_also_for_a_summed_loss():
    x, labels = data(np.random.default_rng(4))
    model = make([], "relu", "sum", 1e-9)
    arrays = model.get_weights()
    expected = reference.loss(x, labels, arrays[0::2], arrays[1::2], "relu", "mean")
    history = model.fit(x, labels, batch_size="full", verbose=0)
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-12)
    assert model.loss_and_grad(x, labels) == pytest.approx(expected * N, rel=1e-6)


def test_the_last_smaller_batch_counts_with_its_true_size():
    """One epoch of 5 + 5 + 1 rows: the epoch's loss is the mean over 11 rows, each at its own parameters."""
    x, labels = data(np.random.default_rng(5))
    x, labels = x[:11], labels[:11]
    model = make([6], "relu", "mean", 0.5)
    arrays = model.get_weights()
    weights, biases = arrays[0::2], arrays[1::2]
    total = 0.0
    for start in (0, 5, 10):
        rows = slice(start, start + 5)
        total += reference.loss(x[rows], labels[rows], weights, biases, "relu", "sum")
        reference.update(x[rows], labels[rows], weights, biases, "relu", "mean", 0.5)
    history = model.fit(x, labels, batch_size=5, shuffle=False, verbose=0)
    assert history.history["loss"][0] == pytest.approx(total / 11, rel=1e-12)
    np.testing.assert_allclose(model.get_weights()[0], weights[0], rtol=RTOL, atol=RTOL)
