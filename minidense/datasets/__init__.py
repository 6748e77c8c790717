"""Data sets; nothing is downloaded.

``load_...`` functions return ``(x_train, y_train), (x_test, y_test)`` as they are stored, or ``x, y``. ``make_...``
functions draw from the given ``rng``.
"""

from typing import TYPE_CHECKING

from minidense.core.instead import module_attribute
from minidense.datasets import fashion_mnist
from minidense.datasets.bundled import load_digits, load_penguins
from minidense.datasets.idx import load_fashion_mnist, load_idx
from minidense.datasets.synthetic import make_spirals

__all__ = ["fashion_mnist", "load_digits", "load_fashion_mnist", "load_idx", "load_penguins", "make_spirals"]

if not TYPE_CHECKING:
    __getattr__ = module_attribute("datasets")
