"""The number of BLAS threads is set, and restored."""

import gc
import os
import random
import threading
import time

import numpy as np
import pytest

import minidense as md
from minidense.numerics import blas
from minidense.numerics.blas import ONE_ANYWAY, one_thread, one_thread_for, one_thread_if

get_threads, set_threads = blas._openblas.get_threads, blas._openblas.set_threads
needs_openblas = pytest.mark.skipif(not blas._openblas.name, reason="NumPy's BLAS is not OpenBLAS")


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """The number of BLAS threads outside all blocks."""
    before = get_threads()
    set_threads(request.param)
    yield request.param
    set_threads(before)


@needs_openblas
@pytest.mark.parametrize("seed", range(20))
def test_threads_are_as_before_in_whatever_order_blocks_end(seed, threads):
    chance, blocks = random.Random(seed), []
    for _ in range(50):
        if blocks and chance.random() < 0.5:
            blocks.pop(chance.randrange(len(blocks))).__exit__(None, None, None)
        else:
            blocks.append(one_thread())
            blocks[-1].__enter__()
        assert get_threads() == (1 if blocks else threads)
        assert blas.threads() == threads
    for block in blocks:
        block.__exit__(None, None, None)
    assert get_threads() == threads
    assert not blas._blocks


@needs_openblas
def test_threads_are_as_before_after_errors_in_many_threads(threads):
    wrong = []

    def work(seed):
        chance = random.Random(seed)
        for _ in range(200):
            try:
                with one_thread():
                    time.sleep(0)  # let the others in
                    if chance.random() < 0.3:
                        with one_thread_if(chance.random() < 0.5):
                            raise KeyError
                    wrong.extend([] if get_threads() == 1 else ["other threads in a block"])
            except KeyError:
                pass

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert get_threads() == threads


@needs_openblas
def test_threads_are_as_before_where_a_signal_interrupts_the_way_in(threads, monkeypatch):
    """At the only place where Python handles signals after the block was recorded: the call of OpenBLAS."""
    ours = blas._openblas.set_threads

    def interrupted(number):
        ours(number)
        monkeypatch.setattr(blas._openblas, "set_threads", ours)
        raise KeyboardInterrupt

    monkeypatch.setattr(blas._openblas, "set_threads", interrupted)
    with pytest.raises(KeyboardInterrupt), one_thread():
        pass
    gc.collect()
    assert get_threads() == threads
    assert not blas._blocks


@needs_openblas
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # that is what is tested
@pytest.mark.parametrize("mine", [False, True])
def test_a_forked_child_has_the_blocks_of_its_own_thread_only(mine, threads):
    inside, end = threading.Event(), threading.Event()

    def hold():
        with one_thread():
            inside.set()
            end.wait()

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    with one_thread_if(mine):
        child = os.fork()
        if not child:
            found = get_threads() == (1 if mine else threads)
    if not child:
        os._exit(not (found and get_threads() == threads and not blas._blocks))
    end.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get_threads() == threads


@needs_openblas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_products_have_the_same_bits_without_a_block(dtype):
    """``one_thread_for`` relies on this: n d u below 9216, with 1 and with 4 threads."""
    rng, before = np.random.default_rng(0), get_threads()
    for _ in range(300):
        n = int(rng.choice([1, 1, 2, 5, 30]))
        d = int(rng.integers(1, (ONE_ANYWAY - 1) // n + 1))
        u = (ONE_ANYWAY - 1) // (n * d)
        x, w = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, u)).astype(dtype)
        found = []
        for number in (1, 4):
            set_threads(number)
            with one_thread_for(n * d * u):
                assert get_threads() == number
                found.append(x.dot(w))
        set_threads(before)
        assert np.array_equal(*found)
    with one_thread_for(ONE_ANYWAY):
        assert get_threads() == 1


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({"max": "max 100000\n"}, 8),
        ({"max": "250000 100000\n"}, 2),
        ({"max": "50000 100000\n"}, 1),
        ({"max": "9900000 100000\n"}, 8),
        ({"max": "nonsense"}, 8),
        ({"quota": "-1\n", "period": "100000\n"}, 8),
        ({"quota": "300000\n", "period": "100000\n"}, 3),
        ({"quota": "300000\n"}, 8),
        ({}, 8),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_the_containers_quota(files, allowed, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    groups = ((f"{tmp_path}/max",), (f"{tmp_path}/quota", f"{tmp_path}/period"))
    monkeypatch.setattr(blas, "_CGROUPS", groups)
    monkeypatch.setattr(blas.os, "sched_getaffinity", lambda process: range(8), raising=False)
    assert blas.cores() == allowed


@needs_openblas
def test_a_process_with_one_cpu_trains_on_one_thread(monkeypatch):
    model, x = md.Sequential([md.Dense(300), md.Dense(3)], rng=0).compile().build(300), np.ones((64, 300))
    seen, before = [], get_threads()
    look = md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(get_threads()))
    set_threads(2)
    try:
        for number in (2, 1):
            monkeypatch.setattr(blas, "cores", lambda number=number: number)
            model.fit(x, np.zeros(64, int), batch_size=64, verbose=0, callbacks=[look])
    finally:
        set_threads(before)
    assert seen == [2, 1]


@needs_openblas
def test_what_is_said_of_the_library():
    assert blas.name().startswith("OpenBLAS 0.")
    assert blas.described(1) == f"{blas.name()}, {blas.core_type()}, 1 thread"
    assert blas.described(2).endswith(", 2 threads")


def test_another_library_is_named_and_left_alone(monkeypatch):
    monkeypatch.setattr(blas.ctypes, "CDLL", _Empty)
    monkeypatch.setattr(blas.ctypes, "PyDLL", _Empty)
    monkeypatch.setattr(blas.np, "show_config", lambda mode: {"Build Dependencies": {"blas": {"name": "accelerate"}}})
    monkeypatch.setattr(blas, "_openblas", blas._OpenBLAS())
    with one_thread():
        assert blas.threads() == 1
    assert blas.described(2) == "accelerate, threads unknown"


class _Empty:
    """A library that has none of the functions."""

    def __init__(self, path):
        pass

    def __getitem__(self, name):
        raise AttributeError(name)
