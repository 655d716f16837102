"""The figure of a training that puts watermarks in: loss, quality and Symbol Error Rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nnw_onnx.measures.trainings import EpochMean
from nnw_onnx.reports import canvas
from nnw_onnx.reports.canvas import Figure
from nnw_onnx.reports.model import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW_EPOCHS = 12
_Field = Callable[[EpochMean], float | None]
_PANELS: tuple[tuple[str, _Field, bool], ...] = (
    ("Loss", lambda e: e.loss, False),
    ("Training quality", lambda e: e.quality, True),
    ("Symbol Error Rate", lambda e: e.symbol_error_rate, True),
)


def training_figure(report: Report, position: int) -> Figure:
    """Three small panels against the epoch: mean over networks, and each network."""
    found = report.trainings[position]
    index = [g.index for g in report.groups].index(found.group)
    title = f"Training that puts in {canvas.short(found.label)}"
    with canvas.drawing(9.0, 2.6) as figure:
        for axes, (name, field, share) in zip(figure.subplots(1, 3), _PANELS, strict=True):
            canvas.heading(axes, name)
            if len(found.networks) > 1:
                for curve in found.networks:
                    _line(axes, curve.epochs, field, index, linewidth=0.7, alpha=0.45)
            _line(axes, found.twins, field, None, linewidth=1.3, label="without a watermark")
            _line(axes, found.mean, field, index, linewidth=2.0, label="with the watermark")
            _scales(axes, share, max(e.number for e in (*found.mean, *found.twins)))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=2)
        caption = (
            f"{title}, epoch by epoch: loss of the task, share of the training samples that are "
            "answered rightly, and Symbol Error Rate at the end of the epoch. Thick lines: mean "
            "over networks; thin lines: single networks; grey: the same training without a "
            "watermark."
        )
        svg = canvas.svg_of(figure, title, caption)
    name = f"training-{position + 1}-{canvas.slug(found.label)}"
    return Figure(name, "training", title, caption, svg, position)


def _line(
    axes: Axes,
    epochs: Sequence[EpochMean],
    field: _Field,
    index: int | None,
    **style: Any,
) -> None:
    """One curve; that of the twins has no index."""
    known = [(e.number, v) for e in epochs if (v := field(e)) is not None]
    if not known:
        return
    if index is None:
        style |= {"color": canvas.CONTROL, "linestyle": (0, (4, 2.5)), "zorder": 2}
    else:
        style |= {"color": canvas.colour(index), "zorder": 3}
    mark = index is not None and "label" in style and len(known) <= _FEW_EPOCHS
    axes.plot(
        [x for x, _ in known],
        [y for _, y in known],
        marker=canvas.marker(index or 0) if mark or len(known) == 1 else None,
        markersize=4.0,
        **style,
    )


def _scales(axes: Axes, share: bool, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.set_xlim(1 - 0.04 * last, last + 0.04 * last)
    axes.set_xlabel("epoch")
    if not share:
        axes.set_ylim(bottom=0)
        return
    low, high = axes.get_ylim()
    # A share ends at 0 and 1; a little room keeps the lines off the frame.
    axes.set_ylim(max(low, -0.04 * high), min(high, 1 + 0.04 * (1 - low)))
    canvas.percent_axis(axes)
