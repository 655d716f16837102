"""Reed-Solomon codes over bytes, by reedsolo: for errors in bursts, with erasures where unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Code, Payload

_WORD = 255


class _Codec(Protocol):
    """As much of reedsolo's RSCodec as is used."""

    def encode(self, data: bytes) -> bytearray:
        """The data with check bytes."""
        ...

    def decode(
        self, data: bytes, *, erase_pos: Sequence[int]
    ) -> tuple[bytearray, bytearray, bytearray]:
        """Data, data with check bytes, and places that were wrong."""
        ...


@dataclass(frozen=True)
class ReedSolomon(Code):
    """Bytes of the payload (the last one filled with zeros) and `parity` more for each word.

    A word has at most 255 bytes; a longer payload takes several of about the same length, and their
    bytes alternate. Any parity / 2 wrong bytes of a word are corrected, and twice as many where it
    is known which. Where confidence differs, up to parity / 2 of the least sure bytes are erased,
    two more at a time, and of the words found the one nearest to what was read, weighted by
    confidence, is taken (after Forney, "Generalized Minimum Distance Decoding", 1966). The other
    half of the check bytes is left to tell that a word is beyond correction.
    """

    name = "reed-solomon"
    summary = "Reed-Solomon over bytes: wrong bytes, and twice as many unsure ones (reedsolo)"

    parity: Annotated[int, Ge(2), Le(200)] = option(
        16, help="check bytes of a word; half as many wrong bytes are corrected"
    )

    def length(self, size: int) -> int:
        """Eight bits for each byte of payload and check bytes."""
        return 8 * sum(self._words(size)) + 8 * self.parity * len(self._words(size))

    def encode(self, payload: Payload) -> Payload:
        """The words, byte by byte in turn."""
        data = np.packbits(payload.array().astype(np.uint8))
        codec, words, start = self._codec(), [], 0
        for count in self._words(len(payload)):
            words.append(bytes(codec.encode(data[start : start + count].tobytes())))
            start += count
        return Payload.from_bytes(bytes(_alternating(words)))

    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        """The payload; None where a word is beyond correction, or the filling is not zero."""
        data = np.packbits(read.array().astype(np.uint8))
        sure = np.array(confidence, np.float64).reshape(-1, 8)
        found = bytearray()
        for places in _places([n + self.parity for n in self._words(size)]):
            word = self._decoded(data[places], sure[places])
            if word is None:
                return None
            found += word
        bits = Payload.from_bytes(bytes(found)).symbols
        return None if any(bits[size:]) else Payload(bits[:size])

    def _decoded(self, word: NDArray[np.uint8], sure: NDArray[np.float64]) -> bytes | None:
        """The payload bytes of one word, or None."""
        weakest = np.argsort(sure.min(axis=1), kind="stable")
        most = self.parity // 2 if np.ptp(sure) > 0 else 0
        best: tuple[float, bytes] | None = None
        for erased in range(0, most + 1, 2):
            whole = self._corrected(word, sorted(weakest[:erased].tolist()))
            if whole is None:
                continue
            wrong = np.unpackbits(np.frombuffer(whole, np.uint8) ^ word).reshape(-1, 8)
            # Of equal ones the first, which trusts what was read most.
            if best is None or float((wrong * sure).sum()) < best[0]:
                best = float((wrong * sure).sum()), whole
        return None if best is None else best[1][: len(word) - self.parity]

    def _corrected(self, word: NDArray[np.uint8], erased: Sequence[int]) -> bytes | None:
        from reedsolo import ReedSolomonError

        try:
            return bytes(self._codec().decode(word.tobytes(), erase_pos=list(erased))[1])
        except ReedSolomonError:
            return None

    def _codec(self) -> _Codec:
        from reedsolo import RSCodec

        codec: _Codec = RSCodec(self.parity, nsize=_WORD)
        return codec

    def _words(self, size: int) -> list[int]:
        """Payload bytes of each word, as equal as can be."""
        total = max(1, -(-size // 8))
        count = -(-total // (_WORD - self.parity))
        return [total // count + (i < total % count) for i in range(count)]


def _places(lengths: Sequence[int]) -> list[list[int]]:
    """For each word the places of its bytes, when words of these lengths take turns."""
    places: list[list[int]] = [[] for _ in lengths]
    turns = [i for k in range(max(lengths)) for i, n in enumerate(lengths) if k < n]
    for place, word in enumerate(turns):
        places[word].append(place)
    return places


def _alternating(words: Sequence[bytes]) -> list[int]:
    """The bytes of the words in turn."""
    taken = [0] * sum(map(len, words))
    for word, places in zip(words, _places([len(w) for w in words]), strict=True):
        for place, byte in zip(places, word, strict=True):
            taken[place] = byte
    return taken
