"""Blocks and batches: every row once, in order, whatever the sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidense.data import batches as data
from minidense.data.batches import Feed, spans


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 50))
def test_spans_cover_all_rows_and_never_cut_a_small_batch(n, batch, limit):
    covered = [row for start, stop in spans(n, batch, limit) for row in range(start, stop)]
    assert covered == list(range(n))
    for start, stop in spans(n, batch, limit):
        assert stop - start <= max(limit, 1)
        if batch <= limit:
            assert start % batch == 0
        else:
            assert start // batch == (stop - 1) // batch


@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.booleans(), st.integers(0, 9))
def test_steps_are_the_batches(n, batch, ordered, splittable, seed):
    batch = min(batch, n)
    x = np.arange(n, dtype="float32")[:, None]
    order = np.random.default_rng(seed).permutation(n) if ordered else np.arange(n)

    def encode(y, out):
        out[:, 0] = y
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "GATHER_BYTES", 4 * 12)
        patch.setattr(data, "SLICE_ROWS", 5)
        patch.setattr(data, "BLOCK_ROWS", 30)
        feed = Feed(x, 2 * x[:, 0], batch, dtype=x.dtype, output_shape=(1,), encode=encode, splittable=splittable)
        for _ in range(2):  # the second epoch uses the first one's buffers
            batches, current = [], []
            for block in feed.blocks(order if ordered else None):
                for step in block.steps:
                    assert step.opens == (not current)
                    assert np.array_equal(step.targets, 2 * step.x)
                    assert len(step.scores) == len(step.x)
                    current += step.x[:, 0].astype(int).tolist()
                    if step.closes:
                        assert step.batch_rows == len(current)
                        batches.append(current)
                        current = []
            assert not current
            expected = [order[start : start + batch].tolist() for start in range(0, n, batch)]
            assert batches == expected
    assert feed.steps_per_epoch == -(-n // batch)


def test_reading_in_place_hands_out_read_only_views():
    x = np.ones((4, 2), "float32")
    feed = Feed(x, x, 2, dtype=x.dtype, output_shape=(2,), encode=lambda y, out: y, splittable=True)
    for block in feed.blocks():
        for step in block.steps:
            assert np.shares_memory(step.x, x)
            assert not step.x.flags.writeable
    assert x.flags.writeable
