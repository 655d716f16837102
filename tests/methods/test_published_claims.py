"""What papers say of their marks, on a trained network of our own that is small.

No number of a large training is repeated here: only claims that hold for any network.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.codes.ldpc import Ldpc
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit import channels
from nnw_onnx.math import pruning
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.methods.deepmarks import DeepMarks
from nnw_onnx.methods.few import Few
from nnw_onnx.methods.greedy_residuals import GreedyResiduals
from nnw_onnx.methods.spread_spectrum import SpreadSpectrum
from nnw_onnx.methods.st_dm import StDm
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench
from nnw_onnx.vocabulary import Payload, Spec

MODEL = Path(__file__).parents[2] / "models" / "cifar10" / "fast-0.onnx"
SECRET, BENCH = bytes(range(32)), ArrayBench()
PAYLOAD = Payload.random(64, np.random.Generator(np.random.PCG64(1)))
IN_PLACES = [
    Uchida(carrier="mean"),
    Uchida(carrier="signed"),
    DeepMarks(),
    StDm(),
    GreedyResiduals(),
    BlockSpread(),
    SpreadSpectrum(),
    Few(),
]
"""Methods that count on where a weight is."""


@pytest.fixture(scope="module")
def network():
    return open_network(MODEL)


def marked(network, method, payload=PAYLOAD):
    key = method.make_key(network, len(payload), SECRET, BENCH)
    return key, method.inject(network, payload, key, BENCH)


def pruned(network, percent):
    """Every kernel with so many of its smallest weights set to zero."""
    return network.with_weights(
        {
            layer.name: pruning.smallest(
                network.weights[layer.name], pruning.count(percent, layer.size)
            )
            for layer in network.layers
            if layer.role == "kernel"
        }
    )


@pytest.mark.parametrize("carrier", ["mean", "signed"])
def test_uchida_is_complete_after_65_percent_are_pruned(network, carrier):
    """Uchida et al., arXiv 1701.04082, abstract. With 99 % of them pruned it is not."""
    method = Uchida(carrier=carrier)
    key, own = marked(network, method)
    assert method.decode(pruned(own, 65), key).payload == PAYLOAD
    assert method.decode(pruned(own, 99), key).payload != PAYLOAD


def test_a_coded_spread_mark_is_whole_after_99_percent_are_altered(network):
    """Pagnotta et al., TATTOOED, arXiv 2202.06091, abstract: 99 % of the parameters altered.

    Here 99 % are set to zero; the Symbols are damaged, and the code makes up for it.
    """
    method, code = SpreadSpectrum(margin=10.0), Ldpc()
    sent = code.encode(PAYLOAD)
    key = method.make_key(network, len(sent), SECRET, BENCH)
    key = dataclasses.replace(key, code=Spec("ldpc"))
    own = method.inject(network, sent, key, BENCH)
    read = method.decode(pruned(own, 99), key)
    assert read.payload.errors(sent) > 0
    assert code.decode(read.payload, read.confidence, len(PAYLOAD)) == PAYLOAD


@pytest.mark.parametrize("method", IN_PLACES, ids=str)
def test_neurons_in_another_order_leave_the_answers_and_no_mark(network, method, rng):
    """Pan et al., arXiv 2205.00199, abstract: almost random after transforms that cost nothing."""
    key, own = marked(network, method)
    assert method.decode(own, key).payload == PAYLOAD
    changed = dict(own.weights)
    for axis in own.hidden_axes:
        changed |= channels.permuted(changed, axis, rng.permutation(axis.size))
    other = own.with_weights({layer: changed[layer] for axis in own.hidden_axes
                              for layer in axis.layers})  # fmt: skip
    (port,) = network.inputs
    asked = {port.name: rng.standard_normal((8, *port.shape[1:])).astype(np.float32)}
    before, after = (Session(one.runnable()).run(asked)[0] for one in (own, other))
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()
    # Bin(64, 1/2) lies outside of 17 to 47 with probability 1e-4.
    assert 17 <= method.decode(other, key).payload.errors(PAYLOAD) <= 47
