"""Sequences and optionals: lists of tensors, and values that may be None."""

from __future__ import annotations

import torch
from torch import Tensor

from nnw_onnx_torch.graph.operators._table import Call, Value, numbers, operator


def _position(position: Tensor | None, default: int) -> int:
    return default if position is None else int(position)


@operator("SequenceConstruct")
def sequence_construct(call: Call, *tensors: Tensor) -> tuple[list[Tensor]]:
    """A sequence of these tensors."""
    return (list(tensors),)


@operator("SequenceEmpty")
def sequence_empty(call: Call) -> tuple[list[Tensor]]:
    """A sequence of no tensor."""
    return ([],)


@operator("SequenceAt")
def sequence_at(call: Call, sequence: list[Tensor], position: Tensor) -> Tensor:
    """The tensor at a position, from the end if negative."""
    return sequence[int(position)]


@operator("SequenceInsert")
def sequence_insert(
    call: Call, sequence: list[Tensor], tensor: Tensor, position: Tensor | None = None
) -> tuple[list[Tensor]]:
    """A sequence with one more tensor, at the end unless told."""
    at = _position(position, len(sequence))
    at = at + len(sequence) if at < 0 else at
    return ([*sequence[:at], tensor, *sequence[at:]],)


@operator("SequenceErase")
def sequence_erase(
    call: Call, sequence: list[Tensor], position: Tensor | None = None
) -> tuple[list[Tensor]]:
    """A sequence without one of its tensors, the last unless told."""
    at = _position(position, -1) % len(sequence)
    return ([*sequence[:at], *sequence[at + 1 :]],)


@operator("SequenceLength")
def sequence_length(call: Call, sequence: list[Tensor]) -> Tensor:
    """The number of tensors."""
    return torch.tensor(len(sequence))


@operator("ConcatFromSequence")
def concat_from_sequence(call: Call, sequence: list[Tensor]) -> Tensor:
    """The tensors joined along an axis, which may be a new one."""
    join = torch.stack if call.get("new_axis", 0) else torch.cat
    return join(sequence, call.attributes["axis"])


@operator("SplitToSequence")
def split_to_sequence(call: Call, x: Tensor, split: Tensor | None = None) -> tuple[list[Tensor]]:
    """The parts of a tensor along an axis: of one size, of given sizes, or single slices."""
    axis = call.get("axis", 0)
    if split is None:
        if not call.get("keepdims", 1):
            return (list(x.unbind(axis)),)
        return (list(torch.split(x, 1, axis)),)
    return (list(torch.split(x, int(split) if split.dim() == 0 else numbers(split), axis)),)


@operator("SequenceMap")
def sequence_map(
    call: Call, sequence: list[Tensor], *others: Tensor | list[Tensor]
) -> tuple[list[Tensor], ...]:
    """A subgraph applied to each tensor; other sequences go along, other tensors stay."""
    body = call.attributes["body"]
    results = [
        body(tensor, *(other[i] if isinstance(other, list) else other for other in others))
        for i, tensor in enumerate(sequence)
    ]
    if not results:
        return tuple([] for _ in call.outputs)
    return tuple(list(column) for column in zip(*results, strict=True))


@operator("Optional")
def optional(call: Call, value: Value = None) -> tuple[Value]:
    """A value that may be missing."""
    return (value,)


@operator("OptionalHasElement")
def optional_has_element(call: Call, value: Value = None) -> Tensor:
    """Whether the value is there."""
    return torch.tensor(value is not None)


@operator("OptionalGetElement")
def optional_get_element(call: Call, value: Value) -> tuple[Value]:
    """The value itself."""
    return (value,)
