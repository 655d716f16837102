"""Measure the quality of one network on one data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit.samples import Drawn
from nnw_onnx.runs import guard
from nnw_onnx.runs.composed import NOTHING, Chain
from nnw_onnx.vocabulary import Ask, Json, Method, Quality, Samples, Spec, Task


def task_for(spec: Spec, network: OnnxNetwork, after: Chain = NOTHING) -> Task:
    """The task as a network before any change means it; raises `PluginError`.

    Args:
        spec: of the task.
        network: whose answers are measured, where no networks are after it.
        after: those.
    """
    task = plugins.create(Task, spec)
    operators = (after.networks[-1] if after else network).last_operators
    return guard.guarded(task, "answered_by", lambda: task.answered_by(operators))


def adds_classes(methods: Iterable[Spec]) -> bool:
    """Whether a network with watermarks of these methods has classes that no sample is of."""
    return any(plugins.widens(plugins.create(Method, spec)) is not None for spec in methods)


def measure(
    run: Ask, task: Task, samples: Samples, batch_size: int, *, more_classes: bool = False
) -> Quality:
    """The quality, batch by batch: no more than one batch is held at a time.

    Args:
        run: the network, such as `composed.asking(Running(...), task, after, around)`.
        task: what quality means.
        samples: fitted to the network's inputs; those of `guard.GuardedSamples` name their data
            set in errors.
        batch_size: samples read and run at a time.
        more_classes: whether the network may have classes that the samples have not, see
            `adds_classes`; to answer with one of them is wrong.

    Raises:
        InferenceError: the network does not run.
        ConfigurationError: samples or answers that do not fit the task.
        PluginError: task or data set breaks its contract.
    """
    told = _Part(samples, np.arange(len(samples))) if more_classes else samples
    meter = guard.guarded(task, "meter", lambda: task.meter(told))
    for start in range(0, len(samples), batch_size):
        batch = samples.read(np.arange(start, min(start + batch_size, len(samples))))
        outputs = run(batch.feeds)
        targets = batch.targets
        guard.guarded(task, "add", lambda: meter.add(outputs, targets))  # noqa: B023 - called now
    return guard.checked_quality(task, guard.guarded(task, "result", meter.result), len(samples))


class _Part(Drawn):
    """Samples that have only a part of the network's classes, and say so."""

    @property
    def facts(self) -> Mapping[str, Json]:
        """Those of the whole, and that."""
        return {**super().facts, "part": True}
