"""Graphs with operators, names, attributes and tensors exchanged at random, against onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.vocabulary import Layer

from .arithmetic_models import MADE
from .handmade import options
from .test_liveness import CUTS

OPERATORS = (
    "Mul", "Add", "Sub", "Div", "MatMul", "Transpose", "Reshape", "Slice", "Concat", "Gather",
    "ReduceSum", "ReduceL2", "Expand", "Split", "Clip", "Where", "Pow", "Cast", "Sign", "Squeeze",
    "Unsqueeze", "Flatten", "Tile", "Pad", "ConstantOfShape", "Shape", "Gemm", "Einsum", "Min",
    "DequantizeLinear", "QuantizeLinear", "LpNormalization", "Max",
)  # fmt: skip
MUTANTS = 400


def _mutant(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for _ in range(rng.integers(1, 4)):
        node = graph.node[rng.integers(len(graph.node))]
        names = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output]
        other = [*names, "x", ""][rng.integers(len(names) + 2)]
        kind = rng.integers(5)
        if kind == 0 and node.input:
            node.input[rng.integers(len(node.input))] = other
        elif kind == 1:
            node.op_type = OPERATORS[rng.integers(len(OPERATORS))]
        elif kind == 2:
            node.input.append(other)
        elif kind == 3 and node.attribute:
            node.attribute[rng.integers(len(node.attribute))].i = int(rng.integers(-3, 9))
        elif kind == 4 and graph.initializer:
            tensor = graph.initializer[rng.integers(len(graph.initializer))]
            array = onnx.numpy_helper.to_array(tensor)
            new = (array.reshape(-1), np.zeros_like(array), array[..., None])[rng.integers(3)]
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(new), tensor.name))
    return copy


def _mutants(seed: int) -> Iterator[onnx.ModelProto]:
    rng = np.random.Generator(np.random.PCG64(seed))
    models = [*(make().model for make in MADE.values()), *(make() for make in CUTS.values())]
    for _ in range(MUTANTS):
        yield _mutant(models[rng.integers(len(models))], rng)


def _session(model: onnx.ModelProto) -> ort.InferenceSession | None:
    plain = options()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(model.SerializeToString(), plain, ["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # whatever a runtime says to a graph made at random
        return None


def _run(model: onnx.ModelProto) -> list[NDArray[Any]] | None:
    session = _session(model)
    if session is None:
        return None
    rng = np.random.Generator(np.random.PCG64(1))
    feeds = {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in session.get_inputs()}
    try:
        return list(session.run(None, feeds))
    except Exception:  # noqa: BLE001
        return None


def _opened(model: onnx.ModelProto, folder: Path) -> OnnxNetwork | None:
    onnx.save(model, folder / "m.onnx")
    try:
        return open_network(folder / "m.onnx")
    except ModelFileError:
        return None


def test_every_mutant_is_a_network_or_one_line(tmp_path: Path) -> None:
    solved, refusals = 0, []
    for model in _mutants(1):
        network = _opened(model, tmp_path)
        for layer in () if network is None else network.layers:
            assert network is not None
            try:
                old = network.weights[layer.name]
                assert old.shape == layer.shape
                if layer.replaceable:
                    new = network.with_weights({layer.name: old.astype(np.float64) * 0.9 + 0.01})
                    solved += bool(new.weights[layer.name].shape == layer.shape)
            except ModelFileError as error:
                refusals.append(str(error))
        if network is not None:
            assert network.coverage().total >= network.coverage().reached
            assert isinstance(network.copies, tuple)
    assert solved > MUTANTS / 2
    assert not any("\n" in message for message in refusals)


def _arrives_at(model: onnx.ModelProto, layer: Layer) -> str | None:
    """The value in front of the operator, if it is one that the runtime can be asked for."""
    index = int(layer.consumers[0].rpartition(":")[2])
    nodes = [n for n in model.graph.node if (n.op_type, n.name) == (layer.operator, layer.node)]
    usual = layer.arithmetic and layer.role == "kernel" and layer.operator in ("MatMul", "Conv")
    return str(nodes[0].input[1]) if usual and index == 1 and len(nodes) == 1 else None


def test_what_arrives_in_mutants(tmp_path: Path) -> None:
    """As onnxruntime computes it, in whatever order the operator takes it."""
    compared = 0
    for model in _mutants(2):
        network = _opened(model, tmp_path)
        for layer in () if network is None else network.layers:
            assert network is not None
            name = _arrives_at(model, layer)
            if name is None:
                continue
            del model.graph.output[:]
            model.graph.output.append(onnx.ValueInfoProto(name=name))
            right = _run(model)
            try:
                read = network.weights[layer.name]
            except ModelFileError:
                continue
            if right is not None:
                compared += 1
                np.testing.assert_allclose(
                    np.sort(read, axis=None), np.sort(right[0], axis=None), rtol=1e-4, atol=1e-5
                )
    assert compared > 20


def test_what_is_dead_in_mutants_changes_no_answer(tmp_path: Path) -> None:
    seen = 0
    for model in _mutants(3):
        network = _opened(model, tmp_path)
        dead = [] if network is None else [x.name for x in network.layers if not x.live]
        before = _run(model) if dead else None
        for stored in model.graph.initializer:
            if before is None or stored.name not in dead:
                continue
            old = onnx.numpy_helper.to_array(stored)
            new = onnx.numpy_helper.from_array((old * 2 + 1).astype(old.dtype), stored.name)
            stored.CopyFrom(new)
            after = _run(model)
            if after is not None:
                seen += 1
                for a, b in zip(before, after, strict=True):
                    np.testing.assert_array_equal(a, b)
    assert seen > 10


@pytest.mark.parametrize("kind", ["Clip", "Dropout", "Where"])
def test_operands_that_a_runtime_would_refuse(kind: str, tmp_path: Path) -> None:
    """Ends of several numbers, a second result, a condition of another shape."""
    model = MADE["mask"]().model
    model.graph.node[0].op_type = kind
    if kind == "Dropout":
        model.graph.node[0].output.insert(0, "")
    if kind == "Where":
        model.graph.node[0].input.append(model.graph.node[0].input[1])
    network = _opened(model, tmp_path)
    assert network is not None
    assert {layer.name for layer in network.layers} <= {"w", "m"}
