"""Mixing of several recipients' copies weight by weight, otherwise than by their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit.copies import stacked
from nnw_onnx.math.casting import cast_like
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, Modification, Modified, Need, Network

Rule = Literal["median", "middle", "minimum", "maximum", "pick"]

_Floats = NDArray[np.float64]


def _picked(values: _Floats, rng: np.random.Generator) -> _Floats:
    chosen = rng.integers(len(values), size=(1, *values.shape[1:]))
    found: _Floats = np.take_along_axis(values, chosen, axis=0)[0]
    return found


_RULES: Mapping[Rule, Callable[[_Floats, np.random.Generator], _Floats]] = {
    "median": lambda values, rng: np.asarray(np.median(values, axis=0)),
    "middle": lambda values, rng: (values.min(axis=0) + values.max(axis=0)) / 2,
    "minimum": lambda values, rng: np.asarray(values.min(axis=0)),
    "maximum": lambda values, rng: np.asarray(values.max(axis=0)),
    "pick": _picked,
}


@dataclass(frozen=True)
class MixingWeights(Modification):
    """Every weight becomes one number made of that weight in all copies.

    The attacks of Wu, Trappe, Wang, Liu, "Collusion-resistant fingerprinting for multimedia", IEEE
    Signal Processing Magazine 21 (2004), on weights. A minimum or maximum hurts marks more than a
    mean does, and shifts every weight by what the copies differ in. Computed in float64; layers
    whose weights cannot be replaced stay as they are in the first copy.
    """

    name: ClassVar[str] = "mixing-weights"
    title = "mixing of copies by weights"
    summary: ClassVar[str] = "each weight the median, minimum, maximum, ... of several copies"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("copies",)

    rule: Rule = option(
        "median", help="what each weight becomes; middle: of least and largest; pick: a random one"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The mixed network.

        Raises:
            ConfigurationError: copies whose layers differ.
        """
        copies, mixed = bench.copies, {}
        for layer in network.layers:
            if layer.replaceable:
                values = _RULES[self.rule](stacked(self.name, layer, copies), rng)
                mixed[layer.name] = cast_like(values, copies[0].weights[layer.name])
        return Modified(network.with_weights(mixed), facts={"copies": len(copies)})
