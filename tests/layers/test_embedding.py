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


# ------------------------------------------------------------------ columns of a table


@given(seed=seeds, places=st.sets(st.integers(0, 4), min_size=1))
def test_embedded_columns_are_embeddings_beside_the_others(seed, places):
    rng = np.random.default_rng(seed)
    counts = {place: int(rng.integers(1, 5)) for place in sorted(places)}
    x = rng.normal(size=(7, 5))
    for place, count in counts.items():
        x[:, place] = rng.integers(0, count, 7)
    layer = md.EmbedColumns(dict(reversed(counts.items())), 3)
    model = md.Sequential([layer], rng=0, dtype="float64").build(5)
    others = [i for i in range(5) if i not in counts]
    starts = np.cumsum([0, *counts.values()])
    one_hot = [np.eye(count)[x[:, place].astype(int)] for place, count in counts.items()]
    vectors = [rows @ layer.E[start : start + rows.shape[1]] for rows, start in zip(one_hot, starts, strict=False)]
    assert np.array_equal(model.predict(x), np.hstack([x[:, others], *vectors]))
    model.forward(x)
    dy = rng.normal(size=(7, *model.output_shape))
    dx = model.backward(dy)
    assert np.array_equal(dx[:, others], dy[:, : len(others)])
    assert not dx[:, list(counts)].any()
    parts = np.split(dy[:, len(others) :], len(counts), axis=1)
    expected = np.vstack([rows.T @ part for rows, part in zip(one_hot, parts, strict=True)])
    np.testing.assert_allclose(layer.dE, expected, atol=1e-13)
    assert md.check_layer(md.EmbedColumns(counts, 3), 5) <= 1e-7
    assert md.check_layer(md.EmbedColumns(counts, 3, members=4), 5) <= 1e-7


def test_a_network_of_a_table_learns_from_its_categories(tmp_path):
    towns = [f"town {i}" for i in range(40)] * 5
    x = {"town": towns, "size": np.arange(200.0)}
    y = np.array([i % 2 for i in range(40)] * 5)
    table = md.TablePreprocessor().fit(x)
    model = md.Sequential([md.EmbedColumns(table.embedded_, 4), md.Dense(8, "relu"), md.Dense(2)], rng=0)
    model.compile(md.Adam(0.05), metrics=["accuracy"]).fit(table.transform(x), y, epochs=20, verbose=0)
    assert model.evaluate(table.transform(x), y)["accuracy"] == 1
    model.save(tmp_path / "model.npz")
    again = md.load_model(tmp_path / "model.npz")
    assert np.array_equal(again.predict(table.transform(x)), model.predict(table.transform(x)))
    assert again.layers[0].columns == {1: 41}


def test_wrong_columns():
    for columns in ({}, [1], 3):
        with pytest.raises(TypeError, match="EmbedColumns: columns: expected a dict from a position"):
            md.EmbedColumns(columns)
    with pytest.raises(ValueError, match=r"columns\[1\]: expected a whole number of at least 1"):
        md.EmbedColumns({1: 0})
    with pytest.raises(ValueError, match="a position: expected a whole number of at least 0"):
        md.EmbedColumns({-1: 3})
    for shape in (2, (3, 3)):
        with pytest.raises(ValueError, match="expected rows of at least 3 columns"):
            md.Sequential([md.EmbedColumns({2: 3})]).build(shape)
    model = md.Sequential([md.EmbedColumns({2: 3, 0: 5})]).build(3)
    with pytest.raises(ValueError, match="expected whole numbers from 0 to 2, got 3 in row 1"):
        model.predict([[4, 0, 2], [4, 0, 3]])


def test_members_have_vectors_of_their_own():
    x = np.array([[0.5, 2, 1.5, 1], [2.5, 0, 3.5, 3]])
    model = md.Sequential([md.EmbedColumns({1: 3, 3: 4}, 2, members=3)], rng=0, dtype="float64").build(4)
    E = model.layers[0].E
    for m in range(3):
        alone = md.Sequential([md.EmbedColumns({1: 3, 3: 4}, 2)], dtype="float64").build(4)
        alone.layers[0].E[...] = E[:, 2 * m : 2 * m + 2]
        assert np.array_equal(model.predict(x).reshape(2, 3, 6)[:, m], alone.predict(x))
    y = model.forward(x)
    dx = model.backward(np.ones_like(y))
    assert np.array_equal(dx, [[3, 0, 3, 0]] * 2)
