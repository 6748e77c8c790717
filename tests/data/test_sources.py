"""Batches that the user makes: each one a block, in order, none lost, and errors that say where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_disk import OnDisk

from minidense.data.sources import BatchFeed, PyDataset, Source, as_batch, features_of, is_source_of_batches


def encode(y, out):
    out[:, 0] = y
    return out


class Dataset:
    """Batch i holds 10 i, of 2 rows; its second row weighs three times the first."""

    def __init__(self, length=4):
        self.length, self.log = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        self.log.append(i)
        return np.full((2, 1), 10 * i), np.full(2, 10 * i), np.array([1.0, 3.0])

    def on_epoch_end(self):
        self.log.append("end")


class Again:
    """The same batches, to be iterated again and again; it does not say how many."""

    def __init__(self, length=4):
        self.dataset, self.log = Dataset(length), []

    def __iter__(self):
        self.log.append("iter")
        return (self.dataset[i] for i in range(self.dataset.length))

    def on_epoch_begin(self):
        self.log.append("begin")

    def on_epoch_end(self):
        self.log.append("end")


class Loader(Again):
    """One that says its length."""

    def __init__(self, length=4, said=4):
        super().__init__(length)
        self.said = said

    def __len__(self):
        return self.said


def generated(epochs=9):
    yield from (Dataset()[i % 4] for i in range(4 * epochs))


def prepared(source, steps=None, together=1, **options):
    feed = BatchFeed(Source(source, steps), together)
    options = {"dtype": np.dtype("float32"), "output_shape": (1,), "encode": encode, "shares": True} | options
    feed.prepare(lambda x, y, w: (x, y, w), **options)
    return feed


def values(blocks):
    found = []
    for block in blocks:
        (step,) = block.steps
        assert (step.opens, step.closes, step.batch_rows, len(step.scores)) == (True, True, 2, 2)
        assert step.x.dtype == step.targets.dtype == np.float32
        assert np.array_equal(step.x, step.targets)
        assert block.weights.tolist() == [1, 3]
        found.append(int(step.x[0, 0]))
    return found


@pytest.mark.parametrize("shares", [True, False])
def test_each_batch_is_a_block_of_one_step(shares):
    for source, steps in ((Dataset(), None), (generated(), 4)):
        feed = prepared(source, steps, shares=shares)
        (step,) = next(feed.blocks()).steps
        assert step.weights.tolist() == ([0.25, 0.75] if shares else [1, 3])
        assert feed.facts() == {"batches an epoch": 4, "batches an update": 1}
        assert feed.rows_under_way(3) == 0


@pytest.mark.parametrize("shares", [True, False])
def test_batches_of_one_update_are_a_block(shares):
    dataset = Dataset(5)
    feed = prepared(dataset, together=2, shares=shares)
    assert feed.steps_per_epoch == 3
    found = []
    for block in feed.blocks(np.array([4, 0, 3, 1, 2])):
        steps = list(block.steps)
        assert block.y.tolist() == block.targets[:, 0].tolist() == [x for step in steps for x in step.x[:, 0]]
        whole = np.array([1, 3] * len(steps))
        assert block.weights.tolist() == whole.tolist()
        expected = whole / whole.sum() if shares else whole
        assert np.concatenate([step.weights for step in steps]).tolist() == expected.tolist()
        assert all(np.shares_memory(step.scores, block.scores) for step in steps)
        found.append([(int(step.x[0, 0]), step.batch_rows, step.opens, step.closes) for step in steps])
    assert found == [
        [(40, 4, True, False), (0, 4, False, True)],
        [(30, 4, True, False), (10, 4, False, True)],
        [(20, 2, True, True)],
    ]
    assert [len(list(block.steps)) for block in feed.blocks(skip=1)] == [2, 1]
    assert feed.facts() == {"batches an epoch": 5, "batches an update": 2}


@pytest.mark.parametrize("together", [1, 3])
def test_a_source_may_use_its_arrays_again(together):
    def again():
        x, y, w = np.empty((2, 1), "float32"), np.empty(2), np.empty(2)
        for i in range(6):
            x[:], y[:], w[:] = i, i, i
            yield x, y, w

    feed = prepared(again(), 6, together, shares=False)
    steps = ((step, block) for block in feed.blocks() for step in block.steps)
    assert [(step.x[0, 0], step.targets[0, 0], step.weights[0], block.y[0]) for step, block in steps] == (
        [(i, i, i, i // together * together) for i in range(6)]
    )


def test_batches_of_one_update_have_labels_of_one_form():
    source = iter([(np.ones((2, 1)), np.ones(2)), (np.ones((2, 1)), np.ones((2, 3)))])
    with pytest.raises(ValueError, match=r"rows of shape \(\) and \(3,\); expected one form of labels") as caught:
        list(prepared(source, 2, 2).blocks())
    assert caught.value.__notes__ == ["in the batch of epoch 1, step 2; the steps before are kept"]


def test_nobody_can_write_to_the_labels_of_a_batch():
    x, y, w = np.ones((4, 1), "float32"), np.ones(4), np.ones(4)
    source = prepared(iter([(x, y, w)]), 1, encode=lambda y, out: y)
    for block in source.blocks():
        assert not block.y.flags.writeable
        assert not block.targets.flags.writeable
    assert y.flags.writeable


def test_a_dataset_is_read_in_the_order_given_and_told_the_epochs_end():
    dataset = Dataset()
    feed = prepared(dataset)
    assert values(feed.blocks(np.array([2, 0, 3, 1]))) == [20, 0, 30, 10]
    assert values(feed.blocks()) == [0, 10, 20, 30]
    assert dataset.log == [0, 2, 0, 3, 1, "end", 0, 1, 2, 3, "end"]  # the first is a look ahead
    assert values(prepared(Dataset(), 2).blocks()) == [0, 10]


def test_a_generator_is_read_on_from_epoch_to_epoch_and_loses_no_batch():
    feed = prepared(generated(), 3)
    assert [values(feed.blocks()) for _ in range(3)] == [[0, 10, 20], [30, 0, 10], [20, 30, 0]]


@pytest.mark.parametrize("source", [Again, Loader])
def test_what_can_be_iterated_again_begins_anew_in_each_epoch(source):
    feed = prepared(source())
    assert feed.steps_per_epoch == (4 if source is Loader else None)
    assert [values(feed.blocks()) for _ in range(3)] == [[0, 10, 20, 30]] * 3
    assert feed.steps_per_epoch == 4
    given = feed.source.given
    assert given.log == ["iter", "begin", "end"] + ["begin", "iter", "end"] * 2  # the first one is begun to look ahead
    assert [values(prepared(source(), 3).blocks()) for _ in range(2)] == [[0, 10, 20]] * 2
    feed.check_epochs(99)


def test_a_generator_without_a_number_of_batches_lasts_for_one_epoch():
    feed = prepared(generated(1))
    feed.check_epochs(1)
    with pytest.raises(ValueError, match=r"steps_per_epoch: a generator is read once, .* left for epoch 2 of 3\."):
        feed.check_epochs(3)
    prepared(generated(1), 2).check_epochs(3)
    assert values(feed.blocks()) == [0, 10, 20, 30]


@pytest.mark.parametrize(("length", "said"), [(4, 5), (4, 3)])
def test_a_length_that_is_not_true(length, said):
    feed = prepared(Loader(length, said))
    with pytest.raises(ValueError, match=rf"Loader says that it has {said} batches, and gave {length} in epoch 1\."):
        values(feed.blocks())


def test_an_iterable_that_becomes_shorter_says_where_it_ended():
    source = Again()
    feed = prepared(source, 4)
    values(feed.blocks())
    source.dataset.length = 3
    with pytest.raises(ValueError, match="the Again ended before epoch 2, step 4; it must give 4 batches"):
        values(feed.blocks())
    source.dataset.length = 0
    with pytest.raises(ValueError, match="the Again ended before epoch 1, step 1; it must give at least one batch"):
        Source(source)


@pytest.mark.parametrize("source", [Dataset, generated, Again, Loader])
@given(epochs=st.integers(0, 2), done=st.integers(0, 4))
def test_a_source_that_is_skipped_is_where_it_was(source, epochs, done):
    whole, resumed = prepared(source(), 4), prepared(source(), 4)
    for _ in range(epochs):
        values(whole.blocks())
    expected = values(whole.blocks())[done:]
    resumed.skip(epochs, done)
    assert values(resumed.blocks(skip=done)) == expected
    assert values(resumed.blocks()) == values(whole.blocks())
    assert resumed.source.epoch == whole.source.epoch
    if source is Dataset:
        assert resumed.source.given.log.count("end") == whole.source.given.log.count("end")
        assert len(resumed.source.given.log) == 1 + epochs + (4 - done + 1) + (4 + 1)  # skipped batches are not made


def test_a_source_that_ends_or_fails_says_where():
    def fails():
        yield Dataset()[0]
        raise OSError("the disk is gone")

    feed = prepared(generated(1), 3)
    values(feed.blocks())
    with pytest.raises(ValueError, match=r"ended before epoch 2, step 2; it must give 3 .*The steps before are kept\."):
        values(feed.blocks())
    with pytest.raises(ValueError, match=r"ended before epoch 2, step 2; .*These batches are skipped to resume"):
        prepared(generated(1), 3).skip(1, 2)
    with pytest.raises(ValueError, match=r"the generator ended before epoch 1, step 1"):
        Source(iter([]), 1)
    with pytest.raises(RuntimeError, match=r"failed in epoch 1, step 2: OSError\('the disk is gone'\)") as caught:
        values(prepared(fails(), 2).blocks())
    assert isinstance(caught.value.__cause__, OSError)


def test_a_batch_that_the_check_refuses_is_named():
    def check(x, y, w):
        if x[0, 0] == 20:
            raise ValueError("refused")
        return x, y, w

    feed = BatchFeed(Source(Dataset()))
    feed.prepare(check, dtype=np.dtype("float32"), output_shape=(1,), encode=encode, shares=True)
    with pytest.raises(ValueError, match="refused") as caught:
        values(feed.blocks())
    assert caught.value.__notes__ == ["in the batch of epoch 1, step 3; the steps before are kept"]
    with pytest.raises(TypeError, match=r"expected batches \(x, y\)"):
        prepared(iter([np.ones(3)]), 1)


@pytest.mark.parametrize(
    ("source", "steps", "message"),
    [
        (Dataset(), 5, "there are 4 batches, fewer than 5"),
        (Dataset(), 0, "steps_per_epoch"),
        (Dataset(0), None, "Dataset: number of batches"),
    ],
)
def test_wrong_numbers_of_steps(source, steps, message):
    with pytest.raises(ValueError, match=message):
        Source(source, steps)


# ------------------------------------------------------------------ what is a batch, and what gives batches


def test_as_batch():
    assert as_batch((1, 2)) == (1, 2, None)
    assert as_batch([1, 2, 3]) == (1, 2, 3)
    for wrong, found in (((1,), "1 items"), ((1, 2, 3, 4), "4 items"), ({1: 2, 3: 4}, "dict"), (None, "NoneType")):
        with pytest.raises(TypeError, match=rf"expected batches \(x, y\) or \(x, y, sample_weight\), got {found}"):
            as_batch(wrong)


def test_the_features_of_a_batch():
    x = np.ones((2, 3))
    for batch in (x, (x,), [x, 1], (x, 1, 2)):
        assert features_of(batch) is x
    assert features_of((x, x, x, x)) == (x, x, x, x)


def test_what_gives_batches_and_what_is_rows():
    assert all(map(is_source_of_batches, (generated(), iter([]), Dataset(), Again(), zip([1], [2], strict=True))))
    rows = [np.ones(3), OnDisk(np.ones(3)), [1], (1, 2), "ab", b"ab", {"a": 1}, {1}, 3, None, Dataset, generated]
    assert not any(map(is_source_of_batches, rows))


def test_keras_base_class():
    class Halves(PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return np.full((2, 1), i), np.full(2, i), np.array([1.0, 3.0])

    assert values(prepared(Halves()).blocks()) == [0, 1]
    with pytest.raises(ValueError, match="Halves: batches are made by the thread that trains; leave out workers"):
        Halves(workers=4)
    with pytest.raises(RuntimeError, match="write __getitem__"):
        Source(type("Empty", (PyDataset,), {"__len__": lambda self: 2})())
    with pytest.raises(NotImplementedError, match="PyDataset: write __len__"):
        Source(PyDataset())
