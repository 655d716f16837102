"""The end of every injection: store the marked weights, and read them back."""

from __future__ import annotations

from typing import Any, TypeVar

from numpy.typing import NDArray

from nnw_onnx.arrays.carriers import Carrier
from nnw_onnx.errors import InjectionError
from nnw_onnx.vocabulary import Key, Network, Payload, WatermarkingMethod

AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def stored(
    method: WatermarkingMethod,
    network: AnyNetwork,
    carrier: Carrier,
    marked: NDArray[Any],
    payload: Payload,
    key: Key,
) -> AnyNetwork:
    """The network with the marked weights in the carrier's own dtype, from which they were read.

    Raises:
        InjectionError: a Symbol is not read back from the weights as they are stored.
    """
    result = network.with_weights({carrier.layer.name: marked})
    wrong = method.decode(result, key).payload.errors(payload)
    if wrong:
        raise InjectionError(
            f"layer {carrier.layer.name!r}: expected all {len(payload)} symbols to be read back, "
            f"got {wrong} wrong ones once stored as {carrier.layer.dtype}; use a larger margin, "
            "a shorter payload or another layer"
        )
    return result
