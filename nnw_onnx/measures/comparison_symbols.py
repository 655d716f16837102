"""Whether technologies have the same Symbol Error Rate: two one-sided tests over networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math.sign_flip import sign_flip_limits
from nnw_onnx.measures.attacks import Attacked, Entry
from nnw_onnx.measures.compared import SymbolEquality, SymbolPair
from nnw_onnx.measures.limits import FEW_NETWORKS
from nnw_onnx.measures.results import Value

MARGIN = 0.02
"""Largest difference of Symbol Error Rates that counts as none."""
LEVEL = 0.05
"""Chance that any pair is wrongly said to be equivalent."""


def carry_symbols(members: Sequence[Entry]) -> list[int]:
    """Places in their group of the technologies whose Symbols are read."""
    return [k for k, entry in enumerate(members) if entry.technology.decodes]


def symbol_pairs(
    members: Sequence[Entry], found: Attacked, pairs: int, rng: np.random.Generator
) -> tuple[SymbolPair, ...]:
    """Every pair of a group that carries Symbols, over the settings that count for the group.

    Args:
        members: the technologies.
        found: what they met.
        pairs: of all groups, which the level is divided by.
        rng: for limits of many networks.
    """
    means = {k: _by_network(found, k) for k in carry_symbols(members)}
    return tuple(
        SymbolPair(
            first=members[a].number,
            second=members[b].number,
            equality=_equality(difference),
            difference=difference,
        )
        for a, b in combinations(means, 2)
        for difference in [_difference(means[a], means[b], 1 - 2 * LEVEL / pairs, rng)]
    )


def _by_network(found: Attacked, member: int) -> NDArray[np.float64] | None:
    """(M,) Symbol Error Rate: mean over Intensities, then settings; None where one is missing."""
    met = [
        [found.met[member, s, i].symbols for i in levels] for s, levels in found.counting.items()
    ]
    if not met or any(len(m.rows) < found.networks for row in met for m in row):
        return None
    return np.array(
        [fmean(fmean(fmean(m.rows[n]) for m in row) for row in met) for n in range(found.networks)]
    )


def _difference(
    first: NDArray[np.float64] | None,
    second: NDArray[np.float64] | None,
    confidence: float,
    rng: np.random.Generator,
) -> Value:
    if first is None or second is None:
        return Value.missing("Symbols of one of them are not read in all settings that count")
    x = first - second
    single = tuple(map(float, x)) if x.size < FEW_NETWORKS else ()
    value = Value(value=float(x.mean()), networks=x.size, individual=single)
    limits = sign_flip_limits(x, confidence, rng)
    if limits is None:
        why = "too few networks for so many pairs, or all of them alike: no limits hold"
        return value.model_copy(update={"reason": why})
    known = {"low": limits[0], "high": limits[1], "confidence": confidence, "method": "sign-flip"}
    return value.model_copy(update=known)


def _equality(difference: Value) -> SymbolEquality:
    if difference.value is None:
        return "not measured"
    inside = difference.limits is not None and max(map(abs, difference.limits)) < MARGIN
    return "equivalent" if inside else "not shown"
