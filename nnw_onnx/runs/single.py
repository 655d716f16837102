"""One injection or Modification by training, outside an evaluation.

The configuration says what is trained on and how; of an evaluation only `[dataset]`, `[training]`
and the `[methods.training]` of the method are used. State is kept in a work folder, so that a
training that was interrupted goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import training
from nnw_onnx.runs.context import Context, Technology
from nnw_onnx.runs.evaluation import (
    Evaluation,
    find_evaluation,
    read_evaluation,
    with_dataset_path,
)
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.runs.prepare import single_context
from nnw_onnx.runs.seeds import generator, identity, secret
from nnw_onnx.runs.store import work_folder
from nnw_onnx.runs.workshop import RunWorkshop
from nnw_onnx.vocabulary import Key, Mark, Payload, Spec, TrainingOutcome, adds_to_training

_KEY = "key.npz"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """How to train.

    Attributes:
        evaluation: what is trained on, and the recipe.
        work_folder: where state is kept, or None for nowhere.
        tell: is called with each epoch, one line each.
    """

    evaluation: Evaluation
    work_folder: Path | None = None
    tell: Tell = lambda words: None


def how_to_train(
    training: str | Path | Evaluation | None,
    data: str | Path | None,
    work_folder: str | Path | None,
    tell: Tell,
) -> How | None:
    """How to train, with the data set from elsewhere where one is given; None without training."""
    if training is None:
        return None
    if isinstance(training, str | Path):
        path = find_evaluation(training)
        training = read_evaluation(path, None if data is None else Path(data))
    elif data is not None:
        moved = with_dataset_path(training.dataset, Path(data).resolve())
        training = training.model_copy(update={"dataset": moved})
    return How(training, None if work_folder is None else Path(work_folder), tell)


def inject(
    network: OnnxNetwork,
    payload: Payload,
    method: Spec,
    layer: str | None,
    seed: int | None,
    how: How,
) -> tuple[OnnxNetwork, Key]:
    """A network into which a training has put the payload, and its key.

    Raises:
        InjectionError: some Symbols are not read back after the training.
        ConfigurationError, TrainingError, DatasetError: it cannot be trained as written.
    """
    evaluation = how.evaluation
    made = plugins.create("methods", method)
    if not adds_to_training(made):
        raise ConfigurationError(
            f"training: expected a method that training can put in, got {method.name}; leave "
            "--training out"
        )
    technology = _technology(evaluation, plugins.spec_of(made), len(payload))
    task = identity(
        network=network.sha256, method=dataclasses.asdict(technology), symbols=payload.symbols,
        seed=seed, layer=layer,
    )  # fmt: skip
    with work_folder(how.work_folder, task) as folder:
        context = single_context(evaluation, network, folder)
        mark = _mark(context, technology, network, payload, seed, layer)
        trained, wrong = training.put_in(
            context, technology, network, mark, "injection", seed or 0, how.tell
        )
    if wrong:
        raise InjectionError(
            f"{method.name}: expected all {len(payload)} symbols to be read back after "
            f"{len(trained.epochs)} epochs, got {wrong} wrong ones; train longer, with a larger "
            "learning rate or strength, or use a shorter payload"
        )
    return trained.network, mark.key


def modify(network: OnnxNetwork, modification: Any, seed: int, how: How) -> TrainingOutcome:
    """A network after a Modification that trains."""
    spec = plugins.spec_of(modification)
    task = identity(network=network.sha256, name=spec.name, options=_plain(spec.options), seed=seed)
    with work_folder(how.work_folder, task) as folder:
        context = single_context(how.evaluation, network, folder)
        rng = generator(purpose="modify", seed=seed, network=network.sha256)
        title = f"{spec.name} of {network.path.name}"
        workshop = RunWorkshop(context, network, task, title, None, how.tell)
        outcome: TrainingOutcome = modification.modify_by_training(network, workshop, rng)
    return outcome


def _technology(evaluation: Evaluation, method: Spec, size: int) -> Technology:
    for table in evaluation.methods:
        if table.name == method.name and table.training:
            recipe = table.training.recipe(evaluation.base_recipe)
            return Technology(method, size, recipe, table.training.start, table.trigger_images)
    return Technology(method, size, evaluation.base_recipe)


def _mark(
    context: Context,
    technology: Technology,
    network: OnnxNetwork,
    payload: Payload,
    seed: int | None,
    layer: str | None,
) -> Mark:
    """The watermark; an interrupted training goes on with the key that it began with."""
    kept = context.folder / _KEY
    if kept.exists():
        key = load_key(kept)
        return Mark(plugins.create("methods", technology.method), payload, key)
    fresh = secret(seed, network=network.sha256)
    mark = training.make_mark(context, technology, network, payload, fresh, layer)
    save_key(mark.key, kept)
    return mark


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) for name, value in options.items()}
