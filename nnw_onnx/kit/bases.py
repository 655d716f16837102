"""Into which other basis the channels of a hidden axis were put, such as those within a head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnw_onnx.kit.scales import Told
from nnw_onnx.kit.strands import Floats
from nnw_onnx.vocabulary import HiddenAxis

_MORE = 2
"""Weights of a channel over the number of channels, below which any weights fit some basis."""
SHOWN = 0.5
"""Share of the energy that chance does not explain, at which a basis is believed."""


def basis_of(axis: HiddenAxis, told: Sequence[Told]) -> Floats | None:
    """The matrix A (size, size) by which the channels were mixed; None where that is not shown.

    Layers of mixing 1 hold A R, of mixing -1 the transposed inverse of A times R, R being those of
    the reference. Of each kind A is the least squares over all its layers, and the mean of both is
    taken. Least squares of n channels explain n / m of the energy of any m weights a channel; what
    they explain beyond must be half of the rest, in each kind.
    """
    if not axis.mixings or any(one.own.shape != one.theirs.shape for one in told):
        return None
    found = []
    for power in (1, -1):
        none = np.zeros((axis.size, 0))
        own, theirs = (np.concatenate([none, *rows], axis=1) for rows in _rows(axis, told, power))
        if own.shape[1] >= _MORE * axis.size:
            fitted = theirs @ np.linalg.pinv(own)
            if not _explains(fitted, own, theirs):
                return None
            found.append(fitted if power > 0 else np.linalg.pinv(fitted).T)
    if not found:
        return None
    mean: Floats = np.mean(found, axis=0)
    return mean if np.linalg.matrix_rank(mean) == axis.size else None


def _rows(axis: HiddenAxis, told: Sequence[Told], power: int) -> tuple[list[Floats], list[Floats]]:
    """Channels of the reference and of the network in all layers of a kind."""
    used = [one for one in told if axis.mixings[one.place] == power]
    return [one.own for one in used], [one.theirs for one in used]


def _explains(fitted: Floats, own: Floats, theirs: Floats) -> bool:
    energy = float(np.square(theirs).sum())
    left = float(np.square(theirs - fitted @ own).sum())
    chance = len(own) / own.shape[1]
    return energy > 0 and 1 - left / energy >= chance + SHOWN * (1 - chance)
