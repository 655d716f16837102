"""Commands around claims: compare what runs found, and plan what a run can find."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import OutputFormat
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.measures.compared import Comparison
    from nnw_onnx.reports.forms import Table
    from nnw_onnx.runs.power import PowerPlan

NO = 1


class ComparisonFormat(StrEnum):
    """Forms of a comparison."""

    TEXT = "text"
    HTML = "html"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


class Rule(StrEnum):
    """By which claims are made."""

    OVERALL = "overall"
    SETTINGS = "settings"


Claims = Annotated[
    Rule,
    typer.Option(
        "--claims",
        help="A claim for each pair of technologies, or for each pair in each setting.",
    ),
]


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of 'nnw evaluate'.")
    ],
    claims: Claims = Rule.OVERALL,
    bits: Annotated[
        list[int] | None,
        typer.Option(help="Compare payloads of this size only; repeatable.", min=0),
    ] = None,
    output_format: Annotated[
        ComparisonFormat, typer.Option("--format", help="How the comparison is written.")
    ] = ComparisonFormat.TEXT,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Also write page, JSON and tables here."),
    ] = None,
) -> None:
    """Compare the technologies of one or several runs.

    Technologies of equal information payload and equal loss of quality, at one level, network by
    network: exact sign-flip tests, corrected for all claims. Exit status 1: nothing can be claimed
    with so few networks, or no two technologies can be compared.

    Example: nnw compare run-a run-b --out comparison
    """
    from nnw_onnx.reports import comparison as reports
    from nnw_onnx.reports.documents import write_comparison
    from nnw_onnx.runs import compare as comparing

    if out is not None and out.exists() and not out.is_dir():
        raise ConfigurationError(
            f"--out: expected a folder, got the file {str(out)!r}; give another name"
        )
    found = comparing.compare(runs, claims.value, bits or ())
    if output_format is ComparisonFormat.TEXT:
        _tell(found)
    else:
        output.document(reports.render(found, output_format.value))
    if out is not None:
        page, *_ = write_comparison(found, out)
        output.note(f"comparison: {page}")
    if not (found.claims and found.decidable):
        raise typer.Exit(NO)


def plan_power(
    evaluation: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG|NAME",
            help="TOML file, or a name of 'nnw list evaluations'.",
            autocompletion=completion.evaluations,
        ),
    ] = None,
    claims: Annotated[
        int | None, typer.Option(help="Number of claims, without an evaluation.", min=1)
    ] = None,
    rule: Annotated[
        Rule,
        typer.Option(help="Of an evaluation: a claim for each pair, or in each setting too."),
    ] = Rule.OVERALL,
    networks: Annotated[int | None, typer.Option(help="So many networks.", min=1)] = None,
    payloads: Annotated[int | None, typer.Option(help="So many payloads a network.", min=1)] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Say which claims can ever be significant.

    Before anything runs, with the networks and payloads that others take. Exit status 1: none can.

    Example: nnw plan-power mine.toml
    """
    plan = _planned(evaluation, claims, rule, networks, payloads)
    if output_format is Format.JSON:
        told = dataclasses.asdict(plan)
        output.as_json({**told, "needed": plan.needed, "decidable": plan.decidable})
    else:
        output.text(*plan.lines())
    if not plan.decidable:
        raise typer.Exit(NO)


def _planned(
    evaluation: str | None,
    claims: int | None,
    rule: Rule,
    networks: int | None,
    payloads: int | None,
) -> PowerPlan:
    from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation
    from nnw_onnx.runs.power import PowerPlan, power_plan

    if evaluation is not None:
        if claims is not None:
            raise ConfigurationError(
                "--claims: expected an evaluation or a number of claims, got both; leave one out"
            )
        found = read_evaluation(find_evaluation(evaluation))
        return power_plan(found, rule.value, networks, payloads)
    if networks is None:
        raise ConfigurationError(
            "plan-power: expected an evaluation or --networks, got neither; give one of them"
        )
    return PowerPlan(networks, payloads or 1, claims or 1, {})


def _tell(found: Comparison) -> None:
    """Verdicts, and the tables that a terminal has room for."""
    from nnw_onnx.reports import comparison as reports

    output.text(*reports.summary(found))
    for made in reports.readable(found):
        if made.name == "standings" or made.name.startswith("grid"):
            output.text("", made.caption)
            _print(made)
    for line in found.left_out:
        output.note(line)


def _print(made: Table) -> None:
    from nnw_onnx.reports.forms import written

    brief = made.brief()
    output.table(
        [head.text for head in brief.heads],
        [[written(item) for item in row] for row in brief.rows],
        [head.text for head in brief.heads if head.numeric],
    )
