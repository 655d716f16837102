"""Trainings of a run: who carries them out, their names, seeds and records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork, widen_classifier
from nnw_onnx.kit import commitments, initialisation
from nnw_onnx.kit.trainings import learning
from nnw_onnx.records import EpochRecord, TrainingRecord
from nnw_onnx.runs import guard
from nnw_onnx.runs.seeds import generator, identity
from nnw_onnx.runs.surroundings import Surroundings, Tell, Trainings
from nnw_onnx.vocabulary import (
    Array,
    Claim,
    Epoch,
    Job,
    Key,
    Method,
    Moment,
    Network,
    Payload,
    Penalty,
    Recipe,
    Technology,
    Trained,
    Trainer,
    Trains,
)

ThroughFile: TypeAlias = Callable[[OnnxNetwork, Callable[[Path, Path], None]], OnnxNetwork]
"""See `vocabulary.Bench.through_file`."""
_STATE_BYTES = 8 * 8
"""Of each weight: itself, the best so far, and what optimizers keep, each as float64 at most."""
_STATE_ROOM = 1 << 26


def trainings_of(surroundings: Surroundings) -> Trainings:
    """How networks are trained; raises `ConfigurationError` where nothing was said of it."""
    if surroundings.trainings is None:
        raise ConfigurationError(
            "training: expected a table [training] in the configuration, got none; add it"
        )
    return surroundings.trainings


def train(
    surroundings: Surroundings,
    network: OnnxNetwork,
    job: Job,
    name: str,
    title: str,
    also_tell: Tell = lambda words: None,
) -> Trained:
    """A training of a run, which goes on where an interruption left it.

    Args:
        surroundings: of the evaluation.
        network: where it starts.
        job: what to do; its output becomes that of the task.
        name: of its checkpoint and progress, unique in the run.
        title: what is shown while it runs.
        also_tell: is told the same, a line an epoch.

    Raises:
        TrainingError: the network cannot be trained, or the training fails.
        PluginError: the trainer breaks its contract.
    """
    common = trainings_of(surroundings)
    trainer = plugins.create(Trainer, common.trainer)
    total = f"{job.recipe.epochs:g}"

    def tell(epoch: Epoch) -> None:
        words = f"{title}: epoch {epoch.number}/{total}, {in_words(epoch)}"
        surroundings.tell_progress(name, words)
        also_tell(words)

    words = f"{title}: {learning(network.layers, job.trainable)}"
    surroundings.tell_progress(name, words)
    also_tell(words)
    job = replace(job, output=common.output)
    checkpoint = surroundings.checkpoint(name, _most_state(network, job))
    try:
        trained = guard.guarded(
            trainer,
            "train",
            lambda: trainer.train(network, job, on_epoch=tell, checkpoint=checkpoint),
        )
    finally:
        surroundings.forget_progress(name)
    return guard.checked_trained(trainer, trained, network)


def _most_state(network: OnnxNetwork, job: Job) -> int:
    """Bytes that the state of a training may have: a file that holds more is not its state."""
    own = job.additions.state if job.additions else {}
    numbers = sum(layer.size for layer in network.layers)
    return numbers * _STATE_BYTES + 2 * sum(values.nbytes for values in own.values()) + _STATE_ROOM


class Added:
    """What a method adds to one training: guarded at every step, its own arrays followed.

    Attributes:
        additions: for the trainer.
    """

    def __init__(self, method: Trains, network: Network, claim: Claim) -> None:
        """Ask the method once; raises `PluginError` where it breaks its contract."""
        payload, key = claim.payload or Payload(), claim.key
        made = guard.guarded(method, "additions", lambda: method.additions(network, payload, key))
        made = guard.checked_additions(method, made, network)
        self._method, self._claim, self._penalty = method, claim, made.penalty
        self._state: Mapping[str, Array] = dict(made.state)
        self.additions = replace(made, penalty=self._guarded) if made.penalty else made

    @property
    def claim(self) -> Claim:
        """The claim with the method's own arrays as the last step left them."""
        return self.learnt(self._state)

    def learnt(self, state: Mapping[str, Array]) -> Claim:
        """The claim with these arrays beside those of its key."""
        key = commitments.learnt(self._claim.key, self._claim.payload or Payload(), state)
        return replace(self._claim, key=key)

    def _guarded(self, moment: Moment) -> Penalty:
        # Here and not around the trainer, which is another plug-in and not to blame.
        asked = self._penalty
        answer = guard.guarded(self._method, "penalty", lambda: asked(moment) if asked else None)
        checked = guard.checked_penalty(self._method, answer, moment)
        self._state = {**moment.state, **checked.state}
        return checked


def in_words(epoch: Epoch) -> str:
    """Loss, penalty and watermark error of an epoch."""
    words = f"loss {epoch.loss:.3f}"
    if epoch.penalty is not None:
        words += f", penalty {epoch.penalty:.3g}"
    if epoch.watched is not None:
        words += f", watermark error {epoch.watched:.1%}"
    return words


def start_of(technology: Technology, network: OnnxNetwork, seed: int) -> OnnxNetwork:
    """Where a training begins: the network itself, or its graph with fresh weights."""
    if technology.start != "scratch":
        return network
    rng = generator(purpose="scratch", seed=seed, network=network.digest)
    names = [layer.name for layer in network.layers if layer.replaceable]
    return network.with_weights(initialisation.fresh(network, names, rng))


def widened(
    method: Method, network: OnnxNetwork, key: Key, through_file: ThroughFile
) -> OnnxNetwork:
    """The network with the classes that a method wants beside those of the task.

    Raises:
        InjectionError: no class can be added to it.
        PluginError: the method breaks its contract.
    """
    wide = plugins.widens(method)
    if wide is None:
        return network
    classes = guard.guarded(method, "classes", lambda: wide.classes(key))

    def change(source: Path, target: Path) -> None:
        widen_classifier(source, target, wide.output, classes)

    return through_file(network, change)


def job_seed(recipe: Recipe, network: OnnxNetwork, seed: int) -> int:
    """Seed of batches and augmentation: the same for all Payloads of a network and its twin."""
    fields = recipe_fields(recipe)
    digest = identity(purpose="training", seed=seed, network=network.digest, recipe=fields)
    return int(digest[:15], 16)


def recipe_fields(recipe: Recipe) -> dict[str, object]:
    """The fields of a recipe as identities and seeds hash them."""
    fields = dataclasses.asdict(recipe)
    # The name before the vocabulary's own: with another one, every trained network of the
    # embedded evaluations would be another.
    fields["triggers_per_batch"] = fields.pop("own_per_batch")
    return fields


def recorded(trained: Trained) -> TrainingRecord:
    """A training as a record keeps it."""
    epochs = tuple(
        EpochRecord(
            number=epoch.number,
            loss=epoch.loss,
            penalty=epoch.penalty,
            symbol_error_rate=epoch.watched,
        )
        for epoch in trained.epochs
    )
    return TrainingRecord(
        epochs=epochs,
        batches=trained.batches,
        epochs_to_inject=epochs_to_inject(trained.epochs),
        device=trained.device,
        trained=_names(trained, "trained"),
        frozen=_names(trained, "frozen"),
    )


def _names(trained: Trained, what: str) -> tuple[str, ...]:
    """Names of layers that the trainer tells of; none of one that does not."""
    found = trained.facts.get(what)
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


def epochs_to_inject(epochs: tuple[Epoch, ...]) -> int | None:
    """The epoch from whose end on every Symbol is read rightly, or None where none is.

    The last of the four elements of the cost of an injection (NNT V1.1, Computational Cost).
    """
    reached = None
    for epoch in reversed(epochs):
        if epoch.watched != 0:
            break
        reached = epoch.number
    return reached
