"""Saved and loaded, a model is what it was: in its bytes, in what it predicts, in how it trains on."""

import contextlib
import copy
import functools
import hashlib
import io
import json
import os
import runpy
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from forge import npy, sealed, taken_apart, zipped
from frames import Frame
from snapshots import picture

import minidense as md
from minidense import schedules
from minidense.data.names import Names
from minidense.files import archive, model_file

GOLDEN = Path(__file__).parent.parent / "golden"
random = np.random.default_rng(3)
X = random.normal(size=(40, 4)).astype("float32")
Y = random.integers(0, 3, 40)


def mean_error(y_true, y_pred):
    return abs(y_pred.argmax(axis=1) - y_true).mean()


def stepwise(step):
    return 0.1 / (1 + step)


def halves(rng, shape):
    return np.full(shape, 0.5)


class Scale(md.Layer):
    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        return input_shape

    def forward(self, x):
        self.x = x
        return x * self.g

    def backward(self, dy):
        self.dg = (dy * self.x).sum(axis=0)
        return dy * self.g


class Quartic(md.regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, w):
        return self.strength * (w**4).sum()

    def gradient(self, w):
        return 4 * self.strength * w**3


MODELS = {
    "all layers": lambda: [md.Dense(6), md.BatchNormalization(momentum=0.9, epsilon=0.01), md.GELU(), md.Dropout(0.2), md.LayerNormalization(),
                           md.Dense(5, use_bias=False, kernel_initializer="he_normal"), md.LeakyReLU(0.2), md.ELU(0.5),
                           md.SiLU(), md.Softplus(), md.Tanh(), md.Sigmoid(), md.Flatten(), md.ReLU(), md.Dense(3), md.Softmax()],
    "dense only": lambda: [md.Dense(3)],
    "activations": lambda: [md.Dense(4, activation="relu"), md.Dense(3, activation=md.Softmax())],
    "an initializer of ones own": lambda: [md.Dense(3, kernel_initializer=halves)],
    "composites": lambda: [md.Residual([md.Dense(8, "relu"), md.Dropout(0.5), md.Dense(4)]), md.Residual(md.Dense(4)),
                           md.Concatenate([md.Dense(2), [md.Dense(3, "tanh"), md.Residual([md.BatchNormalization()])]]), md.Dense(3)],
    "models within": lambda: [md.Sequential([md.Dense(4, "relu"), md.Sequential([md.Dropout(0.1)])], name="inner"), md.Residual(md.Sequential([md.Dense(4)])), md.Dense(3)],
    "penalties and constraints": lambda: [md.Dense(4, kernel_regularizer=md.regularizers.L1L2(0.1, 0.2), bias_regularizer="l1", bias_constraint="non_neg"),
                                          md.Dense(3, kernel_regularizer=Quartic(0.1), kernel_constraint=md.constraints.MinMaxNorm(0.1, 0.5, axis=[0, 1]))],
    "packed": lambda: [md.Scale(2, rate=6.0), md.PackedDense(5, 2, kernel_initializer="lecun_normal", kernel_rate="1/sqrt(fan_in)", bias_rate=0.1),
                       md.ReLU(), md.PackedDense(3, 2, use_bias=False), md.MembersMean(2)],
    "a layer of ones own": lambda: [Scale(), md.Residual([Scale()]), md.Dense(3)],
}  # fmt: skip
OPTIMIZERS = [
    lambda: md.SGD(0.05),
    lambda: md.SGD(schedules.ExponentialDecay(0.1, 5, 0.9), momentum=0.9, nesterov=True),
    lambda: md.Adam(schedules.PiecewiseConstantDecay([5, 9], [0.01, 0.005, 0.001]), weight_decay=0.01),
    lambda: md.Adam(schedules.PiecewiseConstantDecay(list(range(30)), [0.01] * 31)),
    lambda: md.AdamW(stepwise, global_clipnorm=1.0),
    lambda: md.RMSprop(schedules.WarmUp(schedules.Constant(0.001), 3), momentum=0.9),
    lambda: md.RMSprop(schedules.InverseTimeDecay(0.01, 3, 0.5), centered=True, use_ema=True),
    lambda: md.Nadam(schedules.PolynomialDecay(0.01, 30), clipnorm=0.1, name="mine"),
    lambda: md.Adam(schedules.CosineDecay(0.0, 30, warmup_target=0.01, warmup_steps=5), amsgrad=True, clipvalue=0.1),
    lambda: md.Adamax(schedules.CosineDecayRestarts(0.01, 5), use_ema=True, ema_overwrite_frequency=3),
    lambda: md.Adam(schedules.WarmUp(schedules.CosLog4(0.01), 3)),
    lambda: md.Adam(schedules.OfRun(schedules.PolynomialDecay(0.01, 1))),
    lambda: md.Adagrad(rates={"layers/0": 0.5, "layers/0/b": 0.0}),
    lambda: md.Adadelta(1.0),
    lambda: md.Lion(weight_decay=0.1, decay_all=True),
]
CUSTOM = {"Quartic": Quartic, "mean_error": mean_error, "stepwise": stepwise, "halves": halves, "Scale": Scale}


def assert_alike(model, path, custom=None, fit=True, y=Y):
    """The file of ``model`` gives a model that has the same file, predicts and trains on alike."""
    before = picture(model)
    model.save(path)
    assert picture(model) == before
    loaded, again = md.load_model(path, custom), path.with_name("again.npz")
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    assert loaded.name == model.name
    assert repr(loaded) == repr(model)
    if model.built:
        assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
        assert all(np.shares_memory(layer.W, loaded.theta) for layer in loaded.layers if isinstance(layer, md.Dense))
    if fit:
        for each in (model, loaded):
            each.fit(X, y, epochs=2, batch_size=16, verbose=0)
        assert loaded.theta.tobytes() == model.theta.tobytes()
        assert loaded.network.buffers.tobytes() == model.network.buffers.tobytes()
        assert loaded.history.history == model.history.history
    return loaded


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", MODELS)
def test_every_layer(layers, dtype, tmp_path):
    model = md.Sequential(MODELS[layers](), rng=5, dtype=dtype, name="a model").compile(metrics=["accuracy", "auc"])
    assert_alike(model, tmp_path / "unbuilt.npz", CUSTOM)
    assert_alike(model, tmp_path / "trained.npz", CUSTOM)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_schedule(optimizer, tmp_path):
    model = md.Sequential([md.Dense(5, activation="tanh"), md.Dense(3)], rng=0)
    model.compile(optimizer(), metrics=["accuracy", mean_error, "f1", md.TopKAccuracy(2)])
    model.fit(X, Y, epochs=3, batch_size=7, verbose=0)
    assert_alike(model, tmp_path / "model.npz", CUSTOM)


LOSSES = [
    (md.SoftmaxCrossEntropy("sum", label_smoothing=0.1), Y, 3), (md.SigmoidCrossEntropy(label_smoothing=0.1), Y % 2, 1),
    (md.MeanSquaredError("sum"), random.normal(size=(40, 3)), 3), (md.MeanAbsoluteError(), random.normal(size=(40, 3)), 3),
    (md.Huber(0.3), random.normal(size=40), 1),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "y", "outputs"), LOSSES)
def test_every_loss(loss, y, outputs, tmp_path):
    model = md.Sequential([md.Dense(outputs)], rng=0).compile(md.SGD(0.01), loss)
    model.fit(X, y, verbose=0)
    assert repr(assert_alike(model, tmp_path / "model.npz", y=y).loss) == repr(loss)


def test_a_model_without_a_loss(tmp_path):
    assert_alike(md.Sequential([md.Dense(3)], rng=0).build(4), tmp_path / "model.npz", fit=False)
    assert_alike(md.Sequential(), tmp_path / "model.npz", fit=False)


@pytest.mark.parametrize("built", [True, False])
def test_settings_changed_since(built, tmp_path):
    layers = [md.Dropout(0.5), md.Dense(4), md.Residual([md.Dense(6), md.Dropout(0.5)]), md.Dense(3)]
    model = md.Sequential(layers, rng=0).compile(md.Adam(0.1), metrics=["f1", "acc"], weighted_metrics=["acc", "auc"])
    model.layers[1].units = 6
    if built:
        model.build(4)
        model.layers[2].f.children[1].trainable = False
    model.layers[0].rate, model.layers[2].trainable, model.layers[3].trainable = 0.25, False, False
    model.optimizer.learning_rate, model.optimizer.beta_1, model.optimizer.global_clipnorm = 0.05, 0.5, 1
    model.optimizer.iterations, model.metrics[0].name, model.weighted_metrics[1].name = np.int64(4), "F", "area"
    model.loss.label_smoothing = np.float64(0.2)
    if built:
        model.layers[2].f.children[0].trainable = True
    loaded = assert_alike(model, tmp_path / "model.npz")
    assert (loaded.layers[0].rate, loaded.layers[1].units, loaded.layers[2].trainable) == (0.25, 6, False)
    assert [layer.trainable for layer in loaded.layers[2].f.children] == [built, False]
    assert (loaded.optimizer.rate, loaded.optimizer.beta_1, loaded.optimizer.global_clipnorm) == (0.05, 0.5, 1)
    assert loaded.loss.label_smoothing == 0.2
    assert [metric.name for metric in loaded.metrics] == ["F", "acc"]
    assert [metric.name for metric in loaded.weighted_metrics] == ["weighted_acc", "area"]
    assert list(loaded.history.history) == ["loss", "F", "acc", "weighted_acc", "area"]


def test_numpy_alone_reads_it(tmp_path):
    model = md.Sequential([md.Dense(5, "relu"), md.Residual([md.Dense(5)]), md.Dense(3, "softmax")], rng=0).build(4)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert json.loads(file["manifest.json"])["model"]["layers"][0]["config"]["units"] == 5
        h = np.maximum(X @ file["layers/0/W"] + file["layers/0/b"], 0)
        h = h + h @ file["layers/2/f/0/W"] + file["layers/2/f/0/b"]
        e = np.exp(h @ file["layers/3/W"] + file["layers/3/b"])
    np.testing.assert_allclose(e / e.sum(axis=1, keepdims=True), model.predict(X), rtol=1e-5)


def test_what_forward_leaves_is_not_in_the_file(tmp_path):
    model = md.Sequential([Scale(), md.Dense(3)], rng=0).compile(md.Adam())
    model.fit(X, Y, verbose=0)
    model.forward(X, training=True)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        assert file.files == ["manifest.json", "layers/0/g", "layers/1/W", "layers/1/b", "optimizer/m", "optimizer/v"]


# ---------------------------------------------------------------------- what cannot be saved


class Mine(md.Sequential):
    pass


class Perceptual(md.MeanSquaredError):
    def __init__(self, model):
        super().__init__()
        self.model = model


def edited(edit, *layers, **options):
    def make():
        model = md.Sequential([*layers, md.Dense(3)], rng=0, **options).build(4).compile()
        edit(model)
        return model

    return make


UNSAVEABLE = {
    "a lambda as a schedule": (lambda: md.Sequential([md.Dense(3)]).compile(md.SGD(lambda step: 0.1)), "learning_rate: a function without a name"),
    "a lambda as a metric": (lambda: md.Sequential([md.Dense(3)]).compile(metrics=[lambda t, p: 0.0]), "function without a name"),
    "another bit generator": (edited(lambda m: setattr(m.layers[0], "rng", np.random.Generator(np.random.SFC64(1))), md.Dropout(0.5)), "generators/layers/0: .* SFC64 cannot be saved"),
    "one generator in two layers": (edited(lambda m: setattr(m.layers[0], "rng", m.layers[1].rng), md.Dropout(0.5), md.Dropout(0.5)), "layers/1: it is the same random generator as generators/layers/0"),
    "optimizer state that is no array": (edited(lambda m: m.optimizer.state.update(t=5)), r"state\['t'\] is no vector as long as the model's parameters.*`saved`"),
    "optimizer state of another length": (edited(lambda m: m.optimizer.state.update(v=np.ones(2))), r"state\['v'\] is no vector"),
    "a broken history": (edited(lambda m: (m.fit(X, Y, verbose=0, epochs=2), m.history.history.update(lr=[0.1]))), "history: its columns"),
    "a note in the history": (edited(lambda m: (m.fit(X, Y, verbose=0), setattr(m.history, "note", "hello"))), "history: its columns"),
    "two classes of a name": (lambda: md.Sequential([type("A", (Scale,), {})(), type("A", (Scale,), {})()]), "two different things called A"),
    "a subclass of Sequential": (lambda: Mine([md.Dense(3)], rng=0).build(4), "a Mine would be loaded as a Sequential"),
    "too much in lists": (lambda: md.Sequential([md.Dense(3)]).compile(loss=Perceptual([[0.5, "x"]] * 200_000)), "the description of this model"),
    "values of a copy": (lambda: md.Sequential([copy.deepcopy(md.Sequential([md.Dense(3)], rng=0).build(4).layers[0])], rng=0), "once model.build"),
    "parameters of another model": (lambda: md.Sequential([md.Dense(3)]).compile(loss=Perceptual(md.Sequential([md.Dense(3)]).build(4))), "loss/model: .* has parameters which would be lost"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAVEABLE)
def test_what_could_not_be_loaded_is_an_error_when_saving(case, tmp_path):
    make, message = UNSAVEABLE[case]
    model, path = make(), tmp_path / "model.npz"
    md.Sequential([md.Dense(3)], rng=9).build(4).save(path)
    written, before = path.read_bytes(), picture(model)
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert path.read_bytes() == written
    assert os.listdir(tmp_path) == ["model.npz"]
    assert picture(model) == before


def test_all_that_cannot_be_saved_is_said_at_once(tmp_path):
    layers = [md.Dense(3, kernel_initializer=lambda rng, shape: np.ones(shape)) for _ in range(2)]
    model = md.Sequential(layers, rng=0).build(4).compile(md.SGD(lambda step: 0.1))
    with pytest.raises(ValueError, match=r"the model cannot be saved:\n- layers/0/.*\n- layers/1/.*\n- optimizer/"):
        model.save(tmp_path / "model.npz")


# ---------------------------------------------------------------------- loading


class Half(schedules.Schedule):
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate / 2


def test_missing_names_are_said_at_once(tmp_path):
    model = md.Sequential([Scale(), md.Residual([Scale()]), md.Dense(3)], rng=0).build(4)
    model.compile(md.SGD(Half(0.1)), metrics=[mean_error]).save(tmp_path / "model.npz")
    message = r"pass custom_objects=\{'Half': Half, 'Scale': Scale, 'mean_error': mean_error\}"
    with pytest.raises(ValueError, match=message):
        md.load_model(tmp_path / "model.npz")
    with pytest.raises(TypeError, match="custom_objects: expected a dict"):
        md.load_model(tmp_path / "model.npz", [Scale])
    with pytest.raises(ValueError, match=r"layers/0: SGD\(\) is no Layer\n- layers/1: SGD\(\) is no Layer"):
        md.load_model(tmp_path / "model.npz", {"Half": Half, "mean_error": mean_error, "Scale": md.SGD})


def test_a_class_of_ones_own_is_not_taken_for_the_librarys(tmp_path):
    own = type("Dense", (Scale,), {})
    md.Sequential([own()], rng=0).build(4).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"custom_objects=\{'Dense': Dense\}"):
        md.load_model(tmp_path / "model.npz")
    assert type(md.load_model(tmp_path / "model.npz", {"Dense": own}).layers[0]) is own


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (7, "written by minidense '7.0' in the layout 7; this one knows the layout 2. Install a newer minidense"),
        (1, "its manifest is not one of minidense's"),
        ("2", "its manifest is not one of minidense's"),
    ],
)
def test_a_file_of_another_layout(layout, message, tmp_path):
    md.Sequential([md.Dense(3)], rng=0).build(4).save(tmp_path / "model.npz")
    manifest, arrays = taken_apart((tmp_path / "model.npz").read_bytes())
    (tmp_path / "other.npz").write_bytes(sealed(manifest | {"format": layout, "library": "7.0"}, arrays))
    with pytest.raises(ValueError, match=message):
        md.load_model(tmp_path / "other.npz")


LAYOUT_1 = b'{"format": 1, "library": "0.0.9", "model": null, "arrays": {}}'


def test_a_file_of_the_first_layout_is_refused_by_name(tmp_path):
    """It ended in the digest of its manifest, and so it is known before anything in it is looked at."""
    seal = b"minidense; SHA-256 of manifest.json: " + hashlib.sha256(LAYOUT_1).hexdigest().encode()
    (tmp_path / "old.npz").write_bytes(zipped([("manifest.json", LAYOUT_1)], seal))
    message = "old.npz: written by an earlier minidense, in layout 1, which this one does not read; train or save"
    for read in (md.load_model, md.Sequential([md.Dense(3)], rng=0).build(4).load_weights):
        with pytest.raises(ValueError, match=message) as caught:
            read(tmp_path / "old.npz")
        assert not isinstance(caught.value, md.CorruptFileError)


def test_golden_files_load_and_predict_as_they_did():
    """Files of this layout that an earlier version has written. On another processor the last bits may be others."""
    golden = np.load(GOLDEN / "predictions-2.npz")
    model, weights = md.load_model(GOLDEN / "model-2.npz"), runpy.run_path(str(GOLDEN / "make_files.py"))["model"]()
    weights.build(3).load_weights(GOLDEN / "weights-2.npz")
    for each in (model, weights):
        assert each.theta.tobytes() == golden["end"].tobytes()
        np.testing.assert_allclose(each.predict(golden["x"]), golden["y"], rtol=1e-5)
    assert (model.name, model.optimizer.iterations, model.layers[3].trainable) == ("golden", 6, False)
    assert repr(model.layers[2]) == "Residual([Dense(2), Tanh(), Dropout(0.25)])"
    assert list(model.history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]


def test_a_golden_checkpoint_is_resumed(tmp_path, recwarn):
    """To the end that it had; where it was computed by another BLAS, there is a warning."""
    make, golden = runpy.run_path(str(GOLDEN / "make_files.py")), np.load(GOLDEN / "predictions-2.npz")
    model, stop = make["model"](), md.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    model.layers[3].trainable = False
    rows = make["X"], make["Y"]
    data = {"batch_size": 8, "epochs": 2, "validation_data": (rows[0][:8], rows[1][:8]), "verbose": 0}
    model.fit(*rows, callbacks=[stop], resume=GOLDEN / "checkpoint-2.npz", **data)
    np.testing.assert_allclose(model.theta, golden["end"], rtol=1e-3, atol=1e-5)
    assert model.history.epoch == [0, 1]


def test_a_sample_of_the_attacks():
    """All 300,000 are in tests/stress/attacks.py."""
    command = [sys.executable, "tests/stress/attacks.py", "--sample", "600", "--untimed"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert ran.stdout.endswith(" attacks, 0 failures\n")


def test_weights_alone(tmp_path):
    path = tmp_path / "weights.npz"

    def made(**options):
        return md.Sequential([md.Residual([md.Dense(4)]), md.BatchNormalization(), md.Dense(3)], **options).compile()

    model = made(rng=0)
    with pytest.raises(RuntimeError, match="not built"):
        model.save_weights(path)
    model.fit(X, Y, verbose=0)
    model.save_weights(path)
    for source in (path, tmp_path / "whole.npz"):
        if source is not path:
            model.save(source)
        for dtype in ("float32", "float64"):
            other = made(rng=1, dtype=dtype).build(4)
            other.load_weights(source)
            assert (other.theta == model.theta).all()
            assert (other.network.buffers == model.network.buffers).all()
    with pytest.raises(ValueError, match=r"has weights only: make the model, and call model.load_weights\("):
        md.load_model(path)
    model.theta[0] = np.nan  # what is in a file can be loaded
    model.save_weights(path)
    other.load_weights(path)
    assert np.isnan(other.theta[0])


def test_weights_that_do_not_fit_are_listed_and_nothing_changes(tmp_path):
    path = tmp_path / "weights.npz"
    md.Sequential([md.Dense(5), md.BatchNormalization(), md.Dense(3), md.Dense(3)], rng=0).build(4).save_weights(path)
    model = md.Sequential([md.Dense(6), md.LayerNormalization(), md.Dense(3)], rng=0).build(4)
    before = picture(model)
    with pytest.raises(ValueError, match="does not fit the model:\n") as caught:
        model.load_weights(path)
    for line in (
        r"layers/0/W has shape \(4, 5\) in the file, and \(4, 6\) in Dense\(6\), layer 0",
        "layers/1/moving_mean is not in the model",
        "layers/3/b is not in the model",
        r"layers/2/W has shape \(5, 3\) in the file",
    ):
        caught.match(line)
    assert picture(model) == before
    wide = md.Sequential([md.Dense(6), md.LayerNormalization(), md.Dense(3)], rng=0, dtype="float64").build(4)
    wide.theta[:2], wide.theta[-1] = 1e300, -1e300
    wide.save_weights(path)
    with pytest.raises(ValueError, match=r"layers/0/W has numbers that overflow float32\n- layers/2/b"):
        model.load_weights(path)
    manifest, arrays = taken_apart(path.read_bytes())
    path.write_bytes(sealed(manifest, {**arrays, "layers/2/b": npy("<i8", (3,), bytes(24))}))
    with pytest.raises(ValueError, match="layers/2/b is of dtype int64, not of floating numbers"):
        model.load_weights(path)
    path.write_bytes(sealed(manifest, {**arrays, "values/x": npy("<i8", (3,), bytes(24))}))
    with pytest.raises(md.CorruptFileError, match="it has weights, and arrays that are none"):
        model.load_weights(path)
    assert picture(model) == before


def test_layers_that_do_not_fit_may_be_skipped(tmp_path):
    """A layer is loaded as a whole or not at all: a bias without its kernel would be worse than neither."""
    path = tmp_path / "weights.npz"
    layers = [md.Dense(5), md.Residual([md.Dense(4), md.Dense(5)]), md.BatchNormalization(), md.Dense(3), md.Dense(2)]
    md.Sequential(layers, rng=0, dtype="float64").build(4).save_weights(path)
    saved = np.load(path)
    layers = [
        md.Dense(5),
        md.Residual([md.Dense(6), md.Dense(5)]),
        md.BatchNormalization(),
        md.Dense(3, use_bias=False),
    ]
    model = md.Sequential(layers, rng=1).build(4)
    model.theta[:] = 7
    with pytest.raises(ValueError, match="does not fit the model"):
        model.load_weights(path)
    with pytest.warns(UserWarning, match="weights.npz: not loaded, because it does not fit the model: ") as caught:
        model.load_weights(path, skip_mismatch=True)
    (warning,) = caught
    assert warning.filename == __file__
    for name in ("layers/1/f/0/W", "layers/1/f/0/b", "layers/1/f/1/W", "layers/3/b", "layers/4/W", "layers/4/b"):
        assert f"{name} has shape" in str(warning.message) or f"{name} is not in the model" in str(warning.message)
    loaded = {name for name, array in model.network.named_arrays().items() if not (array == 7).all()}
    assert loaded == {"layers/0/W", "layers/0/b"} | {
        f"layers/2/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    for name in loaded:
        assert (model.network.named_arrays()[name] == saved[name].astype("float32")).all()
    before = model.theta.copy()
    other = md.Sequential([md.Dense(9)], rng=1).build(4)
    other.save_weights(path)
    with pytest.raises(ValueError, match="does not fit the model"):  # nothing fits
        model.load_weights(path, skip_mismatch=True)
    assert (model.theta == before).all()
    other.load_weights(path, skip_mismatch=True)  # everything does: no warning


def test_what_is_no_file_of_ours(tmp_path):
    path = tmp_path / "x.npz"
    for content in (b"", b"PK\3\4 and so on", b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(
            md.CorruptFileError, match=r"x.npz: damaged, or not written by minidense: it does not end as"
        ):
            md.load_model(path)
    with pytest.raises(FileNotFoundError):
        md.load_model(tmp_path / "none.npz")


# ---------------------------------------------------------------------- files that say what they should not


def whole(*layers):
    layers = layers or (md.Dense(3), md.Dropout(0.5))
    model = md.Sequential(layers, rng=0).compile(md.Adam(0.01), metrics=["accuracy"])
    model.fit(X, Y, verbose=0)
    return model


def parts_of(model, training=None):
    out = io.BytesIO()
    archive.dump(out, *model_file.encoded(model, training))
    return taken_apart(out.getvalue())


SGD = {"object": {"$object": "SGD", "config": {}}, "iterations": 0, "learning_rate": None, "state": [], "saved": {}}
ZEROS = npy("<f4", (3,), bytes(12))


def set_to(*path, to):
    def edit(manifest, arrays):
        part = manifest["model"]
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to

    return edit


def named(**names):
    return set_to("names", to={"features": None, "classes": None, "numbered": False, **names})


FORGED = {
    "no names": (set_to("names", to=None), "names is of type NoneType, not dict"),
    "other names": (set_to("names", to={"features": None}), "its names have other parts"),
    "a feature for a list": (named(features="abcd"), "the names of features is of type str, not list"),
    "a feature that is none": (named(features=["a", "b", "c", 4]), "the names of features are not all strings"),
    "a feature twice": (named(features=["a", "b", "c", "a"]), "the names of features are not all different"),
    "features less": (named(features=["a", "b", "c"]), r"it has names of 3 features for inputs of shape \(4,\)"),
    "no features": (named(features=[]), r"it has names of 0 features for inputs of shape \(4,\)"),
    "a class that is none": (named(classes=["a", "b", None]), "the names of classes are not all strings"),
    "a class that is a dict": (named(classes=["a", "b", {}]), "the names of classes are not all strings"),
    "a class twice": (named(classes=["a", "b", "b"]), "the names of classes are not all different"),
    "classes more": (named(classes=list("abcdef")), r"it has names of 6 classes for outputs of shape \(3,\)"),
    "names and numbers": (named(classes=["a", "b", "c"], numbered=True), "its classes are neither names nor numbers"),
    "numbers of truth": (named(numbered=1), "its classes are neither names nor numbers"),
    "names of no outputs": (lambda m, a: (named(classes=["a"])(m, a), m["model"].update(input_shape=None, optimizer=None, loss=None, metrics=[])), "it has names of 1 classes for outputs of shape None"),
    "another part": (lambda m, a: m["model"].update(more=1), "its description of the model has other parts"),
    "a model that is none": (lambda m, a: m.update(model=5), "its description of the model has other parts"),
    "another key": (lambda m, a: m.update(more=1), "its manifest is not one of minidense's"),
    "a name": (set_to("name", to=5), "name: expected a string or None, got 5"),
    "a dtype": (set_to("dtype", to="float16"), "unknown dtype 'float16'"),
    "another dtype": (set_to("dtype", to="float64"), "layers/0/W is of dtype float32, not float64"),
    "a shape": (set_to("input_shape", to=[2**40]), "its input's shape is none"),
    "a shape of truth": (set_to("input_shape", to=[True]), "its input's shape is none"),
    "not built": (set_to("input_shape", to=None), "the optimizer's 'm' is no vector as long as the model's parameters"),
    "a wide layer": (set_to("layers", 0, "config", "units", to=10**12), r"layers/0/W has shape \(4, 3\) in the file, and \(4, 1000000000000\) in Dense\(1000000000000\), layer 0"),
    "an argument that is refused": (set_to("layers", 1, "config", "rate", to=1.5), r"Dropout: rate: expected a finite number at least 0 and below 1, got 1.5"),
    "an argument of another kind": (set_to("layers", 0, "config", "units", to="3"), r"Dense: units: expected a whole number, got '3'"),
    "an argument of nobody": (set_to("layers", 0, "config", "unit", to=3), r"Dense takes no keyword 'unit'. Did you mean 'units'"),
    "layers that are none": (set_to("layers", to=5), "layers is of type int, not list"),
    "an activation within": (set_to("layers", 0, "config", "activation", to="relu"), r"layers/0: Dense\(3, activation='relu'\) stands for several layers"),
    "a layer twice": (lambda m, a: m["model"]["layers"].append({"$layer": "layers/0"}), "in this model already|part of another model"),
    "a network that is none": (set_to("layers", 0, to={"$network": {"name": 3, "layers": []}}), "name: expected a string or None"),
    "a frozen layer of nobody": (set_to("frozen", to=["layers/7"]), "its frozen layers or random generators are those of other layers"),
    "a frozen layer twice": (set_to("frozen", to=["layers/0", "layers/0"]), "its frozen layers or random generators are those of other layers"),
    "generators of nobody": (lambda m, a: m["model"]["generators"].update({"layers/0": m["model"]["generators"]["shuffle"]}), "are those of other layers"),
    "no generator for a dropout": (lambda m, a: m["model"]["generators"].pop("layers/1"), "are those of other layers"),
    "a seed for a generator": (lambda m, a: m["model"]["generators"].update(shuffle=m["model"]["generators"]["noise"]), "is no Generator"),
    "generators less": (lambda m, a: m["model"]["generators"].pop("noise"), "its random generators are others"),
    "iterations of truth": (set_to("optimizer", "iterations", to=True), "there is no optimizer of True iterations"),
    "negative iterations": (set_to("optimizer", "iterations", to=-1), "there is no optimizer of -1 iterations"),
    "a rate of 0": (set_to("optimizer", "learning_rate", to=0), "learning_rate: expected a finite number above 0"),
    "a rate that no float has": (set_to("optimizer", "learning_rate", to=2**60 + 1), "learning rate is written as a float"),
    "a rate of another kind": (set_to("optimizer", "learning_rate", to={"$number": ["<f4", 1]}), "written as a float, not as"),
    "an infinite rate": (set_to("optimizer", "learning_rate", to={"$float": "inf"}), "learning_rate: expected a finite number"),
    "a rate of text": (set_to("optimizer", "learning_rate", to="fast"), "learning_rate: expected a number"),
    "a layer as an optimizer": (set_to("optimizer", "object", to={"$object": "Dense", "config": {"units": 3}}), r"Dense\(3\) is no Optimizer"),
    "a vector of nobody": (lambda m, a: (m["model"]["optimizer"]["state"].append("x"), a.update({"optimizer/x": a["optimizer/m"]})), "has no vector 'x'"),
    "a vector twice": (lambda m, a: m["model"]["optimizer"]["state"].append("m"), "the array 'optimizer/m' is missing, or referred to twice"),
    "a short vector": (lambda m, a: a.update({"optimizer/m": ZEROS}), "the optimizer's 'm' is no vector as long as the model's parameters"),
    "a vector as a weight": (lambda m, a: a.update({"layers/0/m": a.pop("optimizer/m")}), "the array 'optimizer/m' is missing"),
    "something else that lasts": (set_to("optimizer", "saved", to={"_begun": "x"}), "_begun must be of type int; the file has 'x'"),
    "an attribute set": (set_to("optimizer", "saved", to={"_begun": 0, "step": 1}), "does not save .step., which is in the file"),
    "half compiled": (set_to("loss", to=None), "it has one of optimizer and loss, and not the other"),
    "metrics alone": (lambda m, a: (m["model"].update(loss=None, optimizer=None), a.pop("optimizer/m"), a.pop("optimizer/v")), "it has metrics, and no loss"),
    "a loss that does not suit": (lambda m, a: m["model"].update(metrics=m["model"]["metrics"] * 2), "metrics: expected names that differ"),
    "an uneven history": (lambda m, a: m["model"]["history"]["epoch"].append(1), "its history has columns of unequal length"),
    "another history": (set_to("history", to={"history": {}}), "its history has other parts"),
    "an array of nobody": (lambda m, a: a.update(x=ZEROS), "it has arrays that belong to nothing: x"),
    "a value of nobody": (lambda m, a: a.update({"values/x": ZEROS}), "it has arrays that belong to nothing: values/x"),
    "a weight of nobody": (lambda m, a: a.update({"layers/7/b": ZEROS}), "layers/7/b is not in the model"),
    "a weight less": (lambda m, a: a.pop("layers/0/b"), "layers/0/b is missing in the file"),
    "a weight of ints": (lambda m, a: a.update({"layers/0/b": npy("<i4", (3,), bytes(12))}), "layers/0/b is of dtype int32, not of floating"),
    "another class": (set_to("layers", 0, "$object", to="os.system"), "the library has no 'os.system'"),
    "thousands of names": (lambda m, a: m["model"].update(metrics=[{"$custom_object": f"M{i:05}", "config": {}} for i in range(9000)]), "'M00019': M00019, and 8980 more}"),
    "nested deep": (set_to("layers", 0, to=functools.reduce(lambda inside, _: {"$object": "Residual", "config": {"layers": inside}}, range(60), {"$object": "ReLU", "config": {}})), "nested more than 50 levels deep"),
}  # fmt: skip


def forged(case, folder):
    """The path of a forged file, and what is said of it."""
    edit, message = FORGED[case]
    manifest, arrays = parts_of(whole())
    edit(manifest, arrays)
    path = folder / "forged.npz"
    path.write_bytes(sealed(manifest, arrays))
    return path, message


@pytest.mark.parametrize("case", FORGED)
def test_forged_files(case, tmp_path):
    path, message = forged(case, tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        md.load_model(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 2500


def test_without_compile_the_layers_are_loaded_and_no_classes_are_needed(tmp_path):
    path, rate = tmp_path / "model.npz", md.schedules.PiecewiseConstantDecay(list(range(1, 30)), [0.1] * 30)
    model = md.Sequential([md.Dense(5, name="hidden"), md.BatchNormalization(), md.Dense(3)], rng=0)
    model.compile(md.Adam(rate), metrics=[mean_error]).fit(X, np.array(["a", "b", "c"])[Y], verbose=0)
    model[0].trainable = False
    model.save(path)
    with pytest.raises(ValueError, match=r"custom_objects=\{'mean_error': mean_error\}"):
        md.load_model(path)
    loaded = md.load_model(path, compile=False)
    assert (loaded.optimizer, loaded.loss, loaded.metrics, loaded.weighted_metrics) == (None, None, [], [])
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert (loaded.class_names, loaded.history.history) == (("a", "b", "c"), model.history.history)
    assert [layer.trainable for layer in loaded] == [False, True, True]
    loaded.compile("sgd").fit(X, np.array(["a", "b", "c"])[Y], verbose=0)
    with pytest.raises(RuntimeError, match="the model is not compiled"):
        md.load_model(path, compile=False).evaluate(X, Y)
    with pytest.raises(ValueError, match="safe_mode: a file contains data only"):
        md.load_model(path, safe_mode=False)
    for wrong in ({"compile": 0}, {"safe_mode": None}):
        with pytest.raises(TypeError, match="expected True or False"):
            md.load_model(path, {"mean_error": mean_error}, **wrong)


@pytest.mark.parametrize("case", FORGED)
def test_forged_files_without_compile(case, tmp_path):
    """What is forged in the parts that are left out is not read; of all else nothing is made."""
    path, _ = forged(case, tmp_path)
    with contextlib.suppress(ValueError):  # what else is wrong with it
        loaded = md.load_model(path, compile=False)
        assert (loaded.optimizer, loaded.loss, loaded.metrics) == (None, None, [])
        assert np.isfinite(loaded.predict(X)).all()


def test_arrays_of_a_training_run_are_left_alone(tmp_path):
    manifest, arrays = parts_of(whole(), {"scores": np.ones(3)})
    assert "values/training/scores" in arrays
    (tmp_path / "run.npz").write_bytes(sealed(manifest, arrays))
    assert md.load_model(tmp_path / "run.npz").built
    (tmp_path / "run.npz").write_bytes(sealed(manifest | {"training": None}, arrays))
    with pytest.raises(md.CorruptFileError, match="arrays that belong to nothing: values/training/scores"):
        md.load_model(tmp_path / "run.npz")


def test_errors_in_ones_own_classes_are_of_the_file(tmp_path):
    whole(Scale(), md.Dense(3)).save(tmp_path / "model.npz")

    class Broken(Scale):
        def __init__(self):
            raise KeyError("broken")

    class Unbuilt(Scale):
        def build(self, input_shape):
            raise ZeroDivisionError("no")

    for kind, message in ((Broken, "layers/0: 'broken'"), (Unbuilt, "cannot be loaded: no")):
        with pytest.raises(ValueError, match=message):
            md.load_model(tmp_path / "model.npz", {"Scale": kind})


def test_nothing_is_imported_once_the_file_is_open(tmp_path):
    """In a process that has loaded nothing yet, all imports come before the file is opened."""
    model = md.Sequential([md.Dense(3, activation="gelu"), md.Dropout(0.1)], rng=0).compile(md.Adam(), metrics=["f1"])
    model.fit(X, np.arange(40) % 3, verbose=0)
    model.save(tmp_path / "model.npz")
    manifest, arrays = taken_apart((tmp_path / "model.npz").read_bytes())
    for i, text in enumerate(("{ª: 1}", "'" * 3, "1L", "{'descr': ª}")):  # what headers may make Python's parser want
        header = arrays["layers/0/b"][:8] + struct.pack("<H", len(text.encode())) + text.encode()
        (tmp_path / f"{i}.npz").write_bytes(sealed(manifest, {**arrays, "layers/0/b": header}))
    code = """if True:
        import sys
        import minidense as md
        seen = []
        def note(event, arguments):
            if event == "compile" and arguments == (b"int", "<unknown>"):  # ast.parse: a tree of a class's annotation
                return
            if event in ("open", "import", "exec", "compile") or event.split(".")[0] in ("os", "subprocess", "socket"):
                seen.append((event, arguments[0] if event in ("open", "import") else ""))
        sys.addaudithook(note)
        md.load_model(sys.argv[1])
        opening = ("open", sys.argv[1])
        for i in range(4):
            try:
                md.load_model(sys.argv[2] + f"/{i}.npz")
            except md.CorruptFileError:
                seen.remove(("open", sys.argv[2] + f"/{i}.npz"))
        rest = [event for event in seen[seen.index(opening):] if event != opening]
        assert not [event for event in rest if sys.argv[2] not in event[1]], rest
        try:
            md.load_model(sys.argv[1] + "x")
        except FileNotFoundError:
            pass
    """
    command = [sys.executable, "-c", code, str(tmp_path / "model.npz"), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


FRAME = Frame({"age": [1.0, 2.0, 3.0], "fare": [3.0, 1.0, 0.0]})
NAMED = {
    "features and classes": (FRAME, ["cat", "dog", "owl"], [md.Dense(3)], "softmax_crossentropy"),
    "strange ones": (Frame({"": [1.0], "\ud800": [2.0], "\x00\u00e4'\"\\\n": [3.0], "$array": [4.0]}), ["", "$float", "\ud800"], [md.Dense(3)], "softmax_crossentropy"),
    "two classes of one output": (X[:3], ["no", "yes", "no"], [md.Dense(1)], "binary_crossentropy"),
    "numbers": (X[:3], [0, 1, 2], [md.Dense(3)], "softmax_crossentropy"),
    "one class": (X[:3], ["a", "a", "a"], [md.Dense(1)], "softmax_crossentropy"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_names(case, tmp_path):
    x, y, layers, loss = NAMED[case]
    x = Frame({name: column * (3 // len(column)) for name, column in x.items()}) if isinstance(x, Frame) else x
    model = md.Sequential(layers, rng=0).compile(loss=loss)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.npz")
    loaded = md.load_model(tmp_path / "model.npz")
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()
    assert loaded._names == model._names
    for each in (model, loaded):
        each.fit(x, y, verbose=0)
    assert loaded.theta.tobytes() == model.theta.tobytes()
    other = np.arange(3) if loaded.class_names else ["a", "b", "c"]
    with pytest.raises(TypeError, match="on which the model was trained"):
        loaded.fit(x, other, verbose=0)
    loaded.export_numpy(tmp_path / "model.py")
    assert len(runpy.run_path(str(tmp_path / "model.py"))["predict_classes"](x)) == 3


def test_names_that_could_not_be_loaded_are_not_saved(tmp_path):
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    model.fit(X, np.array(["a", "b", "c"])[Y], verbose=0)
    model._names = Names(classes=("a",))
    with pytest.raises(ValueError, match="it has names of 1 classes for outputs of shape"):
        model.save(tmp_path / "model.npz")


# ---------------------------------------------------------------------- several threads


def test_predicting_from_eight_threads_during_saves(tmp_path):
    model = md.Sequential([Scale(), md.Dense(50, activation="relu"), md.Dense(3)], rng=0).build(4).compile()
    expected, wrong, stop = model.predict(X).tobytes(), [], threading.Event()

    def predict():
        while not stop.is_set():
            if model.predict(X).tobytes() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=predict, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            model.save(tmp_path / "model.npz")
            assert md.load_model(tmp_path / "model.npz", CUSTOM).theta.tobytes() == model.theta.tobytes()
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_saving_and_fitting_from_two_threads_is_an_error(tmp_path):
    """In the middle of a step parameters are half updated: only callbacks, between steps, may save."""
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    errors, saved = [], []

    def in_another_thread():
        for call in (lambda: model.save(tmp_path / "other.npz"), lambda: model.fit(X, Y, verbose=0),
                     lambda: model.load_weights(tmp_path / "mine.npz"), lambda: model.train_on_batch(X, Y)):  # fmt: skip
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    class Meanwhile(md.Callback):
        def on_batch_end(self, batch, logs):
            if not saved:
                model.save(tmp_path / "mine.npz")
                saved.append(model.theta.copy())
                thread = threading.Thread(target=in_another_thread)
                thread.start()
                thread.join()

    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Meanwhile()])
    assert len(errors) == 4
    assert all("is already being trained" in error for error in errors)
    assert not (tmp_path / "other.npz").exists()
    assert (md.load_model(tmp_path / "mine.npz").theta == saved[0]).all()
