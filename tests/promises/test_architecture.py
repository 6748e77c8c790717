"""The house: each file imports from the floors below it only, and the public names are those promised."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import minidense as md

PACKAGE = Path(md.__file__).parent

FLOORS = [
    ["core", "core.types", "core.version", "core.errors", "files.atomic"],
    ["numerics", "data", "training", "teaching", "files"],
    ["core.arguments"],
    [
        "files.archive",
        "files.random_states",
        "numerics.blas",
        "numerics.functional",
        "layers.initializers",
        "metrics",
        "data.arrays",
        "schedules",
        "training.history",
        "teaching.summary",
        "core.rng",
    ],
    ["optimizers", "data.batches", "data.labels"],
    ["datasets.bundled", "datasets.idx", "datasets.synthetic"],
    ["datasets", "layers.parameters", "files.objects"],
    ["files.codec"],
    ["layers.base"],
    ["layers.activations", "layers.dropout", "layers.flatten", "layers.normalization"],
    ["layers.dense"],
    ["layers"],
    ["losses", "callbacks.base"],
    ["callbacks"],
    ["network", "callbacks.progress", "files.numpy_export", "files.saving", "callbacks.hooks"],
    ["files.loading"],
    ["teaching.gradcheck", "training.step", "training.inputs"],
    ["training.loop"],
    ["model"],
    [""],
]
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}


def module_name(path):
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix("__init__").removesuffix(".")


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(path):
    """The library's modules that the file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minidense":
            inside = node.module.removeprefix("minidense").removeprefix(".")
            for alias in node.names:
                deeper = f"{inside}.{alias.name}".removeprefix(".")
                yield deeper if deeper in FILES else inside
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("minidense.") for a in node.names if a.name.startswith("minidense"))


def test_every_file_has_a_floor():
    assert set(FILES) == set(FLOOR_OF)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_from_floors_below_only(name):
    for imported in imports(FILES[name]):
        assert FLOOR_OF[imported] < FLOOR_OF[name], f"{name or 'minidense'} imports {imported}"


@pytest.mark.parametrize("name", FILES)
def test_every_file_opens_with_its_idea(name):
    tree = ast.parse(FILES[name].read_text())
    assert ast.get_docstring(tree)


def test_what_is_exported_exists_and_is_sorted():
    assert all(hasattr(md, name) for name in md.__all__)
    assert md.__all__ == sorted(md.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))


def public_objects():
    for name in md.__all__:
        thing = getattr(md, name)
        if isinstance(thing, type):
            yield name, thing
            for attribute, member in vars(thing).items():
                if not attribute.startswith("_") and (callable(member) or isinstance(member, property)):
                    yield f"{name}.{attribute}", member
        elif callable(thing):
            yield name, thing


@pytest.mark.parametrize(("name", "thing"), list(public_objects()))
def test_everything_public_is_documented(name, thing):
    """An override may leave it to the method it overrides."""
    described = name.split(".")[-1] in ("forward", "backward")  # of layers: in the class's own docstring
    assert described or inspect.getdoc(thing), name


def test_importing_loads_nothing_heavy():
    code = "import minidense, sys; print(*[m for m in ('tqdm', 'matplotlib', 'scipy', 'pandas') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == []
