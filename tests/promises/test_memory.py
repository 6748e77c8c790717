"""Memory: fit and predict read data of any size in blocks."""

import tracemalloc

import numpy as np
import pytest

import minidense as md


def peak(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def make(width=100):
    return md.Sequential([md.Dense(width), md.ReLU(), md.Dense(10), md.Softmax()], rng=0).compile().build(64)


@pytest.mark.parametrize("kind", ["float32", "uint8", "float64"])
def test_fit_needs_no_more_for_more_rows(kind):
    """At most 3 theta, the arrays of a block of rows, and 4 bytes a row: from 2,000 rows to 50,000."""
    x, y = np.ones((50_000, 64), kind), np.zeros(50_000, "uint8")
    peaks = {}
    for rows in (2000, 50_000):
        model = make()
        model.fit(x[:100], y[:100], verbose=0)  # imports and caches
        peaks[rows] = peak(lambda model=model, rows=rows: model.fit(x[:rows], y[:rows], verbose=0))
    assert (
        peaks[50_000] - peaks[2000] <= 4 * 48_000 + 50_000 + 50_000 * 2
    )  # the labels' check takes a byte or two a row
    theta, batch, block = make().theta.nbytes, 32 * (64 + 4 * 100 + 4 * 10) * 4, 1024 * 10 * 4
    checked = md.data.arrays.CHECK_BYTES * (1 if kind == "float32" else 2)
    assert peaks[2000] <= 3 * theta + 2 * batch + 10 * block + 2 * md.data.batches.GATHER_BYTES + checked


def test_full_batch_is_computed_in_slices():
    """The activations of 50,000 rows would be 50,000 * 100 * 4 bytes = 20 MB each; of 2,048 they are 0.8 MB."""
    x, y = np.ones((50_000, 64), "float32"), np.zeros(50_000, "uint8")
    model = make()
    assert peak(lambda: model.fit(x, y, batch_size="full", verbose=0)) < 8e6
    assert peak(lambda: model.predict(x)) < 50_000 * 10 * 4 + 4e6


def test_a_memmap_trains_like_the_array_in_it(tmp_path):
    rng = np.random.default_rng(0)
    plain, y = rng.random((3000, 64), "float32"), rng.integers(0, 10, 3000)
    plain.tofile(tmp_path / "x")
    x = np.memmap(tmp_path / "x", "float32", "r", shape=(3000, 64))
    models = [make(), make()]
    models[0].fit(plain, y, verbose=0)
    models[1].fit(x, y, verbose=0)
    assert np.array_equal(models[0].theta, models[1].theta)
    assert np.array_equal(models[0].predict(plain), models[1].predict(x))
    assert type(models[1].predict(x)) is np.ndarray
