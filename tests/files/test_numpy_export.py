"""The exported file predicts what the model does, to the bit, where there is no minidense."""

import ast
import runpy
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from frames import Frame

import minidense as md
from minidense.core.configurable import LIBRARY
from minidense.layers.base import walk

random = np.random.default_rng(0)


def exported(model, path):
    model.export_numpy(path)
    return runpy.run_path(str(path))["predict"]


def randomized(layers, input_shape=6, dtype="float32", name=None):
    """A built model, none of whose parameters and buffers has a value that some initializer gives."""
    model = md.Sequential(layers, rng=0, dtype=dtype, name=name).build(input_shape)
    model.theta[:] = random.normal(size=model.theta.size)
    model.network.buffers[:] = random.uniform(0.5, 2, model.network.buffers.size)
    return model


def assert_same_bits(predict, model, x):
    found, expected = predict(x), model.predict(x)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


# ---------------------------------------------------------------------- the library's layers

LAYERS = {
    "dense": lambda: [md.Dense(7), md.Dense(5, use_bias=False)],
    "relu": lambda: [md.Dense(7, activation="relu")],
    "sigmoid": lambda: [md.Dense(7), md.Sigmoid()],
    "tanh": lambda: [md.Dense(7), md.Tanh()],
    "leaky": lambda: [md.Dense(7), md.LeakyReLU(0.2)],
    "elu": lambda: [md.Dense(7), md.ELU(0.7)],
    "gelu": lambda: [md.Dense(7), md.GELU()],
    "gelu, tanh": lambda: [md.Dense(7), md.GELU(approximate=True)],
    "silu": lambda: [md.Dense(7), md.SiLU()],
    "softplus": lambda: [md.Dense(7), md.Softplus()],
    "softmax": lambda: [md.Dense(7), md.Softmax()],
    "dropout": lambda: [md.Dense(7), md.Dropout(0.4)],
    "batch": lambda: [md.Dense(7), md.BatchNormalization(epsilon=0.01), md.Dense(3)],
    "layer": lambda: [md.Dense(7), md.LayerNormalization(epsilon=0.01), md.Dense(3)],
    "residual": lambda: [md.Residual([md.Dense(4, "tanh"), md.Dense(6)]), md.ReLU()],
    "residual of one": lambda: [md.Residual(md.Tanh())],
    "branches": lambda: [md.Concatenate([md.Dense(3), [md.Dense(2), md.Sigmoid()], md.Dropout(0.1)])],
    "nested": lambda: [md.Residual([md.Concatenate([md.Residual(md.Dense(6)), md.Dense(1)]), md.Dense(6)])],
    "relu6": lambda: [md.Dense(7), md.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2)],
    "linear": lambda: [md.Dense(7), md.Linear()],
    "selu": lambda: [md.Dense(7), md.SELU()],
    "softsign": lambda: [md.Dense(7), md.Softsign()],
    "exponential": lambda: [md.Dense(7), md.Exponential()],
    "hard sigmoid": lambda: [md.Dense(7), md.HardSigmoid()],
    "mish": lambda: [md.Dense(7), md.Mish()],
    "prelu": lambda: [md.Dense(7), md.PReLU(0.1)],
    "log softmax": lambda: [md.Dense(7), md.LogSoftmax()],
    "noise": lambda: [md.Dense(7), md.GaussianNoise(0.4)],
    "rms": lambda: [md.Dense(7), md.RMSNormalization()],
    "fixed": lambda: [md.Normalization(mean=[0.5], variance=[4.0]), md.Dense(2)],
    "shapes": lambda: [md.Rescaling(0.3, -1), md.Reshape((3, -1)), md.Reshape([6]), md.Dense(2)],
    "packed": lambda: [md.Scale(3), md.PackedDense(5, 3), md.ReLU(), md.PackedDense(4, 3), md.MembersMean(3)],
    "packed, narrow": lambda: [
        md.PackedDense(1, 6, use_bias=False),
        md.PackedDense(2, 3),
        md.MembersMean(2, "sigmoid"),
    ],
    "packed, of one feature": lambda: [md.PackedDense(2, 6, use_bias=False)],
    "members": lambda: [md.Scale(), md.PackedDense(1, 1), md.MembersMean(1, "linear")],
    "model in model": lambda: [md.Sequential([md.Dense(3), md.Sequential([md.Tanh()])]), md.Dense(2)],
}


def test_every_layer_of_the_library_is_here():
    tried = {type(layer) for make in LAYERS.values() for layer in walk(randomized(make()).network)}
    layers = {kind for kind in LIBRARY.values() if issubclass(kind, md.Layer)}
    assert layers - tried == {
        md.Flatten,
        md.Embedding,
        md.CategoryEncoding,
        md.EmbedColumns,
        md.Activation,
        md.Input,
    }  # tested below, or replaced


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count", "embedding", "columns"])
def test_layers_of_categories(mode, tmp_path):
    others = {"embedding": lambda: md.Embedding(5, 3), "columns": lambda: md.EmbedColumns({2: 7, 1: 5}, 3, members=2)}
    first = others[mode]() if mode in others else md.CategoryEncoding(5, mode)
    model = randomized([first, md.Flatten(), md.Dense(2)], (4,))
    predict = exported(model, tmp_path / "model.py")
    assert_same_bits(predict, model, random.integers(0, 5, (9, 4)).astype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", LAYERS)
def test_each_layer_to_the_bit(layers, dtype, tmp_path):
    model = randomized(LAYERS[layers](), dtype=dtype)
    before = model.theta.tobytes() + model.network.buffers.tobytes()
    predict = exported(model, tmp_path / "model.py")
    x = 3 * random.normal(size=(1025, 6))  # more than one batch of predict
    x[::5, ::2] = 0
    for n in (1, 2, 3, 9, 1024, 1025):
        assert_same_bits(predict, model, x[:n])
    assert model.theta.tobytes() + model.network.buffers.tobytes() == before


def test_a_network_for_images_in_a_process_without_minidense(tmp_path):
    layers = [md.Flatten(), md.Dense(9), md.GELU(), md.Residual([md.Dense(9), md.Sigmoid()]), md.Dense(4), md.Softmax()]
    model = randomized(layers, (3, 3), name="digits")
    x = random.normal(size=(20, 3, 3)).astype("float32")
    model.export_numpy(tmp_path / "model.py")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys; sys.path.insert(0, '.'); sys.modules['minidense'] = None; import numpy as np, model; "
        "np.save('y.npy', model.predict(np.load('x.npy'))); print(model.__doc__)"
    )
    command = [sys.executable, "-I", "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "digits, written by minidense" in ran.stdout
    assert np.load(tmp_path / "y.npy").tobytes() == model.predict(x).tobytes()
    nodes = list(ast.walk(ast.parse((tmp_path / "model.py").read_text())))
    assert not any(isinstance(node, ast.ImportFrom) for node in nodes)
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    standard = {"base64", "collections.abc", "contextlib", "ctypes", "functools", "importlib", "math", "threading"}
    assert imported == {"numpy", *standard}


# ---------------------------------------------------------------------- what predict is given

ROWS = 10 * random.normal(size=(1025, 40))
INPUTS = {
    "float64": ROWS,
    "float32": ROWS.astype("float32"),
    "float16": ROWS.astype("float16"),
    "long double": ROWS.astype("longdouble"),
    "big-endian": ROWS.astype(">f4"),
    "int8": ROWS.astype("int8"),
    "uint64": abs(ROWS).astype("uint64"),
    "bool": ROWS > 0,
    "column by column": np.asfortranarray(ROWS.astype("float32")),
    "every second column": random.normal(size=(1025, 80)).astype("float32")[:, ::2],
    "backwards": ROWS.astype("float32")[::-1, ::-1],
    "one row again and again": np.broadcast_to(ROWS[0], (1025, 40)),
    "unaligned": np.frombuffer(b"?" + ROWS.astype("float32").tobytes(), "u1")[1:].view("float32").reshape(1025, 40),
    "lists": [8 * [np.float32(0.1), 1, np.int8(3), True, np.float64(0.1)]] * 3,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [*INPUTS, "memmap"])
def test_whatever_the_input_is(kind, dtype, tmp_path):
    model = randomized([md.LayerNormalization(), md.Dense(4), md.Softmax()], 40, dtype)
    predict = exported(model, tmp_path / "model.py")
    if kind == "memmap":
        np.save(tmp_path / "x.npy", INPUTS["column by column"])
        assert_same_bits(predict, model, np.load(tmp_path / "x.npy", mmap_mode="r"))
    else:
        assert_same_bits(predict, model, INPUTS[kind])


def test_the_input_stays_as_it_is(tmp_path):
    x = np.ones((2, 6), "float32")
    y = exported(randomized([md.Dropout(0.5), md.Residual(md.ReLU())]), tmp_path / "model.py")(x)
    y[:] = 7
    np.testing.assert_array_equal(x, 1)


def test_errors_of_predict(tmp_path):
    predict = exported(randomized([md.Dense(2)], 3), tmp_path / "model.py")
    for wrong in (np.zeros(3), np.zeros((2, 4)), np.zeros((0, 3)), np.zeros((1, 3, 1)), 1.0):
        with pytest.raises(ValueError, match=r"x: expected shape \(n, 3\), got \("):
            predict(wrong)
    for wrong in (np.zeros((1, 3), complex), [["1", "2", "3"]], np.zeros((1, 3), object)):
        with pytest.raises(TypeError, match="x: expected real numbers, got dtype"):
            predict(wrong)


# ---------------------------------------------------------------------- names


def named(last, loss, classes, features=None):
    """A model trained on names, or on numbers if ``classes`` is one."""
    rows = random.normal(size=(30, 2)).astype("float32")
    x = Frame({name: rows[:, i] for i, name in enumerate(features)}) if features else rows
    y = np.arange(30) % classes if isinstance(classes, int) else np.array(classes)[np.arange(30) % len(classes)]
    model = md.Sequential(last, rng=0).compile(md.Adam(0.1), loss)
    model.fit(x, y, epochs=9, verbose=0)
    return model, rows


CLASSIFIERS = {
    "softmax": lambda classes: ([md.Dense(3), md.Softmax()], "softmax_crossentropy", classes),
    "scores": lambda classes: ([md.Dense(3)], "softmax_crossentropy", classes),
    "sigmoid": lambda classes: ([md.Dense(1), md.Sigmoid()], "binary_crossentropy", classes),
    "a score": lambda classes: ([md.Dense(1)], "binary_crossentropy", classes),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("names", [True, False])
def test_predict_classes_of_the_file_is_the_models(kind, names, tmp_path):
    k = 3 if kind.startswith(("softmax", "scores")) else 2
    classes = ["owl", "\u00e4\n'\"\\", "cat"][:k] if names else k
    model, x = named(*CLASSIFIERS[kind](classes))
    model.export_numpy(tmp_path / "model.py")
    file = runpy.run_path(str(tmp_path / "model.py"))
    assert file["CLASS_NAMES"] == (sorted(classes) if names else None)
    found, expected = file["predict_classes"](x), model.predict_classes(x)
    assert found.tolist() == expected.tolist()
    assert found.dtype.kind == expected.dtype.kind == ("U" if names else "i")
    assert len(set(found.tolist())) > 1


def test_independent_labels_and_numbers_that_are_no_classes(tmp_path):
    x = random.normal(size=(30, 2))
    several = md.Sequential([md.Dense(3)], rng=0).compile(loss="binary_crossentropy").build(2)
    several.export_numpy(tmp_path / "several.py")
    found = runpy.run_path(str(tmp_path / "several.py"))["predict_classes"](x)
    assert np.array_equal(found, several.predict(x) > 0)
    for model in (md.Sequential([md.Dense(3)], rng=0), md.Sequential([md.Dense(3)], rng=0).compile(loss="mse")):
        model.build(2).export_numpy(tmp_path / "numbers.py")
        file = runpy.run_path(str(tmp_path / "numbers.py"))
        assert "predict_classes" not in file
        assert file["CLASS_NAMES"] is file["FEATURES"] is None


def test_the_file_compares_the_columns_of_frames(tmp_path):
    features = ["age", "\u00e4'\\"]
    model, x = named([md.Dense(2)], "softmax_crossentropy", 2, features)
    model.export_numpy(tmp_path / "model.py")
    file = runpy.run_path(str(tmp_path / "model.py"))
    assert file["FEATURES"] == features
    frame = Frame({name: x[:, i] for i, name in enumerate(features)})
    for predict in (file["predict"], file["predict_classes"]):
        assert predict(frame).tobytes() == predict(x).tobytes()
        with pytest.raises(ValueError, match=r"x: expected the columns \['age', .*use x\[FEATURES\]"):
            predict(frame[features[::-1]])
        assert predict(frame[features[::-1]][file["FEATURES"]]).tobytes() == predict(x).tobytes()


# ---------------------------------------------------------------------- layers of one's own


WIDE = 10 * random.normal(size=(1025, 6))


class Own(md.Layer):
    """Has a parameter of any name; computes with the last argument what the text says."""

    def __init__(self, name, text, function):
        self.name, self.text, self.function = name, text, function

    def build(self, input_shape):
        self.param(self.name, input_shape, "ones")
        return input_shape

    def forward(self, x):
        return self.function(x, getattr(self, self.name))

    def backward(self, dy):
        return dy

    def as_numpy(self):
        return self.text


def gain(name):
    return Own(name, f"x = x * {name}", lambda x, g: x * g)


TAKEN = [
    "mean",
    "softmax",
    "sigmoid",
    "_ONE",
    "math",
    "len",
    "abs",
    "range",
    "base64",
    "functools",
    "_array",
    "predict",
]


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_means_what_the_layer_has(name, tmp_path):
    layers = [gain(name), md.Dense(6), md.GELU(), md.Residual(gain(name)), md.Sigmoid(), md.Softmax()]
    model = randomized(layers)
    assert_same_bits(exported(model, tmp_path / "model.py"), model, WIDE)


def test_the_library_s_functions_still_mean_their_own(tmp_path):
    """softmax calls softmax_of and shifted, whatever the layer that calls softmax has under these names."""
    layers = [
        Own("shifted", "x = softmax(x * shifted)", lambda x, g: md.Softmax().forward(x * g)),
        Own("softmax_of", "x = softmax(x) * softmax_of", lambda x, g: md.Softmax().forward(x) * g),
    ]
    model = randomized(layers)
    assert_same_bits(exported(model, tmp_path / "model.py"), model, WIDE)


@pytest.mark.parametrize("name", ["x", "np", "ARRAYS", "layers_0", "layers"])
def test_or_it_is_an_error(name, tmp_path):
    with pytest.raises(TypeError, match=rf"layer 0: in an exported file '{name}' means something else; give"):
        randomized([gain(name)]).export_numpy(tmp_path / "model.py")
    assert list(tmp_path.iterdir()) == []


def column_sums_of_squares(x, g):
    return x / (np.ones(len(x), x.dtype).dot(x * x) + 1) * g


TEXTS = {
    "a comprehension": ("x = np.stack([x[:, i] * g[i] for i in range(len(g))], axis=1)", lambda x, g: x * g),
    "only in a lambda": ("f = lambda z: z * g\nx = f(x)", lambda x, g: x * g),
    "a lambda's own g": ("x = (lambda g: g * 2)(x)", lambda x, g: x * 2),
    "a comprehension's own g": ("x = sum([g * x for g in (1, 2)])", lambda x, g: x + 2 * x),
    "set anew": ("g = g * 2\nx = x * g", lambda x, g: x * (g * 2)),
    "variables": ("y = x * g\nlen = y + 1\nx = len", lambda x, g: x * g + 1),
    "indented": ("\n        if len(g):\n            x = x * g\n        x = x + 1\n        ", lambda x, g: x * g + 1),
    "comments": ("# nothing but\nx = x * g  # that", lambda x, g: x * g),
    "an early return": ("return x * g", lambda x, g: x * g),
    "nothing": ("", lambda x, g: x),
    "not a number": ("x = x * np.nan", lambda x, g: x * np.float32(np.nan)),
    "a constant of a function": ("x = x / (column_sums(x * x) + 1) * g", column_sums_of_squares),
    "NaN of another sign": ("x = np.full_like(x, np.nan)", lambda x, g: np.full_like(x, -np.nan)),
    "math": ("x = x * math.sqrt(2)", lambda x, g: x * 2**0.5),
    "another dtype": ("x = x.astype(float) * g", lambda x, g: x.astype(float) * g),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("inside", [lambda layer: layer, md.Residual, lambda layer: md.Concatenate([[layer]])])
def test_what_the_lines_may_be(text, inside, tmp_path):
    model = randomized([inside(Own("g", *TEXTS[text])), md.ReLU()])
    predict = exported(model, tmp_path / "model.py")
    if text == "NaN of another sign":
        assert np.isnan(predict(WIDE)).any()
    else:
        assert_same_bits(predict, model, WIDE[:9])


def test_a_shared_parameter_is_written_once(tmp_path):
    class Tied(md.Layer):
        def __init__(self, owner):
            self.owner = owner

        def build(self, input_shape):
            self.param("V", shared=(self.owner, "W"))
            return (self.owner.input_shape[0],)

        def forward(self, x):
            return x.dot(self.V.T)

        def backward(self, dy):
            return dy.dot(self.V)

        def as_numpy(self):
            return "x = x.dot(V.T)"

    encoder = md.Dense(50, use_bias=False)
    model = randomized([encoder, Tied(encoder)])
    assert_same_bits(exported(model, tmp_path / "model.py"), model, WIDE)
    assert (tmp_path / "model.py").read_text().count(": _array(") == 1


@pytest.mark.parametrize("units", [100, 1000])
def test_the_file_grows_with_the_parameters_only(units, tmp_path):
    model = randomized([md.Dense(units), md.Dense(units)])
    model.export_numpy(tmp_path / "model.py")
    text = (tmp_path / "model.py").read_text()
    base64 = model.theta.nbytes * 4 / 3
    assert len(text) < base64 * 77 / 76 + 4500  # an end for each line of 76
    assert max(map(len, text.splitlines())) <= 120


def test_a_dataclass(tmp_path):
    """They compare by value, so that two of them are equal and neither has a hash."""

    @dataclass
    class Shift(md.Layer):
        by: float

        def forward(self, x):
            return x + self.by

        def backward(self, dy):
            return dy

        def as_numpy(self):
            return "x = x + by"

    model = randomized([Shift(0.1), Shift(0.1)])
    assert_same_bits(exported(model, tmp_path / "model.py"), model, WIDE)


def test_two_names_that_look_alike(tmp_path):
    class Two(md.Layer):
        def build(self, input_shape):
            self.child("f", md.Sequential([gain("g")]), input_shape)
            return self.child("f_0", gain("g"), input_shape)

        def forward(self, x):
            return self.f.forward(x) - self.f_0.forward(x)

        def as_numpy(self):
            return "x = f(x) - f_0(x)"

    model = randomized([Two()])
    assert_same_bits(exported(model, tmp_path / "model.py"), model, WIDE)


def refused(model, tmp_path, match):
    """Exporting it is a TypeError, and the file that was there is as it was."""
    (tmp_path / "model.py").write_text("before")
    with pytest.raises(TypeError, match=match):
        model.export_numpy(tmp_path / "model.py")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_layer_that_does_not_say_what_it_computes(tmp_path):
    class Silent(md.Layer):
        def forward(self, x):
            return x

    class Twice(md.Dense):
        def forward(self, x):
            return 2 * super().forward(x)

    class Backwards(type(md.Residual([md.ReLU(), md.ReLU()]).f)):
        def forward(self, x, training=False):
            return super().forward(-x, training)

    say = r"layer 0 cannot be exported: define its method as_numpy"
    refused(randomized([Silent()]), tmp_path, r"Silent\(\), " + say)
    refused(randomized([Twice(3)]), tmp_path, r"Twice\(3\), " + say)
    refused(randomized([Backwards([md.Dense(3), md.Tanh()])]), tmp_path, "Backwards.*" + say)


CONTRADICTIONS = {
    "another number": ("x = x * (g + 1)", lambda x, g: x * g, "gives other numbers than its forward"),
    "the last bit": ("x = np.nextafter(x, np.float32(9))", lambda x, g: x, "gives other numbers than its forward"),
    "the sign of zero": ("x = x * 0", lambda x, g: x * 0 + 0, "gives other numbers than its forward"),
    "another shape": ("x = x.sum(axis=1)", lambda x, g: x, r"gives float32 \(3,\), and its forward float32 \(3, 6\)"),
    "an error": ("x = x.no", lambda x, g: x, "gives AttributeError: .*'no', and its forward float32"),
    "an error of forward": ("x = x * g", lambda x, g: x[:, 6], r"gives float32 \(3, 6\), and its forward IndexError: "),
    "another error": ("x = x.no", lambda x, g: x[:, 6], "gives AttributeError: .*, and its forward IndexError: "),
    "in place": ("x *= g", lambda x, g: x * g, "gives ValueError: .* read-only, and its forward float32.*leave the x"),
    "a parameter changed": ("g *= 2", lambda x, g: x, "gives ValueError: .* read-only"),
    "no layers' way": ("yield x", lambda x, g: x, r"gives object \(\), and its forward float32 \(3, 6\)"),
}


@pytest.mark.parametrize("which", CONTRADICTIONS)
def test_lines_that_contradict_forward(which, tmp_path):
    text, function, difference = CONTRADICTIONS[which]
    refused(
        randomized([md.Dense(6), Own("g", text, function)]), tmp_path, rf"^as_numpy of Own\(.*, layer 1, {difference}"
    )


def test_the_innermost_and_first_one_is_named(tmp_path):
    def wrong(number):
        return Own("g", f"x = x + {number}", lambda x, g: x)

    layers = [gain("g"), md.Residual([md.Tanh(), md.Residual([gain("g"), wrong(1), wrong(2)])]), wrong(3)]
    refused(randomized(layers), tmp_path, "as_numpy of Own.* layer 1/f/1/f/1, gives other numbers")
    logarithm = Own("g", "x = np.log(x)", lambda x, g: np.log(x))  # not a number for some of the rows, and no error
    refused(randomized([logarithm, wrong(1)]), tmp_path, "as_numpy of Own.* layer 1, gives other numbers")


def test_an_own_text_of_the_library_s_class_is_compared_too(tmp_path):
    class Wrong(md.Dense):
        def forward(self, x):
            return 2 * super().forward(x)

        def as_numpy(self):
            return super().as_numpy()

    class Right(Wrong):
        def as_numpy(self):
            return super().as_numpy() + "\nx = 2 * x"

    refused(randomized([Wrong(3)]), tmp_path, r"as_numpy of Wrong\(3\), layer 0, gives other numbers than its forward")
    model = randomized([Right(3)])
    assert_same_bits(exported(model, tmp_path / "model.py"), model, WIDE)


def test_where_both_raise_the_same_they_agree(tmp_path):
    def positive(x, g):
        if (x < 0).any():
            raise ValueError("expected numbers above 0")
        return np.sqrt(x) * g

    text = "if (x < 0).any():\n    raise ValueError('expected numbers above 0')\nx = np.sqrt(x) * g"
    model = randomized([Own("g", text, positive), md.Softmax()])
    predict = exported(model, tmp_path / "model.py")
    assert_same_bits(predict, model, abs(WIDE))
    with pytest.raises(ValueError, match="above 0"):
        predict(WIDE)


@pytest.mark.parametrize("name", ["self", "gg", "dg", "training", "scipy", "os", "layers_1", "predict", "functools"])
def test_names_that_the_layer_does_not_have(name, tmp_path):
    model = randomized([Own("g", f"x = x * {name}", lambda x, g: x * g), md.ReLU()])
    if name == "dg":  # it has that: its gradient, which is no part of what it computes
        model.layers[0].dg = np.full(6, 3)
        refused(model, tmp_path, "layer 0, gives other numbers")
    else:
        refused(
            model, tmp_path, f"layer 0: as_numpy names '{name}', which the layer does not have; nor is it a function"
        )


@pytest.mark.parametrize("text", ["x = = g", "x = (x", "break", "global g; g = 1", "x = x\n  y = 1"])
def test_lines_that_are_no_python(text, tmp_path):
    refused(randomized([Own("g", text, lambda x, g: x)]), tmp_path, "layer 0: as_numpy gives lines that are no Python")


def test_a_return_that_was_forgotten(tmp_path):
    layer = Own("g", None, lambda x, g: x)
    refused(randomized([layer]), tmp_path, "layer 0: as_numpy must return lines of NumPy as text, got None")


def test_before_it_is_built(tmp_path):
    with pytest.raises(RuntimeError, match="not built"):
        md.Sequential([md.Dense(2)]).export_numpy(tmp_path / "model.py")


# ---------------------------------------------------------------------- what a layer holds


class Held(md.Layer):
    """Multiplies with something that it holds."""

    top = 0.5

    def __init__(self, k):
        self.k = k

    @property
    def twice(self):
        return 2 * self.k

    def forward(self, x):
        return x * self.k + self.top

    def backward(self, dy):
        return dy

    def as_numpy(self):
        return "x = x * k + top"


class Doubled(Held):
    def forward(self, x):
        return x * self.twice

    def as_numpy(self):
        return "x = x * twice"


class Named(Held):
    """Holds what it has no parameters for, under names of the library's functions and of Python's."""

    softplus, max = 3.0, np.arange(3.0)

    def forward(self, x):
        return (x * self.softplus + self.max)[self.k][0]

    def as_numpy(self):
        return "x = (x * softplus + max)[k][0]"


class Product(Held):
    def build(self, input_shape):
        return self.k.shape[1:]

    def forward(self, x):
        return x.dot(self.k)

    def as_numpy(self):
        return "x = x.dot(k)"


NUMBERS = [1.5, 0.1, 3, True, np.float64(1.1), np.float32(1.1), np.float16(0.1), np.int8(2), np.bool_(True)]
NUMBERS += [
    float("inf"),
    float("nan"),
    -1e10,
    np.float64("-inf"),
    np.arange(3.0),
    np.array(2, "u1"),
    np.array([0.1], ">f8"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("held", NUMBERS, ids=repr)
def test_what_a_layer_holds(held, dtype, tmp_path):
    layers = [Held(held), Doubled(held), md.ReLU()] if np.isfinite(held).all() else [Held(held)]
    model = randomized(layers, 3, dtype)
    assert_same_bits(exported(model, tmp_path / "model.py"), model, 1 + random.random(size=(5, 3)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_lie_as_they_lay(dtype, tmp_path):
    k = random.normal(size=(300, 200)).astype(dtype)
    model = randomized([Product(np.asfortranarray(k)), Product(k.T), md.Tanh()], 300, dtype)
    assert_same_bits(exported(model, tmp_path / "model.py"), model, random.normal(size=(40, 300)))
    arrays = runpy.run_path(str(tmp_path / "model.py"))["ARRAYS"].values()
    assert [array.flags.f_contiguous for array in arrays] == [True, True]


def test_what_it_holds_comes_before_what_the_library_has(tmp_path):
    model = randomized([Named(True)], 3)  # and True is not 1: x[True] has an axis more
    assert_same_bits(exported(model, tmp_path / "model.py"), model, random.random(size=(5, 3)))


class Text(str):
    def __repr__(self):
        return "exit('run')"


@pytest.mark.parametrize("held", [Text("a"), (1, 2), {1}, None, np.array(["a"]), np.array(1j), np.sin], ids=str)
def test_what_cannot_be_written_is_refused(held, tmp_path):
    layer = Held(1.0)
    layer.k = held
    refused(
        randomized([layer], 3), tmp_path, r"Held\(.*\), layer 0: k is .*; an exported file can have numbers and arrays"
    )


def test_numpys_settings_change_nothing(tmp_path):
    model = randomized([md.Dense(4, "sigmoid"), md.GELU(), md.Dense(2)], 3)
    predict, x = exported(model, tmp_path / "model.py"), np.array([[1e-38, -1e4, 3e38], [1e-42, 0, -3e38]])
    with np.errstate(all="raise"):
        assert_same_bits(predict, model, x)


# ---------------------------------------------------------------------- what a stranger's file may have brought


def test_a_name_is_no_code(tmp_path):
    """A model, and so its name, may come from a stranger's file."""
    name = '"""\nimport os\nraise SystemExit("run")\n"""\\{dtype}'
    model = randomized([md.Dense(2)], 3, name=name)
    assert exported(model, tmp_path / "model.py")(np.ones((1, 3))).shape == (1, 2)


def test_a_class_name_is_no_code(tmp_path):
    evil = type("A\n    pass\nexit('run')\ndef q():", (Held,), {})
    model = randomized([evil(2.0)], 3)
    assert exported(model, tmp_path / "model.py")(np.ones((1, 3))).tolist() == [[2.5, 2.5, 2.5]]
