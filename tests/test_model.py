"""Sequential: one seed gives one result; building, predict without side effects, theta, and copies."""

import copy
import inspect
import itertools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from frames import Frame
from snapshots import picture

import minidense as md
from minidense.layers.base import own_params, walk


def make(rng=0, dtype="float32", extra=(), **options):
    layers = [md.Dense(8), md.ReLU(), *extra, md.Dense(3), md.Softmax()]
    model = md.Sequential(layers, rng=rng, dtype=dtype)
    return model.compile(md.SGD(0.1, **options), "sparse_categorical_crossentropy", ["accuracy"])


# ------------------------------------------------------------------ one seed, one result


SCRIPT = """
import numpy as np, minidense as md
rng = np.random.default_rng(0)
x, y = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)
model = md.Sequential([md.Dense(8, "relu"), md.Dense(3)], rng=5).compile()
model.fit(x, y, epochs=3, batch_size=4, verbose=0)
print(model.theta.tobytes().hex())
"""


def test_two_processes_are_the_same_to_the_bit():
    outputs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    ]
    assert len(outputs[0]) > 100
    assert outputs[0] == outputs[1]


def test_numpys_global_random_state_is_untouched(digits_like):
    before = repr(np.random.get_state())
    make(rng=None).fit(*digits_like, verbose=0)
    assert repr(np.random.get_state()) == before


def test_a_generator_is_a_seed_too_and_gives_two_models_two_starts():
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    assert np.array_equal(make(one).build(7).theta, make(two).build(7).theta)
    assert not np.array_equal(make(one).build(7).theta, make(two).build(8).theta[: make().build(7).theta.size])
    assert one.random() == np.random.default_rng(3).random()  # its own numbers are not drawn


def test_building_early_or_late_or_in_parts_gives_the_same_weights():
    early = make().build(7)
    late = make()
    late.fit(np.zeros((3, 7)), [0, 1, 2], shuffle=False, verbose=0, epochs=1)
    parts = md.Sequential([md.Dense(8)], rng=0).build((7,))
    for layer in (md.ReLU(), md.Dense(3), md.Softmax()):
        parts.add(layer)
    assert np.array_equal(early.theta, parts.theta)
    assert np.array_equal(early.layers[0].W, late.layers[0].W)  # zeros in, so its gradient is zero


def test_both_dtypes_start_alike():
    single, double = make().build(7), make(dtype="float64").build(7)
    assert single.theta.dtype == "float32"
    assert double.theta.dtype == "float64"
    assert np.array_equal(single.theta, double.theta.astype("float32"))


# ------------------------------------------------------------------ training


def test_train_on_batch_is_one_full_batch_step(digits_like):
    one, other = make(), make()
    results = one.train_on_batch(*digits_like)
    history = other.fit(*digits_like, batch_size="full", verbose=0).history
    assert np.array_equal(one.theta, other.theta)
    assert results == {name: values[0] for name, values in history.items()}


# ------------------------------------------------------------------ classes and activations


@pytest.mark.parametrize("last", [[md.Dense(3)], [md.Dense(3), md.Softmax()]])
def test_predicted_classes_are_those_of_the_accuracy(digits_like, last):
    x, y = digits_like
    names = np.array(["cat", "dog", "owl"])[y]
    for labels in (y, names):
        model = md.Sequential([md.Dense(20, "tanh"), *copy.deepcopy(last)], rng=0).compile(
            md.Adam(0.02), metrics=["accuracy"]
        )
        model.fit(x, labels, epochs=9, verbose=0)
        found = model.predict_classes(x, batch_size=7)
        assert found.shape == (60,)
        assert found.dtype.kind == labels.dtype.kind
        assert 0.4 < (found == labels).mean() == pytest.approx(model.evaluate(x, labels)["accuracy"])


@pytest.mark.parametrize("last", [[md.Dense(1)], [md.Dense(1), md.Sigmoid()]])
def test_with_one_output_the_second_class_is_above_one_half(digits_like, last):
    x, y = digits_like
    for labels in (y % 2, np.array(["no", "yes"])[y % 2]):
        model = md.Sequential(copy.deepcopy(last), rng=0).compile(md.Adam(0.02), "binary_crossentropy", ["accuracy"])
        model.fit(x, labels, epochs=30, verbose=0)
        found = model.predict_classes(x)
        assert 0.5 < (found == labels).mean() == pytest.approx(model.evaluate(x, labels)["accuracy"])
        assert len(np.unique(found)) == 2


def test_predict_classes_is_for_classes():
    several = md.Sequential([md.Dense(2)], rng=0).compile(loss="binary_crossentropy").build(2)
    several.layers[0].W[:] = np.eye(2)
    assert several.predict_classes([[1, -1], [2, 3]]).tolist() == [[1, 0], [1, 1]]
    with pytest.raises(TypeError, match=r"MeanSquaredError\(\) is for numbers, not for classes: use predict"):
        several.compile(loss="mse").predict_classes([[1, 2]])
    for model, message in ((md.Sequential([md.Dense(2)]).build(2), "not compiled"), (make(), "not built")):
        with pytest.raises(RuntimeError, match=message):
            model.predict_classes([[1, 2]])


def test_names_of_another_loss_are_not_given_to_its_outputs():
    model = md.Sequential([md.Dense(2)], rng=0).compile()
    model.fit(np.eye(2), ["a", "b"], verbose=0)
    assert set(model.predict_classes(np.eye(2))) <= {"a", "b"}
    assert model.compile(loss="binary_crossentropy").predict_classes(np.eye(2)).dtype.kind == "i"


@pytest.mark.parametrize("batch_size", [1, 7, 1024, "full"])
@pytest.mark.parametrize("n", [1, 60, 3000])
def test_activations_are_each_layers_output(n, batch_size):
    x = np.random.default_rng(1).normal(size=(n, 7))
    inner = [
        md.Residual([md.Dense(9, "tanh"), md.Dense(7)]),
        Caching(),
        md.BatchNormalization(),
        md.Sequential([md.ReLU()]),
    ]
    model = md.Sequential([md.Dropout(0.5), *inner, md.Dense(3), md.Softmax()], rng=0).build(7)
    before = picture(model)
    found = model.activations(x, batch_size=batch_size)
    assert picture(model) == before
    assert len(found) == len(model.layers)
    assert found[-1].tobytes() == model.predict(x, batch_size=batch_size).tobytes()
    for i, (layer, output) in enumerate(zip(model.network.children, found, strict=True)):
        assert output.shape == (n, *layer._record.output_shape)
        assert output.dtype == model.dtype
        expected = md.network.inference([layer])(found[i - 1] if i else x.astype("float32"))
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    found[0][:] = 7
    assert not (x == 7).any()


def test_activations_check_x_as_predict_does():
    with pytest.raises(RuntimeError, match="not built"):
        make().activations(np.ones((2, 7)))
    with pytest.raises(ValueError, match=r"expected shape \(n, 7\), got \(2, 6\)"):
        make().build(7).activations(np.ones((2, 6)))


# ------------------------------------------------------------------ names


def test_copies_have_the_names(tmp_path):
    x = Frame({"age": [1.0, 2.0, 3.0], "fare": [3.0, 1.0, 0.0]})
    model = md.Sequential([md.Dense(3)], rng=0).compile()
    model.fit(x, ["cat", "dog", "owl"], verbose=0)
    model.save(tmp_path / "model.npz")
    copies = [copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for each in (*copies, md.load_model(tmp_path / "model.npz")):
        assert (each.feature_names, each.class_names) == (("age", "fare"), ("cat", "dog", "owl"))
        assert each.predict_classes(x).tolist() == model.predict_classes(x).tolist()
    with pytest.raises(AttributeError):
        model.class_names = ("a", "b", "c")


# ------------------------------------------------------------------ purity


class Caching(md.Layer):
    """Caches at each call, in an attribute and in a container."""

    def __init__(self):
        self.kept = {}

    def forward(self, x):
        self.x = self.kept["x"] = x
        return np.tanh(x)

    def backward(self, dy):
        return dy * (1 - np.tanh(self.x) ** 2)


def test_predict_and_evaluate_change_nothing_and_keep_nothing(digits_like):
    x, y = digits_like
    x = x.astype("float32")
    model = make(extra=[Caching()]).build(7)
    before = picture(model)
    references = sys.getrefcount(x)
    y_pred = model.predict(x)
    model.evaluate(x, y)
    assert picture(model) == before
    assert sys.getrefcount(x) == references
    assert not np.shares_memory(y_pred, x)


def test_predict_of_a_model_that_hands_its_input_through_is_a_copy():
    class Nothing(md.Layer):
        def forward(self, x):
            return x

    x = np.ones((2, 3), "float32")
    y = md.Sequential([Nothing()]).build(3).predict(x)
    y[...] = 5
    assert (x == 1).all()


def test_a_layer_that_changes_its_input_cannot_change_the_users_array():
    class Greedy(Caching):
        def forward(self, x):
            x *= 2
            return super().forward(x)

    model = md.Sequential([Greedy()]).build(3)
    with pytest.raises(ValueError, match="read-only") as caught:
        model.predict(np.ones((2, 3), "float32"))
    assert "Greedy(), layer 0" in caught.value.__notes__[0]


def test_eight_threads_predict_what_one_does():
    model = make(extra=[Caching()]).build(7)
    xs = [np.random.default_rng(i).normal(size=(64, 7)) for i in range(8)]
    expected = [model.predict(x) for x in xs]
    wrong = []

    def work(i):
        for _ in range(100):
            if not np.array_equal(model.predict(xs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_row_at_a_time_gives_what_all_rows_give(digits_like):
    x, _ = digits_like
    model = make().build(7)
    alone = np.concatenate([model.predict(row[None]) for row in x])
    np.testing.assert_allclose(alone, model.predict(x), rtol=1e-5)  # sums of 8 float32 products: 8 eps = 1e-6
    assert np.array_equal(model.predict(x, batch_size=1), alone)


def test_fit_of_a_model_that_is_being_fitted_is_an_error(digits_like):
    model = make()
    again = md.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.fit(*digits_like, verbose=0))
    with pytest.raises(RuntimeError, match="already being trained"):
        model.fit(*digits_like, callbacks=[again], verbose=0)
    model.fit(*digits_like, verbose=0)  # and the lock is free again


def test_weights_are_not_set_beside_a_fit_but_in_its_callbacks(digits_like):
    model, refused = make(), []

    def elsewhere():
        try:
            model.set_weights(model.get_weights())
        except RuntimeError as error:
            refused.append(str(error))

    def beside(epoch, logs):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        model.set_weights([np.zeros_like(w) for w in model.get_weights()])

    model.fit(*digits_like, callbacks=[md.callbacks.LambdaCallback(on_epoch_end=beside)], verbose=0)
    assert len(refused) == 1
    assert "another thread" in refused[0]
    assert not model.theta.any()


# ------------------------------------------------------------------ theta and copies


def test_theta_is_assigned_under_any_settings():
    model = md.Sequential([md.Dense(1)]).build(1)
    with np.errstate(all="raise"):
        model.theta = [1e-300, 1e300]
    assert model.theta.tolist() == [0, np.inf]


def assert_views(model):
    start = 0
    for layer in walk(model.network):
        for d in own_params(layer):
            view, gradient = getattr(layer, d.name), getattr(layer, "d" + d.name)
            assert np.array_equal(view.ravel(), model.theta[start : start + view.size])
            assert view.base is model.theta or np.shares_memory(view, model.theta)
            assert np.shares_memory(gradient, model.grad)
            start += view.size
    assert start == model.theta.size == model.grad.size == model.count_params()
    assert model.theta.flags.c_contiguous


def test_layers_hold_views_of_theta():
    model = make().build(7)
    assert_views(model)
    model.theta[:] = 3
    assert (model.layers[0].W == 3).all()
    model.layers[0].W += 1  # in place, and through the attribute
    assert (model.theta[:56] == 4).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_are_independent_and_train_on_identically(digits_like, duplicate):
    model = make(momentum=0.9)
    model.fit(*digits_like, epochs=2, batch_size=7, verbose=0)
    twin = duplicate(model)
    assert_views(twin)
    assert not np.shares_memory(twin.theta, model.theta)
    assert np.array_equal(twin.theta, model.theta)
    before = model.theta.copy()
    twin.fit(*digits_like, epochs=2, batch_size=7, verbose=0)
    assert np.array_equal(model.theta, before)
    model.fit(*digits_like, epochs=2, batch_size=7, verbose=0)
    assert np.array_equal(twin.theta, model.theta)
    assert_views(model)


def test_an_unbuilt_copy_builds_alike():
    model = make()
    twin = copy.deepcopy(model)
    assert np.array_equal(model.build(5).theta, twin.build(5).theta)


def test_weights_in_and_out(digits_like):
    model, other = make().build(7), make(rng=1).build(7)
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(7, 8), (8,), (8, 3), (3,)]
    assert not any(np.shares_memory(w, model.theta) for w in weights)
    other.set_weights([w.tolist() for w in weights])
    assert np.array_equal(other.theta, model.theta)


def test_forward_and_backward_are_the_chain_on_paper(digits_like):
    x, y = digits_like
    model = make(dtype="float64").build(7)
    dense, relu, last, softmax = model.layers
    p = model.forward(x, training=True)
    np.testing.assert_allclose(p, softmax.forward(last.forward(relu.forward(dense.forward(x)))))
    dp = np.where(np.eye(3)[y] == 1, -1 / p, 0) / len(x)  # the loss by the probabilities, through Softmax.backward
    dx = model.backward(dp)
    assert dx.shape == x.shape
    slow = model.grad.copy()
    model.loss_and_grad(x, y)
    np.testing.assert_allclose(model.grad, slow, rtol=1e-10, atol=1e-14)


def test_forward_gives_new_arrays():
    model = make().build(7)
    a = model.forward(np.zeros((2, 7)))
    before = a.copy()
    model.forward(np.ones((2, 7)))
    assert np.array_equal(a, before)


def test_scipy_style_minimisation_with_loss_and_grad(digits_like):
    """Plain gradient descent on (theta, grad) from outside the library brings the loss down."""
    model = make(dtype="float64").build(7)
    losses = []
    for _ in range(50):
        losses.append(model.loss_and_grad(*digits_like))
        model.theta[:] -= 0.5 * model.grad
    assert losses[-1] < 0.8 * losses[0]
    assert all(b < a for a, b in itertools.pairwise(losses))


# ------------------------------------------------------------------ found by trying to break it


def test_copy_copy_is_a_copy_of_its_own(digits_like):
    model = make().build(7)
    twin = copy.copy(model)
    model.fit(*digits_like, verbose=0)
    assert_views(model)
    assert_views(twin)
    assert not np.array_equal(model.theta, twin.theta)


@pytest.mark.parametrize("last", [md.Softmax, md.ReLU, md.Sigmoid])
def test_an_activation_before_the_final_softmax_is_refused(last):
    with pytest.raises(ValueError, match=r"takes scores.*layer 1"):
        md.Sequential([md.Dense(3), last(), md.Softmax()]).compile()


def test_a_failed_add_leaves_the_model_whole(digits_like):
    class Refuses(md.Layer):
        def build(self, input_shape):
            raise ValueError("not me")

    model, refused = make(momentum=0.9), Refuses()
    model.fit(*digits_like, verbose=0)
    before, of_refused = picture(model), picture(refused)
    with pytest.raises(ValueError, match="not me"):
        model.add(refused)
    assert picture(model) == before
    assert picture(refused) == of_refused
    assert len(model.layers) == 4
    md.Sequential([refused])  # it is free


def test_a_failed_initializer_does_not_change_what_the_seed_gives():
    fails = [True]

    def sometimes(rng, shape):
        values = rng.normal(size=shape)
        if fails.pop() if fails else False:
            raise RuntimeError("once")
        return values

    model = md.Sequential([md.Dense(3), md.Dense(2, kernel_initializer=sometimes)], rng=0)
    with pytest.raises(RuntimeError):
        model.build(4)
    again = model.build(4).theta
    assert np.array_equal(
        again, md.Sequential([md.Dense(3), md.Dense(2, kernel_initializer=sometimes)], rng=0).build(4).theta
    )


def test_predictions_are_the_callers():
    class Constant(md.Layer):
        def build(self, input_shape):
            self.param("b", input_shape, "ones")
            return input_shape

        def forward(self, x):
            return np.broadcast_to(self.b, x.shape)

    model = md.Sequential([Constant()]).build(3)
    y = model.predict(np.zeros((2, 3)))
    model.theta[:] = 7
    assert (y == 1).all()
    assert y.flags.writeable


def test_caches_in_containers_of_any_kind_stay_out_of_the_model():
    import collections
    import types

    class Hides(md.Layer):
        def __init__(self):
            self.box, self.space, self.nested = collections.deque(), types.SimpleNamespace(), [[]]

        def forward(self, x):
            self.box.append(x)
            self.nested[0].append(x)
            self.space.x = x
            return x * 2

    model = md.Sequential([Hides()]).build(3)
    before = picture(model)
    model.predict(np.ones((2, 3)))
    layer = model.layers[0]
    assert picture(model) == before
    assert (list(layer.box), layer.nested, vars(layer.space)) == ([], [[]], {})


def test_a_layer_that_changes_its_input_in_mid_model_is_an_error(digits_like):
    class Doubles(md.Layer):
        def forward(self, x):
            x *= 2
            return x

        def backward(self, dy):
            return dy * 2

    model = md.Sequential([md.Dense(4), md.Sigmoid(), Doubles(), md.Dense(3)]).compile()
    with pytest.raises(ValueError, match="read-only") as caught:
        model.fit(*digits_like, verbose=0)
    assert "Doubles(), layer 2" in caught.value.__notes__[0]


def test_weights_include_the_moving_averages(digits_like):
    a, b = make(extra=[md.BatchNormalization(momentum=0.5)]), make(extra=[md.BatchNormalization(momentum=0.5)])
    a.fit(*digits_like, epochs=3, verbose=0)
    b.build(7).set_weights(a.get_weights())
    assert np.array_equal(a.predict(digits_like[0]), b.predict(digits_like[0]))
    assert [w.shape for w in a.get_weights()][2:6] == [(8,)] * 4


def test_adam_starts_anew_when_a_layer_is_added(digits_like):
    model = md.Sequential([md.Dense(6, "tanh"), md.Dense(3)], rng=0).compile(md.Adam(0.01))
    model.fit(*digits_like, epochs=20, batch_size=4, verbose=0)
    model.add(md.Dense(3))
    before = model.theta.copy()
    model.train_on_batch(*digits_like)
    assert abs(model.theta - before).max() <= 0.01 * 1.001  # a first step is at most the rate
    assert model.optimizer.iterations == 301


def test_a_copied_dropout_draws_its_own_numbers():
    source = make(extra=[md.Dropout(0.5)]).build(4)
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


def test_weights_may_be_views_of_the_models_own_swapped():
    model = md.Sequential([md.Dense(4), md.Dense(4)], rng=0).build(4)
    one, other = model.layers
    expected = [array.copy() for array in (other.W, one.b, one.W, other.b)]
    model.set_weights([other.W, one.b, one.W, other.b])
    for array, value in zip(model.get_weights(), expected, strict=True):
        assert np.array_equal(array, value)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_dropout_added_to_a_built_model_trains(digits_like, fitted):
    x, y = digits_like
    model = md.Sequential([md.Dense(3)], rng=0).build(7).compile(md.Adam(0.01))
    if fitted:
        model.fit(x, y, verbose=0)
    model.add(md.Dropout(0.5)).add(md.BatchNormalization()).add(md.Dense(3))
    twin = copy.deepcopy(model)
    before = model.theta.copy()
    histories = [each.fit(x, y, epochs=2, verbose=0).history for each in (model, twin)]
    assert histories[0] == histories[1]
    assert not np.isclose(model.theta, before).any()
    mask = model.layers[1]
    y = mask.forward(np.ones((1000, 3), "float32"), training=True)
    assert set(np.unique(y)) == {0, 2}


def test_a_model_of_another_class_within_the_model_is_not_saved(tmp_path):
    class Mine(md.Sequential):
        pass

    model = md.Sequential([md.Residual(Mine([md.Dense(3)])), md.Dense(2)]).build(3)
    with pytest.raises(ValueError, match="a Mine would be loaded as a Sequential; use save_weights instead"):
        model.save(tmp_path / "model.npz")
    assert not any(tmp_path.iterdir())
    model.save_weights(tmp_path / "weights.npz")


@pytest.mark.parametrize(
    ("method", "keyword", "meant"),
    [
        ("compile", "optimiser", "optimizer"),
        ("fit", "epoch", "epochs"),
        ("train_on_batch", "sample_weights", "sample_weight"),
        ("loss_and_grad", "sample_weights", "sample_weight"),
        ("predict", "batchsize", "batch_size"),
        ("evaluate", "batchsize", "batch_size"),
    ],
)
def test_a_mistyped_keyword_is_met_with_the_right_one(method, keyword, meant):
    message = rf"^Sequential.{method}\(\) takes no keyword '{keyword}'. Did you mean '{meant}'\?"
    with pytest.raises(TypeError, match=message):
        getattr(md.Sequential([md.Dense(2)]), method)(**{keyword: 1})


def test_a_callback_may_save_and_load_while_its_model_is_trained(tmp_path, digits_like):
    """In the thread that trains; the second epoch ends where the first has."""
    path, seen = tmp_path / "weights.npz", []

    class Returns(md.Callback):
        def on_epoch_end(self, epoch, logs):
            if not epoch:
                self.model.save_weights(path)
                self.model.save(tmp_path / "model.npz")
            self.model.load_weights(path)
            seen.append(self.model.theta.copy())

    model = md.Sequential([md.Dense(3)], rng=0).compile(md.SGD(0.1))
    model.fit(*digits_like, epochs=2, callbacks=[Returns()], verbose=0)
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(md.load_model(tmp_path / "model.npz").theta, seen[0])


def test_what_is_left_out_is_what_keras_takes():
    def defaults(method):
        parameters = inspect.signature(method).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    fit = {"batch_size": 32, "epochs": 1, "verbose": "auto", "validation_split": 0.0, "shuffle": True}
    assert fit.items() <= defaults(md.Sequential.fit).items()
    assert defaults(md.Sequential.predict)["batch_size"] == 1024
    assert defaults(md.Sequential.evaluate)["batch_size"] == 1024


@pytest.mark.parametrize("method", ["forward", "backward", "call", "train_step"])
def test_a_pass_of_ones_own_that_nothing_would_call_is_refused(method):
    with pytest.raises(TypeError, match=rf"^Twice: fit and predict would not call its {method}. Write a Layer"):
        type("Twice", (md.Sequential,), {method: lambda self, x: 2 * x})


@pytest.mark.parametrize("layer", [md.Dropout(0.5), md.BatchNormalization(), md.Residual([md.Dropout(0.5)])])
def test_a_layer_added_to_a_built_model_trains(layer, digits_like):
    model = md.Sequential([md.Dense(4)], rng=0).compile().build(digits_like[0].shape[1])
    model.fit(*digits_like, verbose=0)
    model.add(copy.deepcopy(layer)).add(md.Dense(3))
    before = model.theta.copy()
    model.fit(*digits_like, verbose=0)
    assert (model.theta != before).any()
