"""Channels that were added to a network and do nothing, taken out again.

Those whose incoming weights are those of another, up to a factor that is undone behind, are one
channel: their outgoing weights are added (splits; cliques, whose sum is 0). Those without outgoing
weights do nothing. This is done where there are more channels than the reference has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnw_onnx.kit import channels
from nnw_onnx.kit.strands import Floats, Indices, Lying, Strands, entries
from nnw_onnx.math.assignment import unit_rows
from nnw_onnx.vocabulary import Array

_EQUAL = 1e-3
"""Distance of weights over their norm at which they are the same but for rounding."""
_NEAR = 1e-5
"""1 - cosine up to which they are looked at."""
_NOTHING = 1e-6
"""Norm of outgoing weights over the median of all channels that is none."""


@dataclass(frozen=True)
class Removed:
    """What was taken out of one hidden axis.

    Attributes:
        kept: (channels that are left,) their numbers in the network.
        merged: channels that had the incoming weights of another.
        dropped: channels without outgoing weights.
    """

    kept: Indices
    merged: int = 0
    dropped: int = 0


def without_dummies(
    strands: Strands, values: Mapping[str, Array], sizes: Mapping[int, int]
) -> tuple[dict[str, Array], dict[int, int], dict[int, Removed]]:
    """Weights of a network without dummies, the channels that are left, and what was taken out.

    Args:
        strands: of the reference.
        values: weights of the network by the names of the reference.
        sizes: channels of the network on the axes of the reference.
    """
    now, left = dict(values), dict(sizes)
    removed: dict[int, Removed] = {}
    for number, axis in strands:
        if left.get(number, axis.size) > axis.size and _all_there(strands, number, now):
            state = _Axis(strands, number, now, left)
            now, removed[number] = state.without()
            left[number] = len(removed[number].kept)
    return now, left, removed


def _all_there(strands: Strands, number: int, values: Mapping[str, Array]) -> bool:
    return all(strand.layer in values for strand in strands.axes[number].strands)


@dataclass(frozen=True)
class _Axis:
    """One hidden axis of the network as it is now."""

    strands: Strands
    number: int
    values: Mapping[str, Array]
    sizes: Mapping[int, int]

    @property
    def count(self) -> int:
        return self.sizes[self.number]

    def without(self) -> tuple[dict[str, Array], Removed]:
        """The weights without what does nothing, as far as more channels are there than wanted."""
        groups, ratios = self._equal()
        merged = {one.place: _added(parts, groups, ratios) for one, parts in self._parts("in")}
        kept = np.unique(groups)
        silent = self._silent(merged, kept)
        wanted = self.strands.axes[self.number].size
        drop = silent[: max(0, len(kept) - wanted)]
        left = np.setdiff1d(kept, drop)
        told = Removed(left, self.count - len(kept), len(drop))
        return self._taken(left, merged), told

    def _parts(self, *directions: str) -> Iterator[tuple[Lying, Floats]]:
        """The channels of strands of these directions, (count, features)."""
        for place, strand in enumerate(self.strands.axes[self.number].strands):
            if strand.direction in directions:
                one = Lying(self.number, place, strand)
                there = self.strands.there(one, self.sizes)
                parts = channels.by_channel(self.values[strand.layer], there, self.count)
                yield one, np.asarray(parts, np.float64).reshape(self.count, -1)

    def _equal(self) -> tuple[Indices, Floats]:
        """For each channel the first of equal incoming weights, and its size over that one's."""
        told = list(self._parts("out", "along"))
        made = [parts for one, parts in told if one.strand.direction == "out"]
        groups, ratios = np.arange(self.count), np.ones(self.count)
        rows = np.concatenate(made, axis=1) if made else np.zeros((self.count, 1))
        norms, units = np.linalg.norm(rows, axis=1), unit_rows(rows)
        for channel in np.flatnonzero(norms > 0).tolist():
            near = np.flatnonzero(units[:channel] @ units[channel] >= 1 - _NEAR)
            for first in near[groups[near] == near].tolist():
                ratio = float(norms[channel] / norms[first])
                if any(_same(told, p, first, channel, ratio) for p in self._scalings(ratio)):
                    groups[channel], ratios[channel] = first, ratio
                    break
        return groups, ratios

    def _scalings(self, ratio: float) -> list[tuple[int, ...]]:
        """Powers by strand with which one channel may be so many times another."""
        axis = self.strands.axes[self.number]
        plain = [(0,) * len(axis.strands)] if abs(ratio - 1) <= _EQUAL else []
        return [*plain, *axis.scalings]

    def _silent(self, merged: Mapping[int, Floats], kept: Indices) -> Indices:
        """Channels of those kept without outgoing weights, those of least first."""
        if not merged:
            return np.zeros(0, np.int64)
        outgoing = np.concatenate([*merged.values()], axis=1)[kept]
        norms = np.linalg.norm(outgoing, axis=1)
        order = np.argsort(norms, kind="stable")
        found: Indices = kept[order[norms[order] <= _NOTHING * float(np.median(norms))]]
        return found

    def _taken(self, kept: Indices, merged: Mapping[int, Floats]) -> dict[str, Array]:
        """Every layer of the axis with these channels only."""
        now = dict(self.values)
        for place, strand in enumerate(self.strands.axes[self.number].strands):
            there = self.strands.there(Lying(self.number, place, strand), self.sizes)
            values = np.asarray(now[strand.layer], np.float64)
            if place in merged:
                parts = channels.by_channel(values, there, self.count)
                values = channels.with_channels(values, there, merged[place].reshape(parts.shape))
            now[strand.layer] = values
        # Once all are summed up, since cutting one strand moves those behind it.
        for name in self.strands.axes[self.number].layers:
            now[name] = self._cut(name, now[name], kept)
        return now

    def _cut(self, name: str, values: Array, kept: Indices) -> Array:
        gone = np.setdiff1d(np.arange(self.count), kept)
        for axis in range(values.ndim):
            away = []
            for one in self.strands.on(name, axis):
                if one.number == self.number:
                    place, channel = entries(self.strands.there(one, self.sizes), self.count)
                    away.append(place[np.isin(channel, gone)])
            values = np.delete(values, np.concatenate(away), axis=axis) if away else values
        return values


def _same(
    told: Sequence[tuple[Lying, Floats]],
    powers: Sequence[int],
    first: int,
    channel: int,
    ratio: float,
) -> bool:
    """Whether all incoming weights of a channel are those of another, times powers of a ratio."""
    for one, parts in told:
        wanted = parts[first] * ratio ** powers[one.place]
        if np.linalg.norm(parts[channel] - wanted) > _EQUAL * np.linalg.norm(wanted):
            return False
    return True


def _added(parts: Floats, groups: Indices, ratios: Floats) -> Floats:
    """Outgoing weights (count, features) summed up in the first channel of each group."""
    total = np.zeros_like(parts)
    np.add.at(total, groups, parts * ratios[:, None])
    return total
