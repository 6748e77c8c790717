"""Write keras.json: what Keras computes for the cases of tests/keras_cases.py.

    pip install keras jax
    KERAS_BACKEND=jax JAX_ENABLE_X64=1 python tests/golden/make_keras.py

It runs in an environment of its own, with Keras; the tests need only the file.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import keras_cases


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


def main():
    import keras

    keras.config.set_floatx("float64")
    arrays = keras_cases.data()
    found = {
        "keras": keras.version(),
        "losses": list(losses(keras, arrays)),
        "metrics": list(metrics(keras, arrays)),
    }
    text = json.dumps(found, indent=None, separators=(",", ":")).replace("],[", "],\n[")
    Path(__file__).with_name("keras.json").write_text(text + "\n")
    assert all(np.isfinite(value).all() for value in found["losses"])


if __name__ == "__main__":
    main()
