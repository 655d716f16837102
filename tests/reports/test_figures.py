"""Curves, evidence, losses and costs: what is drawn lies where its number is."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from scipy.stats import binom

from nnw_onnx.measures.results import Value
from nnw_onnx.reports import drawing as drawing_module
from nnw_onnx.reports import names
from nnw_onnx.reports.costs import costs
from nnw_onnx.reports.curves import curves
from nnw_onnx.reports.drawing import Drawing
from nnw_onnx.reports.evidence import evidence
from nnw_onnx.reports.figures import figures, slug
from nnw_onnx.reports.losses import forest
from nnw_onnx.reports.page import page

from . import synthetic


def called(report):
    return names.technology_names(report)


def vertices(path):
    """The points of a path, piece by piece."""
    pieces = [piece.split(" ") for piece in path.split("M") if piece]
    return [[tuple(map(int, xy.split(","))) for xy in piece] for piece in pieces]


def strips_of(report):
    return {s.code: s for _, group in curves(report, called(report)).groups for s in group}


def places(report, code, technology):
    """The panel of a technology, and its points in the model."""
    setting = next(s for s in report.settings if s.code == code)
    panel = strips_of(report)[code].curves[report.order.index(technology)]
    return panel, report.points_of(technology, setting.index)


def height(value, top, bottom, low, high):
    """Where a number lies between two edges, drawn upwards."""
    return round(bottom - (bottom - top) * min(1, max(0, (value - low) / (high - low))))


def test_error_rates_lie_in_the_upper_strip_and_losses_in_the_lower(small):
    panel, points = places(small, "0", 0)
    upper, lower = vertices(panel.own)
    frame = panel.frame
    assert [y for _, y in upper] == [height(p.ser.value, 5, frame.middle, 0, 0.6) for p in points]
    for (_, y), point in zip(lower, points, strict=True):
        usable = point.loss.value <= 0.05
        assert (y <= frame.knee) == usable


def test_the_dashed_line_is_that_of_the_technology_shown(small):
    for technology in (0, 1):
        panel, points = places(small, "0", technology)
        dashed = vertices(panel.plain)[0]
        assert [y for _, y in dashed] == [
            height(p.ser_unwatermarked.value, 5, panel.frame.middle, 0, 0.6) for p in points
        ]


def test_the_detection_limit_is_that_of_the_binomial(small):
    panel, _ = places(small, "0", 0)
    fewest = next(k for k in range(65) if binom.sf(k - 1, 64, 0.5) <= 1e-6)
    assert panel.limit == height(1 - fewest / 64, 5, panel.frame.middle, 0, 0.6)


def test_points_have_the_sign_of_their_verdict(small):
    panel, points = places(small, "0", 1)
    found = {style: len(vertices(path)[0]) for style, path in panel.points}
    statuses = [p.status for p in points]
    assert found == {
        style: statuses.count(word)
        for style, word in (("ok", "survives"), ("xx", "lost"))
        if word in statuses
    }


def test_a_line_has_a_gap_where_nothing_was_measured(small):
    setting = small.settings[0]
    gap = small.points_of(0, 0)[2].model_copy(update={"ser": Value.missing("not run")})
    changed = small.model_copy(
        update={"points": tuple(gap if p == small.points_of(0, 0)[2] else p for p in small.points)}
    )
    panel, _ = places(changed, setting.code, 0)
    assert [len(piece) for piece in vertices(panel.own)] == [2, 2, 5]


def test_modifications_of_one_setting_have_no_curves(large):
    assert not strips_of(large)["D1"].curves
    assert len(strips_of(large)["0"].curves) == 20


def test_without_symbols_the_upper_strip_is_evidence_or_the_share_found(large):
    assert curves(large, called(large)).kinds == ("ser", "evidence", "found")
    place = {t.record.method.name: t.index for t in large.technologies}
    panel, points = places(large, "0", place["entangled"])
    assert panel.limit == round((5 + panel.frame.middle) / 2)
    found = places(large, "0", place["fingerprint"])[0]
    assert found.limit is None
    first = vertices(found.own)[0]
    assert first[0][1] == 5
    assert points[0].ser.value is None


def test_evidence_is_in_the_quadrant_of_its_verdict(small):
    drawn = evidence(small, called(small))
    panel = drawn.panels[small.order.index(0)]
    points = [p for p in small.points if p.technology == 0 and p.loss.value is not None]
    lower = {(x, y) for _, path in panel.points for piece in vertices(path) for x, y in piece}
    assert len(lower) <= len(points)
    tested = [p for p in points if p.log10_p.value is not None]
    strong = sum(p.log10_p.value < -6.5 and p.loss.value < 0.045 for p in tested)
    assert sum(x < drawn.middle and y < panel.level for x, y in lower) <= strong + 2
    assert panel.most == f"{64 * math.log10(2):.1f}"


def test_what_is_lost_while_usable_is_named_below_its_panel(large):
    drawn = evidence(large, called(large))
    for panel, place in zip(drawn.panels, large.order, strict=True):
        codes = dict.fromkeys(
            large.settings[p.setting].code
            for p in synthetic.points_lost(large)
            if p.technology == place and p.loss.value is not None and p.log10_p.value is not None
        )
        if large.technologies[place].detectability.ever and not panel.word:
            assert panel.lost == f"lost while usable: {' '.join(codes) or 'none'}"


def test_wrong_keys_stand_beside_the_evidence(large):
    drawn = evidence(large, called(large))
    panel = drawn.panels[0]
    assert panel.wrong == "wrong keys: 0 of 105,000 found, at most 4.9"
    assert panel.level < panel.control < drawn.bottom


def test_a_calibrated_technology_is_folded_at_its_own_level(small):
    first = small.technologies[0]
    rough = first.detectability.model_copy(update={"level": 0.025, "negatives": 39})
    changed = small.model_copy(
        update={
            "technologies": (
                first.model_copy(update={"detectability": rough}),
                *small.technologies[1:],
            )
        }
    )
    drawn = evidence(changed, called(changed))
    labels = {p.frame: [t.text for t in p.ticks] for p in drawn.panels}
    assert "1.6" in labels["e1.6"]
    assert "6" in labels["e6"]
    assert all(p.first for p in drawn.panels)


def test_without_evidence_there_is_no_figure(small):
    points = tuple(p.model_copy(update={"log10_p": Value.missing("none")}) for p in small.points)
    assert evidence(small.model_copy(update={"points": points}), called(small)) is None


def test_the_forest_has_the_margin_as_a_band_and_the_limits_as_bars(small):
    drawn = forest(small, called(small))
    row = drawn.rows[0]
    found = small.technologies[small.order[0]].imperceptibility.loss
    at = lambda v: f"{100 * (100 * v + 1) / 2:.1f}%"  # noqa: E731 - the axis is -1 to 1 points
    assert drawn.band == ("25.0%", "50.0%")
    assert (row.left, row.dot, row.right) == (at(found.low), at(found.value), at(found.high))
    assert [t.style for t in drawn.ticks].count("edge") == 2


def test_a_loss_beyond_the_axis_is_an_arrow_and_does_not_squeeze_the_others(small):
    first = small.technologies[0]
    huge = first.imperceptibility.model_copy(
        update={
            "loss": Value(value=0.4, low=0.39, high=0.41, networks=3),
            "verdict": "noticeable",
        }
    )
    changed = small.model_copy(
        update={
            "technologies": (
                first.model_copy(update={"imperceptibility": huge}),
                *small.technologies[1:],
            )
        }
    )
    rows = forest(changed, called(changed)).rows
    far = rows[small.order.index(0)]
    assert (far.beyond, far.dot) == ("right", "100.0%")
    assert far.loss == "40.0 [39.0 to 41.0]"
    assert not rows[small.order.index(1)].beyond


def test_costs_without_a_number_say_why(large):
    drawn = costs(large, called(large))
    titles = [column.title for column in drawn.columns]
    injection, batch = (
        titles.index("Injection without training"),
        titles.index("Injection by training, a batch"),
    )
    for (_, dots), place in zip(drawn.rows, large.order, strict=True):
        trained = large.technologies[place].trained
        assert (dots[injection].text == "by training →") == trained
        assert bool(dots[batch].ring) == trained
    assert drawn.columns[injection].axis == "axis 1 ms to 100 ms"


def test_the_dot_of_a_time_is_on_its_logarithmic_axis(large):
    drawn = costs(large, called(large))
    seconds = large.technologies[large.order[0]].cost.injection.value
    place = 100 * (math.log10(seconds) + 3) / 2
    assert drawn.rows[0][1][0].at == f"{place:.1f}%"


def test_figure_files_are_xml_with_names_that_are_safe(large, hostile):
    for report in (large, hostile):
        made = list(figures(Drawing(report)))
        assert len({figure.name for figure in made}) == len(made)
        for figure in made:
            tree = ET.fromstring(figure.svg)
            known = {e.get("id") for e in tree.iter()}
            used = [e.get("href") for e in tree.iter() if e.tag.endswith("use")]
            assert {u.removeprefix("#") for u in used} <= known
            assert set(figure.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_page_and_files_share_what_is_drawn(small, monkeypatch):
    drawing = Drawing(small)
    panels = [*drawing.evidence.panels]
    panels += [c for _, strips in drawing.curves.groups for s in strips for c in s.curves]
    text = page(small, drawing)
    monkeypatch.setattr(drawing_module, "templates", None)  # nothing is drawn any more
    files = "".join(figure.svg for figure in figures(drawing))
    assert all(drawing.panel(panel, None) in text for panel in panels)
    assert all(drawing.panel(panel, None) in files for panel in panels)


@pytest.mark.parametrize(
    ("text", "expected"), [("1a L1 pruning, %", "1a-l1-pruning"), ("../../x", "x"), ("†", "figure")]
)
def test_slugs(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize("measure", [synthetic.PSNR, synthetic.PERPLEXITY])
def test_losses_in_other_units_are_folded_at_their_own_limit(measure):
    report = synthetic.small(measures=(measure,), scale=1.0)
    panel, points = places(report, "0", 0)
    labels = [t.text for t in panel.frame.texts]
    assert f"{measure.usable_loss:g}" in labels
    for (_, y), point in zip(vertices(panel.own)[1], points, strict=True):
        # At the limit itself pixels cannot tell.
        assert y <= panel.frame.knee or point.loss.value > measure.usable_loss
        assert y >= panel.frame.knee or point.loss.value < measure.usable_loss
