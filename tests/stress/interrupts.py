"""Ctrl-C at every line of every call that changes a model, once and twice: is the model consistent afterwards?

    python tests/stress/interrupts.py                 every line of all calls, some minutes
    python tests/stress/interrupts.py --every 20      a sample, as the tests do

A tracer counts the lines that a call runs within the library, and sends SIGINT at line k, for all k; then again with a
second one some lines later. Afterwards the parameters, the optimizer's vectors and iterations, the buffers and all
random generators must be those after a whole number of steps, no lock held, BLAS's threads as many as before, and the
handler the one that was there; and the model must train on. It prints one line.
"""

import argparse
import copy
import functools
import itertools
import os
import signal
import sys
import tempfile
import threading

import numpy as np

import minidense as md
from minidense.layers.base import walk
from minidense.numerics import blas
from minidense.numerics.sums import AddProduct

FOLDER = os.path.dirname(md.__file__) + os.sep
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 5)), np.arange(8) % 3


def make(plain=False):
    """plain: trained by plain descent, whose steps go straight into theta."""
    layers = [md.Dense(4, "relu"), md.BatchNormalization(), md.Dropout(0.3), md.Residual([md.Dense(4)]), md.Dense(3)]
    optimizer = md.SGD(0.1) if plain else md.Adam(0.01, weight_decay=0.01)
    return md.Sequential(layers, rng=0).compile(optimizer, metrics=["accuracy"]).build(5)


def state(model):
    """All that a step changes, as bytes."""
    network, optimizer = model.network, model.optimizer
    generators = [network.generators.shuffle, *(layer.rng for layer in walk(network) if layer.draws)]
    vectors = sorted((name, vector.tobytes()) for name, vector in optimizer.state.items() if vector.any())
    bits = repr([g.bit_generator.state for g in generators])
    return network.theta.tobytes(), network.buffers.tobytes(), repr(vectors), optimizer.iterations, bits


class Recorder(md.Callback):
    """Records the state before the first step and after each one."""

    def __init__(self):
        self.states = set()

    def on_train_begin(self, logs):
        self.states.add(state(self.model))

    def on_batch_begin(self, batch, logs):
        self.states.add(state(self.model))

    def on_batch_end(self, batch, logs):
        self.states.add(state(self.model))

    on_epoch_end = on_batch_end


FIT = {"batch_size": 4, "epochs": 2, "validation_data": (X[:3], Y[:3]), "verbose": 0}


def calls(folder, make):
    """For each call: a function of a fresh model, and the states that it may leave behind."""
    path, weights, run = f"{folder}/model.npz", f"{folder}/weights.npz", f"{folder}/run.npz"
    trained = make()
    keep = md.callbacks.ModelCheckpoint(run, every=2)
    recorder = Recorder()
    trained.fit(X, Y, callbacks=[recorder, keep], **FIT)
    trained.save(path)
    trained.save_weights(weights)
    start, fitted = state(make()), recorder.states
    whole = {start, *fitted, state(trained)}

    def after(call):
        model = make()
        call(model)
        return {start, state(model)}

    def once(model):
        model.train_on_batch(X, Y)

    def loss(model):
        model.loss_and_grad(X, Y, update_buffers=True)

    yield "fit", lambda model: model.fit(X, Y, **FIT), whole
    yield "fit(resume=)", lambda model: model.fit(X, Y, resume=run, **FIT), whole
    yield "train_on_batch", once, after(once)
    yield "loss_and_grad", loss, after(loss)
    yield "evaluate", lambda model: model.evaluate(X, Y), {start}
    yield "save", lambda model: model.save(f"{folder}/other.npz"), {start}
    yield "load_weights", lambda model: model.load_weights(weights), after(lambda model: model.load_weights(weights))
    yield "load_model", lambda model: md.load_model(path), {start}


class Tracer:
    """Sends SIGINT at some of the lines that the library runs."""

    def __init__(self, at):
        self.at, self.count, self.where = set(at), 0, []

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLDER) and "contextlib" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.count += 1
            if self.count in self.at:
                self.where.append(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")
                signal.raise_signal(signal.SIGINT)
        return self

    def run(self, call):
        """Whether ``call`` ended with KeyboardInterrupt."""
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False


def problems(model, interrupted, whole, threads):
    """What is inconsistent."""
    if not interrupted:
        yield "the interrupt was swallowed"
    if state(model) not in whole:
        yield "the model is not at a whole step"
    if model.network.exclusive.busy:
        yield "the lock is held"
    if blas._openblas.get_threads() != threads:
        yield "BLAS has other threads"
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield "the handler is another one"
    if any(layer.__dict__.get("_workspaces") is not None for layer in walk(model.network)):
        yield "workspaces are left"
    try:
        model.train_on_batch(X, Y)
    except Exception as error:
        yield f"it does not train on: {error!r}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="so many lines apart")
    parser.add_argument("--calls", nargs="*", help="only these")
    options = parser.parse_args(arguments)
    assert threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    AddProduct.worthwhile = staticmethod(lambda W: True)  # for these small matrices, too
    tried, failures, threads = 0, [], blas._openblas.get_threads()
    with tempfile.TemporaryDirectory() as folder:
        plainly = functools.partial(make, plain=True)
        some = [(make, each) for each in calls(folder, make)]
        os.mkdir(f"{folder}/plain")
        some += [(plainly, each) for each in itertools.islice(calls(f"{folder}/plain", plainly), 3)]
        for make_one, (name, call, whole) in some:
            if options.calls and name not in options.calls:
                continue
            fresh, k = make_one(), 1
            call(copy.deepcopy(fresh))  # which imports, and fills caches
            while k:
                for second in (None, 1, 9):
                    model = copy.deepcopy(fresh)
                    tracer = Tracer([k] if second is None else [k, k + second])
                    interrupted = tracer.run(lambda call=call, model=model: call(model))
                    if not tracer.where:  # the call has fewer lines
                        k = 0
                        break
                    tried += 1
                    for problem in problems(model, interrupted, whole, threads):
                        failures.append(f"{name}, at {' and '.join(tracer.where)}: {problem}")
                k = k and k + options.every
    for failure in failures[:40]:
        print(failure)
    print(f"{tried:,} interrupts, {len(failures)} failures")
    return failures


if __name__ == "__main__":
    sys.exit(bool(main()))
