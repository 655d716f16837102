"""A term of the loss on torch, from a numpy function that gives value and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from keras import ops

from nnw_onnx.vocabulary import Array

Compute = Callable[[Sequence[Array], Sequence[Array]], tuple[float, Sequence[Array]]]
"""Values of tensors, and of the batch -> value of the term, its gradients by the tensors."""


class _Term(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, compute: Compute, told: Sequence[Array], *tensors: torch.Tensor
    ) -> torch.Tensor:
        value, gradients = compute([_array(tensor) for tensor in tensors], told)
        kept = [
            torch.as_tensor(np.array(g), dtype=t.dtype, device=t.device)
            for g, t in zip(gradients, tensors, strict=True)
        ]
        context.save_for_backward(*kept)
        # Half precision would round a small penalty away.
        double = bool(tensors) and tensors[0].dtype == torch.float64
        device = tensors[0].device if tensors else None
        return torch.tensor(value, dtype=torch.float64 if double else torch.float32, device=device)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> Any:
        scaled = (upstream[0].to(g.dtype) * g for g in context.saved_tensors)
        return None, None, *scaled


def term(compute: Compute, tensors: Sequence[Any], batch: Sequence[Any]) -> Any:
    """A scalar of at least single precision whose gradients are those that `compute` returns."""
    apply: Callable[..., torch.Tensor] = _Term.apply
    told = [_array(ops.convert_to_tensor(part)) for part in batch]
    return apply(compute, told, *(ops.convert_to_tensor(tensor) for tensor in tensors))


def gradients(function: Callable[[Sequence[Any]], Any], at: Sequence[Array]) -> list[Array]:
    """Gradients of a scalar function of tensors."""
    tensors = [ops.convert_to_tensor(np.array(array)).detach().requires_grad_() for array in at]
    with torch.enable_grad():
        found = torch.autograd.grad(function(tensors), tensors, allow_unused=True)
    return [
        np.zeros(array.shape) if gradient is None else _array(gradient)
        for gradient, array in zip(found, at, strict=True)
    ]


def _array(tensor: torch.Tensor) -> Array:
    plain = tensor.detach().cpu()
    found: Array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return found
