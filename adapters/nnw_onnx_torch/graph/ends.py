"""Places in a graph: what makes an output out of scores, the node that computes with a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx_torch.graph.program import Address

_VIEWS = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"})
_ENDS = ("Softmax", "LogSoftmax", "Sigmoid")
SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
SIGMOID = frozenset({"Sigmoid"})


@dataclass(frozen=True)
class End:
    """The node that makes an output out of scores.

    Attributes:
        operator: "Softmax", "LogSoftmax" or "Sigmoid".
        address: its place in the model.
    """

    operator: str
    address: Address


def find_ends(model: onnx.ModelProto) -> dict[int, End]:
    """Index of an output -> the Softmax over classes, or the Sigmoid, that it comes from."""
    graph = model.graph
    makers = {name: (k, node) for k, node in enumerate(graph.node) for name in node.output}
    found: dict[int, End] = {}
    for index, output in enumerate(graph.output):
        name = output.name
        for _ in range(len(graph.node)):
            if name not in makers:
                break
            k, node = makers[name]
            if node.domain not in ("", "ai.onnx"):
                break
            if node.op_type in _ENDS and _over_classes(node):
                found[index] = End(node.op_type, (("graph", 0), ("node", k)))
            if node.op_type not in _VIEWS:
                break
            name = node.input[0]
    return found


def _over_classes(node: onnx.NodeProto) -> bool:
    """Whether the axis, where there is one, is not that of the batch."""
    return all(a.i != 0 for a in node.attribute if a.name == "axis")


def consumers(model: onnx.ModelProto, network: OnnxNetwork) -> Mapping[str, Address]:
    """Layer name -> place of the node whose first output counts as what the layer answers.

    In the main graph that is the one of which `OnnxNetwork.inner` tells: with a bias that is added.
    Inside a subgraph or function it is the node that computes with the layer, where it is certain.
    """
    graphs = list(_graphs(model))
    makers = {
        name: (*graphs[0][1], ("node", k))
        for k, node in enumerate(graphs[0][0])
        for name in node.output
    }
    named: dict[tuple[str, str], list[Address]] = {}
    for nodes, address in graphs[1:]:
        for k, node in enumerate(nodes):
            named.setdefault((node.op_type, node.name), []).append((*address, ("node", k)))
    found: dict[str, Address] = {}
    for layer in network.layers:
        value = _result(network, layer.name)
        home = network.addresses[layer.name]
        inside = named.get((layer.operator, layer.node), [])
        nearest = [c for c in inside if home[: len(c) - 1] == c[:-1]]
        if value in makers:
            found[layer.name] = makers[value]
        elif value is None and (len(inside) == 1 or nearest):
            found[layer.name] = max(nearest or inside, key=len)
    return found


def _result(network: OnnxNetwork, name: str) -> str | None:
    """The value of the main graph that the layer stands for; None for one inside another graph."""
    try:
        return network.inner([name])[name]
    except CarrierNotFoundError:
        return None


def _graphs(model: onnx.ModelProto) -> list[tuple[Sequence[onnx.NodeProto], Address]]:
    """The nodes of every graph and function body, with its place."""
    waiting: list[tuple[Sequence[onnx.NodeProto], Address]] = [(model.graph.node, (("graph", 0),))]
    waiting += [(f.node, (("functions", k),)) for k, f in enumerate(model.functions)]
    for nodes, address in waiting:
        for k, node in enumerate(nodes):
            for i, attribute in enumerate(node.attribute):
                if attribute.HasField("g"):
                    place = (*address, ("node", k), ("attribute", i), ("g", 0))
                    waiting.append((attribute.g.node, place))
    return waiting
