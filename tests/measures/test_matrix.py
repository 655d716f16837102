"""Cells, denominators and order of the matrix."""

from __future__ import annotations

import pytest

from nnw_onnx.measures import matrix
from nnw_onnx.measures.results import Level, Point, Setting, Share, Value

from .made import make_setting

NONE = Value.missing("not measured here")


def make_level(usability="usable", loss=0.01, low=None, high=None) -> Level:
    change = NONE if loss is None else Value(value=loss, low=low, high=high)
    return Level(
        intensity=0.1,
        outside=False,
        usability=usability,
        loss=change,
        quality=NONE,
        reason=None if usability == "usable" else f"{usability}, because",
    )


def make_point(status, level=0) -> Point:
    names = [
        name
        for name, about in Point.model_fields.items()
        if about.annotation is Value and about.is_required()
    ]
    share = Share(events=0, of=1, value=0)
    reason = None if status in ("survives", "lost") else f"{status}, because"
    return Point(
        technology=0, setting=0, level=level, intensity=0.1, status=status, reason=reason,
        found=1, tested=1, expected=1, fn_ratio=share, fp_ratio=share, **dict.fromkeys(names, NONE),
    )  # fmt: skip


def make_row(usabilities, family="removal", number=None, steps=None) -> Setting:
    record = make_setting(number=number)
    return Setting(
        index=0,
        code="R1",
        label="by hand",
        family=family,
        steps=steps or record.steps,
        parameter=record.parameter,
        copies=1,
        trains=False,
        levels=tuple(make_level(u) for u in usabilities),
    )


LETTERS = {
    "+": "survives", "-": "lost", "?": "undecided", "v": "void", "f": "failed",
    "n": "not run", "a": "n/a", "d": "undetectable", "N": "noticed", "U": "unnoticed",
}  # fmt: skip
USABLE = {"u": "usable", "x": "unusable", "?": "undecided", "e": "elsewhere"}


def draft_of(usable, statuses):
    setting = make_row([USABLE[c] for c in usable])
    return matrix.draft(setting, [make_point(LETTERS[c], k) for k, c in enumerate(statuses)])


@pytest.mark.parametrize(
    ("usable", "statuses", "status", "level", "survived", "lost_at"),
    [
        ("uuu", "+++", "survives", 2, 2, None),
        ("uux", "++-", "survives", 1, 1, None),
        ("uux", "+++", "outlives", 2, 1, None),
        ("uu?", "+++", "survives", 1, 1, None),
        ("uue", "+++", "survives", 2, 2, None),
        ("uuu", "+--", "partly", 0, 0, 1),
        ("uux", "NNN", "noticed", 2, None, None),
        ("uux", "UNN", "unnoticed", 0, None, None),
        ("xuu", "UUN", "unnoticed", 1, None, None),
        ("uuu", "N?N", "undecided", 1, None, None),
        ("uux", "++?", "survives", 1, 1, None),
        ("uuu", "---", "lost", 0, None, 0),
        ("xuu", "+--", "lost", 1, None, 1),
        ("uuu", "+?-", "undecided", 0, 0, 2),
        ("uuu", "?--", "undecided", 0, None, 1),
        ("uuu", "+f-", "undecided", 0, 0, 2),
        ("xx", "-+", "unusable", 1, None, None),
        ("x?", "-+", "undecided", 1, None, None),
        ("uu", "dd", "undetectable", 1, None, None),
        ("ux", "d-", "undetectable", 0, None, None),
        ("uu", "vv", "void", None, None, None),
        ("uu", "fv", "void", None, None, None),
        ("uu", "nf", "failed", None, None, None),
        ("uu", "nn", "not run", None, None, None),
        ("??", "aa", "n/a", None, None, None),
    ],
)
def test_a_cell_is_one_status(usable, statuses, status, level, survived, lost_at):
    found = draft_of(usable, statuses)
    assert (found.status, found.level) == (status, level)
    assert (found.survived, found.lost_at) == (survived, lost_at)
    explained = status in ("undecided", "undetectable", "void", "failed", "not run", "n/a")
    assert (found.reason is not None) == explained


def test_reasons_are_numbered_once():
    rows = [[draft_of("u", "f"), draft_of("u", "+")], [draft_of("u", "f"), draft_of("u", "v")]]
    cells, notes = matrix.cells(rows)
    assert notes == ("failed, because", "void, because")
    assert [(c.technology, c.setting, c.note) for c in cells] == [
        (0, 0, 1),
        (0, 1, None),
        (1, 0, 1),
        (1, 1, 2),
    ]


def test_every_usable_setting_is_in_the_tally_once():
    setting = make_row(["usable"] * 6 + ["unusable", "undecided", "elsewhere"])
    points = [make_point(LETTERS[c], k) for k, c in enumerate("++-?fa-+-")]
    found = matrix.tally([setting], [points])
    assert (found.usable, found.survived, found.lost) == (7, 2, 2)
    assert (found.undecided, found.without_result) == (1, 2)


def test_columns_are_ordered_by_what_is_survived_then_by_what_is_lost():
    setting = make_row(["usable"] * 3)
    tallies = [
        matrix.tally([setting], [[make_point(LETTERS[c]) for c in row]])
        for row in ("+--", "++-", "+-n", "++-")
    ]
    assert matrix.columns(tallies, [True] * 4) == (1, 3, 2, 0)
    # Who was not attacked by somebody who knows the method has no place: as planned, behind others.
    assert matrix.columns(tallies, [True, False, True, False]) == (2, 0, 1, 3)
    assert matrix.columns(tallies, [False] * 4) == (0, 1, 2, 3)


def test_rows_are_ordered_by_family_and_stacks_come_last():
    stack = make_setting().steps * 2
    rows = [
        make_row(["usable"], steps=stack),
        make_row(["usable"]),
        make_row(["usable"], "adaptive"),
        make_row(["usable"], "standard", 4),
        make_row(["usable"], "standard", 0),
        make_row(["usable"], "deployment"),
    ]
    assert matrix.rows(rows) == (4, 3, 5, 2, 1, 0)
