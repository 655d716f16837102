"""A copy for each recipient: one key of the owner, and a codeword of fair bits a recipient.

A codeword follows from the secret and the recipient's name, so that the list of recipients holds
nothing secret and grows without a new key: whoever lacks the secret has a fair coin for each bit of
any name. The commitment of the key binds the secret, hence every codeword of every name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, shortened
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import carriers, commitments, keystream
from nnw_onnx.runs import inject
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.commitment import verify_commitment
from nnw_onnx.runs.surroundings import Alone
from nnw_onnx.runs.verify import read
from nnw_onnx.vocabulary import Claim, Decoding, Key, Method, Payload, Technology

MOST = 100_000
"""Recipients of one key."""
_WEIGHTS_A_BIT = 4
LONGEST = 200
"""Letters of a name."""
_LABEL = "recipients/codeword/"
_NOBODY = ""
"""No recipient has this name."""


@dataclass(frozen=True)
class Copy:
    """One recipient's copy.

    Attributes:
        name: of the recipient.
        network: to be given to that recipient alone.
        claim: that the recipient's codeword is in it.
        read: (m,) its bits as they are read from it: the confidence of each, negative for a 0.
    """

    name: str
    network: OnnxNetwork
    claim: Claim
    read: NDArray[np.float64]

    @property
    def margin(self) -> float:
        """Median confidence of its bits, which scales soft values."""
        return float(np.median(np.abs(self.read)))


@dataclass(frozen=True)
class Reference:
    """How bits are read from copies of one network, without knowing anybody's codeword.

    Weights have a value of their own on which a mark is put: where they say 1 already, a 1 changes
    little and a 0 much. An average of copies then leans to what was there before, which says
    nothing of recipients and is taken away by `centred`.

    Attributes:
        centre: (m,) the middle between a bit that is 0 and one that is 1.
        half: (m,) half of their distance, >= 0.
    """

    centre: NDArray[np.float64]
    half: NDArray[np.float64]

    def centred(self, read: NDArray[np.float64]) -> NDArray[np.float64]:
        """What was read (m,), -1 being a 0 and 1 a 1 as in a copy; 0 where both read alike."""
        far = self.half > 0
        found = np.zeros(len(read))
        found[far] = (read[far] - self.centre[far]) / self.half[far]
        return found


def codeword(key: Key, name: str) -> Payload:
    """The fair bits (key.size) of a recipient."""
    return Payload(tuple(codewords(key, [name])[0].tolist()))


def codewords(key: Key, names: Sequence[str]) -> NDArray[np.uint8]:
    """The bits (N, key.size) of several recipients."""
    return np.array([keystream.bits(key.secret, _LABEL + name, key.size) for name in names])


def signed(found: Decoding) -> NDArray[np.float64]:
    """What was read (m,): the confidence of each bit, negative for a 0; a tie is 0."""
    confidence = np.array(found.confidence, np.float64)
    return np.where(found.payload.array() > 0, confidence, -confidence)


def claim_of(key: Key, name: str) -> Claim:
    """The claim that this recipient's codeword is in a network."""
    bits = codeword(key, name)
    return Claim(commitments.bound(key, bits), bits, "recipient")


def method_for(network: OnnxNetwork, bits: int) -> str:
    """A method for so many bits: "uchida" where a kernel has the room, else "block-spread".

    With four weights a filter or more for each bit, every bit of "uchida" lies in all of them, and
    what coalitions of four or more take of every weight (the middle of least and largest, say)
    still says something of each. Of a bit that owns its weights, as one of "block-spread" does,
    such a mixture keeps nothing unless all colluders share it.
    """
    wide = [
        x for x in carriers.kernels(network)
        if x.axes is not None and len(x.shape) > 1
        and carriers.inputs_per_filter(x) >= _WEIGHTS_A_BIT * bits
    ]  # fmt: skip
    return "uchida" if wide else "block-spread"


def make_key(network: OnnxNetwork, technology: Technology, secret: bytes) -> Key:
    """The owner's key of all copies of a network; it binds no payload.

    Args:
        network: before anything is put in.
        technology: a method that reads bits from weights and is put in without training; its size
            is the length of the codewords.
        secret: 32 bytes.

    Raises:
        ConfigurationError: another kind of method.
        InjectionError: no layer, or not the one asked for, can hold a codeword.
    """
    _check_method(plugins.create(Method, technology.method))
    bench, blank = _bench(network, technology), Payload((0,) * technology.size)
    key = inject.new_claim(technology, network, blank, secret, bench).key
    return replace(key, commitment=key.opening, opening="")


def copies(network: OnnxNetwork, key: Key, names: Sequence[str]) -> Iterator[Copy]:
    """The copy of each recipient, one after the other.

    Args:
        network: the one that the key was made for; it is not changed.
        key: of `make_key`.
        names: of the recipients.

    Raises:
        ConfigurationError: another network or kind of method, or a name that is unfit or there
            twice.
        InjectionError: a codeword is not read back.
    """
    check_names(names)
    _check_key(network, key)
    for name in names:
        yield _copy(network, key, name, codeword(key, name))


def reference(network: OnnxNetwork, key: Key) -> Reference:
    """What each bit is read as in copies that have it as 0 and as 1.

    Args:
        network: the one that the key was made for.
        key: of `make_key`.

    Raises:
        ConfigurationError: another network or kind of method.
        InjectionError: a codeword is not read back.
    """
    _check_key(network, key)
    word = codeword(key, _NOBODY)
    opposite = Payload(tuple(1 - bit for bit in word.symbols))
    one, other = (_copy(network, key, _NOBODY, bits).read for bits in (word, opposite))
    return Reference((one + other) / 2, np.abs(one - other) / 2)


def check_names(names: Sequence[str]) -> None:
    """Raise `ConfigurationError` where a name is unfit or there twice, or none is there."""
    seen: set[str] = set()
    if not names or len(names) > MOST:
        raise ConfigurationError(
            f"recipients: expected 1 to {MOST} names, got {len(names)}; correct the list"
        )
    for name in names:
        if name != name.strip() or not 0 < len(name) <= LONGEST or not name.isprintable():
            raise ConfigurationError(
                f"recipients: expected names of 1 to {LONGEST} letters on one line, got "
                f"{shortened(name)}; correct it"
            )
        if name in seen:
            raise ConfigurationError(
                f"recipients: expected every name once, got {shortened(name)} twice; leave one out"
            )
        seen.add(name)


def _bench(network: OnnxNetwork, technology: Technology) -> RunBench:
    place = Place(
        "recipients", f"copies of {network.path.name}", technology=technology,
        layers=technology.layers, original=network,
    )  # fmt: skip
    return RunBench(Alone(), network, place)


def _copy(network: OnnxNetwork, key: Key, name: str, bits: Payload) -> Copy:
    technology = Technology(key.method, key.size, layers=key.layers)
    bench = _bench(network, technology)
    claim = Claim(commitments.bound(key, bits), bits, "recipient")
    made = inject.inject(technology, network, bits, key.secret, bench, claim)
    found = read(bench.suspect_of(made.network), key)
    if found is None or found.payload != bits:
        raise InjectionError(
            f"{key.method.name}: expected a codeword to be read back, got another; use a larger "
            "margin or shorter codewords"
        )
    return Copy(name, made.network, made.claim, signed(found))


def _check_key(network: OnnxNetwork, key: Key) -> None:
    _check_method(plugins.method_of(key))
    if not verify_commitment(Claim(key), network):
        raise ConfigurationError(
            f"{network.path.name}: expected the network that the key was made for, as it was "
            "before, and a key of copies, got another; give these, or a new key"
        )


def _check_method(method: Method) -> None:
    bits = plugins.decodes(method) is not None and method.alphabet == 2
    if not bits or method.access != "weights" or plugins.injects(method) is None:
        raise ConfigurationError(
            "method: expected one that reads bits from weights and is put in without training, "
            f"got {method.name}; use for example block-spread"
        )
