"""The time of a training step and of a prediction: minidense, the bare products, and the frameworks installed.

    python tests/benchmarks/steps.py [--cases NAME ...] [--peers NAME ...] [--rounds N] [--json FILE]

All in one process, the rounds interleaved, the minimum over the rounds reported: on a noisy machine the ratios of
one run are what can be compared. A step is a whole epoch divided by its number of steps: shuffling, gathering the
rows, forward, backward and update are in it. Same data, widths, float32, plain SGD for all.

There are two floors: the step's products, and these with the gather of fresh rows from memory. For Adam, the floor also
reads and writes its five vectors once (theta, the gradient, its change, and the two moments). "busy" is a step of 128
rows beside two processes that compute all the time, with one and with all BLAS threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

import minidense as md
from minidense.numerics import blas

RATE = 0.01


@dataclass
class Case:
    name: str
    widths: list[int]
    activation: str
    batch: int
    rows: int
    optimizer: str = "sgd"


CASES = [
    Case("seed1-b1", [784, 100, 10], "relu", 1, 4000),
    Case("seed1-b32", [784, 100, 10], "relu", 32, 20_000),
    Case("seed1-b128", [784, 100, 10], "relu", 128, 20_000),
    Case("seed1-full", [784, 100, 10], "relu", 20_000, 20_000),
    Case("seed2-b1", [784, 128, 64, 32, 10], "sigmoid", 1, 4000),
    Case("seed2-b32", [784, 128, 64, 32, 10], "sigmoid", 32, 20_000),
    Case("seed2-b128", [784, 128, 64, 32, 10], "sigmoid", 128, 20_000),
    Case("tiny-b1", [784, 8, 10], "relu", 1, 4000),
    Case("wide-b256", [784, 1024, 1024, 10], "relu", 256, 5120),
    Case("adam-b32", [784, 100, 10], "relu", 32, 20_000, "adam"),
    Case("adam-b128", [784, 100, 10], "relu", 128, 20_000, "adam"),
]


def initial_weights(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(0, (2 / (d + u)) ** 0.5, (d, u)).astype("float32"), np.zeros(u, "float32"))
        for d, u in zip(case.widths, case.widths[1:], strict=False)
    ]


class Minidense:
    name = "minidense"

    def __init__(self, case, x, y):
        layers = []
        for units in case.widths[1:-1]:
            layers.append(md.Dense(units, activation=case.activation))
        self.model = md.Sequential([*layers, md.Dense(case.widths[-1]), md.Softmax()], rng=0)
        optimizer = md.Adam(RATE) if case.optimizer == "adam" else md.SGD(RATE)
        self.model.compile(optimizer, md.SoftmaxCrossEntropy()).build(case.widths[0])
        self.model.set_weights([array for pair in initial_weights(case) for array in pair])
        self.case, self.x, self.y = case, x, y

    def epoch(self):
        self.model.fit(self.x, self.y, batch_size=self.case.batch, verbose=0)

    def predict(self, x):
        return self.model.predict(x)


class Floor:
    """Only the step's products, each into a preallocated array; for Adam, its vectors read and written once, too."""

    name = "floor"
    gathers = False

    def __init__(self, case, x, y):
        self.case, self.x = case, x
        self.steps = -(-case.rows // case.batch)
        self.weights = [w for w, _ in initial_weights(case)]
        n = case.batch
        self.h = [x[:n].copy()] + [np.zeros((n, w.shape[1]), "float32") for w in self.weights]
        self.dz = [np.full_like(h, 1e-3) for h in self.h]
        self.dW = [np.empty_like(w) for w in self.weights]
        parameters = sum(w.size + w.shape[1] for w in self.weights)
        self.vectors = np.ones((5 if case.optimizer == "adam" else 0, parameters), "float32")

    def epoch(self):
        weights, h, dz, dW, dot = self.weights, self.h, self.dz, self.dW, np.dot
        last, n = len(weights) - 1, self.case.batch
        order = np.random.permutation(self.case.rows)
        for step in range(self.steps):
            if self.gathers:
                rows = order[step * n : step * n + n]
                np.take(self.x, rows, axis=0, out=h[0][: len(rows)], mode="clip")
            for i in range(last + 1):
                dot(h[i], weights[i], out=h[i + 1])
            for i in range(last, -1, -1):
                dot(h[i].T, dz[i + 1], out=dW[i])
                if i:
                    dot(dz[i + 1], weights[i].T, out=dz[i])
            for vector in self.vectors:
                np.negative(vector, out=vector)


class FloorWithGather(Floor):
    """The products, and the rows of each step gathered from memory."""

    name = "floor + gather"
    gathers = True


class PlainNumpy:
    """The equations in plain NumPy."""

    name = "plain numpy"

    def __init__(self, case, x, y):
        self.case, self.x, self.y = case, x, y
        self.weights = initial_weights(case)

    def epoch(self):
        relu, size, weights = self.case.activation == "relu", self.case.batch, self.weights
        order = np.random.permutation(self.case.rows)
        for start in range(0, self.case.rows, size):
            rows = order[start : start + size]
            x, y = self.x[rows], self.y[rows]
            hs = [x]
            for W, b in weights[:-1]:
                z = hs[-1] @ W + b
                hs.append(np.maximum(0, z) if relu else 1 / (1 + np.exp(-z)))
            W, b = weights[-1]
            score = hs[-1] @ W + b
            exp_score = np.exp(score)
            probs = exp_score / np.sum(exp_score, axis=1, keepdims=True)
            self.loss = -np.log(probs[range(len(x)), y]).mean()
            dz = probs
            dz[range(len(x)), y] -= 1
            dz /= len(x)
            for i in range(len(weights) - 1, -1, -1):
                W, b = weights[i]
                dW, db = hs[i].T @ dz, np.sum(dz, axis=0)
                if i:
                    dh = dz @ W.T
                    dz = dh * (hs[i] > 0) if relu else dh * hs[i] * (1 - hs[i])
                W -= RATE * dW
                b -= RATE * db

    def predict(self, x):
        h = x
        for W, b in self.weights[:-1]:
            z = h @ W + b
            h = np.maximum(0, z) if self.case.activation == "relu" else 1 / (1 + np.exp(-z))
        W, b = self.weights[-1]
        exp_score = np.exp(h @ W + b)
        return exp_score / np.sum(exp_score, axis=1, keepdims=True)


class Torch:
    """PyTorch, eager."""

    name = "torch"

    def __init__(self, case, x, y):
        import torch

        self.torch, self.case = torch, case
        layers = []
        for W, b in initial_weights(case):
            linear = torch.nn.Linear(*W.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(W.T))
                linear.bias.copy_(torch.tensor(b))
            layers += [linear, torch.nn.ReLU() if case.activation == "relu" else torch.nn.Sigmoid()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE)
        self.loss = torch.nn.CrossEntropyLoss()
        self.x, self.y = torch.tensor(x), torch.tensor(y)

    def epoch(self):
        full = self.case.batch == self.case.rows
        rows = [slice(None)] if full else self.torch.randperm(self.case.rows).split(self.case.batch)
        for chosen in rows:
            self.optimizer.zero_grad()
            self.loss(self.model(self.x[chosen]), self.y[chosen]).backward()
            self.optimizer.step()

    def predict(self, x):
        with self.torch.inference_mode():
            return self.torch.softmax(self.model(self.torch.from_numpy(x)), dim=1).numpy()


class ScikitLearn:
    name = "scikit-learn"

    def __init__(self, case, x, y):
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(
            case.widths[1:-1],
            activation="relu" if case.activation == "relu" else "logistic",
            solver="sgd",
            alpha=0,
            batch_size=case.batch,
            learning_rate_init=RATE,
            momentum=0,
        )
        self.x, self.y = x, y
        self.model.partial_fit(x[: case.batch], y[: case.batch], classes=np.arange(10))

    def epoch(self):
        self.model.partial_fit(self.x, self.y)

    def predict(self, x):
        return self.model.predict_proba(x)


class Keras:
    """Keras on JAX."""

    name = "keras"

    def __init__(self, case, x, y):
        import keras

        layers = [keras.layers.Dense(units, activation=case.activation) for units in case.widths[1:-1]]
        self.model = keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10, activation="softmax")])
        self.model.compile(keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy")
        self.case, self.x, self.y = case, x, y
        self.model.fit(x[: 2 * case.batch], y[: 2 * case.batch], batch_size=case.batch, verbose=0)

    def epoch(self):
        self.model.fit(self.x, self.y, batch_size=self.case.batch, verbose=0)

    def predict(self, x):
        return self.model.predict(x, batch_size=1024, verbose=0)


class Thinc:
    name = "thinc"

    def __init__(self, case, x, y):
        from thinc.api import Linear, Optimizer, Relu, Sigmoid, Softmax, chain

        # In thinc 9 Relu is x W + b and its ReLU at once; Sigmoid(n) likewise.
        hidden = {"relu": Relu, "sigmoid": Sigmoid}[case.activation]
        layers = [hidden(units, d) for d, units in zip(case.widths, case.widths[1:-1], strict=False)]
        self.model = chain(*layers, Softmax(10, case.widths[-2]))
        del Linear
        self.model.initialize(X=x[:2], Y=np.eye(10, dtype="float32")[y[:2]])
        self.optimizer = Optimizer(RATE, L2=0, grad_clip=0, use_averages=False)
        self.case, self.x, self.y, self.rng = case, x, y, np.random.default_rng(0)

    def epoch(self):
        from thinc.api import fix_random_seed  # noqa: F401

        order = self.rng.permutation(self.case.rows)
        eye = np.eye(10, dtype="float32")
        for start in range(0, self.case.rows, self.case.batch):
            rows = order[start : start + self.case.batch]
            probabilities, backprop = self.model.begin_update(self.x[rows])
            backprop((probabilities - eye[self.y[rows]]) / len(rows))
            self.model.finish_update(self.optimizer)

    def predict(self, x):
        return self.model.predict(x)


class JaxScan:
    """A whole epoch as one compiled program: jax.jit over lax.scan."""

    name = "jax scan"

    def __init__(self, case, x, y):
        import jax
        import jax.numpy as jnp

        def scores(weights, x):
            for W, b in weights[:-1]:
                z = x @ W + b
                x = jnp.maximum(z, 0) if case.activation == "relu" else jax.nn.sigmoid(z)
            W, b = weights[-1]
            return x @ W + b

        def loss(weights, x, y):
            log_p = jax.nn.log_softmax(scores(weights, x))
            return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

        def step(weights, rows):
            value, grads = jax.value_and_grad(loss)(weights, self.x[rows], self.y[rows])
            return jax.tree.map(lambda w, g: w - RATE * g, weights, grads), value

        def epoch(weights, key):
            steps = case.rows // case.batch
            order = jax.random.permutation(key, case.rows)[: steps * case.batch].reshape(steps, case.batch)
            return jax.lax.scan(step, weights, order)

        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        self.weights = [(jnp.asarray(W), jnp.asarray(b)) for W, b in initial_weights(case)]
        self.key, self.jax = jax.random.key(0), jax
        self._epoch = jax.jit(epoch)
        self._predict = jax.jit(lambda weights, x: jax.nn.softmax(scores(weights, x)))

    def epoch(self):
        self.key, key = self.jax.random.split(self.key)
        self.weights, losses = self._epoch(self.weights, key)
        losses.block_until_ready()

    def predict(self, x):
        return np.asarray(self._predict(self.weights, x))


OURS = [Minidense, Floor, FloorWithGather, PlainNumpy]
WITH_ADAM = [Minidense, Floor, FloorWithGather]
PEERS = [Torch, ScikitLearn, Keras, Thinc, JaxScan]
EAGER = ["torch", "scikit-learn", "keras", "thinc"]
"""The ones a step is compared with; a compiled epoch is reported beside them."""


def available(peers: list[str]) -> list[type]:
    found = list(OURS)
    tiny = Case("probe", [784, 8, 10], "relu", 4, 8)
    for peer in PEERS:
        if peers and peer.name not in peers:
            continue
        try:
            peer(tiny, np.zeros((8, 784), "float32"), np.arange(8)).epoch()
        except ImportError as error:
            print(f"left out: {peer.name} ({error})")
        else:
            found.append(peer)
    return found


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_steps(case: Case, contenders: list[type], rounds: int) -> dict[str, float]:
    """Microseconds per step, the minimum over the rounds; in each round all are measured in turn."""
    rng = np.random.default_rng(0)
    x, y = rng.random((case.rows, 784), "float32"), rng.integers(0, 10, case.rows)
    contenders = contenders if case.optimizer == "sgd" else WITH_ADAM
    runners = [contender(case, x, y) for contender in contenders]
    for runner in runners:
        runner.epoch()  # compiles, allocates
    best = dict.fromkeys((r.name for r in runners), np.inf)
    for _ in range(rounds):
        for runner in runners:
            best[runner.name] = min(best[runner.name], seconds(runner.epoch))
    steps = -(-case.rows // case.batch)
    return {name: 1e6 * value / steps for name, value in best.items()}


def measure_predict(rows: int, contenders: list[type], rounds: int) -> dict[str, float]:
    """Microseconds per call of predict, on ``rows`` rows through 784-100-10."""
    case = Case("predict", [784, 100, 10], "relu", 32, 64)
    rng = np.random.default_rng(0)
    x, y = rng.random((max(rows, 64), 784), "float32"), rng.integers(0, 10, max(rows, 64))
    runners = [c(case, x[:64], y[:64]) for c in contenders if hasattr(c, "predict")]
    x = x[:rows].copy()
    calls = {}
    for runner in runners:
        runner.predict(x)
        calls[runner.name] = max(1, min(200, int(0.02 / seconds(lambda r=runner: r.predict(x)))))
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for runner in runners:
            n = calls[runner.name]
            elapsed = seconds(lambda r=runner, n=n: [r.predict(x) for _ in range(n)])
            best[runner.name] = min(best[runner.name], elapsed / n)
    return {name: 1e6 * value for name, value in best.items()}


def measure_busy(rounds: int) -> dict[str, float]:
    """Microseconds per step of 128 rows, quiet and beside two processes that compute all the time."""
    case = replace(next(case for case in CASES if case.name == "seed1-b128"), rows=6400)
    threads, found = blas.threads(), {}
    for others in (0, 2):
        with ExitStack() as processes:
            for _ in range(others):
                process = processes.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                processes.callback(process.kill)
            for number in dict.fromkeys((1, threads)):
                name = f"{'busy' if others else 'quiet'}, {number} thread{'s' * (number > 1)}"
                blas._openblas.set_threads(number)
                try:
                    found[name] = measure_steps(case, [Minidense], rounds)["minidense"]
                finally:
                    blas._openblas.set_threads(threads)
    return found


def table(results: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for row in results.values() for name in row))
    lines = ["| µs | " + " | ".join(names) + " | ÷ floor | ÷ floor + gather | ÷ best peer | ÷ jax scan |"]
    lines.append("|---" * (len(names) + 5) + "|")
    for case, row in results.items():
        mine, peers = row["minidense"], [row[name] for name in EAGER if name in row]
        floor = f"{mine / row['floor']:.2f}" if "floor" in row else f"({mine / row['plain numpy']:.2f} plain)"
        gather = f"{mine / row['floor + gather']:.2f}" if "floor + gather" in row else "-"
        best = f"{mine / min(peers):.2f}" if peers else "-"
        scan = f"{mine / row['jax scan']:.2f}" if "jax scan" in row else "-"
        cells = [f"{row[name]:,.1f}" if name in row else "-" for name in names]
        lines.append(f"| {case} | " + " | ".join([*cells, floor, gather, best, scan]) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [case.name for case in CASES] + ["predict-1", "predict-10000", "busy"]
    parser.add_argument("--cases", nargs="+", choices=known, default=known, metavar="CASE", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=5)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="*", default=names, metavar="PEER", help=f"some of {names}, or none")
    parser.add_argument("--json", help="also write the results to this file")
    options = parser.parse_args(arguments)
    contenders = available(options.peers) if options.peers else OURS
    results = {}
    for case in CASES:
        if case.name in options.cases:
            results[case.name] = measure_steps(case, contenders, options.rounds)
    for rows in (1, 10_000):
        if f"predict-{rows}" in options.cases:
            results[f"predict-{rows}"] = measure_predict(rows, contenders, options.rounds)
    busy = measure_busy(options.rounds) if "busy" in options.cases else {}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}")
    if results:
        print(table(results))
    for name, microseconds in busy.items():
        print(f"128 rows, {name}: {microseconds:,.0f} µs")
    results |= {"busy": busy} if busy else {}
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    return results


if __name__ == "__main__":
    main()
