"""What the words of the page mean, with the numbers of this evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from nnw_onnx.reports import words
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import Shown


def definitions(report: Report) -> tuple[tuple[str, str], ...]:
    """(word, meaning), only for words that the page uses."""
    return tuple(_definitions(report))


def _definitions(report: Report) -> Iterator[tuple[str, str]]:
    counts = report.counts
    shown, rate = Shown(report.headline), words.number(report.false_positive_rate)
    share = f"{100 * report.survival:g} %"
    yield (
        "Survives",
        f"At least {share} of the M × D watermarks are found at a false-positive rate of {rate}; "
        "undecided where tests that were not done could tip it.",
    )
    guard = f", and at most the usable loss of {report.guard}" if report.guard else ""
    yield (
        "Usable",
        f"The unwatermarked networks lose at most {shown.usable()} of {report.headline.name}"
        f"{guard} under the same setting, by their 90 % limits. One decision for all technologies, "
        f"so that all have one denominator: of {counts.total} settings {counts.usable} are usable, "
        f"{counts.unusable} not, and {counts.undecided} undecided, which count for nobody.",
    )
    yield (
        "Loss",
        f"{report.headline.name} before minus after"
        + (", the reverse as lower is better" if report.headline.better == "lower" else "")
        + (". Percentage points" if report.headline.unit == "%" else "")
        + ". Positive is worse, everywhere in this report.",
    )
    yield (
        "Negligible",
        f"The 90 % limits of the loss, over networks and samples, lie inside ±{shown.margin()}.",
    )
    yield "Undecided", "What was not tested, or the limits of the loss, could tip the verdict."
    yield (
        "p",
        "The probability that a network made without the key matches at least as well. "
        "Not the probability of innocence.",
    )
    kinds = {t.record.kind for t in report.technologies}
    if "fingerprint" in kinds:
        yield (
            "Fingerprint",
            "Nothing is put in; found means that a copy is told from other networks.",
        )
    if "integrity" in kinds:
        yield (
            "Integrity",
            "Found means that at least one block of weights is as it was when the mark was put in; "
            "lost means that none is, which is no failing. Changed blocks are told by place: the "
            "tables say which layer was named first.",
        )
    if any(t.control for t in report.technologies):
        yield (
            "Wrong keys",
            "Random keys with random Payloads, tried on the networks of the evaluation: none "
            f"should be found more often than {rate}.",
        )
