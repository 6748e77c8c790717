"""Predictions: rows are checked chunk by chunk, as they are computed."""

import numpy as np
import pytest

import minidense as md


@pytest.mark.parametrize("watched", [False, True])
def test_rows_of_any_chunk_are_checked_and_named_by_their_number(watched):
    """Where callbacks see each batch, before the first one is called."""
    model, seen = md.Sequential([md.Dense(3)], rng=0).build(4), []
    look = md.callbacks.LambdaCallback(on_predict_batch_begin=lambda batch, logs: seen.append(batch))
    x = np.ones((5000, 4), "float32")
    for row in (0, 1023, 1024, 4999):
        wrong = x.copy()
        wrong[row, 2] = np.nan
        wrong[row + 1 :, 1] = np.inf  # later ones are not named
        with pytest.raises(ValueError, match=rf"x: row {row}, column 2 is nan"):
            model.predict(wrong, callbacks=[look] if watched else ())
    assert not seen
    assert model.predict(x, callbacks=[look] if watched else ()).shape == (5000, 3)
    assert seen == (list(range(5)) if watched else [])
