"""Modifications and their Parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary.networks import Weights


@dataclass(frozen=True)
class Parameter:
    """Parameter of a Modification: its Type and the range of Intensities in the standard.

    Attributes:
        letter: the letter of the reference software: S, P, R, B, ...
        meaning: what the Intensity measures.
        unit: "ratio", "%", "bits", ...
        low: smallest Intensity of the standard's table.
        high: largest one.
        high_single_layer: largest one where a single layer is aimed at, if that differs.
        stronger: "up" where a larger Intensity changes more, else "down".
    """

    letter: str
    meaning: str
    unit: str
    low: float
    high: float
    high_single_layer: float | None = None
    stronger: Literal["up", "down"] = "up"

    def outside_standard_range(self, intensity: float, *, single_layer: bool) -> bool:
        """Whether an Intensity is outside the range of the standard (a warning, never an error)."""
        high = self.high
        if single_layer and self.high_single_layer is not None:
            high = self.high_single_layer
        return not self.low <= intensity <= high


@runtime_checkable
class WeightModification(Protocol):
    """A Modification of weights without training: the plug-ins of `nnw_onnx.modifications`.

    A frozen dataclass with at least the field `intensity`; pure given the generator.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    number: ClassVar[int | None]
    parameter: ClassVar[Parameter]
    intensity: float

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """New values of the given layers (canonical layout), in the order given.

        `weights` holds only the layers that the Modification is aimed at.
        """
        ...
