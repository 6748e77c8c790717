"""The random generators of a model, which do not disturb each other, all from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self, TypeAlias, cast

import numpy as np

from minidense.core.types import Array

Path: TypeAlias = Sequence[int | str]
"""A layer's place in its network, such as ``(3, "f", 0)``."""


class Generators(NamedTuple):
    """A generator for the order of the rows, and seeds from which every layer has generators of its own.

    What one draws changes no other: a Dropout more does not change the batches, nor another layer's start. All of
    them are PCG64.
    """

    initial: np.random.SeedSequence
    """Where the parameters start."""
    shuffle: np.random.Generator
    noise: np.random.SeedSequence
    """What layers draw in training."""

    @classmethod
    def from_rng(cls, rng: int | np.random.Generator | None) -> Self:
        """The generators of a seed; a Generator gives others each time, and none of its own numbers.

        >>> Generators.from_rng(0).shuffle.integers(10, size=3)
        array([6, 6, 3])
        """
        try:
            seeds = np.random.default_rng(rng).spawn(3)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"rng: expected None, an int or a numpy.random.Generator, got {rng!r}; {error}."
            ) from None
        initial, shuffle, noise = (
            np.random.SeedSequence(s.entropy, spawn_key=s.spawn_key) for s in _seed_sequences(seeds)
        )
        return cls(initial, generator(shuffle), noise)

    def start_of_layer(self, path: Path) -> np.random.Generator:
        """The generator that the parameters of that layer start from: the same whenever it is asked for."""
        return generator(_child(self.initial, path))

    def noise_of_layer(self, path: Path) -> np.random.Generator:
        """The generator that layer draws from in training, at its beginning."""
        return generator(_child(self.noise, path))

    def split_order(self, n: int) -> Array:
        """The order in which a shuffled validation split takes n rows: the same at each ``fit``."""
        return generator(_child(self.initial, [n])).permutation(n)


def generator(seed: np.random.SeedSequence) -> np.random.Generator:
    """A PCG64 generator."""
    return np.random.Generator(np.random.PCG64(seed))


def _seed_sequences(generators: Sequence[np.random.Generator]) -> list[np.random.SeedSequence]:
    return [cast(np.random.SeedSequence, generator.bit_generator.seed_seq) for generator in generators]


def _child(seed: np.random.SeedSequence, path: Path) -> np.random.SeedSequence:
    """The seed of that path: numbers are themselves, names the numbers that their letters spell, above 2**32."""
    key = [part if isinstance(part, int) else 2**32 + int.from_bytes(part.encode(), "big") for part in path]
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
