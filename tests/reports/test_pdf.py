"""Figures as PDF: the file's structure, its numbers, and its text."""

from __future__ import annotations

import math
import re
import zlib
from xml.etree import ElementTree

import pytest

from nnw_onnx.reports.drawing import Drawing
from nnw_onnx.reports.figures import figures
from nnw_onnx.reports.paths import drawn, moved, vertices
from nnw_onnx.reports.pdf import pdf


def figures_of(report):
    return list(figures(Drawing(report)))


def content_of(data):
    packed = re.search(rb"stream\n(.*)\nendstream", data, re.DOTALL)[1]
    return zlib.decompress(packed).decode("ascii")


def text_of(content):
    """The words of a page, blocks of text one a line."""
    blocks = re.findall(r"BT(.*?)ET", content, re.DOTALL)
    found = []
    for block in blocks:
        runs = re.findall(r"/(F\d) \S+ Tf \S+ Ts <([0-9a-f]*)> Tj", block)
        codec = {"F1": "cp1252", "F2": "cp1252", "F3": "latin-1"}
        found.append("".join(bytes.fromhex(codes).decode(codec[font]) for font, codes in runs))
    return found


@pytest.mark.parametrize("which", ["small", "hostile"])
def test_every_object_begins_where_the_table_says(which, request):
    for figure in figures_of(request.getfixturevalue(which)):
        data = pdf(figure.svg)
        assert data.startswith(b"%PDF-1.4\n")
        assert data.endswith(b"%%EOF\n")
        start = int(re.search(rb"startxref\n(\d+)\n", data)[1])
        table = data[start:]
        places = [int(x) for x in re.findall(rb"(\d{10}) 00000 n ", table)]
        assert table.startswith(b"xref\n0 %d\n" % (len(places) + 1))
        for number, place in enumerate(places, 1):
            assert data[place:].startswith(b"%d 0 obj\n" % number)
        length = int(re.search(rb"/Length (\d+)", data)[1])
        assert len(re.search(rb"stream\n(.*)\nendstream", data, re.DOTALL)[1]) == length
        content = content_of(data)
        assert content.count("q\n") + content.count("q BT") == len(re.findall(r"Q$", content, re.M))


def test_the_page_has_the_size_of_the_figure_in_points(small):
    figure = figures_of(small)[0]
    root = ElementTree.fromstring(figure.svg)
    box = re.search(rb"/MediaBox \[0 0 (\S+) (\S+)\]", pdf(figure.svg))
    assert [float(x) for x in box.groups()] == [
        0.75 * float(root.get(side)) for side in ("width", "height")
    ]


def test_the_words_of_the_figure_are_on_the_page(small):
    figure = figures_of(small)[0]
    words = text_of(content_of(pdf(figure.svg)))
    root = ElementTree.fromstring(figure.svg)
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text") if e.text.isascii()]
    assert texts
    assert set(texts) <= set(words)
    assert "\xb320" in words  # greater or equal, in the font Symbol


def test_a_name_that_no_font_has_is_escaped():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><title>層</title>'
        '<text x="1" y="1">層 Größe 10⁻³ x₂</text></svg>'
    )
    data = pdf(svg)
    assert text_of(content_of(data)) == ["\\u5c64 Größe 10-3 x2"]
    assert ("\ufeff層").encode("utf-16-be").hex().encode() in data


def test_points_are_drawn_where_the_svg_has_markers(small):
    figure = next(f for f in figures_of(small) if f.name.startswith("curves"))
    root = ElementTree.fromstring(figure.svg)
    marked = [
        len(vertices(e.get("d")))
        for e in root.iter("{http://www.w3.org/2000/svg}path")
        if e.get("class") in ("ok", "xx", "qq")
    ]
    content = content_of(pdf(figure.svg))
    shapes = content.count("0.85 gs") + len(re.findall(r"1\.7 w", content))
    assert shapes + content.count("/A85 gs") >= sum(marked) > 0


def test_a_circle_of_arcs_is_a_circle():
    steps = list(drawn("M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0Z"))
    assert steps[0] == ("m", (-3.0, 0.0))
    assert steps[-1] == ("h", ())
    curves_of = [s for s in steps if s[0] == "c"]
    assert len(curves_of) == 4
    start = steps[0][1]
    for _, numbers in curves_of:
        for t in (0.25, 0.5, 0.75, 1.0):
            points = [start, *zip(numbers[::2], numbers[1::2], strict=True)]
            weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
            x, y = (sum(w * p[k] for w, p in zip(weights, points, strict=True)) for k in (0, 1))
            assert math.hypot(x, y) == pytest.approx(3, abs=0.002)
        start = numbers[-2:]
    assert start == pytest.approx((-3, 0), abs=1e-9)


def test_paths_are_read_as_svg_says():
    assert list(drawn("M1,2 3,4H5V6h-1v1l1-1Z")) == [
        ("m", (1, 2)), ("l", (3, 4)), ("l", (5, 4)), ("l", (5, 6)), ("l", (4, 6)), ("l", (4, 7)),
        ("l", (5, 6)), ("h", ()),
    ]  # fmt: skip
    assert vertices("M1,2 3,4 .5-1") == [(1, 2), (3, 4), (0.5, -1)]
    assert list(moved(drawn("M1,2"), (10, 20))) == [("m", (11, 22))]
    assert list(drawn("M0 0Q3 3 6 0")) == [("m", (0, 0)), ("c", (2, 2, 4, 2, 6, 0))]
    with pytest.raises(ValueError, match="expected 2 numbers after L"):
        list(drawn("M0 0L1"))


def test_the_same_figure_gives_the_same_bytes(small):
    svg = figures_of(small)[0].svg
    assert pdf(svg) == pdf(svg)
