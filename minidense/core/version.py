"""The library's version, which saved files carry too."""

__version__ = "0.1.0"
