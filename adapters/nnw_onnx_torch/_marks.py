"""What a watermark adds to the training of a network in torch, whoever runs the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Layer, Mark, Penalty, adds_to_training
from nnw_onnx_torch import _penalties


class Addition:
    """The penalty and the triggers of a mark, on the tensors of a network.

    Attributes:
        mark: method, payload and key.
        activation_layer: name of the layer whose output the method wants, or None.
        has_penalty: whether the mark adds a term to the loss.
    """

    def __init__(
        self,
        mark: Mark,
        layers: Mapping[str, Layer],
        tensor: Callable[[str], torch.Tensor],
    ) -> None:
        if not adds_to_training(mark.method):
            raise TrainingError(
                f"method {mark.method.name!r}: expected one that training can put in, got one "
                "that is put in without; use nnw_onnx.inject"
            )
        self.mark, self._tensor = mark, tensor
        self._on_weights = hasattr(mark.method, "weight_penalty")
        on_activations = hasattr(mark.method, "activation_penalty")
        self.has_penalty = self._on_weights or on_activations
        needed = mark.key.layers if self.has_penalty else ()
        for name in needed:
            _check_carrier(name, layers, tensor)
        self._layers = {name: layers[name] for name in needed}
        self.activation_layer = mark.key.layers[0] if on_activations else None

    def triggers(self) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Inputs (n, ...) and classes (n,) of the trigger set, or None where there is none."""
        if not hasattr(self.mark.method, "triggers"):
            return None
        inputs, labels = self.mark.method.triggers(self.mark.payload, self.mark.key)
        return np.asarray(inputs, np.float32), np.asarray(labels, np.int64)

    def weight_penalty(self) -> Penalty:
        """The term on the weights as they are now; gradients by name in canonical layout."""
        weights = {
            name: _penalties.canonical_array(layer, self._tensor(name))
            for name, layer in self._layers.items()
        }
        found: Penalty = self.mark.method.weight_penalty(weights, self.mark.payload, self.mark.key)
        return _finite(found)

    def weight_gradients(self) -> tuple[float, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Value of the term on the weights, and each tensor with its gradient in stored layout."""
        if not self._on_weights:
            return 0.0, []
        value, gradient = self.weight_penalty()
        pairs = []
        for name, values in gradient.items():
            tensor = self._tensor(name)
            stored = _penalties.stored_gradient(self._layers[name], values, tensor)
            pairs.append((tensor, stored))
        return value, pairs

    def term(
        self, activation: torch.Tensor | None = None, labels: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """The scalar to add to the loss, or None for a mark without a penalty.

        Args:
            activation: output (n, ...) of `activation_layer`, where there is one.
            labels: classes (n,) of the samples it was computed from.
        """
        terms = []
        if self._on_weights:
            value, pairs = self.weight_gradients()
            terms.append(_penalties.given(value, [g for _, g in pairs], [t for t, _ in pairs]))
        if self.activation_layer is not None:
            terms.append(self._activation_term(activation, labels))
        return sum(terms[1:], terms[0]) if terms else None

    def _activation_term(
        self, activation: torch.Tensor | None, labels: torch.Tensor | None
    ) -> torch.Tensor:
        if activation is None or labels is None or len(activation) != len(labels):
            got = "none" if activation is None or labels is None else f"{len(activation)} answers"
            raise TrainingError(
                f"method {self.mark.method.name!r}: expected the output of layer "
                f"{self.activation_layer!r} and a class for each sample, got {got}; run the "
                "network on the batch first, in training mode"
            )
        found = _finite(
            self.mark.method.activation_penalty(
                _penalties.as_array(activation),
                labels.detach().cpu().numpy().astype(np.int64),
                self.mark.payload,
                self.mark.key,
            )
        )
        gradient = _penalties.array_gradient(found.gradient, activation)
        term: torch.Tensor = _penalties.given(found.value, [gradient], [activation])
        return term


def _finite(penalty: Penalty) -> Penalty:
    if not np.isfinite(penalty.value):
        raise TrainingError(
            f"watermark: expected a penalty that is a number, got {penalty.value}; choose a "
            "smaller learning rate or a smaller strength"
        )
    return penalty


def _check_carrier(
    name: str, layers: Mapping[str, Layer], tensor: Callable[[str], torch.Tensor]
) -> None:
    if name not in layers:
        raise TrainingError(
            f"watermark: expected a network with the layer {name!r} of the key, got one without; "
            "make a key for this network"
        )
    if not tensor(name).requires_grad:
        raise TrainingError(
            f"watermark: expected layer {name!r} to learn, got one that is frozen; let it learn "
            "or choose another layer for the key"
        )
