"""Running text as windows of token ids that are their own targets, for language models."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import shape_words
from nnw_onnx.kit.samples import ArraySamples, evenly, fingerprint
from nnw_onnx.kit.sources import check_size
from nnw_onnx.vocabulary import Array, Batch, Indices, Samples, TensorInfo

NOT_COUNTED = -1
"""Target of a token that fills up, or that an earlier window has told already."""

PAST = "past"
"""Names of inputs for keys and values of earlier tokens begin so; they are fed empty."""

_ID_BYTES = 8


class TokenWindows(Samples):
    """Windows (n, length) of documents; the last one of a document is filled up.

    Each window goes on where the one before ends, with `overlap` tokens of it again, which are
    there to be seen and are not counted. With an overlap of 1 every token but the first of a
    document is told once.

    A network is fed ids, a mask of the tokens that are of the text, and their places in the window,
    (n, length) each: those that it has inputs for. Inputs of keys and values of earlier tokens
    (`past...`) get empty ones.
    """

    def __init__(
        self,
        documents: Sequence[NDArray[Any]],
        *,
        length: int,
        overlap: int = 1,
        pad: int = 0,
        names: Sequence[str] = ("input_ids", "attention_mask", "position_ids"),
        limit: int | None = None,
    ) -> None:
        """Keep the documents (they are not copied).

        Args:
            documents: token ids (t,) of an integer type each; those of one token have no window.
            length: tokens of a window, at least 2.
            overlap: tokens that a window has in common with the one before, 1 to `length` - 1.
            pad: id that fills up.
            names: of the inputs that take ids, mask and places (one, two or three of them).
            limit: number of evenly spaced windows.

        Raises:
            ConfigurationError: an overlap that is not below the length.
            DatasetError: all windows would be larger than the limit.
        """
        if not 1 <= overlap < length:
            raise ConfigurationError(
                f"windows: expected an overlap from 1 to {length - 1} (one less than the length), "
                f"got {overlap}; correct the options overlap and length"
            )
        self._documents, self._length, self._overlap = documents, length, overlap
        self._pad, self._names = pad, tuple(names)
        counts = [_windows(len(tokens), length, overlap) for tokens in documents]
        self._ends = np.cumsum(np.array(counts, np.int64))
        self._places = evenly(int(self._ends[-1]) if counts else 0, limit)
        check_size("windows", (len(self._places), length, len(self._names)), _ID_BYTES)
        self._digest = ""
        self._ports: tuple[TensorInfo, ...] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the windows."""
        if not self._digest:
            words = f"{self._length} {self._overlap} {fingerprint(self._places)}"
            digest = hashlib.sha256(words.encode())
            for tokens in self._documents:
                digest.update(fingerprint(tokens).encode())
            self._digest = digest.hexdigest()
        return self._digest

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: Indices) -> Batch:
        """The windows at these places."""
        targets = np.stack([self._window(int(place)) for place in self._places[indices]])
        own = targets != NOT_COUNTED
        ids = np.where(own, targets, self._pad)
        places = np.broadcast_to(np.arange(self._length), ids.shape).copy()
        feeds = dict(zip(self._names, (ids, own.astype(np.int64), places), strict=False))
        again = (self._places[indices] != self._first(self._places[indices]))[:, np.newaxis]
        counted = np.where(again & (np.arange(self._length) < self._overlap), NOT_COUNTED, targets)
        if self._ports is None:
            return Batch(feeds, counted)
        return Batch(self._fed(feeds, self._ports), counted)

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same windows under the names and in the types of the inputs.

        Raises:
            ConfigurationError: an input has nothing, or takes windows of another length.
        """
        fixed = [p.shape[1] for p in inputs if len(p.shape) == 2 and isinstance(p.shape[1], int)]
        if fixed and fixed[0] != self._length:
            raise ConfigurationError(
                f"windows: expected windows of {fixed[0]} tokens, which the network takes, got "
                f"{self._length}; set the option length = {fixed[0]}"
            )
        made = copy.copy(self)
        made._digest, made._ports = self.digest, tuple(inputs)
        made.read(np.arange(1))  # what cannot fit is said here
        return made

    def _window(self, place: int) -> NDArray[np.int64]:
        """Tokens of one window, `NOT_COUNTED` behind the end of its document."""
        document = int(np.searchsorted(self._ends, place, side="right"))
        before = int(self._ends[document - 1]) if document else 0
        start = (place - before) * (self._length - self._overlap)
        tokens = self._documents[document][start : start + self._length]
        window = np.full(self._length, NOT_COUNTED, np.int64)
        window[: len(tokens)] = tokens
        return window

    def _first(self, places: Indices) -> Indices:
        """The first window of the document of each window."""
        documents = np.searchsorted(self._ends, places, side="right")
        starts: Indices = np.concatenate([[0], self._ends])[documents]
        return starts

    def _fed(self, feeds: Mapping[str, Array], ports: Sequence[TensorInfo]) -> dict[str, Array]:
        past = [port for port in ports if port.name.startswith(PAST)]
        rest = [port for port in ports if port not in past]
        count = len(next(iter(feeds.values())))
        fed = ArraySamples(feeds, np.zeros(count), digest="").fitted(rest).read(np.arange(count))
        return {**fed.feeds, **{port.name: _nothing(port, count) for port in past}}


def _windows(tokens: int, length: int, overlap: int) -> int:
    """Windows of a document of so many tokens: none where it has no token to be told."""
    if tokens < 2:
        return 0
    return 1 + -(-max(tokens - length, 0) // (length - overlap))


def _nothing(port: TensorInfo, count: int) -> Array:
    """Keys or values of no token for each of `count` samples.

    Where the samples are on a later axis, each is given with all axes, and is fed by itself.
    """
    free = [axis for axis, size in enumerate(port.shape) if not isinstance(size, int)]
    if not free:
        raise ConfigurationError(
            f"windows: expected an input {port.name!r} that takes any number of earlier tokens, "
            f"got the shape {shape_words(port.shape)}; export the network without its cache"
        )
    sizes = [0 if axis in free else int(size or 0) for axis, size in enumerate(port.shape)]
    if free[0] == 0:
        return np.zeros((count, *sizes[1:]), port.dtype)
    sizes[free[0]] = 1
    return np.zeros((count, *sizes), port.dtype)
