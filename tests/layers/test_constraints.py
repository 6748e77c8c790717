"""Constraints: they hold after each update, whatever makes it."""

import copy

import numpy as np
import pytest

import minidense as md
from minidense.layers.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm, get_constraint

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 5)), RNG.integers(0, 3, 30)


class Rounded(md.constraints.Constraint):
    def __call__(self, w):
        return np.round(w, 2)


class Failing(md.constraints.Constraint):
    calls = 0

    def __call__(self, w):
        Failing.calls += 1
        if Failing.calls > 3:
            raise RuntimeError("no")
        return w


HOLDS = {
    "max_norm": (MaxNorm(0.5), lambda w: np.linalg.norm(w, axis=0).max() < 0.5 * (1 + 1e-9)),
    "of rows": (MaxNorm(0.3, axis=1), lambda w: np.linalg.norm(w, axis=1).max() < 0.3 * (1 + 1e-9)),
    "non_neg": (NonNeg(), lambda w: w.min() >= 0),
    "unit_norm": (UnitNorm(), lambda w: abs(np.linalg.norm(w, axis=0) - 1).max() < 2e-7),
    "min_max_norm": (MinMaxNorm(0.2, 0.3), lambda w: (abs(np.linalg.norm(w, axis=0) - 0.25) < 0.05 + 2e-7).all()),
    "one's own": (Rounded(), lambda w: np.array_equal(w, np.round(w, 2))),
}


class Own(md.Optimizer):
    def step(self, theta, grad, eta):
        theta -= eta * grad


@pytest.mark.parametrize("optimizer", [md.Adam(0.1, use_ema=True), Own(0.5)], ids=repr)
@pytest.mark.parametrize("name", HOLDS)
def test_it_holds_after_each_update(name, optimizer):
    constraint, holds = HOLDS[name]
    seen = []

    class Note(md.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append(holds(self.model.layers[0].W))

    layers = [md.Dense(6, "tanh", kernel_constraint=constraint), md.Dense(3)]
    model = md.Sequential(layers, rng=0, dtype="float64").compile(copy.deepcopy(optimizer))
    plain = md.Sequential([md.Dense(6, "tanh"), md.Dense(3)], rng=0, dtype="float64").compile(copy.deepcopy(optimizer))
    for each in (model, plain):
        each.train_on_batch(X, Y)
    assert np.array_equal(model.layers[-1].W, plain.layers[-1].W)
    np.testing.assert_allclose(model.layers[0].W, constraint(plain.layers[0].W), rtol=1e-15)
    model.fit(X, Y, batch_size=7, epochs=3, verbose=0, callbacks=[Note()])
    assert seen == [True] * 15
    assert holds(model.layers[0].W)  # also the average that a fit ends with


def test_a_frozen_parameter_is_left_as_it_is():
    model = md.Sequential([md.Dense(6, "tanh", kernel_constraint=UnitNorm()), md.Dense(3)], rng=0).compile().build(5)
    before = model.layers[0].W.copy()
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    assert np.array_equal(model.layers[0].W, before)


def test_one_that_fails_leaves_all_as_before_the_update():
    Failing.calls = 0
    model = md.Sequential([md.Dense(3, kernel_constraint=Failing())], rng=0).compile(md.Adam(0.1)).build(5)
    for _ in range(2):
        model.train_on_batch(X, Y)
    state = copy.deepcopy((model.theta, model.optimizer.state["m"], model.optimizer.iterations))
    with pytest.raises(RuntimeError, match="no"):
        model.train_on_batch(X, Y)
    for before, now in zip(state, (model.theta, model.optimizer.state["m"], model.optimizer.iterations), strict=True):
        assert np.array_equal(before, now)


def test_names_and_what_is_refused():
    for name, kind in {"max_norm": MaxNorm, "MaxNorm": MaxNorm, "non_neg": NonNeg, "UNIT_NORM": UnitNorm}.items():
        assert type(get_constraint(name)) is kind
    assert md.constraints.max_norm(3).max_value == 3
    assert get_constraint(None) is None
    with pytest.raises(ValueError, match=r"unknown constraint 'maxnrm'. Did you mean 'max_norm'\?"):
        md.Dense(3, kernel_constraint="maxnrm")
    with pytest.raises(TypeError, match="expected a name, None or a Constraint"):
        md.Dense(3, bias_constraint=md.regularizers.L2())
    with pytest.raises(ValueError, match="MinMaxNorm: max_value: expected a finite number at least 2"):
        MinMaxNorm(2.0, 1.0)
    with pytest.raises(ValueError, match=r"MinMaxNorm: rate: expected a number from 0 to 1, got 1\.5"):
        MinMaxNorm(rate=1.5)
    with pytest.raises(ValueError, match=r"MaxNorm: axis: expected an axis or several different ones, got \[0, 0\]"):
        MaxNorm(axis=[0, 0])
    model = md.Sequential([md.Dense(3, bias_constraint=MaxNorm(axis=1))]).compile()
    with pytest.raises(ValueError, match=r"MaxNorm\(axis=1\): a parameter of shape \(3,\) has no such axis"):
        model.fit(X, Y, verbose=0)
    assert not model.built

    class Wrong(md.constraints.Constraint):
        def __call__(self, w):
            return w[0]

    with pytest.raises(ValueError, match=r"expected to return an array of shape \(5, 3\), got \(3,\)"):
        md.Sequential([md.Dense(3, kernel_constraint=Wrong())]).build(5)


def test_the_librarys_own_allocate_only_numpys_buffer_of_8192_numbers():
    import tracemalloc

    for constraint in (NonNeg(), MaxNorm(0.5), UnitNorm(axis=(0, 1)), MinMaxNorm(0.5, rate=0.5)):
        project = constraint.projection(np.ones((300, 200)))
        project()
        tracemalloc.start()
        try:
            project()
            assert tracemalloc.get_traced_memory()[1] < 70_000
        finally:
            tracemalloc.stop()
