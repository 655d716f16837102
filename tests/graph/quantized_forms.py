"""Small models with quantized weights in every form, and what onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .handmade import make, node, run_path, tensor, values

OUT, INNER = 6, 70
MICROSOFT = "com.microsoft"
Effective = Callable[[Path], NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """A model with one quantized layer `q`.

    Attributes:
        model: from `x` to `y`.
        shape: canonical shape of the layer.
        effective: the weights that onnxruntime uses for a file, canonical: answers to one-hot
            inputs, or those of a float operator that has the weights which the network tells.
        role: of the layer.
        tolerance: largest difference, relative to the largest weight; sums are rounded.
    """

    model: onnx.ModelProto
    shape: tuple[int, ...]
    effective: Effective
    role: str = "kernel"
    tolerance: float = 1e-5


def integers(dtype: Any, *shape: int, seed: int = 3, within: int | None = None) -> NDArray[Any]:
    """Integers over the range of a type, or so near to the middle of it."""
    info, rng = ml_dtypes.iinfo(dtype), np.random.Generator(np.random.PCG64(seed))
    low, high = int(info.min), int(info.max) + 1
    if within is not None:
        middle = (low + high) // 2
        low, high = middle - within, middle + within + 1
    return rng.integers(low, high, shape).astype(dtype)


def scales(*shape: int, dtype: Any = np.float32, seed: int = 4) -> NDArray[Any]:
    """Positive scales."""
    return (np.random.Generator(np.random.PCG64(seed)).random(shape) * 0.05 + 0.01).astype(dtype)


def identity(size: int = INNER, dtype: Any = np.float32) -> Effective:
    """Of a product: the identity goes in, so the weights that are used come out."""
    eye = np.eye(size, dtype=dtype)
    return lambda path: np.asarray(run_path(path, {"x": eye})[0], np.float32).T


def rows(count: int, axis: int = 0) -> Effective:
    """Of a lookup: every index goes in."""
    indices = np.arange(count, dtype=np.float32)
    return lambda path: np.asarray(run_path(path, {"x": indices})[0], np.float32)


def feed_of(form: Form) -> dict[str, NDArray[Any]]:
    """Small whole numbers for the input, which are indices too."""
    (wanted,) = form.model.graph.input
    kind = helper.tensor_dtype_to_np_dtype(wanted.type.tensor_type.elem_type)
    sizes = tuple(d.dim_value or 3 for d in wanted.type.tensor_type.shape.dim)
    return {wanted.name: np.arange(np.prod(sizes)).reshape(sizes).astype(kind) % 5}


def with_tensors(model: onnx.ModelProto, **arrays: NDArray[Any] | None) -> onnx.ModelProto:
    """The model with these initializers, of any type, too."""
    given = {name: array for name, array in arrays.items() if array is not None}
    model.graph.initializer.extend(tensor(a, n) for n, a in given.items())
    return model


def linear(
    dtype: Any, scale: NDArray[Any], zero: NDArray[Any] | None, *, transposed: bool,
    out: int = OUT, **attrs: int,
) -> Form:  # fmt: skip
    """DequantizeLinear before a MatMul, whose weights are stored (in, out) or (out, in)."""
    shape = (out, INNER) if transposed else (INNER, out)
    inputs = ["q", "s"] + (["z"] if zero is not None else [])
    nodes = [node("DequantizeLinear", inputs, ["d"], **attrs)]
    nodes += [node("Cast", ["d"], ["f"], to=TensorProto.FLOAT)]
    nodes += [node("Transpose", ["f"], ["t"])] if transposed else []
    nodes += [node("MatMul", ["x", "t" if transposed else "f"], ["y"])]
    zeros = None if zero is None else zero.astype(dtype)
    made = make(nodes, {}, (INNER, INNER), opset=23)
    model = with_tensors(made, q=integers(dtype, *shape), s=scale, z=zeros)
    return Form(model, (out, INNER), identity())


def small_floats(dtype: Any) -> Form:
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    model = make(nodes, {"s": np.array(0.5, np.float32)}, (INNER, INNER))
    return Form(with_tensors(model, q=values(INNER, OUT).astype(dtype)), (OUT, INNER), identity())


def transposed_before() -> Form:
    nodes = [
        node("Transpose", ["q"], ["t"]),
        node("DequantizeLinear", ["t", "s"], ["d"], axis=0, block_size=14),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    arrays = {"q": integers(np.int8, OUT, INNER), "s": scales(5, OUT)}
    return Form(make(nodes, arrays, (INNER, INNER)), (OUT, INNER), identity())


def nbits(
    bits: int, block: int, zero: str = "none", *, groups: bool = False, dtype: Any = np.float32,
    out: int = OUT, inner: int = INNER, flat: bool = False,
) -> Form:  # fmt: skip
    """MatMulNBits; zero points "none", "packed" or "float"; scales as a vector if `flat`."""
    count = -(-inner // block)
    zeros: NDArray[Any] | None = None
    if zero == "packed":
        zeros = integers(np.uint8, out, -(-count * bits // 8), seed=5)
    elif zero == "float":
        zeros = (scales(out, count, seed=6) * 20 * 2**bits).astype(dtype)
    names = ["x", "q", "s", "z" if zeros is not None else "", "g" if groups else ""]
    operator = node(
        "MatMulNBits", names, ["y"], domain=MICROSOFT, K=inner, N=out, bits=bits, block_size=block
    )
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    found = scales(out, count, dtype=dtype)
    order = np.random.Generator(np.random.PCG64(7)).integers(0, count, inner).astype(np.int32)
    model = with_tensors(
        make([operator], {}, ("n", inner), dtype=number),
        q=integers(np.uint8, out, count, block * bits // 8), s=found.reshape(-1) if flat else found,
        z=zeros, g=order if groups else None,
    )  # fmt: skip
    tolerance = 1e-5 if dtype is np.float32 else 2e-3
    return Form(model, (out, inner), identity(inner, dtype), tolerance=tolerance)


def gather(
    dtype: Any, shape: tuple[int, ...], *, quantize: int = 1, gather_axis: int = 0, block: int = 16,
    bits: int = 4, zero: bool = False, scale_type: Any = np.float32,
) -> Form:  # fmt: skip
    """GatherBlockQuantized; bytes hold numbers of so many bits along the last axis."""
    packed = dtype is np.uint8 and bits < 8
    small = np.dtype(dtype).name.startswith("float")
    width = -(-shape[-1] * bits // 8) if packed else shape[-1]
    numbers = values(*shape).astype(dtype) if small else integers(dtype, *shape[:-1], width)
    counts = [-(-n // block) if k == quantize % len(shape) else n for k, n in enumerate(shape)]
    last = -(-counts[-1] * bits // 8) if packed else counts[-1]
    names = ["q", "i", "s"] + (["z"] if zero else [])
    operator = node(
        "GatherBlockQuantized", names, ["y"], domain=MICROSOFT, block_size=block, bits=bits,
        quantize_axis=quantize, gather_axis=gather_axis,
    )  # fmt: skip
    number = helper.np_dtype_to_tensor_dtype(np.dtype(scale_type))
    nodes = [node("Cast", ["x"], ["i"], to=TensorProto.INT64), operator]
    model = with_tensors(
        make(nodes, {}, ("n",), out_dtype=number), q=numbers, s=scales(*counts, dtype=scale_type),
        z=integers(dtype, *counts[:-1], last, seed=5) if zero else None,
    )  # fmt: skip
    role = "embedding" if len(shape) == 2 and gather_axis == 0 else "other"
    return Form(model, shape, rows(shape[gather_axis]), role, 0.0)


_POWERS = np.array([1, 2, 4, 8, 2, 1], np.float32)
"""Scales of channels with which products of integers stay integers."""


def _quantized_product(
    operator: str, dtype: Any, *, several: bool, feed: Sequence[Any], q: NDArray[Any],
    names: Sequence[str], **attrs: int,
) -> onnx.ModelProto:  # fmt: skip
    """x -> uint8 -> an operator of integers -> uint8 -> y, without rounding anywhere."""
    middle = 0 if np.dtype(dtype).kind == "i" else 128
    domain = MICROSOFT if operator == "QGemm" else ""
    nodes = [
        node("QuantizeLinear", ["x", "one", "xz"], ["xq"]),
        node(operator, names, ["yq"], domain=domain, **attrs),
        node("DequantizeLinear", ["yq", "one", "yz"], ["y"]),
    ]
    arrays = {
        "one": np.array(1, np.float32),
        "xz": np.array(3, np.uint8),
        "yz": np.array(128, np.uint8),
        "q": q,
        "s": _POWERS if several else np.array(2, np.float32),
        "z": np.full(OUT if several else (), middle, dtype),
    }
    return make(nodes, arrays, feed)


def qlinear_conv(dtype: Any, *, several: bool) -> Form:
    names = ["xq", "one", "xz", "q", "s", "z", "one", "yz"]
    q = integers(dtype, OUT, 3, 2, 2, within=15)
    feed = ("n", 3, 2, 2)
    model = _quantized_product("QLinearConv", dtype, several=several, feed=feed, q=q, names=names)
    eye = np.eye(12, dtype=np.float32).reshape(12, 3, 2, 2)

    def effective(path: Path) -> NDArray[Any]:
        return run_path(path, {"x": eye})[0].reshape(12, OUT).T.reshape(OUT, 3, 2, 2)

    return Form(model, (OUT, 3, 2, 2), effective, tolerance=0.0)


def qlinear_matmul(dtype: Any, *, several: bool) -> Form:
    names = ["xq", "one", "xz", "q", "s", "z", "one", "yz"]
    q = integers(dtype, INNER, OUT, within=15)
    model = _quantized_product(
        "QLinearMatMul", dtype, several=several, feed=("n", INNER), q=q, names=names
    )
    return Form(model, (OUT, INNER), identity(), tolerance=0.0)


def qgemm(dtype: Any, *, several: bool, transposed: int) -> Form:
    names = ["xq", "one", "xz", "q", "s", "z", "", "one", "yz"]
    q = integers(dtype, *((OUT, INNER) if transposed else (INNER, OUT)), within=15)
    model = _quantized_product(
        "QGemm", dtype, several=several, feed=("n", INNER), q=q, names=names, transB=transposed
    )
    return Form(model, (OUT, INNER), identity(), tolerance=0.0)


def matmul_integer(dtype: Any, *, several: bool) -> Form:
    """MatMulInteger -> Cast -> Mul(., Mul(x scale, w scale)), as the dynamic quantizer writes."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("MatMulInteger", ["xq", "q", "xz", "z"], ["p"]),
        node("Cast", ["p"], ["f"], to=1),
        node("Mul", ["xs", "s"], ["both"]),
        node("Mul", ["f", "both"], ["y"]),
    ]
    return Form(_integer_product(nodes, dtype, several=several), (OUT, INNER), identity())


def _integer_product(nodes: Sequence[Any], dtype: Any, *, several: bool) -> onnx.ModelProto:
    arrays = {
        "q": integers(dtype, INNER, OUT),
        "z": integers(dtype, *((OUT,) if several else ()), seed=5, within=20),
        "s": scales(*((OUT,) if several else ())),
    }
    return make(nodes, arrays, (INNER, INNER))


def conv_integer(dtype: Any) -> Form:
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("ConvInteger", ["xq", "q", "xz", "z"], ["p"]),
        node("Cast", ["p"], ["f"], to=1),
        node("Mul", ["xs", "s"], ["both"]),
        node("Mul", ["f", "both"], ["y"]),
    ]
    zero = np.array(0 if np.dtype(dtype).kind == "i" else 131, dtype)
    arrays = {"q": integers(dtype, OUT, 3, 2, 2), "z": zero, "s": scales()}
    eye = np.eye(12, dtype=np.float32).reshape(12, 3, 2, 2)

    def effective(path: Path) -> NDArray[Any]:
        return run_path(path, {"x": eye})[0].reshape(12, OUT).T.reshape(OUT, 3, 2, 2)

    return Form(make(nodes, arrays, ("n", 3, 2, 2)), (OUT, 3, 2, 2), effective)


def dynamic_matmul(dtype: Any, *, several: bool) -> Form:
    nodes = [node("DynamicQuantizeMatMul", ["x", "q", "s", "z"], ["y"], domain=MICROSOFT)]
    return Form(_integer_product(nodes, dtype, several=several), (OUT, INNER), identity())


def integer_to_float(dtype: Any, *, several: bool) -> Form:
    names = ["xq", "q", "xs", "s", "xz", "z"]
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("MatMulIntegerToFloat", names, ["y"], domain=MICROSOFT),
    ]
    return Form(_integer_product(nodes, dtype, several=several), (OUT, INNER), identity())


HEADS, HIDDEN, SEQUENCE = 2, 8, 5


def qattention(dtype: Any, *, several: bool) -> Form:
    """Compared with Attention that has the weights which the network tells."""
    feed = (1, SEQUENCE, HIDDEN)
    names = ["xq", "q", "bias", "xs", "s", "", "xz", "z"]
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("QAttention", names, ["y"], domain=MICROSOFT, num_heads=HEADS),
    ]
    arrays = {
        "q": integers(dtype, HIDDEN, 3 * HIDDEN, within=60),  # sums of products saturate above
        "s": scales(*((3 * HIDDEN,) if several else ())) / 20,
        "z": np.full((3 * HIDDEN,) if several else (), 5, dtype),
        "xs": np.array(1 / 64, np.float32),
        "xz": np.array(128, np.uint8),
        "bias": np.zeros(3 * HIDDEN, np.float32),
    }

    def float_twin(weights: NDArray[Any]) -> onnx.ModelProto:
        attention = node("Attention", ["x", "w", "bias"], ["y"], domain=MICROSOFT, num_heads=HEADS)
        return make([attention], {"w": weights.T, "bias": arrays["bias"]}, feed)

    x = np.rint(values(*feed).clip(-1.9, 1.9) * 64) / np.float32(64)
    return Form(make(nodes, arrays, feed), (3 * HIDDEN, HIDDEN), _twin(float_twin, x))


def _twin(float_twin: Callable[[NDArray[Any]], onnx.ModelProto], x: NDArray[Any]) -> Effective:
    """The weights that the network tells, where a float operator answers the same with them."""
    from nnw_onnx.graph import open_network

    def effective(path: Path) -> NDArray[Any]:
        told = np.asarray(open_network(path).weights["q"])
        beside = path.with_name("twin.onnx")
        onnx.save(float_twin(told), beside)
        ours, theirs = run_path(beside, {"x": x})[0], run_path(path, {"x": x})[0]
        # Inner values are quantized on the way, to 8 bits.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.02 * np.abs(theirs).max())
        return told

    return effective


def dynamic_lstm(dtype: Any, *, several: bool, directions: int, which: str) -> Form:
    """DynamicQuantizeLSTM with its input (W) or recurrent (R) weights under test."""
    hidden, inner = 4, 7
    direction = "bidirectional" if directions == 2 else "forward"
    named = {"W": ("q", "r"), "R": ("w", "q")}[which]
    names = ["x", *named, "", "", "", "", "", "ws", "wz", "rs", "rz"]
    shape = {"W": (directions, inner, 4 * hidden), "R": (directions, hidden, 4 * hidden)}
    per = (directions, 4 * hidden) if several else (directions,)
    arrays = {
        named[0]: integers(dtype, *shape["W"], within=60),
        named[1]: integers(dtype, *shape["R"], within=60, seed=9),
        "ws": scales(*per) / 5,
        "rs": scales(*per, seed=8) / 5,
        "wz": np.full(per, 0 if np.dtype(dtype).kind == "i" else 128, dtype),
        "rz": np.full(per, 0 if np.dtype(dtype).kind == "i" else 128, dtype),
    }
    operator = node("DynamicQuantizeLSTM", names, ["y"], domain=MICROSOFT, hidden_size=hidden,
                    direction=direction)  # fmt: skip
    other = which == "R"

    def float_twin(weights: NDArray[Any]) -> onnx.ModelProto:
        spread = [arrays[n].reshape(directions, 1, -1).astype(np.float32) for n in
                  (("ws", "wz") if other else ("rs", "rz"))]  # fmt: skip
        kept = (arrays[named[1 - (which == "R")]] - spread[1]) * spread[0]
        mine = weights.transpose(2, 0, 1)
        pair = (kept.transpose(0, 2, 1), mine) if other else (mine, kept.transpose(0, 2, 1))
        twin = node("LSTM", ["x", "w", "r"], ["y"], hidden_size=hidden, direction=direction)
        return make([twin], {"w": pair[0], "r": pair[1]}, (3, 2, inner))

    x = values(3, 2, inner)
    canonical = (4 * hidden, {"W": inner, "R": hidden}[which], directions)
    model = make([operator], arrays, (3, 2, inner))
    return Form(model, canonical, _twin(float_twin, x), "recurrent")


EXPERTS, WIDTH = 3, 64


def experts(bits: int, block: int, *, zero: bool, second: bool = False) -> Form:
    """QMoE of one layer after another; one-hot tokens, each for one expert, and no activation.

    The layer under test is the first (else the second) of the experts; the other is the identity.
    """
    rng = np.random.Generator(np.random.PCG64(9))
    middle = 1 << (bits - 1)
    shape = (EXPERTS, WIDTH, WIDTH // block) if block else (EXPERTS, WIDTH)
    same = np.broadcast_to(np.eye(WIDTH, dtype=np.uint8) + middle, (EXPERTS, WIDTH, WIDTH))
    tested, other = (5, 2) if second else (2, 5)
    names = ["x", "p", *[""] * 11]
    names[tested], names[tested + 1], names[other], names[other + 1] = "q", "s", "e", "one"
    arrays = {
        "q": rng.integers(0, 256, (EXPERTS, WIDTH, WIDTH * bits // 8), np.uint8),
        "s": scales(*shape),
        "e": _packed(same, bits),
        "one": np.ones(shape, np.float32),
    }
    if zero:
        names[12 if second else 11] = "z"
        arrays["z"] = rng.integers(0, 256, (*shape[:-1], -(-shape[-1] * bits // 8)), np.uint8)
        names[11 if second else 12] = "middle"
        arrays["middle"] = _packed(np.full(shape, middle, np.uint8), bits)
    attributes = {"k": 1, "activation_type": "identity", "expert_weight_bits": bits}
    attributes |= {"block_size": block} if block else {}
    operator = node("QMoE", names, ["y"], domain=MICROSOFT, **attributes)
    cut = node("Slice", ["both", "n", "end", "axis"], ["p"])
    head = node("Slice", ["both", "zero", "n", "axis"], ["x"])
    model = make([head, cut, operator], arrays, ("t", WIDTH + EXPERTS))
    model.graph.input[0].name = "both"
    for name, value in (("n", WIDTH), ("end", WIDTH + EXPERTS), ("zero", 0), ("axis", 1)):
        model.graph.initializer.append(tensor(np.array([value], np.int64), name))

    def effective(path: Path) -> NDArray[Any]:
        tokens = np.tile(np.eye(WIDTH, dtype=np.float32), (EXPERTS, 1))
        to = np.repeat(50 * np.eye(EXPERTS, dtype=np.float32), WIDTH, axis=0)
        found = run_path(path, {"both": np.concatenate([tokens, to], axis=1)})[0]
        return found.reshape(EXPERTS, WIDTH, WIDTH).transpose(0, 2, 1)

    return Form(model, (EXPERTS, WIDTH, WIDTH), effective)


def _packed(numbers: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Numbers (..., n) as bytes, the first in the lowest bits; a last byte may be half empty."""
    each = 8 // bits
    spare = -numbers.shape[-1] % each
    padded = np.pad(numbers, [*[(0, 0)] * (numbers.ndim - 1), (0, spare)]).astype(np.uint8)
    parts = padded.reshape(*padded.shape[:-1], -1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray(np.bitwise_or.reduce(parts, axis=-1), np.uint8)


def quantized_embeddings() -> Form:
    """QEmbedLayerNormalization, compared with EmbedLayerNormalization."""
    vocabulary, hidden, feed = 11, 8, (1, SEQUENCE)
    names = ["ids", "", "q", "p", "", "g", "b", "", "s", "ps", "", "gs", "bs", "z", "z", "", "z",
             "z"]  # fmt: skip
    arrays = {
        "q": integers(np.uint8, vocabulary, hidden),
        "p": integers(np.uint8, SEQUENCE, hidden, seed=5),
        "g": integers(np.uint8, hidden, seed=6),
        "b": integers(np.uint8, hidden, seed=8),
        "z": np.array(7, np.uint8),
        **{name: scales(seed=k) for k, name in enumerate(("s", "ps", "gs", "bs"))},
    }
    cast = node("Cast", ["x"], ["ids"], to=TensorProto.INT32)
    operator = node("QEmbedLayerNormalization", names, ["y", "m"], domain=MICROSOFT)

    def float_twin(weights: NDArray[Any]) -> onnx.ModelProto:
        others = {
            name: (arrays[name].astype(np.float32) - 7) * arrays[scale]
            for name, scale in (("p", "ps"), ("g", "gs"), ("b", "bs"))
        }
        twin = node("EmbedLayerNormalization", ["ids", "", "w", "p", "", "g", "b"], ["y", "m"],
                    domain=MICROSOFT)  # fmt: skip
        return make([cast, twin], {"w": weights, **others}, feed)

    x = np.array([[3, 0, 10, 5, 7]], np.float32)
    model = make([cast, operator], arrays, feed)
    return Form(model, (vocabulary, hidden), _twin(float_twin, x), "embedding")


ZERO = np.array(3)
Factory = Callable[[], Form]
DEQUANTIZE_LINEAR: Mapping[str, Factory] = {
    "per tensor": lambda: linear(np.int8, scales(), ZERO, transposed=False),
    "uint8": lambda: linear(np.uint8, scales(), ZERO, transposed=False),
    "no zero point": lambda: linear(np.int8, scales(), None, transposed=False),
    "int16": lambda: linear(np.int16, scales(), ZERO, transposed=False),
    "uint16": lambda: linear(np.uint16, scales(), ZERO, transposed=False),
    "per column": lambda: linear(
        np.int8, scales(OUT), integers(np.int8, OUT, within=9), transposed=False, axis=1
    ),
    "per row": lambda: linear(
        np.int8, scales(OUT), integers(np.int8, OUT, within=9), transposed=True, axis=0
    ),
    "per input": lambda: linear(np.int8, scales(INNER), None, transposed=False, axis=0),
    "negative axis": lambda: linear(np.int8, scales(OUT), None, transposed=False, axis=-1),
    "half precision": lambda: linear(
        np.int8, scales(OUT, dtype=np.float16), ZERO.repeat(OUT), transposed=False, axis=1
    ),
    "half result": lambda: linear(np.uint8, scales(), ZERO, transposed=False, output_dtype=10),
    "int4": lambda: linear(ml_dtypes.int4, scales(), ZERO, transposed=False),
    "odd int4": lambda: linear(ml_dtypes.int4, scales(), ZERO, transposed=False, out=7),
    "uint4 half": lambda: linear(
        ml_dtypes.uint4, scales(dtype=np.float16), ZERO, transposed=True
    ),
    "blocks": lambda: linear(
        np.int8, scales(5, OUT), integers(np.int8, 5, OUT, within=9), transposed=False, axis=0,
        block_size=14,
    ),
    "uneven blocks": lambda: linear(
        np.int8, scales(5, OUT), None, transposed=False, axis=0, block_size=16
    ),
    "uint4 blocks": lambda: linear(
        ml_dtypes.uint4, scales(OUT, 5), integers(ml_dtypes.uint4, OUT, 5), transposed=True,
        axis=1, block_size=14,
    ),
    "float8": lambda: small_floats(ml_dtypes.float8_e4m3fn),
    "float8 e5m2": lambda: small_floats(ml_dtypes.float8_e5m2),
    "transposed before": transposed_before,
}  # fmt: skip
MATMUL_NBITS: Mapping[str, Factory] = {
    **{
        f"{bits} bits {block} {zero}": partial(nbits, bits, block, zero)
        for bits in (2, 4, 8)
        for block in (16, 32)
        for zero in ("none", "packed", "float")
        if (bits, zero) != (8, "float")  # onnxruntime refuses it
    },
    "groups": lambda: nbits(4, 16, groups=True),
    "groups and packed zeros": lambda: nbits(4, 16, "packed", groups=True),
    "groups and float zeros": lambda: nbits(4, 32, "float", groups=True),
    "half": lambda: nbits(4, 32, "packed", dtype=np.float16),
    "half float zeros": lambda: nbits(4, 16, "float", dtype=np.float16),
    "one block": lambda: nbits(4, 32, "packed", inner=20),
    "one weight a row": lambda: nbits(4, 16, "packed", out=1, inner=16),
    "vectors": lambda: nbits(4, 16, "packed", flat=True, out=5, inner=64),
}
GATHER: Mapping[str, Factory] = {
    "int4": lambda: gather(ml_dtypes.int4, (5, 64)),
    "int4 zeros": lambda: gather(ml_dtypes.int4, (5, 70), zero=True),
    "uint4": lambda: gather(ml_dtypes.uint4, (5, 64)),
    "uint4 zeros": lambda: gather(ml_dtypes.uint4, (5, 70), zero=True),
    "uint4 columns": lambda: gather(ml_dtypes.uint4, (40, 7), quantize=0, gather_axis=1),
    "bytes of 2": lambda: gather(np.uint8, (5, 64), bits=2),
    "bytes of 4": lambda: gather(np.uint8, (5, 72), bits=4),
    "bytes of 4 zeros": lambda: gather(np.uint8, (5, 72), bits=4, zero=True),
    "bytes of 8": lambda: gather(np.uint8, (5, 70), bits=8),
    "bytes of 8 zeros": lambda: gather(np.uint8, (5, 70), bits=8, zero=True),
    "half": lambda: gather(ml_dtypes.uint4, (5, 64), scale_type=np.float16),
    "float8": lambda: gather(ml_dtypes.float8_e4m3fn, (5, 64)),
    "float4": lambda: gather(ml_dtypes.float4_e2m1fn, (5, 64)),
}
_BY_NAME: Mapping[str, Callable[..., Form]] = {
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QGemm": partial(qgemm, transposed=0),
    "QGemm transB": partial(qgemm, transposed=1),
    "MatMulInteger": matmul_integer,
    "DynamicQuantizeMatMul": dynamic_matmul,
    "MatMulIntegerToFloat": integer_to_float,
}


def _both(name: str, made: Callable[..., Form], dtype: Any) -> Iterator[tuple[str, Factory]]:
    """With one scale, and with several."""
    yield f"{name} {dtype.__name__}", partial(made, dtype, several=False)
    yield f"{name} {dtype.__name__} several", partial(made, dtype, several=True)


EXPERT_LAYERS: Mapping[str, Factory] = {
    "4 bits": lambda: experts(4, 0, zero=False),
    "4 bits zeros": lambda: experts(4, 0, zero=True),
    "4 bits blocks": lambda: experts(4, 32, zero=False, second=True),
    "4 bits blocks zeros": lambda: experts(4, 32, zero=True, second=True),
    "2 bits blocks": lambda: experts(2, 16, zero=True),
    "8 bits": lambda: experts(8, 0, zero=True, second=True),
}
INTEGER_OPERATORS: Mapping[str, Factory] = {
    **dict(
        pair
        for name, made in _BY_NAME.items()
        for dtype in (np.int8, np.uint8)
        for pair in _both(name, made, dtype)
    ),
    "ConvInteger int8": lambda: conv_integer(np.int8),
    "ConvInteger uint8": lambda: conv_integer(np.uint8),
}
TWINS: Mapping[str, Factory] = {
    **dict(_both("QAttention", qattention, np.int8)),
    **dict(_both("QAttention", qattention, np.uint8)),
    **dict(
        pair
        for which in "WR"
        for n in (1, 2)
        for pair in _both(
            f"DynamicQuantizeLSTM {which}{n}",
            partial(dynamic_lstm, directions=n, which=which),
            np.int8,
        )
    ),
    "QEmbedLayerNormalization": quantized_embeddings,
}
"""Compared with a float operator, because no input lets their weights out."""
