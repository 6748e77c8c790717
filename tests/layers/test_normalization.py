"""Normalization: formulas, gradients, and moving averages, which change only with an update."""

import copy
import pickle
import runpy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, sizes

import minidense as md
from minidense.layers.composite import Pass

NORMALIZATIONS = [md.BatchNormalization(), md.LayerNormalization()]


@pytest.mark.parametrize("layer", NORMALIZATIONS, ids=repr)
@given(features=st.integers(2, 6), seed=seeds)
def test_they_pass_the_gradient_check(layer, features, seed):
    sizes = (3, 9) if isinstance(layer, md.BatchNormalization) else (3, 1, 9)  # one row has no variance
    assert md.check_layer(layer, features, rng=seed, batch_sizes=sizes) <= 1e-7
    assert md.check_layer(layer, (2, features), rng=seed, batch_sizes=(4, 2)) <= 1e-7


@pytest.mark.parametrize("layer", NORMALIZATIONS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_inputs_are_finite_and_silent(layer, dtype):
    model = md.Sequential([copy.deepcopy(layer)], dtype=dtype).build(4)
    y = model.forward(np.array([[-1e4, 0, 1e4, 5], [1e4, 1, -1e4, -1e4]]), training=True)
    assert np.isfinite(y).all()
    assert y.dtype == dtype
    assert np.isfinite(model.backward(np.ones_like(y))).all()


def normalized(momentum=0.9, dtype="float64"):
    layers = [md.Dense(6), md.BatchNormalization(momentum=momentum), md.ReLU(), md.Dense(3)]
    return md.Sequential(layers, rng=0, dtype=dtype).compile(md.SGD(0.05))


def test_batch_normalization_follows_its_moving_averages():
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 3, size=(30, 4)), np.arange(30) % 3
    model = normalized().build(4)
    mean, variance = np.zeros(6), np.ones(6)
    for start in (0, 10, 20):
        batch = x[start : start + 10]
        z = batch @ model.layers[0].W + model.layers[0].b
        model.train_on_batch(batch, y[start : start + 10])
        mean, variance = 0.9 * mean + 0.1 * z.mean(axis=0), 0.9 * variance + 0.1 * z.var(axis=0)
    layer = model.layers[1]
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-12)
    z = x @ model.layers[0].W + model.layers[0].b
    expected = layer.gamma * (z - mean) / np.sqrt(variance + 1e-3) + layer.beta
    np.testing.assert_allclose(md.network.inference(model.layers[:2])(x), expected, rtol=1e-10)


def test_moving_averages_are_no_parameters_and_are_copied():
    model = normalized().build(4)
    assert model.count_params() == 4 * 6 + 6 + 2 * 6 + 6 * 3 + 3
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    model.fit(x, y, verbose=0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.predict(x), model.predict(x))
        assert not np.shares_memory(twin.layers[1].moving_mean, model.layers[1].moving_mean)
    before = model.layers[1].moving_mean.copy()
    model.predict(x)
    model.evaluate(x, y)
    assert np.array_equal(model.layers[1].moving_mean, before)
    model.add(md.Dense(3))
    assert np.array_equal(model.layers[1].moving_mean, before)


def test_a_step_that_is_not_made_does_not_move_the_averages():
    model = normalized(dtype="float32").build(4)
    layer = model.layers[1]
    layer.gamma[...] = 3e38
    with pytest.raises(FloatingPointError):
        model.train_on_batch(np.random.default_rng(0).normal(size=(8, 4)) * 100, np.zeros(8, int))
    assert (layer.moving_mean == 0).all()


def test_a_batch_with_batch_normalization_is_not_computed_in_slices():
    x, y = np.random.default_rng(0).normal(size=(5000, 4)), np.arange(5000) % 3
    model = normalized(momentum=0.0)
    model.fit(x, y, batch_size="full", verbose=0)
    z = x @ normalized().build(4).layers[0].W
    np.testing.assert_allclose(model.layers[1].moving_mean, z.mean(axis=0), rtol=1e-9, atol=1e-12)


@given(rows=sizes, features=st.integers(2, 6), seed=seeds)
def test_layer_normalization_is_its_formula(rows, features, seed):
    x = np.random.default_rng(seed).normal(3, 2, size=(rows, features))
    model = md.Sequential([md.LayerNormalization(epsilon=1e-3)], dtype="float64").build(features)
    expected = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------ weights


def pass_through(layer, x, dy, weights=None, dtype="float64"):
    """(y, dx, gradients, moving averages) of one training pass of a copy."""
    model = md.Sequential([copy.deepcopy(layer)], dtype=dtype).build(x.shape[1:])
    layer, chain = model.layers[0], Pass(model.layers, training=True)
    layer.gamma[...], layer.beta[...] = np.linspace(0.5, 2, x.shape[-1]), np.linspace(-1, 1, x.shape[-1])
    y = chain.forward(x, weights).copy()
    return y, chain.backward(dy).copy(), model.grad.copy(), model.network.buffers.copy()


@given(
    n=st.integers(1, 8), between=st.sampled_from([(), (1,), (3,)]), seed=seeds, scale=st.sampled_from([1, 1e-5, 7e8])
)
def test_a_weight_is_a_number_of_copies(n, between, seed, scale):
    """A weighted loss gives the rows' dy their weights; of copies, each has its own dy, and their dx are added."""
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(2, 3, size=(2, n, *between, 4))
    w = rng.integers(0, 4, n)
    w[0] = max(w[0], 1)
    rows = np.repeat(np.arange(n), w)
    layer = md.BatchNormalization(momentum=0.9)
    copies = pass_through(layer, x[rows], dy[rows])
    weighted = pass_through(layer, x, dy * w.reshape(-1, *[1] * (x.ndim - 1)), w * scale)
    summed = np.zeros_like(x)
    np.add.at(summed, rows, copies[1])
    # Rounding of the mean is divided by the deviation, which is at least sqrt(epsilon), twice in dx: 1e-16 / 1e-3.
    np.testing.assert_allclose(weighted[0][rows], copies[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(weighted[1], summed, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(weighted[2], copies[2], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(weighted[3], copies[3], rtol=1e-12, atol=1e-14)


@given(n=st.integers(2, 8), seed=seeds, dtype=st.sampled_from(["float32", "float64"]))
def test_rows_of_weight_0_have_no_influence(n, seed, dtype):
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(2, 3, size=(2, n, 4)).astype(dtype)
    w = rng.random(n)
    w[1] = dy[1] = 0
    other = x.copy()
    other[1] = 50 * rng.normal(size=4)
    one, two = (pass_through(md.BatchNormalization(), rows, dy, w, dtype) for rows in (x, other))
    left = np.arange(n) != 1
    assert np.array_equal(one[0][left], two[0][left])
    for a, b in zip(one[1:], two[1:], strict=True):
        assert np.array_equal(a, b)
    assert (one[1][1] == 0).all()


def test_weights_of_0_only_move_no_average():
    x = np.random.default_rng(0).normal(size=(6, 4))
    y, _, _, averages = pass_through(md.BatchNormalization(epsilon=1e-9), x, x, np.zeros(6))
    assert averages.tolist() == [0] * 4 + [1] * 4
    np.testing.assert_allclose(y, np.linspace(0.5, 2, 4) * x + np.linspace(-1, 1, 4), rtol=1e-8)


def test_frozen_and_at_inference_weights_change_nothing():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(30, 4)), np.arange(30) % 3, rng.random(30)
    model = normalized().build(4)
    model.fit(x, y, verbose=0)
    model.layers[1].trainable = False
    before = model.network.buffers.copy()
    expected = model.forward(x, training=False)
    assert np.array_equal(Pass(model.layers, training=True).forward(x, w), expected)
    assert np.array_equal(model.network.buffers, before)
    assert model.evaluate(x, y, sample_weight=w) == model.evaluate(x, y, sample_weight=w * 2)


KINDS = [md.BatchNormalization, md.LayerNormalization]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("shape", [4, (3, 4)])
def test_without_scale_or_centre(kind, center, scale, shape, tmp_path):
    layer = kind(center=center, scale=scale, gamma_initializer=2.0, beta_initializer=0.5)
    assert md.check_layer(layer, shape) <= 1e-7
    model = md.Sequential([layer, md.Flatten(), md.Dense(2)], rng=0).compile("adam").build(shape)
    x = np.random.default_rng(0).normal(size=(9, *model.input_shape)).astype("float32")
    model.fit(x, np.arange(9) % 2, epochs=2, verbose=0)
    names = [name.rpartition("/")[2] for name in model.network.named_arrays() if name.startswith("layers/0/")]
    assert [name for name in names if not name.startswith("moving")] == ["gamma"] * scale + ["beta"] * center
    model.save(tmp_path / "model.npz")
    model.export_numpy(tmp_path / "model.py")
    expected = model.predict(x)
    assert np.array_equal(md.load_model(tmp_path / "model.npz").predict(x), expected)
    assert np.array_equal(runpy.run_path(tmp_path / "model.py")["predict"](x), expected)


@pytest.mark.parametrize("kind", [*KINDS, md.RMSNormalization])
def test_only_the_last_axis(kind):
    md.Sequential([kind(axis=1)]).build(4)
    with pytest.raises(ValueError, match="axis: only the last axis can be normalized: -1, not 1"):
        md.Sequential([kind(axis=1)]).build((3, 4))


@given(features=st.integers(1, 5), seed=seeds)
def test_root_mean_square(features, seed):
    x = np.random.default_rng(seed).normal(size=(6, features))
    model = md.Sequential([md.RMSNormalization(gamma_initializer=1.5)], dtype="float64").build(features)
    expected = 1.5 * x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-13)
    assert md.check_layer(md.RMSNormalization(), features, rng=seed) <= 1e-7


# ------------------------------------------------------------------ Normalization


@given(features=st.integers(1, 5), seed=seeds)
def test_after_adapting_the_data_have_mean_0_and_variance_1(features, seed):
    x = np.random.default_rng(seed).normal(size=(50, features)) * 7 + 3
    layer = md.Normalization()
    layer.adapt(x)
    y = md.Sequential([layer], dtype="float64").build(features).predict(x)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-12)
    assert md.check_layer(layer, features) <= 1e-7
    back = md.Normalization(mean=layer.mean, variance=layer.variance, invert=True)
    again = md.Sequential([back], dtype="float64").build(features).predict(y)
    np.testing.assert_allclose(again, x, atol=4 * np.finfo(float).eps * np.abs(x).max())  # four roundings


def test_it_is_saved_exported_and_copied(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 3)) * 7 + 3
    layer = md.Normalization()
    layer.adapt(x)
    model = md.Sequential([layer, md.Dense(2)], rng=0).compile("adam").build(3)
    model.fit(x, np.arange(50) % 2, verbose=0)
    model.save(tmp_path / "model.npz")
    model.export_numpy(tmp_path / "model.py")
    x = x.astype("float32")
    for predict in (
        md.load_model(tmp_path / "model.npz").predict,
        runpy.run_path(tmp_path / "model.py")["predict"],
        copy.deepcopy(model).predict,
    ):
        assert np.array_equal(predict(x), model.predict(x))


def test_one_mean_for_all_features_and_constants():
    layer = md.Normalization(axis=None)
    layer.adapt([[1.0, 2.0], [3.0, 4.0]])
    y = md.Sequential([layer], dtype="float64").build(2).predict([[2.5, 2.5]])
    assert y == pytest.approx(0)
    layer = md.Normalization()
    layer.adapt([[7.0], [7.0]])
    assert md.Sequential([layer]).build(1).predict([[7.0], [8.0]]).tolist() == [[0], [1]]


def test_what_a_normalization_needs():
    with pytest.raises(RuntimeError, match=r"call adapt\(x\) with the training data first"):
        md.Sequential([md.Normalization()]).build(2)
    with pytest.raises(ValueError, match="pass both mean and variance"):
        md.Normalization(mean=1.0)
    with pytest.raises(ValueError, match="mean: expected 3 values, got shape"):
        md.Sequential([md.Normalization(mean=[1.0, 2.0], variance=[1.0, 2.0])]).build(3)
    layer = md.Normalization(mean=0.0, variance=1.0)
    md.Sequential([layer]).build(2)
    with pytest.raises(RuntimeError, match="adapt before the model is built"):
        layer.adapt([[1.0, 2.0]])
    with pytest.raises(ValueError, match="expected finite numbers"):
        md.Normalization().adapt([[np.nan]])


# ------------------------------------------------------------------ numbers that float32 cannot tell apart

MINUTES = 1.75e9 + 60 * np.random.default_rng(3).integers(0, 60, (300, 2)).astype("float64")  # an hour, in seconds
LATE = (MINUTES.sum(axis=1) > 2 * MINUTES.mean()).astype(int)


def of_timestamps(*inside, dtype="float32"):
    layer = md.Normalization()
    layer.adapt(MINUTES)
    first = md.Sequential([layer]) if inside else layer
    model = md.Sequential([first, md.Dense(1, "sigmoid")], rng=0, dtype=dtype)
    return model.compile(md.SGD(1.0), "binary_crossentropy", ["accuracy"]).build(2)


def batches_of(*arrays):
    return iter([tuple(array[:150] for array in arrays), tuple(array[150:] for array in arrays)])


@pytest.mark.parametrize("inside", [(), (1,)])
def test_as_the_first_layer_it_is_given_x_as_it_came(inside, tmp_path):
    exact, plain = of_timestamps(*inside), of_timestamps(*inside, dtype="float64")
    np.testing.assert_allclose(exact.theta, plain.theta, rtol=1e-6)  # both draw in float64
    plain.theta = exact.theta
    y = plain.predict(MINUTES)
    computed = {
        "predict": exact.predict(MINUTES),
        "one row at a time": np.concatenate([exact.predict(row[None]) for row in MINUTES]),
        "batches": exact.predict(MINUTES, batch_size=7),
        "a source": exact.predict(batches_of(MINUTES)),
        "a call": exact(MINUTES),
        "forward": exact.forward(MINUTES),
        "activations": exact.activations(MINUTES)[-1],
    }
    for how, found in computed.items():
        assert found.dtype == np.float32, how
        np.testing.assert_allclose(found, y, rtol=1e-5, err_msg=how)
    losses = {
        "evaluate": exact.evaluate(MINUTES, LATE)["loss"],
        "a source": exact.evaluate(batches_of(MINUTES, LATE))["loss"],
        "the gradient": exact.loss_and_grad(MINUTES, LATE),
    }
    for how, loss in losses.items():
        assert loss == pytest.approx(plain.evaluate(MINUTES, LATE)["loss"], rel=1e-5), how
    for model in (exact, plain):
        model.fit(MINUTES, LATE, epochs=3, validation_split=0.1, verbose=0)
        model.fit(batches_of(MINUTES, LATE), gradient_accumulation_steps=2, verbose=0)
        model.train_on_batch(MINUTES, LATE)
    np.testing.assert_allclose(exact.theta, plain.theta, rtol=1e-4)
    exact.save(tmp_path / "model.npz")
    exact.save_weights(tmp_path / "weights.npz")
    exact.export_numpy(tmp_path / "model.py")
    other = of_timestamps(*inside)
    other.load_weights(tmp_path / "weights.npz")
    for predict in (
        md.load_model(tmp_path / "model.npz").predict,
        runpy.run_path(tmp_path / "model.py")["predict"],
        copy.deepcopy(exact).predict,
        pickle.loads(pickle.dumps(exact)).predict,
        other.predict,
    ):
        assert np.array_equal(predict(MINUTES), exact.predict(MINUTES))


def test_behind_another_layer_it_is_given_what_that_gives():
    layer = md.Normalization()
    layer.adapt(MINUTES)
    model = md.Sequential([md.Rescaling(1.0), layer]).build(2)
    assert model.predict(MINUTES).dtype == np.float32
    assert model.network.input_dtype == np.float32
    assert np.unique(model.predict(MINUTES)[:, 0]).size < np.unique(MINUTES[:, 0]).size


def test_its_weights_are_set_in_float64():
    model = of_timestamps()
    location, *others = model.get_weights()
    assert location.dtype == np.float64
    model.set_weights([location + 1e-3, *others])
    assert model.layers[0].location.tolist() == (location + 1e-3).tolist()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e17 / 3])
def test_a_constant_feature_becomes_zero_though_its_mean_is_rounded(value):
    layer = md.Normalization()
    layer.adapt(np.full((60, 1), value))
    assert md.Sequential([layer]).build(1).predict([[value], [value + 1]]).ravel()[0] == 0
    assert layer.variance == 0


def test_normalization_refuses_what_is_not_finite():
    for mean, variance in ((np.nan, 1.0), (np.inf, 1.0), (0.0, np.inf), (0.0, np.nan)):
        with pytest.raises(ValueError, match="expected finite numbers"):
            md.Normalization(mean=[mean], variance=[variance])
    with pytest.raises(ValueError, match="of finite squares"):
        md.Normalization().adapt([[1e200], [-1e200]])
