"""The one kind of error that is the library's own."""


class CorruptFileError(ValueError):
    """The file is not what was written: it is damaged, cut off, or something else. Nothing was loaded from it."""
