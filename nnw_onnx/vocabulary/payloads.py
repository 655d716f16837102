"""What a watermark carries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError


@dataclass(frozen=True)
class Payload:
    """Symbols that a watermark carries; a Symbol is a bit unless `alphabet` is larger.

    It is empty for a method that only says that it is there.

    Attributes:
        symbols: Symbol values in 0 ... alphabet - 1, first Symbol first.
        alphabet: number of different Symbols.
    """

    symbols: tuple[int, ...] = ()
    alphabet: int = 2

    def __post_init__(self) -> None:
        if any(not 0 <= s < self.alphabet for s in self.symbols):
            raise ConfigurationError(
                f"payload: expected symbols from 0 to {self.alphabet - 1}, got another; correct it"
            )

    def __repr__(self) -> str:
        """Short, and Python where nothing is cut off."""
        for door, form in (("from_text", self.text), ("from_hex", self.hex)):
            if form:
                return f"Payload.{door}({_cut(form)!r})"
        if self.alphabet == 2 and self.symbols:
            return f"Payload.from_bits({_cut(self.bits)!r})"
        symbols = _cut(", ".join(map(str, self.symbols)))
        return f"Payload(({symbols}), alphabet={self.alphabet})" if symbols else "Payload()"

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
        try:
            return cls.from_bytes(text.encode())
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"payload: expected a text that UTF-8 can hold, got {text[:40]!r}; "
                "give it as hexadecimal digits"
            ) from error

    @classmethod
    def of(cls, given: Payload | str) -> Payload:
        """What somebody gave: a payload as it is, or the bits of a text.

        Raises:
            ConfigurationError: anything else.
        """
        if isinstance(given, str):
            return cls.from_text(given)
        if isinstance(given, cls):
            return given
        raise ConfigurationError(
            f"payload: expected a text or a Payload, got {type(given).__name__}; make one, such as "
            "nnw_onnx.Payload.from_hex"
        )

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
        bits = self.bits
        return "".join(f"{int(bits[i : i + 4], 2):x}" for i in range(0, len(bits), 4))

    @property
    def text(self) -> str | None:
        """The printable UTF-8 text whose bits these are, or None where there is none."""
        if self.alphabet != 2 or len(self) % 8:
            return None
        data = np.packbits(self.array().astype(np.uint8)).tobytes()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() else None

    def packed(self, alphabet: int) -> Payload:
        """These bits as the fewest Symbols of an alphabet: one number, most significant first.

        Raises:
            ConfigurationError: this is no payload of bits, or the alphabet has no two Symbols.
        """
        if self.alphabet != 2 or alphabet < 2:
            raise ConfigurationError(
                f"payload: expected bits for an alphabet of at least 2, got an alphabet of "
                f"{self.alphabet} for one of {alphabet}; give the payload as bits"
            )
        number = int(self.bits or "0", 2)
        return Payload(_digits(number, alphabet, symbols_for(len(self), alphabet)), alphabet)

    def unpacked(self, size: int) -> Payload:
        """The `size` bits whose `packed` form this is; a number too large keeps its lowest bits."""
        number = 0
        for symbol in self.symbols:
            number = number * self.alphabet + symbol
        return Payload(_digits(number & ((1 << size) - 1), 2, size))

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


def symbols_for(bits: int, alphabet: int) -> int:
    """The fewest Symbols of an alphabet (>= 2) that tell 2^bits payloads apart."""
    count, reach = 0, 1
    while reach < 1 << bits:
        count, reach = count + 1, reach * alphabet
    return count


def _digits(number: int, base: int, count: int) -> tuple[int, ...]:
    found = []
    for _ in range(count):
        number, digit = divmod(number, base)
        found.append(digit)
    return tuple(reversed(found))


def _cut(text: str, length: int = 40) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
