"""Trainings of a run: watermarks put in by training, their twins, and who carries them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.arrays import initialisation
from nnw_onnx.datasets import trigger_images
from nnw_onnx.errors import InjectionError, TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.records import EpochRecord, TrainingRecord
from nnw_onnx.runs import context as contexts
from nnw_onnx.runs.context import Context, Technology
from nnw_onnx.runs.marks import new_mark
from nnw_onnx.runs.seeds import generator, identity
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import Epoch, Job, Mark, Payload, Trained, TrainingData

Tell = Callable[[str], None]


def train(
    context: Context,
    network: OnnxNetwork,
    job: Job,
    name: str,
    title: str,
    also_tell: Tell = lambda words: None,
) -> Trained[Any]:
    """A training of a run, which goes on where an interruption left it.

    Args:
        context: of the run.
        network: where it starts.
        job: what to do.
        name: of its checkpoint and progress, unique in the run.
        title: what is shown while it runs.
        also_tell: is told the same, a line an epoch.

    Raises:
        TrainingError: the network cannot be trained, or the training fails.
    """
    store = Store(context.folder)
    training = contexts.training_of(context)
    trainer = plugins.create("trainers", training.trainer)
    total = f"{job.recipe.epochs:g}"

    def tell(epoch: Epoch) -> None:
        words = f"{title}: epoch {epoch.number}/{total}, {in_words(epoch)}"
        store.tell_progress(name, words)
        also_tell(words)

    job = dataclasses.replace(job, output=training.output)
    try:
        trained: Trained[Any] = trainer.train(
            network, job, on_epoch=tell, checkpoint=store.checkpoint(name)
        )
    finally:
        store.forget_progress(name)
    return trained


def in_words(epoch: Epoch) -> str:
    """Loss, quality and watermark error of an epoch."""
    words = f"loss {epoch.loss:.3f}, quality {epoch.quality:.1%}"
    if epoch.penalty is not None:
        words += f", penalty {epoch.penalty:.3g}"
    if epoch.symbol_error_rate is not None:
        words += f", watermark error {epoch.symbol_error_rate:.1%}"
    return words


def start_of(technology: Technology, network: OnnxNetwork, seed: int) -> OnnxNetwork:
    """Where a training begins: the network itself, or its graph with fresh weights."""
    if technology.start != "scratch":
        return network
    rng = generator(purpose="scratch", seed=seed, network=network.sha256)
    names = [layer.name for layer in network.layers if layer.replaceable]
    return network.with_weights(initialisation.fresh(network, names, rng))


def job_seed(technology: Technology, network: OnnxNetwork, seed: int) -> int:
    """Seed of batches and augmentation: the same for all Payloads of a network and its twin."""
    recipe = dataclasses.asdict(technology.recipe) if technology.recipe else {}
    digest = identity(purpose="training", seed=seed, network=network.sha256, recipe=recipe)
    return int(digest[:15], 16)


def make_mark(
    context: Context,
    technology: Technology,
    network: OnnxNetwork,
    payload: Payload,
    secret: bytes,
    layer: str | None = None,
) -> Mark:
    """A watermark for a network: method, key (with triggers where it has any) and Payload."""
    return new_mark(
        network,
        payload,
        technology.method,
        secret,
        layer=layer,
        data=lambda: contexts.training_data(context, network),
        images=_images(context, technology.trigger_images, network),
        network_digest=network.sha256,
    )


def put_in(
    context: Context,
    technology: Technology,
    network: OnnxNetwork,
    mark: Mark,
    name: str,
    seed: int,
    also_tell: Tell = lambda words: None,
) -> tuple[Trained[Any], int]:
    """The training that puts a watermark in, and how many Symbols are read wrongly after it."""
    if technology.recipe is None:
        raise InjectionError(
            f"{technology.method.name}: expected a recipe of its training, got none; add "
            "[methods.training]"
        )
    data = contexts.training_data(context, network)
    start = start_of(technology, network, seed)
    job = Job(data, technology.recipe, job_seed(technology, network, seed), mark=mark)
    title = f"{technology.method.name} in {network.path.name}"
    trained = train(context, start, job, name, title, also_tell)
    return trained, wrong_symbols(context, trained.network, mark)


def train_twin(
    context: Context, technology: Technology, network: OnnxNetwork, name: str, seed: int
) -> Trained[Any]:
    """The same training without a watermark."""
    if technology.recipe is None:
        raise TrainingError(
            "twin: expected the recipe of a training, got none; it has no twin without one"
        )
    data = contexts.training_data(context, network)
    job = Job(data, technology.recipe, job_seed(technology, network, seed))
    start = start_of(technology, network, seed)
    return train(context, start, job, name, f"twin of {network.path.name}")


def wrong_symbols(context: Context, network: OnnxNetwork, mark: Mark) -> int:
    """Symbols of a watermark that are read wrongly."""
    subject = contexts.subject_of(context, network, mark.method)
    return mark.payload.errors(mark.method.decode(subject, mark.key).payload)


def recorded(trained: Trained[Any]) -> TrainingRecord:
    """A training as a record keeps it."""
    epochs = tuple(EpochRecord(**dataclasses.asdict(epoch)) for epoch in trained.epochs)
    return TrainingRecord(
        epochs=epochs,
        batches=trained.batches,
        epochs_to_inject=epochs_to_inject(trained.epochs),
        device=trained.device,
    )


def epochs_to_inject(epochs: tuple[Epoch, ...]) -> int | None:
    """The epoch from whose end on every Symbol is read rightly, or None where none is.

    The last of the four elements of the cost of an injection (NNT V1.1, Computational Cost).
    """
    reached = None
    for epoch in reversed(epochs):
        if epoch.symbol_error_rate != 0:
            break
        reached = epoch.number
    return reached


def _images(
    context: Context, folder: str | None, network: OnnxNetwork
) -> NDArray[np.float32] | None:
    if folder is None:
        return None
    shape = contexts.input_shape(network)
    sizes = [n for n in shape[1:] if isinstance(n, int) and n > 4]
    side = (sizes[0], sizes[1]) if len(sizes) > 1 else None
    return context.preprocessing.apply(trigger_images(folder, side), shape)


def few(data: TrainingData, batches: int, size: int) -> TrainingData:
    """The samples of so many batches, at least one."""
    return data.first(max(1, min(len(data), batches * size)))
