"""A model as one Python file that needs NumPy and nothing else."""

from __future__ import annotations

import ast
import base64
import builtins
import inspect
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minidense.core.arguments import shown
from minidense.core.types import Array, Shape
from minidense.core.version import __version__
from minidense.files.atomic import replace_file
from minidense.layers import Layer
from minidense.numerics import functional

_HEAD = '''\
"""{title}, written by minidense {version}: ``predict(x)`` gives what the model gave, to the bit.

x: (n, {input_shape}) numbers. Returns (n, {output_shape}), {dtype}. It needs NumPy, and nothing else.
"""

from __future__ import annotations

import base64
import functools
import math

import numpy as np


def _array(dtype, shape, text):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


{functions}{layers}def predict(x, batch_size=1024):
    """The output for each row of x."""
    x = np.asarray(x)
    if x.shape[1:] != {input_shape_tuple} or not len(x):
        raise ValueError(f"x: expected shape (n, {input_shape}), got {{x.shape}}.")
    parts = []
    for start in range(0, len(x), batch_size):
        y = x[start : start + batch_size].astype("{dtype}")
        for layer in ({names}):
            y = np.asarray(layer(y), "{dtype}")
        parts.append(y)
    return np.concatenate(parts)
'''


def export_numpy(
    path: str | os.PathLike[str],
    layers: Sequence[Layer],
    dtype: np.dtype[Any],
    input_shape: Shape,
    output_shape: Shape,
    title: str,
) -> None:
    """Write a Python file with a function ``predict``. TypeError for a layer that does not say what it computes."""
    codes, source = [layer.as_numpy() for layer in layers], _source()
    functions = [_layer(i, layer, code, source) for i, (layer, code) in enumerate(zip(layers, codes, strict=True))]
    text = _HEAD.format(
        title=_harmless(title),
        version=__version__,
        dtype=dtype.name,
        input_shape=", ".join(map(str, input_shape)),
        input_shape_tuple=input_shape,
        output_shape=", ".join(map(str, output_shape)),
        functions=_functions(codes, source),
        layers="".join(functions),
        names=", ".join(f"layer_{i}" for i in range(len(layers))) + "," * (len(layers) == 1),
    )
    compile(text, "the exported file", "exec")
    replace_file(path, lambda file: file.write(text.encode()))


def _layer(index: int, layer: Layer, code: str, source: Mapping[str, ast.stmt]) -> str:
    """A function of x whose other arguments are what the code names of the layer."""
    arguments = "".join(f",\n    {name}={_literal(layer, name)}" for name in _free_names(layer, code, source))
    body = textwrap.indent(code, "    ")
    start = f"def layer_{index}(\n    x{arguments},\n):" if arguments else f"def layer_{index}(x):"
    return f"{start}  # {_harmless(type(layer).__name__)}\n{body}\n    return x\n\n\n"


def _free_names(layer: Layer, code: str, source: Mapping[str, ast.stmt]) -> list[str]:
    """The names that the code reads without having set them, and that are not NumPy's, Python's or functions'."""
    try:
        nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    except SyntaxError as error:
        raise TypeError(f"{layer.where}: as_numpy gives lines that are no Python: {error}") from None
    known = {"np", "math", "x", *vars(builtins), *source}
    known |= {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    return sorted({node.id for node in nodes} - known)


def _literal(layer: Layer, name: str) -> str:
    """What ``layer`` has under that name as Python; TypeError for what cannot be written."""
    value = getattr(layer, name)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        lines = textwrap.wrap(base64.b64encode(_little_endian(value).tobytes()).decode(), 100) or [""]
        text = "\n".join(f'        "{line}"' for line in lines)
        array = f"_array(\n        {_little_endian(value).dtype.str!r},\n        {value.shape},\n{text},\n    )"
        return array if isinstance(value, np.ndarray) else f"{array}[()]"
    if isinstance(value, bool | int):
        return repr(int(value))
    if isinstance(value, float):
        return f"float({str(float(value))!r})"
    raise TypeError(f"{layer.where}: {name} is {shown(value)}; an exported file can have numbers and arrays of them.")


def _harmless(text: str) -> str:
    """A name, which a stranger's file may have brought, without what could end a comment or a string."""
    return re.sub(r"[^\w .,+-]", "_", text)


def _little_endian(array: Any) -> Array:
    return np.asarray(array).astype(array.dtype.newbyteorder("<"), copy=False)


def _source() -> dict[str, ast.stmt]:
    """The library's functions and their constants, by name."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(inspect.getsource(functional)).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    return found


def _functions(codes: Iterable[str], found: Mapping[str, ast.stmt]) -> str:
    """The source of those of the library's functions that the code calls, and of what these need in turn."""
    wanted: set[str] = set()
    waiting = {word for code in codes for word in re.findall(r"\w+", code)} & found.keys()
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        used = {node.id for node in ast.walk(found[name]) if isinstance(node, ast.Name)}
        waiting |= (used & found.keys()) - wanted
    return "".join(f"{ast.unparse(_bare(node))}\n\n\n" for name, node in found.items() if name in wanted)


class _Stripper(ast.NodeTransformer):
    """Takes annotations and docstrings away."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        value = node.value or ast.Constant(None)
        return ast.copy_location(ast.Assign([node.target], value), node)


def _bare(node: ast.stmt) -> ast.AST:
    stripped: ast.AST = _Stripper().visit(node)
    return ast.fix_missing_locations(stripped)
