"""Networks that are in memory and in no file: what exporters return, as the bytes of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import ModelProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph.files import Limits, ModelFile, from_bytes
from nnw_onnx.graph.tensors import one_line

if TYPE_CHECKING:
    import onnx_ir

PLACE = Path("network in memory")
"""What stands in messages where a file would be named."""


class Exported(Protocol):
    """What `torch.onnx.export(..., dynamo=True)` returns: torch's ONNXProgram."""

    @property
    def model(self) -> onnx_ir.Model:
        """The network as onnx_ir has it."""
        ...


InMemory: TypeAlias = (
    "ModelProto | bytes | bytearray | memoryview | onnx_ir.Model | Exported | "
    "tuple[ModelProto, object]"
)
"""A network that is in no file; a tuple is what tf2onnx returns."""


def serialized(given: object) -> bytes | None:
    """The bytes of a network in memory as they are now, or None where it is something else.

    Raises:
        ModelFileError: it is one, and cannot be written as one message of protobuf.
    """
    match given:
        case bytes():
            return given
        case bytearray() | memoryview():
            return bytes(given)
        case ModelProto():
            return _written(given)
        case (ModelProto() as first, None):
            return _written(first)
        case (ModelProto(), _):
            raise _too_large("one with values beside it")
    return _of_a_framework(given)


def _of_a_framework(given: Any) -> bytes | None:
    # Told by names, because a package that a user does not have cannot be imported to ask.
    kinds = {(base.__module__.partition(".")[0], base.__qualname__) for base in type(given).__mro__}
    if ("torch", "ONNXProgram") in kinds:
        return _written(_proto_of(given.model))
    return _written(_proto_of(given)) if ("onnx_ir", "Model") in kinds else None


def _proto_of(model: onnx_ir.Model) -> ModelProto:
    import onnx_ir

    try:
        return onnx_ir.to_proto(model)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise ModelFileError(
            f"model: expected an onnx_ir.Model that can be written, got {one_line(error)}; save it "
            "to see what it lacks"
        ) from error


def _written(proto: ModelProto) -> bytes:
    try:
        data: bytes = proto.SerializeToString()
    except EncodeError as error:
        raise _too_large("one that protobuf does not write") from error
    return data


def _too_large(got: str) -> ModelFileError:
    return ModelFileError(
        f"model: expected a network in memory below 2 GiB, got {got}; save it with external data "
        "(onnx.save, or save of what made it) and give the file"
    )


def open_bytes(data: bytes, limits: Limits) -> ModelFile:
    """Validate the bytes of a model as untrusted input; external data it has none.

    Raises:
        ModelFileError: one line, as for a file.
    """
    got = None
    if not data:
        got = "an empty one"
    elif len(data) > limits.file_bytes:
        got = f"{len(data)} bytes, more than {limits.file_bytes}"
    if got is not None:
        raise ModelFileError(
            f"model: expected a network in memory, got {got}; give what the exporter returned, or "
            "a file"
        )
    return from_bytes(PLACE, None, memoryview(data), limits)
