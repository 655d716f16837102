"""Task `image-classification`: one class for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from nnw_onnx.kit.meters import CLASSIFICATION, ClassMeter
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Loss, Measure, Meter, Samples, Task


@dataclass(frozen=True)
class ImageClassification(Task):
    """Top-1 accuracy and the standard's macro-averaged error probabilities."""

    name: ClassVar[str] = "image-classification"
    summary: ClassVar[str] = "top-1 accuracy, precision, false alarm, recall, missed detection"
    measures: ClassVar[tuple[Measure, ...]] = CLASSIFICATION
    guard: ClassVar[str | None] = "recall"
    loss: ClassVar[Loss | None] = "cross-entropy"

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the classes")

    def meter(self, samples: Samples) -> Meter:
        """A new meter; raises `ConfigurationError` where the samples have no classes."""
        return ClassMeter(self.name, samples, self.output)
