"""What tasks of one class for each sample have in common, whatever the samples are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

from annotated_types import Ge

from nnw_onnx.kit.meters import CLASSIFICATION, ClassMeter, threshold_of
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Loss, Measure, Meter, Samples, Task


@dataclass(frozen=True)
class OneClass(Task):
    """Top-1 accuracy and the standard's macro-averaged error probabilities.

    Of two classes a network may answer one score, whose class is 1 above the threshold.
    """

    summary: ClassVar[str] = "top-1 accuracy, precision, false alarm, recall, missed detection"
    measures: ClassVar[tuple[Measure, ...]] = CLASSIFICATION
    guard: ClassVar[str | None] = "recall"
    loss: ClassVar[Loss | None] = "cross-entropy"

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the classes")

    threshold: float | None = option(
        None, help="of one score; without it 0.5 for probabilities and 0 for logits"
    )

    def reads(self) -> tuple[int, ...]:
        """The one output."""
        return (self.output,)

    def answered_by(self, operators: Sequence[str]) -> Self:
        """With the threshold that the last operator of the network tells."""
        if self.threshold is not None or self.output >= len(operators):
            return self
        return replace(self, threshold=threshold_of(operators[self.output]))

    def meter(self, samples: Samples) -> Meter:
        """A new meter; raises `ConfigurationError` where the samples have no classes."""
        return ClassMeter(self.name, samples, self.output, self.threshold)
