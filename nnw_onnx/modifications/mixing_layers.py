"""Mixing of several recipients' copies layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnw_onnx.kit.copies import stacked
from nnw_onnx.vocabulary import Bench, Family, Layer, Modification, Modified, Need, Network


@dataclass(frozen=True)
class MixingLayers(Modification):
    """Every layer becomes that layer of one copy, drawn anew for each.

    A mark that lies in one layer stays whole and tells the one recipient whose layer it is; the
    others are not in the mixture at all. Layers in which all copies agree draw nothing, and one at
    least is of another copy than the first. Layers whose weights cannot be replaced stay as they
    are in the first copy.
    """

    name: ClassVar[str] = "mixing-layers"
    title = "mixing of copies by layers"
    summary: ClassVar[str] = "each layer that of a random one of several copies"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("copies",)

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The mixed network.

        Raises:
            ConfigurationError: copies whose layers differ.
        """
        copies = bench.copies
        differing = [x.name for x in network.layers if x.replaceable and self._differs(x, copies)]
        if not differing:  # so are the copies of an unwatermarked network
            return Modified(network, facts={"copies": len(copies), "layers": 0})
        chosen = _chosen(len(differing), len(copies), rng)
        mixed = {
            name: copies[copy].weights[name] for name, copy in zip(differing, chosen, strict=True)
        }
        facts = {"copies": len(copies), "layers": len(differing), "used": len(set(chosen))}
        return Modified(network.with_weights(mixed), facts=facts)

    def _differs(self, layer: Layer, copies: Sequence[Network]) -> bool:
        values = stacked(self.name, layer, copies)
        return bool((values != values[0]).any())


def _chosen(layers: int, copies: int, rng: np.random.Generator) -> list[int]:
    """The copy of each layer, uniform but for the draw that would leave the network as it is."""
    while True:
        chosen: list[int] = rng.integers(copies, size=layers).tolist()
        if any(chosen):
            return chosen
