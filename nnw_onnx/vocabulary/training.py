"""Training: what a method adds to it, what is trained on what, and who trains.

A method that training puts in is written once, in numpy, with its own gradient; an adapter only
brings the gradient to where the optimizer of its framework finds it, and knows no method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from nnw_onnx.vocabulary.networks import Array, Feeds, Network, Values, Weights
from nnw_onnx.vocabulary.specs import Json, PlugIn
from nnw_onnx.vocabulary.tasks import Loss, Samples, Targets


def _as_it_is(array: Array) -> Any:
    return array


@dataclass(frozen=True)
class Moment:
    """One step of a training, as a method sees it.

    Attributes:
        weights: by layer, canonical layout, as they are before the step.
        activations: layer of `Additions.activations` -> output of its operator (n, ...) for the
            batch, own samples last.
        targets: of the samples of the batch (n, ...), or None where the loop was not told.
        own: (n,) bool, which samples of the batch are the method's own.
        state: the method's own arrays, as the last step left them.
        step: 0, 1, ...
        task_gradient: gradient, by layer, of the task's loss on this batch were the weights those
            given (others stay as they are); costs a forward and a backward pass.
        xp: functions of arrays under numpy's names: numpy, or for a penalty that can be computed
            `anywhere` another library, of which `weights` then are.
        constant: an array of numpy as one of that library, where the weights are; the same array
            is moved once. It must not change.
    """

    weights: Weights
    activations: Values
    targets: Targets | None
    own: NDArray[np.bool_]
    state: Mapping[str, Array]
    step: int
    task_gradient: Callable[[Weights], Weights]
    xp: Any = np
    constant: Callable[[Array], Any] = _as_it_is


@dataclass(frozen=True)
class Penalty:
    """What a method adds to the loss of a step, and what becomes of its own arrays.

    Attributes:
        value: of the term: a float, or a scalar of the library that the moment names.
        weights: its gradient by layer, canonical layout; layers that are not in it have none.
        activations: its gradient by layer of `Additions.activations`, (n, ...).
        state: the method's own arrays after the step; those that are not in it stay.
    """

    value: Any
    weights: Weights = field(default_factory=dict)
    activations: Values = field(default_factory=dict)
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Additions:
    """Everything that a method adds to a training; the same for every trainer and adapter.

    Attributes:
        penalty: a term of the loss, asked for at each step; pure, since state goes in and comes
            out (who trains keeps and checkpoints it and knows nothing of its optimizer;
            `kit.optimizers` helps). None where nothing is added to the loss.
        carriers: layers whose weights the penalty reads or has gradients for.
        activations: layers whose outputs it wants.
        samples: of the method's own, `Recipe.own_per_batch` of them in each batch, in turn.
        state: its own arrays before the first step; after the last they join `Key.arrays`.
        start: values that weights are set to before the first step.
        fixed: layer -> True for each weight (canonical layout) that then stays as it is.
        anywhere: whether the penalty computes with weights alone, by operators and by functions of
            `Moment.xp` that numpy and torch have alike, and moves what it brings by
            `Moment.constant`. Who trains on a device then need not fetch weights at each step. No
            targets, samples or states are told there.
    """

    penalty: Callable[[Moment], Penalty] | None = None
    carriers: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    samples: Samples | None = None
    state: Mapping[str, Array] = field(default_factory=dict)
    start: Weights = field(default_factory=dict)
    fixed: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    anywhere: bool = False


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
