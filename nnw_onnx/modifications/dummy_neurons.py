"""More hidden channels that do nothing: the same function, shapes and places of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Bench, Family, Modification, Modified, Network

_Chosen = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Which channels there are now, and by what the weights that take them in are multiplied."""


@dataclass(frozen=True)
class DummyNeurons(Modification):
    """Adds channels without a function to every hidden axis that can grow, in random places.

    After Yan, Pan, Zhang, Yang, "Rethinking White-Box Watermarks on Deep Learning Models under
    Neural Structural Obfuscation", USENIX Security 2023. Shapes change, and with them all places.
    It takes no data and no key.
    """

    name: ClassVar[str] = "dummy-neurons"
    title = "Dummy neurons"
    summary: ClassVar[str] = "hidden channels added that do nothing; the network answers the same"
    family: ClassVar[Family] = "preserving"
    preserves: ClassVar[float | None] = 1e-4

    kind: Literal["zero", "clique", "split"] = option(
        "clique",
        help="zero: nothing takes them in; clique: equal ones that cancel; split: a channel in "
        "several parts",
    )
    share: Annotated[float, Gt(0), Le(100)] = option(
        10.0, help="percentage of the channels of an axis that is added, at least one"
    )
    k: Annotated[int, Ge(2), Le(16)] = option(2, help="equal channels of a clique or a split one")

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with dummies in every hidden axis that is resizable.

        Raises:
            NotApplicableError: the graph proves no axis that can grow.
        """
        added = 0
        for place, one in enumerate(network.hidden_axes):
            if not one.resizable:
                continue
            # Earlier dummies have moved the strands of the axis.
            axis = network.hidden_axes[place]
            chosen, factors = self._chosen(axis.size, rng)
            order = rng.permutation(len(chosen))
            chosen, factors = chosen[order], factors[order]

            def made(parts: Array, factors: NDArray[np.float64] = factors) -> Array:
                return _disguised(parts, factors, rng)

            weights = channels.resized(network.weights, axis, chosen.tolist(), factors, made)
            network = network.with_resized(axis, weights)
            added += len(chosen) - axis.size
        if not added:
            raise NotApplicableError(
                "dummy-neurons: expected channels that the graph shows to be free in number, got "
                "none; leave it out for this network"
            )
        return Modified(network, facts={"dummies": added})

    def _chosen(self, size: int, rng: np.random.Generator) -> _Chosen:
        count = max(1, round(self.share / 100 * size))
        own, ones = np.arange(size), np.ones(size)
        if self.kind == "zero":
            return np.append(own, rng.integers(size, size=count)), np.append(ones, np.zeros(count))
        per_channel = self.k if self.kind == "clique" else self.k - 1
        many = min(size, -(-count // per_channel))
        copied = rng.choice(size, size=many, replace=False)
        factors = 0.5 * rng.standard_normal((many, self.k))
        factors -= factors.mean(axis=1, keepdims=True)
        if self.kind == "clique":
            return np.append(own, np.repeat(copied, self.k)), np.append(ones, factors)
        kept = np.setdiff1d(own, copied)
        parts = factors + 1 / self.k
        return np.append(kept, np.repeat(copied, self.k)), np.append(np.ones(len(kept)), parts)


def _disguised(parts: Array, factors: NDArray[np.float64], rng: np.random.Generator) -> Array:
    """The weights that make the channels, those of channels that nobody takes in shuffled."""
    changed = np.array(parts)
    for place in np.flatnonzero(factors == 0):
        changed[place] = rng.permutation(changed[place].ravel()).reshape(changed[place].shape)
    return changed
