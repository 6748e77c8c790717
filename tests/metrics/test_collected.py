"""The areas under curves against scikit-learn, and against the sum over all thresholds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import minidense as md


@given(n=st.integers(2, 30), seed=seeds)
def test_pr_area_is_the_integral_between_its_points(n, seed):
    """Between two thresholds, a share u of their rows is added: precision and recall are integrated over u."""
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, n), rng.random(n).round(1)
    if not y.any():
        assert math.isnan(md.AUC(curve="PR")(y, p))
        return
    area, tp, fp = 0.0, 0.0, 0.0
    u = (np.arange(4000) + 0.5) / 4000
    for level in np.unique(p)[::-1]:
        more_tp, more_fp = y[p == level].sum(), (1 - y[p == level]).sum()
        precision = (tp + u * more_tp) / (tp + fp + u * (more_tp + more_fp))
        area += precision.mean() * more_tp / y.sum()
        tp, fp = tp + more_tp, fp + more_fp
    assert md.AUC(curve="PR")(y, p) == pytest.approx(area, abs=1e-6)


def test_many_thresholds_are_all_of_them():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 200), rng.random(200)
    for curve in ("ROC", "PR"):
        exact = md.AUC(curve=curve)(y, p)
        assert md.AUC(200_001, curve)(y, p) == pytest.approx(exact, abs=1e-12)
        assert md.AUC(20, curve)(y, p) == pytest.approx(exact, abs=0.02)


def test_arguments():
    with pytest.raises(ValueError, match=r"unknown curve 'roc'. Did you mean|unknown curve 'roc'"):
        md.AUC(curve="roc")
    with pytest.raises(ValueError, match="num_thresholds: expected a whole number of at least 2"):
        md.AUC(1)
    with pytest.raises(ValueError, match="unknown summation_method 'majoring'"):
        md.AUC(summation_method="majoring")
