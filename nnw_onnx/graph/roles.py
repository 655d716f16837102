"""What an input of an operator is: a kernel with output and input axes, a bias, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnx import NodeProto

from nnw_onnx.graph.scopes import Use, attributes, number

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})


@dataclass(frozen=True)
class Role:
    """What an operator makes of one of its inputs.

    Attributes:
        kind: role of the layer.
        order: axes of the value in canonical order, as far as the role knows it: (out, in) of a
            kernel; the axes not named follow in their own order. None: output axis unknown.
        group: number of groups of a convolution.
    """

    kind: str
    order: tuple[int, ...] | None = ()
    group: int = 1


OTHER = Role("other")
_BIAS, _NORM, _EMBEDDING = Role("bias"), Role("norm"), Role("embedding")
_UNKNOWN = Role("kernel", None)
_EXPERTS = Role("kernel", (0, 1, 2))
"""Kernels (expert, out, in) of a mixture of experts."""

_Rule = Callable[[Use, int | None], Role]
"""From the use and the rank of the value (None where it cannot be followed)."""


def _convolution(use: Use, rank: int | None) -> Role:
    return Role("kernel", (0, 1) if rank and rank > 1 else None, _group(use))


def _transposed_convolution(use: Use, rank: int | None) -> Role:
    return Role("kernel", (1, 0) if rank and rank > 1 else None, _group(use))


def _group(use: Use) -> int:
    return max(1, number(use.node, "group", 1))


def _product(left: int, *flags: str) -> _Rule:
    """Matrix product whose left factor is input `left`, with attributes that transpose."""

    def rule(use: Use, rank: int | None) -> Role:
        if rank is None or rank < 2:
            return _UNKNOWN
        is_left = use.index == left
        flipped = bool(flags and _flag(use, flags[0 if is_left else 1]))
        rows_out = is_left != flipped
        return Role("kernel", (rank - 2, rank - 1) if rows_out else (rank - 1, rank - 2))

    return rule


def _flag(use: Use, name: str) -> bool:
    return bool(number(use.node, name, 0))


def _fused_product(use: Use, rank: int | None) -> Role:
    flags = ("transBatchA", "transBatchB")
    if any(_flag(use, name) for name in flags):
        return _UNKNOWN
    return _product(0, "transA", "transB")(use, rank)


def _einsum(use: Use, rank: int | None) -> Role:
    """Letters of the output come first, then letters that are summed, then shared ones."""
    equation = str(attributes(use.node).get("equation", "")).replace(" ", "")
    terms, _, result = equation.partition("->")
    operands = terms.split(",")
    if "." in equation or not result or len(operands) != 2 or use.index > 1:
        return _UNKNOWN
    mine, other = operands[use.index], operands[1 - use.index]
    if rank != len(mine) or len(set(mine)) != len(mine):
        return _UNKNOWN
    out = [k for k, c in enumerate(mine) if c in result and c not in other]
    inner = [k for k, c in enumerate(mine) if c in other and c not in result]
    return Role("kernel", (*out, *inner)) if out and inner else OTHER


def _gather(use: Use, rank: int | None) -> Role:
    blocks = use.node.op_type == "GatherBlockQuantized"
    axis = number(use.node, "gather_axis" if blocks else "axis", 0)
    return _EMBEDDING if rank == 2 and axis == 0 else OTHER


def _recurrent(use: Use, rank: int | None) -> Role:
    return Role("recurrent", (1, 2) if rank == 3 else None)


def _attention(use: Use, rank: int | None) -> Role:
    if use.node.domain != "com.microsoft":
        return OTHER
    return _BIAS if use.index == 2 else _product(0)(use, rank)


def _always(role: Role) -> _Rule:
    return lambda use, rank: role


_MATMUL = _product(0)
_GEMM = _product(0, "transA", "transB")
_RULES: Mapping[str, Mapping[int, _Rule]] = {
    "Conv": {1: _convolution, 2: _always(_BIAS)},
    "FusedConv": {1: _convolution, 2: _always(_BIAS)},
    "ConvInteger": {1: _convolution},
    "QLinearConv": {3: _convolution, 8: _always(_BIAS)},
    "DeformConv": {1: _convolution, 3: _always(_BIAS)},
    "ConvTranspose": {1: _transposed_convolution, 2: _always(_BIAS)},
    "Gemm": {0: _GEMM, 1: _GEMM, 2: _always(_BIAS)},
    "FusedGemm": {0: _GEMM, 1: _GEMM, 2: _always(_BIAS)},
    "QGemm": {
        0: _product(0, "transA", "transB"),
        3: _product(0, "transA", "transB"),
        6: _always(_BIAS),
    },
    "MatMul": {0: _MATMUL, 1: _MATMUL},
    "FusedMatMul": {0: _fused_product, 1: _fused_product},
    "TransposeMatMul": {0: _fused_product, 1: _fused_product},
    "FusedMatMulActivation": {0: _fused_product, 1: _fused_product},
    "MatMulInteger": {0: _MATMUL, 1: _MATMUL},
    "QLinearMatMul": {0: _MATMUL, 3: _MATMUL},
    "DynamicQuantizeMatMul": {1: _MATMUL, 4: _always(_BIAS)},
    "MatMulIntegerToFloat": {1: _MATMUL, 6: _always(_BIAS)},
    "MatMulNBits": {1: _always(_UNKNOWN), 5: _always(_BIAS)},
    "Attention": {1: _attention, 2: _attention},
    "QAttention": {1: _attention, 2: _attention},
    "GemmFastGelu": {1: _MATMUL, 2: _always(_BIAS)},
    "PackedAttention": {1: _attention, 2: _attention},
    "DecoderAttention": {2: _MATMUL, 3: _MATMUL, 4: _always(_BIAS)},
    "CausalConvWithState": {1: _convolution, 2: _always(_BIAS)},
    "ConvTransposeWithDynamicPads": {1: _transposed_convolution, 3: _always(_BIAS)},
    "MoE": {
        **dict.fromkeys((2, 4, 6), _always(_EXPERTS)),
        **dict.fromkeys((3, 5, 7), _always(_BIAS)),
    },
    "QMoE": {
        **dict.fromkeys((2, 5, 8), _always(_EXPERTS)),
        **dict.fromkeys((4, 7, 10), _always(_BIAS)),
    },
    "Einsum": {0: _einsum, 1: _einsum},
    "Gather": {0: _gather},
    "GatherBlockQuantized": {0: _gather},
    "EmbedLayerNormalization": {
        **{k: _always(_EMBEDDING) for k in (2, 3, 4)},
        **{k: _always(_NORM) for k in (5, 6)},
    },
    "BatchNormalization": {1: _always(_NORM), 2: _always(_NORM)},
    **{
        name: {1: _always(_NORM), 2: _always(_NORM)}
        for name in (
            "LayerNormalization", "GroupNormalization", "GroupNorm", "InstanceNormalization",
            "RMSNormalization", "SimplifiedLayerNormalization",
        )
    },
    "SkipLayerNormalization": {2: _always(_NORM), 3: _always(_NORM), 4: _always(_BIAS)},
    "SkipSimplifiedLayerNormalization": {2: _always(_NORM), 3: _always(_BIAS)},
    "SkipGroupNorm": {1: _always(_NORM), 2: _always(_NORM), 4: _always(_BIAS)},
    "BiasGelu": {1: _always(_BIAS)},
    "BiasAdd": {1: _always(_BIAS)},
    "BiasSplitGelu": {1: _always(_BIAS)},
    "FastGelu": {1: _always(_BIAS)},
    "LSTM": {1: _recurrent, 2: _recurrent, 3: _always(_BIAS), 7: _always(Role("recurrent"))},
    "GRU": {1: _recurrent, 2: _recurrent, 3: _always(_BIAS)},
    "RNN": {1: _recurrent, 2: _recurrent, 3: _always(_BIAS)},
    "DynamicQuantizeLSTM": {
        **{k: _always(Role("recurrent", (2, 1))) for k in (1, 2)},
        3: _always(_BIAS), 7: _always(Role("recurrent")),
    },
    "QEmbedLayerNormalization": {
        **{k: _always(_EMBEDDING) for k in (2, 3, 4)},
        **{k: _always(_NORM) for k in (5, 6)},
    },
}  # fmt: skip

_SETTINGS: Mapping[str, frozenset[int] | None] = {
    "Shape": None, "Size": None, "Range": None, "ConstantOfShape": None, "Loop": frozenset({0, 1}),
    "If": None, "Clip": frozenset({1, 2}), "Resize": frozenset({1, 2, 3}),
    "Upsample": frozenset({1}), "Pad": frozenset({1, 2, 3}), "Dropout": frozenset({1, 2}),
    "OneHot": frozenset({1, 2}), "Pow": frozenset({1}), "QuantizeLinear": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}), "CastLike": frozenset({1}),
    "NonMaxSuppression": frozenset({2, 3, 4}), "Equal": None, "Greater": None, "Less": None,
    "GreaterOrEqual": None, "LessOrEqual": None, "Not": None, "IsNaN": None, "IsInf": None,
    "Quant": frozenset({1, 2, 3}), "BipolarQuant": frozenset({1}),
    "DynamicQuantizeLinear": None, "QLinearConv": frozenset({1, 4, 6}),
    "QLinearMatMul": frozenset({1, 4, 6}), "QGemm": frozenset({1, 4, 7}),
    "DynamicQuantizeMatMul": frozenset({2}), "MatMulIntegerToFloat": frozenset({2, 3}),
    "QMoE": frozenset({3, 6, 9, *range(11, 21)}),
    "MatMulNBits": frozenset({2, 3, 4}), "GatherBlockQuantized": frozenset({2, 3}),
    "QAttention": frozenset({3, 4, 6, 7}), "DynamicQuantizeLSTM": frozenset({8, 9, 10, 11}),
    "QEmbedLayerNormalization": frozenset(range(8, 18)), "QLinearAdd": frozenset({1, 4, 6}),
    "QLinearMul": frozenset({1, 4, 6}), "QLinearSigmoid": frozenset({1, 3}),
    "QLinearLeakyRelu": frozenset({1, 3}), "QLinearGlobalAveragePool": frozenset({1, 3}),
    "QLinearAveragePool": frozenset({1, 3}), "QLinearConcat": None, "QLinearSoftmax": None,
}  # fmt: skip
"""Operators -> inputs that are settings rather than weights; None for all inputs."""


def role_of(use: Use, rank: int | None, sizes: tuple[int, ...]) -> Role | None:
    """The role of a constant at this input, or None where it is a setting and no weight.

    Args:
        use: the input.
        rank: number of axes of the value there, or None where it cannot be followed.
        sizes: sizes of the stored tensor.
    """
    operator = use.node.op_type
    if not sizes:
        return None
    if use.node.domain in STANDARD_DOMAINS:
        rule = _RULES.get(operator, {}).get(use.index)
        if rule is not None:
            return rule(use, rank)
    if operator in _SETTINGS:
        inputs = _SETTINGS[operator]
        if inputs is None or use.index in inputs:
            return None
    long_axes = sum(s > 1 for s in sizes)
    if not long_axes:
        return None
    vector = operator in ("Add", "Sub") and long_axes == 1
    return _BIAS if vector else OTHER


def describe(node: NodeProto, index: int) -> str:
    """A consumer as "operator:node:input index"."""
    return f"{node.op_type}:{node.name}:{index}"
