"""Hidden channels in another order: the same function, every weight in another place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels
from nnw_onnx.vocabulary import Array, Bench, Family, Modification, Modified, Network


@dataclass(frozen=True)
class Permutation(Modification):
    """Puts the channels of every hidden axis into a random order, consumers included.

    Which channels may change places is what the graph proves (`Network.hidden_axes`). It takes no
    data and no key.
    """

    name: ClassVar[str] = "permutation"
    title = "Permuted channels"
    summary: ClassVar[str] = "hidden channels in a random order; the network answers the same"
    family: ClassVar[Family] = "preserving"
    preserves: ClassVar[float | None] = 1e-4

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with every hidden axis in an order of its own.

        Raises:
            NotApplicableError: the graph proves no hidden axis.
        """
        axes = network.hidden_axes
        if not axes:
            raise NotApplicableError(
                "permutation: expected channels that the graph shows to be free to change places, "
                "got none; leave it out for this network"
            )
        changed: dict[str, Array] = {}
        for axis in axes:
            order = rng.permutation(axis.size).tolist()
            now = {name: changed.get(name, network.weights[name]) for name in axis.layers}
            changed |= channels.permuted(now, axis, order)
        return Modified(network.with_weights(changed))
