"""Write keras.json: what Keras computes for the cases of tests/keras_cases.py.

    pip install keras jax pytest .
    KERAS_BACKEND=jax JAX_ENABLE_X64=1 python tests/golden/make_keras.py

It also runs the statements of tests/promises/test_coming_from_keras.py that mean the same in Keras. It needs an
environment of its own, with Keras; the tests need only the file.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "promises"))
import keras_cases
import test_coming_from_keras


def losses(keras, arrays):
    """For each case: the mean, the sum, and the weighted mean and sum."""
    for name, arguments, y_true, y_pred in keras_cases.LOSSES:
        kind, y, p, w = getattr(keras.losses, name), arrays[y_true], arrays[y_pred], arrays["weights"]
        yield [
            float(kind(**arguments)(y, p)),
            float(kind(**arguments, reduction="sum")(y, p)),
            float(kind(**arguments, reduction="mean_with_sample_weight")(y, p, sample_weight=w)),
            float(kind(**arguments, reduction="sum")(y, p, sample_weight=w)),
        ]


def metrics(keras, arrays):
    """For each case: the value after two batches, and with weights."""
    for name, arguments, y_true, y_pred in keras_cases.METRICS:
        metric, y, p, w = getattr(keras.metrics, name)(**arguments), arrays[y_true], arrays[y_pred], arrays["weights"]
        values = []
        for weights in ((None, None), (w[:5], w[5:])):
            metric.reset_state()
            metric.update_state(y[:5], p[:5], sample_weight=weights[0])
            metric.update_state(y[5:], p[5:], sample_weight=weights[1])
            values.append(np.asarray(metric.result(), float).tolist())
        yield values


def calls(keras):
    """The value of each statement whose value is compared here."""
    for statement, expected in test_coming_from_keras.CALLS.items():
        if test_coming_from_keras.in_keras(expected):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    yield statement, test_coming_from_keras.run(statement, keras, folder)
                except Exception as error:
                    raise RuntimeError(f"Keras itself cannot run: {statement}") from error


def main():
    import keras

    keras.config.set_floatx("float64")
    arrays = keras_cases.data()
    found = {
        "keras": keras.version(),
        "losses": list(losses(keras, arrays)),
        "metrics": list(metrics(keras, arrays)),
        "calls": dict(calls(keras)),
    }
    text = json.dumps(found, indent=None, separators=(",", ":")).replace("],[", "],\n[")
    Path(__file__).with_name("keras.json").write_text(text + "\n")
    assert all(np.isfinite(value).all() for value in found["losses"])


if __name__ == "__main__":
    main()
