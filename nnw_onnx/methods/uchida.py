"""Uchida's watermark: put in by a term of the loss, or by the least change of a layer.

Uchida, Nagai, Sakazawa, Satoh, "Embedding Watermarks into Deep Neural Networks", ICMR 2017 (the
"Regularisation Term Watermarking" of MPAI-NNW). Where nothing is trained, a closed form of the
least change replaces the training; both are decoded alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import carriers, injections, keystream, symbols
from nnw_onnx.math import penalties, projection
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Bench,
    Decodes,
    Decoding,
    Injects,
    Key,
    Layer,
    Moment,
    Network,
    Payload,
    Penalty,
    Suspect,
    Trains,
    Weighted,
)

_AMPLE = 4
_FEWEST_FILTERS = 16
_PLAIN = ("Gemm", "MatMul", "ConvTranspose")


@dataclass(frozen=True)
class Uchida(Decodes, Injects, Trains):
    """Signs of random projections of the filter mean; every filter gets the same change.

    The margin is in units of sigma sqrt(M/L), the standard deviation that a projection would have
    if the L filters of M weights were independent. Key matrix: 8 T M bytes. Trained, the term of
    the loss is lambda times the SUM over the bits of the cross-entropy in nats, as in the paper;
    MPAI's testbed takes 0.1 times the mean over the bits of that in bits.
    """

    name = "uchida"
    summary = "signs of random projections of a layer's filter mean (Uchida 2017)"

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least projection, in standard deviations of independent weights"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.01, help="lambda of the term of the loss, a sum over the bits; only used when trained"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last Conv kernel with M > 4 size, or of the one asked for (M > size).

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carriers.check_size(size)
        layer = carriers.asked(bench, self.name)
        if layer is None:
            order = carriers.preferred(network, lambda found: _preference(found, size))
            carrier = carriers.first_fit(network, order, _refusal(network, size))
        else:
            carrier = carriers.take(network, carriers.named(network, layer))
        why = _explain(carrier.layer, size, chosen=layer is None)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose projections reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs = symbols.embedded_signs(payload, key)
        matrix = _matrix(key)
        projections = matrix @ projection.filter_mean(carrier.values)
        margin = self.margin * projection.natural_deviation(carrier.values)
        wanted = projection.targets(projections, signs, margin)
        change = projection.minimum_norm_change(matrix, wanted - projections)
        marked = carrier.values + change.reshape(carrier.values.shape[1:])
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Lambda sum_j log(1 + exp(-sign_j X_j . filter mean)), with its gradient by the carrier.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        carriers.trained(network.weights, key, self.name)
        signs, name = symbols.embedded_signs(payload, key), key.layers[0]

        def penalty(now: Moment) -> Penalty:
            values = carriers.trained(now.weights, key, self.name)
            term = penalties.projected_mean(values, _matrix(key), signs)
            return Penalty(self.strength * term.value, {name: self.strength * term.derivatives})

        return Additions(penalty, carriers=key.layers)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the projections; raises `CarrierNotFoundError`."""
        carrier = carriers.find(suspect, key, self.name)
        mean = projection.filter_mean(carrier.values)
        deviation = float(np.linalg.norm(mean))
        return symbols.read(_matrix(key) @ mean, deviation, key, carrier.notes)


def _matrix(key: Key) -> NDArray[np.float64]:
    """The key matrix (T, M) of N(0, 1) numbers, read-only."""
    inputs = int(np.prod(key.shapes[0][1:], dtype=np.int64))
    return _drawn(key.secret, key.size, inputs)


@lru_cache(maxsize=4)
def _drawn(secret: bytes, size: int, inputs: int) -> NDArray[np.float64]:
    # Kept, because a training asks for the same matrix at every step.
    matrix = keystream.gaussian(secret, "uchida/projection", size * inputs).reshape(size, inputs)
    matrix.flags.writeable = False
    return matrix


def _preference(layers: Iterable[Layer], size: int) -> Iterator[Layer]:
    """Layers fit for `size` Symbols: the last ample Conv first, then those that change least.

    The relative change is about sqrt(T G / (L (M - T - 1))) for L filters of M weights.
    """
    found = [layer for layer in layers if _defect(layer, size) is None]
    ample = [layer for layer in found if _is_ample(layer, size)]
    ranks = {"Conv": 0, **dict.fromkeys(_PLAIN, 1)}
    last_first = list(reversed(ample))
    yield from sorted(last_first, key=lambda layer: ranks.get(layer.operator, 2))
    yield from sorted(found, key=lambda layer: layer.size - layer.shape[0] * size, reverse=True)


def _is_ample(layer: Layer, size: int) -> bool:
    long = carriers.inputs_per_filter(layer) > _AMPLE * size
    return long and layer.shape[0] >= _FEWEST_FILTERS


def _defect(layer: Layer, size: int) -> str | None:
    inputs = carriers.inputs_per_filter(layer)
    if layer.axes is None or len(layer.shape) < 2:
        return f"an operator {layer.operator} of shape {layer.shape} whose filters are unknown"
    return None if inputs > size else f"{inputs} weights a filter"


def _refusal(network: Weighted, size: int) -> str:
    """Why no layer of the network holds `size` Symbols."""
    possible = list(carriers.preferred(network, list))
    known = [layer for layer in possible if _defect(layer, 0) is None]
    if known:
        got = f"at most {max(map(carriers.inputs_per_filter, known))}"
    elif possible:
        got = _defect(possible[0], 0) or ""
    else:
        got = carriers.why_none(network)
    return (
        f"uchida: expected a kernel with more than {size} weights a filter, got {got}; "
        "use a shorter payload or method block-spread"
    )


def _explain(layer: Layer, size: int, *, chosen: bool) -> list[str]:
    """Why this layer, in words; raises `InjectionError` where its filters are too short."""
    defect = _defect(layer, size)
    if defect:
        raise InjectionError(
            f"layer {layer.name!r}: expected more than {size} weights a filter, got {defect}; "
            "use a shorter payload or another layer"
        )
    inputs = carriers.inputs_per_filter(layer)
    reason = (
        f"the last fit {layer.operator} kernel with at least {_FEWEST_FILTERS} filters of more "
        f"than {_AMPLE * size} weights"
        if _is_ample(layer, size)
        else "the kernel that changes least"
    )
    notes = [f"carrier {carriers.describe(layer)}: {reason if chosen else 'as asked'}"]
    if inputs <= _AMPLE * size:
        notes.append(
            f"ill-conditioned: {size} symbols in {inputs} weights a filter (more than a quarter) "
            "need a large change and survive little; prefer a shorter payload"
        )
    return notes
