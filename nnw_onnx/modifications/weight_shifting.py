"""Weight shifting: the mean filter of each layer subtracted, with noise on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.math.casting import cast_like
from nnw_onnx.math.noise import add_gaussian
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Family, Parameter, WeightModification, Weights


@dataclass(frozen=True)
class WeightShifting(WeightModification):
    """Each layer W becomes W - L mean(W) + N(0, (noise sigma)^2), the mean over its filters.

    The attack of Lukas et al., "SoK: How robust is image classification deep neural network
    watermarking?", IEEE S&P 2022, before it trains on; put `fine-tuning` behind it in a stack. The
    mean filter becomes 1 - L times what it was: above 1 it turns over, and so do the Symbols that
    are read from it, which whoever reads both ways still finds. `filter-mean` is the stronger
    attack. sigma is the population standard deviation of the layer. Layers with fewer than two
    filters or axes, such as biases, stay as they are.
    """

    name: ClassVar[str] = "weight-shifting"
    layer_by_layer = True
    title = "weights shifted"
    summary: ClassVar[str] = "the mean filter of each layer subtracted L times, and noise"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "L", "multiple of the mean over the filters that is subtracted", "x mean filter"
    )

    intensity: Annotated[float, Ge(0), Le(100)] = option(
        help="L: multiple of the mean over the filters that is subtracted, such as 1.5"
    )
    noise: Annotated[float, Ge(0), Le(100)] = option(
        1.0, help="standard deviation of the noise / that of the layer's weights"
    )

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, Array]:
        """Every layer shifted, with noise of its own, in the order given."""
        return {name: self._shifted(layer, rng) for name, layer in weights.items()}

    def _shifted(self, layer: Array, rng: np.random.Generator) -> Array:
        if layer.ndim < 2 or len(layer) < 2:
            return layer.copy()
        exact = np.asarray(layer, np.float64)
        noisy = add_gaussian(exact, self.noise, rng)
        return cast_like(noisy - self.intensity * exact.mean(axis=0), layer)
