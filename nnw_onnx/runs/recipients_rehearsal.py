"""A rehearsal of collusion on the owner's own network, before any copy goes out.

Coalitions of drawn recipients mix their copies by every rule that is known, and are traced: how
many of them are accused, and whether any innocent is. Nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import keystream
from nnw_onnx.runs import single
from nnw_onnx.runs.modify import change_of
from nnw_onnx.runs.recipients import copies, make_key
from nnw_onnx.runs.recipients_files import Recipient, Recipients
from nnw_onnx.runs.tracing import trace
from nnw_onnx.vocabulary import SECRET_BYTES, Key, Spec, Step, Technology

ATTACKS: dict[str, Spec] = {
    "average": Spec("averaging"),
    **{rule: Spec("mixing-weights", {"rule": rule})
       for rule in ("median", "middle", "minimum", "maximum", "pick")},
    "layers": Spec("mixing-layers"),
}  # fmt: skip
"""Name of an attack -> the Modification that mixes so."""
MOST_COLLUDERS = 64


@dataclass(frozen=True)
class Rehearsed:
    """What became of the coalitions of one size that mixed by one rule.

    Attributes:
        attack: one of `ATTACKS`.
        colluders: K, of each coalition.
        coalitions: how many there were, each with a key of its own.
        accused: of all their colluders, how many were accused.
        any_accused: of the coalitions, how many had one who was.
        innocents: accused among those who did not take part, of `tested`.
        tested: innocents, all coalitions together.
        change: RMS change of the carriers from the unmarked network / standard deviation, the mean
            over coalitions.
    """

    attack: str
    colluders: int
    coalitions: int
    accused: int
    any_accused: int
    innocents: int
    tested: int
    change: float

    @property
    def share(self) -> float:
        """Part of the colluders that was accused (0 to 1)."""
        return self.accused / (self.coalitions * self.colluders)


def rehearse(
    network: OnnxNetwork,
    technology: Technology,
    sizes: Sequence[int],
    *,
    secret: bytes,
    recipients: int = 1000,
    coalitions: int = 3,
    rate: float = 1e-6,
    blind: bool = False,
) -> Iterator[Rehearsed]:
    """What coalitions come to, size by size and attack by attack.

    Args:
        network: the unmarked one.
        technology: as for `recipients.make_key`.
        sizes: numbers of colluders, 2 to 64, each below `recipients`.
        secret: 32 bytes, from which all that is drawn follows.
        recipients: N, colluders included, for whom the rate is corrected.
        coalitions: of each size, each with a key and codewords of its own.
        rate: largest probability that any innocent is accused.
        blind: whether they are traced without the unmarked network.

    Raises:
        ConfigurationError: a size that is none, or a method that carries no bits in weights.
        InjectionError: no layer can hold a codeword.
    """
    for size in sizes:
        if not 2 <= size <= MOST_COLLUDERS or size > recipients:
            raise ConfigurationError(
                f"colluders: expected 2 to {min(MOST_COLLUDERS, recipients)} of {recipients} "
                f"recipients, got {size}; give another number"
            )
    for size in sizes:
        made = [
            _Coalition(network, technology, size, recipients, _fresh(secret, size, number))
            for number in range(coalitions)
        ]
        for attack in ATTACKS:
            yield _rehearsed(attack, made, rate, blind=blind)


class _Coalition:
    """K recipients with their copies, and the list that they are looked for in."""

    def __init__(
        self,
        network: OnnxNetwork,
        technology: Technology,
        size: int,
        recipients: int,
        secret: bytes,
    ) -> None:
        names = [f"recipient {number + 1}" for number in range(recipients)]
        self.network, self.seed = network, int.from_bytes(secret[:4], "little")
        self.key: Key = make_key(network, technology, secret)
        given = list(copies(network, self.key, names[:size]))
        self.names, self.copies = set(names[:size]), [copy.network for copy in given]
        self.list = Recipients(
            commitment=self.key.commitment,
            margin=given[0].margin,
            recipients=tuple(Recipient(name=n, file="", sha256="0" * 64) for n in names),
        )

    def accused(self, attack: str, rate: float, *, blind: bool) -> tuple[set[str], float]:
        """Who is accused of a mixture, and how far that is from the unmarked network."""
        step = Step(ATTACKS[attack])
        mixed = single.modify(self.copies[0], [step], self.seed, None, self.copies[1:]).network
        known = None if blind else self.network
        found = trace(mixed, self.key, self.list, rate, original=known)
        change = change_of(self.network, mixed, self.key.layers)
        return {one.name for one in found.accused}, change or 0.0


def _rehearsed(attack: str, made: Sequence[_Coalition], rate: float, *, blind: bool) -> Rehearsed:
    found = [(one, *one.accused(attack, rate, blind=blind)) for one in made]
    return Rehearsed(
        attack=attack,
        colluders=len(made[0].names),
        coalitions=len(made),
        accused=sum(len(names & one.names) for one, names, _ in found),
        any_accused=sum(bool(names & one.names) for one, names, _ in found),
        innocents=sum(len(names - one.names) for one, names, _ in found),
        tested=sum(len(one.list.recipients) - len(one.names) for one in made),
        change=sum(change for *_, change in found) / len(made),
    )


def _fresh(secret: bytes, size: int, number: int) -> bytes:
    return keystream.stream(secret, f"recipients/rehearsal/{size}/{number}", SECRET_BYTES).tobytes()
