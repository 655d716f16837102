"""Presets: Modifications that many ask for together, in files that read like an evaluation.

What an evaluation cannot give to a Modification of a preset (a trainer, data, another data set,
copies of recipients) leaves that Modification out, with the reason; one that the evaluation asks
for itself is refused instead. What is asked for already is not done twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence, Set
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import LeftOutRecord
from nnw_onnx.runs import calls, mistakes, toml
from nnw_onnx.runs.checks import Faults, check_modification, intensities_of, made_step
from nnw_onnx.runs.settings import aim_of, label_of
from nnw_onnx.runs.tables import (
    Evaluation,
    ModificationTable,
    Table,
    mapped_modification,
    seen_from,
)
from nnw_onnx.vocabulary import Method, Modification, Need, PlugIn, Step

Lacks = Callable[[Need], str]
"""A need of a Modification -> why the evaluation cannot give it, "" where it can."""


class Preset(BaseModel):
    """The document of a preset.

    Attributes:
        summary: one line for `nnw list presets`.
        includes: presets whose Modifications come before its own: names, or files as seen from it.
        adaptive: whether the attacks come too that the methods under test name as those of
            somebody who knows them; see `vocabulary.Method.adaptive`.
        modifications: see `Evaluation.modifications`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    summary: str
    includes: tuple[str, ...] = ()
    adaptive: bool = False
    modifications: tuple[ModificationTable, ...] = ()


def shipped() -> dict[str, Path]:
    """Name -> file of the presets that come with the package."""
    folder = Path(str(files("nnw_onnx") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_preset(name: str, folder: Path) -> Path:
    """A shipped preset by name, or the TOML file of this path, as seen from a folder.

    Raises:
        ConfigurationError: it is neither.
    """
    known = shipped()
    if name in known:
        return known[name]
    if not name.endswith(".toml"):
        raise ConfigurationError(
            f"presets: expected a TOML file or one of {', '.join(known)}; got {name!r}"
            f"{plugins.closest(name, known)}; see 'nnw list presets'"
        )
    return folder / name


def read_preset(path: Path) -> Preset:
    """The preset of a TOML file; paths in it are relative to the file.

    Raises:
        ConfigurationError: the file is missing, too large, not TOML, or a key or value is wrong.
    """
    try:
        preset = Preset.model_validate(toml.parsed(path))
    except ValidationError as error:
        lines = [mistakes.one_line(Preset, f) for f in mistakes.deepest(error.errors())]
        raise ConfigurationError(*(f"{path.name}: {line}" for line in lines)) from error

    def move(kind: type[PlugIn], table: Table) -> Table:
        return seen_from(path.parent, kind, table)

    tables = tuple(mapped_modification(table, move) for table in preset.modifications)
    found = Faults()
    for index, table in enumerate(tables):
        check_modification(f"{path.name}: modifications.{index}", table, found)
    found.tell()
    return preset.model_copy(update={"modifications": tables})


def tables_of(
    name: str, folder: Path, methods: Sequence[type[Method]] = ()
) -> list[ModificationTable]:
    """Every Modification of a preset, those of the presets that it includes first.

    Args:
        name: of a shipped one, or of a file.
        folder: that files are seen from.
        methods: under test.

    Raises:
        ConfigurationError: see `find_preset` and `read_preset`, or a preset includes itself.
    """
    return list(_tables(name, folder, methods, ()))


def lines_of(name: str) -> tuple[str, ...]:
    """What a shipped preset brings: a line for each Modification, with its Intensities."""
    preset, tables = read_preset(shipped()[name]), tables_of(name, Path())
    lines = [_line(table, tables) for table in tables]
    if preset.adaptive or "adaptive" in preset.includes:
        lines.append("what the methods under test name; see 'nnw list methods'")
    return tuple(lines)


def with_presets(evaluation: Evaluation, lacks: Lacks) -> Evaluation:
    """The evaluation with the Modifications of its presets behind its own.

    Args:
        evaluation: with all methods under test.
        lacks: what of a preset it cannot give.

    Raises:
        ConfigurationError: a preset does not exist, or is wrong in itself.
    """
    asked = functools.cache(lacks)
    tables = list(evaluation.modifications)
    known = {cell for table in tables for cell in cells_of(table)}
    left_out: list[LeftOutRecord] = []
    for wanted in _wanted(evaluation):
        table = without(wanted, known)
        if table is None:
            continue
        known |= set(cells_of(table))
        if reason := _why_not(table, evaluation, asked):
            label = label_of(table, [table])
            left_out.append(LeftOutRecord(preset=table.preset, label=label, reason=reason))
        else:
            tables.append(table)
    return evaluation.with_modifications(tuple(tables), tuple(left_out))


def attack_table(stack: Sequence[Step]) -> ModificationTable:
    """The table of `[[modifications]]` that does what a stack of steps does."""
    steps = [_step_table(step, alone=len(stack) == 1) for step in stack]
    return ModificationTable.model_validate(steps[0] if len(steps) == 1 else {"steps": steps})


def _line(table: ModificationTable, among: Sequence[ModificationTable]) -> str:
    swept = [step for step in table.stack if step.intensities]
    if not swept:
        return label_of(table, among)
    parameter = plugins.load(Modification, swept[0].name).parameter
    at = " ".join(f"{x:g}" for x in swept[0].intensities or ())
    unit = "" if parameter is None or parameter.unit == "ratio" else f" {parameter.unit}"
    return f"{label_of(table, among)}: {at}{unit}".rstrip()


def _wanted(evaluation: Evaluation) -> Iterator[ModificationTable]:
    methods = [plugins.load(Method, table.name) for table in evaluation.methods]
    for name in evaluation.presets:
        yield from _tables(name, evaluation.folder, methods, ())


def _tables(
    name: str, folder: Path, methods: Sequence[type[Method]], inside: tuple[Path, ...]
) -> Iterator[ModificationTable]:
    path = find_preset(name, folder)
    if path in inside:
        raise ConfigurationError(
            f"{path.name}: expected includes that end, got a preset that includes itself; remove it"
        )
    preset = read_preset(path)
    for other in preset.includes:
        yield from _tables(other, path.parent, methods, (*inside, path))
    for table in preset.modifications:
        yield table.of_preset(path.stem)
    if preset.adaptive:
        for table in _attacks(methods):
            yield table.of_preset(path.stem)


def _attacks(methods: Sequence[type[Method]]) -> Iterator[ModificationTable]:
    """The attacks that methods name; `with_presets` does none of them twice."""
    found = Faults()
    for method in methods:
        for stack in method.adaptive:
            table = attack_table(stack)
            check_modification(f"{method.name}: adaptive", table, found)
            found.tell()
            yield table


def _step_table(step: Step, *, alone: bool) -> dict[str, object]:
    """A step as the configuration writes it; one alone has its Parameter as Intensities."""
    options = dict(step.modification.options)
    made: dict[str, object] = {"name": step.modification.name, **options}
    parameter = plugins.load(Modification, step.modification.name).parameter
    if alone and parameter is not None and parameter.option in options:
        made["intensities"] = [made.pop(parameter.option)]
    if step.layers:
        aimed = step.layers[0]
        words = aimed in ("@all", "@carrier")
        made["layers"] = aimed.removeprefix("@") if words else list(step.layers)
    return made


def cells_of(table: ModificationTable) -> list[str]:
    """What a table does at each of its Intensities, in words that are equal where that is."""
    return [_cell(table, intensity) for intensity in intensities_of(table)]


def _cell(table: ModificationTable, intensity: float | None) -> str:
    """What a table does at one of its Intensities, whatever it is called."""
    steps = []
    for step in table.stack:
        made = made_step(step, intensity)
        steps.append(f"{made.spec()} of {aim_of(step, aims=made.aims)}")
    return f"{', '.join(steps)}, {table.copies} copies"


def without(table: ModificationTable, known: Set[str]) -> ModificationTable | None:
    """The table without the Intensities that are tried already; None where none is left.

    Args:
        table: to be thinned out.
        known: what is tried, as `cells_of` says it.
    """
    rest = [x for x in intensities_of(table) if _cell(table, x) not in known]
    if not rest:
        return None
    if rest == [None]:
        return table
    if table.steps is None:
        return table.model_copy(update={"intensities": tuple(rest)})
    steps = tuple(
        step.model_copy(update={"intensities": tuple(rest)}) if step.intensities else step
        for step in table.steps
    )
    return table.model_copy(update={"steps": steps})


def _why_not(table: ModificationTable, evaluation: Evaluation, lacks: Lacks) -> str:
    """What the evaluation lacks for a Modification; "" where it is all there."""
    found = Faults()
    check_modification("", table, found, evaluation)
    if found.lines:
        return found.lines[0].removeprefix(".")
    made = [made_step(step, intensities_of(table)[0]) for step in table.stack]
    needed = dict.fromkeys(need for one in made for need in calls.needs(one))
    return next(filter(None, map(lacks, needed)), "")
