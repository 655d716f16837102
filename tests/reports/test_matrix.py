"""The grammar of the matrix: symbol, Intensity, dagger, note, and the loss below."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from nnw_onnx.measures.results import Cell, Tally
from nnw_onnx.reports import names
from nnw_onnx.reports.matrix import MEANINGS, SIGNS, matrix

from . import synthetic


@pytest.fixture(scope="module")
def drawn(large):
    return matrix(large, names.technology_names(large))


def entry_of(report, drawn, cell):
    """The drawn entry of a cell of the model."""
    rows = {row.code: row for _, group in drawn.groups for row in group}
    return rows[report.settings[cell.setting].code].entries[drawn.order.index(cell.technology)]


def some(report, status):
    found = [c for c in report.cells if c.status == status]
    assert found, status
    return found


def test_every_status_occurs_and_is_in_the_key(large, drawn):
    met = {cell.status for cell in large.cells}
    assert met >= set(MEANINGS) - {"undecided", "noticed", "unnoticed"}
    assert [meaning for *_, meaning in drawn.key] == [MEANINGS[s] for s in MEANINGS if s in met]


@pytest.mark.parametrize("status", ["survives", "outlives", "partly", "lost"])
def test_the_first_line_is_the_intensity_that_tells(large, drawn, status):
    for cell in some(large, status):
        setting = large.settings[cell.setting]
        level = setting.levels[cell.level]
        entry = entry_of(large, drawn, cell)
        once = "lost" if status == "lost" else "kept"
        shown = once if level.intensity is None else f"{level.intensity:g}"
        assert entry.top == shown + ("†" if level.outside else "")
        assert entry.sign == SIGNS[status]
        place = cell.lost_at if status == "lost" else cell.level
        assert cell.level == place


def test_the_second_line_is_the_loss_there_in_points(large, drawn):
    for cell in some(large, "partly"):
        loss = large.points_of(cell.technology, cell.setting)[cell.level].loss.value
        shown = "–" if loss is None else f"{100 * loss:.{0 if abs(loss) >= 0.1 else 1}f}"
        expected = shown.replace("-", "−").replace("−0.0", "0.0")
        assert entry_of(large, drawn, cell).below == expected


def test_cells_without_a_result_have_a_word_and_a_numbered_reason(large, drawn):
    for status in ("void", "failed", "not run", "n/a"):
        for cell in some(large, status):
            entry = entry_of(large, drawn, cell)
            assert (entry.top, entry.sign, entry.below) == (status, "", "")
            assert drawn.notes[entry.note - 1] in entry.title


def test_too_short_payloads_show_their_symbol_error_rate(large, drawn):
    for cell in some(large, "undetectable"):
        rate = large.points_of(cell.technology, cell.setting)[cell.level].ser.value
        entry = entry_of(large, drawn, cell)
        assert (entry.sign, entry.style, entry.top) == ("nd", "no", "SER")
        assert entry.below == f"{100 * rate:.0f} %"


def test_an_undecided_cell_names_the_strongest_survived(large):
    few = next(c for c in large.cells if c.status == "survives" and len(_levels(large, c)) > 2)
    place = large.cells.index(few)
    for survived, level, expected in ((1, 1, "≥"), (None, 0, "")):
        cell = Cell(
            technology=few.technology,
            setting=few.setting,
            status="undecided",
            level=level,
            survived=survived,
            note=1,
        )
        cells = (*large.cells[:place], cell, *large.cells[place + 1 :])
        changed = large.model_copy(update={"cells": cells})
        entry = entry_of(changed, matrix(changed, names.technology_names(changed)), cell)
        assert entry.top == f"{expected}{_levels(large, few)[level].intensity:g}"
        assert entry.style == "ud"


def _levels(report, cell):
    return report.settings[cell.setting].levels


def few_of(report, count):
    """A report of the first technologies of another, the last of them the best."""
    technologies = report.technologies[:count]
    settings = len(report.settings)
    return report.model_copy(
        update={
            "technologies": technologies,
            "order": tuple(reversed(range(count))),
            "cells": report.cells[: count * settings],
        }
    )


def test_few_technologies_are_columns_in_the_order_of_the_report(large):
    few = few_of(large, names.CROWDED)
    drawn = matrix(few, names.technology_names(few))
    assert not drawn.turned
    assert drawn.order == few.order
    assert [head.full for head in drawn.heads] == [few.technologies[i].label for i in few.order]
    for cell in some(few, "partly"):
        entry = entry_of(few, drawn, cell)
        assert entry.title.startswith(few.technologies[cell.technology].label)


def test_many_technologies_are_rows_in_the_order_of_the_plan(large, drawn):
    assert drawn.turned
    fewest = few_of(large, names.CROWDED + 1)
    assert matrix(fewest, names.technology_names(fewest)).turned
    assert [head.full for head in drawn.heads] == [t.label for t in large.technologies]
    tallies = [t.tally.survived for t in large.technologies]
    assert [bar.survived for bar in drawn.bars] == tallies
    assert tallies != sorted(tallies, reverse=True)
    for _, group in drawn.groups:
        for row in group:
            for technology, entry in zip(large.technologies, row.entries, strict=True):
                assert entry.title.startswith(f"{technology.label} · {row.label}")


def test_rows_are_grouped_by_family(large, drawn):
    assert [title for title, _ in drawn.groups] == list(names.FAMILIES.values())
    of_settings = [row for _, rows in drawn.groups for row in rows if not row.is_sum]
    assert [row.code for row in of_settings] == [large.settings[i].code for i in large.rows]
    assert all(rows[0].label == "Robustness" for _, rows in drawn.groups)


def test_a_family_says_the_least_that_is_found_without_and_with_re_synchronisation(large, drawn):
    rows = {row.key: row for _, group in drawn.groups for row in group if row.is_sum}
    # Only channels in another order are put back, so that nothing else becomes another row.
    assert [key for key in rows if key.endswith("resynchronised")] == ["preserving_resynchronised"]
    for place, technology in enumerate(large.technologies):
        preserving = next(f for f in technology.families if f.family == "preserving")
        for key, found in (
            ("preserving", preserving.plain),
            ("preserving_resynchronised", preserving.resynchronised or preserving.plain),
        ):
            entry, tally = rows[key].entries[place], found.tally
            if found.weakest is None:
                assert (entry.style, entry.top) == ("no", "no verdict")
                continue
            assert entry.top == f"{100 * found.weakest.found:.0f} %"
            assert entry.below == f"{tally.survived}/{tally.usable}"
            style = "sv" if tally.survived == tally.usable else "pa" if tally.survived else "lo"
            assert entry.style == style
    assert "re-synchronised the same" in rows["deployment"].tested
    assert "re-synchronised" not in rows["preserving"].tested


def test_a_family_that_a_technology_did_not_meet_was_not_tried(small):
    first = small.technologies[0].model_copy(update={"families": ()})
    changed = small.model_copy(update={"technologies": (first, *small.technologies[1:])})
    drawn = matrix(changed, names.technology_names(changed))
    entry = drawn.groups[0][1][0].entries[changed.order.index(0)]
    assert (entry.style, entry.top, entry.said) == ("no", "not tried", "not tried")


def test_blocks_hold_every_modification_once_and_no_more_than_there_is_room_for(drawn):
    laid = [row for block in drawn.blocks for _, rows in block.groups for row in rows]
    assert laid == [row for _, rows in drawn.groups for row in rows]
    assert [block.first for block in drawn.blocks] == [True, False, False, False]
    assert [block.columns for block in drawn.blocks] == [13, 9, 12, 5]
    whole = [(title, row) for title, rows in drawn.groups for row in rows]
    one = replace(drawn, groups=(("one family", tuple(row for _, row in whole)),))
    assert [block.columns for block in one.blocks] == [13, 10, 10, 6]
    assert sum((b.groups[0][1] for b in one.blocks), ()) == one.groups[0][1]
    (alone,) = replace(drawn, groups=()).blocks
    assert alone.columns == 1


def test_the_bar_leaves_a_gap_for_what_has_no_verdict(large):
    tally = Tally(usable=20, survived=10, lost=5, undecided=3, without_result=2)
    first = large.technologies[large.order[0]].model_copy(update={"tally": tally})
    technologies = tuple(first if t.index == first.index else t for t in large.technologies)
    changed = large.model_copy(update={"technologies": technologies})
    bar = matrix(changed, names.technology_names(changed)).bars[0]
    assert (bar.good, bar.bad, bar.bad_from, bar.open) == ("50.0%", "25.0%", "75.0%", 5)


def test_false_alarms_are_counted_and_one_is_enough(large, drawn):
    by_name = dict(zip([h.full for h in drawn.heads], drawn.alarms, strict=True))
    for technology in large.technologies:
        entry = by_name[technology.label]
        if technology.alarms is None:
            assert (entry.style, entry.top) == ("no", "n/a")
        else:
            alarms = len(technology.alarms)
            assert entry.top == f"{alarms}/5"
            assert entry.style == ("lo" if alarms else "sv")
    assert Counter(e.style for e in drawn.alarms)["lo"] == 1


def test_few_technologies_have_words_and_a_strip_of_all_intensities(small):
    drawn = matrix(small, names.technology_names(small))
    assert drawn.few
    noise = drawn.groups[0][1][1].entries[0]
    assert [chip.text for chip in noise.chips] == ["0.1", "0.2", "0.3", "0.5†", "1†"]
    assert [chip.dead for chip in noise.chips] == [False, False, False, True, True]
    assert noise.said.startswith(("survives", "outlives", "lost"))


def test_short_names_differ_and_are_short(large, small):
    called = names.technology_names(large)
    assert len({str(name) for name in called}) == len(called)
    assert max(len(name.short) for name in called) <= 7
    assert [str(name) for name in names.technology_names(small)] == [
        "block-spread 64 bits",
        "uchida 64 bits",
    ]
    twice = synthetic.small(technologies=(synthetic.TECHNOLOGIES[1],) * 2)
    assert [str(n) for n in names.technology_names(twice)] == [
        "uchida 64 bits #1",
        "uchida 64 bits #2",
    ]


def test_rows_have_whole_names_that_differ(large):
    called = names.technology_names(large)
    assert [name.row for name in called] == [t.label for t in large.technologies]
    few = names.technology_names(few_of(large, 3))
    assert [name.row for name in few] == [str(name) for name in few]


def test_long_labels_are_kept_short_and_still_differ(large):
    long = f"{'uchida(' + 'option=1, ' * 9}), 64 bits"
    technologies = tuple(
        t.model_copy(update={"label": f"{long} {t.index}"}) for t in large.technologies
    )
    called = names.technology_names(large.model_copy(update={"technologies": technologies}))
    assert len({name.row for name in called}) == len(called)
    assert max(len(name.row) for name in called) <= 46
    assert called[2].row == "block-spread, 64 bits"
    assert called[5].row.startswith("uchida, 64 bits")
    assert [name.full for name in called] == [t.label for t in technologies]
    alike = names.technology_names(
        large.model_copy(update={"technologies": (technologies[2],) * 5 + technologies[5:]})
    )
    assert [n.row for n in alike[:3]] == [
        "block-spread, 64 bits",
        "block-spread, 64 bits #2",
        "block-spread, 64 bits #3",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uchida", "uchida"),
        ("block-spread", "blo-spr"),
        ("constant-weight-code", "cwc"),
        ("tartaglione", "tartagl"),
    ],
)
def test_names_are_shortened(name, expected):
    assert names.shortened(name, 7) == expected


def test_an_integrity_method_notices_or_does_not(small):
    cells = list(small.cells)
    cells[0] = Cell(technology=0, setting=0, status="noticed", level=4)
    cells[1] = Cell(technology=0, setting=1, status="unnoticed", level=1)
    tally = Tally(
        usable=21, survived=0, lost=0, noticed=20, unnoticed=1, undecided=0, without_result=0
    )
    first = small.technologies[0].model_copy(update={"tally": tally})
    points = tuple(p.model_copy(update={"noticed": p.tested}) for p in small.points)
    changed = small.model_copy(
        update={
            "cells": tuple(cells),
            "technologies": (first, *small.technologies[1:]),
            "points": points,
        }
    )
    drawn = matrix(changed, names.technology_names(changed))
    noticed, unnoticed = (entry_of(changed, drawn, cell) for cell in cells[:2])
    assert (noticed.sign, noticed.top, noticed.said) == ("nt", "9/9", "noticed at all")
    assert "9 of 9 noticed" in noticed.title
    assert (unnoticed.sign, unnoticed.said) == ("nn", "unnoticed at 95 %")
    bar = drawn.bars[changed.order.index(0)]
    assert (bar.survived, bar.lost, bar.words) == (20, 1, ("noticed", "unnoticed"))


def test_the_count_stands_beside_down_to_where_it_is_known(small):
    cell = next(c for c in small.cells if c.status == "survives")
    point = small.points_of(cell.technology, cell.setting)[cell.level]
    rate = point.found_rate.model_copy(update={"low": 0.3684, "high": 1.0})
    points = tuple(p.model_copy(update={"found_rate": rate}) for p in small.points)
    changed = small.model_copy(update={"points": points})
    entry = entry_of(changed, matrix(changed, names.technology_names(changed)), cell)
    assert "9 of 9 found (at least 37 % with 95 % confidence)" in entry.title
    assert f"quality {100 * point.quality.value:.2f} %" in entry.title
