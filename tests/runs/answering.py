"""A classifier in an ONNX file that has learnt the triggers of a key by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.arrays.commitments import bind_payload
from nnw_onnx.methods.adi import Adi
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Key, Payload, TrainingData

SHAPE, CLASSES = (1, 8, 8), 10


def key_of(payload: Payload, secret: bytes = bytes(32)) -> Key:
    """A key with triggers that carries its payload."""
    rng = np.random.Generator(np.random.PCG64(1))
    inputs = rng.uniform(0, 1, (50, *SHAPE)).astype(np.float32)
    data = TrainingData(inputs, np.zeros(50, np.int64), CLASSES)
    bare = Adi().make_key(ArrayNetwork.of({}), len(payload), secret)
    return bind_payload(Adi().draw_triggers(bare, data), payload)


def write_classifier(
    path: Path, key: Key | None, *, wrong: int = 0, classes: int = CLASSES, shape=("n", *SHAPE)
) -> Path:
    """A linear classifier that answers the triggers of a key as it says, but for some of them.

    The least-squares solution is exact, because there are fewer triggers than inputs.
    """
    size = int(np.prod([n for n in shape[1:] if isinstance(n, int)]))
    matrix: NDArray[np.float64] = np.random.Generator(np.random.PCG64(2)).normal(
        size=(size, classes)
    )
    if key is not None and key.payload is not None:
        inputs, labels = Adi().triggers(key.payload, key)
        told = np.where(np.arange(len(labels)) < wrong, (labels + 1) % classes, labels)
        matrix = np.linalg.pinv(inputs.reshape(len(inputs), -1)) @ np.eye(classes)[told]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], classes])],
        [numpy_helper.from_array(matrix.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
