"""The shipped data sets agree with what their sources report."""

import numpy as np

import minidense as md
from minidense.datasets.bundled import PENGUIN_FEATURES


def test_digits_are_the_official_split():
    """The data set's own notes report 98.00 % for the nearest neighbour."""
    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    assert x_train.shape == (3823, 64)
    assert x_test.shape == (1797, 64)
    train, test = x_train.astype(int), x_test.astype(int)
    distances = (train**2).sum(axis=1) - 2 * test @ train.T
    assert round((y_train[distances.argmin(axis=1)] == y_test).mean(), 4) == 0.98


def test_penguins_are_the_complete_rows_of_the_table():
    """The complete rows of the published table: 146 Adelie, 68 Chinstrap and 119 Gentoo penguins, 168 of them male."""
    x, y = md.datasets.load_penguins()
    assert x.shape == (333, len(PENGUIN_FEATURES))
    assert y.shape == (333,)
    assert np.isfinite(x).all()
    columns = dict(zip(PENGUIN_FEATURES, x.T, strict=True))
    assert [columns[name].sum() for name in ("Adelie", "Chinstrap", "Gentoo")] == [146, 68, 119]
    assert columns["male"].sum() == 168
    heaviest = x[y.argmax()]
    assert heaviest[PENGUIN_FEATURES.index("Gentoo")] == 1
    assert heaviest[PENGUIN_FEATURES.index("male")] == 1
