"""What a configuration says, checked against the plug-ins that it names, before anything runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Set
from typing import Literal

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.runs import calls
from nnw_onnx.runs.recipes import TrainingTable
from nnw_onnx.runs.tables import Evaluation, MethodTable, ModificationTable, StepTable
from nnw_onnx.vocabulary import (
    Code,
    Dataset,
    Engine,
    InputModification,
    Method,
    Modification,
    PlugIn,
    Recipe,
    Spec,
    Task,
    Trainer,
)

NO_METHOD = "methods: expected one, or networks that are marked already, got none; add it"
_MEANING = {
    "initial_epochs": "epochs of the initial training of the networks",
    "transfer": "a data set",
}


def check(evaluation: Evaluation, unknown: Set[str] = frozenset()) -> None:
    """Make every plug-in once and see that it gets what it needs.

    Args:
        evaluation: what to check.
        unknown: dotted paths of entries that only stand for others.

    Raises:
        ConfigurationError: plug-ins, options or combinations that cannot be: all of them, one line
            each with the dotted path.
    """
    found = Faults()
    if not evaluation.methods and not evaluation.marked:
        found.lines.append(NO_METHOD)
    check_surroundings(evaluation, found)
    with found.at("engine"):
        plugins.create(Engine, evaluation.engine.spec)
    for index, method in enumerate(evaluation.methods):
        if (where := f"methods.{index}") not in unknown:
            _check_method(where, method, evaluation, found)
    for index, modification in enumerate(evaluation.modifications):
        if (where := f"modifications.{index}") not in unknown:
            check_modification(where, modification, found, evaluation)
    found.tell()
    if unknown:
        return
    # What follows makes plug-ins of several tables, so it needs all of them right.
    _check_different(evaluation)
    if trains(evaluation):
        with found.at("training.trainer"):
            plugins.create(Trainer, (evaluation.training or TrainingTable()).trainer.spec)
        if evaluation.composed and evaluation.composed.after:
            found.lines.append(
                "composed.after: expected none where something trains, because a loss is taken of "
                "the network's own answers, got some; leave them out, or what trains"
            )
    found.tell()


def check_surroundings(evaluation: Evaluation, found: Faults) -> None:
    """Collect what is wrong with data, training and task."""
    _check_dataset(evaluation, found)
    _check_training(evaluation.training or TrainingTable(), found)
    with found.at("task"):
        plugins.create(Task, evaluation.task.spec)


class Faults:
    """Collects what is wrong with a configuration, so that all of it is told at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Keep what goes wrong inside, with its place in the configuration ("" for none)."""
        try:
            yield
        except (ConfigurationError, PluginError) as error:
            self.lines += [_placed(where, str(line)) for line in error.args]

    def tell(self) -> None:
        """Raise `ConfigurationError` with everything that was wrong, each fault once."""
        if self.lines:
            raise ConfigurationError(*dict.fromkeys(self.lines))


def _placed(where: str, line: str) -> str:
    """What is wrong after its place, which may name the kind of plug-in already."""
    kind, _, rest = line.partition(": ")
    named = {kind, kind.removesuffix("s")} & {*re.split(r"\W+", where)}
    return ": ".join(filter(None, (where, rest if named and rest else line)))


def workflows_of(
    table: MethodTable,
) -> tuple[Literal["NNW-NTI", "NNW-WTI"], Literal["NNW-NIR", "NNW-WIR"]]:
    """The two workflows that a method goes through: imperceptibility, robustness."""
    method = plugins.create(Method, table.spec)
    return (
        "NNW-WTI" if table.training else "NNW-NTI",
        "NNW-WIR" if plugins.runs_the_network(method) else "NNW-NIR",
    )


def payload_sizes(table: MethodTable, evaluation: Evaluation) -> tuple[int, ...]:
    """Bits of the payloads of a method; (0,) for one that carries none."""
    if plugins.create(Method, table.spec).alphabet == 0:
        return (0,)
    return table.payload_sizes or evaluation.payload_sizes


def made_step(step: StepTable, intensity: float | None) -> Modification:
    """The Modification of a step; the Intensity is for the one that is swept."""
    parameter = plugins.load(Modification, step.name).parameter
    options = dict(step.spec.options)
    if intensity is not None and parameter is not None and step.intensities is not None:
        options[parameter.option] = intensity
    return plugins.create(Modification, Spec(step.name, options))


def intensities_of(table: ModificationTable) -> tuple[float | None, ...]:
    """The Intensities of the step that is swept, or one None where none is."""
    return next((step.intensities for step in table.stack if step.intensities), (None,))


def made_modifications(evaluation: Evaluation) -> list[Modification]:
    """Every Modification of the configuration, at the first of its Intensities."""
    return [
        made_step(step, intensities_of(table)[0])
        for table in evaluation.modifications
        for step in table.stack
    ]


def participants(evaluation: Evaluation) -> list[PlugIn]:
    """Every method that is put in here, every code and Modification."""
    here = [m for m in evaluation.methods if not m.elsewhere]
    methods: list[PlugIn] = [plugins.create(Method, m.spec) for m in here]
    codes = [plugins.create(Code, m.code.spec) for m in evaluation.methods if m.code]
    return [*methods, *codes, *made_modifications(evaluation)]


def trains(evaluation: Evaluation) -> bool:
    """Whether anything in the evaluation needs a Trainer."""
    return any(m.training for m in evaluation.methods) or any(
        "trainer" in calls.needs(made) for made in participants(evaluation)
    )


def _check_dataset(evaluation: Evaluation, found: Faults) -> None:
    with found.at("dataset"):
        kind = plugins.load(Dataset, evaluation.dataset.name)
        required = {option.name for option in plugins.options(kind) if option.required}
        for name in plugins.path_options(kind):
            if name in required - set(evaluation.dataset.spec.options):
                found.lines.append(
                    f"dataset.{name}: expected the folder of the data set, got none; add it, or "
                    "give --data DIR"
                )
                return
        plugins.create(Dataset, evaluation.dataset.spec)


def _check_training(table: TrainingTable, found: Faults) -> None:
    with found.at("training"):
        _ = table.recipe
    if table.transfer:
        with found.at("training.transfer"):
            plugins.create(Dataset, table.transfer.spec)


def _check_method(where: str, table: MethodTable, evaluation: Evaluation, found: Faults) -> None:
    if table.training is not None:
        with found.at(f"{where}.training"):
            table.training.recipe(Recipe())
    with found.at(where):
        method = plugins.create(Method, table.spec)
        with found.at(where):
            _check_how_put_in(table, method)
        with found.at(where):
            _check_needs(method, evaluation, 1)
        if not set(workflows_of(table)) & set(evaluation.workflows):
            raise ConfigurationError(
                f"expected {' or '.join(workflows_of(table))} among workflows, got "
                f"{', '.join(evaluation.workflows)}; add one or leave the method out"
            )
    with found.at(f"{where}.code"):
        if table.code is not None:
            _check_code(table, evaluation)
    with found.at(""):
        _check_payloads(where, table)


def _check_how_put_in(table: MethodTable, method: Method) -> None:
    if table.training is not None and not plugins.trains(method):
        raise ConfigurationError(
            f"expected a method that training can put in, got {table.name}; leave "
            "[methods.training] out"
        )
    if table.training is None and plugins.trains(method) and not plugins.injects(method):
        raise ConfigurationError(
            f"expected a table [methods.training], because {table.name} is put in by training "
            "only, got none; add it"
        )


def _check_payloads(where: str, table: MethodTable) -> None:
    given = [key for key in ("payload_sizes", "code") if key in table.model_fields_set]
    if given and plugins.load(Method, table.name).alphabet == 0:
        raise ConfigurationError(
            f"{where}.{given[0]}: expected none, because {table.name} carries no payload, got "
            "some; leave it out"
        )


def _check_code(table: MethodTable, evaluation: Evaluation) -> None:
    if table.code is None:
        return
    code = plugins.create(Code, table.code.spec)
    for size in table.payload_sizes or evaluation.payload_sizes:
        calls.guarded(code, "length", lambda: code.length(size))  # noqa: B023 - called now


def check_modification(
    where: str, table: ModificationTable, found: Faults, evaluation: Evaluation | None = None
) -> None:
    """Collect what is wrong with a table of `[[modifications]]`.

    Args:
        where: its dotted path.
        table: to be checked.
        found: collects.
        evaluation: has to give it what it needs; None where only the table itself is checked.
    """
    before = len(found.lines)
    for index, step in enumerate(table.stack):
        inside = where if table.steps is None else f"{where}.steps.{index}"
        with found.at(inside):
            kind = plugins.load(Modification, step.name)
            with found.at(inside):
                _check_layers(step, kind)
            with found.at(""):
                _check_intensities(inside, step, kind, alone=table.steps is None)
                _check_made(inside, step, table, evaluation, found)
    if evaluation is not None and len(found.lines) == before:
        with found.at(where):
            _check_copies(table, evaluation)


def _check_made(
    where: str,
    step: StepTable,
    table: ModificationTable,
    evaluation: Evaluation | None,
    found: Faults,
) -> None:
    """Make a step at each of its Intensities."""
    for intensity in step.intensities or (None,):
        with found.at(where):
            made = made_step(step, intensity)
            if evaluation is not None:
                _check_needs(made, evaluation, table.copies)
                _check_asked(made, evaluation)


def _check_asked(made: Modification, evaluation: Evaluation) -> None:
    """Refuse what stands before a network for a method that runs the network by itself."""
    if not isinstance(made, InputModification):
        return
    for table in evaluation.methods:
        with contextlib.suppress(ConfigurationError, PluginError):  # told with the methods
            method = plugins.create(Method, table.spec)
            if plugins.sees_whole(method) is not None and plugins.runs_the_network(method):
                title = method.title or method.name
                break
    else:
        return
    raise ConfigurationError(
        f"expected a Modification of networks, because {title} runs the network itself, got one of "
        f"its inputs; leave {made.name} or that method out"
    )


def _check_layers(step: StepTable, kind: type[Modification]) -> None:
    if step.layers is not None and not kind.aims:
        raise ConfigurationError(
            f"expected no layers, because {step.name} itself decides what it changes, got "
            f"{step.layers if isinstance(step.layers, str) else ', '.join(step.layers)}; leave "
            "layers out"
        )


def _check_intensities(
    where: str, step: StepTable, kind: type[Modification], *, alone: bool
) -> None:
    parameter, given = kind.parameter, step.intensities
    if parameter is None:
        if given is not None:
            raise ConfigurationError(
                f"{where}.intensities: expected none, because {step.name} has no Parameter to "
                "sweep, got some; leave them out"
            )
        return
    if parameter.option in step.spec.options and (given is not None or alone):
        raise ConfigurationError(
            f"{where}.{parameter.option}: expected intensities, got a value by itself; write it "
            "as intensities = [...]"
        )
    if given is None and alone:
        raise ConfigurationError(f"{where}.intensities: expected a value, got none; add it")


def _check_needs(plugin: PlugIn, evaluation: Evaluation, copies: int) -> None:
    training = evaluation.training or TrainingTable()
    given = {"initial_epochs": training.initial_epochs, "transfer": training.transfer}
    for need in calls.needs(plugin):
        if need in given and given[need] is None:
            raise ConfigurationError(
                f"expected training.{need} ({_MEANING[need]}) for {plugin.name}, got none; add it"
            )
    if "copies" in calls.needs(plugin) and copies < 2:
        raise ConfigurationError(
            f"expected copies = 2 or more (copies of recipients) for {plugin.name}, got {copies}; "
            "add it"
        )


def _check_copies(table: ModificationTable, evaluation: Evaluation) -> None:
    if table.copies > evaluation.payloads:
        raise ConfigurationError(
            f"copies: expected at most payloads = {evaluation.payloads}, because each recipient "
            f"has a payload, got {table.copies}; use fewer copies or more payloads"
        )
    if table.copies > 1 and not any(
        "copies" in calls.needs(made_step(step, intensities_of(table)[0])) for step in table.stack
    ):
        raise ConfigurationError(
            f"copies: expected a Modification that takes several copies, got "
            f"{' and '.join(step.name for step in table.stack)}; leave copies out"
        )


def _check_different(evaluation: Evaluation) -> None:
    """Each label once, and each stack at each Intensity once."""
    labels: set[str] = set()
    cells: set[str] = set()
    for index, table in enumerate(evaluation.modifications):
        if table.label in labels:
            raise ConfigurationError(
                f"modifications.{index}.label: expected labels that differ, got {table.label!r} "
                "twice; change one"
            )
        labels |= {table.label} if table.label else set()
        for intensity in intensities_of(table):
            steps = [f"{made_step(s, intensity).spec()} of {s.layers}" for s in table.stack]
            cell = f"{', '.join(steps)}, {table.copies} copies"
            if cell in cells:
                raise ConfigurationError(
                    f"modifications.{index}: expected settings that differ, got "
                    f"{' then '.join(s.name for s in table.stack)} twice; remove one"
                )
            cells.add(cell)
