"""Whether a job can be carried out on a network, and which of its weights learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Job
from nnw_onnx_torch._batches import check_augmentation

_NORM = "BatchNormalization"


def check_job(network: OnnxNetwork, job: Job) -> None:
    """Raise `TrainingError` for a job that cannot be carried out as it is written."""
    data = job.data
    if len(network.inputs) != 1:
        raise TrainingError(
            f"network: expected one input, got {len(network.inputs)}; train networks of one input"
        )
    if not len(data) or len(data.inputs) != len(data.labels):
        raise TrainingError(
            f"data: expected samples with a label each, got {len(data.inputs)} samples and "
            f"{len(data.labels)} labels; correct the data"
        )
    if not 0 <= job.output < len(network.outputs):
        raise TrainingError(
            f"output: expected an index below {len(network.outputs)}, got {job.output}; choose "
            "the output that holds the scores"
        )
    if job.targets is not None and (job.targets.ndim != 2 or len(job.targets) != len(data)):
        raise TrainingError(
            f"targets: expected probabilities ({len(data)}, classes), got shape "
            f"{job.targets.shape}; give one row a sample"
        )
    check_augmentation(job.recipe, data.inputs.shape)
    _check_trainable(network, job)


def _check_trainable(network: OnnxNetwork, job: Job) -> None:
    known = {layer.name for layer in network.layers}
    for name in job.trainable or ():
        if name not in known:
            raise TrainingError(
                f"trainable: expected names of layers of the network, got {name!r}"
                f"{closest(name, known)}; see 'nnw layers'"
            )


def has_batch_norm(network: OnnxNetwork) -> bool:
    """Whether a layer of the network belongs to a BatchNormalization."""
    return any(layer.operator == _NORM for layer in network.layers)


def statistics_mode(network: OnnxNetwork, job: Job) -> Literal["update", "freeze"]:
    """What becomes of BatchNorm statistics: frozen too where no norm of the network learns."""
    norms = {layer.name for layer in network.layers if layer.operator == _NORM}
    if job.trainable is not None and not norms & set(job.trainable):
        return "freeze"
    return job.recipe.batch_norm


def freeze(tensors: Mapping[str, torch.Tensor], job: Job) -> None:
    """Let only the layers of the job learn.

    Raises:
        TrainingError: none of them can.
    """
    parameters = {n: t for n, t in tensors.items() if isinstance(t, torch.nn.Parameter)}
    learning = set(parameters) & set(parameters if job.trainable is None else job.trainable)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in learning)
    if not learning:
        raise TrainingError(
            "trainable: expected at least one layer of floating-point weights, got none; choose "
            "layers that can be replaced"
        )


def input_dtype(network: OnnxNetwork) -> torch.dtype:
    """Element type of the network's input; float32 where the file does not say."""
    found = getattr(torch, network.inputs[0].dtype or "float32", None)
    if not isinstance(found, torch.dtype):
        raise TrainingError(
            f"input: expected numbers, got {network.inputs[0].dtype}; train networks that take "
            "tensors of numbers"
        )
    return found
