"""Results serve those who unpack, who index by position or name, and who want a number."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense as md
from minidense.training.results import Results

X, Y = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3


def make(metrics=("accuracy",)):
    return md.Sequential([md.Dense(3)], rng=0).build(4).compile(md.SGD(0.1), metrics=metrics)


@pytest.mark.parametrize("call", ["evaluate", "train_on_batch"])
def test_every_habit_gives_the_same_numbers(call):
    plain = getattr(make(), call)(X, Y, return_dict=True)
    assert type(plain) is dict
    assert list(plain) == ["loss", "accuracy"]
    results = getattr(make(), call)(X, Y)
    loss, accuracy = results
    assert [loss, accuracy] == list(results) == [results[0], results[1]] == list(plain.values())
    assert (results["loss"], results["accuracy"], results[-1]) == (loss, accuracy, accuracy)
    assert results[:1] == [loss]
    assert dict(results) == {**results} == plain
    assert (list(results.keys()), list(results.items())) == (["loss", "accuracy"], list(plain.items()))
    assert list(results.values()) == list(plain.values())
    assert "accuracy" in results
    assert loss not in results
    assert len(results) == 2
    assert str(results) == f"Results(loss={loss:.4g}, accuracy={accuracy:.4g})" == f"{results}"
    np.testing.assert_array_equal(np.asarray(results), [loss, accuracy])


def test_an_unknown_name_or_position_says_what_there_is():
    results = make().evaluate(X, Y)
    with pytest.raises(KeyError, match=r"no 'acuracy'. Did you mean 'accuracy'\? There are: loss, accuracy"):
        results["acuracy"]
    with pytest.raises(IndexError):
        results[2]


NUMBERS = {
    "float": float,
    "format": lambda r: f"{r:.3f}",
    "percent": lambda r: "%.3f" % r,  # noqa: UP031
    "less": lambda r: r < 0.5,
    "greater, reflected": lambda r: 0.5 > r,  # noqa: SIM300
    "equal": lambda r: (r == 0.25, r != 0.25, r == np.float32(0.25), np.float64(0.25) == r),
    "plus": lambda r: (r + 1, 1 + r, r * 2, 2 / r, r**2, -r, abs(r)),
    "round": lambda r: (round(r, 1), round(r)),
    "math": math.sqrt,
    "NumPy": lambda r: (np.exp(r), np.isfinite(r), np.maximum(r, 0.5)),
    "an array": lambda r: (np.asarray(r).shape, np.mean([r, r]), (np.arange(3) * r).tolist()),
    "sum": lambda r: sum([r, r]),
    "min": lambda r: min(r, 0.5) == 0.25,
    "isclose": lambda r: math.isclose(r, 0.25),
    "approx": lambda r: r == pytest.approx(0.25),
}


@pytest.mark.parametrize("use", NUMBERS)
def test_where_there_is_only_the_loss_it_is_a_number(use):
    assert NUMBERS[use](Results({"loss": 0.25})) == NUMBERS[use](0.25)


def test_it_is_added_in_place_and_compared_with_what_it_is_not():
    total = results = Results({"loss": 0.25})
    total += 1
    assert (total, float(results)) == (1.25, 0.25)
    assert results != "0.25"
    assert results != [0.25]
    assert Results({"loss": 0.25, "mae": 1.0}) != 0.25


NUMBERS_ONLY = set(NUMBERS) - {"equal", "an array", "min", "approx"}


@pytest.mark.parametrize("use", sorted(NUMBERS_ONLY))
def test_with_metrics_a_number_is_an_error_that_says_what_to_do(use):
    with pytest.raises(TypeError, match=r"these are 2 numbers, loss, accuracy: take one .* results\['accuracy'\]"):
        NUMBERS[use](Results({"loss": 0.25, "accuracy": 0.5}))


@given(values=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), min_size=1, max_size=4))
def test_equality_goes_by_names_and_values_and_lasts_through_copies(values):
    results = Results(values)
    assert results == values == results
    assert results == Results(dict(reversed(values.items())))
    for twin in (copy.deepcopy(results), copy.copy(results), pickle.loads(pickle.dumps(results))):
        assert type(twin) is Results
        assert twin == results
        assert list(twin.items()) == list(values.items())
    name = next(iter(values))
    for other in ({**values, name: values[name] / 2 + 1}, {**values, "longer": 1.0}):
        if other[name] != values[name] or len(other) > len(values):
            assert results != other
            assert results != Results(other)
    assert (results != values) is False
