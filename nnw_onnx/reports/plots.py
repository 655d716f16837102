"""Figures of a report as SVG, each with the words that go with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnw_onnx.measures.limits import (
    FEW_NETWORKS,
    Estimate,
    NotMeasured,
)
from nnw_onnx.measures.points import GroupRobustness, NetworkResult, RobustnessPoint, Sweep
from nnw_onnx.reports import canvas, words
from nnw_onnx.reports.canvas import Figure
from nnw_onnx.reports.cost_plot import cost_figure
from nnw_onnx.reports.loss_plot import imperceptibility_figure, is_compared
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.training_plot import training_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DODGE = 0.1


def figures(report: Report) -> tuple[Figure, ...]:
    """Every figure that the report has numbers for."""
    return tuple(_figures(report))


def _figures(report: Report) -> Iterator[Figure]:
    if any(is_compared(g) for g in report.imperceptibility):
        yield imperceptibility_figure(report)
    for position in range(len(shared_sweeps(report))):
        yield sweep_figure(report, position)
    if any(p.log10_p is not None for p in _results(report.robustness)):
        yield evidence_figure(report)
    if any(isinstance(o.seconds, Estimate) for g in report.cost for o in g.operations):
        yield cost_figure(report)
    for position, training in enumerate(report.trainings):
        if training.mean:
            yield training_figure(report, position)


def shared_sweeps(report: Report) -> tuple[Sweep, ...]:
    """The sweeps: the same for every technology whose robustness was asked for."""
    return next((g.sweeps for g in report.robustness if g.sweeps), ())


def _asked(report: Report) -> list[tuple[int, GroupRobustness]]:
    """The technologies with sweeps, each with its position among all."""
    return [(i, g) for i, g in enumerate(report.robustness) if g.not_asked is None]


def _results(groups: Sequence[GroupRobustness]) -> Iterator[NetworkResult]:
    for group in groups:
        for point in _all_points(group):
            yield from point.networks


def _all_points(group: GroupRobustness) -> list[RobustnessPoint]:
    modified = [p for s in group.sweeps for p in s.points]
    return [group.unmodified, *modified] if group.unmodified else modified


def sweep_figure(report: Report, position: int) -> Figure:
    """Symbol Error Rate (above) and task quality (below) against the Intensity."""
    sweep = shared_sweeps(report)[position]
    kind = words.modification_name(sweep.modification, sweep.options)
    title = f"{kind}, {words.aim_name(sweep.aim)}"
    with canvas.drawing(5.4, 5.0) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.15, 1))
        for axes in (above, below):
            _standard_range(axes, sweep)
        _error_curves(above, report, position)
        _quality_curves(below, report, position)
        _intensity_axis(below, sweep)
        canvas.heading(above, "Symbol Error Rate")
        canvas.heading(below, words.measure_name(report.headline).capitalize() + _on(sweep))
        handles, labels = above.get_legend_handles_labels()
        # matplotlib puts plain lines first; the reference belongs after the technologies.
        handles, labels = [*handles[1:], handles[0]], [*labels[1:], labels[0]]
        figure.legend(handles, labels, loc="outside upper left", ncols=1 if _long(labels) else 2)
        caption = (
            f"{title}: Symbol Error Rate and {words.measure_name(report.headline)} against the "
            f"Intensity, weak to strong (equally spaced). {_spread(report)} "
            f"{_shading(sweep)}The grey line is the unwatermarked network."
            f"{_remarks(report, position)}"
        )
        svg = canvas.svg_of(figure, title, caption)
    name = f"robustness-{position + 1}-{canvas.slug(title)}"
    return Figure(name, "robustness", title, caption, svg, position)


def _spread(report: Report) -> str:
    if len(report.networks) < FEW_NETWORKS:
        return "Small points are the single networks, too few for bars of limits."
    return "Bars are 95 % limits."


def _shading(sweep: Sweep) -> str:
    inside = any(not p.outside_standard_range for p in sweep.points)
    return "The shaded part is the standard's range. " if inside else ""


def _on(sweep: Sweep) -> str:
    """The data set that quality was measured on, where it is another one."""
    names = dict.fromkeys(p.quality_of for p in sweep.points if p.quality_of is not None)
    return f" on {words.listed(list(names))}" if names else ""


def _remarks(report: Report, position: int) -> str:
    """What the curves do not show."""
    sweeps = [g.sweeps[position] for _, g in _asked(report) if position < len(g.sweeps)]
    points = [p for sweep in sweeps for p in sweep.points]
    parts = []
    if any(p.watermarked.not_applicable for p in points):
        parts.append(" Networks without the carrier have no Symbol Error Rate.")
    if any(p.void is not None for p in points):
        parts.append(" White markers: overwritings that are void, as their watermarks are not in.")
    if on := _on(sweeps[0]):
        parts.append(f" After the Modification, quality was measured{on}.")
    return "".join(parts)


def _long(labels: Sequence[str]) -> bool:
    return any(len(label) > 26 for label in labels)


def _standard_range(axes: Axes, sweep: Sweep) -> None:
    inside = [i + 1 for i, p in enumerate(sweep.points) if not p.outside_standard_range]
    for start in inside:
        axes.axvspan(start - 0.5, start + 0.5, color=canvas.BAND, linewidth=0, zorder=0)


def _intensity_axis(axes: Axes, sweep: Sweep) -> None:
    labels = ["none", *(words.number(p.intensity or 0.0, 6) for p in sweep.points)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    parameter = sweep.parameter
    if parameter is None:
        axes.set_xlabel("Intensity")
        return
    unit = "" if parameter.unit == "ratio" else f" ({parameter.unit})"
    axes.set_xlabel(f"{parameter.letter}: {parameter.meaning}{unit}"[:80])


def _error_curves(axes: Axes, report: Report, position: int) -> None:
    asked = _asked(report)
    for place, (i, group) in enumerate(asked):
        series = _series(group, position)
        _curve(
            axes,
            [p.ser_watermarked if p else None for p in series],
            offset=(place - (len(asked) - 1) / 2) * _DODGE,
            index=i,
            label=canvas.short(group.label),
            void=[p is not None and p.void is not None for p in series],
        )
    control = [p.ser_unwatermarked if p else None for p in _series(asked[0][1], position)]
    _control(axes, control, "unwatermarked network")
    # Above one half lie inverted watermarks; the axis grows for them.
    axes.set_ylim(-0.03, max(0.62, axes.get_ylim()[1]))
    canvas.percent_axis(axes)


def _quality_curves(axes: Axes, report: Report, position: int) -> None:
    asked = _asked(report)
    for place, (i, group) in enumerate(asked):
        series = _comparable(_series(group, position))
        _curve(
            axes,
            [p.quality_watermarked if p else None for p in series],
            offset=(place - (len(asked) - 1) / 2) * _DODGE,
            index=i,
            label=canvas.short(group.label),
        )
    first = _comparable(_series(asked[0][1], position))
    _control(axes, [p.quality_unwatermarked if p else None for p in first], "unwatermarked network")
    if report.rate:
        axes.set_ylim(-0.03, 1.05)
        canvas.percent_axis(axes)


def _comparable(series: list[RobustnessPoint | None]) -> list[RobustnessPoint | None]:
    """The points without the unmodified one, where the others are of another data set."""
    if any(p is not None and p.quality_of is not None for p in series):
        return [None, *series[1:]]
    return series


def _series(group: GroupRobustness, position: int) -> list[RobustnessPoint | None]:
    if position >= len(group.sweeps):
        return [group.unmodified]
    return [group.unmodified, *group.sweeps[position].points]


_Values = Sequence[Estimate | NotMeasured | None]


def _curve(
    axes: Axes,
    values: _Values,
    *,
    offset: float,
    index: int,
    label: str,
    void: Sequence[bool] = (),
) -> None:
    known = [(x, v) for x, v in enumerate(values) if isinstance(v, Estimate)]
    below, above = canvas.bars([v for _, v in known])
    single = [(x, y) for x, v in known for y in _single(v)]
    axes.plot(
        [x + offset for x, _ in single],
        [y for _, y in single],
        color=canvas.colour(index),
        marker=canvas.marker(index),
        linestyle="none",
        markersize=2.5,
        alpha=0.6,
        zorder=2.5,
    )
    axes.errorbar(
        [x + offset for x, _ in known],
        [v.mean for _, v in known],
        yerr=[below, above],
        color=canvas.colour(index),
        marker=canvas.marker(index),
        elinewidth=1.1,
        capsize=2.5,
        capthick=1.1,
        label=label,
        zorder=3,
    )
    hollow = [(x, v.mean) for x, v in known if void and void[x]]
    axes.plot(
        [x + offset for x, _ in hollow],
        [y for _, y in hollow],
        color=canvas.colour(index),
        marker=canvas.marker(index),
        linestyle="none",
        markerfacecolor=canvas.PAPER,
        zorder=3.5,
    )


def _single(value: Estimate) -> tuple[float, ...]:
    """The values of fewer than five networks, drawn in place of a bar."""
    return () if value.minimum == value.maximum else value.individual


def _control(axes: Axes, values: _Values, label: str) -> None:
    known = [(x, v.mean) for x, v in enumerate(values) if isinstance(v, Estimate)]
    axes.plot(
        [x for x, _ in known],
        [y for _, y in known],
        color=canvas.CONTROL,
        linestyle=(0, (4, 2.5)),
        linewidth=1.3,
        label=label,
        zorder=2,
    )


def evidence_figure(report: Report) -> Figure:
    """Evidence for the watermark against the loss of quality, one point a network."""
    title = "Evidence against loss of quality"
    with canvas.drawing(6.4, 4.0) as figure:
        axes = figure.subplots()
        for i, group in _asked(report):
            pairs = [
                (r.loss, -r.log10_p)
                for p in _all_points(group)
                for r in p.networks
                if r.payload_index is not None and r.loss is not None and r.log10_p is not None
            ]
            axes.scatter(
                [x for x, _ in pairs],
                [max(y, 0.0) for _, y in pairs],
                s=18,
                color=canvas.colour(i),
                marker=canvas.marker(i),
                alpha=0.65,
                linewidths=0,
                label=canvas.short(group.label),
                zorder=3,
            )
        _decision_lines(axes, report)
        figure.legend(loc="outside upper left", ncols=2)
        caption = (
            "Each point is a watermarked network after one Modification: −log10 of the p-value of "
            "its own key against the loss of quality. Below the horizontal line the watermark is "
            "not detected; to the right of the vertical one the network is no longer usable. A "
            "Modification defeats the watermark only in the lower left part."
        )
        svg = canvas.svg_of(figure, title, caption)
    return Figure("evidence", "evidence", title, caption, svg)


def _decision_lines(axes: Axes, report: Report) -> None:
    import math

    level = -math.log10(report.false_positive_rate)
    style: dict[str, Any] = {
        "color": canvas.MUTED,
        "linewidth": 1.0,
        "linestyle": (0, (4, 2.5)),
        "zorder": 2,
    }
    axes.axhline(level, **style)
    axes.axvline(report.usable_loss, **style)
    axes.set_ylim(bottom=-0.5)
    axes.grid(axis="x", visible=True)
    axes.set_ylabel("−log10 p")
    unit = "percentage points" if report.rate else "its own unit"
    axes.set_xlabel(f"loss of {words.measure_name(report.headline)} in {unit}")
    if report.rate:
        canvas.points_axis(axes)
