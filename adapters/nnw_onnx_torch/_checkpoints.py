"""The state of a training as plain arrays, and back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Epoch, Job, Weights
from nnw_onnx_torch._penalties import as_array

Arrays = Mapping[str, NDArray[Any]]
_FACTS = ("number", "loss", "penalty", "quality", "symbol_error_rate")


def describe(job: Job, weights: Weights) -> dict[str, Any]:
    """What a training depends on: JSON values that a checkpoint must share with the job."""
    mark = job.mark
    return {
        "seed": job.seed,
        "recipe": dataclasses.asdict(job.recipe),
        "samples": list(job.data.inputs.shape),
        "labels": _digest([job.data.labels]),
        "targets": None if job.targets is None else _digest([job.targets]),
        "temperature": job.temperature,
        "layers that learn": None if job.trainable is None else sorted(job.trainable),
        "output": job.output,
        "watermark": None
        if mark is None
        else [mark.method.name, list(mark.key.layers), mark.key.commitment, mark.payload.symbols],
        "network": _digest(weights[name] for name in weights),
    }


def kept(
    description: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: Iterable[Epoch],
) -> dict[str, NDArray[Any]]:
    """The arrays of a checkpoint."""
    text = json.dumps(description, sort_keys=True).encode()
    facts = [[_number(getattr(epoch, f)) for f in _FACTS] for epoch in epochs]
    arrays: dict[str, NDArray[Any]] = {
        "job": np.frombuffer(text, np.uint8).copy(),
        "epochs": np.array(facts, np.float64),
    }
    for name, tensor in tensors.items():
        arrays[f"weights:{name}"] = as_array(tensor).copy()
        for slot, value in optimizer.state.get(tensor, {}).items():
            if isinstance(value, torch.Tensor):
                arrays[f"{slot}:{name}"] = as_array(value).copy()
    return arrays


def restore(
    arrays: Arrays,
    description: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> list[Epoch]:
    """Put a checkpoint back; the epochs that it has seen.

    Raises:
        TrainingError: the checkpoint is of another training, or broken.
    """
    _check(arrays, description)
    try:
        for name, tensor in tensors.items():
            _fill(tensor, arrays[f"weights:{name}"])
            slots = [k.partition(":")[0] for k in arrays if k.partition(":")[2] == name]
            for slot in slots:
                if slot != "weights":
                    optimizer.state[tensor][slot] = _state(arrays[f"{slot}:{name}"], tensor)
        return [_epoch(row) for row in np.asarray(arrays["epochs"], np.float64)]
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            f"checkpoint: expected the state of this network, got one without or with another "
            f"{error}; remove the checkpoint and train from the start"
        ) from error


def _check(arrays: Arrays, description: Mapping[str, Any]) -> None:
    try:
        found = json.loads(bytes(np.asarray(arrays["job"], np.uint8)))
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            "checkpoint: expected the state of a training, got arrays without its description; "
            "remove the checkpoint and train from the start"
        ) from error
    wanted = json.loads(json.dumps(description))
    for field, value in wanted.items():
        if not isinstance(found, dict) or found.get(field) != value:
            raise TrainingError(
                f"checkpoint: expected one of this training, got one with another {field}; "
                "remove the checkpoint or repeat the training it is of"
            )


def _fill(tensor: torch.Tensor, values: NDArray[Any]) -> None:
    if values.shape != tuple(tensor.shape):
        raise ValueError(f"shape {values.shape}")
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _state(values: NDArray[Any], tensor: torch.Tensor) -> torch.Tensor:
    """The state of an optimizer, which lies in memory as its tensor does; or a step count."""
    if values.shape != tuple(tensor.shape):
        return torch.from_numpy(np.array(values))
    made = torch.empty_like(tensor, requires_grad=False)
    _fill(made, values)
    return made


def _epoch(row: NDArray[np.float64]) -> Epoch:
    number, loss, penalty, quality, errors = map(float, row)
    return Epoch(int(number), loss, _or_none(penalty), quality, _or_none(errors))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
