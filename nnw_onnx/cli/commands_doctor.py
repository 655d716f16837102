"""The command that looks at the installation itself: doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.options import OutputFormat
from nnw_onnx.cli.output import Format

if TYPE_CHECKING:
    from nnw_onnx.runs.doctor import Finding


def doctor(output_format: OutputFormat = Format.TEXT) -> None:
    """Look for what is wrong with this installation.

    Versions, providers of onnxruntime that really work, trainers, threads, plug-ins and folders.
    The exit status is 1 where something is to be mended.

    Example: nnw doctor
    """
    from nnw_onnx.runs.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if output_format is Format.TEXT:
            output.text(*_lines(finding))
    faults = [finding for finding in findings if finding.cure]
    if output_format is Format.JSON:
        output.as_json({"sound": not faults, "findings": [asdict(f) for f in findings]})
    else:
        output.text(_in_words(len(faults)))
    if faults:
        raise typer.Exit(1)


def _lines(finding: Finding) -> list[str]:
    if finding.cure is None:
        return [f"{finding.topic}: {finding.words}"]
    return [f"{finding.topic}: FAULT: {finding.words}", f"    cure: {finding.cure}"]


def _in_words(faults: int) -> str:
    if not faults:
        return "nothing is wrong"
    return f"{faults} thing{'s' * (faults != 1)} to mend"
