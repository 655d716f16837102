"""Numbers with their limits, and the rule on data-set size.

Everything measured carries its status: what could not be measured is `NotMeasured` with a reason,
never NaN and never zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from nnw_onnx.arrays import statistics
from nnw_onnx.records import Plan, RecordModel, Status

FEW_NETWORKS = 5
ENTRIES_PER_WEIGHT = 10
SHARE: statistics.Limits = (0.0, 1.0)
"""Where a share lies."""
POSITIVE: statistics.Limits = (0.0, math.inf)
"""Where a time or a size lies."""


class ResultModel(RecordModel):
    """Base of everything in a report; the sentence below each field goes into its JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Interval(ResultModel):
    """Two limits."""

    status: Literal["measured"] = "measured"
    low: float
    high: float

    @classmethod
    def of(cls, limits: statistics.Limits) -> Interval:
        """The interval of a pair (low, high)."""
        return cls(low=limits[0], high=limits[1])


class NotMeasured(ResultModel):
    """Why there is no number."""

    status: Literal["not-measured"] = "not-measured"
    reason: str
    """In plain words."""


MeasuredInterval = Annotated[Interval | NotMeasured, Field(discriminator="status")]


class Estimate(ResultModel):
    """A mean with its limits."""

    status: Literal["measured"] = "measured"
    mean: float
    """Mean over the units."""
    n: int
    """Number of units."""
    unit: str
    """What was averaged over, such as "networks"."""
    limits: MeasuredInterval
    """95 % limits of the mean (Student's t, or a bootstrap where `limits_method` says so), cut off
    where the quantity ends: a share at 0 and 1, a time at 0."""
    limits_method: Literal["student-t", "bootstrap"] = "student-t"
    bootstrap: Interval | None = None
    """95 % percentile limits of the bootstrap, where they are given beside Student's t."""
    minimum: float
    """Smallest value of a unit."""
    maximum: float
    """Largest value of a unit."""
    individual: tuple[float, ...] = ()
    """The values themselves, where there are fewer than five."""


Measured = Annotated[Estimate | NotMeasured, Field(discriminator="status")]


class Proportion(ResultModel):
    """Events among trials."""

    status: Literal["measured"] = "measured"
    events: int
    n: int
    value: float
    """events / n."""
    limits: Interval | None = None
    """95 % Clopper-Pearson limits; None where the ratio is no probability."""


MeasuredProportion = Annotated[Proportion | NotMeasured, Field(discriminator="status")]


class Value(ResultModel):
    """One number that follows from others."""

    status: Literal["measured"] = "measured"
    value: float


MeasuredValue = Annotated[Value | NotMeasured, Field(discriminator="status")]


class Failure(ResultModel):
    """What was not done, why, and how often."""

    status: Status
    reason: str
    count: int


class DatasetSize(ResultModel):
    """The standard's rule on data-set size for one network: ten entries for each Weight."""

    network: int
    weights: int
    """Trainable Weights (kernels)."""
    samples_per_weight: MeasuredValue
    """Samples / Weights."""
    scalars_per_weight: MeasuredValue
    """Scalars of all samples / Weights."""
    enough_by_samples: bool | None
    enough_by_scalars: bool | None


def estimate(
    values: Sequence[float],
    unit: str,
    reason: str,
    rng: np.random.Generator | None = None,
    bounds: statistics.Limits | None = None,
) -> Estimate | NotMeasured:
    """Mean with Student-t limits of independent units, with bootstrap limits too if `rng` is given.

    Args:
        values: one number a unit.
        unit: what the units are called.
        reason: said where there are none.
        rng: generator of the bootstrap.
        bounds: smallest and largest possible value; Student's limits are cut off there.
    """
    if not values:
        return NotMeasured(reason=reason)
    limits: Interval | NotMeasured = NotMeasured(reason=f"limits need two {unit}, there is one")
    bootstrap = None
    if len(values) > 1:
        low, high = statistics.mean_limits(values)
        least, most = bounds or (low, high)
        limits = Interval(low=max(low, least), high=min(high, most))
        if rng is not None:
            bootstrap = Interval.of(statistics.bootstrap_limits([values], rng))
    return Estimate(
        mean=float(np.mean(values)),
        n=len(values),
        unit=unit,
        limits=limits,
        bootstrap=bootstrap,
        minimum=min(values),
        maximum=max(values),
        individual=tuple(values) if len(values) < FEW_NETWORKS else (),
    )


def over_networks(
    values: Mapping[int, Sequence[float]], reason: str, bounds: statistics.Limits | None = None
) -> Estimate | NotMeasured:
    """Mean with t limits over networks, each of which is the mean of its own values."""
    means = [float(np.mean(v)) for _, v in sorted(values.items()) if len(v)]
    return estimate(means, "networks", reason, bounds=bounds)


def over_cells(
    values: Mapping[int, Sequence[float]], reason: str, rng: np.random.Generator
) -> Estimate | NotMeasured:
    """Mean over all (network, payload) cells with bootstrap limits over networks and payloads.

    There are no limits with fewer than five networks, whose means are listed instead, and none
    where all values are equal: a bootstrap sees no spread then, which is no certainty.
    """
    rows = [list(v) for _, v in sorted(values.items()) if len(v)]
    flat = [x for row in rows for x in row]
    if not flat:
        return NotMeasured(reason=reason)
    limits: Interval | NotMeasured
    if len(rows) < FEW_NETWORKS:
        limits = NotMeasured(reason="fewer than five networks: their values are listed instead")
    elif min(flat) == max(flat):
        limits = NotMeasured(reason=f"all {len(flat)} values are equal: no spread can be estimated")
    else:
        limits = Interval.of(statistics.bootstrap_limits(rows, rng))
    return Estimate(
        mean=float(np.mean(flat)),
        n=len(flat),
        unit="network-payload cells",
        limits=limits,
        limits_method="bootstrap",
        minimum=min(flat),
        maximum=max(flat),
        individual=tuple(float(np.mean(r)) for r in rows) if len(rows) < FEW_NETWORKS else (),
    )


def proportion(events: int, n: int, reason: str) -> Proportion | NotMeasured:
    """A probability with Clopper-Pearson limits."""
    if n == 0:
        return NotMeasured(reason=reason)
    limits = Interval.of(statistics.clopper_pearson(events, n))
    return Proportion(events=events, n=n, value=events / n, limits=limits)


def failures(outcomes: Sequence[tuple[Status, str | None]]) -> tuple[Failure, ...]:
    """What was not done, counted by status and reason, the most frequent first."""
    counted = Counter((s, r or "no reason was recorded") for s, r in outcomes if s != "done")
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Failure(status=s, reason=r, count=n) for (s, r), n in ordered)


def dataset_sizes(plan: Plan) -> tuple[DatasetSize, ...]:
    """The rule of ten entries for each trainable Weight, by samples and by scalars (section 3.1).

    It is computed for the data the evaluation used; flagged, never blocking.
    """
    entries, shape = plan.dataset.get("entries"), plan.dataset.get("shape")
    samples = entries if isinstance(entries, int) else None
    scalars = samples * math.prod(shape) if samples is not None and shape else None
    return tuple(_size(n.index, n.weights, samples, scalars) for n in plan.networks)


def _size(network: int, weights: int, samples: int | None, scalars: int | None) -> DatasetSize:
    by_samples, by_scalars = _quotient(samples, weights), _quotient(scalars, weights)
    return DatasetSize(
        network=network,
        weights=weights,
        samples_per_weight=by_samples,
        scalars_per_weight=by_scalars,
        enough_by_samples=_enough(by_samples),
        enough_by_scalars=_enough(by_scalars),
    )


def _quotient(entries: int | None, weights: int) -> Value | NotMeasured:
    if entries is None:
        return NotMeasured(reason="the number or the shape of the entries is unknown")
    if weights == 0:
        return NotMeasured(reason="the network has no trainable Weights")
    return Value(value=entries / weights)


def _enough(quotient: Value | NotMeasured) -> bool | None:
    return quotient.value >= ENTRIES_PER_WEIGHT if isinstance(quotient, Value) else None
