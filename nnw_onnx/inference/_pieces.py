"""Cutting samples into the pieces that a graph takes, with clear words where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnw_onnx.errors import InferenceError
from nnw_onnx.vocabulary import Array, Feeds, TensorInfo


@dataclass(frozen=True)
class Piece:
    """What is fed in one run.

    Attributes:
        feeds: graph input -> values.
        samples: how many the runtime is asked; of them `kept` are samples, the others fill up.
        kept: samples whose answers are kept.
    """

    feeds: dict[str, Array]
    samples: int
    kept: int


@dataclass(frozen=True)
class Pieces:
    """Samples cut into pieces, each made when it is asked for.

    Attributes:
        feeds: graph input -> its samples (n, ...).
        inputs: the graph inputs in the same order.
        size: samples of a piece.
        fixed: batch size that is fixed in the graph, or 0 where it is free.
        batched: inputs that have a batch axis; the others take one sample at a time.
    """

    feeds: Mapping[str, Array]
    inputs: tuple[TensorInfo, ...]
    size: int
    fixed: int
    batched: frozenset[str]

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def __iter__(self) -> Iterator[Piece]:
        for start in range(0, len(self), self.size):
            yield self.cut(start, min(start + self.size, len(self)))

    def cut(self, start: int, stop: int) -> Piece:
        """The samples from `start` to `stop` (not included)."""
        samples = self.fixed or stop - start
        feeds = {
            port.name: filled_up(converted(port, self.feeds[port.name][start:stop]), samples)
            for port in self.inputs
        }
        alone = {name: values[0, ...] for name, values in feeds.items() if name not in self.batched}
        return Piece({**feeds, **alone}, samples, stop - start)

    def twice(self) -> Piece:
        """The first sample two times."""
        feeds = {name: np.repeat(values[:1], 2, axis=0) for name, values in self.feeds.items()}
        return replace(self, feeds=feeds).cut(0, 2)

    def one_by_one(self) -> Pieces:
        """The same samples in pieces of one."""
        return replace(self, size=1)


def cut_up(inputs: Sequence[TensorInfo], feeds: Feeds | Array, batch_size: int) -> Pieces:
    """Samples as pieces for these inputs.

    Raises:
        InferenceError: there are not the right feeds, or their samples do not fit the inputs.
    """
    if batch_size < 1:
        raise InferenceError(f"batch size: expected at least 1, got {batch_size}; correct it")
    given = _matched(inputs, feeds)
    for port in inputs:
        _check_samples(port, given[port.name])
    batched = frozenset(p.name for p in inputs if not _takes_one(p, given[p.name]))
    fixed = _fixed_batch(p for p in inputs if p.name in batched)
    if len({len(values) for values in given.values()}) > 1:
        counts = ", ".join(f"{len(values)} for {name!r}" for name, values in given.items())
        raise InferenceError(
            f"feeds: expected the same number of samples for every input, got {counts}; give each "
            "sample all its inputs"
        )
    if len(batched) < len(inputs):
        if fixed > 1:
            raise InferenceError(
                f"model: expected a batch axis on every input or on none, got a batch of {fixed} "
                "for some only; export the network with a free batch axis"
            )
        return Pieces(given, tuple(inputs), 1, fixed, batched)
    return Pieces(given, tuple(inputs), fixed or batch_size, fixed, batched)


def converted(port: TensorInfo, piece: Array) -> Array:
    """The piece in the input's element type, refused where the conversion would lose values."""
    try:
        dtype = np.dtype(port.dtype)
    except TypeError as error:
        raise InferenceError(
            f"input {port.name!r}: expected an element type of numpy, got {port.dtype}; export "
            "the network with float32 inputs"
        ) from error
    if piece.dtype.kind in "cOSUmM":
        raise InferenceError(
            f"input {port.name!r}: expected real numbers, got {piece.dtype.name}; convert the data"
        )
    if dtype.kind in "iub" and piece.dtype != dtype and piece.size:
        _check_whole(port, piece, dtype)
    if dtype.kind == "f" and piece.dtype.kind in "iu" and piece.size:
        _check_exact(port, piece, dtype)
    with np.errstate(over="ignore"):
        result = piece.astype(dtype, copy=False)
    return np.ascontiguousarray(result)


def filled_up(piece: Array, size: int) -> Array:
    """The piece with its last sample repeated at the end, up to `size` samples."""
    lack = size - len(piece)
    return np.concatenate([piece, np.repeat(piece[-1:], lack, axis=0)]) if lack else piece


def joined(name: str, values: Sequence[Array], *, alone: bool) -> Array:
    """Answers of several runs as one array: one after another, or on a new axis where `alone`.

    Where each is to one sample and their shapes differ, as the boxes of a detector do, the array
    holds them as objects.

    Raises:
        InferenceError: answers to several samples, of different shapes.
    """
    if alone and len({v.shape for v in values}) > 1:
        apart = np.empty(len(values), np.object_)
        for place, value in enumerate(values):
            apart[place] = value
        return apart
    try:
        return np.stack(values) if alone else np.concatenate(values)
    except ValueError as error:
        shapes = sorted({shape_text(v.shape) for v in values})
        raise InferenceError(
            f"output {name!r}: expected answers of one shape, got {' and '.join(shapes[:2])}; "
            "export the network with outputs of a fixed size"
        ) from error


def shape_text(shape: Sequence[int | str | None]) -> str:
    """(batch, 3, 32, 32) as words; a free size is a name or "?"."""
    return "(" + ", ".join("?" if s is None else str(s) for s in shape) + ")"


def _matched(inputs: Sequence[TensorInfo], feeds: Feeds | Array) -> dict[str, Array]:
    """Feeds by graph input: by name, or by place where no name is that of an input."""
    wanted = [port.name for port in inputs]
    words = ", ".join(f"{p.name} {shape_text(p.shape)}" for p in inputs) or "none"
    if isinstance(feeds, np.ndarray):
        if len(inputs) != 1:
            raise InferenceError(
                f"model: expected one input without a default value, got {len(inputs)} ({words}); "
                "give values for each of them by name"
            )
        return {wanted[0]: feeds}
    by_name = any(name in feeds for name in wanted)
    if len(feeds) != len(wanted) or (by_name and set(feeds) != set(wanted)):
        raise InferenceError(
            f"feeds: expected values for {len(inputs)} inputs ({words}), got those for "
            f"{', '.join(feeds) or 'none'}; give each input of the network its values"
        )
    if not wanted:
        raise InferenceError("model: expected an input without a default value, got none; see it")
    if by_name:
        return {name: feeds[name] for name in wanted}
    return dict(zip(wanted, feeds.values(), strict=True))


def _takes_one(port: TensorInfo, values: Array) -> bool:
    """Whether the input has the axes of one sample: it lacks a batch axis."""
    return len(port.shape) == values.ndim - 1 and (bool(port.shape) or values.ndim == 1)


def _fixed_batch(inputs: Iterator[TensorInfo]) -> int:
    """The batch size that is fixed in the graph, or 0 where it is free."""
    sizes = {p.name: p.shape[0] for p in inputs if p.shape and isinstance(p.shape[0], int)}
    found = {int(size) for size in sizes.values() if isinstance(size, int)}
    if len(found) > 1:
        words = ", ".join(f"{size} for {name!r}" for name, size in sizes.items())
        raise InferenceError(
            f"model: expected one batch size for all inputs, got {words}; export the network with "
            "a free batch axis"
        )
    return found.pop() if found else 0


def _check_samples(port: TensorInfo, values: Array) -> None:
    """Refuse samples that cannot fit the input, before the runtime says so in its own words."""
    if values.ndim == 0 or len(values) == 0:
        raise InferenceError(
            f"input {port.name!r}: expected at least one sample, got none; "
            "check the data set and its limit"
        )
    one = _takes_one(port, values)
    known = bool(port.shape) or one
    sizes = list(zip(port.shape[0 if one else 1 :], values.shape[1:], strict=False))
    same_rank = one or len(port.shape) == values.ndim
    fits = same_rank and all(want == have for want, have in sizes if isinstance(want, int))
    if known and (not fits or (not one and port.shape[0] == 0)):
        raise InferenceError(
            f"input {port.name!r}: expected samples of shape {shape_text(port.shape)}, got "
            f"{shape_text(values.shape)}; set layout, resize and channels of the preprocessing"
        )


def _check_whole(port: TensorInfo, piece: Array, dtype: np.dtype[Any]) -> None:
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    whole = piece.dtype.kind in "iub" or bool(np.all(piece == np.rint(piece)))
    if not whole or piece.min() < low or piece.max() > high:
        raise InferenceError(
            f"input {port.name!r}: expected whole numbers from {low} to {high} ({dtype.name}), "
            f"got {piece.dtype.name} values from {piece.min():.6g} to {piece.max():.6g}; set the "
            "scale of the preprocessing to 1 and no mean and std"
        )


def _check_exact(port: TensorInfo, piece: Array, dtype: np.dtype[Any]) -> None:
    most = 2 ** (np.finfo(dtype).nmant + 1)
    if max(abs(int(piece.min())), abs(int(piece.max()))) > most:
        raise InferenceError(
            f"input {port.name!r}: expected whole numbers up to {most}, which {dtype.name} holds, "
            f"got {piece.dtype.name} values from {piece.min()} to {piece.max()}; scale the data"
        )
