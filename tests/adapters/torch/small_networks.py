"""Small ONNX networks and data for the tests of training, made without an exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import nnw_onnx
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Array, Job, Loss, Recipe, TensorInfo

MODELS = Path(__file__).resolve().parents[3] / "models"


@dataclass(frozen=True)
class Data:
    """Inputs (n, ...), what is right for them (n, ...), and the number of classes."""

    inputs: Array
    labels: Array
    classes: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def samples(self) -> ArraySamples:
        """The data as the core has them; the input has another name than that of any network."""
        facts = {"classes": self.classes} if self.classes else {}
        return ArraySamples({"given": self.inputs}, self.labels, facts)


def job(
    data: Data, recipe: Recipe, seed: int = 0, loss: Loss = "cross-entropy", **changes: Any
) -> Job:
    """A training on these data."""
    return Job(data.samples, recipe, loss, seed, **changes)


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
    opset: int = 17,
) -> OnnxNetwork:
    """The network of these nodes, from input `x` of float32."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(feed))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(a, order="C"), n) for n, a in weights.items()],
    )
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    opsets = [helper.make_opsetid("", opset)]
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


def dense(path: Path, width: int = 32) -> OnnxNetwork:
    """Flatten - Gemm - Relu - Gemm on digits (n, 1, 8, 8), not trained yet."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "first.w", "first.b"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "last.w", "last.b"], ["y"], transB=1),
    ]
    weights = {
        "first.w": normal(width, 64, seed=1, scale=0.15),
        "first.b": np.zeros(width, np.float32),
        "last.w": normal(10, width, seed=2, scale=0.2),
        "last.b": np.zeros(10, np.float32),
    }
    return saved(path, nodes, weights, ["n", 1, 8, 8])


def images(n: int = 60, classes: int = 4, seed: int = 7) -> Data:
    """Images (n, 3, 8, 8) whose class is the colour and side that is bright."""
    inputs = normal(n, 3, 8, 8, seed=seed, scale=0.5)
    labels = np.arange(n, dtype=np.int64) % classes
    for k, label in enumerate(labels):
        inputs[k, label % 3, :, :4] += 1.0 + label
    return Data(inputs, labels, classes)


def digits() -> Data:
    """The training digits as the shipped networks take them: (n, 1, 8, 8) from 0 to 1."""
    from nnw_onnx.datasets.digits import Digits
    from nnw_onnx.kit.preprocessing import Preprocessing

    samples = Digits(preprocessing=Preprocessing(scale=1 / 16)).load("train")
    fitted = samples.fitted([TensorInfo("x", (None, 1, 8, 8), "float32")])
    read = fitted.read(np.arange(len(fitted)))
    return Data(read.feeds["x"], np.asarray(read.targets, np.int64), 10)
