"""Hidden channels negated: the same function, half of the weights with the other sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels
from nnw_onnx.vocabulary import Array, Bench, Family, Modification, Modified, Network


@dataclass(frozen=True)
class SignFlips(Modification):
    """Negates half of the channels of every hidden axis, and undoes it behind.

    Behind a kernel a BatchNormalization undoes it with its mean and gain, whatever the activation;
    else the consumers do, where only odd functions such as Tanh lie between. It takes no data and
    no key.
    """

    name: ClassVar[str] = "sign-flips"
    title = "Flipped signs"
    summary: ClassVar[str] = "half of the hidden channels negated; the network answers the same"
    family: ClassVar[Family] = "preserving"
    preserves: ClassVar[float | None] = 1e-4

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with half of the signs of every hidden axis changed.

        Raises:
            NotApplicableError: the graph proves no change of signs.
        """
        changed: dict[str, Array] = {}
        for axis in network.hidden_axes:
            for which in range(len(axis.signs)):
                signs = np.where(rng.permutation(axis.size) < axis.size // 2, -1, 1).tolist()
                now = {name: changed.get(name, network.weights[name]) for name in axis.layers}
                changed |= channels.flipped(now, axis, signs, which)
        if not changed:
            raise NotApplicableError(
                "sign-flips: expected channels that the graph shows to pass signs on, got none; "
                "leave it out for this network"
            )
        return Modified(network.with_weights(changed))
