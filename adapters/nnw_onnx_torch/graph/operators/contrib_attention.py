"""Attention of onnxruntime's domain `com.microsoft`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nnw_onnx_torch.graph.operators._attending import (
    attend,
    distances,
    join_heads,
    no_bias,
    rotated,
    share_heads,
    split_heads,
)
from nnw_onnx_torch.graph.operators._table import Call, numbers, operator

_DOMAIN = "com.microsoft"


def _padding_bias(mask: Tensor, q: Tensor, keys: int, filler: float) -> Tensor:
    """A mask of any of its forms as what is added to scores: 0, or the filler."""
    n, device = q.shape[0], q.device
    mask = mask.to(device)
    if mask.dim() == 1:
        ends = mask[:n, None]
        starts = mask[n:, None] if mask.numel() == 2 * n else torch.zeros_like(ends)
        places = torch.arange(keys, device=device)[None]
        kept = (places < ends) & (places >= starts)
    else:
        kept = mask != 0
    kept = {2: kept[:, None, None], 3: kept[:, None]}.get(kept.dim(), kept)[..., :keys]
    return torch.where(kept, 0.0, filler).to(q.dtype)


def _summed(*terms: Tensor | None) -> Tensor | None:
    given = [term for term in terms if term is not None]
    return sum(given[1:], given[0]) if given else None


@operator("Attention", domain=_DOMAIN)
def attention(
    call: Call,
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    added: Tensor | None = None,
    past_length: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention with its input projection; the present (2, n, heads, t, d) follows the past."""
    sizes = call.get("qkv_hidden_sizes") or [weights.shape[1] // 3] * 3
    projected = x @ weights if bias is None else x @ weights + bias
    heads = call.attributes["num_heads"]
    q, k, v = (split_heads(part, heads) for part in torch.split(projected, list(sizes), -1))
    before = 0
    if past is not None:
        before = past.shape[3]
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    keys = k.shape[2]
    filler = call.get("mask_filter_value", -10000.0)
    causal = None
    if call.get("unidirectional", 0):
        causal = no_bias(distances(q.shape[2], keys, before, q.device) <= 0, q.dtype)
    padding = None if mask is None else _padding_bias(mask, q, keys, filler)
    y = attend(q, k, v, _summed(padding, causal, added), call.get("scale"))
    present = torch.stack([k, v]) if k.shape == v.shape else k
    return join_heads(y), present


@operator("MultiHeadAttention", domain=_DOMAIN)
def multi_head_attention(
    call: Call,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    added: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of projected queries, keys and values, which may be packed; and the present."""
    heads = call.attributes["num_heads"]
    q, k, v = _unpacked(query, key, value, heads)
    if bias is not None:
        sizes = [q.shape[1] * q.shape[3], k.shape[1] * k.shape[3], v.shape[1] * v.shape[3]]
        q, k, v = (
            part + piece.reshape(heads, 1, -1)
            for part, piece in zip((q, k, v), torch.split(bias, sizes), strict=True)
        )
    before = 0
    if past_key is not None and past_value is not None:
        before = past_key.shape[2]
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    keys = k.shape[2]
    causal = None
    if call.get("unidirectional", 0):
        causal = no_bias(distances(q.shape[2], keys, before, q.device) <= 0, q.dtype)
    filler = call.get("mask_filter_value", -10000.0)
    padding = None if mask is None else _padding_bias(mask, q, keys, filler)
    y = attend(q, k, v, _summed(padding, causal, added), call.get("scale"))
    return join_heads(y), k, v


def _unpacked(
    query: Tensor, key: Tensor | None, value: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (n, heads, s, d) of any of their forms."""
    if key is None:
        q, k, v = query.permute(3, 0, 2, 1, 4)
        return q, k, v
    q = split_heads(query, heads)
    if value is None:
        k, v = key.permute(3, 0, 2, 1, 4)
        return q, k, v
    k, v = (split_heads(x, heads) if x.dim() == 3 else x for x in (key, value))
    return q, k, v


@operator("GroupQueryAttention", domain=_DOMAIN)
def group_query_attention(
    call: Call,
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    lengths: Tensor,
    total: Tensor,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    positions: Tensor | None = None,
    added: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Causal attention with fewer heads of keys than of queries, and a cache that it fills.

    `lengths` (n,) is the number of keys of each sample less 1, `total` the largest number.
    """
    heads, shared = call.attributes["num_heads"], call.attributes["kv_num_heads"]
    if key is None or value is None:
        size = query.shape[2] // (heads + 2 * shared)
        sizes = [heads * size, shared * size, shared * size]
        query, key, value = torch.split(query, sizes, -1)
    q, k, v = split_heads(query, heads), split_heads(key, shared), split_heads(value, shared)
    steps, whole = q.shape[2], numbers(total)[0]
    past = lengths.to(q.device, torch.int64).reshape(-1) + 1 - steps
    if whole == steps:
        past = torch.zeros_like(past)
    places = past[:, None] + torch.arange(steps, device=q.device)
    if call.get("do_rotary", 0) and cos is not None and sin is not None:
        at = places if positions is None else positions.to(q.device, torch.int64)
        angles = cos[at.clamp(min=0)].unsqueeze(1), sin[at.clamp(min=0)].unsqueeze(1)
        interleaved = bool(call.get("rotary_interleaved", 0))
        q, k = rotated(q, *angles, interleaved), rotated(k, *angles, interleaved)
    k, v = _written(past_key, k, places, whole), _written(past_value, v, places, whole)
    away = distances(steps, k.shape[2], past, q.device)
    allowed = away <= 0
    window = call.get("local_window_size", -1)
    allowed = allowed & (away > -window) if window > 0 else allowed
    bias = _summed(no_bias(allowed, q.dtype), added)
    assert bias is not None
    y = _capped(call, q, k, v, bias)
    return join_heads(y), k, v


def _written(cache: Tensor | None, new: Tensor, places: Tensor, total: int) -> Tensor:
    """A cache (n, heads, t, d), long enough, with new entries at the places (n, s)."""
    n, heads, _, size = new.shape
    length = total if cache is None else max(total, cache.shape[2])
    grown = new.new_zeros(n, heads, length, size)
    if cache is not None:
        grown = torch.cat([cache, grown[:, :, cache.shape[2] :]], 2)
    samples = torch.arange(n, device=new.device)[:, None]
    entries = new.transpose(1, 2).to(grown.dtype)
    rows = grown.transpose(1, 2).index_put((samples, places), entries)
    return rows.transpose(1, 2)


def _capped(call: Call, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention with what this operator may ask: capped scores, and a softmax with one more 1."""
    cap, smooth = call.get("softcap", 0.0), call.get("smooth_softmax", 0) > 0
    scale = call.get("scale") or None
    if not (cap or smooth):
        return attend(q, k, v, bias, scale)
    k, v = share_heads(k, q.shape[1]), share_heads(v, q.shape[1])
    scores = (q @ k.transpose(2, 3)) * (scale or 1 / math.sqrt(q.shape[3]))
    scores = (cap * torch.tanh(scores / cap) if cap else scores) + bias
    if smooth:
        sink = scores.new_zeros(*scores.shape[:3], 1)
        return torch.softmax(torch.cat([scores, sink], -1), -1)[..., :-1] @ v
    return torch.softmax(scores, -1) @ v


@operator("RotaryEmbedding", domain=_DOMAIN)
def rotary_embedding(call: Call, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Features turned by the angles of their positions; one position counts on from there."""
    packed = x.dim() == 3
    size = 2 * cos.shape[1]
    heads = call.get("num_heads", 0) or (x.shape[2] // size if packed else 0)
    features = split_heads(x, heads) if packed else x
    at = positions.to(x.device, torch.int64)
    if at.numel() == 1:
        at = at.reshape(1, 1) + torch.arange(features.shape[2], device=x.device)
    angles = cos[at].unsqueeze(1), sin[at].unsqueeze(1)
    y = rotated(features, *angles, bool(call.get("interleaved", 0)))
    y = y * call.get("scale", 1.0) if call.get("scale", 1.0) != 1.0 else y
    return join_heads(y) if packed else y
