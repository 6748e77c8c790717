"""Configurable: arguments are remembered and checked, and just the attributes named in ``saved`` are saved."""

import copy
import dataclasses
import inspect
import pickle
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidense.core import configurable
from minidense.core.arguments import real_number
from minidense.core.configurable import (
    LIBRARY,
    Configurable,
    check_state_dict,
    load_state_dict,
    saved_names,
    state_dict,
)
from minidense.layers import Dense


class Gain(Configurable):
    def __init__(self, amount, /, low=0.0, *, high: float = 10.0):
        self.amount, self.low, self.high = float(amount), low, real_number("Gain: high", high, above=low)
        self.seen = []


class Open(Configurable):
    def __init__(self, *values, **options):
        self.values, self.options = values, options


@dataclasses.dataclass
class Point(Configurable):
    x: float
    y: float = 2.0
    path: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if self.y < 0:
            raise ValueError("y below 0")


class Plain(Configurable):
    pass


class Louder(Gain):
    """Has its base's constructor."""


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("thing", "config", "text"),
    [
        (Gain(3), {"amount": 3, "low": 0.0, "high": 10.0}, "Gain(3)"),
        (Gain(3, 1, high=4), {"amount": 3, "low": 1, "high": 4}, "Gain(3, low=1, high=4)"),
        (Gain(3, low=0.0), {"amount": 3, "low": 0.0, "high": 10.0}, "Gain(3)"),
        (Louder(3, high=4), {"amount": 3, "low": 0.0, "high": 4}, "Louder(3, high=4)"),
        (Gain(np.float64(2)), {"amount": 2.0, "low": 0.0, "high": 10.0}, "Gain(np.float64(2.0))"),
        (Plain(), {}, "Plain()"),
        (Open(1, 2, a=3), {"values": (1, 2), "options": {"a": 3}}, "Open(1, 2, a=3)"),
        (Open(), {"values": (), "options": {}}, "Open()"),
        (Point(1.0), {"x": 1.0, "y": 2.0}, None),
        (Point(1.0, path=[3]), {"x": 1.0, "y": 2.0, "path": [3]}, None),
    ],
)
def test_the_configuration_makes_the_same_again(thing, config, text):
    assert thing.get_config() == config
    assert text in (None, repr(thing))
    again = type(thing).from_config(thing.get_config())
    assert type(again) is type(thing)
    assert again.get_config() == config
    assert repr(again) == repr(thing)


def test_arrays_are_not_printed():
    class Table(Configurable):
        def __init__(self, values, scale=None):
            self.values = values

    assert (
        repr(Table(np.zeros((200, 3)), np.ones(2))) == "Table(<array of shape (200, 3)>, scale=<array of shape (2,)>)"
    )


def test_the_configuration_is_a_copy():
    gain = Gain(3)
    gain.get_config()["amount"] = 5
    assert gain.get_config()["amount"] == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Gain(), "Gain: missing a required .*'amount'. It takes: amount, low, high."),
        (lambda: Gain(1, 2, 3), "Gain: too many positional arguments. It takes: amount, low, high."),
        (lambda: Gain(1, hihg=3), "Gain takes no keyword 'hihg'. Did you mean 'high'"),
        (lambda: Gain(amount=1), "Gain: .*amount"),
        (lambda: Plain(1), "Plain: too many positional arguments. It takes no arguments."),
        (lambda: Plain(a=1), "Plain takes no keyword 'a'. It takes no arguments."),
        (lambda: Point(1, 2, [], 4), "Point: too many positional arguments. It takes: x, y, path."),
        (lambda: Gain.from_config({"amount": 1, "lo": 2}), "Gain takes no keyword 'lo'. Did you mean 'low'"),
        (lambda: Plain.from_config({"a": 1}), "Plain takes no keyword 'a'. It takes no arguments."),
    ],
)
def test_wrong_arguments_name_the_right_ones(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_the_signature_is_the_constructors():
    assert str(inspect.signature(Gain)) == "(amount, /, low=0.0, *, high: float = 10.0)"
    assert str(inspect.signature(Louder)) == str(inspect.signature(Gain))
    assert not inspect.signature(Plain).parameters
    assert list(inspect.signature(Point).parameters) == ["x", "y", "path"]


def test_with_an_abstract_base():
    class Shape(Configurable, ABC):
        def __init__(self, size=1):
            self.size = size

        @abstractmethod
        def area(self): ...

    class Square(Shape):
        def area(self):
            return self.size**2

    with pytest.raises(TypeError, match="abstract"):
        Shape(2)
    assert (Square(3).area(), repr(Square(3))) == (9, "Square(size=3)")


def test_a_base_is_made_with_other_arguments_than_the_class():
    class Fixed(Gain):
        def __init__(self, bias):
            super().__init__(7, high=bias + 1)
            self.bias = bias

    assert Fixed(20).get_config() == {"bias": 20}
    assert repr(Fixed(20)) == "Fixed(20)"


# ------------------------------------------------------------------ setting them later


@given(st.lists(st.tuples(st.sampled_from(["low", "high"]), st.integers(-5, 15)), max_size=8))
def test_what_is_set_later_is_what_the_constructor_would_have_made(changes):
    gain = Gain(3)
    gain.seen.append("kept")
    config = gain.get_config()
    for name, value in changes:
        try:
            Gain.from_config({**config, name: value})
        except ValueError:
            with pytest.raises(ValueError, match="Gain: high: expected a finite number above"):
                setattr(gain, name, value)
        else:
            setattr(gain, name, value)
            config[name] = value
        made = Gain.from_config(config)
        assert (gain.amount, gain.low, gain.high) == (made.amount, made.low, made.high)
        assert gain.get_config() == config
    assert gain.seen == ["kept"]


def test_the_attribute_is_what_the_constructor_makes_of_it():
    gain = Gain(3)
    gain.amount = 4
    assert (gain.amount, type(gain.amount), gain.get_config()["amount"]) == (4.0, float, 4)


def test_other_attributes_are_simply_set():
    gain, plain = Gain(3), Plain()
    gain.seen, gain.more, plain.x = 1, 2, 3
    assert (gain.seen, gain.more, plain.x) == (1, 2, 3)
    assert gain.get_config() == Gain(3).get_config()


def test_a_property_with_the_name_of_an_argument():
    class Celsius(Configurable):
        def __init__(self, degrees):
            self.degrees = degrees

        @property
        def degrees(self):
            return self._kelvin - 273

        @degrees.setter
        def degrees(self, value):
            self._kelvin = real_number("degrees", value, at_least=-273) + 273

    mild = Celsius(20)
    mild.degrees = 25
    assert (mild.degrees, mild._kelvin, mild.get_config()) == (25, 298, {"degrees": 25})
    with pytest.raises(ValueError, match="at least -273, got -300"):
        mild.degrees = -300
    assert mild.get_config() == {"degrees": 25}


def test_a_dataclass_checks_too():
    point = Point(1.0)
    point.y = 5.0
    assert point == Point(1.0, 5.0)
    with pytest.raises(ValueError, match="y below 0"):
        point.y = -1.0
    assert Point(1.0).path is not Point(1.0).path


# ------------------------------------------------------------------ copies


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
@pytest.mark.parametrize("thing", [Gain(3, high=4), Open(1, a=[2]), Point(1.0), Plain()], ids=repr)
def test_a_copy_remembers_its_arguments(copied, thing):
    twin = copied(thing)
    assert twin.get_config() == thing.get_config()
    assert repr(twin) == repr(thing)
    if isinstance(thing, Gain):
        twin.high = 5
        assert (thing.high, thing.get_config()["high"], twin.get_config()["high"]) == (4, 4, 5)
        with pytest.raises(ValueError, match="high"):
            twin.high = -1


def test_the_librarys_own_classes_say_so():
    assert all(cls._of_library and cls.__name__ == name for name, cls in LIBRARY.items())
    assert all(cls.__module__.startswith("minidense.") for cls in LIBRARY.values())
    assert not Gain._of_library

    class Mine(Dense):
        pass

    assert not Mine._of_library
    assert "Mine" not in LIBRARY
    assert LIBRARY["Dense"] is Dense


# ------------------------------------------------------------------ what is saved


class Counter(Configurable):
    saved: ClassVar[tuple[str, ...]] = ("count", "best")

    count: int
    best: "float | None"

    def __init__(self, step=1):
        self.step, self.count, self.best = step, 0, None


class Deeper(Counter):
    saved = ("losses", "count", "table", "anything")

    losses: "list[float]"
    table: "dict[str, list[int] | None]"

    def __init__(self):
        super().__init__()
        self.losses, self.table, self.anything = [], {}, None


class Halved(Configurable):
    """Saves a property."""

    saved = ("half",)

    def __init__(self):
        self.whole = 4.0

    @property
    def half(self) -> float:
        return self.whole / 2

    @half.setter
    def half(self, value: float) -> None:
        self.whole = 2 * value


def test_the_names_of_all_bases_each_once():
    assert saved_names(Deeper) == ["count", "best", "losses", "table", "anything"]
    assert saved_names(Plain) == []
    assert state_dict(Deeper()) == {"count": 0, "best": None, "losses": [], "table": {}, "anything": None}


@given(
    count=st.integers(),
    best=st.none() | st.floats(allow_nan=False),
    losses=st.lists(st.floats(allow_nan=False)),
    table=st.dictionaries(st.text(), st.none() | st.lists(st.integers())),
)
def test_there_and_back(count, best, losses, table):
    one, other = Deeper(), Deeper()
    one.count, one.best, one.losses, one.table = count, best, losses, table
    load_state_dict(other, state_dict(one))
    assert state_dict(other) == state_dict(one)
    load_state_dict(other, state_dict(Deeper()))
    assert state_dict(other) == state_dict(Deeper())


def test_a_property_is_saved_and_set_as_such():
    halved = Halved()
    assert state_dict(halved) == {"half": 2.0}
    load_state_dict(halved, {"half": 5.0})
    assert halved.whole == 10.0
    with pytest.raises(ValueError, match="Halved: half must be of type float; the file has 'x'"):
        load_state_dict(halved, {"half": "x"})


GOOD = {"count": 1, "best": 0.5, "losses": [1.0, 2], "table": {"a": [1], "b": None}, "anything": (1, "x")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1.0}, "Deeper: count must be of type int; the file has 1.0"),
        ({"count": True}, "count must be of type int; the file has True"),
        ({"count": None}, "count must be of type int"),
        ({"best": "0.5"}, r"best must be of type float \| None; the file has '0.5'"),
        ({"best": False}, "best must be of type float"),
        ({"losses": [1.0, "x"]}, r"losses must be of type list\[float\]; the file has \[1.0, 'x'\]"),
        ({"losses": (1.0,)}, "losses must be of type list"),
        ({"table": {"a": [1.5]}}, "table must be of type dict"),
        ({"table": {1: [1]}}, "table must be of type dict"),
        ({"table": []}, "table must be of type dict"),
        ({"step": 3}, "Deeper does not save 'step', which is in the file"),
        ({3: 3}, "Deeper does not save 3, which is in the file"),
    ],
)
def test_a_forged_state_is_refused_before_anything_is_set(change, message):
    thing = Deeper()
    check_state_dict(thing, GOOD)
    before = copy.deepcopy(vars(thing))
    for call in (check_state_dict, load_state_dict):
        with pytest.raises(ValueError, match=message):
            call(thing, {**GOOD, **change})
        assert vars(thing) == before


KINDS = {
    "bool": [True, np.True_],
    "int": [1, np.int8(1)],
    "float": [0.5, np.float32(0.5)],
    "str": ["x"],
    "list": [[], [1, "x"]],
    "dict": [{}, {1: "x"}],
    "Array": [np.ones(2)],
}


@pytest.mark.parametrize("annotation", KINDS)
def test_a_name_alone_is_that_kind(annotation):
    kind = type("Kind", (Configurable,), {"saved": ("it",), "__annotations__": {"it": annotation}})
    for name, values in KINDS.items():
        for value in values:
            if name == annotation or (annotation == "float" and name == "int"):
                check_state_dict(kind(), {"it": value})
            else:
                with pytest.raises(ValueError, match=f"Kind: it must be of type {annotation}"):
                    check_state_dict(kind(), {"it": value})


@pytest.mark.parametrize("name", ["count", "best"])
def test_whole_numbers_that_no_float_can_be_computed_with_are_refused(name):
    for value in (2**1000 - 1, 1 - 2**1000):
        check_state_dict(Deeper(), {**GOOD, name: value})
    for value in (2**1000, -(2**1000)):
        with pytest.raises(ValueError, match=f"Deeper: {name} must be of type"):
            check_state_dict(Deeper(), {**GOOD, name: value})


WRONG = {
    "bool": 1,
    "int": 1.5,
    "float": "0.5",
    "str": 3,
    "int | None": "3",
    "Array": [1.0],
    "list[str]": ["x", 3],
    "list[Array | None]": [3],
    "list[Array] | None": [None],
    "dict[str, float]": {"x": "1"},
    "dict[str, Array]": {"x": 1.0},
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in LIBRARY.values() for name in saved_names(kind)],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_each_attribute_of_the_librarys_classes_is_of_a_kind(kind, name):
    """Whatever a forged file has for it, no value of another type is accepted."""
    thing = object.__new__(kind)
    wrong = [WRONG[configurable._annotated(kind, name)], {"a": b"x"}, b"x", 1j]
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^{kind.__name__}: {name} must be of type "):
            check_state_dict(thing, {name: value, **dict.fromkeys(set(saved_names(kind)) - {name})})


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_name_is_an_error_that_names_it(name):
    thing, state = Deeper(), {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(ValueError, match=f"Deeper saves '{name}', which is missing in the file"):
        load_state_dict(thing, state)
    assert thing.count == 0
    delattr(thing, name)
    with pytest.raises(ValueError, match=f"names '{name}' in `saved`, but has no such attribute"):
        state_dict(thing)


def test_numpys_numbers_are_numbers():
    thing = Deeper()
    load_state_dict(thing, {**GOOD, "count": np.int64(3), "best": np.float32(0.5), "losses": [np.float64(1)]})
    assert thing.count == 3


def test_one_name_without_a_comma_is_met_with_the_comma():
    with pytest.raises(TypeError, match=r"Slip: saved: expected a tuple of names, got 'best'.*saved = \('best',\)"):

        class Slip(Configurable):
            saved = "best"


def test_annotations_that_say_nothing_let_everything_pass():
    class Loose(Configurable):
        saved = ("a", "b", "c")
        a: "Counter | None" = None
        b: "not an expression" = 0  # noqa: F722
        c: tuple[int, ...] = ()

    load_state_dict(Loose(), {"a": "x", "b": [1], "c": 5})


@pytest.mark.parametrize("value", [len, Configurable, Configurable(), {"deep": [len]}])
def test_functions_and_objects_are_no_state(value):
    class Keeps(Configurable):
        saved = ("kept",)
        kept = 0

    keeps = Keeps()
    with pytest.raises(ValueError, match="Keeps: kept in `saved`: expected numbers, bools, strings, arrays"):
        load_state_dict(keeps, {"kept": value})
    assert keeps.kept == 0
    keeps.kept = value
    with pytest.raises(ValueError, match="Keeps: kept in `saved`: expected numbers, bools, strings, arrays"):
        state_dict(keeps)


def test_saved_gives_names():
    with pytest.raises(TypeError, match="saved: expected a tuple of names"):
        type("Wrong", (Configurable,), {"saved": (1,)})
