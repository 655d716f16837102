"""The tables of a report, which are files of their own too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from nnw_onnx.measures.comparison import Comparison
from nnw_onnx.measures.costs import GroupCost
from nnw_onnx.measures.imperceptibility import GroupImperceptibility
from nnw_onnx.measures.points import GroupRobustness, RobustnessPoint
from nnw_onnx.reports import words
from nnw_onnx.reports.forms import (
    Cell,
    Table,
    bounds,
    count,
    markdown_escaped,
    maybe,
    measured,
    plain,
    text,
    with_limits,
    write,
    yes_no,
)
from nnw_onnx.reports.model import Report, Verdict

_PAPER = (
    "group",
    "modification",
    "aim",
    "intensity",
    "fp_ratio",
    "fn_ratio",
    "p_md",
    "ser_watermarked",
    "ser_all",
    "quality",
    "usable",
)


def tables(report: Report) -> tuple[Table, ...]:
    """Imperceptibility, robustness and cost."""
    return (
        imperceptibility_table(report),
        robustness_table(report),
        cost_table(report),
        injection_table(report),
    )


def workflows_of(groups: Iterable[GroupImperceptibility | GroupRobustness]) -> str:
    """The workflows that some technologies go through, such as "NNW-NIR, NNW-WIR"."""
    return ", ".join(dict.fromkeys(g.workflow for g in groups))


def imperceptibility_table(report: Report) -> Table:
    """One row for each technology, reference and quality measure."""
    columns = (
        ("group", "Technology"),
        ("workflow", "Workflow"),
        ("reference", "Compared with"),
        ("measure", "Quality measure"),
        ("unwatermarked", "Without watermark"),
        ("watermarked", "Watermarked"),
        ("change", "Change"),
        ("carrier_change", "Change of the carrier"),
        ("verdict", "Verdict at the margin"),
    )

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.imperceptibility:
            first = (text(group.label), text(group.workflow))
            carrier = measured(group.carrier_change, words.number)
            for reference, found in compared_with(group):
                for row in _measure_rows(found):
                    yield (*first, text(reference), *row[:-1], carrier, row[-1])
            if group.not_asked is not None:
                yield (*first, text(words.NOT_ASKED), text(words.DASH), *(plain(None),) * 5)

    caption = (
        f"Imperceptibility ({workflows_of(report.imperceptibility)}): quality without and with the "
        "watermark, and the paired change "
        f"(in {'percentage points' if report.rate else 'its unit'}), mean over networks with 95 % "
        "limits."
    )
    paper = ("group", "reference", "measure", "unwatermarked", "watermarked", "change", "verdict")
    return Table("imperceptibility", caption, columns, tuple(rows()), paper)


def compared_with(group: GroupImperceptibility) -> Iterator[tuple[str, Comparison]]:
    """What the watermarked networks are compared with, in words, and the comparison."""
    if group.reference == "original":
        yield words.ORIGINAL, group
        return
    yield words.TWIN, group
    if group.original is not None:
        yield f"{words.ORIGINAL} (includes what further training does)", group.original


def _measure_rows(found: Comparison) -> Iterator[tuple[Cell, ...]]:
    value = partial(words.quality, rate=found.rate)
    change = partial(words.points, rate=found.rate, signed=True)
    for measure in found.measures:
        yield (
            text(measure.name),
            measured(measure.unwatermarked, value),
            measured(measure.watermarked, value),
            measured(measure.change, change),
            text(found.verdict if measure.name == found.headline else words.DASH),
        )


def robustness_table(report: Report) -> Table:
    """One row for each technology, Modification, aim and Intensity."""
    columns = (
        ("group", "Technology"),
        ("workflow", "Workflow"),
        ("modification", "Modification"),
        ("aim", "Layers"),
        ("intensity", "Intensity"),
        *POINT_COLUMNS,
    )

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.robustness:
            first = (text(group.label), text(group.workflow))
            if group.not_asked is not None:
                nothing = (plain(None),) * (len(columns) - 3)
                yield (*first, text(words.NOT_ASKED), *nothing)
            if group.unmodified is not None:
                none = (text("none"), text(words.DASH), plain(None))
                yield (*first, *none, *point_cells(group.unmodified, group.rate))
            for sweep in group.sweeps:
                name = words.modification_name(sweep.modification, sweep.options)
                unit = sweep.parameter.unit if sweep.parameter else None
                for point in sweep.points:
                    yield (
                        *first,
                        text(name),
                        text(words.aim_name(sweep.aim)),
                        plain(point.intensity, partial(words.intensity, unit=unit)),
                        *point_cells(point, group.rate),
                    )

    caption = (
        f"Robustness ({workflows_of(report.robustness)}) after each Modification, with 95 % "
        "limits; SER is the Symbol Error Rate."
    )
    return Table("robustness", caption, columns, tuple(rows()), _PAPER, OPTIONAL)


POINT_COLUMNS = (
    ("in_standard_range", "In range"),
    ("networks", "Networks"),
    ("no_carrier", "Carrier gone"),
    ("fp", "FP"),
    ("fn", "FN"),
    ("fp_ratio", "FP / M(D+1)"),
    ("fn_ratio", "FN / M(D+1)"),
    ("p_fa", "False alarm p_fa"),
    ("p_md", "Missed detection p_md"),
    ("ser_watermarked", "SER, watermarked"),
    ("ser_unwatermarked", "SER, unwatermarked"),
    ("ser_all", "SER, all M(D+1)"),
    ("ser_new_marks", "SER, new watermarks"),
    ("ser_last_new_mark", "SER, last new watermark"),
    ("quality", "Quality, watermarked"),
    ("quality_of", "Quality measured on"),
    ("quality_loss", "Loss"),
    ("usable", "Usable"),
    ("void", "Void"),
    ("facts", "Training"),
)
OPTIONAL = ("no_carrier", "ser_new_marks", "ser_last_new_mark", "quality_of", "void", "facts")


def point_cells(point: RobustnessPoint, rate: bool) -> tuple[Cell, ...]:
    """The measured cells of one row, in the order of `POINT_COLUMNS`."""
    ratio = words.percent
    gone = point.watermarked.not_applicable + point.unwatermarked.not_applicable
    return (
        yes_no(None if point.intensity is None else not point.outside_standard_range),
        count(point.watermarked.answered + point.unwatermarked.answered),
        count(gone or None),
        count(point.false_alarms),
        count(point.missed_detections),
        measured(point.fp_ratio, ratio),
        measured(point.fn_ratio, ratio),
        measured(point.p_fa, ratio),
        measured(point.p_md, ratio),
        measured(point.ser_watermarked, ratio),
        measured(point.ser_unwatermarked, ratio),
        measured(point.ser_all, ratio),
        measured(point.ser_new_marks, ratio),
        measured(point.ser_last_new_mark, ratio),
        measured(point.quality_watermarked, lambda x: words.quality(x, rate)),
        maybe(point.quality_of),
        measured(point.quality_loss, lambda x: words.points(x, rate)),
        yes_no(point.usable),
        maybe(point.void.reason if point.void else None),
        maybe(words.facts(point.facts) if point.facts else None),
    )


def cost_table(report: Report) -> Table:
    """One row for each technology and operation."""
    columns = (
        ("group", "Technology"),
        ("operation", "Operation"),
        ("seconds", "Time"),
        ("seconds_bootstrap", "Time, bootstrap limits"),
        ("fastest_seconds", "Fastest"),
        ("peak_bytes", "Peak memory"),
        ("device_peak_bytes", "Device memory"),
        ("devices", "Device"),
        ("baseline_seconds", "Without watermark"),
        ("ratio", "Ratio"),
        ("ratio_of_medians", "Ratio of medians"),
        ("cells", "Networks"),
    )
    rows = tuple(
        (
            text(group.label),
            text(cost.operation),
            measured(cost.seconds, words.seconds),
            bounds(getattr(cost.seconds, "bootstrap", None), words.seconds),
            measured(cost.fastest_seconds, words.seconds),
            measured(cost.peak_bytes, words.size),
            measured(cost.device_peak_bytes, words.size),
            maybe(", ".join(d for d in cost.devices if d != "cpu")),
            measured(cost.baseline_seconds, words.seconds),
            measured(cost.ratio, _ratio),
            with_limits(cost.ratio_of_medians, cost.ratio_of_medians_limits),
            count(getattr(cost.seconds, "n", None)),
        )
        for group in report.cost
        for cost in group.operations
    )
    caption = "Computational Cost, mean over the M × D watermarked networks with 95 % limits."
    return Table("cost", caption, columns, rows, optional=("device_peak_bytes", "devices"))


def injection_table(report: Report) -> Table:
    """The four elements of the Computational Cost of injection, one row for each technology."""
    columns = (
        ("group", "Technology"),
        ("peak_bytes", "(a) Memory footprint"),
        ("device_peak_bytes", "(a) Device memory"),
        ("seconds", "(b) Time of an epoch / its batches"),
        ("batch", "Samples of a batch"),
        ("baseline_seconds", "(b) The same without watermark"),
        ("ratio", "(b) With / without"),
        ("epochs", "(c) Epochs needed to inject"),
        ("never_in", "(c) Never in"),
        ("inference", "(d) Inference time"),
        ("inference_baseline", "(d) Without watermark"),
        ("inference_ratio", "(d) With / without"),
    )

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.cost:
            costs = {o.operation: o for o in group.operations}
            injection, inference = costs["injection"], costs["inference"]
            epochs = measured(group.epochs, words.number)
            if not group.trained:
                epochs = replace(epochs, text="not applicable")
            yield (
                text(group.label),
                measured(injection.peak_bytes, words.size),
                measured(injection.device_peak_bytes, words.size),
                measured(injection.seconds, words.seconds),
                replace(maybe(", ".join(map(str, injection.batch))), numeric=True),
                measured(injection.baseline_seconds, words.seconds),
                measured(injection.ratio, _ratio),
                epochs,
                _never_in(group),
                measured(inference.seconds, words.seconds),
                measured(inference.baseline_seconds, words.seconds),
                measured(inference.ratio, _ratio),
            )

    caption = (
        "Computational Cost of injection: the four elements of the standard, mean over the M × D "
        "watermarked networks with 95 % limits."
    )
    paper = ("group", "peak_bytes", "seconds", "baseline_seconds", "epochs", "inference")
    optional = ("device_peak_bytes", "batch", "baseline_seconds", "ratio", "never_in")
    return Table("injection-cost", caption, columns, tuple(rows()), paper, optional)


def turned(table: Table) -> Table:
    """The table with a column for each row: easier to read where there are many columns."""
    columns = (("element", "Element"), *((f"row_{i}", r[0].text) for i, r in enumerate(table.rows)))
    rows = tuple(
        (text(heading), *(row[i] for row in table.rows))
        for i, (_, heading) in enumerate(table.columns)
        if i > 0
    )
    return Table(table.name, table.caption, columns, rows)


def _never_in(group: GroupCost) -> Cell:
    if not group.epochs_cells:
        return plain(None)
    values = (("", group.never_in), ("of", group.epochs_cells))
    return Cell(f"{group.never_in} of {group.epochs_cells}", values, numeric=True)


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def document(report: Report, form: str) -> str:
    """All tables as one text; in CSV they follow each other, an empty line between them."""
    parts = [write(t, form) for t in tables(report)]
    if form == "markdown":
        said = "".join(f"- {_workflow(v)}{markdown_escaped(v.text)}\n" for v in report.verdicts)
        warned = "".join(f"- {markdown_escaped(w.text)}\n" for w in report.warnings)
        parts.insert(0, f"# {markdown_escaped(report.title)}\n\n{said}")
        if warned:
            parts.insert(1, f"## Warnings\n\n{warned}")
    return "\n".join(parts)


def _workflow(verdict: Verdict) -> str:
    return f"{markdown_escaped(verdict.workflow)}: " if verdict.workflow else ""
