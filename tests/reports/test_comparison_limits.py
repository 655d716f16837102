"""Places with other limits of usability and equal Symbol Error Rates, in every document."""

from __future__ import annotations

import csv
import io
import json

import pytest

from nnw_onnx.reports import comparison as reports
from nnw_onnx.reports import forms
from nnw_onnx.reports.comparison_limits import limits_line, limits_table
from nnw_onnx.reports.comparison_tables import grid, tables
from nnw_onnx.reports.documents import write_comparison
from nnw_onnx.reports.words import DASH

from ..measures.made import ACCURACY, make_technology  # noqa: TID252 - shared by two rooms' tests
from ..measures.side_by_side import make_run  # noqa: TID252 - the same
from .test_comparison import compared
from .test_page import read


def all_lost(t, n, d, x):
    return 32


@pytest.fixture(scope="module")
def changing():
    """Attacks take 7 points from the first technology, and 3 points from the second."""
    return compared(make_run(all_lost, lost=lambda t, n: (70, 30)[t]))


def test_the_table_has_success_and_place_at_each_limit(changing):
    made = limits_table(changing, changing.groups[0])
    assert made.name == "limits-64"
    assert [h.text for h in made.heads] == [
        "Technology",
        "Success, %, loss up to 2 points",
        "Place, loss up to 2 points",
        "Success, %, loss up to 5 points",
        "Place, loss up to 5 points",
        "Success, %, loss up to 10 points",
        "Place, loss up to 10 points",
    ]
    assert [[item.text for item in row[1:]] for row in made.rows] == [
        ["0.0", "1", "0.0", "1", "100.0", "1"],
        ["0.0", "1", "100.0", "2", "100.0", "1"],
    ]
    assert made.below[1].endswith("limit by limit: 1, 1 and 1.")


def test_a_line_says_which_places_change(changing):
    assert (
        "64 bits: 1 of 2 places by success changes where a loss up to 2, 5 or 10 points is usable: "
        "block-spread, 64 bits (1, 2, 1)"
    ) in reports.summary(changing)


def test_a_line_says_that_none_changes():
    found = compared(make_run(lambda t, n, d, x: 32 * t))
    line = limits_line(found, found.groups[0])
    assert line == ("places by success are the same where a loss up to 2, 5 or 10 points is usable")


def test_what_changes_most_is_named_first():
    """The third falls from the first place to the third, the others by one at most."""
    three = [make_technology(i, name) for i, name in enumerate("abc")]

    def errors(t, n, d, x):
        return 32 if t == 2 or (t == 1 and n == 0) else 0

    found = compared(make_run(errors, technologies=three, lost=lambda t, n: 70 if t == 2 else 0))
    told = limits_line(found, found.groups[0])
    assert told.endswith("usable: c, 64 bits (1, 1, 3) and b, 64 bits (3, 3, 2)")


def test_limits_at_which_nothing_counts_are_said():
    found = compared(make_run(all_lost, damage=70))
    (group,) = found.groups
    assert limits_line(found, group) == (
        "places are not repeated at other limits of usability: no setting counts at a loss up to "
        "2 points or 5 points"
    )
    made = limits_table(found, group)
    assert [item.text for item in made.rows[0][1:]] == [DASH] * 4 + ["100.0", "1"]
    none = compared(make_run(all_lost, damage=300))
    assert not limits_table(none, none.groups[0]).rows
    assert "Places with other limits" not in reports.render(none, "html")


def test_losses_in_other_units_are_said_in_them():
    measure = ACCURACY.model_copy(update={"unit": "dB", "usable_loss": 1.0})
    found = compared(make_run(all_lost, measures=(measure,)))
    made = limits_table(found, found.groups[0])
    assert made.heads[1].text == "Success, %, loss up to 0.4 dB"
    assert "a loss up to 0.4, 1 or 2 dB is usable" in limits_line(found, found.groups[0])


def test_every_document_has_them_and_says_that_they_are_no_claims(changing, tmp_path):
    said = "by success alone, equal ones shared, and no further claims: the manifest and Holm stay"
    page = "".join(read(reports.render(changing, "html")).texts)
    assert "Places with other limits of usability" in page
    assert said in page
    assert "1 of 2 places by success changes" in page
    for form in ("markdown", "latex"):
        text = reports.render(changing, form).replace("\\", "")
        assert "64 bits: places with other limits of usability" in text
        assert said in " ".join(text.split())
    limits = json.loads(reports.render(changing, "json"))["groups"][0]["limits"]
    assert [[p["place"] for p in one["places"]] for one in limits] == [[1, 1], [1, 2], [1, 1]]
    write_comparison(changing, tmp_path)
    assert (tmp_path / "tables" / "limits-64.tex").is_file()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables/limits-64.csv").read_text("utf-8"))))
    assert [(r["success_at_5"], r["place_at_5"]) for r in rows] == [("0.0", "1"), ("1.0", "2")]


def test_groups_of_equal_size_have_files_of_their_own():
    kinds = ["watermark", "watermark", "fingerprint", "fingerprint"]
    four = [make_technology(i, f"m{i}", kind=kind) for i, kind in enumerate(kinds)]
    found = compared(make_run(all_lost, technologies=four))
    assert [limits_table(found, g).name for g in found.groups] == [
        "limits-64",
        "limits-64-fingerprints",
    ]
    assert [grid(found, g).name for g in found.groups] == ["grid-64", "grid-64-fingerprints"]


def test_equal_symbol_error_rates_are_a_table():
    found = compared(make_run(lambda t, n, d, x: (n + t) % 2, 12))
    made = next(t for t in tables(found) if t.name == "equal-symbols")
    assert made.caption.endswith("inside ±2 points")
    assert [item.plain for item in made.rows[0][2:4]] == [0, "equivalent"]
    assert "equivalent" in forms.as_markdown(made)
    assert "inside ±2 points; these are no part" in "".join(
        read(reports.render(found, "html")).texts
    )
