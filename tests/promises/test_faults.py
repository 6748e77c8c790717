"""Wrong input: a table of faults and of the error each one raises; nothing must have changed."""

import difflib
import re
import threading
import warnings

import numpy as np
import pytest
from snapshots import picture

import minidense as md

N, D, K = 6, 4, 3
X = np.arange(N * D, dtype="float64").reshape(N, D) / 10
Y = np.array([0, 1, 2, 0, 1, 2])


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def compiled(**options):
    return md.Sequential([md.Dense(5), md.ReLU(), md.Dense(K), md.Softmax()], rng=0, **options).compile()


# what is passed as x and y, the error, and what its message must say
DATA_FAULTS = {
    "too few features": (X[:, :3], Y, ValueError, r"x: expected shape \(n, 4\), got \(6, 3\)"),
    "one sample without batch axis": (X[0], Y[:4], ValueError, r"\(n, d\), got \(4,\). One sample\? Use x\[None, :\]"),
    "a scalar": (1.0, Y, ValueError, r"x: expected rows of features, shape \(n, d\), got \(\)"),
    "images not flattened": (X.reshape(6, 2, 2), Y, ValueError, r"Flatten each sample first: x.reshape\(len\(x\), -1\)"),
    "no rows": (X[:0], Y[:0], ValueError, r"x: expected at least one row, got shape \(0, 4\)"),
    "no features": (X[:, :0], Y, ValueError, r"x: expected at least one feature, got shape \(6, 0\)"),
    "lengths differ": (X, Y[:5], ValueError, "x has 6 rows and y has 5"),
    "a negative label": (X, changed(Y, 2, -1), ValueError, "labels from 0 to 2, as the model has 3 outputs; got -1 in row 2"),
    "a label too large": (X, changed(Y, 3, 3), ValueError, "got 3 in row 3"),
    "labels from 1": (X, Y + 1, ValueError, "Do the labels start at 1"),
    "a fractional label": (X, changed(Y * 1.0, 4, 0.5), ValueError, "whole numbers from 0 to 2, got 0.5 in row 4"),
    "a NaN label": (X, changed(Y * 1.0, 1, np.nan), ValueError, "got nan in row 1"),
    "labels that are dates": (X, np.array(["2020-01-01"] * 6, "M8[D]"), TypeError, r"got dtype datetime64\[D\]"),
    "labels that are objects": (X, np.array([{}] * 6, object), TypeError, r"class names or whole numbers, got \{\} in row 0"),
    "names and numbers": (X, ["a", 1, "b", "c", "a", "b"], ValueError, "1 in row 1 is of type int, and 'a' in row 0"),
    "names that are missing": (X, ["a", "b", None, "c", "a", "b"], ValueError, "None in row 2 is missing"),
    "too few names": (X, np.array(list("ababab")), (ValueError, TypeError), "outputs for 3 classes, but y has 2: .*'a', 'b'|does not know the names|trained"),
    "one label for all": (X, 1, TypeError, "one label or row for each of the 6 rows of x, got 1"),
    "one-hot rows too wide": (X, np.eye(4)[Y], ValueError, r"\(n, 3\) as the model has 3 outputs; got \(6, 4\)"),
    "one-hot rows that do not sum to 1": (X, changed(np.eye(3)[Y], (2, 0), 0.5), ValueError, "row 2 is .* sum 1.5"),
    "negative probabilities": (X, changed(np.eye(3)[Y], 1, [-1, 1, 1]), ValueError, "row 1 is"),
    "NaN in one-hot rows": (X, changed(np.eye(3)[Y], (5, 1), np.nan), ValueError, "row 5 is"),
    "labels with three axes": (X, Y[:, None, None], ValueError, r"got \(6, 1, 1\)"),
    "NaN in x": (changed(X, (2, 1), np.nan), Y, ValueError, "x: row 2, column 1 is nan"),
    "infinity in x": (changed(X, (5, 3), -np.inf), Y, ValueError, "x: row 5, column 3 is -inf"),
    "too large for float32": (changed(X, (1, 2), 1e39), Y, ValueError, "row 1, column 2 is 1e.39, which overflows float32"),
    "objects": (X.astype(object), Y, TypeError, "expected real numbers, got objects"),
    "strings": (X.astype(str), Y, TypeError, "expected real numbers, got strings"),
    "complex numbers": (X + 1j, Y, TypeError, "expected real numbers, got complex numbers"),
    "ragged rows": ([[1.0, 2.0], [3.0]], [0, 1], ValueError, "rows of equal length"),
}  # fmt: skip


@pytest.mark.parametrize("built", [False, True], ids=["new", "built"])
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "loss_and_grad", "validation"])
@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_data_faults(fault, method, built):
    x, y, error, message = DATA_FAULTS[fault]
    model = compiled()
    if built or method == "evaluate":
        model.build(D)
    elif "features" in fault:
        message = "feature"  # only a built model knows how many to expect
        if fault == "too few features":
            pytest.skip("an unbuilt model is built for whatever width arrives")
    if method == "validation":
        call, what = lambda: model.fit(X, Y, validation_data=(x, y), verbose=0), "validation_data: "
    elif method == "fit":
        call, what = lambda: model.fit(x, y, verbose=0), ""
    else:
        call, what = lambda: getattr(model, method)(x, y), ""
    before, given = picture(model), picture([x, y])
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.S), caught.value
    assert what in str(caught.value)
    assert picture([x, y]) == given
    assert picture(model) == before


@pytest.mark.parametrize("fault", [f for f, (x, *_) in DATA_FAULTS.items() if x is not X and f != "lengths differ"])
def test_predict_meets_the_same_faults_in_x(fault):
    x, _, error, message = DATA_FAULTS[fault]
    model = compiled().build(D)
    before = picture(model)
    with pytest.raises(error) as caught:
        model.predict(x)
    if fault not in ("one sample without batch axis", "a scalar"):
        assert re.search(message, str(caught.value)), caught.value
    assert "x" in str(caught.value)
    assert picture(model) == before


def test_predict_of_one_sample_says_how():
    with pytest.raises(ValueError, match=r"expected shape \(n, 4\), got \(4,\). One sample\? Use x\[None, :\]"):
        compiled().build(D).predict(X[0])


class Images(md.Layer):
    def build(self, input_shape):
        return (2, 2)


def shared_optimizer():
    sgd = md.SGD(0.1, momentum=0.9)
    for units in (5, 6):
        md.Sequential([md.Dense(units)], rng=0).compile(sgd).fit(X, Y, verbose=0)


SETTING_FAULTS = {
    "units 0": (lambda: md.Dense(0), ValueError, "units: expected a whole number of at least 1, got 0"),
    "units -1": (lambda: md.Dense(-1), ValueError, "got -1"),
    "units 2.5": (lambda: md.Dense(2.5), TypeError, r"whole number, got 2.5 \(float\)"),
    "units True": (lambda: md.Dense(True), TypeError, r"got True \(bool\)"),
    "units missing": (lambda: md.Dense(), TypeError, "Dense: missing a required argument: 'units'. It takes: units, activation"),
    "rate 0": (lambda: md.SGD(0), ValueError, "learning_rate: expected a finite number above 0, got 0"),
    "rate negative": (lambda: md.SGD(-0.1), ValueError, "got -0.1"),
    "rate NaN": (lambda: md.SGD(float("nan")), ValueError, "got nan"),
    "rate set to infinity": (lambda: setattr(md.SGD(), "learning_rate", np.inf), ValueError, "got inf"),
    "momentum 1": (lambda: md.SGD(momentum=1), ValueError, "momentum: expected a finite number at least 0 and below 1"),
    "nesterov alone": (lambda: md.SGD(nesterov=True), ValueError, "momentum=0.9"),
    "layer keyword": (lambda: md.Dense(3, activaton="relu"), TypeError, "Dense takes no keyword 'activaton'. Did you mean 'activation'"),
    "optimizer keyword": (lambda: md.SGD(lr=0.1), TypeError, "It takes: learning_rate"),
    "fit keyword": (lambda: compiled().fit(X, Y, epoch=3), TypeError, r"fit\(\) takes no keyword 'epoch'. Did you mean 'epochs'"),
    "model keyword": (lambda: md.Sequential([], seed=3), TypeError, "no keyword 'seed'"),
    "activation": (lambda: md.Dense(3, activation="rellu"), ValueError, "unknown activation 'rellu'. Did you mean 'relu'"),
    "initializer": (lambda: md.Dense(3, kernel_initializer="glorot"), ValueError, "Did you mean 'glorot_"),
    "optimizer name": (lambda: compiled().compile(optimizer="sdg"), ValueError, "Did you mean 'sgd'"),
    "loss name": (lambda: compiled().compile(loss="categorical"), ValueError, "unknown loss"),
    "metric name": (lambda: compiled().compile(metrics=["acuracy"]), ValueError, "Did you mean 'accuracy'"),
    "metrics no list": (lambda: compiled().compile(metrics="accuracy"), TypeError, r"use metrics=\['accuracy'\]"),
    "reduction": (lambda: md.SoftmaxCrossEntropy("average"), ValueError, "unknown reduction"),
    "optimizer class": (lambda: compiled().compile(optimizer=md.SGD), TypeError, r"make an object of it: SGD\(\)"),
    "loss class": (lambda: compiled().compile(loss=md.SoftmaxCrossEntropy), TypeError, r"SoftmaxCrossEntropy\(\)"),
    "layer class": (lambda: md.Sequential([md.ReLU]), TypeError, r"Make an object of it: ReLU\(...\)"),
    "no list of layers": (lambda: md.Sequential(md.Dense(3)), TypeError, r"expected a list of layers, got Dense; use \[Dense\(3\)\]"),
    "dtype": (lambda: md.Sequential(dtype="float16"), ValueError, "unknown dtype 'float16'. Did you mean 'float"),
    "rng": (lambda: md.Sequential(rng="0"), TypeError, "rng: expected None, an int or a numpy.random.Generator"),
    "batch_size 0": (lambda: compiled().fit(X, Y, batch_size=0), ValueError, "at least 1, got 0"),
    "batch_size -3": (lambda: compiled().fit(X, Y, batch_size=-3), ValueError, "got -3"),
    "batch_size 2.5": (lambda: compiled().fit(X, Y, batch_size=2.5), TypeError, "got 2.5"),
    "batch_size ful": (lambda: compiled().fit(X, Y, batch_size="ful"), ValueError, "Did you mean 'full'"),
    "epochs -1": (lambda: compiled().fit(X, Y, epochs=-1), ValueError, "epochs"),
    "split 1": (lambda: compiled().fit(X, Y, validation_split=1.0), ValueError, "below 1"),
    "split too small": (lambda: compiled().fit(X, Y, validation_split=1e-17), ValueError, "leaves one of the two parts empty"),
    "verbose": (lambda: compiled().fit(X, Y, verbose=3), ValueError, "verbose"),
    "verbose name": (lambda: compiled().fit(X, Y, verbose="loud"), ValueError, "verbose"),
    "callback": (lambda: compiled().fit(X, Y, callbacks=[print]), TypeError, "Callback objects"),
    "validation_data 5": (lambda: compiled().fit(X, Y, validation_data=5), TypeError, r"sample_weight\), got 5"),
    "validation_data array": (lambda: compiled().fit(X, Y, validation_data=X[:2]), TypeError, r"got an array of shape \(2, 4\)"),
    "no list of callbacks": (lambda: compiled().fit(X, Y, callbacks="EarlyStopping"), TypeError, "callbacks: expected a list"),
    "verbose None": (lambda: compiled().fit(X, Y, verbose=None), TypeError, "verbose"),
    "verbose 2.7": (lambda: compiled().fit(X, Y, verbose=2.7), TypeError, "verbose"),
    "ragged y": (lambda: compiled().fit(X, [[1], [1, 2]] * 3), ValueError, "y: expected labels, or rows of equal length"),
    "masked x": (lambda: compiled().fit(np.ma.masked_greater(X, 1), Y), TypeError, "without a mask"),
    "weights that overflow": (lambda: compiled().build(4).set_weights([np.full((4, 5), 1e300), *[0] * 3]), ValueError, r"weights\[0\]: row 0"),
    "two metrics of a name": (lambda: compiled().compile(metrics=["accuracy", "accuracy"]), ValueError, "names that differ"),
    "optimizer of another model": (lambda: shared_optimizer(), ValueError, "Give each model an optimizer of its own"),
    "backward, rows": (lambda: (m := compiled().build(4)).forward(X) is m.backward(np.ones((3, 3))), ValueError, r"\(6, 3\), that of forward's output, got \(3, 3\)"),
    "accuracy of one output": (lambda: md.Accuracy().update(np.ones(3), np.ones((3, 1))), ValueError, "at least two"),
    "loss of images": (lambda: md.Sequential([Images()]).compile().fit(X, Y), ValueError, r"scores of shape \(n, k\)"),
    "validation_data": (lambda: compiled().fit(X, Y, validation_data=(X,)), TypeError, r"expected a pair \(x, y\) or \(x, y, sample_weight\), got 1 items"),
    "fit before compile": (lambda: md.Sequential([md.Dense(3)]).fit(X, Y), RuntimeError, "not compiled: call model.compile"),
    "predict before built": (lambda: compiled().predict(X), RuntimeError, r"does not know the width .* model.build\(input_shape\)"),
    "evaluate before built": (lambda: compiled().evaluate(X, Y), RuntimeError, "not built"),
    "no layers": (lambda: md.Sequential().compile().fit(X, Y), ValueError, "has no layers"),
    "final ReLU": (lambda: md.Sequential([md.Dense(3, activation="relu")]).compile(), ValueError, r"takes scores.*ReLU\(\), layer 1"),
    "final Sigmoid": (lambda: md.Sequential([md.Dense(3), md.Sigmoid()]).compile(), ValueError, r"End it in Dense\(classes\)"),
    "final ReLU added": (lambda: compiled().add(md.ReLU()).fit(X, Y), ValueError, r"takes scores.*ReLU\(\), layer 4"),
    "same layer twice": (lambda: md.Sequential([layer := md.Dense(3), layer]), ValueError, r"Dense\(3\) is in this model already"),
    "build twice": (lambda: compiled().build(4).build(5), ValueError, r"built for inputs of shape \(4,\), not \(5,\)"),
    "input_shape": (lambda: compiled().build((4, 0)), ValueError, "input_shape"),
    "weights, number": (lambda: compiled().build(4).set_weights([]), ValueError, "expected 4 arrays, got 0"),
    "theta, shape": (lambda: setattr(compiled().build(4), "theta", [1.0]), ValueError, r"theta: expected shape \(43,\), got \(1,\)"),
    "backward, shape": (lambda: compiled().build(4).backward(np.ones((2, 4))), ValueError, "dy"),
    "softmax of images": (lambda: md.Sequential([md.Softmax()]).build((2, 2)), ValueError, r"\(n, k\), got \(n, 2, 2\)"),
    "loss backward first": (lambda: md.SoftmaxCrossEntropy().backward(), RuntimeError, "forward before backward"),
}  # fmt: skip


@pytest.mark.parametrize("fault", SETTING_FAULTS)
def test_setting_faults(fault):
    call, error, message = SETTING_FAULTS[fault]
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.S), caught.value


def test_a_layer_of_another_model_is_refused():
    layer = md.Dense(3)
    owner = md.Sequential([layer]).build(4)
    with pytest.raises(ValueError, match="part of another model"):
        md.Sequential([layer])
    del owner


def test_wrong_weights_change_nothing():
    model = compiled().build(D)
    weights = model.get_weights()
    weights[0] += 1
    weights[2] = weights[2][:, :1]
    before = picture(model)
    with pytest.raises(ValueError, match=r"weights\[2\]: expected shape \(5, 3\) for layers/2/W, got"):
        model.set_weights(weights)
    assert picture(model) == before


def test_failed_settings_leave_the_model_as_it_was():
    model = compiled().build(D)
    before = picture(model)
    for options in ({"batch_size": 0}, {"epochs": -1}, {"verbose": 7}, {"callbacks": [3]}, {"validation_split": 2}):
        with pytest.raises((TypeError, ValueError)):
            model.fit(X, Y, **options)
    for arguments in ({"optimizer": "x"}, {"loss": "x"}, {"metrics": ["x"]}):
        with pytest.raises(ValueError, match="unknown"):
            model.compile(**arguments)
    assert picture(model) == before


@pytest.mark.parametrize("size", [1, 2, "full"])
def test_divergence_stops_before_the_update(size):
    """A rate that multiplies the parameters by thousands at each step overflows float32 within a few."""
    model = md.Sequential([md.Dense(5), md.Dense(5), md.Dense(K)], rng=0).compile(md.SGD(1e4))
    seen = []
    keep = md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(model.theta.copy()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError) as caught:
            model.fit(X, Y, batch_size=size, epochs=50, callbacks=[keep], verbose=0)
    text = str(caught.value)
    found = re.search(r"in epoch (\d+), step (\d+); the first .* is the output of Dense\(\d\), layer \d", text)
    assert found, text
    steps_per_epoch = {1: 6, 2: 3, "full": 1}[size]
    assert (int(found[1]) - 1) * steps_per_epoch + int(found[2]) - 1 == len(seen)
    assert np.array_equal(model.theta, seen[-1])
    assert np.isfinite(model.theta).all()


def test_large_but_finite_scores_are_no_divergence():
    """Scores beyond 1.8e19 overflow the cheap check's product, but not the loss."""
    model = md.Sequential([md.Dense(2)], rng=0).compile(md.SGD(1e-30))
    x = np.full((4, 3), 1e25)
    model.fit(x, [0, 1, 0, 1], verbose=0)
    assert np.isfinite(model.evaluate(x, [0, 1, 0, 1])["loss"])


def test_the_nearest_name_is_difflibs():
    assert difflib.get_close_matches("ful", ["full"]) == ["full"]


# ---------------------------------------------------------------------- files


def dropout_model():
    layers = [md.Dense(5), md.BatchNormalization(), md.ReLU(), md.Dropout(0.5), md.Dense(K), md.Softmax()]
    return md.Sequential(layers, rng=0).compile(md.Adam(), metrics=["accuracy"])


def resumed(path, **options):
    options = {"batch_size": 2, "epochs": 3, "validation_data": (X, Y), "verbose": 0} | options
    return lambda m: m.fit(options.pop("x", X), options.pop("y", Y), resume=path, **options)


# In a folder with run.npz (a checkpoint of the model's own training), model.npz, weights.npz, other.npz (another
# model), other_run.npz, cut.npz (cut off), flipped.npz (one bit), numpy.npz and text.npz: what is done with the model,
# the error, and what its message must say.
FILE_FAULTS = {
    "load_weights, cut off": (lambda m: m.load_weights("cut.npz"), md.CorruptFileError, "cut.npz: damaged.*it is cut off"),
    "load_weights, a flipped bit": (lambda m: m.load_weights("flipped.npz"), md.CorruptFileError, "flipped.npz: damaged"),
    "load_weights, text": (lambda m: m.load_weights("text.npz"), md.CorruptFileError, "not written by minidense"),
    "load_weights, of NumPy": (lambda m: m.load_weights("numpy.npz"), md.CorruptFileError, "not written by minidense"),
    "load_weights, none": (lambda m: m.load_weights("none.npz"), FileNotFoundError, "none.npz"),
    "load_weights, a folder": (lambda m: m.load_weights("folder"), IsADirectoryError, "folder"),
    "load_weights, others": (lambda m: m.load_weights("other.npz"), ValueError, r"does not fit the model:.*layers/0/W has shape \(4, 7\) in the file, and \(4, 5\) in Dense\(5\), layer 0.*layers/1/gamma is missing"),
    "load_weights, a number": (lambda m: m.load_weights(5), (OSError, TypeError), ""),
    "load_model, cut off": (lambda m: md.load_model("cut.npz"), md.CorruptFileError, "cut off"),
    "load_model, a flipped bit": (lambda m: md.load_model("flipped.npz"), md.CorruptFileError, "flipped.npz"),
    "load_model, weights": (lambda m: md.load_model("weights.npz"), ValueError, "weights only: make the model, and call model.load_weights"),
    "load_model, custom_objects": (lambda m: md.load_model("model.npz", [md.Dense]), TypeError, "custom_objects: expected a dict"),
    "save, a folder": (lambda m: m.save("folder"), IsADirectoryError, "nothing was saved"),
    "save, a device": (lambda m: m.save("/dev/null"), OSError, "not a regular file"),
    "save, a number": (lambda m: m.save(5), TypeError, "path: expected a path such as"),
    "resume, none": (resumed("none.npz"), FileNotFoundError, "there is no checkpoint"),
    "resume, cut off": (resumed("cut.npz"), md.CorruptFileError, "cut off"),
    "resume, a flipped bit": (resumed("flipped.npz"), md.CorruptFileError, "flipped.npz"),
    "resume, a model": (resumed("model.npz"), ValueError, "it was written by model.save"),
    "resume, weights": (resumed("weights.npz"), ValueError, "weights only"),
    "resume, another model": (resumed("other_run.npz"), ValueError, "cannot resume from other_run.npz:.*number of layers is 2 in the file, and 6 here.*optimizer is SGD"),
    "resume, another batch size": (resumed("run.npz", batch_size=3), ValueError, "rows a batch: 2 in the file, 3 here"),
    "resume, other rows": (resumed("run.npz", x=X[:4], y=Y[:4]), ValueError, "rows: 6 in the file, 4 here"),
    "resume, weighted": (resumed("run.npz", sample_weight=np.ones(N)), ValueError, "weights: None in the file"),
    "resume, bad data": (resumed("run.npz", x=changed(X, (2, 1), np.nan)), ValueError, "x: row 2, column 1 is nan"),
    "resume, bad labels": (resumed("run.npz", y=Y + 1), ValueError, "Do the labels start at 1"),
    "checkpoint, unsaveable": (lambda m: m.fit(X, Y, verbose=0, callbacks=[md.callbacks.ModelCheckpoint("new.npz"), Unsaveable()]), ValueError, "training/callbacks/1/saved/seen: .*lock.* cannot be saved"),
    "checkpoint, bad name": (lambda m: m.fit(X, Y, verbose=0, callbacks=[md.callbacks.ModelCheckpoint("{x.npz")]), ValueError, "is not a valid template"),
}  # fmt: skip


class Unsaveable(md.Callback):
    saved = ("seen",)

    def __init__(self):
        self.seen = threading.Lock()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model = dropout_model()
    keep = md.callbacks.ModelCheckpoint(folder / "run.npz", every=4)
    model.fit(X, Y, batch_size=2, epochs=2, validation_data=(X, Y), verbose=0, callbacks=[keep])
    model.save(folder / "model.npz")
    model.save_weights(folder / "weights.npz")
    other = md.Sequential([md.Dense(7), md.Dense(K)], rng=0).compile()
    other.fit(X, Y, verbose=0, callbacks=[md.callbacks.ModelCheckpoint(folder / "other_run.npz")])
    other.save(folder / "other.npz")
    whole = (folder / "run.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[:-1])
    flipped = bytearray(whole)
    flipped[whole.index(b"layers/0/W.npy") + 200] ^= 1
    (folder / "flipped.npz").write_bytes(flipped)
    np.savez(folder / "numpy.npz", W=np.ones(3))
    (folder / "text.npz").write_text("W = 1")
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_file_faults(fault, files, monkeypatch):
    call, error, message = FILE_FAULTS[fault]
    monkeypatch.chdir(files)
    model = dropout_model()
    model.fit(X, Y, batch_size=2, verbose=0)
    before, given = picture(model), picture([X, Y])
    on_disk = {path.name: path.is_file() and path.read_bytes() for path in files.iterdir()}
    with pytest.raises(error) as caught:
        call(model)
    assert re.search(message, str(caught.value), re.S), caught.value
    assert picture(model) == before
    assert picture([X, Y]) == given
    assert {path.name: path.is_file() and path.read_bytes() for path in files.iterdir()} == on_disk


def test_the_faults_are_those_of_the_call(files, monkeypatch):
    """The same calls without the fault succeed."""
    monkeypatch.chdir(files)
    model = dropout_model()
    resumed("run.npz")(model)
    model.load_weights("weights.npz")
    md.load_model("model.npz")


# ---------------------------------------------------------------------- what ends in the middle


class Fails(md.Layer):
    """Raises at its third forward or backward pass in training."""

    def __init__(self, where):
        self.where_to_fail, self.calls = where, 0

    def forward(self, x, training):
        self.fail("forward", training)
        return x

    def backward(self, dy):
        self.fail("backward", True)
        return dy

    def fail(self, where, training):
        self.calls += training and where == self.where_to_fail
        if self.calls == 3:
            self.calls = 0
            raise ZeroDivisionError(where)


class FailingLoss(md.MeanSquaredError):
    def gradient(self, scores, targets):
        if not hasattr(self, "left"):
            self.left = 2
        if not self.left:
            del self.left
            raise ZeroDivisionError("loss")
        self.left -= 1
        return super().gradient(scores, targets)


def endless():
    for i in range(10**9):
        if i == 2:
            raise ZeroDivisionError("data")
        yield X[:2], np.eye(K)[Y[:2]]


ENDS = {
    "a layer's forward": (lambda m: m.fit(X, np.eye(K)[Y], batch_size=2, verbose=0), [Fails("forward")], "mse"),
    "a layer's backward": (lambda m: m.fit(X, np.eye(K)[Y], batch_size=2, verbose=0), [Fails("backward")], "mse"),
    "a loss": (lambda m: m.fit(X, np.eye(K)[Y], batch_size=2, verbose=0), [], FailingLoss()),
    "a callback": (lambda m: m.fit(X, np.eye(K)[Y], batch_size=2, verbose=0, callbacks=[md.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: 1 // (1 - batch))]), [], "mse"),
    "a generator": (lambda m: m.fit(endless(), steps_per_epoch=3, verbose=0), [], "mse"),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_an_end_in_the_middle_leaves_a_whole_step(end):
    """An error in the third step of the first epoch: two updates, and no epoch in the History."""
    call, layers, loss = ENDS[end]
    model = md.Sequential([md.Dense(5), *layers, md.Dense(K)], rng=0).compile(md.SGD(0.1, momentum=0.5), loss)
    identity = [md.LeakyReLU(1.0) for _ in layers]
    twin = md.Sequential([md.Dense(5), *identity, md.Dense(K)], rng=0).compile(md.SGD(0.1, momentum=0.5), "mse")
    if end == "a generator":
        for _ in range(2):
            twin.train_on_batch(X[:2], np.eye(K)[Y[:2]])
    else:
        order = np.arange(N, dtype=np.uint32)
        md.Sequential([], rng=0).network.generators.shuffle.shuffle(order)
        for start in (0, 2):
            rows = order[start : start + 2]
            twin.train_on_batch(X[rows], np.eye(K)[Y[rows]])
    with pytest.raises((ZeroDivisionError, RuntimeError)) as caught:
        call(model)
    assert isinstance(caught.value, ZeroDivisionError) or "the data source failed in epoch 1, step 3" in str(
        caught.value
    )
    np.testing.assert_array_equal(model.theta, twin.theta)
    assert model.optimizer.iterations == 2
    assert model.history.epoch == []
    assert model.predict(X).shape == (N, K)
    model.fit(X, np.eye(K)[Y], batch_size="full", epochs=2, verbose=0)  # it can be trained on
    assert model.history.epoch == [0, 1]
