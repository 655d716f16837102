"""Small models in which arithmetic lies between stored tensors and the operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .handmade import make, node, tensor, values

INTS = np.int64


@dataclass(frozen=True)
class Made:
    """A model with one kernel under test.

    Attributes:
        model: one input `x`, one output `y`.
        layer: the layer's name.
        arrives: name of the value that arrives at the operator.
        order: axes of that value in canonical order.
        feed: shape of `x`.
        parts: the other tensors that the weights are made of.
        exact: whether any finite weights can be made to arrive.
    """

    model: onnx.ModelProto
    layer: str
    arrives: str
    order: tuple[int, ...]
    feed: tuple[int, ...]
    parts: tuple[str, ...] = ()
    exact: bool = True


def _dense(nodes: Sequence[Any], arrays: Mapping[str, NDArray[Any]], parts: Sequence[str] = (),
           *, exact: bool = True, layer: str = "w") -> Made:  # fmt: skip
    """The nodes make `k` (4, 5) of the arrays, and a MatMul takes it."""
    model = make([*nodes, node("MatMul", ["x", "k"], ["y"], "mm")], arrays, (2, 4))
    return Made(model, layer, "k", (1, 0), (2, 4), tuple(parts), exact)


def _unary(operator: str, **attributes: Any) -> Made:
    """A latent kernel in (0, 1)."""
    inside = np.abs(values(4, 5)) / 4 + 0.05
    return _dense([node(operator, ["w"], ["k"], **attributes)], {"w": inside}, exact=False)


def _binary(operator: str, other: NDArray[Any], *, left: bool = False) -> Made:
    names = ["b", "w"] if left else ["w", "b"]
    arrays = {"w": values(4, 5), "b": other.astype(np.float32)}
    parts = ["b"] if other.size > 1 else []
    return _dense([node(operator, names, ["k"])], arrays, parts)


def mask() -> NDArray[Any]:
    """Half of 4 x 5 weights."""
    return (np.arange(20).reshape(4, 5) % 2).astype(np.float32)


def _masked() -> Made:
    nodes = [node("Mul", ["w", "m"], ["k"])]
    return _dense(nodes, {"w": values(4, 5), "m": mask()}, ["m"], exact=False)


def _masked_by_bool() -> Made:
    nodes = [node("Cast", ["m"], ["f"], to=1), node("Mul", ["f", "w"], ["k"])]
    return _dense(nodes, {"w": values(4, 5), "m": mask() > 0}, ["m"], exact=False)


def _where() -> Made:
    nodes = [node("Where", ["m", "w", "zero"], ["k"])]
    arrays = {"w": values(4, 5), "m": mask() > 0, "zero": np.zeros((), np.float32)}
    return _dense(nodes, arrays, ["m"], exact=False)


def _norm(*, form: str) -> Made:
    """Weight normalisation, written as exporters write it."""
    nodes = {
        "l2": [node("ReduceL2", ["w", "ax"], ["n"], keepdims=1)],
        "sum": [
            node("Mul", ["w", "w"], ["q"]),
            node("ReduceSum", ["q", "ax"], ["s"], keepdims=1),
            node("Sqrt", ["s"], ["n"]),
        ],
        "pow": [
            node("Abs", ["w"], ["a"]),
            node("Pow", ["a", "two"], ["q"]),
            node("ReduceSum", ["q", "ax"], ["s"], keepdims=1),
            node("Pow", ["s", "half"], ["n"]),
        ],
    }[form]
    nodes += [node("Div", ["g", "n"], ["r"]), node("Mul", ["w", "r"], ["k"])]
    arrays = {
        "w": values(4, 5), "g": np.abs(values(1, 5, seed=2)) + 0.1, "ax": np.array([0], INTS),
        "two": np.array(2, np.float32), "half": np.array(0.5, np.float32),
    }  # fmt: skip
    return _dense(nodes, arrays, ["g"])


def _norm_by_one() -> Made:
    """Torch's dim=None: one gain for all."""
    nodes = [
        node("ReduceL2", ["w"], ["n"], keepdims=0),
        node("Mul", ["g", "w"], ["a"]),
        node("Div", ["a", "n"], ["k"]),
    ]
    return _dense(nodes, {"w": values(4, 5), "g": np.array(1.5, np.float32)})


def _lp_norm() -> Made:
    nodes = [node("LpNormalization", ["w"], ["u"], axis=0), node("Mul", ["u", "g"], ["k"])]
    return _dense(nodes, {"w": values(4, 5), "g": np.abs(values(5, seed=2)) + 0.1}, ["g"])


def _spectral() -> Made:
    nodes = [
        node("MatMul", ["w", "v"], ["wv"]),
        node("MatMul", ["u", "wv"], ["s"]),
        node("Div", ["w", "s"], ["k"]),
    ]
    u, v = values(4, seed=3), values(5, seed=4)
    return _dense(nodes, {"w": values(4, 5), "u": u, "v": v}, ["u", "v"])


def _low_rank() -> Made:
    nodes = [
        node("MatMul", ["a", "b"], ["ab"]),
        node("Mul", ["ab", "s"], ["d"]),
        node("Add", ["d", "w"], ["k"]),
    ]
    arrays = {"w": values(4, 5), "a": values(4, 2, seed=2), "b": values(2, 5, seed=3)}
    return _dense(nodes, {**arrays, "s": np.array(0.5, np.float32)}, ["a", "b"])


def _rotated() -> Made:
    turn = np.linalg.qr(values(4, 4, seed=6).astype(np.float64))[0].astype(np.float32)
    nodes = [node("MatMul", ["r", "w"], ["k"])]
    return _dense(nodes, {"w": values(4, 5), "r": turn}, ["r"])


def _by_hand() -> Made:
    nodes = [
        node("Cast", ["w"], ["f"], to=1),
        node("Sub", ["f", "z"], ["c"]),
        node("Mul", ["c", "s"], ["k"]),
    ]
    integers = np.random.Generator(np.random.PCG64(0)).integers(-9, 9, (4, 5)).astype(np.int8)
    arrays = {"w": integers, "z": values(1, 5), "s": np.abs(values(1, 5, seed=1)) + 0.1}
    return _dense(nodes, arrays, ["z", "s"], exact=False)


def _fake_quantized() -> Made:
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["k"]),
    ]
    arrays = {"w": values(4, 5), "s": np.array(0.02, np.float32), "z": np.array(3, np.int8)}
    return _dense(nodes, arrays, exact=False)


def _half_precision() -> Made:
    nodes = [node("Cast", ["w"], ["h"], to=10), node("Cast", ["h"], ["k"], to=1)]
    return _dense(nodes, {"w": values(4, 5)}, exact=False)


def _reversed() -> Made:
    nodes = [node("Slice", ["w", "start", "end", "ax", "step"], ["k"])]
    arrays = {"w": values(4, 5), "start": np.array([-1], INTS), "end": np.array([-99], INTS)}
    return _dense(nodes, {**arrays, "ax": np.array([0], INTS), "step": np.array([-1], INTS)})


def _permuted() -> Made:
    nodes = [node("Gather", ["w", "i"], ["k"])]
    return _dense(nodes, {"w": values(4, 5), "i": np.array([2, 0, 3, 1], INTS)})


def _cut_and_changed() -> Made:
    """A piece of a tensor, subtracted from one."""
    nodes = [
        node("Slice", ["w", "start", "end", "ax"], ["p"]),
        node("Sub", ["one", "p"], ["k"]),
    ]
    arrays = {"w": values(6, 5), "start": np.array([1], INTS), "end": np.array([5], INTS)}
    arrays |= {"ax": np.array([0], INTS), "one": np.array(1, np.float32)}
    return _dense(nodes, arrays)


def _turned_and_reshaped() -> Made:
    """Views around the arithmetic: the layer keeps the layout of the stored tensor."""
    nodes = [
        node("Neg", ["w"], ["n"]),
        node("Transpose", ["n"], ["t"], perm=[2, 0, 1]),
        node("Reshape", ["t", "shape"], ["k"]),
    ]
    arrays = {"w": values(2, 5, 2), "shape": np.array([4, 5], INTS)}
    return _dense(nodes, arrays)


def _gemm_of_constants() -> Made:
    nodes = [node("Gemm", ["a", "b", "w"], ["k"], alpha=0.5, beta=2.0)]
    arrays = {"w": values(4, 5), "a": values(4, 2, seed=2), "b": values(2, 5, seed=3)}
    return _dense(nodes, arrays, ["a", "b"])


def _conv_in_a_function() -> Made:
    """Mask and view inside a function that the model calls with its tensors."""
    body = [
        node("Mul", ["a", "b"], ["p"]),
        node("Transpose", ["p"], ["t"]),
        node("Conv", ["v", "t"], ["z"]),
    ]
    body[1].attribute.append(onnx.AttributeProto(name="perm", ref_attr_name="order", type=7))
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function("own", "F", ["v", "a", "b"], ["z"], body, opset, ["order"])
    nodes = [node("F", ["x", "w", "m"], ["y"], domain="own", order=[1, 0, 2])]
    arrays = {"w": values(3, 6, 2), "m": (values(3, 6, 2, seed=1) > 0).astype(np.float32)}
    model = make(nodes, arrays, (1, 3, 5), functions=[function])
    return Made(model, "w", "", (0, 1, 2), (1, 3, 5), ("m",), exact=False)


MADE: Mapping[str, Callable[[], Made]] = {
    "scaled by one number": lambda: _binary("Mul", np.array(0.5)),
    "scaled by channel": lambda: _binary("Mul", values(5, seed=1)),
    "divided": lambda: _binary("Div", values(1, 5, seed=1)),
    "divisor": lambda: _binary("Div", values(1, 5, seed=1), left=True),
    "shifted": lambda: _binary("Add", values(5, seed=1)),
    "subtracted from": lambda: _binary("Sub", np.array(1.0), left=True),
    "mask": _masked,
    "mask of conditions": _masked_by_bool,
    "where": _where,
    "weight norm, ReduceL2": lambda: _norm(form="l2"),
    "weight norm, ReduceSum": lambda: _norm(form="sum"),
    "weight norm, Pow": lambda: _norm(form="pow"),
    "weight norm, one gain": _norm_by_one,
    "weight norm, LpNormalization": _lp_norm,
    "spectral norm": _spectral,
    "low rank": _low_rank,
    "low rank by Gemm": _gemm_of_constants,
    "rotated": _rotated,
    "integers by hand": _by_hand,
    "fake quantized": _fake_quantized,
    "half precision": _half_precision,
    "reversed": _reversed,
    "permuted": _permuted,
    "cut, then subtracted": _cut_and_changed,
    "views around": _turned_and_reshaped,
    "in a function": _conv_in_a_function,
    **{
        name: lambda name=name: _unary(name)  # type: ignore[misc]
        for name in ("Neg", "Abs", "Sign", "Round", "Floor", "Ceil", "Relu", "Tanh", "Sigmoid",
                     "Exp", "Log", "Sqrt", "Reciprocal", "Softplus")
    },
}  # fmt: skip


def conv(name: str, x: str, w: str, y: str) -> onnx.NodeProto:
    """A Conv that keeps the size of its input."""
    return node("Conv", [x, w], [y], name, pads=[1, 1, 1, 1])


def image_model(
    nodes: Sequence[onnx.NodeProto],
    arrays: Mapping[str, NDArray[Any]],
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model of (1, 3, 6, 6) images."""
    return make(nodes, arrays, (1, 3, 6, 6), functions=functions)


def graph(
    name: str, nodes: Sequence[onnx.NodeProto], output: str, inputs: Sequence[str] = (),
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.GraphProto:  # fmt: skip
    """A graph inside a node."""

    def value(which: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(which, TensorProto.FLOAT, None)

    inside = [tensor(a, n) for n, a in (arrays or {}).items()]
    return helper.make_graph(list(nodes), name, [value(i) for i in inputs], [value(output)], inside)
