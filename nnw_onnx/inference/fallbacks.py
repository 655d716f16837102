"""Nodes that a session runs on the CPU although another provider was asked for.

onnxruntime tells where it has put each node when a session is made. It puts nodes that compute
shapes on the CPU on purpose, where shapes are: these do not count, told by their operators, in a
graph that asks for a shape at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference.providers import CPU, provider_of

RECORDING = "session.record_ep_graph_assignment_info"
"""Entry of a session's configuration that makes onnxruntime keep where it has put each node."""
_ASKING = frozenset({"Shape", "Size"})
_OF_SHAPES = _ASKING | {
    "Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand",
    "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min",
    "Mod", "Mul", "Neg", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Reshape", "ScatterND", "Slice", "Split", "Squeeze", "Sub", "Tile", "Unsqueeze", "Where",
}  # fmt: skip
_MOST_NAMED = 4


@dataclass(frozen=True)
class Fallbacks:
    """What of a graph is run on the CPU that was to be run elsewhere.

    Attributes:
        nodes: operator -> number of nodes (>= 1) on the CPU that do not compute shapes.
        of: nodes of the graph, as optimised before they were placed (>= 0).
    """

    nodes: Counter[str]
    of: int

    def __str__(self) -> str:
        every = [f"{name} x {count}" for name, count in self.nodes.most_common()]
        more = len(every) - _MOST_NAMED
        named = ", ".join(every[:_MOST_NAMED]) + (f" and {more} more operators" if more > 0 else "")
        return f"{self.nodes.total()} of {self.of}: {named}"


def is_elsewhere(asked: Sequence[str]) -> bool:
    """Whether another provider than the CPU is the first that was asked for."""
    return bool(asked) and provider_of(asked[0]) != CPU


def fallbacks(session: Any, asked: Sequence[str]) -> Fallbacks | None:
    """The nodes on the CPU, or None: there are none, or they were asked for.

    Args:
        session: of onnxruntime, made with `RECORDING`.
        asked: providers in order of preference.

    Raises:
        InferenceError: there are some, and the CPU was not asked for at all.
    """
    if not is_elsewhere(asked):
        return None
    found = _on_the_cpu(session)
    if not found.nodes:
        return None
    if CPU not in map(provider_of, asked):
        raise InferenceError(
            f"providers: expected {', '.join(asked)} to run every node, got nodes that only the "
            f"CPU runs, {found}; name cpu behind it to allow that"
        )
    return found


def _on_the_cpu(session: Any) -> Fallbacks:
    every = [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    there = Counter(operator for provider, operator in every if provider == CPU)
    if not _ASKING.isdisjoint(there):
        there = Counter({name: n for name, n in there.items() if name not in _OF_SHAPES})
    return Fallbacks(there, len(every))
