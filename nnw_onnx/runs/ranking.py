"""A claim among random keys, on the suspect itself: evidence by rank, whatever its weights are.

Where the owner's key and K random ones are exchangeable for a network that was made without it,
the chance that no more than r of them reach its statistic is at most p = (1 + r) / (1 + K). It is
never below 1 / (K + 1), and needs no distribution, so it also tells of a key whose null is not
exact; beside an exact p-value it is its control.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import foreign
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.verify import BY_NAME, Search, SuspectOf, Verdict, read, verify
from nnw_onnx.vocabulary import Claim, Detection, Null

MOST = 1_000_000
"""Random keys that are tried at most."""


@dataclass(frozen=True)
class Rank:
    """What became of random keys.

    Attributes:
        keys: how many were tried.
        reached: of them, as good a fit as the claim.
    """

    keys: int
    reached: int

    @property
    def p_value(self) -> float:
        """(1 + reached) / (1 + keys)."""
        return (1 + self.reached) / (1 + self.keys)


def ranked(
    suspect_of: SuspectOf, verdict: Verdict, count: int, level: float, search: Search = BY_NAME
) -> Verdict:
    """The verdict with its rank among random keys; it decides where no null is exact.

    Args:
        suspect_of: the network of the verdict.
        verdict: of one claim.
        count: how many random keys.
        level: false-positive rate of the decision.
        search: how the carrier of the claim was looked for.

    Raises:
        ConfigurationError: keys of this method cannot be drawn, or too many are asked for.
    """
    found = verdict.detection
    if found is None or verdict.status != "done":
        return verdict
    rank = _rank(suspect_of, verdict, count, level, search)
    note = (
        f"{rank.keys} random keys tried on this network: {rank.reached} fit as well, "
        f"p = {rank.p_value:.3g} by rank"
    )
    found = replace(found, rank_p=rank.p_value, notes=(*found.notes, note))
    if found.log10_p is None:
        found = _by_rank(found, rank).decided(level)
    return replace(verdict, detection=found)


def _by_rank(found: Detection, rank: Rank) -> Detection:
    null = Null(
        f"rank among {rank.keys} random keys, because {found.null.name}",
        log10_least=-math.log10(1 + rank.keys),
    )
    return replace(found, log10_p=math.log10(rank.p_value), null=null)


def _rank(
    suspect_of: SuspectOf, verdict: Verdict, count: int, level: float, search: Search
) -> Rank:
    if not 1 <= count <= MOST:
        raise ConfigurationError(
            f"wrong keys: expected 1 to {MOST}, got {count}; give for example 1000"
        )
    plain = all(found.plain for found in verdict.found)
    own, reached = _value(verdict, plain=plain), 0
    for claim in wrong_claims(verdict.claim, count):
        reached += _reaches(suspect_of, claim, own, level, None if plain else search)
    return Rank(count, reached)


def found_wrong(
    suspect_of: SuspectOf, claim: Claim, count: int, level: float, search: Search = BY_NAME
) -> int:
    """How many of so many random keys are found in a network at a level; raises as `ranked`."""
    heard = verify(suspect_of, wrong_claims(claim, count), level, search)
    return sum(v.detection is not None and v.detection.detected is True for v in heard)


def wrong_claims(claim: Claim, count: int) -> Iterator[Claim]:
    """Random keys with the payload of a claim, which have nothing to do with any network.

    Raises:
        ConfigurationError: a key holds what cannot be drawn at random, or each needs inferences.
    """
    key, method = claim.key, plugins.method_of(claim.key)
    if foreign.is_foreign(key):
        return foreign.wrong(claim, range(count))
    if method.access != "weights" or method.kind == "fingerprint" or key.arrays:
        raise ConfigurationError(
            f"wrong keys: expected a method that reads weights with nothing but a secret, got "
            f"{method.name}; leave --wrong-keys out"
        )
    base = identity(purpose="rank", commitment=key.commitment, method=key.method.digest())
    secrets = (bytes.fromhex(identity(of=base, number=number)) for number in range(count))
    return (replace(claim, key=replace(key, secret=one), of="wrong") for one in secrets)


def _reaches(
    suspect_of: SuspectOf, claim: Claim, own: float, level: float, search: Search | None
) -> bool:
    method = plugins.method_of(claim.key)
    if search is None and plugins.detects(method) is None and claim.payload is not None:
        # Symbols are all that is compared; whether each null is exact takes far longer.
        decoding = read(suspect_of, claim.key)
        if decoding is None:
            return False
        return len(claim.payload) - claim.payload.errors(decoding.payload) >= own
    verdict = next(verify(suspect_of, [claim], level, search or BY_NAME))
    return verdict.status == "done" and _value(verdict, plain=search is None) >= own


def _value(verdict: Verdict, *, plain: bool) -> float:
    """What claims are compared by: p-values where places were searched, which count them."""
    found = verdict.detection
    if found is None:
        return -math.inf
    return found.statistic if plain or found.log10_p is None else -found.log10_p
