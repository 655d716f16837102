"""The key of a network in a framework, as one of its file: carriers are found by their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.kit import candidates
from nnw_onnx.kit.candidates import Candidate
from nnw_onnx.vocabulary import Array, Claim, Weighted

_NEAR = 0.3
"""Relative distance of weights from those that were exported: eight bits leave 0.01, four bits
0.15, and other weights about 1."""
_FEWEST = 4
"""Weights of a filter that can be told from those of another up to a factor."""


@dataclass(frozen=True)
class Match:
    """Where the values of a carrier are in a file.

    Attributes:
        place: the layer, and which of its weights.
        factors: (out,) of each filter, where an exporter has multiplied filters by a normalization.
        distance: what is left of the difference, over the norm of the weights in the file.
    """

    place: Candidate
    factors: NDArray[np.float64]
    distance: float


def match(values: Array, file: Weighted) -> Match | None:
    """The place of a file whose weights are nearest to these (out, in, *kernel), or None."""
    mine = np.asarray(values, np.float64).reshape(len(values), -1)
    places = candidates.affordable(candidates.everywhere(file, values.shape))
    found = [_compared(mine, place, file) for place in places]
    best = min(found, key=lambda m: m.distance, default=None)
    return None if best is None or best.distance > _NEAR else best


def rekeyed(claim: Claim, file: Weighted, model: Weighted | None = None) -> Claim:
    """The claim with the names that its carriers have in a file of the network.

    A carrier that was joined with others has no name of its own there: its key keeps the old one,
    and the search of `detect` finds it. The commitment stays as it was.

    Args:
        claim: on the network in its framework.
        file: the network in a file.
        model: the network in its framework, as it was exported, whose values are looked for;
            without it the carrier is the layer of a similar name, or the only one of its shape.

    Raises:
        CarrierNotFoundError: the file has no layer with the values, or none that a name or shape
            tells.
    """
    key = claim.key
    found = [_found(n, s, file, model) for n, s in zip(key.layers, key.shapes, strict=True)]
    notes = [note for n, m in zip(key.layers, found, strict=True) for note in _notes(n, m)]
    names = tuple(
        name if m.place.part else m.place.layer.name
        for name, m in zip(key.layers, found, strict=True)
    )
    return replace(claim, key=replace(key, layers=names, notes=(*key.notes, *notes)))


def renamed(claim: Claim, network: Weighted) -> Claim:
    """The claim with the names that its carriers have in a network that a framework has at hand.

    Itself where they have the same; else see `rekeyed`. A model that was saved and loaded again, or
    that is a part of the one on which the mark was made, has other names for the same layers.

    Raises:
        CarrierNotFoundError: no layer, or more than one, has a similar name or the shape.
    """
    known = {layer.name for layer in network.layers}
    return claim if known.issuperset(claim.key.layers) else rekeyed(claim, network)


def _compared(mine: NDArray[np.float64], place: Candidate, file: Weighted) -> Match:
    its = np.asarray(place.of(file.weights), np.float64).reshape(mine.shape)
    energy = np.square(mine).sum(axis=1)
    factors = np.ones(len(mine))
    if mine.shape[1] >= _FEWEST:
        factors = np.divide((mine * its).sum(axis=1), energy, out=factors, where=energy > 0)
    norm = float(np.linalg.norm(its)) or 1.0
    return Match(place, factors, float(np.linalg.norm(its - factors[:, None] * mine)) / norm)


def _found(name: str, shape: Sequence[int], file: Weighted, model: Weighted | None) -> Match:
    if model is not None:
        layers = {layer.name: layer for layer in model.layers}
        if name not in layers:
            raise CarrierNotFoundError(
                f"carrier: expected layer {name} in the model, got none of this name; give the "
                "model that the key was made for"
            )
        found = match(model.weights[name].reshape(shape), file)
        if found is None:
            raise CarrierNotFoundError(
                f"carrier: expected a layer with the values of {name} in the file, got none; "
                "export the model as it is now"
            )
        return found
    likely = candidates.likely(file, name, shape)
    known = candidates.everywhere(file, shape) if likely is None else [likely]
    if len(known) != 1:
        raise CarrierNotFoundError(
            f"carrier: expected one layer of the file that {name} can be, got {len(known)}; give "
            "the model beside it, whose values tell"
        )
    return Match(known[0], np.ones(shape[0]), 0.0)


def _notes(name: str, found: Match) -> list[str]:
    place = found.place
    part = f" ({place.part})" if place.part else ""
    notes = [f"layer {name} of the model is {place.layer.name}{part} in the file"]
    low, high = float(found.factors.min()), float(found.factors.max())
    if low <= 0.9 or high >= 1.1:
        notes.append(f"the exporter multiplied its filters by {low:.3g} to {high:.3g}")
    return notes
