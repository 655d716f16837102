"""Methods and codes: what an author of one writes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary.bench import Bench
from nnw_onnx.vocabulary.cards import Card
from nnw_onnx.vocabulary.evidence import Bound, Decoding, Detection, Key
from nnw_onnx.vocabulary.networks import Network, Suspect, Weights
from nnw_onnx.vocabulary.payloads import Payload
from nnw_onnx.vocabulary.specs import Json, PlugIn, Step

if TYPE_CHECKING:
    from nnw_onnx.vocabulary.additions import Additions
    from nnw_onnx.vocabulary.training import Epoch, Job, Trained

PutIn: TypeAlias = Literal["injection", "training"]
"""How a mark is put in: without training, or by one."""


class Method(PlugIn):
    """A watermarking method, fingerprint or integrity check: plug-ins of `nnw_onnx.methods`.

    Put in by `Injects` or `Trains`, or by neither (a fingerprint is enrolled: `make_key` is all).
    Found by `Decodes` or `Detects`, or both. Which of these a method can do is told by what it
    subclasses, and by nothing else.

    Attributes:
        access: what Decoder and Detector see: weights, outputs of inner layers (and weights), or
            answers only (an option, or a constant).
        title: what a report calls it; empty where its name and options say that.
        kind: "watermark"; "fingerprint": nothing is put in, and other networks are its negatives;
            "integrity": says whether, and where, the network was changed.
        in_order: whether the mark lies in the order or the scales of channels, so that putting
            them back takes it out.
        alphabet: of the payloads that it takes (an option, or a constant); 0 for a method that
            only says that it is there.
        card: what the literature says of it; None where its author tells nothing.
        adaptive: stacks of Modifications by which somebody who knows the method, but no key, would
            remove the watermark at the least cost that is known; empty where no such attack is
            known, so that the method counts as not attacked adaptively.
        before: options that came after keys had been made, with the value that is what the method
            did until then: keys without them mean that, and at that value the identities and
            secrets of evaluations are those of then.
    """

    access: Literal["weights", "activations", "answers"] = "weights"
    title: str = ""
    kind: ClassVar[Literal["watermark", "fingerprint", "integrity"]] = "watermark"
    in_order: ClassVar[bool] = False
    alphabet: int = 2
    card: ClassVar[Card | None] = None
    adaptive: ClassVar[tuple[tuple[Step, ...], ...]] = ()
    before: ClassVar[Mapping[str, Json]] = MappingProxyType({})

    def check(self, way: PutIn | None, key: Key | None = None) -> None:
        """Raise `NnwError` where it cannot work as asked; called before anything is measured.

        Args:
            way: how it is to be put in; None where it is only read.
            key: that it is read with, where there is one already.
        """

    @abstractmethod
    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Choose carriers, draw triggers, or take the fingerprint; tell why in `Key.notes`.

        Args:
            network: before anything is put in.
            size: number of Symbols; 0 where `alphabet` is.
            secret: 32 bytes, from which everything random follows.
            bench: `bench.layers` are the carriers that the owner asks for, or ().

        Raises:
            InjectionError: no layer, or not this one, can hold so many Symbols.
        """


class Decodes(Method):
    """A method that reads Symbols; who decodes is tested by `kit.evidence.matched` for nothing."""

    @abstractmethod
    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Read `key.size` Symbols; the key does not hold the payload.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network; to the runner that is
                a verdict No with p = 1, and no failure.
        """


class Detects(Method):
    """A method with a test of its own: presence, fingerprints, integrity, soft decisions."""

    @abstractmethod
    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """How well the claimed Symbols fit; an empty payload where `alphabet` is 0.

        Raises:
            CarrierNotFoundError: see `Decodes.decode`.
        """


class Injects(Method):
    """A method that is put in without training."""

    @abstractmethod
    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The watermarked network; raises `InjectionError` where it cannot be read back."""


class Trains(Method):
    """A method that training puts in."""

    @abstractmethod
    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """What it adds to a training of this network."""


class SeesWhole(Method):
    """A method whose Decoder and Detector are given a `WholeSuspect`: the graph and all weights.

    What it sees of it is for `access` to say, and for the method to keep to. Keys of such a method
    name no carriers, and nothing is looked for or re-synchronised in its place.
    """


class Embeds(Injects, Trains):
    """A method that carries its injection out by itself, as code from elsewhere does.

    It is given the whole job and not asked for additions: what it learns on the way joins its key.
    """

    @abstractmethod
    def embed(
        self,
        network: Network,
        payload: Payload,
        key: Key,
        job: Job | None = None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Trained:
        """The watermarked network, and in `state` what joins `Key.arrays`.

        Args:
            network: where it starts.
            payload: the Symbols.
            key: of `make_key`.
            job: the training that puts it in; None for an injection without training.
            on_epoch: is told of each epoch when it ends.
        """

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network of `embed`; what it learns for the key is lost."""
        return self.embed(network, payload, key).network

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Raises `ConfigurationError`: it runs its epochs itself."""
        raise ConfigurationError(
            f"{self.title or self.name}: expected a method that adds something to the loss of "
            "another's training, got one that runs its epochs itself; use 'nnw inject --training' "
            "or 'nnw evaluate'"
        )


class Widens(Trains):
    """A method whose training starts from the network with classes added, that no sample has.

    Who trains adds them (as the last scores of the output) and gives that network to `additions`;
    `make_key` sees it as it was. An answer with such a class counts as a wrong one where quality
    is measured. A training of one's own starts from a network that has the classes already.

    Attributes:
        output: index of the output that tells the scores.
    """

    output: int = 0

    @abstractmethod
    def classes(self, key: Key) -> int:
        """Number of scores that the watermarked network tells for a sample."""


class Restores(Method):
    """A method of integrity that gives weights back, as far as it holds on to them.

    Attributes:
        gives_back: what its network becomes again, such as "as it was before the mark".
    """

    gives_back: ClassVar[str]

    @abstractmethod
    def restore(self, suspect: Suspect, key: Key) -> Weights:
        """The weights of every layer that is to be another one than in the suspect, bit by bit.

        Raises:
            CarrierNotFoundError: a layer is not there.
            RestorationError: more was changed than can be given back.
        """


class Commits(Method):
    """A method whose commitment binds something else than the weights of its carriers."""

    @abstractmethod
    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """What the commitment of a key binds beside its secret, in the order of `make_key`.

        Args:
            key: as it is now.
            network: before anything was put in.

        Raises:
            CarrierNotFoundError: the network cannot be that one.
        """


class Code(PlugIn):
    """An error-correcting code between payload and Symbols: the plug-ins of `nnw_onnx.codes`.

    It is orthogonal to methods: raw errors of the Symbols and errors of the decoded payload are
    both recorded.
    """

    @abstractmethod
    def length(self, size: int) -> int:
        """Number of bits in the network for a payload of `size` bits.

        Raises:
            ConfigurationError: the code has no such size.
        """

    @abstractmethod
    def encode(self, payload: Payload) -> Payload:
        """`length(len(payload))` bits."""

    @abstractmethod
    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        """The payload of `size` bits, or None where the code knows that it failed.

        Args:
            read: bits as they were read.
            confidence: for each of them the distance (>= 0) from the decision; equal numbers where
                the method has none.
            size: of the payload.
        """
