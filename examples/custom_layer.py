"""Write a layer, find the mistake in its gradient, fix it, and train with the layer.

python examples/custom_layer.py [--epochs N]
"""

import argparse

import numpy as np

import minidense as md


class Swish(md.Layer):
    """y = x * sigmoid(beta * x), with one learned beta for each feature (Ramachandran et al., 2017)."""

    rowwise = True

    def build(self, input_shape):
        self.param("beta", input_shape, "ones")
        return input_shape

    def forward(self, x):
        self.x = x
        self.s = 1 / (1 + np.exp(-self.beta * x))
        return x * self.s

    def backward(self, dy):
        ds = dy * self.x * self.s * (1 - self.s)
        self.dbeta = (ds * self.x).sum(axis=0)
        return dy * self.s + ds * self.beta


class HastySwish(Swish):
    """The same, written in haste: x occurs twice in the formula, but the derivative takes only one of them."""

    def backward(self, dy):
        super().backward(dy)
        return dy * self.s


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args(arguments)

    try:
        md.check_layer(HastySwish(), input_shape=5)
    except AssertionError as error:
        print(f"HastySwish is wrong:\n  {error}\n")

    worst = md.check_layer(Swish(), input_shape=5)
    print(f"Swish is right: its largest relative error is {worst:.0e}.\n")

    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    model = md.Sequential([md.Dense(100), Swish(), md.Dense(10), md.Softmax()], rng=0)
    model.compile(md.SGD(learning_rate=0.1), md.SoftmaxCrossEntropy(), metrics=["accuracy"])
    model.fit(x_train / 16, y_train, epochs=options.epochs)
    accuracy = model.evaluate(x_test / 16, y_test)["accuracy"]
    beta = model.layers[1].beta
    print(f"test accuracy: {accuracy:.2%}; beta went from 1 to between {beta.min():.2f} and {beta.max():.2f}")
    return accuracy


if __name__ == "__main__":
    main()
