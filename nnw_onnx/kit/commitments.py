"""Commitments: a hash to publish before a dispute, which binds a key without revealing it.

The key policy asks for SHA-256 over secret, payload, method, carriers and the unmarked model. It
is made in steps, because a key exists before its payload: `commit`, which a method calls, then
`settled`, by which the runner binds options, code, facts and arrays for all methods alike, then
`bound`. The hash before the last step, the opening, stays in the key, so that anyone who has the
key sees which payload was bound. What a training has learnt for the key, such as an extractor, is
bound in a further step, `learnt`.

Keys of before there was `settled` lack that step. Their commitments hold as they did, and leave
open what it binds: who has such a key may read it with other options, for another chance. No
commitment is one of both kinds, so that a settled key cannot be passed off as an older one.

What it protects: who has published the hash cannot change key, carrier or payload afterwards; a
payload read from a network after the fact is none that was claimed. What it does not: a hash that
was never published protects nothing, because its owner can make another; and it does not say that
the unmarked network was the owner's, only that it was the one that was marked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.math import blocks
from nnw_onnx.vocabulary import Array, Bound, Json, Key, Payload, Weighted

_LEARNT = "learnt"
"""Fact of a key: names of its arrays that a training has learnt, each with the hash of what it was
before, or ""; a list of names in keys that are not settled."""


def digest(weights: Array) -> str:
    """SHA-256 (hex) of dtype, shape and values of a canonical weight array."""
    state = hashlib.sha256(f"{weights.dtype}{weights.shape}".encode())
    for part in blocks.rows(weights):
        # Every float of at most 64 bits is exact in float64, so the byte order is the same for all.
        state.update(np.ascontiguousarray(weights[part], dtype="<f8").data)
    return state.hexdigest()


def commit(secret: bytes, method: str, carriers: Iterable[Bound]) -> str:
    """SHA-256 (hex) that binds secret, method and carriers (name, shape, digest), not a payload."""
    text = json.dumps([method, [[name, list(shape), sha] for name, shape, sha in carriers]])
    return hashlib.sha256(b"nnw-onnx commitment 1" + secret + text.encode()).hexdigest()


def settled(key: Key) -> Key:
    """The same key with a commitment that binds everything else of it that changes what is read.

    Call it once, on the key that `make_key` returned, with its method and code, before `bound`.
    """
    opening = key.commitment or commit(key.secret, key.method.name, ())
    return dataclasses.replace(key, commitment=settles(key, opening))


def settles(key: Key, opening: str) -> str:
    """SHA-256 (hex) that binds an opening, options, code, sizes, facts and arrays of a key.

    Options that only say how strong a mark is are bound with the others: which ones change what is
    read is not for the kit to know. Of arrays that a training has learnt it binds what they were.

    Args:
        key: as it is now.
        opening: of `commit`, in hexadecimal digits.
    """
    code = None if key.code is None else [key.code.name, dict(key.code.options)]
    facts = {name: value for name, value in key.facts.items() if name != _LEARNT}
    told = [opening, dict(key.method.options), code, key.size, key.carries, facts, _begun(key)]
    text = json.dumps(told, sort_keys=True, allow_nan=False)
    return hashlib.sha256(b"nnw-onnx commitment with options 1" + text.encode()).hexdigest()


def bound(key: Key, payload: Payload) -> Key:
    """The same key with a commitment that binds the payload as well, and with its opening.

    Call it once, on a key that is `settled`. Publish only the bound commitment: a payload that
    nothing binds could be chosen after looking at the suspect network.
    """
    opening = key.commitment or commit(key.secret, key.method.name, ())
    return dataclasses.replace(key, commitment=_with_payload(opening, payload), opening=opening)


def learnt(key: Key, payload: Payload, arrays: Mapping[str, Array]) -> Key:
    """The same key with what a training has learnt, which its commitment binds as well.

    An extractor that nothing binds could be fitted to any suspect. Called again, as a training goes
    on, it binds what was learnt last instead.

    Args:
        key: bound to the payload.
        payload: its Symbols.
        arrays: what was learnt; they join those of the key.
    """
    if not arrays or not key.opening:
        return dataclasses.replace(key, arrays={**key.arrays, **arrays})
    now = {name: _hash(key.arrays[name]) if name in key.arrays else "" for name in sorted(arrays)}
    facts = {**key.facts, _LEARNT: {**now, **_learnt_from(key)}}
    new = dataclasses.replace(key, arrays={**key.arrays, **arrays}, facts=facts)
    return dataclasses.replace(new, commitment=whole(new, key.opening, payload))


def whole(key: Key, opening: str, payload: Payload) -> str:
    """The commitment that binds an opening, a payload and what the key has learnt, if anything.

    Raises:
        ConfigurationError: the key lacks what it says that it has learnt.
    """
    base = _with_payload(opening, payload)
    names = key.facts.get(_LEARNT)
    if names is None:
        return base
    if not isinstance(names, list | dict) or not all(name in key.arrays for name in names):
        raise ConfigurationError(
            f"key: expected the arrays that its training has learnt, got {sorted(key.arrays)}; "
            "restore the key from a copy"
        )
    ordered = sorted(names) if isinstance(names, dict) else names
    told = [[name, digest(np.atleast_1d(key.arrays[str(name)]))] for name in ordered]
    text = json.dumps([base, told])
    return hashlib.sha256(b"nnw-onnx commitment with what was learnt 1" + text.encode()).hexdigest()


def binds(key: Key, payload: Payload) -> bool | None:
    """Whether the commitment of a key binds these Symbols; None where it cannot be opened."""
    return whole(key, key.opening, payload) == key.commitment if key.opening else None


def carriers_of(key: Key, network: Weighted) -> list[Bound]:
    """What a commitment binds of the carriers of a key: those layers of the unmarked network.

    Raises:
        CarrierNotFoundError: the network lacks one.
    """
    layers = {layer.name: layer for layer in network.layers}
    for name, shape in zip(key.layers, key.shapes, strict=True):
        if name not in layers or layers[name].shape != shape:
            raise CarrierNotFoundError(
                f"commitment: expected layer {name} of shape {shape} in the unmarked network, got "
                "none; give the network that was marked, as it was before"
            )
    return [(n, layers[n].shape, digest(network.weights[n])) for n in key.layers]


def has_learnt(key: Key) -> bool:
    """Whether arrays of a key were learnt, which only a commitment that binds a payload binds."""
    return _LEARNT in key.facts


def facts_of(key: Key) -> dict[str, Json]:
    """The facts of a key as people are told them: of what was learnt the names alone."""
    names = key.facts.get(_LEARNT)
    return {**key.facts, _LEARNT: sorted(names)} if isinstance(names, dict) else dict(key.facts)


def _begun(key: Key) -> dict[str, str]:
    """Hash of each array as it was before any training; without those that began in one."""
    learnt = _learnt_from(key)
    held = {name: _hash(values) for name, values in key.arrays.items() if name not in learnt}
    return {**held, **{name: was for name, was in learnt.items() if was}}


def _learnt_from(key: Key) -> dict[str, str]:
    """Names of the learnt arrays, with the hashes of what they were; empty of unsettled keys."""
    found = key.facts.get(_LEARNT)
    return {name: str(was) for name, was in found.items()} if isinstance(found, dict) else {}


def _hash(values: Array) -> str:
    """SHA-256 (hex) of the dtype, shape and values of an array of any number of axes."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    rows = native if native.ndim > 1 else native.reshape(1, -1)
    return hashlib.sha256(f"{values.shape}{digest(rows)}".encode()).hexdigest()


def _with_payload(opening: str, payload: Payload) -> str:
    text = json.dumps([opening, payload.alphabet, list(payload.symbols)])
    return hashlib.sha256(b"nnw-onnx commitment with payload 1" + text.encode()).hexdigest()
