"""The documents of a comparison: well formed, harmless, and the same numbers in all of them."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.measures.compared import Comparison
from nnw_onnx.measures.comparison import Asked, compare
from nnw_onnx.measures.run import Run
from nnw_onnx.reports import comparison as reports
from nnw_onnx.reports import forms
from nnw_onnx.reports.comparison_tables import grid, places, tables
from nnw_onnx.reports.documents import write_comparison

from ..measures.made import (  # noqa: TID252 - not an installed package
    invented,
    make_setting,
    make_technology,
)
from ..measures.side_by_side import make_run  # noqa: TID252
from .conftest import HOSTILE
from .test_page import read


def compared(*runs, **asked):
    named = [(f"run-{i}", run) for i, run in enumerate(runs)]
    return compare(named, Asked(**asked), np.random.Generator(np.random.PCG64(0)))


def second_lost(t, n, d, x):
    return 32 if t == 1 else 0


@pytest.fixture(scope="module")
def some():
    """Four technologies of 64 bits, three of which are alike, under two Intensities."""
    four = [make_technology(i, name) for i, name in enumerate(("a", "b", "c", "d"))]

    def errors(t, n, d, x):
        return 32 if t == 1 or (x == 0.2 and (n + t + d) % 3 == 0) else 0

    return compared(make_run(errors, 8, technologies=four, intensities=(0.1, 0.2)))


@pytest.fixture(scope="module")
def large():
    made = invented(7, 6, networks=3, payloads=2)
    networks = tuple(n.model_copy(update={"sha256": f"{n.index:02d}"}) for n in made.plan.networks)
    plan = made.plan.model_copy(update={"networks": networks})
    run = Run(plan, made.injections, made.trials)
    return compared(run, run)


def test_the_page_is_well_formed_and_fetches_nothing(some, large):
    for found in (some, large):
        page = reports.render(found, "html")
        reader = read(page)
        assert "script" not in reader.tags
        assert not {"src", "onclick", "onload"} & reader.attributes
        assert all(t.startswith("#") for t in reader.targets)
        assert len(set(reader.ids)) == len(reader.ids)
        assert {t[1:] for t in reader.targets} <= set(reader.ids)


def test_the_page_says_who_wins_and_what_could_not_be_told(some):
    texts = "".join(read(reports.render(some, "html")).texts)
    assert "a, 64 bits is attacked with less success than b, 64 bits" in texts
    assert some.manifest_sha256 in texts
    assert "6 claims, fixed by the plan" in texts
    few = compared(make_run(second_lost, networks=3))
    told = "".join(read(reports.render(few, "html")).texts)
    assert "none can be significant after Holm. That takes 6 networks" in told


def test_who_has_no_place_is_told_first():
    def told(adaptive):
        setting = make_setting(intensities=(0.1,), adaptive=adaptive)
        found = compared(make_run(second_lost, setting=setting))
        texts = "".join(read(reports.render(found, "html")).texts)
        return reports.summary(found), texts, found

    summary, texts, found = told((0,))
    line = "Not ranked, because not attacked adaptively: block-spread, 64 bits."
    assert summary[2] == line
    assert line in texts
    assert [places(s) for s in found.groups[0].standings] == ["1", "not ranked"]
    summary, texts, _ = told(())
    assert summary[2] == "Not ranked: no technology was attacked by somebody who knows its method."
    assert not any(line.startswith("Not ranked") for line in told((0, 1))[0])


def test_nothing_to_compare_is_a_page_too():
    alone = compared(make_run(second_lost, technologies=[make_technology(0, "a")]))
    assert "There is no claim to test" in "".join(read(reports.render(alone, "html")).texts)
    assert reports.render(alone, "csv") == "\n" or not reports.render(alone, "csv").strip()
    assert "a, 64 bits: no other technology has 64 bits" in reports.render(
        alone, "markdown"
    ).replace("\\", "")


def test_hostile_names_are_shown_and_not_obeyed():
    two = [make_technology(i, "x", label=f"{HOSTILE} {i}") for i in range(2)]
    found = compared(make_run(second_lost, technologies=two))
    page = reports.render(found, "html")
    assert "<script>alert" not in page
    assert "\x1b" not in page
    reader = read(page)
    assert "script" not in reader.tags
    assert "\\input{x}" not in reports.render(found, "latex")
    for line in csv.reader(io.StringIO(reports.render(found, "csv"))):
        assert not any(cell.startswith(("=", "+", "@")) for cell in line)
    assert all("\x1b" not in line and "\u202e" not in line for line in reports.summary(found))


def test_json_makes_the_same_comparison_again(some, large):
    for found in (some, large):
        assert Comparison.model_validate_json(reports.render(found, "json")) == found


def test_csv_has_every_number_of_every_setting(some):
    rows = list(csv.DictReader(io.StringIO(reports.render(some, "csv"))))
    assert len(rows) == 4 * 2
    lost = [r for r in rows if r["technology"] == "b, 64 bits"]
    assert [float(r["success"]) for r in lost] == [1, 1]
    assert {r["counts"] for r in rows} == {"yes"}


def test_latex_has_rules_and_all_claims(some):
    text = reports.render(some, "latex")
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") >= 4
    assert "\\toprule" in text
    assert not re.search(r"(?<!\\)[%&#_](?=[a-z])", text.replace(reports_packages(), ""))
    claims = next(t for t in tables(some) if t.name == "claims")
    assert len(claims.rows) == some.claims == 6


def reports_packages():
    from nnw_onnx.reports.latex import PACKAGES

    return PACKAGES


def test_grids_have_the_best_technology_first(some):
    (group,) = some.groups
    made = grid(some, group)
    assert [h.text for h in made.heads][-1] == "b, 64 bits"
    assert len(made.rows) == 2
    assert [row[-1].plain for row in made.rows] == [1, 1]


@pytest.fixture(scope="module")
def many():
    """Twelve technologies of 64 bits under ten Intensities; the second is always lost."""
    twelve = [make_technology(i, f"m{i:02d}") for i in range(12)]
    levels = tuple(round(0.01 * k, 2) for k in range(1, 11))
    return compared(make_run(second_lost, 3, technologies=twelve, intensities=levels))


def test_grids_of_many_technologies_are_turned_and_split_where_settings_are_many(many):
    (group,) = many.groups
    made = grid(many, group)
    assert made.heads[0].text == "Technology"
    assert [h.text.rpartition(" ")[0] for h in made.heads[1:]] != []
    assert len(made.heads) == 1 + 10
    assert [row[0].plain for row in made.rows][-1] == "m01, 64 bits"
    assert [item.plain for item in made.rows[-1][1:]] == [1] * 10
    assert {item.plain for row in made.rows[:-1] for item in row[1:]} == {0}
    page = reports.render(many, "html")
    assert page.count("Technology<th scope=col>R1 gaussian-noise 0.") == 2
    assert page.count("<th scope=row>m01, 64 bits") >= 2
    markdown = forms.as_markdown(made)
    assert [line.split(" | ")[0] for line in markdown.splitlines()[4:]] == [
        f"| {row[0].plain}" for row in made.rows
    ]


def test_eleven_technologies_are_turned_and_ten_are_not():
    for count, lead in ((10, "Modification"), (11, "Technology")):
        technologies = [make_technology(i, f"m{i:02d}") for i in range(count)]
        found = compared(make_run(second_lost, 2, technologies=technologies))
        assert grid(found, found.groups[0]).heads[0].text == lead


def test_places(some):
    (group,) = some.groups
    assert [places(s) for s in group.standings] == ["1 to 3", "1 to 3", "1 to 3", "4"]


def test_written_files(some, tmp_path):
    written = write_comparison(some, tmp_path)
    assert written[0] == tmp_path / "comparison.html"
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert {"comparison.json", "tables/claims.csv", "tables/standings.tex"} <= there
    assert {"tables/grid-64.md", "tables/attacks.csv"} <= there
    assert json.loads((tmp_path / "comparison.json").read_text("utf-8"))["claims"] == 6


def test_files_are_not_written_elsewhere(some, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tables").symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match="expected a folder of the run, got a link"):
        write_comparison(some, tmp_path / "out")
    assert not list((tmp_path / "other").iterdir())


def test_unknown_format(some):
    with pytest.raises(ConfigurationError, match="comparison: expected one of the formats html"):
        reports.render(some, "htm")
