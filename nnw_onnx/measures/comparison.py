"""Technologies side by side: paired by network, tested by signs, corrected for all claims.

The design of a comparison that holds: equal information, equal loss of quality, one level of all
Detectors, the network as the unit, and claims that are fixed before anything is looked at.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import power, ranks
from nnw_onnx.math.sign_flip import holm, sign_flip_limits, sign_flip_p
from nnw_onnx.measures.aligning import Aligned, aligned
from nnw_onnx.measures.attacks import Attacked, Entry, attacked, attacks_of
from nnw_onnx.measures.compared import (
    Claim,
    ClaimResult,
    ClaimRule,
    ClaimVerdict,
    ComparedRun,
    Comparison,
    Contestant,
    Group,
    QualityPair,
    Standing,
)
from nnw_onnx.measures.comparison_limits import limited_places
from nnw_onnx.measures.comparison_symbols import MARGIN, carry_symbols, symbol_pairs
from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.equal_quality import quality_pair
from nnw_onnx.measures.families import attacked as attacked_adaptively
from nnw_onnx.measures.imperceptibility import imperceptibility
from nnw_onnx.measures.limits import FEW_NETWORKS, OTHER_NETWORKS
from nnw_onnx.measures.results import Value
from nnw_onnx.measures.robustness import NOT_IN, is_in
from nnw_onnx.measures.run import Run
from nnw_onnx.records import TechnologyRecord

LEVEL = 0.05
"""Chance of any wrong claim of the whole manifest."""
EQUIVALENCE = 0.05
"""Largest difference of success that counts as none."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Asked:
    """What a comparison is to tell.

    Attributes:
        rule: "overall": a claim for each pair of a group; "settings": one for each setting too.
        bits: sizes of payloads that are compared; all where it is empty.
        digests: SHA-256 of the records of each run.
    """

    rule: ClaimRule = "overall"
    bits: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()


def compare(given: Sequence[tuple[str, Run]], asked: Asked, rng: np.random.Generator) -> Comparison:
    """Compare the technologies of one or several runs.

    Args:
        given: name and records of each run.
        asked: what is to be told.
        rng: for bootstrap limits, and for tests of many networks.

    Raises:
        RunError: runs differ in what has to be equal.
    """
    common = aligned(given)
    left_out = list(common.left_out)
    entries = list(_entries(common, asked, left_out))
    groups = {
        key: [e for e in entries if (e.technology.kind, e.technology.payload_size) == key]
        for key in dict.fromkeys((e.technology.kind, e.technology.payload_size) for e in entries)
    }
    for members in groups.values():
        if len(members) == 1:
            left_out.append(f"{members[0].label}: no other technology has {_size(members[0])}")
    several = [members for members in groups.values() if len(members) > 1]
    manifest = [list(_claims(members, common, asked.rule)) for members in several]
    tested = [
        _Family(common, members, claims, rng)
        for members, claims in zip(several, manifest, strict=True)
    ]
    every = [claim for claims in manifest for claim in claims]
    adjusted = holm([p for family in tested for p in family.p_values])
    plan, places = given[0][1].plan, iter(adjusted)
    read = sum(math.comb(len(carry_symbols(members)), 2) for members in several)
    return Comparison(
        runs=tuple(
            _run(name, run, digest)
            for (name, run), digest in zip(given, asked.digests or ("",) * len(given), strict=True)
        ),
        networks=tuple(n.name for n in plan.networks),
        payloads=tuple(run.plan.payloads for _, run in given),
        repetitions=tuple(run.plan.repetitions for _, run in given),
        measure=plan.measures[0],
        false_positive_rate=plan.false_positive_rate,
        rule=asked.rule,
        manifest_sha256=_digest(every, entries),
        claims=len(every),
        smallest_p=power.smallest_p(len(plan.networks)),
        needed=power.fewest_networks(max(1, len(every)), LEVEL),
        equivalence=EQUIVALENCE,
        symbol_equivalence=MARGIN,
        contestants=tuple(_contestant(e) for e in entries),
        settings=common.settings,
        groups=tuple(
            family.group([next(places) for _ in family.claims], len(every), read)
            for family in tested
        ),
        left_out=tuple(left_out),
    )


def _entries(common: Aligned, asked: Asked, left_out: list[str]) -> Iterator[Entry]:
    """Technologies that can be compared at all, numbered."""
    number = 0
    for place, named in enumerate(common.runs):
        for record in named.run.plan.technologies:
            label = f"{named.name}: {record.label}" if len(common.runs) > 1 else record.label
            if asked.bits and record.payload_size not in asked.bits:
                continue
            why = _why_not(named.run, record)
            if why:
                left_out.append(f"{label}: not comparable, {why}")
                continue
            judge, known = judge_of(named.run, record), attacked_adaptively(named.run, record.index)
            yield Entry(number, place, named, record, judge, label, known)
            number += 1


def _why_not(run: Run, record: TechnologyRecord) -> str:
    if record.kind == "integrity":
        return "it tells that a network was changed, and survives nothing"
    if record.robustness not in run.plan.workflows:
        return "its robustness was not asked for"
    judge = judge_of(run, record)
    if not judge.what.ever:
        return judge.what.reason or "it can never say Yes"
    return "" if is_in(run, record, judge) else NOT_IN


def _claims(members: Sequence[Entry], common: Aligned, rule: ClaimRule) -> Iterator[Claim]:
    """The claims of a group: they follow from the plans, never from what an attack left."""
    places = [None] if rule == "overall" else [s.index for s in common.settings]
    for first, second in combinations(members, 2):
        for setting in places:
            yield Claim(first=first.number, second=second.number, setting=setting)


def _digest(claims: Sequence[Claim], entries: Sequence[Entry]) -> str:
    told = (
        [[e.label, e.technology.payload_size] for e in entries],
        [[c.first, c.second, c.setting] for c in claims],
    )
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _run(name: str, run: Run, digest: str) -> ComparedRun:
    return ComparedRun(
        name=name,
        title=run.plan.title,
        package_version=run.plan.package_version,
        evaluation_sha256=run.plan.evaluation_sha256,
        records_sha256=digest,
    )


def _contestant(entry: Entry) -> Contestant:
    what, own = entry.judge.what, entry.named.run.marks(entry.technology.index)
    return Contestant(
        index=entry.number,
        run=entry.run,
        technology=entry.technology.index,
        label=entry.label,
        bits=entry.technology.payload_size,
        symbols=max((i.symbols for i in own if i.symbols), default=None),
        level=what.level,
        attained=what.attained,
        decided="as recorded" if what.attained is None else "at the exact level",
        loss=imperceptibility(entry.named.run, entry.technology).loss,
        attacked=entry.attacked,
    )


def _size(entry: Entry) -> str:
    bits = entry.technology.payload_size
    return f"{bits} bits" if bits else "no Payload either"


class _Ranked(TypedDict):
    """The part of a standing that only a technology has that was attacked adaptively."""

    rank: Value
    best: int | None
    worst: int | None


_UNRANKED: _Ranked = {
    "rank": Value.missing("not attacked adaptively"),
    "best": None,
    "worst": None,
}


@dataclass(frozen=True)
class _Family:
    """The technologies of a group, tested against each other."""

    common: Aligned
    members: Sequence[Entry]
    claims: Sequence[Claim]
    rng: np.random.Generator

    @cached_property
    def attacked(self) -> Attacked:
        """Success of attacks by technology, setting, Intensity and network."""
        return attacked(self.common, self.members)

    @cached_property
    def quality(self) -> Mapping[tuple[int, int], QualityPair]:
        """Of each pair."""
        return {(a.number, b.number): quality_pair(a, b) for a, b in combinations(self.members, 2)}

    @cached_property
    def differences(self) -> list[NDArray[np.float64] | None]:
        """(M,) differences of each claim; None where nothing counts."""
        return [self._difference(claim) for claim in self.claims]

    @cached_property
    def p_values(self) -> list[float]:
        """Of each claim; 1 where it cannot be made, so that it stays a part of the manifest."""
        return [
            1.0 if x is None or self._why_not(claim, x) else sign_flip_p(x, self.rng)
            for claim, x in zip(self.claims, self.differences, strict=True)
        ]

    def group(self, adjusted: Sequence[float], claims: int, read: int) -> Group:
        """All of it, with p-values adjusted over the whole manifest of so many claims.

        `read` is the number of pairs of all groups that carry Symbols.
        """
        results = tuple(
            self._result(claim, x, p, a, claims)
            for claim, x, p, a in zip(
                self.claims, self.differences, self.p_values, adjusted, strict=True
            )
        )
        first = self.members[0].technology
        title = f"{first.payload_size} bits" if first.payload_size else "Without Payload"
        return Group(
            title=f"{title}, fingerprints" if first.kind == "fingerprint" else title,
            bits=first.payload_size,
            contestants=tuple(e.number for e in self.members),
            settings=tuple(self.attacked.settings),
            left_out=self.attacked.left_out,
            attacks=tuple(attacks_of(self.common, self.members, self.attacked)),
            quality=tuple(self.quality.values()),
            results=results,
            standings=self._standings(results),
            limits=limited_places(self.common, self.members, self.attacked),
            symbols=symbol_pairs(self.members, self.attacked, read, self.rng),
        )

    def _difference(self, claim: Claim) -> NDArray[np.float64] | None:
        scores = self.attacked.scores(claim.setting)
        if scores is None:
            return None
        places = {e.number: k for k, e in enumerate(self.members)}
        found: NDArray[np.float64] = (
            scores[:, places[claim.first]] - scores[:, places[claim.second]]
        )
        return found

    def _why_not(self, claim: Claim, x: NDArray[np.float64] | None) -> str:
        pair = self.quality[claim.first, claim.second]
        if x is None:
            return "no setting counts for both"
        if pair.equality == "equal":
            return ""
        words = {
            "unequal": "they cost unequal quality",
            "not shown": "it is not shown that they cost equal quality",
            "not measured": "what they cost in quality was not measured",
        }
        return words[pair.equality]

    def _result(
        self,
        claim: Claim,
        x: NDArray[np.float64] | None,
        p: float,
        adjusted: float,
        claims: int,
    ) -> ClaimResult:
        why = self._why_not(claim, x)
        if x is None:
            difference = Value.missing(why)
            return ClaimResult(
                claim=claim, verdict="not comparable", difference=difference, p_value=p,
                adjusted=adjusted, reason=why,
            )  # fmt: skip
        return ClaimResult(
            claim=claim,
            verdict="not comparable" if why else self._verdict(x, adjusted, claims),
            difference=_difference_value(x, self.rng),
            p_value=p,
            adjusted=adjusted,
            reason=why or None,
        )

    def _verdict(self, x: NDArray[np.float64], adjusted: float, claims: int) -> ClaimVerdict:
        if adjusted <= LEVEL:
            return "first" if x.mean() < 0 else "second"
        # Bonferroni over the manifest, as equivalences are claims too.
        limits = sign_flip_limits(x, 1 - 2 * LEVEL / claims, self.rng)
        inside = limits is not None and max(-limits[0], limits[1]) < EQUIVALENCE
        return "equivalent" if inside else "tied"

    def _standings(self, results: Sequence[ClaimResult]) -> tuple[Standing, ...]:
        scores = self.attacked.scores(None)
        if scores is None:
            return ()
        ranked = [k for k, e in enumerate(self.members) if e.attacked]
        places = self._places(ranked, scores, results) if ranked else {}
        found = [
            Standing(
                contestant=e.number,
                score=_score_value(scores[:, k], self.rng),
                **places.get(k, _UNRANKED),
            )
            for k, e in enumerate(self.members)
        ]
        return tuple(
            sorted(found, key=lambda s: (s.best is None, s.rank.value or 0.0, s.contestant))
        )

    def _places(
        self, ranked: Sequence[int], scores: NDArray[np.float64], results: Sequence[ClaimResult]
    ) -> dict[int, _Ranked]:
        """Rank and possible places of those members that were attacked adaptively."""
        among = {self.members[k].number: place for place, k in enumerate(ranked)}
        better = [
            (among[winner], among[loser])
            for r in results
            if r.claim.setting is None and r.verdict in ("first", "second")
            for winner, loser in [
                (r.claim.first, r.claim.second)
                if r.verdict == "first"
                else (r.claim.second, r.claim.first)
            ]
            if winner in among and loser in among
        ]
        within = ranks.ranks_within(-scores[:, list(ranked)])
        limits = ranks.mean_rank_limits(within, CONFIDENCE, self.rng)
        possible = ranks.possible_places(len(ranked), better)
        return {
            k: {
                "rank": _rank_value(within[:, place], limits[place]),
                "best": possible[place][0],
                "worst": possible[place][1],
            }
            for place, k in enumerate(ranked)
        }


def _difference_value(x: NDArray[np.float64], rng: np.random.Generator) -> Value:
    limits = sign_flip_limits(x, CONFIDENCE, rng)
    value = Value(value=float(x.mean()), networks=x.size, individual=_individual(x))
    if limits is None:
        why = "fewer than six networks, or all of them alike: no limits hold"
        return value.model_copy(update={"reason": why})
    known = {"low": limits[0], "high": limits[1], "confidence": CONFIDENCE, "method": "sign-flip"}
    return value.model_copy(update=known)


def _score_value(x: NDArray[np.float64], rng: np.random.Generator) -> Value:
    """A share over networks, its limits within 0 and 1."""
    found = _difference_value(x, rng)
    if found.low is None or found.high is None:
        return found
    return found.model_copy(update={"low": max(0.0, found.low), "high": min(1.0, found.high)})


def _rank_value(x: NDArray[np.float64], limits: NDArray[np.float64]) -> Value:
    if x.size < OTHER_NETWORKS or np.ptp(x) == 0:
        why = f"fewer than {OTHER_NETWORKS} networks, or all of them alike: no limits hold"
        single = _individual(x)
        return Value(value=float(x.mean()), networks=x.size, individual=single, reason=why)
    return Value(
        value=float(x.mean()),
        low=float(limits[0]),
        high=float(limits[1]),
        method="approximate",
        networks=x.size,
        individual=_individual(x),
    )


def _individual(x: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(map(float, x)) if x.size < FEW_NETWORKS else ()
