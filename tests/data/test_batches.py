"""Blocks and batches: every row once, in order, with its own weight, whatever the sizes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_disk import OnDisk

from minidense.data import batches
from minidense.data.arrays import as_features
from minidense.data.batches import Feed, check_batch_size, spans

# ------------------------------------------------------------------ sizes


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


def test_check_batch_size():
    assert [check_batch_size(size, 10) for size in (1, 10, 11, "full", np.int64(3))] == [1, 10, 10, 10, 3]
    with pytest.raises(ValueError, match=r"expected a whole number or 'full', got 'ful'\. Did you mean 'full'\?"):
        check_batch_size("ful", 10)
    for wrong, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="batch_size"):
            check_batch_size(wrong, 10)


# ------------------------------------------------------------------ Feed

KINDS = {
    "read in place": lambda x: x,
    "converted": lambda x: x.astype("float64"),
    "not contiguous": lambda x: np.column_stack([x, x])[:, :1],
    "on disk": lambda x: as_features(OnDisk(x)),
}


def encode(y, out):
    out[:, 0] = y
    return out


@pytest.fixture(autouse=True, scope="module")
def small_limits():
    """Buffers of 12 rows, blocks of 30."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "GATHER_BYTES", 4 * 12)
        patch.setattr(batches, "BLOCK_ROWS", 30)
        yield


def feed_of(n, batch, kind="read in place", micro=5, **options):
    """Row i holds i, its label is 2 i."""
    x = np.arange(n, dtype="float32")[:, None]
    options = {"dtype": x.dtype, "output_shape": (1,), "encode": encode, **options}
    return Feed(KINDS[kind](x), 2 * x[:, 0], batch, min(batch, micro), **options)


@pytest.mark.parametrize("weighted", ["not", "shares", "as they are"])
@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.integers(1, 70), st.integers(0, 9))
def test_steps_are_the_batches(kind, weighted, n, batch, ordered, micro, seed):
    batch, rng = min(batch, n), np.random.default_rng(seed)
    order = rng.permutation(n) if ordered else np.arange(n)
    w = None if weighted == "not" else rng.integers(0, 3, n).astype(float)
    feed = feed_of(n, batch, kind, micro, weights=w, shares=weighted == "shares")
    expected = [order[start : start + batch].tolist() for start in range(0, n, batch)]
    for _ in range(2):  # the second epoch uses the first one's buffers
        found, current, shares, reported = [], [], [], []
        for block in feed.blocks(order if ordered else None):
            for step in block.steps:
                assert step.opens == (not current)
                assert np.array_equal(step.targets, 2 * step.x)
                assert len(step.scores) == len(step.x) <= micro
                step.scores[...] = 3 * step.x
                current += step.x[:, 0].astype(int).tolist()
                shares += [] if w is None else step.weights.tolist()
                if step.closes:
                    assert step.batch_rows == len(current)
                    if w is None:
                        assert step.weights is None
                    else:
                        total = w[current].sum() if weighted == "shares" else 1
                        np.testing.assert_array_equal(shares, w[current] / (total or 1))
                    found.append(current)
                    current, shares = [], []
            assert np.array_equal(block.targets[:, 0], block.y)
            assert np.array_equal(block.scores, 1.5 * block.targets)  # each step's scores are in their place
            rows = (block.y / 2).astype(int)
            assert block.weights is None if w is None else np.array_equal(block.weights, w[rows])
            part = block.part(0, 1)
            assert (part.y[0], part.targets[0, 0], list(part.steps)) == (block.y[0], block.y[0], [])
            reported += rows.tolist()
        assert not current
        assert found == expected
        assert reported == order.tolist()
    assert feed.steps_per_epoch == len(expected)


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 7, 12, 13, 29, 30, 31, 95])
def test_skipped_batches_leave_the_rest_as_it_was(batch):
    n = 95
    order = np.random.default_rng(0).permutation(n)

    def steps(feed, skip):
        """x, targets and where the scores are within their block, of each step; and the rows of each block."""
        steps, blocks = [], []
        for block in feed.blocks(order, skip):
            blocks.append((block.y / 2).astype(int).tolist())
            start = block.scores.__array_interface__["data"][0]
            for step in block.steps:
                offset = step.scores.__array_interface__["data"][0] - start
                steps.append((step.x[:, 0].tolist(), step.targets[:, 0].tolist(), offset, *step[3:6]))
        return steps, blocks

    all_steps, all_blocks = steps(feed_of(n, batch), 0)
    numbers = list(itertools.accumulate(step[4] for step in all_steps))  # of each step's batch, from 1
    for skip in range(max(numbers) + 1):
        resumed = feed_of(n, batch)
        rest, rest_blocks = steps(resumed, skip)
        assert rest == [step for step, number in zip(all_steps, numbers, strict=True) if number > skip]
        assert rest_blocks == all_blocks[len(all_blocks) - len(rest_blocks) :]
        assert sum(map(len, rest_blocks)) == n - min(skip * batch, n) + resumed.rows_under_way(skip)
        assert steps(resumed, 0) == (all_steps, all_blocks)  # and the next epoch is whole


def test_reading_in_place_hands_out_read_only_views():
    x = np.ones((4, 2), "float32")
    feed = Feed(x, x, 2, 2, dtype=x.dtype, output_shape=(2,), encode=lambda y, out: y)
    for block in feed.blocks():
        for step in block.steps:
            assert np.shares_memory(step.x, x)
            assert not step.x.flags.writeable
    assert x.flags.writeable


def test_facts_tell_feeds_of_different_rows_apart():
    facts = [
        feed_of(n, batch, weights=w).facts()
        for n, batch, w in [(6, 2, None), (6, 3, None), (7, 2, None), (6, 2, np.ones(6)), (6, 2, np.arange(6.0))]
    ]
    facts.append(feed_of(6, 2, micro=1).facts())
    assert all(a != b for a, b in itertools.combinations(facts, 2))
    assert facts[3] == feed_of(6, 2, weights=np.ones(6)).facts()


def test_nobody_can_write_to_the_users_labels_and_weights():
    x, y, w = np.ones((4, 1), "float32"), np.ones(4), np.ones(4)
    feed = Feed(x, y, 2, 2, dtype=x.dtype, output_shape=(1,), encode=lambda y, out: y, weights=w)
    for block in [*feed.blocks(), *feed.blocks(np.arange(4))]:
        assert not block.y.flags.writeable
        assert not block.targets.flags.writeable
    assert not next(feed.blocks()).weights.flags.writeable
    assert y.flags.writeable
    assert w.flags.writeable
