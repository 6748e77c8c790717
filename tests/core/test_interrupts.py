"""Ctrl-C takes effect only where the model is consistent; floating-point settings change nothing."""

import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import minidense as md
from minidense.core.interrupts import Interrupts, current, guarded, quiet

STRESS = Path(__file__).parents[1] / "stress" / "interrupts.py"


@pytest.fixture(autouse=True)
def default_handler():
    """Set it even if SIGINT is ignored, as in a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def test_a_first_one_waits_for_a_check():
    reached = []

    @guarded
    def call():
        ctrl_c()
        reached.append("after")
        current().check()
        reached.append("never")

    with pytest.raises(KeyboardInterrupt):
        call()
    assert reached == ["after"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_nobody_checks_for_raises_at_the_end():
    @guarded
    def call():
        ctrl_c()
        return "result"

    with pytest.raises(KeyboardInterrupt):
        call()


def test_a_second_one_raises_at_once_but_in_a_breakable_block_only():
    reached = []

    @guarded
    def call(breakable):
        interrupts = current()
        if not breakable:
            ctrl_c()
            ctrl_c()
            reached.append("went on")
            return
        with interrupts.breakable():
            ctrl_c()
            reached.append("first")
            ctrl_c()
            reached.append("never")

    for breakable, expected in ((True, ["first"]), (False, ["went on"])):
        reached.clear()
        with pytest.raises(KeyboardInterrupt):
            call(breakable)
        assert reached == expected


def test_nothing_raises_while_it_is_held():
    reached = []

    @guarded
    def call():
        with current().breakable():
            current().hold()
            ctrl_c()
            ctrl_c()
            reached.append("whole")
            current().release()
            reached.append("never")

    with pytest.raises(KeyboardInterrupt):
        call()
    assert reached == ["whole"]


def test_the_way_out_is_not_disturbed():
    reached = []

    @guarded
    def call():
        try:
            with current().breakable():
                ctrl_c()
                current().check()
        finally:
            ctrl_c()
            reached.append("left in order")

    with pytest.raises(KeyboardInterrupt):
        call()
    assert reached == ["left in order"]


def test_calls_within_calls_have_one_handler():
    @guarded
    def inner():
        ctrl_c()
        current().check()

    @guarded
    def outer():
        inner()

    with pytest.raises(KeyboardInterrupt):
        outer()


def test_other_threads_and_other_handlers_are_left_alone():
    assert isinstance(current(), Interrupts)
    seen = []
    thread = threading.Thread(target=guarded(lambda: seen.append(signal.getsignal(signal.SIGINT))))
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
    mine = []
    signal.signal(signal.SIGINT, lambda number, frame: mine.append(number))
    guarded(ctrl_c)()
    assert mine == [signal.SIGINT]


def test_an_error_of_the_call_stays_the_error():
    @guarded
    def call():
        ctrl_c()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_floating_point_settings_are_the_librarys_own():
    divide = lambda: float(np.float64(1) / np.float64(0))  # noqa: E731
    with np.errstate(all="raise"):
        assert guarded(divide)() == quiet(divide)() == float("inf")
        with pytest.raises(FloatingPointError):
            divide()


@pytest.mark.parametrize(
    "optimizer", [md.SGD(0.1, momentum=0.9, nesterov=True), md.AdamW(0.1), md.RMSprop(0.1)], ids=repr
)
def test_a_training_is_the_same_under_any_settings(optimizer):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)
    x[:, 0] *= 1e-30  # what underflows

    def run():
        layers = [md.Dense(5, "sigmoid"), md.BatchNormalization(), md.GELU(), md.Dense(3), md.Softmax()]
        model = md.Sequential(layers, rng=0)
        model.compile(type(optimizer).from_config(optimizer.get_config()), metrics=["accuracy", "auc"])
        history = model.fit(x, y, epochs=3, validation_split=0.2, validation_shuffle=True, verbose=0)
        model.train_on_batch(x, y)
        return model.theta, history.history, model.predict(x * 1e4), model.evaluate(x, y), model.loss_and_grad(x, y)

    expected = run()
    with np.errstate(all="raise"), warnings.catch_warnings(action="error"):
        found = run()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_equal(one, other)


def test_interrupts_at_a_sample_of_all_lines():
    """A sample of what tests/stress/interrupts.py does at every line."""
    command = [sys.executable, str(STRESS), "--every", "113"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert int(found.stdout.split()[0].replace(",", "")) > 300
