"""All problems are reported in one error, and a warning is issued at the line of the user's program."""

import contextlib
import os
import re
import warnings

import numpy as np
import pytest

import minidense as md
from minidense.core.errors import Problems, warn
from minidense.losses import TargetLoss
from minidense.metrics import MeanMetric
from minidense.schedules import Schedule


def raised(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize("number", [0, 1, 2, 20, 21, 300])
def test_all_problems_are_said_at_once(number):
    problems = Problems()
    problems.found = [f"fault {i}" for i in range(number)]
    if not number:
        problems.raise_if_any("the file")
        return
    with pytest.raises(ValueError, match=r"^the file:") as caught:
        problems.raise_if_any("the file")
    lines = str(caught.value).split("\n- ")
    if number == 1:
        assert lines == ["the file: fault 0"]
    else:
        more = [f"and {number - 20} more"] * (number > 20)
        assert lines == ["the file:", *problems.found[:20], *more]


def test_what_a_call_raises_is_noted():
    problems = Problems()
    assert problems.noted(lambda: 3) == 3
    assert problems.noted(raised(KeyError("x")), "a: ") is None
    assert problems.noted(raised(ZeroDivisionError()), "b: ") is None
    assert problems.noted(raised(ValueError("x" * 5000))) is None
    assert problems.found == ["a: 'x'", "b: ZeroDivisionError()", "x" * 1000]


@pytest.mark.parametrize("error", [md.CorruptFileError("damaged"), FileNotFoundError("none"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_content_goes_through(error):
    problems = Problems()
    with pytest.raises(type(error)):
        problems.noted(raised(error))
    assert problems.found == []


def library_call(depth):
    """Functions as the library would have them: ``call2`` calls two more and then ``warn``; ``at_the_end`` does so
    from the end of a ``with``."""
    path = os.path.join(os.path.dirname(md.__file__), "training", "imagined.py")
    lines = ["def call0():", "    warn('so')"]
    for i in range(depth):
        lines += [f"def call{i + 1}():", f"    call{i}()"]
    lines += ["@contextmanager", "def manager():", "    yield", f"    call{depth}()"]
    lines += ["def at_the_end():", "    with manager():", "        pass"]
    names = {"warn": warn, "contextmanager": contextlib.contextmanager}
    exec(compile("\n".join(lines), path, "exec"), names)
    return names


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("name", ["call", "at_the_end"])
def test_a_warning_is_at_the_users_line(depth, name):
    call = library_call(depth)[f"call{depth}" if name == "call" else name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = within_user(call)
    assert [(w.filename, w.lineno, str(w.message), w.category) for w in caught] == [(__file__, line, "so", UserWarning)]


def within_user(call):
    call()
    return within_user.__code__.co_firstlineno + 1


BASES = {
    md.Metric: {"reset": "self", "update": "self, y_true, y_pred, weights", "result": "self"},
    MeanMetric: {"rows": "self, y_true, y_pred"},
    md.Loss: {"forward": "self, scores, y", "backward": "self"},
    md.RowLoss: {"rows": "self, scores, targets", "gradient": "self, scores, targets"},
    TargetLoss: {"elements": "self, scores, targets", "derivatives": "self, scores, targets"},
    md.Optimizer: {"step": "self, theta, grad, eta"},
    Schedule: {"__call__": "self, step"},
}


@pytest.mark.parametrize("base", BASES)
def test_a_method_that_a_class_has_to_define_is_named(base):
    mine = type("Mine", (base,), {})()
    for name, names in BASES[base].items():
        arguments = [np.ones((2, 2))] * (len(names.split(", ")) - 1)
        said = re.escape(f"Mine has to define the method {name}({names}). ") + r"\S.*\.$"
        with pytest.raises(NotImplementedError, match=said):
            getattr(mine, name)(*arguments)
