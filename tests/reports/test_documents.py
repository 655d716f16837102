"""Documents: schema, JSON, tables and files, with hostile names too."""

from __future__ import annotations

import csv
import io
import json
import re
from importlib.resources import files

import jsonschema
import pytest

from nnw_onnx.errors import RunError
from nnw_onnx.reports import Report, columns, documents, forms, names, tables
from nnw_onnx.reports.latex import as_latex
from nnw_onnx.reports.matrix import matrix

from .synthetic import large as make_large


def shipped_schema():
    return json.loads((files("nnw_onnx.reports") / "report.schema.json").read_text("utf-8"))


def tables_of(report):
    made = tables.tables(report, matrix(report, names.technology_names(report)))
    return {table.name: table for table in made}


def test_the_shipped_schema_is_the_generated_one():
    assert shipped_schema() == documents.schema(), "write it again: tests/reports/README"


def test_reports_validate_against_the_schema(small, hostile):
    schema = shipped_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for made in (small, hostile):
        jsonschema.validate(json.loads(documents.render(made, "json")), schema)


def test_the_schema_is_strict(small):
    content = json.loads(documents.render(small, "json"))
    content["points"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate(content, shipped_schema())


def test_json_makes_the_same_report_again(small, hostile):
    for made in (small, hostile):
        assert Report.model_validate_json(documents.render(made, "json")) == made


def test_write_documents(small, tmp_path):
    written = documents.write_documents(small, tmp_path)
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert {str(p.relative_to(tmp_path)) for p in written} == there
    assert written[0] == tmp_path / "report.html"
    assert {"report.json", "figures/evidence.svg", "figures/evidence.pdf"} <= there
    assert {"tables/all.csv", "tables/cells.csv"} <= there
    assert "figures/curves-1b-l1-pruning-carrier-layer.svg" in there
    assert {"tables/matrix.md", "tables/matrix.tex"} <= there
    for table in ("technologies", "settings", "imperceptibility", "robustness", "cost"):
        assert {f"tables/{table}.{suffix}" for suffix in ("csv", "md", "tex")} <= there


def test_documents_are_the_same_every_time(small, tmp_path):
    documents.write_documents(small, tmp_path / "a")
    documents.write_documents(small, tmp_path / "b")
    for path in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("name", ["figures", "tables"])
def test_nothing_is_written_through_a_link(small, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="expected a folder of the run, got a link"):
        documents.write_documents(small, tmp_path / "run")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(small, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").symlink_to(victim)
    documents.write_documents(small, tmp_path / "run")
    assert victim.read_text() == "mine"


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_the_bare_numbers_with_their_limits(small):
    rows = read_csv(forms.as_csv(tables_of(small)["robustness"]))
    assert len(rows) == len(small.points) + len(small.technologies)
    by_place = {(r["technology"], r["modification"], r["intensity"]): r for r in rows}
    point = small.points_of(0, 0)[1]
    row = by_place[small.technologies[0].label, "Gaussian noise", "0.2"]
    assert row["unit"] == "σ"
    assert float(row["loss"]) == point.loss.value
    assert (float(row["loss_low"]), float(row["loss_high"])) == point.loss.limits
    assert int(row["found"]) == point.found
    assert row["ser_all"] == ""


def test_every_declared_column_is_in_the_tables(small):
    made = tables_of(small)
    for name, declared in (
        ("robustness", columns.ROBUSTNESS),
        ("base", columns.BASE),
        ("settings", columns.SETTINGS),
        ("imperceptibility", columns.IMPERCEPTIBILITY),
        ("cost", columns.COST),
        ("technologies", columns.TECHNOLOGIES),
        ("controls", columns.CONTROLS),
    ):
        assert {c.key for c in declared} <= {h.key for h in made[name].heads}


def test_wrong_keys_of_networks_in_order_have_a_table_of_their_own(small):
    assert "controls_resynchronised" not in tables_of(small)
    first, *others = small.technologies
    again = first.control.model_copy(update={"keys": 123})
    heard = first.model_copy(update={"control_resynchronised": again})
    made = small.model_copy(update={"technologies": (heard, *others)})
    (row,) = read_csv(forms.as_csv(tables_of(made)["controls_resynchronised"]))
    assert (row["technology"], row["wrong_keys"]) == (first.label, "123")
    rows = [r for r in read_csv(tables.all_rows(made)) if r["quantity"] == "wrong_keys"]
    told = [(r["technology"], r["table"]) for r in rows if r["value"] == "123"]
    assert told == [(first.label, "controls_resynchronised")]


def test_all_numbers_are_in_one_file_one_a_row(small):
    rows = read_csv(tables.all_rows(small))
    wanted = [r for r in rows if r["quantity"] == "ser" and r["modification"] == "Quantizing"]
    assert [r["intensity"] for r in wanted] == ["8.0", "4.0", "3.0", "2.0"] * 2
    assert {(r["intensity_unit"], r["unit"], r["table"]) for r in wanted} == {
        ("bits", "share", "robustness")
    }
    place = next(s.index for s in small.settings if s.label == "Quantizing")
    assert float(wanted[0]["value"]) == small.points_of(0, place)[0].ser.value


def test_no_field_of_a_csv_file_is_a_number_with_words(small):
    texts = [tables.all_rows(small), *(forms.as_csv(t) for t in tables_of(small).values())]
    for row in (row for text in texts for row in read_csv(text)):
        for key in ("value", "low", "high", "intensity", "found", "loss", "ser", "injections"):
            assert not row.get(key) or float(row[key]) is not None


def test_the_matrix_for_machines_has_one_cell_a_row(small):
    rows = read_csv(forms.as_csv(tables_of(small)["cells"]))
    assert len(rows) == len(small.cells)
    for row, cell in zip(rows, small.cells, strict=True):
        levels = small.settings[cell.setting].levels
        assert row["status"] == cell.status
        survived = None if cell.survived is None else levels[cell.survived].intensity
        assert (float(row["survived"]) if row["survived"] else None) == survived


def test_units_are_in_headings_and_not_in_cells(small):
    head = {h.key: h.text for h in tables_of(small)["robustness"].heads}
    assert head["loss"] == "Loss, watermarked, points"
    assert head["ser"] == "Symbol Error Rate, %"
    item = forms.Item(small.points_of(0, 0)[0].ser, columns.Form.SHARE, small.headline)
    assert re.fullmatch(r"\d+\.\d", item.text)


def test_spreadsheets_find_no_formula(hostile):
    for text in (
        forms.as_csv(tables_of(hostile)["robustness"]),
        tables.all_rows(hostile),
        forms.as_csv(tables_of(hostile)["matrix"]),
    ):
        for row in csv.reader(io.StringIO(text)):
            for field in row:
                assert not field.startswith(("=", "+", "@", "\t", "\r"))
                assert not field.startswith("-") or re.fullmatch(r"-[\d.e+-]+", field)
                assert field.isprintable()


def test_latex_and_markdown_find_nothing_to_obey(hostile):
    made = tables_of(hostile)["robustness"]
    latex = as_latex(made)
    assert r"\input{x}" not in latex
    assert r"\textbackslash{}input\{x\}" in latex
    for part in latex.split(r"\caption")[1:]:
        forms_of = re.search(r"\\begin\{(?:tabular|longtable)\}\{(.*)\}$", latex, re.MULTILINE)
        assert forms_of
        body = part.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        rows = [line for line in rows if not line.startswith(r"\multicolumn")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1
    columns_of = len(made.brief().heads)
    markdown = forms.as_markdown(made)
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {columns_of + 1}
    assert "<script>" not in markdown


def test_whole_documents_in_other_forms(small, hostile):
    told = documents.render(small, "markdown")
    assert told.startswith("# Handwritten digits\n")
    assert "survives" in told
    assert "## Warnings" in told
    assert r"\begin{tabular}" in documents.render(small, "latex")
    assert documents.render(small, "csv").startswith("technology,modification,intensity,")
    for form in documents.FORMATS:
        text = documents.render(hostile, form)
        assert "\x1b" not in text
        if form != "json":
            assert "\u202e" not in text


def test_paper_tables_are_narrow(small):
    made = tables_of(small)
    assert len(made["robustness"].brief().heads) <= 11
    assert len(made["robustness"].heads) > 20


def test_empty_columns_are_spared(small):
    keys = {head.key for head in tables_of(small)["technologies"].brief().heads}
    assert "code" not in keys
    assert "symbols" in keys


def test_rankings_at_other_limits_are_a_table():
    from nnw_onnx.reports.model import Ranking

    report = make_large()
    n = len(report.technologies)
    ranking = Ranking(usable_loss=0.02, usable=50, survived=tuple(range(n)))
    made = tables.rankings(report.model_copy(update={"rankings": (ranking,)}))
    assert made.heads[1].text == "Survived of 50, loss up to 2 points"
    assert [row[1].plain for row in made.rows] == list(report.order)
    assert not tables.rankings(report).rows


def markdown_rows(text):
    """Cells of the lines of a table, unescaped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def test_the_matrix_of_many_technologies_is_turned_in_markdown_and_latex():
    report = make_large()
    made = tables_of(report)["matrix"]
    drawn = matrix(report, names.technology_names(report))
    head, _, *rows = markdown_rows(forms.as_markdown(made))
    modifications = [
        f"{r.code} {r.label}" if r.code else f"{title.partition(':')[0]}: {r.label.lower()}"
        for title, group in drawn.groups
        for r in group
    ]
    sums = [
        "Technology",
        "Settings survived",
        "Least share found",
        "Imperceptibility, loss in points",
        "False alarms, of 5 networks",
    ]
    assert head == sums + modifications
    assert [row[0] for row in rows] == [t.label for t in report.technologies]
    entangled = next(row for row in rows if row[0].startswith("entangled"))
    assert entangled[1:5] == ["57 of 63, 6 lost", "13 %", "1.82, noticeable", "0/5"]
    for i, row in enumerate(rows):
        assert row[5:] == [r.entries[i].said for _, group in drawn.groups for r in group]
    text = as_latex(made)
    named = [t.label for t in report.technologies]
    parts = text.count("\\begin{tabular}")
    assert all(text.count(f"\n{name} & ") == parts for name in named)


def test_what_all_rows_share_is_a_line_below_for_readers_and_a_column_for_machines(small):
    def item(word):
        return forms.Item(word, columns.Form.WORDS, small.headline)

    def made(*reasons):
        heads = (
            forms.Head("technology", "Technology", False, False, lead=True),
            forms.Head("why", "Why not", False, False),
        )
        rows = tuple((item(f"t{i}"), item(reason)) for i, reason in enumerate(reasons))
        return forms.Table("made", "Made", heads, rows, once=frozenset({"why"}))

    shared = made("too & few", "too & few")
    assert forms.as_markdown(shared).endswith("| t1 |\n\nWhy not: too \\& few.\n")
    assert as_latex(shared).count("too \\& few") == 1
    assert "\\end{tabular}\n\n\\smallskip Why not: too \\& few.\n" in as_latex(shared)
    assert forms.as_csv(shared).count("too & few") == 2
    for kept in (made("a", "b"), made("a"), made("a", "")):
        assert kept.brief().below == ()
        assert [head.key for head in kept.brief().heads] == ["technology", "why"]
    assert made("", "").brief().below == ()


def test_a_table_is_split_by_columns_with_its_lead_before_each_part():
    report = make_large()
    made = tables_of(report)["matrix"]
    parts = made.parts(10)
    assert [len(part.heads) for part in parts] == [11, 11, 11, 11]
    assert {part.heads[0].key for part in parts} == {"technology"}
    assert tuple(h for part in parts for h in part.heads[1:]) == made.heads[1:]
    assert all(part.rows[3][0] == made.rows[3][0] for part in parts)
    assert parts[1].rows[3][1:] == made.rows[3][11:21]
    assert made.parts(40) == (made,)
