"""Keras' module of that name: ``fashion_mnist.load_data()``."""

from minidense.datasets.idx import load_fashion_mnist as load_data

__all__ = ["load_data"]
