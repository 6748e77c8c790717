"""Flatten, Reshape, Rescaling: the same values in another shape or scale."""

import numpy as np
import pytest

import minidense as md


def test_it_passes_the_gradient_check():
    assert md.check_layer(md.Flatten(), (2, 3), batch_sizes=(4, 2)) <= 1e-7
    assert md.check_layer(md.Flatten(), 5) <= 1e-7


def test_images_go_in_through_flatten():
    images = np.random.default_rng(0).random((20, 6, 6))
    flat = md.Sequential([md.Dense(3)], rng=0).build(36)
    model = md.Sequential([md.Flatten(), md.Dense(3)], rng=0).build((6, 6)).compile()
    model.set_weights(flat.get_weights())
    np.testing.assert_allclose(model.predict(images), flat.predict(images.reshape(20, -1)))
    model.fit(images, np.arange(20) % 3, epochs=2, verbose=0)


@pytest.mark.parametrize("target", [(2, 6), (3, -1), (-1,), (2, 3, 2)])
def test_reshape(target):
    x = np.random.default_rng(0).normal(size=(5, 12))
    model = md.Sequential([md.Reshape(target)], dtype="float64").build(12)
    assert np.array_equal(model.predict(x), x.reshape(5, *target))
    assert model.output_shape == x.reshape(5, *target).shape[1:]
    assert md.check_layer(md.Reshape(target), 12) <= 1e-7


@pytest.mark.parametrize("target", [(5, -1), (7,), (2, 7)])
def test_what_does_not_fit(target):
    with pytest.raises(ValueError, match=r"a sample of shape \(12,\) does not fit into"):
        md.Sequential([md.Reshape(target)]).build(12)


@pytest.mark.parametrize("target", [(), (-1, -1), (0,), (2.5,), 3])
def test_what_is_no_shape(target):
    with pytest.raises((TypeError, ValueError), match="Reshape: target_shape: expected"):
        md.Reshape(target)


def test_rescaling():
    x = np.array([[0.0, 128.0, 255.0]])
    assert md.Rescaling(1 / 127.5, offset=-1).forward(x) == pytest.approx(x / 127.5 - 1, abs=1e-15)
    assert md.check_layer(md.Rescaling(0.3, 2.0), 4) <= 1e-7
