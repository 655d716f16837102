"""Each Modification from weak to strong: what is read above, what is lost below."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from nnw_onnx.measures.results import Point, Setting, Technology, Value
from nnw_onnx.reports import names, words
from nnw_onnx.reports.axes import Folded, Linear
from nnw_onnx.reports.evidence import Text, loss_axis, proof_axis
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import Shown

Kind = Literal["ser", "evidence", "found"]
_LEFT, _RIGHT, _TOP, _GAP = 25, 4, 5, 7
_SIZES = {True: (250, 150, 64, 52), False: (150, 116, 46, 40)}
_LABELS = 6


@dataclass(frozen=True)
class Frame:
    """Axes that panels of one Modification share, drawn once (pixels of the view box).

    Attributes:
        key: identifier.
        right, middle, low_top, bottom: edges: of both strips, of the upper one below, of the lower
            one above and below.
        shaded: width of the standard's range, or 0.
        knee: height of the largest loss that leaves a network usable.
        texts: labels of both axes.
    """

    key: str
    right: int
    middle: int
    low_top: int
    bottom: int
    shaded: int
    knee: int
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Curve:
    """One technology; paths of both strips together.

    Attributes:
        name: short name.
        first: whether it is the first panel with its frame, and so draws it.
        frame: axes.
        plain: unwatermarked networks of this technology.
        own: watermarked networks.
        limit: height of the detection limit, or None.
        points: (class, path with a point at each vertex): found, lost, undecided.
        texts: words in place of curves.
        said: the verdicts in a sentence, for those who do not see them.
    """

    name: Name
    first: bool
    frame: Frame
    plain: str
    own: str
    limit: int | None
    points: tuple[tuple[str, str], ...]
    texts: tuple[Text, ...]
    said: str


@dataclass(frozen=True)
class Strip:
    """One Modification with the panel of each technology; none where it has one Intensity."""

    code: str
    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Curves:
    """All Modifications by family."""

    width: int
    height: int
    left: int
    top: int
    few: bool
    kinds: tuple[Kind, ...]
    groups: tuple[tuple[str, tuple[Strip, ...]], ...]


@dataclass(frozen=True)
class _Look:
    """Places of one report's numbers."""

    few: bool
    losses: Folded
    shown: Shown

    @property
    def upper(self) -> tuple[int, int]:
        return _TOP, _TOP + _SIZES[self.few][2]

    @property
    def lower(self) -> tuple[int, int]:
        top = self.upper[1] + _GAP
        return top, top + _SIZES[self.few][3]

    @property
    def right(self) -> int:
        return _SIZES[self.few][0] - _RIGHT

    def x(self, place: int, of: int) -> int:
        return round(_LEFT + (self.right - _LEFT) * (place + 0.5) / of)

    def above(self, place: float) -> int:
        top, bottom = self.upper
        return round(bottom - (bottom - top) * place)

    def below(self, loss: float) -> int:
        top, bottom = self.lower
        return round(top + (bottom - top) * self.losses.at(self.shown.factor * loss))


def curves(report: Report, called: tuple[Name, ...]) -> Curves | None:
    """Panels of every Modification, or None without any.

    Args:
        report: what is shown.
        called: short name of each technology, in the order of the plan.
    """
    if not report.settings:
        return None
    few, shown = len(report.technologies) <= names.FEW, Shown(report.headline)
    look = _Look(few, loss_axis(report, shown), shown)
    across = [report.technologies[i] for i in report.order]
    kinds = {t.index: _kind(report, t) for t in across}
    return Curves(
        *_SIZES[few][:2],
        left=_LEFT,
        top=_TOP,
        few=few,
        kinds=tuple(dict.fromkeys(kinds.values())),
        groups=tuple(_groups(report, across, called, look)),
    )


def _groups(
    report: Report, across: list[Technology], called: tuple[Name, ...], look: _Look
) -> Iterator[tuple[str, tuple[Strip, ...]]]:
    for family, title in names.FAMILIES.items():
        settings = [s for s in (report.settings[i] for i in report.rows) if s.family == family]
        if settings:
            yield title, tuple(_strip(report, s, across, called, look) for s in settings)


def _strip(
    report: Report,
    setting: Setting,
    across: list[Technology],
    called: tuple[Name, ...],
    look: _Look,
) -> Strip:
    unit = names.unit_of(setting)
    title = f"{setting.label}, {unit}" if unit else setting.label
    if len(setting.levels) < 2:
        return Strip(setting.code, title, ())
    frames: dict[str, Frame] = {}
    made = []
    for technology in across:
        upper = _upper(report, technology)
        known = len(frames)
        key = f"f{setting.index}-{upper.key}"
        frame = frames.setdefault(key, _frame(key, setting, upper, look))
        points = report.points_of(technology.index, setting.index)
        made.append(
            _curve(called[technology.index], len(frames) > known, frame, upper, points, look)
        )
    return Strip(setting.code, title, tuple(made))


@dataclass(frozen=True)
class _Upper:
    """The upper strip: what it shows, where a value lies (0 at its foot), and its labels."""

    key: str
    own: Callable[[Point], float | None]
    plain: Callable[[Point], float | None]
    labels: tuple[tuple[float, str], ...]
    limit: float | None


def _kind(report: Report, technology: Technology) -> Kind:
    if technology.record.decodes:
        return "ser"
    points = [p for p in report.points if p.technology == technology.index]
    return "evidence" if any(p.log10_p.value is not None for p in points) else "found"


def _upper(report: Report, technology: Technology) -> _Upper:
    match _kind(report, technology):
        case "ser":
            return _error_rates(technology)
        case "evidence":
            return _proofs(technology)
        case "found":
            return _found()


def _error_rates(technology: Technology) -> _Upper:
    chance = 1 - 1 / max(2, technology.record.alphabet)
    axis = Linear(0, math.ceil(10 * min(1.0, 1.2 * chance)) / 10)
    limit = technology.detectability.ser_limit
    return _Upper(
        f"ser{round(10 * axis.high)}",
        lambda p: _at(axis.at, p.ser),
        lambda p: _at(axis.at, p.ser_unwatermarked),
        ((0.0, "0"), (1.0, f"{100 * axis.high:.0f}")),
        None if limit is None else axis.at(limit),
    )


def _proofs(technology: Technology) -> _Upper:
    axis = proof_axis(technology)
    return _Upper(
        f"p{axis.knee:.3g}",
        lambda p: _at(lambda v: axis.at(-v), p.log10_p),
        lambda p: _at(lambda v: axis.at(-v), p.log10_p_unwatermarked),
        ((0.0, "0"), (0.5, words.number(axis.knee, 2)), (1.0, words.number(axis.high, 2))),
        0.5,
    )


def _found() -> _Upper:
    return _Upper(
        "k",
        lambda p: p.found / p.tested if p.tested else None,
        lambda p: p.false_alarm_rate.value,
        ((0.0, "0"), (1.0, "100")),
        None,
    )


def _at(place: Callable[[float], float], value: Value) -> float | None:
    return None if value.value is None else place(value.value)


def _frame(key: str, setting: Setting, upper: _Upper, look: _Look) -> Frame:
    levels = setting.levels
    width = look.right - _LEFT
    inside = _inside(setting)
    every = math.ceil(len(levels) / _LABELS)
    low_top, bottom = look.lower
    axis = look.losses
    texts = [
        *(Text(_LEFT - 3, look.above(place) + _drop(place), t, "end") for place, t in upper.labels),
        Text(_LEFT - 3, low_top + 7, "0", "end"),
        Text(_LEFT - 3, round((low_top + bottom) / 2) + 4, words.number(axis.knee), "end"),
        Text(_LEFT - 3, bottom + 2, words.number(axis.high), "end"),
        *(
            Text(look.x(i, len(levels)), bottom + 13, names.intensity(x, setting, unit=False))
            for i, x in enumerate(levels)
            if i % every == 0
        ),
    ]
    return Frame(
        key=key,
        right=look.right,
        middle=look.upper[1],
        low_top=low_top,
        bottom=bottom,
        shaded=round(width * inside / len(levels)),
        knee=round((low_top + bottom) / 2),
        texts=tuple(texts),
    )


def _drop(place: float) -> int:
    return 7 if place == 1 else 1 if place == 0 else 4


def _inside(setting: Setting) -> int:
    """Leading Intensities inside the standard's range; 0 where the standard has none."""
    outside = (i for i, x in enumerate(setting.levels) if x.standard != "inside")
    return next(outside, len(setting.levels))


def _curve(
    name: Name, first: bool, frame: Frame, upper: _Upper, points: Sequence[Point], look: _Look
) -> Curve:
    own = [upper.own(p) for p in points]
    heights = [None if v is None else look.above(v) for v in own]
    plain = [None if (v := upper.plain(p)) is None else look.above(v) for p in points]
    return Curve(
        name=name,
        first=first,
        frame=frame,
        plain=_line(plain, look) + _line(_losses(points, look, watermarked=False), look),
        own=_line(heights, look) + _line(_losses(points, look, watermarked=True), look),
        limit=None if upper.limit is None or not _any(own) else look.above(upper.limit),
        points=tuple(_marks(points, heights, look)),
        texts=tuple(_texts(points, heights, look)),
        said="; ".join(dict.fromkeys(f"{p.status}" for p in points)),
    )


def _any(values: Sequence[float | None]) -> bool:
    return any(v is not None for v in values)


def _losses(points: Sequence[Point], look: _Look, *, watermarked: bool) -> list[int | None]:
    values = [(p.loss if watermarked else p.loss_unwatermarked).value for p in points]
    return [None if v is None else look.below(v) for v in values]


def _line(heights: Sequence[int | None], look: _Look) -> str:
    """A path that leaves out what was not measured."""
    path, pen = "", False
    for place, y in enumerate(heights):
        if y is not None:
            path += f"{' ' if pen else 'M'}{look.x(place, len(heights))},{y}"
        pen = y is not None
    return path


def _marks(
    points: Sequence[Point], heights: Sequence[int | None], look: _Look
) -> Iterator[tuple[str, str]]:
    styles = {
        "survives": ("survives", "noticed"),
        "lost": ("lost", "unnoticed"),
        "undecided": ("undecided",),
    }
    classes = {"survives": "ok", "lost": "xx", "undecided": "qq"}
    for kind, statuses in styles.items():
        vertices = [
            f"{look.x(place, len(points))},{y}"
            for place, (point, y) in enumerate(zip(points, heights, strict=True))
            if point.status in statuses and y is not None
        ]
        if vertices:
            yield classes[kind], "M" + " ".join(vertices)


def _texts(points: Sequence[Point], heights: Sequence[int | None], look: _Look) -> Iterator[Text]:
    x = round((_LEFT + look.right) / 2)
    if not _any(heights):
        word = ", ".join(dict.fromkeys(p.status for p in points))
        word = "no carrier" if all(p.gone for p in points) else word
        yield Text(x, round(sum(look.upper) / 2) + 4, word)
    elif all(p.loss.value is None for p in points):
        word = "other data set" if any(p.quality_of for p in points) else "no loss measured"
        yield Text(x, round(sum(look.lower) / 2) + 4, word)
