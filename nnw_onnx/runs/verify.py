"""Verify claims on one network: decode, detect, compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.kit import evidence
from nnw_onnx.runs import coding, guard
from nnw_onnx.vocabulary import (
    Claim,
    Code,
    Decodes,
    Decoding,
    Detection,
    Detects,
    Key,
    Method,
    Null,
    Payload,
    Suspect,
)

SuspectOf: TypeAlias = Callable[[Method], Suspect]
"""A network as a method may see it."""

NO_CARRIER = Null("no carrier in this network")
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


def verify(suspect_of: SuspectOf, claims: Iterable[Claim], level: float) -> Iterator[Verdict]:
    """A verdict for each claim, in their order.

    Claims may be a generator of a thousand wrong keys; claims one after the other that differ in
    their payload only cost one decoding.

    Args:
        suspect_of: the network as a method may see it, such as `suspect.suspects(...)`.
        claims: what is claimed.
        level: false-positive rate of the decision (0 to 1, both exclusive).

    Raises:
        PluginError: a method or code breaks its contract.
        InferenceError: the network does not run.
        ConfigurationError: a claimed payload has another size than its key.
    """
    reader = _Reader(suspect_of)
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
    return _Reader(suspect_of).decoding(key)


class _Reader:
    """Reads Symbols, and keeps the last of them and the plug-ins that it made."""

    def __init__(self, suspect_of: SuspectOf) -> None:
        self.suspect_of = suspect_of
        self._last: tuple[Key, Decoding] | None = None
        self._made: tuple[Key, Method, Code | None] | None = None

    def plugins_of(self, key: Key) -> tuple[Method, Code | None]:
        """Method and code of a key."""
        made = self._made
        if made is None or (made[0].method, made[0].code) != (key.method, key.code):
            made = self._made = key, plugins.method_of(key), plugins.code_of(key)
        return made[1], made[2]

    def decoding(self, key: Key) -> Decoding | None:
        """What a key reads, or None."""
        method = plugins.decodes(self.plugins_of(key)[0])
        if method is None:
            return None
        if self._last is None or not _reads_the_same(self._last[0], key):
            self._last = key, _decoded(method, self.suspect_of(method), key)
        return self._last[1]


def _verdict(reader: _Reader, claim: Claim, level: float) -> Verdict:
    method, code = reader.plugins_of(claim.key)
    decoding = reader.decoding(claim.key)
    found = _detection(method, reader.suspect_of, claim, decoding)
    payload = None if decoding is None else coding.bits_of(method, code, claim.key, decoding)
    verdict = Verdict(
        claim,
        decoding=decoding,
        detection=None if found is None else _decided(found, level),
        payload=payload,
    )
    if decoding is None or claim.payload is None:
        return verdict
    verdict = replace(verdict, errors=claim.payload.errors(decoding.payload))
    if not coding.between(method, code):
        return verdict
    size = claim.key.carries
    wrong = size if payload is None else _claimed(method, code, claim).errors(payload)
    return replace(verdict, bits=size, bit_errors=wrong)


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
    return None if decoding is None else evidence.matched(decoding.payload, wanted)


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
        return found
    if math.isinf(found.log10_p):
        found = replace(found, log10_p=UNDERFLOW)
    return found.decided(level)


def _not_applicable(claim: Claim, reason: str, level: float) -> Verdict:
    none = Detection(0.0, log10_p=0.0, null=NO_CARRIER, notes=(reason,))
    return Verdict(claim, "not-applicable", reason, detection=none.decided(level))


def _reads_the_same(one: Key, other: Key) -> bool:
    """Whether two keys differ in nothing that decoding sees: recipients may share one."""
    if one is other:
        return True
    # Of wrong keys no two are alike, and there are thousands: the cheap question comes first.
    if one.secret != other.secret or replace(one, commitment="") != replace(other, commitment=""):
        return False
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(values, other.arrays[name]) for name, values in one.arrays.items()
    )
