"""Values as JSON and arrays: what is turned back is what it was, and nothing but data is ever looked at."""

import collections
import functools
import json
import math
import random as random_module
import re
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import minidense as md
from minidense import schedules
from minidense.files.codec import Decoder, Encoder, unknown_names


def there_and_back(value, custom=None):
    encoder = Encoder()
    data = json.loads(json.dumps(encoder.value(value, "x"), allow_nan=False))
    decoder = Decoder(encoder.arrays, encoder.custom if custom is None else custom)
    found = decoder.value(data, "x")
    assert not decoder.unused
    return found


def picture(value):
    """Something that is equal only for equal values of equal kinds."""
    if isinstance(value, dict):
        return dict, [(picture(key), picture(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [picture(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return type(value), value.dtype.newbyteorder("=").str, value.shape, np.asarray(value).tolist().__repr__()
    if isinstance(value, np.random.Generator):
        seed = value.bit_generator.seed_seq
        return repr(value.bit_generator.state), seed.entropy, seed.spawn_key, seed.n_children_spawned
    return type(value), repr(value)


dtypes = st.sampled_from(["?", "i1", "u1", "<i2", ">i4", "i8", "u8", "f2", "f4", ">f4", "f8", "U3"])
shapes = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
numbers = st.integers() | st.floats() | st.booleans()
leaves = (
    st.none()
    | numbers
    | st.text()
    | arrays_of.arrays(dtypes, shapes)
    | arrays_of.from_dtype(np.dtype("f4")).map(np.float32)
    | st.integers(-128, 127).map(np.int8)
    | st.booleans().map(np.bool)
    | st.integers(0, 2**64).map(np.random.default_rng)
    | st.lists(st.floats(), min_size=14, max_size=20)
    | st.lists(st.integers(-(2**70), 2**70), min_size=14, max_size=20)
)
values = st.recursive(
    leaves,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.lists(inside, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.just("$array"), inside, max_size=4)
        | st.dictionaries(numbers.filter(lambda x: x == x) | st.tuples(st.text()), inside, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_what_comes_back_is_what_it_was(value):
    assert picture(there_and_back(value)) == picture(value)


@given(arrays_of.arrays(st.sampled_from(["f4", "i8"]), arrays_of.array_shapes(min_dims=2, max_dims=2, max_side=5)))
def test_arrays_are_ones_own_and_keep_their_order(array):
    for given_array in (array, array.T, array[::2]):
        found = there_and_back([given_array])[0]
        assert found.flags.writeable
        assert found.flags.aligned
        assert not np.shares_memory(found, given_array)
        if given_array.flags.forc:
            for order in ("C_CONTIGUOUS", "F_CONTIGUOUS"):
                assert found.flags[order] == given_array.flags[order]


def test_the_places_of_arrays_are_names_of_members_and_differ():
    value = {"a": {"b": np.ones(2)}, "a/b": np.zeros(2), "a\0b": np.ones(1), "ä" * 70000: np.ones(3)}
    encoder = Encoder()
    encoder.value(value, "layers/0")
    assert len(encoder.arrays) == 4
    assert all(re.fullmatch(r"values/layers/0/[\w .+/-]{1,200}", name) for name in encoder.arrays)
    assert picture(there_and_back(value)) == picture(value)


@pytest.mark.parametrize(
    "seed",
    [5, [1, 2, 3], 2**127, np.random.SeedSequence(3, spawn_key=(np.int64(4),), pool_size=8), list(range(40))],
)
def test_generators_draw_and_spawn_on(seed):
    rng = np.random.default_rng(seed)
    rng.integers(10, dtype="int32"), rng.spawn(2)  # half a word is kept for the next
    found = there_and_back(rng)
    assert found is not rng
    for draw in (
        lambda r: r.integers(10, size=3, dtype="int32"),
        lambda r: r.random(3),
        lambda r: r.spawn(1)[0].random(),
    ):
        assert np.all(draw(found) == draw(rng))
    sequence = np.random.SeedSequence(2**100, spawn_key=(2, 2**40))
    assert there_and_back(sequence).state == sequence.state


# ---------------------------------------------------------------------- objects and names


class Half(schedules.Schedule):
    def __init__(self, rate, *more, table=None, **rest):
        self.rate, self.table = rate, table

    def __call__(self, step):
        return self.rate / 2


def stepwise(step):
    return 0.1 / (1 + step)


def test_objects_are_their_arguments_as_they_are_now():
    thing = md.Adam(schedules.WarmUp(Half(0.1, 1, (2,), table=np.eye(2), a={"$b": 1}), 5), beta_1=0.5)
    thing.beta_2 = np.float64(0.75)
    said = Encoder().value(thing, "x")
    assert said["$object"] == "Adam"
    assert said["config"]["beta_2"] == {"$number": ["<f8", 0.75]}
    assert said["config"]["learning_rate"]["config"]["schedule"]["$custom_object"] == "Half"
    found = there_and_back(thing)
    assert repr(found) == repr(thing)
    assert found.beta_2 == 0.75
    assert there_and_back(found).get_config().keys() == thing.get_config().keys()


def test_functions_are_their_names():
    layer = there_and_back(md.Dense(3, kernel_initializer="he_normal", bias_initializer=stepwise))
    assert layer.bias_initializer is stepwise
    assert layer.kernel_initializer.__name__ == "he_normal"
    assert there_and_back([np.multiply, math.sqrt, Half]) == [np.multiply, math.sqrt, Half]
    assert Encoder().value(md.layers.initializers.zeros, "x") == {"$function": "zeros"}


def test_a_class_of_ones_own_is_not_taken_for_the_librarys():
    own = type("Dense", (md.Dense,), {})
    encoder = Encoder()
    assert encoder.value(own(3), "x")["$custom_object"] == "Dense"
    assert encoder.custom == {"Dense": own}
    assert type(there_and_back(own(3))) is own


def test_layers_are_met_once_and_then_referred_to():
    encoder = md.Dense(3)

    class Tied(md.ReLU):
        def __init__(self, other, again):
            self.other, self.again = other, again

    found = there_and_back([encoder, Tied(encoder, [encoder])])
    assert found[1].other is found[0]
    assert found[1].again[0] is found[0]
    chain = there_and_back(md.Residual([md.Dense(4, "tanh"), md.Dropout(0.5)]))
    assert repr(chain) == "Residual([Dense(4), Tanh(), Dropout(0.5)])"


ANEW = np.random.default_rng(0)
UNSAVEABLE = {
    "a lambda": (lambda x: x, "a function without a name cannot be saved; give it one with def"),
    "a partial": (functools.partial(stepwise), "A function is to be made with def"),
    "a method": (Half(1).__call__, "cannot be saved"),
    "bytes": (b"x", "x/0: b'x' cannot be saved. Numbers, text, None, arrays, and lists, tuples and dicts of them can"),
    "a set": ({1}, "cannot be saved"),
    "a named tuple": (collections.namedtuple("P", "x")(1), "cannot be saved"),
    "an OrderedDict": (collections.OrderedDict(a=1), "cannot be saved"),
    "a lock": (threading.Lock(), "cannot be saved"),
    "an array of objects": (np.array([{}], object), "cannot be saved"),
    "complex numbers": (np.ones(2, complex), "cannot be saved"),
    "long doubles": (np.ones(2, np.longdouble), "cannot be saved"),
    "a masked array": (np.ma.ones(2), "cannot be saved"),
    "a random.Random": (random_module.Random(0), "cannot be saved"),
    "another bit generator": (np.random.Generator(np.random.MT19937(1)), "of the kind MT19937 cannot be saved; PCG64 can"),
    "one of one's own": (np.random.Generator(type("My", (np.random.PCG64,), {})(1)), "of the kind My cannot be saved"),
    "a generator twice": ([ANEW, ANEW], r"same random generator as x/0/0, and would be another .* rng.spawn\(2\)"),
    "two of a name": ([type("A", (), {}), type("A", (), {})], "two different things called A"),
    "within itself": ((loop := [], loop.append(loop))[0], "nested more than 50 levels deep, or within itself"),
    "a long list": ([0.5] * 1_000_001, "lists of more than 1,000,000 numbers; keep them as arrays"),
    "a callback": (md.callbacks.EarlyStopping(), "cannot be saved as part of something"),
    "a huge seed": (np.random.SeedSequence(2**2048), "a seed is of whole numbers, at most 64 words"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAVEABLE)
def test_what_cannot_be_saved_says_so(case):
    value, message = UNSAVEABLE[case]
    with pytest.raises((TypeError, ValueError), match=message):
        Encoder().value([value], "x")


# ---------------------------------------------------------------------- data that no encoder has made


GOOD = {"state": 1, "inc": 3, "has_uint32": 0, "uinteger": 0, "seed": None}
FORGED = {
    "an unknown tag": ({"$eval": "1"}, r"'\$eval': '1', which means nothing here"),
    "two tags": ({"$tuple": [], "$array": "a"}, "means nothing here"),
    "a number of text": ({"$number": ["<U4", 1]}, "a number of the kind '<U4'"),
    "a number that is none": ({"$number": ["<f4", "x"]}, "a number that is none"),
    "an infinite float": ({"$float": "1e999"}, "means nothing here"),
    "a pair that is none": ({"$dict": [[1]]}, "values to unpack"),
    "a missing array": ({"$array": "b"}, "the array 'b' is missing, or referred to twice"),
    "an array twice": ([{"$array": "a"}, {"$array": "a"}], "the array 'a' is missing, or referred to twice"),
    "an array that has no name": ({"$array": ["a"]}, "is missing, or referred to twice"),
    "a list that is none": ({"$list": "i"}, r"the list 'i' is an array of shape \(2,\), int32"),
    "another layer": ({"$layer": "layers/0"}, "means nothing here"),
    "a class of nobody": ({"$object": "System", "config": {}}, "'System' is unknown here"),
    "an abstract class": ({"$object": "Layer", "config": {}}, "'Layer' is unknown here"),
    "a callback": ({"$object": "EarlyStopping", "config": {}}, "EarlyStopping is no Layer or Optimizer or"),
    "a network as an object": ({"$object": "Network", "config": {}}, "Network is no Layer"),
    "another key": ({"$object": "Dense", "config": {"units": 3}, "attributes": {}}, r"'\$object': 'Dense', which means nothing here"),
    "another argument": ({"$object": "Dense", "config": {"unit": 3}}, "Dense takes no keyword 'unit'"),
    "an impossible argument": ({"$object": "Dropout", "config": {"rate": 2}}, "rate: expected"),
    "a chain as an object": ({"$object": "Chain", "config": {}}, "Chain is no Layer"),
    "a chain of a number": ({"$chain": [3]}, "3 is no Layer"),
    "several layers in a chain": ({"$network": {"name": None, "layers": [{"$object": "Dense", "config": {"units": 3, "activation": "relu"}}]}}, "stands for several layers"),
    "no layer in a chain": ({"$network": {"name": None, "layers": [3]}}, "3 is no Layer"),
    "an optimizer in a chain": ({"$network": {"name": None, "layers": [{"$object": "SGD", "config": {}}]}}, r"SGD\(\) is no Layer"),
    "a function of another module": ({"$function": "os.system"}, "'os.system' is unknown here"),
    "a class as a function": ({"$function": "Dense"}, "'Dense' is unknown here"),
    "nested deep": (functools.reduce(lambda inside, _: [inside], range(60), 0), "nested more than 50 levels deep"),
    "an even increment": ({"$generator": {**GOOD, "inc": 2}}, "impossible state"),
    "a state too large": ({"$generator": {**GOOD, "state": 2**128}}, "impossible state"),
    "a state of text": ({"$generator": {**GOOD, "state": "1"}}, "impossible state"),
    "a state less": ({"$generator": {"state": 1}}, "impossible state"),
    "a seed of three": ({"$seed": [1, [], 4]}, "a seed is of four parts"),
    "a pool of millions": ({"$seed": [1, [], 10**9, 0]}, "a seed is of whole numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_forged_data_is_refused(case):
    data, message = FORGED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        Decoder({"a": np.zeros(2), "i": np.zeros(2, "i4")}, {}).value(data, "x")


def test_a_file_has_so_many_layers_and_no_more(monkeypatch):
    monkeypatch.setattr("minidense.files.codec._MOST_LAYERS", 3)
    three = [md.ReLU(), md.Residual([md.ReLU()])]
    with pytest.raises(ValueError, match="x/1: more than 3 layers"):
        there_and_back(three)
    assert repr(there_and_back(three[:1])) == "[ReLU()]"
    with pytest.raises(ValueError, match="x/3: more than 3 layers"):
        Decoder({}, {}).value([{"$object": "ReLU", "config": {}}] * 4, "x")


def test_the_repr_of_layers_within_layers_is_made_in_no_time():
    layer = functools.reduce(lambda inner, _: md.Residual(inner), range(40), md.ReLU())
    assert repr(layer) == "Residual(" * 40 + "ReLU()" + ")" * 40


def test_all_unknown_names_are_found_however_deep():
    data = [
        {"x": {"$object": "Dense", "config": {"a": {"$custom_object": "Mine", "config": {}}}}},
        {"$function": "f" * 500},
    ]
    assert unknown_names(data, {}) == (["f" * 80], ["Mine"])
    assert unknown_names(data, {"Mine": Half}) == (["f" * 80], [])


def test_objects_in_objects_take_memory_once():
    """A list in the innermost of twenty schedules is one list, and not one for each schedule."""
    steps = np.arange(200_000)
    said = {
        "$object": "PiecewiseConstantDecay",
        "config": {"boundaries": {"$list": "steps"}, "values": {"$list": "values"}},
    }
    for _ in range(20):
        said = {"$object": "WarmUp", "config": {"schedule": said, "steps": 1}}
    tracemalloc.start()
    made = Decoder({"steps": steps, "values": np.ones(len(steps) + 1)}, {}).value(said, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made(0) == 1.0
    assert peak < 4 * 40 * len(steps)  # two lists of numbers at 8 + 32 bytes each, twice: given and checked
