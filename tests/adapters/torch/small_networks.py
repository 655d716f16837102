"""Small ONNX networks and data for the tests of training, made without an exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import nnw_onnx
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import TrainingData

MODELS = Path(__file__).resolve().parents[3] / "models"


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    """Normal numbers of a shape."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def saved(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, NDArray[Any]],
    feed: Sequence[Any],
    outputs: Sequence[str] = ("y",),
) -> OnnxNetwork:
    """The network of these nodes, from input `x` of float32."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(feed))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in weights.items()],
    )
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return nnw_onnx.open(path)


def linear(path: Path, inputs: int = 5, classes: int = 3, *, softmax: bool = False) -> OnnxNetwork:
    """x W + b with W (inputs, classes), optionally followed by Softmax."""
    last = "s" if softmax else "y"
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], [last]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["s"], ["y"], axis=-1))
    weights = {"w": normal(inputs, classes, seed=1), "b": normal(classes, seed=2)}
    return saved(path, nodes, weights, ["n", inputs])


def convolutional(path: Path, *, dropout: float = 0.0, classes: int = 4) -> OnnxNetwork:
    """Conv - BatchNormalization - Relu - Dropout - GlobalAveragePool - Gemm on (n, 3, 8, 8)."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["c", "bn.s", "bn.b", "bn.m", "bn.v"], ["n"], epsilon=1e-5
        ),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Dropout", ["r", "ratio"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["y"], transB=1),
    ]
    weights = {
        "conv.w": normal(16, 3, 3, 3, seed=1, scale=0.3),
        "bn.s": np.ones(16, np.float32),
        "bn.b": normal(16, seed=2, scale=0.1),
        "bn.m": normal(16, seed=3, scale=0.1),
        "bn.v": np.full(16, 1.5, np.float32),
        "ratio": np.array(dropout, np.float32),
        "fc.w": normal(classes, 16, seed=4, scale=0.3),
        "fc.b": np.zeros(classes, np.float32),
    }
    return saved(path, nodes, weights, ["n", 3, 8, 8])


def images(n: int = 60, classes: int = 4, seed: int = 7) -> TrainingData:
    """Images (n, 3, 8, 8) whose class is the colour and side that is bright."""
    inputs = normal(n, 3, 8, 8, seed=seed, scale=0.5)
    labels = np.arange(n, dtype=np.int64) % classes
    for k, label in enumerate(labels):
        inputs[k, label % 3, :, :4] += 1.0 + label
    return TrainingData(inputs, labels, classes)


def digits() -> TrainingData:
    """The training digits as the shipped networks take them: (n, 1, 8, 8) from 0 to 1."""
    from nnw_onnx.datasets.digits import Digits

    samples = Digits().load("train")
    inputs = np.ascontiguousarray(samples.inputs.transpose(0, 3, 1, 2), np.float32) / 16
    return TrainingData(inputs, np.asarray(samples.labels, np.int64), 10)
