"""What a model file is made of, and whether a tool has made anything else of it.

Tools that convert, optimize or quantize models can do nothing and say nothing of it: a quantizer
that finds no operator it knows writes the model as it was. What they did is therefore counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, NodeProto

from nnw_onnx.errors import InferenceError, ModelFileError, NotApplicableError
from nnw_onnx.graph import description
from nnw_onnx.graph.editing import subgraphs
from nnw_onnx.graph.files import Limits, ModelFile, open_file
from nnw_onnx.graph.layers import list_layers

_PLAIN = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Makeup:
    """What a model file is made of.

    Attributes:
        operators: type of operator, after its domain where that is not the standard one -> how
            many nodes, those inside subgraphs and functions included.
        opset: domain -> version.
        names: of nodes, of what they compute and of initializers in the main graph.
        initializers: number of them, those of subgraphs included.
        outside: number of tensors whose values are in another file.
        kernels: how the weights of a kernel are stored, which is their type or, where they are on
            a grid, the operator that makes numbers of them -> how many kernels.
    """

    operators: Mapping[str, int]
    opset: Mapping[str, int]
    names: frozenset[str]
    initializers: int
    outside: int
    kernels: Mapping[str, int]

    @property
    def quantized(self) -> int:
        """Number of kernels whose weights are on a grid."""
        return sum(self.kernels.values()) - self.plain

    @property
    def plain(self) -> int:
        """Number of kernels whose weights are floating-point numbers as they are stored."""
        return sum(count for kind, count in self.kernels.items() if kind in _PLAIN)


def makeup(path: Path) -> Makeup:
    """What a file is made of; raises `ModelFileError` for one that cannot be opened."""
    file = open_file(path, Limits())
    layers = [entry.layer for entry in list_layers(file).values()]
    tensors = file.tensors.values()
    return Makeup(
        operators=Counter(f"{n.domain}:{n.op_type}".lstrip(":") for n in _every_node(file)),
        opset=description.opset(file),
        names=frozenset(_names(file.proto.graph)),
        initializers=sum(t.address[-1][0] == "initializer" for t in tensors),
        outside=sum(t.external is not None for t in tensors),
        kernels=Counter(x.quantization or x.dtype for x in layers if x.role == "kernel"),
    )


def expect_changed(
    tool: str,
    source: Path,
    target: Path,
    look: Callable[[Makeup], object],
    expected: str,
    got: str = "none",
) -> None:
    """Refuse what a tool wrote where that is the same as before, as far as one looks.

    Args:
        tool: name of the Modification.
        source: the model that it was given.
        target: the model that it wrote.
        look: what it should have changed.
        expected: what it would have needed in the network, in words.
        got: what there was instead, in words.

    Raises:
        NotApplicableError: nothing has changed.
        InferenceError: the model that it wrote cannot be opened.
    """
    try:
        after = makeup(target)
    except ModelFileError as error:
        raise InferenceError(
            f"{tool}: expected a model that can be opened from the tool, got: {error}"
        ) from error
    if look(after) == look(makeup(source)):
        raise NotApplicableError(
            f"{tool}: expected {expected}, got {got}; leave it out for this network"
        )


def _every_node(file: ModelFile) -> Iterator[NodeProto]:
    yield from _nodes(file.proto.graph.node)
    for function in file.proto.functions:
        yield from _nodes(function.node)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from _nodes(graph.node)


def _names(graph: GraphProto) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (node.name, *node.output)
