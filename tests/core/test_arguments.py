"""Checks of arguments, and suggestions of the nearest name."""

import numpy as np
import pytest

from minidense.core.arguments import known_keywords, real_number, whole_number


def test_whole_numbers_may_be_numpys():
    assert whole_number("n", np.int32(3)) == 3
    assert type(whole_number("n", np.int32(3))) is int
    assert real_number("r", np.float32(0.5)) == 0.5
    with pytest.raises(TypeError, match="r: expected a number, got '1'"):
        real_number("r", "1")


def test_a_decorated_function_takes_what_it_took():
    @known_keywords
    def f(a, *, b=2):
        """Doc."""
        return a + b

    assert f(1, b=3) == 4
    assert f.__doc__ == "Doc."
    with pytest.raises(TypeError, match=r"f\(\) takes no keyword 'bb'. Did you mean 'b'\? It takes: a, b"):
        f(1, bb=3)
