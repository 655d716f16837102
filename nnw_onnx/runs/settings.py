"""Technologies and settings of an evaluation as its plan records them: all that a report needs."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.kit import knowing
from nnw_onnx.records import (
    ParameterRecord,
    PluginRecord,
    SettingRecord,
    StepRecord,
    TechnologyRecord,
)
from nnw_onnx.runs import calls
from nnw_onnx.runs.checks import intensities_of, made_step, payload_sizes, workflows_of
from nnw_onnx.runs.recipes import MethodTraining
from nnw_onnx.runs.sources import with_paths
from nnw_onnx.runs.tables import Evaluation, MethodTable, ModificationTable, StepTable
from nnw_onnx.vocabulary import Code, Json, Method, Modification, PlugIn, Spec, Technology

_Aimed = tuple[Spec, tuple[str, ...]]
"""A Modification, and the layers that it is aimed at."""
_Stack = tuple[_Aimed, ...]


def technologies_of(evaluation: Evaluation) -> tuple[Technology, ...]:
    """The technologies under test: every method at every payload size."""
    return tuple(technology for _, technology in _technologies(evaluation))


def technology_records(evaluation: Evaluation) -> tuple[TechnologyRecord, ...]:
    """What a report must know of each technology, in the order of `technologies_of`."""
    found: list[TechnologyRecord] = []
    for index, (table, technology) in enumerate(_technologies(evaluation)):
        label = _apart(_technology_label(table, technology), [made.label for made in found])
        method = plugins.create(Method, technology.method)
        imperceptibility, robustness = workflows_of(table)
        found.append(
            TechnologyRecord(
                index=index,
                method=plugin_record(method),
                code=_code(technology),
                payload_size=technology.size,
                label=label,
                kind=method.kind,
                access=method.access,
                alphabet=method.alphabet,
                decodes=plugins.decodes(method) is not None,
                imperceptibility=imperceptibility,
                robustness=robustness,
                training=_training(technology),
                layers=technology.layers,
                elsewhere=table.elsewhere,
                title=method.title,
            )
        )
    return tuple(found)


def setting_records(evaluation: Evaluation) -> tuple[SettingRecord, ...]:
    """What a report must know of each table `[[modifications]]`, in their order."""
    labels = labels_of(evaluation.modifications)
    attacks = [_attacks(technology) for technology in technologies_of(evaluation)]
    return tuple(
        _setting(index, table, label, attacks)
        for index, (table, label) in enumerate(zip(evaluation.modifications, labels, strict=True))
    )


def plugin_record(plugin: PlugIn, *, without: Sequence[str] = ()) -> PluginRecord:
    """A plug-in with its options, but for those left out; of paths the last part alone."""
    spec = nameable(plugin)
    package, version = plugins.origin(plugin)
    options = {name: value for name, value in spec.options.items() if name not in without}
    return PluginRecord(name=spec.name, options=options, package=package, version=version)


def nameable(plugin: PlugIn) -> Spec:
    """The plug-in with the names of its files, without their folders."""
    return with_paths(type(plugin), plugin.spec(), lambda path: Path(path).name)


def _technologies(evaluation: Evaluation) -> Iterator[tuple[MethodTable, Technology]]:
    for table in evaluation.methods:
        for size in payload_sizes(table, evaluation):
            yield table, technology_of(table, size, evaluation)


def technology_of(table: MethodTable, size: int, evaluation: Evaluation) -> Technology:
    """How a method of the configuration is put in, with payloads of a size in bits."""
    training = table.training
    return Technology(
        method=plugins.create(Method, table.spec).spec(),
        size=size,
        code=plugins.create(Code, table.code.spec).spec() if table.code else None,
        recipe=training.recipe(evaluation.base_recipe) if training else None,
        start=training.start if training else "trained",
        layers=table.layers,
    )


def _code(technology: Technology) -> PluginRecord | None:
    if technology.code is None:
        return None
    return plugin_record(plugins.create(Code, technology.code))


def _training(technology: Technology) -> dict[str, Json] | None:
    if technology.recipe is None:
        return None
    return {"start": technology.start, **dataclasses.asdict(technology.recipe)}


def _technology_label(table: MethodTable, technology: Technology) -> str:
    title = plugins.create(Method, technology.method).title
    words = [title or str(_short(plugins.load(Method, table.name), table.spec))]
    if technology.size:
        words.append(f"{technology.size} bits")
    if table.code:
        words.append(str(_short(plugins.load(Code, table.code.name), table.code.spec)))
    if technology.layers:
        words.append(f"in {' and '.join(technology.layers)}")
    if table.training:
        words.append(_start(table.training))
    if table.elsewhere:
        words.append("made elsewhere")
    return ", ".join(words)


def _short(kind: type[PlugIn], spec: Spec) -> Spec:
    return with_paths(kind, spec, lambda path: Path(path).name)


def _start(table: MethodTraining) -> str:
    return "by training" if table.start == "trained" else "by training from scratch"


def _setting(
    index: int, table: ModificationTable, label: str, attacks: Sequence[Sequence[_Stack]]
) -> SettingRecord:
    first = intensities_of(table)[0]
    made = [made_step(step, first) for step in table.stack]
    swept = next((i for i, step in enumerate(table.stack) if step.intensities), None)
    parameter = None if swept is None else made[swept].parameter
    return SettingRecord(
        index=index,
        label=label,
        steps=tuple(_step(step, first) for step in table.stack),
        swept=swept,
        parameter=None if parameter is None else ParameterRecord(**dataclasses.asdict(parameter)),
        intensities=tuple(value for value in intensities_of(table) if value is not None),
        copies=table.copies,
        trains=any(plugins.needs_training(modification) for modification in made),
        preset=table.preset,
        adaptive=tuple(i for i, stacks in enumerate(attacks) if _is_attack(table, stacks)),
    )


def _attacks(technology: Technology) -> list[_Stack]:
    """The stacks by which somebody who knows the method of a technology would attack it."""
    method = plugins.load(Method, technology.method.name)
    return [
        tuple((plugins.create(Modification, s.modification).spec(), s.layers) for s in stack)
        for stack in method.adaptive
    ]


def _is_attack(table: ModificationTable, stacks: Sequence[_Stack]) -> bool:
    """Whether a table does what one of the stacks does, at one of its Intensities."""
    for intensity in intensities_of(table):
        made = [(made_step(step, intensity), step) for step in table.stack]
        own = [(one.spec(), _aimed(step, aims=one.aims)) for one, step in made]
        if any(_alike(own, stack) for stack in stacks):
            return True
    return False


def _alike(own: Sequence[_Aimed], attack: Sequence[_Aimed]) -> bool:
    """Whether steps do what an attack does: to the same layers, to all of them or the carrier."""
    return len(own) == len(attack) and all(
        spec == wanted and (layers == aimed or layers in (("@all",), ("@carrier",)))
        for (spec, layers), (wanted, aimed) in zip(own, attack, strict=True)
    )


def _aimed(step: StepTable, *, aims: bool) -> tuple[str, ...]:
    """The layers aimed at, as a `Step` has them; () where it does not aim."""
    layers = step.layers or "all"
    if not aims:
        return ()
    return (f"@{layers}",) if isinstance(layers, str) else layers


def _step(step: StepTable, intensity: float | None) -> StepRecord:
    made = made_step(step, intensity)
    swept = [made.parameter.option] if made.parameter and step.intensities else []
    return StepRecord(
        modification=plugin_record(made, without=swept),
        summary=plugins.summary(type(made)),
        number=made.number,
        family=made.family,
        aim=aim_of(step, aims=made.aims),
        preserves=made.preserves,
        depends_on_method="method" in calls.needs(made),
    )


def aim_of(step: StepTable, *, aims: bool) -> str:
    """The layers aimed at in the words of the configuration; "" where it does not aim."""
    if not aims:
        return ""
    layers = step.layers or "all"
    return layers if isinstance(layers, str) else " ".join(layers)


def labels_of(tables: Sequence[ModificationTable]) -> list[str]:
    """Names for people: each is unique, and says what tells it from settings like it."""
    alike: dict[tuple[str, ...], list[ModificationTable]] = defaultdict(list)
    for table in tables:
        alike[_names(table)].append(table)
    telling = {names: _telling(those) for names, those in alike.items()}
    found: list[str] = []
    taken: set[str] = set()
    for table in tables:
        label = _label(table, telling[_names(table)])
        if label in taken and table.preset:
            label = f"{label}, {table.preset}"
        found.append(_apart(label, taken))
        taken.add(found[-1])
    return found


def _apart(label: str, others: Container[str]) -> str:
    """The label, with a number where others have it already."""
    count = 2
    while label in others:
        label, count = f"{label.removesuffix(f' ({count - 1})')} ({count})", count + 1
    return label


def label_of(table: ModificationTable, tables: Sequence[ModificationTable]) -> str:
    """What a table is called among others, some of which may be called so too."""
    alike = [other for other in tables if _names(other) == _names(table)]
    return _label(table, _telling([table, *alike]))


def _telling(alike: Sequence[ModificationTable]) -> list[set[str]]:
    """Of each step of tables of the same Modifications, the options that differ among them."""
    return [
        _differing([nameable(_at_first(step)).options for step in steps])
        for steps in zip(*(table.stack for table in alike), strict=True)
    ]


def _differing(several: Sequence[Mapping[str, Json]]) -> set[str]:
    first = several[0]
    return {
        name
        for options in several
        for name in {*first, *options}
        if options.get(name) != first.get(name)
    }


def _label(table: ModificationTable, telling: Sequence[Set[str]]) -> str:
    if table.label:
        return table.label
    parts = [
        _step_label(step, names) for step, names in zip(table.stack, telling, strict=True)
    ]  # fmt: skip
    label = ", then ".join(parts)
    label = label[:1].upper() + label[1:]
    return f"{label}, {table.copies} copies" if table.copies > 1 else label


def _step_label(step: StepTable, telling: Set[str]) -> str:
    """Name, value of a Parameter that is not swept, unusual options that others lack, aim."""
    made = _at_first(step)
    options = dict(nameable(made).options)
    plain = options.pop(made.parameter.option, None) if made.parameter else None
    words = [made.title or made.name.replace("-", " ")]
    if made.parameter and isinstance(plain, int | float) and not step.intensities:
        words[0] += f" {made.parameter.with_unit(plain)}"
    usual = {option.name: option.default for option in plugins.options(type(made))}
    for name, value in options.items():
        if value != usual[name] and name in telling:
            words += _option_words(name, value)
    if made.aims and aim_of(step, aims=True) != "all":
        words.append(_aim_words(step))
    return ", ".join(words)


def _at_first(step: StepTable) -> Modification:
    return made_step(step, step.intensities[0] if step.intensities else None)


def _option_words(name: str, value: Json) -> list[str]:
    """An option in words; nothing for one that is not given."""
    plain = name.replace("_", " ")
    if value is None:
        return []
    if value is False:
        return [f"no {plain}"]
    if value is True:
        return [plain]
    return [f"{plain} {value:g}" if isinstance(value, float) else f"{plain} {value}"]


def _aim_words(step: StepTable) -> str:
    if step.layers == "carrier":
        return "carrier layer"
    if isinstance(step.layers, tuple) and step.layers[0] in knowing.GUESSES:
        return "guessed carrier"
    return f"layers {aim_of(step, aims=True)}"


def _names(table: ModificationTable) -> tuple[str, ...]:
    return tuple(step.name for step in table.stack)
