"""Verify claims on one network: decode, detect, compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    ModelFileError,
    NnwError,
)
from nnw_onnx.kit import commitments, evidence, foreign
from nnw_onnx.runs import coding, guard
from nnw_onnx.runs.finding import Carriers, Places, in_words, places_of
from nnw_onnx.runs.suspect import Presented
from nnw_onnx.vocabulary import (
    Claim,
    Code,
    Decodes,
    Decoding,
    Detection,
    Detects,
    Found,
    Key,
    Method,
    Null,
    Payload,
    Suspect,
)

SuspectOf: TypeAlias = Callable[[Method], Suspect]
"""A network as a method may see it."""

NO_CARRIER = Null("no carrier in this network")
NO_CLAIM = Null("no claim: the payload is not committed")
LATER = "later"
"""Whose claim it is where the payload was given after the key."""
UNDERFLOW = -330.0
"""Stands for the logarithm of a p-value that no float holds."""


@dataclass(frozen=True)
class Verdict:
    """What became of one claim on one network.

    Attributes:
        claim: what was claimed.
        status: "not-applicable" where the carrier is not in the network: No with p = 1.
        reason: why it does not apply, or None.
        decoding: Symbols read, or None where nothing is read.
        detection: the evidence, decided where its null is known; None where nothing was claimed.
        payload: bits after the code (without code and with an alphabet of two the Symbols as they
            were read); None where the code knows that it failed, or nothing was read.
        errors: Symbols that differ from the claimed ones; None where nothing is compared.
        bits: size of the payload, where a code or an alphabet stands between it and the Symbols.
        bit_errors: of them, wrong after the code; all of them where the code failed.
        found: where each carrier was read; empty for a method without carriers.
    """

    claim: Claim
    status: Literal["done", "not-applicable"] = "done"
    reason: str | None = None
    decoding: Decoding | None = None
    detection: Detection | None = None
    payload: Payload | None = None
    errors: int | None = None
    bits: int | None = None
    bit_errors: int | None = None
    found: tuple[Found, ...] = ()

    def __repr__(self) -> str:
        key, found = self.claim.key, self.detection
        where = ", ".join(place.layer for place in self.found) or ", ".join(key.layers)
        answer = repr(found).removeprefix("<Detection: ").partition(", in ")[0].rstrip(">")
        read = "" if self.payload is None else f", reads {self.payload!r}"
        said = "nothing claimed" if found is None else answer
        return f"<Verdict: {said}, {key.method.name} in {where or 'answers'}{read}>"

    def __bool__(self) -> bool:
        """The answer of the detection; raises `ConfigurationError` where there is none."""
        if self.detection is None:
            raise ConfigurationError(
                "verdict: expected a claim with a payload, got a key alone; see what was decoded "
                "in its payload"
            )
        return bool(self.detection)


@dataclass(frozen=True)
class Search:
    """How far the carriers of a key are looked for.

    Attributes:
        thorough: whether other places are read too where the one that the name tells says No. The
            p-values of these others are corrected so that they add a hundredth to the rate of a
            wrong Yes.
        layer: the layer to read, whatever the key calls it; None: see `finding.places_of`.
        probe: says whether answers depend on what was read; asked where the answer would be Yes.
    """

    thorough: bool = False
    layer: str | None = None
    probe: Callable[[tuple[Found, ...]], tuple[Found, ...]] | None = None


BY_NAME = Search()
_SPARED = 100
"""Others have to be this much surer than the place that the name tells, which is tested alone."""


def verify(
    suspect_of: SuspectOf, claims: Iterable[Claim], level: float, search: Search = BY_NAME
) -> Iterator[Verdict]:
    """A verdict for each claim, in their order.

    Claims may be a generator of a thousand wrong keys; claims one after the other that differ in
    their payload only cost one decoding. Carriers are looked for in the same way for every claim,
    right or wrong, so that wrong keys are a control of what the right ones say.

    Args:
        suspect_of: the network as a method may see it, such as `suspect.suspects(...)`.
        claims: what is claimed.
        level: false-positive rate of the decision (0 to 1, both exclusive).
        search: how far a carrier is looked for.

    Raises:
        PluginError: a method or code breaks its contract.
        InferenceError: the network does not run.
        ConfigurationError: a claimed payload has another size than its key.
    """
    reader = _Reader(suspect_of, search)
    for claim in claims:
        try:
            yield _verdict(reader, claim, level)
        except CarrierNotFoundError as lost:
            yield _not_applicable(claim, str(lost), level)


def read(suspect_of: SuspectOf, key: Key) -> Decoding | None:
    """The Symbols that a key reads; None where its method reads none.

    Raises:
        CarrierNotFoundError: the carrier is not in this network.
    """
    reader = _Reader(suspect_of, BY_NAME)
    if plugins.decodes(reader.plugins_of(key)[0]) is None:
        return None
    return _verdict(reader, Claim(key), 0.5).decoding


def later(claim: Claim, payload: Payload) -> Claim:
    """The claim with a payload that was given afterwards.

    Only the commitment of the key can say that it was chosen before; see `as_claimed`.
    """
    if payload == claim.payload:
        return claim
    return replace(claim, payload=payload, of=LATER)


def as_claimed(verdict: Verdict, level: float) -> Verdict:
    """The verdict, which is a No where its payload may have been chosen after looking.

    That is so for one which the commitment of the key does not bind, and for one given later to a
    key whose commitment cannot be opened.
    """
    claim = verdict.claim
    if claim.payload is None or verdict.detection is None or not claim.payload:
        return verdict
    bound = commitments.binds(claim.key, claim.payload)
    if bound or (bound is None and claim.of != LATER):
        return verdict
    got = "one of another payload" if bound is False else "one that cannot be opened"
    reason = (
        "payload: expected one that the commitment of the key binds, because any other may have "
        f"been read from this network, got {got}; it is no claim"
    )
    none = Detection(0.0, log10_p=0.0, null=NO_CLAIM, notes=(reason,), found=verdict.found)
    return replace(verdict, reason=reason, detection=none.decided(level))


class _Reader:
    """Reads Symbols, and keeps the last of them and the plug-ins that it made."""

    def __init__(self, suspect_of: SuspectOf, search: Search) -> None:
        self.suspect_of, self.search = suspect_of, search
        self._last: tuple[Key, dict[Carriers, Decoding]] | None = None
        self._made: tuple[Key, Method, Code | None] | None = None

    def plugins_of(self, key: Key) -> tuple[Method, Code | None]:
        """Method and code of a key."""
        made = self._made
        if made is None or (made[0].method, made[0].code) != (key.method, key.code):
            made = self._made = key, plugins.method_of(key), plugins.code_of(key)
        coding.check_key(made[1], made[2], key)
        return made[1], made[2]

    def places(self, key: Key) -> Places:
        """Where the carriers of a key may be."""
        method = self.plugins_of(key)[0]
        return places_of(self.suspect_of(method), method, key, self.search.layer)

    def looked_at(self, method: Method, key: Key, carriers: Carriers) -> Suspect:
        """The network with its carriers under the names of the key."""
        suspect = self.suspect_of(method)
        if carriers.as_in_key:
            return suspect
        return Presented(suspect, dict(carriers.where), key.layers)

    def decoding(self, key: Key, carriers: Carriers) -> Decoding | None:
        """What a key reads in these places, or None."""
        method = plugins.decodes(self.plugins_of(key)[0])
        if method is None:
            return None
        if self._last is None or not _reads_the_same(self._last[0], key):
            self._last = key, {}
        known = self._last[1]
        if carriers not in known:
            suspect = self.looked_at(method, key, carriers)
            known[carriers] = _decoded(method, suspect, key)
        return known[carriers]


@dataclass(frozen=True)
class _Reading:
    """What was read in one place."""

    carriers: Carriers
    decoding: Decoding | None
    detection: Detection | None

    @property
    def strength(self) -> float:
        """Larger is more evidence, for the claim or for its opposite; else surer Symbols."""
        if self.detection is not None and self.detection.log10_p is not None:
            return -min(self.detection.log10_p, self.detection.log10_inverted or 0.0)
        if self.detection is not None:
            return self.detection.statistic
        return sum(self.decoding.confidence) if self.decoding is not None else 0.0


def _verdict(reader: _Reader, claim: Claim, level: float) -> Verdict:
    """The verdict of the place that the name tells; where it says No, of the best other one."""
    places = reader.places(claim.key)
    lost: list[NnwError] = []
    first = None if places.first is None else _tried(reader, claim, places.first, lost)
    if lost and not reader.search.thorough:
        raise lost[0]
    told = None if first is None else _told(reader, claim, first, level)
    if told is not None and (_is_yes(told) or not _searches_on(reader, first)):
        return told
    tried = [r for p in places.others() if (r := _tried(reader, claim, p, lost)) is not None]
    spared = 1 if first is None else _SPARED
    found = sorted((_corrected(r, len(tried), spared) for r in tried), key=lambda r: -r.strength)
    for reading in found:
        if told is not None and not _says_yes(reading.detection, level):
            break
        other = _told(reader, claim, reading, level)
        if _is_yes(other):
            return other
        told = other if told is None else told
    if told is None:
        raise lost[0] if lost else CarrierNotFoundError(places.missing)
    if first is not None and told.status == "done":
        return _told(reader, claim, first, level, others=len(tried))
    return told


def _searches_on(reader: _Reader, first: _Reading | None) -> bool:
    """Whether others are read after this one: where only a p-value can tell them apart."""
    found = None if first is None else first.detection
    return reader.search.thorough and found is not None and found.log10_p is not None


def _is_yes(verdict: Verdict) -> bool:
    return verdict.detection is not None and verdict.detection.detected is True


def _tried(
    reader: _Reader, claim: Claim, carriers: Carriers, lost: list[NnwError]
) -> _Reading | None:
    """What is read in a place; None where it cannot be read, which is appended to `lost`."""
    method, _ = reader.plugins_of(claim.key)
    try:
        decoding = reader.decoding(claim.key, carriers)
        suspect_of = partial(reader.looked_at, key=claim.key, carriers=carriers)
        return _Reading(carriers, decoding, _detection(method, suspect_of, claim, decoding))
    except (CarrierNotFoundError, ModelFileError) as error:
        lost.append(error)
        return None


def _corrected(reading: _Reading, candidates: int, spared: int) -> _Reading:
    """The reading with its evidence corrected for the number of places that were read."""
    carriers = reading.carriers.among(candidates)
    found = reading.detection
    if found is None or found.log10_p is None:
        return replace(reading, carriers=carriers)
    shift = math.log10(candidates * spared)
    inverted, least = found.log10_inverted, found.null.log10_least
    detection = replace(
        found,
        log10_p=min(0.0, found.log10_p + shift),
        log10_tie=found.log10_tie if shift == 0 else None,
        log10_inverted=None if inverted is None else min(0.0, inverted + shift),
        null=replace(found.null, log10_least=None if least is None else min(0.0, least + shift)),
    )
    return replace(reading, carriers=carriers, detection=detection)


def _says_yes(found: Detection | None, level: float) -> bool:
    return found is not None and found.log10_p is not None and 10.0**found.log10_p <= level


def _told(
    reader: _Reader, claim: Claim, reading: _Reading, level: float, others: int = 0
) -> Verdict:
    """The verdict of a reading: with the code undone, and compared with what is claimed."""
    method, code = reader.plugins_of(claim.key)
    found, decoding = reading.detection, reading.decoding
    where = reading.carriers.found()
    if reader.search.probe is not None and _says_yes(found, level):
        where = reader.search.probe(where)
        unused = [f for f in where if f.use == "answers do not depend"]
        if unused:
            return _not_applicable(claim, _unused(unused, found), level, where)
    notes = in_words(where, claim.key, reading.carriers.left, others)
    payload = None if decoding is None else coding.bits_of(method, code, claim.key, decoding)
    if decoding is not None:
        decoding = replace(decoding, found=where, notes=(*decoding.notes, *notes))
    if found is not None:
        found = _decided(replace(found, found=where, notes=(*found.notes, *notes)), level)
    verdict = Verdict(claim, decoding=decoding, detection=found, payload=payload, found=where)
    return _compared(verdict, method, code)


def _compared(verdict: Verdict, method: Method, code: Code | None) -> Verdict:
    """The verdict with the number of Symbols, and of bits after the code, that are wrong."""
    claim, read = verdict.claim, verdict.decoding
    if read is None or claim.payload is None:
        return verdict
    verdict = replace(verdict, errors=claim.payload.errors(read.payload))
    if not coding.between(method, code):
        return verdict
    size, payload = claim.key.carries, verdict.payload
    wrong = size if payload is None else _claimed(method, code, claim).errors(payload)
    return replace(verdict, bits=size, bit_errors=wrong)


def _unused(where: Sequence[Found], found: Detection | None) -> str:
    read = "" if found is None or found.p_value is None else f" (p = {found.p_value:.2g})"
    names = ", ".join(f.layer for f in where)
    return (
        f"carrier: expected weights that answers depend on, got {names}, in which the mark is "
        f"read{read} while no answer moves with it: {where[0].note}; give inputs of the network's "
        "own kind to try others"
    )


def _claimed(method: Method, code: Code | None, claim: Claim) -> Payload:
    """The bits whose Symbols are claimed."""
    symbols = claim.payload or Payload()
    sure = Decoding(symbols, (1.0,) * len(symbols))
    found = coding.bits_of(method, code, claim.key, sure)
    if found is None:
        raise guard.fault(
            code or method, "decode", "the payload of Symbols that it encoded, got none"
        )
    return found


def _detection(
    method: Method, suspect_of: SuspectOf, claim: Claim, decoding: Decoding | None
) -> Detection | None:
    """The evidence for a claim; None where nothing is claimed."""
    wanted = claim.payload if method.alphabet else Payload()
    if wanted is None:
        return None
    testing = plugins.detects(method)
    if testing is not None:
        return _detected(testing, suspect_of(testing), wanted, claim.key)
    if decoding is None:
        return None
    return foreign.judged(evidence.matched(decoding.payload, wanted), claim.key)


def _decoded(method: Decodes, suspect: Suspect, key: Key) -> Decoding:
    with guard.unchanged(key.arrays):
        decoding = guard.guarded(method, "decode", lambda: method.decode(suspect, key))
    return guard.checked_decoding(method, decoding, key.size)


def _detected(method: Detects, suspect: Suspect, claim: Payload, key: Key) -> Detection:
    with guard.unchanged(key.arrays):
        found = guard.guarded(method, "detect", lambda: method.detect(suspect, claim, key))
    return guard.checked_detection(method, found)


def _decided(found: Detection, level: float) -> Detection:
    if found.log10_p is None:
        return found if found.says is None else found.decided(level)
    if math.isinf(found.log10_p):
        found = replace(found, log10_p=UNDERFLOW)
    size = evidence.size_of(found.null, level)
    if size is not None:
        found = replace(found, needed=size.needed, attained=size.attained)
    return found.decided(level)


def _not_applicable(
    claim: Claim, reason: str, level: float, where: tuple[Found, ...] = ()
) -> Verdict:
    none = Detection(0.0, log10_p=0.0, null=NO_CARRIER, notes=(reason,), found=where)
    return Verdict(claim, "not-applicable", reason, detection=none.decided(level), found=where)


def _reads_the_same(one: Key, other: Key) -> bool:
    """Whether two keys differ in nothing that decoding sees: recipients may share one."""
    if one is other:
        return True
    # Of wrong keys no two are alike, and there are thousands: the cheap question comes first.
    if one.secret != other.secret or _unbound(one) != _unbound(other):
        return False
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(values, other.arrays[name]) for name, values in one.arrays.items()
    )


def _unbound(key: Key) -> Key:
    return replace(key, commitment="", opening="")
