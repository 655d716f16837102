"""Products by index notation, and determinants."""

from __future__ import annotations

import torch
from torch import Tensor

from nnw_onnx_torch.graph.operators._table import Call, operator


@operator("Einsum")
def einsum(call: Call, *inputs: Tensor) -> Tensor:
    """A sum of products in Einstein's notation."""
    return torch.einsum(call.attributes["equation"].replace(" ", ""), *inputs)


@operator("Det")
def det(call: Call, x: Tensor) -> Tensor:
    """Determinants of square matrices (..., m, m)."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    determinants: Tensor = torch.linalg.det(wide)
    return determinants.to(x.dtype)
