"""What a model remembers of its data: the names of its features and of its classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidense.core.arguments import listed, shown
from minidense.core.types import Array
from minidense.data.labels import ClassLabels


@dataclass(frozen=True)
class Names:
    """The names of the data that a model was trained on. Each is learned once, from the first data that have it."""

    features: tuple[str, ...] | None = None
    """The columns of the first data frame; None if there was none, or if not all its columns are named by strings."""
    classes: tuple[str, ...] | None = None
    """The names of the classes 0, 1, 2, ...; None if labels were numbers."""
    numbered: bool = False
    """Whether the labels of the classes were numbers."""

    def columns_of(self, x: Any, what: str = "x") -> tuple[str, ...] | None:
        """The columns of a data frame, if all are named by strings; None for anything else, such as an array.

        Raises ValueError if they are not ``features``, in that order, or if two have the same name.

        >>> Names(("age", "fare")).columns_of(np.ones((2, 2))) is None
        True
        """
        if type(x) is np.ndarray:
            return None
        columns = _strings(getattr(x, "columns", None))
        if columns is None:
            return None
        known, given = set(self.features or ()), set(columns)
        if len(given) < len(columns):
            twice = next(name for i, name in enumerate(columns) if name in columns[:i])
            raise ValueError(f"{what}: two columns are named {shown(twice)}; rename one of them.")
        if self.features is None or columns == self.features:
            return columns
        if known == given:
            i = next(i for i, name in enumerate(columns) if name != self.features[i])
            raise ValueError(
                f"{what}: columns in another order: expected [{listed(self.features)}], got [{listed(columns)}], the "
                f"first that differs is column {i}; use x[list(model.feature_names)]."
            )
        missing = [name for name in self.features if name not in given]
        extra = [name for name in columns if name not in known]
        parts = [f"{listed(missing)} missing"] * bool(missing) + [f"{listed(extra)} not known"] * bool(extra)
        hint = "" if missing else " Use x[list(model.feature_names)]."
        raise ValueError(
            f"{what}: expected the columns that the model was trained on, [{listed(self.features)}]; "
            f"{' and '.join(parts)}.{hint}"
        )

    def with_features(self, columns: tuple[str, ...] | None) -> Names:
        """The names once training on data of these columns is accepted."""
        return self if columns is None or self.features is not None else replace(self, features=columns)

    def with_classes(self, y: Array, count: int) -> Names:
        """The names once training on all labels ``y`` of ``count`` classes is accepted.

        Raises ValueError if they are names, not known before, and not of as many classes.
        """
        if y.dtype.kind not in "USO":
            return self if self.numbered else replace(self, numbered=self.classes is None)
        if self.numbered or self.classes is not None:
            return self
        names = ClassLabels(_text(y)).names.tolist()
        if len(names) == count:
            return replace(self, classes=tuple(names))
        advice = "Give the last layer one output for each class."
        if len(names) < count:
            advice = "If rows of some classes are missing, encode the names: md.ClassLabels(all_names).encode(y)."
        raise ValueError(
            f"y: the model has outputs for {count} classes, but y has {len(names)}: [{listed(names)}]. {advice}"
        )

    def of_classes(self, count: int) -> tuple[str, ...] | None:
        """The names of the classes, if there are ``count``; otherwise the loss is now one for something else."""
        return self.classes if self.classes is not None and len(self.classes) == count else None

    def encode(self, y: Array) -> Array:
        """``y`` as numbers, if it is names of the classes.

        Raises ValueError for a name that is not known; TypeError for names if the model has learned numbers, and for
        numbers if it has learned names.
        """
        if y.dtype.kind not in "USO":
            if self.classes is not None:
                raise TypeError(
                    f"y: expected names of the classes [{listed(self.classes)}], on which the model was trained, got "
                    f"dtype {y.dtype}. Turn numbers into names: np.array(model.class_names)[y]."
                )
            return y
        names = _text(y)
        if self.numbered:
            raise TypeError(
                f"y: expected whole numbers, on which the model was trained, got dtype {y.dtype}. Turn names into the "
                f"same numbers, as with md.ClassLabels, or make a new model."
            )
        if self.classes is None:
            raise ValueError(
                "y: the model does not know the names of the classes yet. Fit it on arrays first, or encode the names: "
                "md.ClassLabels(all_names).encode(y); a single batch need not have all of them."
            )
        return ClassLabels(self.classes).encode(names)

    def differences(self, other: Names) -> list[str]:
        """How the names differ from those of a file, where both are known."""
        found = []
        if None not in (self.features, other.features) and self.features != other.features:
            columns = [listed(names.features or ()) for names in (other, self)]
            found.append(f"the columns of x: [{columns[0]}] in the file, [{columns[1]}] here")
        if (self.classes, self.numbered) != (other.classes, other.numbered):
            found.append(f"the classes of y: {other._labels()} in the file, {self._labels()} here")
        return found

    def _labels(self) -> str:
        return "numbers" if self.classes is None else f"[{listed(self.classes)}]"


def _strings(names: Any) -> tuple[str, ...] | None:
    """``names``, if they are strings."""
    try:
        found = [] if names is None else list(names)
    except TypeError:
        return None
    return tuple(map(str, found)) if found and all(isinstance(name, str) for name in found) else None


def _text(y: Array) -> Array:
    """Class names as text, or as objects that are text; bytes are read as UTF-8. Raises TypeError for anything else."""
    names = y.ravel().tolist() if y.dtype.kind in "SO" else ()
    for row, name in enumerate(names):
        if not isinstance(name, str | bytes):
            raise TypeError(f"y: expected class names or whole numbers, got {shown(name)} in row {row}.")
    if not any(isinstance(name, bytes) for name in names):
        return y
    return np.array([name.decode(errors="backslashreplace") for name in names]).reshape(y.shape)
