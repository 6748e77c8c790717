"""A lock for one thread at a time: an error instead of waiting, free in copies and in a forked child."""

import copy
import os
import pickle
import sys
import threading

import numpy as np
import pytest

import minidense as md
from minidense.core.exclusive import Exclusive


def in_thread(call):
    found = []

    def run():
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def enter(exclusive, within=False):
    with exclusive(within):
        return "entered"


def test_others_are_told_and_the_owner_may_enter_again():
    exclusive = Exclusive()
    with exclusive(within=False):
        assert isinstance(in_thread(lambda: enter(exclusive, within=True)), RuntimeError)
        assert isinstance(in_thread(exclusive.check), RuntimeError)
        assert enter(exclusive, within=True) == "entered"
        exclusive.check()
        with pytest.raises(RuntimeError, match="already being trained"):
            enter(exclusive)
    assert in_thread(lambda: enter(exclusive)) == "entered"


def test_a_block_that_fails_lets_go():
    exclusive = Exclusive()
    with pytest.raises(ZeroDivisionError), exclusive(within=False):
        raise ZeroDivisionError
    assert not exclusive.busy


def test_copies_are_free():
    exclusive = Exclusive()
    with exclusive(within=False):
        for twin in (copy.deepcopy(exclusive), pickle.loads(pickle.dumps(exclusive))):
            assert not twin.busy


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="forking a process of several threads warns from 3.12 on")
def test_a_forked_child_is_free_of_what_other_threads_had():
    exclusive, ready, done = Exclusive(), threading.Event(), threading.Event()

    def hold():
        with exclusive(within=False):
            ready.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    child = os.fork()
    if not child:
        os._exit(0 if not exclusive.busy and enter(exclusive) == "entered" else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_that_another_thread_trains_is_not_copied_torn(duplicate):
    x, y = np.ones((8, 3)), np.arange(8) % 2
    outcomes = []

    class CopyElsewhere(md.Callback):
        def on_batch_end(self, batch, logs):
            outcomes.append(in_thread(lambda: duplicate(self.model)))
            outcomes.append(duplicate(self.model))  # in the training's own thread it is consistent

    model = md.Sequential([md.Dense(2)], rng=0).compile("sgd")
    model.fit(x, y, batch_size=8, callbacks=[CopyElsewhere()], verbose=0)
    assert isinstance(outcomes[0], RuntimeError)
    assert "in a callback of that training" in str(outcomes[0]) or "already" in str(outcomes[0])
    assert np.array_equal(outcomes[1].theta, model.theta)
    assert not outcomes[1].network.exclusive.busy
    outcomes[1].fit(x, y, verbose=0)
