"""A model in a loop of somebody's own: its tensors, what its layers answer, and its loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import torch
from torch import nn

from nnw_onnx.vocabulary import Layer, Loss, Weights
from nnw_onnx_torch.graph.module import OnnxModule
from nnw_onnx_torch.graph.torch_network import TorchNetwork, tensors_in
from nnw_onnx_torch.training.additions import task_gradient_of
from nnw_onnx_torch.training.losses import answers, loss_of

Given: TypeAlias = torch.Tensor | Mapping[str, torch.Tensor]
"""Inputs of a batch: those of the only input, or of each by its name."""


class LoopModel:
    """A torch model, or an ONNX graph as one.

    Attributes:
        network: the model as the core sees networks.
        layers: by name.
        heard: layer of `listen` -> what its operator answered in the last forward of the loop.
    """

    def __init__(self, model: nn.Module, loss: Loss, output: int) -> None:
        """Take a model.

        Args:
            model: of the loop.
            loss: that the loop minimises.
            output: index of the output that it is of.
        """
        self.network = model if isinstance(model, OnnxModule) else TorchNetwork(model)
        self.layers: Mapping[str, Layer] = {layer.name: layer for layer in self.network.layers}
        self.heard: Mapping[str, torch.Tensor] = {}
        self._loss, self._output = loss, output
        self._capturing, self._hears = contextlib.ExitStack(), True

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.root.parameters()), torch.device("cpu"))

    def named(self, words: str) -> str:
        """The layer that is meant by a name."""
        return self.network.named(words) if isinstance(self.network, TorchNetwork) else words

    def listen(self, layers: tuple[str, ...]) -> None:
        """Keep in `heard` what these layers answer last, while training."""
        if isinstance(self.network, OnnxModule):
            self.heard = self._capturing.enter_context(self.network.capturing(*layers))
            return
        heard: dict[str, torch.Tensor] = {}
        for name in layers:
            self.network.owner(name).register_forward_hook(self._keeper(heard, name))
        self.heard = heard

    def task_gradient(self, inputs: Given, targets: torch.Tensor, weights: Weights) -> Weights:
        """`Moment.task_gradient` of a batch; those who listen hear nothing of it."""
        gradient = task_gradient_of(
            self.root,
            self.layers,
            self.network.parameter_name,
            self.network.arriving,
            lambda: self._task_loss(inputs, targets),
        )
        with self._deaf():
            return gradient(weights)

    @property
    def root(self) -> nn.Module:
        """The module that the loop trains, without wrappers."""
        return self.network.model if isinstance(self.network, TorchNetwork) else self.network

    def _task_loss(self, inputs: Given, targets: torch.Tensor) -> torch.Tensor:
        given = {"inputs": inputs} if isinstance(inputs, torch.Tensor) else inputs
        if isinstance(self.network, OnnxModule):
            told = answers(self.network, list(given.values()), self._loss, self._output)
        else:
            told = self.network.answers(given)[self._output]
        return loss_of(self._loss, told, targets)

    def _keeper(
        self, heard: dict[str, torch.Tensor], name: str
    ) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, given: object, answer: object) -> None:
            found = tensors_in(answer)
            # Somebody who asks the model in evaluation mode is not the loop.
            if module.training and self._hears and found:
                heard[name] = found[0]

        return keep

    @contextlib.contextmanager
    def _deaf(self) -> Iterator[None]:
        self._hears = False
        try:
            if isinstance(self.network, OnnxModule):
                with self.network.capturing_nothing():
                    yield
            else:
                yield
        finally:
            self._hears = True
