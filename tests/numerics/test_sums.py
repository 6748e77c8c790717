"""``y := b y + a x`` and ``W += a X^T Z``, in place."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidense.numerics import blas, sums
from minidense.numerics.sums import AddProduct, AddScaled, aligned_zeros

needs_openblas = pytest.mark.skipif(not blas._openblas.name, reason="NumPy's BLAS is not OpenBLAS")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("without_blas", [False, True])
@given(st.integers(1, 300), st.floats(-2, 2), st.sampled_from([1.0, 0.9, -0.5]))
def test_add_scaled_is_its_formula(dtype, without_blas, n, a, b):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)
    before = x.copy()
    expected, of_y = b * y.astype(np.longdouble) + a * x.astype(np.longdouble), abs(b * y)
    with pytest.MonkeyPatch.context() as patch:
        if without_blas:
            patch.setattr(blas._openblas, "axpy", {})
        AddScaled()(a, x, y, b)
    eps = np.finfo(dtype).eps
    assert (abs(y - expected) <= 3 * eps * (abs(a * before) + of_y)).all()
    assert np.array_equal(x, before)


def test_vectors_may_change_from_call_to_call_and_be_strided():
    add = AddScaled()
    pairs = [(np.ones(3), np.zeros(3)), (np.ones(8)[::2], np.zeros(4)), (np.ones(4), np.zeros(8)[::2])]
    for x, y in pairs * 2:
        for _ in range(2):
            add(2.0, x, y)
    assert all(y.tolist() == [8.0] * len(y) for _, y in pairs)
    for length in range(1, 20):  # and few are remembered
        add(1.0, np.ones(length), np.zeros(length))
    assert len(add._known) <= 4


def test_vectors_that_do_not_fit_are_refused():
    for x, y in [(np.ones(3), np.ones(4)), (np.ones(3, "f4"), np.ones(3)), (np.ones((2, 2)), np.ones((2, 2)))]:
        with pytest.raises(ValueError, match="two vectors of one length and dtype"):
            AddScaled()(1.0, x, y)


def test_a_copy_does_not_hold_on_to_the_vectors():
    add, y = AddScaled(), np.zeros(3)
    add(1.0, np.ones(3), y)
    for twin in (copy.deepcopy(add), pickle.loads(pickle.dumps(add))):
        twin(1.0, np.ones(3), np.zeros(3))
    assert y.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("without_blas", [False, True])
@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 40), st.floats(-2, 2), st.sampled_from("CFRS"))
def test_add_product_is_its_formula(dtype, without_blas, n, d, u, a, layout):
    """Also for arrays that are transposed, read-only or strided; each rounding is of at most the terms' size."""
    rng = np.random.default_rng(n * d * u)
    W, x, z = (rng.normal(size=shape).astype(dtype) for shape in ((d, u), (n, d), (n, u)))
    x = {"C": x, "F": np.asfortranarray(x), "R": x.view(), "S": np.repeat(x, 2, axis=0)[::2]}[layout]
    x.flags.writeable = layout != "R"
    exact = [array.astype(np.longdouble) for array in (x, z, W)]
    expected = exact[2] + a * exact[0].T @ exact[1]
    size = abs(exact[2]) + abs(a) * abs(exact[0]).T @ abs(exact[1])
    with pytest.MonkeyPatch.context() as patch:
        if without_blas:
            patch.setattr(blas._openblas, "gemm", {})
        AddProduct(W)(a, x, z)
    assert (abs(W - expected) <= (n + 3) * np.finfo(dtype).eps * size).all()


@needs_openblas
def test_matrices_of_a_product_may_change_from_call_to_call():
    rng = np.random.default_rng(0)
    W, expected = np.zeros((4, 3)), np.zeros((4, 3))
    add = AddProduct(W)
    z = rng.normal(size=(2, 3))
    for rows in (2, 2, 5, 2):
        z = z if rows == len(z) else rng.normal(size=(rows, 3))
        for x in (rng.normal(size=(rows, 4)), rng.normal(size=(4, rows)).T):
            for _ in range(2):
                add(0.5, x, z)
                expected += 0.5 * x.T @ z
    np.testing.assert_allclose(W, expected, rtol=1e-14)


def test_matrices_of_a_product_that_do_not_fit_are_refused():
    add = AddProduct(np.zeros((4, 3)))
    add(1.0, np.ones((2, 4)), np.ones((2, 3)))
    for x, z in [
        (np.ones((2, 5)), np.ones((2, 3))),
        (np.ones((2, 4)), np.ones((2, 4))),
        (np.ones((3, 4)), np.ones((2, 3))),
        (np.ones((2, 4), "f4"), np.ones((2, 3))),
        (np.ones((2, 4)), np.ones((2, 3), "f4")),
    ]:
        with pytest.raises(ValueError, match=r"expected X \(n, 4\) and Z \(n, 3\) of float64, got"):
            add(1.0, x, z)
    assert (add.W == 2).all()


@needs_openblas
def test_a_product_whose_preparation_is_broken_off_is_prepared_again(monkeypatch):
    """Otherwise the next call would read at the addresses of other arrays."""
    W = np.zeros((2, 2))
    add, x, z = AddProduct(W), np.ones((1, 2)), np.ones((1, 2))
    add(1.0, x, z)

    other, address = np.full((1, 2), 7.0), sums._address

    def broken(array):
        if array is other:
            return address(array)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sums, "_address", broken)
        with pytest.raises(KeyboardInterrupt):
            add(1.0, other, np.ones((1, 2)))
    add(1.0, x, z)
    assert (W == 2).all()


@given(st.integers(0, 100), st.sampled_from(["float32", "float64"]))
def test_aligned_zeros(n, dtype):
    zeros = aligned_zeros(n, np.dtype(dtype))
    assert zeros.shape == (n,)
    assert zeros.dtype == dtype
    assert not zeros.any()
    assert zeros.flags.writeable
    assert not n or zeros.__array_interface__["data"][0] % 64 == 0


def test_a_preparation_that_is_broken_off_is_made_again(monkeypatch):
    """Otherwise the next call would write to the addresses of other arrays."""
    add, small, large = AddScaled(), np.zeros(3), np.zeros(1000)
    add(1.0, np.ones(1000), large)

    class Breaks(dict):
        def get(self, key):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(blas._openblas, "axpy", Breaks())
        with pytest.raises(KeyboardInterrupt):
            add(1.0, np.ones(3), small)
    add(1.0, np.ones(3), small)
    assert small.tolist() == [1, 1, 1]
    assert (large == 1).all()
