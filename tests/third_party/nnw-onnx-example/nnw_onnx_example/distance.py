"""A task of one's own: how far numbers are from the right ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnw_onnx.vocabulary import MeanMeter, Measure, Meter, Samples, Targets, Task, Values


class _DistanceMeter(MeanMeter):
    def add(self, outputs: Values, targets: Targets) -> None:
        told = next(iter(outputs.values()))
        right = np.asarray(targets).reshape(told.shape)
        self.scores += np.abs(told - right).reshape(len(told), -1).mean(axis=1).tolist()


@dataclass(frozen=True)
class Distance(Task):
    """Mean absolute error of the first output."""

    name = "distance"
    summary = "mean absolute error of numbers"
    measures = (Measure("mean absolute error", better="lower", low=0, negligible=0.01),)
    loss = "mae"

    def meter(self, samples: Samples) -> Meter:
        """A mean of absolute errors."""
        return _DistanceMeter("mean absolute error")
