"""predict, evaluate, and fit with one BLAS thread give the same bits, whatever other threads compute."""

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import threads as stress

import minidense as md
from minidense.numerics import blas

STRESS = Path(stress.__file__)
needs_openblas = pytest.mark.skipif(not blas._openblas.name, reason="NumPy's BLAS is not OpenBLAS")


@needs_openblas
def test_beside_fits_of_other_models_in_other_threads():
    assert stress.main(["--seconds", "2", "--threads", "16"]) == []


@needs_openblas
def test_whatever_the_number_of_threads_that_the_environment_sets():
    """In new processes."""
    program = "import json, threads; print(json.dumps({name: call() for name, call in threads.calls()}))"
    found = []
    for number in (1, 2, 4):
        path = os.pathsep.join([str(STRESS.parent), str(Path(md.__file__).parents[1])])
        environment = os.environ | {"OPENBLAS_NUM_THREADS": str(number), "PYTHONPATH": path}
        run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        found.append(json.loads(run.stdout))
    assert found[0] == found[1] == found[2]


def test_whether_helpers_compute_or_the_caller_alone(monkeypatch):
    """Also for the user's own layers, losses and metrics, and for rows read in blocks."""

    seen = set()

    class Normalize(md.Layer):
        def forward(self, x):
            seen.add(threading.get_ident())
            self.mean = x.mean(axis=1, keepdims=True)
            return x - self.mean

        def backward(self, dy):
            raise NotImplementedError

    class Source:
        def __init__(self, x):
            self.x, self.shape, self.dtype, self.reading = x, x.shape, x.dtype, False

        def __getitem__(self, rows):
            assert not self.reading  # one thread at a time
            self.reading = True
            try:
                return self.x[rows].copy()
            finally:
                self.reading = False

        def __len__(self):
            return len(self.x)

    class Squared(md.Loss):
        def forward(self, scores, y):
            return float(((scores - y.reshape(-1, 1)) ** 2).mean())

        def backward(self):
            raise NotImplementedError

    layers = [Normalize(), md.Dense(80), md.BatchNormalization(), md.Residual([md.Dense(80), md.GELU()]), md.Dense(4)]
    model = md.Sequential(layers, rng=0).build(60).compile(loss=Squared(), metrics=[lambda y, p: p.max()])
    plain = md.Sequential([md.Dense(300, "relu"), md.Dense(5)], rng=0).build(60).compile(metrics=["accuracy", "auc"])
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2500, 60)), rng.integers(0, 5, 2500)

    def outcomes():
        for size in (300, "full"):
            for data in (x, x.astype("float32"), Source(x)):
                yield model.predict(data, batch_size=size).tobytes()
                yield plain.predict(data, batch_size=size).tobytes()
                yield dict(model.evaluate(data, y, batch_size=size))
                yield dict(plain.evaluate(data, y, batch_size=size, class_weight="balanced"))

    found, counts = [], []
    monkeypatch.setattr(blas, "threads", lambda: 4)
    monkeypatch.setattr("minidense.network.WORTH_HELPERS", 0)
    for cores in (1, 4):
        monkeypatch.setattr("minidense.numerics.helpers._cores", lambda cores=cores: cores)
        seen.clear()
        found.append(list(outcomes()))
        counts.append(len(seen))
    assert found[0] == found[1]
    assert all(found[0][i] == found[0][i + 4] == found[0][i + 8] for i in (*range(4), *range(12, 16)))  # whatever data
    assert counts[0] == 1 < counts[1]


def test_a_layer_that_draws_at_inference_draws_in_order(monkeypatch):
    class Noise(md.Layer):
        draws = True

        def forward(self, x):
            return x + self.rng.normal(size=x.shape).astype(x.dtype)

        def backward(self, dy):
            return dy

    monkeypatch.setattr("minidense.network.WORTH_HELPERS", 0)
    network = md.Sequential([md.Dense(3), Noise()], rng=0).build(2).network
    assert network.helpers_for(10_000, 10) == 0
    assert md.Sequential([md.Dense(3), md.Dropout(0.5)], rng=0).build(2).network.helpers_for(10_000, 10) == 9


@needs_openblas
def test_a_run_that_is_resumed_with_other_threads_says_so(tmp_path):
    """If its bits depend on them, a warning names both."""
    path, before = tmp_path / "run.npz", blas._openblas.get_threads()

    def fit(number, hidden, **more):
        blas._openblas.set_threads(number)
        try:
            model = stress.model(hidden)
            model.fit(stress.X[:600], stress.Y[:600], batch_size=100, verbose=0, **more)
        finally:
            blas._openblas.set_threads(before)
        return model

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in (1, 2):  # a small fit, which does not depend on the number
            fit(number, 20, callbacks=[md.callbacks.ModelCheckpoint(path, every=1)])
            resumed = fit(3 - number, 20, epochs=2, resume=path)
            assert np.array_equal(resumed.theta, fit(1, 20, epochs=2).theta)
        fit(2, 300, callbacks=[md.callbacks.ModelCheckpoint(path, every=1)])
        fit(2, 300, epochs=2, resume=path)
    name, core = blas.name(), blas.core_type()
    says = f"run.npz was computed by {name}, {core}, 2 threads, and is resumed by {name}, {core}, 1 thread: the last"
    with pytest.warns(UserWarning, match=says) as found:
        fit(1, 300, epochs=2, resume=path)
    assert found[0].filename == __file__


@needs_openblas
def test_a_run_that_is_resumed_on_another_kind_of_processor_says_so(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    model = stress.model(5)
    model.fit(stress.X[:50], stress.Y[:50], verbose=0, callbacks=[md.callbacks.ModelCheckpoint(path, every=1)])
    monkeypatch.setattr(blas._openblas, "core_type", "Zarathustra")
    with pytest.warns(UserWarning, match=r"1 thread, and is resumed by OpenBLAS.* Zarathustra, 1 thread"):
        stress.model(5).fit(stress.X[:50], stress.Y[:50], verbose=0, epochs=2, resume=path)
