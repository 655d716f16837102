"""How tensors outside the .onnx file lie in a data file: pieces in the order of the old files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.graph import copying, wire
from nnw_onnx.graph.files import ModelFile
from nnw_onnx.graph.tensors import External
from nnw_onnx.graph.wire import Address

_ALIGNMENT = 4096

Changed = Mapping[Address, Callable[[], wire.Buffer]]
"""What gives the new bytes of the tensors whose values differ from those of the file."""


@dataclass
class Piece:
    """Bytes that go to the data file in one piece, and the tensors that lie in them.

    Attributes:
        start: where the first of them was in its file; they keep their place within a page.
        size: number of bytes.
        source: the new bytes, or the data file where they stay what they were.
        tensors: address -> first byte within the piece.
        offset: first byte in the new file.
    """

    start: int
    size: int
    source: Callable[[], wire.Buffer] | External
    tensors: dict[Address, int]
    offset: int = 0


def outside(file: ModelFile) -> dict[Address, External]:
    """The tensors that lie outside the .onnx file, and where."""
    return {a: t.external for a, t in file.tensors.items() if t.external is not None}


def placed(moving: Mapping[Address, External], changed: Changed) -> list[Piece]:
    """What the data file holds of some tensors: as far into a page as before, for who maps it."""
    end, found = 0, _pieces(moving, changed)
    for piece in found:
        # Nothing is written for an empty one, so the file may end before an aligned place.
        piece.offset = end + (piece.start - end) % _ALIGNMENT if piece.size else end
        end = piece.offset + piece.size
    return found


def source(piece: Piece) -> copying.Source:
    """What the bytes of a piece are copied from."""
    if isinstance(piece.source, External):
        return copying.Range(piece.source, piece.start, piece.size)
    return piece.source


def _pieces(moving: Mapping[Address, External], changed: Changed) -> list[Piece]:
    """The pieces without their offsets, in the order of the old files; what is shared stays so."""
    shared = _overlapping(moving)
    found: list[Piece] = []
    apart: list[Piece] = []
    last, end = Path(), 0
    for address, place in _in_order(moving):
        values, stop = changed.get(address), place.offset + place.length
        if values is not None:
            # Who shares the old bytes still reads those.
            kept, start = (apart, 0) if address in shared else (found, place.offset)
            kept.append(Piece(start, place.length, values, {address: 0}))
        elif place.path == last and place.offset < end:
            found[-1].tensors[address] = place.offset - found[-1].start
            end = max(stop, end)
            found[-1].size = end - found[-1].start
        else:
            found.append(Piece(place.offset, place.length, place, {address: 0}))
            last, end = place.path, stop
    return found + apart


def _overlapping(places: Mapping[Address, External]) -> set[Address]:
    """Tensors whose bytes are also those of another tensor."""
    shared: set[Address] = set()
    last: tuple[Path, int, Address] | None = None
    for address, place in _in_order(places):
        stop = place.offset + place.length
        if last is not None and last[0] == place.path and place.offset < last[1]:
            shared |= {address, last[2]}
        if last is None or last[0] != place.path or stop > last[1]:
            last = place.path, stop, address
    return shared


def _in_order(places: Mapping[Address, External]) -> list[tuple[Address, External]]:
    return sorted(places.items(), key=lambda item: (str(item[1].path), item[1].offset, item[0]))
