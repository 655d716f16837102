"""The figure of Imperceptibility: paired losses of quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnw_onnx.measures.comparison import Comparison, Equivalence
from nnw_onnx.measures.imperceptibility import GroupImperceptibility
from nnw_onnx.measures.limits import Estimate
from nnw_onnx.reports import canvas, words
from nnw_onnx.reports.canvas import Figure
from nnw_onnx.reports.model import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 0.28
_GAP = 1
_MOST_LABELS = 12
_Labels = list[tuple[float, str]]


def imperceptibility_figure(report: Report) -> Figure:
    """Paired loss of the headline measure: each pair, and the mean over networks."""
    groups = [g for g in report.imperceptibility if is_compared(g)]
    unit = "percentage points" if report.rate else "its own unit"
    title = f"Loss of {words.measure_name(report.headline)} through the watermark"
    rows = sum(_height(g) for g in groups)
    row = min(_ROW, 7.0 / rows)
    with canvas.drawing(6.4, 1.0 + row * rows) as figure:
        axes = figure.subplots()
        axes.axvspan(-report.margin, report.margin, color=canvas.BAND, linewidth=0, zorder=0)
        axes.axvline(0, color=canvas.MUTED, linewidth=0.9, zorder=1)
        top, labels = 0.0, []
        for group in groups:
            labels += _forest(axes, group, _position(report, group.group), top)
            top -= _height(group)
        axes.set_yticks([y for y, _ in labels], [text for _, text in labels])
        axes.set_ylim(top + 0.5, 1)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.set_xlabel(f"loss in {unit}")
        if report.rate:
            canvas.points_axis(axes)
        caption = _caption(report, title, unit)
        svg = canvas.svg_of(figure, title, caption)
    return Figure("imperceptibility", "imperceptibility", title, caption, svg)


def is_compared(group: GroupImperceptibility) -> bool:
    """Whether there is a loss to be drawn, be it beside the original network only."""
    found = [group.loss, *([group.original.loss] if group.original else [])]
    return any(isinstance(loss, Estimate) for loss in found)


def _caption(report: Report, title: str, unit: str) -> str:
    text = (
        f"{title}, in {unit}: to the right of zero the watermarked network is worse. Large "
        "markers: mean over networks; thin lines: single pairs of a network and a Payload. "
        "Bars are 95 % limits (of a mean the wider of those over networks and over test "
        "samples); the shaded band is the margin of equivalence."
    )
    if any(g.original is not None for g in report.imperceptibility):
        text += (
            " Put in by training, a watermark is compared with the twin, which is the same "
            "training without one; open markers compare with the original network, which "
            "includes what further training does."
        )
    return text


def _position(report: Report, group: int) -> int:
    """Position of a technology among all, which decides its colour."""
    return [g.index for g in report.groups].index(group)


def _height(group: GroupImperceptibility) -> int:
    """Rows that a technology takes."""
    return 1 + len(group.pairs) + (group.original is not None) + _GAP


def _forest(axes: Axes, group: GroupImperceptibility, index: int, top: float) -> _Labels:
    """One technology: its mean on top, its pairs below; returns the tick labels."""
    labels = [(top, canvas.short(group.label))]
    _mean(axes, group, index, top, filled=True)
    if group.original is not None:
        top -= 1
        _mean(axes, group.original, index, top, filled=False)
        labels.append((top, "beside the original network"))
    many = len(group.pairs) > _MOST_LABELS
    for i, pair in enumerate(group.pairs):
        y = top - 1 - i
        if pair.answers.status == "measured":
            limits = pair.answers.equivalence.limits
            tint = canvas.colour(index)
            axes.plot([limits.low, limits.high], [y, y], color=tint, linewidth=0.9, alpha=0.55)
        axes.plot([pair.loss], [y], markersize=3.5, alpha=0.8, **_style(index))
        if not many:
            labels.append((y, f"network {pair.network + 1}, Payload {pair.payload_index + 1}"))
    return labels


def _mean(axes: Axes, found: Comparison, index: int, y: float, *, filled: bool) -> None:
    if not isinstance(found.loss, Estimate):
        return
    mean, bar = found.loss.mean, [[0.0], [0.0]]
    if isinstance(found.stated, Equivalence):
        limits = found.stated.limits
        bar = [[max(0.0, mean - limits.low)], [max(0.0, limits.high - mean)]]
    width = {"markersize": 8, "elinewidth": 2.4} if filled else {"markersize": 6, "elinewidth": 1.2}
    style: dict[str, Any] = {**_style(index), **width, "capsize": 4}
    if not filled:
        style["markerfacecolor"] = "none"
    axes.errorbar([mean], [y], xerr=bar, **style)


def _style(index: int) -> dict[str, Any]:
    return {
        "color": canvas.colour(index),
        "marker": canvas.marker(index),
        "linestyle": "none",
        "zorder": 3,
    }
