"""Write a layer, get its gradient wrong, be told, mend it, and train with it.

python examples/custom_layer.py [--epochs N]
"""

import argparse

import numpy as np

import minidense as md


class Swish(md.Layer):
    """y = x * sigmoid(beta * x), with one beta for each feature that is learned (Ramachandran et al., 2017)."""

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
    """The same, written in haste: x appears twice in the formula, and only one of the two was differentiated."""

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
        print(f"The hasty one is wrong:\n  {error}\n")

    worst = md.check_layer(Swish(), input_shape=5)
    print(f"The mended one is right: its largest relative error is {worst:.0e}.\n")

    (x_train, y_train), (x_test, y_test) = md.datasets.load_digits()
    model = md.Sequential([md.Dense(100), Swish(), md.Dense(10), md.Softmax()], rng=0)
    model.compile(md.SGD(learning_rate=0.1), md.SoftmaxCrossEntropy(), metrics=["accuracy"])
    model.fit(x_train / 16, y_train, epochs=options.epochs)
    accuracy = model.evaluate(x_test / 16, y_test)["accuracy"]
    beta = model.layers[1].beta
    print(
        f"accuracy on the test part: {accuracy:.2%}; beta went from 1 to between {beta.min():.2f} and {beta.max():.2f}"
    )
    return accuracy


if __name__ == "__main__":
    main()
