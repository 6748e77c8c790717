"""Byte-for-byte snapshots of objects, to check whether anything changed."""

import pickle

import numpy as np


def picture(thing):
    """Something that is equal only for equal contents: arrays by dtype, shape and bytes, objects by attributes."""
    if isinstance(thing, np.ndarray):
        return (thing.dtype.str, thing.shape, thing.tobytes() if thing.dtype != object else pickle.dumps(thing))
    if isinstance(thing, dict):
        return {key: picture(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [picture(value) for value in thing]
    if isinstance(thing, np.random.Generator):
        return repr(thing.bit_generator.state) + repr(getattr(thing.bit_generator.seed_seq, "n_children_spawned", ""))
    if type(thing).__module__.startswith("minidense") and hasattr(thing, "__dict__"):
        return type(thing).__name__, picture(
            {k: v for k, v in thing.__dict__.items() if k not in ("_owner", "_facade")}
        )
    return repr(thing)
