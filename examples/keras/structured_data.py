"""Structured data: a table of numbers and categories, with gaps. Which species is this penguin?

    python examples/keras/structured_data.py [--short]

NumPy turns strings into whole numbers and fills the gaps; the rest is part of the model, and saved with it: numbers are
normalized, small categories become columns of 0 and 1, and islands become vectors that are learned. The table is that
of the Palmer penguins (A. M. Horst, A. P. Hill, K. B. Gorman), licence CC0.
"""

import argparse
import csv
import os
import tempfile
from importlib import resources

import numpy as np

import minidense as keras
from minidense import layers

NUMBERS = ["bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CATEGORIES = ["year", "sex", "island"]  # integers, strings with gaps, strings


class Columns(keras.Layer):
    """Columns ``start`` to ``stop - 1`` of the table: the beginning of a branch."""

    def __init__(self, start, stop):
        self.start, self.stop = start, stop

    def build(self, input_shape):
        self.width = input_shape[-1]
        return (self.stop - self.start,)

    def forward(self, x):
        return x[:, self.start : self.stop]

    def backward(self, dy):
        dx = np.zeros((len(dy), self.width), dy.dtype)
        dx[:, self.start : self.stop] = dy
        return dx


def load_table():
    """The rows of the CSV file, each a dict of strings."""
    with (resources.files("minidense.datasets") / "penguins.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def prepare(rows, medians, vocabularies):
    """An array of the numbers, with the median for a gap, and of the categories: 1, 2, ..., 0 for gaps and new ones."""
    numbers = [[medians[name] if row[name] == "NA" else float(row[name]) for name in NUMBERS] for row in rows]
    index = {name: {word: i for i, word in enumerate(words, 1)} for name, words in vocabularies.items()}
    categories = [[index[name].get(row[name], 0) for name in CATEGORIES] for row in rows]
    return np.column_stack([numbers, categories])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer epochs")
    options = parser.parse_args(arguments)

    table = load_table()
    np.random.default_rng(0).shuffle(table)
    train, val, test = table[:220], table[220:275], table[275:]
    gaps = sum(row[name] == "NA" for row in table for name in NUMBERS + CATEGORIES)
    print(f"{len(train)} penguins for training, {len(val)} for validation, {len(test)} for testing; {gaps} gaps")

    # All that is learned from the table is learned from its training rows.
    medians = {name: np.median([float(row[name]) for row in train if row[name] != "NA"]) for name in NUMBERS}
    vocabularies = {name: sorted({row[name] for row in train} - {"NA"}) for name in CATEGORIES}
    print("\n".join(f"{name:>7}: {', '.join(words)}" for name, words in vocabularies.items()))
    x_train, x_val, x_test = (prepare(rows, medians, vocabularies) for rows in (train, val, test))
    species = sorted({row["species"] for row in train})
    y_train, y_val, y_test = (np.array([species.index(row["species"]) for row in rows]) for rows in (train, val, test))

    normalizer = layers.Normalization()
    normalizer.adapt(x_train[:, :3])
    years, sexes, islands = (len(vocabularies[name]) + 1 for name in CATEGORIES)
    model = keras.Sequential(
        [
            layers.Concatenate(
                [
                    [Columns(0, 3), normalizer],
                    [Columns(3, 4), layers.CategoryEncoding(num_tokens=years, output_mode="one_hot")],
                    [Columns(4, 5), layers.CategoryEncoding(num_tokens=sexes, output_mode="one_hot")],
                    [Columns(5, 6), layers.Embedding(islands, 2), layers.Flatten()],
                ]
            ),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(len(species), activation="softmax"),
        ],
        rng=0,
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    epochs = 30 if options.short else 100
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, validation_data=(x_val, y_val), verbose=0)
    model.summary()
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    majority = np.mean(y_test == np.bincount(y_train).argmax())
    print(f"test accuracy {accuracy:.3f}, loss {loss:.3f}; always the commonest species: {majority:.3f}")

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "penguins.keras")
        model.save(path)
        reloaded = keras.models.load_model(path, custom_objects={"Columns": Columns})

    print("\nthe same penguin, of unknown sex, if it were found on")
    sample = {"bill_depth_mm": "19.0", "flipper_length_mm": "200", "body_mass_g": "3700", "year": "2009", "sex": "NA"}
    by_island = {}
    for island in vocabularies["island"]:
        probabilities = reloaded.predict(prepare([sample | {"island": island}], medians, vocabularies))[0]
        by_island[island] = dict(zip(species, probabilities, strict=True))
        shown = ", ".join(f"{name} {100 * p:.1f} %" for name, p in by_island[island].items())
        print(f"{island:>10}: {shown}")
    return {"accuracy": accuracy, "majority": majority, "by island": by_island, "gaps": gaps}


if __name__ == "__main__":
    main()
