"""Hidden channels in another basis: the same function where only linear operators lie between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels
from nnw_onnx.vocabulary import Array, Bench, Family, Modification, Modified, Network


@dataclass(frozen=True)
class MixedBases(Modification):
    """Rotates the channels of every hidden axis that only linear operators pass.

    Such are queries and keys, values and what attention makes of them, head by head, and two
    kernels without an activation between them. W_Q becomes A W_Q and W_K becomes A^-T W_K, or one
    kernel A W and the next one W A^-1; A is orthogonal, drawn uniformly, so that rounding errors do
    not grow. It takes no data and no key.
    """

    name: ClassVar[str] = "mixed-bases"
    title = "Mixed bases"
    summary: ClassVar[str] = "linear hidden channels rotated; the network answers the same"
    family: ClassVar[Family] = "preserving"
    preserves: ClassVar[float | None] = 1e-4

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with a basis of its own for every such axis.

        Raises:
            NotApplicableError: the graph proves no axis whose channels may be mixed.
        """
        changed: dict[str, Array] = {}
        for axis in network.hidden_axes:
            if axis.mixings:
                now = {name: changed.get(name, network.weights[name]) for name in axis.layers}
                changed |= channels.mixed(now, axis, _orthogonal(axis.size, rng))
        if not changed:
            raise NotApplicableError(
                "mixed-bases: expected channels that the graph shows to pass linear operators "
                "only, got none; leave it out for this network"
            )
        return Modified(network.with_weights(changed))


def _orthogonal(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform over all rotations and reflections: Mezzadri, Notices of the AMS 54 (2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
