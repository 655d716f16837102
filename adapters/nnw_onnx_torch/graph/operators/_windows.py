"""Padding of windows that slide: explicit or automatic, the same for convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nnw_onnx_torch.graph.operators._table import Call


@dataclass(frozen=True)
class Windows:
    """How windows slide over the n axes behind batch and channel.

    Attributes:
        kernel: sizes of a window.
        strides: steps between windows.
        dilations: steps within a window.
        pads: (before, after) of each axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def symmetric(self) -> bool:
        """Whether each axis is padded alike at both ends."""
        return all(before == after for before, after in self.pads)


def windows(call: Call, size: Sequence[int], kernel: Sequence[int]) -> Windows:
    """The windows of an operator over axes of these sizes."""
    n = len(kernel)
    strides = tuple(call.get("strides") or [1] * n)
    dilations = tuple(call.get("dilations") or [1] * n)
    auto = call.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = tuple(
            same_pads(size[i], kernel[i], strides[i], dilations[i], upper=auto == "SAME_UPPER")
            for i in range(n)
        )
    else:
        given = call.get("pads") if auto != "VALID" else None
        given = given or [0] * (2 * n)
        pads = tuple((given[i], given[i + n]) for i in range(n))
    return Windows(tuple(kernel), strides, dilations, pads)


def same_pads(
    size: int, kernel: int, stride: int, dilation: int, *, upper: bool
) -> tuple[int, int]:
    """Padding (before, after) with which ceil(size / stride) windows fit."""
    count = -(-size // stride)
    total = max(0, (count - 1) * stride + (kernel - 1) * dilation + 1 - size)
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


def flat(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Padding in the order of `torch.nn.functional.pad`: the last axis first."""
    return [side for pair in reversed(pads) for side in pair]


def padded(x: torch.Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> torch.Tensor:
    """The tensor padded (or cropped, where a padding is negative) behind batch and channel."""
    return torch.nn.functional.pad(x, flat(pads), value=value)
