"""Cutting samples into the pieces that a graph takes, with clear words where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import InferenceError


class Port(Protocol):
    """An input of a graph: see `nnw_onnx.inference.sessions.TensorInfo`."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | str | None, ...]: ...
    @property
    def dtype(self) -> str: ...


P = TypeVar("P", bound=Port)


def only_input(inputs: Sequence[P]) -> P:
    """The input that takes the samples."""
    if len(inputs) != 1:
        names = ", ".join(f"{i.name} {shape_text(i.shape)}" for i in inputs) or "none"
        raise InferenceError(
            f"model: expected one input without a default value, got {len(inputs)} ({names}); "
            "give the others a default value in the file"
        )
    return inputs[0]


def fixed_batch(info: Port) -> int:
    """The batch size that is fixed in the graph, or 0 where it is free."""
    first = info.shape[0] if info.shape else None
    return first if isinstance(first, int) else 0


def check_samples(info: Port, inputs: NDArray[Any], batch_size: int) -> None:
    """Refuse samples that cannot fit the input, before the runtime says so in its own words."""
    if batch_size < 1:
        raise InferenceError(f"batch size: expected at least 1, got {batch_size}; correct it")
    if inputs.ndim == 0 or len(inputs) == 0:
        raise InferenceError(
            f"input {info.name!r}: expected at least one sample, got none; "
            "check the data set and its limit"
        )
    free = zip(info.shape[1:], inputs.shape[1:], strict=False)
    fits = len(info.shape) == inputs.ndim and all(
        want == have for want, have in free if isinstance(want, int)
    )
    if not fits or info.shape[0] == 0:
        raise InferenceError(
            f"input {info.name!r}: expected samples of shape {shape_text(info.shape)}, got "
            f"{shape_text(inputs.shape)}; set layout, resize and channels of the preprocessing"
        )


def converted(info: Port, piece: NDArray[Any]) -> NDArray[Any]:
    """The piece in the input's element type, refused where the conversion would lose values."""
    try:
        dtype = np.dtype(info.dtype)
    except TypeError as error:
        raise InferenceError(
            f"input {info.name!r}: expected an element type of numpy, got {info.dtype}; export "
            "the network with float32 inputs"
        ) from error
    if dtype.kind in "iub" and piece.dtype != dtype:
        _check_whole(info, piece, dtype)
    with np.errstate(over="ignore"):
        result = piece.astype(dtype, copy=False)
    return np.ascontiguousarray(result)


def filled_up(piece: NDArray[Any], size: int) -> NDArray[Any]:
    """The piece repeated at its end to `size` samples."""
    lack = size - len(piece)
    return np.concatenate([piece, np.repeat(piece[-1:], lack, axis=0)]) if lack else piece


def check_batch_axis(name: str, value: NDArray[Any], samples: int) -> None:
    """Refuse an output that does not answer each sample."""
    if value.ndim == 0 or len(value) != samples:
        raise InferenceError(
            f"output {name!r}: expected {samples} answers for {samples} samples on its first "
            f"axis, got shape {shape_text(value.shape)}; export the network with a batch axis, or "
            "use batch size 1"
        )


def shape_text(shape: Sequence[int | str | None]) -> str:
    """(batch, 3, 32, 32) as words; a free size is a name or "?"."""
    return "(" + ", ".join("?" if s is None else str(s) for s in shape) + ")"


def _check_whole(info: Port, piece: NDArray[Any], dtype: np.dtype[Any]) -> None:
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    whole = piece.dtype.kind in "iub" or bool(np.all(piece == np.rint(piece)))
    if not whole or piece.min() < low or piece.max() > high:
        raise InferenceError(
            f"input {info.name!r}: expected whole numbers from {low} to {high} ({dtype.name}), "
            f"got {piece.dtype.name} values from {piece.min():.6g} to {piece.max():.6g}; set the "
            "scale of the preprocessing to 1 and no mean and std"
        )
