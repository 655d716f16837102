"""Thresholds, for continuous integration: gate, and checks of other commands."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.options import Provider, check_outputs, write_text

if TYPE_CHECKING:
    from nnw_onnx.measures.checks import Check

Checks = Annotated[
    list[Path] | None,
    typer.Option(
        "--checks",
        metavar="FILE",
        help="Also write the checks: .json, .xml (JUnit), .sarif or .md; repeatable.",
    ),
]


class CheckFormat(StrEnum):
    """How checks are written."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    MARKDOWN = "markdown"


def gate(
    config: Annotated[Path, typer.Argument(metavar="GATE.toml", help="Thresholds.")],
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="ONNX file, if the thresholds do not name it."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="KEY.npz", help="Key file, instead of the one in the thresholds."),
    ] = None,
    provider: Provider = None,
    checks: Checks = None,
    output_format: Annotated[
        CheckFormat, typer.Option("--format", help="How the checks are written to stdout.")
    ] = CheckFormat.TEXT,
) -> None:
    """Check a marked network against thresholds, for CI.

    Mark, payload, false positives, commitment, seal, loss of quality, and the Modifications that
    the mark must survive. What cannot be measured has not passed. The exit status is 0 where
    everything passed, 1 where something did not, 2 where nothing could be checked.

    Example: nnw gate gate.toml marked.onnx --checks gate.sarif
    """
    import nnw_onnx as nnw

    check_checks([path for path in (config, model, key) if path is not None], checks)
    done = nnw.gate(config, model, key=key, providers=provider or ())
    tell(done.title, str(model or done.file), done.checks, output_format.value, checks)
    if not done:
        raise typer.Exit(1)


def check_checks(inputs: Sequence[Path], checks: Sequence[Path] | None) -> None:
    """Refuse files for checks that have no form, or that would hurt; older ones are replaced."""
    from nnw_onnx.reports.checks import form_of

    for number, path in enumerate(checks or ()):
        form_of(path.name)
        check_outputs([*inputs, *(checks or ())[:number]], {"--checks": path}, force=True)


def tell(
    title: str, file: str, checks: Sequence[Check], form: str, files: Sequence[Path] | None
) -> None:
    """Write checks to stdout, where a form is given, and to files.

    Args:
        title: what the checks are of.
        file: what was checked.
        checks: to be told.
        form: of stdout, or "" for none.
        files: see `form_of`.
    """
    from nnw_onnx.reports.checks import Checked, form_of, render

    checked = Checked(title, file, tuple(checks))
    for path in files or ():
        write_text(path, render(checked, form_of(path.name)))
    if form:
        output.document(render(checked, form))
