"""Averaging of several recipients' copies, by which they hope to lose the marks that tell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnw_onnx.kit.copies import mean
from nnw_onnx.vocabulary import Bench, Family, Modification, Modified, Need, Network


@dataclass(frozen=True)
class Averaging(Modification):
    """Every weight becomes the mean of that weight in all copies.

    Of K watermarks in the same places each keeps about 1/K of its margin. Computed in float64;
    layers whose weights cannot be replaced stay as they are in the first copy.
    """

    name: ClassVar[str] = "averaging"
    title = "average of copies"
    summary: ClassVar[str] = "the mean of several recipients' copies"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("copies",)

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The mean network.

        Raises:
            ConfigurationError: copies whose layers differ.
        """
        means = mean(self.name, bench.copies)
        return Modified(network.with_weights(means), facts={"copies": len(bench.copies)})
