"""Global state of torch that a training sets, and leaves as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from nnw_onnx.errors import TrainingError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# Before torch 2.8 a failing device had no class of its own.
_DEVICE_ERRORS: tuple[type[Exception], ...] = (
    torch.OutOfMemoryError,
    vars(torch).get("AcceleratorError", torch.OutOfMemoryError),
)


def device_named(name: str) -> torch.device:
    """The device of "cpu", "cuda" or "auto" (the accelerator where there is one).

    Raises:
        TrainingError: there is no such device.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise TrainingError(
            "device: expected a CUDA device, got none that torch can use; install a torch for "
            "your driver, or choose device 'cpu'"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def label(device: torch.device) -> str:
    """The word cpu, or the name of the accelerator."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def free_memory(device: torch.device) -> int:
    """Bytes that an accelerator has free; 0 for a device that does not tell."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def brought(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device, without waiting for what the device does."""
    # From memory that may be swapped out CUDA copies only when it has nothing else to do.
    given = tensor.pin_memory() if device.type == "cuda" else tensor
    return given.to(device, non_blocking=True)


def finished(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """Errors of the device in one line: those of an accelerator show later than they happen.

    Raises:
        TrainingError: the device has failed, or has not memory enough.
    """
    try:
        yield
    except _DEVICE_ERRORS as error:
        words = str(error).strip().partition("\n")[0][:300]
        few = isinstance(error, torch.OutOfMemoryError)
        cure = (
            "choose a smaller batch size"
            if few
            else ("see that classes and indices are within their tables, or train on the CPU")
        )
        raise TrainingError(
            f"training: expected a device that works, got: {words}; {cure}"
        ) from error


def reseed(device: torch.device, seed: int) -> None:
    """Seed the generators that dropout uses."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def set_for_training(device: torch.device, threads: int, *, deterministic: bool) -> Iterator[None]:
    """Threads, determinism and random state for the time of a training."""
    threads_before = torch.get_num_threads()
    strict, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    # Not in the types of torch.
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    workspace = os.environ.get(_WORKSPACE)
    cuda = [torch.cuda.current_device()] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        stack.enter_context(torch.enable_grad())
        if cuda:
            stack.enter_context(
                torch.backends.cudnn.flags(
                    benchmark=False,
                    deterministic=deterministic,
                    allow_tf32=torch.backends.cudnn.allow_tf32,
                )
            )
        try:
            torch.set_num_threads(threads)
            os.environ.setdefault(_WORKSPACE, ":4096:8")
            torch.use_deterministic_algorithms(deterministic)
            # It would write every new tensor twice, and nothing here reads one before writing it.
            memory.fill_uninitialized_memory = False
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.use_deterministic_algorithms(strict, warn_only=warn)
            memory.fill_uninitialized_memory = fill
            if workspace is None:
                os.environ.pop(_WORKSPACE, None)
