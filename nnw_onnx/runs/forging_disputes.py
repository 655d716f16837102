"""Two claims on one network: what each shows, and whether networks alone tell who was first.

Each party names the network as it was before its own mark. An honest original does not hold the
mark that was put in later, and the commitment opens with it. Whoever came second has marked a
network that holds the mark of the first, so that it is in his original, while his is not in the
first one's. Where each mark is in the other's original nothing in the networks decides, and only
the dates do at which the commitments were published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import foreign
from nnw_onnx.runs.commitment import verify_commitment
from nnw_onnx.runs.suspect import isolated, suspects
from nnw_onnx.runs.verify import as_claimed, verify
from nnw_onnx.vocabulary import Claim

Outcome = Literal["first", "second", "neither", "undecided"]


@dataclass(frozen=True)
class Party:
    """Somebody who claims a network.

    Attributes:
        name: in the words of a report.
        claim: key and payload.
        original: what he says that the network was before his mark.
    """

    name: str
    claim: Claim
    original: OnnxNetwork


@dataclass(frozen=True)
class Standing:
    """What a claim comes to.

    Attributes:
        name: whose it is.
        log10_p: decimal logarithm of its p-value in the network in dispute; None where none is
            known.
        detected: whether that is a Yes.
        commitment: whether its commitment opens with its own original.
        in_own: whether the mark is in its own original, where no honest one can be.
        in_other: whether it is in the other's original.
        free_matrix: whether its key holds a matrix that follows from no secret.
    """

    name: str
    log10_p: float | None
    detected: bool
    commitment: bool
    in_own: bool
    in_other: bool
    free_matrix: bool

    @property
    def defect(self) -> str | None:
        """Why it is no claim, whatever the other shows; None where it is one."""
        if not self.detected:
            return "the mark is not in the network"
        if not self.commitment:
            return "its commitment does not open with its original"
        return "the mark is in its own original, where nobody had put it" if self.in_own else None


@dataclass(frozen=True)
class Dispute:
    """Two claims, and who was first as far as the networks tell; `reason` is plain words."""

    first: Standing
    second: Standing
    outcome: Outcome
    reason: str


def dispute(network: OnnxNetwork, first: Party, second: Party, level: float) -> Dispute:
    """What two claims on one network come to.

    Args:
        network: the one in dispute.
        first: a party; the order says nothing.
        second: the other.
        level: false-positive rate of a Yes.

    Raises:
        InferenceError: a network that must be run does not run.
        ConfigurationError: a claim without payload where there must be one.
    """
    one = _standing(network, first, second, level)
    other = _standing(network, second, first, level)
    outcome, reason = _decided(one, other)
    return Dispute(one, other, outcome, reason)


def _standing(network: OnnxNetwork, party: Party, other: Party, level: float) -> Standing:
    log10_p, detected = _found(network, party.claim, level)
    return Standing(
        name=party.name,
        log10_p=log10_p,
        detected=detected,
        commitment=bool(party.claim.key.commitment)
        and bool(verify_commitment(party.claim, party.original)),
        in_own=_found(party.original, party.claim, level)[1],
        in_other=_found(other.original, party.claim, level)[1],
        free_matrix=foreign.is_foreign(party.claim.key),
    )


def _found(network: OnnxNetwork, claim: Claim, level: float) -> tuple[float | None, bool]:
    suspect_of = suspects(network, isolated(network))
    verdict = as_claimed(next(verify(suspect_of, [claim], level)), level)
    found = verdict.detection
    return (None, False) if found is None else (found.log10_p, found.detected is True)


def _decided(one: Standing, other: Standing) -> tuple[Outcome, str]:
    if one.defect and other.defect:
        return "neither", f"{one.name}: {one.defect}; {other.name}: {other.defect}"
    if one.defect or other.defect:
        void = one if one.defect else other
        return ("second" if void is one else "first"), f"{void.name}: {void.defect}"
    if one.in_other != other.in_other:
        first, later = (one, other) if one.in_other else (other, one)
        outcome: Outcome = "first" if first is one else "second"
        return outcome, (
            f"the mark of {first.name} is in the original of {later.name}, and not the reverse"
        )
    both = "each mark is in" if one.in_other else "neither mark is in"
    free = [x.name for x in (one, other) if x.free_matrix]
    why = f", and a matrix as that of {free[0]} fits any network" if free else ""
    return "undecided", (
        f"{both} the other's original{why}: only the dates tell at which the commitments were "
        "published"
    )
