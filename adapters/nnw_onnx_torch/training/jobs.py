"""Whether a job can be carried out on a network, and which of its weights learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import trainings
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Job, Json, Network
from nnw_onnx_torch.training.losses import OVER_CLASSES
from nnw_onnx_torch.training.sources import Span

_NORM = "BatchNormalization"


def onnx_network(network: Network) -> OnnxNetwork:
    """The network as one of an ONNX file; raises `TrainingError` for another kind."""
    if not isinstance(network, OnnxNetwork):
        raise TrainingError(
            f"network: expected one of an ONNX file, got a {type(network).__name__}; open it with "
            "nnw_onnx.open, or train it in a loop of your own with nnw_onnx_torch.Watermark"
        )
    return network


def check_job(network: OnnxNetwork, job: Job) -> None:
    """Raise `TrainingError` for a job that cannot be carried out as it is written."""
    if not len(job.samples):
        raise TrainingError("data: expected samples to train on, got none; correct the data")
    check_output(network, job.output)
    if job.recipe.label_smoothing and job.loss not in OVER_CLASSES:
        raise TrainingError(
            f"label_smoothing: expected 0 for the loss {job.loss!r}, which knows no classes, got "
            f"{job.recipe.label_smoothing}; leave it out"
        )
    _check_trainable(network, job)


def check_output(network: OnnxNetwork, output: int) -> None:
    """Raise `TrainingError` where the network has no such output."""
    if not 0 <= output < len(network.outputs):
        raise TrainingError(
            f"output: expected an index below {len(network.outputs)}, got {output}; choose the "
            "output that the loss is of"
        )


def check_answers(output: torch.Tensor, samples: int) -> None:
    """Raise `TrainingError` unless an output holds numbers for each of the samples."""
    if output.ndim < 1 or len(output) != samples or not output.is_floating_point():
        raise TrainingError(
            f"output: expected answers ({samples}, ...) to a batch of {samples}, got "
            f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}; choose another "
            "output, or export the network with a free batch size"
        )


def check_classes(job: Job, output: torch.Tensor, span: Span | None, *, own: bool) -> None:
    """Raise `TrainingError` unless every class of a batch exists among the scores."""
    if span is None or job.loss not in OVER_CLASSES or output.ndim < 2:
        return
    classes = output.shape[-1] if job.loss == "next-token" else max(output.shape[1], 2)
    if span.high >= classes:
        what = "labels of the own samples" if own else "labels"
        raise TrainingError(
            f"{what}: expected classes from 0 to {classes - 1}, got {span.low} to {span.high}; use "
            "samples of the classes that the network has"
        )


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


def facts(network: OnnxNetwork, job: Job) -> Mapping[str, Json]:
    """Names of the layers that the job trains and of those that it leaves, for its record."""
    found = trainings.learning(network.layers, job.trainable)
    return {"trained": list(found.trained), "frozen": list(found.frozen)}


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
            "trainable: expected at least one layer of floating-point weights that learns, got "
            "none; choose others with `nnw layers`"
        )
