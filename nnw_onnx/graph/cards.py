"""What a model says of itself: texts written into its bytes, and nothing else of them changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from onnx import StringStringEntryProto

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import wire
from nnw_onnx.graph.files import Limits, ModelFile, from_bytes

_METADATA = 14
"""Number of the field `metadata_props` of a model."""


def with_entries(file: ModelFile, entries: Mapping[str, str], prefix: str) -> ModelFile:
    """The same model with these texts on its card, in the place of all whose key begins so.

    Args:
        file: the model.
        entries: key -> text; each key begins with the prefix.
        prefix: of the keys that are replaced.

    Raises:
        ModelFileError: there is no room for them below 2 GiB.
    """
    # A key may be there once: onnx.checker refuses a model with two of the same.
    kept = b"".join(_without(file, prefix))
    added = [StringStringEntryProto(key=k, value=v) for k, v in entries.items()]
    body = [wire.length_field(_METADATA, entry.SerializeToString()) for entry in added]
    model = b"".join((kept, *body))
    if len(model) > Limits.file_bytes:
        raise ModelFileError(
            f"metadata: expected room for {sum(map(len, body))} bytes in a file of at most "
            f"{Limits.file_bytes}, got none; store the weights as external data"
        )
    made = from_bytes(file.path, file.folder, memoryview(model), Limits(hard_links=True))
    return dataclasses.replace(made, keep=file.keep)


def _without(file: ModelFile, prefix: str) -> Iterator[wire.Buffer]:
    position = 0
    for item in wire.read_fields(file.buffer, 0, len(file.buffer)):
        if item.number == _METADATA and item.wire == wire.LENGTH:
            there = StringStringEntryProto.FromString(bytes(file.buffer[item.start : item.stop]))
            if str(there.key).startswith(prefix):
                yield file.buffer[position : item.tag]
                position = item.stop
    yield file.buffer[position:]
