"""The guard around layers of the user's own: what does not fit is an error that names the layer."""

import numpy as np
import pytest

import minidense as md


class Scale(md.Layer):
    """The layer of the documentation."""

    def build(self, input_shape):
        self.param("g", input_shape, "ones")
        return input_shape

    def forward(self, x):
        self.x = x
        return x * self.g

    def backward(self, dy):
        self.dg = (dy * self.x).sum(axis=0)
        return dy * self.g


def writes(how):
    class Writer(Scale):
        def backward(self, dy):
            value = (dy * self.x).sum(axis=0)
            if how == "assign":
                self.dg = value
            elif how == "add":
                self.dg += value
            elif how == "items":
                self.dg[...] = value
            else:
                np.sum(dy * self.x, axis=0, out=self.dg)
            return dy * self.g

    return Writer()


@pytest.mark.parametrize("how", ["assign", "add", "items", "out"])
def test_every_way_of_writing_a_gradient_ends_in_the_models(how):
    model = md.Sequential([md.Dense(3), writes(how), md.Dense(2)], rng=0).build(4).compile()
    x, y = np.ones((5, 4)), [0, 1, 0, 1, 1]
    for _ in range(2):  # overwritten, not accumulated
        model.loss_and_grad(x, y)
        layer = model.layers[1]
        assert np.shares_memory(layer.dg, model.grad)
        assert layer.dg.tolist() == model.grad[15:18].tolist()
        reference = md.Sequential([md.Dense(3), Scale(), md.Dense(2)], rng=0).build(4).compile()
        reference.loss_and_grad(x, y)
        np.testing.assert_array_equal(model.grad, reference.grad)


def test_a_gradient_that_is_minus_zero_counts_as_written():
    class Negative(Scale):
        def backward(self, dy):
            np.multiply((dy * self.x).sum(axis=0), -0.0, out=self.dg)
            self.dg[...] = -abs(self.dg)
            return dy * self.g

    model = md.Sequential([Negative()], rng=0).build(2)
    model.forward(np.ones((1, 2)))
    model.backward(np.ones((1, 2)))
    assert np.signbit(model.grad).all()


def test_an_error_in_a_layer_of_ones_own_names_the_layer():
    class Broken(md.Layer):
        def forward(self, x):
            return x @ np.ones((3, 3))

    model = md.Sequential([md.Dense(5), Broken()]).build(4)
    with pytest.raises(ValueError, match="matmul") as caught:
        model.predict(np.ones((2, 4)))
    assert caught.value.__notes__ == ["in forward of Broken(), layer 1, for an input of shape (2, 5)"]


def test_a_layer_that_computes_in_double_precision_is_brought_back():
    class Doubles(Scale):
        def forward(self, x):
            return super().forward(x) * np.ones(1)

    model = md.Sequential([Doubles(), md.Dense(2)], rng=0).build(3).compile()
    assert model.predict(np.ones((2, 3))).dtype == "float32"
    model.fit(np.ones((2, 3)), [0, 1], verbose=0)


def test_forward_may_take_training():
    seen = []

    class Watches(md.Layer):
        def forward(self, x, training):
            seen.append(training)
            return x

        def backward(self, dy):
            return dy

    model = md.Sequential([Watches(), md.Dense(2)], rng=0).compile()
    model.fit(np.ones((2, 3)), [0, 1], verbose=0)
    model.predict(np.ones((2, 3)))
    model.evaluate(np.ones((2, 3)), [0, 1])
    assert seen == [True, False, False]


class Noted(md.Layer):
    """Notes the flag it is called with; the forward methods below are ways to take it."""

    def backward(self, dy):
        return dy


class ByMixin:
    def forward(self, x, training=False):
        self.seen.append(training)
        return x


class Mixed(ByMixin, Noted):
    pass


class ByKeywords(Noted):
    def forward(self, x, **options):
        return ByMixin.forward(self, x, **options)


class ByKeywordOnly(Noted):
    def forward(self, x, *, training):
        return ByMixin.forward(self, x, training)


class NotSecond(Noted):
    def forward(self, x, scale=1.0, training=False):
        assert scale == 1.0
        return ByMixin.forward(self, x, training)


@pytest.mark.parametrize("cls", [Mixed, ByKeywords, ByKeywordOnly, NotSecond])
def test_forward_gets_training_however_it_takes_it(cls):
    layer = cls()
    layer.seen = seen = []
    model = md.Sequential([layer, md.Dense(2)], rng=0).compile()
    model.fit(np.ones((2, 3)), [0, 1], verbose=0)
    assert seen == [True]
