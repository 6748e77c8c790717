"""The random generators of a model: the same from one seed, and independent of each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidense.core.rng import Generators

paths = st.lists(st.integers(0, 40) | st.text("abf01", min_size=1, max_size=3), max_size=4).map(tuple)


def drawn(generator):
    return generator.integers(2**62, size=4).tolist()


def of_key(*key):
    """The generator that NumPy's own spawning gives for seed 5."""
    return drawn(np.random.Generator(np.random.PCG64(np.random.SeedSequence(5, spawn_key=key))))


def test_they_are_numpys_children_of_the_seed():
    made = Generators.from_rng(5)
    f = 2**32 + ord("f")
    gh = 2**32 + 256 * ord("g") + ord("h")
    assert drawn(made.shuffle) == of_key(1)
    assert drawn(made.start_of_layer((3, "f", 0))) == of_key(0, 3, f, 0)
    assert drawn(made.noise_of_layer((3, "gh"))) == of_key(2, 3, gh)
    assert isinstance(made.shuffle.bit_generator, np.random.PCG64)


@given(paths, paths)
def test_each_layer_has_its_own_the_same_whenever_it_is_asked_for(one, other):
    made = Generators.from_rng(5)
    start, noise = drawn(made.start_of_layer(one)), drawn(made.noise_of_layer(one))
    drawn(made.shuffle)
    assert drawn(made.start_of_layer(one)) == start != noise
    assert (drawn(made.start_of_layer(other)) == start) == (one == other)
    assert (drawn(made.noise_of_layer(other)) == noise) == (one == other)


def test_a_generator_gives_others_each_time_and_none_of_its_own_numbers():
    rng = np.random.default_rng(5)
    before = rng.bit_generator.state
    first, second = Generators.from_rng(rng), Generators.from_rng(rng)
    assert rng.bit_generator.state == before
    assert drawn(first.shuffle) == of_key(1) != drawn(second.shuffle)
    assert drawn(Generators.from_rng(None).shuffle) != drawn(Generators.from_rng(None).shuffle)


def test_the_split_is_the_same_each_time():
    made = Generators.from_rng(5)
    order = made.split_order(50)
    drawn(made.shuffle)
    assert np.array_equal(order, made.split_order(50))
    assert sorted(order) == list(range(50))
    assert not np.array_equal(order, Generators.from_rng(6).split_order(50))


@pytest.mark.parametrize(("wrong", "error"), [("x", TypeError), (-1, ValueError), (1.5, TypeError)])
def test_other_seeds_are_refused(wrong, error):
    with pytest.raises(error, match=r"rng: expected None, an int or a numpy.random.Generator, got "):
        Generators.from_rng(wrong)
