"""What inner layers of a Keras model answer, as the runtime tells it of the exported file.

That is the output of the layer's operator with its bias and before its activation function, of a
convolution with channels first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Array
from nnw_onnx_tensorflow.network import Entry

Tensors = dict[str, Any]
"""Layer -> what it answered last, a tensor of the backend in the layout of Keras."""


@contextmanager
def hearing(model: Any, entries: Sequence[Entry], heard: Tensors) -> Iterator[Tensors]:
    """While it lasts, `heard` always holds what these layers answered last.

    The functions that a model has traced before do not know of it: make them again.

    Raises:
        TrainingError: a layer that is neither a convolution nor a Dense layer.
    """
    pairs = [(entry, _owner(model, entry)) for entry in entries]
    before = [owner.activation for _, owner in pairs]
    try:
        for entry, owner in pairs:
            owner.activation = _keeping(entry.layer.name, owner.activation, heard)
        yield heard
    finally:
        # Last first: a layer that is listened to twice gets its own function back.
        for (_, owner), activation in reversed(list(zip(pairs, before, strict=True))):
            owner.activation = activation


def canonical_activation(entry: Entry, values: Array) -> Array:
    """Answers (n, ...) with the channels where ONNX has them, read-only."""
    found = np.moveaxis(values, -1, 1) if _channels_last(entry) else values
    found = found.view()
    found.flags.writeable = False
    return found


def stored_activation(entry: Entry, values: Array) -> Array:
    """The same, back in the layout of Keras."""
    return np.moveaxis(values, 1, -1) if _channels_last(entry) else np.asarray(values)


def _channels_last(entry: Entry) -> bool:
    import keras

    is_convolution = entry.layer.operator in ("Conv", "ConvTranspose")
    return is_convolution and keras.config.image_data_format() == "channels_last"


def _keeping(name: str, activation: Callable[[Any], Any], heard: Tensors) -> Callable[[Any], Any]:
    def keep(values: Any) -> Any:
        heard[name] = values
        return activation(values)

    return keep


def _owner(model: Any, entry: Entry) -> Any:
    import keras

    kinds = (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
        keras.layers.DepthwiseConv1D,
        keras.layers.DepthwiseConv2D,
    )
    for layer in model._flatten_layers():
        if isinstance(layer, kinds) and any(v is entry.variable for v in layer.variables):
            return layer
    raise TrainingError(
        f"layer {entry.layer.name!r}: expected a convolution or a Dense layer, whose answers can "
        f"be listened to, got {entry.layer.operator}; choose another layer"
    )
