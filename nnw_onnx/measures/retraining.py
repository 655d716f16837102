"""What Modifications that train say of themselves: new watermarks, facts, another data set."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from nnw_onnx.measures.limits import SHARE, Estimate, NotMeasured, over_networks
from nnw_onnx.records import TrialRecord

NEW_MARK_IN = 0.05
"""Largest Symbol Error Rate of further watermarks at which an overwriting counts as one."""
DIFFERENT = "differs from network to network"


def new_marks(trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Symbol Error Rate of the further watermarks of an overwriting, and whether it is void.

    Mean over networks of the mean over their further watermarks; of watermarked networks only. The
    earlier ones are overwritten by the later ones, so whether they were put in shows in the last.
    """
    rates: dict[int, list[float]] = defaultdict(list)
    last_rates: dict[int, list[float]] = defaultdict(list)
    for trial in trials:
        if trial.new_marks:
            shares = [mark.errors / mark.symbols for mark in trial.new_marks]
            rates[trial.network].append(math.fsum(shares) / len(shares))
            last_rates[trial.network].append(shares[-1])
    none = "no further watermark was put in"
    last = over_networks(last_rates, none, SHARE)
    void = None
    if isinstance(last, Estimate) and last.mean > NEW_MARK_IN:
        void = NotMeasured(
            reason="the overwriting is void: the last of its new watermarks is not in (its Symbol "
            f"Error Rate is {last.mean:.3g}, the most that counts is {NEW_MARK_IN:g})"
        )
    return {
        "ser_new_marks": over_networks(rates, none, SHARE),
        "ser_last_new_mark": last,
        "void": void,
    }


def facts(trials: Sequence[TrialRecord]) -> dict[str, float | str]:
    """What the Modifications say: numbers as means over networks, words where they all agree."""
    done = [t for t in trials if t.status == "done"]
    names = dict.fromkeys(name for t in done for name in t.facts)
    return {name: _fact(name, done) for name in names}


def _fact(name: str, trials: Sequence[TrialRecord]) -> float | str:
    numbers: dict[int, list[float]] = defaultdict(list)
    words: set[str] = set()
    for trial in trials:
        value = trial.facts.get(name)
        if isinstance(value, str):
            words.add(value)
        elif value is not None:
            numbers[trial.network].append(float(value))
    if words:
        return words.pop() if len(words) == 1 and not numbers else DIFFERENT
    means = [math.fsum(v) / len(v) for v in numbers.values()]
    return math.fsum(means) / len(means)


def measured_on(trials: Sequence[TrialRecord]) -> str | None:
    """The other data sets that quality was measured on, or None."""
    names = sorted({t.quality_of for t in trials if t.quality_of is not None})
    return " and ".join(names) if names else None
