"""``fit(resume="auto")``: one call that starts, resumes, or returns what is complete, by what the files say."""

import os
import shutil

import numpy as np
import pytest
from forge import sealed, taken_apart
from snapshots import picture

import minidense as md
from minidense import callbacks
from minidense.files.checkpoint import position
from minidense.files.model_file import encoded

random = np.random.default_rng(7)
X, Y = random.normal(size=(60, 8)), random.integers(0, 3, 60)


class Killed(Exception):
    pass


class Kill(md.Callback):
    """Ends the run at a step, counted over all epochs."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            raise Killed


def train(*watch, epochs=3, resume="auto", **more):
    model = md.Sequential([md.Dense(6, "relu"), md.Dropout(0.3), md.Dense(3)], rng=3)
    model.compile(md.Adam(), metrics=["accuracy"])
    options = {"batch_size": 20, "validation_data": (X[:30], Y[:30]), "verbose": 0} | more
    model.fit(X, Y, epochs=epochs, callbacks=list(watch), resume=resume, **options)
    return model


def contents(model):
    description, arrays = encoded(model)
    return description, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("template", ["run.npz", "{step}.npz", "{epoch}/{step:03d}-{loss:.2f}.npz"])
@pytest.mark.parametrize("every", ["step", "epoch", 2])
def test_one_call_starts_and_resumes(template, every, tmp_path):
    """Killed again and again, until it is complete; then it returns."""
    keep = callbacks.ModelCheckpoint(tmp_path / "whole" / template, every=every)
    whole = train(keep, Kill(0), resume=None)
    for step in (1, 4, 7, 8, 9):
        with pytest.raises(Killed):
            train(callbacks.ModelCheckpoint(tmp_path / "parts" / template, every=every), Kill(step))
    assert (2, 0) <= max(map(position, (tmp_path / "parts").rglob("*.npz"))) < (3, 0)
    train(callbacks.ModelCheckpoint(tmp_path / "parts" / template, every=every), Kill(0))
    again = train(callbacks.ModelCheckpoint(tmp_path / "parts" / template, every=every), Kill(0))
    assert contents(again) == contents(whole)
    ours, theirs = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.npz")}
        for name in ("whole", "parts")
    )
    assert ours == theirs


def test_a_complete_run_is_not_trained(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz")
    whole = train(keep)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    seen = []
    watch = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch), on_train_end=seen.append)
    model = train(callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz"), watch)
    assert seen == [{name: values[-1] for name, values in whole.history.history.items()}]
    assert contents(model) == contents(whole)
    assert model.optimizer.iterations == 9
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    more = train(callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz"), epochs=5)
    assert contents(more) == contents(train(epochs=5, resume=None))


def test_a_run_that_early_stopping_has_ended_is_complete(tmp_path):
    def watch():
        stop = callbacks.EarlyStopping("loss", min_delta=9, patience=2, restore_best_weights=True)
        return callbacks.ModelCheckpoint(tmp_path / "run.npz"), stop

    whole, again = train(*watch(), epochs=20), train(*watch(), epochs=20)
    assert again.history.epoch == [0, 1, 2]
    assert contents(again) == contents(whole)


def test_the_newest_is_the_one_that_says_so(tmp_path):
    """Not by its name, nor by its time; among files of the model, which have no run."""
    whole = train(callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every="step"))
    (tmp_path / "5.npz").rename(tmp_path / "0.npz")
    for step in (6, 7, 8, 9):
        (tmp_path / f"{step}.npz").unlink()
    shutil.copy(tmp_path / "1.npz", tmp_path / "99.npz")
    os.utime(tmp_path / "0.npz", (1, 1))
    whole.save(tmp_path / "final.npz")
    whole.save_weights(tmp_path / "weights.npz")
    (tmp_path / "notes.txt").write_text("not of its names")
    begun = []
    note = callbacks.LambdaCallback(on_train_begin=lambda logs: begun.append(dict(note.params)))
    model = train(callbacks.ModelCheckpoint(tmp_path / "{step}.npz", every="step"), note)
    assert (begun[0]["initial_epoch"], begun[0]["initial_step"]) == (1, 2)
    assert contents(model) == contents(whole)


def refused(error, message, *watch, **options):
    model = md.Sequential([md.Dense(6, "relu"), md.Dropout(0.3), md.Dense(3)], rng=3)
    model.compile(md.Adam(), metrics=["accuracy"])
    before = picture(model)
    more = {"batch_size": 20, "validation_data": (X[:30], Y[:30]), "verbose": 0} | options
    with pytest.raises(error, match=message):
        model.fit(X, Y, epochs=3, callbacks=list(watch), resume="auto", **more)
    assert picture(model) == before


def test_it_must_be_clear_whose_files_are_meant(tmp_path):
    one, other = (callbacks.ModelCheckpoint(tmp_path / f"{name}.npz") for name in "ab")
    best = [callbacks.ModelCheckpoint(tmp_path / f"best-{name}.npz", save_best_only=True) for name in "ab"]
    refused(ValueError, "resume='auto' needs one ModelCheckpoint.*there are 0")
    refused(ValueError, "resume='auto' needs one ModelCheckpoint.*there are 2", one, other)
    refused(ValueError, "there are 2", *best)
    train(best[0], one, best[1])
    assert train(best[0], one, best[1]).optimizer.iterations == 9
    (tmp_path / "best-a.npz").unlink()
    alone = callbacks.ModelCheckpoint(tmp_path / "best-a.npz", save_best_only=True, monitor="loss")
    whole = train(alone)
    assert contents(train(callbacks.ModelCheckpoint(tmp_path / "best-a.npz", save_best_only=True, monitor="loss"))) == (
        contents(whole)
    )


@pytest.mark.parametrize("damage", ["cut off", "a flipped bit", "empty", "text"])
@pytest.mark.parametrize("template", ["run.npz", "{epoch}.npz"])
def test_a_damaged_file_is_never_passed_over(damage, template, tmp_path):
    train(callbacks.ModelCheckpoint(tmp_path / template))
    path = tmp_path / template.format(epoch=3)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(
        {
            "cut off": data[:half],
            "a flipped bit": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
            "empty": b"",
            "text": b"notes",
        }[damage]
    )
    before = sorted(tmp_path.iterdir())
    refused(md.CorruptFileError, f"{path.name}: damaged", callbacks.ModelCheckpoint(tmp_path / template))
    assert sorted(tmp_path.iterdir()) == before


def test_the_files_of_another_run_are_said_with_all_differences(tmp_path):
    train(callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz"), batch_size=30)
    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz")
    refused(ValueError, r"cannot resume from .*3.npz:\n- rows a batch: 30 in the file, 20 here", keep)
    refused(ValueError, r"rows a batch: 30(.|\n)*validation rows: 30", keep, validation_data=None)


def test_a_file_of_the_model_in_the_checkpoints_place(tmp_path):
    train(resume=None).save(tmp_path / "run.npz")
    keep = callbacks.ModelCheckpoint(tmp_path / "run.npz")
    refused(ValueError, "run.npz has a model, and no training run to resume: it was written by model.save", keep)


def test_a_path_named_auto_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(callbacks.ModelCheckpoint("auto"), resume=None)
    assert train(resume=tmp_path / "auto").optimizer.iterations == 9
    with pytest.raises(FileNotFoundError, match="there is no checkpoint; begin with resume=None"):
        train(callbacks.ModelCheckpoint("auto"), resume="none")


@pytest.mark.parametrize("name", ["epoch", "step"])
def test_a_file_that_does_not_say_where_its_run_is(name, tmp_path):
    path = tmp_path / "run.npz"
    train(callbacks.ModelCheckpoint(path), resume=None, epochs=1)
    manifest, arrays = taken_apart(path.read_bytes())
    manifest["training"][name] = "two"
    path.write_bytes(sealed(manifest, arrays))
    with pytest.raises(ValueError, match="its record of the run is incomplete"):
        position(path)


def test_a_checkpoint_that_was_not_in_the_file_saves_nothing_when_the_run_is_resumed(tmp_path):
    first = callbacks.ModelCheckpoint(f"{tmp_path}/a-{{step}}.npz", every="step")
    with pytest.raises(Killed):
        train(first, Kill(4), resume=None)
    newest = max(tmp_path.glob("a-*.npz"), key=position)
    train(first, callbacks.ModelCheckpoint(f"{tmp_path}/b-{{step}}.npz", every="9 epochs"), resume=newest)
    assert not list(tmp_path.glob("b-*"))
