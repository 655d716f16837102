"""A watermark in a training loop of your own, in three lines.

Example:
    >>> mark = Watermark(model, Payload.from_text("mine"))
    >>> for inputs, labels in loader:
    ...     inputs, labels = mark.extend(inputs, labels)  # only for trigger sets
    ...     loss = criterion(model(inputs), labels) + mark.penalty()
    ...     loss.backward()
    >>> mark.save_key("key.npz")
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Decoding, Key, Mark, Payload, Spec, TrainingData
from nnw_onnx_torch._marks import Addition
from nnw_onnx_torch._penalties import as_array
from nnw_onnx_torch._triggers import TriggeredDataset, Triggers
from nnw_onnx_torch.module import OnnxModule
from nnw_onnx_torch.torch_network import TorchNetwork

_SHARE = 16
"""Samples of the data set for each trigger, as in a batch of 128 with 8 triggers."""

Samples = torch.Tensor | NDArray[Any]


class Watermark:
    """What a method adds to the training of a model, and how far the watermark is in.

    Make it before the optimizer takes its first step and before `torch.compile`. Gradients may be
    accumulated: divide the penalty by the number of pieces as you divide the loss. A scaler of the
    loss scales the penalty with it; autocast does not touch it. Each process of a
    DistributedDataParallel training adds the same penalty when all have the same `key`.

    Attributes:
        key: secret; what `nnw_onnx.decode` needs. It carries the payload.
        payload: what is put in.
        method: the plug-in.
        network: the model as the method sees it.
    """

    def __init__(
        self,
        model: nn.Module,
        payload: Payload,
        method: str = "uchida",
        *,
        layer: str | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        key: Key | None = None,
        inputs: Samples | None = None,
        classes: int | None = None,
        images: Samples | None = None,
        triggers_per_batch: int = 8,
    ) -> None:
        """Make the key, or take one.

        Args:
            model: any module, or an `OnnxModule`.
            payload: the Symbols.
            method: name of a method that training puts in, such as "uchida" or "adi".
            layer: name of the carrier as in `state_dict`; chosen by the method if None.
            options: options of the method, see `nnw list methods`.
            seed: makes the key repeatable, and only as secret as the seed; None draws a fresh one.
            key: of an earlier watermark, to go on with it, by its method.
            inputs: some samples (n, ...) as the model takes them; a trigger set needs them.
            classes: number of classes; asked of the model if None.
            images: inputs (m, ...) to choose triggers from; None draws abstract ones.
            triggers_per_batch: triggers that `extend` adds.

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
            ConfigurationError: an option is wrong, or a method with triggers got no inputs.
            TrainingError: the carrier does not learn.
        """
        self.network = model if isinstance(model, OnnxModule) else TorchNetwork(model)
        seen: Any = self.network
        if key is not None:
            mark = Mark(_method(key, options), payload, key)
        else:
            mark = nnw_onnx.make_mark(
                seen,
                payload,
                method=method,
                options=options,
                layer=layer,
                seed=seed,
                data=None if inputs is None else self._samples(inputs, classes, options or {}),
                images=None if images is None else _array(images),
            )
        self.payload, self.method, self.key = payload, mark.method, mark.key
        layers = {found.name: found for found in self.network.layers}
        self._addition = Addition(mark, layers, self._tensor)
        triggers = self._addition.triggers()
        self._triggers = None if triggers is None else Triggers(*triggers, triggers_per_batch)
        self._labels: torch.Tensor | None = None
        self._capturing = contextlib.ExitStack()
        self._captured: Mapping[str, torch.Tensor] = {}
        if self._addition.activation_layer is not None:
            self._captured = self._listen(self._addition.activation_layer)

    def extend(
        self, inputs: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch with triggers appended; the batch itself for a method without triggers.

        Args:
            inputs: samples (n, ...).
            labels: classes (n,), or probabilities (n, classes).
        """
        if self._triggers is not None:
            inputs, labels = self._triggers.appended(inputs, labels)
        self._labels = labels
        return inputs, labels

    def extend_dataset(
        self, dataset: Any, *, keys: tuple[str, str] | None = None, repeats: int | None = None
    ) -> TriggeredDataset:
        """A data set with triggers, for a training whose batches are out of reach.

        Args:
            dataset: of `len` and `[index]`; items are pairs (inputs, label), or mappings.
            keys: names of inputs and label in an item that is a mapping.
            repeats: times that each trigger occurs; as many as make one item in seventeen if None.
        """
        images, labels = self.triggers
        if repeats is None:
            repeats = max(1, round(len(dataset) / (_SHARE * max(1, len(labels)))))
        return TriggeredDataset(dataset, (images, labels), keys, repeats if len(labels) else 0)

    def penalty(self, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The scalar to add to the loss, with the method's own gradient; 0 for a trigger set.

        Args:
            labels: classes (n,) of the batch that the model has just seen, for a method that looks
                at activations; those given to `extend` if None.
        """
        activation = self._captured.get(self._addition.activation_layer or "")
        known = labels if labels is not None else self._labels
        term = self._addition.term(activation, known)
        return torch.zeros((), device=self._device) if term is None else term

    def add_gradient(self, scale: float = 1.0) -> float:
        """Add the gradient of the penalty to that of its layers; the value of the penalty.

        Instead of `penalty`, for who comes between backward and step. A method that looks at
        activations cannot be put in so: raises `TrainingError`.

        Args:
            scale: factor of the gradient, such as the scale of gradients not yet unscaled.
        """
        if self._addition.activation_layer is not None:
            raise TrainingError(
                f"method {self.key.method!r}: expected a method that looks at weights or has "
                "triggers, got one that looks at activations; add Watermark.penalty() to the loss"
            )
        value, pairs = self._addition.weight_gradients()
        for tensor, gradient in pairs:
            grown = gradient.mul_(scale)
            tensor.grad = grown if tensor.grad is None else tensor.grad.add_(grown)
        return value

    def decode(self) -> Decoding:
        """The payload as it is read from the model now."""
        found: Decoding = self.method.decode(self.network, self.key)
        return found

    def symbol_error_rate(self) -> float:
        """Share (0 to 1) of the Symbols that are read wrongly from the model now."""
        return self.payload.errors(self.decode().payload) / len(self.payload)

    def save_key(self, path: str | Path) -> None:
        """Write the key file; see `nnw_onnx.save_key`."""
        nnw_onnx.save_key(self.key, path)

    @property
    def has_triggers(self) -> bool:
        """Whether `extend` adds something to a batch."""
        return self._triggers is not None

    @property
    def triggers(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All trigger inputs (n, ...) and their classes (n,); none for another method."""
        found = self._addition.triggers()
        return (np.zeros(0, np.float32), np.zeros(0, np.int64)) if found is None else found

    def learns_by(self, optimizer: Any) -> bool:
        """Whether an optimizer changes a layer that carries the watermark."""
        carriers = [self._tensor(name) for name in self.key.layers]
        learned = (p for group in optimizer.param_groups for p in group["params"])
        return any(p is carrier for p in learned for carrier in carriers)

    @property
    def _device(self) -> torch.device:
        model = self.network.model if isinstance(self.network, TorchNetwork) else self.network
        return next((p.device for p in model.parameters()), torch.device("cpu"))

    def _tensor(self, name: str) -> torch.Tensor:
        if isinstance(self.network, OnnxModule):
            return self.network.parameter(name)
        return self.network.tensor(name)

    def _samples(
        self, inputs: Samples, classes: int | None, options: Mapping[str, Any]
    ) -> TrainingData:
        values = _array(inputs)
        if classes is None:
            classes = int(self.network.infer(values[:1])[options.get("output", 0)].shape[1])
        return TrainingData(values, np.zeros(len(values), np.int64), classes)

    def _listen(self, layer: str) -> Mapping[str, torch.Tensor]:
        """A mapping that always holds what the layer answered last, while training."""
        if isinstance(self.network, OnnxModule):
            return self._capturing.enter_context(self.network.capturing(layer))
        captured: dict[str, torch.Tensor] = {}

        def keep(module: nn.Module, given: Any, answer: Any) -> None:
            if module.training and isinstance(answer, torch.Tensor):
                captured[layer] = answer

        self.network.owner(layer).register_forward_hook(keep)
        return captured


def _method(key: Key, options: Mapping[str, Any] | None) -> Any:
    if options is None:
        return plugins.method_of(key)
    return plugins.create("methods", Spec(key.method, dict(options)))


def _array(samples: Samples) -> NDArray[np.float32]:
    given = as_array(samples) if isinstance(samples, torch.Tensor) else samples
    return np.ascontiguousarray(given, np.float32)
