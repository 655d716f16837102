"""Weights as the file or the module stores them, and in canonical layout: there and back."""

from __future__ import annotations

import numpy as np
import torch

from nnw_onnx.vocabulary import Array, Layer
from nnw_onnx_torch.graph.dtypes import on_host


def as_array(tensor: torch.Tensor) -> Array:
    """The values of a tensor; bfloat16, which numpy lacks, as float32.

    On the CPU this is the memory of the tensor itself.
    """
    kept = on_host(tensor)
    array: Array = (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy()
    return array


def canonical_array(layer: Layer, tensor: torch.Tensor) -> Array:
    """The values of a layer's stored tensor in canonical layout, read-only."""
    array = as_array(tensor)
    view = array.view() if layer.axes is None else array.transpose(layer.axes)
    view.flags.writeable = False
    return view


def canonical_tensor(layer: Layer, tensor: torch.Tensor) -> torch.Tensor:
    """A layer's stored tensor in canonical layout, where it is, without its gradient."""
    kept = tensor.detach()
    return kept if layer.axes is None else kept.permute(*layer.axes)


def stored_tensor(layer: Layer, values: Array | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Values in canonical layout as a tensor of the layout, type and device of the stored one."""
    back = None if layer.axes is None else np.argsort(layer.axes).tolist()
    if isinstance(values, torch.Tensor):
        return tensor_like(values if back is None else values.permute(*back), like)
    return tensor_like(values if back is None else values.transpose(back), like)


def tensor_like(values: Array | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Values as a tensor of the type and device of another one."""
    if isinstance(values, torch.Tensor):  # by way of float32, as from the CPU
        kind = torch.float64 if like.dtype == torch.float64 else torch.float32
        return values.to(like.device, kind).to(like.dtype)
    if values.dtype.kind == "b":
        return torch.from_numpy(np.array(values)).to(like.device)
    # What comes from a method is float64; half types are reached by way of float32, as numpy lacks
    # one of them.
    number = np.float64 if like.dtype == torch.float64 else np.float32
    return torch.from_numpy(np.array(values, dtype=number)).to(like.device, like.dtype)
