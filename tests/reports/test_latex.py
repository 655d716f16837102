"""Tables for papers: narrow enough, short enough, and well-formed without a TeX installation."""

from __future__ import annotations

import re

import pytest

from nnw_onnx.reports import names, tables
from nnw_onnx.reports.columns import Form
from nnw_onnx.reports.forms import Head, Item, Table
from nnw_onnx.reports.latex import LONGEST, TEXT_WIDTH, as_latex, escaped, width_of
from nnw_onnx.reports.matrix import matrix

# Adobe's and Knuth's metrics of single characters at 8 pt, as reference for the estimate.
CMR8 = {"0": 4.25, "a": 4.25, "m": 7.08, "i": 2.36, "W": 8.74, "A": 6.37, "M": 7.79, " ": 2.83}
_GAP = 6


def tables_of(report):
    return tables.tables(report, matrix(report, names.technology_names(report)))


def parts_of(text):
    """(column types, lines) of each tabular."""
    pattern = r"\\begin\{(tabular|longtable)\}\{@\{\}(.*?)@\{\}\}\n(.*?)\\end\{\1\}"
    return [(m[1], m[2], m[3]) for m in re.finditer(pattern, text, re.DOTALL)]


def columns_in(forms):
    return re.findall(r">\{[^}]*\}p\{(\d+)pt\}|([lr])", forms)


def plain(cell):
    """What a reader sees of a cell."""
    cell = re.sub(r"\\allowbreak\{\}", "", cell)
    cell = re.sub(r"\\textbackslash\{\}|\\text\w+\{\}|\\char34\{\}", "x", cell)
    return re.sub(r"\$.*?\$", "0", cell).replace("\\", "").strip()


def cells_in(line):
    return re.split(r"(?<!\\)&", line.removesuffix(r"\\"))


def test_characters_are_never_taken_for_narrower_than_they_are():
    for character, points in CMR8.items():
        width = width_of(f"0{character}0") - width_of("00")
        assert points <= width <= 2 * points


@pytest.mark.parametrize("which", ["small", "large", "hostile"])
def test_every_part_of_every_table_fits_on_a_line(which, request):
    report = request.getfixturevalue(which)
    for made in (t for t in tables_of(report) if len(t.rows) <= 200):
        for _, forms, body in parts_of(as_latex(made)):
            found = columns_in(forms)
            lines = [x for x in body.splitlines() if x.endswith(r"\\") and "&" in x]
            lines = [x for x in lines if not x.startswith((r"\multicolumn", r"\caption"))]
            assert {len(cells_in(line)) for line in lines} == {len(found)}
            total = 0.0
            for place, (points, _) in enumerate(found):
                texts = [plain(cells_in(line)[place]) for line in lines]
                total += _GAP + (float(points) if points else max(map(width_of, texts)))
            assert total <= TEXT_WIDTH + 12, (made.name, forms)


def test_a_table_that_is_too_wide_is_split_and_every_part_says_what_it_is_about(small):
    robustness = next(t for t in tables_of(small) if t.name == "robustness")
    text = as_latex(robustness)
    parts = parts_of(text)
    assert len(parts) > 1
    for number, (_, _, body) in enumerate(parts, 1):
        assert "Gaussian noise &" in body
        assert rf"\emph{{{escaped(small.technologies[0].label)}}}" in body
        assert f"part {number} of {len(parts)}" in text
    heads = " ".join(plain(x) for _, _, body in parts for x in body.splitlines())
    for head in robustness.brief().heads[1:]:
        assert head.text.split()[0].rstrip(",") in heads
    assert "resizebox" not in text


def numbers(rows):
    heads = (Head("a", "A", False, False, lead=True), Head("b", "B", True, False))
    items = tuple(
        (Item(f"row {i}", Form.WORDS, None), Item(i, Form.COUNT, None)) for i in range(rows)
    )
    return Table("made", "By hand", heads, items)


def test_a_table_that_is_too_long_runs_over_pages():
    assert parts_of(as_latex(numbers(LONGEST)))[0][0] == "tabular"
    ((kind, _, body),) = parts_of(as_latex(numbers(LONGEST + 1)))
    assert kind == "longtable"
    assert body.index(r"\endhead") < body.index("row 0")


def test_a_long_name_may_be_broken_and_a_short_one_is_not():
    name = "backbone.blocks.11.attention.qkv_projection.weight"
    made = numbers(1)
    long = Table("t", "c", made.heads, ((Item(name, Form.WORDS, None), made.rows[0][1]),))
    text = as_latex(long)
    assert r"\allowbreak" in text
    assert plain(re.search(r"backbone.*?&", text)[0].removesuffix("&")) == name
    short = Table("t", "c", made.heads, ((Item("a b c " * 9, Form.WORDS, None), made.rows[0][1]),))
    assert r"\allowbreak" not in as_latex(short)


def test_groups_braces_and_environments_are_closed(hostile):
    for made in tables_of(hostile):
        text = as_latex(made)
        bare = re.sub(r"\\[{}\\]", "", text)
        assert bare.count("{") == bare.count("}")
        begun = re.findall(r"\\begin\{(\w+)\}", text)
        assert sorted(begun) == sorted(re.findall(r"\\end\{(\w+)\}", text))
