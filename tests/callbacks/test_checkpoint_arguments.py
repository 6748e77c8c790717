"""ModelCheckpoint in real runs, with Keras' arguments: weights only, a value to beat, save_freq, {batch}."""

import os

import numpy as np
import pytest

import minidense as md
from minidense import callbacks


def small():
    return md.Sequential([md.Dense(3), md.BatchNormalization()], rng=0).compile(md.Adam(0.1), metrics=["accuracy"])


SMALL_X, SMALL_Y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3


def test_save_weights_only_writes_files_that_load_weights_reads(tmp_path):
    model = small()
    keep = callbacks.ModelCheckpoint(f"{tmp_path}/new/{{epoch}}.weights.npz", save_weights_only=True)
    model.compile(md.Adam(0.1), metrics=[lambda y_true, y_pred: 0.5])  # which no whole checkpoint could have
    model.fit(SMALL_X, SMALL_Y, epochs=2, callbacks=[keep], verbose=0)
    twin = small().build(4)
    twin.load_weights(tmp_path / "new" / "2.weights.npz")
    assert np.array_equal(twin.theta, model.theta)
    assert np.array_equal(twin.network.buffers, model.network.buffers)
    assert [os.path.basename(path) for path in keep.files] == ["1.weights.npz", "2.weights.npz"]
    with pytest.raises(ValueError, match=r"saves only weights, and no run can be resumed from those.*load_weights"):
        small().fit(SMALL_X, SMALL_Y, epochs=3, callbacks=[keep], resume="auto", verbose=0)
    with pytest.raises(ValueError, match="has weights only: make the model"):
        small().fit(SMALL_X, SMALL_Y, epochs=3, resume=tmp_path / "new" / "2.weights.npz", verbose=0)
    with pytest.raises(ValueError, match="keep is for whole checkpoints"):
        callbacks.ModelCheckpoint("{epoch}.npz", save_weights_only=True, keep=2)


def test_beside_whole_checkpoints_the_weights_are_not_resumed_from(tmp_path):
    whole = callbacks.ModelCheckpoint(tmp_path / "run.npz")
    weights = callbacks.ModelCheckpoint(tmp_path / "weights.npz", save_weights_only=True)
    expected = small()
    expected.fit(SMALL_X, SMALL_Y, epochs=4, verbose=0)
    small().fit(SMALL_X, SMALL_Y, epochs=2, callbacks=[whole, weights], verbose=0)
    model = small()
    model.fit(SMALL_X, SMALL_Y, epochs=4, callbacks=[whole, weights], resume="auto", verbose=0)
    assert np.array_equal(model.theta, expected.theta)
    small().build(4).load_weights(tmp_path / "weights.npz")


def test_initial_value_threshold_is_the_value_to_beat(tmp_path):
    path = tmp_path / "best.npz"
    for threshold, written in ((1e-9, False), (1e9, True)):
        best = callbacks.ModelCheckpoint(path, "loss", save_best_only=True, initial_value_threshold=threshold)
        assert best.best == threshold
        small().fit(SMALL_X, SMALL_Y, callbacks=[best], verbose=0)
        assert path.exists() is written
    upwards = callbacks.ModelCheckpoint(
        tmp_path / "up.npz", "accuracy", save_best_only=True, initial_value_threshold=0.999
    )
    small().fit(SMALL_X, SMALL_Y, callbacks=[upwards], verbose=0)
    assert upwards.files == []
    with pytest.raises(ValueError, match="initial_value_threshold needs save_best_only=True"):
        callbacks.ModelCheckpoint("x.npz", initial_value_threshold=0.5)
    with pytest.raises(TypeError, match="initial_value_threshold: expected a number"):
        callbacks.ModelCheckpoint("x.npz", save_best_only=True, initial_value_threshold="low")


def test_save_freq_is_the_epoch_or_a_number_of_steps(tmp_path):
    options = {"batch_size": 10, "verbose": 0}  # 3 steps per epoch
    keep = callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}-{{batch}}-{{step}}.npz", save_freq=2)
    assert (keep.interval, keep.each_step) == (2, True)
    small().fit(SMALL_X, SMALL_Y, epochs=2, callbacks=[keep], **options)
    assert sorted(os.listdir(tmp_path)) == ["0-2-2.npz", "1-1-4.npz", "1-3-6.npz"]
    keep.save_freq = "epoch"
    assert (keep.interval, keep.each_step) == (1, False)
    with pytest.raises(ValueError, match=r"there is no 'batch'.*Known: loss, accuracy, epoch, step"):
        small().fit(SMALL_X, SMALL_Y, callbacks=[keep], **options)
    with pytest.raises(ValueError, match="save_freq and every say the same"):
        callbacks.ModelCheckpoint("x.npz", save_freq=5, every="epoch")
    with pytest.raises(TypeError, match="save_freq: other than 'epoch': expected a whole number, got '5 epochs'"):
        callbacks.ModelCheckpoint("x.npz", save_freq="5 epochs")
