"""The same network written in another way: what tools do to a file without touching the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, numpy_helper

_TYPED = (
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL,
    TensorProto.UINT4, TensorProto.INT4,
)  # fmt: skip


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Every graph, those inside others too."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def typed(tensor: TensorProto) -> None:
    """Move raw values into the field of their type, where there is one."""
    if not tensor.HasField("raw_data") or tensor.data_type not in _TYPED:
        return
    values = numpy_helper.to_array(tensor)
    kind = tensor.data_type
    if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        numbers = values.view(np.uint16).reshape(-1).tolist()
    elif kind in (TensorProto.UINT4, TensorProto.INT4):
        numbers = list(tensor.raw_data)
    else:
        numbers = (values + 0 if values.dtype == bool else values).reshape(-1).tolist()
    tensor.ClearField("raw_data")
    field = {
        TensorProto.FLOAT: tensor.float_data,
        TensorProto.DOUBLE: tensor.double_data,
        TensorProto.INT64: tensor.int64_data,
    }.get(kind, tensor.int32_data)
    field.extend(numbers)


def reserialised(model: ModelProto, rng: np.random.Generator) -> ModelProto:
    """The model with a random choice of all that does not count."""
    made = ModelProto()
    made.CopyFrom(model)
    if rng.random() < 0.5:
        made.producer_name, made.doc_string = "another", "told anew"
        made.model_version += 1
        entry = made.metadata_props.add()
        entry.key, entry.value = "date", str(rng.integers(1 << 30))
    for graph in graphs(made):
        _shuffled(graph.initializer, rng)
        for tensor in graph.initializer:
            if rng.random() < 0.5:
                typed(tensor)
        for node in graph.node:
            _shuffled(node.attribute, rng)
            if rng.random() < 0.3:
                node.name, node.doc_string = f"n{rng.integers(1 << 30)}", "a node"
            if not node.domain and rng.random() < 0.3:
                node.domain = "ai.onnx" if rng.random() < 0.5 else ""
            for attribute in node.attribute:
                _with_defaults(attribute, rng)
        if rng.random() < 0.3:
            del graph.value_info[:]
            graph.name, graph.doc_string = "g2", "a graph"
    return made


def _shuffled(field: Any, rng: np.random.Generator) -> None:
    items = list(field)
    kept = [type(item).FromString(items[k].SerializeToString()) for k, item in
            zip(rng.permutation(len(items)), items, strict=True)]  # fmt: skip
    del field[:]
    field.extend(kept)


def _with_defaults(attribute: AttributeProto, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        attribute.doc_string = ""
    if attribute.type == AttributeProto.INT and not attribute.i:
        attribute.i = 0
    if attribute.HasField("t") and rng.random() < 0.5:
        typed(attribute.t)


def written(model: ModelProto, path: Path, rng: np.random.Generator) -> Path:
    """Save the model, with values inside the file or in one or several others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = rng.random() < 0.5
    if inside:
        onnx.save(model, path)
    else:
        onnx.save(
            model,
            path,
            save_as_external_data=True,
            all_tensors_to_one_file=bool(rng.random() < 0.5),
            location=f"{path.stem}.bin",
            size_threshold=int(rng.choice([0, 1024])),
        )
    return path
