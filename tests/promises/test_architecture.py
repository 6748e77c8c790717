"""The architecture: folders lie on floors, a file imports from floors below only, and no class grows too large.

Within a folder, each file imports only from the files before it in the list; folders of one floor do not import each
other. So there is no import cycle. Imports for type checkers only do not count.
"""

import ast
import inspect
import io
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import minidense as md

PACKAGE = Path(md.__file__).parent

FLOORS = [
    {
        "core": [
            *("types", "version", "errors", "instead", "named", "arguments", "configurable"),
            *("exclusive", "interrupts", "rng"),
        ]
    },
    {
        "numerics": ["blas", "sums", "helpers", "functional"],
        "data": ["arrays", "labels", "names", "batches", "sources"],
        "datasets": ["idx", "bundled", "synthetic", "fashion_mnist", "__init__"],
        "schedules.py": [],
    },
    {
        "layers": [
            *("initializers", "regularizers", "constraints", "guard", "base", "activations", "composite", "dense"),
            *("packed", "normalization", "noise", "shaping", "embedding", "__init__"),
        ],
        "tables": ["reading", "encoding", "preprocessing"],
        "optimizers.py": [],
    },
    {
        "losses": ["base", "regression", "classes", "names", "members", "__init__"],
        "network.py": [],
    },
    {
        "metrics": ["forms", "base", "means", "counts", "collected", "confusion", "of_losses", "names", "__init__"],
    },
    {"callbacks": ["base", "monitors", "checkpoint", "reporting", "__init__"]},
    {
        "training": ["history", "results", "inputs", "plans", "prediction", "evaluation", "step", "loop", "lbfgs"],
        "teaching": ["summary", "gradcheck"],
    },
    {
        "files": ["atomic", "archive", "codec", "behaviour", "model_file", "checkpoint", "numpy_export"],
        "aliases.py": [],
    },
    {"model.py": []},
    {"tables": ["estimators"]},
    {
        "models.py": [],
        **{f"{name}.py": [] for name in ("activations", "initializers", "regularizers", "constraints", "utils")},
    },
    {"__init__.py": []},
]

# A run that is saved or resumed needs files/, and files/ needs the classes of the run: one of the two must be imported
# late. It is files/, within functions, so that programs that save nothing do not import it.
MAY_IMPORT_FILES_LATE = {"training", "callbacks", "model.py"}


def places():
    """For each file, as a path: its floor, its folder, and its place within the folder."""
    found = {}
    for floor, rooms in enumerate(FLOORS, 1):
        for room, files in rooms.items():
            if room.endswith(".py"):
                found[room] = (floor, room, 0)
            else:
                found[f"{room}/__init__.py"] = (floor, room, -1)  # only a docstring
                found |= {f"{room}/{name}.py": (floor, room, place) for place, name in enumerate(files)}
    return found


PLACES = places()


def imports(tree, files):
    """(path, line, whether within a function) of each import of a file of the library at run time."""

    def path_of(module, name=None):
        inside = module.split(".")[1:]
        for parts in ([*inside, name] if name else inside, inside):
            for ending in (".py", "/__init__.py"):
                path = "/".join(parts) + ending if parts else "__init__.py"
                if path in files:
                    return path
        return module

    def within(node, late):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.level:
            yield "a relative import", node.lineno, late
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "minidense":
            yield from ((path_of(node.module, alias.name), node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.split(".")[0] == "minidense"]
            yield from ((path_of(name), node.lineno, late) for name in ours)
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from within(child, late)

    yield from within(tree, False)


def faults(package):
    """Each import that goes up or sideways, and each file without a place."""
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    found = [f"{path} has no place in FLOORS" for path in files.keys() - PLACES.keys()]
    found += [f"{path} is in FLOORS, and does not exist" for path in PLACES.keys() - files.keys()]
    for path in sorted(files.keys() & PLACES.keys()):
        floor, room, place = PLACES[path]
        for imported, line, late in imports(ast.parse(files[path].read_text()), files):
            other_floor, other_room, other_place = PLACES.get(imported, (99, "", 99))
            below = other_floor < floor or ((other_floor, other_room) == (floor, room) and other_place < place)
            if not below and not (late and other_room == "files" and room in MAY_IMPORT_FILES_LATE):
                found.append(f"{path}, line {line}: imports {imported}")
    return found


def test_each_file_imports_from_floors_below_and_from_files_before_it():
    assert len(FLOORS) <= 12
    assert faults(PACKAGE) == []


PLANTED = {
    "a floor above": ("core/types.py", "import minidense.network", "network.py"),
    "the same floor, another room": ("losses/base.py", "from minidense import network", "network.py"),
    "a file after it": ("data/arrays.py", "from minidense.data import batches", "data/batches.py"),
    "its own room as a whole": ("layers/noise.py", "from minidense.layers import Dense", "layers/__init__.py"),
    "itself": ("training/step.py", "from minidense.training import step", "training/step.py"),
    "late, a floor above": ("layers/dense.py", "def f():\n    from minidense.network import Network", "network.py"),
    "late, files, elsewhere": ("optimizers.py", "def f():\n    from minidense.files import atomic", "files/atomic.py"),
    "at once, files": ("callbacks/base.py", "from minidense.files import atomic", "files/atomic.py"),
    "in a condition": ("metrics/base.py", "if True:\n    import minidense.model", "model.py"),
    "in a class": ("losses/base.py", "class C:\n    from minidense import metrics", "metrics/__init__.py"),
    "the library": ("teaching/summary.py", "import minidense as md", "__init__.py"),
    "relatively": ("training/loop.py", "from . import history", "a relative import"),
}  # fmt: skip


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "minidense", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    return tmp_path / "minidense"


def add_lines(path, lines):
    path.write_text(path.read_text() + "\n\n" + lines + "\n")


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_import_is_found(kind, copied):
    path, line, imported = PLANTED[kind]
    before = faults(copied)
    add_lines(copied / path, line)
    (found,) = [fault for fault in faults(copied) if fault not in before]
    assert found.startswith(f"{path}, line ")
    assert found.endswith(f": imports {imported}")


def test_what_is_allowed_is_no_fault_and_a_new_file_needs_a_place(copied):
    before = faults(copied)
    for room in ("training/loop.py", "callbacks/base.py", "model.py"):
        add_lines(copied / room, "def f():\n    from minidense.files import atomic")
    add_lines(copied / "core/rng.py", "if TYPE_CHECKING:\n    from minidense.model import Sequential")
    assert faults(copied) == before
    (copied / "layers" / "more.py").write_text('"""More."""\n')
    (copied / "core" / "version.py").unlink()
    assert set(faults(copied)) - set(before) >= {
        "layers/more.py has no place in FLOORS",
        "core/version.py is in FLOORS, and does not exist",
    }


def test_importing_loads_neither_files_nor_anything_heavy():
    code = "import minidense, sys; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "minidense.model" in output
    late = ("minidense.files", "minidense.tables", "tqdm", "matplotlib", "scipy", "pandas")
    assert [name for name in output if name.startswith(late)] == []
    code = "import numpy, sys; before = set(sys.modules); import minidense; print(*set(sys.modules) - before)"
    own = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"json", "csv", "hashlib", "difflib"} & set(own)


# ------------------------------------------------------------------ sizes


def code_lines(node, source):
    """The lines of code in a class, or in the body of a function: no docstrings, comments and empty lines."""
    start = node.body[0].lineno if isinstance(node, ast.FunctionDef) else node.lineno
    kept = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            kept.update(range(token.start[0], token.end[0] + 1))
    for part in ast.walk(node):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str):
            kept.difference_update(range(part.lineno, part.end_lineno + 1))
    return len(kept & set(range(start, node.end_lineno + 1)))


def sizes():
    """The lines of code of each class, and of ``fit``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and node.name == "fit"):
                found[node.name] = code_lines(node, source)
    return found


CLASS = '''
class C:
    """Two
    lines."""

    # why
    def fit(
        self,
    ):
        """So."""
        return (  # 1
            1
        )
'''


def test_lines_of_code_are_counted_without_what_explains_them():
    (node,) = ast.parse(CLASS).body
    assert code_lines(node, CLASS) == 7
    assert code_lines(node.body[1], CLASS) == 3


def test_nothing_grows_too_large():
    found = sizes()
    assert found.pop("fit") <= 25
    assert found["Network"] <= 300
    largest = found.pop("Sequential")
    assert largest <= 450
    assert max(found.values()) < largest


# ------------------------------------------------------------------ what is public


@pytest.mark.parametrize("path", sorted(PLACES))
def test_every_file_opens_with_its_idea(path):
    tree = ast.parse((PACKAGE / path).read_text())
    assert (ast.get_docstring(tree) or "").split("\n")[0].rstrip().endswith((".", "?"))


def test_what_is_exported_exists_and_is_sorted():
    assert all(hasattr(md, name) for name in md.__all__)
    assert md.__all__ == sorted(md.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))


def public_objects(module, where="md"):
    for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
        thing = getattr(module, name)
        if inspect.ismodule(thing):
            if thing.__name__.startswith("minidense"):
                yield from public_objects(thing, f"{where}.{name}")
        elif isinstance(thing, type) and thing.__module__.startswith("minidense"):
            yield f"{where}.{name}", thing
            for attribute, member in vars(thing).items():
                if not attribute.startswith("_") and (callable(member) or isinstance(member, property)):
                    yield f"{where}.{name}.{attribute}", getattr(thing, attribute)
        elif inspect.isfunction(thing) and thing.__module__.startswith("minidense"):
            yield f"{where}.{name}", thing


@pytest.mark.parametrize(("name", "thing"), sorted(dict(public_objects(md)).items()))
def test_everything_public_is_documented(name, thing):
    """An override may inherit the docstring of the method it overrides."""
    described = name.split(".")[-1] in ("forward", "backward")  # of layers: in the class's own docstring
    assert described or inspect.getdoc(thing), name
