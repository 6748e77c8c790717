"""The random generators of a model: independent of each other, all derived from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self, TypeAlias, cast

import numpy as np

from minidense.core.arguments import shown
from minidense.core.types import Array

Path: TypeAlias = Sequence[int | str]
"""A layer's place in its network, such as ``(3, "f", 0)``."""


class Generators(NamedTuple):
    """The generator that shuffles the rows, and the seeds from which each layer gets its own generators.

    They are independent: adding a Dropout changes neither the batches nor the initial values of another layer. All of
    them are PCG64.
    """

    initial: np.random.SeedSequence
    """Seed of the initial values of the parameters."""
    shuffle: np.random.Generator
    noise: np.random.SeedSequence
    """Seed of what layers draw in training."""

    @classmethod
    def from_rng(cls, rng: int | np.random.Generator | None) -> Self:
        """The generators derived from a seed; or from a Generator: other ones each time, without drawing from it.

        Raises TypeError or ValueError for anything else.

        >>> Generators.from_rng(0).shuffle.integers(10, size=3)
        array([6, 6, 3])
        """
        seeds = random_generator(rng).spawn(3)
        initial, shuffle, noise = (
            np.random.SeedSequence(s.entropy, spawn_key=s.spawn_key) for s in _seed_sequences(seeds)
        )
        return cls(initial, generator(shuffle), noise)

    def start_of_layer(self, path: Path) -> np.random.Generator:
        """A new generator for the initial values of that layer's parameters; it starts alike at each call."""
        return generator(_child(self.initial, path))

    def noise_of_layer(self, path: Path) -> np.random.Generator:
        """A new generator for what that layer draws in training; it starts alike at each call."""
        return generator(_child(self.noise, path))

    def split_order(self, n: int) -> Array:
        """The permutation of n rows for a shuffled validation split: the same at each ``fit``."""
        return generator(_child(self.initial, [n])).permutation(n)


def random_generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """The generator of that seed, or the one that is passed. Raises TypeError or ValueError for anything else.

    >>> random_generator(0).integers(10, size=3)
    array([8, 6, 5])
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng: expected None, an int or a numpy.random.Generator, got {shown(rng)}; {error}."
        ) from None


def generator(seed: np.random.SeedSequence) -> np.random.Generator:
    """A PCG64 generator."""
    return np.random.Generator(np.random.PCG64(seed))


def _seed_sequences(generators: Sequence[np.random.Generator]) -> list[np.random.SeedSequence]:
    return [cast(np.random.SeedSequence, generator.bit_generator.seed_seq) for generator in generators]


def _child(seed: np.random.SeedSequence, path: Path) -> np.random.SeedSequence:
    """The seed for a path: a number stands for itself, a name for its bytes read as a number, plus 2**32."""
    key = [part if isinstance(part, int) else 2**32 + int.from_bytes(part.encode(), "big") for part in path]
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
