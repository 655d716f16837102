"""The page: one file, well formed, nothing fetched, nothing obeyed, readable by everyone."""

from __future__ import annotations

import itertools
import re
import time
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.measures.results import Localisation, PlaceCount, Value, Visibility
from nnw_onnx.records import PluginRecord
from nnw_onnx.reports import build_report, names, render, sentences, summary
from nnw_onnx.reports.grids import grids
from nnw_onnx.reports.matrix import matrix
from nnw_onnx.reports.page import page

from ..measures.made import invented  # noqa: TID252 - tests are no package that is installed
from . import synthetic

OPEN = {"meta", "br", "td", "th", "tr", "li", "path", "use", "line", "rect", "circle"}
"""Elements that close by themselves, or that the page leaves open."""


class Reader(HTMLParser):
    """Gathers what a page refers to, and checks that the rest is nested."""

    def __init__(self):
        super().__init__()
        self.stack, self.ids, self.targets, self.tags, self.texts = [], [], [], set(), []
        self.attributes = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        self.attributes |= set(found)
        if "id" in found:
            self.ids.append(found["id"])
        if "href" in found:
            self.targets.append(found["href"])
        if tag not in OPEN:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in OPEN:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in OPEN:
            assert self.stack.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.texts.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.stack == []
    return reader


@pytest.fixture(scope="module")
def pages(small, large, hostile):
    return {name: page(r) for name, r in (("small", small), ("large", large), ("bad", hostile))}


@pytest.mark.parametrize("name", ["small", "large", "bad"])
def test_pages_are_nested_and_every_reference_has_its_target(pages, name):
    reader = read(pages[name])
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(t.startswith("#") for t in reader.targets)
    assert {t.removeprefix("#") for t in reader.targets} <= set(reader.ids)
    markers = set(re.findall(r"url\(#(\w+)\)", pages[name]))
    assert markers <= set(reader.ids)


@pytest.mark.parametrize("name", ["small", "large", "bad"])
def test_nothing_is_run_and_nothing_is_fetched(pages, name):
    reader = read(pages[name])
    assert not reader.tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base"}
    assert not {a for a in reader.attributes if a.startswith("on")} | (
        reader.attributes & {"src", "xlink:href"}
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert f'content="{policy}"' in pages[name]
    assert not re.search(r"https?:|@import|url\((?!#)", pages[name])


def test_hostile_names_are_shown_and_not_obeyed(pages):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages["bad"]
    assert "\x1b" not in pages["bad"]
    assert "\u202e" not in pages["bad"]
    assert "\\u202e" in pages["bad"]


def test_sections_are_in_order(pages):
    order = ["What survives", "imperceptibility", "cost", "evidence", "curves", "tables", "method"]
    places = [pages["large"].index(f'"{word}"') for word in ("What survives",)]
    places += [pages["large"].index(f'<h2 id="{word}"') for word in order[1:]]
    assert places == sorted(places)
    text = pages["large"]
    assert text.index("93.41 %") < text.index("What survives")


def test_large_pages_are_small_and_fast(large):
    start = time.process_time()
    text = page(large)
    assert time.process_time() - start < 10
    assert len(text.encode()) < 1_000_000


def test_the_same_report_gives_the_same_page(large, pages):
    assert page(large) == pages["large"]


def test_every_symbol_of_the_matrix_is_named_in_the_key(pages):
    matrix, _, rest = pages["large"].partition('<ul class="key">')
    assert set(re.findall(r'class=g[^>]*><use href="#(\w+)"', matrix)) <= set(
        re.findall(r'class=g[^>]*><use href="#(\w+)"', rest.partition("</ul>")[0])
    )


def test_a_run_is_drawn_again_without_any_plugin(monkeypatch):
    run = invented()
    first = page(build_report(*run.parts))

    def refuse(*_, **__):
        raise PluginError("no plug-in is installed")

    for name in ("load", "create", "listed", "origin"):
        monkeypatch.setattr(f"nnw_onnx.plugins.{name}", refuse, raising=False)
    assert page(build_report(*run.parts)) == first


@pytest.mark.parametrize("measure", [synthetic.PSNR, synthetic.PERPLEXITY])
def test_tasks_without_percent_never_speak_of_points(measure):
    report = synthetic.small(measures=(measure,), scale=1.0)
    text = " ".join(read(page(report)).texts).partition("Clauses")[0]
    assert not re.search(r"[0-9] points", text)
    assert f"at most {measure.usable_loss:g} {measure.unit}".rstrip() in text
    assert ("lower is better" in text) == (measure.better == "lower")


def unmodified(technology):
    """A technology that no Modification was tried on."""
    return technology.model_copy(update={"families": (), "whole": None, "strongest": ()})


def test_an_evaluation_without_modifications_has_no_empty_sections(small):
    bare = small.model_copy(
        update={
            "technologies": tuple(map(unmodified, small.technologies)),
            "settings": (),
            "rows": (),
            "cells": (),
            "points": (),
            "notes": (),
            "counts": small.counts.model_copy(update={"total": 0, "usable": 0}),
        }
    )
    text = page(bare)
    read(text)
    assert 'id="imperceptibility"' in text
    assert 'id="curves"' not in text
    assert 'id="evidence"' not in text
    assert "robustness was not asked for" in text


def test_verdicts_are_short(small, large):
    for report in (small, large):
        made = sentences.verdicts(report, names.technology_names(report))
        assert len(made) <= 4
        assert max(len(str(v).split()) for v in made) <= 25
        assert all(str(v).endswith(".") for v in made)


def test_what_can_never_be_found_is_said_so(large):
    short = synthetic.small(technologies=(synthetic.TECHNOLOGIES[-1],))
    told = sentences.verdicts(short, names.technology_names(short))[0]
    assert "can never be found: 16 Symbols cannot prove it" in told.text


def test_the_summary_is_a_few_lines(small):
    lines = summary(small)
    assert lines[0].startswith("2 technologies under 7 Modifications (26 settings), 3 networks")
    assert "top-1 accuracy 93.41 %" in lines[1]
    assert "survives" in lines[2]
    assert lines[-1] == "2 warnings: data set too small; 3 settings outside the standard's range"


def changed_point(report, **fields):
    """The report with another first point, and that point."""
    point = report.points[0].model_copy(update=fields)
    return report.model_copy(update={"points": (point, *report.points[1:])}), point


def test_with_a_code_the_tables_have_raw_and_decoded_errors(small):
    assert not any("bits" in g.heads for g in grids(small, names.technology_names(small)))
    first = small.technologies[0]
    record = first.record.model_copy(update={"code": PluginRecord(name="repetition")})
    technologies = (first.model_copy(update={"record": record}), *small.technologies[1:])
    coded = small.model_copy(update={"technologies": technologies})
    coded, _ = changed_point(coded, bit_errors=Value(value=0.125, networks=3))
    called = names.technology_names(coded)
    assert str(called[0]) == "block-spread 64 bits, repetition"
    grid = grids(coded, called)[0]
    assert grid.heads == ("found", "FP", "SER", "bits", "quality", "loss")
    row = grid.rows[coded.order.index(0)]
    assert row.items[3] == ("12.5", "")


def test_an_integrity_method_has_the_places_that_it_names(small):
    named = (PlaceCount(layer="conv<1>", tests=7), PlaceCount(layer="dense", tests=2))
    found, _ = changed_point(small, places=named, place_right=Value(value=7 / 9, networks=3))
    text = page(found)
    assert "Places that were named" in text
    assert "conv&lt;1&gt;<td>7<td>9<td>77.8" in text
    assert "77.8" in text
    assert "Places that were named" not in page(small)


def localised(report, **counts):
    """The first technology as one of integrity, its blocks told of its first point and before."""
    first, point = report.technologies[0], report.points[0]
    nothing = Value.missing("no block was changed")
    before = Localisation(
        changed_tests=0, detected=0, untouched_tests=6, alarms=counts.pop("alarms", 0), blocks=144,
        changed=0, named=0, right=0, recall=nothing, precision=nothing,
    )  # fmt: skip
    after = before.model_copy(
        update={"changed_tests": 6, "detected": 5, "untouched_tests": 0, "alarms": 0, **counts}
    )
    record = first.record.model_copy(update={"kind": "integrity"})
    unmodified = first.unmodified.model_copy(update={"localisation": before})
    changed = first.model_copy(update={"record": record, "unmodified": unmodified})
    return report.model_copy(
        update={
            "technologies": (changed, *report.technologies[1:]),
            "points": (point.model_copy(update={"localisation": after}), *report.points[1:]),
        }
    )


def test_an_integrity_method_tells_what_it_detects_names_and_raises_falsely(small):
    known = {"changed": 24, "named": 20, "right": 18}
    values = {"recall": Value(value=0.75, networks=3), "precision": Value(value=0.9, networks=3)}
    found = localised(small, **known, **values)
    called = names.technology_names(found)
    said = next(str(v) for v in sentences.verdicts(found, called) if "detects the change" in str(v))
    assert "detects the change in 5 of 6 tests" in said
    assert "blocks named: recall 75.0 %, precision 90.0 %, no false alarm in 6" in said
    text = page(found)
    assert "Integrity: changes detected, and blocks named" in text
    assert "<td>6<td>5<td>0<td>0<td>75.0<td>90.0" in text
    assert "unmodified<td>–<td class=tx>–<td>0<td>0<td>6<td>0<td>–<td>–" in text
    assert "is the share of changed blocks that are named" in text
    assert "changes detected" not in page(small)
    told = sentences.verdicts(localised(small, alarms=2, **known), called)
    assert any("2 false alarms in 6" in str(v) for v in told)


def test_an_integrity_method_of_an_earlier_version_tells_its_settings(small):
    record = small.technologies[0].record.model_copy(update={"kind": "integrity"})
    first = small.technologies[0].model_copy(update={"record": record})
    old = small.model_copy(update={"technologies": (first, *small.technologies[1:])})
    asked = [p for p in old.points if p.technology == 0 and p.tested]
    said = sentences.verdicts(old, names.technology_names(old))
    assert any(f"notices the change in 0 of {len(asked)} settings" in str(v) for v in said)


def test_any_number_of_a_run_folder_can_be_drawn(small):
    """Records are untrusted: the smallest and the largest numbers that they may hold."""
    tiny, huge = 5e-324, 1e15
    measure = synthetic.ACCURACY.model_copy(update={"negligible": tiny, "usable_loss": tiny})
    first = small.technologies[0]
    cost = first.cost.model_copy(
        update={
            "injection": Value(value=tiny, networks=3),
            "memory": Value(value=huge, low=0, high=huge, networks=3),
            "inference_ratio": Value(value=huge, networks=3),
            "detection": Value(value=0.0, networks=3),
        }
    )
    strict = first.detectability.model_copy(update={"level": tiny, "log10_least": -huge})
    odd = first.model_copy(update={"cost": cost, "detectability": strict})
    report, _ = changed_point(
        small, loss=Value(value=-huge, low=-huge, high=huge, networks=3), log10_p=Value(value=-huge)
    )
    report = report.model_copy(
        update={
            "technologies": (odd, *small.technologies[1:]),
            "measures": (measure, *small.measures[1:]),
            "false_positive_rate": tiny,
        }
    )
    text = page(report)
    read(text)
    assert not re.search(r"\b(nan|inf)\b", text)
    for form in ("markdown", "latex", "csv", "json"):
        assert render(report, form)


# Contrast (WCAG 2.1) ------------------------------------------------------------------------------

STYLE = (files("nnw_onnx.reports") / "templates" / "report.css").read_text("utf-8")
PAIRS = [
    *((ink, "page") for ink in ("ink", "muted", "link", "mark", "warn")),
    *((f"g{family}", "page") for family in range(1, 6)),
    *((ink, "band") for ink in ("ink", "muted")),
    *((ink, "tint") for ink in ("ink", "muted", "warn")),
    ("kept-ink", "kept"),
    ("part-ink", "part"),
    ("lost-ink", "lost"),
]  # fmt: skip


def themes():
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    first = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", light))
    return {"light": first, "dark": first | dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", dark))}


def luminance(colour):
    digits = colour.removeprefix("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def lightness(colour):
    """CIE L* (0 to 100)."""
    y = luminance(colour)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(theme):
    colours = themes()[theme]
    for ink, ground in PAIRS:
        high, low = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (theme, ink, ground)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_damage_can_be_told_in_grey(theme):
    colours = themes()[theme]
    steps = [lightness(colours[name]) for name in ("kept", "part", "lost")]
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert min(abs(gap) for gap in gaps) >= 15
    assert gaps[0] * gaps[1] > 0, "lightness has to change in one direction"


def test_paper_is_light_and_complete():
    printed = STYLE.partition("@media print")[2]
    assert "details::details-content" in printed
    assert "@media screen and (prefers-color-scheme: dark)" in STYLE
    for scrolling in (".box", ".scroll"):
        assert re.search(rf"{re.escape(scrolling)}[^}}]*overflow: visible", printed)
    assert "min-width: var(--wide)" in STYLE
    assert ".co { min-width: 0" in printed


def test_unknown_format(small):
    with pytest.raises(ConfigurationError, match=r"did you mean 'html'"):
        render(small, "htlm")


class Cells(HTMLParser):
    """Rows of the tables of the matrix, as (tag, attributes, text)."""

    def __init__(self):
        super().__init__()
        self.rows, self.inside, self.tables = [], False, 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        classes = (found.get("class") or "").split()
        if tag == "table":
            self.inside = "m" in classes
            self.tables += self.inside
        if self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("th", "td"):
            self.rows[-1].append([tag, found, ""])
        elif self.inside and tag == "a":
            self.rows[-1][-1][1]["href"] = found["href"]

    def handle_endtag(self, tag):
        if tag == "table":
            self.inside = False

    def handle_data(self, data):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1][2] += data


def cells_of(text):
    reader = Cells()
    reader.feed(text)
    reader.close()
    return reader


def test_many_technologies_are_rows_of_the_matrix_with_whole_names(large, pages):
    found = cells_of(pages["large"])
    assert found.tables == 4
    rows = [row for row in found.rows if row[0][1].get("scope") == "row"]
    labels = [t.label for t in large.technologies]
    assert [row[0][2].strip() for row in rows] == labels * 4
    assert [len(row) - 1 for row in rows[::20]] == [13, 9, 12, 5]
    for row in rows:
        assert [tag for tag, *_ in row] == ["th"] + ["td"] * (len(row) - 1)
        for _, attributes, _ in row[1:]:
            assert attributes["title"].startswith(row[0][2].strip())


def test_heads_of_the_turned_matrix_have_scopes_and_lead_to_the_details(large, pages):
    found = cells_of(pages["large"])
    heads = [cell for row in found.rows for cell in row if cell[0] == "th"]
    assert all("scope" in attributes for _, attributes, _ in heads)
    linked = [a["href"] for _, a, _ in heads if a.get("href", "").startswith("#m")]
    assert linked == [f"#m{large.settings[i].code}" for i in large.rows]
    groups = [(t.strip(), int(a["colspan"])) for _, a, t in heads if a["scope"] == "colgroup"]
    drawn = matrix(large, names.technology_names(large))
    # The standard's go on in a second table.
    assert groups == [(title, len(rows)) for block in drawn.blocks for title, rows in block.groups]
    assert list(dict.fromkeys(title for title, _ in groups)) == list(names.FAMILIES.values())


def test_a_cell_of_the_turned_matrix_says_what_the_model_says(large, pages):
    rows = [r for r in cells_of(pages["large"]).rows if r[0][1].get("scope") == "row"]
    drawn = matrix(large, names.technology_names(large))
    for i, technology in enumerate(large.technologies):
        least = technology.whole.weakest and f"{100 * technology.whole.weakest.found:.0f} % "
        told = f"{least or ''}{technology.tally.survived}/{technology.tally.usable}"
        assert rows[i][1][2].strip() == told + ("" if technology.attacked else " not ranked")
        cells = [cell for block in range(4) for cell in rows[20 * block + i][1:]][3:]
        entries = [row.entries[i] for _, group in drawn.groups for row in group]
        for (_, attributes, text), entry in zip(cells, entries, strict=True):
            assert attributes["class"] == entry.style
            note = f"{entry.note}" if entry.note else ""
            assert text.strip().replace("\n", "") == f"{entry.top}{note}{entry.below}"


def test_few_technologies_have_no_style_of_the_turned_matrix(pages):
    assert ".m.t " in pages["large"]
    assert ".m.t " not in pages["small"]
    assert "scope=colgroup" not in pages["small"].partition('<ul class="key">')[0]


def test_a_turned_matrix_without_robustness_has_imperceptibility_alone(large):
    technologies = tuple(
        unmodified(t).model_copy(update={"robustness_asked": False}) for t in large.technologies
    )
    changed = large.model_copy(
        update={
            "technologies": technologies,
            "settings": (),
            "rows": (),
            "cells": (),
            "points": (),
            "resynchronised": (),
        }
    )
    rows = [r for r in cells_of(page(changed)).rows if r[0][1].get("scope") == "row"]
    assert [len(row) for row in rows] == [2] * 20


def test_a_reason_that_all_rows_share_is_said_once_below(large):
    reason = "fewer than 6 networks: none can be trained"
    shared = seen(large, [reason] * 20)
    text = page(shared)
    assert text.count(reason) == 1
    assert '<p class="note">Why not measured: ' + reason + ".</p>" in text
    other = page(seen(large, [reason] * 19 + ["no carrier"]))
    assert other.count(reason) == 19
    assert "Why not measured<" in other


def seen(report, reasons):
    """The report with a visibility for each technology that has such a reason."""
    technologies = tuple(
        t.model_copy(
            update={
                "visibility": Visibility(
                    weights=Value(value=0.01),
                    filter_means=Value(value=0.02),
                    variance_ratio=Value(value=1.0),
                    auc=Value(reason=reason),
                    p_value=None,
                    verdict="not measured",
                    reference="original",
                    layers=1,
                )
            }
        )
        for t, reason in zip(report.technologies, reasons, strict=True)
    )
    return report.model_copy(update={"technologies": technologies})
