"""What technologies and Intensities are called where there is little room."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnw_onnx.measures.results import Level, Setting, Technology
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import DASH
from nnw_onnx.text import one_line
from nnw_onnx.vocabulary import Json

FEW = 4
"""Up to so many technologies, cells have room for words."""
FAMILIES = {
    "standard": "The standard's Modifications",
    "deployment": "Deployment transformations",
    "preserving": "Function-preserving attacks",
    "adaptive": "Adaptive attacks: the method is known, the key is not",
    "removal": "Removal attacks and stacks",
}
KINDS = {
    "standard": "standard",
    "deployment": "deployment",
    "preserving": "function-preserving",
    "adaptive": "adaptive",
    "removal": "removal",
}
"""Families in a sentence."""
CROWDED = 10
"""Beyond so many technologies, columns have no room for names: technologies become rows."""
_ROOM, _CROWDED_ROOM, _ROW_ROOM = 14, 7, 46


@dataclass(frozen=True)
class Name:
    """A technology where there is little room.

    Attributes:
        short: its method, shortened.
        variant: what tells it from others of its method.
        full: its label.
        row: the name at the head of a row, at most 46 characters.
    """

    short: str
    variant: str
    full: str
    row: str

    def __str__(self) -> str:
        return f"{self.short} {self.variant}".rstrip()


def technology_names(report: Report) -> tuple[Name, ...]:
    """A short name for each technology, in the order of the plan; no two are equal."""
    crowded = len(report.technologies) > CROWDED
    made = [
        (
            shortened(t.record.called, _CROWDED_ROOM if crowded else _ROOM),
            _variant(t, report.technologies, crowded),
        )
        for t in report.technologies
    ]
    twice = {name for name, count in Counter(made).items() if count > 1}
    seen: Counter[tuple[str, str]] = Counter()
    rows = _rows(report.technologies) if crowded else ()
    names = []
    for i, (technology, name) in enumerate(zip(report.technologies, made, strict=True)):
        seen[name] += 1
        number = f" #{seen[name]}" if name in twice else ""
        variant = (name[1] + number).strip()
        row = rows[i] if crowded else f"{name[0]} {variant}".rstrip()
        names.append(Name(name[0], variant, technology.label, row))
    return tuple(names)


def _rows(technologies: Sequence[Technology]) -> tuple[str, ...]:
    """Names for rows: the label where there is room for it; no two are equal."""
    made: list[str] = []
    for technology in technologies:
        name = _row_name(technology, technologies)
        if name in made:
            end = f" #{len(made) + 1}"
            name = name[: _ROW_ROOM - len(end)] + end
        made.append(name)
    return tuple(made)


def _row_name(technology: Technology, among: Sequence[Technology]) -> str:
    method = technology.record.called
    forms = (
        one_line(technology.label),
        f"{method}, {_variant(technology, among, crowded=False)}",
        f"{method}, {_variant(technology, among, crowded=True)}",
    )
    last = forms[-1][: _ROW_ROOM - 1] + "…"
    return next((form for form in forms if len(form) <= _ROW_ROOM), last)


def shortened(name: str, room: int) -> str:
    """A plug-in's name in so many characters: whole, its parts' beginnings, or their initials."""
    parts = name.split("-")
    if len(name) <= room:
        return name
    if len(parts) == 1 and (humps := re.findall("[A-Z][^A-Z]*|^[^A-Z]+", name))[1:]:
        parts = humps
        each = max(1, room // len(parts))
        return "".join(p[:each] for p in parts)[:room]
    if len(parts) > 2:
        return "".join(p[:1] for p in parts)[:room]
    each = max(2, (room - len(parts) + 1) // len(parts))
    return "-".join(p[:each] for p in parts)


def _variant(technology: Technology, among: Sequence[Technology], crowded: bool) -> str:
    record = technology.record
    parts = [_size(record.payload_size, crowded)] if record.payload_size else []
    parts += [
        words.shorter(name, value) if crowded else words.named(name, value)
        for name, value in _telling(technology, among)
    ]
    if record.code is not None:
        parts.append(shortened(record.code.name, 4 if crowded else _ROOM))
    if technology.trained:
        parts.append("tr" if crowded else "by training")
    return (" " if crowded else ", ").join(parts) or (DASH if crowded else "no Payload")


def _size(bits: int, crowded: bool) -> str:
    return f"{bits}" if crowded else f"{bits:,} bits"


def _telling(technology: Technology, among: Sequence[Technology]) -> list[tuple[str, Json]]:
    """Options whose values differ between technologies that are called alike."""
    mine = _flat(technology.record.method.options)
    others = [
        _flat(t.record.method.options) for t in among if t.record.called == technology.record.called
    ]
    return [
        (name, value)
        for name, value in mine.items()
        if any(options.get(name) != value for options in others)
    ]


def _flat(options: Mapping[str, Json]) -> dict[str, Json]:
    """Options, and what is inside of those that are tables in their place."""
    found: dict[str, Json] = {}
    for name, value in options.items():
        found |= dict(value) if isinstance(value, Mapping) else {name: value}
    return found


def intensity(level: Level, setting: Setting, unit: bool = True) -> str:
    """An Intensity, with its unit if asked for; "" where nothing is swept."""
    if level.intensity is None:
        return ""
    text = words.number(level.intensity, 6)
    if not unit:
        return text
    if setting.parameter and not setting.parameter.unit:
        return f"{unit_of(setting)} {text}".lstrip()
    return f"{text} {unit_of(setting)}".rstrip()


def marked(level: Level, setting: Setting) -> str:
    """An Intensity without its unit, a dagger where it is outside the standard's range."""
    return intensity(level, setting, unit=False) + ("†" if level.outside else "")


def unit_of(setting: Setting) -> str:
    """What the Intensities of a setting are counted in; "" for plain ratios."""
    found = setting.parameter
    if found is None or found.unit == "ratio":
        return ""
    # A plain number is counted in what its option is called, such as the quality of a JPEG.
    return found.unit or ("" if found.option == "intensity" else found.option)
