"""Checking a commitment: recomputed from key, payload and the network as it was before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.kit import commitments
from nnw_onnx.runs import guard
from nnw_onnx.vocabulary import Bound, Claim, Key, Method, Network


@dataclass(frozen=True)
class Commitment:
    """What became of checking a commitment; as `bool` whether it binds all that was given.

    Attributes:
        hash: the commitment that was checked, SHA-256 (hex).
        payload: whether it binds the payload of the claim; None where it cannot be told alone.
        network: whether it binds secret, method, carriers and the unmarked network, and of keys of
            this version their options; likewise.
        holds: whether it binds all of them together.
        reason: why it does not hold, or None.
        options: where it holds, whether it binds options, code, facts and arrays of the key too;
            False for keys of earlier versions, which leave these open. None where it does not hold.
    """

    hash: str
    payload: bool | None
    network: bool | None
    holds: bool
    reason: str | None = None
    options: bool | None = None

    def __bool__(self) -> bool:
        return self.holds


def verify_commitment(claim: Claim, original: Network, published: str | None = None) -> Commitment:
    """Whether a commitment binds the key and payload of a claim, and this unmarked network.

    Args:
        claim: of a key file; without its payload a commitment that binds one does not hold.
        original: the network before anything was put in.
        published: the hash that was published (hex); that of the key if None.

    Raises:
        ConfigurationError: `published` is no hash, or the key has no commitment.
        PluginError: the method breaks its contract.
    """
    key, wanted = claim.key, _wanted(claim.key, published)
    try:
        unbound = commitments.commit(key.secret, key.method.name, _committed(key, original))
    except CarrierNotFoundError as lost:
        return Commitment(wanted, _payload(claim, wanted), False, False, str(lost))
    openings = {commitments.settles(key, unbound): True, unbound: False}
    if claim.payload is None:
        return _alone(key, wanted, openings)
    for opening, options in openings.items():
        if commitments.whole(key, opening, claim.payload) == wanted:
            return Commitment(wanted, True, True, True, options=options)
    payload, network = _payload(claim, wanted), key.opening in openings if key.opening else None
    return Commitment(wanted, payload, network, False, _why(payload, network))


def _alone(key: Key, wanted: str, openings: Mapping[str, bool]) -> Commitment:
    """The answer for a key without its payload, given what would open it, settled or not."""
    network = wanted in openings or key.opening in openings
    # What was learnt is bound with a payload only, so that without one it could be anything.
    if wanted in openings and not commitments.has_learnt(key):
        return Commitment(wanted, None, network, True, options=openings[wanted])
    return Commitment(wanted, None, network, False, _NO_PAYLOAD)


_NO_PAYLOAD = (
    "commitment: expected the payload with the key, because the commitment binds one, got none; "
    "give a key file that has it"
)


def _wanted(key: Key, published: str | None) -> str:
    wanted = (published or key.commitment).strip().lower()
    if len(wanted) != 64 or not set(wanted) <= set("0123456789abcdef"):
        raise ConfigurationError(
            f"commitment: expected 64 hexadecimal digits, got {wanted[:80]!r}; give the hash that "
            "was published"
        )
    return wanted


def _committed(key: Key, original: Network) -> list[Bound]:
    method: Method = plugins.method_of(key)
    own = plugins.commits(method)
    if own is None:
        return commitments.carriers_of(key, original)
    return list(guard.guarded(method, "committed", lambda: own.committed(key, original)))


def _payload(claim: Claim, wanted: str) -> bool | None:
    """Whether the payload is that of the commitment, seen without the network."""
    if claim.payload is None or not claim.key.opening:
        return None
    return commitments.whole(claim.key, claim.key.opening, claim.payload) == wanted


def _why(payload: bool | None, network: bool | None) -> str:
    if payload is False:
        what, cure = "another payload or key", "give the payload that was bound"
    elif payload and network is False:
        what = "this key and payload with another network, method, option or carrier"
        cure = "give the network that was marked, as it was before"
    else:
        what = "something else: another key, payload, method, option, carrier or network"
        cure = "give the key file and the network of the injection"
    return f"commitment: expected one of what was given, got one of {what}; {cure}"
