"""The tables that only the HTML report shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from nnw_onnx.measures.comparison import QualityPair
from nnw_onnx.measures.limits import FEW_NETWORKS, Estimate, Proportion
from nnw_onnx.measures.points import GroupRobustness, NetworkResult, RobustnessPoint, Sweep
from nnw_onnx.reports import words
from nnw_onnx.reports.forms import Cell, Table, count, measured, plain, text, yes_no
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.tables import OPTIONAL, POINT_COLUMNS, compared_with, point_cells

MOST_ROWS = 1000


@dataclass(frozen=True)
class Spot:
    """One setting in the overview of a technology.

    Attributes:
        intensity: as words.
        detected: share of detected watermarks as words.
        state: "survived", "lost", "ruined" (lost, and the network is unusable) or "unknown".
        outside: whether it is outside the standard's range.
        notes: what else is to be said of it, in a few words each.
    """

    intensity: str
    detected: str
    state: str
    outside: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class OverviewRow:
    """One Modification and aim of a technology, from weak to strong; or why there is none."""

    label: str
    workflow: str
    modification: str
    aim: str
    spots: tuple[Spot, ...]


def overview(report: Report) -> tuple[OverviewRow, ...]:
    """What was detected after each Modification, technology by technology."""
    return tuple(row for group in report.robustness for row in _overview_of(group))


def _overview_of(group: GroupRobustness) -> Iterator[OverviewRow]:
    if group.not_asked is not None:
        yield OverviewRow(group.label, group.workflow, words.NOT_ASKED, "", ())
    for sweep in group.sweeps:
        yield OverviewRow(
            label=group.label,
            workflow=group.workflow,
            modification=words.modification_name(sweep.modification, sweep.options),
            aim=words.aim_name(sweep.aim),
            spots=tuple(_spot(sweep, p, group.detectable) for p in sweep.points),
        )


def _spot(sweep: Sweep, point: RobustnessPoint, detectable: bool) -> Spot:
    unit = sweep.parameter.unit if sweep.parameter else None
    state = {None: "unknown", True: "survived", False: "lost"}[point.survived]
    if state == "lost" and point.usable is False:
        state = "ruined"
    if not detectable:
        state = "unknown"
    missed = point.p_md
    return Spot(
        intensity=words.intensity(point.intensity or 0.0, unit),
        detected=f"{100 * (1 - missed.value):.0f} %"
        if isinstance(missed, Proportion)
        else words.DASH,
        state=state,
        outside=point.outside_standard_range,
        notes=tuple(_spot_notes(point)),
    )


def _spot_notes(point: RobustnessPoint) -> Iterator[str]:
    gone = point.watermarked.not_applicable
    if gone:
        yield f"no carrier in {gone} of {point.watermarked.expected}"
    if isinstance(point.ser_new_marks, Estimate):
        void = "void: " if point.void is not None else ""
        last = point.ser_last_new_mark
        only = f", last {words.percent(last.mean)}" if isinstance(last, Estimate) else ""
        yield f"{void}new SER {words.percent(point.ser_new_marks.mean)}{only}"
    if point.quality_of is not None:
        yield f"on {point.quality_of}"


SWEEP_COLUMNS = (
    ("technology", "Technology"),
    ("intensity", "Intensity"),
    *POINT_COLUMNS,
    ("quality_unwatermarked", "Quality, unwatermarked"),
    ("change", "Relative change"),
)


def sweep_table(report: Report, position: int) -> Table:
    """The numbers behind one robustness figure."""

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.robustness:
            unit = None
            points = [group.unmodified] if group.unmodified else []
            if position < len(group.sweeps):
                sweep = group.sweeps[position]
                unit = sweep.parameter.unit if sweep.parameter else None
                points += sweep.points
            for point in points:
                yield (
                    text(group.label),
                    Cell("none", (("", None),), numeric=True)
                    if point.intensity is None
                    else plain(point.intensity, partial(words.intensity, unit=unit)),
                    *point_cells(point, group.rate),
                    measured(point.quality_unwatermarked, partial(words.quality, rate=group.rate)),
                    measured(point.change, words.number),
                )

    caption = "Numbers behind the figure, with 95 % limits"
    return Table("sweep", caption, SWEEP_COLUMNS, tuple(rows()), optional=OPTIONAL)


def epochs_table(report: Report, position: int) -> Table:
    """The numbers behind the curves of a training."""
    columns = (
        ("networks", "Networks"),
        ("epoch", "Epoch"),
        ("loss", "Loss"),
        ("penalty", "Added by the watermark"),
        ("quality", "Training quality"),
        ("ser", "Symbol Error Rate"),
    )
    found = report.trainings[position]
    curves = [("mean of the watermarked", found.mean)]
    if len(found.networks) > 1:
        curves += [(f"network {n.network + 1}", n.epochs) for n in found.networks]
    curves.append(("mean of the twins", found.twins))
    rows = tuple(
        (
            text(name),
            count(epoch.number),
            plain(epoch.loss),
            plain(epoch.penalty),
            plain(epoch.quality, words.percent),
            plain(epoch.symbol_error_rate, words.percent),
        )
        for name, epochs in curves
        for epoch in epochs
    )
    return Table("epochs", "Numbers behind the figure, epoch by epoch", columns, rows)


RESULT_COLUMNS = (
    ("technology", "Technology"),
    ("intensity", "Intensity"),
    ("network", "Network"),
    ("payload", "Payload"),
    ("repetition", "Repetition"),
    ("ser", "SER"),
    ("p", "p-value"),
    ("detected", "Detected"),
    ("quality", "Quality"),
    ("loss", "Loss"),
    ("status", "Status"),
)


def results_table(report: Report, position: int) -> Table | None:
    """Every single network of one robustness figure; None where there are five or more."""
    if len(report.networks) >= FEW_NETWORKS:
        return None

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.robustness:
            if position >= len(group.sweeps):
                continue
            for point in group.sweeps[position].points:
                for result in point.networks:
                    yield (
                        text(group.label),
                        plain(point.intensity, partial(words.number, digits=6)),
                        *_result(result, group.rate),
                    )

    return Table("results", "Every network on its own", RESULT_COLUMNS, tuple(rows()))


def _result(result: NetworkResult, rate: bool) -> tuple[Cell, ...]:
    payload = words.DASH if result.payload_index is None else str(result.payload_index + 1)
    status = result.status if result.reason is None else f"{result.status}: {result.reason}"
    return (
        text(result.network + 1),
        text(payload if result.payload_index is not None else "unwatermarked"),
        text(result.repetition + 1),
        plain(result.symbol_error_rate, words.percent),
        plain(result.log10_p, words.p_value),
        yes_no(result.detected),
        plain(result.quality, partial(words.quality, rate=rate)),
        plain(result.loss, partial(words.points, rate=rate)),
        text(status),
    )


def evidence_table(report: Report) -> Table:
    """The points of the evidence figure."""
    columns = (
        ("technology", "Technology"),
        ("modification", "Modification"),
        ("network", "Network"),
        ("payload", "Payload"),
        ("p", "p-value"),
        ("loss", "Loss"),
        ("detected", "Detected"),
    )
    rows = [
        (
            text(group.label),
            text(where),
            text(result.network + 1),
            text((result.payload_index or 0) + 1),
            plain(result.log10_p, words.p_value),
            plain(result.loss, partial(words.points, rate=group.rate)),
            yes_no(result.detected),
        )
        for group in report.robustness
        for where, point in _places(group)
        for result in point.networks
        if result.payload_index is not None and result.log10_p is not None
    ]
    caption = "The watermarked networks one by one"
    if len(rows) > MOST_ROWS:
        caption += f", the first {MOST_ROWS:,} of {len(rows):,}; all are in report.json"
    return Table("evidence", caption, columns, tuple(rows[:MOST_ROWS]))


def _places(group: GroupRobustness) -> Iterator[tuple[str, RobustnessPoint]]:
    if group.unmodified is not None:
        yield "none", group.unmodified
    for sweep in group.sweeps:
        for point in sweep.points:
            yield words.setting(sweep, point.intensity or 0.0), point


def pairs_table(report: Report) -> Table:
    """Every pair of a network without and with a watermark."""
    columns = (
        ("technology", "Technology"),
        ("network", "Network"),
        ("payload", "Payload"),
        ("reference", "Compared with"),
        ("before", "Without watermark"),
        ("after", "Watermarked"),
        ("loss", "Loss"),
        ("limits", "95 % limits"),
        ("lost", "Right → wrong"),
        ("gained", "Wrong → right"),
        ("mcnemar", "McNemar p"),
        ("equivalent", "Within the margin (TOST)"),
        ("carrier", "Change of the carrier"),
    )

    def rows() -> Iterator[tuple[Cell, ...]]:
        for group in report.imperceptibility:
            for reference, found in compared_with(group):
                for pair in found.pairs:
                    where = (text(pair.network + 1), text(pair.payload_index + 1))
                    yield (text(group.label), *where, text(reference), *_pair(pair, found.rate))

    return Table("pairs", "Each network without and with each watermark", columns, tuple(rows()))


def _pair(pair: QualityPair, rate: bool) -> tuple[Cell, ...]:
    quality, points = partial(words.quality, rate=rate), partial(words.points, rate=rate)
    answers = pair.answers if pair.answers.status == "measured" else None
    test = answers.equivalence if answers else None
    return (
        plain(pair.before, quality),
        plain(pair.after, quality),
        plain(pair.loss, points),
        text(words.limits(test.limits if test else None, points)),
        count(answers.lost if answers else None),
        count(answers.gained if answers else None),
        plain(answers.mcnemar_p if answers else None, words.number),
        yes_no(test.equivalent if test else None),
        plain(pair.carrier_change, words.number),
    )


def networks_table(report: Report) -> Table:
    """The unwatermarked networks and the rule on data-set size."""
    columns = (
        ("number", "No."),
        ("name", "Network"),
        ("weights", "Weights"),
        ("parameters", "Parameters"),
        ("samples", "Samples / Weight"),
        ("scalars", "Scalars / Weight"),
        ("sha256", "SHA-256"),
    )
    sizes = {s.network: s for s in report.dataset_sizes}
    rows = tuple(
        (
            text(n.index + 1),
            text(n.name),
            count(n.weights),
            count(n.parameters),
            measured(sizes[n.index].samples_per_weight, words.number),
            measured(sizes[n.index].scalars_per_weight, words.number),
            text(n.sha256[:16] + "…"),
        )
        for n in report.networks
    )
    return Table("networks", "The M unwatermarked networks", columns, rows)
