"""The quality of one network on one data set, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs.quality import measure
from nnw_onnx.tasks.image_classification import ImageClassification
from nnw_onnx.vocabulary import MeanMeter, Measure, Samples, Task


@dataclass
class Distance(MeanMeter):
    """Mean distance of an answer from what is right."""

    name: str = "distance"
    sizes: list[int] = field(default_factory=list)

    def add(self, outputs, targets):
        self.sizes.append(len(targets))
        self.scores += np.abs(outputs["y"] - targets).tolist()


METERS: list[Distance] = []


@dataclass(frozen=True)
class Distances(Task):
    """A task of one measure."""

    name = "distances"
    measures = (Measure("distance", better="lower"),)

    def meter(self, samples: Samples) -> Distance:
        METERS.append(Distance())
        return METERS[-1]


SAMPLES = ArraySamples({"x": np.arange(10.0)}, np.zeros(10))


def test_every_sample_is_met_once_in_order():
    asked = []

    def run(feeds):
        asked.extend(feeds["x"].tolist())
        return {"y": feeds["x"]}

    quality = measure(run, Distances(), SAMPLES, 4)
    assert quality.values == {"distance": 4.5}
    assert quality.scores.tolist() == asked == list(range(10))
    assert METERS[-1].sizes == [4, 4, 2]


@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_the_size_of_a_batch_does_not_matter(size):
    quality = measure(lambda feeds: {"y": feeds["x"] ** 2}, Distances(), SAMPLES, size)
    assert quality.values["distance"] == np.mean(np.arange(10.0) ** 2)


def test_classes_that_no_sample_has_are_wrong_answers():
    """Three samples of two classes: one is answered with a third class, which a method added."""
    scores = np.array([[2, 1, 0], [0, 2, 1], [0, 1, 2]], np.float32)
    samples = ArraySamples({"x": scores}, np.array([0, 1, 1]), {"classes": ["a", "b"]})
    task = ImageClassification()

    def run(feeds):
        return {"y": feeds["x"]}

    quality = measure(run, task, samples, 2, more_classes=True)
    assert quality.values["top-1 accuracy"] == pytest.approx(2 / 3)
    assert quality.chance == pytest.approx(2 / 3)  # the share of the larger of the two classes
    with pytest.raises(
        ConfigurationError, match=r"expected scores \(n, 2\) .* got float32 \(2, 3\)"
    ):
        measure(run, task, samples, 2)


def test_a_task_that_breaks_its_contract_is_named():
    with pytest.raises(PluginError, match=r"^distances \(tests\): add: expected an answer, got Ke"):
        measure(lambda feeds: {"z": feeds["x"]}, Distances(), SAMPLES, 4)
    with pytest.raises(PluginError, match=r"^distances \(tests\): result: expected a finite dist"):
        measure(lambda feeds: {"y": feeds["x"] * np.nan}, Distances(), SAMPLES, 4)
