"""Peak memory and time per row of fit and predict, as the rows and the widths grow.

    python tests/benchmarks/memory.py [--rows N ...] [--widths N ...] [--json FILE]

The rows come from a file (numpy.memmap), like data larger than memory. "beyond the data" is what NumPy and Python
allocate at the peak (tracemalloc), without the file's pages. It should not grow with the rows, except for 4 bytes per
row for the order of a shuffled epoch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

import minidense as md


def peak_bytes(call) -> int:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(x: np.ndarray, y: np.ndarray, width: int, batch_size: int | str) -> dict[str, float]:
    model = md.Sequential([md.Dense(width, activation="relu"), md.Dense(10), md.Softmax()], rng=0)
    model.compile(md.SGD(0.01)).build(x.shape[1])
    model.fit(x[:1000], y[:1000], batch_size=batch_size, verbose=0)  # wakes the threads
    start = time.perf_counter()
    model.fit(x, y, batch_size=batch_size, verbose=0)
    seconds = time.perf_counter() - start
    fit = peak_bytes(lambda: model.fit(x, y, batch_size=batch_size, verbose=0))
    predict = peak_bytes(lambda: model.predict(x)) - len(x) * 10 * 4  # the result itself
    return {
        "theta": model.theta.nbytes,
        "fit beyond the data": fit,
        "predict beyond the result": predict,
        "microseconds a row": 1e6 * seconds / len(x),
    }


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--widths", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--json", help="also write the results to this file")
    options = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.float32"
        rng, largest = np.random.default_rng(0), max(options.rows)
        x = np.memmap(path, "float32", "w+", shape=(largest, options.features))
        for start in range(0, largest, 100_000):
            x[start : start + 100_000] = rng.random((min(100_000, largest - start), options.features), "float32")
        y = rng.integers(0, 10, largest).astype("uint8")
        print(f"{'rows':>9} {'width':>6} {'batch':>6} {'theta':>10} {'fit':>10} {'predict':>10}   µs a row (kB)")
        for width in options.widths:
            for rows in options.rows:
                for batch_size in (32, "full"):
                    row = measure(x[:rows], y[:rows], width, batch_size)
                    results.append({"rows": rows, "width": width, "batch_size": batch_size, **row})
                    kilobytes = [row[k] / 1000 for k in ("theta", "fit beyond the data", "predict beyond the result")]
                    cells = " ".join(f"{k:10,.0f}" for k in kilobytes)
                    print(f"{rows:9,} {width:6} {batch_size!s:>6} {cells} {row['microseconds a row']:10.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
