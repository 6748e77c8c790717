"""Fashion-MNIST: 70,000 images of clothes, 28 x 28, in ten classes (H. Xiao, K. Rasul, R. Vollgraf, 2017; MIT)."""

from __future__ import annotations

import os
from pathlib import Path

from minidense.core.types import Array
from minidense.datasets.idx import load_idx

_DEBIAN = "/usr/share/datasets/fashion-mnist"
_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def load_fashion_mnist(
    folder: str | os.PathLike[str] | None = None,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """60,000 images to train on and 10,000 to test with: (n, 28, 28) uint8, and labels (n,) uint8 from 0 to 9.

    The four ``*-ubyte`` or ``*-ubyte.gz`` files are looked for in ``folder``; without one, in the folder that the
    environment variable MINIDENSE_DATA names, and in the one of Debian's package dataset-fashion-mnist.
    Raises FileNotFoundError, which says how to get them.
    """
    named = [folder] if folder is not None else [os.environ.get("MINIDENSE_DATA"), _DEBIAN]
    folders = [Path(f) for f in named if f]
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
