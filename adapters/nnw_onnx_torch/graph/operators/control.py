"""Branches and loops; gradients flow through them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nnw_onnx_torch.graph.operators._table import Call, Value, numbers, operator


@operator("If")
def if_(call: Call, condition: torch.Tensor) -> tuple[Value, ...]:
    """What one of two graphs gives."""
    name = "then_branch" if bool(condition) else "else_branch"
    return tuple(call.attributes[name]())


@operator("Loop")
def loop(
    call: Call, trips: torch.Tensor | None, condition: torch.Tensor | None, *carried: Value
) -> tuple[Value, ...]:
    """A graph repeated: values carried from round to round, and others collected."""
    body = call.attributes["body"]
    state = list(carried)
    most = None if trips is None else int(trips)
    going = condition is None or bool(condition)
    collected: list[list[torch.Tensor]] = [[] for _ in range(len(call.outputs) - len(state))]
    count = 0
    flag = torch.tensor(True) if condition is None else condition
    while going and (most is None or count < most):
        flag, *results = body(torch.tensor(count), flag, *state)
        state = results[: len(state)]
        for values, value in zip(collected, results[len(state) :], strict=True):
            values.append(value)
        going = bool(flag)
        count += 1
    return (*state, *(_stacked(values) for values in collected))


def _stacked(values: Sequence[torch.Tensor], axis: int = 0) -> torch.Tensor:
    """Collected values along an axis; nothing collected is empty."""
    return torch.stack(tuple(values), axis) if values else torch.zeros(0)


@operator("Scan")
def scan(call: Call, *inputs: torch.Tensor) -> tuple[Value, ...]:
    """A graph applied to slices of inputs, with values carried from one to the next."""
    if call.opset < 9:
        return _batched_scan(call, *inputs)
    scanned = call.get("num_scan_inputs")
    count = len(inputs) - scanned
    outputs = len(call.outputs) - count
    return _scan(
        call,
        inputs[:count],
        inputs[count:],
        call.get("scan_input_axes") or [0] * scanned,
        call.get("scan_input_directions") or [0] * scanned,
        call.get("scan_output_axes") or [0] * outputs,
        call.get("scan_output_directions") or [0] * outputs,
    )


def _scan(
    call: Call,
    carried: Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor],
    axes: Sequence[int],
    directions: Sequence[int],
    output_axes: Sequence[int],
    output_directions: Sequence[int],
) -> tuple[torch.Tensor, ...]:
    body, state = call.attributes["body"], list(carried)
    length = inputs[0].shape[axes[0]]
    collected: list[list[torch.Tensor]] = [[] for _ in output_axes]
    for step in range(length):
        parts = [
            x.select(axis, length - 1 - step if backwards else step)
            for x, axis, backwards in zip(inputs, axes, directions, strict=True)
        ]
        results = body(*state, *parts)
        state = results[: len(state)]
        for values, value in zip(collected, results[len(state) :], strict=True):
            values.append(value)
    stacks = [
        _stacked(values[::-1] if backwards else values, axis)
        for values, axis, backwards in zip(collected, output_axes, output_directions, strict=True)
    ]
    return (*state, *stacks)


def _batched_scan(
    call: Call, lengths: torch.Tensor | None, *inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Opset 8: every input has a batch axis first, and samples may be shorter than others."""
    scanned = call.get("num_scan_inputs")
    count = len(inputs) - scanned
    directions = call.get("directions") or [0] * scanned
    samples = []
    for k in range(inputs[0].shape[0]):
        parts = [x[k] for x in inputs[count:]]
        longest = parts[0].shape[0]
        length = longest if lengths is None else numbers(lengths)[k]
        outputs = len(call.outputs) - count
        results = _scan(
            call, [x[k] for x in inputs[:count]], [x[:length] for x in parts],
            [0] * scanned, directions, [0] * outputs, [0] * outputs,
        )  # fmt: skip
        ends = [_lengthened(x, longest) for x in results[count:]]
        samples.append((*results[:count], *ends))
    return tuple(torch.stack(values) for values in zip(*samples, strict=True))


def _lengthened(x: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - x.shape[0]
    return torch.cat([x, x.new_zeros((missing, *x.shape[1:]))]) if missing else x
