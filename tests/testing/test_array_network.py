"""ArrayNetwork stores and refuses as the protocol says."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import ModelFileError
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import TensorInfo

PORT = TensorInfo("x", (None, 3), "float32")


@pytest.fixture
def network(rng):
    arrays = {"conv": rng.standard_normal((4, 3, 3, 3)), "fc": rng.standard_normal((5, 6))}
    return ArrayNetwork.of({n: a.astype(np.float16) for n, a in arrays.items()}, fc={"node": "n"})


def test_layers_describe_the_arrays(network):
    conv, fc = network.layers
    assert (conv.operator, conv.role, conv.shape, conv.dtype) == (
        "Conv", "kernel", (4, 3, 3, 3), "float16",
    )  # fmt: skip
    assert (fc.operator, fc.node, fc.size, fc.shared) == ("MatMul", "n", 30, False)


def test_values_are_stored_in_the_dtype_of_the_layer(network):
    changed = network.with_weights({"fc": np.full((5, 6), 1 / 3)})
    assert changed.weights["fc"].dtype == np.float16
    assert changed.weights["fc"][0, 0] == np.float16(1 / 3)
    assert changed.weights["conv"] is network.weights["conv"]
    assert not np.array_equal(network.weights["fc"], changed.weights["fc"])


def test_weights_are_read_only(network):
    with pytest.raises(ValueError, match="read-only"):
        network.weights["fc"][0, 0] = 1
    with pytest.raises(TypeError):
        network.weights["fc"] = 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("other", np.zeros((5, 6)), "got no such layer; give"),
        ("fc", np.zeros((6, 5)), r"got shape \(5, 6\)"),
        ("fc", np.full((5, 6), np.nan), "finite as float16"),
        ("fc", np.full((5, 6), 1e6), "finite as float16"),
    ],
)
def test_what_cannot_be_stored_is_refused(network, name, value, words):
    with pytest.raises(ModelFileError, match=words):
        network.with_weights({name: value})


def test_the_digest_changes_with_everything(network):
    again = ArrayNetwork.of(dict(network.weights), fc={"node": "n"})
    assert network.digest == again.digest
    others = [
        network.with_weights({"fc": np.array(network.weights["fc"]) + 1}),
        ArrayNetwork.of(dict(network.weights)),
        ArrayNetwork.of(dict(network.weights), (PORT,), fc={"node": "n"}),
        ArrayNetwork.of({n: w.astype("f4") for n, w in network.weights.items()}, fc={"node": "n"}),
    ]
    assert len({network.digest, *(other.digest for other in others)}) == 5
    assert others[2].with_weights({}).inputs == (PORT,)
