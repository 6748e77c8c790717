"""Hypothesis strategies, named by what they draw."""

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 6)


@st.composite
def normal_arrays(draw, rows=sizes, columns=sizes, dtype="float64", scale=1.0):
    """An (n, d) array of standard normal numbers, which are away from 0 as a rule."""
    rng = np.random.default_rng(draw(seeds))
    return (scale * rng.normal(size=(draw(rows), draw(columns)))).astype(dtype)
