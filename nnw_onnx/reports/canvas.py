"""The look of every figure: palette, type, and SVG that is the same for the same numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from nnw_onnx.measures.limits import Estimate, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Section = Literal["imperceptibility", "robustness", "evidence", "cost", "training"]
PAPER = "#ffffff"
INK, MUTED, GRID, BAND, CONTROL = "#1d2733", "#5c6b7a", "#dfe5ec", "#e9f1fa", "#77838f"
# Okabe and Ito's palette without the colours that are weak on white, then its lighter ones.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b5558a", "#8a6d00", "#3c4fb0")
MARKERS = ("o", "s", "^", "D", "v", "P")
LONGEST_LABEL = 44
_STYLE: Any = {
    "svg.hashsalt": "nnw-onnx",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.0,
}


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: file name without suffix; letters, digits and hyphens only.
        section: where it belongs.
        title: short.
        caption: how to read it.
        svg: standalone SVG.
        key: of a sweep its position in every technology's `sweeps`, of the curves of a training
            the position of that training in the report, else None.
    """

    name: str
    section: Section
    title: str
    caption: str
    svg: str
    key: int | None = None


@contextmanager
def drawing(width: float, height: float) -> Iterator[Drawing]:
    """An empty figure of so many inches in the house style; no global state is left behind."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(_STYLE):
        yield Drawing(figsize=(width, height), layout="constrained")


def svg_of(figure: Drawing, title: str, description: str) -> str:
    """The figure as SVG with a title and a description for those who do not see it."""
    stream = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=metadata, transparent=True)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", stream.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", text, count=1, flags=re.DOTALL)
    said = f"<title>{escape(title)}</title>\n <desc>{escape(description)}</desc>"
    return re.sub(r"(<svg\b[^>]*)>", rf'\1 role="img">\n {_literal(said)}', text, count=1)


def _literal(text: str) -> str:
    """Text that a regular expression's replacement takes as it is."""
    return text.replace("\\", r"\\")


def short(label: str) -> str:
    """A label that fits into a legend, control characters made visible."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in label)
    if len(shown) <= LONGEST_LABEL:
        return shown
    # Both ends are kept: long labels mostly differ in their last words.
    half = LONGEST_LABEL // 2
    return f"{shown[: half - 1]}…{shown[-half:]}"


def slug(text: str) -> str:
    """Text as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "figure"


def colour(index: int) -> str:
    """Colour of a technology."""
    return SERIES[index % len(SERIES)]


def marker(index: int) -> str:
    """Marker of a technology: colours alone would not do."""
    return MARKERS[index % len(MARKERS)]


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Show the ratios of an axis in percent."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.6g} %"))


def points_axis(axes: Axes, which: str = "x") -> None:
    """Show differences of rates in percentage points."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.6g}"))


def heading(axes: Axes, text: str) -> None:
    """A left-aligned heading of one panel."""
    axes.set_title(text, loc="left", fontsize=9.5, fontweight="bold", pad=8)


def bars(values: Sequence[Estimate]) -> tuple[list[float], list[float]]:
    """Lengths of error bars below and above; 0 where there are no limits."""
    below, above = [], []
    for value in values:
        limits = value.limits
        low, high = value.mean, value.mean
        if isinstance(limits, Interval) and not (value.unit == "networks" and value.individual):
            low, high = limits.low, limits.high
        below.append(max(0.0, value.mean - low))
        above.append(max(0.0, high - value.mean))
    return below, above
