"""A stand-in for data frames, for where pandas is not installed."""

import numpy as np


class Frame(dict):
    """What data frames of pandas and polars have in common: named columns, an object array if their types differ."""

    columns = property(list)
    shape = property(lambda self: (len(next(iter(self.values()))), len(self)))

    def to_numpy(self):
        types = {np.asarray(column).dtype for column in self.values()}
        dtype = types.pop() if len(types) == 1 else object
        return np.column_stack([np.array(column, dtype) for column in self.values()])

    def __array__(self, dtype=None, copy=None):
        return self.to_numpy().astype(dtype) if dtype else self.to_numpy()

    def __getitem__(self, names):
        return Frame({name: self[name] for name in names}) if isinstance(names, list) else super().__getitem__(names)


def frame_of(library, columns):
    """A data frame of that library, or the stand-in."""
    import pytest

    return Frame(columns) if library == "a stand-in" else pytest.importorskip(library).DataFrame(columns)


LIBRARIES = ["a stand-in", "pandas", "polars"]
