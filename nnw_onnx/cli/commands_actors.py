"""Command on who made a network: ambiguity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.options import KeyFile, OutputFormat
from nnw_onnx.cli.output import Format

if TYPE_CHECKING:
    from nnw_onnx.runs.forging_disputes import Standing
    from nnw_onnx.runs.forging_rivals import Rivalry


def ambiguity(
    original: Annotated[
        Path, typer.Argument(metavar="ORIGINAL", help="ONNX file as it was before the mark.")
    ],
    marked: Annotated[Path, typer.Argument(metavar="MARKED", help="ONNX file with the mark.")],
    key: KeyFile,
    tries: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Secrets that a forger tries out.")
    ] = 1000,
    seed: Annotated[int | None, typer.Option(min=0, help="Of what forgers draw.")] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Show what forgers could claim, and what refutes it.

    Claims are forged for the marked network: a matrix fitted to it, the same with a counterfeit
    original, the best of many secrets, a second watermark on top. Each is compared with the owner's
    by commitments and by whose mark is in whose original. Where both are, only the dates at which
    the commitments were published tell: publish yours before the network goes out. The exit status
    is 1 where the owner's own claim does not stand.

    Example: nnw ambiguity original.onnx marked.onnx --key key.npz
    """
    import nnw_onnx as nnw
    from nnw_onnx.runs.forging_rivals import rivalries
    from nnw_onnx.runs.seeds import secret

    claim = nnw.load_key(key)
    drawn = secret(seed, forging="ambiguity")
    found = list(rivalries(nnw.open(original), nnw.open(marked), claim, secret=drawn, tries=tries))
    if output_format is Format.JSON:
        output.as_json([asdict(rivalry) for rivalry in found])
    else:
        _tell_rivalries(found)
    owners = [x.dispute.first.defect for x in found if x.dispute]
    if owners[0] is not None:
        raise typer.Exit(1)


def _tell_rivalries(found: Sequence[Rivalry]) -> None:
    """A row for each rival, and why each is judged so."""
    columns = ("rival", "p", "commitment opens", "in own original", "in the owner's", "first is")
    rows, lines = [], []
    for rivalry in found:
        dispute = rivalry.dispute
        if dispute is None:
            rows.append((rivalry.rival, *["-"] * 4, "owner"))
            lines.append(f"{rivalry.rival}: not possible: {rivalry.reason}")
            continue
        rows.append((rivalry.rival, *_standing(dispute.second), _FIRST[dispute.outcome]))
        lines.append(f"{rivalry.rival}: {dispute.reason}")
    owner = next(x.dispute for x in found if x.dispute).first
    output.table(columns, [("(the owner's claim)", *_standing(owner, own=True), ""), *rows])
    output.text(*lines)


_FIRST = {"first": "owner", "second": "rival", "neither": "neither", "undecided": "dates tell"}


def _standing(standing: Standing, *, own: bool = False) -> tuple[str, str, str, str]:
    from nnw_onnx.vocabulary.evidence import power

    def word(answer: bool) -> str:
        return "yes" if answer else "no"

    return (
        "none known" if standing.log10_p is None else power(standing.log10_p),
        word(standing.commitment),
        word(standing.in_own),
        "" if own else word(standing.in_other),
    )
