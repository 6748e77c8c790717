"""Embedding and CategoryEncoding: whole numbers in, vectors or columns out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import minidense as md


@given(seed=seeds, shape=st.sampled_from([(1,), (3,), (2, 2)]))
def test_an_embedding_is_a_dense_layer_of_one_hot_rows(seed, shape):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5, (7, *shape))
    layer = md.Embedding(5, 3)
    model = md.Sequential([layer], rng=0, dtype="float64").build(shape)
    assert np.array_equal(model.predict(x), np.eye(5)[x] @ layer.E)
    model.forward(x)
    dy = rng.normal(size=(7, *shape, 3))
    model.backward(dy)
    np.testing.assert_allclose(layer.dE, np.eye(5)[x].reshape(-1, 5).T @ dy.reshape(-1, 3), atol=1e-13)
    assert md.check_layer(md.Embedding(5, 3), shape) <= 1e-7


def test_categories_are_learnt():
    x, y = np.arange(60).reshape(-1, 1) % 6, np.arange(60) % 2
    model = md.Sequential([md.Embedding(6, 4), md.Flatten(), md.Dense(2)], rng=0)
    model.compile(md.Adam(0.1), metrics=["accuracy"]).fit(x, y, epochs=20, verbose=0)
    assert model.evaluate(x, y)["accuracy"] == 1


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("one_hot", [[0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 0]]),
        ("multi_hot", [[1, 0, 1], [0, 1, 0]]),
        ("count", [[1, 0, 1], [0, 2, 0]]),
    ],
)
def test_category_encoding(mode, expected):
    layer = md.CategoryEncoding(3, output_mode=mode)
    model = md.Sequential([layer]).build(2)
    assert np.array_equal(model.predict([[2, 0], [1, 1]]), expected)
    assert model.output_shape == (len(expected[0]),)
    assert md.check_layer(md.CategoryEncoding(3, mode), 2) <= 1e-7


@pytest.mark.parametrize("layer", [md.Embedding(3, 2), md.CategoryEncoding(3)])
@pytest.mark.parametrize("wrong", [3, -1, 0.5])
def test_what_is_no_category(layer, wrong):
    model = md.Sequential([type(layer)(**layer.get_config())]).build(1)
    with pytest.raises(ValueError, match=rf"expected whole numbers from 0 to 2, got {wrong} in row 1"):
        model.predict([[0], [wrong]])
