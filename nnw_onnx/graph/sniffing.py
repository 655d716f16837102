"""Names for files that are no ONNX model, so that the error can say what to do."""

from __future__ import annotations

from pathlib import Path

from nnw_onnx.errors import ModelFileError

_EXPORT = "export the network to ONNX first"
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` to get the file"),
    (0, b"PK\x03\x04", "a zip archive (a PyTorch or Keras checkpoint?)", _EXPORT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras?)", _EXPORT),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"BZh", "a bzip2 archive", "unpack it first"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (257, b"ustar", "a tar archive", "unpack it first"),
    (0, b"GGUF", "a GGUF file", _EXPORT),
    (4, b"TFL3", "a TensorFlow Lite file", _EXPORT),
    (4, b"ORTM", "an onnxruntime .ort file", "give the .onnx file it was made from"),
    (0, b"\x93NUMPY", "a numpy array", "give the .onnx file"),
    (0, b"\x89PNG", "a PNG image", "give the .onnx file"),
    (0, b"%PDF", "a PDF document", "give the .onnx file"),
)
_PICKLES = tuple(bytes([0x80, n]) for n in range(2, 6))


def is_key_file(start: bytes) -> bool:
    """Whether a file that begins so is a secret key of nnw-onnx, whose first member is its text."""
    return start.startswith(b"PK\x03\x04") and start[30:].startswith(b"text.npy")


def refuse_known_formats(path: Path, head: bytes) -> None:
    """Raise `ModelFileError` where the first bytes are those of another well-known format."""
    for offset, signature, what, cure in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            raise _refusal(path, what, cure)
    if head.startswith(_PICKLES):
        raise _refusal(path, "a Python pickle (never loaded here)", _EXPORT)
    if head[8:9] == b"{" and head[4:8] == b"\0\0\0\0":
        raise _refusal(path, "a safetensors file", _EXPORT)


def not_onnx(path: Path, head: bytes, reason: str) -> ModelFileError:
    """The error for bytes that are no ONNX model."""
    text = _as_text(head)
    if text is None:
        return _refusal(
            path, f"bytes that are none ({reason})", "the file is damaged or of another kind"
        )
    if "ir_version" in text or "graph {" in text:
        cure = "convert it with onnx.parser or google.protobuf.text_format"
        return _refusal(path, "the text form of an ONNX model (prototxt)", cure)
    if text.lstrip().startswith(("{", "[")):
        return _refusal(path, "a JSON file", "give the .onnx file")
    if "\n" not in text.strip() and "/" in text and len(text) < 256:
        cure = "check the repository out with links, or get the file itself"
        return _refusal(path, "the text of a link to another file", cure)
    return _refusal(path, "a text file", "give the .onnx file")


def beyond_limit(path: Path, head: bytes, what: str) -> ModelFileError:
    """The error for a file that asks for more than is allowed."""
    if _as_text(head) is not None:
        return not_onnx(path, head, what)
    return ModelFileError(
        f"model: expected {what} at {str(path)!r}; simplify or split the model, or "
        "do not use this file"
    )


def _as_text(head: bytes) -> str | None:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return None
        text = head[: error.start].decode()
    return text if all(c.isprintable() or c in "\t\r\n" for c in text) else None


def _refusal(path: Path, got: str, cure: str) -> ModelFileError:
    return ModelFileError(f"model: expected an ONNX file, got {got} at {str(path)!r}; {cure}")
