"""Training: what a method adds to it, what is trained on what, and who trains.

A training-time method is written once, in numpy, with its own gradient; an adapter only brings the
gradient to where the optimizer of its framework finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from nnw_onnx.vocabulary.networks import Network, Weights
from nnw_onnx.vocabulary.payloads import Payload
from nnw_onnx.vocabulary.watermarks import Key

AnyNetwork = TypeVar("AnyNetwork", bound=Network)


class InferringNetwork(Protocol):
    """A network that can be run: what a black-box Decoder needs, and all that it gets."""

    def infer(self, inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Every output (n, ...) of the network for inputs (n, ...) of its first input."""
        ...


class Penalty(NamedTuple):
    """What a method adds to the loss of a training step: its value, and its gradient.

    The gradient has the shape of what the penalty was computed from: for a `WeightPenalty` a
    mapping from layer name to an array in canonical layout, for an `ActivationPenalty` one array.
    """

    value: float
    gradient: Any


class WeightPenalty(Protocol):
    """A method that is put in by a term of the loss that depends on weights."""

    def weight_penalty(self, weights: Weights, payload: Payload, key: Key) -> Penalty:
        """The term and its gradient by layer, float64, for the layers of the key.

        `weights` has at least the layers of the key, in canonical layout.
        """
        ...


class ActivationPenalty(Protocol):
    """A method that is put in by a term of the loss that depends on what a layer answers."""

    def activation_penalty(
        self, activations: NDArray[Any], labels: NDArray[np.int64], payload: Payload, key: Key
    ) -> Penalty:
        """The term and its gradient (n, ...) for the output (n, ...) of the layer `key.layers[0]`.

        `labels` are the classes (n,) of the batch.
        """
        ...


class TriggerSet(Protocol):
    """A method that is put in by samples of its own: trigger inputs with the owner's labels."""

    def triggers(self, payload: Payload, key: Key) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Inputs (n, ...) as the network takes them, and the class (n,) that each must get."""
        ...


def adds_to_training(method: Any) -> bool:
    """Whether a method can be put in by training."""
    return any(
        hasattr(method, name) for name in ("weight_penalty", "activation_penalty", "triggers")
    )


def needs_inference(method: Any) -> bool:
    """Whether Decoder and Detector run the network (workflow NIR if not, WIR if so)."""
    return bool(getattr(method, "needs_inference", False))


@dataclass(frozen=True)
class TrainingData:
    """Samples to train on, ready to be fed.

    Attributes:
        inputs: (n, ...) float32, as the network's first input takes them.
        labels: (n,) classes.
        classes: number of classes.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int | None) -> TrainingData:
        """The first n samples, or all of them."""
        return TrainingData(self.inputs[:n], self.labels[:n], self.classes)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the data; a fraction stops within the last one.
        batch_size: samples of a step.
        optimizer: "sgd" with momentum, or "adam".
        learning_rate: the largest one of the schedule.
        schedule: how it changes from step to step: "constant", "linear" (to 0), "cosine" (to 0),
            "triangular" (up over the first fifth, then linearly to 0).
        momentum: of sgd.
        nesterov: whether the momentum of sgd looks ahead.
        weight_decay: L2 decay of kernels (biases and norms are not decayed).
        label_smoothing: share of the target spread over all classes.
        augmentation: "crop-flip" pads by reflection, crops at random and mirrors images (n, c, h,
            w); "crop" does not mirror.
        padding: pixels of that padding.
        batch_norm: "update" normalises by the batch and updates the running statistics,
            "freeze" keeps them.
        triggers_per_batch: samples of a `TriggerSet` added to each batch.
        precision: "bfloat16" runs forward and backward in that type where the device has it.
    """

    epochs: Annotated[float, Gt(0), Le(10_000)] = 1.0
    batch_size: Annotated[int, Ge(1), Le(1 << 20)] = 128
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Gt(0), Le(100)] = 0.01
    schedule: Literal["constant", "linear", "cosine", "triangular"] = "linear"
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Ge(0), Le(1)] = 5e-4
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    augmentation: Literal["none", "crop", "crop-flip"] = "none"
    padding: Annotated[int, Ge(0), Le(64)] = 2
    batch_norm: Literal["update", "freeze"] = "update"
    triggers_per_batch: Annotated[int, Ge(1), Le(1 << 16)] = 8
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Mark:
    """A watermark that a training puts in."""

    method: Any
    payload: Payload
    key: Key


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        data: samples and labels.
        recipe: how.
        seed: of batch order and augmentation; the same seed gives the same weights on one machine.
        mark: watermark to put in, or None.
        trainable: names of the layers that learn, or None for all.
        targets: class probabilities (n, classes) to learn instead of `data.labels`, or None.
        temperature: with `targets`, the scores are divided by it before the softmax, and the loss
            is multiplied by its square (Hinton et al. 2015).
        output: index of the output that holds the scores.
    """

    data: TrainingData
    recipe: Recipe
    seed: int
    mark: Mark | None = None
    trainable: tuple[str, ...] | None = None
    targets: NDArray[np.float32] | None = None
    temperature: float = 1.0
    output: int = 0


@dataclass(frozen=True)
class Epoch:
    """What an epoch of a training came to.

    Attributes:
        number: 1, 2, ...; of a training that stops within an epoch the last is shorter.
        loss: mean loss of the task over its batches.
        penalty: mean of what the watermark added, or None without a penalty.
        quality: share of its training samples answered rightly (0 to 1).
        symbol_error_rate: of the watermark at its end, or None without one.
    """

    number: int
    loss: float
    penalty: float | None
    quality: float
    symbol_error_rate: float | None


@dataclass(frozen=True)
class Trained(Generic[AnyNetwork]):
    """A finished training.

    Attributes:
        network: with its new weights.
        epochs: one entry an epoch.
        batches: steps taken.
        device: "cpu" or the name of the accelerator.
        device_peak_bytes: largest memory on the accelerator, or None on a CPU.
    """

    network: AnyNetwork
    epochs: tuple[Epoch, ...]
    batches: int
    device: str
    device_peak_bytes: int | None = None


class Checkpoint(Protocol):
    """Where a training keeps what it needs to go on after an interruption."""

    def load(self) -> Mapping[str, NDArray[Any]] | None:
        """The arrays kept last, or None."""
        ...

    def save(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep these arrays instead."""
        ...


class Trainer(Protocol):
    """Who trains: the plug-ins of the entry points `nnw_onnx.trainers`; a frozen dataclass.

    The network is changed by nobody; BatchNorm statistics count as weights of the result.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def check(self) -> None:
        """Raise `TrainingError` where it cannot work: no framework, or not the device asked for."""
        ...

    def train(
        self,
        network: AnyNetwork,
        job: Job,
        *,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        on_batch: Callable[[], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Trained[AnyNetwork]:
        """The trained network.

        Args:
            network: where to start.
            job: what to do.
            on_epoch: is told of each epoch when it ends.
            on_batch: is called after each step, the device having finished it.
            checkpoint: where the state after each epoch is kept and taken up again.

        Raises:
            TrainingError: an operator that cannot be trained, or a loss that is no number.
        """
        ...
