"""What every task of a run has in common, and what a worker keeps from task to task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.arrays.preprocessing import Preprocessing
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.runs.black_box import BlackBox
from nnw_onnx.runs.places import network_paths, place_of
from nnw_onnx.vocabulary import Recipe, Samples, Spec, TrainingData, needs_inference

CACHED_BYTES = 1 << 30
"""A data set whose inputs are not larger is kept by each worker from trial to trial."""


@dataclass(frozen=True)
class Technology:
    """How a group of the plan puts its watermarks in.

    Attributes:
        method: the method with its options.
        payload_size: Symbols of a Payload.
        recipe: of the training that puts it in, or None without training.
        start: from the "trained" networks or from "scratch".
        trigger_images: where trigger inputs come from, or None where they are generated.
    """

    method: Spec
    payload_size: int
    recipe: Recipe | None = None
    start: str = "trained"
    trigger_images: str | None = None


@dataclass(frozen=True)
class TrainingContext:
    """What trainings of a run have in common.

    Attributes:
        trainer: who trains.
        dataset: with its split and fingerprint, the samples that are trained on.
        recipe: the recipe of the evaluation.
        initial_epochs: epochs of the initial training of the networks.
        transfer: data set of a transfer.
        output: index of the output that holds the scores.
    """

    trainer: Spec
    dataset: Spec
    split: str
    fingerprint: str
    recipe: Recipe
    initial_epochs: float | None = None
    transfer: Spec | None = None
    output: int = 0


@dataclass(frozen=True)
class Context:
    """What every task of a run has in common.

    Attributes:
        folder: the run folder.
        networks: files of the unwatermarked networks.
        sha256: their digests, checked when a worker opens them.
        fingerprint: of the data set, checked likewise.
        technologies: by index of the plan's groups.
        training: for what trains, or None where nothing does.
        base: folder of the configuration.
    """

    folder: Path
    networks: tuple[Path, ...]
    sha256: tuple[str, ...]
    dataset: Spec
    split: str
    preprocessing: Preprocessing
    task: Spec
    fingerprint: str
    batch_size: int
    false_positive_rate: float
    settings: SessionSettings = field(default_factory=SessionSettings)
    technologies: tuple[Technology, ...] = ()
    training: TrainingContext | None = None
    base: Path = Path()

    def named(self, name: str) -> OnnxNetwork:
        """Another network: `nnw:` for a shipped one, or a file, seen from the configuration.

        Raises:
            ConfigurationError, ModelFileError: there is none, or it cannot be opened.
        """
        return open_network(network_paths([place_of(name, self.base)])[0])


class Running:
    """A network that answers through the runtime; its session is made when it is first asked."""

    def __init__(self, network: OnnxNetwork, settings: SessionSettings, batch_size: int) -> None:
        self._network, self._settings, self._batch_size = network, settings, batch_size

    @cached_property
    def _session(self) -> Session:
        return Session(self._network.runnable(), self._settings)

    def infer(self, inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Every output (n, ...) for inputs (n, ...); raises `InferenceError`."""
        return self._session.predict(inputs, self._batch_size)


def running(context: Context, network: OnnxNetwork) -> Running:
    """A network that answers as the evaluation runs networks."""
    return Running(network, context.settings, context.batch_size)


def subject_of(context: Context, network: OnnxNetwork, method: Any) -> Any:
    """What Decoder and Detector of a method look at: the weights, or what the network answers."""
    if not needs_inference(method):
        return network
    return BlackBox(network, running(context, network).infer)


@lru_cache(maxsize=8)
def network_of(context: Context, index: int) -> OnnxNetwork:
    """An unwatermarked network; raises `RunError` where the file is another one by now."""
    path = context.networks[index]
    network = open_network(path)
    if network.sha256 != context.sha256[index]:
        raise RunError(
            f"{path.name}: expected the network that the plan was made for, got another; "
            "start a new run"
        )
    return network


@lru_cache(maxsize=1)
def samples_of(context: Context) -> Samples:
    """The test samples; raises `RunError` where they are others by now."""
    return _loaded(context.dataset, context.split, context.fingerprint)


def portions(
    context: Context, samples: Samples, network: OnnxNetwork
) -> Iterator[NDArray[np.float32]]:
    """A data set as inputs of a network: at once where that is small, else in portions."""
    shape = input_shape(network)
    first = context.preprocessing.apply(samples.inputs[:1], shape)
    if first.nbytes * len(samples) <= CACHED_BYTES:
        own = samples.fingerprint == context.fingerprint
        yield _inputs(context, shape) if own else context.preprocessing.apply(samples.inputs, shape)
        return
    step = max(context.batch_size, CACHED_BYTES // first.nbytes // 16)
    for start in range(0, len(samples), step):
        yield context.preprocessing.apply(samples.inputs[start : start + step], shape)


def training_of(context: Context) -> TrainingContext:
    """What trainings have in common; raises `ConfigurationError` where nothing was said of it."""
    if context.training is None:
        raise ConfigurationError(
            "training: expected a table [training] in the configuration, got none; add it"
        )
    return context.training


def training_data(context: Context, network: OnnxNetwork) -> TrainingData:
    """The training samples as inputs of a network.

    Raises:
        RunError: they are others than those the plan was made for.
        ConfigurationError: they do not fit the network.
    """
    return _training_data(context, input_shape(network))


def transfer_samples(context: Context, split: str) -> tuple[str, Samples]:
    """Name and samples of the data set of a transfer."""
    spec = training_of(context).transfer
    if spec is None:
        raise ConfigurationError(
            "training.transfer: expected a data set, got none; add the table to the configuration"
        )
    samples: Samples = plugins.create("datasets", spec).load(split)
    return spec.name, samples


def as_training_data(context: Context, samples: Samples, network: OnnxNetwork) -> TrainingData:
    """Samples as inputs of a network."""
    inputs = context.preprocessing.apply(samples.inputs, input_shape(network))
    return TrainingData(inputs, samples.labels, len(samples.classes))


def input_shape(network: OnnxNetwork) -> tuple[int | str | None, ...]:
    """Shape of the network's first input as the graph gives it."""
    return tuple(network.inputs[0].shape) if network.inputs else ()


@lru_cache(maxsize=1)
def _training_data(context: Context, shape: tuple[int | str | None, ...]) -> TrainingData:
    training = training_of(context)
    samples = _loaded(training.dataset, training.split, training.fingerprint)
    inputs = context.preprocessing.apply(samples.inputs, shape)
    return TrainingData(inputs, samples.labels, len(samples.classes))


@lru_cache(maxsize=2)
def _inputs(context: Context, shape: tuple[int | str | None, ...]) -> NDArray[np.float32]:
    return context.preprocessing.apply(samples_of(context).inputs, shape)


def _loaded(dataset: Spec, split: str, fingerprint: str) -> Samples:
    samples: Samples = plugins.create("datasets", dataset).load(split)
    if samples.fingerprint != fingerprint:
        raise RunError(
            f"{dataset.name}: expected the data that the plan was made for, got other "
            "data; start a new run"
        )
    return samples
