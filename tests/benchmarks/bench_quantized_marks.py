"""64 bits in quantized weights: what the grid does to them, and they to the answers; a program.

Injects into every quantized network of the given folders, and into a small network in each form
that onnxruntime's quantizers write, saves, decodes the file, and prints a line for each method.
As ratios: what a mark changes of the answers, over what quantizing the weights changed.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from ratios import Ratio, full

import nnw_onnx as nnw
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session, SessionSettings

METHODS = ("uchida", "block-spread", "levels", "emmark", "presence", "fragile")
PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")
_FORMS = (
    "dynamic int8",
    "static QDQ int8 per channel",
    "static QDQ int4 per channel",
    "matmul 4 bits",
)
CHANNELS, CLASSES = 32, 10
PLAIN = SessionSettings(optimization="basic")


def small_network(folder: Path) -> Path:
    """Two convolutions and two matrices with weights of heavy tails, as trained ones have."""
    rng = np.random.Generator(np.random.PCG64(0))

    def drawn(*shape: int) -> Any:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        return (rng.standard_t(6, shape) * spread / np.sqrt(1.5)).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "conv1"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "conv2"], ["c"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "dense1"], ["g"]),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("MatMul", ["h", "dense2"], ["y"]),
    ]
    weights = {
        "conv1": drawn(CHANNELS, 3, 3, 3),
        "conv2": drawn(4 * CHANNELS, CHANNELS, 3, 3),
        "dense1": drawn(256, 4 * CHANNELS).T,
        "dense2": drawn(CLASSES, 256).T,
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", 1, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", 1, ["n", CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(w), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")
    return folder / "float.onnx"


def variants(source: Path) -> Iterator[tuple[str, Path]]:
    """The network in each form that onnxruntime's quantizers write."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            rng = np.random.Generator(np.random.PCG64(1))
            self.left = [rng.standard_normal((8, 3, 16, 16)).astype(np.float32) for _ in range(4)]

        def get_next(self) -> Any:
            return {"x": self.left.pop()} if self.left else None

    def target(name: str) -> Path:
        return source.with_name(f"{name.replace(' ', '-')}.onnx")

    for kind in ("QInt8", "QUInt8"):
        name = f"dynamic {kind[1:].lower()}"
        q.quantize_dynamic(source, target(name), weight_type=q.QuantType[kind])
        yield name, target(name)
    for form, kind, several in (
        ("QDQ", "QInt8", False), ("QDQ", "QInt8", True), ("QDQ", "QInt4", True),
        ("QOperator", "QInt8", False), ("QOperator", "QInt8", True),
    ):  # fmt: skip
        name = f"static {form} {kind[1:].lower()}{' per channel' if several else ''}"
        q.quantize_static(
            source, target(name), Reader(), quant_format=q.QuantFormat[form], per_channel=several,
            weight_type=q.QuantType[kind], activation_type=q.QuantType.QUInt8,
        )  # fmt: skip
        yield name, target(name)
    for bits in (2, 4, 8):
        name = f"matmul {bits} bits"
        config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, bits=bits)
        made = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
        made.process()
        # Only its matrices are quantized, so the float kernels are left out of the choice.
        onnx.save(made.model.model, target(name))
        yield name, target(name)


def quantized(network: OnnxNetwork) -> list[nnw.Layer]:
    """Its quantized kernels, the largest first."""
    found = [x for x in network.layers if x.role == "kernel" and x.quantization is not None]
    return sorted(found, key=lambda layer: layer.size, reverse=True)


def answers(path: Path) -> Any:
    """Outputs for normal inputs, or None where it does not run."""
    network = nnw.open(path)
    rng = np.random.Generator(np.random.PCG64(2))
    feeds = {}
    for value in network.inputs:
        sizes = [n if isinstance(n, int) and n > 0 else 1 for n in value.shape]
        feeds[value.name] = rng.standard_normal(sizes).astype(value.dtype)
    try:
        return Session(network.runnable(), PLAIN).run(feeds)[0].astype(np.float64)
    except nnw.NnwError:
        return None


def one(name: str, path: Path, method: str, folder: Path) -> str:
    """The line of one method in one network."""
    network = nnw.open(path)
    payload = nnw.Payload() if method in ("presence", "fragile") else PAYLOAD
    reason = ""
    for layer in quantized(network):
        try:
            made = nnw.inject(network, payload, method=method, layer=layer.name, seed=1)
        except nnw.NnwError as error:
            reason = reason or str(error)
            continue
        made.network.save(folder / "marked.onnx")
        return _line(name, network, made, layer, method, folder / "marked.onnx", path)
    return f"{name:32} {method:13} no room: {reason}"


def _line(
    name: str, network: OnnxNetwork, made: nnw.Injection, layer: nnw.Layer, method: str,
    marked: Path, path: Path,
) -> str:  # fmt: skip
    found = nnw.detect(marked, made.claim)
    wrong = ""
    symbols = made.claim.payload
    if symbols:
        errors = symbols.errors(nnw.decode(marked, made.key).payload)
        wrong = f"{errors} of {len(symbols)} symbols wrong"
    moved = np.count_nonzero(made.network.weights[layer.name] != network.weights[layer.name])
    before, after = answers(path), answers(marked)
    effect = "does not run"
    if before is not None and after is not None:
        effect = f"answers change by {np.linalg.norm(after - before) / np.linalg.norm(before):.1%}"
    drawn = "drawn" if any("at random" in note for note in made.key.notes) else "nearest"
    verdict = "yes" if found else "NO"
    return (
        f"{name:32} {method:13} {network.grid(layer.name)}, {layer.name[:28]} {layer.shape}: "
        f"{wrong or 'mark'}, {verdict}, {drawn}, rounding {made.network.rounding[layer.name]:.0%}, "
        f"{moved / layer.size:.0%} of the codes moved, change {made.change:.3f}, {effect}"
    )


def ratios() -> Iterator[Ratio]:
    """The small network in each form; without `--full` two methods in four forms."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        source = small_network(Path(name))
        exact, cases = answers(source), dict(variants(source))
        for form in cases if full() else _FORMS:
            plain = answers(cases[form])
            for method in METHODS[:4] if full() else METHODS[:2]:
                marked = _marked(cases[form], method, Path(name))
                if marked is not None and plain is not None:
                    moved, before = (_apart(x, plain) for x in (answers(marked), exact))
                    yield Ratio(f"{method} in {form}", moved, "quantizing", before, "share")


def _marked(path: Path, method: str, folder: Path) -> Path | None:
    """The network with a mark in its largest quantized layer, or None where there is no room."""
    network = nnw.open(path)
    try:
        made = nnw.inject(network, PAYLOAD, method=method, layer=quantized(network)[0].name, seed=1)
    except nnw.NnwError:
        return None
    made.network.save(folder / "marked.onnx")
    return folder / "marked.onnx"


def _apart(one: Any, other: Any) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def main() -> None:
    """Print the table."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = list(variants(small_network(folder)))
        for root in map(Path, sys.argv[1:]):
            cases += [(str(p.relative_to(root)), p) for p in sorted(root.rglob("*.onnx"))]
        for label, path in cases:
            try:
                if not quantized(nnw.open(path)):
                    continue
            except nnw.NnwError:
                continue
            for method in METHODS:
                print(one(label, path, method, folder), flush=True)


if __name__ == "__main__":
    main()
