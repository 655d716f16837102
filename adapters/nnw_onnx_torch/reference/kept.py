"""What a class keeps in its dictionary or in itself, as bytes that a key can hold: no pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import frames
from nnw_onnx.vocabulary import Array, Json
from nnw_onnx_torch.graph.dtypes import to_numpy

MOST_BYTES = 60 << 20
"""Of everything that is kept: a key file holds little more."""
_DEEPEST = 16
_KIND = "kind"


class NotKeptError(InferenceError):
    """A value that is no number, text, array or table of these."""


class _Writer:
    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def plain(self, value: object, where: str, depth: int = 0) -> Json:
        """A value as JSON, its arrays apart; raises `NotKeptError`."""
        if depth > _DEEPEST:
            raise NotKeptError(
                f"{where}: expected tables in tables less deep, got more; flatten it"
            )
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            # JSON has no infinity, and a float comes back the same from its own text.
            return {_KIND: "float", "value": repr(value)}
        if (found := _as_array(value)) is not None:
            return self._array(found[1], found[0])
        return self._inside(value, where, depth)

    def _inside(self, value: object, where: str, depth: int) -> Json:
        if isinstance(value, list | tuple):
            inside = [self.plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
            return {_KIND: "tuple" if isinstance(value, tuple) else "list", "value": inside}
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            table = {n: self.plain(v, f"{where}[{n!r}]", depth + 1) for n, v in value.items()}
            return {_KIND: "table", "value": table}
        raise NotKeptError(
            f"{where}: expected numbers, texts, arrays, tensors and tables of them, got "
            f"{type(value).__name__}; keep what it is made of"
        )

    def _array(self, values: Array, kind: str) -> Json:
        if values.dtype.kind not in "buif" or values.dtype.itemsize > 8:
            raise NotKeptError(
                f"{kind}: expected plain numbers, got {values.dtype}; convert it before it is kept"
            )
        name = str(len(self.arrays))
        self.arrays[name] = values
        return {_KIND: kind, "value": name}


def _as_array(value: object) -> tuple[str, Array] | None:
    """What a value of numbers is called, and its array; None for any other."""
    match value:
        case np.generic():
            return "scalar", np.asarray(value)
        case torch.Tensor():
            return "tensor", to_numpy(value.detach().to(_plain_type(value)))
        case np.ndarray():
            return "array", value
        case bytes():
            return "bytes", np.frombuffer(value, np.uint8)
    return None


def packed(tables: Mapping[str, Mapping[str, object]]) -> Array:
    """Named tables of values as bytes (n,) of uint8, the same for the same values.

    Raises:
        NotKeptError: a value that cannot be kept, or too many bytes of them.
    """
    writer, stream = _Writer(), io.BytesIO()
    told = {
        name: {k: writer.plain(v, f"{name}[{k!r}]") for k, v in table.items()}
        for name, table in tables.items()
    }
    frames.write(stream, told, writer.arrays)
    found = np.frombuffer(stream.getvalue(), np.uint8)
    if len(found) > MOST_BYTES:
        raise NotKeptError(
            f"dictionary: expected at most {MOST_BYTES >> 20} MiB to keep, got "
            f"{len(found) / (1 << 20):.0f}; keep less"
        )
    return found


def opened(data: Array) -> dict[str, dict[str, object]]:
    """The tables of `packed`, with arrays and tensors of their own memory."""
    told, arrays = frames.read(io.BytesIO(data.tobytes()), MOST_BYTES)
    return {
        name: {k: _value(v, arrays) for k, v in _table(table).items()}
        for name, table in told.items()
    }


def _value(told: Json, arrays: Mapping[str, Array]) -> object:
    if not isinstance(told, Mapping):
        return told
    kind, value = told[_KIND], told["value"]
    if kind == "float":
        return float(str(value))
    if kind == "table":
        return {name: _value(v, arrays) for name, v in _table(value).items()}
    if kind in ("list", "tuple"):
        inside = [_value(v, arrays) for v in (value if isinstance(value, list) else [])]
        return tuple(inside) if kind == "tuple" else inside
    return _made(str(kind), arrays[str(value)].copy())


def _made(kind: str, values: Array) -> object:
    if kind == "tensor":
        return torch.from_numpy(values)
    if kind == "bytes":
        return values.tobytes()
    found: Any = values
    return found[()] if kind == "scalar" else found


def _table(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise NotKeptError("dictionary: expected a table, got something else; make the key again")
    return value


def _plain_type(value: torch.Tensor) -> torch.dtype:
    """A type that numpy has: bfloat16 and smaller floats become float32, which holds them."""
    small = value.is_floating_point() and value.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    )
    return torch.float32 if small else value.dtype
