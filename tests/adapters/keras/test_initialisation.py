"""Fresh weights against Keras' own layers: the same distribution, layer by layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import stats

from nnw_onnx.kit import initialisation
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx_tensorflow import KerasNetwork

layers = keras.layers
CASES = {
    "dense": (lambda: layers.Dense(40), (None, 30)),
    "convolution": (lambda: layers.Conv2D(24, (3, 5)), (None, 9, 9, 10)),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=4), (None, 9, 9, 32)),
    "transposed": (lambda: layers.Conv2DTranspose(12, 3), (None, 9, 9, 30)),
    "normalisation": (layers.BatchNormalization, (None, 9)),
    "embedding": (lambda: layers.Embedding(200, 16), (None, 4)),
}
NORMS = {"gamma": 1, "beta": 2, "moving_mean": 3, "moving_variance": 4}


def _built(make, shape):
    inputs = keras.Input(shape[1:])
    return keras.Model(inputs, make()(inputs))


def _agree(ours, theirs):
    if np.ptp(theirs) == 0:
        return bool((ours == theirs.flat[0]).all())
    return stats.ks_2samp(ours.reshape(-1), theirs.reshape(-1)).pvalue > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_layers_start_as_those_of_keras(case):
    keras.utils.set_random_seed(3)
    networks = [KerasNetwork(_built(*CASES[case])) for _ in range(6)]
    listed = networks[0].layers
    # As a file names operators and inputs.
    fields = {}
    for layer in listed:
        part = layer.name.rpartition("/")[2]
        operator = "BatchNormalization" if part in NORMS else layer.operator
        index = NORMS.get(part, 2 if layer.role == "bias" else 1)
        fields[layer.name] = {
            "operator": operator, "consumers": (f"{operator}::{index}",), "role": layer.role,
            "group": layer.group, "learns": not part.startswith("moving"),
        }  # fmt: skip
    weights = networks[0].weights
    file = ArrayNetwork.of({n: np.array(w) + 7 for n, w in weights.items()}, **fields)
    rng = np.random.Generator(np.random.PCG64(5))
    drawn = [initialisation.fresh(file, list(fields), rng, "keras") for _ in range(6)]
    for place, layer in enumerate(listed):
        theirs = np.stack([n.weights[n.layers[place].name] for n in networks])
        assert _agree(np.stack([d[layer.name] for d in drawn]), theirs), layer.name


def _recurrent_file(kind, gates, hidden, inputs):
    arrays = {
        "W": np.zeros((gates * hidden, inputs, 2)), "R": np.zeros((gates * hidden, hidden, 2)),
        "B": np.zeros((2, 2 * gates * hidden)),
    }  # fmt: skip
    fields = {
        name: {"operator": kind, "consumers": (f"{kind}::{index}",),
               "role": "bias" if name == "B" else "recurrent"}
        for index, name in enumerate(arrays, start=1)
    }  # fmt: skip
    return ArrayNetwork.of(arrays, **fields)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_start_as_those_of_keras(kind, gates):
    keras.utils.set_random_seed(3)
    made = {"LSTM": layers.LSTM, "GRU": layers.GRU, "RNN": layers.SimpleRNN}[kind](24)
    made.build((None, 5, 16))
    kernel, recurrent, bias = (keras.ops.convert_to_numpy(v) for v in made.weights)
    file = _recurrent_file(kind, gates, 24, 16)
    found = initialisation.fresh(
        file, ["W", "R", "B"], np.random.Generator(np.random.PCG64(5)), "keras"
    )
    assert _agree(found["W"], kernel)
    assert _agree(found["R"], recurrent)
    for direction in range(2):
        # Keras' (hidden, gates * hidden) has orthonormal rows, ours is its transpose.
        ours = found["R"][..., direction].T
        np.testing.assert_allclose(ours @ ours.T, recurrent @ recurrent.T, atol=1e-6)
    ones = found["B"] == 1
    assert ones.sum() == 2 * (bias == 1).sum()
    if kind == "LSTM":  # Keras: i, f, c, o; ONNX: i, o, f, c
        assert (bias[24:48] == 1).all()
        assert ones[:, 48:72].all()


def test_the_writer_of_a_file_tells_the_framework():
    assert initialisation.framework_of("tf2onnx 1.17.0") == "keras"
    assert initialisation.framework_of("pytorch 2.13.0") == "torch"
    assert initialisation.framework_of("") == "torch"
    network = KerasNetwork(_built(*CASES["dense"]))
    assert initialisation.framework_of(network.producer) == "keras"
    (kernel,) = (x.name for x in network.layers if x.role == "kernel")
    found = initialisation.fresh(network, [kernel], np.random.Generator(np.random.PCG64(5)))
    bound = np.sqrt(6 / (30 + 40))
    assert 0.99 * bound < np.abs(found[kernel]).max() < bound
