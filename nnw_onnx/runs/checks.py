"""What a configuration says of training, checked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.runs.recipes import TrainingTable
from nnw_onnx.vocabulary import Spec, adds_to_training, needs_inference

if TYPE_CHECKING:
    from nnw_onnx.runs.evaluation import Evaluation, MethodTable

_MEANING = {
    "initial_epochs": "epochs of the initial training of the networks",
    "transfer": "a data set",
}


def workflows_of(
    table: MethodTable,
) -> tuple[Literal["NNW-NTI", "NNW-WTI"], Literal["NNW-NIR", "NNW-WIR"]]:
    """The two workflows that a method goes through: imperceptibility, robustness."""
    made = plugins.create("methods", table.spec)
    return (
        "NNW-WTI" if table.training else "NNW-NTI",
        "NNW-WIR" if needs_inference(made) else "NNW-NIR",
    )


def trains(evaluation: Evaluation) -> bool:
    """Whether anything in the evaluation needs a Trainer."""
    return any(m.training for m in evaluation.methods) or any(
        hasattr(plugins.load("modifications", m.name), "modify_by_training")
        for m in evaluation.modifications
    )


def check_training(evaluation: Evaluation) -> None:
    """Refuse what cannot be trained as written; raises `ConfigurationError`."""
    training = evaluation.training or TrainingTable()
    _check_table(training)
    for index, table in enumerate(evaluation.methods):
        _check_method(f"methods.{index}", table, evaluation)
    if trains(evaluation):
        _check_modifications(evaluation, training)


def _check_table(training: TrainingTable) -> None:
    try:
        _ = training.recipe
        if training.transfer:
            plugins.create("datasets", training.transfer.spec)
    except (ConfigurationError, PluginError) as error:
        raise ConfigurationError(f"training: {error}") from error


def _check_modifications(evaluation: Evaluation, training: TrainingTable) -> None:
    try:
        plugins.create("trainers", training.trainer.spec)
    except (ConfigurationError, PluginError) as error:
        raise ConfigurationError(f"training: {error}") from error
    for index, made in enumerate(made_modifications(evaluation)):
        for key in made.needs() if hasattr(made, "needs") else ():
            if getattr(training, key) is None:
                raise ConfigurationError(
                    f"modifications.{index}: expected training.{key} ({_MEANING[key]}) for "
                    f"{made.name}, got none; add it"
                )


def made_modifications(evaluation: Evaluation) -> list[Any]:
    """Every Modification of the configuration, at the first of its Intensities."""
    return [
        plugins.create(
            "modifications", Spec(m.name, {**m.spec.options, "intensity": m.intensities[0]})
        )
        for m in evaluation.modifications
    ]


def _check_method(where: str, table: MethodTable, evaluation: Evaluation) -> None:
    made = plugins.create("methods", table.spec)
    if table.training is None and not hasattr(made, "inject"):
        raise ConfigurationError(
            f"{where}: expected a table [methods.training], because {table.name} is put in by "
            "training only, got none; add it"
        )
    if table.training is not None:
        if not adds_to_training(made):
            raise ConfigurationError(
                f"{where}: expected a method that training can put in, got {table.name}; leave "
                "[methods.training] out"
            )
        try:
            table.training.recipe(evaluation.base_recipe)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}.training: {error}") from error
    if table.trigger_images is not None and not hasattr(made, "draw_triggers"):
        raise ConfigurationError(
            f"{where}: expected trigger_images for a method with triggers, got {table.name}; "
            "leave it out"
        )
    if not set(workflows_of(table)) & set(evaluation.workflows):
        raise ConfigurationError(
            f"{where}: expected {' or '.join(workflows_of(table))} among workflows, got "
            f"{', '.join(evaluation.workflows)}; add one or leave the method out"
        )
