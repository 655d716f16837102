"""What torch and the functions of the table raise, on any device, in one line of our own."""

from __future__ import annotations

import torch

from nnw_onnx.errors import TrainingError

FAILURES = (
    RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError,
    AssertionError, MemoryError, ImportError,
)  # fmt: skip
"""Errors of an accelerator, lack of its memory and NotImplementedError are RuntimeErrors; parts of
torch may not be installed."""


def failed(label: str, error: Exception) -> TrainingError:
    """What to raise where a node failed.

    Args:
        label: operator and name of the node.
        error: one of `FAILURES`.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    brief = reason.partition(". ")[0][:300]
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return TrainingError(
            f"{label}: expected memory enough, got: {brief}; choose a smaller batch size, or "
            "device 'cpu'"
        )
    if isinstance(error, NotImplementedError):
        return TrainingError(
            f"{label}: expected an operator that torch has for this device and type, got: {brief}; "
            "use device 'cpu', or float32"
        )
    return TrainingError(
        f"{label}: expected inputs that it can compute with, got an error of torch "
        f"({reason[:300]}); check shapes and types of the inputs, and whether the graph fixes the "
        "size of a batch"
    )
