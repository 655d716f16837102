"""Networks of one hidden layer of sigmoids, with their gradients by hand.

What a trained extractor or detector of a watermark is: small enough to be a key, so that it needs
no framework and no file of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array

Floats = NDArray[np.float64]


class SmallNet(NamedTuple):
    """The weights of x -> outer sigmoid(inner x + inner_bias) + outer_bias.

    Attributes:
        inner: (hidden, inputs).
        outer: (outputs, hidden).
        inner_bias: (hidden,), or None where there is none.
        outer_bias: (outputs,), likewise.
    """

    inner: Array
    outer: Array
    inner_bias: Array | None = None
    outer_bias: Array | None = None


class Pass(NamedTuple):
    """One run: inputs (n, inputs), answers of the hidden layer (n, hidden), logits (n, outputs)."""

    inputs: Floats
    hidden: Floats
    logits: Floats


class Slopes(NamedTuple):
    """Derivatives of a number by the weights of a net, and by its inputs (n, inputs)."""

    net: SmallNet
    inputs: Floats


def forward(net: SmallNet, inputs: Array) -> Pass:
    """The logits of inputs (n, inputs); finite for all finite inputs."""
    given = np.asarray(inputs, np.float64)
    hidden = sigmoid(given @ net.inner.T + (0.0 if net.inner_bias is None else net.inner_bias))
    logits = hidden @ net.outer.T + (0.0 if net.outer_bias is None else net.outer_bias)
    return Pass(given, hidden, logits)


def backward(net: SmallNet, done: Pass, by_logits: Array) -> Slopes:
    """Derivatives by weights and inputs, given those by the logits (n, outputs) of a run."""
    by_sums = (by_logits @ net.outer) * done.hidden * (1 - done.hidden)
    weights = SmallNet(
        by_sums.T @ done.inputs,
        by_logits.T @ done.hidden,
        None if net.inner_bias is None else by_sums.sum(axis=0),
        None if net.outer_bias is None else by_logits.sum(axis=0),
    )
    return Slopes(weights, by_sums @ net.inner)


def sigmoid(values: Array) -> Floats:
    """1 / (1 + exp(-x)); nothing overflows."""
    small = np.exp(-np.abs(values))
    found: Floats = np.where(values >= 0, 1.0, small) / (1.0 + small)
    return found
