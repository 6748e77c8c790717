"""What authors of layers rely on: param, buffer and child, names, arguments, copies, attributes."""

import copy
import pickle
import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import pytest

import minidense as md
import minidense.layers
from minidense.core.configurable import LIBRARY
from minidense.layers.base import declare, walk


class Scale(md.Layer):
    """The layer of the documentation."""

    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        return input_shape

    def forward(self, x):
        self.x = x
        return x * self.g

    def backward(self, dy):
        self.dg = (dy * self.x).sum(axis=0)
        return dy * self.g


def test_assigning_a_parameter_writes_into_theta():
    model = md.Sequential([Scale()]).build(2)
    model.layers[0].g = [3.0, 4.0]
    assert model.theta.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"Scale\(\), layer 0: g must have shape \(2,\), got \(3,\)"):
        model.layers[0].g = np.ones(3)


def test_backward_before_forward_names_the_layer():
    model = md.Sequential([md.Dense(3)]).build(4)
    with pytest.raises(AttributeError, match=r"Dense\(3\), layer 0 has no attribute 'x'.*call forward before backward"):
        model.backward(np.ones((2, 3)))


def test_a_parameter_read_before_the_model_is_built_says_so():
    layer = Scale()
    declare(layer, (2,))
    with pytest.raises(AttributeError, match=r"no attribute 'g'. It is declared, and exists once the model is built"):
        _ = layer.g


def test_a_layer_without_forward_says_so():
    class Empty(md.Layer):
        pass

    with pytest.raises(AttributeError, match="must define forward and backward"):
        md.Sequential([Empty()]).build(2).predict(np.ones((1, 2)))


def test_parameter_names_that_are_taken_are_refused():
    class Twice(md.Layer):
        def build(self, input_shape):
            self.param("g", 1)
            self.param(self.second, 1)
            return input_shape

    for name in ("g", "dg", "build", "not a name"):
        layer = Twice()
        layer.second = name
        with pytest.raises(ValueError, match="cannot be called"):
            md.Sequential([layer]).build(2)


def test_a_parameter_cannot_take_an_attributes_name():
    class Clash(md.Layer):
        def __init__(self, g=0.5):
            self.g = g

        def build(self, input_shape):
            self.param("g", input_shape)
            return input_shape

    with pytest.raises(ValueError, match="'g' is taken"):
        md.Sequential([Clash()]).build(3)


def test_config_and_repr_come_from_the_constructor():
    class Power(md.Layer):
        def __init__(self, exponent, shift=0.0):
            self.exponent = exponent

    assert repr(Power(3)) == "Power(3)"
    assert repr(Power(3, shift=1.5)) == "Power(3, shift=1.5)"
    assert Power(exponent=2).get_config() == {"exponent": 2, "shift": 0.0}
    assert md.Dense(5).get_config()["kernel_initializer"] == "glorot_uniform"


def test_array_arguments_have_a_short_repr():
    class Normalize(md.Layer):
        def __init__(self, mean=0.0):
            self.mean = mean

        def build(self, input_shape):
            self.param("g", input_shape, "ones")
            return input_shape

        def forward(self, x):
            self.x = x - self.mean
            return self.x * self.g

        def backward(self, dy):
            self.dg = (dy * self.x).sum(axis=0)
            return dy * self.g

    layer = Normalize(np.ones(4))
    assert repr(layer) == "Normalize(mean=<array of shape (4,)>)"
    assert md.check_layer(layer, 4) <= 1e-7


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copied_layer_keeps_its_values_and_can_start_another_model(duplicate):
    source = md.Sequential([md.Dense(3), md.ReLU()], rng=0).build(4)
    layer = duplicate(source.layers[0])
    assert not np.shares_memory(layer.W, source.theta)
    other = md.Sequential([layer, md.Dense(2)], rng=1).build(4)
    assert np.array_equal(other.layers[0].W, source.layers[0].W)
    assert np.shares_memory(other.layers[0].W, other.theta)


def test_values_of_another_shape_are_refused():
    source = md.Sequential([md.Dense(3)], rng=0).build(1)
    layer = copy.deepcopy(source.layers[0])
    assert np.array_equal(layer.W, source.layers[0].W)
    with pytest.raises(ValueError, match=r"W must have shape \(4, 3\); the layer this one is a copy of has \(1, 3\)"):
        md.Sequential([layer]).build(4)


def test_a_property_that_fails_speaks_for_itself():
    class Fails(md.Layer):
        @property
        def scale(self):
            return self.missing_thing

    with pytest.raises(AttributeError, match="missing_thing"):
        _ = Fails().scale


def test_a_layer_inside_a_layer_computes_in_the_models_dtype_and_is_cloned():
    class Outer(md.Layer):
        def __init__(self):
            self.inner = md.Sigmoid()

        def build(self, input_shape):
            return self.child("inner", self.inner, input_shape)

        def forward(self, x):
            return self.inner.forward(x)

        def backward(self, dy):
            return self.inner.backward(dy)

    assert md.check_layer(Outer(), 4) <= 1e-7
    model = md.Sequential([Outer()], dtype="float64").build(3)
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(model.predict(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    assert "h" not in model.layers[0].inner.__dict__


ARRAYS = {md.Dense: ["W", "b"], md.BatchNormalization: ["gamma", "beta", "moving_mean", "moving_variance"]}


@pytest.mark.parametrize("optimizer", [md.SGD(0.1), md.SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("frozen", [[0], [2], [0, 2], [1]])
def test_frozen_layers_stay_as_they_are(optimizer, frozen, digits_like):
    layers = [md.Dense(8), md.BatchNormalization(), md.Dense(5), md.Dense(3)]
    model = md.Sequential(layers, rng=0).build(7).compile(copy.deepcopy(optimizer))
    for index in frozen:
        layers[index].trainable = False
    before = copy.deepcopy(model)
    model.fit(*digits_like, epochs=3, verbose=0)
    for index, (layer, old) in enumerate(zip(model.layers, before.layers, strict=True)):
        same = all(np.array_equal(getattr(layer, name), getattr(old, name)) for name in ARRAYS[type(layer)])
        assert same == (index in frozen)
    if 1 in frozen:
        assert np.array_equal(model.layers[1].moving_mean, before.layers[1].moving_mean)
    thawed = model.layers[frozen[0]]
    thawed.trainable = True
    model.fit(*digits_like, verbose=0)
    name = ARRAYS[type(thawed)][0]
    assert not np.array_equal(getattr(thawed, name), getattr(before.layers[frozen[0]], name))


# ------------------------------------------------------------------ names that are the author's

X, Y = np.random.default_rng(3).normal(size=(12, 4)), np.arange(12) % 3


def roundtrip(thing):
    return pickle.loads(pickle.dumps(thing))


class Attributes(Scale):
    """Sets each name in every way that an author may."""

    names = (
        *("index", "where", "values", "state", "name", "note", "empty", "expand", "dtype", "input_shape"),
        *("output_shape", "count_params", "declarations", "network", "path", "params", "children", "parent"),
    )

    def __init__(self):
        for name in self.names:
            setattr(self, name, 3)

    def build(self, input_shape):
        assert all(getattr(self, name) == 3 for name in self.names)
        for name in self.names:
            setattr(self, name, 5)
        return super().build(input_shape)

    def forward(self, x):
        for name in self.names:
            setattr(self, name, getattr(self, name) + 0)
        return super().forward(x)


class OfTheClass(Scale):
    """The same names as class attributes: values, a method, a property."""

    where, values, name, note, empty, dtype = "here", 5, "scale", "do", None, "int8"
    input_shape, output_shape, network, children = 1, 2, 3, ()

    def index(self):
        return 4

    def state(self):
        return {}

    def expand(self):
        return "mine"

    def count_params(self):
        return -1

    @property
    def declarations(self):
        return self.g


@pytest.mark.parametrize("kind", [Attributes, OfTheClass])
def test_an_authors_attributes_are_the_authors(kind, tmp_path):
    assert md.check_layer(kind(), 4) <= 1e-7
    models = [md.Sequential([make(), md.Residual([make()]), md.Dense(3)], rng=0) for make in (kind, Scale)]
    for model in models:
        model.compile("sgd").fit(X, Y, epochs=2, verbose=0)
    model, plain = models
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz", {kind.__name__: kind})
    assert np.array_equal(model.theta, plain.theta)
    for twin in (model, copy.deepcopy(model), roundtrip(model), loaded):
        assert np.array_equal(twin.predict(X), plain.predict(X))
        layer = twin.layers[0]
        if kind is Attributes:
            assert all(vars(layer)[name] == 5 for name in Attributes.names)
        else:
            assert (layer.index(), layer.state(), layer.expand(), layer.dtype) == (4, {}, "mine", "int8")
            assert np.shares_memory(layer.declarations, twin.theta)
        assert twin.network.children[0]._record.input_shape == (4,)
        assert twin.count_params() == 4 + 4 + 15
        twin.summary()


RESERVED = "build forward backward param buffer child workspace as_numpy get_config from_config draws rowwise caches"


@pytest.mark.parametrize("name", RESERVED.split())
def test_reserved_names_say_so(name):
    for layer in (Scale(), md.Sequential([Scale()]).build(4).layers[0]):
        with pytest.raises(
            AttributeError, match=f"Scale: the attribute '{name}' is reserved by the library; choose another name"
        ):
            setattr(layer, name, 2)


def test_trainable_and_rng_can_be_set():
    layer = Scale()
    layer.trainable, layer.rng = False, np.random.default_rng(0)
    assert not layer.trainable
    assert layer.rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("how", ["param", "buffer", "child"])
@pytest.mark.parametrize(
    "name",
    ["g", "dg", "mean", "f", "units", "kept", "forward", "rowwise", "input_shape", "scale", "_record", "a/b", "0"],
)
def test_names_that_clash(how, name):
    class Clash(md.Layer):
        def __init__(self, units=4):
            self.kept = 3

        @property
        def scale(self):
            return 1

        def build(self, input_shape):
            self.param("g", input_shape)
            self.buffer("mean", input_shape)
            self.child("f", md.Dense(4), input_shape)
            if how == "child":
                self.child(name, md.Dense(4), input_shape)
            else:
                getattr(self, how)(name, input_shape)
            return input_shape

    with pytest.raises(ValueError, match=f"Clash.*, layer 0: .* be called '{name}': '{name}' is taken or invalid"):
        md.Sequential([Clash()]).build(4)


def test_a_gradient_may_not_take_the_name_of_an_array():
    class Clash(md.Layer):
        def build(self, input_shape):
            self.buffer("dg", input_shape)
            self.param("g", input_shape)

    with pytest.raises(ValueError, match="cannot be called 'g': 'dg' is taken"):
        md.Sequential([Clash()]).build(4)


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: md.ReLU(max_vale=6), r"ReLU.*max_value"),
        (lambda: md.Softmax(axis=0), r"Softmax.*axis"),
        (lambda: md.Flatten(7), r"Flatten: too many positional arguments\. It takes no arguments"),
        (lambda: Scale(3), r"Scale: too many positional arguments\. It takes no arguments"),
        (lambda: Scale(gain=3), r"Scale.*gain"),
        (lambda: md.Dense(3, activaton="relu"), r"activaton.*activation"),
        (
            lambda: md.Dense(3, None, True, "zeros", "zeros", *[None] * 5, 1),
            r"It takes: units, activation, use_bias, kernel_init",
        ),
    ],
)
def test_arguments_that_the_constructor_does_not_have(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("where", ["__init__", "forward"])
@pytest.mark.parametrize("what", ["param", "buffer", "child"])
def test_what_is_declared_outside_build_is_refused(where, what):
    def declares(self, x=None):
        getattr(self, what)("h", *([md.Dense(4)] if what == "child" else []), (4,))
        return x

    kind = type("Declares", (Scale,), {where: declares})
    with pytest.raises(RuntimeError, match=r"Declares\(\).*: 'h' is declared outside build"):
        md.Sequential([kind()]).build(4).predict(X)


def test_setting_an_argument_later():
    dropout, x = md.Dropout(0.1), np.ones((2000, 4))
    model = md.Sequential([dropout], rng=0, dtype="float64").build(4)
    model.forward(x, training=True)
    dropout.rate = 0.7
    assert dropout.get_config() == {"rate": 0.7}
    y = model.forward(x, training=True)
    assert abs((y == 0).mean() - 0.7) < 5 * np.sqrt(0.7 * 0.3 / x.size)
    with pytest.raises(ValueError, match=r"rate: expected a finite number at least 0 and below 1, got 1\.7"):
        dropout.rate = 1.7
    dense = md.Dense(3)
    with pytest.raises(ValueError, match="units"):
        dense.units = 0
    assert (dropout.rate, dense.units, dense.get_config()["units"]) == (0.7, 3, 3)


def test_setting_an_argument_of_ones_own_layer():
    class Times(md.Layer):
        def __init__(self, factor, trainable=True):
            if factor < 0:
                raise ValueError("factor: below 0")
            self.factor = float(factor)
            self.trainable = trainable

        def forward(self, x):
            return x * self.factor

        def backward(self, dy):
            return dy * self.factor

    layer = Times(2)
    model = md.Sequential([md.Residual([layer])], dtype="float64").build(4)
    layer.factor = 3
    assert (repr(layer), layer.get_config()["factor"]) == ("Times(3)", 3)
    assert np.array_equal(model.predict(X), X + 3.0 * X)
    with pytest.raises(ValueError, match="below 0"):
        layer.factor = -1
    assert layer.factor == 3
    assert copy.deepcopy(layer).factor == 3
    layer.trainable = False
    assert (layer.trainable, layer.get_config()["trainable"]) == (False, False)


def test_a_composite_with_an_argument_trainable_freezes_its_children():
    class Block(md.Layer):
        def __init__(self, trainable=True):
            self.trainable = trainable

        def build(self, input_shape):
            return self.child("f", md.Dense(4), input_shape)

    block = Block()
    md.Sequential([block]).build(4)
    block.trainable = False
    assert not block.f.trainable


# ------------------------------------------------------------------ classes of all kinds


def trained(*layers):
    model = md.Sequential([*layers, md.Dense(3)], rng=0).compile("sgd")
    model.fit(X, Y, epochs=2, verbose=0)
    return model


@dataclass
class Power(Scale):
    exponent: float = 2.0
    tags: list = field(default_factory=list)
    seen: object = field(init=False)

    def forward(self, x):
        self.seen = 1
        return super().forward(x) * self.exponent

    def backward(self, dy):
        return super().backward(dy * self.exponent)


def test_a_dataclass_is_a_layer():
    assert md.check_layer(Power(), 4) <= 1e-7
    model = trained(Power(), Power(), md.Residual([Power(3.0)]))
    first, second = model.layers[:2]
    assert first.get_config() == {"exponent": 2.0}
    assert first.tags is not second.tags
    for twin in (copy.deepcopy(model), roundtrip(model)):
        assert np.array_equal(twin.predict(X), model.predict(X))
    model.add(Power())
    with pytest.raises(AttributeError, match=r"Power\(\.\.\.\) has no attribute 'missing'"):
        _ = Power().missing  # the repr wants self.seen, which is missing, too


class Odd(Scale):
    """Has special methods that could confuse the library's code."""

    def __eq__(self, other):
        return np.array([True, False])

    __hash__ = None

    def __bool__(self):
        raise RuntimeError("neither true nor false")

    def __len__(self):
        return 0

    def __iter__(self):
        return iter(())

    def __setattr__(self, name, value):
        super().__setattr__(name, value)

    reprs = 0

    def __repr__(self):
        Odd.reprs += 1
        return f"Odd({self.nothing})"


def test_a_layer_with_special_methods_of_its_own():
    assert md.check_layer(Odd(), 4) <= 1e-7
    model = trained(Odd(), md.Residual(Odd()))
    assert np.array_equal(copy.deepcopy(model).predict(X), model.predict(X))
    model.add(Odd()).add(md.Sequential([Odd()]))
    Odd.reprs = 0
    with pytest.raises(AttributeError, match=r"Odd\(\.\.\.\), layer 0 has no attribute 'missing'"):
        _ = model.layers[0].missing
    assert Odd.reprs == 1  # and not once more for the error in it, and so on


class Delegates(md.Layer):
    """Reads missing attributes from its child, which has gradients of the same names."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name.startswith("_") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        return self.child("inner", self.inner, input_shape)

    def forward(self, x, training):
        self.x = x
        return self.inner.forward(x * self.g, training)

    def backward(self, dy):
        dx = self.inner.backward(dy)
        self.dg += (dx * self.x).sum(axis=0)
        return dx * self.g


def test_a_getattr_of_ones_own_is_not_asked_for_gradients():
    assert md.check_layer(Delegates(Scale()), 4) <= 1e-7
    copy.deepcopy(trained(Delegates(Scale()))).fit(X, Y, verbose=0)


def test_generic_and_abstract_bases():
    T = TypeVar("T")

    class Base(md.Layer, ABC, Generic[T]):
        @abstractmethod
        def f(self, x): ...

        def forward(self, x):
            return self.f(x)

        def backward(self, dy):
            return dy

    class Same(Base[int]):
        def f(self, x):
            return x

    with pytest.raises(TypeError, match="abstract"):
        Base()
    assert md.check_layer(Same(), 3) <= 1e-7
    trained(Same())


def test_slots_and_a_string_of_caches_are_refused():
    with pytest.raises(TypeError, match="Slotted: __slots__ would not be copied or saved"):
        type("Slotted", (Scale,), {"__slots__": ("k",)})
    with pytest.raises(TypeError, match="Slotted: __slots__"):
        type("Slotted", (type("Mixin", (), {"__slots__": ("k",)}), Scale), {})
    type("Unslotted", (type("Mixin", (), {"__slots__": ()}), Scale), {})
    with pytest.raises(TypeError, match=r"Cached: caches: expected a tuple of names, such as \('x',\), got 'x'"):
        type("Cached", (Scale,), {"caches": "x"})


def test_only_the_librarys_own_classes_are_called_without_the_guard():
    concrete = {cls for cls in vars(minidense.layers).values() if isinstance(cls, type) and issubclass(cls, md.Layer)}
    abstract = {md.Layer, md.Elementwise}
    for cls in concrete:
        assert cls._of_library == (cls not in abstract), cls
        assert not type(cls.__name__, (cls,), {"__module__": cls.__module__})._of_library
    assert not type("Dense", (md.Dense,), {"__module__": "minidense.layers.dense"})._of_library
    assert LIBRARY["Dense"] is md.Dense


def test_a_forward_of_its_own_inherits_no_claims():
    same = {"forward": lambda self, x: x}

    def claims(cls):
        return cls.rowwise is True, cls.as_numpy is not md.Layer.as_numpy

    assert claims(type("A", (md.Dense,), {})) == (True, True)
    assert claims(type("A", (md.Dense,), {"__init__": md.Dense.__init__, "build": md.Dense.build})) == (True, True)
    assert claims(type("A", (md.Dense,), same)) == (False, False)
    assert claims(type("A", (type("B", (md.Dense,), same),), {})) == (False, False)
    assert claims(type("A", (type("Mixin", (), same), md.ReLU), {})) == (False, False)
    assert claims(type("A", (md.Dense,), {**same, "rowwise": True})) == (True, False)
    assert claims(type("A", (md.Residual,), same)) == (False, False)
    assert claims(type("A", (md.Elementwise,), same)) == (False, False)


# ------------------------------------------------------------------ copies


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, roundtrip])
def test_copies_of_composites_share_nothing(duplicate):
    source = md.Sequential([md.Residual([md.Dense(4, "relu"), md.Dropout(0.5)])], rng=0).build(4)
    block = duplicate(source.layers[0])
    other = md.Sequential([md.Dense(4), block], rng=1).build(4)
    assert not np.shares_memory(other.theta, source.theta)
    assert np.array_equal(block.f.children[0].W, source.layers[0].f.children[0].W)
    assert source.layers[0].f.children[0].W.base is not None
    x = np.ones((3, 4))
    assert not np.array_equal(
        block.f.children[2].forward(x, training=True), source.layers[0].f.children[2].forward(x, training=True)
    )


def test_the_layers_of_a_copy_have_their_place_in_it():
    model = md.Sequential([md.Dense(4), md.Residual([md.Dense(4)])])
    for twin in (copy.deepcopy(model), roundtrip(model), copy.deepcopy(model.build(4))):
        for layer in (twin.layers[0], *([twin.layers[1].f] if twin.built else [])):
            with pytest.raises(ValueError, match="part of another model"):
                md.Sequential([layer])


class ByLambda(Scale):
    def build(self, input_shape):
        self.param("g", input_shape, lambda rng, shape: rng.normal(size=shape))
        self.buffer("mean", input_shape, lambda rng, shape: np.ones(shape))
        return input_shape


def test_a_layer_with_a_lambda_as_initializer_is_pickled():
    model = md.Sequential([ByLambda()], rng=0).build(4)
    assert np.array_equal(roundtrip(model).predict(X), model.predict(X))
    layer = roundtrip(model.layers[0])
    assert np.array_equal(md.Sequential([layer], rng=5).build(4).theta, model.theta)


# ------------------------------------------------------------------ clones for predict


class CachesEverywhere(Scale):
    def __init__(self):
        self.list, self.dict, self.nested = [], {}, ({"a": []},)

    def forward(self, x):
        self.list.append(x)
        self.dict["x"] = x
        self.nested[0]["a"].append(x)
        y = super().forward(self.list[-1] + self.dict["x"] + self.nested[0]["a"][-1])
        self.list.pop()
        self.nested[0]["a"].pop()
        return y


class WritesIntoItsOwn(Scale):
    def __init__(self):
        self.y = np.zeros((64, 4), "float32")

    def forward(self, x):
        self.x = x
        np.multiply(x, self.g, out=self.y[: len(x)])
        return self.y[: len(x)]


class Looks(md.Layer):
    """Computes with another layer, which caches, and refers to it in several ways."""

    def __init__(self, other):
        self.other = other
        self.others = (other, {"deep": [other]})

    def forward(self, x):
        return self.other.forward(x) + self.others[0].forward(x) + self.others[1]["deep"][0].forward(x)


def snapshot(model):
    return {
        (layer._record.path, name): pickle.dumps(value)
        for layer in walk(model.network)
        for name, value in vars(layer).items()
        if name not in ("_record", "forward", "backward") and not name.startswith("_")
    }


@pytest.mark.parametrize("kind", [Scale, CachesEverywhere, WritesIntoItsOwn, Looks])
def test_predict_changes_nothing_and_can_run_in_many_threads(kind):
    scale = Scale()
    layers = [scale, kind(scale)] if kind is Looks else [kind(), md.Residual([kind()])]
    model = md.Sequential(layers, rng=0).build(4)
    model.theta = np.arange(1.0, 1 + len(model.theta))
    before = snapshot(model)
    batches = [np.full((n, 4), float(n)) for n in range(1, 65)]
    expected = [model.predict(x) for x in batches]
    factors = model.theta.reshape(-1, 4)
    for x, y in zip(batches, expected, strict=True):
        np.testing.assert_allclose(y, by_formula(kind, x, factors), rtol=1e-6)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(model.predict, batches))
            assert all(map(np.array_equal, found, expected))
    assert snapshot(model) == before


def by_formula(kind, x, factors):
    if kind is Looks:
        return 3 * x * factors[0] ** 2
    times = 3 if kind is CachesEverywhere else 1
    h = times * x * factors[0]
    return h + times * h * factors[1]


def test_predict_cannot_change_a_buffer_or_a_parameter():
    class Moves(md.Layer):
        def __init__(self, how):
            self.how = how

        def build(self, input_shape):
            self.buffer("mean", input_shape)
            return input_shape

        def forward(self, x):
            if self.how == "add":
                self.mean += 1
            elif self.how == "set":
                self.mean = self.mean + 1
            else:
                self.mean[...] = 1
            return x

    for how in ("add", "set", "items"):
        model = md.Sequential([Moves(how)]).build(4)
        with pytest.raises(ValueError, match="read-only") as caught:
            model.predict(X)
        assert caught.value.__notes__[0].startswith(f"in forward of Moves('{how}'), layer 0")
        assert "outside training" in caught.value.__notes__[1]
        assert not model.layers[0].mean.any()


def test_a_layer_may_refer_to_the_model_around_it():
    layer = Scale()
    model = md.Sequential([md.Residual([layer]), md.Dense(3)], rng=0).compile("adam").build(4)
    layer.model, layer.around = model, model.network
    theta = model.theta
    for _ in range(2):
        model.fit(X, Y, verbose=0)
        model.predict(X)
        assert model.theta is theta
        assert np.shares_memory(layer.g, theta)
    twin = copy.deepcopy(model)
    assert twin.layers[0].f.children[0].model is twin
    assert np.array_equal(twin.predict(X), model.predict(X))


def test_a_generator_of_ones_own_is_kept_and_a_copy_draws_anew():
    class Noise(md.Layer):
        draws = True

        def __init__(self, seed=None):
            if seed is not None:
                self.rng = np.random.default_rng(seed)

        def forward(self, x, training):
            return x + self.rng.normal(size=x.shape)

    own = Noise(5)
    model = md.Sequential([own, Noise()], rng=0).build(4)
    twins = [copy.deepcopy(own), copy.deepcopy(model.layers[1])]
    assert own.rng.random() == np.random.default_rng(5).random()
    md.Sequential(twins, rng=1).build(4)
    assert len({layer.rng.random() for layer in [*model.layers, *twins]}) == 4


def test_what_cannot_be_copied_is_shared_by_clones():
    class Locked(Scale):
        def __init__(self):
            self.lock = threading.Lock()
            self.numpy = np

        def forward(self, x):
            with self.lock:
                return self.numpy.add(super().forward(x), 0)

    model = md.Sequential([Locked()]).build(4)
    assert np.array_equal(model.predict(X), X.astype("float32"))
