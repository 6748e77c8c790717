"""Files that earlier versions have written load for ever, and give what they gave then."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import minidense as md
from minidense.files import saving

GOLDEN = Path(__file__).parent.parent / "golden"
LAYOUTS = sorted(re.search(r"\d+", path.name)[0] for path in GOLDEN.glob("model-*.npz"))

MAKE = runpy.run_path(str(GOLDEN / "make_files.py"))
X, Y, model = (MAKE[name] for name in ("X", "Y", "model"))


def test_every_layout_has_its_files():
    assert [str(n) for n in range(1, saving.FORMAT + 1)] == LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_models_weights_and_checkpoints(layout):
    """Predictions and training to a few units in the last place: processors differ in how they multiply and add."""
    with np.load(GOLDEN / f"predictions-{layout}.npz") as file:
        x, y, end = file["x"], file["y"], file["end"]
    loaded = md.load_model(GOLDEN / f"model-{layout}.npz")
    np.testing.assert_array_equal(loaded.theta, end)
    np.testing.assert_allclose(loaded.predict(x), y, rtol=1e-5)
    assert (loaded.name, loaded.history.epoch, loaded.optimizer.iterations) == ("golden", [0, 1], 6)
    assert not loaded.layers[4].trainable
    weights = model().build(3)
    weights.load_weights(GOLDEN / f"weights-{layout}.npz")
    np.testing.assert_allclose(weights.predict(x), y, rtol=1e-5)
    resumed = model()
    resumed.layers[4].trainable = False
    data = {"batch_size": 8, "epochs": 2, "validation_data": (X[:8], Y[:8]), "verbose": 0}
    stop = md.callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    history = resumed.fit(X, Y, callbacks=[stop], resume=GOLDEN / f"checkpoint-{layout}.npz", **data)
    np.testing.assert_allclose(resumed.theta, end, rtol=1e-4, atol=1e-6)
    for name, values in loaded.history.history.items():
        np.testing.assert_allclose(history.history[name], values, rtol=1e-4)
