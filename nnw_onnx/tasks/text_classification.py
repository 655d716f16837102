"""Task `text-classification`: one class for each text, of token ids or bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnw_onnx.tasks._one_class import OneClass


@dataclass(frozen=True)
class TextClassification(OneClass):
    """Top-1 accuracy and the standard's macro-averaged error probabilities."""

    name: ClassVar[str] = "text-classification"
