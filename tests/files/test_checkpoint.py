"""A checkpoint is a model and a run; what differs is said at once, and what is alike is taken over."""

import re

import numpy as np
import pytest
from snapshots import picture

import minidense as md
from minidense import schedules
from minidense.files import checkpoint, model_file

random = np.random.default_rng(3)
X = random.normal(size=(40, 4)).astype("float32")
Y = random.integers(0, 3, 40)
STATE = {"number": 7, "epoch": 2, "scores": np.ones((2, 3), "f"), "order": np.random.default_rng(5), "callbacks": []}


class Noise(md.Layer):
    def __init__(self, rng, size=0.1):
        self.rng_of_mine, self.size = rng, size

    def forward(self, x, training):
        return x + self.rng_of_mine.normal(size=x.shape) * self.size if training else x

    def backward(self, dy):
        return dy


class Counting(md.MeanSquaredError):
    saved = ("steps",)
    steps = 0

    def forward(self, scores, y):
        self.steps += 1
        return super().forward(scores, y)


def layers():
    return [
        md.Dense(5, "relu"),
        md.Residual([md.Dense(5), md.Dropout(0.3)]),
        Noise(np.random.default_rng(2)),
        md.Dense(3),
    ]


def model(optimizer=None, loss="sparse_categorical_crossentropy", parts=None, metrics=("accuracy", "f1"), **more):
    made = md.Sequential(layers() if parts is None else parts, **{"rng": 0, **more})
    return made.compile(optimizer or md.Adam(0.01), loss, metrics)


def saved(made, path):
    checkpoint.write_checkpoint(path, made, STATE)
    return checkpoint.read_checkpoint(path, checkpoint.custom_of(made), md.Sequential)


def differences(mine, theirs, their_words=None):
    """Those of a run of one model and a file's, whose run began as it is, or as these words say."""
    return checkpoint.differences(mine, checkpoint.words_of(mine), theirs, their_words or checkpoint.words_of(theirs))


def test_the_run_comes_back(tmp_path):
    path = tmp_path / "run.npz"
    trained = model()
    trained.fit(X, Y, verbose=0)
    theirs, state = saved(trained, path)
    assert picture(state) == picture(STATE)
    assert model_file.encoded(theirs)[0] == model_file.encoded(trained)[0]
    loaded = md.load_model(path, {"Noise": Noise})
    assert loaded.predict(X).tobytes() == trained.predict(X).tobytes()
    trained.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"no training run to resume: it was written by model.save. Load it with"):
        checkpoint.read_checkpoint(tmp_path / "model.npz", {"Noise": Noise}, md.Sequential)
    with pytest.raises(ValueError, match="it has Noise, which are not in this model and its callbacks"):
        checkpoint.read_checkpoint(path, {}, md.Sequential)


def test_the_number_of_a_run(tmp_path):
    path = tmp_path / "run.npz"
    saved(model().build(4), path)
    assert checkpoint.run_number(path) == 7
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    assert checkpoint.run_number(path) is None
    checkpoint.write_checkpoint(path, model().build(4), {"number": "7"})
    assert checkpoint.run_number(path) is None
    for write in (model_file.write_model, model_file.write_weights):
        write(path, model().build(4))
        assert checkpoint.run_number(path) is None
    for strange in (tmp_path, tmp_path / "none.npz", "/dev/zero"):
        assert checkpoint.run_number(strange) is None


def test_what_training_changes_is_no_difference(tmp_path):
    trained = model(loss=Counting(), metrics=()).build(4)
    began = checkpoint.words_of(trained)
    trained.fit(X, random.normal(size=(40, 3)), verbose=0)
    trained.layers[2].f.children[1].rate = 0.2
    trained.optimizer.learning_rate = 0.5
    theirs, _ = saved(trained, tmp_path / "run.npz")
    mine = model(loss=Counting(), metrics=()).build(4)
    assert differences(mine, theirs, began) == []
    assert "layer 2 is Residual([Dense(5), Dropout(0.2)]) in the file" in differences(mine, theirs)[1]
    objects = [*mine.layers, mine.optimizer, mine.loss, mine.theta]
    checkpoint.take_over(mine, theirs)
    assert [*mine.layers, mine.optimizer, mine.loss] == objects[:-1]
    assert mine.theta is objects[-1]
    mine.history = theirs.history
    ours, others = model_file.encoded(mine), model_file.encoded(trained)
    assert ours[0] == others[0]
    assert {k: v.tobytes() for k, v in ours[1].items()} == {k: v.tobytes() for k, v in others[1].items()}
    assert (mine.layers[2].f.children[1].rate, mine.optimizer.learning_rate, mine.loss.steps) == (
        0.2,
        0.5,
        trained.loss.steps,
    )
    for each in (mine, trained):
        each.fit(X, np.ones((40, 3)), epochs=2, verbose=0)
    assert mine.theta.tobytes() == trained.theta.tobytes()


def test_a_schedule_that_was_set_is_taken_over(tmp_path):
    trained = model(md.SGD(schedules.Constant(0.1)))
    trained.build(4).optimizer.learning_rate = schedules.CosineDecay(0.3, 10)
    theirs, _ = saved(trained, tmp_path / "run.npz")
    mine = model(md.SGD(schedules.Constant(0.1))).build(4)
    checkpoint.take_over(mine, theirs)
    assert repr(mine.optimizer) == repr(trained.optimizer) == "SGD(learning_rate=CosineDecay(0.3, 10))"
    assert mine.optimizer.rate == 0.3
    assert model_file.encoded(mine)[0] == model_file.encoded(trained)[0]


def frozen():
    made = model()
    made.layers[2].trainable = False
    return made


def renamed():
    made = model()
    made.metrics[1].name = "F"
    return made


DIFFERENT = {
    "dtype": (lambda: model(dtype="float64"), "the dtype is 'float64' in the file, and 'float32' here"),
    "layers": (lambda: model(parts=[md.Dense(3)]), "the number of layers is 1 in the file, and 5 here"),
    "an argument": (
        lambda: model(parts=[md.Dense(5, "tanh"), *layers()[1:]]),
        r"layer 1 is Tanh\(\) in the file, and ReLU\(\) here",
    ),
    "an argument within": (
        lambda: model(parts=[layers()[0], md.Residual([md.Dense(5), md.Dropout(0.4)]), *layers()[2:]]),
        r"layer 2 is Residual\(.*Dropout\(0.4\)\]\) in the file, and Residual\(.*Dropout\(0.3\)\]\) here",
    ),
    "trainable": (frozen, r"trainable of layer 2 is False in the file, and True here"),
    "trainable within": (frozen, r"trainable of layer 2/f/0 is False in the file, and True here"),
    "weighted metrics": (
        lambda: model().compile(md.Adam(0.01), metrics=["accuracy", "f1"], weighted_metrics=["auc"]),
        "the number of weighted metrics is 1 in the file, and 0 here",
    ),
    "the name asked for": (
        lambda: model(metrics=("acc", "f1")),
        "the name of metric 0 is 'acc' in the file, and 'accuracy' here",
    ),
    "the optimizer": (
        lambda: model(md.SGD(0.1)),
        r"the optimizer is SGD\(learning_rate=0.1\) in the file, and Adam\(learning",
    ),
    "the loss": (
        lambda: model(loss=md.SoftmaxCrossEntropy("sum")),
        r"the loss is SoftmaxCrossEntropy\(reduction='sum'\) in the file, and SoftmaxCrossEntropy\(\) here",
    ),
    "the number of metrics": (lambda: model(metrics=["f1"]), "the number of metrics is 1 in the file, and 2 here"),
    "a metric": (lambda: model(metrics=["f1", "auc"]), r"metric 0 is F1\(\) in the file, and Accuracy\(\) here"),
    "a metric's name": (renamed, r"the name of metric 1 is 'F' in the file, and 'f1' here"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_differences(case, tmp_path):
    make, message = DIFFERENT[case]
    theirs, _ = saved(make().build(4), tmp_path / "run.npz")
    mine = model().build(4)
    found = "\n".join(differences(mine, theirs))
    assert re.search(message, found), found
    assert differences(mine, mine) == []


def test_a_model_that_is_not_what_its_words_say(tmp_path):
    """Before any array is taken over: a file may say what it likes."""
    mine, others = model().build(4), model(parts=[*layers()[:-1], md.Dense(4)]).build(4)
    for theirs in (others, model(md.SGD()).build(4), model(metrics=()).build(4), model(parts=layers()[:2]).build(4)):
        read, _ = saved(theirs, tmp_path / "run.npz")
        found = differences(mine, read, checkpoint.words_of(mine))
        assert found == ["its model is not the one that its run began with"]
    assert differences(mine, mine, 5) == ["what it says about the model is incomplete"]
    assert "the loss is a dict in the file" in differences(mine, mine, {"the loss": {str(i): i for i in range(99)}})[6]


def test_arguments_that_callbacks_have_set_are_taken_over(tmp_path):
    """Numbers, text, lists and arrays, and what is frozen; but for layers, which are taken one by one."""

    class Any(Noise):
        def __init__(self, size, table=None):
            self.size, self.table = size, table

        def forward(self, x):
            return x

    trained, mine = (model(parts=[Any([1, 2], np.ones(3)), md.Dense(3)]).build(4) for _ in range(2))
    layer = trained.layers[0]
    layer.size, layer.table, trained.loss.label_smoothing = (3, "x"), np.arange(4.0), 0.1
    theirs, _ = saved(trained, tmp_path / "run.npz")
    checkpoint.take_over(mine, theirs)
    assert mine.layers[0].size == (3, "x")
    assert (mine.layers[0].table == np.arange(4.0)).all()
    assert mine.loss.label_smoothing == 0.1


def test_what_is_ones_own_is_found():
    assert checkpoint.custom_of(model(loss=Counting(), metrics=())) == {"Noise": Noise, "Counting": Counting}
    assert checkpoint.custom_of(model(md.SGD(lambda step: 0.1))) == {"Noise": Noise}


def test_what_a_callback_has_frozen_is_resumed(tmp_path):
    """A run trains what was not frozen as it began, and so does a resumed one; the attribute is as it was set since."""

    class Thaw(md.Callback):
        def on_epoch_end(self, epoch, logs):
            if not epoch:
                self.model.layers[0].trainable, self.model.layers[2].trainable = True, False

    def run(epochs, *more, **resume):
        made = model()
        made.layers[0].trainable = False
        made.fit(X, Y, epochs=epochs, batch_size=8, verbose=0, callbacks=[Thaw(), *more], **resume)
        return made

    whole, path = run(3), tmp_path / "run.npz"
    run(2, md.callbacks.ModelCheckpoint(path))
    resumed = run(3, resume=path)
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    assert [layer.trainable for layer in resumed.layers] == [layer.trainable for layer in whole.layers]
    assert resumed.layers[0].trainable
    assert not resumed.layers[2].trainable
