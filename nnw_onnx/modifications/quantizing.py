"""Quantizing: Modification 3 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, MultipleOf

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math import quantizing
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Parameter, WeightModification, Weights


@dataclass(frozen=True)
class Quantizing(WeightModification):
    """Rounds each layer to 2^B levels between its minimum and maximum.

    Computed in float64; constant layers are unchanged. The preset `mpai-testbed` (NNWTestbed) is
    the same formula in float32: the difference is float32 rounding, visible from about B = 20.
    """

    name: ClassVar[str] = "quantizing"
    layer_by_layer = True
    summary: ClassVar[str] = "every layer rounded to 2^B equally spaced values"
    number: ClassVar[int | None] = 3
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter("B", "bits a weight", "bits", 2, 32, stronger="down")

    intensity: Annotated[float, Ge(1), Le(32), MultipleOf(1)] = option(
        help="B: number of bits a weight, 1 to 32"
    )
    scheme: Literal["min-max", "symmetric", "asymmetric"] = option(
        "min-max", help="levels: those of the standard, or as integer runtimes store (2 to 16 bits)"
    )
    per_filter: bool = option(
        False, help="symmetric and asymmetric: one scale for each filter instead of each layer"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer quantised by itself; nothing is random.

        Raises:
            ConfigurationError: bits or an option that the scheme does not have.
        """
        bits, runtime = int(self.intensity), self.scheme != "min-max"
        if (runtime and not 2 <= bits <= 16) or (self.per_filter and not runtime):
            raise ConfigurationError(
                "quantizing: expected 2 to 16 bits for symmetric and asymmetric, and per_filter "
                f"with one of them only; got {bits} bits, scheme {self.scheme}, per_filter "
                f"{self.per_filter}; correct the options"
            )
        return {name: self._rounded(w, bits) for name, w in weights.items()}

    def _rounded(self, weights: Array, bits: int) -> Array:
        if self.scheme == "min-max":
            return quantizing.min_max(weights, bits)
        symmetric, axis = self.scheme == "symmetric", 0 if self.per_filter else None
        return quantizing.fake_quantize(weights, bits, symmetric=symmetric, axis=axis)
