"""One network after one Modification: what its Detector, its Decoder and its task said.

Where the carrier does not exist in a network (a distilled student has none), there is no Symbol to
be read, so no Symbol Error Rate; but a Detector that finds nothing to look at answers No.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnw_onnx.arrays import statistics
from nnw_onnx.measures.comparison import headline_of
from nnw_onnx.measures.limits import (
    Estimate,
    NotMeasured,
    Value,
    over_cells,
    over_networks,
)
from nnw_onnx.measures.points import Counts, NetworkResult
from nnw_onnx.measures.selection import Marked, Unmarked
from nnw_onnx.records import DecodingRecord, InjectionRecord, TrialRecord

NO_MARKED = "no watermarked network could be tested"
NO_UNMARKED = "no unwatermarked network could be tested"
_GONE = "the carrier does not exist in any of the networks"
_Decoded = Sequence[tuple[InjectionRecord, DecodingRecord]]


@dataclass(frozen=True)
class Baseline:
    """Headline quality before any Modification, by (network, injection)."""

    values: Mapping[tuple[int, str | None], float]

    def loss(self, trial: TrialRecord) -> float | None:
        """Loss of quality; None where it was measured on another data set, or not at all."""
        if trial.quality_of is not None:
            return None
        before, after = self.values.get((trial.network, trial.injection)), headline_of(trial)
        return None if before is None or after is None else before - after


def marked_result(marked: Marked, baseline: Baseline) -> NetworkResult:
    """A watermarked network, tested with its own key."""
    trial, decoding = marked.trial, marked.decoding
    status, reason = trial.status, trial.reason
    if trial.status == "done" and decoding is not None:
        status, reason = decoding.status, decoding.reason
    tested = decoding is not None and decoding.status == "done"
    gone = decoding is not None and decoding.status == "not-applicable"
    detected = decoding.detected if decoding and tested else None
    return NetworkResult(
        network=trial.network,
        payload_index=marked.injection.payload_index,
        repetition=trial.repetition,
        status=status,
        reason=reason,
        carrier_exists=None if trial.status != "done" or decoding is None else not gone,
        symbol_error_rate=symbol_error_rate(decoding) if decoding else None,
        log10_p=decoding.log10_p if decoding and tested else None,
        detected=False if gone else detected,
        keys=int(tested),
        quality=headline_of(trial),
        loss=baseline.loss(trial),
    )


def unmarked_result(unmarked: Unmarked, rate: float, baseline: Baseline) -> NetworkResult:
    """An unwatermarked network, tested with every key of the technology.

    A key without its carrier counts among the tests of the Sidak correction, with the answer No.
    """
    tested = [d for _, d in unmarked.decodings if d.status == "done"]
    gone = [d for _, d in unmarked.decodings if d.status == "not-applicable"]
    p_values = [d.log10_p for d in tested if d.log10_p is not None]
    answers = p_values + [0.0] * len(gone)
    errors = [e for d in tested if (e := symbol_error_rate(d)) is not None]
    qualities = [q for t in unmarked.trials if (q := headline_of(t)) is not None]
    losses = [x for t in unmarked.trials if (x := baseline.loss(t)) is not None]
    outcomes = [(t.status, t.reason) for t in unmarked.trials]
    outcomes += [(d.status, d.reason) for _, d in unmarked.decodings]
    status, reason = next((o for o in outcomes if o[0] == "done"), outcomes[0])
    if unmarked.decodings and not tested:
        refused = gone or [d for _, d in unmarked.decodings]
        status, reason = refused[0].status, refused[0].reason
    return NetworkResult(
        network=unmarked.network,
        payload_index=None,
        repetition=unmarked.repetition,
        status=status,
        reason=reason,
        carrier_exists=bool(tested) if tested or gone else None,
        symbol_error_rate=_mean(errors),
        log10_p=min(p_values) if p_values else None,
        detected=statistics.any_detected(answers, rate) if answers else None,
        keys=len(p_values),
        quality=_mean(qualities),
        loss=_mean(losses),
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def counted(results: Sequence[NetworkResult], expected: int) -> Counts:
    """Networks by what became of them."""
    by_status = Counter("no-carrier" if r.carrier_exists is False else r.status for r in results)
    return Counts(
        expected=expected,
        done=by_status["done"],
        failed=by_status["failed"],
        skipped=by_status["skipped"] + by_status["not-applicable"],
        not_applicable=by_status["no-carrier"],
        absent=max(0, expected - len(results)),
    )


def mean_of(
    results: Sequence[NetworkResult],
    field: str,
    reason: str,
    bounds: statistics.Limits | None = None,
) -> Estimate | NotMeasured:
    """Mean of a field over networks, each of which is the mean of its own results."""
    values: dict[int, list[float]] = defaultdict(list)
    for result in results:
        value = getattr(result, field)
        if value is not None:
            values[result.network].append(value)
    return over_networks(values, reason, bounds)


def symbol_errors(
    marked: Sequence[Marked],
    unmarked: Sequence[Unmarked],
    payloads: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The Symbol Error Rate three ways (standard.md section 10, item 1)."""
    with_mark = [(m.injection, m.decoding) for m in marked if m.decoding is not None]
    without = [pair for u in unmarked for pair in u.decodings]
    watermarked = over_cells(_error_rates(with_mark), _why_none(with_mark, NO_MARKED), rng)
    unwatermarked = over_cells(_error_rates(without), _why_none(without, NO_UNMARKED), rng)
    both: Value | NotMeasured
    if isinstance(watermarked, NotMeasured):
        both = watermarked
    elif isinstance(unwatermarked, NotMeasured):
        both = unwatermarked
    else:
        mean = (payloads * watermarked.mean + unwatermarked.mean) / (payloads + 1)
        both = Value(value=mean)
    return {"ser_watermarked": watermarked, "ser_unwatermarked": unwatermarked, "ser_all": both}


def _why_none(decodings: _Decoded, otherwise: str) -> str:
    """Why there is no Symbol Error Rate, where there is none."""
    gone = [d for _, d in decodings if d.status == "not-applicable"]
    if not gone:
        return otherwise
    return f"{_GONE}: {gone[0].reason}" if gone[0].reason else _GONE


def _error_rates(decodings: _Decoded) -> dict[int, list[float]]:
    """Network -> the rate of each payload, averaged over repetitions."""
    rates: dict[tuple[int, int], list[float]] = defaultdict(list)
    for injection, decoding in decodings:
        rate = symbol_error_rate(decoding)
        if rate is not None:
            rates[injection.network, injection.payload_index].append(rate)
    found: dict[int, list[float]] = defaultdict(list)
    for (network, _), values in rates.items():
        found[network].append(math.fsum(values) / len(values))
    return dict(found)


def symbol_error_rate(decoding: DecodingRecord) -> float | None:
    """Differing Symbols / Symbols, or None where nothing was decoded."""
    if decoding.status != "done" or decoding.errors is None:
        return None
    return decoding.errors / decoding.symbols
