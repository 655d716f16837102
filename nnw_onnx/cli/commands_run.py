"""Commands around a run folder: evaluate and report."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import signal
import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.commands_gate import Checks, check_checks, tell
from nnw_onnx.cli.options import (
    Force,
    OutputFormat,
    Presets,
    Provider,
    check_outputs,
    parse_changes,
    with_provider,
    write_text,
)
from nnw_onnx.cli.output import Format, InterruptedRunError
from nnw_onnx.cli.stopping import BY_SIGNAL, StoppedError, stoppable
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.api.measuring import Evaluated
    from nnw_onnx.reports.model import Report
    from nnw_onnx.runs.forecast import Forecast
    from nnw_onnx.runs.repeating import Sameness

REPORT_PAGE = "report.html"

Open = Annotated[bool, typer.Option("--open", help="Show the report in the browser.")]


class ReportFormat(StrEnum):
    """Forms of a report."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"
    MODEL_CARD = "model-card"


def evaluate(
    evaluation: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG|NAME",
            help="TOML file, or a name of 'nnw list evaluations'.",
            autocompletion=completion.evaluations,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")
    ] = None,
    run_folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of records and report.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="See 'nnw list engines'.", autocompletion=completion.engines),
    ] = None,
    provider: Provider = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another value for a key, such as session.threads=2; repeatable.",
        ),
    ] = None,
    presets: Presets = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Repeat the evaluation of this run folder."),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where files of --from lie; repeatable."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Threshold on the report, such as 'quality.loss <= 1.0'; repeatable.",
        ),
    ] = None,
    checks: Checks = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in this run folder.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count and time what would be done.")
    ] = False,
    open_report: Open = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Measure what a watermark costs and survives.

    Imperceptibility, robustness and computational cost, with a report. Without an argument the
    embedded evaluation runs: two methods on handwritten digits. A run that was interrupted goes on
    when the same command is given again; with --retry-failed, what failed is tried again too. With
    --require the exit status is 1 where the report does not meet a threshold, or does not tell;
    with --from it is 1 where records differ from the run's.

    Example: nnw evaluate mine.toml --run-folder run
    """
    import nnw_onnx as nnw

    changes = with_provider(parse_changes(settings), provider)
    check_checks([], checks)
    if source is not None:
        _expect_alone(evaluation, provider, settings, presets, dry_run, retry_failed)
    if dry_run:
        expected = nnw.forecast(
            evaluation, data=data, engine=engine, settings=changes, presets=presets or (),
            require=require or (),
        )  # fmt: skip
        _tell(expected, output_format)
        return
    progress = output.LOGGER.isEnabledFor(logging.INFO)
    try:
        with stoppable():
            done = (
                nnw.evaluate(
                    evaluation, data=data, run_folder=run_folder, engine=engine, settings=changes,
                    presets=presets or (), require=require or (), progress=progress,
                    retry_failed=retry_failed,
                )
                if source is None
                else nnw.repeat(
                    source, files=files or (), data=data, run_folder=run_folder, engine=engine,
                    require=require or (), progress=progress,
                )
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        repeated = {
            "--from": [source] if source else [], "--files": files or (),
            "--provider": provider or (), "--set": settings or (), "--preset": presets or (),
            "--require": require or (), "--checks": checks or (),
        }  # fmt: skip
        raise _interrupted(stop, _again(evaluation, data, run_folder, engine, repeated)) from None
    _answer(done, output_format, bool(require))
    form = "text" if require and output_format is Format.TEXT else ""
    tell("nnw evaluate", str(done.folder / REPORT_PAGE), done.checks, form, checks)
    if open_report:
        show(done.folder / REPORT_PAGE)
    same = _same(done)
    if not all(done.checks) or (same is not None and not same):
        raise typer.Exit(1)


def _interrupted(stop: KeyboardInterrupt, again: str) -> InterruptedRunError:
    """What is told of a run that somebody stopped, with the command that goes on with it."""
    number = stop.number if isinstance(stop, StoppedError) else int(signal.SIGINT)
    how = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    return InterruptedRunError(
        f"{how}; what is done is kept, go on with: {again}", BY_SIGNAL + number
    )


def _expect_alone(
    evaluation: str | None,
    provider: Sequence[str] | None,
    settings: Sequence[str] | None,
    presets: Sequence[str] | None,
    dry_run: bool,
    retry_failed: bool,
) -> None:
    """Refuse beside --from what would make another evaluation of it."""
    given = {
        f"the evaluation {evaluation!r}": evaluation, "--provider": provider, "--set": settings,
        "--preset": presets, "--dry-run": dry_run, "--retry-failed": retry_failed,
    }  # fmt: skip
    for name, value in given.items():
        if value:
            raise ConfigurationError(
                f"--from: expected nothing beside it that changes the run, got {name}; leave it out"
            )


def _same(done: Evaluated) -> Sameness | None:
    """What a repetition says of its records; None where nothing was repeated."""
    from nnw_onnx.api.measuring import Repeated

    return done.same if isinstance(done, Repeated) else None


def _answer(done: Evaluated, output_format: Format, required: bool) -> None:
    """What an evaluation came to, in a few lines."""
    from nnw_onnx.reports import summary

    page, lines, same = done.folder / REPORT_PAGE, summary(done.report), _same(done)
    if output_format is Format.TEXT:
        output.text(*lines, f"report: {page}", *(_repeated(same) if same is not None else ()))
        return
    told: dict[str, object] = {
        "run_folder": str(done.folder), "report": str(page), "summary": list(lines)
    }  # fmt: skip
    if required:
        told["checks"] = [dataclasses.asdict(check) for check in done.checks]
    if same is not None:
        told["repeated"] = {"same": bool(same), **dataclasses.asdict(same)}
    output.as_json(told)


def _repeated(same: Sameness) -> Iterator[str]:
    """Whether a run was repeated, in words."""
    if same:
        yield f"the same: all {same.records} records are those of the run, byte by byte"
    else:
        yield f"not the same: {same.differing} of {same.records} records are others than the run's"
    yield from same.versions


def _tell(forecast: Forecast, output_format: Format) -> None:
    if output_format is Format.JSON:
        output.as_json(dataclasses.asdict(forecast) | {"seconds": forecast.seconds})
    else:
        output.text(*forecast.lines())


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of 'nnw evaluate'.")],
    report_format: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="Write the report to stdout in this form."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="A file instead of stdout.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the documents here instead of the run folder."),
    ] = None,
    force: Force = False,
    open_report: Open = False,
) -> None:
    """Draw the report of a run again.

    Nothing is run: the documents in the run folder are written anew from its records; with --into
    elsewhere, so that nothing in the run folder is touched. With --format one of them also goes to
    stdout.

    Example: nnw report run --format markdown
    """
    import nnw_onnx as nnw

    if out is not None:
        check_outputs([], {"--out": out}, force=force)
        if report_format is None:
            raise ConfigurationError(
                "--out: expected --format with it, got none; add for example --format markdown"
            )
    drawn = nnw.report(run, into=into)
    if report_format is None:
        output.text(f"report: {(into or run) / REPORT_PAGE}")
    else:
        _write_report(drawn, report_format, out)
    if open_report:
        show((into or run) / REPORT_PAGE)


def log(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of 'nnw evaluate'.")],
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="Experiment of the tracker; made where absent.")
    ] = "nnw-onnx",
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Log a finished run to MLflow.

    Parameters, metrics, and the report as artifacts, to the server or database that MLflow is told
    (MLFLOW_TRACKING_URI). No key is sent, nor the seed from which keys follow, nor a digest or
    commitment that a guess of the seed could be tried on.

    Example: nnw log run --experiment watermarks
    """
    from nnw_onnx.api.tracking import log as logged

    done = logged(run, experiment=experiment)
    if output_format is Format.JSON:
        output.as_json(dataclasses.asdict(done))
        return
    output.text(
        f"run {done.run_id} of experiment {done.experiment}: {done.params} parameters, "
        f"{done.metrics} metrics, {done.artifacts} files of the report"
    )


def show(page: Path) -> None:
    """Show a page in the browser; where there is no screen, say where it is."""
    show_address(page.resolve().as_uri(), str(page))


def show_address(address: str, name: str) -> None:
    """Likewise of an address, with the name by which it is told."""
    # Without one, a browser of the terminal would take the terminal over.
    screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not (screen and webbrowser.open(address)):
        output.note(f"no browser can be started here; open {name} yourself")


def _write_report(drawn: Report, report_format: ReportFormat, out: Path | None) -> None:
    from nnw_onnx.reports import render

    content = render(drawn, report_format.value)
    if out is None:
        output.document(content)
    else:
        write_text(out, content)


def _again(
    evaluation: str | None,
    data: Path | None,
    run_folder: Path | None,
    engine: str | None,
    repeated: Mapping[str, Sequence[str | Path]],
) -> str:
    """The command that goes on with an interrupted run: the same one."""
    given = {"--data": data, "--run-folder": run_folder, "--engine": engine}
    words = ["nnw", "evaluate", *([evaluation] if evaluation else [])]
    for name, value in given.items():
        words += [name, str(value)] if value is not None else []
    for name, values in repeated.items():
        words += [word for value in values for word in (name, str(value))]
    return shlex.join(words)
