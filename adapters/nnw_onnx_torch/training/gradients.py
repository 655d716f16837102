"""The gradient of a loss by the inputs of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Feeds, Loss, Targets
from nnw_onnx_torch.graph.dtypes import to_tensor, torch_dtype
from nnw_onnx_torch.graph.feeds import arranged
from nnw_onnx_torch.graph.layouts import as_array
from nnw_onnx_torch.graph.module import OnnxModule
from nnw_onnx_torch.graph.torch_network import evaluating
from nnw_onnx_torch.training import jobs
from nnw_onnx_torch.training.losses import answers, loss_of
from nnw_onnx_torch.training.sources import target_tensor

Tensors = Mapping[str, torch.Tensor]


def of_file(
    network: OnnxNetwork,
    feeds: Feeds,
    targets: Targets,
    loss: Loss,
    output: int,
    device: torch.device,
) -> Feeds:
    """Gradient of the mean loss of a network of a file; see `by_inputs`."""
    jobs.check_output(network, output)
    return of_module(_module(network, device), feeds, targets, loss, output)


def of_module(module: OnnxModule, feeds: Feeds, targets: Targets, loss: Loss, output: int) -> Feeds:
    """Gradient of the mean loss of a module as it is now; see `by_inputs`."""
    names = arranged(feeds, [info.name for info in module.inputs])
    inputs = {
        name: to_tensor(np.asarray(feeds[name])).to(module.device, torch_dtype(info.dtype))
        for name, info in zip(names, module.inputs, strict=True)
    }
    with evaluating(module):
        return by_inputs(
            lambda given: answers(module, [given[n] for n in names], loss, output),
            inputs,
            targets,
            loss,
        )


def by_inputs(
    answer: Callable[[Tensors], torch.Tensor], inputs: Tensors, targets: Targets, loss: Loss
) -> Feeds:
    """Gradient of the mean loss by each floating-point input, under the names of the inputs.

    Raises:
        TrainingError: there is none, or the targets do not fit the answers.
    """
    leaves = {
        name: values.detach().requires_grad_(values.is_floating_point())
        for name, values in inputs.items()
    }
    floating = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if not floating:
        raise TrainingError(
            f"gradient: expected an input of floating-point numbers, got {', '.join(inputs)} of "
            "integers; use a method that asks for no gradient by inputs"
        )
    with torch.enable_grad():
        found = answer(leaves)
        jobs.check_answers(found, len(next(iter(leaves.values()))))
        value = loss_of(loss, found, target_tensor(targets).to(found.device))
        slopes = torch.autograd.grad(value, list(floating.values()), materialize_grads=True)
    return {name: as_array(slope) for name, slope in zip(floating, slopes, strict=True)}


@lru_cache(maxsize=1)
def _module(network: OnnxNetwork, device: torch.device) -> OnnxModule:
    # Kept, because an attack asks for one gradient after the other; a network is a value.
    return OnnxModule(network).to(device).requires_grad_(requires_grad=False)
