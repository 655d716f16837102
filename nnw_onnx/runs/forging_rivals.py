"""What others can bring against an owner's claim, and what the commitments make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import forging
from nnw_onnx.runs.forging_disputes import Dispute, Party, dispute
from nnw_onnx.vocabulary import Claim, Payload, Technology

_DEFAULT_BITS = 64
"""Of a forged claim, where the owner's method carries none."""


@dataclass(frozen=True)
class Rivalry:
    """The owner's claim against one rival's; `reason` where there is no such rival."""

    rival: str
    dispute: Dispute | None
    reason: str | None = None


def rivalries(
    original: OnnxNetwork,
    marked: OnnxNetwork,
    claim: Claim,
    *,
    secret: bytes,
    tries: int = 1000,
    level: float = 1e-6,
) -> Iterator[Rivalry]:
    """The owner's claim against a fitted matrix, a false original, a search and a second mark.

    Args:
        original: the network before the owner's mark.
        marked: with it.
        claim: of the owner, with its payload.
        secret: 32 bytes, from which all that rivals draw follows.
        tries: secrets that are searched.
        level: false-positive rate of a Yes.

    Raises:
        ConfigurationError: a claim without payload, or of something else than a watermark.
    """
    kind = plugins.method_of(claim.key).kind
    if kind != "watermark":
        raise ConfigurationError(
            f"claim: expected a watermark, which was put in after an original, got one of kind "
            f"{kind}; give the key of a watermark"
        )
    if claim.payload is None:
        raise ConfigurationError(
            "claim: expected a key file with its payload, got one without; give the one that "
            "'nnw inject' wrote"
        )
    owner, size = Party("owner", claim, original), claim.key.size or _DEFAULT_BITS
    fitted = forging.forged(marked, size, secret, claim.key.layers)
    yield _against(
        "matrix fitted afterwards", marked, owner, forging.bound_to(fitted, marked), marked, level
    )
    yield _counterfeit(marked, owner, fitted, secret, level)
    yield _searched(marked, owner, tries, secret, level)
    yield _overwritten(marked, owner, secret, level)


def _against(
    title: str,
    network: OnnxNetwork,
    owner: Party,
    claim: Claim,
    original: OnnxNetwork,
    level: float,
) -> Rivalry:
    return Rivalry(title, dispute(network, owner, Party("rival", claim, original), level))


def _counterfeit(
    marked: OnnxNetwork, owner: Party, fitted: Claim, secret: bytes, level: float
) -> Rivalry:
    title = "the same, counterfeit original"
    try:
        made = forging.counterfeit(marked, fitted, secret)
    except InjectionError as error:
        return Rivalry(title, None, str(error))
    return _against(title, marked, owner, forging.bound_to(fitted, made), made, level)


def _searched(
    marked: OnnxNetwork, owner: Party, tries: int, secret: bytes, level: float
) -> Rivalry:
    title = f"best of {tries} secrets"
    if plugins.method_of(owner.claim.key).access != "weights":
        return Rivalry(title, None, "each secret would cost inferences of its own")
    try:
        claim = forging.searched(marked, _technology(owner.claim), tries, secret)
    except (ConfigurationError, InjectionError) as error:
        return Rivalry(title, None, str(error))
    return _against(title, marked, owner, claim, marked, level)


def _overwritten(marked: OnnxNetwork, owner: Party, secret: bytes, level: float) -> Rivalry:
    title = "second watermark on top"
    try:
        made = forging.overwritten(marked, _technology(owner.claim), secret)
    except (ConfigurationError, InjectionError) as error:
        return Rivalry(title, None, str(error))
    return _against(title, made.network, owner, made.claim, marked, level)


def _technology(claim: Claim) -> Technology:
    """The method of a claim, with as many Symbols of bits and no code."""
    size = len(claim.payload or Payload()) if claim.key.size else 0
    return Technology(claim.key.method, claim.key.carries if size else 0, claim.key.code)
