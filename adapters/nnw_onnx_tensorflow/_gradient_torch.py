"""A term of the loss on torch, from a numpy function that gives value and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from keras import ops
from numpy.typing import NDArray

Compute = Callable[[Sequence[NDArray[Any]]], tuple[float, Sequence[NDArray[Any]]]]


class _Term(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, compute: Compute, *tensors: Any) -> Any:
        value, gradients = compute([tensor.detach().cpu().double().numpy() for tensor in tensors])
        first = tensors[0]
        kept = [torch.as_tensor(g, dtype=first.dtype, device=first.device) for g in gradients]
        context.save_for_backward(*kept)
        return first.new_tensor(value)

    @staticmethod
    def backward(context: Any, *upstream: Any) -> Any:
        return None, *(upstream[0] * gradient for gradient in context.saved_tensors)


def term(compute: Compute, tensors: Sequence[Any]) -> Any:
    """A scalar of the type of the tensors whose gradient is the one that `compute` returns."""
    apply: Any = _Term.apply
    return apply(compute, *(ops.convert_to_tensor(tensor) for tensor in tensors))
