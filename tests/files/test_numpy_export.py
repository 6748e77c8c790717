"""The exported file predicts what the model does, to the bit, where there is no minidense."""

import runpy
import subprocess
import sys

import numpy as np
import pytest
from snapshots import picture

import minidense as md

random = np.random.default_rng(0)

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
}


def exported(model, path):
    model.export_numpy(path)
    return runpy.run_path(str(path))["predict"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", LAYERS)
def test_each_layer_to_the_bit(layers, dtype, tmp_path):
    loss = "softmax_crossentropy" if layers == "softmax" else "mse"
    model = md.Sequential(LAYERS[layers](), rng=0, dtype=dtype).compile(md.SGD(0.01), loss)
    x = 3 * random.normal(size=(1100, 6))  # more than one batch of predict
    width = model.build(6).output_shape[0]
    y = random.normal(size=(1100, width)) if layers != "softmax" else random.integers(0, 7, 1100)
    model.fit(x, y, epochs=1, verbose=0)
    before = picture(model)
    predict = exported(model, tmp_path / "model.py")
    for n in (1, 2, 9, 1024, 1100):
        found, expected = predict(x[:n]), model.predict(x[:n])
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
    assert picture(model) == before


def test_a_network_for_images_in_a_process_without_minidense(tmp_path):
    layers = [md.Flatten(), md.Dense(9), md.GELU(), md.Dropout(0.1), md.Dense(4), md.Softmax()]
    model = md.Sequential(layers, rng=0, name="digits").build((3, 3))
    x = random.normal(size=(20, 3, 3)).astype("float32")
    model.export_numpy(tmp_path / "model.py")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys; sys.modules['minidense'] = None; import numpy as np, model; "
        "np.save('y.npy', model.predict(np.load('x.npy'))); print(model.__doc__)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}"], cwd=tmp_path,
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "digits, written by minidense" in ran.stdout
    assert np.load(tmp_path / "y.npy").tobytes() == model.predict(x).tobytes()


class Scale(md.Layer):
    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        return input_shape

    def forward(self, x):
        return x * self.g

    def backward(self, dy):
        return dy


class Sayable(Scale):
    def as_numpy(self):
        return "x = x * g"


def test_layers_of_ones_own(tmp_path):
    x = random.normal(size=(5, 3))
    with pytest.raises(TypeError, match=r"Scale\(\), layer 0 does not say what it computes: give it a method as_numpy"):
        exported(md.Sequential([Scale()], rng=0).build(3), tmp_path / "model.py")
    assert not (tmp_path / "model.py").exists()
    model = md.Sequential([Sayable(), md.Dense(2)], rng=0).build(3)
    assert exported(model, tmp_path / "model.py")(x).tobytes() == model.predict(x).tobytes()


def test_a_name_is_no_code(tmp_path):
    """A model, and so its name, may come from a stranger's file."""
    name = '"""\nimport os\nraise SystemExit("run")\n"""\\'
    model = md.Sequential([md.Dense(2)], rng=0, name=name).build(3)
    assert exported(model, tmp_path / "model.py")(np.ones((1, 3))).shape == (1, 2)


def test_its_errors(tmp_path):
    predict = exported(md.Sequential([md.Dense(2)], rng=0).build(3), tmp_path / "model.py")
    with pytest.raises(ValueError, match=r"expected shape \(n, 3\), got \(3,\)"):
        predict(np.zeros(3))
    with pytest.raises(RuntimeError, match="not built"):
        md.Sequential([md.Dense(2)]).export_numpy(tmp_path / "model.py")


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


class Twice(Held):
    def forward(self, x):
        return x * self.twice

    def as_numpy(self):
        return "x = x * twice"


HELD = [1.5, 3, True, np.float64(1.1), np.float32(1.1), np.arange(3.0), np.int8(2), float("inf"), np.float64("-inf")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("held", HELD, ids=str)
def test_what_a_layer_holds(held, dtype, tmp_path):
    x = 1 + random.random(size=(5, 3))
    layers = [Held(held), Twice(held), md.ReLU()] if np.isfinite(held).all() else [Held(held)]
    model = md.Sequential(layers, rng=0, dtype=dtype).build(3)
    found = exported(model, tmp_path / "model.py")(x)
    assert found.dtype == dtype
    assert found.tobytes() == model.predict(x).tobytes()


class Text(str):
    def __repr__(self):
        return "exit('run')"


@pytest.mark.parametrize("held", [Text("a"), (1, 2), {1}, None, np.array(["a"])], ids=str)
def test_what_cannot_be_written_is_refused(held, tmp_path):
    layer = Held(1.0)
    layer.k = held
    with pytest.raises(TypeError, match=r"Held\(1.0\), layer 0: k is .*; an exported file can have numbers and arrays"):
        md.Sequential([layer], rng=0).build(3).export_numpy(tmp_path / "model.py")
    assert list(tmp_path.iterdir()) == []


def test_lines_that_are_no_python_are_refused(tmp_path):
    class Wrong(Held):
        def as_numpy(self):
            return "x = = k"

    with pytest.raises(TypeError, match="layer 0: as_numpy gives lines that are no Python"):
        md.Sequential([Wrong(1.0)], rng=0).build(3).export_numpy(tmp_path / "model.py")


def test_a_class_name_is_no_code(tmp_path):
    evil = type("A\n    pass\nexit('run')\ndef q():", (Held,), {})
    model = md.Sequential([evil(2.0)], rng=0).build(3)
    assert exported(model, tmp_path / "model.py")(np.ones((1, 3))).tolist() == [[2.5, 2.5, 2.5]]
