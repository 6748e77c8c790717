"""A layer with the weights of another one, for tests of shared parameters."""

import minidense as md


class Transposed(md.Layer):
    """y = x W^T with the W of another layer."""

    def __init__(self, other):
        self.other = other

    def build(self, input_shape):
        self.param("W", shared=(self.other, "W"))
        return self.other.input_shape

    def forward(self, x):
        self.x = x
        return x @ self.W.T

    def backward(self, dy):
        self.dW = dy.T @ self.x
        return dy @ self.W
