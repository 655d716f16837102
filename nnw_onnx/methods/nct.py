"""The No-Constraint Traceability fingerprint: the values of randomly chosen weights, in order.

MPAI-NNW-TEC V1.0, "No-Constraint Traceability": nothing is put in, so any network can be enrolled
at any time. The standard leaves the matcher open; this one compares ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, keystream, knowing
from nnw_onnx.math.normal import log10_tail, normal_scores
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Card,
    Detection,
    Detects,
    Key,
    Layer,
    Network,
    Null,
    Payload,
    Place,
    Suspect,
)

_ROLES = ("kernel", "embedding", "recurrent")
_VALUES = "values"


class _Match(NamedTuple):
    """Agreement in one layer: its sum, and mean square of that over all orders of the values."""

    layer: Layer
    total: float
    variance: float
    weights: int


@dataclass(frozen=True)
class Nct(Detects):
    """Weights of a suspect are in the order of those that were stored, layer by layer.

    In each layer stored and found values become normal scores of their ranks, whose products are
    added up. If the stored values stood in any other order within their layer the sum would have
    mean 0 and a variance that is known exactly: the statistic is the sum in such standard
    deviations, and the p-value its normal tail. Ranks, because one huge weight would otherwise
    decide alone. It proves descent, not ownership: networks that were trained from one checkpoint
    match each other. Permuted or rescaled filters are not found again.
    """

    name = "nct"
    summary = "order of randomly chosen weights, layer by layer: a fingerprint (MPAI-NNW-TEC)"
    kind = "fingerprint"
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="MPAI-NNW-TEC V1.0, No-Constraint Traceability; the matcher is of this project",
        blind=False,
        capacity="no payload; nothing is put in",
        key="the values of the chosen weights in the enrolled network",
        null="normal tail of a sum over ranks, whose variance over orders within layers is exact",
        dies_of=(
            "permuted or rescaled filters, added neurons: weights are found by their index",
            "a common public checkpoint as proof of ownership: all that descends from it matches",
        ),
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    count: Annotated[int, Ge(16), Le(1 << 20)] = option(
        1024, help="number of weights in the fingerprint"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """The fingerprint of the kernels, embeddings and recurrent weights, or of layers asked for.

        Raises:
            InjectionError: a payload was given, a layer is not fit, or there are too few weights.
        """
        carriers.check_presence(size, self.name)
        chosen = _chosen(network, bench)
        if sum(c.layer.size for c in chosen) < self.count:
            raise InjectionError(
                f"nct: expected at least {self.count} weights in layers whose weights differ, got "
                f"{sum(c.layer.size for c in chosen)}; lower the option count"
            )
        why = f"{self.count} weights of {len(chosen)} layers, chosen by the key"
        key = carriers.key_for(self, chosen, network, 0, secret, [why])
        values = np.concatenate(
            [
                c.values.reshape(-1)[places]
                for c, places in zip(chosen, _places(key, self.count), strict=True)
            ]
        )
        return replace(key, arrays={_VALUES: values.astype(np.float32)})

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """How well the order of the weights agrees, in standard deviations of other orders.

        Layers that are not in the suspect are left out and named in the notes.

        Raises:
            CarrierNotFoundError: none of the layers is there.
            ConfigurationError: the key has no fingerprint.
        """
        stored = key.arrays.get(_VALUES)
        if stored is None or stored.shape != (self.count,):
            raise ConfigurationError(
                f"key: expected a fingerprint of {self.count} values, got "
                f"{'none' if stored is None else stored.shape}; restore the key from a copy"
            )
        found, missing = _matches(suspect, key, stored, self.count)
        degrees = sum(match.weights - 1 for match in found)
        notes = [f"{degrees + len(found)} of {self.count} weights in {len(found)} layers compared"]
        notes += [f"layers not found: {carriers.listed(missing)}"] * bool(missing)
        statistic = _deviations(found)
        return Detection(
            statistic=statistic,
            log10_p=log10_tail(statistic),
            # By Cauchy's inequality no order of any values reaches more than sqrt(degrees).
            null=Null(
                f"orders of {degrees + len(found)} weights within {len(found)} layers",
                log10_least=log10_tail(math.sqrt(degrees)),
            ),
            log10_inverted=log10_tail(-statistic),
            places=tuple(_place(match) for match in found),
            notes=tuple(notes),
        )


def _chosen(network: Network, bench: Bench) -> list[carriers.Carrier]:
    """Layers whose weights are finite and differ; those asked for must be such."""
    if bench.layers:
        return [
            carriers.take(network, carriers.named(network, name), fills=False)
            for name in bench.layers
        ]
    layers = [layer for layer in network.layers if layer.role in _ROLES and layer.size > 1]
    return [carriers.take(network, x, fills=False) for x in layers if carriers.is_fit(network, x)]


def _places(key: Key, count: int) -> list[NDArray[np.int64]]:
    """For each layer the flat positions of its weights in the fingerprint, in keyed order."""
    sizes = [math.prod(shape) for shape in key.shapes]
    total = sum(sizes)
    if total <= 4 * count:
        drawn = keystream.permutation(key.secret, "nct/positions", total, count)
    else:
        # Twice as many as are needed: a permutation of every weight would take 24 bytes a weight.
        many = keystream.integers(key.secret, "nct/positions", 2 * count, total)
        drawn = many[np.sort(np.unique(many, return_index=True)[1])][:count]
    ends = np.cumsum(sizes)
    return [
        drawn[(drawn >= end - n) & (drawn < end)] - (end - n)
        for n, end in zip(sizes, ends, strict=True)
    ]


def _matches(
    suspect: Suspect, key: Key, stored: NDArray[np.float32], count: int
) -> tuple[list[_Match], list[str]]:
    """Agreement in each layer that is there, and the names of those that are not."""
    found, missing, start, refusal = [], [], 0, None
    for index, places in enumerate(_places(key, count)):
        own = stored[start : start + len(places)]
        start += len(places)
        try:
            carrier = carriers.find(suspect, key, "nct", index)
        except CarrierNotFoundError as error:
            missing.append(key.layers[index])
            refusal = error
            continue
        if len(places) > 1:
            found.append(_match(carrier.layer, own, carrier.values.reshape(-1)[places]))
    if refusal is not None and not found:
        raise refusal
    return found, missing


def _match(layer: Layer, own: NDArray[np.float32], theirs: NDArray[np.float64]) -> _Match:
    first, second = normal_scores(own), normal_scores(theirs)
    first, second = first - first.mean(), second - second.mean()
    squares = float(np.dot(first, first)) * float(np.dot(second, second))
    return _Match(layer, float(np.dot(first, second)), squares / (len(own) - 1), len(own))


def _deviations(matches: list[_Match]) -> float:
    variance = sum(match.variance for match in matches)
    return sum(match.total for match in matches) / math.sqrt(variance) if variance > 0 else 0.0


def _place(match: _Match) -> Place:
    deviations = _deviations([match])
    return Place(match.layer.name, 0, match.layer.size, deviations, log10_tail(deviations))
