"""Who leaked it: the recipients whose codewords are in a suspect network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.math import tracing
from nnw_onnx.runs.recipients import codewords, reference, signed
from nnw_onnx.runs.recipients_files import Recipients, check_key
from nnw_onnx.runs.suspect import isolated, suspects
from nnw_onnx.runs.verify import Search, verify
from nnw_onnx.vocabulary import Claim, Decoding, Found, Key

RATE = 1e-6
"""False-accusation rate of the whole list if nothing else is said."""


@dataclass(frozen=True)
class Traced:
    """How well one recipient's codeword fits.

    Attributes:
        name: of the recipient.
        score: z, of mean 0 and variance 1 for an innocent; about sqrt(m / K) for one of K averagers
            with m bits.
        log10_p: decimal logarithm of a bound on the probability that an innocent scores so high,
            which holds for any network and any coalition.
        log10_family: likewise that any of all recipients does (Sidak).
        accused: whether the latter is at most the declared rate.
    """

    name: str
    score: float
    log10_p: float
    log10_family: float
    accused: bool


@dataclass(frozen=True)
class Tracing:
    """What a suspect says of everybody who got a copy; as `bool` whether anybody is accused.

    Attributes:
        recipients: the highest score first.
        rate: largest probability that any innocent is accused.
        symbols: bits of a codeword.
        erased: of them, read with no confidence at all: they count for nobody.
        found: where the carriers were read.
        notes: plain words on how they were found.
        reason: why nothing was read, or None.
    """

    recipients: tuple[Traced, ...]
    rate: float
    symbols: int
    erased: int = 0
    found: tuple[Found, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def accused(self) -> tuple[Traced, ...]:
        """Those who are accused."""
        return tuple(one for one in self.recipients if one.accused)

    def __bool__(self) -> bool:
        return any(one.accused for one in self.recipients)


def trace(
    network: OnnxNetwork,
    key: Key,
    recipients: Recipients,
    rate: float = RATE,
    *,
    original: OnnxNetwork | None = None,
    layer: str | None = None,
    timeout: float = 600.0,
    memory_limit: int | None = None,
) -> Tracing:
    """The recipients whose codewords are in a network.

    Carriers are looked for by name, by a similar name, and by shape; of several places the one that
    is read most surely, which says nothing of any codeword, so that no p-value changes by it.

    Args:
        network: the suspect.
        key: of the owner.
        recipients: everybody who got a copy under this key; all of them count in the correction.
        rate: largest probability, in (0, 1), that any innocent is accused.
        original: the network before any mark, by which what its weights said before is taken away:
            it finds more of a coalition, the more the weights say of themselves.
        layer: name of the layer to read, whatever the key calls it.
        timeout: seconds for a network that must be run.
        memory_limit: bytes that this may take (Linux only).

    Raises:
        ConfigurationError: a list of another key, or a rate that is none.
    """
    if not 0 < rate < 1:
        raise ConfigurationError(
            f"false-accusation rate: expected a number between 0 and 1, got {rate:g}; give for "
            "example 1e-6"
        )
    check_key(recipients, key)
    suspect_of = suspects(network, isolated(network, timeout, memory_limit))
    verdict = next(verify(suspect_of, [Claim(key)], 0.5, Search(thorough=True, layer=layer)))
    if verdict.decoding is None:
        names = recipients.names
        nobody = tuple(Traced(name, 0.0, 0.0, 0.0, accused=False) for name in names)
        return Tracing(nobody, rate, key.size, reason=verdict.reason)
    read = verdict.decoding
    values = _values(read, key, recipients.margin, original)
    return Tracing(
        recipients=_traced(values, key, recipients.names, rate),
        rate=rate,
        symbols=key.size,
        erased=int(np.count_nonzero(values == 0)),
        found=verdict.found,
        notes=read.notes,
    )


def _values(
    read: Decoding, key: Key, margin: float, original: OnnxNetwork | None
) -> NDArray[np.float64]:
    """Soft values (m,); whatever they are, they know nothing of any innocent's codeword."""
    found = signed(read)
    if original is not None:
        found, margin = reference(original, key).centred(found), 1.0
    return tracing.soft_values((found > 0).astype(np.int64), np.abs(found), margin)


def _traced(
    values: NDArray[np.float64], key: Key, names: Sequence[str], rate: float
) -> tuple[Traced, ...]:
    found = []
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        scores = tracing.scores(codewords(key, part), values).tolist()
        found += [
            _one(name, score, len(names), rate) for name, score in zip(part, scores, strict=True)
        ]
    return tuple(sorted(found, key=lambda one: -one.score))


_AT_ONCE = 1024
"""Codewords in memory at one time."""


def _one(name: str, score: float, tested: int, rate: float) -> Traced:
    one = tracing.log10_p(score)
    family = tracing.log10_sidak(one, tested)
    return Traced(name, score, one, family, accused=family <= math.log10(rate))
