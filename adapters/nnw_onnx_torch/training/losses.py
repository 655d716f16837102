"""The losses by name, each the mean over what counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Loss
from nnw_onnx_torch.graph.ends import SIGMOID, SOFTMAX
from nnw_onnx_torch.graph.module import OnnxModule

OVER_CLASSES: tuple[Loss, ...] = ("cross-entropy", "soft-cross-entropy", "next-token")
"""Losses of scores of classes."""
_LEFT_OUT: Mapping[Loss, frozenset[str]] = {**dict.fromkeys(OVER_CLASSES, SOFTMAX), "bce": SIGMOID}
_IGNORED = -100


def answers(
    module: OnnxModule, inputs: Sequence[torch.Tensor], loss: Loss, output: int
) -> torch.Tensor:
    """What a loss is computed of: an output without the Softmax or Sigmoid that the loss brings."""
    left_out = _LEFT_OUT.get(loss, frozenset())
    if loss != "cross-entropy" or not module.ends_in_sigmoid(output):
        return module.scores(*inputs, output=output, without=left_out)
    # One score stands for two classes, and the loss brings its Sigmoid; among several it stays.
    told = module.scores(*inputs, output=output, without=SIGMOID)
    return told if told.numel() == len(told) else told.sigmoid()


def loss_of(
    name: Loss,
    output: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    ignoring: bool = True,
) -> torch.Tensor:
    """The loss (scalar, at least float32) of answers (n, ...) to n samples; see `vocabulary.Loss`.

    Classes instead of probabilities are learned by the hard loss, whatever the name: so a job that
    distils can have samples of a method's own.

    Args:
        name: of the loss.
        output: answers.
        targets: what is right.
        temperature: of "soft-cross-entropy".
        label_smoothing: of the losses of classes.
        ignoring: False where no class is known to be negative, so that nobody has to look, for
            which an accelerator would have to be waited for.

    Raises:
        TrainingError: answers and targets do not fit one another.
    """
    kept = output if output.dtype == torch.float64 else output.float()
    if name == "soft-cross-entropy" and targets.is_floating_point():
        return _soft(kept, targets, temperature, label_smoothing)
    if name in ("cross-entropy", "soft-cross-entropy"):
        return _hard(kept, targets, label_smoothing, ignoring)
    if name == "next-token":
        return _next_token(kept, targets, label_smoothing, ignoring)
    return _ELEMENTWISE[name](*_alike(name, kept, targets))


def _hard(
    output: torch.Tensor, targets: torch.Tensor, smoothing: float, ignoring: bool
) -> torch.Tensor:
    if targets.is_floating_point():
        raise _misfit("classes as integers", output, targets)
    scores = _scores(output, targets)
    if scores.shape in (targets.shape, (*targets.shape[:1], 1, *targets.shape[1:])):
        return _binary(scores.reshape(targets.shape), targets, smoothing)
    if scores.shape[:1] + scores.shape[2:] != targets.shape:
        raise _misfit("scores (n, classes, ...) and classes (n, ...)", output, targets)
    return _entropy(scores, targets, smoothing, ignoring)


def _binary(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Of two classes, one score of which is that of class 1; 0 where no target counts."""
    counted = targets >= 0
    wanted = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1)


def _entropy(
    scores: torch.Tensor, targets: torch.Tensor, smoothing: float, ignoring: bool
) -> torch.Tensor:
    """Mean over the targets that are not negative; 0 where there is none."""
    classes = targets.long()
    if scores.ndim > 2:
        # One row a place: over images torch has no deterministic gradient on an accelerator.
        scores, classes = scores.movedim(1, -1).flatten(0, -2), classes.flatten()
    ignored = classes < 0
    # On the CPU looking costs nothing; an accelerator would have to be waited for.
    if not ignoring or (ignored.device.type == "cpu" and not ignored.any()):
        return functional.cross_entropy(scores, classes, label_smoothing=smoothing)
    total = functional.cross_entropy(
        scores,
        classes.masked_fill(ignored, _IGNORED),
        reduction="sum",
        label_smoothing=smoothing,
    )
    return total / (~ignored).sum().clamp(min=1)


def _soft(
    output: torch.Tensor, targets: torch.Tensor, heat: float, smoothing: float
) -> torch.Tensor:
    """Cross-entropy against probabilities; up to a constant the Kullback-Leibler divergence."""
    scores = output
    while scores.ndim > max(2, targets.ndim) and scores.shape[-1] == 1:
        scores = scores.squeeze(-1)
    if scores.shape != targets.shape:
        raise _misfit("probabilities of the shape of the scores", output, targets)
    cooled = scores if heat == 1 else scores / heat
    wanted = targets.to(cooled.dtype)
    loss = functional.cross_entropy(cooled, wanted, label_smoothing=smoothing)
    return loss if heat == 1 else loss * heat**2


def _next_token(
    output: torch.Tensor, targets: torch.Tensor, smoothing: float, ignoring: bool
) -> torch.Tensor:
    if output.ndim != 3 or output.shape[:2] != targets.shape or output.shape[1] < 2:
        raise _misfit(
            "scores (n, length, vocabulary) and token ids (n, length) of at least two tokens",
            output,
            targets,
        )
    scores = output[:, :-1].flatten(0, 1)
    return _entropy(scores, targets[:, 1:].flatten(), smoothing, ignoring)


def _scores(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Scores without the axes of one element that an image of features leaves behind."""
    while output.ndim > targets.ndim + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    return output


def _alike(
    name: str, output: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and targets of one shape and type; axes of one element may be missing at the end."""
    wanted = targets.to(output.dtype)
    while wanted.ndim < output.ndim and output.shape[wanted.ndim :].numel() == 1:
        wanted = wanted.unsqueeze(-1)
    if wanted.shape != output.shape:
        raise _misfit(f"targets of the shape of the output for {name}", output, targets)
    return output, wanted


def _misfit(expected: str, output: torch.Tensor, targets: torch.Tensor) -> TrainingError:
    return TrainingError(
        f"loss: expected {expected}, got an output {tuple(output.shape)} and targets "
        f"{tuple(targets.shape)} of {str(targets.dtype).removeprefix('torch.')}; choose another "
        "loss or output, or correct the targets"
    )


_ELEMENTWISE: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "bce": functional.binary_cross_entropy_with_logits,
}
