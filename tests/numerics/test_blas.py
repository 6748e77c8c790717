"""y += a x, and the number of threads: what is done, and that it is undone."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidense.numerics import blas
from minidense.numerics.blas import AddScaled, one_thread_if


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("without_blas", [False, True])
@given(st.integers(1, 300), st.floats(-2, 2))
def test_add_scaled_is_its_formula(dtype, without_blas, n, a):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)
    before = x.copy()
    expected = y.astype(np.longdouble) + a * x.astype(np.longdouble)
    with pytest.MonkeyPatch.context() as patch:
        if without_blas:
            patch.setattr(blas._openblas, "axpy", {})
        AddScaled()(a, x, y)
    eps = np.finfo(dtype).eps
    assert (abs(y - expected) <= 2 * eps * (abs(a * before) + abs(expected) + abs(before))).all()
    assert np.array_equal(x, before)


def test_vectors_may_change_from_call_to_call_and_be_strided():
    add = AddScaled()
    for x, y in [(np.ones(3), np.zeros(3)), (np.ones(8)[::2], np.zeros(4)), (np.ones(4), np.zeros(8)[::2])]:
        for _ in range(2):
            add(2.0, x, y)
        assert y.tolist() == [4.0] * len(y)


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


def test_threads_are_as_before_also_when_blocks_overlap():
    before = blas._openblas.get_threads()
    first, second, seen = one_thread_if(True), one_thread_if(True), []
    first.__enter__()
    second.__enter__()
    seen.append(blas._openblas.get_threads())
    first.__exit__(None, None, None)
    seen.append(blas._openblas.get_threads())
    second.__exit__(None, None, None)
    assert seen == [1, 1]
    assert blas._openblas.get_threads() == before
    with one_thread_if(False):
        assert blas._openblas.get_threads() == before


def test_threads_are_as_before_after_an_error_in_another_thread():
    before = blas._openblas.get_threads()

    def fail():
        with pytest.raises(KeyError), one_thread_if(True):
            raise KeyError

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert blas._openblas.get_threads() == before


def test_a_preparation_that_is_broken_off_is_made_again(monkeypatch):
    """Addresses that belong to other arrays would be written through."""
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
