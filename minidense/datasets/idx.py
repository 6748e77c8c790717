"""The IDX file format, in which MNIST and its relatives come (Y. LeCun's page on MNIST describes it)."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np

from minidense.core.types import Array

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_idx(path: str | os.PathLike[str]) -> Array:
    """The array in an IDX file, gzipped or not, in native byte order.

    Raises FileNotFoundError, and ValueError where the file is no IDX file or is cut short.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> load_idx(path)
    array([7, 8, 9], dtype=uint8)
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, ValueError) as error:
            raise ValueError(f"{path}: the gzip data is damaged: {error}.") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise ValueError(f"{path}: expected an IDX file, which begins with 0, 0 and a type; got {content[:4]!r}.")
    dtype, dimensions = np.dtype(_TYPES[content[2]]), content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise ValueError(f"{path}: expected a header of {header} bytes, got {len(content)} bytes in all.")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"{path}: expected {expected} bytes for an array of shape {shape}, got {len(content)}.")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))
