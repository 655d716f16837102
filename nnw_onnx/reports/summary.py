"""A report in a few lines of plain text, for the end of a command."""

from __future__ import annotations

from nnw_onnx.reports import names, sentences
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import plural
from nnw_onnx.text import harmless


def summary(report: Report) -> tuple[str, ...]:
    """What was done, how good the networks are, the verdicts, and the warnings by name."""
    base = "; ".join(
        f"{name} {value}" + (f" ({meaning})" if meaning else "")
        for name, value, meaning in sentences.base(report)
    )
    verdicts = sentences.verdicts(report, names.technology_names(report))
    warned = "; ".join(notice.name for notice in report.notices)
    lines = (
        sentences.lead(report),
        f"unwatermarked networks: {base}",
        *map(str, verdicts),
        *([f"{plural(len(report.notices), 'warning')}: {warned}"] if warned else []),
    )
    return tuple(map(harmless, lines))
