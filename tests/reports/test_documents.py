"""Documents: schema, JSON, tables, figures and the page, with hostile names too."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib.resources import files

import jsonschema
import pytest
from pydantic import ValidationError

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.reports import canvas, documents, forms, plots, tables
from nnw_onnx.reports.html import html
from nnw_onnx.reports.model import Report

from .synthetic import decoding, make_run

HOSTILE = "=cmd|' /C calc'!A0 <script>alert(1)</script> $x^2$ & \\input{x} | `a` \x1b[31m\u202e {m}"


@pytest.fixture(scope="module")
def hostile(reported):
    run = make_run(
        networks=2,
        label="=cmd {method} " + HOSTILE.replace("{", "{{").replace("}", "}}") + " {size}",
        name="{}" + HOSTILE.replace("{", "{{").replace("}", "}}"),
        title=HOSTILE,
    )
    return reported(run)


@pytest.fixture(scope="module")
def drawn(report):
    return plots.figures(report)


@pytest.fixture(scope="module")
def drawn_hostile(hostile):
    return plots.figures(hostile)


@pytest.fixture(scope="module")
def page(report, drawn):
    return html(report, drawn)


def shipped_schema():
    return json.loads((files("nnw_onnx.reports") / "report.schema.json").read_text("utf-8"))


def test_the_shipped_schema_is_the_generated_one():
    assert shipped_schema() == documents.schema()


def test_reports_validate_against_the_schema(report, hostile, reported):
    run = make_run()
    empty = reported(type(run)(run.plan, (), (), (), None))
    schema = shipped_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for made in (report, hostile, empty):
        jsonschema.validate(json.loads(documents.render(made, "json")), schema)


def test_the_schema_is_strict(report):
    content = json.loads(documents.render(report, "json"))
    content["robustness"][0]["sweeps"][0]["points"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate(content, shipped_schema())


def test_json_makes_the_same_report_again(report, hostile):
    for made in (report, hostile):
        assert Report.model_validate_json(documents.render(made, "json")) == made


def test_json_holds_nothing_that_is_no_number(report):
    def refuse(word):
        raise AssertionError(word)

    json.loads(documents.render(report, "json"), parse_constant=refuse)
    with pytest.raises(ValidationError, match="finite"):
        Report.model_validate({**report.model_dump(), "margin": float("nan")})


def test_every_part_of_the_schema_is_described():
    definitions = shipped_schema()["$defs"]
    ours = [n for n in definitions if n not in {"Environment", "Group", "NetworkRecord"}]
    assert all("description" in definitions[n] for n in ours)


def test_unknown_format(report):
    message = (
        r"report: expected one of the formats html, json, csv, markdown, latex; got 'htlm' "
        r"\(did you mean 'html'\?\)"
    )
    with pytest.raises(ConfigurationError, match=message):
        documents.render(report, "htlm")


def test_write_documents(report, tmp_path):
    written = documents.write_documents(report, tmp_path)
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert sorted(str(p.relative_to(tmp_path)) for p in written) == names
    assert written[0] == tmp_path / "report.html"
    assert "report.json" in names
    assert "figures/robustness-2-l1-pruning-carrier-layer.svg" in names
    for table in ("imperceptibility", "robustness", "cost", "injection-cost"):
        for suffix in ("csv", "md", "tex"):
            assert f"tables/{table}.{suffix}" in names
    assert (tmp_path / "report.json").read_text("utf-8") == documents.render(report, "json")
    assert (tmp_path / "report.html").read_text("utf-8") == documents.render(report, "html")


def test_documents_are_the_same_every_time(report, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for first, second in zip(
        documents.write_documents(report, one), documents.write_documents(report, two), strict=True
    ):
        assert first.read_bytes() == second.read_bytes()


def test_nothing_is_left_behind_when_writing_fails(report, tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        documents.write_documents(report, tmp_path)
    assert not list(tmp_path.glob(".writing-*"))


# Tables


def rows_of(table):
    return list(csv.DictReader(io.StringIO(forms.write(table, "csv"))))


def test_csv_holds_the_plain_numbers(report):
    rows = rows_of(tables.robustness_table(report))
    points = [
        p
        for g in report.robustness
        for p in (g.unmodified, *(q for s in g.sweeps for q in s.points))
    ]
    assert len(rows) == len(points)
    for row, point in zip(rows, points, strict=True):
        assert row["intensity"] == ("" if point.intensity is None else repr(point.intensity))
        assert int(row["fn"]) == point.missed_detections
        assert float(row["ser_watermarked"]) == point.ser_watermarked.mean
        # Three networks: no limits, their values are in the report.
        assert row["ser_watermarked_high"] == ""
        assert float(row["quality_high"]) == point.quality_watermarked.limits.high
        assert float(row["p_md_low"]) == point.p_md.limits.low
        assert row["usable"] == ("yes" if point.usable else "no")


def test_csv_of_what_was_not_measured_is_empty(reported):
    run = make_run()
    report = reported(type(run)(run.plan, run.injections, run.trials, (), None))
    for row in rows_of(tables.cost_table(report)):
        assert {v for k, v in row.items() if k not in {"group", "operation"}} == {""}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("plain", "plain"),
        (-0.5, "-0.5"),
        (3, "3"),
        (None, ""),
        (True, "yes"),
    ],
)
def test_csv_safe(value, expected):
    assert forms.csv_safe(value) == expected


def test_no_csv_field_is_a_formula(hostile):
    for table in tables.tables(hostile):
        for row in csv.reader(io.StringIO(forms.write(table, "csv"))):
            for field in row:
                numeric = re.fullmatch(r"-?[0-9.]+(e[-+]?\d+)?", field)
                assert numeric or not field.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_markdown_has_one_cell_for_each_column(hostile):
    for table in tables.tables(hostile):
        lines = forms.write(table, "markdown").splitlines()
        body = [line for line in lines if line.startswith("|")]
        assert len(body) == len(table.rows) + 2
        for line in body:
            assert len(re.findall(r"(?<!\\)\|", line)) == len(table.for_readers.columns) + 1
            assert not re.search(r"(?<!\\)<", line)


def test_markdown_escapes():
    assert forms.markdown_escaped("a|b\n<i> `c` $d$") == r"a\|b \<i\> \`c\` \$d\$"


def test_latex_escapes():
    assert forms.latex_escaped("50 % & $x_1$ \\input{a}") == (
        r"50 \% \& \$x\_1\$ \textbackslash{}input\{a\}"
    )


def test_latex_is_well_formed(report, hostile):
    for made in (report, hostile):
        for table in tables.tables(made):
            text = forms.write(table, "latex")
            bare = re.sub(r"\\[\\&%$#_{}]", "", text)
            assert bare.count("{") == bare.count("}")
            assert "%" not in bare
            assert "#" not in bare
            columns = len(re.search(r"begin\{tabular\}\{([lr]+)\}", text)[1])
            for line in text.splitlines():
                if line.endswith(r"\\"):
                    assert len(re.findall(r"(?<!\\)&", line)) == columns - 1


def test_whole_documents(report):
    markdown = documents.render(report, "markdown")
    assert markdown.startswith("# Synthetic run\n\n- NNW\\-NTI: block\\-spread, 64 bits: the")
    assert "## Warnings" in markdown
    assert documents.render(report, "latex").count(r"\begin{table}") == 4
    assert documents.render(report, "csv").count("group,") == 4


# Figures


def test_figures_cover_the_report(drawn):
    names = [f.name for f in drawn]
    assert names == [
        "imperceptibility",
        "robustness-1-gaussian-noise-all-layers",
        "robustness-2-l1-pruning-carrier-layer",
        "robustness-3-quantizing-all-layers",
        "evidence",
        "cost",
    ]


def test_figures_are_xml_with_a_title_and_no_date(drawn, drawn_hostile):
    for made in (drawn, drawn_hostile):
        for figure in made:
            root = ET.fromstring(figure.svg)
            name = "{http://www.w3.org/2000/svg}"
            assert root.find(f"{name}title").text == figure.title
            assert root.find(f"{name}desc").text
            assert not list(root.iter(f"{name}script"))
            assert "metadata" not in figure.svg
            assert "DOCTYPE" not in figure.svg
            assert re.fullmatch("[a-z0-9-]+", figure.name)


def test_figures_show_the_numbers(drawn):
    figure = next(f for f in drawn if "quantizing" in f.name)
    shown = {t.text for t in ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}text")}
    assert {"none", "8", "4", "2", "Symbol Error Rate", "Top-1 accuracy"} <= shown
    assert {"block-spread, 64 bits", "uchida, 64 bits", "unwatermarked network"} <= shown


def test_dollars_are_drawn_as_they_are(drawn_hostile):
    figure = next(f for f in drawn_hostile if f.section == "cost")
    shown = " ".join(
        t.text or "" for t in ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}text")
    )
    assert "<script" not in figure.svg
    assert "=cmd|" in shown


def test_short_labels_keep_both_ends():
    label = canvas.short("a" * 100 + ", 64 bits")
    assert len(label) == canvas.LONGEST_LABEL
    assert label.endswith(", 64 bits")
    assert canvas.short("a\x1bb") == "a\N{REPLACEMENT CHARACTER}b"


def test_figures_of_many_networks_and_one(reported):
    grid = {("quantizing", "all"): (8.0, 2.0)}
    for options in ({"networks": 1, "payloads": 1}, {"networks": 6, "payloads": 5}):
        report = reported(make_run(troubles=False, grid=grid, **options))
        assert len(plots.figures(report)) == 4


# The page


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.identifiers, self.links, self.open = [], [], [], []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        if "id" in values:
            self.identifiers.append(values["id"])
        self.links += [v for k, v in attrs if k in {"href", "src", "xlink:href"}]

    def handle_data(self, data):
        self.text += data


def parsed(text):
    page = Page()
    page.feed(text)
    return page


def test_the_page_is_self_contained(page):
    found = parsed(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(found.tags)
    assert all(link.startswith("#") for link in found.links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_has_unique_identifiers_and_live_links(page):
    found = parsed(page)
    assert len(set(found.identifiers)) == len(found.identifiers)
    assert {link[1:] for link in found.links} <= set(found.identifiers)
    clips = set(re.findall(r"url\(#([^)]+)\)", page))
    assert clips <= set(found.identifiers)


def test_the_page_says_it_all(report, page):
    said = parsed(page).text
    for verdict in report.verdicts:
        assert verdict.sentence in said
    for warning in report.warnings:
        assert warning.text in said
    for note in report.method:
        assert note.text in said
    assert report.reproducibility.records_sha256 in said
    for heading in ("Imperceptibility", "Robustness", "Computational Cost", "Testing Environment"):
        assert heading in said


def test_the_page_is_accessible(page):
    found = parsed(page)
    assert '<html lang="en">' in page
    assert found.tags.count("table") == found.tags.count("caption")
    assert page.count('role="img"') == found.tags.count("figure")
    assert found.tags.count("h1") == 1
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_colours_follow_light_and_dark(page):
    svg = " ".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--series-1)" in svg
    for value in (canvas.INK, canvas.GRID, canvas.BAND, *canvas.SERIES):
        assert f": {value}" not in svg


def test_hostile_names_are_only_text(hostile, drawn_hostile):
    text = html(hostile, drawn_hostile)
    found = parsed(text)
    assert "script" not in found.tags
    assert "alert(1)" in found.text
    assert "<script" not in text


def test_a_page_without_numbers(reported):
    run = make_run()
    report = reported(type(run)(run.plan, (), (), (), None))
    said = parsed(html(report)).text
    assert "No Modification was tested." in said
    assert "Not recorded." in said


def test_an_inverted_watermark_is_inside_the_axis(run, reported):
    turned = [
        t.model_copy(update={"decodings": (decoding(t.injection, 64, 63),)})
        if t.injection and t.modification
        else t
        for t in run.trials
    ]
    made = reported(type(run)(run.plan, run.injections, tuple(turned), (), None))
    figure = plots.sweep_figure(made, 0)
    shown = {t.text for t in ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}text")}
    assert "100 %" in shown
    assert figure.svg.count(">80 %<") == 2
