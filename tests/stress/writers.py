"""Processes that save different models to one path are killed and restarted while another one loads that path.

    python tests/stress/writers.py                              2 writers, 60 seconds
    python tests/stress/writers.py --writers 3 --count 20       so many kills, as the tests do

Each model has its own constant in all its parameters and the optimizer's vectors, and for its name, and a size of its
own. So whatever is loaded must be one of them, whole, to the bit; or, before the first save only, no file. No save
fails. At the end a last save by a process that lives leaves the folder with the model and with what others keep there,
and nothing else. It prints one line.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

import minidense as md

OTHERS = ("notes.txt", "model.npz.old", ".minidense-notes.tmp", ".minidense-00000000-0123456789abcdef.tmp")


def model(number, hidden):
    """The model of that constant."""
    made = md.Sequential([md.Dense(hidden, activation="relu"), md.Dense(10)], name=str(number), rng=0)
    made.build(300).compile("adam")
    made.theta[...] = number
    made.optimizer.state = {name: np.full_like(made.theta, number) for name in ("m", "v")}
    return made


def problem(loaded, known):
    """How it differs from all models that were written."""
    expected = known.get(loaded.name)
    if expected is None:
        return f"a model that nobody wrote, {loaded.name!r}"
    vectors = [(loaded.theta, expected.theta)]
    vectors += [(loaded.optimizer.state.get(name), vector) for name, vector in expected.optimizer.state.items()]
    if any(found is None or found.tobytes() != vector.tobytes() for found, vector in vectors):
        return f"model {loaded.name} is not whole"
    return None


def forked(work):
    """The number of a new process that does ``work()``, and how it ends: with 0, or with 1 and a traceback."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def write(path, models):
    """Save them over and over, while the parent lives."""
    parent = os.getppid()
    while os.getppid() == parent:
        for each in models:
            each.save(path)


def read(path, known, end, out):
    """Load until the file ``end`` exists; then write down the outcome."""
    loads, missing, failures, parent = dict.fromkeys(known, 0), 0, [], os.getppid()
    while not end.exists() and os.getppid() == parent:
        try:
            loaded = md.load_model(path)
        except FileNotFoundError as error:
            missing += 1
            if sum(loads.values()):
                failures.append(repr(error))
        except Exception as error:
            failures.append(repr(error))
        else:
            if found := problem(loaded, known):
                failures.append(found)
            else:
                loads[loaded.name] += 1
    out.write_text(json.dumps([loads, missing, failures]))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, help="end after so many kills instead")
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    models = [model(number, 40 + 20 * number) for number in range(1, 2 * options.writers + 1)]
    known, failures, kills = {each.name: each for each in models}, [], 0
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as results:
        folder, path = Path(place), Path(place, "model.npz")
        for name in OTHERS:
            (folder / name).write_text(name)
        start = time.perf_counter()
        models[0].save(Path(results, "model.npz"))
        one_save = time.perf_counter() - start

        def started(number):
            """A writer of two of the models."""
            return forked(lambda: write(path, models[2 * number : 2 * number + 2]))

        reader = forked(lambda: read(path, known, Path(results, "end"), Path(results, "found")))
        writers = [started(number) for number in range(options.writers)]
        end = time.monotonic() + options.seconds
        while kills < options.count if options.count is not None else time.monotonic() < end:
            time.sleep(rng.uniform(0, 4 * one_save))
            number = int(rng.integers(options.writers))
            kill(writers[number], failures)
            kills += 1
            writers[number] = started(number)
        time.sleep(4 * one_save)  # the last ones begin
        for writer in writers:
            kill(writer, failures)
        Path(results, "end").touch()
        if os.waitpid(reader, 0)[1]:
            failures.append("the reader failed")
            loads, missing = {}, 0
        else:
            loads, missing, of_reader = json.loads(Path(results, "found").read_text())
            failures += of_reader
        left = len({*os.listdir(folder)} - {path.name, *OTHERS})
        models[0].save(path)
        if why := problem(md.load_model(path), {models[0].name: models[0]}):
            failures.append(f"after the last save: {why}")
        found = sorted(os.listdir(folder))
        if found != sorted([path.name, *OTHERS]):
            failures.append(f"the folder has {found}")
        failures += [f"{name} has changed" for name in OTHERS if contents(folder / name) != name]
    for failure in failures[:40]:
        print(failure)
    print(
        f"{kills:,} kills of {options.writers} writers, {left} leftovers at the end, {sum(loads.values()):,} loads "
        f"({', '.join(map(str, loads.values()))} of the models; {missing} before there was a file), "
        f"{len(failures)} failures"
    )
    return failures


def kill(writer, failures):
    os.kill(writer, signal.SIGKILL)
    status = os.waitpid(writer, 0)[1]
    if not os.WIFSIGNALED(status):
        failures.append("a save failed")


def contents(path):
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(bool(main()))
