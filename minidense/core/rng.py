"""The random streams of a model, which do not disturb each other, all from one seed."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from minidense.core.types import Array


class Streams(NamedTuple):
    """A stream for the order of the rows, and seeds from which every layer has streams of its own.

    What one draws changes no other: a Dropout more does not change the batches, nor another layer's start.
    """

    initial: Any  # a SeedSequence: where the parameters start
    shuffle: np.random.Generator
    noise: Any  # a SeedSequence: what layers draw in training

    @classmethod
    def from_rng(cls, rng: int | np.random.Generator | None) -> Self:
        """The streams of a seed; a Generator gives others each time, and none of its own numbers."""
        try:
            initial, shuffle, noise = np.random.default_rng(rng).spawn(3)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"rng: expected None, an int or a numpy.random.Generator, got {rng!r}; {error}."
            ) from None
        return cls(initial.bit_generator.seed_seq, shuffle, noise.bit_generator.seed_seq)

    def start_of_layer(self, index: int) -> np.random.Generator:
        """The stream that the parameters of that layer start from: the same whenever it is asked for."""
        return _child(self.initial, index)

    def noise_of_layer(self, index: int) -> np.random.Generator:
        """The stream that layer draws from in training, at its beginning."""
        return _child(self.noise, index)

    def split_order(self, n: int) -> Array:
        """The order in which a shuffled validation split takes n rows: the same at each ``fit``."""
        return _child(self.initial, n).permutation(n)


def _child(seed: Any, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index)))
