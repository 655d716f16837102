"""Random tensors, from torch's own generator: `torch.manual_seed` is what repeats them.

The seed of a node is not used, since one fixed seed would give the same draw at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._table import Call, operator


def _normal(call: Call, x: Tensor) -> Tensor:
    return x.normal_(call.get("mean", 0.0), call.get("scale", 1.0))


def _uniform(call: Call, x: Tensor) -> Tensor:
    return x.uniform_(call.get("low", 0.0), call.get("high", 1.0))


def _empty(call: Call) -> Tensor:
    return torch.empty(list(call.attributes["shape"]), dtype=TORCH_TYPES[call.get("dtype", 1)])


def _like(call: Call, x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=TORCH_TYPES.get(call.get("dtype"), x.dtype), device=x.device)


@operator("RandomNormal")
def random_normal(call: Call) -> Tensor:
    """Normal numbers of a given shape."""
    return _normal(call, _empty(call))


@operator("RandomNormalLike")
def random_normal_like(call: Call, x: Tensor) -> Tensor:
    """Normal numbers of the shape of another tensor."""
    return _normal(call, _like(call, x))


@operator("RandomUniform")
def random_uniform(call: Call) -> Tensor:
    """Uniform numbers of a given shape."""
    return _uniform(call, _empty(call))


@operator("RandomUniformLike")
def random_uniform_like(call: Call, x: Tensor) -> Tensor:
    """Uniform numbers of the shape of another tensor."""
    return _uniform(call, _like(call, x))


@operator("Bernoulli")
def bernoulli(call: Call, x: Tensor) -> Tensor:
    """1 with the probability that each element tells, else 0."""
    return torch.bernoulli(x.detach()).to(TORCH_TYPES.get(call.get("dtype"), x.dtype))


@operator("Multinomial")
def multinomial(call: Call, x: Tensor) -> Tensor:
    """Classes (n, samples) drawn by unnormalised log probabilities (n, classes)."""
    shares = torch.softmax(x.detach().float(), -1)
    drawn = torch.multinomial(shares, call.get("sample_size", 1), replacement=True)
    return drawn.to(TORCH_TYPES[call.get("dtype", 6)])
