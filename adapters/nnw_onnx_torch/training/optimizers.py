"""The optimizer of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nnw_onnx.vocabulary import Layer, Recipe

_DECAYED = ("kernel", "recurrent", "embedding")
_FUSED = (torch.float32, torch.float64)


def make_optimizer(
    recipe: Recipe, layers: Sequence[Layer], tensors: Mapping[str, torch.Tensor]
) -> torch.optim.Optimizer:
    """Optimizer of every tensor that learns; only kernels, recurrent and embeddings are decayed.

    The decay is a part of the gradient (L2) in both optimizers.
    """
    roles = {layer.name: layer.role for layer in layers}
    learning = {name: t for name, t in tensors.items() if t.requires_grad}
    decayed = [t for name, t in learning.items() if roles.get(name) in _DECAYED]
    others = [t for name, t in learning.items() if roles.get(name) not in _DECAYED]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    fused = all(t.dtype in _FUSED for t in learning.values())
    if recipe.optimizer == "adam":
        return torch.optim.Adam(filled, lr=recipe.learning_rate, fused=fused)
    return torch.optim.SGD(
        filled,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=fused,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all tensors this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
