"""Claims that are made after the fact: what a forger can show of a network that is not his.

For a demonstration on the owner's own network: how little a p-value says where nothing was
committed. A matrix of free choice fits any network at no cost (each row is turned until it reads
the wanted bit, and stays as likely as an honest one). A key that is derived from a secret has to be
searched: of n secrets the best has a p-value of about 1/n, so that k bits take 2^k. And whoever has
a network can put a watermark of his own on top.

Forged keys are compared in `forging_disputes`; Craver, Memon, Yeo, Yeung, "Resolving rightful
ownerships with invisible watermarking techniques", IEEE JSAC 16 (1998), on counterfeit originals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import carriers, commitments, foreign, keystream
from nnw_onnx.math.projection import filter_mean
from nnw_onnx.runs import coding, inject
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.foreign_keys import projection_claim
from nnw_onnx.runs.inject import Injected
from nnw_onnx.runs.surroundings import Alone
from nnw_onnx.runs.suspect import isolated, suspects
from nnw_onnx.runs.verify import verify
from nnw_onnx.vocabulary import (
    SECRET_BYTES,
    Claim,
    Detection,
    Layer,
    Method,
    Payload,
    Spec,
    Technology,
)

OF = "forged"
"""Whose claim it is."""
_TOUCH = 0.05
"""Margin of a counterfeit original, in the standard deviations of Uchida's method: bits are turned
no further than they must be."""


def forged(network: OnnxNetwork, size: int, secret: bytes, avoiding: Sequence[str] = ()) -> Claim:
    """A claim on a network by a matrix that was fitted to it; all of its bits are right.

    A key of Uchida's method with a matrix "made elsewhere": N(0, 1) rows, each with the sign that
    reads the wanted bit. Nothing of the network is changed, and no commitment is made.

    Args:
        network: anything with a kernel.
        size: number of bits.
        secret: 32 bytes, from which matrix and payload follow.
        avoiding: layers that are taken only where there are no others: in one that no mark has
            touched, the forged mark is in the unmarked network too.

    Raises:
        ConfigurationError: there is no kernel with filters.
    """
    carrier = _kernel(network, size, avoiding)
    features = carriers.inputs_per_filter(carrier)
    drawn = keystream.gaussian(secret, "forging/matrix", size * features).reshape(size, features)
    bits = _drawn(secret, size)
    wanted = 2.0 * bits.array() - 1.0
    read = drawn @ filter_mean(network.weights[carrier.name])
    matrix = drawn * np.where(read * wanted < 0, -1.0, 1.0)[:, np.newaxis]
    claim = projection_claim(network, matrix, bits, layer=carrier.name, orientation="rows")
    return replace(claim, of=OF)


def counterfeit(network: OnnxNetwork, claim: Claim, secret: bytes) -> OnnxNetwork:
    """A network that a forger calls his original: the given one, without the forged mark.

    Args:
        network: the one that the claim was forged for.
        claim: of `forged`.
        secret: 32 bytes, from which the bits follow that are read from it.

    Raises:
        InjectionError: the carrier has too few weights a filter to turn the bits one by one.
    """
    options = {**claim.key.method.options, "margin": _TOUCH}
    method = plugins.injects(plugins.create(Method, Spec(claim.key.method.name, options)))
    if method is None or claim.key.facts.get(foreign.MADE_BY) is None:
        raise ConfigurationError(
            f"counterfeit: expected a forged claim with a matrix of its own, got one of "
            f"{claim.key.method.name}; forge one first"
        )
    key, other = claim.key, _drawn(secret, claim.key.size, "counterfeit")
    made = method.inject(network, other, key, _bench(network, Technology(key.method, key.size)))
    return network.with_weights({name: made.weights[name] for name in key.layers})


def searched(network: OnnxNetwork, technology: Technology, tries: int, secret: bytes) -> Claim:
    """The best of so many keys of a method that derives them from secrets.

    Args:
        network: it is not changed.
        technology: without training; its size counts bits.
        tries: number of secrets, at least 1; each costs one decoding.
        secret: 32 bytes, from which they follow.

    Raises:
        InjectionError: no layer can hold a key.
    """
    suspect_of, bench = suspects(network, isolated(network)), _bench(network, technology)
    verdicts = verify(suspect_of, _tries(technology, bench, tries, secret), 0.5)
    strengths = [_strength(verdict.detection) for verdict in verdicts]
    return _made(technology, bench, secret, int(np.argmax(strengths)))


def overwritten(network: OnnxNetwork, technology: Technology, secret: bytes) -> Injected:
    """The network with a second watermark on top, by whoever has it.

    Args:
        network: the marked one; it is not changed.
        technology: without training.
        secret: 32 bytes, from which key and payload follow.

    Raises:
        InjectionError, ConfigurationError: it cannot be put in.
    """
    bench = _bench(network, technology)
    payload = _payload(secret, technology)
    claim = inject.new_claim(technology, network, payload, secret, bench, OF)
    return inject.inject(technology, network, payload, secret, bench, claim)


def bound_to(claim: Claim, original: OnnxNetwork) -> Claim:
    """A forged claim with a commitment as if it had been made for this unmarked network."""
    key = claim.key
    carrier = commitments.carriers_of(key, original)
    opening = commitments.commit(key.secret, key.method.name, carrier)
    blank = commitments.settled(replace(key, commitment=opening, opening=""))
    return replace(claim, key=commitments.bound(blank, claim.payload or Payload()))


def _strength(found: Detection | None) -> float:
    """Larger is more evidence; the statistic where a method knows no null."""
    if found is None:
        return -math.inf
    return found.statistic if found.log10_p is None else -found.log10_p


def _tries(technology: Technology, bench: RunBench, tries: int, secret: bytes) -> Iterator[Claim]:
    """Claims by one secret after the other, none of them bound.

    The carriers are chosen once where the choice does not depend on the secret, as that costs far
    more than a decoding.
    """
    one, other = (_made(technology, bench, secret, number) for number in (0, 1))
    blank = [replace(x.key, secret=bytes(32), commitment="", opening="") for x in (one, other)]
    method = plugins.create(Method, technology.method)
    code = plugins.code_of(one.key)

    def symbols_of(fresh: bytes) -> Payload:
        return coding.symbols_of(method, code, _payload(fresh, technology))

    shared = blank[0] == blank[1] and not one.key.arrays and not other.key.arrays
    for number in range(tries):
        if shared:
            fresh = _secret(secret, number)
            yield Claim(replace(blank[0], secret=fresh), symbols_of(fresh), OF)
        else:
            yield _made(technology, bench, secret, number)


def _made(technology: Technology, bench: RunBench, secret: bytes, number: int) -> Claim:
    fresh = _secret(secret, number)
    payload = _payload(fresh, technology)
    return inject.new_claim(technology, bench.original, payload, fresh, bench, OF)


def _secret(secret: bytes, number: int) -> bytes:
    return keystream.stream(secret, f"forging/secret/{number}", SECRET_BYTES).tobytes()


def _payload(secret: bytes, technology: Technology) -> Payload:
    return _drawn(secret, technology.size) if technology.size else Payload()


def _drawn(secret: bytes, size: int, what: str = "payload") -> Payload:
    return Payload(tuple(keystream.bits(secret, f"forging/{what}", size).tolist()))


def _kernel(network: OnnxNetwork, size: int, avoiding: Sequence[str]) -> Layer:
    """The kernel to forge in: untouched, and with room to turn bits one by one, if there is one."""
    kernels = [x for x in carriers.kernels(network) if x.axes is not None and len(x.shape) > 1]
    if not kernels:
        raise ConfigurationError(
            "forging: expected a kernel with filters, got none; nothing can be forged by a matrix"
        )
    narrow = [carriers.inputs_per_filter(x) <= size for x in kernels]
    ranked = sorted(
        zip(kernels, narrow, strict=True), key=lambda pair: (pair[1], pair[0].name in avoiding)
    )
    return ranked[0][0]


def _bench(network: OnnxNetwork, technology: Technology) -> RunBench:
    place = Place(
        "forging", f"forging on {network.path.name}", technology=technology,
        layers=technology.layers, original=network,
    )  # fmt: skip
    return RunBench(Alone(), network, place)
