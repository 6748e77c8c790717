"""ModelCheckpoint: when it saves, under which name, which files it removes, and which never."""

import copy
import os
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidense.files
from minidense import callbacks
from minidense.callbacks.base import CallbackList
from minidense.core.configurable import load_state_dict, state_dict

NUMBER = 2**60 + 1


class FakeRun:
    """A stand-in for a run at some step; its checkpoints are files that contain its number."""

    def __init__(self, number=NUMBER, steps_per_epoch=3):
        self.number, self.steps_per_epoch = number, steps_per_epoch
        self.epoch = self.step = self.steps_made = 0
        self.logs, self.written = {}, []

    def save(self, path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write(f"checkpoint of {self.number}")
        self.written.append(str(path))

    def train(self, callback, epochs, losses=()):
        several = CallbackList([callback])
        for epoch in range(epochs):
            for _ in range(self.steps_per_epoch):
                self.step, self.steps_made, self.logs = self.step + 1, self.steps_made + 1, {"loss": 1.0}
                several.save_point(self, of_step=True)
            self.epoch, self.step = self.epoch + 1, 0
            self.logs = {"loss": losses[epoch] if losses else 1.0}
            several.save_point(self, of_step=False)
        return self


@pytest.fixture(autouse=True)
def run_numbers(monkeypatch):
    """Replaces the function that reads the run number of a checkpoint by one for the fake checkpoints."""

    def run_number(path):
        with open(path) as file:
            text = file.read()
        return int(text.removeprefix("checkpoint of ")) if text.startswith("checkpoint of ") else None

    module = types.ModuleType("minidense.files.checkpoint")
    module.run_number = run_number
    monkeypatch.setitem(sys.modules, "minidense.files.checkpoint", module)
    monkeypatch.setattr(minidense.files, "checkpoint", module, raising=False)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("epoch", [3, 6, 9, 12]),
        ("2 epochs", [6, 12]),
        ("step", range(1, 13)),
        ("5 steps", [5, 10]),
        (4, [4, 8, 12]),
    ],
)
def test_when_it_saves(every, expected, tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every=every)
    FakeRun().train(keep, 4)
    assert keep.files == [str(tmp_path / f"{step}.npz") for step in expected]
    assert names(tmp_path) == sorted(f"{step}.npz" for step in expected)


def test_every_can_be_set_later():
    keep = callbacks.ModelCheckpoint("x.npz")
    assert (keep.interval, keep.each_step) == (1, False)
    keep.every = "20 steps"
    assert (keep.interval, keep.each_step) == (20, True)
    assert CallbackList([keep]).per_batch
    with pytest.raises(ValueError, match="every: expected 'epoch', '5 epochs'"):
        keep.every = "sometimes"
    assert keep.every == keep.get_config()["every"] == "20 steps"


def test_the_best_only(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{loss:.0f}.npz", save_best_only=True, monitor="loss")
    FakeRun().train(keep, 5, [5.0, 6.0, 4.0, 4.0, 3.0])
    assert names(tmp_path) == ["1-5.npz", "3-4.npz", "5-3.npz"]
    assert keep.best == 3


def test_folders_are_made_and_all_files_stay_unless_told_otherwise(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "runs/{epoch:02d}/{step}.npz")
    FakeRun().train(keep, 4)
    assert names(tmp_path) == ["runs/01/3.npz", "runs/02/6.npz", "runs/03/9.npz", "runs/04/12.npz"]


@pytest.mark.parametrize("template", ["{step}.npz", "a/{epoch}-{step}.npz", "{epoch}/{step}.npz", "{step}..npz"])
def test_the_last_ones_are_kept(template, tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / template, keep=2)
    FakeRun().train(keep, 5)
    assert names(tmp_path) == [template.format(epoch=e, step=3 * e) for e in (4, 5)]
    assert len(keep.files) == len(keep._names) == 2


def test_also_in_the_folder_of_the_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep = callbacks.ModelCheckpoint("{epoch}.npz", keep=1)
    FakeRun().train(keep, 3)
    assert names(tmp_path) == ["3.npz"]
    assert keep.files == ["3.npz"]


def test_nothing_but_this_runs_own_checkpoints_is_removed(tmp_path):
    """Whatever names a forged file lists."""
    folder, other = tmp_path / "mine", FakeRun(number=5)
    (folder / "sub").mkdir(parents=True)
    FakeRun().save(tmp_path / "9.npz")  # of this run, but in another folder
    FakeRun().save(folder / "sub" / "9.npz")
    FakeRun().save(folder / "final.npy")  # does not match the template
    other.save(folder / "8.npz")
    (folder / "7.npz").write_text("precious")
    before = names(tmp_path)
    keep = callbacks.ModelCheckpoint(folder / "{epoch}.npz", keep=1)
    listed = [str(tmp_path / "9.npz"), "../9.npz", "sub/9.npz", "sub/../../9.npz", "final.npy", "8.npz", "7.npz"]
    load_state_dict(keep, {**state_dict(keep), "_names": [*listed, "..", "", ".", "5.npz"]})
    FakeRun().train(keep, 3)
    assert names(tmp_path) == sorted([*before, "mine/3.npz"])


def test_an_absolute_name_is_not_within_the_folder_whatever_the_template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FakeRun().save(tmp_path / "9.npz")
    for template in ("{epoch}.npz", "{epoch}{step}.npz", "{epoch}/{step}.npz"):
        keep = callbacks.ModelCheckpoint(template, keep=1)
        keep._names = [str(tmp_path / "9.npz"), "../9.npz"]
        assert keep.files == []


def test_a_run_that_is_resumed_removes_what_it_has_written_before(tmp_path):
    run, keep = FakeRun(), callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz", keep=2)
    run.train(keep, 3)
    state = copy.deepcopy(CallbackList([keep]).state())
    again, resumed = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz", keep=2), FakeRun()
    resumed.epoch, resumed.steps_made = 3, 9
    CallbackList([again]).resume(state, resumed)
    assert resumed.written == []
    resumed.train(again, 1)
    assert names(tmp_path) == ["3.npz", "4.npz"]


def test_what_was_about_to_be_saved_is_made_up_for(tmp_path):
    """Two callbacks decide to save; the first one's file records that the second one's save was due."""
    first, second = (callbacks.ModelCheckpoint(tmp_path / f"{name}.npz") for name in ("a", "b"))
    run, several, states = FakeRun(), CallbackList([first, second]), []
    run.epoch, run.logs = 1, {"loss": 1.0}
    save = run.save

    def noting(path):
        states.append(copy.deepcopy(several.state()))
        save(path)

    run.save = noting
    several.save_point(run, of_step=False)
    assert [[state["saved"]["_due"] for state in each] for each in states] == [[False, True], [False, False]]
    (tmp_path / "b.npz").unlink()
    again = CallbackList([callbacks.ModelCheckpoint(tmp_path / f"{name}.npz") for name in ("a", "b")])
    again.resume(states[0], run)
    assert run.written[2:] == [str(tmp_path / "b.npz")]
    again.resume(states[1], run)
    assert len(run.written) == 3


def test_a_file_that_could_not_be_written_is_not_listed(tmp_path):
    run, keep = FakeRun(), callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz")
    run.train(keep, 1)

    def full(path):
        raise OSError(28, "No space left on device")

    run.save = full
    with pytest.raises(OSError, match="No space left"):
        run.train(keep, 1)
    assert keep.files == [str(tmp_path / "1.npz")]


@given(
    names=st.lists(st.text()),
    due=st.booleans(),
    best=st.floats(allow_nan=False),
)
def test_through_its_state_dict(names, due, best):
    one, other = (callbacks.ModelCheckpoint("x/{epoch}.npz", keep=3) for _ in range(2))
    one._names, one._due, one.best = names, due, best
    load_state_dict(other, state_dict(one))
    assert (other._names, other._due, other.best) == (names, due, best)
    assert other.filepath == "x/{epoch}.npz"
    assert all(file.startswith("x/") and ".." not in file.split("/") for file in other.files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": "sometimes"}, "every: expected 'epoch', '5 epochs'"),
        ({"every": 0}, "at least 1, got 0"),
        ({"keep": 3}, "keep=3 needs names that differ: put {epoch} into 'x.npz'"),
        ({"filepath": "x{epoch"}, "is not a valid template"),
        ({"filepath": "x{}.npz"}, "expected names such as {epoch}"),
        ({"filepath": "x{epoch.real}.npz"}, "expected names such as {epoch}"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match="ModelCheckpoint") as caught:
        callbacks.ModelCheckpoint(**{"filepath": "x.npz", **arguments})
    assert message in str(caught.value)


def test_a_metric_in_the_name_that_there_is_not():
    with pytest.raises(ValueError, match=r"cannot be filled in: there is no 'accuracy'. Known: loss, epoch, step"):
        FakeRun().train(callbacks.ModelCheckpoint("x{accuracy}.npz"), 1)


# ------------------------------------------------------------------ before training begins


def metrics(*names, running=True):
    return {"loss": None} | {name: types.SimpleNamespace(running=running) for name in names}


@pytest.mark.parametrize(
    ("path", "every", "names", "message"),
    [
        ("{nothing}.npz", "epoch", ["acc"], "there is no 'nothing'. Known: loss, acc, epoch, step"),
        ("{vall_loss}.npz", "epoch", ["val_loss"], "Did you mean 'val_loss'"),
        (
            "{val_loss}.npz",
            "5 steps",
            ["val_loss"],
            "there is no 'val_loss' after a step. Did you mean 'loss'. Known: loss, epoch, step",
        ),
        ("{loss:d}.npz", "epoch", [], "Unknown format code 'd'"),
        ("{val_loss:.3f}-{epoch:03d}-{step}.npz", "epoch", ["val_loss"], None),
        ("{loss}-{acc}.npz", "step", ["acc"], None),
    ],
)
def test_a_path_that_cannot_be_filled_in_is_known_before(path, every, names, message):
    keep = callbacks.ModelCheckpoint(path, every=every)
    if message is None:
        keep.check_metrics(metrics(*names), more=False)
    else:
        for more in (False, True)[: 1 + ("step" in every or ":d" in path)]:
            with pytest.raises(ValueError, match=message):
                keep.check_metrics(metrics(*names), more)
    if "step" not in every and ":d" not in path:
        keep.check_metrics(metrics(*names), more=True)


def test_within_an_epoch_there_are_only_the_metrics_that_are_shown_then():
    at_steps = callbacks.ModelCheckpoint("x.npz", every="5 steps", save_best_only=True, monitor="auc", mode="max")
    at_epochs = callbacks.ModelCheckpoint("x.npz", save_best_only=True, monitor="auc", mode="max")
    with pytest.raises(ValueError, match=r"no metric 'auc' to monitor. There are: loss"):
        at_steps.check_metrics(metrics("auc", running=False), more=True)
    at_steps.check_metrics(metrics("auc"), more=False)
    at_epochs.check_metrics(metrics("auc", running=False), more=False)
