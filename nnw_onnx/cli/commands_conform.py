"""The command `nnw conform`: clauses of the standard, asked of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import OutputFormat
from nnw_onnx.cli.output import Format

if TYPE_CHECKING:
    from nnw_onnx.reports.model import Conformance

NO = 1
PAGE = "report.html"
_ORDER = ("not met", "not measured", "met", "not about this run")


def conform(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of 'nnw evaluate'.")],
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="nnt-1.1, nnw-1.0 (also ieee-3304) or tec-1.0.",
            autocompletion=completion.profiles,
        ),
    ] = "nnt-1.1",
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Ask the clauses of the standard of a run.

    Each is met, not met, not measured or not about this run, with the reason and the place in the
    report. Nothing is run or written. Exit status: 0 nothing is not met, 1 something is, 2 error.

    Example: nnw conform run --profile nnw-1.0
    """
    import nnw_onnx as nnw

    found = nnw.conform(run, profile)
    if output_format is Format.JSON:
        output.as_json(found.model_dump(mode="json"))
    else:
        _tell(found)
    if not found:
        raise typer.Exit(NO)


def _tell(found: Conformance) -> None:
    # What a person came for first; within an answer the order of the standard.
    ordered = sorted(found.clauses, key=lambda clause: _ORDER.index(clause.status))
    output.text(f"{found.standard} ({found.profile}): {found.counted()}")
    output.table(
        ("answer", "clause", "why", f"in {PAGE}"),
        [(clause.status, clause.id, clause.reason, f"#{clause.anchor}") for clause in ordered],
    )
