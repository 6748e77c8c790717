"""What Keras has and this library has not on purpose, and what to do instead, for the errors of those who type it."""

from __future__ import annotations

import opcode
import sys
from collections.abc import Callable
from typing import Any

_CONVOLUTION = "there are no convolutions; md.Flatten() makes rows of images, for dense layers"
_RECURRENT = "there are no recurrent layers; give windows of the series as rows"
_ATTENTION = "there is no attention; a fixed number of inputs can be one row, for dense layers"
_IMAGE = "there are no layers for images; change the rows in a generator of batches, which fit takes"
_MERGE = "branches are md.Residual([...]), which adds its input, and md.Concatenate([...]), or a layer with children"
_TABLE = "prepare columns with md.TablePreprocessor, NumPy or pandas: examples/guides/table.md"
_DOWNLOAD = "nothing is downloaded; load it with another library, and pass the arrays"
_GRAPH = "a chain is md.Sequential; branches are md.Residual and md.Concatenate, or a layer with children"
_NUMPY = "use NumPy: arrays are NumPy's"
_CUSTOM = "pass your own classes when loading: md.load_model(path, custom_objects={'Scale': Scale})"
_ACTIVITY = "penalties on outputs are not supported; penalize kernels: kernel_regularizer='l2'"
_TEXT = "there are no layers for text; count words in NumPy, and pass rows of counts"

NAMES: dict[str, dict[str, str]] = {
    "": {
        **dict.fromkeys(["Model", "Function", "KerasTensor", "Operation", "InputSpec"], _GRAPH),
        **dict.fromkeys(["ops", "backend", "tree", "math", "constant", "convert_to_tensor", "reduce_mean"], _NUMPY),
        **dict.fromkeys(["function", "Tensor", "Variable"], _NUMPY),
        "GradientTape": "layers write their own gradients: model.loss_and_grad(x, y) fills model.grad",
        "random": "use numpy.random.default_rng(seed); a model's own numbers come from Sequential(layers, rng=seed)",
        "config": "dtype= and rng= are arguments of md.Sequential; threads are set by OPENBLAS_NUM_THREADS",
        "applications": "there are no pretrained networks",
        "preprocessing": _TABLE,
        "saving": "use md.load_model(path), model.save(path) and, for layers of your own, custom_objects",
        "export": "use model.export_numpy(path)",
        "visualization": "use model.summary() and history.plot()",
        "wrappers": "data frames, names of classes and predict_classes are part of the model",
        "distribution": "a model runs on the cores of one machine; large steps use several",
        "quantizers": "parameters are float32 or float64",
        **dict.fromkeys(["mixed_precision", "dtype_policies", "DTypePolicy"], "dtype is float32 or float64"),
        **dict.fromkeys(["keras", "compat"], "this library is one module: import minidense as keras"),
        "Initializer": "an initializer is a function init(rng, shape) that returns an array",
        "version": "use md.__version__",
    },
    "layers": {
        **dict.fromkeys(["Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose"], _CONVOLUTION),
        **dict.fromkeys(["SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D"], _CONVOLUTION),
        **dict.fromkeys(["MaxPooling1D", "MaxPooling2D", "MaxPool2D", "AveragePooling1D"], _CONVOLUTION),
        **dict.fromkeys(["AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"], _CONVOLUTION),
        **dict.fromkeys(["GlobalMaxPooling1D", "GlobalMaxPooling2D", "UpSampling2D", "ZeroPadding2D"], _CONVOLUTION),
        **dict.fromkeys(["LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM2D", "LSTMCell"], _RECURRENT),
        **dict.fromkeys(["TimeDistributed", "GRUCell", "SimpleRNNCell", "RepeatVector", "Permute"], _RECURRENT),
        **dict.fromkeys(["Attention", "AdditiveAttention", "MultiHeadAttention"], _ATTENTION),
        **dict.fromkeys(["RandomFlip", "RandomRotation", "RandomZoom", "RandomCrop", "Resizing", "CenterCrop"], _IMAGE),
        **dict.fromkeys(["Add", "add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Dot"], _MERGE),
        **dict.fromkeys(["concatenate", "average", "multiply"], _MERGE),
        **dict.fromkeys(["Discretization", "Hashing", "HashedCrossing", "IntegerLookup", "StringLookup"], _TABLE),
        "TextVectorization": _TEXT,
        "Masking": "there are no masks; leave the rows out, or weight them 0 by sample_weight",
        "Lambda": "write a Layer with forward and backward: examples/guides/layer.md",
        "ActivityRegularization": _ACTIVITY,
        **dict.fromkeys(["AlphaDropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianDropout"], "use md.Dropout"),
        **dict.fromkeys(
            ["GroupNormalization", "UnitNormalization", "SpectralNormalization"], "use md.LayerNormalization"
        ),
        "EinsumDense": "use md.Dense on rows: md.Flatten() before it makes them",
        "Wrapper": "a layer may have children: examples/guides/layer.md",
    },
    "models": {"Model": _GRAPH, "model_from_config": "use md.Sequential.from_config(config)"},
    "utils": {
        **dict.fromkeys(["plot_model", "model_to_dot"], "use model.summary(): a chain needs no drawing"),
        **dict.fromkeys(["register_keras_serializable", "get_custom_objects", "custom_object_scope"], _CUSTOM),
        "CustomObjectScope": _CUSTOM,
        **dict.fromkeys(["serialize_keras_object", "deserialize_keras_object"], "use get_config and from_config"),
        "get_file": _DOWNLOAD,
        **dict.fromkeys(
            ["image_dataset_from_directory", "load_img", "img_to_array"], "read images with another library"
        ),
        **dict.fromkeys(["text_dataset_from_directory", "pad_sequences"], _TEXT),
        "timeseries_dataset_from_array": "numpy.lib.stride_tricks.sliding_window_view makes rows of windows",
        "split_dataset": "use fit(..., validation_split=0.2, validation_shuffle=True), or cut the arrays",
        "FeatureSpace": _TABLE,
    },
    "callbacks": {
        **dict.fromkeys(["TensorBoard", "RemoteMonitor"], "use md.callbacks.CSVLogger, history.to_csv or history.plot"),
        "ProgbarLogger": "fit shows its own bar: verbose=1",
        "SwapEMAWeights": "use_ema=True of an optimizer puts the averages into the model when fit ends",
        "CallbackList": "fit takes a list of callbacks",
    },
    "losses": {
        **dict.fromkeys(
            ["CTC", "Dice", "Tversky", "Circle", "CategoricalGeneralizedCrossEntropy"], "write a md.RowLoss"
        ),
        **dict.fromkeys(["serialize", "deserialize"], "use get_config and from_config"),
    },
    "metrics": {
        **dict.fromkeys(["Mean", "Sum", "MeanMetricWrapper"], "write a md.Metric, or pass a function (y_true, y_pred)"),
        **dict.fromkeys(["MeanIoU", "IoU", "BinaryIoU", "OneHotIoU"], "use md.confusion_matrix, or md.F1"),
        **dict.fromkeys(
            ["SensitivityAtSpecificity", "SpecificityAtSensitivity"], "use several thresholds of md.Recall"
        ),
        **dict.fromkeys(
            ["PrecisionAtRecall", "RecallAtPrecision"], "use several thresholds of md.Precision and md.Recall"
        ),
        "FBetaScore": "use md.F1, or md.Precision and md.Recall",
    },
    "optimizers": {
        "Ftrl": "use md.Adagrad, with kernel_regularizer='l1' for sparse weights",
        "LossScaleOptimizer": "there is no mixed precision: dtype is float32 or float64",
        "legacy": "use the optimizers of this module",
        **dict.fromkeys(["Lamb", "Muon", "Adafactor"], "use md.AdamW"),
    },
    "datasets": {
        "mnist": f"{_DOWNLOAD}; md.datasets.load_idx reads its files, load_digits and fashion_mnist are at hand",
        **dict.fromkeys(["cifar10", "cifar100", "imdb", "reuters", "california_housing", "boston_housing"], _DOWNLOAD),
    },
    "activations": {},
    "schedules": {"LearningRateSchedule": "use md.schedules.Schedule, or any function of the step"},
    "initializers": {},
    "regularizers": {},
    "constraints": {},
    "Sequential": {
        **dict.fromkeys(["fit_generator", "evaluate_generator", "predict_generator"], "use fit, evaluate and predict"),
        **dict.fromkeys(
            ["input", "output", "inputs", "outputs"], "there is no graph; model.activations(x) has all outputs"
        ),
        **dict.fromkeys(["train_step", "test_step", "make_train_function"], "write a loop around model.loss_and_grad"),
        **dict.fromkeys(
            ["add_loss", "losses", "compute_loss"], "a penalty is a regularizer, or part of a loss of your own"
        ),
        "add_metric": "pass metrics to compile",
        "export": "use model.export_numpy(path)",
        "quantize": "parameters are float32 or float64",
        "reset_states": "there are no recurrent layers, and nothing to reset",
        "reset_metrics": "each epoch and each evaluate begins anew",
        "run_eagerly": "everything runs at once, as NumPy does",
        "to_yaml": "use model.to_json()",
        "save_model": "use model.save(path)",
        "load_model": "use md.load_model(path)",
    },
}
"""By module, or class: a name that Keras has there, and what to do instead."""

NAMES[""] = NAMES["layers"] | NAMES[""]  # layers are also names of the library itself

KEYWORDS = {
    **dict.fromkeys(
        ["run_eagerly", "jit_compile", "steps_per_execution", "auto_scale_loss"], "leave it out: nothing is compiled"
    ),
    "loss_weights": "a model has one output and one loss",
    **dict.fromkeys(
        ["workers", "use_multiprocessing", "max_queue_size"], "batches are read by this thread: leave it out"
    ),
    "seed": "random numbers come from the model's generator: md.Sequential(layers, rng=seed)",
    "dtype": "the model has one: md.Sequential(layers, dtype='float64'); metrics are computed in float64",
    **dict.fromkeys(["batch_shape", "batch_input_shape"], "batches have any number of rows: pass shape="),
    "sparse": "arrays are dense: x.toarray()",
    "by_name": "arrays are matched by places; skip_mismatch=True takes the layers that fit",
    "rebuild": "the model is always ready for use",
    "activity_regularizer": _ACTIVITY,
    "noise_shape": "each value is dropped on its own",
    "mask_zero": "there are no masks; leave the rows out, or weight them 0 by sample_weight",
    "lora_rank": "freeze layers instead: layer.trainable = False",
    "quantization_config": "parameters are float32 or float64",
    "synchronized": "training runs in one process",
    **dict.fromkeys(["include_optimizer", "save_format", "zipped"], "a file has the whole model, in one format"),
    "overwrite": "a file is replaced as a whole: ask for its existence before",
    "lr": "use learning_rate",
    "decay": "use a schedule: learning_rate=md.schedules.InverseTimeDecay(...)",
    **dict.fromkeys(
        ["expand_nested", "show_shapes", "line_length", "print_fn"],
        "the table is returned: str(model.summary())",
    ),
    "shared_axes": "there is one slope for each feature",
}
"""Arguments that Keras has somewhere, and what to do instead."""


def module_attribute(module: str, found: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module, by its name below the library's: an error that says what to do instead.

    found: gives what the module finds when first used, or raises KeyError.

    >>> module_attribute("layers")("TextVectorization")
    Traceback (most recent call last):
    AttributeError: module 'minidense.layers' has no attribute 'TextVectorization': there are no layers for text; \
count words in NumPy, and pass rows of counts
    """
    path = f"minidense.{module}" if module else "minidense"

    def __getattr__(name: str) -> Any:
        if found is not None:
            try:
                return found(name)
            except KeyError:
                pass
        hint = f": {NAMES[module][name]}" if name in NAMES[module] else ""
        frame = sys._getframe(1)
        if hint and frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]:
            # Of an AttributeError, `from ... import` would keep nothing but the name.
            raise ImportError(f"cannot import {name!r} from {path!r}{hint}", name=path)
        raise AttributeError(f"module {path!r} has no attribute {name!r}{hint}", name=name, obj=sys.modules.get(path))

    return __getattr__


def keyword_hint(keyword: str) -> str:
    """A sentence about an argument that Keras has somewhere; "" for another.

    >>> keyword_hint("jit_compile")
    ' Leave it out: nothing is compiled.'
    """
    hint = KEYWORDS.get(keyword, "")
    return f" {hint[0].upper()}{hint[1:]}." if hint else ""
