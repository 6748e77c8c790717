"""``Results``: the loss and the metrics, to be unpacked, indexed by position or name, or used as one number."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, overload

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minidense.core.arguments import nearest
from minidense.core.types import Array


class Results(NDArrayOperatorsMixin):
    """The loss and the metrics of ``evaluate`` and ``train_on_batch``, in this order.

    Iterating gives the values; ``keys()``, ``values()``, ``items()`` and ``in`` go by name. It equals a dict of the
    same names and values. If there is only the loss, it is also that number: in arithmetic, comparisons, formats and
    NumPy's functions. If there are metrics too, this is a TypeError, and ``np.asarray`` gives all values, (k,).

    >>> results = Results({"loss": 0.25, "accuracy": 0.9})
    >>> loss, accuracy = results
    >>> accuracy, results[1], results["accuracy"], dict(results), results
    (0.9, 0.9, 0.9, {'loss': 0.25, 'accuracy': 0.9}, Results(loss=0.25, accuracy=0.9))
    >>> f"{Results({'loss': 0.25}):.3f}"
    '0.250'
    """

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    def __iter__(self) -> Iterator[float]:
        return iter(self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, key: int | str) -> float: ...
    @overload
    def __getitem__(self, key: slice) -> list[float]: ...
    def __getitem__(self, key: int | str | slice) -> float | list[float]:
        if not isinstance(key, str):
            return list(self)[key]
        if key not in self._values:
            raise KeyError(f"there is no {key!r}.{nearest(key, self._values)} There are: {', '.join(self._values)}.")
        return self._values[key]

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._values.keys()

    def values(self) -> ValuesView[float]:
        """The values."""
        return self._values.values()

    def items(self) -> ItemsView[str, float]:
        """The pairs (name, value)."""
        return self._values.items()

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"Results({', '.join(f'{name}={value:.4g}' for name, value in self.items())})"

    # ------------------------------------------------------------------ as a number

    def __float__(self) -> float:
        if len(self) > 1:
            first, *_, last = self.keys()
            raise TypeError(
                f"these are {len(self)} numbers, {', '.join(self.keys())}: take one by its name or position, as in "
                f"results[{last!r}], or unpack them, {first}, ... = results."
            )
        return float(next(iter(self)))

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)

    def __round__(self, digits: int | None = None) -> float:
        return round(float(self), digits)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(float(self) if len(self) == 1 else list(self), dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Arithmetic, and NumPy's functions: of the number."""
        if any(out is self for out in options.get("out", ())):
            del options["out"]  # `results += 1` makes a number
        return getattr(ufunc, method)(*(float(x) if isinstance(x, Results) else x for x in inputs), **options)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Results | Mapping):
            return self._values == dict(other.items())
        return float(self) == other if len(self) == 1 and np.isscalar(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = None  # type: ignore[assignment]
