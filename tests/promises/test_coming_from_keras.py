"""Statements as users of Keras write them: each means the same here, or differs as said, or says what to do instead.

Each is run with ``keras`` as this library. What Keras 3 itself gives is in tests/golden/keras.json, by the statement's
text; tests/golden/make_keras.py writes it.
"""

import ast
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import keras_cases
import numpy as np
import pytest

import minidense as md


class Differs(NamedTuple):
    """It has another value than in Keras: that of this statement, or that which it has here."""

    here: str
    why: str


class Instead(NamedTuple):
    """This statement gives here what Keras gives for the other one."""

    here: str
    why: str


class Raises(NamedTuple):
    """The error here, and a part of its message."""

    kind: type
    message: str


SAME = "the same as in Keras"

PRELUDE = '''
import os
from pathlib import Path
layers, losses, metrics, callbacks = keras.layers, keras.losses, keras.metrics, keras.callbacks
optimizers, regularizers = keras.optimizers, keras.regularizers
x, y, hot, t = scores, labels, one_hot, numbers
path = folder + "/m.keras"


def weighted(model):
    """The model with the same weights in any library."""
    arrays = enumerate(model.get_weights())
    model.set_weights([abs(np.sin(np.arange(w.size) + i).reshape(w.shape)) / 2 for i, w in arrays])
    return model


def chain(*parts):
    return weighted(keras.Sequential([keras.Input(shape=(4,)), *parts]))


def small():
    return chain(layers.Dense(5, activation="tanh", name="hidden"), layers.Dense(4, name="out"))


def classifier():
    model = chain(layers.Dense(5, activation="relu"), layers.Dense(4, activation="softmax"))
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def trained(optimizer="sgd", loss="mse", y=numbers, model=None, **options):
    model = small() if model is None else model
    model.compile(optimizer=optimizer, loss=loss)
    settings = {"batch_size": 3, "epochs": 3, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, **settings).history["loss"]


def compiled(optimizer="sgd", loss="mse", metrics=(), **options):
    model = small()
    model.compile(optimizer=optimizer, loss=loss, metrics=list(metrics), **options)
    return model


def fitted(*given, **options):
    return compiled().fit(x, t, callbacks=list(given), verbose=0, **options)


def learning_rates(callback):
    return fitted(callback, epochs=4).history["learning_rate"]


def evaluated(model, y=t, **options):
    return model.evaluate(x, y, verbose=0, **options)


def reloaded(model, **options):
    model.save(path)
    return keras.models.load_model(path, **options)


def rates(schedule):
    return [float(schedule(step)) for step in (0, 1, 5, 10, 25)]
'''

MODELS = {
    "keras.Sequential([keras.Input(shape=(4,)), layers.Dense(3)]).output_shape": Instead(
        "[None, *keras.Sequential([keras.Input(shape=(4,)), layers.Dense(3)]).output_shape]",
        "shapes have no batch axis",
    ),
    "small()(x)": SAME,
    "small().predict(x, verbose=0)": SAME,
    "small().predict(x, batch_size=2, verbose=0)": SAME,
    "small().predict(x, 4, 0).shape": SAME,
    "small().predict_on_batch(x)": SAME,
    "small().count_params()": SAME,
    "small().layers[0].count_params()": SAME,
    "len(small().layers)": Instead(
        "len([layer for layer in small().layers if layer.count_params()])", "an activation is a layer of its own"
    ),
    "chain(layers.Dense(5), layers.ReLU(), layers.Dense(3)).layers[1].get_weights()": SAME,
    "[w.shape for w in small().get_weights()]": SAME,
    "[tuple(w.shape) for w in small().weights]": SAME,
    "len(small().trainable_variables), len(small().non_trainable_variables)": SAME,
    "len(chain(layers.BatchNormalization()).trainable_weights)": SAME,
    "len(chain(layers.BatchNormalization()).non_trainable_weights)": SAME,
    "m = small(); m.layers[0].trainable = False; len(m.trainable_weights)": SAME,
    "m = small(); m.trainable = False; len(m.trainable_weights)": SAME,
    "m = small(); m.set_weights([w * 0 for w in m.get_weights()]); m.predict(x, verbose=0)": SAME,
    "small().get_layer('hidden').name": SAME,
    "small().get_layer(index=0).name": SAME,
    "small().get_layer(name='out').units": SAME,
    "small().get_layer('nothing')": Raises(ValueError, "There are: hidden, tanh, out"),
    "small().get_layer('out').get_weights()[0]": SAME,
    "np.asarray(small().get_layer('out').kernel)": SAME,
    "np.asarray(small().get_layer('out').bias)": SAME,
    "m = small(); m.get_layer('out').set_weights([np.ones((5, 4)), np.zeros(4)]); m.predict(x, verbose=0)": SAME,
    "m = keras.Sequential(); m.add(keras.Input((4,))); m.add(layers.Dense(3)); len(m.layers)": SAME,
    "m = keras.Sequential(); m.add(layers.Dense(3, input_shape=(4,))); m.count_params()": SAME,
    "m = keras.Sequential([layers.Dense(3)]); m.build((None, 4)); m.count_params()": SAME,
    "m = keras.Sequential([layers.Dense(3)]); m.built": SAME,
    "m = chain(layers.Dense(3), layers.Dense(2)); m.pop(); len(m.layers)": SAME,
    "keras.Sequential([layers.Dense(3)], name='mine').name": SAME,
    "keras.Sequential([layers.Dense(3, name='a'), layers.Dense(3, name='a')])": Raises(ValueError, "different names"),
    "keras.Sequential([keras.layers.InputLayer(shape=(4,)), layers.Dense(2)]).count_params()": SAME,
    "m = keras.models.clone_model(small()); [l.name for l in m.layers]": Differs(
        "['hidden', 'tanh', 'out']", "an activation is a layer of its own"
    ),
    "m = small(); keras.Sequential.from_config(m.get_config()).count_params()": SAME,
    "keras.models.model_from_json(small().to_json()).count_params()": SAME,
    "small().get_layer('hidden').get_config()['units']": SAME,
    "layers.Dense.from_config(layers.Dense(7).get_config()).units": SAME,
    "layers.Dense(3, activation='relu', use_bias=False).get_config()['use_bias']": SAME,
    "type(small().summary()).__name__": Differs("'Summary'", "it returns the table, which is a str"),
    "keras.Model": Raises(AttributeError, "branches are md.Residual and md.Concatenate"),
    "from keras.models import Model": Raises(ImportError, "a chain is md.Sequential"),
    "keras.Model(inputs=None, outputs=None)": Raises(AttributeError, "a layer with children"),
    "layers.Dense(3)(x)": Raises(TypeError, "a layer is not called. Put it into a chain, md.Sequential"),
    "layers.Dense(3)(keras.Input((4,)))": Raises(TypeError, "a layer is not called"),
    "small().input": Raises(AttributeError, "there is no graph"),
    "small().fit_generator": Raises(AttributeError, "use fit, evaluate and predict"),
    "small().export('x')": Raises(AttributeError, "use model.export_numpy"),
    "small().to_yaml()": Raises(AttributeError, "use model.to_json"),
    "small().losses": Raises(AttributeError, "a penalty is a regularizer"),
    "chain(layers.Dense(3)).pop(rebuild=False)": Raises(TypeError, "The model is always ready"),
    "keras.Sequential([layers.Dense(3)]).get_weights()": Raises(RuntimeError, "not built"),
    "keras.Sequential([layers.Dense(3)]).predict(x)": Raises(RuntimeError, "Call model.build(input_shape), or fit it"),
}

TRAINING = {
    "trained()": SAME,
    "trained(loss='mae')": SAME,
    "trained(epochs=5, batch_size=9)": SAME,
    "trained(sample_weight=weights / weights.mean(), batch_size=9)": SAME,
    "trained(sample_weight=weights, batch_size=9)": Differs(
        "trained(sample_weight=weights / weights.mean(), batch_size=9)", "a mean is divided by the sum of the weights"
    ),
    "m = small(); m.compile('sgd', 'mse', ['mae']); m.metrics_names": Differs(
        "['loss', 'mae']", "metrics come third, as in Keras 2, and are named one by one"
    ),
    "trained(loss='sparse_categorical_crossentropy', y=y, model=chain(layers.Dense(4, activation='softmax')))": SAME,
    "trained(loss='categorical_crossentropy', y=hot, model=chain(layers.Dense(4, activation='softmax')))": SAME,
    "trained(loss=losses.SparseCategoricalCrossentropy(from_logits=True), y=y)": SAME,
    "trained(loss=losses.BinaryCrossentropy(from_logits=True), y=binary)": SAME,
    "trained(loss='binary_crossentropy', y=column, model=chain(layers.Dense(1, activation='sigmoid')))": SAME,
    "trained(loss=losses.Huber(delta=0.5))": SAME,
    "trained(loss=losses.MeanSquaredError())": SAME,
    "trained(loss=losses.mean_squared_error)": SAME,
    "trained(loss=keras.losses.get('mean_absolute_error'))": SAME,
    "trained(loss=losses.CategoricalCrossentropy(label_smoothing=0.1, from_logits=True), y=hot)": SAME,
    "trained(loss='log_cosh')": SAME,
    "trained(loss='hinge', y=signs)": SAME,
    "trained(loss='categorical_hinge', y=hot)": SAME,
    "trained(loss='cosine_similarity')": SAME,
    "trained(model=chain(layers.Dense(4, kernel_regularizer='l2')))": SAME,
    "trained(model=chain(layers.Dense(4, kernel_regularizer=regularizers.L1L2(0.01, 0.02))))": SAME,
    "trained(model=chain(layers.Dense(4, bias_regularizer=regularizers.l1(0.1), kernel_constraint='non_neg')))": SAME,
    "trained(model=chain(layers.BatchNormalization(), layers.Dense(4)))": SAME,
    "trained(model=chain(layers.BatchNormalization(gamma_regularizer='l2', beta_regularizer='l1')))": SAME,
    "trained(model=chain(layers.BatchNormalization(gamma_constraint='non_neg', momentum=0.9)))": SAME,
    "trained(model=chain(layers.LayerNormalization(), layers.Dense(4)))": SAME,
    "trained(model=chain(layers.LayerNormalization(gamma_regularizer='l2', beta_constraint='non_neg')))": SAME,
    "trained(model=chain(layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(0.5))))": SAME,
    "trained(model=chain(layers.PReLU(), layers.Dense(4)))": SAME,
    "evaluated(compiled('sgd', 'mse'))": SAME,
    "m = classifier(); m.evaluate(x, y, verbose=0)": SAME,
    "m = classifier(); m.evaluate(x, y, verbose=0, return_dict=True)": SAME,
    "m = classifier(); m.evaluate(x, y, batch_size=4, verbose=0)": SAME,
    "m = classifier(); m.evaluate(x, y, sample_weight=weights, verbose=0)[1]": SAME,
    "m = classifier(); m.test_on_batch(x, y, return_dict=True)": SAME,
    "m = classifier(); m.train_on_batch(x, y); m.predict(x, verbose=0)": SAME,
    "m = classifier(); sorted(m.train_on_batch(x, y, return_dict=True))": SAME,
    "m = classifier(); sorted(m.fit(x, y, verbose=0, validation_data=(x, y)).history)": SAME,
    "sorted(fitted(validation_split=0.3).history)": SAME,
    "m = classifier(); m.fit(x, y, epochs=3, verbose=0).epoch": SAME,
    "m = classifier(); m.fit(x, y, epochs=4, initial_epoch=2, verbose=0).epoch": SAME,
    "m = classifier(); m.fit(x, y, 3, 2, 0).params['epochs']": SAME,
    "m = classifier(); m.fit(x, y, batch_size=9, epochs=2, verbose=0, shuffle=False).history['accuracy']": SAME,
    "m = classifier(); m.fit(x, y, 9, 2, 0, class_weight={0: 1, 1: 1, 2: 1, 3: 1}).history['loss']": SAME,
    "m = classifier(); m.fit(x, y, batch_size=9, verbose=0, callbacks=None).history['loss']": SAME,
    "m = classifier(); m.fit(x, y, verbose=0); len(m.history.history['loss'])": SAME,
    "m = small(); m.compile('adam', 'mse', metrics=None); evaluated(m)": SAME,
    "evaluated(compiled(loss='mse', optimizer='sgd', metrics=['mae', 'mse']))": SAME,
    "compiled('sgd', 'mse', weighted_metrics=['mae']).evaluate(x, t, 9, 0, weights)[1]": SAME,
    "evaluated(compiled('sgd', loss=losses.Huber(), metrics=[metrics.MeanAbsoluteError(name='a')]))": SAME,
    "m = classifier(); top = metrics.TopKCategoricalAccuracy(2); "
    "m.compile('sgd', 'categorical_crossentropy', metrics=[top]); evaluated(m, hot)": SAME,
    "trained(loss='sparse_categorical_crossentropy', y=y)": Differs(
        "trained(loss=losses.SparseCategoricalCrossentropy(from_logits=True), y=y)",
        "from_logits is found from the model",
    ),
    "fitted(epochs=0).epoch": SAME,
    "len(fitted(validation_data=(x, t), validation_freq=2, epochs=4).history['val_loss'])": Instead(
        "np.isfinite(fitted(validation_data=(x, t), validation_freq=2, epochs=4).history['val_loss']).sum()",
        "a value for each epoch, NaN where there was no validation",
    ),
    "m = classifier(); m.fit(((x, y) for _ in range(4)), steps_per_epoch=2, epochs=2, verbose=0).epoch": SAME,
    "classifier().evaluate(((x, y) for _ in range(2)), steps=2, verbose=0)": SAME,
    "classifier().predict(((x,) for _ in range(2)), steps=2, verbose=0)": SAME,
    "class Batches(keras.utils.PyDataset):\n    __len__ = lambda self: 1\n    __getitem__ = lambda self, i: (x, y)\n"
    "m = classifier(); m.fit(Batches(), epochs=2, verbose=0).history['loss']": SAME,
    "m = classifier(); m.fit(x=x, y=y, validation_data=(x, y, weights), verbose=0).epoch": SAME,
    "m = classifier(); m.predict(x, verbose=0).argmax(axis=1)": SAME,
    "compiled('sgd', 'mse', jit_compile=True)": Raises(TypeError, "nothing is compiled"),
    "compiled('sgd', 'mse', run_eagerly=True)": Raises(TypeError, "Leave it out"),
    "compiled('sgd', 'mse', steps_per_execution=10)": Raises(TypeError, "Leave it out"),
    "compiled('sgd', 'mse', loss_weights=[1.0])": Raises(TypeError, "one output and one loss"),
    "m = small(); m.compile('sgd', 'msee')": Raises(ValueError, "Did you mean 'mse'?"),
    "m = small(); m.compile('adamm', 'mse')": Raises(ValueError, "Did you mean 'adam'?"),
    "compiled('sgd', lambda y_true, y_pred: (y_true - y_pred) ** 2)": Raises(TypeError, "md.FunctionLoss"),
    "m = small(); m.fit(x, t)": Raises(RuntimeError, "call model.compile"),
    "m = classifier(); m.fit(x, y, workers=2)": Raises(TypeError, "Batches are read by this thread"),
    "m = classifier(); m.fit(x, y[:5])": Raises(ValueError, "9 rows"),
    "m = classifier(); m.fit(x[:, :2], y)": Raises(ValueError, "(n, 4)"),
    "m = classifier(); m.fit(x, y + 3)": Raises(ValueError, "expected labels from 0 to 3"),
    "trained(loss=losses.SparseCategoricalCrossentropy(), y=y)": Differs(
        "trained(loss=losses.SparseCategoricalCrossentropy(from_logits=True), y=y)",
        "from_logits is found from the model",
    ),
    "compiled('sgd', losses.SparseCategoricalCrossentropy(from_logits=False))": Raises(
        ValueError, "Leave out from_logits"
    ),
    "m = classifier(); m.compile('sgd', losses.SparseCategoricalCrossentropy(from_logits=True))": Raises(
        ValueError, "Leave out from_logits"
    ),
    "compiled('sgd', losses.BinaryCrossentropy(), metrics=[metrics.BinaryCrossentropy(from_logits=True)])": Raises(
        ValueError, "leave out from_logits"
    ),
}

LAYERS = {
    "chain(layers.Activation('relu')).predict(x, verbose=0)": SAME,
    "chain(layers.Activation(keras.activations.tanh)).predict(x, verbose=0)": SAME,
    "chain(layers.Dense(3, activation=keras.activations.relu)).predict(x, verbose=0)": SAME,
    "chain(layers.Dense(3, activation=None)).predict(x, verbose=0)": SAME,
    "chain(layers.Dense(3, 'sigmoid')).predict(x, verbose=0)": SAME,
    "chain(layers.Dense(units=3, use_bias=False)).predict(x, verbose=0)": SAME,
    "chain(layers.Dense(3, activation='leaky_relu')).predict(x, verbose=0)": SAME,
    "chain(layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2)).predict(x, verbose=0)": SAME,
    "chain(layers.LeakyReLU()).predict(x, verbose=0)": SAME,
    "chain(layers.LeakyReLU(negative_slope=0.1)).predict(x, verbose=0)": SAME,
    "chain(layers.ELU(alpha=0.5)).predict(x, verbose=0)": SAME,
    "chain(layers.PReLU()).predict(x, verbose=0)": SAME,
    "chain(layers.Softmax()).predict(x, verbose=0)": SAME,
    "chain(layers.Dropout(0.5)).predict(x, verbose=0)": SAME,
    "chain(layers.GaussianNoise(0.5)).predict(x, verbose=0)": SAME,
    "chain(layers.BatchNormalization(epsilon=0.1)).predict(x, verbose=0)": SAME,
    "chain(layers.BatchNormalization(center=False, scale=False)).predict(x, verbose=0)": SAME,
    "chain(layers.LayerNormalization(axis=-1)).predict(x, verbose=0)": SAME,
    "chain(layers.RMSNormalization()).predict(x, verbose=0)": SAME,
    "chain(layers.Rescaling(1 / 255, offset=-1)).predict(x, verbose=0)": SAME,
    "chain(layers.Reshape((2, 2)), layers.Flatten()).predict(x, verbose=0)": SAME,
    "chain(layers.Reshape((-1, 1))).predict(x, verbose=0).shape": SAME,
    "chain(layers.Identity()).predict(x, verbose=0)": SAME,
    "chain(layers.Embedding(4, 3), layers.Flatten()).predict(counts % 4, verbose=0)": SAME,
    "chain(layers.CategoryEncoding(6, output_mode='multi_hot')).predict(counts % 6, verbose=0)": SAME,
    "n = layers.Normalization(); n.adapt(x); keras.Sequential([keras.Input((4,)), n]).predict(x, verbose=0)": SAME,
    "keras.Sequential([keras.Input((4,)), layers.Normalization(-1, [1, 2, 3, 4], [1, 4, 9, 16])])(x)": SAME,
    "layers.Dense(3, kernel_initializer='he_normal', bias_initializer='ones').units": SAME,
    "layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01)).units": SAME,
    "layers.Dense(3, kernel_initializer=keras.initializers.HeNormal()).units": SAME,
    "layers.Dense(3, name='mine').name": SAME,
    "layers.Dense(3, trainable=False).trainable": SAME,
    "layers.Dense(3, activity_regularizer='l2')": Raises(ValueError, "write a md.Layer whose backward adds"),
    "layers.ReLU(activity_regularizer='l2')": Raises(TypeError, "Penalties on outputs are not supported"),
    "layers.Dense(3, dtype='float32')": Raises(TypeError, "md.Sequential(layers, dtype='float64')"),
    "layers.Dense(3, activation=np.tanh)": Raises(TypeError, "write a Layer with forward and backward"),
    "layers.Dense(3, activation='rleu')": Raises(ValueError, "Did you mean 'relu'?"),
    "layers.Dense(unit=3)": Raises(TypeError, "Did you mean 'units'?"),
    "layers.Dense(2.5)": Raises(TypeError, "expected a whole number"),
    "layers.Dense(-1)": Raises(ValueError, "at least 1"),
    "layers.Dropout(1.5)": Raises(ValueError, "below 1"),
    "layers.Dropout(0.5, seed=3)": Raises(TypeError, "md.Sequential(layers, rng=seed)"),
    "layers.Dropout(0.5, noise_shape=(1,))": Raises(TypeError, "Each value is dropped on its own"),
    "layers.Embedding(4, 3, mask_zero=True)": Raises(TypeError, "There are no masks"),
    "chain(layers.Reshape((2, 2)), layers.BatchNormalization(axis=1))": Raises(ValueError, "only the last axis"),
    "layers.Conv2D(32, 3)": Raises(AttributeError, "there are no convolutions"),
    "layers.MaxPooling2D()": Raises(AttributeError, "md.Flatten() makes rows of images"),
    "layers.LSTM(3)": Raises(AttributeError, "give windows of the series as rows"),
    "layers.MultiHeadAttention(2, 4)": Raises(AttributeError, "there is no attention"),
    "layers.Masking()": Raises(AttributeError, "weight them 0 by sample_weight"),
    "layers.Lambda(lambda x: x)": Raises(AttributeError, "write a Layer with forward and backward"),
    "layers.Add()([x, x])": Raises(AttributeError, "branches are md.Residual"),
    "layers.StringLookup()": Raises(AttributeError, "prepare columns with md.TablePreprocessor"),
    "layers.TextVectorization()": Raises(AttributeError, "count words in NumPy"),
    "layers.RandomFlip()": Raises(AttributeError, "in a generator of batches"),
    "from keras.layers import Conv2D": Raises(ImportError, "there are no convolutions"),
    "from keras.layers import Dense, Dropout; Dense(3).units": SAME,
}

ACTIVATIONS = {
    **{
        f"keras.activations.{name}(x)": SAME
        for name in (
            *("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "log_softmax", "mish", "relu"),
            *("relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"),
        )
    },
    "keras.activations.relu(x, negative_slope=0.1, max_value=0.5, threshold=0.1)": SAME,
    "keras.activations.get('relu')(x)": SAME,
    "keras.activations.get(None)(x)": SAME,
    "keras.activations.elu(x, alpha=0.3)": SAME,
    "keras.activations.gelu(x, approximate=True)": SAME,
    "keras.activations.get('rleu')": Raises(ValueError, "Did you mean 'relu'?"),
}

LOSSES = {
    "losses.MeanSquaredError()(t, predicted)": SAME,
    "losses.MeanSquaredError(reduction='sum')(t, predicted)": SAME,
    "losses.MeanSquaredError()(t, predicted, sample_weight=weights)": Instead(
        "(losses.mean_squared_error(t, predicted) * weights).mean()", "a mean is divided by the sum of the weights"
    ),
    "losses.MeanSquaredError('mean_with_sample_weight')(t, predicted, sample_weight=weights)": SAME,
    "losses.MeanSquaredError('sum')(t, predicted, sample_weight=weights)": SAME,
    "losses.mean_squared_error(t, predicted)": SAME,
    "losses.mean_absolute_error(t, predicted)": SAME,
    "losses.huber(t, predicted, delta=0.7)": SAME,
    "losses.log_cosh(t, predicted)": SAME,
    "losses.cosine_similarity(t, predicted)": SAME,
    "losses.categorical_crossentropy(hot, probabilities)": SAME,
    "losses.sparse_categorical_crossentropy(y, probabilities)": SAME,
    "losses.sparse_categorical_crossentropy(y, x, from_logits=True)": SAME,
    "losses.sparse_categorical_crossentropy(y, probabilities, ignore_class=2)": SAME,
    "losses.binary_crossentropy(binary, sigmoid)": SAME,
    "losses.binary_crossentropy(binary, x, from_logits=True)": SAME,
    "losses.kl_divergence(rows, probabilities)": SAME,
    "losses.poisson(counts, positive)": SAME,
    "losses.hinge(signs, x)": SAME,
    "losses.squared_hinge(signs, x)": SAME,
    "losses.categorical_hinge(hot, x)": SAME,
    "losses.get('mse')(t, predicted)": Instead("losses.mse(t, predicted)", "get gives a Loss, which returns the mean"),
    "losses.Huber(name='mine').name": SAME,
    "losses.MeanSquaredError().name": SAME,
    "losses.Huber().reduction": Differs("'mean'", "Keras' sum_over_batch_size by its short name"),
    "losses.Huber(reduction='none')": Raises(ValueError, "unknown reduction 'none'"),
    "losses.CTC()": Raises(AttributeError, "write a md.RowLoss"),
    "losses.BinaryCrossentropy(dtype='float32')": Raises(TypeError, "dtype"),
    "from keras.losses import mean_squared_error; mean_squared_error(t, predicted)": SAME,
}

METRICS = {
    "m = metrics.MeanSquaredError(); m.update_state(t, predicted); m.result()": SAME,
    "m = metrics.Accuracy(); m.name": SAME,
    "metrics.BinaryAccuracy(threshold=0.3)(binary, sigmoid)": SAME,
    "metrics.SparseCategoricalAccuracy()(y, probabilities)": SAME,
    "metrics.CategoricalAccuracy()(hot, probabilities)": SAME,
    "metrics.TopKCategoricalAccuracy(k=2)(hot, probabilities)": SAME,
    "metrics.Hinge()(signs, x)": SAME,
    "metrics.Hinge()(binary, x)": SAME,
    "metrics.SquaredHinge()(signs, x)": SAME,
    "metrics.CategoricalHinge()(hot, x)": SAME,
    "metrics.Poisson()(counts, positive)": SAME,
    "metrics.KLDivergence()(rows, probabilities)": SAME,
    "metrics.LogCoshError()(t, predicted)": SAME,
    "metrics.CosineSimilarity()(t, predicted)": SAME,
    "metrics.BinaryCrossentropy(from_logits=True)(binary, x)": SAME,
    "metrics.BinaryCrossentropy(label_smoothing=0.2)(binary, sigmoid)": SAME,
    "metrics.CategoricalCrossentropy(from_logits=True)(hot, x)": SAME,
    "metrics.SparseCategoricalCrossentropy()(y, probabilities)": SAME,
    "metrics.SparseCategoricalCrossentropy(name='ce', from_logits=True)(y, x)": SAME,
    "metrics.RootMeanSquaredError()(t, predicted)": SAME,
    "metrics.MeanAbsolutePercentageError()(t, predicted)": SAME,
    "metrics.Precision()(column[:, 0], sigmoid_column[:, 0])": SAME,
    "metrics.Recall(thresholds=0.3)(column, sigmoid_column)": SAME,
    "metrics.AUC(num_thresholds=100)(column, sigmoid_column)": SAME,
    "metrics.AUC(curve='PR', num_thresholds=50)(column, sigmoid_column)": SAME,
    "metrics.R2Score()(t, predicted)": SAME,
    "metrics.F1Score(average='macro')(hot, probabilities)": SAME,
    "metrics.TruePositives()(column, sigmoid_column)": SAME,
    "m = metrics.MeanSquaredError(); m(t, predicted); m.reset_state(); m(t, t)": SAME,
    "[getattr(metrics, name)().name for name in ('Hinge', 'KLDivergence', 'LogCoshError', 'Poisson')]": SAME,
    "[getattr(metrics, name)().name for name in ('MeanSquaredError', 'BinaryCrossentropy', 'CosineSimilarity')]": SAME,
    "metrics.get('mae').name": Differs("'mae'", "a metric keeps the name that was asked for"),
    "metrics.mean_squared_error(t, predicted)": SAME,
    "metrics.MeanIoU(2)": Raises(AttributeError, "use md.confusion_matrix"),
    "metrics.Mean()": Raises(AttributeError, "write a md.Metric"),
    "m = small(); m.compile('sgd', 'mse', [metrics.MeanSquaredError])": Raises(TypeError, "make an object of it"),
    "m = small(); m.compile('sgd', 'mse', ['accuracy'])": Raises(ValueError, "there is no accuracy under this loss"),
    "m = small(); m.compile('sgd', 'mse', [losses.Huber()])": Raises(TypeError, "md.metrics.LossMetric(Huber())"),
}

OPTIMIZERS = {
    **{
        f"trained(optimizers.{call})": SAME
        for call in (
            *("SGD(0.1)", "SGD(learning_rate=0.05, momentum=0.9)", "SGD(0.05, momentum=0.9, nesterov=True)"),
            *("Adam()", "Adam(0.01, beta_1=0.8)", "Adam(0.01, amsgrad=True)", "Adam(0.01, epsilon=0.1)"),
            *("RMSprop(0.01)", "RMSprop(0.01, centered=True, momentum=0.5)", "Adagrad(0.1)", "Adadelta(1.0)"),
            *("Adamax(0.01)", "Nadam(0.01)", "Lion(0.01)", "SGD(0.1, clipnorm=0.1)", "SGD(0.1, clipvalue=0.01)"),
            *("SGD(0.1, global_clipnorm=0.2)", "SGD(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5))"),
        )
    },
    "trained(optimizers.AdamW(0.01, weight_decay=0.1))": Instead(
        "trained(optimizers.AdamW(0.01, weight_decay=0.1, decay_all=True))", "biases and gains do not decay"
    ),
    "trained('rmsprop')": SAME,
    "trained('Adam')": SAME,
    "trained(optimizers.get('nadam'))": SAME,
    "rates(optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))": SAME,
    "rates(optimizers.schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5, staircase=True))": SAME,
    "rates(optimizers.schedules.PiecewiseConstantDecay([5, 10], [0.1, 0.05, 0.01]))": SAME,
    "rates(optimizers.schedules.PolynomialDecay(0.1, 20, 0.01, power=2.0))": SAME,
    "rates(optimizers.schedules.PolynomialDecay(0.1, 8, cycle=True))": SAME,
    "rates(optimizers.schedules.InverseTimeDecay(0.1, 10, 0.5))": SAME,
    "rates(optimizers.schedules.CosineDecay(0.1, 20, alpha=0.1))": SAME,
    "rates(optimizers.schedules.CosineDecay(0.0, 20, warmup_target=0.1, warmup_steps=5))": SAME,
    "rates(optimizers.schedules.CosineDecayRestarts(0.1, 8))": SAME,
    "float(optimizers.Adam(0.02).learning_rate)": SAME,
    "o = optimizers.SGD(0.1); o.learning_rate = 0.5; float(o.learning_rate)": SAME,
    "optimizers.Adam(0.02).get_config()['beta_1']": SAME,
    "from keras.optimizers import Adam; float(Adam(1e-2).learning_rate)": SAME,
    "from keras.optimizers.schedules import CosineDecay; rates(CosineDecay(0.1, 20))": SAME,
    "optimizers.Adam(lr=0.1)": Raises(TypeError, "Use learning_rate"),
    "optimizers.SGD(0.1, decay=1e-6)": Raises(TypeError, "Use a schedule"),
    "optimizers.Adam(learning_rate='high')": Raises(TypeError, "learning_rate"),
    "optimizers.Adam(learning_rate=-1)": Raises(ValueError, "learning_rate"),
    "optimizers.Ftrl()": Raises(AttributeError, "md.Adagrad"),
    "optimizers.LossScaleOptimizer('sgd')": Raises(AttributeError, "there is no mixed precision"),
    "optimizers.Adam().apply_gradients([])": Raises(AttributeError, "apply_gradients"),
}

CALLBACKS = {
    "h = callbacks.History(); fitted(h, epochs=2); sorted(h.history), h.epoch": SAME,
    "fitted(callbacks.EarlyStopping('loss', min_delta=99, patience=2), epochs=9).epoch": SAME,
    "fitted(callbacks.EarlyStopping(monitor='loss', patience=1), epochs=3).epoch": SAME,
    "m = compiled(); m.fit(x, t, verbose=0, epochs=2, callbacks=callbacks.EarlyStopping('loss')).epoch": SAME,
    "learning_rates(callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2))": SAME,
    "learning_rates(callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)))": SAME,
    "learning_rates(callbacks.ReduceLROnPlateau(monitor='loss', factor=0.5, patience=1, min_delta=99))": SAME,
    "seen = []; on = lambda batch, logs: seen.append(batch); "
    "fitted(callbacks.LambdaCallback(on_train_batch_end=on), batch_size=3); seen": SAME,
    "keep = callbacks.ModelCheckpoint(folder + '/{epoch}.weights.h5', save_weights_only=True); "
    "fitted(keep); os.listdir(folder)": Raises(ValueError, ".weights.npz"),
    "keep = callbacks.ModelCheckpoint(filepath=folder + '/{epoch}.keras', monitor='loss'); "
    "fitted(keep, epochs=2); sorted(os.listdir(folder))": SAME,
    "keep = callbacks.ModelCheckpoint(path, 'loss', save_best_only=True); fitted(keep); os.listdir(folder)": SAME,
    "fitted(callbacks.CSVLogger(path)); Path(path).read_text().split()[0]": Differs(
        "'epoch,loss'", "there is no column without values"
    ),
    "fitted(callbacks.TerminateOnNaN()).epoch": SAME,
    "callbacks.EarlyStopping(monitor='val_loss', patience=3, restore_best_weights=True, mode='min').patience": SAME,
    "callbacks.EarlyStopping(patience=3, start_from_epoch=2, baseline=0.5).baseline": SAME,
    "fitted(callbacks.EarlyStopping())": Raises(ValueError, "There is no validation data"),
    "fitted(print)": Raises(TypeError, "expected md.callbacks.Callback objects"),
    "callbacks.EarlyStopping(monitor='val_auc', mode='maximum')": Raises(ValueError, "mode"),
    "callbacks.BackupAndRestore('somewhere')": Raises(TypeError, "resume"),
    "callbacks.TensorBoard('logs')": Raises(AttributeError, "md.callbacks.CSVLogger"),
    "callbacks.ProgbarLogger()": Raises(AttributeError, "verbose=1"),
    "class Mine(callbacks.Callback):\n    def on_epoch_ends(self, epoch, logs=None): pass": Raises(
        TypeError, "Did you mean 'on_epoch_end'?"
    ),
}

REST = {
    "regularizers.L2(0.1)(x)": SAME,
    "regularizers.l1(0.1)(x)": SAME,
    "regularizers.L1L2(l1=0.1, l2=0.2)(x)": SAME,
    "regularizers.l1_l2(l1=0.1, l2=0.2)(x)": SAME,
    "regularizers.OrthogonalRegularizer(factor=0.1)(x)": SAME,
    "regularizers.get('l2')(x)": SAME,
    "regularizers.get('l3')": Raises(ValueError, "unknown regularizer 'l3'"),
    "keras.constraints.NonNeg()(x)": SAME,
    "keras.constraints.MaxNorm(1.0, axis=0)(x)": SAME,
    "keras.constraints.UnitNorm()(x)": SAME,
    "keras.constraints.MinMaxNorm(0.5, 1.0, rate=0.5)(x)": SAME,
    "keras.constraints.get('non_neg')(x)": SAME,
    "layers.Dense(3, kernel_constraint='max_norm').units": SAME,
    "layers.Dense(3, kernel_regularizer=0.01)": Raises(TypeError, "md.regularizers.L2(0.01)"),
    "layers.Dense(3, kernel_initializer='he_norml')": Raises(ValueError, "Did you mean 'he_normal'?"),
    "keras.initializers.HeNormal(seed=3)": Raises(TypeError, "the model's generator: Sequential(layers, rng=seed)"),
    "keras.initializers.Zeros()((2, 3))": Raises(TypeError, "missing 1 required positional argument"),
    "keras.initializers.get('zeros')((2, 3))": Instead(
        "keras.initializers.get('zeros')(np.random.default_rng(0), (2, 3))", "it is a function init(rng, shape)"
    ),
    "keras.utils.to_categorical([0, 2, 1])": SAME,
    "keras.utils.to_categorical([0, 2], num_classes=4)": SAME,
    "keras.utils.normalize(x)": SAME,
    "keras.utils.normalize(x, axis=1, order=1)": SAME,
    "issubclass(keras.utils.PyDataset, object)": SAME,
    "keras.utils.set_random_seed(3)": Raises(TypeError, "md.Sequential(layers, rng=3)"),
    "keras.utils.plot_model(small())": Raises(AttributeError, "use model.summary()"),
    "from keras.utils import plot_model": Raises(ImportError, "use model.summary()"),
    "keras.utils.get_file('x', 'https://example.org/x')": Raises(AttributeError, "nothing is downloaded"),
    "keras.utils.register_keras_serializable()": Raises(AttributeError, "custom_objects={'Scale': Scale}"),
    "keras.datasets.mnist.load_data()": Raises(AttributeError, "md.datasets.load_idx reads its files"),
    "keras.datasets.imdb.load_data()": Raises(AttributeError, "nothing is downloaded"),
    "keras.random.normal((2, 3))": Raises(AttributeError, "numpy.random.default_rng(seed)"),
    "keras.ops.mean(x)": Raises(AttributeError, "use NumPy"),
    "keras.backend.clear_session()": Raises(AttributeError, "use NumPy"),
    "keras.config.set_floatx('float64')": Raises(AttributeError, "arguments of md.Sequential"),
    "keras.mixed_precision.set_global_policy('mixed_float16')": Raises(AttributeError, "dtype is float32 or float64"),
    "keras.applications.ResNet50()": Raises(AttributeError, "there are no pretrained networks"),
    "keras.preprocessing.image": Raises(AttributeError, "prepare columns with md.TablePreprocessor"),
    "keras.saving.load_model('x')": Raises(AttributeError, "md.load_model(path)"),
    "keras.keras.Sequential()": Raises(AttributeError, "import minidense as keras"),
    "keras.GradientTape()": Raises(AttributeError, "model.loss_and_grad(x, y) fills model.grad"),
    "keras.Variable(3.0)": Raises(AttributeError, "use NumPy"),
    "from keras import backend": Raises(ImportError, "use NumPy"),
    "keras.Layers": Raises(AttributeError, "no attribute 'Layers'"),
}

SAVING = {
    "reloaded(small()).predict(x, verbose=0)": SAME,
    "reloaded(small(), compile=False).predict(x, verbose=0)": SAME,
    "reloaded(classifier()).evaluate(x, y, verbose=0)": SAME,
    "reloaded(classifier(), custom_objects={}, compile=True, safe_mode=True).count_params()": SAME,
    "reloaded(classifier(), compile=False).evaluate(x, y)": Raises(RuntimeError, "call model.compile"),
    "reloaded(small(), safe_mode=False)": Raises(ValueError, "nothing in it is run"),
    "keras.models.save_model(small(), path); keras.models.load_model(path).count_params()": SAME,
    "small().save(path); keras.models.load_model(filepath=path).count_params()": Raises(TypeError, "filepath"),
    "small().save_weights(folder + '/m.weights.h5'); m = small(); m.set_weights([w * 0 for w in m.get_weights()]); "
    "m.load_weights(folder + '/m.weights.h5'); m.predict(x, verbose=0)": Instead(
        "small().save_weights(path); m = small(); m.set_weights([w * 0 for w in m.get_weights()]); "
        "m.load_weights(path); m.predict(x, verbose=0)",
        "no HDF5 is written",
    ),
    "small().load_weights(path, by_name=True)": Raises(TypeError, "skip_mismatch=True"),
    "small().save(path, save_format='tf')": Raises(TypeError, "in one format"),
    "small().save(path, overwrite=False)": Raises(TypeError, "replaced as a whole"),
    "keras.models.load_model(folder + '/none.keras')": Raises(OSError, "none.keras"),
}

GROUPS = MODELS, TRAINING, LAYERS, ACTIVATIONS, LOSSES, METRICS, OPTIMIZERS, CALLBACKS, REST, SAVING
CALLS = {statement: expected for group in GROUPS for statement, expected in group.items()}
GOLDEN = Path(__file__).parents[1] / "golden" / "keras.json"


def in_keras(expected):
    """Whether Keras' own value is compared."""
    return expected is SAME or isinstance(expected, Instead)


def run(statement, keras, folder):
    """The value of the statement's last part, as plain numbers, texts and lists."""
    space = {"np": np, "keras": keras, "folder": str(folder), **keras_cases.data()}
    exec(PRELUDE, space)
    tree = ast.parse(statement)
    last = tree.body.pop()
    exec(compile(tree, "<statement>", "exec"), space)
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module([last], []), "<statement>", "exec"), space)
        return None
    return plain(eval(compile(ast.Expression(last.value), "<statement>", "eval"), space))


def plain(value):
    """Lists of numbers instead of arrays, and anything that is neither as None."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | str | None):
        return value
    try:
        return np.asarray(value, float).tolist()
    except (TypeError, ValueError):
        return None


def same(value, expected):
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[name], item) for name, item in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(expected, str | bool | None):
        return value == expected
    return value == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.fixture
def as_keras(monkeypatch):
    """This library under Keras' name, also for ``from keras.layers import Dense``."""
    for name in ("activations", "models", "utils"):
        getattr(md, name)  # is imported when first used
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "minidense":
            monkeypatch.setitem(sys.modules, "keras" + name.removeprefix("minidense"), module)


def test_there_are_enough_and_keras_has_run_them():
    assert len(CALLS) >= 200
    golden = json.loads(GOLDEN.read_text())["calls"]
    assert golden.keys() == {call for call, expected in CALLS.items() if in_keras(expected)}


@pytest.mark.parametrize("statement", CALLS)
def test_a_statement_of_keras(statement, as_keras, tmp_path, capsys):
    expected, golden = CALLS[statement], json.loads(GOLDEN.read_text())["calls"]
    if isinstance(expected, Raises):
        with pytest.raises(expected.kind, match=re.escape(expected.message)):
            run(statement, md, tmp_path)
    elif isinstance(expected, Instead):
        assert same(run(expected.here, md, tmp_path), golden[statement])
        with suppress(TypeError, ValueError):
            assert not same(run(statement, md, tmp_path), golden[statement])
    elif isinstance(expected, Differs):
        assert same(run(statement, md, tmp_path), run(expected.here, md, tmp_path))
    else:
        assert same(run(statement, md, tmp_path), golden[statement])
