"""``Summary``: the table of a model's layers, as text and for Jupyter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

from minidense.core.arguments import function_of
from minidense.layers.base import Layer, own_params
from minidense.layers.composite import Chain
from minidense.network import Network


class Summary(str):
    """A table as text, whose ``repr`` is the text itself, and which Jupyter shows as a table."""

    html: str

    def __new__(cls, title: str, rows: Sequence[tuple[str, str, str]], totals: str) -> Self:
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:<{widths[0]}}   {b:<{widths[1]}}    {c:>{widths[2]}}" for a, b, c in rows]
        from html import escape  # here, as it is slow to import

        self = super().__new__(cls, "\n".join([title, *lines, totals]))
        cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        self.html = f"<table><caption>{escape(title)}</caption>{body}</table><p>{escape(totals)}</p>"
        return self

    _shown_in: int | None = None
    """The number of the cell in which IPython has shown it already."""

    def show(self, print_fn: Callable[[str], Any] | None = None) -> Self:
        """Show the table, once: print it in a script, display it in IPython; Python's prompt shows what is returned.

        print_fn: a function that is called with each line instead.
        """
        if print_fn is not None:
            function_of("summary: print_fn", print_fn)
            if isinstance(print_fn, type):
                raise TypeError(f"summary: print_fn: expected a function that takes a line, got {print_fn!r}.")
            for line in self.splitlines():
                print_fn(line)
        elif (shell := _ipython()) is not None:
            self._ipython_display_()
            self._shown_in = shell.execution_count
        elif not hasattr(sys, "ps1"):
            print(self)
        return self

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.html

    def _ipython_display_(self) -> None:
        """What IPython calls to display the value of a cell; not a second time in the same cell."""
        shell = _ipython()
        if shell.execution_count != self._shown_in:
            shell.display_pub.publish({"text/plain": str(self), "text/html": self.html})


def _ipython() -> Any:
    """The running IPython or Jupyter; None if there is none."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def summary(network: Network, title: str) -> Summary:
    """The table of a network: the children of a layer are below it, indented."""
    rows = [("layer", "output shape", "parameters")]

    def add(layer: Layer, indent: str) -> None:
        record, built = layer._record, network.built
        name = type(layer).__name__ if record.children else repr(layer)
        name = "Sequential" if type(layer) in (Chain, Network) else name
        shape = "?" if not built else "(n, " + ", ".join(map(str, record.output_shape or ())) + ")"
        own = sum(d.size for d in own_params(layer))
        count = "?" if not built else "" if record.children and not own else f"{own:,}"
        rows.append((f"{indent}{name}{'' if layer.trainable else ', frozen'}", shape, count))
        for child in record.children.values():
            add(child, indent + "  ")

    for layer in network.children:
        add(layer, "")
    total, dtype = network.theta.size if network.built else 0, network._record.dtype
    totals = f"{total:,} parameters, {total * dtype.itemsize:,} bytes" if network.built else "? parameters"
    return Summary(title, rows, f"{totals} ({dtype})")
