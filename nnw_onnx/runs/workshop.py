"""The workshop of one trial: what a Modification that trains may use, wired to this run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import context as contexts
from nnw_onnx.runs import training
from nnw_onnx.runs.context import Context, Technology
from nnw_onnx.runs.seeds import generator, identity
from nnw_onnx.vocabulary import (
    Job,
    Mark,
    Payload,
    Recipe,
    Spec,
    Trained,
    TrainingData,
    adds_to_training,
)


class RunWorkshop:
    """See `vocabulary.Workshop`; everything random follows from the name."""

    def __init__(
        self,
        context: Context,
        network: OnnxNetwork,
        name: str,
        title: str,
        technology: Technology | None,
        tell: training.Tell = lambda words: None,
    ) -> None:
        self._context, self._network = context, network
        self._name, self._title, self._technology = name, title, technology
        self._tell = tell
        self._trainings = 0

    @cached_property
    def data(self) -> TrainingData:
        """Training samples of the task."""
        return contexts.training_data(self._context, self._network)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the evaluation."""
        return contexts.training_of(self._context).recipe

    @property
    def initial_epochs(self) -> float:
        """Epochs of the initial training; raises `ConfigurationError` where nobody said."""
        epochs = contexts.training_of(self._context).initial_epochs
        if epochs is None:
            raise ConfigurationError(
                "training.initial_epochs: expected the epochs of the networks' initial training, "
                "got none; add them"
            )
        return epochs

    @property
    def checkpoints(self) -> list[str]:
        """Names of the checkpoints that its trainings have used."""
        return [f"{self._name}-{n}" for n in range(self._trainings)]

    def train(self, network: OnnxNetwork, job: Job) -> Trained[Any]:
        """The network after a training."""
        name = f"{self._name}-{self._trainings}"
        self._trainings += 1
        return training.train(self._context, network, job, name, self._title, self._tell)

    def infer(self, network: OnnxNetwork, inputs: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        """Every output of the network, through the runtime."""
        return contexts.running(self._context, network).infer(inputs)

    def open(self, name: str) -> OnnxNetwork:
        """Another network: `nnw:` for a shipped one, or the path of an ONNX file."""
        return self._context.named(name)

    def transfer(self, network: OnnxNetwork) -> tuple[str, TrainingData]:
        """Name and training samples of the data set of a transfer."""
        name, samples = contexts.transfer_samples(self._context, "train")
        return name, contexts.as_training_data(self._context, samples, network)

    def new_mark(
        self, network: OnnxNetwork, index: int, method: str | None
    ) -> tuple[Mark, Recipe | None]:
        """A further watermark, fresh key and Payload, and the training that puts it in."""
        technology = self._technology_of(method)
        rng = generator(purpose="new payload", trial=self._name, index=index)
        payload = Payload.random(technology.payload_size, rng)
        fresh = bytes.fromhex(identity(purpose="new key", trial=self._name, index=index))
        mark = training.make_mark(self._context, technology, network, payload, fresh)
        return mark, technology.recipe

    def inject(self, network: OnnxNetwork, mark: Mark) -> OnnxNetwork:
        """The network with a watermark put in without training."""
        marked: OnnxNetwork = mark.method.inject(network, mark.payload, mark.key)
        return marked

    def errors(self, network: OnnxNetwork, mark: Mark) -> int:
        """Symbols of a watermark that are read wrongly."""
        return training.wrong_symbols(self._context, network, mark)

    def _technology_of(self, method: str | None) -> Technology:
        used = self._technology
        if method is None and used is None:
            raise ConfigurationError(
                "overwriting: expected the method of the new watermarks, got none; give the "
                "option method"
            )
        if used is None or method not in (None, used.method.name):
            made = plugins.create("methods", Spec(str(method)))
            trained = adds_to_training(made) and not hasattr(made, "inject")
            size = used.payload_size if used else 64
            recipe = self.recipe if trained else None
            return Technology(plugins.spec_of(made), size, recipe)
        return dataclasses.replace(used, start="trained")
