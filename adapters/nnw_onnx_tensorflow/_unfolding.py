"""Kernels as they were trained, in a file where the exporter folded a normalization into them.

Conv(x, f W) + b is written as f Conv(x, W) + b again. A runtime folds this when it loads the file,
so inference costs the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nnw_onnx.graph import open_network
from nnw_onnx.vocabulary import Weights
from nnw_onnx_tensorflow._matching import Match

_OPERATORS = ("Conv", "ConvTranspose")


def unfold(path: Path, match: Match, weights: Weights) -> None:
    """Rewrite the file so that each folded convolution has its own kernel and a factor behind it.

    A kernel that something else than one convolution uses, or whose bias is computed, is left.
    """
    model = onnx.load(str(path))
    users = _users(model.graph)
    folded = {match.renamed[p]: p for p in match.factors}
    done = {
        name: variable
        for name, variable in folded.items()
        if _separable(model.graph, users.get(name, []), name)
    }
    for name, variable in done.items():
        _separate(model.graph, users[name][0], match.factors[variable])
    onnx.save(model, str(path))
    network = open_network(path)
    shapes = {layer.name: layer.shape for layer in network.layers}
    own = {name: weights[variable].reshape(shapes[name]) for name, variable in done.items()}
    network.with_weights(own).save(path)


def _users(graph: Any) -> Mapping[str, list[Any]]:
    """Name of a value -> the nodes of the graph and of its subgraphs that use it."""
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                for name, nodes in _users(body).items():
                    found.setdefault(name, []).extend(nodes)
    return found


def _separable(graph: Any, users: list[Any], name: str) -> bool:
    if len(users) != 1 or users[0].op_type not in _OPERATORS or users[0] not in graph.node:
        return False
    node = users[0]
    stored = {tensor.name for tensor in graph.initializer}
    return name == node.input[1] and all(n in stored for n in node.input[1:] if n)


def _separate(graph: Any, node: Any, factor: NDArray[np.float64]) -> None:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kernel = tensors[node.input[1]]
    after = (-1, *[1] * (len(kernel.dims) - 2))
    dtype = helper.tensor_dtype_to_np_dtype(kernel.data_type)
    result, prefix = node.output[0], f"{node.output[0]}/unfolded"
    steps = [("Mul", factor.reshape(after).astype(dtype))]
    if len(node.input) > 2 and node.input[2]:
        bias = numpy_helper.to_array(tensors[node.input[2]])
        steps.append(("Add", bias.reshape(after)))
    del node.input[2:]
    node.output[0] = value = prefix
    place = list(graph.node).index(node) + 1
    for number, (operator, array) in enumerate(steps):
        name = f"{prefix}/{operator}"
        graph.initializer.append(numpy_helper.from_array(array, f"{name}/constant"))
        out = result if number == len(steps) - 1 else name
        made = helper.make_node(operator, [value, f"{name}/constant"], [out], name=name)
        graph.node.insert(place + number, made)
        value = out
