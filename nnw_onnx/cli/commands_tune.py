"""Command that prepares a fair comparison: the strength at which methods cost the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import OutputFormat, Provider, parse_changes, with_provider
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.runs.tables import Evaluation
    from nnw_onnx.runs.tuning import Tuned
    from nnw_onnx.vocabulary import Json, Spec

_MEANING = {
    "reached": "",
    "below": "the largest strength that was tried still costs less",
    "above": "the smallest strength that was tried already costs more",
    "not put in": "cannot be put in at any strength that was tried",
    "no strength": "has no strength to tune",
    "training": "is put in by training: not tuned; keep its [methods.training]",
}


def tune(
    evaluation: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|NAME",
            help="The comparison: its methods, payload sizes and data are taken.",
            autocompletion=completion.evaluations,
        ),
    ],
    on: Annotated[
        list[str],
        typer.Option("--on", metavar="MODEL", help="Network to tune on; repeatable, wildcards."),
    ],
    loss: Annotated[
        float, typer.Option(help="Mean loss of quality, in the measure's own numbers (0.005).")
    ] = 0.005,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")
    ] = None,
    provider: Provider = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for a key; repeatable."),
    ] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Find strengths that cost the same quality.

    A comparison is fair at equal payload and equal loss of quality. Each method without training is
    injected at strengths around its own, into networks that the comparison itself does not use, and
    the largest strength whose mean loss is at most the one asked for is printed as [[methods]]
    tables for the configuration.

    Example: nnw tune comparison.toml --on spare-*.onnx --loss 0.005
    """
    from nnw_onnx.runs.evaluate import default_folder
    from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation
    from nnw_onnx.runs.prepare import prepare
    from nnw_onnx.runs.tuning import tune as tuned

    changes = with_provider(parse_changes(settings), provider)
    asked = read_evaluation(find_evaluation(evaluation), data, changes)
    spare = asked.model_copy(update={"networks": tuple(on), "modifications": (), "presets": ()})
    _check_apart(asked, spare)
    spare = spare.at(asked.folder)
    found = tuned(prepare(spare, default_folder(spare)), loss, output.note)
    if output_format is Format.JSON:
        output.as_json([_plain(one) for one in found])
    else:
        output.text(*(line for one in found for line in _lines(one)))


def _check_apart(asked: Evaluation, spare: Evaluation) -> None:
    """Refuse to tune on what is compared."""
    from nnw_onnx.graph import open_network
    from nnw_onnx.runs.places import network_paths

    compared = {open_network(path).sha256 for path in network_paths(asked.networks)}
    for path in network_paths(spare.networks):
        if open_network(path).sha256 in compared:
            raise ConfigurationError(
                f"--on: expected networks that are not compared, got {path.name}, which is; tune "
                "on others"
            )


def _plain(found: Tuned) -> dict[str, object]:
    """The answer as JSON values."""
    used = found.technology
    return {
        "method": used.method.name,
        "options": dict(used.method.options),
        "size": used.size,
        "code": None if used.code is None else asdict(used.code),
        "option": found.option,
        "value": found.value,
        "loss": found.loss,
        "error": found.error,
        "outcome": found.outcome,
    }


def _lines(found: Tuned) -> list[str]:
    """A table `[[methods]]` of the configuration."""
    used = found.technology
    lines = ["[[methods]]", f"name = {_toml(used.method.name)}"]
    if used.size:
        lines.append(f"payload_sizes = [{used.size}]")
    lines += [f"{k} = {_toml(v)}" for k, v in _given(used.method).items() if k != found.option]
    if used.layers:
        lines.append(f"layers = {_toml(list(used.layers))}")
    if used.code is not None:
        lines.append(f"code = {_toml({'name': used.code.name, **used.code.options})}")
    if found.value is not None and found.option is not None:
        error = "" if found.error is None else f" +- {found.error:.2g}"
        told = "" if found.loss is None else f"  # mean loss {found.loss:.4f}{error}"
        lines.append(f"{found.option} = {_toml(found.value)}{told}")
    meaning = _MEANING[found.outcome]
    return [*lines, *([f"# {meaning}"] if meaning else []), ""]


def _given(method: Spec) -> dict[str, Json]:
    """The options that are not those of the method by default."""
    from nnw_onnx import plugins
    from nnw_onnx.vocabulary import Method

    usual = {x.name: x.default for x in plugins.options(plugins.load(Method, method.name))}
    return {name: value for name, value in method.options.items() if value != usual[name]}


def _toml(value: Json) -> str:
    """A value as TOML writes it on one line; its strings and numbers are those of JSON."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
