"""Quantizers of QONNX (Pappalardo et al. 2022, arXiv:2206.07527); gradients pass straight through.

Every domain under which they are exported is known.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nnw_onnx_torch.graph.operators._table import Call, operator

_DOMAINS = ("onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general")

_ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "ROUND": torch.round,
    "HALF_EVEN": torch.round,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "UP": lambda x: x.sign() * x.abs().ceil(),
    "DOWN": torch.trunc,
    "ROUND_TO_ZERO": torch.trunc,
    "HALF_UP": lambda x: x.sign() * (x.abs() + 0.5).floor(),
    "HALF_DOWN": lambda x: x.sign() * (x.abs() - 0.5).ceil(),
}


def quant(call: Call, x: Tensor, scale: Tensor, zero: Tensor, width: Tensor) -> Tensor:
    """Numbers of `width` bits, times their scale."""
    signed, narrow = call.get("signed", 1), call.get("narrow", 0)
    levels = 2 ** (width.to(x.device) - (1 if signed else 0))
    low = -levels + narrow if signed else torch.zeros_like(levels)
    high = levels - 1 if signed else levels - 1 - narrow
    held = torch.clamp(x / scale + zero, low, high)
    near = _ROUNDINGS[call.get("rounding_mode", "ROUND").upper()](held)
    return (held + (near - held).detach() - zero) * scale


def bipolar_quant(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """The sign of each number, times the scale; 0 counts as positive."""
    sign = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
    return (x + (sign - x).detach()) * scale


for _domain in _DOMAINS:
    operator("Quant", domain=_domain)(quant)
    operator("BipolarQuant", domain=_domain)(bipolar_quant)
