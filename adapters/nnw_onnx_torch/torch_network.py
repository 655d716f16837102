"""A torch model seen as a Network: its layers by the names of its state_dict."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nnw_onnx.errors import ModelFileError, TrainingError
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Layer, Weights
from nnw_onnx_torch import _penalties
from nnw_onnx_torch._modules import describe, unwrapped

_BATCH = 256


class TorchNetwork:
    """A view of a model; kernels in canonical layout (out, in, *kernel), whatever torch stores.

    It follows the model: `weights` are those of the moment that they are asked for.

    Attributes:
        model: the model, without the wrappers of DataParallel and torch.compile.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrapped(model)

    def __repr__(self) -> str:
        return f"TorchNetwork({type(self.model).__name__}, {len(self.layers)} layers)"

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """Every floating-point parameter and buffer, in the order of definition."""
        return tuple(found.layer for found in self._found.values())

    @property
    def weights(self) -> Weights:
        """Snapshots by layer name, canonical layout, read-only."""
        return _Snapshots(self)

    def tensor(self, name: str) -> torch.Tensor:
        """The parameter or buffer of a layer as the model has it now.

        Raises:
            ModelFileError: no layer has this name.
        """
        found = self._found.get(name)
        if found is None:
            raise ModelFileError(
                f"weights: expected the name of a layer of the model, got {name!r}"
                f"{closest(name, list(self._found))}; see TorchNetwork(model).layers"
            )
        tensor: torch.Tensor = getattr(found.owner, found.attribute)
        if type(tensor) not in {torch.Tensor, nn.Parameter}:
            raise TrainingError(
                f"layer {name!r}: expected a whole tensor, got a {type(tensor).__name__}; put the "
                "watermark in without sharding, or shard another layer"
            )
        return tensor

    def owner(self, name: str) -> nn.Module:
        """The module that computes with a layer."""
        self.tensor(name)
        owner: nn.Module = self._found[name].owner
        return owner

    def with_weights(self, replaced: Weights) -> Self:
        """A copy of the model with some weights replaced, given in canonical layout.

        Raises:
            ModelFileError: an unknown name, a wrong shape, or a value that is not finite.
        """
        made = type(self)(copy.deepcopy(self.model))
        by_name = {layer.name: layer for layer in self.layers}
        for name, values in replaced.items():
            tensor = made.tensor(name)
            if values.shape != by_name[name].shape:
                raise ModelFileError(
                    f"layer {name!r}: expected weights of shape {by_name[name].shape}, got "
                    f"{values.shape}; keep the shape (out, in, *kernel)"
                )
            stored = _penalties.stored_gradient(by_name[name], values, tensor)
            if not torch.isfinite(stored).all():
                raise ModelFileError(
                    f"layer {name!r}: expected finite weights that fit {by_name[name].dtype}, got "
                    "others; correct the values"
                )
            with torch.no_grad():
                tensor.copy_(stored)
        return made

    def infer(self, inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Every output of the model for inputs (n, ...), in evaluation mode and without gradients.

        Inputs are converted to the type of the model's first parameter unless they are integers.
        """
        first = next(self.model.parameters(), torch.zeros(()))
        samples = torch.tensor(np.ascontiguousarray(inputs))
        kind = first.dtype if samples.is_floating_point() else samples.dtype
        pieces = []
        with evaluating(self.model), torch.no_grad():
            for piece in torch.split(samples, _BATCH):
                outputs = tensors_in(self.model(piece.to(first.device, kind)))
                pieces.append([_penalties.as_array(output) for output in outputs])
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    @cached_property
    def _found(self) -> dict[str, Any]:
        return {found.layer.name: found for found in describe(self.model)}


class _Snapshots(Mapping[str, NDArray[Any]]):
    """Copies of weights, made when they are asked for."""

    def __init__(self, network: TorchNetwork) -> None:
        self._network = network
        self._layers = {layer.name: layer for layer in network.layers}

    def __getitem__(self, name: str) -> NDArray[Any]:
        layer = self._layers[name]
        copied = self._network.tensor(name).detach().clone()
        return _penalties.canonical_array(layer, copied)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a time; afterwards every module is in its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def tensors_in(output: Any) -> list[torch.Tensor]:
    """The tensors of what a model returns: one, a sequence, a mapping, or a data class of them."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [t for value in output.values() for t in tensors_in(value)]
    if isinstance(output, list | tuple):
        return [t for value in output for t in tensors_in(value)]
    if dataclasses.is_dataclass(output):
        return [t for f in dataclasses.fields(output) for t in tensors_in(getattr(output, f.name))]
    return []
