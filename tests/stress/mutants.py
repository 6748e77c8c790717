"""Small faults, planted one at a time into a copy of the library: does a test notice each of them?

python tests/stress/mutants.py                               some 160 of them, over all files; half an hour
python tests/stress/mutants.py --only layers/dense.py        in files whose path contains that
python tests/stress/mutants.py --count 300 --seed 1          more, and others

A mutant is made by a rule (``Finder``): a comparison or a sign is turned, a number is off by one, a statement is
missing, ... Each file gets its share, of all kinds of faults in turn. The tests that mirror the file run first, with
its doctests, then those of its folder, then tests/promises; with --slow, all others. A test that fails without any
fault is left out. Survivors are printed; those that no test could notice are explained in
``equivalent.py``.
"""

import argparse
import ast
import contextlib
import itertools
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from equivalent import EXPLAINED

HERE = Path(__file__).parents[2]
SLOW = ("test_resumption.py", "test_benchmarks.py", "test_examples.py")  # in tests/promises, from short to long
LIMIT = 300  # seconds that a list of tests may take
MEMORY = 12 << 20  # KiB of address space that a mutant may take


@dataclass(frozen=True)
class Mutant:
    """One fault: the text between two offsets of a file (in bytes) is replaced."""

    file: str  # relative to minidense/
    line: int
    kind: str
    before: str  # that line
    after: str  # what stands there instead; of a statement on several lines, instead of all of them
    start: int
    end: int
    text: str  # what stands between the offsets instead

    def applied(self, source):
        return source[: self.start] + self.text.encode() + source[self.end :]

    @property
    def key(self):
        """It stays the same when the line moves."""
        return self.file, self.before, self.after

    def __str__(self):
        return f"minidense/{self.file}:{self.line}  {self.kind}\n  - {self.before}\n  + {self.after}"


COMPARISONS = {
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
}
ARITHMETIC = {(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.FloorDiv, ast.Mod)}
TURNED = {a: b for pairs in (COMPARISONS, ARITHMETIC) for pair in pairs for a, b in (pair, pair[::-1])}
NAMES = {"min": "max", "any": "all", "minimum": "maximum", "floor": "ceil", "argmin": "argmax", "zeros": "ones"}
NAMES |= {b: a for a, b in NAMES.items()}
KEYED = ("get", "pop", "setdefault", "getattr", "hasattr", "setattr")  # calls whose string is a key, and not a message
NOT_SWAPPED = ("isinstance", "issubclass", "getattr", "hasattr", "setattr")  # any test notices


class Finder(ast.NodeVisitor):
    """All mutants of one file. Not touched: docstrings, annotations, messages, imports, ``__all__``, TYPE_CHECKING."""

    def __init__(self, file, source):
        self.file, self.source, self.found = file, source, []
        self.starts = list(itertools.accumulate(map(len, source.splitlines(keepends=True)), initial=0))

    def span(self, node):
        start, end = self.starts[node.lineno - 1], self.starts[node.end_lineno - 1]
        return start + node.col_offset, end + node.end_col_offset

    def add(self, kind, node, after):
        """``after`` is a node, or a text that stands for it."""
        start, end = self.span(node)
        if isinstance(after, ast.expr):
            after = f"({ast.unparse(after)})" if isinstance(after, COMPOUND) else ast.unparse(after)
        self.add_text(kind, node, start, end, after)

    def add_text(self, kind, node, start, end, text):
        changed = self.source[:start] + text.encode() + self.source[end:]
        before, after = (code.split(b"\n")[node.lineno - 1].decode().strip() for code in (self.source, changed))
        with contextlib.suppress(SyntaxError):
            ast.parse(changed)
            self.found.append(Mutant(self.file, node.lineno, kind, before, after, start, end, text))

    # ------------------------------------------------------------------ what is passed over

    def visit_JoinedStr(self, node):
        pass  # a message; and its parts have no places of their own in Python 3.11

    def visit_Assert(self, node):
        pass

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node):
        pass

    def visit_ClassDef(self, node):
        for part in (*node.decorator_list, *node.keywords, *node.body):
            self.visit(part)

    def visit_FunctionDef(self, node):
        if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
            return
        for decorator in node.decorator_list:
            if not ast.unparse(decorator).endswith(".setter"):
                self.decorator(decorator)
        self.visit(node.args)
        for statement in node.body:
            self.visit(statement)

    def decorator(self, node):
        start, end = self.span(node)
        self.add_text("decorator removed", node, start - 1, end, "@(lambda undecorated: undecorated)")

    def visit_If(self, node):
        if "TYPE_CHECKING" in ast.unparse(node.test):
            return
        self.negate(node.test)
        self.generic_visit(node)

    def visit_Assign(self, node):
        if ast.unparse(node.targets[0]) == "__all__" or (isinstance(node.value, ast.Subscript) and self.is_type(node)):
            return
        if any(isinstance(part, ast.Attribute) for target in node.targets for part in ast.walk(target)):
            self.add("statement removed", node, "pass")
        self.visit(node.value)

    def is_type(self, node):
        """Whether this names a type, such as ``Array = np.ndarray[Any, Any]``."""
        return isinstance(node.targets[0], ast.Name) and node.targets[0].id[0].isupper() and node.col_offset == 0

    def visit_AugAssign(self, node):
        self.add("statement removed", node, "pass")
        if type(node.op) in TURNED:
            self.add("operator", node, ast.unparse(ast.AugAssign(node.target, TURNED[type(node.op)](), node.value)))
        self.visit(node.value)

    def visit_Raise(self, node):
        self.add("raise removed", node, "pass")

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            self.add("statement removed", node, "pass")
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    # ------------------------------------------------------------------ expressions

    def negate(self, test):
        if not isinstance(test, ast.UnaryOp | ast.Compare):
            self.add("condition", test, ast.UnaryOp(ast.Not(), test))

    def visit_While(self, node):
        self.generic_visit(node)

    def visit_IfExp(self, node):
        self.negate(node.test)
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not | ast.USub):
            self.add("not" if isinstance(node.op, ast.Not) else "sign", node, node.operand)
        if not isinstance(node.operand, ast.Constant):
            self.visit(node.operand)

    def visit_Compare(self, node):
        for i, op in enumerate(node.ops):
            if type(op) in TURNED:
                ops = [*node.ops[:i], TURNED[type(op)](), *node.ops[i + 1 :]]
                self.add("comparison", node, ast.Compare(node.left, ops, node.comparators))
        if isinstance(node.ops[0], ast.In | ast.NotIn | ast.Eq | ast.NotEq):
            for part in (node.left, *node.comparators):
                self.key(part)
        self.generic_visit(node)

    def visit_BinOp(self, node):
        text = any(isinstance(part, ast.JoinedStr) or is_text(part) for part in ast.walk(node))
        if type(node.op) in TURNED and not text:
            self.add("operator", node, ast.BinOp(node.left, TURNED[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.add("and, or", node, ast.BoolOp(other, node.values))
        for value in node.values:
            if not isinstance(value, ast.Compare | ast.UnaryOp):
                self.negate(value)
        self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        if isinstance(value, bool):
            self.add("true, false", node, ast.Constant(not value))
        elif isinstance(value, int | float):
            self.add("number", node, ast.Constant(value + 1))
            if value:
                self.add("sign", node, ast.UnaryOp(ast.USub(), node))

    def visit_Subscript(self, node):
        self.key(node.slice)
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            self.add("number", node.slice, ast.Constant(node.slice.value + 1))  # shape[-1] often is shape[1]
        else:
            self.visit(node.slice)
        self.visit(node.value)

    def visit_Dict(self, node):
        for key in node.keys:
            self.key(key)
        self.generic_visit(node)

    def visit_Call(self, node):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in NAMES:
            other = (
                ast.Name(NAMES[name])
                if isinstance(node.func, ast.Name)
                else ast.Attribute(node.func.value, NAMES[name])
            )
            self.add("function", node, ast.Call(other, node.args, node.keywords))
        if len(node.args) > 1 and name not in NOT_SWAPPED and len({ast.dump(part) for part in node.args[:2]}) == 2:
            swapped = [node.args[1], node.args[0], *node.args[2:]]
            self.add("arguments swapped", node, ast.Call(node.func, swapped, node.keywords))
        if name in KEYED:
            for argument in node.args[:2]:
                self.key(argument)
        if name not in ("TypeVar", "ParamSpec", "warn", "cast"):
            self.generic_visit(node)

    def key(self, node):
        if is_text(node):
            self.add("key", node, ast.Constant(node.value + "_"))


COMPOUND = (ast.BinOp, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.IfExp, ast.Lambda)


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def mutants_of(file, seed):
    """All mutants of a file, in an order in which the kinds take turns."""
    source = (HERE / "minidense" / file).read_bytes()
    finder = Finder(file, source)
    finder.visit(ast.parse(source))
    by_kind, chance = defaultdict(list), random.Random(f"{seed} {file}")
    for mutant in chance.sample(finder.found, len(finder.found)):
        by_kind[mutant.kind].append(mutant)
    kinds = chance.sample(sorted(by_kind), len(by_kind))
    turns = [(turn, kinds.index(kind), mutant) for kind in kinds for turn, mutant in enumerate(by_kind[kind])]
    return [mutant for *_, mutant in sorted(turns, key=lambda each: each[:2])]


def chosen(count, seed, only):
    """At least ``count`` of them: two of each file, and of the large ones as many more as they are larger."""
    files = sorted(str(path.relative_to(HERE / "minidense")) for path in (HERE / "minidense").rglob("*.py"))
    found = {file: mutants_of(file, seed) for file in files if any(part in file for part in only)}
    total = sum(map(len, found.values()))
    return [m for of_file in found.values() for m in of_file[: max(2, -(-count * len(of_file) // max(total, 1)))]]


class Trial:
    """Copies of the repository to run mutants in, and one without a fault, which says what fails anyway."""

    def __init__(self, folder, jobs, slow):
        self.slow, self.copies, self.lock, self.serial = slow, queue.SimpleQueue(), Lock(), 0
        self.anyway = {}
        for name in ["sound", *map(str, range(jobs))]:
            copy = Path(folder) / name
            for part in (
                "minidense",
                "tests",
                "examples",
                "pyproject.toml",
                "README.md",
                "LICENSE",
                ".ci",
                ".gitignore",
            ):
                if (HERE / part).is_dir():
                    shutil.copytree(HERE / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
                elif (HERE / part).exists():
                    copy.mkdir(exist_ok=True)
                    shutil.copy(HERE / part, copy / part)
            if name != "sound":
                self.copies.put(copy)
        self.sound = Path(folder) / "sound"

    def stages(self, file):
        """The lists of tests that a mutant of this file meets, one after the other."""
        folder = self.sound / "tests" / Path(file).parent
        everything = [each for each in (self.sound / "tests").rglob("test_*.py") if each.name not in SLOW]
        seen = {*folder.glob(f"test_{Path(file).stem}.py")}
        yield [*map(str, sorted(path.relative_to(self.sound) for path in seen)), f"minidense/{file}"]
        promises = (self.sound / "tests/promises").glob("*.py")
        for further in (folder.glob("*.py"), promises, everything if self.slow else []):
            now = [path for path in further if path in everything and path not in seen]
            seen.update(now)
            yield sorted(str(path.relative_to(self.sound)) for path in now)
        if self.slow:
            yield from ([f"tests/promises/{name}"] for name in SLOW)

    def pytest(self, copy, tests, *options):
        """(exit code, or None where it takes too long; what was printed)."""
        command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-rfE", "-p", "no:randomly", *options, *tests]
        environment = os.environ | {"PYTHONPATH": str(copy), "CI": "true", "COLUMNS": "2000", "PYTHONHASHSEED": "0"}
        process = subprocess.Popen(
            ["sh", "-c", f'ulimit -v {MEMORY}; exec "$@"', "sh", *command, "--basetemp", f"{copy}-tmp"],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=LIMIT)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):  # and what it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def fails_anyway(self, test):
        """Whether that test fails without a fault."""
        with self.lock:
            if test not in self.anyway:
                code, _ = self.pytest(self.sound, [test])
                self.anyway[test] = bool(code)
                if code:
                    print(f"left out, as it fails without a fault: {test}\n", flush=True)
            return self.anyway[test]

    def caught(self, mutant):
        """Who noticed, as text; None for a survivor."""
        copy = self.copies.get()
        target = copy / "minidense" / mutant.file
        source = target.read_bytes()
        try:
            self._write(target, mutant.applied(source))
            for tests in filter(None, self.stages(mutant.file)):
                while True:
                    options = [f"--deselect={test}" for test, fails in [*self.anyway.items()] if fails]
                    code, output = self.pytest(copy, tests, "-x", *options)
                    if code is None:
                        return f"{tests[0]}: takes too long"
                    if code in (0, 5):  # 5: no tests
                        break
                    by = next(iter(failures(output)), f"{tests[0]}: exit code {code}")
                    if "::" not in by or not self.fails_anyway(by):
                        return by
            return None
        finally:
            self._write(target, source)
            self.copies.put(copy)

    def _write(self, path, source):
        """Each time with another modification time: by that Python knows whether its compiled file is of today."""
        path.write_bytes(source)
        with self.lock:
            self.serial += 1
        os.utime(path, (self.serial, self.serial))


def failures(output):
    return [found[2] for found in re.finditer(r"(?m)^(FAILED|ERROR) (.+?)( - .*)?$", output)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=120, help="at least so many, at least two of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="FILE", help="files whose path contains one of these"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--slow", action="store_true", help="survivors meet all other tests too")
    parser.add_argument("--json", metavar="PATH", help="write all that was found there")
    parser.add_argument("--survivors", metavar="PATH", help="only those that survived in an earlier run's --json")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    arguments = parser.parse_args()
    mutants = chosen(10**6 if arguments.survivors else arguments.count, arguments.seed, arguments.only)
    if arguments.survivors:
        earlier = json.loads(Path(arguments.survivors).read_text())
        survivors = {(each["file"], each["before"], each["after"]) for each in earlier if not each["caught"]}
        mutants = [mutant for mutant in mutants if mutant.key in survivors]
    if arguments.list:
        print(*mutants, sep="\n")
        return
    found = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        trial = Trial(folder, arguments.jobs, arguments.slow)
        for mutant, by in zip(mutants, pool.map(trial.caught, mutants), strict=True):
            why = None if by else EXPLAINED.get(mutant.key)
            found.append({**asdict(mutant), "caught": by, "explained": why})
            if arguments.json:
                Path(arguments.json).write_text(json.dumps(found, indent=1))
            if by is None:
                print(f"{mutant}\n  = {why or 'NOT NOTICED, and not explained'}\n", flush=True)
    survived = [each for each in found if not each["caught"]]
    unexplained = sum(not each["explained"] for each in survived)
    print("kinds:", ", ".join(f"{kind} {n}" for kind, n in Counter(m.kind for m in mutants).most_common()))
    print(f"explained {len(survived) - unexplained}, not explained {unexplained}")
    share = 100 * len(survived) / max(len(found), 1)
    print(f"{len(found)} mutants, {len(found) - len(survived)} caught, {len(survived)} survived ({share:.1f} %)")
    sys.exit(bool(unexplained))


if __name__ == "__main__":
    main()
