"""The figures as files of their own: SVG for papers, the same panels as on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from nnw_onnx.reports.curves import Curve, Curves
from nnw_onnx.reports.drawing import Drawing
from nnw_onnx.reports.evidence import Evidence, Panel
from nnw_onnx.reports.templating import templates

_ACROSS = {True: 2, False: 5}
_HEAD, _NAME, _GAP = 24, 14, 10
_EVIDENCE = "Evidence against loss of quality"
_CURVES = (
    "Above: what is read from the watermarked (solid) and unwatermarked networks (dashed), with "
    "the limit of detection. Below: loss of quality, folded at the largest that leaves a network "
    "usable. Shaded: the standard's range."
)


@dataclass(frozen=True)
class Figure:
    """A figure file.

    Attributes:
        name: without suffix; letters, digits and hyphens only.
        svg: its text.
    """

    name: str
    svg: str


def figures(drawing: Drawing) -> Iterator[Figure]:
    """Every figure of a report that there are numbers for."""
    proofs, strips = drawing.evidence, drawing.curves
    if proofs is not None:
        yield Figure("evidence", _drawn("evidence", _EVIDENCE, proofs, proofs.panels, drawing))
    for _, group in strips.groups if strips else ():
        for strip in group:
            if strips and strip.curves:
                title = f"{strip.code} {strip.title}"
                svg = _drawn("curves", title, strips, strip.curves, drawing)
                yield Figure(f"curves-{slug(title)}", svg)


def slug(text: str) -> str:
    """Text as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "figure"


def _legend(whole: Evidence | Curves, title: str) -> list[tuple[int, int, str]]:
    """(family number, place from the left, name) of what the points of a figure mean."""
    if isinstance(whole, Curves):
        return []
    found, x = [], 24 + 8 * len(title)
    for number, name in whole.families:
        found.append((number, x, name))
        x += 28 + 6 * len(name)
    return found


def _drawn(
    kind: Literal["evidence", "curves"],
    title: str,
    whole: Evidence | Curves,
    panels: Sequence[Panel] | Sequence[Curve],
    drawing: Drawing,
) -> str:
    across = min(_ACROSS[whole.few], len(panels))
    wide, high = whole.width + _GAP, whole.height + _NAME + _GAP
    places = [
        (panel, (i % across) * wide, _HEAD + (i // across) * high) for i, panel in enumerate(panels)
    ]
    rows = -(-len(panels) // across)
    return (
        templates()
        .get_template("figure.svg.j2")
        .render(
            kind=kind,
            title=title,
            caption=f"{drawing.report.title}. {_CURVES if kind == 'curves' else _EVIDENCE}",
            whole=whole,
            panels=places,
            width=across * wide,
            height=_HEAD + rows * high,
            report=drawing.report,
            panel=drawing.panel,
            legend=_legend(whole, title),
        )
    )
