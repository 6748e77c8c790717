"""Settings and fixtures that all tests share."""

import os

import numpy as np
import pytest
from hypothesis import settings

# In CI the same examples each time; random ones are for those who work on the code.
in_ci = bool(os.environ.get("CI"))
settings.register_profile("minidense", deadline=None, max_examples=50, print_blob=True, derandomize=in_ci)
settings.load_profile("minidense")


@pytest.fixture
def digits_like():
    """Sixty rows of seven features in three classes, float64, and their labels."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(60, 7)), rng.integers(0, 3, 60)
