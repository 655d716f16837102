"""Task `audio-classification`: one class for each sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnw_onnx.tasks._one_class import OneClass


@dataclass(frozen=True)
class AudioClassification(OneClass):
    """Top-1 accuracy and the standard's macro-averaged error probabilities."""

    name: ClassVar[str] = "audio-classification"
