"""What a comparison of technologies came to, as values.

An attack succeeds where the Detector says No and the network is still usable. Numbers are shares
from 0 to 1; a difference is the first technology's success of attacks minus the second's, so that a
negative one is in favour of the first. The network is the unit everywhere.
"""

from __future__ import annotations

from typing import Literal

from nnw_onnx.measures.results import Level, ResultModel, Value
from nnw_onnx.records import Family, MeasureRecord

Decided = Literal["at the exact level", "as recorded"]
Equality = Literal["equal", "not shown", "unequal", "not measured"]
SymbolEquality = Literal["equivalent", "not shown", "not measured"]
ClaimVerdict = Literal["first", "second", "equivalent", "tied", "not comparable"]
ClaimRule = Literal["overall", "settings"]


class ComparedRun(ResultModel):
    """A run folder that takes part."""

    name: str
    title: str
    package_version: str
    evaluation_sha256: str
    records_sha256: str


class Contestant(ResultModel):
    """A technology of one of the runs."""

    index: int
    run: int
    technology: int
    """Its number in that run."""
    label: str
    """With the run's name where several runs take part."""
    bits: int
    """Information: the Payload before any code; 0 where it only says that it is there."""
    symbols: int | None
    """In a network, after code and alphabet."""
    level: float
    """At which it is decided."""
    attained: float | None
    """Chance of a Yes that the Detector really has at that level, where its null is a count."""
    decided: Decided
    """Where the null is a count, ties are broken by a hash of trial and key, so that the chance of
    a Yes is that of the others."""
    loss: Value
    """What the watermark itself costs in quality."""
    attacked: bool = False
    """Whether an attack was tried in its run that its method names as that of somebody who knows
    it. If not it has no place: what it survives are accidents."""


class ComparedSetting(ResultModel):
    """A setting that all runs have, and what its Intensities leave of unwatermarked networks."""

    index: int
    code: str
    label: str
    family: Family
    unit: str
    levels: tuple[Level, ...]
    """As the first run has it."""
    usable: tuple[bool, ...]
    """By level: whether it leaves the unwatermarked networks usable in every run."""


class Attack(ResultModel):
    """One technology under one setting at one Intensity."""

    contestant: int
    setting: int
    level: int
    intensity: float | None
    counts: bool
    """Whether it is part of the scores of its group: usable, and tested for all of them."""
    success: Value
    """Share of watermarks that are not found any more, in networks that are still usable."""
    lost: Value
    """Share that is not found, usable or not."""
    ser: Value
    reason: str | None = None
    """Why it does not count."""


class QualityPair(ResultModel):
    """Whether two technologies cost the same quality: two one-sided tests at the margin."""

    first: int
    second: int
    equality: Equality
    difference: Value
    """Quality with the first minus quality with the second, with 90 % limits."""


class Claim(ResultModel):
    """One claim of the manifest: that attacks succeed unequally. Fixed by the plan alone."""

    first: int
    second: int
    setting: int | None
    """Number of the setting; None for the score over all of them."""


class ClaimResult(ResultModel):
    """What became of a claim."""

    claim: Claim
    verdict: ClaimVerdict
    """Who is attacked with less success; "tied" where no test separates them."""
    difference: Value
    """With 95 % limits of the sign-flip test, not corrected for the number of claims."""
    p_value: float
    """Exact two-sided sign-flip test over networks; 1 where the two are not comparable."""
    adjusted: float
    """After Holm, over the whole manifest."""
    reason: str | None = None
    """Why they are not comparable."""


class Standing(ResultModel):
    """A technology among those of its group."""

    contestant: int
    score: Value
    """Success of attacks: mean over Intensities, then settings, then networks."""
    rank: Value
    """Mean rank within networks, 1 the best, with approximate bootstrap limits, among those of the
    group that are ranked."""
    best: int | None
    """First place that it can have: 1 + those that a claim puts before it; None where it is not
    ranked, because it was not attacked adaptively."""
    worst: int | None
    """Last place that it can have, likewise."""


class Place(ResultModel):
    """Place of a technology by success of attacks alone, which no test separates."""

    contestant: int
    success: float
    """Success of attacks: mean over Intensities, then settings, then networks."""
    place: int | None
    """1 + ranked technologies that are attacked with less success; those of equal success share it.
    None where it is not ranked."""


class LimitedPlaces(ResultModel):
    """The order of a group where another loss still counts as usable. It is no claim."""

    usable_loss: float
    """In the measure's own units."""
    intensities: int
    """Settings at single Intensities that count."""
    places: tuple[Place, ...]
    """In the order of the group's contestants; empty where nothing counts."""


class SymbolPair(ResultModel):
    """Whether two technologies have the same Symbol Error Rate: two one-sided tests."""

    first: int
    second: int
    equality: SymbolEquality
    difference: Value
    """First minus second, with the limits that decide: sign-flip limits over networks, at
    Bonferroni's level for all such pairs."""


class Group(ResultModel):
    """Technologies of equal information payload; those that say only "it is there" are one too."""

    title: str
    bits: int
    contestants: tuple[int, ...]
    settings: tuple[int, ...]
    """That count, for all of them."""
    left_out: tuple[str, ...]
    """Settings that do not count, and why."""
    attacks: tuple[Attack, ...]
    quality: tuple[QualityPair, ...]
    results: tuple[ClaimResult, ...]
    standings: tuple[Standing, ...]
    """By score, the best first; those that are not ranked last."""
    limits: tuple[LimitedPlaces, ...] = ()
    """At 2/5 of the usable loss of the plan, at that itself, and at twice as much."""
    symbols: tuple[SymbolPair, ...] = ()
    """Pairs that both carry Symbols."""


class Comparison(ResultModel):
    """Technologies side by side; no date and no path is in it."""

    schema_version: Literal[1] = 1
    runs: tuple[ComparedRun, ...]
    networks: tuple[str, ...]
    payloads: tuple[int, ...]
    """D of each run."""
    repetitions: tuple[int, ...]
    measure: MeasureRecord
    false_positive_rate: float
    rule: ClaimRule
    """By which the manifest was made: a claim for each pair of a group, or for each setting too."""
    manifest_sha256: str
    """Digest of the claims, which follow from the plans alone."""
    claims: int
    """In the manifest, of all groups."""
    smallest_p: float
    """That so few networks allow."""
    needed: int
    """Networks with which the first claim of this manifest can be significant."""
    equivalence: float
    """Largest difference of success that counts as none."""
    symbol_equivalence: float = 0.02
    """Largest difference of Symbol Error Rates that counts as none."""
    contestants: tuple[Contestant, ...]
    settings: tuple[ComparedSetting, ...]
    groups: tuple[Group, ...]
    """With two technologies at least."""
    left_out: tuple[str, ...]
    """What is not compared, and why."""

    @property
    def decidable(self) -> bool:
        """Whether any claim can be significant with so many networks."""
        return len(self.networks) >= self.needed
