"""Flatten: images go in, rows come out."""

import numpy as np

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
