"""Evidence: what a key and a claim are, what is read from a suspect, and how sure one can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary.networks import Array
from nnw_onnx.vocabulary.payloads import Payload
from nnw_onnx.vocabulary.specs import Json, Spec

SECRET_BYTES = 32

Bound: TypeAlias = tuple[str, Sequence[int], str]
"""What a commitment binds of one thing: its name, its shape and the SHA-256 (hex) of its values."""


@dataclass(frozen=True)
class Key:
    """What finds a watermark again; it never holds the payload.

    Attributes:
        method: the method with its options.
        secret: 32 bytes, from which every random object of the key is derived.
        size: number of Symbols in the network; 0 for a method that carries none.
        code: error-correcting code between payload and Symbols, or None.
        carries: number of bits before code and alphabet.
        layers: names of the carrier layers, or empty for a method that needs none.
        shapes: canonical shape of each carrier layer at injection.
        facts: numbers and words of the key itself, such as the number of classes; not secret.
        arrays: what a key holds beside its secret, such as trigger inputs; as secret as that.
        commitment: SHA-256 (hex) that binds secret, method, carriers with their unmarked weights,
            options, facts and arrays once `kit.commitments.settled` has bound them, and the payload
            once `kit.commitments.bound` has.
        opening: the commitment before it bound the payload, by which anyone with the key can check
            that; empty where no payload is bound, or in key files of earlier versions.
        notes: plain words on how the carrier was chosen; not secret.
    """

    method: Spec
    secret: bytes = field(repr=False)
    size: int
    code: Spec | None = None
    carries: int = 0
    layers: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)
    commitment: str = ""
    notes: tuple[str, ...] = ()
    opening: str = ""

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ConfigurationError(
                f"key: expected a secret of {SECRET_BYTES} bytes, got {len(self.secret)}; "
                "make the key again"
            )

    def __repr__(self) -> str:
        """Short, and without anything secret: it may end in a log."""
        return f"<Key: {self._in_words()}>"

    def _in_words(self) -> str:
        size = f", {self.size} symbol{'s' * (self.size != 1)}" if self.size else ""
        return f"{self.method.name}{size} in {', '.join(self.layers) or 'answers'}"


@dataclass(frozen=True)
class Claim:
    """Somebody says: this is in there, and this key shows it. A key file is a claim.

    Attributes:
        key: the key.
        payload: the Symbols that are said to be in the network, after code and alphabet (`key.size`
            of them); None where the claim is only to be read.
        of: whose it is, in the words of the report: "owner", "recipient", "wrong", "forged".
    """

    key: Key
    payload: Payload | None = field(default=None, repr=False)
    of: str = "owner"

    def __repr__(self) -> str:
        payload = "no payload" if self.payload is None else "a payload"
        return f"<Claim of {self.of}: {self.key._in_words()}, with {payload}>"


Way = Literal["name", "similar name", "shape", "order", "asked", "content", "aligned"]
"""How a carrier was found: under its own name, under a unique name that contains it or is contained
in it, by its shape, by the order of all carriers of its shape, or named by who asks; beside a
reference by what its weights are whatever their order, or by their likeness once all other layers
were put in order."""
Use = Literal["live", "answers depend", "answers do not depend"]
"""What is known of a carrier's use: that the graph leads from it to an output, or what running the
network with other values in it has shown."""


@dataclass(frozen=True)
class Found:
    """Where a carrier of a key was read in a network.

    Attributes:
        carrier: its name in the key.
        layer: the layer that was read.
        part: which weights of the layer, such as "rows 0 to 63"; empty for all as they are.
        way: how it was found.
        candidates: places that were read before this one was chosen, itself included. Evidence
            chosen among several is corrected for their number.
        use: what is known of its use; a carrier that no output depends on is none.
        note: plain words on that, such as how far answers moved, or why it was not run.
        cosine: mean cosine of its filters and those of the reference that they were matched with;
            None where nothing was matched.
        margin: how much larger that is than the cosine of the best wrong filter, on average.
    """

    carrier: str
    layer: str
    part: str = ""
    way: Way = "name"
    candidates: int = 1
    use: Use = "live"
    note: str = ""
    cosine: float | None = None
    margin: float | None = None

    @property
    def plain(self) -> bool:
        """Whether it is whole, as it is, under its own name, and nothing else was read."""
        as_it_is = self.way == "name" and not self.part and self.cosine is None
        return as_it_is and self.candidates == 1


@dataclass(frozen=True)
class Decoding:
    """Symbols read from a network.

    Attributes:
        payload: the Symbols read. Its alphabet is that of the answers, of which 1/alphabet is right
            by chance.
        confidence: for each Symbol the distance (>= 0) of its statistic from the decision, in
            standard deviations of the statistic under a random key. It compares Symbols of one
            network; whether a watermark is there is for the Detector to say.
        ties: number of Symbols whose statistic was exactly undecided and was taken from the key.
        notes: plain words on how the carrier was found, where that needs saying.
        found: where each carrier was read; the runner fills it in.
    """

    payload: Payload
    confidence: tuple[float, ...]
    ties: int = 0
    notes: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()

    def __repr__(self) -> str:
        return f"<Decoding: {self.payload!r}>"


@dataclass(frozen=True)
class Null:
    """Distribution of a statistic for a network that was made without the key.

    Attributes:
        name: for people, such as "Bin(64, 1/2)"; printed, never parsed.
        symbols: number of independent Symbols, triggers or keys that are counted, where the
            statistic is such a count.
        chance: probability that one of them is right by chance, likewise.
        log10_least: decimal logarithm of the smallest p-value that any network could reach; None
            where there is no such bound. It tells "cannot be detected" from "is not".
    """

    name: str
    symbols: int | None = None
    chance: float | None = None
    log10_least: float | None = None

    def reaches(self, level: float) -> bool:
        """Whether any network at all could have a p-value of at most `level` (0 < level < 1)."""
        return self.log10_least is None or 10.0**self.log10_least <= level


@dataclass(frozen=True)
class Place:
    """Evidence of one layer or block of it.

    Attributes:
        layer: name of the layer.
        start: first of its weights, flat in canonical order.
        stop: end of them, exclusive.
        statistic: larger is more evidence.
        log10_p: decimal logarithm of the p-value of this place alone, or None where it has none.
    """

    layer: str
    start: int
    stop: int
    statistic: float
    log10_p: float | None = None


@dataclass(frozen=True)
class Detection:
    """How well a claim fits a network; a method fills in all but `found`, `level`, `detected`.

    A level is not a method's affair: `decided` applies the one of the evaluation, the same for all
    methods. As `bool` a decided Detection is its answer.

    Attributes:
        statistic: larger is more evidence for the claim.
        log10_p: decimal logarithm of P(T >= statistic) for a network made without the key, one key;
            corrected for the places that were read where the carrier had to be searched; None where
            no null is known: then it is compared with networks that cannot carry the watermark.
        null: the distribution that `log10_p` is taken from.
        log10_tie: likewise P(T = statistic), for decisions of exactly a level; None where T is
            continuous.
        log10_inverted: likewise for the opposite of every Symbol: tiny for an inverted watermark;
            None where that means nothing.
        places: evidence by place, where the method tells it.
        notes: plain words, such as on how the carrier was found.
        found: where each carrier was read.
        says: the answer of a Detector that decides by a threshold of its own, whose rate of false
            alarms nobody knows; None for all others. It counts where no null is known.
        level: false-positive rate of the decision.
        detected: the decision, or None before it.
        needed: fewest right Symbols that are a Yes at this level, where Symbols are counted; None
            where even all of them are too few, or nothing is counted. The runner fills it in.
        attained: exact probability of a Yes at this level for a network made without the key,
            likewise; at most the level.
        rank_p: p-value by rank among random keys that were tried on the suspect itself; None where
            none were.
    """

    statistic: float
    log10_p: float | None
    null: Null
    log10_tie: float | None = None
    log10_inverted: float | None = None
    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    says: bool | None = None
    level: float | None = None
    detected: bool | None = None
    needed: int | None = None
    attained: float | None = None
    rank_p: float | None = None

    @property
    def p_value(self) -> float | None:
        """The p-value (0 to 1); 0 where it underflows, None where no null is known."""
        return None if self.log10_p is None else 10.0**self.log10_p

    def decided(self, level: float) -> Detection:
        """This evidence with its answer: Yes where the p-value is at most `level`.

        What a Detector without a null `says` is its answer at any level, and has no level.

        Raises:
            ConfigurationError: a level that is not between 0 and 1, or evidence without a null,
                which only a comparison with other networks can decide.
        """
        if not 0 < level < 1:
            raise ConfigurationError(
                f"false-positive rate: expected a number between 0 and 1, got {level:g}; correct it"
            )
        p_value = self.p_value
        if p_value is None and self.says is not None:
            return replace(self, detected=self.says)
        if p_value is None:
            raise ConfigurationError(
                f"detection: expected a known null, got {self.null.name!r}; compare it with "
                "networks that cannot carry the watermark, as 'nnw evaluate' does"
            )
        return replace(self, level=level, detected=p_value <= level)

    def __repr__(self) -> str:
        answer = {True: "yes", False: "no", None: "undecided"}[self.detected]
        sure = "" if self.log10_p is None else f", p {power(self.log10_p)}"
        where = ", ".join(found.layer for found in self.found)
        return f"<Detection: {answer}{sure}{f', in {where}' if where else ''}>"

    def __bool__(self) -> bool:
        if self.detected is None:
            raise ConfigurationError(
                "detection: expected one that was decided, got one without a level; "
                "use Detection.decided(level)"
            )
        return self.detected


def power(log10_p: float) -> str:
    """A probability from its decimal logarithm, also where it is too small for a float."""
    exponent = math.floor(log10_p)
    if exponent >= -3:
        return f"{10**log10_p:.3g}"
    return f"{10 ** (log10_p - exponent):.1f}e{exponent}"
