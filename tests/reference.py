"""The equations of dense networks, transcribed directly, for any number of layers: what the library must reproduce.

Nothing here is shared with the library. Samples are rows, ``Z = X W + b``; the names are those of the equations.
"""

import numpy as np


def forward(x, weights, biases, activation):
    """The list of H (the input first) and the list of Z; the last Z is the score."""
    hs, zs = [x], []
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        z = hs[-1] @ W + b
        zs.append(z)
        if i < len(weights) - 1:
            hs.append(np.maximum(0, z) if activation == "relu" else 1 / (1 + np.exp(-z)))
    return hs, zs


def probabilities(score):
    e = np.exp(score)
    return e / e.sum(axis=1, keepdims=True)


def loss(x, labels, weights, biases, activation, reduction):
    y = probabilities(forward(x, weights, biases, activation)[1][-1])
    losses = -np.log(y[np.arange(len(x)), labels])
    return losses.mean() if reduction == "mean" else losses.sum()


def gradients(x, labels, weights, biases, activation, reduction):
    hs, zs = forward(x, weights, biases, activation)
    dz = probabilities(zs[-1])
    dz[np.arange(len(x)), labels] -= 1
    if reduction == "mean":
        dz /= len(x)
    dWs, dbs = [], []
    for i in reversed(range(len(weights))):
        dWs.insert(0, hs[i].T @ dz)
        dbs.insert(0, dz.sum(axis=0))
        if i:
            dh = dz @ weights[i].T
            dz = dh * (zs[i - 1] > 0) if activation == "relu" else dh * hs[i] * (1 - hs[i])
    return dWs, dbs


def update(x, labels, weights, biases, activation, reduction, eta):
    """theta := theta - eta * grad L, in place."""
    dWs, dbs = gradients(x, labels, weights, biases, activation, reduction)
    for parameters, grads in ((weights, dWs), (biases, dbs)):
        for theta, grad in zip(parameters, grads, strict=True):
            theta -= eta * grad
