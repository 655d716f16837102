"""Which stored tensor an expression is the weights of, and whether new values can be solved for.

The weights of W * mask, g * v / |v| or W + B A are told by the tensor that has a number for each of
them: W, v, W. The others are its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from nnw_onnx.graph import arithmetic, inverses
from nnw_onnx.graph.arithmetic import UnknownOperatorError
from nnw_onnx.graph.expressions import (
    Expression,
    Leaf,
    Result,
    evaluate,
    leaves_of,
    parts_of,
    stored,
)
from nnw_onnx.graph.tensors import INTEGERS
from nnw_onnx.vocabulary import Array

_SCALING = frozenset({"Mul", "Div"})
CONTRACTING = frozenset(
    {
        "MatMul", "Gemm", "Einsum", "ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2",
        "ReduceSumSquare", "ReduceMax", "ReduceMin", "ReduceProd",
    }
)  # fmt: skip
"""Operators that join many numbers to one."""
_SAMPLE = 1 << 16
_MOST_READ = 1 << 27
"""Elements of a tensor that is read through to see whether it is a mask, or 0."""


@dataclass(frozen=True, eq=False)
class Carried:
    """How weights come out of stored tensors.

    Attributes:
        root: what arrives.
        main: the stored tensor after which the weights are named.
        ways: identity of an operator's result -> the inputs through which they come.
        partner: another tensor whose values are solved for after those of `main`, where their scale
            or sign is lost on the way, as in weight normalisation.
        partner_path: from `root` to it: results, and the input of each to go on with.
        obstacle: why new values cannot be solved for, or None.
    """

    root: Expression
    main: Leaf
    ways: dict[int, tuple[int, ...]]
    partner: Leaf | None = None
    partner_path: tuple[tuple[Result, int], ...] = ()
    obstacle: str | None = None

    @property
    def parts(self) -> tuple[Leaf, ...]:
        """The other tensors of more than one number that take part."""
        others = (leaf for leaf in leaves_of(self.root) if leaf.tensor is not self.main.tensor)
        return tuple(leaf for leaf in others if leaf.size > 1 and _has_numbers(leaf))

    @property
    def operators(self) -> tuple[str, ...]:
        """Types of the operators that compute, each once, in their order."""
        parts = parts_of(self.root, settings=False)
        types = [e.node.op_type for e in parts if isinstance(e, Result)]
        return tuple(dict.fromkeys(t for t in types if t not in VIEWS))


VIEWS = frozenset(
    {
        "Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Dropout",
        "Slice", "Split", "Concat", "Shape", "ConstantOfShape",
    }
)  # fmt: skip


def _has_numbers(leaf: Leaf) -> bool:
    """Whether it is a tensor of numbers or of conditions, but not of indices."""
    tensor = leaf.tensor
    return tensor is not None and (
        tensor.floating or tensor.data_type in INTEGERS or tensor.data_type == TensorProto.BOOL
    )


def carried(root: Expression) -> Carried | None:
    """What the expression is the weights of; None where no stored tensor of numbers is in it."""
    try:
        ways, mains = _ways(root)
    except UnknownOperatorError:
        return None
    main = mains.get(id(root))
    if main is None:
        return None
    return _solvable(root, main, ways)


def _ways(root: Expression) -> tuple[dict[int, tuple[int, ...]], dict[int, Leaf | None]]:
    ways: dict[int, tuple[int, ...]] = {}
    mains: dict[int, Leaf | None] = {}
    direct: dict[int, bool] = {}
    for part in parts_of(root, settings=False):
        if isinstance(part, Leaf):
            mains[id(part)] = part if part.tensor is not None else None
            direct[id(part)] = True
            continue
        through = _through(part, mains, direct)
        ways[id(part)] = through
        first = part.inputs[through[0]] if through else None
        mains[id(part)] = None if first is None else mains[id(first)]
        inherits = first is not None and direct[id(first)]
        direct[id(part)] = inherits and part.node.op_type not in CONTRACTING
    return ways, mains


def _through(
    part: Result, mains: dict[int, Leaf | None], direct: dict[int, bool]
) -> tuple[int, ...]:
    """The inputs through which weights come."""
    settings = arithmetic.settings_of(part.node)
    may = [
        k
        for k, e in enumerate(part.inputs)
        if e is not None and k not in settings and mains.get(id(e)) is not None
    ]
    if part.node.op_type == "Concat":
        return tuple(sorted(may, key=lambda k: -_size(part.inputs[k])))
    if part.node.op_type == "Where":
        may = [k for k in may if k > 0] or may
    if len(may) < 2 or part.node.op_type in inverses.OF_FIRST:
        return tuple(may[:1])

    def score(k: int) -> tuple[bool, bool, int]:
        given = part.inputs[k]
        assert given is not None
        leaf = mains[id(given)]
        assert leaf is not None
        return not (large > 1 and _idle(part, given)), direct[id(given)], leaf.size

    sizes = [2 * leaf.size >= part.size for k in may if (leaf := mains[id(part.inputs[k])])]
    large = sum(sizes)
    return (max(may, key=score),)


def _size(expression: Expression | None) -> int:
    return 0 if expression is None else expression.size


def _idle(part: Result, given: Expression) -> bool:
    """Whether an operand is a mask of a product, or adds nothing to a sum."""
    values = (0, 1) if part.node.op_type in _SCALING else (0,)
    return consists_of(given, values)


def consists_of(expression: Expression, values: Sequence[int]) -> bool:
    """Whether every element is one of these; what is too large to be read through is not."""
    try:
        if isinstance(expression, Leaf):
            if expression.size > _MOST_READ:
                return False
            whole = stored(expression) if expression.values is None else expression.values
            flat = whole.reshape(-1)
            # The first piece of learned weights says no, so most of a file is not read.
            pieces = range(0, max(flat.size, 1), _SAMPLE)
            return all(_within(flat[k : k + _SAMPLE], values) for k in pieces)
        return _within(evaluate(expression, stored)[id(expression)], values)
    except UnknownOperatorError:
        return False


def _within(array: Array, values: Sequence[int]) -> bool:
    if array.dtype.kind == "b":
        return True if len(values) > 1 else not array.any()
    return bool(np.isin(array, np.array(values, array.dtype)).all())


def _solvable(root: Expression, main: Leaf, ways: dict[int, tuple[int, ...]]) -> Carried:
    """Adds the partner where one is needed, and the reason where there is no solution."""
    selfmade = False
    depends = dependents(root, main)
    path = main_path(root, ways)
    for part, index in path:
        reason = inverses.obstacle(part, index)
        if reason is not None:
            return Carried(root, main, ways, obstacle=reason)
        others = [e for k, e in enumerate(part.inputs) if e is not None and k not in ways[id(part)]]
        if any(id(e) in depends for e in others):
            selfmade = True
            if part.node.op_type not in _SCALING or (part.node.op_type == "Div" and index):
                return Carried(root, main, ways, obstacle=_TWICE.format(part.node.op_type))
        selfmade = selfmade or part.node.op_type == "LpNormalization"
    if not selfmade:
        return Carried(root, main, ways)
    found = _partner(path, main)
    if found is None:
        return Carried(root, main, ways, obstacle=_NO_SCALE)
    return Carried(root, main, ways, found[0], found[1])


_TWICE = "they are used twice on the way to the operator, and joined by {}"
_NO_SCALE = "they are normalised on the way to the operator, and nothing sets their scale"


def dependents(root: Expression, main: Leaf) -> set[int]:
    """Identities of the expressions inside that depend on the tensor."""
    found: set[int] = set()
    for part in parts_of(root, settings=False):
        if isinstance(part, Leaf):
            if part.tensor is main.tensor:
                found.add(id(part))
        elif any(id(e) in found for e in part.data):
            found.add(id(part))
    return found


def main_path(root: Expression, ways: dict[int, tuple[int, ...]]) -> list[tuple[Result, int]]:
    """Results from the root to the main tensor, with the input of each to go on with."""
    found = []
    now: Expression | None = root
    while isinstance(now, Result):
        index = ways[id(now)][0]
        found.append((now, index))
        now = now.inputs[index]
    return found


def _partner(
    path: list[tuple[Result, int]], main: Leaf
) -> tuple[Leaf, tuple[tuple[Result, int], ...]] | None:
    """The largest tensor that scales what arrives, and the way to it."""
    found = []
    for depth, (part, index) in enumerate(path):
        if part.node.op_type in _SCALING:
            for k, other in enumerate(part.inputs):
                if k != index and other is not None:
                    before = (*path[:depth], (part, k))
                    found += [(leaf, (*before, *rest)) for leaf, rest in _scales(other, main)]
    return max(found, key=lambda pair: pair[0].size, default=None)


def _scales(
    expression: Expression, main: Leaf, depth: int = 0
) -> list[tuple[Leaf, tuple[tuple[Result, int], ...]]]:
    """Floating-point tensors to which a scale is proportional, with the ways to them."""
    if isinstance(expression, Leaf):
        tensor = expression.tensor
        fits = tensor is not None and tensor is not main.tensor and tensor.floating
        return [(expression, ())] if fits else []
    if depth > 12 or not inverses.proportional(expression):
        return []
    found = []
    for k, e in enumerate(expression.inputs):
        if e is not None and k not in arithmetic.settings_of(expression.node):
            found += [
                (leaf, ((expression, k), *rest)) for leaf, rest in _scales(e, main, depth + 1)
            ]
    return found
