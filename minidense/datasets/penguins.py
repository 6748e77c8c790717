"""Penguins of the Palmer Archipelago: a small table to predict a number from.

K. B. Gorman, T. D. Williams, W. R. Fraser, 2014, doi:10.1371/journal.pone.0090081; collected by Palmer Station,
Antarctica LTER; put together as a data set by A. M. Horst, A. P. Hill and K. B. Gorman (palmerpenguins), CC0.
"""

import csv
from importlib import resources

import numpy as np

from minidense.core.types import Array

FEATURES = ("bill length, mm", "bill depth, mm", "flipper length, mm", "male", "Adelie", "Chinstrap", "Gentoo")


def load_penguins() -> tuple[Array, Array]:
    """Measurements of 333 penguins and their body mass: those of the 344 of which everything is known.

    x: (333, 7) float64, the columns being ``FEATURES``; the last four are 0 or 1. y: (333,), grams.

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
