"""The state of a training as plain arrays, and back.

Names of the arrays: "job" is what the training depends on, as JSON; "epochs"; "weights:LAYER";
"optimizer.SLOT:LAYER"; "state:NAME" for a method's own arrays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Additions, Array, Epoch, Job, Json, Moment, Weights
from nnw_onnx_torch.graph.layouts import as_array

Arrays = Mapping[str, Array]
Description = Mapping[str, Json]
_WEIGHTS, _STATE, _OPTIMIZER = "weights", "state", "optimizer."


def describe(job: Job, weights: Weights) -> Description:
    """What a training depends on: JSON values that a checkpoint must share with the job."""
    return {
        "seed": job.seed,
        "recipe": dataclasses.asdict(job.recipe),
        "samples": [len(job.samples), job.samples.digest],
        "loss": job.loss,
        "temperature": job.temperature,
        "layers that learn": None if job.trainable is None else sorted(job.trainable),
        "output": job.output,
        "watermark": None if job.additions is None else _additions(job.additions, weights),
        "network": _digest({name: weights[name] for name in weights}),
    }


def _additions(additions: Additions, weights: Weights) -> Json:
    return [
        list(additions.carriers),
        list(additions.activations),
        None if additions.samples is None else additions.samples.digest,
        _digest(additions.state),
        _digest(additions.start),
        _digest(additions.fixed),
        _first_penalty(additions, weights),
    ]


def _first_penalty(additions: Additions, weights: Weights) -> Json:
    """Digest of the penalty of the weights at the start, which tells keys and payloads apart.

    A penalty is pure, so asking for one more changes nothing. One that needs a batch is not asked.
    """
    if additions.penalty is None or additions.activations:
        return None
    nothing = Moment(
        weights={name: weights[name] for name in additions.carriers if name in weights},
        activations={},
        targets=None,
        own=np.zeros(0, np.bool_),
        state=additions.state,
        step=0,
        task_gradient=lambda given: {n: np.zeros(np.shape(v)) for n, v in given.items()},
    )
    if len(nothing.weights) < len(additions.carriers):
        return None
    return _digest(additions.penalty(nothing).weights)


def kept(
    description: Description,
    tensors: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: Iterable[Epoch],
    state: Arrays,
) -> dict[str, Array]:
    """The arrays of a checkpoint."""
    text = json.dumps(description, sort_keys=True).encode()
    facts = [[e.number, e.loss, _number(e.penalty), _number(e.watched)] for e in epochs]
    arrays: dict[str, Array] = {
        "job": np.frombuffer(text, np.uint8).copy(),
        "epochs": np.array(facts, np.float64),
    }
    arrays |= {f"{_STATE}:{name}": np.array(values) for name, values in state.items()}
    for name, tensor in tensors.items():
        arrays[f"{_WEIGHTS}:{name}"] = as_array(tensor).copy()
        for slot, value in optimizer.state.get(tensor, {}).items():
            if isinstance(value, torch.Tensor):
                arrays[f"{_OPTIMIZER}{slot}:{name}"] = as_array(value).copy()
    return arrays


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint holds beside weights and optimizer: epochs, and a method's own arrays."""

    epochs: list[Epoch]
    state: dict[str, Array]


def restore(
    arrays: Arrays,
    description: Description,
    tensors: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> Restored:
    """Put a checkpoint back.

    Raises:
        TrainingError: the checkpoint is of another training, or broken.
    """
    _check(arrays, description)
    try:
        for name, tensor in tensors.items():
            _fill(tensor, arrays[f"{_WEIGHTS}:{name}"])
        state = {}
        for key, values in arrays.items():
            kind, _, name = key.partition(":")
            if kind.startswith(_OPTIMIZER):
                slots = optimizer.state[tensors[name]]
                slots[kind.removeprefix(_OPTIMIZER)] = _slot(values, tensors[name])
            elif kind == _STATE:
                state[name] = np.array(values)
        return Restored([_epoch(row) for row in np.asarray(arrays["epochs"], np.float64)], state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            f"checkpoint: expected the state of this network, got one without or with another "
            f"{error}; remove the checkpoint and train from the start"
        ) from error


def _check(arrays: Arrays, description: Description) -> None:
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


def _fill(tensor: torch.Tensor, values: Array) -> None:
    if values.shape != tuple(tensor.shape):
        raise ValueError(f"shape {values.shape}")
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _slot(values: Array, tensor: torch.Tensor) -> torch.Tensor:
    """The state of an optimizer, which lies in memory as its tensor does; or a step count."""
    if values.shape != tuple(tensor.shape):
        return torch.from_numpy(np.array(values))
    made = torch.empty_like(tensor, requires_grad=False)
    _fill(made, values)
    return made


def _epoch(row: NDArray[np.float64]) -> Epoch:
    number, loss, penalty, watched = map(float, row)
    return Epoch(int(number), loss, _or_none(penalty), _or_none(watched))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _digest(arrays: Arrays) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, values in arrays.items():
        array = np.ascontiguousarray(values)
        digest.update(repr((name, array.dtype.str, np.shape(values))).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
