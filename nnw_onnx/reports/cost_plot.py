"""The figure of Computational Cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnw_onnx.measures.costs import OperationCosts
from nnw_onnx.measures.limits import Estimate
from nnw_onnx.reports import canvas
from nnw_onnx.reports.canvas import Figure
from nnw_onnx.reports.model import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COSTS = (
    ("injection", "seconds", "Injection,\ntime (ms)", 1e3),
    ("detection", "seconds", "Detection,\ntime (ms)", 1e3),
    ("decoding", "seconds", "Decoding,\ntime (ms)", 1e3),
    ("injection", "peak_bytes", "Injection,\npeak memory (MB)", 1e-6),
    ("detection", "peak_bytes", "Detection,\npeak memory (MB)", 1e-6),
    ("inference", "ratio", "Inference time,\nratio", 1.0),
)


def cost_figure(report: Report) -> Figure:
    """Bars of time, memory and inference ratio for each technology."""
    title = "Computational Cost"
    count = len(report.cost)
    with canvas.drawing(9.0, 2.6 + 0.62 * count) as figure:
        grid = figure.subplots(2, 3, sharey=True)
        for axes, (operation, field, label, factor) in zip(grid.flat, _COSTS, strict=True):
            canvas.heading(axes, label)
            axes.grid(axis="y", visible=False)
            axes.grid(axis="x", visible=True)
            for i, group in enumerate(report.cost):
                cost = next(o for o in group.operations if o.operation == operation)
                _bar(axes, cost, field, factor, i)
            axes.set_yticks(range(count), [canvas.short(g.label) for g in report.cost])
            axes.set_ylim(count - 0.5, -0.5)
        caption = (
            "Mean over the M × D watermarked networks with 95 % limits. Memory is the peak above "
            "the loaded baseline. A ratio of 1 means that the watermark makes inference no slower."
        )
        if any(group.trained for group in report.cost):
            caption += " Of injection by training it is the time of a batch."
        svg = canvas.svg_of(figure, title, caption)
    return Figure("cost", "cost", title, caption, svg)


def _bar(axes: Axes, cost: OperationCosts, field: str, factor: float, row: int) -> None:
    value = getattr(cost, field)
    if not isinstance(value, Estimate):
        axes.text(0.02, row, "not measured", va="center", color=canvas.MUTED)
        return
    below, above = canvas.bars([value])
    axes.barh(
        [row],
        [value.mean * factor],
        xerr=[[below[0] * factor], [above[0] * factor]],
        height=0.5,
        color=canvas.colour(row),
        error_kw={"ecolor": canvas.INK, "elinewidth": 1.2, "capsize": 3},
        zorder=3,
    )
