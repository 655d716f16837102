"""Small graphs made with onnx.helper; imported by tests and by the worker processes they start."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Graph:
    """What a session is made of, without the graph room."""

    model: bytes
    initializers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    folder: Path | None = None


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    arrays: Mapping[str, NDArray[Any]] | None = None,
    dtype: int = TensorProto.FLOAT,
    out_dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, dtype, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, out_dtype, s) for n, s in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (arrays or {}).items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def simple(
    operator: str,
    shape: Sequence[Any],
    out_shape: Sequence[Any],
    dtype: int = TensorProto.FLOAT,
    out_dtype: int | None = None,
    **attributes: Any,
) -> Graph:
    """One operator from input x to output y."""
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    kind = dtype if out_dtype is None else out_dtype
    model = graph_of([node], {"x": shape}, {"y": out_shape}, dtype=dtype, out_dtype=kind)
    return Graph(model.SerializeToString())


def external(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """The model with the values of some initializers left out, as the graph room does."""
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model)
    for tensor in skeleton.graph.initializer:
        if tensor.name in names:
            size = len(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "none"), ("offset", "0"), ("length", str(size))):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
    return skeleton.SerializeToString()


def convolution_with_batch_norm(rng: np.random.Generator) -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu: the runtime fuses the first two."""
    arrays = {
        "w": rng.normal(size=(8, 3, 3, 3)),
        "scale": rng.uniform(0.5, 2, 8),
        "shift": rng.normal(size=8),
        "mean": rng.normal(size=8),
        "var": rng.uniform(0.5, 2, 8),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    single = {n: a.astype(np.float32) for n, a in arrays.items()}
    return graph_of(nodes, {"x": ["n", 3, 8, 8]}, {"y": ["n", 8, 8, 8]}, single)


def endless(trips: int = 2**50) -> Graph:
    """A loop that does nothing, very often."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("Identity", ["v"], ["v2"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 3]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, ["n", 3]),
        ],
    )
    node = helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)
    arrays = {"trips": np.array(trips), "go": np.array(True)}
    return Graph(graph_of([node], {"x": ["n", 3]}, {"y": ["n", 3]}, arrays).SerializeToString())


def enormous(elements: int) -> Graph:
    """A file of a few bytes that asks for 4 bytes of memory for each of many elements."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    model = graph_of(nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, {"size": np.array([elements])})
    return Graph(model.SerializeToString())


def predicted_sum(graph: Graph) -> float:
    """Sum of the first output for four samples of three ones; run in workers."""
    from nnw_onnx.inference import Session

    return float(Session(graph).predict(np.ones((4, 3), np.float32))["y"].sum())


def environment(names: Sequence[str]) -> list[str | None]:
    """Values of environment variables of the process."""
    import os

    return [os.environ.get(n) for n in names]


def die_once(item: tuple[str, int]) -> int:
    """The number; the first call with a place kills its process."""
    place, number = item
    try:
        Path(place).mkdir()
    except FileExistsError:
        return number
    os.kill(os.getpid(), signal.SIGKILL)
    return -1
