"""Whole channels removed: shapes change, and all that takes the channels in follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    HiddenAxis,
    Modification,
    Modified,
    Network,
    Parameter,
    Weights,
)


@dataclass(frozen=True)
class StructuredPruning(Modification):
    """Removes round(P n / 100) of the n channels of every hidden axis that can shrink.

    Those whose making weights have the least sum of magnitudes go first (Li, Kadav, Durdanovic,
    Samet, Graf, "Pruning Filters for Efficient ConvNets", ICLR 2017); one channel is always left.
    It takes no data; nothing is trained afterwards.
    """

    name: ClassVar[str] = "structured-pruning"
    title = "Structured pruning"
    summary: ClassVar[str] = "channels of least magnitude removed from every layer that can shrink"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "P", "share of the channels of each hidden axis that is removed", "%"
    )

    intensity: Annotated[float, Ge(0), Lt(100)] = option(
        help="P: percentage of the channels of each hidden axis that is removed"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The smaller network.

        Raises:
            NotApplicableError: the graph proves no axis that can shrink, or none loses a channel.
        """
        removed = 0
        for place, one in enumerate(network.hidden_axes):
            count = min(one.size - 1, round(self.intensity * one.size / 100))
            if one.resizable and count:
                # Axes before it have moved the strands of this one.
                axis = network.hidden_axes[place]
                order = np.argsort(_magnitudes(network.weights, axis), kind="stable")
                kept = np.sort(order[count:]).tolist()
                weights = channels.resized(network.weights, axis, kept)
                network = network.with_resized(axis, weights)
                removed += count
        if not removed:
            raise NotApplicableError(
                "structured-pruning: expected channels that the graph shows to be free in number, "
                "and a share of them, got none; remove more, or leave it out for this network"
            )
        return Modified(network, facts={"channels": removed})


def _magnitudes(weights: Weights, axis: HiddenAxis) -> NDArray[np.float64]:
    """For each channel the sum of magnitudes of the weights that make it, (n,)."""
    total = np.zeros(axis.size)
    for strand in axis.strands:
        if strand.direction == "out":
            parts = channels.by_channel(weights[strand.layer], strand, axis.size)
            total += np.abs(np.asarray(parts, np.float64)).reshape(axis.size, -1).sum(axis=1)
    return total
