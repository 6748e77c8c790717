"""Handwritten digits of 8 x 8 pixels, shipped with the package.

"Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
doi:10.24432/C50P49, licence CC BY 4.0. The split is the official one: no writer is in both parts.
"""

from importlib import resources

import numpy as np

from minidense.core.types import Array


def load_digits() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """3,823 digits to train on and 1,797 by other writers to test with.

    Images are (n, 64) uint8 from 0 to 16 (divide by 16), labels (n,) uint8 from 0 to 9.

    >>> (x_train, y_train), (x_test, y_test) = load_digits()
    >>> x_train.shape, x_test.shape, int(x_train.max())
    ((3823, 64), (1797, 64), 16)
    """
    with (resources.files("minidense.datasets") / "optdigits.npz").open("rb") as file, np.load(file) as data:
        return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
