"""Commands that show what there is and help to begin: list and new-evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.options import Force, OutputFormat, check_outputs, write_text
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

EVALUATIONS = "evaluations"


def list_plugins(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[GROUP]",
            help="methods, modifications, datasets, tasks, engines, trainers or evaluations.",
        ),
    ] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """List plug-ins and evaluations, with their options.

    Example: nnw list modifications
    """
    from nnw_onnx import plugins

    groups = [*plugins.FOLDERS, EVALUATIONS]
    if what is not None and what not in groups:
        raise ConfigurationError(
            f"list: expected one of {', '.join(groups)}; got {what!r}"
            f"{plugins.closest(what, groups)}; see 'nnw list --help'"
        )
    found = {group: _entries(group) for group in ([what] if what else groups)}
    if output_format is Format.JSON:
        output.as_json(found if what is None else found[what])
        return
    for group, entries in found.items():
        if what is None:
            output.text(f"{group}:")
        for entry in entries:
            output.text(*_entry_lines(entry, indent="" if what else "  "))


def new_evaluation(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Unwatermarked networks, one task.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="By default stdout.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="See 'nnw list datasets'.")] = "image-folder",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")
    ] = None,
    force: Force = False,
) -> None:
    """Write a commented evaluation of your own networks.

    Example: nnw new-evaluation a.onnx b.onnx --data photos -o mine.toml
    """
    import nnw_onnx as nnw
    from nnw_onnx import plugins
    from nnw_onnx.cli.new_evaluation import evaluation_text

    if out is not None:
        check_outputs(models, {"--out": out}, force=force)
    plugin = plugins.load("datasets", dataset)
    networks = [nnw.open(model) for model in models]
    folder = Path.cwd() if out is None else out.parent
    content = evaluation_text(networks, plugin, data, folder)
    if out is None:
        output.document(content)
        return
    write_text(out, content)
    output.note(f"wrote {out}; read it, then: nnw evaluate {out}")


def _entries(group: str) -> list[dict[str, Any]]:
    """Name, summary and options of everything in one catalogue."""
    if group == EVALUATIONS:
        from nnw_onnx.runs.evaluation import summaries

        return [{"name": n, "summary": text, "options": []} for n, text in summaries().items()]
    from dataclasses import asdict

    from nnw_onnx import plugins

    loaded = [plugins.load(group, name) for name in plugins.names(group)]
    return [
        {
            "name": plugin.name,
            "summary": plugin.summary,
            **_standard(plugin),
            "options": [_as_value(asdict(option)) for option in plugins.options(plugin)],
        }
        for plugin in loaded
    ]


def _standard(plugin: Any) -> dict[str, Any]:
    """Number in the standard's table and Parameter of a Modification; empty for the others."""
    parameter = getattr(plugin, "parameter", None)
    if parameter is None:
        return {}
    from dataclasses import asdict

    return {"number": plugin.number, "parameter": asdict(parameter)}


def _as_value(option: dict[str, Any]) -> dict[str, Any]:
    """An option whose default is a JSON value."""
    default = option["default"]
    plain = default is None or isinstance(default, bool | int | float | str)
    return {**option, "default": default if plain else str(default)}


def _entry_lines(entry: dict[str, Any], indent: str) -> list[str]:
    lines = [f"{indent}{entry['name']}: {entry['summary']}"]
    if "parameter" in entry:
        found = entry["parameter"]
        number = (
            "not in the standard"
            if entry["number"] is None
            else f"row {entry['number']} of the standard's table"
        )
        lines.append(
            f"{indent}    {number}, Parameter {found['letter']}: {found['meaning']}, "
            f"{found['low']:g} to {found['high']:g} {found['unit']}"
        )
    for option in entry["options"]:
        default = "required" if option["required"] else f"default {option['default']}"
        lines.append(
            f"{indent}    {option['name']} ({option['type']}, {default}): {option['help']}"
        )
    return lines
