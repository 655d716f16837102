"""From records to the report: denominators, order, counts, and that it is always the same."""

from __future__ import annotations

import random

import pytest

from nnw_onnx.errors import RunError
from nnw_onnx.reports.build import build_report, digest
from nnw_onnx.reports.model import Report

from ..measures.made import invented, make_plan, make_technology  # noqa: TID252 - shared by two rooms' tests


@pytest.fixture(scope="module")
def made():
    return invented(5, 13, networks=3, payloads=2, samples=500)


@pytest.fixture(scope="module")
def report(made):
    return build_report(*made.parts)


def test_every_technology_has_the_same_denominator(report):
    usable = sum(level.counts for s in report.settings for level in s.levels)
    assert report.counts.usable == usable > 0
    for technology in report.technologies:
        found = technology.tally
        assert found.usable == usable
        assert found.survived + found.lost + found.undecided + found.without_result == usable


def test_all_kinds_of_cells_occur_and_fit_their_points(report):
    met = {cell.status for cell in report.cells}
    assert {"survives", "partly", "lost", "undetectable", "void", "failed", "n/a"} <= met
    for cell in report.cells:
        points = report.points_of(cell.technology, cell.setting)
        if cell.survived is not None:
            assert points[cell.survived].status == "survives"
        if cell.lost_at is not None:
            assert points[cell.lost_at].status == "lost"
        if cell.note is not None:
            assert report.notes[cell.note - 1]


def test_cells_and_points_are_found_by_their_places(report):
    for t in range(len(report.technologies)):
        for s, setting in enumerate(report.settings):
            cell = report.cell(t, s)
            assert (cell.technology, cell.setting) == (t, s)
            points = report.points_of(t, s)
            assert [(p.technology, p.setting, p.level) for p in points] == [
                (t, s, k) for k in range(len(setting.levels))
            ]


def test_settings_are_counted_by_what_they_leave(report):
    found = report.counts
    assert found.total == found.usable + found.unusable + found.undecided
    assert found.total == sum(len(s.levels) for s in report.settings)
    assert found.outside == 1


def test_the_ranking_is_repeated_at_two_and_ten_points(report):
    strict, loose = report.rankings
    assert (strict.usable_loss, loose.usable_loss) == (pytest.approx(0.02), 0.1)
    assert strict.usable <= report.counts.usable <= loose.usable
    survived = [t.tally.survived for t in report.technologies]
    assert all(
        a <= b <= c for a, b, c in zip(strict.survived, survived, loose.survived, strict=True)
    )


def test_the_same_records_in_another_order_give_the_same_report(made, report):
    shuffled = list(made.trials)
    random.Random(0).shuffle(shuffled)
    again = build_report(*made.but(trials=tuple(shuffled)).parts)
    assert again.cells == report.cells
    assert again.reproducibility == report.reproducibility
    assert [p.ser for p in again.points] == [p.ser for p in report.points]


def test_the_report_survives_its_own_json(report):
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_run_that_was_cut_off_is_told_from_a_whole_one(made, report):
    assert report.completeness.tests_found < report.completeness.tests_planned  # mishaps
    some = tuple(t for t in made.trials if t.setting != 0)
    cut = build_report(*made.but(trials=some).parts)
    assert [name for name in cut.completeness.missing if name.startswith("Gaussian noise")] == [
        f"Gaussian noise {i:g}" for i in (0.1, 0.2, 0.3, 0.5, 1.0)
    ]
    assert cut.cell(0, 0).status == "not run"


def test_a_run_without_anything_is_a_report():
    report = build_report(make_plan(), (), (), (), None)
    technology = report.technologies[0]
    assert report.base[0].quality.value is None
    assert technology.tally.usable == 0
    assert technology.unmodified.status == "not run"
    assert technology.imperceptibility.verdict == "not measured"
    assert not report.completeness.complete or report.completeness.tests_planned == 0


def test_technologies_are_numbered_by_their_places():
    plan = make_plan(technologies=[make_technology(3)])
    with pytest.raises(RunError, match=r"expected technologies numbered 0, 1, ..., got \[3\]"):
        build_report(plan, (), (), (), None)


def test_the_digest_is_over_records_and_not_their_order(made):
    records = [*made.injections, *made.trials]
    assert digest(records) == digest(records[::-1])
    assert digest(records) != digest(records[1:])
