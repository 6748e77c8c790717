"""What users of Keras expect of a model besides: a function, a sequence of layers, a configuration."""

import copy
import importlib
import json

import numpy as np
import pytest

import minidense as md

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 6)), np.arange(20) % 3


def make():
    layers = [md.Input((6,)), md.Dense(5, "relu", name="hidden"), md.BatchNormalization(), md.Dense(3)]
    return md.Sequential(layers, rng=0).compile("adam", metrics=["acc"])


def trained():
    model = make()
    model.fit(X, Y, epochs=2, verbose=0)
    return model


# ------------------------------------------------------------------ a function


def test_a_model_is_a_function_and_pure():
    model = trained()
    before = [w.copy() for w in model.get_weights()]
    assert np.array_equal(model(X), model.predict(X))
    assert np.array_equal(model.predict_on_batch(X), model.predict(X))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert not np.array_equal(model(X, training=True), model.predict(X))  # the batch's own mean and variance


def test_test_on_batch_is_evaluate():
    model = trained()
    assert dict(model.test_on_batch(X, Y)) == dict(model.evaluate(X, Y))
    assert model.test_on_batch(X, Y, return_dict=True).keys() == {"loss", "acc"}


# ------------------------------------------------------------------ a sequence of layers


def test_the_first_item_says_the_shape():
    def built(*layers):
        return md.Sequential(layers, rng=0)

    plain = md.Sequential([md.Dense(5), md.Dense(3)], rng=0).build(6)
    for model in (
        built(md.Input((6,)), md.Dense(5), md.Dense(3)),
        built(md.Input(6), md.Dense(5), md.Dense(3)),
        built(md.Dense(5, input_shape=(6,)), md.Dense(3)),
        built(md.Dense(5, input_dim=6), md.Dense(3)),
    ):
        assert model.built
        assert np.array_equal(model.theta, plain.theta)
    model = md.Sequential(rng=0)
    model.add(md.Input((6,)))
    assert not model.built
    model.add(md.Dense(5))
    assert model.built
    model.add(md.Dense(3))
    assert np.array_equal(model.theta, plain.theta)
    assert md.Sequential(None).layers == ()


def test_an_input_that_is_not_the_first():
    with pytest.raises(ValueError, match="Input has to be the first item of a model"):
        md.Sequential([md.Dense(3), md.Input((6,))])
    with pytest.raises(ValueError, match="Input has to be the first"):
        make().add(md.Input((6,)))
    with pytest.raises(TypeError, match="input_shape or input_dim, not both"):
        md.Dense(3, input_shape=(6,), input_dim=6)


def test_length_positions_and_names():
    model = make()
    assert (len(model), list(model)) == (4, list(model.layers))
    assert model[0] is model["hidden"] is model.get_layer("hidden") is model.get_layer(index=0)
    assert [layer.name for layer in model] == ["hidden", "re_lu", "batch_normalization", "dense_1"]
    assert model[-1] is model.get_layer("dense_1")
    assert bool(md.Sequential())
    with pytest.raises(ValueError, match="Did you mean 'hidden'"):
        model.get_layer("hiden")
    with pytest.raises(ValueError, match="pass a name or an index"):
        model.get_layer()
    with pytest.raises(ValueError, match="an index below 4, got 4"):
        model.get_layer(index=4)


def test_a_part_is_a_model_of_copies():
    model = trained()
    for part, expected in ((model[:2], model.activations(X)[1]), (model[1:3], model.activations(X)[2])):
        given = X if part.input_shape == (6,) else model.activations(X)[0]
        assert np.array_equal(part.predict(given), expected)
        part.theta[...] = 0
    assert model.theta.all() or model.theta.any()
    assert np.array_equal(model[:].predict(X), model.predict(X))


def test_pop_and_add_again():
    model = trained()
    before, hidden = model.predict(X), model.activations(X)[2]
    last = model.pop()
    assert len(model) == 3
    assert np.array_equal(model.predict(X), hidden)
    model.add(last)
    assert np.array_equal(model.predict(X), before)
    model.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="pop: the model has no layers"):
        md.Sequential().pop()


def test_weights_of_the_model_and_of_a_layer():
    model = trained()
    assert all(a is b for a, b in zip(model.weights, model.network.named_arrays().values(), strict=True))
    layer = model["hidden"]
    assert layer.kernel is layer.W
    assert layer.bias is layer.b
    assert [w.shape for w in layer.weights] == [(6, 5), (5,)]
    kernel, bias = layer.get_weights()
    layer.set_weights([2 * kernel, bias + 1])
    assert np.array_equal(layer.W, 2 * kernel)
    assert np.array_equal(model.theta[30:35], bias + 1)
    with pytest.raises(ValueError, match=r"expected arrays of shapes \[\(6, 5\), \(5,\)\], got \[\(6, 5\)\]"):
        layer.set_weights([kernel])
    assert md.Dense(3).get_weights() == []
    assert [w.shape for w in model[2].weights] == [(5,)] * 4
    assert md.ReLU().get_weights() == []


def test_a_layers_own_name_and_weights():
    class Own(md.Layer):
        def __init__(self):
            self.name = "mine"

        def build(self, input_shape):
            self.param("weights", input_shape, "ones")
            return input_shape

        def forward(self, x):
            self.x = x
            return x * self.weights

        def backward(self, dy):
            self.dweights = (dy * self.x).sum(axis=0)
            return dy * self.weights

    assert md.check_layer(Own(), 3) < 1e-7
    model = md.Sequential([Own()]).build(3)
    assert (model[0].name, model[0].weights.shape) == ("mine", (3,))


def test_names_are_kept(tmp_path):
    model = trained()
    model.save(tmp_path / "model.npz")
    for twin in (
        md.load_model(tmp_path / "model.npz"),
        copy.deepcopy(model),
        md.Sequential.from_config(model.get_config()),
    ):
        assert [layer.name for layer in twin] == [layer.name for layer in model]
    frozen = md.Dense(3, trainable=False, name="fixed")
    assert (frozen.trainable, frozen.name, repr(frozen)) == (False, "fixed", "Dense(3, name='fixed')")


# ------------------------------------------------------------------ a configuration


def test_a_model_from_its_configuration():
    model = trained()
    twin = md.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    assert [repr(layer) for layer in twin] == [repr(layer) for layer in model]
    assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]
    again = md.models.model_from_json(model.to_json())
    assert again.get_config() == model.get_config()
    with pytest.raises(TypeError, match=r"to_json: .* use model.save"):
        md.Sequential([md.Dense(3, kernel_initializer=np.eye(3))]).to_json()


def test_classes_that_are_not_known():
    config = make().get_config()
    config["layers"][0]["class_name"] = "Desne"
    with pytest.raises(ValueError, match=r"no class 'Desne'\. Did you mean 'Dense'"):
        md.Sequential.from_config(config)

    class Own(md.Layer):
        def forward(self, x):
            return x

    model = md.Sequential([Own()])
    assert type(md.Sequential.from_config(model.get_config(), {"Own": Own})[0]) is Own


def test_a_clone_is_untrained():
    model = trained()
    clone = md.models.clone_model(model)
    assert [repr(layer) for layer in clone] == [repr(layer) for layer in model]
    assert clone.optimizer is None
    assert not np.array_equal(clone[0].W, model[0].W)
    assert np.array_equal(clone[0].b, np.zeros(5))
    assert np.array_equal(clone[2].moving_variance, np.ones(5))
    clone.compile("adam").fit(X, Y, verbose=0)


def test_metrics_names():
    assert make().metrics_names == ["loss", "acc"]


def test_helpers():
    assert np.array_equal(md.utils.normalize([[3, 4], [0, 0]]), [[0.6, 0.8], [0, 0]])
    assert np.array_equal(md.utils.normalize([[3, 0], [1, 0]], axis=0, order=1), [[0.75, 0], [0.25, 0]])

    class Batches(md.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X[index * 10 : index * 10 + 10], Y[index * 10 : index * 10 + 10]

    one, other = make(), make()
    one.fit(Batches(), epochs=2, verbose=0)
    other.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    assert one.theta == pytest.approx(other.theta, abs=1e-6)


def test_to_categorical():
    assert np.array_equal(md.utils.to_categorical([2, 0]), [[0, 0, 1], [1, 0, 0]])
    assert md.utils.to_categorical([0], 4).shape == (1, 4)
    for wrong in ([0.5], [-1], []):
        with pytest.raises(ValueError, match="expected whole numbers of at least 0"):
            md.utils.to_categorical(wrong)
    with pytest.raises(ValueError, match="the label 3 needs more than 2 classes"):
        md.utils.to_categorical([3], 2)


@pytest.mark.parametrize("name", ["Conv2D", "LSTM", "Model", "Lambda", "ops"])
def test_what_is_not_there_says_what_to_do(name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': "):
        getattr(md, name)


# ------------------------------------------------------------------ arguments of methods


def test_positions_are_keras():
    model = make()
    history = model.fit(X, Y, 8, 2, 0)
    assert (history.params["batch_size"], history.epoch) == (8, [0, 1])
    assert np.array_equal(model.predict(X, 7, 0), model.predict(X, 7))
    assert model.evaluate(X, Y, 7, 0) == model.evaluate(X, Y)
    assert model.fit(X, Y, batch_size=None, epochs=0, verbose=0).epoch == []


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
def test_what_predict_and_evaluate_say(verbose, capsys):
    model = make()
    model.predict(X, verbose=verbose)
    model.evaluate(X, Y, verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (0 if verbose == 0 else 2)
    if lines:
        assert lines[0].startswith("20 rows in ")
        assert lines[1].startswith("Results(loss=")
    with pytest.raises(ValueError, match="verbose"):
        model.predict(X, verbose=7)


def test_epochs_are_counted_on():
    whole, parts = make(), make()
    whole.fit(X, Y, epochs=4, verbose=0)
    parts.fit(X, Y, epochs=2, verbose=0)
    history = parts.fit(X, Y, epochs=4, initial_epoch=2, verbose=0)
    assert history.epoch == [2, 3]
    assert np.array_equal(parts.theta, whole.theta)
    with pytest.raises(ValueError, match="the last epoch is to be number 1, and the first one 2"):
        parts.fit(X, Y, epochs=1, initial_epoch=2)


def test_a_run_that_begins_later_is_resumed(tmp_path):
    def options(**more):
        return {"epochs": 6, "initial_epoch": 2, "verbose": 0, **more}

    class Crash(md.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise SystemError

    keep = md.callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}.npz")
    whole = make()
    whole.fit(X, Y, **options())
    with pytest.raises(SystemError):
        make().fit(X, Y, callbacks=[keep, Crash()], **options())
    resumed = make()
    history = resumed.fit(X, Y, callbacks=[keep], resume="auto", **options())
    assert history.epoch == [2, 3, 4, 5]
    assert np.array_equal(resumed.theta, whole.theta)
    with pytest.raises(ValueError, match="initial epoch: 2 in the file, None here"):
        make().fit(X, Y, callbacks=[keep], resume="auto", epochs=6, verbose=0)


def test_the_batch_size_of_the_validation_changes_no_result():
    histories = [
        make().fit(X, Y, validation_data=(X, Y), validation_batch_size=n, verbose=0).history for n in (3, None)
    ]
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        assert values == pytest.approx(histories[1][name], rel=1e-6)


def test_a_model_around_a_built_one_is_built():
    inner = md.Sequential([md.Dense(3)]).build(6)
    expected = inner.predict(X)
    assert md.Sequential([inner, md.Softmax()]).predict(X).argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()


def test_two_layers_of_one_name():
    with pytest.raises(ValueError, match="the layers of a chain need different names; 2 are called 'a'"):
        md.Sequential([md.Dense(3, name="a"), md.Dense(3, name="a")])
    model = md.Sequential([md.Dense(3, name="a"), md.Dense(3, name="dense")], rng=0).build(3)
    for add in (lambda: model.add(md.Dense(2, name="a")), lambda: md.Residual([md.ReLU(name="b"), md.ReLU(name="b")])):
        with pytest.raises(ValueError, match="need different names"):
            add()
    assert [layer.name for layer in model] == ["a", "dense"]
    model.add(md.Dense(2))
    model.add(md.Residual([md.Dense(2, name="a")]))  # in a chain of its own
    model = md.Sequential([md.Dense(3, name="dense_1"), md.Dense(3)])  # dense_1, too
    with pytest.raises(ValueError, match="2 layers are called 'dense_1'"):
        model.get_layer("dense_1")


def test_weights_that_training_changes_and_others():
    model = trained()
    assert [w.shape for w in model.trainable_weights] == [(6, 5), (5,), (5,), (5,), (5, 3), (3,)]
    assert model.non_trainable_weights == model["batch_normalization"].non_trainable_weights
    assert [w.shape for w in model[2].weights] == [(5,)] * 4
    model["hidden"].trainable = False
    assert len(model.trainable_variables) == 4 == len(model.non_trainable_variables)
    assert all(np.shares_memory(w, model.theta) for w in model.trainable_weights)
    assert model.variables == model.weights
    assert model[0].trainable_weights == []


def test_a_name_that_a_model_has_not():
    model = make()
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'fit_generator': use fit"):
        _ = model.fit_generator
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        _ = model.nothing

    class Own(md.Sequential):
        @property
        def wrong(self):
            return self.missing

    with pytest.raises(AttributeError, match="'missing'"):
        _ = Own().wrong
    with pytest.raises(TypeError, match=r"pop\(\) takes no keyword 'rebuild'\. The model is always ready"):
        model.pop(rebuild=False)


def test_a_batch_axis_in_build():
    assert md.Sequential([md.Dense(3)]).build((None, 4)).input_shape == (4,)
    assert md.Sequential([md.Flatten()]).build([None, 2, 3]).input_shape == (2, 3)
    for wrong in ((None,), (4, None), None, (None, None, 3)):
        with pytest.raises(TypeError, match="input_shape: expected a whole number"):
            md.Sequential([md.Flatten()]).build(wrong)


def test_a_layer_is_not_called():
    for layer in (md.Dense(3), make()[0], md.Residual([md.Dense(3)])):
        for given in (X, md.Input((6,)), None):
            with pytest.raises(TypeError, match=r"a layer is not called\. Put it into a chain"):
                layer(given)


def test_weights_of_a_layer_are_finite():
    layer = make()[0]
    before = layer.get_weights()
    with pytest.raises(ValueError, match="expected numbers that are finite in float32"):
        layer.set_weights([np.full((6, 5), np.nan), np.zeros(5)])
    assert np.array_equal(layer.W, before[0])


def test_keras_modules_and_classes():
    from minidense.constraints import MaxNorm
    from minidense.initializers import Constant, HeNormal
    from minidense.regularizers import l2

    assert md.optimizers.schedules is md.schedules is importlib.import_module("minidense.optimizers.schedules")
    for module, name in (("optimizers", "adam"), ("losses", "mse"), ("metrics", "mae"), ("regularizers", "l2")):
        assert type(getattr(md, module).get(name)).__module__.startswith(
            f"minidense.{module}".replace("regu", "layers.regu")
        )
    assert md.initializers.get("zeros") is md.initializers.zeros
    assert type(md.constraints.get("non_neg")) is md.constraints.NonNeg
    assert md.initializers is importlib.import_module("minidense.initializers")  # whatever was imported before
    assert md.regularizers is importlib.import_module("minidense.regularizers")
    assert md.constraints is importlib.import_module("minidense.constraints")
    layer = md.Dense(3, kernel_initializer=HeNormal(), bias_initializer=Constant(0.5), kernel_regularizer=l2(0.1))
    assert np.array_equal(md.Sequential([layer]).build(4)[0].b, [0.5] * 3)
    assert md.Dense(3, bias_initializer=None, kernel_constraint=MaxNorm(2.0)).units == 3
    with pytest.raises(TypeError, match="initial values come from the model's generator"):
        HeNormal(seed=3)
    with pytest.raises(TypeError, match="there is no global seed"):
        md.utils.set_random_seed(3)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "all"])
def test_the_batch_size_of_the_validation_is_checked_also_without_one(wrong):
    with pytest.raises((TypeError, ValueError), match="validation_batch_size: expected a whole number"):
        make().fit(X, Y, validation_batch_size=wrong, verbose=0)


def test_hdf5_is_refused_with_the_name_to_use(tmp_path):
    model = trained()
    for call in (
        lambda: model.save(tmp_path / "m.h5"),
        lambda: model.save_weights(tmp_path / "m.weights.h5"),
        lambda: md.callbacks.ModelCheckpoint(tmp_path / "m-{epoch}.HDF5"),
    ):
        with pytest.raises(ValueError, match=r"no HDF5 is written here, but NumPy's format: use '.*m.*\.npz'\."):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_shape_with_kerass_batch_axis():
    assert md.Sequential([md.Dense(3)]).build((None, 4)).input_shape == (4,)
    assert md.Sequential([md.Flatten(), md.Dense(3)]).build([None, 2, 4]).input_shape == (2, 4)
    with pytest.raises(TypeError, match="input_shape"):
        md.Sequential([md.Dense(3)]).build((4, None))
