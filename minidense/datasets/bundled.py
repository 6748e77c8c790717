"""The data sets shipped with the package: handwritten digits for classification, penguins for regression."""

import csv
from importlib import resources

import numpy as np

from minidense.core.types import Array


def load_digits() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Handwritten digits of 8 x 8 pixels: 3,823 for training and 1,797, by other writers, for testing.

    Images are (n, 64) uint8 from 0 to 16 (divide by 16), labels (n,) uint8 from 0 to 9. The split is the official
    one. Source: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning
    Repository, doi:10.24432/C50P49, licence CC BY 4.0.

    >>> (x_train, y_train), (x_test, y_test) = load_digits()
    >>> x_train.shape, x_test.shape, int(x_train.max())
    ((3823, 64), (1797, 64), 16)
    """
    with (resources.files("minidense.datasets") / "optdigits.npz").open("rb") as file, np.load(file) as data:
        return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])


PENGUIN_FEATURES = ("bill length, mm", "bill depth, mm", "flipper length, mm", "male", "Adelie", "Chinstrap", "Gentoo")
"""The columns of the penguins' x; the last four are 0 or 1."""


def load_penguins() -> tuple[Array, Array]:
    """Measurements of 333 penguins of the Palmer Archipelago, and their body mass: a small regression problem.

    x: (333, 7) float64, the columns being ``PENGUIN_FEATURES``. y: (333,) float64, grams. Of the 344 penguins in the
    table, the 11 with a missing value are left out. Source: K. B. Gorman, T. D. Williams, W. R. Fraser, 2014,
    doi:10.1371/journal.pone.0090081; collected by Palmer Station, Antarctica LTER; put together as a data set by
    A. M. Horst, A. P. Hill and K. B. Gorman (palmerpenguins), CC0.

    >>> x, y = load_penguins()
    >>> x.shape, float(y.min()), float(y.max())
    ((333, 7), 2700.0, 6300.0)
    """
    x, y = [], []
    with (resources.files("minidense.datasets") / "penguins.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if "NA" in row.values():
                continue
            lengths = [float(row[name]) for name in ("bill_length_mm", "bill_depth_mm", "flipper_length_mm")]
            kinds = [row["species"] == name for name in ("Adelie", "Chinstrap", "Gentoo")]
            x.append([*lengths, float(row["sex"] == "male"), *map(float, kinds)])
            y.append(float(row["body_mass_g"]))
    return np.array(x), np.array(y)
