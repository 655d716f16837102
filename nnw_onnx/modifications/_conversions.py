"""What tools of onnxruntime made of a model: they can do nothing, or write what nobody can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nnw_onnx.errors import InferenceError, ModelFileError
from nnw_onnx.graph import open_network
from nnw_onnx.vocabulary import Layer


def count_kernels(path: Path, wanted: Callable[[Layer], bool]) -> int:
    """Number of kernels of a model that a tool wrote for which `wanted` is true.

    Raises:
        InferenceError: the tool wrote a model that cannot be opened.
    """
    try:
        layers = open_network(path).layers
    except ModelFileError as error:
        raise InferenceError(
            f"conversion: expected a model that can be opened from onnxruntime's tool, got: {error}"
        ) from error
    return sum(layer.role == "kernel" and wanted(layer) for layer in layers)
