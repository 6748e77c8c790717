"""Checks of arguments, and suggestions of the nearest name."""

from pathlib import Path

import numpy as np
import pytest

import minidense as md
from minidense.core.arguments import file_path, flag, known_keywords, lookup, real_number, text, whole_number


def test_whole_numbers_may_be_numpys():
    assert whole_number("n", np.int32(3)) == 3
    assert type(whole_number("n", np.int32(3))) is int
    assert real_number("r", np.float32(0.5)) == 0.5
    with pytest.raises(TypeError, match="r: expected a number, got '1'"):
        real_number("r", "1")


def test_a_decorated_function_takes_what_it_took():
    @known_keywords
    def f(a, *, b=2):
        """Doc."""
        return a + b

    assert f(1, b=3) == 4
    assert f.__doc__ == "Doc."
    with pytest.raises(TypeError, match=r"f\(\) takes no keyword 'bb'. Did you mean 'b'\? It takes: a, b"):
        f(1, bb=3)


@pytest.mark.parametrize("value", ["False", "no", 1, 0, None, np.array(True)])
def test_only_true_and_false_are_flags(value):
    with pytest.raises(TypeError, match="shuffle: expected True or False, got"):
        flag("shuffle", value)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_a_flag_is_a_bool(value):
    assert flag("shuffle", value) is bool(value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"),
        ("learningrate", "learning_rate"),
        ("decay", "weight_decay"),
        ("iteration", "iterations"),
        ("momentun", "momentum"),
    ],
)
def test_an_attribute_that_is_likely_a_mistake_is_refused(name, meant):
    optimizer = md.SGD(0.1)
    with pytest.raises(AttributeError, match=f"^SGD has no attribute '{name}'; .* Set '{meant}' instead"):
        setattr(optimizer, name, 1e-9)
    assert name not in vars(optimizer)


@pytest.mark.parametrize("thing", [md.SGD(), md.Dense(3), md.Sequential(), md.callbacks.EarlyStopping()])
def test_other_attributes_are_the_users_own(thing):
    thing.note, thing._lr = "mine", 3
    assert (thing.note, thing._lr) == ("mine", 3)


@pytest.mark.parametrize("kind", [md.SGD, md.Dense, md.Sequential])
def test_a_subclass_has_what_attributes_it_likes(kind):
    thing = type("Own", (kind,), {})(*[3] * (kind is md.Dense))
    thing.lr = thing.optimiser = thing.kernel = 1
    assert (thing.lr, thing.optimiser, thing.kernel) == (1, 1, 1)


@pytest.mark.parametrize("check", [real_number, whole_number])
def test_a_number_that_is_too_large_is_out_of_range(check):
    with pytest.raises(ValueError, match=r"^n: expected a .* number"):
        check("n", 10**400)


@pytest.mark.parametrize("value", [3, None, 0.5, ["a"], np.array(["a"])])
def test_a_name_and_a_path_are_strings(value):
    with pytest.raises(TypeError, match=r"^mode: expected one of the names 'max', 'min', got"):
        lookup("mode", value, {"min": 1, "max": 2})
    with pytest.raises(TypeError, match=r"^path: expected a path such as 'model.npz', got"):
        file_path("path", value)
    with pytest.raises(TypeError, match=r"^monitor: expected a string, got"):
        text("monitor", value)


def test_a_path_is_given_in_all_of_pythons_ways():
    assert file_path("path", Path("a") / "b") == file_path("path", b"a/b") == file_path("path", "a/b")


def test_an_empty_path_is_none():
    with pytest.raises(ValueError, match=r"^path: expected a string that is not empty"):
        file_path("path", "")


def test_more_arguments_than_may_be_given_by_position():
    @known_keywords
    def fit(x, y=None, *, epochs=1):
        return x, y, epochs

    with pytest.raises(
        TypeError, match=r"fit\(\) takes x, y by position, got 3 arguments; pass others by name: epochs=\."
    ):
        fit(1, 2, 3)
