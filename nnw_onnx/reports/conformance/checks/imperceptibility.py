"""Clauses of the chapter Imperceptibility."""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.measures.results import DatasetSize, Technology
from nnw_onnx.measures.run import NO_QUALITY
from nnw_onnx.reports.conformance.answers import (
    Answer,
    apart,
    each,
    met,
    not_measured,
    not_met,
)
from nnw_onnx.reports.conformance.checks.common import (
    AGAIN,
    nothing_put_in,
    put_in,
    watermarked,
    watermarks,
)
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import Shown, listed, number, plural

ENTRIES = 10
"""For each trainable Weight."""
_HERE = "imperceptibility"


def training_set(report: Report) -> Answer:
    """Ten entries of the training set for each Weight: nothing in a model file tells of it."""
    return not_measured(
        "the networks came trained, and their files do not tell on how much", "environment"
    )


def test_set(report: Report) -> Answer:
    """Ten entries of the test set for each Weight, whether an entry is a sample or a scalar."""
    if left_out(report):
        return not_measured(NO_QUALITY, "t-base")
    if not report.dataset_sizes:
        return not_measured("the records hold no number of Weights", "environment")
    least = min(report.dataset_sizes, key=lambda s: (s.samples_per_weight.value or 0, s.network))
    if least.enough is None:
        unknown = least.samples_per_weight.reason or least.scalars_per_weight.reason
        return not_measured(str(unknown), "environment")
    said = f"{_quotients(least)} for each Weight where {ENTRIES} are asked"
    if least.enough:
        return met(said, "environment")
    scalars = least.scalars_per_weight.value or 0
    reading = "; enough only if an entry is a scalar" if scalars >= ENTRIES else ""
    return not_met(f"{said}{reading}", "environment")


def _quotients(size: DatasetSize) -> str:
    samples, scalars = size.samples_per_weight.value or 0, size.scalars_per_weight.value or 0
    return f"at least {number(samples)} samples or {number(scalars)} scalars"


def networks(report: Report) -> Answer:
    """M unwatermarked networks and D Payloads of the agreed size; the standard names no numbers."""
    sizes = sorted({t.record.payload_size for t in report.technologies if t.record.payload_size})
    bits = f" of {listed([f'{s:,}' for s in sizes])} bits" if sizes else ""
    few = ""
    if len(report.networks) < 2 or report.payloads < 2:
        few = "; with one of a kind nothing is said of others"
    return met(f"M = {len(report.networks)}, D = {report.payloads}{bits}{few}", "technologies")


def injected(report: Report, training: bool | None = None) -> Answer:
    """The method applied to every network with every Payload: M x D.

    Args:
        report: of the run.
        training: only of what training puts in (true) or of what is put in without (false).
    """
    chosen = [t for t in watermarks(report) if training in (None, t.trained)]
    if training is None:
        return each(chosen, _injected, nothing_put_in())
    how = "by" if training else "without"
    return each(
        chosen,
        _injected,
        apart(f"no technology of this run is put in {how} training", "technologies"),
    )


def _injected(technology: Technology) -> Answer:
    if technology.record.elsewhere:
        return met("networks that others had watermarked", "technologies")
    return put_in(technology.injections, "watermarked network", "technologies")


def prepared(report: Report) -> Answer:
    """What a method needs of data is ready before; only those that train need any."""
    trained = [t.label for t in watermarks(report) if t.trained]
    if not trained:
        return apart("no technology of this run trains, so that none needs training data")
    return met(f"training data and recipe of {listed(trained, 3)} are in the plan", "environment")


def unmarked_quality(report: Report) -> Answer:
    """Quality of the M unwatermarked networks on the test set."""
    wanted = len(report.networks)
    for found in report.base:
        if found.quality.value is None:
            return not_measured(f"{found.measure}: {found.quality.reason}", "t-base")
        if found.quality.networks < wanted:
            done = f"{found.measure} of {found.quality.networks} of {wanted} networks"
            return not_measured(f"{done}; {AGAIN}", "t-base")
    if not report.base:
        return not_measured("no network was run on the test set", "t-base")
    measures = listed([b.measure for b in report.base], 3)
    return met(f"{measures} of {plural(wanted, 'network')}", "t-base")


def marked_run(report: Report) -> Answer:
    """The M x D watermarked networks answer the same test set."""
    wanted = watermarked(report)

    def ask(technology: Technology) -> Answer:
        done = len(technology.imperceptibility.pairs)
        if done >= wanted:
            return met(f"{done} watermarked networks beside the same without a watermark", _HERE)
        broken = technology.imperceptibility.failures or technology.injections.failures
        answer = not_met if broken else not_measured
        why = broken[0].reason if broken else NO_QUALITY if left_out(report) else AGAIN
        return answer(f"{done} of {wanted} watermarked networks: {why}", _HERE)

    return each(_asked(report), ask, _not_asked(report))


def same_measures(report: Report) -> Answer:
    """The same measures before and after."""

    def ask(technology: Technology) -> Answer:
        lacking = [
            f"{row.measure}: {row.loss.reason}"
            for row in technology.imperceptibility.measures
            if row.loss.value is None
        ]
        if lacking:
            return not_measured(listed(lacking, 2), _HERE)
        told = listed([row.measure for row in technology.imperceptibility.measures])
        return met(f"{told}, without and with the watermark", "t-quality")

    return each(_asked(report), ask, _not_asked(report))


def both_reported(report: Report) -> Answer:
    """Quality without and with the watermark stands in the report."""
    shown, measure = Shown(report.headline), report.headline.name

    def ask(technology: Technology) -> Answer:
        found = technology.imperceptibility
        if found.before.value is None or found.after.value is None:
            why = found.before.reason or found.after.reason
            return not_measured(str(why), _HERE)
        pair = f"{shown.value(found.before.value)} without, {shown.value(found.after.value)} with"
        return met(f"{measure} {pair}", _HERE)

    return each(_asked(report), ask, _not_asked(report))


def own_semantics(report: Report) -> Answer:
    """Networks without semantics of their own are connected to others first."""
    around = [*report.dataset.before, *report.dataset.after]
    if around:
        return met(f"evaluated within {listed(around)}", "t-base")
    return apart(
        f"what these networks answer has a meaning of its own: it is measured by "
        f"{report.headline.name}",
        "t-base",
    )


def annex(report: Report, tasks: Sequence[Sequence[str]]) -> Answer:
    """The measures that the annex names for the task.

    Args:
        report: of the run.
        tasks: the measures of each task; the one that the run has most of is its own.
    """
    if left_out(report):
        return not_measured(NO_QUALITY, "t-base")
    own = {m.name.casefold() for m in report.measures}
    best = max(tasks, key=lambda names: sum(n.casefold() in own for n in names))
    found = [n for n in best if n.casefold() in own]
    if not found:
        return apart(f"the annex names no measure for this task ({report.headline.name})", "t-base")
    lacking = [n for n in best if n not in found]
    if lacking:
        return not_measured(f"{listed(found)}, without {listed(lacking)}", "t-base")
    return met(listed(found), "t-base")


def left_out(report: Report) -> bool:
    """Whether the evaluation asked for no quality, so that no network answered the test set."""
    return any(base.quality.reason == NO_QUALITY for base in report.base)


def _asked(report: Report) -> list[Technology]:
    return [t for t in watermarks(report) if t.imperceptibility_asked]


def _not_asked(report: Report) -> Answer:
    if not watermarks(report):
        return nothing_put_in()
    return apart("the evaluation leaves its workflows of Imperceptibility out")
