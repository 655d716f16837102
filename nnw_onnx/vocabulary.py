"""The nouns of the project, in the words of MPAI-NNW: frozen values and protocols.

Only numpy and the standard library are imported here; every other room speaks these words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError

Weights = Mapping[str, NDArray[Any]]
"""Layer name -> weights in canonical layout (out, in, *kernel); read-only, loaded lazily."""

SECRET_BYTES = 32


@dataclass(frozen=True)
class Layer:
    """One tensor of trainable weights and the operator that consumes it.

    Attributes:
        name: name of the tensor in the file; the key of `Network.weights`.
        operator: type of the consuming operator, such as "Conv" (the first, if shared).
        role: "kernel", "bias", "embedding", "norm", "recurrent" or "other". Only kernels are
            "Weights" in the sense of the standard's Modifications.
        shape: canonical shape; (out, in, *kernel) for a kernel whose axes are known.
        axes: for each canonical axis the axis of the stored tensor, or None where the stored
            layout is kept because the output axis is unknown.
        stored_shape: shape of the tensor in the file.
        dtype: numpy name of the stored type, such as "float32" or "bfloat16".
        node: name of the consuming node, possibly empty.
        group: number of groups of a grouped convolution, otherwise 1.
        consumers: "operator:node:input index" of every use; more than one means shared.
        storage: "initializer", "constant", "subgraph", "function" or "quantized".
        quantization: how integer weights are stored ("DequantizeLinear", "QLinearConv",
            "MatMulNBits", ...), or None. Quantized weights can be read but not replaced.
    """

    name: str
    operator: str
    role: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None
    stored_shape: tuple[int, ...]
    dtype: str
    node: str = ""
    group: int = 1
    consumers: tuple[str, ...] = ()
    storage: str = "initializer"
    quantization: str | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def shared(self) -> bool:
        """Whether more than one operator uses this tensor."""
        return len(self.consumers) > 1

    @property
    def replaceable(self) -> bool:
        """Whether `Network.with_weights` accepts new values for it."""
        return self.quantization is None


class Network(Protocol):
    """A network whose weights can be read and replaced, whatever it is stored in."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order of the file."""
        ...

    @property
    def weights(self) -> Weights:
        """Weights by layer name, canonical layout, stored dtype, read-only."""
        ...

    def with_weights(self, replaced: Weights) -> Self:
        """The same network with some weights replaced; nothing else is copied.

        Values are given in canonical layout in any float dtype and are stored in the layer's own
        dtype. Raises `ModelFileError` for an unknown name, a wrong shape, a value that is not
        finite (also after the cast), or a layer that is not replaceable.
        """
        ...


@dataclass(frozen=True)
class Payload:
    """Symbols that a watermark carries; a Symbol is a bit unless `alphabet` is larger.

    Attributes:
        symbols: Symbol values in 0 ... alphabet - 1, first Symbol first.
        alphabet: number of different Symbols.
    """

    symbols: tuple[int, ...]
    alphabet: int = 2

    def __post_init__(self) -> None:
        if not self.symbols:
            raise ConfigurationError("payload: expected at least one symbol, got none; give a text")
        if any(not 0 <= s < self.alphabet for s in self.symbols):
            raise ConfigurationError(
                f"payload: expected symbols from 0 to {self.alphabet - 1}, got another; correct it"
            )

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def from_bits(cls, bits: str | Sequence[int]) -> Payload:
        """The payload of a string of 0 and 1, or of a sequence of integers."""
        if isinstance(bits, str):
            if not re.fullmatch("[01]+", bits):
                raise ConfigurationError(
                    f"payload bits: expected a string of 0 and 1, got {bits[:40]!r}; correct it"
                )
            return cls(tuple(map(int, bits)))
        return cls(tuple(int(b) for b in bits))

    @classmethod
    def from_bytes(cls, data: bytes) -> Payload:
        """Eight Symbols a byte, most significant bit first."""
        return cls(tuple(int(b) for b in np.unpackbits(np.frombuffer(data, np.uint8))))

    @classmethod
    def from_hex(cls, digits: str) -> Payload:
        """Four Symbols a hexadecimal digit, most significant bit first."""
        if not re.fullmatch("[0-9a-fA-F]+", digits):
            raise ConfigurationError(
                f"payload: expected hexadecimal digits, got {digits[:40]!r}; correct it"
            )
        return cls(tuple(int(b) for d in digits for b in f"{int(d, 16):04b}"))

    @classmethod
    def from_text(cls, text: str) -> Payload:
        """The bits of a text in UTF-8."""
        return cls.from_bytes(text.encode())

    @classmethod
    def random(cls, size: int, rng: np.random.Generator) -> Payload:
        """Independent fair bits."""
        return cls(tuple(int(b) for b in rng.integers(0, 2, size)))

    @property
    def bits(self) -> str:
        """The Symbols as a string of digits (bits only for an alphabet of two)."""
        return "".join(map(str, self.symbols))

    @property
    def hex(self) -> str | None:
        """Hexadecimal digits, or None where the bits do not fill whole digits."""
        if self.alphabet != 2 or len(self) % 4:
            return None
        return "".join(f"{int(self.bits[i : i + 4], 2):x}" for i in range(0, len(self), 4))

    @property
    def text(self) -> str | None:
        """The printable UTF-8 text whose bits these are, or None where there is none."""
        if self.alphabet != 2 or len(self) % 8:
            return None
        data = bytes(int(self.bits[i : i + 8], 2) for i in range(0, len(self), 8))
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() else None

    def array(self) -> NDArray[np.int64]:
        """Symbols (size,) as integers."""
        return np.array(self.symbols, dtype=np.int64)

    def errors(self, other: Payload) -> int:
        """Number of Symbols that differ; raises `ConfigurationError` for another size."""
        if len(self) != len(other):
            raise ConfigurationError(
                f"payload: expected {len(self)} symbols, got {len(other)}; use the key it was "
                "injected with"
            )
        return int(np.count_nonzero(self.array() != other.array()))


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
        commitment: SHA-256 that binds secret, method, carriers and unmarked model (hex).
        payload: the injected payload, where the owner chose to keep it with the key.
        notes: plain words on how the carrier was chosen; not secret.
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
        confidence: for each Symbol the distance of its statistic from the decision, in standard
            deviations of the statistic under a random key (>= 0; 4 is certain, 0 is a guess).
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
        false_positive_rate: level of the decision.
        null: the null distribution, such as "Bin(64, 1/2)".
    """

    detected: bool
    statistic: int
    n: int
    p_value: float
    log10_p: float
    p_inverted: float
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


@dataclass(frozen=True)
class Parameter:
    """Parameter of a Modification: its Type and the range of Intensities in the standard.

    Attributes:
        letter: the letter of the reference software: S, P, R, B, ...
        meaning: what the Intensity measures.
        unit: "ratio", "%", "bits", ...
        low: smallest Intensity of the standard's table.
        high: largest one.
        high_single_layer: largest one where a single layer is aimed at, if that differs.
        stronger: "up" where a larger Intensity changes more, else "down".
    """

    letter: str
    meaning: str
    unit: str
    low: float
    high: float
    high_single_layer: float | None = None
    stronger: Literal["up", "down"] = "up"

    def outside_standard_range(self, intensity: float, *, single_layer: bool) -> bool:
        """Whether an Intensity is outside the range of the standard (a warning, never an error)."""
        high = self.high
        if single_layer and self.high_single_layer is not None:
            high = self.high_single_layer
        return not self.low <= intensity <= high


@runtime_checkable
class WeightModification(Protocol):
    """A Modification of weights without training: the plug-ins of `nnw_onnx.modifications`.

    A frozen dataclass with at least the field `intensity`; pure given the generator.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    number: ClassVar[int | None]
    parameter: ClassVar[Parameter]
    intensity: float

    def modify_weights(self, weights: Weights, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """New values of the given layers (canonical layout), in the order given.

        `weights` holds only the layers that the Modification is aimed at.
        """
        ...


@dataclass(frozen=True)
class Spec:
    """A plug-in by name with its options: what a record keeps of it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.options.items()))))

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v}" for k, v in sorted(self.options.items()))
        return f"{self.name}({inside})" if inside else self.name


@dataclass(frozen=True)
class Samples:
    """Labelled inputs of one split of a data set, before preprocessing.

    Attributes:
        inputs: (n, ...) array; images are (n, height, width, channels) of uint8 or float32.
        labels: (n,) class indices, int64.
        classes: names of the classes, in the order of their indices.
        fingerprint: SHA-256 (hex) of inputs and labels.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Consecutive (inputs, labels) of at most `size` samples."""
        for start in range(0, len(self), size):
            yield self.inputs[start : start + size], self.labels[start : start + size]


@runtime_checkable
class Dataset(Protocol):
    """A source of samples: the plug-ins of `nnw_onnx.datasets`; a frozen dataclass."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def load(self, split: str) -> Samples:
        """Samples of "train" or "test"; raises `DatasetError` where files are missing or broken."""
        ...


@dataclass(frozen=True)
class Quality:
    """Task quality of one network on one test set.

    Attributes:
        measures: name -> value, in the order to show; the first is the headline.
        correct: (n,) bool, whether each sample was answered rightly, for paired tests.
        chance: value of the headline measure that guessing reaches.
    """

    measures: Mapping[str, float]
    correct: NDArray[np.bool_]
    chance: float

    @property
    def headline(self) -> str:
        """Name of the headline measure."""
        return next(iter(self.measures))


@runtime_checkable
class Task(Protocol):
    """What quality means: the plug-ins of `nnw_onnx.tasks`; a frozen dataclass."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def quality(
        self, outputs: Sequence[NDArray[Any]], labels: NDArray[np.int64], classes: int
    ) -> Quality:
        """Quality of the network's outputs (one array per graph output, n samples first)."""
        ...
