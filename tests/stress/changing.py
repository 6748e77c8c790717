"""A file is changed by another thread while it is loaded: never a mixture, never another error, never a wait.

    python tests/stress/changing.py                 60 seconds
    python tests/stress/changing.py --count 200     so many changes, as the tests do

Bytes are overwritten in place, some or all of them, by noise or by those of another model; the file is cut off and
appended to, replaced by another whole one, by a FIFO, a folder, or a symbolic link to anything. Each load must give one
of the models, whole, to the bit, or raise CorruptFileError, ValueError or OSError, within 20 seconds. ``load_weights``
that raises must leave the parameters as they were. It prints one line.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import timeit
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
from writers import model, problem

import minidense as md

DEADLINE = 20
CHUNK = 4096


class Changer(threading.Thread):
    """Puts a whole model in place, waits, and changes it, until it is stopped."""

    def __init__(self, path, files, rng, pause):
        super().__init__()
        self.path, self.files, self.rng, self.pause = path, files, rng, pause
        self.ended, self.made, self.error = threading.Event(), Counter(), None
        self.beside = path.with_name("beside")

    def run(self):
        changes = [name for name in dir(self) if name.startswith("by_")]
        try:
            while not self.ended.is_set():
                self.put(lambda new: new.write_bytes(self.any_file()))
                self.wait()
                name = changes[self.rng.integers(len(changes))]
                getattr(self, name)()
                self.made[name] += 1
                self.wait()
        except BaseException as error:
            self.error = error

    def wait(self):
        self.ended.wait(self.rng.uniform(0, self.pause))

    def any_file(self):
        return self.files[self.rng.integers(len(self.files))]

    def put(self, make):
        """Replace the file by one that ``make(path)`` writes."""
        make(self.beside)
        if is_folder(self.path):
            self.path.rmdir()
        elif is_folder(self.beside):
            self.path.unlink()  # no folder takes a file's place
        os.replace(self.beside, self.path)

    def write(self, data, start=0):
        with open(self.path, "r+b", buffering=0) as file:
            for first in range(0, len(data), CHUNK):
                os.pwrite(file.fileno(), data[first : first + CHUNK], start + first)

    def by_noise(self):
        size = int(self.rng.integers(1, 100))
        self.write(self.rng.bytes(size), int(self.rng.integers(self.path.stat().st_size - size)))

    def by_another_ones_bytes(self):
        self.write(self.any_file())

    def by_a_part_of_another_one(self):
        data = self.any_file()
        start, end = np.sort(self.rng.integers(len(data), size=2))
        self.write(data[start:end], int(start))

    def by_its_end(self):
        os.truncate(self.path, int(self.rng.integers(self.path.stat().st_size)))

    def by_more(self):
        more = self.any_file() if self.rng.integers(2) else self.rng.bytes(int(self.rng.integers(1, 10_000)))
        self.write(more, self.path.stat().st_size)

    def by_emptying_and_writing(self):
        self.path.write_bytes(self.any_file())

    def by_another_one(self):
        self.put(lambda new: new.write_bytes(self.any_file()))

    def by_nothing(self):
        self.path.unlink()

    def by_a_fifo(self):
        self.put(os.mkfifo)

    def by_a_folder(self):
        self.put(os.mkdir)

    def by_a_link(self):
        target = self.path.with_name("target")
        target.write_bytes(self.any_file())
        fifo = self.path.with_name("fifo")
        with suppress(FileExistsError):
            os.mkfifo(fifo)
        targets = [target, fifo, self.path, "nowhere", self.path.parent, "/dev/zero", "/dev/null"]
        self.put(lambda new: new.symlink_to(targets[self.rng.integers(len(targets))]))


def is_folder(path):
    return path.is_dir() and not path.is_symlink()


class TooLong(BaseException):
    """A load has not ended in time."""


def too_long(number, frame):
    raise TooLong


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, help="end after so many changes instead")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    known = {each.name: each for each in (model(number, 200) for number in (1, 2, 3))}
    whole = {each.theta.tobytes() for each in known.values()}
    target = model(1, 200)
    found, failures, slowest = Counter(), [], 0.0
    folder = Path(tempfile.mkdtemp())
    path, files = folder / "model.npz", []
    for each in known.values():
        each.save(path)
        files.append(path.read_bytes())
    one_load = min(timeit.repeat(lambda: md.load_model(path), number=1, repeat=3))
    changer = Changer(path, files, np.random.default_rng(options.seed), one_load)
    before = signal.signal(signal.SIGALRM, too_long)
    sys.setswitchinterval(1e-4)
    changer.start()
    try:
        end = time.monotonic() + options.seconds
        while changer.is_alive() and (
            changer.made.total() < options.count if options.count is not None else time.monotonic() < end
        ):
            weights = target.theta.tobytes()
            signal.setitimer(signal.ITIMER_REAL, DEADLINE)
            start = time.perf_counter()
            try:
                if found.total() % 2:
                    target.load_weights(path)
                    why = None if target.theta.tobytes() in whole else "the weights are not whole"
                else:
                    why = problem(md.load_model(path), known)
                found["whole"] += 1
            except (ValueError, OSError) as error:
                why = None if target.theta.tobytes() == weights else f"weights have changed at {error!r}"
                found[type(error).__name__] += 1
            except TooLong:
                why = f"no end within {DEADLINE} seconds"
                found["no end"] += 1
            except Exception as error:
                why = repr(error)
                found[type(error).__name__] += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            slowest = max(slowest, time.perf_counter() - start)
            if why:
                failures.append(why)
    finally:
        changer.ended.set()
        changer.join()
        signal.signal(signal.SIGALRM, before)
        shutil.rmtree(folder)
    if changer.error is not None:
        failures.append(f"the changes ended: {changer.error!r}")
    for failure in failures[:40]:
        print(failure)
    print(
        f"{found.total():,} loads beside {changer.made.total():,} changes of {len(changer.made)} kinds: {dict(found)}, "
        f"the slowest took {slowest:.2f} s, {len(failures)} failures"
    )
    return failures


if __name__ == "__main__":
    sys.exit(bool(main()))
