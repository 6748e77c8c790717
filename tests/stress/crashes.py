"""A process that saves repeatedly is killed at random moments: the file must always load, old or new.

python tests/stress/crashes.py                a thousand kills
python tests/stress/crashes.py --kills 30     30 kills, as the tests do
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import minidense as md


def model(seed):
    return md.Sequential([md.Dense(64, activation="relu"), md.Dense(10)], rng=seed).build(300).compile("adam")


def save_for_ever(models, path):
    while True:
        for each in models:
            each.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    models = [model(seed) for seed in range(2)]
    found, failures = Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        known = []
        for each in models:
            each.save(path)
            known.append(path.read_bytes())
        start = time.perf_counter()
        models[0].save(path)
        one_save = time.perf_counter() - start
        for _ in range(arguments.kills):
            child = os.fork()
            if not child:
                save_for_ever(models, path)
            time.sleep(rng.uniform(0, 4 * one_save))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            try:
                loaded = md.load_model(path)
                which = known.index(path.read_bytes())
                assert (loaded.theta == models[which].theta).all()
                found["first" if which == 0 else "second"] += 1
            except Exception as error:
                failures += 1
                print(f"FAILED: {error!r}")
        left = Counter(name.suffix for name in Path(folder).iterdir() if name != path)
        models[0].save(path)  # what a kill has left behind does no harm
        assert path.read_bytes() == known[0]
    print(f"{arguments.kills} kills, {one_save * 1000:.1f} ms a save: {dict(found)}, {failures} failures")
    print(f"left behind: {dict(left)}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
