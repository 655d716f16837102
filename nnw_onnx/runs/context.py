"""What every task of a run has in common, and what a worker keeps from task to task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from nnw_onnx import plugins
from nnw_onnx.errors import (
    ConfigurationError,
    KeyFileError,
    ModelFileError,
    NnwError,
    RunError,
    UnavailableError,
)
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.runs import guard
from nnw_onnx.runs.composed import NOTHING, Chain, ComposedSamples
from nnw_onnx.runs.elsewhere import MarkedFile
from nnw_onnx.runs.keys import claim_digest, load_key
from nnw_onnx.runs.places import network_paths, place_of
from nnw_onnx.runs.references import Reference
from nnw_onnx.runs.seeds import secret
from nnw_onnx.runs.sources import Sources
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.surroundings import Trainings
from nnw_onnx.vocabulary import Checkpoint, Claim, Dataset, Samples, Spec, Technology, TensorInfo

Of = Literal["task", "transfer"]


@dataclass(frozen=True)
class Source:
    """One split of a data set.

    Attributes:
        dataset: name and options.
        split: "test" or "train".
        digest: of its samples, checked when they are loaded; "" where nothing is known of them.
        before: networks that the samples go through before they are fed.
    """

    dataset: Spec
    split: str
    digest: str = ""
    before: Chain = NOTHING


@dataclass(frozen=True)
class Context:
    """What every task of a run has in common (`bench.Surroundings`); it is sent to workers.

    Attributes:
        folder: the run folder.
        networks: files of the unwatermarked networks.
        sha256: their digests, checked when a worker opens them.
        data: samples that quality is measured on.
        task: what quality means.
        batch_size: samples of a run where the graph leaves it open.
        false_positive_rate: level of detection.
        seed: of the evaluation.
        settings: how networks are run.
        technologies: by index of the plan's technologies.
        trainings: how networks are trained, or None where nothing is.
        training_data: samples of owners and attackers, or None where nobody needs any.
        transfer_data: likewise those of a transfer.
        transfer: samples that quality is measured on after a transfer.
        sources: digests of what options name.
        base: folder of the configuration, from which names of networks in options are seen.
        marked: networks that were watermarked elsewhere.
        references: for each network the public one that it was made from, or None.
        quality: whether the quality of networks is measured.
        resynchronise: whether modified networks are heard again, put back in order.
        after: networks that answers go through before they are measured.
        received: files of the run folder that lie elsewhere, by their names in it, and where; on
            a worker that has no run folder.
        opened: networks that plug-ins open, by their names, and where; likewise.
    """

    folder: Path
    networks: tuple[Path, ...]
    sha256: tuple[str, ...]
    data: Source
    task: Spec
    batch_size: int
    false_positive_rate: float
    seed: int = 0
    settings: SessionSettings = field(default_factory=SessionSettings)
    technologies: tuple[Technology, ...] = ()
    trainings: Trainings | None = None
    training_data: Source | None = None
    transfer_data: Source | None = None
    transfer: Source | None = None
    sources: Sources = field(default_factory=Sources)
    base: Path = Path()
    marked: tuple[MarkedFile, ...] = ()
    references: tuple[Reference | None, ...] = ()
    quality: bool = True
    resynchronise: bool = False
    after: Chain = NOTHING
    # No part of what a worker keeps its networks and data by: they change from task to task.
    received: tuple[tuple[str, Path], ...] = field(default=(), compare=False)
    opened: tuple[tuple[str, Path], ...] = field(default=(), compare=False)

    @property
    def store(self) -> Store:
        """The run folder."""
        return Store(self.folder, dict(self.received))

    def path_of(self, name: str) -> Path:
        """The file of a network by its name; raises `ConfigurationError` where there is none."""
        there = dict(self.opened).get(name)
        return network_paths([place_of(name, self.base)])[0] if there is None else there

    def named(self, name: str) -> OnnxNetwork:
        """Another network: `nnw:` for a shipped one, or a file, seen from the configuration.

        Raises:
            ConfigurationError, ModelFileError: there is none, or it cannot be opened.
        """
        return open_network(self.path_of(name))

    def training_samples(self, of: Of) -> Samples:
        """Samples to train on, not fitted.

        Raises:
            RunError: they are others than those the plan was made for.
            ConfigurationError: nothing was said of them.
        """
        if of == "transfer":
            return load_samples(_given(self.transfer_data, "training.transfer"))
        return load_samples(_given(self.training_data, "training"))

    def checkpoint(self, name: str, most: int) -> Checkpoint:
        """Where a training keeps its state, of at most `most` bytes."""
        return self.store.checkpoint(name, most)

    def tell_progress(self, name: str, words: str) -> None:
        """Say how far a training is."""
        self.store.tell_progress(name, words)

    def forget_progress(self, name: str) -> None:
        """Say no more of a training that is over."""
        self.store.forget_progress(name)


@lru_cache(maxsize=8)
def network_of(context: Context, index: int) -> OnnxNetwork:
    """An unwatermarked network; raises `UnavailableError` where the file is another one by now."""
    path = context.networks[index]
    network = open_network(path)
    if network.sha256 != context.sha256[index]:
        raise UnavailableError(
            f"{path.name}: expected the network that the plan was made for, got another; "
            "start a new run"
        )
    return network


def injected_network(context: Context, index: int, injection: str) -> OnnxNetwork:
    """A network of the run with the watermark of an injection.

    Raises:
        UnavailableError: it is gone or broken.
    """
    original = network_of(context, index)
    try:
        return context.store.load_network(injection, original)
    except (RunError, ModelFileError) as error:
        raise _gone("network", injection, error) from error


def claim_of(context: Context, injection: str) -> Claim:
    """The claim of an injection of the run.

    Raises:
        UnavailableError: its key is gone, broken or was exchanged.
    """
    try:
        claim = load_key(context.store.key_path(injection))
    except KeyFileError as error:
        raise _gone("key", injection, error) from error
    made = marked_file(context, injection)
    own = claim.key.secret == secret(context.seed, injection=injection)
    if not own if made is None else claim_digest(claim) != made.claim:
        raise UnavailableError(
            f"keys/{injection[:16]}: expected the key that this run has made, got another; the "
            "folder was changed, start a new run"
        )
    return claim


def _gone(what: str, injection: str, error: NnwError) -> UnavailableError:
    return UnavailableError(
        f"{what}s/{injection[:16]}: expected the {what} that this run has made, got: {error}"
    )


def marked_file(context: Context, injection: str) -> MarkedFile | None:
    """What was made elsewhere of an injection; None for one of this run."""
    return next((mark for mark in context.marked if mark.identity == injection), None)


def samples_for(context: Context, network: OnnxNetwork, of: Of = "task") -> Samples:
    """The samples that quality is measured on, as a network takes them.

    Raises:
        RunError: they are others than those the plan was made for.
        ConfigurationError: they do not fit the network, or there is no data set of a transfer.
    """
    source = context.data if of == "task" else _given(context.transfer, "training.transfer")
    return fitted(source, tuple(network.inputs))


# Few data sets take part at once: those of test, training and transfer.
@lru_cache(maxsize=4)
def load_samples(source: Source) -> Samples:
    """The samples of a source.

    Raises:
        UnavailableError: they are gone, or others than was expected.
        NnwError: they cannot be loaded, and nothing was known of them.
    """
    try:
        samples = _loaded(source.dataset, source.split)
        if source.before:
            samples = ComposedSamples(samples, source.before)
        digest = samples.digest if source.digest else ""
    except NnwError as error:
        if not source.digest:
            raise
        raise UnavailableError(
            f"{source.dataset.name}: expected the data that the plan was made for, got: {error}"
        ) from error
    if digest != source.digest:
        raise UnavailableError(
            f"{source.dataset.name}: expected the data that the plan was made for, got other "
            "data; start a new run"
        )
    return samples


@lru_cache(maxsize=4)
def _loaded(spec: Spec, split: str) -> Samples:
    dataset = plugins.create(Dataset, spec)
    given = guard.guarded(dataset, "load", lambda: dataset.load(split))
    return guard.GuardedSamples(dataset, given)


@lru_cache(maxsize=4)
def fitted(source: Source, inputs: Sequence[TensorInfo]) -> Samples:
    """The samples of a source as networks with these inputs take them."""
    return load_samples(source).fitted(inputs)


def _given(source: Source | None, table: str) -> Source:
    if source is None:
        raise ConfigurationError(
            f"{table}: expected a data set, got none; add the table to the configuration"
        )
    return source
