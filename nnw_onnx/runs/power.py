"""What an evaluation can ever show, said before anything runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.math import power
from nnw_onnx.measures.compared import ClaimRule
from nnw_onnx.measures.limits import FEW_NETWORKS, OTHER_NETWORKS
from nnw_onnx.records import TechnologyRecord
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.settings import setting_records, technology_records
from nnw_onnx.runs.tables import Evaluation

MISSED = 0.05
"""Share of watermarks missed that a claim of robustness has to rule out."""
CORRELATIONS = (0.1, 0.5)
"""Intraclass correlations of finding the watermarks of one network: as measured on the average of
settings, and about where watermarks begin to be lost."""
SPREADS = (0.3, 0.62, 1.0)
"""Standard deviations between networks of the loss of quality, in margins."""
TRUE_LOSS = 0.4
"""A true loss beside none, in margins."""
EFFECTS = ((0.05, 0.05), (0.1, 0.1), (0.2, 0.1))
"""Differences of the success of attacks, and their standard deviations between networks."""


@dataclass(frozen=True)
class PowerPlan:
    """What so many networks, payloads and claims can show.

    Attributes:
        networks: M.
        payloads: D.
        claims: of the manifest.
        groups: title of each group -> its claims.
        deaf: technologies whose Detector can never say Yes at the level, and what they would take.
    """

    networks: int
    payloads: int
    claims: int
    groups: Mapping[str, int]
    deaf: tuple[str, ...] = ()

    @property
    def needed(self) -> int:
        """Networks with which the first of the claims can be significant."""
        return power.fewest_networks(max(1, self.claims))

    @property
    def decidable(self) -> bool:
        """Whether any claim can ever be significant."""
        return self.claims > 0 and self.networks >= self.needed and not self.deaf

    def lines(self) -> tuple[str, ...]:
        """All of it in words."""
        return (*self._claims(), *self.deaf, *self._effects(), *self._losses(), *self._marks())

    def _claims(self) -> Iterator[str]:
        told = ", ".join(f"{title}: {n}" for title, n in self.groups.items())
        yield (
            f"{self.networks} networks x {self.payloads} Payloads; "
            f"{_plural(self.claims, 'claim')}{f' ({told})' if told else ''}"
        )
        least = f"smallest p-value of {_plural(self.networks, 'network')}: "
        least += f"{power.smallest_p(self.networks):.3g}"
        if not self.claims:
            yield f"{least}; no two technologies have equal payloads, so there is nothing to claim"
        elif self.networks >= self.needed:
            yield f"{least}; all claims can be significant after Holm ({self.needed} networks do)"
        else:
            yield f"{least}; no claim can ever be significant: that takes {self.needed} networks"

    def _effects(self) -> Iterator[str]:
        if self.claims:
            yield "networks that a difference of the success of attacks takes, at 90 % power:"
            for difference, spread in EFFECTS:
                found = power.superiority_networks(spread, difference, self.claims)
                yield (
                    f"  {100 * difference:g} points, standard deviation between networks "
                    f"{100 * spread:g}: {_networks(found)}"
                )

    def _losses(self) -> Iterator[str]:
        yield "networks that it takes to show a loss of quality to be negligible, at 90 % power:"
        for spread in SPREADS:
            none = power.equivalence_networks(spread, 0.0, 1.0)
            some = power.equivalence_networks(spread, TRUE_LOSS, 1.0)
            yield (
                f"  standard deviation between networks of {spread:g} margins: {_networks(none)}, "
                f"or {_networks(some)} where the true loss is {TRUE_LOSS:g} margins"
            )
        if self.networks < OTHER_NETWORKS:
            yield (
                f"  fewer than {OTHER_NETWORKS} networks: a loss can be negligible for the "
                "networks tested, and not for others"
            )

    def _marks(self) -> Iterator[str]:
        yield (
            f"fewer than {100 * MISSED:g} % missed, without a miss, takes "
            f"{power.fewest_marks(MISSED)} independent watermarks:"
        )
        for correlation in CORRELATIONS:
            have = self.networks * self.payloads / (1 + (self.payloads - 1) * correlation)
            payloads = power.fewest_payloads(self.networks, MISSED, correlation)
            takes = (
                f"{_plural(payloads, 'Payload')} a network"
                if payloads is not None
                else f"more networks than these: {math.ceil(self._networks_for(correlation))}"
            )
            yield f"  at a correlation of {correlation:g}: there are {have:.0f}; it takes {takes}"
        if self.networks < FEW_NETWORKS:
            yield f"  fewer than {FEW_NETWORKS} networks: rates have no limits"

    def _networks_for(self, correlation: float) -> float:
        """Networks that it takes with as many Payloads."""
        each = self.payloads / (1 + (self.payloads - 1) * correlation)
        return power.fewest_marks(MISSED) / each


def power_plan(
    evaluation: Evaluation,
    rule: ClaimRule = "overall",
    networks: int | None = None,
    payloads: int | None = None,
) -> PowerPlan:
    """What an evaluation can ever show; its networks are counted and not opened.

    Args:
        evaluation: whose technologies and settings make the manifest.
        rule: "overall": a claim for each pair of equal payloads; "settings": in each setting too.
        networks: instead of those of the evaluation.
        payloads: likewise.

    Raises:
        ConfigurationError: its networks are not there.
    """
    groups: dict[str, list[TechnologyRecord]] = defaultdict(list)
    records = technology_records(evaluation)
    for record in records:
        if record.kind != "integrity":
            title = f"{record.payload_size} bits" if record.payload_size else "without Payload"
            groups[f"{title}, fingerprints" if record.kind == "fingerprint" else title].append(
                record
            )
    times = 1 if rule == "overall" else len(setting_records(evaluation))
    pairs = {
        title: times * len(list(combinations(found, 2)))
        for title, found in groups.items()
        if len(found) > 1
    }
    count = len(network_paths(evaluation.networks)) if networks is None else networks
    return PowerPlan(
        networks=checked("networks", count),
        payloads=checked("payloads", evaluation.payloads if payloads is None else payloads),
        claims=sum(pairs.values()),
        groups=pairs,
        deaf=tuple(_deaf(records, evaluation.false_positive_rate)),
    )


def checked(what: str, number: int) -> int:
    """A count; raises `ConfigurationError` unless it is at least 1."""
    if number < 1:
        raise ConfigurationError(f"{what}: expected at least 1, got {number}; give another number")
    return number


def _deaf(records: Sequence[TechnologyRecord], level: float) -> Iterator[str]:
    """Technologies of too few bits: all of them right by chance is too likely."""
    bits = math.ceil(-math.log2(level))
    for record in records:
        plain = record.decodes and record.alphabet == 2 and record.code is None
        if plain and record.access != "answers" and 0 < record.payload_size < bits:
            yield (
                f"{record.label}: p = {2.0**-record.payload_size:.2g} at best, it can never be "
                f"found at {level:g}; that takes {bits} bits"
            )


def _networks(count: int | None) -> str:
    return f"more than {power.MOST_NETWORKS}" if count is None else str(count)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
