"""Functions of a model that call others: how deep they do, and how much they are written out.

A few kilobytes of functions, each of which calls the next one twice, stand for more nodes than
there is memory. Whoever writes them out never ends: onnx's inference of shapes, runtimes, and
simplifiers do so. What calls itself has no end at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from onnx import GraphProto, ModelProto, NodeProto

from nnw_onnx.graph.wire import LimitError

FunctionName = tuple[str, str, str]
_MAIN: FunctionName = ("", "", "")


def expect_finite(model: ModelProto, most_nodes: int, most_calls: int) -> None:
    """Raise `LimitError` for functions that call themselves, or that stand for too much.

    Args:
        model: the parsed model.
        most_nodes: nodes of the graph with every call written out.
        most_calls: functions that call one another, one inside the other.
    """
    if not model.functions:
        return
    calls = {_MAIN: Counter(_called(model.graph.node))}
    calls |= {(f.domain, f.name, f.overload): Counter(_called(f.node)) for f in model.functions}
    sizes, depths = dict[FunctionName, int](), dict[FunctionName, int]()
    for name in _callees_first(calls):
        # What is no function of the model is one operator.
        inside = calls.get(name, Counter())
        sizes[name] = sum(count * sizes[called] for called, count in inside.items()) + 1
        depths[name] = max((depths[called] for called in inside), default=-1) + 1
    if depths[_MAIN] - 1 > most_calls:
        raise LimitError(f"functions that call one another at most {most_calls} deep, got deeper")
    if sizes[_MAIN] > most_nodes:
        raise LimitError(f"functions that stand for at most {most_nodes} nodes, got more")


def _callees_first(calls: dict[FunctionName, Counter[FunctionName]]) -> Iterable[FunctionName]:
    try:
        return tuple(TopologicalSorter(calls).static_order())
    except CycleError as error:
        name = str(error.args[1][0][1])[:40]
        raise LimitError(
            f"functions that do not call themselves, got one that does ({name!a})"
        ) from error


def _called(nodes: Iterable[NodeProto]) -> Iterator[FunctionName]:
    """Names that nodes call, functions or not, also in the graphs inside them."""
    for node in nodes:
        yield node.domain, node.op_type, node.overload
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _called_in(graph)


def _called_in(graph: GraphProto) -> Iterator[FunctionName]:
    if graph.node:
        yield from _called(graph.node)
