"""From single results to numbers with limits that hold: the network is the unit.

Repetitions are averaged first, then Payloads, then networks. Which limits are given, and from how
many networks on, follows the simulations that `math.clusters` was chosen by; where none hold, there
are none, and the reason is said.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nnw_onnx.math import clusters
from nnw_onnx.math.statistics import CONFIDENCE, Limits, mean_limits, zero_event_bound
from nnw_onnx.measures.results import DatasetSize, Failure, Value
from nnw_onnx.records import Plan, Status

FEW_NETWORKS = 10
"""Networks below which rates have no limits but those of an event that never happened."""
OTHER_NETWORKS = 6
"""Networks from which on a loss is said to be negligible for other networks: the smallest number
with which a sign-flip test can be significant at 5 %."""
FEW_CELLS = 5
"""Measurements of cost below which there are values only."""
LOSS_CONFIDENCE = 0.90
"""Of the limits of a loss: inside the margin they are two one-sided tests (TOST) at 5 %."""
_FEW = f"fewer than {FEW_NETWORKS} networks: their values are listed instead of limits"
_NO_SPREAD = "all networks have the same value: no spread can be estimated"

Single = tuple[int, Hashable, float]
"""One result: network, what was repeated on it (a Payload), number."""


@dataclass(frozen=True)
class Nested:
    """Results by network and by Payload, repetitions averaged.

    Attributes:
        rows: network -> mean over repetitions of each Payload.
    """

    rows: Mapping[int, Sequence[float]]

    @classmethod
    def of(cls, singles: Iterable[Single]) -> Nested:
        """Results one by one, in any order."""
        found: dict[int, dict[Hashable, list[float]]] = defaultdict(lambda: defaultdict(list))
        for network, unit, value in singles:
            found[network][unit].append(value)
        return cls({n: [_mean(v) for v in found[n].values()] for n in sorted(found)})

    @property
    def means(self) -> list[float]:
        """The mean of each network."""
        return [_mean(row) for row in self.rows.values()]

    @property
    def units(self) -> int:
        """Payloads of all networks."""
        return sum(len(row) for row in self.rows.values())


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def rate(nested: Nested, reason: str, *, events: bool = False) -> Value:
    """A share of 1, with limits from ten networks on.

    Args:
        nested: shares, 0 to 1.
        reason: said where there are none.
        events: whether each is an event that happened or not; then no more is known than the
            number of units tells.
    """
    means = nested.means
    if not means:
        return Value.missing(reason)
    value = _bare(means)
    if max(means) == 0:
        # The chance that a network has any event bounds the mean of a share too.
        high = zero_event_bound(len(means))
        return _limited(value, (0.0, high), CONFIDENCE, "no-event")
    if min(means) == 1:
        low = 1 - zero_event_bound(len(means))
        return _limited(value, (low, 1.0), CONFIDENCE, "no-event")
    if len(means) < FEW_NETWORKS:
        return value.model_copy(update={"reason": _FEW})
    limits = clusters.cluster_limits(means, nested.units if events else math.inf)
    return _limited(value, limits, CONFIDENCE, "cluster-beta")


def average(nested: Nested, reason: str) -> Value:
    """A mean over networks without limits."""
    return _bare(nested.means) if nested.rows else Value.missing(reason)


def median(singles: Sequence[Single], reason: str) -> Value:
    """The median of all results, without limits."""
    if not singles:
        return Value.missing(reason)
    networks = len({network for network, _, _ in singles})
    return Value(value=statistics.median(v for _, _, v in singles), networks=networks)


@dataclass(frozen=True)
class SampleError:
    """What other test samples could change in a mean loss, the networks being given.

    Attributes:
        error: standard error of the mean loss; None where it is not known.
        least: half width that limits have at least: answers that are right or wrong, or scores that
            all stayed the same, leave open how many of other samples would have changed.
        alone: limits over samples alone that hold where few answers changed, for one network;
            None where answers are not right or wrong.
        shared: variance that the spread over networks counts too; see `clusters.two_way_limits`.
    """

    error: float | None = None
    least: float = 0.0
    alone: Limits | None = None
    shared: float = 0.0


UNKNOWN = SampleError()
"""Where nothing is known of single samples."""


def loss(nested: Nested, reason: str, samples: SampleError = UNKNOWN) -> Value:
    """A mean loss with its 90 % limits for other networks and other samples at once.

    Args:
        nested: losses.
        reason: said where there are none.
        samples: what other samples could change.
    """
    means = nested.means
    if not means:
        return Value.missing(reason)
    if len(means) == 1:
        limits = samples.alone or clusters.two_way_limits(means, samples.error, samples.least)
        return _limited(_bare(means), limits, LOSS_CONFIDENCE, "samples")
    limits = clusters.two_way_limits(
        means, samples.error, samples.least, LOSS_CONFIDENCE, samples.shared
    )
    method = "student-t" if samples.error is None else "two-way"
    return _limited(_bare(means), limits, LOSS_CONFIDENCE, method)


def cost(sessions: Mapping[int, Nested], reason: str) -> Value:
    """A time, a size or a ratio, with approximate limits over networks and sessions.

    They are what the standard asks for as 95 % limits, and cover that where costs spread normally;
    where a few are much larger than the rest it is down to 81 %, so that they are not called so.

    Args:
        sessions: what each session measured.
        reason: said where there is nothing.
    """
    measured = {s: n for s, n in sessions.items() if n.rows}
    if not measured:
        return Value.missing(reason)
    networks = sorted({n for nested in measured.values() for n in nested.rows})
    table = [[_mean(m.rows[n]) for m in measured.values() if n in m.rows] for n in networks]
    value = _bare([_mean(row) for row in table])
    why = _no_limits(measured, table)
    if why:
        return value.model_copy(update={"reason": why})
    return _approximate(value, clusters.crossed_limits(table))


def _no_limits(measured: Mapping[int, Nested], table: Sequence[Sequence[float]]) -> str:
    """Why costs have no limits; "" where they have."""
    if len(measured) < 2:
        return "one session: what it scatters says nothing of the next"
    if len(table) < 2 or max(nested.units for nested in measured.values()) < FEW_CELLS:
        return f"fewer than {FEW_CELLS} measurements or than two networks: values only"
    if any(len(row) < len(measured) for row in table):
        return "a network is missing in a session: values only"
    return ""


def count(nested: Nested, reason: str) -> Value:
    """A count such as epochs needed, with approximate limits over networks."""
    means = nested.means
    if not means:
        return Value.missing(reason)
    value = _bare(means)
    if nested.units < FEW_CELLS or len(means) < 2:
        few = f"fewer than {FEW_CELLS} measurements or than two networks: values only"
        return value.model_copy(update={"reason": few})
    low, high = mean_limits(means)
    return _approximate(value, None if low == high else (low, high))


def _approximate(value: Value, limits: Limits | None) -> Value:
    """With limits of a quantity that is never negative, of no stated confidence."""
    if limits is None:
        return value.model_copy(update={"reason": _NO_SPREAD})
    low, high = max(0.0, limits[0]), limits[1]
    return value.model_copy(update={"low": low, "high": high, "method": "approximate"})


def _bare(means: Sequence[float]) -> Value:
    single = tuple(means) if len(means) < FEW_NETWORKS else ()
    return Value(value=_mean(means), networks=len(means), individual=single)


def _limited(value: Value, limits: Limits | None, confidence: float, method: str) -> Value:
    if limits is None:
        only = "there is one network" if value.networks == 1 else _NO_SPREAD
        return value.model_copy(update={"reason": only})
    low, high = limits
    known = {"low": low, "high": high, "confidence": confidence, "method": method}
    return value.model_copy(update=known)


def failures(outcomes: Iterable[tuple[Status, str | None]]) -> tuple[Failure, ...]:
    """What was not done, counted by status and reason, the most frequent first."""
    counted = Counter((s, r or "no reason was recorded") for s, r in outcomes if s != "done")
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Failure(status=s, reason=r, count=n) for (s, r), n in ordered)


def dataset_sizes(plan: Plan) -> tuple[DatasetSize, ...]:
    """The rule of ten entries for each trainable Weight, by samples and by scalars (section 3.1).

    It is computed for the data that the evaluation used; flagged, never blocking.
    """
    entries, shapes = plan.dataset.entries, plan.dataset.shapes.values()
    scalars = entries * sum(math.prod(shape) for shape in shapes) if shapes else None
    return tuple(
        DatasetSize(
            network=n.index,
            weights=n.weights,
            samples_per_weight=_quotient(entries, n.weights),
            scalars_per_weight=_quotient(scalars, n.weights),
        )
        for n in plan.networks
    )


def _quotient(entries: int | None, weights: int) -> Value:
    if entries is None:
        return Value.missing("the shape of the entries is unknown")
    if weights == 0:
        return Value.missing("the network has no trainable Weights")
    return Value(value=entries / weights)
