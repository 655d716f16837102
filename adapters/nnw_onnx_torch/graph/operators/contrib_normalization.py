"""Normalizations of onnxruntime's domain, with the sum of a skip connection in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.operators._table import Call, operator

_DOMAIN = "com.microsoft"


def _skipped(x: Tensor, skip: Tensor, bias: Tensor | None) -> Tensor:
    total = x + skip
    return total if bias is None else total + bias


def _statistics(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    wide = x if x.dtype == torch.float64 else x.float()
    var, mean = torch.var_mean(wide, -1, correction=0, keepdim=True)
    return mean, torch.rsqrt(var + epsilon)


def _root_mean_square(x: Tensor, scale: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """What x is over its root mean square, times a scale; and one over that root."""
    axes = list(range(x.dim() - scale.dim(), x.dim()))
    wide = x if x.dtype == torch.float64 else x.float()
    inverse = torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (wide * inverse).to(x.dtype) * scale, inverse


@operator("SkipLayerNormalization", domain=_DOMAIN)
def skip_layer_normalization(
    call: Call,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """LayerNormalization of a sum; its mean, one over its deviation, and the sum."""
    epsilon = call.get("epsilon", 1e-12)
    total = _skipped(x, skip, bias)
    y = functional.layer_norm(total, total.shape[-1:], scale, shift, epsilon)
    asked = any(call.outputs[1:3])
    mean, inverse = _statistics(total, epsilon) if asked else (None, None)
    return y, mean, inverse, total


@operator("SkipSimplifiedLayerNormalization", domain=_DOMAIN)
def skip_simplified_layer_normalization(
    call: Call, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """A sum over the root of its mean square; no mean, one over that root, and the sum."""
    total = _skipped(x, skip, bias)
    y, inverse = _root_mean_square(total, scale, call.get("epsilon", 1e-5))
    return y, None, inverse, total


@operator("SimplifiedLayerNormalization")
def simplified_layer_normalization(call: Call, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """What x is over its root mean square over the axes from `axis` on; and one over that."""
    spanned = x.dim() - call.get("axis", -1) % x.dim()
    scale = scale.reshape((1,) * (spanned - scale.dim()) + scale.shape)
    return _root_mean_square(x, scale, call.get("epsilon", 1e-5))


@operator("EmbedLayerNormalization", domain=_DOMAIN)
def embed_layer_normalization(
    call: Call,
    tokens: Tensor,
    segments: Tensor | None,
    words: Tensor,
    places: Tensor,
    kinds: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    mask: Tensor | None = None,
    positions: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The normalized sum of embeddings, the number of tokens that a mask keeps, and the sum."""
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=words.device)[None]
    total = words[tokens.long()] + places[positions.long()]
    if segments is not None and kinds is not None:
        total = total + kinds[segments.long()]
    y = functional.layer_norm(total, total.shape[-1:], scale, shift, call.get("epsilon", 1e-12))
    counts = tokens.new_zeros(tokens.shape[0]) if mask is None else mask.sum(1)
    return y, counts.to(torch.int32), total
