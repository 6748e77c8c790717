"""Data to learn with, offline: nothing is downloaded.

Loaders return ``(x_train, y_train), (x_test, y_test)`` as they are stored, or ``x, y``. Makers draw from the ``rng``
given.
"""

from minidense.datasets.bundled import load_digits, load_penguins
from minidense.datasets.idx import load_fashion_mnist, load_idx
from minidense.datasets.synthetic import make_spirals

__all__ = ["load_digits", "load_fashion_mnist", "load_idx", "load_penguins", "make_spirals"]
