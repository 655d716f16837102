"""Operators on constants in numpy: what they compute, and first of all how large it will be.

A model file is untrusted input, so sizes are inferred and bounded before anything is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import NodeProto

from nnw_onnx.graph import operators as ops
from nnw_onnx.graph.operators import Compute, Inputs, Shape
from nnw_onnx.graph.quantizers import dequantized, fake_quantized, quantized
from nnw_onnx.graph.scopes import number
from nnw_onnx.graph.tensors import MOST_AXES
from nnw_onnx.vocabulary import Array

_Infer = Callable[[NodeProto, Sequence[Shape | None], Inputs], Sequence[Shape]]

MOST_MULTIPLICATIONS = 1 << 37
"""Of one matrix product; a minute of one core."""
STANDARD = frozenset({"", "ai.onnx"})
QONNX = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})


MISFITS = (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError)
"""What numpy says to operands that do not fit an operator."""


class UnknownOperatorError(Exception):
    """An operator that is not evaluated, or inputs that do not fit it."""


def is_known(node: NodeProto) -> bool:
    """Whether constants that go through the node can be computed here."""
    if node.domain in QONNX:
        return node.op_type in _QONNX
    return node.domain in STANDARD and node.op_type in _OPERATORS


def keeps_places(node: NodeProto) -> bool:
    """Whether a result has its numbers where the inputs have theirs."""
    return is_known(node) and _operator(node)[0] in (_same, _broadcast)


def settings_of(node: NodeProto) -> frozenset[int]:
    """Inputs whose values say how large the result is."""
    return _SETTINGS.get(node.op_type, frozenset())


def shapes(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    """Shapes of the outputs.

    Args:
        node: a node that is known.
        sizes: shapes of the inputs; None for one that is left out.
        settings: values of the inputs of `settings_of`, None for the others.

    Raises:
        UnknownOperatorError: inputs that do not fit.
    """
    try:
        found = [tuple(map(int, s)) for s in _operator(node)[0](node, sizes, settings)]
    except MISFITS as error:
        raise UnknownOperatorError(node.op_type) from error
    if any(len(s) > MOST_AXES or min(s, default=0) < 0 for s in found):
        raise UnknownOperatorError(node.op_type)
    return found


def compute(node: NodeProto, values: Inputs) -> Sequence[Array]:
    """The outputs of a node that is known.

    Raises:
        UnknownOperatorError: inputs that do not fit.
    """
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(array) for array in _operator(node)[1](node, values)]
    except MISFITS as error:
        raise UnknownOperatorError(node.op_type) from error


def left_of(
    node: NodeProto, output: int, axis: int, which: Sequence[int], inputs: Inputs
) -> list[int]:
    """What is left of a list that lies along one axis behind a Slice, Split or Gather.

    Args:
        node: one of these.
        output: which of its outputs.
        axis: the axis of its data along which the list lies.
        which: the list.
        inputs: values of the other inputs, which are constants.

    Raises:
        UnknownOperatorError: it cuts along another axis.
    """
    try:
        return _left(node, output, axis, which, inputs)
    except MISFITS as error:
        raise UnknownOperatorError(node.op_type) from error


def _left(
    node: NodeProto, output: int, axis: int, which: Sequence[int], inputs: Inputs
) -> list[int]:
    if node.op_type == "Slice":
        axes = ops.listed(node, inputs, 3, "axes")
        one = axes is None and len(ops.listed(node, inputs, 1, "starts") or ()) == 1
        cuts = (0,) if one else axes
    else:
        cuts = (number(node, "axis", 0),)
    if cuts != (axis,):
        raise ValueError("another axis")
    line = NodeProto()
    line.CopyFrom(node)
    for attribute in line.attribute:
        if attribute.name == "axis":
            attribute.i = 0
        if attribute.name == "axes":
            del attribute.ints[:]
            attribute.ints.append(0)
    given = list(inputs)
    if len(given) > 3:
        given[3] = np.zeros(1, np.int64)
    given[0] = np.array(which)
    return [int(v) for v in compute(line, given)[output].reshape(-1)]


def _operator(node: NodeProto) -> tuple[_Infer, Compute]:
    return (_QONNX if node.domain in QONNX else _OPERATORS)[node.op_type]


# Sizes


def _same(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    return [_given(sizes, 0)]


def _broadcast(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    return [np.broadcast_shapes(*(s for s in sizes if s is not None))]


def _reduced(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    shape = _given(sizes, 0)
    axes, keep = ops.reduced_axes(node, settings, len(shape))
    if keep:
        return [tuple(1 if k in axes else s for k, s in enumerate(shape))]
    return [tuple(s for k, s in enumerate(shape) if k not in axes)]


def _moved(compute: Compute) -> _Infer:
    """Sizes of an operator that computes views, from an array without memory of its own."""

    def infer(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
        hollow = np.broadcast_to(np.zeros((), np.uint8), _given(sizes, 0))
        return [array.shape for array in compute(node, [hollow, *settings[1:]])]

    return infer


def _product(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    a, b = _given(sizes, 0), _given(sizes, 1)
    if not a or not b or a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise ValueError("factors that do not fit")
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    _bounded(math.prod((*batch, *rows, *columns)) * a[-1])
    return [(*batch, *rows, *columns)]


def _gemm_sizes(
    node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs
) -> Sequence[Shape]:
    a, b = _given(sizes, 0), _given(sizes, 1)
    rows, inner = a[::-1] if number(node, "transA", 0) else a
    other, columns = b[::-1] if number(node, "transB", 0) else b
    if inner != other:
        raise ValueError("factors that do not fit")
    _bounded(rows * inner * columns)
    return [(rows, columns)]


def _einsum_sizes(
    node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs
) -> Sequence[Shape]:
    terms, result = ops.einsum_terms(node)
    if len(terms) != len(sizes) or len(terms) > 3:
        raise ValueError("a term for each input")
    letters: dict[str, int] = {}
    for term, shape in zip(terms, sizes, strict=True):
        if shape is None or len(term) != len(shape):
            raise ValueError("a letter for each axis")
        for letter, size in zip(term, shape, strict=True):
            if letters.setdefault(letter, size) != size:
                raise ValueError("sizes that differ")
    _bounded(math.prod(letters.values()))
    return [tuple(letters[letter] for letter in result)]


def _joined(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    parts = [s for s in sizes if s is not None]
    axis = number(node, "axis", 0) % len(parts[0])
    if any(s[:axis] + s[axis + 1 :] != parts[0][:axis] + parts[0][axis + 1 :] for s in parts):
        raise ValueError("parts that do not fit")
    return [(*parts[0][:axis], sum(s[axis] for s in parts), *parts[0][axis + 1 :])]


def _gathered(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    data, index = _given(sizes, 0), _given(sizes, 1)
    axis = number(node, "axis", 0) % len(data)
    return [(*data[:axis], *index, *data[axis + 1 :])]


def _filled(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    return [ops.integers(settings, 0)]


def _shape_sizes(
    node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs
) -> Sequence[Shape]:
    return [(len(_given(sizes, 0)),)]


def _tiled(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    return [tuple(s * r for s, r in zip(_given(sizes, 0), ops.integers(settings, 1), strict=True))]


def _padded(node: NodeProto, sizes: Sequence[Shape | None], settings: Inputs) -> Sequence[Shape]:
    shape = _given(sizes, 0)
    return [
        tuple(s + a + b for s, (a, b) in zip(shape, ops.pads(node, settings, shape), strict=True))
    ]


def _bounded(multiplications: int) -> None:
    if multiplications > MOST_MULTIPLICATIONS:
        raise ValueError("a product that takes too long")


def _given(sizes: Sequence[Shape | None], index: int) -> Shape:
    found = sizes[index]
    if found is None:
        raise ValueError("an input that is left out")
    return found


_UNARY: Mapping[str, Callable[[Array], Array]] = {
    "Neg": np.negative, "Abs": np.abs, "Sign": np.sign, "Round": np.rint, "Floor": np.floor,
    "Ceil": np.ceil, "Relu": lambda x: np.maximum(x, x.dtype.type(0)), "Tanh": np.tanh,
    "Sigmoid": ops.sigmoid, "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt, "Sin": np.sin,
    "Cos": np.cos, "Reciprocal": lambda x: np.asarray(x.dtype.type(1) / x), "Not": np.logical_not,
    "Softplus": lambda x: np.logaddexp(x, x.dtype.type(0)),
}  # fmt: skip
_BINARY: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": ops.divided, "Equal": np.equal,
    "Greater": np.greater, "Less": np.less, "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
}  # fmt: skip
_REDUCTIONS: Mapping[str, Callable[[Array, tuple[int, ...], bool], Array]] = {
    "ReduceSum": lambda x, a, k: np.sum(x, a, keepdims=k),
    "ReduceMean": lambda x, a, k: np.mean(x, a, keepdims=k),
    "ReduceProd": lambda x, a, k: np.prod(x, a, keepdims=k),
    "ReduceMax": lambda x, a, k: np.max(x, a, keepdims=k),
    "ReduceMin": lambda x, a, k: np.min(x, a, keepdims=k),
    "ReduceL1": lambda x, a, k: np.sum(np.abs(x), a, keepdims=k),
    "ReduceL2": lambda x, a, k: np.sqrt(np.sum(x * x, a, keepdims=k)),
    "ReduceSumSquare": lambda x, a, k: np.sum(x * x, a, keepdims=k),
}
_VIEWS: Mapping[str, Compute] = {
    "Transpose": ops.transposed, "Reshape": ops.reshaped, "Flatten": ops.flattened,
    "Squeeze": ops.squeezed, "Unsqueeze": ops.unsqueezed, "Expand": ops.expanded,
    "Slice": ops.sliced, "Split": ops.split,
}  # fmt: skip
_OPERATORS: Mapping[str, tuple[_Infer, Compute]] = {
    **{name: (_same, ops.one(function)) for name, function in _UNARY.items()},
    **{name: (_broadcast, ops.two(function)) for name, function in _BINARY.items()},
    **{name: (_reduced, ops.reduce(function)) for name, function in _REDUCTIONS.items()},
    **{name: (_moved(function), function) for name, function in _VIEWS.items()},
    "Identity": (_same, ops.first),
    "Dropout": (_same, ops.first),
    "Cast": (_same, ops.cast),
    "CastLike": (_same, ops.cast_like),
    "Clip": (_same, ops.clip),
    "Pow": (_broadcast, ops.power),
    "Min": (_broadcast, ops.several(np.minimum)),
    "Max": (_broadcast, ops.several(np.maximum)),
    "Sum": (_broadcast, ops.several(np.add)),
    "Where": (_broadcast, ops.where),
    "MatMul": (_product, ops.two(np.matmul)),
    "Gemm": (_gemm_sizes, ops.gemm),
    "Einsum": (_einsum_sizes, ops.einsum),
    "Concat": (_joined, ops.concat),
    "Gather": (_gathered, ops.gather),
    "ConstantOfShape": (_filled, ops.constant_of_shape),
    "Shape": (_shape_sizes, ops.shape_of),
    "Tile": (_tiled, ops.tile),
    "Pad": (_padded, ops.pad),
    "LpNormalization": (_same, ops.normalized),
    "QuantizeLinear": (_same, lambda node, values: [quantized(node, values)]),
    "DequantizeLinear": (_same, lambda node, values: [dequantized(node, values)]),
}
_QONNX: Mapping[str, tuple[_Infer, Compute]] = {
    name: (_same, lambda node, values: [fake_quantized(node, values)])
    for name in ("Quant", "IntQuant", "BipolarQuant")
}
_SETTINGS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(
        ("Reshape", "Expand", "Split", "Squeeze", "Unsqueeze", "Tile", *_REDUCTIONS), frozenset({1})
    ),
    "Slice": frozenset({1, 2, 3, 4}),
    "Pad": frozenset({1, 2, 3}),
    "ConstantOfShape": frozenset({0}),
}
