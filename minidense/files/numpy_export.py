"""A network as one Python file that needs NumPy and nothing else.

Each layer becomes a function of x, with the text of the layer's ``as_numpy`` as its body. What the text names of the
layer is set in local variables first, so that by Python's own rules it comes before anything else of that name.
"""

from __future__ import annotations

import ast
import base64
import builtins
import functools
import inspect
import os
import re
import symtable
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minidense.core.arguments import nearest, shown
from minidense.core.types import Array
from minidense.core.version import __version__
from minidense.files.atomic import replace_file
from minidense.layers.base import Layer, walk
from minidense.layers.composite import Chain
from minidense.losses import threshold_of
from minidense.network import Network, inference
from minidense.numerics import functional
from minidense.numerics.blas import one_thread

if TYPE_CHECKING:
    from minidense.files.model_file import Model

_FILE = '''\
"""{title}, written by minidense {version}: ``predict(x)`` gives what the model gave, to the bit.

{about} It needs NumPy, and nothing else.
"""

import base64
import collections.abc
import contextlib
import ctypes
import functools
import importlib
import math
import threading

import numpy as np

Array = np.ndarray

FEATURES = {features}  # the columns of x, where they have names
CLASS_NAMES = {class_names}  # those of the classes 0, 1, 2, ..., where they have names


@np.errstate(all="ignore")
def predict(x, batch_size=1024):
    """The output for each row of x, computed ``batch_size`` rows at a time."""
    columns = list(x.columns) if FEATURES and hasattr(x, "columns") else FEATURES
    if columns != FEATURES and all(isinstance(name, str) for name in columns):
        raise ValueError(f"x: expected the columns {{FEATURES}}, got {{columns}}; use x[FEATURES].")
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"x: expected real numbers, got dtype {{x.dtype}}.")
    if not x.ndim or not len(x) or x.shape[1:] != {input_shape}:
        raise ValueError(f"x: expected shape (n, {d}), got {{x.shape}}.")
    starts = range(0, len(x), batch_size)
    with _one_blas_thread():
        return np.concatenate([layers(np.ascontiguousarray(x[i : i + batch_size], "{x_dtype}")) for i in starts])


{predict_classes}{functions}def _blas_threads():
    """OpenBLAS's functions that get and set its number of threads, on which the last bits of a product may depend."""
    with contextlib.suppress(Exception):  # another BLAS: its threads stay as they are
        library = ctypes.PyDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
        for name in ("scipy_openblas_%s_num_threads64_", "openblas_%s_num_threads64_", "openblas_%s_num_threads"):
            if hasattr(library, name % "set"):
                return library[name % "get"], library[name % "set"]
    return (lambda: 1), (lambda n: None)


_get_threads, _set_threads = _blas_threads()
_lock, _within = threading.Lock(), []


@contextlib.contextmanager
def _one_blas_thread():
    with _lock:
        _within.append(_within[0] if _within else _get_threads())
        _set_threads(1)
    try:
        yield
    finally:
        with _lock:
            threads = _within.pop()
            if not _within:
                _set_threads(threads)


def _array(dtype, shape, text):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


ARRAYS = {{
{arrays}}}
'''

_CLASSES = '''\
def predict_classes(x, batch_size=1024):
    """The class of each row of x: its name, where it has one, or its number."""
    y = predict(x, batch_size)
    labels = {labels}
    return labels if CLASS_NAMES is None else np.array(CLASS_NAMES)[labels]


'''
_LARGEST, _ABOVE = "y.argmax(axis=-1)", "(y{column} > {threshold}).astype(int)"


def export_numpy(path: str | os.PathLike[str], model: Model, about: str = "", more: str = "") -> None:
    """Write a Python file with a function ``predict`` that gives what the model gives at inference, to the bit.

    Both compute with one BLAS thread. If the model's loss is one for classes, there is ``predict_classes``, too.
    about: what the file says that ``predict`` takes and returns; by default, rows of numbers. more: lines to be added
    at the end of the file. The file is run on three random rows before it is put in place. Raises RuntimeError before
    the model is built, and TypeError, naming the layer, where a layer does not say what it computes, or says something
    else.
    """
    network, names = model.network, model._names
    dtype, functions = network.theta.dtype, _Functions(network)
    sources = [functions.of(layer) for layer in walk(network)] + _library_functions(functions.called)
    d, k = (", ".join(map(str, shape or ())) for shape in (network._record.input_shape, network._record.output_shape))
    text = _FILE.format(
        about=about or f"x: (n, {d}) numbers. Returns (n, {k}), {dtype}.",
        title=_harmless(model.name or "A model"),
        version=__version__,
        dtype=dtype,
        x_dtype=network.input_dtype,
        input_shape=network._record.input_shape,
        d=d,
        features=None if names.features is None else ascii(list(names.features)),
        class_names=ascii(_class_names(model)),
        predict_classes=_predict_classes(model),
        functions="".join(f"{source}\n\n\n" for source in sources),
        arrays="".join(f'    "{name}": {_literal(array)},\n' for name, array in functions.arrays.items()),
    )
    namespace: dict[str, Any] = {}
    exec(compile(text, "the exported file", "exec", dont_inherit=True), namespace)
    _compare(network, namespace, functions.names)
    if more:
        text += f"\n\n{more}"
        exec(compile(text, "the exported file", "exec", dont_inherit=True), {})
    replace_file(path, lambda file: file.write(text.encode()))


def _class_names(model: Model) -> list[str] | None:
    loss, output_shape = model.loss, model.network._record.output_shape or ()
    names = None if loss is None else model._names.of_classes(loss.named_classes(output_shape))
    return None if names is None else list(names)


def _predict_classes(model: Model) -> str:
    """The function ``predict_classes``; "" without a loss for classes."""
    loss, network = model.loss, model.network
    if loss is None or loss.accuracy is None:
        return ""
    threshold = threshold_of(loss, network.children[-1])
    column = "[:, 0]" if network._record.output_shape == (1,) else ""
    return _CLASSES.format(labels=_LARGEST if threshold is None else _ABOVE.format(column=column, threshold=threshold))


class _Functions:
    """Writes a function for each layer, and notes what these need."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.names: dict[int, str] = {}  # the functions', by the layer's id: layers, layers_0, layers_1, layers_1_f
        for layer in walk(network):
            name = network.name_of(layer).replace("/", "_")
            while name in self.names.values():
                name += "_"
            self.names[id(layer)] = name
        self.arrays: dict[str, Any] = {}
        self.keys: dict[int, str] = {}  # of these, by the array's id: a shared parameter is written once
        self.called: set[str] = set()  # of the library's functions

    def of(self, layer: Layer) -> str:
        """``def layers_0(x)``, with the layer's values and its text; for a chain, with calls of its children."""
        start = f"def {self.names[id(layer)]}(x):  # {_harmless(type(layer).__name__)}\n"
        if type(layer).as_numpy is Layer.as_numpy and type(layer).forward is Chain.forward:
            calls = [f"    x = {self.names[id(child)]}(x)\n" for child in layer._record.children.values()]
            return start + "".join(calls) + "    return x"
        text = layer.as_numpy()
        if not isinstance(text, str):
            raise TypeError(f"{layer._where}: as_numpy must return lines of NumPy as text, got {shown(text)}.")
        lines = f'{textwrap.dedent(text).strip()}\nreturn np.asarray(x, "{layer._record.dtype}")'
        lines = textwrap.indent(lines, "    ")
        try:
            names = self._own_names(layer, symtable.symtable(start + lines, "as_numpy", "exec").get_children()[0])
            source = start + "".join(f"    {name} = {self._value(layer, name)}\n" for name in names) + lines
            compile(source, "as_numpy", "exec", dont_inherit=True)
        except SyntaxError as error:
            raise TypeError(f"{layer._where}: as_numpy gives lines that are no Python: {error}") from None
        return source

    def _own_names(self, layer: Layer, table: symtable.SymbolTable) -> list[str]:
        """The names in the text that mean something of the layer. Raises TypeError for those that mean nothing."""
        declared = {*layer._record.arrays, *layer._record.children}
        own = declared.intersection(table.get_identifiers())
        for name in _global_names(table):
            if hasattr(layer, name):
                own.add(name)
            elif name in _library():
                self.called.add(name)
            elif name not in ("np", "math") and not hasattr(builtins, name):
                raise TypeError(
                    f"{layer._where}: as_numpy names {name!r}, which the layer does not have; nor is it a function of "
                    f"minidense.numerics.functional or of Python.{nearest(name, declared)}"
                )
        for name in own & {"x", "np", "ARRAYS", *self.names.values()}:
            raise TypeError(
                f"{layer._where}: in an exported file {name!r} means something else; give the layer's another name."
            )
        return sorted(own)

    def _value(self, layer: Layer, name: str) -> str:
        """What ``layer`` has under that name as Python. Raises TypeError for what cannot be written."""
        arrays, children = layer._record.arrays, layer._record.children
        if name in children:
            return self.names[id(children[name])]
        value = arrays[name] if name in arrays else getattr(layer, name)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            key = self.network.name_of(layer, name)
            key = self.keys.setdefault(id(value), key) if name in arrays else key
            self.arrays[key] = value
            return f'ARRAYS["{key}"]'
        for kind in (bool, int, float):
            if isinstance(value, kind):
                return repr(kind(value)).replace("inf", "np.inf").replace("nan", "np.nan")
        raise TypeError(
            f"{layer._where}: {name} is {shown(value)}; an exported file can have numbers and arrays of them."
        )


def _global_names(table: symtable.SymbolTable) -> set[str]:
    """The names that the code, its lambdas and comprehensions included, takes from outside."""
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names.union(*map(_global_names, table.get_children()))


def _literal(array: Any) -> str:
    """The array as a call. One that lies column by column will do so there, too: the bits of products depend on it."""
    turned = array.flags.f_contiguous and not array.flags.c_contiguous
    rows = array.T if turned else array
    rows = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    text = base64.encodebytes(rows.tobytes()).decode()
    return f'_array("{rows.dtype.str}", {rows.shape}, """\n{text}""")' + ".T" * turned


def _harmless(text: str) -> str:
    """A name, which a stranger's file may have brought, without what could end a comment or a string."""
    return re.sub(r"[^\w .,+-]", "_", text)


@functools.cache
def _library() -> dict[str, tuple[str, set[str]]]:
    """The library's functions and their constants by name: the source, and the names in it."""
    source, found = inspect.getsource(functional), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
            names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
            name = node.name if isinstance(node, ast.FunctionDef) else names[0]
            found[name] = "\n".join(source.splitlines()[first - 1 : node.end_lineno]), set(names)
    return found


def _library_functions(called: set[str]) -> list[str]:
    """The source of the functions that are called, and of what these need in turn."""
    library, wanted, waiting = _library(), set(), set(called)
    while waiting:
        wanted.add(name := waiting.pop())
        waiting |= (library[name][1] & library.keys()) - wanted
    return [source for name, (source, _) in library.items() if name in wanted]


def _compare(network: Network, namespace: dict[str, Any], names: Mapping[int, str]) -> None:
    """Run ``predict``, and beside each layer's function its forward. Raises TypeError where the two differ."""
    problems: list[str] = []

    def beside(layer: Layer, function: Callable[[Array], Any]) -> Callable[[Array], Any]:
        forward = inference([layer])

        def run(x: Array) -> Any:
            x = x.view()
            x.flags.writeable = False
            found, expected = _outcome(function, x), _outcome(forward, x)
            if difference := _difference(found, expected):
                problems.append(f"as_numpy of {layer._where}, {difference}")
            if isinstance(found, Exception):
                raise found
            return found

        return run

    for layer in walk(network):
        name = names[id(layer)] if layer is not network else "predict"
        namespace[name] = beside(layer, namespace[name])
    rows = network._examples(np.random.default_rng(0), 3)
    with np.errstate(all="ignore"), one_thread():
        _outcome(namespace["predict"], rows.astype(network.input_dtype))
    if problems:  # the first: a child is compared before its parent
        advice = "The lines must compute what forward does at inference, and leave the x they are given as it is."
        raise TypeError(f"{problems[0]}. {advice}")


def _outcome(function: Callable[[Array], Any], x: Array) -> Any:
    try:
        return np.asarray(function(x))
    except Exception as error:
        return error


def _difference(found: Any, expected: Any) -> str:
    """How two outcomes differ, to the bit; NaN is the same as NaN, and an exception as one of its kind."""
    outcomes = found, expected
    if isinstance(found, Exception) and type(found) is type(expected):
        return ""
    kinds = [f"{type(y).__name__}: {y}" if isinstance(y, Exception) else f"{y.dtype} {y.shape}" for y in outcomes]
    if kinds[0] != kinds[1]:
        return f"gives {kinds[0]}, and its forward {kinds[1]}"
    bits = [np.where(np.isnan(y), np.nan, y).tobytes() for y in outcomes]
    return "" if bits[0] == bits[1] else "gives other numbers than its forward"
