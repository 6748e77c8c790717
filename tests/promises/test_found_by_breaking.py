"""What two reviews that tried to break the training features found, one test each, so that it stays mended."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import minidense as md
from minidense import callbacks

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), RNG.integers(0, 2, 60)


def make(*extra, **options):
    layers = [md.Dense(6, "tanh"), *extra, md.Dense(2)]
    return md.Sequential(layers, rng=0, **options).compile(md.SGD(0.1))


def test_a_monitor_of_unknown_direction_asks_for_the_mode():
    def balanced(y_true, y_pred):
        return (y_pred.argmax(axis=1) == y_true).mean()

    model = make().compile("sgd", metrics=[balanced])
    for cls in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        with pytest.raises(ValueError, match=r"is 'balanced' to grow or to fall\? Say mode='max'"):
            model.fit(X, Y, callbacks=[cls("balanced")], verbose=0)
    model.fit(X, Y, callbacks=[callbacks.EarlyStopping("balanced", mode="max")], verbose=0)


def test_weights_include_the_moving_averages():
    a, b = make(md.BatchNormalization(0.5)), make(md.BatchNormalization(0.5))
    a.fit(X, Y, epochs=3, verbose=0)
    b.build(4).set_weights(a.get_weights())
    assert np.array_equal(a.predict(X), b.predict(X))
    assert [w.shape for w in a.get_weights()][2:6] == [(6,)] * 4


def test_an_optimizer_with_the_state_of_another_model_is_refused():
    sgd = md.SGD(0.1, momentum=0.9)
    a, b = make().compile(sgd), make().compile(sgd)
    a.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="Give each model an optimizer of its own"):
        b.fit(X, Y, verbose=0)
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        twin.fit(X, Y, verbose=0)


def test_mixed_batches_are_weighted_as_they_come():
    w = RNG.random(30)
    source = [(X[:30], Y[:30]), (X[30:], Y[30:], w)]
    model = make().compile(md.SGD(1e-12), metrics=["auc"])
    for order in ([0, 1], [1, 0]):
        history = model.fit((source[i] for i in order), steps_per_epoch=2, verbose=0).history
        together = model.evaluate(X, Y, sample_weight=np.concatenate([np.ones(30), w]))
        assert history["auc"][0] == pytest.approx(together["auc"], abs=1e-6)


def test_weights_that_come_to_nothing_are_refused():
    w = np.zeros(60)
    w[50:] = 1
    with pytest.raises(ValueError, match=r"all weights .*are 0"):
        make().fit(X, Y, validation_split=0.2, sample_weight=w, verbose=0)
    with pytest.raises(ValueError, match="all weights of these rows are 0"):
        make().fit(X, Y, sample_weight=Y == 1, class_weight={0: 1, 1: 0}, verbose=0)
    half = iter([(X[:30], Y[:30], np.zeros(30)), (X[30:], Y[30:], np.ones(30))])
    make().fit(half, steps_per_epoch=2, verbose=0)  # one batch of no weight is no update, and no error


def test_clipping_survives_squares_that_overflow():
    theta = np.ones(3, "float32")
    md.SGD(0.5, global_clipnorm=1.0).update(theta, np.array([1e20, 0, 0], "float32"))
    assert theta.tolist() == [0.5, 1, 1]


def test_label_smoothing_is_applied_once_in_a_subclass_with_its_own_forward():
    class Wrapped(md.SoftmaxCrossEntropy):
        def forward(self, scores, y):
            return super().forward(scores, y)

    losses = []
    for cls in (md.SoftmaxCrossEntropy, Wrapped):
        model = make(dtype="float64").compile("sgd", cls(label_smoothing=0.3)).build(4)
        losses.append((model.evaluate(X, Y)["loss"], model.loss_and_grad(X, Y), *model.grad))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12, atol=1e-15)


def test_adam_starts_anew_when_a_layer_is_added():
    model = make().compile(md.Adam(0.01))
    model.fit(X, Y, epochs=20, batch_size=4, verbose=0)
    model.add(md.Dense(2))
    before = model.theta.copy()
    model.train_on_batch(X, Y)
    assert abs(model.theta - before).max() <= 0.01 * 1.001  # a first step is at most the rate
    assert model.optimizer.iterations == 301


def test_a_class_of_weight_0_is_left_out_of_an_evaluation():
    assert make().build(4).evaluate(X, Y, class_weight={0: 1.0, 1: 0.0}) == make().build(4).evaluate(
        X[Y == 0], Y[Y == 0]
    )


def test_csv_columns_stay_in_their_places(tmp_path):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin({})
    logger.on_epoch_end(0, {"loss": 1.0, "extra": 2.0})
    logger.on_epoch_end(1, {"loss": 0.5})
    assert (tmp_path / "log.csv").read_text().split() == ["epoch,loss,extra", "0,1.0,2.0", "1,0.5,"]
    more = callbacks.CSVLogger(tmp_path / "log.csv", append=True)
    more.on_train_begin({})
    with pytest.raises(ValueError, match=r"has no columns for \['val_loss'\]; it has \['loss', 'extra'\]"):
        more.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
    history = md.History()
    for epoch, logs in enumerate([{"a": 1.0}, {"a": 2.0, "b": 3.0}, {"b": 4.0}]):
        history.append(epoch, logs)
    history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().split()[1:] == ["0,1.0,nan", "1,2.0,3.0", "2,nan,4.0"]


def test_a_masked_y_and_a_sparse_x_are_refused():
    with pytest.raises(TypeError, match="y: expected an array without a mask"):
        make().fit(X, np.ma.array(Y, mask=Y == 1), verbose=0)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"x: expected a dense array, got csr_array; use x.toarray\(\)"):
        make().fit(sparse.csr_array(X), Y, verbose=0)


def test_a_copied_dropout_draws_its_own_numbers():
    source = make(md.Dropout(0.5)).build(4)
    twins = [copy.deepcopy(source.layers[2]) for _ in range(2)]
    model = md.Sequential(twins, rng=1).build(50)
    masks = []
    for layer in model.layers:
        layer.forward(np.ones((1, 50)), training=True)
        masks.append(layer.mask.tolist())
    assert masks[0] != masks[1]
    again = md.Sequential([copy.deepcopy(source.layers[2])], rng=1).build(50).layers[0]
    again.forward(np.ones((1, 50)), training=True)
    assert again.mask.tolist() == masks[0]  # rng decides


LAST = """
import os, signal
import numpy as np, minidense as md
model = md.Sequential([md.Dense(2)], rng=0).compile()
kill = md.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: os.kill(os.getpid(), signal.SIGINT))
try:
    model.fit(np.ones((4, 3)), [0, 1, 0, 1], callbacks=[kill], verbose=0)
except KeyboardInterrupt:
    print("interrupted after", len(model.history.epoch))
"""


def test_ctrl_c_in_the_last_epochs_end_is_not_swallowed():
    result = subprocess.run([sys.executable, "-c", LAST], capture_output=True, text=True, check=False)
    assert result.stdout == "interrupted after 1\n", result.stderr


def test_a_function_metric_without_weights_is_refused_before_anything_changes():
    def figure(y_true, y_pred):
        calls.append(len(y_true))
        return 0.0

    calls = []
    model = make().build(4).compile("sgd", metrics=[figure])
    before = model.theta.copy()
    with pytest.raises(ValueError, match="the metric figure takes no sample_weight"):
        model.fit(X, Y, sample_weight=np.ones(60), verbose=0)
    assert np.array_equal(model.theta, before)
    watch = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: None)
    model.fit(X, Y, batch_size=10, callbacks=[watch], verbose=0)
    assert calls == [60]  # on all rows, once


def test_a_first_batch_that_fails_changes_nothing():
    def breaks():
        raise OSError("gone")
        yield

    for source, error, match in [
        (iter([]), ValueError, "ended before epoch 1, step 1"),
        (breaks(), RuntimeError, r"failed in epoch 1, step 1: OSError\('gone'\)"),
        (iter([(X, Y + 7)]), ValueError, "got [78] in row 0"),
    ]:
        model = make()
        with pytest.raises(error, match=match):
            model.fit(source, steps_per_epoch=1, verbose=0)
        assert not model.built
        assert model.history is None


@pytest.mark.parametrize("form", [lambda y: y * 1.0, lambda y: np.eye(3)[y], lambda y: y[:, None]])
def test_missing_classes_are_seen_in_every_form_of_labels(form):
    y = np.sort(RNG.integers(0, 3, 60))
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    with pytest.warns(UserWarning, match="leaves the validation part without the classes"):
        model.fit(X, form(y), validation_split=0.2, verbose=0)
    with pytest.raises(ValueError, match="goes with validation_split"):
        model.fit(X, y, validation_shuffle=True, verbose=0)


def test_scalar_weights_and_mixed_frames():
    with pytest.raises(ValueError, match=r"one weight for each of the 60 rows, shape \(60,\), got \(\)"):
        make().fit(X, Y, sample_weight=0.5, verbose=0)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0, "c": X[:, 2] > 0, "d": X[:, 3]})
    model, plain = make(), make()
    model.fit(frame, Y, verbose=0)
    plain.fit(np.column_stack([X[:, 0], X[:, 1] > 0, X[:, 2] > 0, X[:, 3]]), Y, verbose=0)
    assert np.array_equal(model.theta, plain.theta)
