"""New values for stored tensors, with which wanted weights arrive at an operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import inverses
from nnw_onnx.graph.arithmetic import UnknownOperatorError
from nnw_onnx.graph.carrying import Carried, dependents
from nnw_onnx.graph.expressions import Expression, Leaf, Result, Values, evaluate
from nnw_onnx.graph.grids import rounded
from nnw_onnx.graph.tensors import finite, numpy_dtype, shown
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array

F64 = NDArray[np.float64]
Read = Callable[[Leaf], Array]


def solve(carried: Carried, wanted: Array, read: Read) -> dict[Address, Array]:
    """New values of the tensors that are the weights, in stored layout and type.

    Args:
        carried: how the weights come out of the tensors; without an obstacle.
        wanted: what shall arrive, in the layout in which it does.
        read: the values of a stored tensor as they are now.

    Raises:
        ModelFileError: no finite values of the stored type do it.
    """
    try:
        return _Solver(carried, wanted.astype(np.float64), read).solve()
    except UnknownOperatorError as error:
        raise ModelFileError(
            f"layer {shown(carried.main.name)}: expected weights that its arithmetic can compute, "
            "got others; choose another layer"
        ) from error


class _Solver:
    def __init__(self, carried: Carried, wanted: F64, read: Read) -> None:
        self._carried, self._wanted, self._read = carried, wanted, read
        self._found: dict[Address, Array] = {}
        self._depends = dependents(carried.root, carried.main)

    def solve(self) -> dict[Address, Array]:
        before = self._values()
        self._descend(before, None)
        if self._carried.partner is not None:
            after = self._values()
            if not np.isfinite(after[id(self._carried.root)].astype(np.float64)).all():
                # What has no direction, such as a filter of zeros, keeps the one that it had.
                self._found.clear()
                self._descend(before, after)
                after = self._values()
            self._scale(after, self._carried.partner)
        return self._found

    def _values(self) -> Values:
        return evaluate(self._carried.root, self._now)

    def _now(self, leaf: Leaf) -> Array:
        assert leaf.tensor is not None
        found = self._found.get(leaf.tensor.address)
        return self._read(leaf) if found is None else found

    def _descend(self, values: Values, tried: Values | None) -> None:
        """Solve from what arrives down to the tensors, with the other operands as they are."""
        under_way: list[tuple[Expression, F64]] = [(self._carried.root, self._wanted)]
        while under_way:
            expression, wanted = under_way.pop()
            if isinstance(expression, Leaf):
                self._store(expression, wanted)
                continue
            inputs = [None if e is None else values[id(e)] for e in expression.inputs]
            for index in self._carried.ways[id(expression)]:
                below = expression.inputs[index]
                given = inputs[index]
                assert below is not None
                assert given is not None
                if self._scales_itself(expression, index):
                    new = inverses.unspread(wanted, given.shape)
                    if tried is not None:
                        kept = np.isfinite(tried[id(expression)].astype(np.float64))
                        new = np.where(kept, new, given.astype(np.float64))
                else:
                    now = values[id(expression)]
                    new = inverses.undo(expression, index, wanted, inputs, now)
                under_way.append((below, new))

    def _scales_itself(self, expression: Result, index: int) -> bool:
        """Whether the tensor is divided by something that it determines, such as its norm."""
        others = (e for k, e in enumerate(expression.inputs) if e is not None and k != index)
        ways = self._carried.ways[id(expression)]
        return len(ways) == 1 and any(id(e) in self._depends for e in others)

    def _scale(self, values: Values, partner: Leaf) -> None:
        wanted = self._wanted
        for part, index in self._carried.partner_path:
            inputs = [None if e is None else values[id(e)] for e in part.inputs]
            wanted = inverses.undo(part, index, wanted, inputs, values[id(part)])
        self._store(partner, wanted)

    def _store(self, leaf: Leaf, wanted: F64) -> None:
        if leaf.tensor is None:
            return
        values = fitted(leaf, wanted)
        values.setflags(write=False)
        self._found[leaf.tensor.address] = values


def fitted(leaf: Leaf, wanted: F64) -> Array:
    """Values in the type of the tensor; raises `ModelFileError` where they are too large."""
    assert leaf.tensor is not None
    dtype = numpy_dtype(leaf.tensor.data_type)
    if not leaf.tensor.floating:
        return np.ascontiguousarray(rounded(np.nan_to_num(wanted), dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(wanted, dtype=dtype, order="C")
    if not finite(values):
        raise ModelFileError(
            f"layer {shown(leaf.name)}: expected weights that fit its type {leaf.tensor.dtype}, "
            "got larger ones; reduce the change"
        )
    return values
