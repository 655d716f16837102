"""A workshop without any framework: for tests of Modifications that train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.vocabulary import (
    Epoch,
    Job,
    Mark,
    Payload,
    Recipe,
    Spec,
    Trained,
    TrainingData,
)


@dataclass
class ArrayWorkshop:
    """A `vocabulary.Workshop` whose trainings move the layers that learn by noise of their seed.

    A training with a watermark puts it in without training. What a network answers is the product
    of its inputs with its last kernel.

    Attributes:
        data: training samples (n, inputs of the last kernel).
        recipe: the recipe of the evaluation.
        initial_epochs: epochs of the initial training.
        others: networks that `open` finds.
        method: of the watermark that was used.
        payload_size: its Symbols.
        by_training: whether the watermark was put in by training.
        jobs: every job that was asked for, in order.
    """

    data: TrainingData
    recipe: Recipe = field(default_factory=Recipe)
    initial_epochs: float = 20.0
    others: dict[str, ArrayNetwork] = field(default_factory=dict)
    method: str = "block-spread"
    payload_size: int = 16
    by_training: bool = False
    jobs: list[Job] = field(default_factory=list)

    def train(self, network: ArrayNetwork, job: Job) -> Trained[ArrayNetwork]:
        """The network with noise on the layers that learn, and its watermark put in."""
        self.jobs.append(job)
        rng = np.random.Generator(np.random.Philox(job.seed))
        names = job.trainable or tuple(network.weights)
        moved = {
            name: network.weights[name] + 1e-3 * rng.standard_normal(network.weights[name].shape)
            for name in names
        }
        trained = network.with_weights(moved)
        if job.mark is not None:
            trained = self.inject(trained, job.mark)
        error = None if job.mark is None else 0.0
        return Trained(trained, (Epoch(1, 0.5, None, 0.9, error),), 1, "cpu")

    def infer(self, network: ArrayNetwork, inputs: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        """One output: the inputs times the last kernel."""
        kernels = [layer.name for layer in network.layers if layer.role == "kernel"]
        return [np.asarray(inputs @ network.weights[kernels[-1]].T, np.float32)]

    def open(self, name: str) -> ArrayNetwork:
        """One of the other networks."""
        return self.others[name]

    def transfer(self, network: ArrayNetwork) -> tuple[str, TrainingData]:
        """The same samples with their classes reversed."""
        labels = self.data.classes - 1 - self.data.labels
        return "reversed", TrainingData(self.data.inputs, labels, self.data.classes)

    def new_mark(
        self, network: ArrayNetwork, index: int, method: str | None
    ) -> tuple[Mark, Recipe | None]:
        """A watermark whose secret and Payload follow from its index."""
        made = plugins.create("methods", Spec(method or self.method))
        key = made.make_key(network, self.payload_size, bytes([index + 1]) * 32)
        bits = np.random.Generator(np.random.Philox(index)).integers(0, 2, self.payload_size)
        mark = Mark(made, Payload(tuple(bits.tolist())), key)
        return mark, self.recipe if self.by_training else None

    def inject(self, network: ArrayNetwork, mark: Mark) -> ArrayNetwork:
        """The network with a watermark put in without training."""
        marked: ArrayNetwork = mark.method.inject(network, mark.payload, mark.key)
        return marked

    def errors(self, network: ArrayNetwork, mark: Mark) -> int:
        """Symbols that are read wrongly."""
        return mark.payload.errors(mark.method.decode(network, mark.key).payload)
