"""Plug-ins of the tests' own, found by name while a test runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.kit import evidence
from nnw_onnx.vocabulary import (
    Bench,
    Decodes,
    Decoding,
    Detection,
    Detects,
    Injects,
    Key,
    Network,
    Payload,
    Suspect,
)

SECRET = bytes(range(32))


def registered(monkeypatch: pytest.MonkeyPatch, *classes: type) -> None:
    """Let `plugins.load` find these classes too, as if a package had brought them."""
    known, real = {c.name: c for c in classes}, plugins.load
    monkeypatch.setattr(plugins, "load", lambda kind, name: known.get(name) or real(kind, name))


def key_of(size: int = 4, **changes: object) -> Key:
    """A key of the plain method."""
    fields = {"method": Plain().spec(), "secret": SECRET, "size": size, "carries": size}
    return Key(**{**fields, **changes})


@dataclass(frozen=True)
class Plain(Decodes, Injects):
    """Symbols are the signs of the first weights of the first layer."""

    name = "plain"

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        layer = network.layers[0]
        return Key(self.spec(), secret, size, layers=(layer.name,), shapes=(layer.shape,))

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        name = key.layers[0]
        weights = np.array(network.weights[name])
        signs = 1 - 2 * payload.array()
        weights.ravel()[: len(payload)] = np.abs(weights.ravel()[: len(payload)]) * signs
        return network.with_weights({name: weights})

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        values = suspect.weights[suspect.layers[0].name].ravel()[: key.size]
        return Decoding(Payload(tuple(int(v < 0) for v in values)), tuple(np.abs(values).tolist()))


def decoding_by(answer: Callable[[Suspect, Key], object]) -> type[Decodes]:
    """A method whose Decoder is this function."""

    @dataclass(frozen=True)
    class Odd(Plain):
        name = "odd"

        def decode(self, suspect: Suspect, key: Key) -> Decoding:
            return answer(suspect, key)  # type: ignore[return-value]  # on purpose

    return Odd


def detecting_by(answer: Callable[[Payload], object]) -> type[Detects]:
    """A method that only detects, by this function."""

    @dataclass(frozen=True)
    class OddTest(Detects):
        name = "odd-test"
        alphabet = 0

        def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
            return Key(self.spec(), secret, size)

        def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
            return answer(claim)  # type: ignore[return-value]  # on purpose

    return OddTest


def evidence_of(hits: int, trials: int) -> Detection:
    """So many hits among so many coins."""
    return evidence.counted(hits, trials, Fraction(1, 2))
