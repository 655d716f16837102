"""A task of one's own in a few lines, as the documentation promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.kit.samples import only_feed
from nnw_onnx.vocabulary import (
    Loss,
    MeanMeter,
    Measure,
    Meter,
    Samples,
    Targets,
    Task,
    Values,
)

from .conftest import measured, samples_of


class _ErrorMeter(MeanMeter):
    def add(self, outputs: Values, targets: Targets) -> None:
        errors = np.abs(only_feed(outputs) - np.asarray(targets))
        self.scores += errors.reshape(len(errors), -1).mean(axis=1).tolist()


@dataclass(frozen=True)
class Distance(Task):
    """Mean absolute error of numbers."""

    name: ClassVar[str] = "distance"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("mean absolute error", better="lower"),)
    loss: ClassVar[Loss | None] = "mae"

    def meter(self, samples: Samples) -> Meter:
        return _ErrorMeter("mean absolute error")


def test_a_task_of_one_measure_is_a_meter_and_a_name():
    answers, targets = np.array([[1.0], [2.0], [4.0]]), np.array([[1.5], [2.0], [3.0]])
    quality = measured(Distance(), samples_of(), {"y": answers}, targets, batch=2)
    assert quality.values == {"mean absolute error": pytest.approx(0.5)}
    assert quality.scores.tolist() == [0.5, 0.0, 1.0]
    assert Distance().spec().name == "distance"


@pytest.mark.parametrize("name", plugins.names("tasks"))
def test_every_task_says_what_it_measures(name):
    task = plugins.load(Task, name)
    if task.measured is not Task.measured:
        assert "measures" not in vars(task)  # its options decide
        return
    names = [measure.name for measure in task.measures]
    assert len(set(names)) == len(names) > 0
    assert task.guard in (None, *names)
    assert all(0 < m.negligible < m.usable_loss for m in task.measures)


def test_the_built_in_tasks():
    assert {
        "image-classification",
        "image-restoration",
        "object-detection",
        "regression",
        "semantic-segmentation",
        "tabular-classification",
        "text-classification",
    } <= set(plugins.names("tasks"))
