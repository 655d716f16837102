"""A section of a model card, in Markdown: what marks of these methods cost and survive.

It is text for people. No `model-index` is written: that is for results of a benchmark on a public
data set by a declared evaluation, and these are none.
"""

from __future__ import annotations

from collections.abc import Iterator

from nnw_onnx.measures.results import Technology, Value
from nnw_onnx.reports import names, sentences, words
from nnw_onnx.reports.forms import markdown_escaped
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import DASH, Shown, plural

_HEADS = (
    "technology", "payload", "quality without → with", "loss [90 % limits]", "settings survived",
    "least share found", "wrong keys found",
)  # fmt: skip


def card(report: Report) -> str:
    """The section, from its heading on; nothing in it tells seed, key or commitment."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield "## Watermark evaluation"
    yield ""
    version = report.reproducibility.package_version
    yield markdown_escaped(
        f"Evaluated with nnw-onnx {version}, {sentences.lead(report)[:-1]}, on {_data(report)}. "
        "This is no certificate. The marks were put in for the evaluation, each with a key of its "
        "own; a mark in the released network is another one of the same kind."
    )
    yield ""
    yield f"| {' | '.join(_HEADS)} |"
    yield "| --- |" + " ---: |" * (len(_HEADS) - 1)
    for technology in (report.technologies[i] for i in report.order):
        cells = map(markdown_escaped, _cells(report, technology))
        yield f"| {' | '.join(cells)} |"
    yield ""
    called = names.technology_names(report)
    for text in (*map(str, sentences.verdicts(report, called)), *_meanings(report)):
        yield f"- {markdown_escaped(text)}"
    if report.notices:
        yield ""
        yield "What limits this:"
        yield ""
        for notice in report.notices:
            yield f"- {markdown_escaped(notice.text)}"


def _data(report: Report) -> str:
    data = report.dataset
    samples = plural(data.entries, "sample")
    return f"{samples} of {data.plugin.name} ({data.split}), headline {report.headline.name}"


def _cells(report: Report, technology: Technology) -> tuple[str, ...]:
    shown, found = Shown(report.headline), technology.imperceptibility
    size = technology.record.payload_size
    least = technology.whole.weakest if technology.whole else None
    control = technology.control
    return (
        technology.label,
        f"{size} bits" if size else "none",
        f"{_quality(shown, found.before)} → {_quality(shown, found.after)}",
        _loss(shown, found.loss),
        f"{technology.tally.survived} of {technology.tally.usable}",
        DASH if least is None else words.percent(least.found, 0),
        DASH if control is None else f"{control.detected:,} of {control.keys:,}",
    )


def _quality(shown: Shown, value: Value) -> str:
    return DASH if value.value is None else shown.value(value.value)


def _loss(shown: Shown, value: Value) -> str:
    if value.value is None:
        return DASH
    between = "" if value.low is None else f" [{shown.loss(value.low)} to {shown.loss(value.high)}]"
    return f"{shown.loss(value.value)}{between} {shown.unit}".rstrip()


def _meanings(report: Report) -> Iterator[str]:
    yield (
        f"Found means that the Detector says yes at a false-positive rate of "
        f"{words.number(report.false_positive_rate)}; {sentences.usable(report)} Settings are "
        "Modifications at an Intensity that leave the networks usable."
    )
    yield (
        "Least share found is the smallest over these settings: the robustness against the "
        "strongest attack that was tried, and not against one that was not."
    )
