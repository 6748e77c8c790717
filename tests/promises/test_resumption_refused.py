"""A run that cannot be resumed or saved is refused, with a list of all problems, before anything changes."""

import copy
import datetime
import functools
import io
import itertools
import operator

import numpy as np
import pytest
from forge import sealed, taken_apart
from frames import Frame
from snapshots import picture

import minidense as md
from minidense import callbacks

random = np.random.default_rng(7)
X = random.normal(size=(150, 8)).astype("float32")
Y = random.integers(0, 4, 150)


def largest(y_true, y_pred):
    return y_pred.max()


def network(optimizer=None, metrics=("accuracy", "auc", "f1", largest)):
    layers = [md.Dense(6), md.Residual([md.BatchNormalization(), md.Dropout(0.3)]), md.ReLU(), md.Dense(4)]
    return md.Sequential(layers, rng=3).compile(optimizer or md.SGD(0.1, momentum=0.9), metrics=metrics)


def options(**more):
    return {"batch_size": 20, "epochs": 2, "validation_data": (X[:30], Y[:30]), "verbose": 0, **more}


def saved(path, model=None, watch=(), every="epoch", **more):
    """A checkpoint of a run that has ended."""
    keep = callbacks.ModelCheckpoint(path, every=every)
    (model or network()).fit(X, Y, **options(callbacks=[keep, *watch], **more))
    return path


def assert_refused(message, path, model=None, watch=(), make=network, x=X, y=Y, **more):
    """Resuming is that error; it changes no model, the given one or a new, built and trained one, and no callback."""
    models = [model] if model is not None else [make(), make().build(8), make()]
    if model is None:
        models[2].fit(X[:40], Y[:40], verbose=0)
    for each in models:
        before = picture(each), [picture(vars(callback)) for callback in watch]
        with pytest.raises(ValueError, match=message) as caught:
            each.fit(x, y, **options(callbacks=list(watch), **more), resume=path)
        assert (picture(each), [picture(vars(callback)) for callback in watch]) == before
    return str(caught.value)


# ---------------------------------------------------------------------- other models, runs and callbacks


def test_another_model_is_said_with_all_differences(tmp_path):
    path = saved(tmp_path / "run.npz")
    for built in (False, True):
        other = md.Sequential([md.Dense(7), md.ReLU(), md.Dense(4)], rng=0)
        other.compile(md.Adam(), md.SoftmaxCrossEntropy("sum"), metrics=["accuracy", "auc", "f1", largest])
        if built:
            other.build(8)
        said = assert_refused("cannot resume from", path, other)
        assert "number of layers is 4 in the file, and 3 here" in said
        assert "the optimizer is SGD(learning_rate=0.1, momentum=0.9) in the file, and Adam() here" in said
        assert "the loss is SoftmaxCrossEntropy() in the file, and SoftmaxCrossEntropy(reduction='sum') here" in said
    assert_refused("it has largest, which are not in this model", path, network(metrics=["accuracy"]))


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    ("where", "of"), [("0", lambda m: m.layers[0]), ("1/f/0", lambda m: m.layers[1].f.children[0])]
)
def test_other_frozen_layers(where, of, built, tmp_path):
    for frozen in (True, False):
        model, other = network(), network()
        of(model if frozen else other).trainable = False
        path = saved(tmp_path / "run.npz", model, epochs=1)
        message = f"trainable of layer {where} is {not frozen} in the file, and {frozen} here"
        assert_refused(message, path, other.build(8) if built else other)


DIFFERENT = {
    "batch size": ({"batch_size": 10}, "rows a batch: 20 in the file, 10 here"),
    "accumulation": ({"gradient_accumulation_steps": 2}, "rows a batch: 20 in the file, 40 here"),
    "order": ({"shuffle": False}, "shuffle: True in the file, False here"),
    "rows": ({"x": X[:100], "y": Y[:100]}, "rows: 150 in the file, 100 here"),
    "weights": ({"class_weight": "balanced"}, "weights: None in the file, with the checksum"),
    "validation": ({"validation_data": None}, "validation rows: 30 in the file, 0 here"),
    "epochs": ({"epochs": 1}, "epochs: 1 and 3 steps are completed in the file, 1 requested here"),
    "a callback less": ({"watch": []}, "the callback 'EarlyStopping' is missing here; pass one again"),
    "a callback of other arguments": (
        {"watch": [callbacks.EarlyStopping("loss", patience=3)]},
        "the patience of EarlyStopping is 9 in the file, and 3 here",
    ),
    "one of two": (
        {"watch": [callbacks.EarlyStopping("loss", patience=9), callbacks.ModelCheckpoint("never.npz")]},
        "it has 2 callbacks ModelCheckpoint, matched by their order, but 1 passed here",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_run(case, tmp_path):
    more, message = DIFFERENT[case]
    watch = [callbacks.EarlyStopping("loss", patience=9), callbacks.ModelCheckpoint(tmp_path / "best.npz")]
    make = lambda: network(metrics=["accuracy"])  # noqa: E731 - one that takes weights
    path = saved(tmp_path / "run.npz", make(), watch, every=11)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert_refused(message, path, **{"watch": watch, "make": make, **more})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["best.npz", "run.npz"]


COLUMNS = [f"c{i}" for i in range(8)]
FRAME = Frame({name: X[:, i] for i, name in enumerate(COLUMNS)})
NAMES = np.array(["ash", "elm", "fir", "oak"])[Y]


def test_other_names(tmp_path):
    path, model = tmp_path / "run.npz", network(metrics=["accuracy"])
    keep = callbacks.ModelCheckpoint(path, every=11)
    model.fit(FRAME, NAMES, **options(callbacks=[keep], validation_data=(FRAME, NAMES)))
    others = np.where(NAMES == "ash", "yew", NAMES)
    turned = FRAME[COLUMNS[::-1]]
    one_metric = functools.partial(network, metrics=["accuracy"])
    columns = f"the columns of x: {COLUMNS} in the file, {COLUMNS[::-1]} here"
    classes = "the classes of y: ['ash', 'elm', 'fir', 'oak'] in the file, "
    for x, y, messages in (
        (turned, others, [columns, classes + "['elm', 'fir', 'oak', 'yew'] here"]),
        (FRAME, Y, [classes + "numbers here"]),
        (turned, NAMES, [columns]),
    ):
        fresh = one_metric()
        said = assert_refused("cannot resume", path, fresh, x=x, y=y, validation_data=(x, y))
        assert said.count("\n- ") == (len(messages) if len(messages) > 1 else 0)
        assert all(message in said for message in messages)
    for x in (FRAME, X):  # an array has no columns to compare; the model keeps those of the file
        resumed = one_metric()
        resumed.fit(x, NAMES, **options(validation_data=(x, NAMES)), resume=path)
        assert resumed.theta.tobytes() == model.theta.tobytes()
        assert resumed._names == model._names == md.load_model(path)._names


def test_all_differences_are_said_at_once(tmp_path):
    path, other = saved(tmp_path / "run.npz", watch=[callbacks.EarlyStopping("loss", patience=9)]), network(md.Adam())
    watch = [callbacks.EarlyStopping("accuracy", patience=3)]
    said = assert_refused("cannot resume", path, other, watch, batch_size=10, validation_data=None)
    for line in (
        "the optimizer is SGD",
        "rows a batch: 20",
        "validation rows: 30",
        "the monitor of EarlyStopping is 'loss' in the file, and 'accuracy' here",
        "the patience of",
    ):
        assert line in said


def test_files_that_have_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint; begin with resume=None"):
        network().fit(X, Y, **options(resume=tmp_path / "none.npz"))
    model = network().build(8)
    model.save(tmp_path / "model.npz")
    assert_refused("no training run to resume: it was written by model.save", tmp_path / "model.npz")
    model.save_weights(tmp_path / "weights.npz")
    assert_refused("weights only", tmp_path / "weights.npz")


def batches(rows):
    for start in range(0, 10**9, rows):
        part = np.arange(start, start + rows) % len(X)
        yield X[part], Y[part]


def test_a_source_that_ends_on_the_way(tmp_path):
    path, model = tmp_path / "run.npz", network().build(8)
    keep = callbacks.ModelCheckpoint(path)
    network().fit(batches(30), steps_per_epoch=4, epochs=2, verbose=0, callbacks=[keep])
    before = picture(model)
    with pytest.raises(ValueError, match=r"ended before epoch 2, step 2.*These batches are skipped to resume the run"):
        model.fit(itertools.islice(batches(30), 5), steps_per_epoch=4, epochs=3, verbose=0, resume=path)
    assert picture(model) == before


def test_a_source_is_not_read_on_for_a_run_that_is_refused(tmp_path):
    class Unsaved(md.Callback):
        saved = ("nothing",)

    path, source = tmp_path / "run.npz", batches(30)
    keep = callbacks.ModelCheckpoint(path)
    network().fit(batches(30), steps_per_epoch=4, verbose=0, callbacks=[keep])
    with pytest.raises(ValueError, match="names 'nothing' in `saved`, but has no such attribute"):
        network().fit(source, steps_per_epoch=4, epochs=2, verbose=0, callbacks=[keep, Unsaved()], resume=path)
    np.testing.assert_array_equal(next(source)[0], X[np.arange(30, 60)])  # but for the first, which was checked


# ---------------------------------------------------------------------- what cannot be saved


class Counting(md.Callback):
    saved = ("steps", "note")

    def __init__(self, steps=0, note=""):
        self.steps, self.note = steps, note


def test_what_a_callback_cannot_save_is_said_before_the_first_step(tmp_path):
    unnamed = Counting()
    del unnamed.note
    for callback, message in (
        (unnamed, r"names 'note' in `saved`, but has no such attribute"),
        (Counting(note=datetime.date(2024, 1, 1)), r"datetime.date\(2024, 1, 1\) cannot be saved"),
    ):
        model, watch = network(), [callbacks.ModelCheckpoint(tmp_path / "run.npz"), callback]
        before = picture(model)
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, **options(callbacks=watch))
        assert picture(model) == before
        assert callback.model is None
        assert not list(tmp_path.iterdir())


class Most(md.Metric):
    name = "most"

    def reset(self):
        self.value = -np.inf

    def update(self, y_true, y_pred, weights=None):
        self.value = max(self.value, float(y_pred.max()))

    def result(self):
        return self.value


class MostSaid(Most):
    saved = ("value",)


class MostMade(Most):
    """Has no result before there are rows."""

    def reset(self):
        self.values = []

    def update(self, y_true, y_pred, weights=None):
        self.values.append(y_pred.max())

    def result(self):
        return float(max(self.values))


@pytest.mark.parametrize("metric", [Most, MostMade])
def test_a_metric_that_does_not_say_what_it_counts_in(metric, tmp_path):
    """An error within an epoch, but not at its end, from where the run can be resumed to the bit."""
    path, model = tmp_path / "run.npz", network(metrics=[metric()])
    with pytest.raises(
        ValueError, match=r"the metric most cannot be saved in the middle of an epoch.*saved = \('count'"
    ):
        model.fit(X, Y, **options(callbacks=[callbacks.ModelCheckpoint(path, every=3)]))
    assert model.optimizer.iterations == 3
    assert not path.exists()
    whole = network(metrics=[metric()]).fit(X, Y, **options(epochs=4)).history
    saved(path, network(metrics=[metric()]))
    assert network(metrics=[metric()]).fit(X, Y, **options(epochs=4, resume=path)).history == whole
    saved(path, network(metrics=[MostSaid()]), every=3)


# ---------------------------------------------------------------------- forged files

WRONG = (None, True, -1, 1.5, 3, 10**4000, "text", [], [3], {}, {"a": 1}, {"$float": "nan"}, {"$tuple": []})
WRONG += (
    {"$number": "<f4", "value": 3.0},
    [[[]]],
    {"$dict": [[3, 3]]},
    {"$array": "values/training/forged"},
    "x" * 10**6,
)


POSSIBLE = {"number": [3], "stopped": [True], "callbacks": [[]], "BLAS": ["text", "x" * 10**6]}
"""Of the wrong ones, those that another run might have said."""


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """The manifest and the arrays of a checkpoint at step 4 of the second epoch, within a block."""
    watch = [callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True), callbacks.GradientHealth()]
    path = saved(tmp_path_factory.mktemp("genuine") / "run.npz", watch=[*watch, Counting()], every=12)
    return taken_apart(path.read_bytes())


class Victim:
    """A model and callbacks to try files on; they are replaced when one of the files was accepted."""

    def __init__(self, path, genuine):
        self.path, self.genuine = path, genuine
        self.renew()

    def renew(self):
        self.model = network().build(8)
        self.watch = [
            callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),
            callbacks.GradientHealth(),
        ]
        self.watch += [callbacks.ModelCheckpoint(self.path.with_name("never.npz"), every=9**9), Counting()]
        self.before = self.picture()

    def picture(self):
        return picture(self.model), [picture(vars(callback)) for callback in self.watch]

    def refuses(self, training=None, model=None):
        """Whether a file with this content is refused by a ValueError without any change; other errors are raised."""
        manifest, arrays = self.genuine
        forged = {**manifest, **({} if training is None else {"training": training})}
        forged |= {} if model is None else {"model": model}
        self.path.write_bytes(sealed(forged, {**arrays, "values/training/forged": next(iter(arrays.values()))}))
        try:
            self.model.fit(X, Y, **options(callbacks=self.watch, resume=self.path))
        except ValueError as error:
            said = str(error)
        else:
            self.renew()
            return False
        assert str(self.path) in said
        assert len(said) < 3000
        assert self.picture() == self.before
        return True


@pytest.fixture
def victim(genuine, tmp_path):
    return Victim(tmp_path / "forged.npz", genuine)


def places(data, path=()):
    """The paths of all values in a manifest."""
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, part in items:
        if not (isinstance(key, str) and key.startswith("$")):
            yield from places(part, (*path, key))


def put(data, path, value):
    if not path:
        return value
    data = copy.copy(data)
    data[path[0]] = put(data[path[0]], path[1:], value)
    return data


PARTS = [
    "number",
    "epoch",
    "step",
    "steps_made",
    "order_from",
    "words",
    "facts",
    "BLAS",
    "stopped",
    "report",
    "running",
]
PARTS += ["unreported", "callbacks"]


def test_a_genuine_file_is_taken(victim, genuine):
    training = genuine[0]["training"]
    assert list(training) == PARTS
    assert (training["epoch"], training["step"], training["steps_made"]) == (1, 4, 12)
    assert not victim.refuses(training)
    assert not victim.refuses(put(training, ("steps_made",), 11))  # the first epoch may have ended early


@pytest.mark.filterwarnings("ignore:.* was computed by .{,80}, and is resumed by")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_forged(part, victim, genuine):
    training = genuine[0]["training"]
    assert victim.refuses({name: training[name] for name in PARTS if name != part})
    assert victim.refuses({**training, part + "_": training[part]})
    for wrong in WRONG:
        refused = victim.refuses(put(training, (part,), wrong))
        assert refused == (wrong not in POSSIBLE.get(part, [])), wrong


@pytest.mark.parametrize("part", ["words", "facts", "report", "running", "callbacks"])
def test_what_is_within_a_part_is_refused_or_harmless(part, victim, genuine):
    """Either it is refused, or the run reaches its end. An array in place of another array is not checked."""
    training, refused, harmless = genuine[0]["training"], 0, 0
    for path in places(training[part], (part,)):
        was = functools.reduce(operator.getitem, path, training)
        for wrong in WRONG:
            if not (isinstance(was, dict) and isinstance(wrong, dict) and "$array" in was and "$array" in wrong):
                yes = victim.refuses(put(training, path, wrong))
                refused, harmless = refused + yes, harmless + (not yes)
    assert refused > 2 * harmless


IMPOSSIBLE = {
    "an epoch more than its history": ({"epoch": 2, "step": 0, "unreported": None}, "history is not that of 2 epochs"),
    "an epoch less": ({"epoch": 0, "steps_made": 4}, "history is not that of 0 epochs"),
    "epochs for ever": ({"epoch": 2**62}, "epochs: 4611686018427387904 and 4 steps are completed in the file"),
    "more steps than an epoch has": ({"step": 9}, "its position, epoch 1, step 9"),
    "more steps than there were": ({"steps_made": 13}, "its position, epoch 1, step 4 of 13"),
    "fewer steps than there were": ({"steps_made": 3}, "its position, epoch 1, step 4 of 3"),
    "another step": ({"step": 3, "steps_made": 11}, "its scores of the unfinished block do not fit"),
    "no scores": ({"unreported": None}, "its scores of the unfinished block do not fit"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_place_that_no_run_was_at(case, victim, genuine):
    changes, message = IMPOSSIBLE[case]
    assert victim.refuses({**genuine[0]["training"], **changes})
    with pytest.raises(ValueError, match=message):
        victim.model.fit(X, Y, **options(callbacks=victim.watch, resume=victim.path))


def test_a_history_of_another_run(victim, genuine):
    model, training = genuine[0]["model"], genuine[0]["training"]
    assert not victim.refuses(model=model)
    assert victim.refuses(model={**model, "history": None})
    history = model["history"]
    assert victim.refuses(model=put(model, ("history", "epoch"), [1]))
    assert victim.refuses(model=put(model, ("history",), {**history, "epoch": [], "history": {}}))
    start = {**training, "epoch": 0, "step": 0, "steps_made": 0, "unreported": None}
    none = {name: [] for name in history["history"]}
    assert victim.refuses(start, put(model, ("history",), {**history, "epoch": [], "history": none}))


def test_scores_of_another_kind(victim, genuine):
    """Of another dtype, or text."""
    manifest, arrays = genuine
    name = manifest["training"]["unreported"]["$array"]
    scores = np.lib.format.read_array(io.BytesIO(arrays[name]))
    for forged in (scores.astype("float64"), scores.astype("U9"), scores[:-1], scores.reshape(-1)):
        file = io.BytesIO()
        np.lib.format.write_array(file, forged, version=(1, 0))
        victim.genuine = manifest, {**arrays, name: file.getvalue()}
        assert victim.refuses()
