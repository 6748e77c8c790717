"""SGD against its formula."""

import copy

import numpy as np
import pytest

import minidense as md


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_its_formula_and_leaves_grad_alone(momentum, nesterov):
    rng = np.random.default_rng(0)
    theta, v = rng.normal(size=20), np.zeros(20)
    mine, sgd = theta.copy(), md.SGD(0.1, momentum=momentum, nesterov=nesterov)
    for _ in range(30):
        grad = rng.normal(size=20)
        before = grad.copy()
        sgd.update(mine, grad)
        assert np.array_equal(grad, before)
        v = momentum * v - 0.1 * grad
        theta = theta + (momentum * v - 0.1 * grad if nesterov else v)
        np.testing.assert_allclose(mine, theta, rtol=1e-12)
    assert sgd.iterations == 30


def test_update_is_in_place_and_keeps_the_dtype():
    theta = np.ones(3, "float32")
    md.SGD(0.5, momentum=0.9).update(theta, np.ones(3, "float32"))
    assert theta.dtype == "float32"
    assert theta.tolist() == [0.5] * 3


def test_the_rate_can_be_changed_between_updates():
    theta, sgd = np.zeros(1), md.SGD(1.0)
    sgd.update(theta, np.ones(1))
    sgd.learning_rate = 0.25
    sgd.update(theta, np.ones(1))
    assert theta[0] == -1.25


def test_a_copy_goes_on_alike():
    theta, sgd = np.zeros(3), md.SGD(0.1, momentum=0.9)
    sgd.update(theta, np.ones(3))
    twin, other = copy.deepcopy(sgd), theta.copy()
    sgd.update(theta, np.ones(3))
    twin.update(other, np.ones(3))
    assert np.array_equal(theta, other)
