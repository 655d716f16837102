"""Models of any size, written without ever holding more than one of their tensors.

`products` is a sum of products with large kernels; `language_model` has the shape of what the model
builder of onnxruntime-genai writes for a decoder with int4 weights: MatMulNBits with packed bytes,
scales and zero points, GroupQueryAttention with rotary caches, SimplifiedLayerNormalization and
SkipSimplifiedLayerNormalization, and everything large in one data file beside the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

MICROSOFT = "com.microsoft"
_AT = 4096
Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]


@dataclass
class Writer:
    """Nodes and tensors of a graph; values go to the data file as they come."""

    path: Path
    seed: int = 0
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    end: int = 0

    @property
    def data(self) -> Path:
        """The data file."""
        return self.path.with_name(f"{self.path.name}.data")

    def tensor(
        self, name: str, dtype: type[np.generic], dims: tuple[int, ...], draw: Draw | None
    ) -> str:
        """A tensor of the data file, drawn from the seed and its number; None makes a hole."""
        rng = np.random.Generator(np.random.PCG64([self.seed, len(self.tensors)]))
        size = int(np.prod(dims)) * np.dtype(dtype).itemsize
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        proto = TensorProto(name=name, data_type=kind, dims=dims)
        proto.data_location = TensorProto.EXTERNAL
        offset = -(-self.end // _AT) * _AT
        for key, value in (
            ("location", self.data.name), ("offset", offset), ("length", size),
        ):  # fmt: skip
            proto.external_data.add(key=key, value=str(value))
        with self.data.open("ab") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            if draw is None:
                stream.truncate(offset + size)
            else:
                stream.write(np.ascontiguousarray(draw(rng, dims), dtype).data)
        self.end = offset + size
        self.tensors.append(proto)
        return name

    def node(self, operator: str, inputs: list[str], outputs: list[str], **how: Any) -> str:
        """A node; returns its first output."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, outputs[0], **how))
        return outputs[0]

    def save(self, inputs: list[Any], outputs: list[Any]) -> Path:
        """Write the graph."""
        graph = helper.make_graph(self.nodes, "large", inputs, outputs, self.tensors)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        self.path.write_bytes(model.SerializeToString())
        return self.path


def _normal(rng: np.random.Generator, dims: tuple[int, ...]) -> Any:
    values = rng.standard_normal(dims, np.float32)
    values *= np.float32(dims[0] ** -0.5)
    return values


def products(path: Path, kernels: int, width: int, seed: int = 0, holes: int = 0) -> Path:
    """So many products with square float32 kernels: `4 * width ** 2` bytes each.

    The first of them may be holes in the data file: zeros, which take no time to write.
    """
    writer = Writer(path, seed)
    parts = []
    for k in range(kernels):
        draw = None if k < holes else _normal
        weight = writer.tensor(f"w{k}", np.float32, (width, width), draw)
        value = writer.node("MatMul", ["x", weight], [f"y{k}"])
        parts.append(writer.node("Tanh", [value], [f"t{k}"]))
    writer.node("Sum", parts, ["y"])
    info = helper.make_tensor_value_info
    return writer.save(
        [info("x", TensorProto.FLOAT, ["n", width])], [info("y", TensorProto.FLOAT, ["n", width])]
    )


@dataclass(frozen=True)
class Decoder:
    """Sizes of a language model."""

    layers: int = 2
    hidden: int = 64
    inner: int = 128
    heads: int = 4
    groups: int = 2
    words: int = 96
    context: int = 32
    block: int = 32
    zeros: bool = True

    @property
    def head(self) -> int:
        """Numbers of one head."""
        return self.hidden // self.heads

    @property
    def weights(self) -> int:
        """Numbers of int4."""
        attention = self.hidden * self.hidden * 2 + 2 * self.hidden * self.groups * self.head
        return self.layers * (attention + 3 * self.hidden * self.inner) + self.hidden * self.words


def language_model(path: Path, of: Decoder, seed: int = 0) -> Path:
    """A decoder with int4 weights, key and value caches, and logits over its words."""
    writer, info = Writer(path, seed), helper.make_tensor_value_info
    embedding = writer.tensor(
        "model.embed_tokens.weight", np.float32, (of.words, of.hidden), _normal
    )
    value = writer.node("Gather", [embedding, "input_ids"], ["/embed"])
    lengths, total = _lengths(writer)
    for name in ("cos_cache", "sin_cache"):
        wave = np.cos if name == "cos_cache" else np.sin
        writer.tensor(
            name, np.float32, (of.context, of.head // 2), lambda _, d, w=wave: w(_angles(*d))
        )
    skip = ""
    for k in range(of.layers):
        value, skip = _block(writer, of, k, value, skip, [lengths, total, "cos_cache", "sin_cache"])
    value, _ = _norm(writer, of, "/final_norm", value, skip)
    _product(writer, of, "lm_head", value, of.words, of.hidden, "logits")
    cache = ["n", of.groups, "p", of.head]
    inputs = [
        info(n, TensorProto.INT64, ["n", s])
        for n, s in (("input_ids", "s"), ("attention_mask", "t"))
    ]
    outputs = [info("logits", TensorProto.FLOAT, ["n", "s", of.words])]
    for k in range(of.layers):
        for kind in ("key", "value"):
            inputs.append(info(f"past_key_values.{k}.{kind}", TensorProto.FLOAT, cache))
            outputs.append(
                info(f"present.{k}.{kind}", TensorProto.FLOAT, [*cache[:2], "t", of.head])
            )
    return writer.save(inputs, outputs)


def feeds(of: Decoder, tokens: Any) -> dict[str, Any]:
    """What a model without a past is fed."""
    ids = np.asarray(tokens, np.int64)
    empty = np.zeros((len(ids), of.groups, 0, of.head), np.float32)
    past = {
        f"past_key_values.{k}.{kind}": empty for k in range(of.layers) for kind in ("key", "value")
    }
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), **past}


def _angles(context: int, half: int) -> Any:
    return np.outer(np.arange(context), 10000.0 ** (-np.arange(half) / half))


def _lengths(writer: Writer) -> tuple[str, str]:
    """Lengths of the samples and of the longest, from the mask."""
    one, axis = (
        onnx.numpy_helper.from_array(np.array([1], np.int64), "one"),
        onnx.numpy_helper.from_array(np.array(1, np.int64), "axis"),
    )
    writer.tensors += [one, axis]
    summed = writer.node("ReduceSum", ["attention_mask", "one"], ["/sum"])
    short = writer.node("Sub", [summed, "one"], ["/sub"])
    lengths = writer.node("Cast", [short], ["/seqlens_k"], to=TensorProto.INT32)
    shape = writer.node("Shape", ["attention_mask"], ["/shape"])
    longest = writer.node("Gather", [shape, "axis"], ["/gather"])
    return lengths, writer.node("Cast", [longest], ["/total"], to=TensorProto.INT32)


def _block(
    writer: Writer, of: Decoder, k: int, value: str, skip: str, rest: list[str]
) -> tuple[str, str]:
    at = f"model.layers.{k}"
    normed, skip = _norm(writer, of, f"{at}.input_layernorm", value, skip)
    kept = of.groups * of.head
    parts = [
        _product(writer, of, f"{at}.attn.{n}_proj", normed, size, of.hidden)
        for n, size in (("q", of.hidden), ("k", kept), ("v", kept))
    ]
    past = [f"past_key_values.{k}.key", f"past_key_values.{k}.value"]
    attended = writer.node(
        "GroupQueryAttention", [*parts, *past, *rest],
        [f"{at}.attn", f"present.{k}.key", f"present.{k}.value"], domain=MICROSOFT,
        num_heads=of.heads, kv_num_heads=of.groups, do_rotary=1, rotary_interleaved=0,
        scale=of.head**-0.5,
    )  # fmt: skip
    value = _product(writer, of, f"{at}.attn.o_proj", attended, of.hidden, of.hidden)
    normed, skip = _norm(writer, of, f"{at}.post_attention_layernorm", value, skip)
    gate = _product(writer, of, f"{at}.mlp.gate_proj", normed, of.inner, of.hidden)
    up = _product(writer, of, f"{at}.mlp.up_proj", normed, of.inner, of.hidden)
    open_ = writer.node("Sigmoid", [gate], [f"{at}.mlp.sigmoid"])
    active = writer.node("Mul", [gate, open_], [f"{at}.mlp.silu"])
    both = writer.node("Mul", [active, up], [f"{at}.mlp.mul"])
    return _product(writer, of, f"{at}.mlp.down_proj", both, of.hidden, of.inner), skip


def _norm(writer: Writer, of: Decoder, name: str, value: str, skip: str) -> tuple[str, str]:
    """The normalised sum of value and skip, and that sum."""
    scale = writer.tensor(f"{name}.weight", np.float32, (of.hidden,), lambda _, d: np.ones(d))
    if not skip:
        made = writer.node(
            "SimplifiedLayerNormalization", [value, scale], [f"{name}.out"], axis=-1, epsilon=1e-5,
            stash_type=1,
        )  # fmt: skip
        return made, value
    made = writer.node(
        "SkipSimplifiedLayerNormalization", [skip, value, scale],
        [f"{name}.out", "", "", f"{name}.sum"], domain=MICROSOFT, epsilon=1e-5,
    )  # fmt: skip
    return made, f"{name}.sum"


def _product(
    writer: Writer, of: Decoder, name: str, value: str, rows: int, columns: int, out: str = ""
) -> str:
    """MatMulNBits with weights about as large as those of a trained network."""
    blocks = -(-columns // of.block)
    packed, scaled = (rows, blocks, of.block // 2), (rows * blocks,)
    size = np.float32(columns**-0.5 / 4)
    weight = writer.tensor(f"{name}.weight_Q4", np.uint8, packed, _codes)
    scale = writer.tensor(
        f"{name}.weight_scales", np.float32, scaled,
        lambda rng, d: size * (0.5 + rng.random(d, np.float32)),
    )  # fmt: skip
    inputs = [value, weight, scale]
    if of.zeros:
        zero = (rows * -(-blocks // 2),)
        inputs.append(
            writer.tensor(f"{name}.weight_zp", np.uint8, zero, lambda _, d: np.full(d, 0x88))
        )
    return writer.node(
        "MatMulNBits", inputs, [out or f"{name}.out"], domain=MICROSOFT, K=columns, N=rows, bits=4,
        block_size=of.block, accuracy_level=4,
    )  # fmt: skip


def _codes(rng: np.random.Generator, dims: tuple[int, ...]) -> Any:
    """Pairs of numbers of 4 bits, bell-shaped about the middle: twice the bits of a byte."""
    drawn = np.frombuffer(rng.bytes(2 * int(np.prod(dims))), np.uint8).reshape(2, *dims)
    table = np.array([min(15, max(0, 2 * k.bit_count())) for k in range(256)], np.uint8)
    return table[drawn[0]] | table[drawn[1]] << 4
