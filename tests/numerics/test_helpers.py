"""Work on several threads: in order, with the error of the first piece that fails, and without deadlock."""

import contextvars
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from minidense.numerics import blas, helpers
from minidense.numerics.helpers import each


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """Allow three helpers, whatever this machine has."""
    monkeypatch.setattr(helpers, "_cores", lambda: 4)
    monkeypatch.setattr(blas, "threads", lambda: 4)
    yield
    assert helpers._running == 0


def test_each_piece_is_worked_on_once_and_in_turn_by_several_threads():
    done, turns, makers = [], [], []
    busy, meeting = [], threading.Barrier(4)

    def worker():
        makers.append(threading.current_thread())
        meeting.wait(10)  # all four are there
        return lambda piece: (time.sleep(0.002 * (piece % 3)), done.append(piece))

    def in_turn(piece):
        assert not busy
        busy.append(piece)
        time.sleep(0.001)
        turns.append(busy.pop())

    each(range(40), worker, in_turn, helpers=9)
    assert sorted(done) == turns == list(range(40))
    assert len(set(makers)) == len(makers) == 4


def test_blas_has_one_thread_and_context_variables_are_the_callers():
    variable = contextvars.ContextVar("variable", default="")
    variable.set("the caller's")
    found, meeting = [], threading.Barrier(2)

    def work(piece):
        if piece < 2:
            meeting.wait(10)  # each takes one
        found.append((blas._openblas.get_threads(), np.geterr()["over"], variable.get()))

    before = blas._openblas.get_threads()
    with np.errstate(over="raise"):
        each(range(6), lambda: work, helpers=1)
    assert found == [(1, "raise", "the caller's")] * 6
    assert blas._openblas.get_threads() == before


@pytest.mark.parametrize("helpers", [0, 3])
@pytest.mark.parametrize("where", ["work", "in turn", "reading"])
def test_the_first_error_is_raised_and_no_more_pieces_are_taken(helpers, where):
    def fail(piece):
        if piece >= 5:
            time.sleep(0.01 / piece)  # later ones fail sooner
            raise ValueError(piece)

    def pieces():
        for piece in range(1000):
            taken.append(piece)
            if where == "reading":
                fail(piece)
            yield piece

    for _ in range(10):
        taken = []
        work, in_turn = (fail if where == name else (lambda piece: None) for name in ("work", "in turn"))
        with pytest.raises(ValueError, match=r"^5$"):
            each(pieces(), lambda work=work: work, in_turn, helpers=helpers)
        assert len(taken) < 20


def test_an_interrupt_comes_before_errors_and_ends_the_helpers():
    meeting = threading.Barrier(2)

    def worker():
        main = threading.current_thread() is threading.main_thread()

        def work(piece):
            if piece < 2:
                meeting.wait(10)
                raise KeyboardInterrupt if main else ValueError

        return work

    with pytest.raises(KeyboardInterrupt):
        each(range(100), worker, helpers=1)


def test_work_within_work_and_many_callers_at_once_come_to_an_end():
    sums = []

    def inner(piece):
        found = []
        each(range(5), lambda: found.append, helpers=3)
        sums.append(sum(found))

    callers = [threading.Thread(target=each, args=(range(8), lambda: inner), kwargs={"helpers": 3}) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert sums == [10] * 8 * 16


def test_all_callers_together_have_no_more_helpers_than_there_are_cores():
    helping, lock, seen = set(), threading.Lock(), []

    def worker():
        if threading.current_thread().name != "minidense helper":
            return lambda piece: time.sleep(0.001)

        def work(piece):
            with lock:
                helping.add(threading.get_ident())
                seen.append(len(helping))
            time.sleep(0.001)
            with lock:
                helping.discard(threading.get_ident())

        return work

    callers = [threading.Thread(target=each, args=(range(20), worker), kwargs={"helpers": 8}) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert max(seen) <= 3


def test_where_no_thread_can_be_started_the_caller_does_it_all(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    each(range(5), lambda: done.append, helpers=3)
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # that is what is tested
def test_a_child_forked_while_helpers_work_has_room_for_its_own():
    children, meeting = [], threading.Barrier(4)

    def worker():
        meeting.wait(10)

        return lambda piece: time.sleep(0.002)

    def fork(piece):
        if piece == 3:
            child = os.fork()
            if not child:
                done = []
                each(range(50), lambda: lambda i: done.append(threading.get_ident()) or time.sleep(0.001), helpers=3)
                os._exit(not (len(done) == 50 and len(set(done)) == 4))
            children.append(child)

    each(range(20), worker, fork, helpers=3)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0]


def test_a_program_that_ends_meanwhile_ends():
    program = """
        import atexit, threading, time
        from minidense.numerics import blas, helpers
        helpers._cores = blas.threads = lambda: 4
        each, done = helpers.each, []
        work = lambda: lambda i: (done.append(i), time.sleep(0.001))
        atexit.register(lambda: (each(range(20), work, helpers=3), print(len(done))))
        threading.Thread(target=each, args=(range(300), work), kwargs={"helpers": 3}).start()
        threading.Thread(target=each, args=(range(10**9), work), kwargs={"helpers": 3}, daemon=True).start()
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 320
