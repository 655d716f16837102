"""The end of every injection: store the marked weights, and read them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit.carriers import Carrier
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Decodes,
    Feeds,
    Key,
    Layer,
    Network,
    Payload,
    TensorInfo,
    Values,
    Weights,
)


@dataclass(frozen=True)
class Own:
    """A network of one's own as a `Suspect`: what was just put in is read back from it."""

    network: Network
    bench: Bench

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order of the file."""
        return self.network.layers

    @property
    def weights(self) -> Weights:
        """Weights by layer name."""
        return self.network.weights

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Inputs that must be fed."""
        return self.network.inputs

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output, then those of these layers."""
        return self.bench.run(self.network, feeds, layers)


def stored(
    method: Decodes,
    network: Network,
    carrier: Carrier,
    marked: Array,
    payload: Payload,
    key: Key,
    bench: Bench,
) -> Network:
    """The network with the marked weights in the carrier's own dtype, from which they were read.

    Raises:
        InjectionError: a Symbol is not read back from the weights as they are stored.
    """
    result = network.with_weights({carrier.layer.name: marked})
    wrong = method.decode(Own(result, bench), key).payload.errors(payload)
    if wrong:
        raise InjectionError(
            f"layer {carrier.layer.name!r}: expected all {len(payload)} symbols to be read back, "
            f"got {wrong} wrong ones once stored as {carrier.layer.dtype}; use a larger margin, "
            "a shorter payload or another layer"
        )
    return result
