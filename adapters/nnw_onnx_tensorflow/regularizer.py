"""The penalty of a method as a Keras regularizer."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Key, Mark
from nnw_onnx_tensorflow.network import Entry

_BACKENDS = ("tensorflow", "torch")


# Keras has no types, and may be absent where types are checked.
class WatermarkRegularizer(keras.regularizers.Regularizer):  # type: ignore[misc, unused-ignore]
    """What a watermark adds to the loss, with the method's own gradient.

    Call it with the variable (or tensor) of the first carrier layer, in the layout of Keras;
    further carriers of the key are read from the model. The method computes in float64.
    """

    def __init__(self, mark: Mark, entries: Sequence[Entry], beside: Any = None) -> None:
        """Make the regularizer.

        Args:
            mark: method, payload and key.
            entries: the variables of `mark.key.layers`.
            beside: a regularizer that the first of them has already; its value is added.

        Raises:
            TrainingError: the backend of Keras is neither TensorFlow nor torch.
        """
        self.mark, self.beside, self._entries = mark, beside, tuple(entries)
        backend = str(keras.backend.backend())
        if backend not in _BACKENDS:
            raise TrainingError(
                f"backend: expected {' or '.join(_BACKENDS)}, got {backend}; set KERAS_BACKEND "
                "before Keras is imported"
            )
        self._gradient = importlib.import_module(f"nnw_onnx_tensorflow._gradient_{backend}")

    def __call__(self, x: Any) -> Any:
        """The penalty, a scalar, plus the value of `beside`."""
        tensors = [x, *(entry.variable for entry in self._entries[1:])]
        value = self._gradient.term(self._compute, tensors)
        return value if self.beside is None else value + self.beside(x)

    def without(self, key: Key) -> Any:
        """The same sum of regularizers without the penalty of a key; None where nothing is left."""
        rest = without(self.beside, key)
        return rest if self.mark.key == key else type(self)(self.mark, self._entries, rest)

    def get_config(self) -> dict[str, Any]:
        """Refuse to be saved: a saved model would contain the key.

        Raises:
            TrainingError: always.
        """
        raise TrainingError(
            "regularizer: expected a model without the key to be saved, got a layer that was built "
            "with it; use Watermark.callback(), which leaves the layer's configuration alone"
        )

    def _compute(self, arrays: Sequence[NDArray[Any]]) -> tuple[float, list[NDArray[Any]]]:
        pairs = list(zip(self._entries, arrays, strict=True))
        weights = {entry.layer.name: entry.layout.canonical(array) for entry, array in pairs}
        mark = self.mark
        penalty = mark.method.weight_penalty(weights, mark.payload, mark.key)
        gradients = [
            entry.layout.stored(penalty.gradient[entry.layer.name], array.shape)
            for entry, array in pairs
        ]
        return float(penalty.value), gradients


def without(regularizer: Any, key: Key) -> Any:
    """Any regularizer, or None, without the penalty of a key."""
    return (
        regularizer.without(key) if isinstance(regularizer, WatermarkRegularizer) else regularizer
    )
