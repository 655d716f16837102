"""What the words of the page mean, with the numbers of this evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from nnw_onnx.math.statistics import zero_event_bound
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Report, SettingCounts
from nnw_onnx.reports.words import Shown


def definitions(report: Report) -> tuple[tuple[str, str], ...]:
    """(word, meaning), only for words that the page uses."""
    return tuple(_definitions(report))


def _unseen(networks: int) -> str:
    """Share of networks that may differ although none of so many did."""
    return words.percent(zero_event_bound(networks), 0)


def _differing(counts: SettingCounts) -> str:
    if not counts.differing:
        return ""
    return (
        f"; {counts.differing} aimed at carriers, or done by the method itself, are other "
        "Modifications for other technologies, and are decided for each of them"
    )


def _robustness(report: Report) -> Iterator[tuple[str, str]]:
    yield (
        "Robustness",
        "The least share of watermarks found in any usable setting, since who attacks chooses; by "
        "family of Modifications, and over all of them. What the method itself names as the attack "
        "of somebody who knows it and has no key is adaptive, whatever else it is.",
    )
    yield (
        "Not ranked",
        "A technology that no attack of somebody who knows its method was tried on: what it "
        "survives are accidents and attackers who know nothing.",
    )
    if report.resynchronised:
        yield (
            "Re-synchronised",
            "Channels of every modified network were put back into the order, scale and sign of "
            "the unwatermarked one, which takes that network, before claims were heard again, and "
            "wrong keys tried.",
        )


def _localisation() -> Iterator[tuple[str, str]]:
    yield (
        "Blocks named",
        "A block is changed where a bit of its weights is not as it was with the mark, and named "
        "where the method says so. Recall is the share of changed blocks that are named, precision "
        "that of named blocks that were changed. A test without a changed block, such as of the "
        "unmodified network, can only be a false alarm. What is in no block is not vouched for.",
    )


def _definitions(report: Report) -> Iterator[tuple[str, str]]:
    counts = report.counts
    shown, rate = Shown(report.headline), words.number(report.false_positive_rate)
    share = f"{100 * report.survival:g} %"
    yield (
        "Survives",
        f"At least {share} of the M × D watermarks at hand are found at a false-positive rate of "
        f"{rate}; undecided where tests that were not done could tip it. That is said of the "
        "networks tested: down to where the share is known of other networks stands beside the "
        "count, as the lower 95 % limit, where there is one.",
    )
    guard = f", and at most the usable loss of {report.guard}" if report.guard else ""
    yield (
        "Usable",
        f"The unwatermarked networks lose at most {shown.usable()} of {report.headline.name}"
        f"{guard} under the same setting, by their 90 % limits. One decision for all technologies, "
        f"so that all have one denominator: of {counts.total} settings {counts.usable} are usable, "
        f"{counts.unusable} not, {counts.undecided} undecided, which count for nobody, and "
        f"{counts.not_applicable} apply to no network{_differing(counts)}. A loss without limits "
        "decides nothing.",
    )
    if any(t.families for t in report.technologies):
        yield from _robustness(report)
    yield (
        "Loss",
        f"{report.headline.name} before minus after"
        + (", the reverse as lower is better" if report.headline.better == "lower" else "")
        + (". Percentage points" if report.headline.unit == "%" else "")
        + ". Positive is worse, in this report, on the command line and in the files.",
    )
    yield (
        "Negligible",
        f"The 90 % limits of the mean loss, over networks and samples, lie inside "
        f"±{shown.margin()}. They hold where losses of networks spread about normally. What "
        f"befalls fewer than {_unseen(len(report.networks))} of all networks may be missed by "
        f"{words.plural(len(report.networks), 'network')} with a chance of 5 % or more.",
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
            "Noticed means that the method says No, or names a place that was changed; that is "
            "what it is for, so that nothing is survived or lost. The tables say which layer was "
            "named first.",
        )
    if any(t.unmodified.localisation for t in report.technologies):
        yield from _localisation()
    if any(t.control for t in report.technologies):
        yield (
            "Wrong keys",
            "Random keys with random Payloads, tried on the networks of the evaluation: none "
            f"should be found more often than {rate}.",
        )
