"""Tables of `[[modifications]]` that stand for several settings, such as one for each rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnw_onnx.runs import calls
from nnw_onnx.runs.checks import intensities_of, made_step
from nnw_onnx.runs.presets import cells_of, without
from nnw_onnx.runs.tables import Evaluation, ModificationTable
from nnw_onnx.vocabulary import Json, Recipe


def with_sweeps(evaluation: Evaluation) -> Evaluation:
    """The evaluation with the settings that its tables stand for; see `Modification.settings`.

    A step of a stack stands for itself alone. What another table asks for is not done twice.

    Raises:
        ConfigurationError: an option of a setting that the Modification does not have.
        PluginError: a Modification does not say what it stands for.
    """
    recipe = evaluation.base_recipe
    settings = [_settings(table, recipe) for table in evaluation.modifications]
    pairs = list(zip(evaluation.modifications, settings, strict=True))
    known = {cell for table, several in pairs if not several for cell in cells_of(table)}
    found: list[ModificationTable] = []
    for table, several in pairs:
        if not several:
            found.append(table)
        for options in several:
            left = without(_with(table, options), known)
            if left is not None:
                known |= set(cells_of(left))
                found.append(left)
    return evaluation.with_modifications(tuple(found), evaluation.left_out)


def _settings(table: ModificationTable, recipe: Recipe) -> Sequence[Mapping[str, Json]]:
    if table.steps is not None:
        return ()
    made = made_step(table.stack[0], intensities_of(table)[0])
    return calls.guarded(made, "settings", lambda: tuple(map(dict, made.settings(recipe))))


def _with(table: ModificationTable, options: Mapping[str, Json]) -> ModificationTable:
    """The table with these options, and with a label that tells it from its like."""
    label: dict[str, Json] = {}
    if table.label is not None:
        told = (f"{name.replace('_', ' ')} {value}" for name, value in options.items())
        label["label"] = ", ".join((table.label, *told))
    return table.model_copy(update={**options, **label})
