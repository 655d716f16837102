"""What a runtime needs: the graph as bytes, and its weights as arrays beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from numpy.typing import NDArray
from onnx import TensorProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.files import ModelFile, resolve
from nnw_onnx.graph.tensors import DATA_FIELD_NAMES, STRIP_ABOVE, StoredTensor, numpy_dtype
from nnw_onnx.graph.wire import Address

LOCATION = "weights"
_NATIVE = "biuf"
_EMBED_BELOW = 1 << 28


@dataclass(frozen=True)
class Runnable:
    """A model ready for a session.

    Attributes:
        model: the serialized graph; large initializers are marked external in it.
        initializers: name -> values of exactly those initializers, in stored layout and type, for
            `SessionOptions.add_external_initializers` (which must see all of them).
        folder: where the runtime finds data files that are still needed, or None.
    """

    model: bytes
    initializers: Mapping[str, NDArray[Any]]
    folder: Path | None = None


def make_runnable(file: ModelFile, replaced: Mapping[Address, NDArray[Any]]) -> Runnable:
    """The model with its replaced weights; raises `ModelFileError` beyond protobuf's 2 GiB."""
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    initializers: dict[str, NDArray[Any]] = {}
    folder = None
    for tensor in file.tensors.values():
        message = resolve(proto, tensor.address)
        values = replaced.get(tensor.address)
        if _detachable(tensor):
            array = tensor.array() if values is None else values
            initializers[tensor.name] = np.require(array, requirements=["C", "A"])
            _mark_external(message, tensor)
        elif values is not None:
            _embed(message, tensor, values.tobytes())
        elif _must_stay_outside(tensor):
            folder = file.folder
        elif tensor.external is not None or tensor.stripped:
            _embed(message, tensor, bytes(tensor.raw()))
    return Runnable(_serialized(proto), initializers, folder)


def _detachable(tensor: StoredTensor) -> bool:
    """Whether the runtime takes this tensor as an array: a large initializer of the main graph."""
    return (
        len(tensor.address) == 2
        and tensor.address[1][0] == "initializer"
        and tensor.nbytes >= STRIP_ABOVE
        and tensor.data_type != TensorProto.STRING
        and numpy_dtype(tensor.data_type).kind in _NATIVE
    )


def _must_stay_outside(tensor: StoredTensor) -> bool:
    return tensor.external is not None and tensor.nbytes >= _EMBED_BELOW


def _mark_external(message: Any, tensor: StoredTensor) -> None:
    _clear(message)
    message.data_location = TensorProto.EXTERNAL
    for key, value in (("location", LOCATION), ("offset", "0"), ("length", str(tensor.nbytes))):
        message.external_data.add(key=key, value=value)


def _embed(message: Any, tensor: StoredTensor, values: bytes) -> None:
    if tensor.is_floats:
        del message.floats[:]
        message.floats.extend(np.frombuffer(values, "<f4").tolist())
        return
    _clear(message)
    message.data_location = TensorProto.DEFAULT
    message.raw_data = values


def _clear(message: Any) -> None:
    for name in (*DATA_FIELD_NAMES, "external_data"):
        message.ClearField(name)


def _serialized(proto: Any) -> bytes:
    try:
        data: bytes = proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelFileError(
            "model: expected a graph below 2 GiB without its large weights, got more; store its "
            "constants as initializers"
        ) from error
    return data
