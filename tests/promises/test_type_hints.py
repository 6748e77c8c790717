"""The type hints of every public name resolve, as editors, documentation tools and run-time checkers need."""

import inspect
import typing

import pytest

import minidense as md


def public_objects():
    """The names of ``md.__all__`` and those of the modules among them: functions and classes."""
    for name in md.__all__:
        thing = getattr(md, name)
        if inspect.ismodule(thing):
            for inner, each in vars(thing).items():
                if not inner.startswith("_") and getattr(each, "__module__", "").startswith("minidense"):
                    yield f"{name}.{inner}", each
        else:
            yield name, thing


def functions_of(thing):
    """A function itself; of a class its constructor and public methods and properties."""
    if not isinstance(thing, type):
        return [thing]
    found = []
    for name, member in inspect.getmembers_static(thing):
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if inspect.isfunction(function) and (not name.startswith("_") or name == "__init__"):
            found.append(function)
    return found


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*pair, id=pair[0]) for pair in public_objects()])
def test_type_hints_resolve(name, thing):
    typing.get_type_hints(thing)
    for function in functions_of(thing):
        hints = typing.get_type_hints(function)
        if function.__module__.startswith("minidense"):
            assert "return" in hints, f"{name}: {function.__qualname__}"


def test_there_is_something_to_resolve():
    names = [name for name, _ in public_objects()]
    assert {"Dense", "Sequential", "check_layer", "callbacks.EarlyStopping", "initializers.zeros"} <= set(names)
    assert {"__init__", "forward", "backward", "param"} <= {f.__name__ for f in functions_of(md.Dense)}


def test_the_signature_of_a_class_is_its_constructors():
    assert list(inspect.signature(md.Dense).parameters) == [
        *("units", "activation", "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer"),
        *("bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint"),
    ]
    assert inspect.signature(md.Dense).parameters["use_bias"].default is True
    assert not inspect.signature(md.Tanh).parameters
    assert list(inspect.signature(md.Layer).parameters) == []
