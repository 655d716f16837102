"""Losses that are part of a graph."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.operators._table import Call, operator


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    call: Call, x: Tensor, target: Tensor, weight: Tensor | None = None
) -> Tensor:
    """The negative log probability (n, c, ...) of the target classes (n, ...), reduced."""
    # Without `ignore_index` every target counts; no target can be this small.
    ignored = call.get("ignore_index", -(2**62))
    return functional.nll_loss(
        x,
        target.long(),
        None if weight is None else weight.detach(),
        ignore_index=ignored,
        reduction=call.get("reduction", "mean"),
    )


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    call: Call, x: Tensor, target: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The cross entropy of scores (n, c, ...) and classes (n, ...), and the log probabilities."""
    logs = functional.log_softmax(x, 1)
    return negative_log_likelihood_loss(call, logs, target, weight), logs
