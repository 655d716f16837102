"""A classifier in an ONNX file that has learnt the triggers of a key by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.methods.adi import Adi
from nnw_onnx.runs.inject import new_claim
from nnw_onnx.runs.marks import DoorBench
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Claim, Payload, Technology

SHAPE, CLASSES = (1, 8, 8), 10


def claim_of(payload: Payload, secret: bytes = bytes(32)) -> Claim:
    """A claim with triggers."""
    rng = np.random.Generator(np.random.PCG64(1))
    inputs = rng.uniform(0, 1, (50, *SHAPE)).astype(np.float32)
    labels = np.arange(50) % CLASSES
    samples = ArraySamples({"x": inputs}, labels, facts={"classes": list("0123456789")})
    technology = Technology(Adi().spec(), len(payload))
    bench = DoorBench(data=samples)
    return new_claim(technology, ArrayNetwork.of({}), payload, secret, bench)


def write_classifier(
    path: Path, claim: Claim | None, *, wrong: int = 0, classes: int = CLASSES, shape=("n", *SHAPE)
) -> Path:
    """A linear classifier that answers the triggers of a claim as it says, but for some of them.

    The least-squares solution is exact, because there are fewer triggers than inputs.
    """
    size = int(np.prod([n for n in shape[1:] if isinstance(n, int)]))
    matrix: NDArray[np.float64] = np.random.Generator(np.random.PCG64(2)).normal(
        size=(size, classes)
    )
    if claim is not None and claim.payload is not None:
        own = Adi().additions(ArrayNetwork.of({}), claim.payload, claim.key).samples
        batch = own.read(np.arange(len(own)))
        inputs, labels = batch.feeds["triggers"], np.asarray(batch.targets)
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
