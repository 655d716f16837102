"""Quantizing: Modification 3 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, MultipleOf
from numpy.typing import NDArray

from nnw_onnx.arrays import quantizing
from nnw_onnx.arrays.casting import cast_like
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Parameter, Weights


@dataclass(frozen=True)
class Quantizing:
    """Rounds each layer to 2^B levels between its minimum and maximum.

    Computed in float64; constant layers are unchanged. The preset `mpai-testbed` (NNWTestbed) is
    the same formula in float32: the difference is float32 rounding, visible from about B = 20.
    """

    name: ClassVar[str] = "quantizing"
    summary: ClassVar[str] = "every layer rounded to 2^B equally spaced values"
    number: ClassVar[int | None] = 3
    parameter: ClassVar[Parameter] = Parameter("B", "bits a weight", "bits", 2, 32, stronger="down")

    intensity: Annotated[float, Ge(1), Le(32), MultipleOf(1)] = option(
        help="B: number of bits a weight, 1 to 32"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Every layer quantised by itself; nothing is random."""
        bits = int(self.intensity)
        return {
            name: cast_like(quantizing.min_max(layer, bits), layer)
            for name, layer in weights.items()
        }
