"""New values of tensors: what is more than memory should hold waits in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import IO, Any

import numpy as np

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.wire import Address
from nnw_onnx.vocabulary import Array

_KEPT = 1 << 28
"""Bytes of new values that stay in memory, beside those that came last."""
_SMALL = 1 << 16


@dataclass
class _Room:
    """A file without a name, which is gone once nobody reads from it."""

    stream: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    lock: Lock = field(default_factory=Lock)

    def put(self, values: Array) -> _Waiting:
        """Append values; they never change there."""
        with self.lock:
            offset = self.stream.seek(0, 2)
            self.stream.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
            self.stream.flush()
        return _Waiting(self, offset, values.dtype, values.shape)


@dataclass(frozen=True)
class _Waiting:
    """Values in a file."""

    room: _Room
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def array(self) -> Array:
        """The values, mapped for as long as somebody has them."""
        found = np.memmap(self.room.stream, self.dtype, "r", self.offset, self.shape)
        return np.asarray(found)


class Overlay(Mapping[Address, Array]):
    """Address of a tensor -> its new values in stored layout and type, read-only; a value."""

    def __init__(
        self, held: Mapping[Address, Array | _Waiting] | None = None, room: _Room | None = None
    ) -> None:
        self._held: Mapping[Address, Array | _Waiting] = dict(held or {})
        self._room = room

    @classmethod
    def of(cls, values: Mapping[Address, Array]) -> Overlay:
        """These values; of an overlay itself, so that nothing is read."""
        return values if isinstance(values, Overlay) else cls(values)

    def __getitem__(self, address: Address) -> Array:
        found = self._held[address]
        return found.array() if isinstance(found, _Waiting) else found

    def __iter__(self) -> Iterator[Address]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def with_values(self, new: Mapping[Address, Array]) -> Overlay:
        """The same with other values for some tensors.

        Raises:
            ModelFileError: the temporary folder has no room for those that came before.
        """
        before = {a: v for a, v in self._held.items() if a not in new}
        older = {a: v for a, v in before.items() if not isinstance(v, _Waiting)}
        held = sum(v.nbytes for v in (*older.values(), *new.values()))
        if held <= _KEPT or not older:
            return Overlay({**before, **new}, self._room)
        try:
            room = self._room or _Room()
            waiting = {a: room.put(v) for a, v in older.items() if v.nbytes >= _SMALL}
        except OSError as error:
            raise ModelFileError(
                f"weights: expected room for new weights in {tempfile.gettempdir()!r}, got "
                f"{error.strerror or error}; set TMPDIR to a folder with as much as the model takes"
            ) from error
        return Overlay({**before, **waiting, **new}, room)
