"""The matrix: what each technology survives of each Modification, with one denominator for all.

survived + lost + undecided + without result = settings that leave the unwatermarked networks
usable. Settings whose usability is undecided are in no denominator; they are counted apart. Where a
setting does something else for each technology, whether it counts is decided for each. An integrity
method survives nothing: it notices a change or does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nnw_onnx.measures import usability
from nnw_onnx.measures.results import Cell, CellStatus, Level, Point, PointStatus, Setting, Tally
from nnw_onnx.records import Family, MeasureRecord

FAMILIES: tuple[Family, ...] = ("standard", "deployment", "preserving", "adaptive", "removal")
_EMPTY: tuple[PointStatus, ...] = ("void", "failed", "not run", "n/a")
_WITHOUT: tuple[PointStatus, ...] = ("undetectable", *_EMPTY)


@dataclass(frozen=True)
class Draft:
    """A cell before its reason has a number."""

    status: CellStatus
    level: int | None = None
    survived: int | None = None
    lost_at: int | None = None
    reason: str | None = None


def cells(
    drafts: Sequence[Sequence[Draft]],
) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """The cells of all technologies (outer) and settings (inner), and their numbered reasons."""
    notes = list(dict.fromkeys(d.reason for row in drafts for d in row if d.reason))
    return tuple(
        Cell(
            technology=t,
            setting=s,
            status=d.status,
            level=d.level,
            survived=d.survived,
            lost_at=d.lost_at,
            note=notes.index(d.reason) + 1 if d.reason else None,
        )
        for t, row in enumerate(drafts)
        for s, d in enumerate(row)
    ), tuple(notes)


def draft(setting: Setting, points: Sequence[Point]) -> Draft:
    """What a technology survives of a setting.

    Args:
        setting: as the technology meets it, with its levels from weak to strong.
        points: the technology's, one for each level.
    """
    usable = [k for k, level in enumerate(setting.levels) if level.counts]
    looked_at = usable or list(range(len(points)))
    empty = [points[k] for k in looked_at if points[k].status in _EMPTY]
    if len(empty) == len(looked_at):
        first = min(empty, key=lambda p: _EMPTY.index(p.status))
        return Draft(first.status, reason=first.reason)
    if any(p.status in ("noticed", "unnoticed") for p in points):
        return _told(points)
    deaf = [points[k] for k in looked_at if points[k].status == "undetectable"]
    if deaf:
        return Draft("undetectable", level=looked_at[-1], reason=deaf[0].reason)
    return _settled(setting.levels, points, usable) if usable else _useless(setting.levels)


def _told(points: Sequence[Point]) -> Draft:
    """Of an integrity method, which notices ruined networks too: all Intensities count."""
    missed = [k for k, point in enumerate(points) if point.status == "unnoticed"]
    if missed:
        return Draft("unnoticed", level=missed[-1])
    open_ = [k for k, point in enumerate(points) if point.status != "noticed"]
    if open_:
        return Draft("undecided", level=open_[0], reason=points[open_[0]].reason)
    return Draft("noticed", level=len(points) - 1)


def _useless(levels: Sequence[Level]) -> Draft:
    """No level that surely leaves the unwatermarked networks usable."""
    undecided = [k for k, level in enumerate(levels) if level.usability == "undecided"]
    if undecided:
        return Draft("undecided", level=undecided[0], reason=levels[undecided[0]].reason)
    return Draft("unusable", level=len(levels) - 1)


def _settled(levels: Sequence[Level], points: Sequence[Point], usable: Sequence[int]) -> Draft:
    first = next((i for i, k in enumerate(usable) if points[k].status != "survives"), None)
    lost = next((k for k in usable if points[k].status == "lost"), None)
    if first is None:
        return _kept(levels, points, usable)
    kept = usable[first - 1] if first else None
    turn = points[usable[first]]
    found = Draft("undecided", level=usable[first] if kept is None else kept, survived=kept)
    if turn.status != "lost":
        return replace(found, lost_at=lost, reason=turn.reason)
    return replace(found, status="lost" if kept is None else "partly", lost_at=lost)


def _kept(levels: Sequence[Level], points: Sequence[Point], usable: Sequence[int]) -> Draft:
    """All usable levels are survived; perhaps the others too."""
    others = [k for k, level in enumerate(levels) if level.usability == "unusable"]
    outlived = others and all(points[k].status == "survives" for k in others)
    if outlived:
        return Draft("outlives", level=others[-1], survived=usable[-1])
    return Draft("survives", level=usable[-1], survived=usable[-1])


def tally(settings: Sequence[Setting], points: Sequence[Sequence[Point]]) -> Tally:
    """Settings of one technology, as it meets them, by what became of them; points likewise."""
    found = [p.status for p, _ in _counted(settings, points)]
    known = Counter(found)
    return Tally(
        usable=len(found),
        survived=known["survives"],
        lost=known["lost"],
        noticed=known["noticed"],
        unnoticed=known["unnoticed"],
        undecided=known["undecided"],
        without_result=sum(status in _WITHOUT for status in found),
    )


def survived_at(
    settings: Sequence[Setting],
    points: Sequence[Sequence[Point]],
    measure: MeasureRecord,
    limit: float,
) -> tuple[int, int]:
    """Settings that a technology survives at another limit of usability, and of how many."""
    counted = [
        points[s][k].status
        for s, setting in enumerate(settings)
        for k, level in enumerate(setting.levels)
        if usability.counts_at(level, measure, limit)
    ]
    return counted.count("survives"), len(counted)


def _counted(
    settings: Sequence[Setting], points: Sequence[Sequence[Point]]
) -> Iterator[tuple[Point, Level]]:
    for setting, row in zip(settings, points, strict=True):
        for level, point in zip(setting.levels, row, strict=True):
            if level.counts:
                yield point, level


def columns(tallies: Sequence[Tally], ranked: Sequence[bool]) -> tuple[int, ...]:
    """Technologies by settings survived, falling, then by lost, rising, then as planned.

    Those that are not ranked come after them, as planned; those that notice instead come last, by
    settings noticed.
    """

    def place(t: int) -> tuple[int, int, int]:
        tally = tallies[t]
        if tally.noticed + tally.unnoticed > 0:
            return 2, -tally.noticed, tally.lost
        return (0, -tally.survived, tally.lost) if ranked[t] else (1, 0, 0)

    return tuple(sorted(range(len(tallies)), key=place))


def rows(settings: Sequence[Setting]) -> tuple[int, ...]:
    """Settings by family, stacks last, then by number of the standard's table, then as planned."""

    def place(s: int) -> tuple[int, bool, int]:
        first = settings[s].steps[0]
        number = 99 if first.number is None else first.number
        return FAMILIES.index(settings[s].family), len(settings[s].steps) > 1, number

    return tuple(sorted(range(len(settings)), key=place))
