"""Random streams and seeds as plain numbers, and back, each number having been checked to be one it can be."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidense.core.arguments import checked

_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_LARGEST = {"state": 2**128, "inc": 2**128, "has_uint32": 2, "uinteger": 2**32, "pos": 625, "buffer_pos": 5}
_LARGEST_SEED = 64
"""In words of 32 bits, for entropy and for the spawn key."""


def generator_to_data(generator: np.random.Generator) -> dict[str, Any]:
    """The state of a stream, and the seed that it spawns others from. TypeError for a kind that NumPy does not have."""
    bits = generator.bit_generator
    if type(bits) is not getattr(np.random, type(bits).__name__, None):
        raise TypeError(f"a random stream of the kind {type(bits).__name__} cannot be saved; NumPy's own can")
    seed = bits.seed_seq
    own = seed_to_data(seed) if isinstance(seed, np.random.SeedSequence) else None
    data = {"state": _to_data(bits.state), "seed": own}
    generator_from_data(data)
    return data


def generator_from_data(data: Any) -> np.random.Generator:
    """The stream in that state. ValueError for a state that no stream has."""
    if not isinstance(data, dict) or data.keys() != {"state", "seed"}:
        raise ValueError("a random stream is of a state and a seed")
    state = checked(data["state"], dict, "a random stream's state")
    name = state.get("bit_generator")
    if name not in _BIT_GENERATORS:
        raise ValueError(f"there is no random stream of the kind {str(name)[:50]!r}")
    bits = getattr(np.random, name)(0 if data["seed"] is None else seed_from_data(data["seed"]))
    bits.state = _like(state, bits.state, "")
    if name.startswith("PCG64") and not state["state"]["inc"] % 2:
        raise ValueError("a random stream is in an impossible state")
    return np.random.Generator(bits)


def seed_to_data(seed: np.random.SeedSequence) -> list[Any]:
    """What a seed is made of, and how many it has spawned."""
    entropy: Any = seed.entropy
    whole = int(entropy) if np.ndim(entropy) == 0 else [int(part) for part in np.ravel(entropy)]
    data = [whole, [int(part) for part in seed.spawn_key], seed.pool_size, seed.n_children_spawned]
    seed_from_data(data)
    return data


def seed_from_data(data: Any) -> np.random.SeedSequence:
    """The seed of these parts. ValueError for parts that no seed has."""
    if not isinstance(data, list) or len(data) != 4:
        raise ValueError("a seed is of four parts")
    entropy, spawn_key, pool_size, spawned = data
    words = entropy if isinstance(entropy, list) else [entropy]
    numbers = [*words, *checked(spawn_key, list, "a spawn key"), pool_size, spawned]
    whole = all(type(number) is int and 0 <= number < 2 ** (32 * _LARGEST_SEED) for number in numbers)
    if not whole or max(len(words), len(spawn_key)) > _LARGEST_SEED or not 4 <= pool_size <= 64:
        raise ValueError(f"a seed is of whole numbers, at most {_LARGEST_SEED} words and a pool of 4 to 64")
    return np.random.SeedSequence(entropy, spawn_key=tuple(spawn_key), pool_size=pool_size, n_children_spawned=spawned)


def _to_data(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _to_data(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _like(data: Any, example: Any, key: str) -> Any:
    """``data`` in the form of ``example``, a state of the same kind."""
    if isinstance(example, dict) and isinstance(data, dict) and data.keys() == example.keys():
        return {name: _like(data[name], example[name], name) for name in example}
    if isinstance(example, np.ndarray) and isinstance(data, list) and len(data) == len(example):
        limit = 2 ** (8 * example.itemsize)
        if all(type(number) is int and 0 <= number < limit for number in data):
            return np.array(data, example.dtype)
    if isinstance(example, str) and data == example:
        return data
    if isinstance(example, int) and type(data) is int and 0 <= data < _LARGEST[key]:
        return data
    raise ValueError("a random stream is in an impossible state")
