"""The library's version, which is also written into saved files."""

__version__ = "0.1.0"
