"""Samples for tasks that look at nothing but their facts and scale."""

from __future__ import annotations

import numpy as np

from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Quality, Samples, Scale, Task


def samples_of(classes: int | None = None, scale: Scale | None = None, **facts) -> Samples:
    """One sample whose facts name so many classes."""
    if classes is not None:
        facts["classes"] = [str(c) for c in range(classes)]
    return ArraySamples({"x": np.zeros((1, 1))}, np.zeros(1), facts, scale=scale)


def measured(task: Task, samples: Samples, outputs, targets, batch: int | None = None) -> Quality:
    """Quality of answers (n, ...), given in batches."""
    meter = task.meter(samples)
    size = batch or max(len(targets), 1)
    for start in range(0, max(len(targets), 1), size):
        cut = {name: values[start : start + size] for name, values in outputs.items()}
        meter.add(cut, targets[start : start + size])
    return meter.result()
