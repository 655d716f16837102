"""Attention, rotary positions and their recurrent relatives."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.dtypes import TORCH_TYPES
from nnw_onnx_torch.graph.operators._attending import (
    attend,
    distances,
    join_heads,
    no_bias,
    rotated,
    share_heads,
    split_heads,
)
from nnw_onnx_torch.graph.operators._table import Call, operator


@operator("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """Scaled dot product attention: Y, the keys and values with the past, and the scores."""
    packed = q.dim() == 3
    if packed:
        q = split_heads(q, call.attributes["q_num_heads"])
        k, v = (split_heads(t, call.attributes["kv_num_heads"]) for t in (k, v))
    past = 0
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    offset: int | Tensor = past
    if past_key is None and valid is not None:
        offset = valid - q.shape[2]
    bias, causal = _bias(call, q, k, mask, offset, valid)
    scale = call.get("scale") or 1 / math.sqrt(q.shape[3])
    scores = None
    precise = call.get("softmax_precision") not in (None, 0)
    if call.get("softcap", 0.0) or precise or (len(call.outputs) > 3 and call.outputs[3]):
        if causal:
            away = distances(q.shape[2], k.shape[2], 0, q.device)
            bias = no_bias(away <= 0, q.dtype)
        y, scores = _scored(call, q, k, v, bias, scale)
    else:
        y = attend(q, k, v, bias, scale, causal)
    return join_heads(y) if packed else y, k, v, scores


def _bias(
    call: Call,
    q: Tensor,
    k: Tensor,
    mask: Tensor | None,
    offset: int | Tensor,
    valid: Tensor | None,
) -> tuple[Tensor | None, bool]:
    """What is added to the scores, or None; and whether it is plainly causal instead."""
    causal = bool(call.get("is_causal", 0))
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if causal and mask is None and valid is None and max(left, right) < 0 and offset == 0:
        return None, True
    away = distances(q.shape[2], k.shape[2], offset, q.device)
    limits = [away <= 0] if causal else []
    limits += [away >= -left] if left >= 0 else []
    limits += [away <= right] if right >= 0 else []
    if valid is not None:
        keys = torch.arange(k.shape[2], device=q.device)
        limits.append(keys < valid.to(q.device).reshape(-1, 1, 1, 1))
    terms = [no_bias(limit, q.dtype) for limit in limits]
    if mask is not None:
        missing = k.shape[2] - mask.shape[-1]
        mask = no_bias(mask, q.dtype) if mask.dtype == torch.bool else mask
        terms.append(functional.pad(mask, (0, missing), value=-math.inf) if missing > 0 else mask)
    return (sum(terms[1:], terms[0]), False) if terms else (None, False)


def _scored(
    call: Call, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Y, and the scores after the stage that `qk_matmul_output_mode` tells."""
    heads = q.shape[1]
    k, v = share_heads(k, heads), share_heads(v, heads)
    root = math.sqrt(scale)
    scores = (q * root) @ (k * root).transpose(2, 3)
    cap = call.get("softcap", 0.0)
    capped = cap * torch.tanh(scores / cap) if cap else scores
    biased = capped if bias is None else capped + bias
    precision = TORCH_TYPES.get(call.get("softmax_precision") or 0, q.dtype)
    shares = torch.softmax(biased.to(precision), -1)
    if bias is not None:
        shares = shares.masked_fill((bias == -math.inf).all(-1, keepdim=True), 0.0)
    shares = shares.to(q.dtype)
    return shares @ v, (scores, capped, biased, shares)[call.get("qk_matmul_output_mode", 0)]


@operator("RotaryEmbedding")
def rotary_embedding(
    call: Call, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Features turned by the angles of their positions (Su et al. 2021, arXiv:2104.09864)."""
    if positions is not None:
        positions = positions.to(cos.device, torch.int64)
        cos, sin = cos[positions], sin[positions]
    interleaved = bool(call.get("interleaved", 0))
    packed = x.dim() == 3
    heads = split_heads(x, call.attributes["num_heads"]) if packed else x
    y = rotated(heads, cos.unsqueeze(1), sin.unsqueeze(1), interleaved)
    return join_heads(y) if packed else y


@operator("LinearAttention")
def linear_attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    decay: Tensor | None = None,
    rate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention by a state (n, heads, d, e) that each step decays and adds to: Y and the state."""
    shared = call.attributes["kv_num_heads"]
    q = split_heads(q, call.attributes["q_num_heads"])
    k, v = split_heads(k, shared), split_heads(v, shared)
    rule = call.get("update_rule", "gated_delta")
    kept = None if decay is None or "gated" not in rule else split_heads(decay, shared).exp()
    beta = None if rate is None else split_heads(rate, rate.shape[2])
    if state is None:
        state = q.new_zeros(q.shape[0], shared, k.shape[3], v.shape[3])
    scale = call.get("scale", 0.0) or 1 / math.sqrt(q.shape[3])
    outputs: list[Tensor] = []
    for t in range(q.shape[2]):
        state = state if kept is None else kept[:, :, t, :, None] * state
        key, value = k[:, :, t, :, None], v[:, :, t, None, :]
        if "delta" in rule:
            assert beta is not None
            value = beta[:, :, t, :, None] * (value - key.transpose(2, 3) @ state)
        state = state + key * value
        query = q[:, :, t, None, :]
        outputs.append(scale * (query @ share_heads(state, q.shape[1])))
    return join_heads(torch.cat(outputs, 2)), state


@operator("CausalConvWithState")
def causal_conv_with_state(
    call: Call, x: Tensor, w: Tensor, bias: Tensor | None = None, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A depthwise convolution that looks back only: Y, and the last inputs for the next call."""
    back = w.shape[2] - 1
    x = functional.pad(x, (back, 0)) if state is None else torch.cat([state, x], 2)
    y = functional.conv1d(x, w, bias, groups=w.shape[0])
    y = functional.silu(y) if call.get("activation", "none") in ("silu", "swish") else y
    return y, x[:, :, x.shape[2] - back :]
