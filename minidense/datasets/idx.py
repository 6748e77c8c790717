"""The IDX file format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np

from minidense.core.arguments import file_path
from minidense.core.types import Array

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_idx(path: str | os.PathLike[str]) -> Array:
    """The array in an IDX file, gzipped or not, in native byte order (Y. LeCun's page on MNIST describes the format).

    Raises FileNotFoundError, and ValueError if the file is not an IDX file or is truncated.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> load_idx(path)
    array([7, 8, 9], dtype=uint8)
    """
    content = Path(file_path("path", path)).read_bytes()
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


_DEBIAN = "/usr/share/datasets/fashion-mnist"
_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def load_fashion_mnist(
    folder: str | os.PathLike[str] | None = None,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Images of clothes in ten classes: 60,000 for training and 10,000 for testing.

    Images are (n, 28, 28) uint8, labels (n,) uint8 from 0 to 9 (H. Xiao, K. Rasul, R. Vollgraf, 2017; licence MIT).
    The four ``*-ubyte`` or ``*-ubyte.gz`` files are looked for in ``folder``; without it, in the folder named by the
    environment variable MINIDENSE_DATA, and where Debian's package dataset-fashion-mnist installs them.
    Raises FileNotFoundError, with a message that says how to get them, and ValueError if a file is damaged.
    """
    named = [folder] if folder is not None else [os.environ.get("MINIDENSE_DATA"), _DEBIAN]
    folders = [Path(file_path("folder", f)) for f in named if f]
    for place in folders:
        paths = [_find(place, part) for part in _PARTS]
        if all(paths):
            x_train, y_train, x_test, y_test = (load_idx(path) for path in paths if path)
            return (x_train, y_train), (x_test, y_test)
    looked = ", ".join(map(str, folders))
    raise FileNotFoundError(
        f"Fashion-MNIST's four files ({_PARTS[0]}-ubyte.gz, ...) are not in {looked}. On Debian: "
        f"apt install dataset-fashion-mnist. Elsewhere: get them from the data set's page "
        f"(github.com/zalandoresearch/fashion-mnist), and pass folder= or set MINIDENSE_DATA to where they are."
    )


def _find(folder: Path, part: str) -> Path | None:
    candidates = (folder / f"{part}-ubyte.gz", folder / f"{part}-ubyte")
    return next((path for path in candidates if path.is_file()), None)
