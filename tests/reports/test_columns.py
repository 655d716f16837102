"""Quantities are declared once, and every number of the report is one of them."""

from __future__ import annotations

import pytest

from nnw_onnx.measures.results import Value
from nnw_onnx.records import MeasureRecord
from nnw_onnx.reports import columns
from nnw_onnx.reports.build import build_report
from nnw_onnx.reports.columns import Form

from ..measures.made import ACCURACY, invented  # noqa: TID252 - shared by two rooms' tests

TABLES = {
    name: getattr(columns, name)
    for name in (
        "TECHNOLOGIES", "ROBUSTNESS", "SETTINGS", "IMPERCEPTIBILITY", "QUALITY", "PAIRS", "COST",
        "CONTROLS", "EPOCHS", "PLACES",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return build_report(*invented(3, 4, samples=300).parts)


@pytest.fixture(scope="module")
def rows(report):
    return list(columns.rows(report))


@pytest.mark.parametrize("name", TABLES)
def test_keys_are_declared_once(name):
    keys = [column.key for column in TABLES[name]]
    assert len(set(keys)) == len(keys)
    assert all(key.isidentifier() for key in keys)


def test_every_number_has_one_row(rows):
    places = [
        (r.technology, r.modification, r.intensity, r.table, r.quantity, r.measure) for r in rows
    ]
    assert len(set(places)) == len(places)


def test_rows_hold_what_the_report_holds(report, rows):
    point = report.points_of(1, 2)[1]
    label = report.technologies[1].label
    (row,) = [
        r
        for r in rows
        if (r.technology, r.modification) == (label, report.settings[2].label)
        and (r.intensity, r.table, r.quantity) == (point.intensity, "robustness", "loss")
    ]
    assert (row.value, row.low, row.high) == (point.loss.value, point.loss.low, point.loss.high)
    assert (row.networks, row.unit, row.confidence) == (3, "share", 0.9)
    assert row.intensity_unit == report.settings[2].parameter.unit


def test_a_row_holds_a_number_with_its_unit_or_a_word(rows):
    for row in rows:
        assert not (row.word and row.value is not None), row
        assert row.unit or row.value is None, row
        assert row.value is None or isinstance(row.value, int | float)
    assert {r.unit for r in rows} >= {"share", "1", "log10(p)", "s", "B", "probability"}


def test_no_value_of_a_point_is_left_without_a_column(report):
    point = report.points[0]
    read = [column.get(point) for column in columns.ROBUSTNESS]
    for name, about in type(point).model_fields.items():
        if about.annotation is Value:
            value = getattr(point, name)
            assert any(entry is value for entry in read), name


def test_what_was_not_measured_has_a_reason_in_its_row(rows):
    missing = [r for r in rows if r.value is None and r.table == "cost"]
    assert missing
    assert all(r.reason for r in missing)


@pytest.mark.parametrize(
    ("form", "unit", "value", "shown"),
    [
        (Form.LOSS, "points", 0.005, 0.5),
        (Form.QUALITY, "%", 0.93, 93),
        (Form.SHARE, "%", 0.25, 25),
        (Form.EVIDENCE, "−log₁₀ p", -6, 6),
        (Form.SECONDS, "s", 0.5, 0.5),
        (Form.COUNT, "", 3, 3),
    ],
)
def test_numbers_are_shown_in_the_unit_of_their_form(form, unit, value, shown):
    assert columns.unit_of(form, ACCURACY) == unit
    assert columns.shown(value, form, ACCURACY) == pytest.approx(shown)


def test_measures_that_are_no_shares_keep_their_unit():
    decibels = MeasureRecord(name="PSNR", unit="dB", negligible=0.1, usable_loss=1)
    assert columns.unit_of(Form.LOSS, decibels) == "dB"
    assert columns.shown(0.3, Form.LOSS, decibels) == 0.3
