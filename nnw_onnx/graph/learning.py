"""Which stored numbers a training may change, and which are constants of the computation.

A file does not say it, so it is told from what becomes of them. Kernels, recurrent weights,
embeddings, gains and shifts of normalisations, biases, slopes, gains and scales of channels, added
tables (positions) and the parts of a kernel (gains of weight normalisation, factors of low rank)
learn.
These do not:

- masks: factors that are 0 and 1 alone, and summands of 0 and very negative numbers;
- statistics of BatchNormalization, and the two vectors of a spectral norm;
- normalisation of inputs: a vector that a network's input meets before any operator with weights;
- tables of more than one axis by which an activation is multiplied or divided (rotations, windows),
  and what a condition chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nnw_onnx.graph.carrying import CONTRACTING, Carried, consists_of, dependents
from nnw_onnx.graph.expressions import Constants, Expression, Leaf
from nnw_onnx.graph.roles import Role
from nnw_onnx.graph.scopes import Scopes
from nnw_onnx.graph.tensors import StoredTensor
from nnw_onnx.graph.walking import Arrival

_LEARNED = frozenset({"kernel", "recurrent", "embedding", "norm"})
_STATISTICS = frozenset({3, 4})
_VERY_NEGATIVE = -1e3
_DEEPEST = 60
_UNWEIGHTED = frozenset(
    {
        "Cast", "CastLike", "Sub", "Div", "Mul", "Add", "Transpose", "Reshape", "Flatten",
        "Unsqueeze", "Squeeze", "Identity", "Gather", "Slice", "Concat", "Split", "Resize",
        "Upsample", "Clip", "Pad", "Neg", "QuantizeLinear", "DequantizeLinear", "Dropout",
    }
)  # fmt: skip
"""Operators of which preprocessing consists."""


class Learning:
    """Tells what learns in one model."""

    def __init__(self, scopes: Scopes, constants: Constants) -> None:
        self._main, self._constants = scopes.all[0], constants
        self._unweighted: dict[str, bool] = {}

    def fixed(self, tensor: StoredTensor, uses: Iterable[tuple[Arrival, Role]]) -> str | None:
        """What a tensor is that no use of it lets a training change, or None where it learns."""
        found = [self._use(tensor, arrival, role) for arrival, role in uses]
        return None if None in found else next(iter(found), None)

    def fixed_part(self, tensor: StoredTensor, weights: Sequence[Carried]) -> str | None:
        """The same of a tensor that takes part in the weights of another one."""
        leaf = Leaf(tensor, tensor.name)
        if consists_of(leaf, (0, 1)) and any(tensor.size == w.main.size for w in weights):
            return "mask"
        if consists_of(leaf, (0, 1)) and not consists_of(leaf, (1,)):
            return "mask"
        if all(_only_in_a_norm(weight, tensor) for weight in weights):
            return "statistics"
        return None

    def _use(self, tensor: StoredTensor, arrival: Arrival, role: Role) -> str | None:
        operator = arrival.use.node.op_type
        if role.kind in _LEARNED:
            return None
        if operator == "BatchNormalization" and arrival.use.index in _STATISTICS:
            return "statistics"
        if operator == "Where":
            return "constant"
        if operator not in ("Add", "Sub", "Mul", "Div"):
            return None
        return self._operand(tensor, arrival, multiplies=operator in ("Mul", "Div"))

    def _operand(self, tensor: StoredTensor, arrival: Arrival, *, multiplies: bool) -> str | None:
        leaf = Leaf(tensor, tensor.name)
        ones = consists_of(leaf, (0, 1)) and not consists_of(leaf, (1,))
        if (ones and multiplies) or (not multiplies and _is_added_mask(leaf)):
            return "mask"
        if sum(size > 1 for size in tensor.dims) > 1:
            return "constant" if multiplies else None
        return "constant" if self._is_preprocessing(arrival) else None

    def _is_preprocessing(self, arrival: Arrival) -> bool:
        """Whether the other operand is an input of the network that no weights have met yet."""
        use = arrival.use
        if use.scope is not self._main or len(use.node.input) != 2 or use.index > 1:
            return False
        return self._before_weights(use.node.input[1 - use.index])

    def _before_weights(self, name: str) -> bool:
        if name not in self._unweighted:
            self._unweighted[name] = self._look(name)
        return self._unweighted[name]

    def _look(self, name: str) -> bool:
        waiting, seen, found = [name], {name}, False
        while waiting:
            now = waiting.pop()
            if not now or self._constants.of(self._main, now, ()) is not None:
                continue
            node = self._main.producers.get(now)
            if node is None:
                found = found or now in self._main.inputs
                continue
            if node.op_type not in _UNWEIGHTED or len(seen) > _DEEPEST:
                return False
            waiting += [n for n in node.input if n not in seen]
            seen.update(node.input)
        return found


def _is_added_mask(leaf: Leaf) -> bool:
    """Whether there are two values, of which one is 0 and the other very negative."""
    assert leaf.tensor is not None
    values = leaf.tensor.array().reshape(-1)
    least = values[:4096].min() if values.dtype.kind == "f" and values.size else np.float32(0)
    if not least <= _VERY_NEGATIVE:
        return False
    return bool(((values == 0) | (values <= _VERY_NEGATIVE)).all())


def _only_in_a_norm(weights: Carried, tensor: StoredTensor) -> bool:
    """Whether it takes part only in a norm: a sum over the weights, or one that is one number."""
    depends = dependents(weights.root, weights.main)
    waiting: list[Expression] = [weights.root]
    seen = set()
    while waiting:
        now = waiting.pop()
        if id(now) in seen:
            continue
        seen.add(id(now))
        if isinstance(now, Leaf):
            if now.tensor is tensor:
                return False
        elif now.node.op_type not in CONTRACTING or not (now.size == 1 or id(now) in depends):
            waiting += now.data
    return True
