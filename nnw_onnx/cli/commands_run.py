"""Commands around a run folder: evaluate and report."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.options import Force, OutputFormat, check_outputs, write_text
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

REPORT_PAGE = "report.html"


class InterruptedRunError(Exception):
    """The person stopped a command that can go on later; the message says how."""


class ReportFormat(StrEnum):
    """Forms of a report."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


def evaluate(
    evaluation: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG|NAME", help="TOML file, or a name of 'nnw list evaluations'."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")
    ] = None,
    run_folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of records and report.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="See 'nnw list engines'.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Measure what a watermark costs and survives.

    Imperceptibility, robustness and computational cost, with a report. Without an argument the
    embedded evaluation runs: two methods on handwritten digits.

    Example: nnw evaluate mine.toml --run-folder run
    """
    import nnw_onnx as nnw

    try:
        done = nnw.evaluate(
            evaluation,
            data=data,
            run_folder=run_folder,
            engine=engine,
            resume=resume,
            tell=output.warning,
        )
    except KeyboardInterrupt:
        again = _resuming(evaluation, data, run_folder, engine)
        raise InterruptedRunError(
            f"interrupted; what is done is kept, go on with: {again}"
        ) from None
    from nnw_onnx.reports import summary

    page, lines = done.folder / REPORT_PAGE, summary(done.report)
    if output_format is Format.JSON:
        output.as_json(
            {"run_folder": str(done.folder), "report": str(page), "summary": list(lines)}
        )
        return
    output.text(*lines, f"report: {page}")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of 'nnw evaluate'.")],
    report_format: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="Write the report to stdout in this form."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="A file instead of stdout.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw the report of a run again.

    Nothing is run: the documents in the run folder are written anew from its records. With
    --format one of them also goes to stdout.

    Example: nnw report run --format markdown
    """
    import nnw_onnx as nnw

    if out is not None:
        check_outputs([], {"--out": out}, force=force)
        if report_format is None:
            raise ConfigurationError(
                "--out: expected --format with it, got none; add for example --format markdown"
            )
    drawn = nnw.report(run)
    if report_format is None:
        output.text(f"report: {run / REPORT_PAGE}")
        return
    from nnw_onnx.reports import render

    content = render(drawn, report_format.value)
    if out is None:
        output.document(content)
    else:
        write_text(out, content)


def _resuming(
    evaluation: str | None, data: Path | None, run_folder: Path | None, engine: str | None
) -> str:
    """The command that goes on with an interrupted run."""
    given = {"--data": data, "--run-folder": run_folder, "--engine": engine}
    words = ["nnw", "evaluate", *([evaluation] if evaluation else [])]
    for name, value in given.items():
        words += [name, str(value)] if value is not None else []
    return shlex.join([*words, "--resume"])
