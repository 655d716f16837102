"""The order in which a model computes, whatever the order in which its file lists the nodes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from onnx import NodeProto

from nnw_onnx.graph.scopes import Scope, Scopes


def order_of(scopes: Scopes) -> dict[int, int]:
    """Identity of a node -> its place: a node comes after all that its inputs need.

    The nodes inside a node (subgraphs, and the body of a function at its first call) come directly
    after it. Where the order is free, that of the file decides.
    """
    needs = _needs(scopes)
    places: dict[int, int] = {}
    entered = {id(scopes.all[0])}
    # An explicit stack: functions may call each other as deep as a file has nodes.
    under_way = [iter(_sorted(scopes.all[0], needs))]
    while under_way:
        found = next(under_way[-1], None)
        if found is None:
            under_way.pop()
            continue
        node, scope = found
        places[id(node)] = len(places)
        body = scopes.body(node)
        inner = [*scope.inside.get(id(node), {}).values(), *([body] if body is not None else [])]
        for inside in reversed([s for s in inner if id(s) not in entered]):
            entered.add(id(inside))
            under_way.append(iter(_sorted(inside, needs)))
    for scope in scopes.all:  # functions that nobody calls
        for node in scope.nodes:
            places.setdefault(id(node), len(places))
    return places


def _needs(scopes: Scopes) -> dict[int, set[int]]:
    """Identity of a node -> those of the nodes of its own graph that it waits for."""
    needs: dict[int, set[int]] = {}
    for definer in scopes.all:
        for name, uses in definer.uses.items():
            maker = definer.producers.get(name)
            if maker is None:
                continue
            for use in uses:
                holder = _holder(use.node, use.scope, definer)
                if holder is not None and holder is not maker:
                    needs.setdefault(id(holder), set()).add(id(maker))
    return needs


def _holder(node: NodeProto, scope: Scope, outer: Scope) -> NodeProto | None:
    """The node of the outer scope that is, or holds, this one."""
    while scope is not outer:
        if scope.owner is None or scope.parent is None:
            return None
        node, scope = scope.owner, scope.parent
    return node


def _sorted(scope: Scope, needs: dict[int, set[int]]) -> Iterator[tuple[NodeProto, Scope]]:
    """Nodes of one graph, each after those it needs; what lies in a circle comes last."""
    index = {id(node): k for k, node in enumerate(scope.nodes)}
    waits = {k: len(needs.get(id(node), ())) for k, node in enumerate(scope.nodes)}
    then: dict[int, list[int]] = {}
    for k, node in enumerate(scope.nodes):
        for maker in needs.get(id(node), ()):
            then.setdefault(index[maker], []).append(k)
    ready = [k for k, count in waits.items() if not count]
    done = set()
    while ready:
        k = heapq.heappop(ready)
        done.add(k)
        yield scope.nodes[k], scope
        for later in then.get(k, ()):
            waits[later] -= 1
            if not waits[later]:
                heapq.heappush(ready, later)
    yield from ((node, scope) for k, node in enumerate(scope.nodes) if k not in done)
