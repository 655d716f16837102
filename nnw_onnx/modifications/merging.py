"""Merging with another network of the same ancestry: interpolation and task arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.kit.copies import stacked
from nnw_onnx.math.casting import cast_like
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Family,
    Layer,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
)

_ORIGINAL = "original"


@dataclass(frozen=True)
class Merging(Modification):
    """Weights W become (1 - A) W + A V, V being those of another network of the same ancestry.

    With a `base` B, which both come from, they become W + A (V - B) instead: task arithmetic
    (Ilharco et al., ICLR 2023), by which the network gains what the other has learnt, or loses it
    where A is negative. The attacker has those networks beside the one under test: files that
    anybody can get, or the network before its watermark ("original"), which says how far a mark
    reaches that lies in a fine-tuning of a public network, and nothing of other marks. Computed in
    float64; with a base, what no training changes, such as statistics, stays as it is.
    """

    name: ClassVar[str] = "merging"
    title = "merging with another network"
    summary: ClassVar[str] = "weights moved towards those of another network of the same ancestry"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter("A", "weight of the other network", "x other")

    intensity: Annotated[float, Ge(-10), Le(10)] = option(
        help="A: weight of the other network, such as 0.5"
    )
    other: str = option(
        help='the other: nnw:NAME, an ONNX file (as seen from the evaluation), or "original"'
    )
    base: str | None = option(
        None, help="what both come from, named likewise; without it, interpolation"
    )

    def needed(self) -> tuple[Need, ...]:
        """The network before its watermark, where it is merged with."""
        return ("original",) if _ORIGINAL in (self.other, self.base) else ()

    def opens(self) -> tuple[str, ...]:
        """The other networks."""
        return tuple(x for x in (self.other, self.base) if x is not None and x != _ORIGINAL)

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The merged network; nothing is random.

        Raises:
            ConfigurationError: networks whose layers differ.
        """
        given = [x for x in (self.other, self.base) if x is not None]
        networks = [network, *(self._opened(name, bench) for name in given)]
        merged = {
            layer.name: self._merged(layer, networks)
            for layer in network.layers
            if layer.replaceable and (self.base is None or layer.learns)
        }
        has = " and ".join(PurePath(name).name for name in given)
        return Modified(network.with_weights(merged), facts={"the attacker has": has})

    def _opened(self, name: str, bench: Bench) -> Network:
        return bench.original if name == _ORIGINAL else bench.open(name)

    def _merged(self, layer: Layer, networks: list[Network]) -> Array:
        own, other, *base = stacked(self.name, layer, networks)
        start: NDArray[np.float64] = base[0] if base else own
        return cast_like(own + self.intensity * (other - start), networks[0].weights[layer.name])
