"""Evidence against loss of quality: one panel a technology, quadrants of equal size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx.measures.results import Control, Point, Technology
from nnw_onnx.reports import names, words
from nnw_onnx.reports.axes import Folded, rounded_up
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import Shown

GROUPS = {"standard": 1, "deployment": 2, "preserving": 3, "adaptive": 4, "removal": 5}
SHORT = {
    "standard": "standard",
    "deployment": "deployment",
    "preserving": "function-preserving",
    "adaptive": "adaptive",
    "removal": "removal, stacks",
}
_SIZES = {True: (400, 250), False: (200, 152)}
_LEFT, _TOP, _RIGHT, _BOTTOM = 24, 6, 6, 26


@dataclass(frozen=True)
class Text:
    """Words at a place of a panel; `end` is "start", "middle" or "end"."""

    x: int
    y: int
    text: str
    end: str = "middle"


@dataclass(frozen=True)
class Panel:
    """One technology.

    Attributes:
        name: short name.
        first: whether it is the first panel with its frame, and so draws it.
        frame: identifier of the axes.
        level: height from which on a watermark is found.
        ticks: labels of both axes.
        most: the most evidence that there can be, or "".
        points: (family number, path with a point at each vertex).
        codes: codes of Modifications beside points that are lost while usable.
        ceiling: height of the most evidence, or None.
        never: whether no network could be found.
        control: height up to which wrong keys reached, or None.
        wrong: what the wrong keys came to, or "".
        weak: codes of what is lost while the network is usable.
        word: said in place of points, or "".
    """

    name: Name
    first: bool
    frame: str
    level: int
    ticks: tuple[Text, ...]
    most: str
    points: tuple[tuple[int, str], ...]
    codes: tuple[Text, ...]
    ceiling: int | None
    never: bool
    control: int | None
    wrong: str
    weak: tuple[str, ...]
    word: str

    @property
    def lost(self) -> str:
        """What is lost while the network is usable, in words; "" where nothing is drawn."""
        if self.never:
            return "no network could ever be found"
        return "" if self.word else f"lost while usable: {' '.join(self.weak) or 'none'}"


@dataclass(frozen=True)
class Evidence:
    """All panels, of one size (numbers are pixels of the view box).

    Attributes:
        width, height: of a panel.
        left, top, right, bottom: edges of its plot.
        middle: where losses fold.
        corners: what the quadrants mean.
        level: evidence from which on a watermark is found.
        panels: one a technology.
        families: (number, name) of those that occur.
        few: whether panels are large.
    """

    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int
    middle: int
    corners: tuple[Text, ...]
    level: str
    panels: tuple[Panel, ...]
    families: tuple[tuple[int, str], ...]
    few: bool


@dataclass(frozen=True)
class _Frame:
    """Places of losses and of evidence."""

    few: bool
    losses: Folded
    proofs: Folded
    shown: Shown

    @property
    def width(self) -> int:
        return _SIZES[self.few][0] - _LEFT - _RIGHT

    @property
    def height(self) -> int:
        return _SIZES[self.few][1] - _TOP - _BOTTOM

    def x(self, loss: float) -> int:
        return round(_LEFT + self.width * self.losses.at(self.shown.factor * loss))

    def y(self, proof: float) -> int:
        return round(_TOP + self.height * (1 - self.proofs.at(proof)))


def evidence(report: Report, called: tuple[Name, ...]) -> Evidence | None:
    """The panels, or None where no technology has a p-value.

    Args:
        report: what is shown.
        called: short name of each technology, in the order of the plan.
    """
    if all(p.log10_p.value is None for p in report.points):
        return None
    few, shown = len(report.technologies) <= names.FEW, Shown(report.headline)
    losses = loss_axis(report, shown)
    present = {s.family for s in report.settings}
    frames: dict[str, _Frame] = {}
    panels = []
    for i in report.order:
        technology, known = report.technologies[i], len(frames)
        proofs = proof_axis(technology)
        frame = frames.setdefault(f"e{proofs.knee:.3g}", _Frame(few, losses, proofs, shown))
        panels.append(_panel(report, technology, called[i], frame, len(frames) > known))
    plain = next(iter(frames.values()))
    return Evidence(
        *_SIZES[few],
        left=_LEFT,
        top=_TOP,
        right=_LEFT + plain.width,
        bottom=_TOP + plain.height,
        middle=round(_LEFT + plain.width / 2),
        corners=tuple(_corners(plain)),
        level=words.number(-math.log10(report.false_positive_rate)),
        panels=tuple(panels),
        families=tuple((n, SHORT[f]) for f, n in GROUPS.items() if f in present),
        few=few,
    )


def proof_axis(technology: Technology) -> Folded:
    """Evidence, folded at the level at which this technology is decided."""
    knee = max(0.1, -math.log10(technology.detectability.level))
    return Folded(knee, max(20.0, 3 * knee) if knee >= 3 else 3 * knee)


def loss_axis(report: Report, shown: Shown) -> Folded:
    """Losses as they are shown, folded at the largest that leaves a network usable."""
    knee = shown.factor * report.headline.usable_loss
    if report.headline.unit == "%":
        return Folded(knee, max(100.0, 2 * knee))
    values = [p.loss.value for p in report.points if p.loss.value is not None]
    most = max([shown.factor * v for v in values], default=knee)
    return Folded(knee, min(20 * knee, max(2 * knee, rounded_up(max(most, knee)))))


def _loss_ticks(frame: _Frame) -> Iterator[Text]:
    axis, bottom = frame.losses, _SIZES[frame.few][1]
    for value in (0.0, axis.knee / 2, axis.knee, _round(axis), axis.high):
        last = value == axis.high
        text = words.number(value)
        x = round(_LEFT + frame.width * axis.at(value))
        yield Text(x, bottom - 14, text, "end" if last else "middle")
    unit = f", {frame.shown.unit}" if frame.shown.unit else ""
    yield Text(round(_LEFT + frame.width / 2), bottom - 3, f"loss{unit}")


def _round(axis: Folded) -> float:
    """A round number about the middle of the upper half."""
    middle = (axis.knee + axis.high) / 2
    unit = 10.0 ** math.floor(math.log10(middle))
    return unit * (round(middle / unit) if middle >= 3 * unit else round(10 * middle / unit) / 10)


def _proof_ticks(frame: _Frame) -> Iterator[Text]:
    axis = frame.proofs
    for value in (0.0, axis.knee / 2, axis.knee, _round(axis), axis.high):
        text = f"{'≥' if value == axis.high else ''}{words.number(value, 2)}"
        yield Text(_LEFT - 3, frame.y(value) + 3, text, "end")


def _corners(frame: _Frame) -> Iterator[Text]:
    middle, half = round(_LEFT + frame.width / 2), round(_TOP + frame.height / 2)
    for y, found in ((_TOP + 26, "found"), (half + 14, "lost")):
        yield Text(_LEFT + 5, y, f"{found}, usable", "start")
        yield Text(middle + 5, y, f"{found}, unusable", "start")


def _panel(report: Report, technology: Technology, name: Name, frame: _Frame, first: bool) -> Panel:
    drawn = [
        (setting.family, setting.code, point, frame.x(loss), frame.y(-proof))
        for setting in report.settings
        for point in report.points_of(technology.index, setting.index)
        if (loss := point.loss.value) is not None and (proof := point.log10_p.value) is not None
    ]
    weak: dict[str, tuple[int, int]] = {}
    for _, code, point, x, y in drawn:
        if point.status == "lost" and _usable(report, point):
            weak.setdefault(code, (x, y))
    least, control = technology.detectability.log10_least, technology.control
    never = not technology.detectability.ever
    return Panel(
        name=name,
        first=first,
        frame=f"e{frame.proofs.knee:.3g}",
        level=frame.y(frame.proofs.knee),
        ticks=(*_loss_ticks(frame), *_proof_ticks(frame)),
        most="" if least is None else words.evidence(least),
        points=tuple(_paths([(family, x, y) for family, _, _, x, y in drawn])),
        codes=tuple(_codes(weak, [(x, y) for *_, x, y in drawn])),
        ceiling=None if least is None or -least >= frame.proofs.high else frame.y(-least),
        never=never,
        control=_reach(control, frame),
        wrong=_wrong(control),
        weak=tuple(weak),
        word="" if drawn else _nothing(technology),
    )


def _usable(report: Report, point: Point) -> bool:
    if point.setting is None or point.level is None:
        return False
    level = report.settings[point.setting].levels[point.level]
    return level.of(point.technology).usability == "usable"


def _paths(drawn: list[tuple[str, int, int]]) -> Iterator[tuple[int, str]]:
    for family, number in GROUPS.items():
        vertices = dict.fromkeys((x, y) for f, x, y in drawn if f == family)
        if vertices:
            yield number, "M" + " ".join(f"{x},{y}" for x, y in vertices)


def _codes(weak: dict[str, tuple[int, int]], points: list[tuple[int, int]]) -> Iterator[Text]:
    """Codes where they hide neither a point nor another code; all stand below the panel."""
    taken = list(points)
    for code, (x, y) in weak.items():
        width = round(4 + 6.5 * len(code))
        free = not any(
            (x + 3 < a < x + width + 4 and abs(y - b) < 9)
            or ((a, b) != (x, y) and abs(a - x) < 5 and abs(b - y) < 5)
            for a, b in taken
        )
        if free and x + width < _LEFT + 2 * _SIZES[True][0]:
            taken += [(x + k, y) for k in range(4, width, 3)]
            yield Text(x + 5, y + 4, code, "start")


def _reach(control: Control | None, frame: _Frame) -> int | None:
    if control is None or control.log10_least is None:
        return None
    return frame.y(-control.log10_least)


def _wrong(control: Control | None) -> str:
    if control is None or not control.keys:
        return ""
    strongest = "" if control.log10_least is None else words.evidence(control.log10_least)
    reached = f", at most {strongest}" if strongest else ""
    return f"wrong keys: {control.detected} of {control.keys:,} found{reached}"


def _nothing(technology: Technology) -> str:
    if not technology.robustness_asked:
        return "robustness not asked for"
    return "no p-value with a loss"
