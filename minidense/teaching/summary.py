"""``Summary``: the table of a model's layers, as text and for Jupyter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class Summary(str):
    """A table as text, whose ``repr`` is the text itself, and which Jupyter shows as a table."""

    html: str

    def __new__(cls, title: str, rows: Sequence[tuple[str, str, str]], totals: str) -> Self:
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:<{widths[0]}}   {b:<{widths[1]}}    {c:>{widths[2]}}" for a, b, c in rows]
        from html import escape  # here, for it is slow to import

        self = super().__new__(cls, "\n".join([title, *lines, totals]))
        cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        self.html = f"<table><caption>{escape(title)}</caption>{body}</table><p>{escape(totals)}</p>"
        return self

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.html
