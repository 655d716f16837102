"""Small models made with onnx.helper: one table of (name, model, expected layers)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Arrays = Mapping[str, NDArray[Any]]
ort.set_default_logger_severity(4)


@dataclass(frozen=True)
class Case:
    """A model with one tensor under test.

    Attributes:
        model: the model; one input `x`, one output `y`.
        layer: name of the layer under test.
        shape: its expected canonical shape.
        axis: axis of `y` along which output channels lie.
        role: its expected role.
        storage: its expected storage.
        feed: shape of `x`.
        expected: further attributes of the layer.
        step: distance of the values that can arrive, 0 where all can.
    """

    model: onnx.ModelProto
    layer: str
    shape: tuple[int, ...]
    axis: int
    feed: tuple[int, ...]
    role: str = "kernel"
    storage: str = "initializer"
    expected: Mapping[str, Any] = field(default_factory=dict)
    step: float = 0.0


def values(*shape: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    """Normal values of a shape."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(dtype)


def tensor(array: NDArray[Any], name: str) -> TensorProto:
    """A tensor with raw data."""
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def make(
    nodes: Sequence[onnx.NodeProto],
    initializers: Arrays,
    feed: Sequence[Any],
    *,
    dtype: int = TensorProto.FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
    extra_inputs: Sequence[onnx.ValueInfoProto] = (),
    opset: int = 21,
    out_dtype: int | None = None,
) -> onnx.ModelProto:
    """A model from input `x` to output `y`."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", dtype, list(feed)), *extra_inputs],
        [helper.make_tensor_value_info("y", dtype if out_dtype is None else out_dtype, None)],
        [tensor(a, n) for n, a in initializers.items()],
    )
    graph.output[0].type.tensor_type.ClearField("shape")
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    opsets += [helper.make_opsetid(f.domain, 1) for f in functions]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=10, functions=list(functions), producer_name="hand"
    )


node = helper.make_node
INTS = np.int64


def _conv() -> Case:
    nodes = [node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[1, 1, 1, 1])]
    model = make(nodes, {"w": values(6, 3, 3, 3), "b": values(6)}, (1, 3, 5, 5))
    expected = {"operator": "Conv", "node": "conv", "consumers": ("Conv:conv:1",), "group": 1}
    return Case(model, "w", (6, 3, 3, 3), 1, (1, 3, 5, 5), expected=expected)


def _grouped() -> Case:
    nodes = [node("Conv", ["x", "w"], ["y"], group=2)]
    model = make(nodes, {"w": values(6, 2, 3, 3)}, (1, 4, 5, 5))
    return Case(model, "w", (6, 2, 3, 3), 1, (1, 4, 5, 5), expected={"group": 2})


def _conv_transpose() -> Case:
    nodes = [node("ConvTranspose", ["x", "w"], ["y"])]
    model = make(nodes, {"w": values(3, 5, 2, 2)}, (1, 3, 4, 4))
    return Case(model, "w", (5, 3, 2, 2), 1, (1, 3, 4, 4), expected={"axes": (1, 0, 2, 3)})


def _gemm(transposed: int) -> Case:
    shape = (5, 4) if transposed else (4, 5)
    nodes = [node("Gemm", ["x", "w"], ["y"], transB=transposed)]
    return Case(make(nodes, {"w": values(*shape)}, (2, 4)), "w", (5, 4), 1, (2, 4))


def _gemm_left(transposed: int) -> Case:
    shape = (4, 5) if transposed else (5, 4)
    nodes = [node("Gemm", ["w", "x"], ["y"], transA=transposed)]
    return Case(make(nodes, {"w": values(*shape)}, (4, 3)), "w", (5, 4), 0, (4, 3))


def _matmul() -> Case:
    model = make([node("MatMul", ["x", "w"], ["y"])], {"w": values(4, 5)}, (2, 3, 4))
    return Case(model, "w", (5, 4), 2, (2, 3, 4))


def _matmul_left() -> Case:
    model = make([node("MatMul", ["w", "x"], ["y"])], {"w": values(5, 4)}, (4, 3))
    return Case(model, "w", (5, 4), 0, (4, 3))


def _matmul_batched() -> Case:
    model = make([node("MatMul", ["x", "w"], ["y"])], {"w": values(2, 4, 5)}, (2, 3, 4))
    return Case(model, "w", (5, 4, 2), 2, (2, 3, 4), expected={"axes": (2, 1, 0)})


def _fused_matmul() -> Case:
    nodes = [node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transB=1)]
    return Case(make(nodes, {"w": values(5, 4)}, (2, 4)), "w", (5, 4), 1, (2, 4))


def _fused_conv() -> Case:
    nodes = [node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", activation="Tanh")]
    return Case(make(nodes, {"w": values(6, 3, 3)}, (1, 3, 5)), "w", (6, 3, 3), 1, (1, 3, 5))


def _einsum() -> Case:
    nodes = [node("Einsum", ["x", "w"], ["y"], equation="abc,chd->abhd")]
    model = make(nodes, {"w": values(4, 2, 3)}, (2, 3, 4))
    return Case(model, "w", (2, 3, 4), 2, (2, 3, 4), expected={"axes": (1, 2, 0)})


def _transposed() -> Case:
    nodes = [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"])]
    return Case(make(nodes, {"w": values(5, 4)}, (2, 4)), "w", (5, 4), 1, (2, 4))


def _flattened() -> Case:
    nodes = [node("Reshape", ["w", "s"], ["r"]), node("MatMul", ["x", "r"], ["y"])]
    model = make(nodes, {"w": values(2, 2, 5), "s": np.array([4, 5], INTS)}, (3, 4))
    return Case(model, "w", (5, 2, 2), 1, (3, 4), expected={"axes": (2, 0, 1)})


def _unit_axes() -> Case:
    nodes = [
        node("Squeeze", ["w", "a"], ["s"]),
        node("Unsqueeze", ["s", "b"], ["u"]),
        node("Identity", ["u"], ["i"]),
        node("Conv", ["x", "i"], ["y"]),
    ]
    arrays = {"w": values(1, 6, 3), "a": np.array([0], INTS), "b": np.array([2], INTS)}
    model = make(nodes, arrays, (1, 3, 5))
    return Case(model, "w", (6, 3, 1), 1, (1, 3, 5), expected={"axes": (1, 2, 0)})


def _reshaped_unknown() -> Case:
    nodes = [node("Reshape", ["w", "s"], ["r"]), node("MatMul", ["x", "r"], ["y"])]
    model = make(nodes, {"w": values(6, 4), "s": np.array([3, 8], INTS)}, (2, 3))
    return Case(model, "w", (6, 4), -1, (2, 3), expected={"axes": None})


def _constant_node() -> Case:
    constant = node("Constant", [], ["w"], value=tensor(values(4, 5), "inside"))
    model = make([constant, node("MatMul", ["x", "w"], ["y"])], {}, (2, 4))
    return Case(model, "w", (5, 4), 1, (2, 4), storage="constant")


def _constant_floats() -> Case:
    constant = node("Constant", [], ["b"], value_floats=[0.5, -1.5, 2.5])
    nodes = [constant, node("Add", ["x", "b"], ["y"])]
    return Case(make(nodes, {}, (2, 3)), "b", (3,), 1, (2, 3), "bias", "constant")


def _input_initializer() -> Case:
    extra = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [5, 4])]
    nodes = [node("Gemm", ["x", "w"], ["y"], transB=1)]
    model = make(nodes, {"w": values(5, 4)}, (2, 4), extra_inputs=extra)
    return Case(model, "w", (5, 4), 1, (2, 4))


def branch(name: str, seed: int) -> onnx.GraphProto:
    """A branch of an If: x times its own weights `w`."""
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    inside = [tensor(values(4, 5, seed=seed), "w")]
    return helper.make_graph([node("MatMul", ["x", "w"], [name])], name, [], [out], inside)


def _subgraph() -> Case:
    nodes = [node("If", ["c"], ["y"], "if", then_branch=branch("t", 1), else_branch=branch("e", 2))]
    model = make(nodes, {"c": np.array(True)}, (2, 4))
    return Case(model, "if.then_branch/w", (5, 4), 1, (2, 4), storage="subgraph")


def _outer_scope() -> Case:
    def inner(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node("MatMul", ["x", "w"], [name], name)], name, [], [out])

    nodes = [node("If", ["c"], ["y"], then_branch=inner("t"), else_branch=inner("e"))]
    model = make(nodes, {"w": values(4, 5), "c": np.array(True)}, (2, 4))
    uses = ("MatMul:e:1", "MatMul:t:1")
    return Case(model, "w", (5, 4), 1, (2, 4), expected={"shared": True, "consumers": uses})


def _function_argument() -> Case:
    body = [node("Transpose", ["b"], ["t"]), node("MatMul", ["a", "t"], ["z"])]
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function("own", "Linear", ["a", "b"], ["z"], body, opset)
    nodes = [node("Linear", ["x", "w"], ["y"], domain="own")]
    model = make(nodes, {"w": values(5, 4)}, (2, 4), functions=[function])
    return Case(model, "w", (5, 4), 1, (2, 4), expected={"operator": "MatMul"})


def _function_view() -> Case:
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function(
        "own", "T", ["a"], ["z"], [node("Transpose", ["a"], ["z"])], opset
    )
    nodes = [node("T", ["w"], ["t"], domain="own"), node("MatMul", ["x", "t"], ["y"])]
    model = make(nodes, {"w": values(5, 4)}, (2, 4), functions=[function])
    return Case(model, "w", (5, 4), 1, (2, 4))


def _function_constant() -> Case:
    body = [
        node("Constant", [], ["k"], value=tensor(values(4, 5), "")),
        node("MatMul", ["a", "k"], ["z"]),
    ]
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function("own", "Fixed", ["a"], ["z"], body, opset)
    model = make([node("Fixed", ["x"], ["y"], domain="own")], {}, (2, 4), functions=[function])
    return Case(model, "k", (5, 4), 1, (2, 4), storage="function")


def _tied() -> Case:
    nodes = [
        node("Gather", ["w", "i"], ["e"]),
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["x", "t"], ["m"]),
        node("ReduceSum", ["e"], ["r"], keepdims=0),
        node("Add", ["m", "r"], ["y"]),
    ]
    model = make(nodes, {"w": values(5, 4), "i": np.array([0, 0], INTS)}, (2, 4))
    return Case(model, "w", (5, 4), -1, (2, 4), expected={"shared": True, "operator": "MatMul"})


def _typed(dtype: Any, onnx_type: int) -> Case:
    nodes = [
        node("Cast", ["w"], ["c"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "c"], ["y"]),
    ]
    model = make(nodes, {}, (2, 4))
    model.graph.initializer.append(tensor(values(4, 5).astype(dtype), "w"))
    assert model.graph.initializer[0].data_type == onnx_type
    return Case(model, "w", (5, 4), 1, (2, 4), expected={"dtype": np.dtype(dtype).name})


def _typed_fields(data_type: int) -> Case:
    model = make([node("Cast", ["w"], ["c"], to=1), node("MatMul", ["x", "c"], ["y"])], {}, (2, 4))
    flat = values(20).tolist()
    model.graph.initializer.append(helper.make_tensor("w", data_type, [4, 5], flat))
    assert not model.graph.initializer[0].raw_data
    return Case(model, "w", (5, 4), 1, (2, 4))


def _fake_quantized() -> Case:
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("Gemm", ["x", "d"], ["y"], transB=1),
    ]
    arrays = {"w": values(5, 4), "s": np.array(0.05, np.float32), "z": np.array(0, np.int8)}
    model = make(nodes, arrays, (2, 4))
    return Case(model, "w", (5, 4), 1, (2, 4), expected={"quantization": None}, step=0.05)


def _scaled() -> Case:
    nodes = [node("Mul", ["w", "k"], ["s"]), node("MatMul", ["x", "s"], ["y"])]
    arrays = {"w": values(4, 5), "k": np.array(0.5, np.float32)}
    return Case(make(nodes, arrays, (2, 4)), "w", (5, 4), 1, (2, 4))


def _recurrent() -> Case:
    nodes = [node("GRU", ["x", "w", "r"], ["", "y"], hidden_size=3)]
    model = make(nodes, {"w": values(1, 9, 4), "r": values(1, 9, 3)}, (2, 1, 4))
    return Case(model, "w", (9, 4, 1), -1, (2, 1, 4), role="recurrent")


def _norm() -> Case:
    nodes = [node("LayerNormalization", ["x", "w"], ["y"])]
    return Case(make(nodes, {"w": values(4)}, (2, 4)), "w", (4,), 1, (2, 4), role="norm")


def _embedding() -> Case:
    nodes = [node("Cast", ["x"], ["i"], to=7), node("Gather", ["w", "i"], ["y"])]
    return Case(make(nodes, {"w": values(9, 4)}, (2,)), "w", (9, 4), -1, (2,), role="embedding")


CASES: Mapping[str, Callable[[], Case]] = {
    "conv": _conv,
    "grouped conv": _grouped,
    "conv transpose": _conv_transpose,
    "gemm transB=0": lambda: _gemm(0),
    "gemm transB=1": lambda: _gemm(1),
    "gemm left": lambda: _gemm_left(0),
    "gemm left transA=1": lambda: _gemm_left(1),
    "matmul": _matmul,
    "matmul left": _matmul_left,
    "matmul batched": _matmul_batched,
    "fused matmul": _fused_matmul,
    "fused conv": _fused_conv,
    "einsum": _einsum,
    "transpose view": _transposed,
    "flattening reshape": _flattened,
    "unit axes": _unit_axes,
    "reshape that cannot be followed": _reshaped_unknown,
    "constant node": _constant_node,
    "constant floats": _constant_floats,
    "initializer as input": _input_initializer,
    "subgraph": _subgraph,
    "outer scope": _outer_scope,
    "function argument": _function_argument,
    "function as view": _function_view,
    "function constant": _function_constant,
    "tied embedding": _tied,
    "float16": lambda: _typed(np.float16, TensorProto.FLOAT16),
    "bfloat16": lambda: _typed(ml_dtypes.bfloat16, TensorProto.BFLOAT16),
    "float64": lambda: _typed(np.float64, TensorProto.DOUBLE),
    "float8": lambda: _typed(ml_dtypes.float8_e4m3fn, TensorProto.FLOAT8E4M3FN),
    "float_data": lambda: _typed_fields(TensorProto.FLOAT),
    "double_data": lambda: _typed_fields(TensorProto.DOUBLE),
    "int32_data of float16": lambda: _typed_fields(TensorProto.FLOAT16),
    "int32_data of bfloat16": lambda: _typed_fields(TensorProto.BFLOAT16),
    "fake quantized": _fake_quantized,
    "scaled weights": _scaled,
    "gru": _recurrent,
    "layer norm": _norm,
    "embedding": _embedding,
}


def options(runnable: Any = None) -> ort.SessionOptions:
    """Session options with one thread, and the arrays of a Runnable."""
    found = ort.SessionOptions()
    found.intra_op_num_threads = 1
    found.log_severity_level = 4
    if runnable is not None and runnable.initializers:
        ortvalues = [ort.OrtValue.ortvalue_from_numpy(v) for v in runnable.initializers.values()]
        found.add_external_initializers(list(runnable.initializers), ortvalues)
    if runnable is not None and runnable.folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        found.add_session_config_entry(key, str(runnable.folder))
    return found


def run_path(path: Path, feeds: Arrays) -> list[NDArray[Any]]:
    """Outputs of a file as the runtime loads it by itself."""
    session = ort.InferenceSession(str(path), options(), ["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def run_runnable(runnable: Any, feeds: Arrays) -> list[NDArray[Any]]:
    """Outputs of a Runnable."""
    session = ort.InferenceSession(runnable.model, options(runnable), ["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))
