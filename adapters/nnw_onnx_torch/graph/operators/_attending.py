"""Scaled dot products and rotary positions, for the operators of several domains.

Heads are apart: queries (n, heads, s, d), keys and values (n, heads, t, d).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(n, s, heads * d) as (n, heads, s, d)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(n, heads, s, d) as (n, s, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def share_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values of fewer heads, each repeated for its group of queries."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def no_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be attended, minus infinity elsewhere."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, -math.inf)


def distances(queries: int, keys: int, offset: int | Tensor, device: torch.device) -> Tensor:
    """Key minus query position, (s, t), or (n, 1, s, t) for an offset (n,) of each sample."""
    places = torch.arange(queries, device=device)[:, None]
    if isinstance(offset, Tensor):
        places = places + offset.to(device).reshape(-1, 1, 1, 1)
    else:
        places = places + offset
    return torch.arange(keys, device=device) - places


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """softmax(scale * q @ k.T + bias) @ v; `causal` lets query i attend the keys to i."""
    k, v = share_heads(k, q.shape[1]), share_heads(v, q.shape[1])
    bias = None if bias is None else bias.to(q.dtype)
    return functional.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, scale=scale or None, is_causal=causal
    )


def rotated(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Features (n, heads, s, d) with the first 2 * half turned by angles (..., s, half)."""
    half = cos.shape[-1]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    pairs = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real = cos * pairs[0] - sin * pairs[1]
    imaginary = sin * pairs[0] + cos * pairs[1]
    if interleaved:
        joined = torch.stack([real, imaginary], -1).flatten(-2)
    else:
        joined = torch.cat([real, imaginary], -1)
    return torch.cat([joined, rest], -1)
