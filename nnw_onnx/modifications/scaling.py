"""Hidden channels scaled by positive factors: the same function, weights of other sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Bench, Family, Modification, Modified, Network


@dataclass(frozen=True)
class Scaling(Modification):
    """Multiplies each hidden channel by a log-normal factor, which its consumers divide by.

    Between the two lies only what passes positive factors on, such as Relu, pooling, or a
    normalisation whose gain takes them up. It takes no data and no key.
    """

    name: ClassVar[str] = "scaling"
    title = "Scaled channels"
    summary: ClassVar[str] = "hidden channels times random factors; the network answers the same"
    family: ClassVar[Family] = "preserving"
    preserves: ClassVar[float | None] = 1e-4

    std: Annotated[float, Gt(0), Le(3)] = option(
        0.5, help="standard deviation of the logarithms of the factors"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every scaling of every hidden axis drawn anew.

        Raises:
            NotApplicableError: the graph proves no scaling.
        """
        changed: dict[str, Array] = {}
        for axis in network.hidden_axes:
            for scaling in range(len(axis.scalings)):
                factors = np.exp(self.std * rng.standard_normal(axis.size))
                now = {name: changed.get(name, network.weights[name]) for name in axis.layers}
                changed |= channels.scaled(now, axis, factors, scaling)
        if not changed:
            raise NotApplicableError(
                "scaling: expected channels that the graph shows to pass positive factors on, got "
                "none; leave it out for this network"
            )
        return Modified(network.with_weights(changed))
