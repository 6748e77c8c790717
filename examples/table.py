"""A table with numbers, text and gaps, as it is: which species is this penguin?

python examples/table.py [--epochs N]
"""

import argparse
import csv
from importlib import resources

import numpy as np

import minidense as md


def load() -> dict[str, np.ndarray]:
    """The columns of the file: numbers with NaN for gaps, or text with None (Palmer penguins, licence CC0)."""
    with (resources.files("minidense.datasets") / "penguins.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, np.ndarray] = {}
    for name in rows[0]:
        values = [None if row[name] == "NA" else row[name] for row in rows]
        try:
            columns[name] = np.array([np.nan if value is None else float(value) for value in values])
        except ValueError:
            columns[name] = np.array(values, object)
    return columns


def some(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in columns.items()}


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=64)
    options = parser.parse_args(arguments)

    columns = load()
    species = columns.pop("species").astype(str)
    test, train = np.split(np.random.default_rng(0).permutation(len(species)), [80])

    model = md.TableClassifier(rng=0, epochs=options.epochs, verbose=0).fit(some(columns, train), species[train])
    accuracy = model.score(some(columns, test), species[test])

    print(model.explain())
    print(f"\nof {len(test)} penguins not seen, {accuracy:.1%} are recognised; foretold: {model.oof_score_:.1%}")
    for row in test[:3]:
        (probabilities,) = model.predict_proba(some(columns, row[None]))
        said = ", ".join(f"{name} {share:.0%}" for name, share in zip(model.classes_, probabilities, strict=True))
        print(f"{said}: it is {species[row]}")
    return accuracy


if __name__ == "__main__":
    main()
