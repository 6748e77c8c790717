"""Many threads predict and evaluate while others train: does every result have the same bits as without them?

    python tests/stress/threads.py                                   16 threads beside 2 fits, 60 seconds
    python tests/stress/threads.py --seconds 2 --threads 4           a sample, as the tests do

The layers are of a size at which products by one and by two BLAS threads differ in their last bits. One of the fits
uses one BLAS thread, and must have the same bits too; the other one uses all, and nothing is promised of its bits while
others predict. It prints one line.
"""

import argparse
import hashlib
import sys
import threading
import time
from collections import Counter

import numpy as np

import minidense as md
from minidense.numerics import blas

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3000, 784)), RNG.integers(0, 10, 3000)


def model(hidden=300, dtype="float32"):
    layers = [md.Dense(hidden, activation="relu"), md.Dense(10, activation="softmax")]
    return md.Sequential(layers, rng=1, dtype=dtype).compile(md.SGD(0.1), metrics=["accuracy"]).build(784)


def digest(*things):
    return hashlib.sha256(b"".join(np.asarray(thing).tobytes() for thing in things)).hexdigest()[:12]


def small_fit():
    """A fit that uses one BLAS thread: 2 * 32 * 784 * 50 operations are fewer than SMALL."""
    fitted = model(50)
    history = fitted.fit(X[:600], Y[:600], validation_data=(X[600:900], Y[600:900]), verbose=0).history
    return digest(fitted.theta, *history.values())


def large_fit():
    model().fit(X, Y, batch_size=500, verbose=0)


def calls():
    """What is promised to have the same bits, by name."""
    float32, float64, x = model(), model(dtype="float64"), X.astype("float32")
    yield "predict, 1 row", lambda: digest(float32.predict(x[:1]))
    yield "predict, 200 rows", lambda: digest(float32.predict(x[:200]))
    yield "predict, 3000 rows", lambda: digest(float32.predict(x))
    yield "predict, 3000 rows of float64", lambda: digest(float64.predict(X))
    yield "predict, full", lambda: digest(float32.predict(X, batch_size="full"))
    yield "evaluate, 3000 rows", lambda: digest(*float32.evaluate(x, Y).values())
    yield (
        "evaluate, weighted",
        lambda: digest(*float64.evaluate(X, Y, batch_size=100, sample_weight=X[:, 0] ** 2).values()),
    )
    yield "a small fit", small_fit
    yield "a table", a_table


def a_table():
    """An estimator of tables with its usual sizes, on rows that are many enough for several blocks."""
    x, y = X[:2200, :6], X[:2200, 0] * X[:2200, 1] > 0
    return digest(md.TableClassifier(0, epochs=2, verbose=0).fit(x, y).predict_proba(x))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args(arguments)
    threads, known = blas._openblas.get_threads(), {name: (call, call()) for name, call in calls()}
    end, made, others = time.monotonic() + options.seconds, Counter(), Counter()

    def work(seed):
        names = [name for name in known if name != "a small fit"]
        while time.monotonic() < end:
            name = names[int(np.random.default_rng([seed, made.total()]).integers(len(names)))]
            count(name)

    def count(name):
        call, quiet = known[name]
        found = call()
        made[name] += 1
        others[name] += found != quiet

    def fit():
        while time.monotonic() < end:
            count("a small fit")

    def fit_large():
        while time.monotonic() < end:
            large_fit()

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(options.threads)]
    workers += [threading.Thread(target=fit), threading.Thread(target=fit_large)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failures = [f"{others[name]} of {made[name]} x {name}" for name in made if others[name]]
    if blas._openblas.get_threads() != threads:
        failures.append("BLAS has another number of threads")
    print(f"{made.total():,} calls by {options.threads} threads beside 2 fits, with other bits: {failures or 'none'}")
    return failures


if __name__ == "__main__":
    sys.exit(bool(main()))
