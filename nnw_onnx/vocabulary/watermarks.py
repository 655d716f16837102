"""Keys, what is read from a network, and the methods that write it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary.networks import Network
from nnw_onnx.vocabulary.payloads import Payload

SECRET_BYTES = 32


@dataclass(frozen=True)
class Key:
    """What a method needs kept secret to find its watermark; never printed or reported.

    Attributes:
        method: name of the method plug-in.
        secret: 32 bytes, from which every random object of the key is derived.
        layers: names of the carrier layers, or empty for a method that needs none.
        shapes: canonical shape of each carrier layer at injection.
        payload_size: number of Symbols.
        options: options of the method that decoding depends on.
        commitment: SHA-256 that binds secret, method, carriers with their unmarked weights, and
            the payload where the key carries it (hex).
        payload: the injected payload, where the owner chose to keep it with the key.
        notes: plain words on how the carrier was chosen; not secret.
        arrays: what a key holds beside its secret, such as trigger inputs; as secret as that.
    """

    method: str
    secret: bytes = field(repr=False)
    layers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    payload_size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    commitment: str = ""
    payload: Payload | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ConfigurationError(
                f"key: expected a secret of {SECRET_BYTES} bytes, got {len(self.secret)}; "
                "make the key again"
            )


@dataclass(frozen=True)
class Decoding:
    """A payload read from a network.

    Attributes:
        payload: the Symbols read.
        confidence: for each Symbol the distance (>= 0) of its statistic from the decision, in
            standard deviations of the statistic under a random key. It compares Symbols of one
            network; whether a watermark is there is for the Detector to say.
        ties: number of Symbols whose statistic was exactly undecided and was taken from the key.
        notes: plain words on how the carrier was found, where that needs saying.
    """

    payload: Payload
    confidence: tuple[float, ...]
    ties: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detection:
    """The answer to "is this payload in this network?".

    Attributes:
        detected: whether `p_value <= false_positive_rate`.
        statistic: the number the decision rests on: matching Symbols.
        n: number of Symbols compared.
        p_value: probability that a network made without the key matches at least as well.
        log10_p: its decimal logarithm, finite where `p_value` underflows.
        p_inverted: the same for the opposite of every Symbol: tiny for an inverted watermark.
        log10_p_inverted: its decimal logarithm.
        false_positive_rate: level of the decision.
        null: the null distribution, such as "Bin(64, 1/2)".
    """

    detected: bool
    statistic: int
    n: int
    p_value: float
    log10_p: float
    p_inverted: float
    log10_p_inverted: float
    false_positive_rate: float
    null: str


@runtime_checkable
class WatermarkingMethod(Protocol):
    """A static watermarking method: the plug-ins of `nnw_onnx.methods`.

    A method is a frozen dataclass: its fields are its options, its constructor only stores them.
    It is pure: everything random in it comes from the secret.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def make_key(
        self, network: Network, payload_size: int, secret: bytes, layer: str | None = None
    ) -> Key:
        """Choose the carrier (or take `layer`) and tell why in `Key.notes`.

        Raises `InjectionError` where no layer, or not that layer, can hold the payload.
        """
        ...

    def inject(self, network: Network, payload: Payload, key: Key) -> Network:
        """The watermarked network."""
        ...

    def decode(self, network: Network, key: Key) -> Decoding:
        """Read the payload.

        Raises `CarrierNotFoundError` where the carrier layer does not exist in the network.
        """
        ...

    def detect(
        self, network: Network, payload: Payload, key: Key, false_positive_rate: float = 1e-6
    ) -> Detection:
        """Decide whether the payload is there."""
        ...
