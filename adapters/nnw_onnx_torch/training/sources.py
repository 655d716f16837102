"""Samples as tensors: kept on the device as a whole where they fit, else read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Samples, Targets
from nnw_onnx_torch.graph.dtypes import to_tensor
from nnw_onnx_torch.graph.feeds import arranged
from nnw_onnx_torch.training import surroundings

SHARE = 0.5
"""The most of the device's free memory that the samples of a training may take."""
_PIECE = 1024


class Span(NamedTuple):
    """The smallest and largest class of some samples."""

    low: int
    high: int


class Read(NamedTuple):
    """Some samples on the device that trains.

    Attributes:
        inputs: for each input of the network (n, ...).
        targets: what is right (n, ...).
        span: of the targets that are classes, else None; of all samples where they are kept.
    """

    inputs: list[torch.Tensor]
    targets: torch.Tensor
    span: Span | None


class Source:
    """The samples of a job, or those of a method."""

    def __init__(
        self, samples: Samples, names: Sequence[str], device: torch.device, *, keep: bool
    ) -> None:
        """Take samples.

        Args:
            samples: to train on.
            names: inputs of the network, in order.
            device: that trains.
            keep: whether they are read often enough to be kept on an accelerator, if they fit.
        """
        self._samples, self._names, self._device = samples, names, device
        self._kept = self._all() if keep and device.type != "cpu" else None

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def kept(self) -> bool:
        """Whether the samples lie on the device."""
        return self._kept is not None

    def placed(self, order: torch.Tensor) -> torch.Tensor:
        """Numbers of samples where `read` needs them; once for many batches."""
        return surroundings.brought(order, self._device) if self.kept else order

    def read(self, chosen: torch.Tensor) -> Read:
        """The samples of these numbers, which `placed` has brought."""
        if self._kept is None:
            inputs, targets = self._read(chosen)
            span = _span(targets)
            moved = [surroundings.brought(t, self._device) for t in (*inputs, targets)]
            return Read(moved[:-1], moved[-1], span)
        taken = [x.index_select(0, chosen) for x in (*self._kept.inputs, self._kept.targets)]
        return Read(taken[:-1], taken[-1], self._kept.span)

    def _all(self) -> Read | None:
        """Every sample on the device; None where they do not fit or differ in shape."""
        like = self._tensors(torch.arange(1))
        size = len(self) * sum(t.numel() * t.element_size() for t in like)
        if size > SHARE * surroundings.free_memory(self._device):
            return None
        whole = [torch.empty((len(self), *t.shape[1:]), dtype=t.dtype, device=self._device)
                 for t in like]  # fmt: skip
        spans = []
        for start in range(0, len(self), _PIECE):
            numbers = torch.arange(start, min(start + _PIECE, len(self)))
            piece = self._tensors(numbers)
            # Texts that are padded to the longest of a batch are another thing in every batch.
            if any(t.shape[1:] != w.shape[1:] for t, w in zip(piece, whole, strict=True)):
                return None
            for kept, read in zip(whole, piece, strict=True):
                kept[start : start + len(read)] = read.to(self._device)
            spans.append(_span(piece[-1]))
        return Read(whole[:-1], whole[-1], _joined(spans))

    def _tensors(self, chosen: torch.Tensor) -> list[torch.Tensor]:
        inputs, targets = self._read(chosen)
        return [*inputs, targets]

    def _read(self, chosen: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Inputs in the order of the network's, and targets, on the CPU."""
        read = self._samples.read(chosen.numpy())
        inputs = [to_tensor(np.asarray(read.feeds[n])) for n in arranged(read.feeds, self._names)]
        targets = target_tensor(read.targets)
        for found in (*inputs, targets):
            if found.ndim < 1 or len(found) != len(chosen):
                raise TrainingError(
                    f"samples: expected {len(chosen)} inputs and targets, got an array "
                    f"{tuple(found.shape)}; correct Samples.read"
                )
        return inputs, targets


def target_tensor(targets: Targets) -> torch.Tensor:
    """Targets (n, ...) as a tensor; booleans as float32, since they are learned as such.

    Raises:
        TrainingError: their shapes differ, or they are no numbers.
    """
    try:
        array = targets if isinstance(targets, np.ndarray) else np.stack(list(targets))
        found = to_tensor(array)
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"targets: expected numbers of one shape for all samples, got others ({error}); choose "
            "a data set whose targets can be stacked"
        ) from error
    return found.float() if found.dtype == torch.bool else found


def _span(targets: torch.Tensor) -> Span | None:
    if targets.is_floating_point() or not targets.numel():
        return None
    low, high = torch.aminmax(targets)
    return Span(int(low), int(high))


def _joined(spans: Sequence[Span | None]) -> Span | None:
    known = [span for span in spans if span is not None]
    return Span(min(s.low for s in known), max(s.high for s in known)) if known else None
