"""Training: what is trained on what, and who trains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from annotated_types import Ge, Gt, Le, Lt

from nnw_onnx.vocabulary.additions import Additions
from nnw_onnx.vocabulary.networks import Array, Feeds, Network
from nnw_onnx.vocabulary.specs import Json, PlugIn
from nnw_onnx.vocabulary.tasks import Loss, Samples, Targets


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
        own_per_batch: samples of the method's own that are added to each batch.
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
    own_per_batch: Annotated[int, Ge(1), Le(1 << 16)] = 8
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        samples: what is trained on. Distillation is a job whose targets are a teacher's answers.
        recipe: how.
        loss: what is minimised.
        seed: of batch order and augmentation; the same seed gives the same weights on one machine.
        additions: what a method adds, or None.
        trainable: names of the layers that learn, or None for all.
        temperature: with "soft-cross-entropy", the scores are divided by it before the softmax, and
            the loss is multiplied by its square (Hinton et al. 2015).
        output: index of the graph output that the loss is of.
        watch: told the network after each epoch; its answer is kept as `Epoch.watched` (the
            runner's Symbol Error Rate).
    """

    samples: Samples
    recipe: Recipe
    loss: Loss
    seed: int
    additions: Additions | None = None
    trainable: tuple[str, ...] | None = None
    temperature: float = 1.0
    output: int = 0
    watch: Callable[[Network], float] | None = None


@dataclass(frozen=True)
class Epoch:
    """What an epoch of a training came to.

    Attributes:
        number: 1, 2, ...; of a training that stops within an epoch the last is shorter.
        loss: mean loss of the task over its batches.
        penalty: mean of what the method added, or None without a penalty.
        watched: what `Job.watch` said at its end, or None.
    """

    number: int
    loss: float
    penalty: float | None = None
    watched: float | None = None


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        network: with its new weights.
        epochs: one entry an epoch.
        batches: steps taken.
        state: the method's own arrays at the end.
        device: "cpu" or the name of the accelerator.
        device_peak_bytes: largest memory on the accelerator, or None on a CPU.
        facts: what else a record should keep, such as the names of the layers that were "trained"
            and of those that stayed, "frozen".
    """

    network: Network
    epochs: tuple[Epoch, ...]
    batches: int
    state: Mapping[str, Array] = field(default_factory=dict)
    device: str = "cpu"
    device_peak_bytes: int | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


class Checkpoint(Protocol):
    """Where a training keeps what it needs to go on after an interruption."""

    def load(self) -> Mapping[str, Array] | None:
        """The arrays kept last, or None."""
        ...

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Keep these arrays instead."""
        ...


class Trainer(PlugIn):
    """Who trains: the plug-ins of the entry points `nnw_onnx.trainers`.

    It knows `Additions` and no method. The network given is changed by nobody; BatchNorm statistics
    count as weights of the result.
    """

    @abstractmethod
    def check(self) -> None:
        """Raise `TrainingError` where it cannot work: no framework, or not the device asked for."""

    @abstractmethod
    def train(
        self,
        network: Network,
        job: Job,
        *,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        on_batch: Callable[[], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Trained:
        """The trained network.

        Args:
            network: where to start (`Additions.start` is applied by the trainer).
            job: what to do.
            on_epoch: is told of each epoch when it ends and all that belongs to its end is done, so
                that the time of an epoch can be divided by its batches.
            on_batch: is called after each step, the device having finished it.
            checkpoint: where the state after each epoch is kept and taken up again.

        Raises:
            TrainingError: an operator that cannot be trained, or a loss that is no number.
        """

    @abstractmethod
    def gradient(
        self, network: Network, feeds: Feeds, targets: Targets, loss: Loss, output: int = 0
    ) -> Feeds:
        """Gradient of the loss by each floating-point input, for attacks and trigger methods."""
