"""Robustness by family of Modifications: the least that is found, since who attacks chooses.

A count of settings survived hides the one that kills a mark; the least over those that leave the
network usable does not. What a method names itself as the attack of somebody who knows it counts as
adaptive for that method, whatever its family: a permutation leaves the function as it is, and is
all that it takes against most methods that count positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nnw_onnx.measures.matrix import FAMILIES, tally
from nnw_onnx.measures.results import FamilyResult, Point, Resistance, Setting, Weakest
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.usability import intensities
from nnw_onnx.records import Family

Row = tuple[Setting, Sequence[Point]]
"""A setting as a technology meets it, with the points of that technology, one for each level."""


def families(
    technology: int, rows: Sequence[Row], again: Sequence[Row] = ()
) -> tuple[FamilyResult, ...]:
    """What a technology survives of each family that there are settings of.

    Args:
        technology: its index.
        rows: every setting.
        again: the same re-synchronised; see `put_back`.
    """
    return tuple(
        FamilyResult(
            family=family,
            plain=resistance(own),
            resynchronised=resistance(_in(family, technology, again)) if again else None,
        )
        for family in FAMILIES
        if (own := _in(family, technology, rows))
    )


def put_back(rows: Sequence[Row], again: Sequence[Point]) -> tuple[Row, ...]:
    """The settings with the points of re-synchronised networks in them, where there are any.

    Args:
        rows: every setting.
        again: the points of the technology on networks that were put back in order; () where that
            was not tried, and then so is the answer.
    """
    known = {(point.setting, point.level): point for point in again}
    if not known:
        return ()
    return tuple(
        (setting, [known.get((setting.index, k), point) for k, point in enumerate(points)])
        for setting, points in rows
    )


def resistance(rows: Sequence[Row]) -> Resistance:
    """What a technology survives of these settings, and the least that is found in them."""
    settings, points = [setting for setting, _ in rows], [row for _, row in rows]
    return Resistance(tally=tally(settings, points), weakest=weakest(rows))


def weakest(rows: Sequence[Row]) -> Weakest | None:
    """The usable setting in which least is found; of equal ones that with the least evidence."""
    found = [
        (_strength(point), setting.index, k, point.found_rate.value)
        for setting, points in rows
        for k, (level, point) in enumerate(zip(setting.levels, points, strict=True))
        if level.counts and point.status in ("survives", "lost", "undecided") and point.tested
    ]
    if not found:
        return None
    _, setting, level, share = min(found)
    return Weakest(setting=setting, level=level, found=share or 0.0)


def strongest(rows: Sequence[Row]) -> tuple[Weakest, ...]:
    """Of each Modification that was tried in several ways the usable one that leaves least to find.

    Settings are the same Modification where their steps have the same names: a learning rate, the
    layers aimed at or another option are ways of it, as Intensities are.
    """
    ways: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for setting, points in rows:
        ways[tuple(step.modification.name for step in setting.steps)].append((setting, points))
    several = [own for own in ways.values() if sum(len(points) for _, points in own) > 1]
    return tuple(found for own in several if (found := weakest(own)) is not None)


def attacked(run: Run, technology: int) -> bool:
    """Whether an attack was tried that the method names as that of somebody who knows it."""
    return any(
        test.verdict.status in ("done", "not-applicable")
        for setting in run.plan.settings
        if technology in setting.adaptive
        for intensity in intensities(setting)
        for test in run.own_tests(technology, (setting.index, intensity))
    )


def _in(family: Family, technology: int, rows: Sequence[Row]) -> list[Row]:
    return [
        (setting, points)
        for setting, points in rows
        if setting.family == family or (family == "adaptive" and technology in setting.adaptive)
    ]


def _strength(point: Point) -> tuple[float, float, float]:
    """Less of it is a stronger attack: share found, evidence, Symbols read rightly."""
    log10_p, ser = point.log10_p.value, point.ser.value
    return point.found_rate.value or 0.0, -(log10_p or 0.0), -(ser or 0.0)
