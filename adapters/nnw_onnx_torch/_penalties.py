"""Bringing a gradient that was computed in numpy to where autograd adds it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Layer


class _Given(torch.autograd.Function):
    """A number whose derivatives by some tensors are given."""

    @staticmethod
    def forward(
        ctx: Any, value: float, gradients: Sequence[torch.Tensor], *tensors: torch.Tensor
    ) -> torch.Tensor:
        """The value as a scalar of the first tensor's type."""
        ctx.gradients = gradients
        kind = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
        return torch.tensor(value, dtype=kind, device=tensors[0].device)

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor) -> Any:
        """The given derivatives, times the one that comes in."""
        scaled = ((incoming[0] * g.to(incoming[0].dtype)).to(g.dtype) for g in ctx.gradients)
        return (None, None, *scaled)


def given(value: float, gradients: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> Any:
    """A scalar of this value with these derivatives by these tensors (same shapes and types).

    Half precision would round a small penalty away: the scalar is float32, or float64 where the
    first tensor is.
    """
    return _Given.apply(value, tuple(gradients), *tensors)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """The values of a tensor; bfloat16, which numpy lacks, as float32."""
    kept = tensor.detach()
    if kept.dtype == torch.bfloat16:
        kept = kept.float()
    array: NDArray[Any] = kept.cpu().numpy()
    return array


def canonical_array(layer: Layer, tensor: torch.Tensor) -> NDArray[Any]:
    """The values of a layer's stored tensor in canonical layout, read-only."""
    array = as_array(tensor)
    view = array.view() if layer.axes is None else array.transpose(layer.axes)
    view.flags.writeable = False
    return view


def stored_gradient(
    layer: Layer, gradient: NDArray[np.float64], tensor: torch.Tensor
) -> torch.Tensor:
    """A gradient in canonical layout as a tensor like the stored one."""
    kind = np.float64 if tensor.dtype == torch.float64 else np.float32
    converted = np.array(gradient, dtype=kind)
    if layer.axes is not None:
        converted = converted.transpose(np.argsort(layer.axes))
    return torch.from_numpy(converted).to(tensor.device, tensor.dtype)


def array_gradient(gradient: NDArray[np.float64], tensor: torch.Tensor) -> torch.Tensor:
    """A gradient as a tensor like the one that it is for."""
    kind = np.float64 if tensor.dtype == torch.float64 else np.float32
    return torch.from_numpy(np.array(gradient, dtype=kind)).to(tensor.device, tensor.dtype)
