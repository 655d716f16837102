"""Commands that show what there is and help to begin: list and new-evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import Force, OutputFormat, Presets, check_outputs, write_text
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError, NnwError, PluginError

if TYPE_CHECKING:
    from nnw_onnx.plugins import Option
    from nnw_onnx.vocabulary import Card, Json, Method, Modification, PlugIn, Step

EVALUATIONS, PRESETS = "evaluations", "presets"


def list_plugins(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="GROUP",
            help="methods, codes, modifications, tasks, datasets, engines, trainers, evaluations, "
            "presets.",
            autocompletion=completion.groups,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Only this one of them.", autocompletion=completion.listed
        ),
    ] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """List plug-ins, evaluations and presets.

    Each plug-in with its options, each preset with what it brings. A plug-in that cannot be used
    is listed with the reason.

    Example: nnw list methods uchida
    """
    from nnw_onnx import plugins

    groups = [*plugins.GROUPS, EVALUATIONS, PRESETS]
    if what is not None and what not in groups:
        raise ConfigurationError(
            f"list: expected one of {', '.join(groups)}; got {what!r}"
            f"{plugins.closest(what, groups)}; see 'nnw list --help'"
        )
    found = {group: _entries(group) for group in ([what] if what else groups)}
    if what is not None and name is not None:
        found[what] = [_one(what, found[what], name)]
    if output_format is Format.JSON:
        told = {group: [_as_json(entry) for entry in entries] for group, entries in found.items()}
        output.as_json(told if what is None else told[what])
        return
    for group, entries in found.items():
        if what is None:
            output.text(f"{group}:")
        for entry in entries:
            output.text(*(f"{'' if what else '  '}{line}" for line in _lines(entry)))


def new_evaluation(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="Unwatermarked networks, one task.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="By default stdout.")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="See 'nnw list datasets'.", autocompletion=completion.datasets)
    ] = "image-folder",
    task: Annotated[
        str | None,
        typer.Option(
            help="See 'nnw list tasks'. [default: classes of images]",
            autocompletion=completion.tasks,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")
    ] = None,
    presets: Presets = None,
    force: Force = False,
) -> None:
    """Write a commented evaluation of your own networks.

    Example: nnw new-evaluation a.onnx b.onnx --data photos -o mine.toml
    """
    import nnw_onnx as nnw
    from nnw_onnx import plugins
    from nnw_onnx.cli.new_evaluation import evaluation_text
    from nnw_onnx.runs.tables import Evaluation
    from nnw_onnx.vocabulary import Dataset, Task

    if out is not None:
        check_outputs(models, {"--out": out}, force=force)
    plugin = plugins.load(Dataset, dataset)
    if data is not None and not plugins.path_options(plugin):
        raise ConfigurationError(
            f"--data: expected a data set that is read from files, got {dataset!r}, which is "
            "bundled; leave --data out"
        )
    task = task or Evaluation.model_fields["task"].default.name
    plugins.load(Task, task)
    networks = [nnw.open(model) for model in models]
    folder = Path.cwd() if out is None else out.parent
    content = evaluation_text(networks, plugin, task, data, folder, _presets_from(presets, folder))
    if out is None:
        output.document(content)
        return
    write_text(out, content)
    output.note(f"wrote {out}; read it, then: nnw evaluate {out}")
    _look(out)


def _presets_from(names: Sequence[str] | None, folder: Path) -> list[str]:
    """The presets as an evaluation in a folder names them.

    Raises:
        ConfigurationError: a preset does not exist or is wrong in itself.
    """
    from nnw_onnx.cli.new_evaluation import relative_path
    from nnw_onnx.runs.presets import shipped, tables_of

    for name in names or ():
        tables_of(name, Path())
    known = shipped()
    return [name if name in known else relative_path(Path(name), folder) for name in names or ()]


def _look(path: Path) -> None:
    """Say what the networks of a new evaluation do on some samples, where that can be said yet."""
    from nnw_onnx.runs import evaluate, first_look
    from nnw_onnx.runs.evaluation import read_evaluation
    from nnw_onnx.runs.prepare import prepare

    try:
        made = read_evaluation(path)
        first_look.look(prepare(made, evaluate.default_folder(made)), tell=output.warning)
    except NnwError as error:
        output.note(f"not looked at yet: {error}")


@dataclass(frozen=True)
class _Entry:
    """Something in a catalogue.

    Attributes:
        plugin: the class; None for an evaluation, and for a plug-in that cannot be used.
        error: why it cannot be used, or None.
        brings: the Modifications of a preset, a line each.
    """

    name: str
    summary: str = ""
    plugin: type[PlugIn] | None = None
    error: str | None = None
    brings: tuple[str, ...] | None = None


def _entries(group: str) -> list[_Entry]:
    """Everything in one catalogue."""
    if group == EVALUATIONS:
        from nnw_onnx.runs.evaluation import summaries

        return [_Entry(name, text) for name, text in summaries().items()]
    if group == PRESETS:
        return _presets()
    from nnw_onnx import plugins

    return [_entry(group, name) for name in plugins.names(group)]


def _one(group: str, entries: Sequence[_Entry], name: str) -> _Entry:
    """The entry of a name; raises `ConfigurationError`."""
    from nnw_onnx import plugins

    names = [entry.name for entry in entries]
    if name not in names:
        raise ConfigurationError(
            f"list: {group}: expected one of {', '.join(names)}; got {name!r}"
            f"{plugins.closest(name, names)}; see 'nnw list {group}'"
        )
    return entries[names.index(name)]


def _presets() -> list[_Entry]:
    from nnw_onnx.runs.presets import shipped

    return [_preset(name, path) for name, path in shipped().items()]


def _preset(name: str, path: Path) -> _Entry:
    """A preset names plug-ins of other packages too, and these may be missing."""
    from nnw_onnx.runs.presets import lines_of, read_preset

    try:
        return _Entry(name, read_preset(path).summary, brings=lines_of(name))
    except NnwError as error:
        return _Entry(name, error=str(error))


def _entry(group: str, name: str) -> _Entry:
    from nnw_onnx import plugins

    try:
        plugin = plugins.load(plugins.base(group), name)
    except PluginError as error:
        return _Entry(name, error=str(error))
    return _Entry(name, plugins.summary(plugin), plugin)


def _as_json(entry: _Entry) -> dict[str, Json]:
    from nnw_onnx import plugins

    told: dict[str, Json] = {"name": entry.name, "summary": entry.summary, "options": []}
    if entry.error is not None:
        return {**told, "error": entry.error}
    if entry.brings is not None:
        return {**told, "modifications": list(entry.brings)}
    if entry.plugin is None:
        return told
    package, version = plugins.origin(entry.plugin)
    return {
        **told,
        "package": f"{package} {version}".strip(),
        **_details(entry.plugin),
        "options": [_described(option) for option in plugins.options(entry.plugin)],
    }


def _details(plugin: type[PlugIn]) -> dict[str, Json]:
    """What tells a method or a Modification from others of its kind."""
    from nnw_onnx.vocabulary import Method, Modification

    if issubclass(plugin, Method):
        card = None if plugin.card is None else asdict(plugin.card)
        adaptive: list[Json] = [[_step(step) for step in stack] for stack in plugin.adaptive]
        return {"kind": plugin.kind, "access": plugin.access, "card": card, "adaptive": adaptive}
    if not issubclass(plugin, Modification):
        return {}
    parameter = plugin.parameter
    return {
        "number": plugin.number,
        "family": plugin.family,
        "parameter": None if parameter is None else asdict(parameter),
    }


def _step(step: Step) -> Json:
    """A Modification of an attack, and the layers that it is aimed at."""
    spec = step.modification
    return {"name": spec.name, "options": dict(spec.options), "layers": list(step.layers)}


def _described(option: Option) -> dict[str, Json]:
    """An option whose default is a JSON value."""
    return {**asdict(option), "default": _plain(option.default)}


def _plain(default: object) -> Json:
    if default is None or isinstance(default, bool | int | float):
        return default
    if isinstance(default, tuple):
        return [_plain(value) for value in default]
    if is_dataclass(default) and not isinstance(default, type):
        return {name: _plain(value) for name, value in asdict(default).items()}
    return str(default)


def _needed(option: Option) -> str:
    """Whether an option must be given, and what it is if it is not."""
    if option.required:
        return "required"
    return "optional" if option.default is None else f"default {_shown(option.default)}"


def _shown(default: object) -> str:
    """A default as a person reads it: of a table, the keys that say something."""
    plain = _plain(default)
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, float):
        return f"{plain:g}"
    if isinstance(plain, dict):
        said = [f"{name} {value}" for name, value in plain.items() if value not in (None, [])]
        return ", ".join(said)
    if isinstance(plain, list):
        return ", ".join(map(str, plain)) or "none"
    return '""' if plain == "" else str(plain)


def _lines(entry: _Entry) -> list[str]:
    from nnw_onnx import plugins
    from nnw_onnx.vocabulary import Method, Modification

    if entry.error is not None:
        return [f"{entry.name}: cannot be used: {entry.error}"]
    lines = [f"{entry.name}: {entry.summary}", *(f"    {line}" for line in entry.brings or ())]
    if entry.plugin is None:
        return lines
    if issubclass(entry.plugin, Method):
        lines.append(f"    {entry.plugin.kind}, sees {entry.plugin.access}")
        lines.extend(f"    {line}" for line in _card(entry.plugin.card))
        lines.extend(f"    {line}" for line in _attacks(entry.plugin))
    if issubclass(entry.plugin, Modification):
        lines.append(f"    {_standard(entry.plugin)}")
    for option in plugins.options(entry.plugin):
        lines.append(f"    {option.name} ({option.type}, {_needed(option)}): {option.help}")
    return lines


def _card(card: Card | None) -> list[str]:
    """What the literature says of a method, a line each."""
    if card is None:
        return []
    return [
        f"paper: {card.paper}",
        f"blind: {'yes' if card.blind else 'no'}; capacity: {card.capacity}; key: {card.key}",
        f"null: {card.null}",
        *(f"reported: {line}" for line in card.reported),
        *(f"dies of: {line}" for line in card.dies_of),
    ]


def _attacks(method: type[Method]) -> list[str]:
    """What somebody who knows a method does to it, a line for each stack; or that nobody did."""
    if not method.adaptive:
        return ["not attacked adaptively: it names no attack of who knows it, and is not ranked"]
    return [f"attack by who knows it: {_stack(stack)}" for stack in method.adaptive]


def _stack(stack: Sequence[Step]) -> str:
    aims = (f" of {', '.join(step.layers)}" if step.layers else "" for step in stack)
    return ", then ".join(f"{s.modification}{aim}" for s, aim in zip(stack, aims, strict=True))


def _standard(plugin: type[Modification]) -> str:
    """Row of the standard's table and Parameter of a Modification."""
    number, found = plugin.number, plugin.parameter
    where = "not in the standard" if number is None else f"row {number} of the standard's table"
    if found is None:
        return f"{where}, no Parameter"
    bounds = f", the standard: {found.standard_range()}" if found.standard_range() else ""
    counted = f", in {found.unit}" if found.unit and not bounds else ""
    return f"{where}, Parameter {found.letter}: {found.meaning}{counted}{bounds}"
