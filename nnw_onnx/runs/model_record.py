"""What a marked model may say of its mark, in its own metadata.

It is a label for those who keep models, and no evidence: anybody can write it into any model, or
take it out, and an attacker reads that a mark is there and by which method. The commitment hides
key and payload behind a hash over the key's secret.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import Key, Payload

Record: TypeAlias = bool | Literal["payload"]
"""What is recorded: nothing, commitment with method and version, or the payload too."""

PREFIX = "nnw_onnx."
COMMITMENT = f"{PREFIX}commitment"


def expect_record(record: Record) -> None:
    """Raise `ConfigurationError` for another word for what is recorded."""
    if not isinstance(record, bool) and record != "payload":
        raise ConfigurationError(
            f'record: expected True, False or "payload", got {record!r}; correct it'
        )


def recorded(network: OnnxNetwork, key: Key, payload: Payload, record: Record) -> OnnxNetwork:
    """The network with a record of its mark among its metadata, in the place of an older one.

    Args:
        network: with the mark in it.
        key: of the mark; of its secret nothing is recorded.
        payload: the bits that were put in.
        record: what is recorded of it.

    Raises:
        ModelFileError: there is no room for it in the file.
    """
    if record is False:
        return network
    entries = {
        COMMITMENT: key.commitment,
        f"{PREFIX}method": key.method.name,
        f"{PREFIX}version": __version__,
    }
    if key.code is not None:
        entries[f"{PREFIX}code"] = key.code.name
    if record == "payload" and payload.symbols:
        entries[f"{PREFIX}payload"] = _readable(payload)
    return network.with_card(entries, PREFIX)


def recorded_commitment(network: OnnxNetwork) -> str:
    """The commitment that a model says its mark has.

    Raises:
        ConfigurationError: it says nothing of one.
    """
    found = network.card.get(COMMITMENT)
    if found is None:
        raise ConfigurationError(
            f"record: expected {COMMITMENT} in the metadata of {network.path.name!r}, got none; "
            "inject with --record, or give the hash with --commitment"
        )
    return found


def _readable(payload: Payload) -> str:
    if payload.text is not None:
        return f"text:{payload.text}"
    return f"bits:{payload.bits}" if payload.hex is None else f"hex:{payload.hex}"
