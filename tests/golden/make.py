"""Compute the golden values with PyTorch and Keras: python tests/golden/make.py (needs torch, keras 3.15 and jax).

A small problem with fixed numbers, 100 steps for each optimizer and schedule, and each loss with its gradient. The
tests compare the library with these, whether or not the frameworks are installed. Left out: PyTorch's clipping, which
adds 1e-6 to the norm. RMSprop's rate is small, because near the minimum its steps of constant size magnify rounding.
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_ENABLE_X64"] = "1"

import numpy as np


def problem():
    """A strictly convex function of 12 parameters: its gradient is A (theta - target) + sin(theta) / 10."""
    rng = np.random.default_rng(42)
    root = rng.normal(size=(12, 12))
    return root @ root.T / 12 + np.eye(12), rng.normal(size=12), rng.normal(size=12)


def gradient(A, target, theta):
    return A @ (theta - target) + np.sin(theta) / 10


def torch_runs():
    import torch

    def run(make, schedule=None):
        A, target, start = problem()
        theta = torch.tensor(start, requires_grad=True)
        optimizer = make([theta])
        scheduler = schedule(optimizer) if schedule else None
        for _ in range(100):
            theta.grad = torch.tensor(gradient(A, target, theta.detach().numpy()))
            optimizer.step()
            if scheduler:
                scheduler.step()
        return theta.detach().numpy().tolist()

    o = torch.optim
    s = o.lr_scheduler
    return {
        "sgd": run(lambda p: o.SGD(p, lr=0.05)),
        "momentum": run(lambda p: o.SGD(p, lr=0.02, momentum=0.9)),
        "nesterov": run(lambda p: o.SGD(p, lr=0.02, momentum=0.9, nesterov=True)),
        "sgd decay": run(lambda p: o.SGD(p, lr=0.05, weight_decay=0.1)),
        "adam": run(lambda p: o.Adam(p, lr=0.05, eps=1e-12)),
        "adamw": run(lambda p: o.AdamW(p, lr=0.05, weight_decay=0.1, eps=1e-12)),
        "rmsprop": run(lambda p: o.RMSprop(p, lr=0.0005, alpha=0.9, eps=1e-12)),
        "rmsprop momentum": run(lambda p: o.RMSprop(p, lr=0.0005, alpha=0.9, eps=1e-12, momentum=0.8)),
        "exponential": run(lambda p: o.SGD(p, lr=0.05), lambda opt: s.ExponentialLR(opt, 0.97)),
        "step": run(lambda p: o.SGD(p, lr=0.05), lambda opt: s.StepLR(opt, 30, 0.5)),
        "cosine": run(lambda p: o.SGD(p, lr=0.05), lambda opt: s.CosineAnnealingLR(opt, 100)),
    }


def torch_losses():
    import torch

    rng = np.random.default_rng(7)
    scores, targets = rng.normal(0, 2, (6, 4)), rng.normal(0, 2, (6, 4))
    labels, binary = rng.integers(0, 4, 6), rng.integers(0, 2, (6, 4)) * 1.0
    n = torch.nn
    cases = {
        "softmax": (n.CrossEntropyLoss(), labels),
        "softmax smoothed": (n.CrossEntropyLoss(label_smoothing=0.1), labels),
        "sigmoid": (n.BCEWithLogitsLoss(), binary),
        "mse": (n.MSELoss(), targets),
        "mae": (n.L1Loss(), targets),
        "huber": (n.HuberLoss(delta=0.7), targets),
    }
    results = {"scores": scores.tolist()}
    for name, (loss, y) in cases.items():
        s = torch.tensor(scores, requires_grad=True)
        value = loss(s, torch.tensor(y))
        value.backward()
        results[name] = {"y": y.tolist(), "loss": value.item(), "dscores": s.grad.numpy().tolist()}
    return results


def keras_runs():
    import keras

    keras.config.set_floatx("float64")
    o, s = keras.optimizers, keras.optimizers.schedules

    def run(optimizer, parts=(12,)):
        """parts: where in theta each parameter ends."""
        A, target, start = problem()
        pieces = [keras.Variable(piece, dtype="float64") for piece in np.split(start, parts[:-1])]
        optimizer.build(pieces)
        for _ in range(100):
            theta = np.concatenate([np.asarray(piece) for piece in pieces])
            optimizer.apply(np.split(gradient(A, target, theta), parts[:-1]))
        optimizer.finalize_variable_values(pieces)
        return np.concatenate([np.asarray(piece) for piece in pieces]).tolist()

    return {
        "sgd": run(o.SGD(0.05)),
        "momentum": run(o.SGD(0.02, momentum=0.9)),
        "nesterov": run(o.SGD(0.02, momentum=0.9, nesterov=True)),
        "momentum decay": run(o.SGD(0.02, momentum=0.9, weight_decay=0.1)),
        "clip": run(o.SGD(0.05, global_clipnorm=0.5)),
        "adam": run(o.Adam(0.05)),
        "adamw": run(o.AdamW(0.05, weight_decay=0.1)),
        "rmsprop": run(o.RMSprop(0.0005)),
        "rmsprop momentum": run(o.RMSprop(0.0005, momentum=0.8)),
        "exponential": run(o.SGD(s.ExponentialDecay(0.05, 10, 0.8))),
        "staircase": run(o.SGD(s.ExponentialDecay(0.05, 10, 0.8, staircase=True))),
        "piecewise": run(o.SGD(s.PiecewiseConstantDecay([30, 60], [0.05, 0.02, 0.01]))),
        "cosine": run(o.SGD(s.CosineDecay(0.05, 80, alpha=0.1))),
        "adam amsgrad": run(o.Adam(0.05, amsgrad=True)),
        "nadam": run(o.Nadam(0.05)),
        "adamax": run(o.Adamax(0.05)),
        "adagrad": run(o.Adagrad(0.2)),
        "adadelta": run(o.Adadelta(1.0)),
        "lion": run(o.Lion(0.003)),
        "rmsprop centered": run(o.RMSprop(0.0005, centered=True)),
        "rmsprop centered momentum": run(o.RMSprop(0.0005, centered=True, momentum=0.8)),
        "clipnorm": run(o.SGD(0.05, clipnorm=0.3), parts=[5, 12]),
        "clipvalue": run(o.SGD(0.05, clipvalue=0.2)),
        "average": run(o.SGD(0.02, momentum=0.9, use_ema=True, ema_momentum=0.9)),
        "average overwrites": run(o.SGD(0.02, momentum=0.9, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7)),
        "polynomial": run(o.SGD(s.PolynomialDecay(0.05, 60, 0.001, power=2.0))),
        "polynomial cycle": run(o.SGD(s.PolynomialDecay(0.05, 30, 0.001, power=0.5, cycle=True))),
        "inverse time": run(o.SGD(s.InverseTimeDecay(0.05, 10, 0.5))),
        "inverse time staircase": run(o.SGD(s.InverseTimeDecay(0.05, 10, 0.5, staircase=True))),
        "cosine warm-up": run(o.SGD(s.CosineDecay(0.0, 60, 0.1, warmup_target=0.05, warmup_steps=20))),
        "cosine restarts": run(o.SGD(s.CosineDecayRestarts(0.05, 11, t_mul=1.5, m_mul=0.8, alpha=0.1))),
        "cosine equal restarts": run(o.SGD(s.CosineDecayRestarts(0.05, 13, t_mul=1.0))),
    }


def keras_penalties():
    """The penalty of each regularizer and its gradient, and what each constraint makes of a matrix."""
    import jax
    import keras

    keras.config.set_floatx("float64")
    w, r, c = jax.numpy.asarray(matrix()), keras.regularizers, keras.constraints
    penalties = {
        "l1": r.L1(0.1),
        "l2": r.L2(0.1),
        "l1_l2": r.L1L2(0.1, 0.2),
        "rows": r.OrthogonalRegularizer(0.1),
        "columns": r.OrthogonalRegularizer(0.1, "columns"),
    }
    results = {n: [float(p(w)), np.asarray(jax.grad(p)(w)).tolist()] for n, p in penalties.items()}
    constraints = {
        "max_norm": c.MaxNorm(1.5),
        "max_norm of rows": c.MaxNorm(1.5, axis=1),
        "unit_norm": c.UnitNorm(),
        "unit_norm of all": c.UnitNorm(axis=[0, 1]),
        "non_neg": c.NonNeg(),
        "min_max_norm": c.MinMaxNorm(1.0, 1.5, rate=0.25),
    }
    return results | {name: np.asarray(constraint(w)).tolist() for name, constraint in constraints.items()}


def matrix():
    return np.random.default_rng(5).normal(size=(4, 3))


if __name__ == "__main__":
    figures = {"torch": torch_runs(), "torch losses": torch_losses()}
    figures |= {"keras": keras_runs(), "keras penalties": keras_penalties()}
    Path(__file__).with_name("figures.json").write_text(json.dumps(figures))
