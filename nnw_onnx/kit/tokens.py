"""Texts as token ids: bytes, or the pieces of words of a vocabulary (WordPiece)."""

from __future__ import annotations

import copy
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.samples import ArraySamples, fingerprint
from nnw_onnx.kit.sources import check_size
from nnw_onnx.vocabulary import Array, Batch, Indices, Json, Samples, TensorInfo

MAX_VOCABULARY = 10_000_000
"""Most tokens that a vocabulary may have."""

_LONGEST_WORD = 100
_KNOWN_WORDS = 1 << 16
_ID_BYTES = 8


class Tokenizer(Protocol):
    """From one text to ids.

    Attributes:
        pad: id that fills up a shorter text.
    """

    @property
    def pad(self) -> int:
        """Id that fills up a shorter text."""
        ...

    def encode(self, text: bytes, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ids (length,), and which of them are of the text."""
        ...


@dataclass(frozen=True)
class ByteTokens:
    """Each byte is a token.

    Attributes:
        offset: id of byte 0.
        pad: id that fills up a shorter text.
        keep: of a longer text "head", its beginning; "ends" fills one half with the beginning,
            padded after it, and one with the end, padded before it, also of a short text.
    """

    offset: int = 0
    pad: int = 0
    keep: Literal["head", "ends"] = "head"

    def encode(self, text: bytes, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ids (length,), and which of them are of the text."""
        ids, own = np.full(length, self.pad, np.int64), np.zeros(length, np.bool_)
        half = length if self.keep == "head" else length // 2
        head = np.frombuffer(text[:half], np.uint8).astype(np.int64) + self.offset
        ids[: len(head)], own[: len(head)] = head, True
        if self.keep == "ends" and text and length > half:
            tail = np.frombuffer(text[-(length - half) :], np.uint8).astype(np.int64) + self.offset
            ids[-len(tail) :], own[-len(tail) :] = tail, True
        return ids, own


class WordPiece:
    """The pieces of words that BERT and its kin take (Wu et al. 2016; Devlin et al. 2019).

    A text is cleaned, cut at white space and around punctuation and Chinese characters, and each
    word into the longest pieces of the vocabulary from left to right; "##" marks those that go on.
    A word that cannot be cut so is unknown as a whole.
    """

    def __init__(self, tokens: Iterable[str], *, lowercase: bool = True, title: str = "") -> None:
        """Read a vocabulary.

        Args:
            tokens: in the order of their ids, as the lines of a file `vocab.txt`.
            lowercase: whether words are made small and lose their accents ("uncased").
            title: of the file, for messages.

        Raises:
            DatasetError: one of [PAD], [UNK], [CLS] and [SEP] is missing.
        """
        self._ids = {token: i for i, token in enumerate(tokens)}
        self._lowercase = lowercase
        missing = [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if t not in self._ids]
        if missing:
            raise DatasetError(
                f"{title or 'vocabulary'}: expected one token a line, [PAD], [UNK], [CLS] and "
                f"[SEP] among them, got none of {', '.join(missing)}; give the file vocab.txt of "
                "the network"
            )
        self.pad = self._ids["[PAD]"]
        self._known: dict[str, tuple[int, ...]] = {}

    def encode(self, text: bytes, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """[CLS], the pieces and [SEP], cut or filled up to (length,); which are of the text."""
        room = max(length - 2, 0)
        pieces = self.pieces(text.decode("utf-8", "replace"))[:room]
        found = [self._ids["[CLS]"], *pieces, self._ids["[SEP]"]][:length]
        ids = np.full(length, self.pad, np.int64)
        ids[: len(found)] = found
        return ids, np.arange(length) < len(found)

    def pieces(self, text: str) -> list[int]:
        """Ids of a text, without [CLS] and [SEP]."""
        return [i for word in _words(_cleaned(text), self._lowercase) for i in self._word(word)]

    def _word(self, word: str) -> tuple[int, ...]:
        found = self._known.get(word)
        if found is None:
            found = self._pieces(word)
            if len(self._known) < _KNOWN_WORDS:
                self._known[word] = found
        return found

    def _pieces(self, word: str) -> tuple[int, ...]:
        unknown = (self._ids["[UNK]"],)
        if len(word) > _LONGEST_WORD:
            return unknown
        found: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            stops = range(len(word), start, -1)
            stop = next((e for e in stops if mark + word[start:e] in self._ids), None)
            if stop is None:
                return unknown
            found.append(self._ids[mark + word[start:stop]])
            start = stop
        return tuple(found)


class TextSamples(Samples):
    """Texts as token ids (n, length), with a mask of those that are of the text, and types of 0.

    The length is that of the network where it is fixed.
    """

    def __init__(
        self,
        texts: Sequence[bytes],
        targets: Array,
        tokenizer: Tokenizer,
        facts: Mapping[str, Json] | None = None,
        *,
        length: int = 128,
        names: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    ) -> None:
        """Keep texts and targets.

        Args:
            texts: in UTF-8, or any bytes for `ByteTokens`.
            targets: n of them.
            tokenizer: makes ids of a text.
            facts: see `Samples.facts`.
            length: tokens of a text where the network takes any number.
            names: of the inputs that take ids, mask and types (one, two or three of them).

        Raises:
            DatasetError: all ids would be larger than the limit.
        """
        self._texts, self._targets, self._tokenizer = texts, targets, tokenizer
        self._facts, self._names, self._length = dict(facts or {}), tuple(names), length
        self._digest = ""
        self._arrays: ArraySamples | None = None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of texts and targets, before they become ids."""
        if not self._digest:
            digest = hashlib.sha256(fingerprint(np.asarray(self._targets)).encode())
            for text in self._texts:
                digest.update(len(text).to_bytes(8, "little") + text)
            self._digest = digest.hexdigest()
        return self._digest

    @property
    def facts(self) -> Mapping[str, Json]:
        """See `Samples.facts`."""
        return self._facts

    def __len__(self) -> int:
        return len(self._texts)

    def read(self, indices: Indices) -> Batch:
        """The texts at these places."""
        if self._arrays is None:
            self._arrays = self._encoded(self._length)
        return self._arrays.read(indices)

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same texts, of the length and under the names that a network takes.

        Raises:
            ConfigurationError: it has inputs for which there is nothing.
        """
        fixed = [p.shape[1] for p in inputs if len(p.shape) == 2 and isinstance(p.shape[1], int)]
        made = copy.copy(self)
        made._digest, made._length = self.digest, fixed[0] if fixed else self._length
        if made._length != self._length or self._arrays is None:
            made._arrays = made._encoded(made._length)
        assert made._arrays is not None
        made._arrays = made._arrays.fitted(inputs)
        return made

    def _encoded(self, length: int) -> ArraySamples:
        check_size("texts", (len(self._texts), length, len(self._names)), _ID_BYTES)
        pairs = [self._tokenizer.encode(text, length) for text in self._texts]
        ids, own = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        arrays = (ids, own.astype(np.int64), np.zeros_like(ids))
        feeds = dict(zip(self._names, arrays, strict=False))
        return ArraySamples(feeds, self._targets, digest=self.digest)


def _cleaned(text: str) -> str:
    """Without control characters, every white space a space, Chinese characters set apart."""
    kept = []
    for char in text:
        if char in "\t\n\r" or unicodedata.category(char) == "Zs":
            kept.append(" ")
        elif char not in "\0\ufffd" and not unicodedata.category(char).startswith("C"):
            kept.append(f" {char} " if _is_chinese(ord(char)) else char)
    return "".join(kept)


def _words(text: str, lowercase: bool) -> Iterable[str]:
    if lowercase:
        # Sign by sign, so that a sigma is the same at the end of a word, as in `tokenizers`.
        plain = unicodedata.normalize("NFD", "".join(c.lower() for c in text))
        text = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in text)
    return spaced.split()


def _is_punctuation(char: str) -> bool:
    """Whether BERT cuts here: what Unicode calls punctuation, and all other ASCII signs."""
    sign = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return sign or unicodedata.category(char).startswith("P")


def _is_chinese(code: int) -> bool:
    return any(low <= code <= high for low, high in _CHINESE)


_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Blocks of Unicode whose characters are words of their own in BERT's vocabularies."""
