"""The tables of a report, which are files of their own too; all from the declared columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from nnw_onnx.measures.results import Level, Point, QualityRow, Setting
from nnw_onnx.records import MeasureRecord
from nnw_onnx.reports import columns, forms, names, words
from nnw_onnx.reports.columns import Form
from nnw_onnx.reports.forms import Head, Item, Table, table
from nnw_onnx.reports.matrix import Bar, Matrix, Row
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import Shown

_SETTING = ("Modification", "Intensity", "Unit")
_POINT = ("Technology", *_SETTING)
# Columns that a page of paper has room for; tables that are not here are shown whole.
_PAPER = {
    "technologies": "technology kind injected reads code symbols null log10_least level negatives "
    "injections survived noticed",
    "settings": "technology modification intensity unit usability quality loss",
    "robustness": "technology modification intensity unit status found tested found_rate ser "
    "quality loss",
    "blocks": "technology modification intensity unit changed_tests detected untouched_tests "
    "false_alarms recall precision",
    "conformance": "clause asks answer reason",
    "cost": "technology injection batch batch_ratio epochs detection decoding memory "
    "inference_ratio",
}


def tables(report: Report, drawn: Matrix) -> tuple[Table, ...]:
    """Every table that there are numbers for, the matrix first.

    Args:
        report: what is told.
        drawn: its matrix.
    """
    return tuple(t for t in (_matrix(report, drawn), _cells(report), *_declared(report)) if t.rows)


def all_rows(report: Report) -> str:
    """Every number of the report, one a row, as CSV."""
    heads = [f.name for f in fields(columns.Row)]
    return forms.rows_as_csv(heads, (vars(row) for row in columns.rows(report)))


def _declared(report: Report) -> Iterator[Table]:
    """The tables of declared columns, in the order of the page."""
    hidden = [t for t in report.technologies if t.imperceptibility_asked]
    paper = {name: frozenset(keys.split()) for name, keys in _PAPER.items()}
    main = report.headline
    label = ("Technology",)
    yield table(
        "technologies",
        "The technologies",
        (),
        columns.TECHNOLOGIES,
        (((), t, main) for t in report.technologies),
        paper["technologies"],
    )
    known = {m.name: m for m in report.measures}
    yield table(
        "base",
        "Quality of the unwatermarked networks",
        (),
        columns.BASE,
        (((), found, known[found.measure]) for found in report.base if found.measure in known),
    )
    yield table(
        "settings",
        "The settings, and what they leave of the unwatermarked networks",
        _POINT,
        columns.SETTINGS,
        _levels(report),
        paper["settings"],
    )
    yield table(
        "families",
        "Robustness by family of Modifications",
        ("Technology", "Family"),
        columns.families(report),
        (
            ((t.label, names.KINDS[f.family]), f, main)
            for t in report.technologies
            for f in t.families
        ),
    )
    yield table(
        "strongest",
        "The strongest usable way of each Modification that was tried in several",
        _POINT,
        columns.STRONGEST,
        _strongest(report),
    )
    yield table(
        "imperceptibility",
        f"Imperceptibility, {main.name}",
        label,
        columns.IMPERCEPTIBILITY,
        (((t.label,), t.imperceptibility, main) for t in hidden),
    )
    yield table(
        "quality",
        "Quality without and with the watermark, by measure",
        ("Technology", "Compared with"),
        columns.QUALITY,
        _qualities(report),
    )
    yield table(
        "visibility",
        "Visibility in the weights, without the key",
        label,
        columns.VISIBILITY,
        (((t.label,), t.visibility, main) for t in report.technologies if t.visibility),
        once=frozenset({"why_no_detector"}),
    )
    yield table(
        "cost",
        "Computational Cost",
        label,
        columns.COST,
        (((t.label,), t.cost, main) for t in report.technologies if t.cost.cells),
        paper["cost"],
    )
    yield table(
        "controls",
        "Wrong keys, over all networks and settings",
        label,
        columns.CONTROLS,
        (((t.label,), t.control, main) for t in report.technologies if t.control),
    )
    yield table(
        "controls_resynchronised",
        "Wrong keys, on modified networks that were put back in order",
        label,
        columns.CONTROLS,
        (
            ((t.label,), t.control_resynchronised, main)
            for t in report.technologies
            if t.control_resynchronised
        ),
    )
    points = [_robust(report, point) for point in _points(report)]
    yield table(
        "places",
        "Places that were named first",
        _POINT,
        columns.PLACES,
        ((lead, (point, place), main) for lead, point, _ in points for place in point.places),
    )
    yield table(
        "blocks",
        "Integrity: changes detected, and blocks named",
        _POINT,
        columns.BLOCKS,
        (
            (lead, point.localisation, main)
            for lead, point, _ in points
            if point.localisation is not None
        ),
        paper["blocks"],
    )
    yield rankings(report)
    yield table(
        "epochs",
        "Trainings that put a watermark in, means over networks",
        ("Technology", "Networks"),
        columns.EPOCHS,
        (
            ((t.label, which), epoch, main)
            for t in report.technologies
            if t.training
            for which, epochs in (("watermarked", t.training.mean), ("twin", t.training.twins))
            for epoch in epochs
        ),
    )
    yield table(
        "resynchronised",
        "Robustness, re-synchronised: networks put back in order before claims were heard",
        _POINT,
        columns.RESYNCHRONISED,
        (
            (_robust(report, row.point)[0], row, main)
            for row in report.resynchronised
            if row.networks
        ),
    )
    yield table("robustness", "Robustness", _POINT, columns.ROBUSTNESS, points, paper["robustness"])
    yield table(
        "pairs",
        "Network by network",
        label,
        columns.PAIRS,
        (((t.label,), pair, main) for t in hidden for pair in t.imperceptibility.pairs),
    )
    for found in report.conformance:
        yield table(
            f"conformance-{found.profile}",
            f"Conformance with {found.standard}: {found.counted()}",
            ("Clause",),
            columns.CLAUSES,
            (((clause.id,), clause, main) for clause in found.clauses),
            paper["conformance"],
        )


def _matrix(report: Report, drawn: Matrix) -> Table:
    """The matrix in words: Modifications down, technologies across, or turned."""
    if drawn.turned:
        return _turned(report, drawn)
    heads = [Head("modification", "Modification", False, False, lead=True)]
    heads += [
        Head(f"technology_{i}", str(name), False, False)
        for i, name in zip(drawn.order, drawn.heads, strict=True)
    ]
    rows = [
        (_head_of(title, row), *(entry.said for entry in row.entries))
        for title, group in drawn.groups
        for row in group
    ]
    return _in_words(report, heads, rows)


def _head_of(title: str, row: Row) -> str:
    if not row.is_sum:
        return f"{row.code} {row.label}"
    return f"{title.partition(':')[0]}: {row.label.lower()}"


def _turned(report: Report, drawn: Matrix) -> Table:
    """The matrix in words: technologies down; the sums, then Modifications across."""
    shown = Shown(report.headline)
    placed = [(title, row) for title, group in drawn.groups for row in group]
    rows = [row for _, row in placed]
    networks = words.plural(len(report.networks), "network")
    loss = f"Imperceptibility, loss in {shown.unit}" if shown.unit else "Imperceptibility"
    heads = [
        Head("technology", "Technology", False, False, lead=True, roomy=True),
        Head("survived", "Settings survived", False, False),
        Head("least", "Least share found", False, False),
        Head("loss", loss, False, False),
        Head("alarms", f"False alarms, of {networks}", False, False),
    ]
    heads += [Head(_key_of(row), _head_of(title, row), False, False) for title, row in placed]
    told = [
        (
            name.row,
            _tallied(drawn.bars[i]),
            drawn.bars[i].least,
            ", ".join(filter(None, (drawn.loudness[i].top, drawn.loudness[i].below))),
            drawn.alarms[i].top,
            *(row.entries[i].said for row in rows),
        )
        for i, name in enumerate(drawn.heads)
    ]
    return _in_words(report, heads, told if rows else [])


def _key_of(row: Row) -> str:
    return f"robustness_{row.key}" if row.is_sum else f"modification_{row.code}"


def _tallied(bar: Bar) -> str:
    good, bad = bar.words
    said = f"{bar.survived} of {bar.of}"
    told = f"{said} {good}" if good != "survived" else said
    return f"{told}, {bar.lost} {bad}" + ("" if bar.ranked else ", not ranked")


def _in_words(report: Report, heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> Table:
    items = tuple(tuple(Item(word, Form.WORDS, report.headline) for word in row) for row in rows)
    return Table("matrix", "What survives each Modification", tuple(heads), items)


def _cells(report: Report) -> Table:
    """The matrix for machines: one cell a row."""
    return table(
        "cells",
        "The matrix, cell by cell",
        ("Technology", "Modification", "Unit"),
        columns.cells(report),
        (
            (
                (
                    report.technologies[cell.technology].label,
                    report.settings[cell.setting].label,
                    names.unit_of(report.settings[cell.setting]),
                ),
                cell,
                report.headline,
            )
            for cell in report.cells
        ),
    )


def _setting(setting: Setting, level: Level) -> tuple[str, float | None, str]:
    """Modification, Intensity and its unit."""
    unit = names.unit_of(setting) if level.intensity is not None else ""
    return setting.label, level.intensity, unit


def _levels(
    report: Report,
) -> Iterator[tuple[tuple[str, str, float | None, str], Level, MeasureRecord]]:
    """Every level; of one that is another for each technology, that of each of them too."""
    for setting in report.settings:
        for level in setting.levels:
            yield ("", *_setting(setting, level)), level, report.headline
            for technology in report.technologies if level.own else ():
                own = level.of(technology.index)
                yield (technology.label, *_setting(setting, own)), own, report.headline


def _strongest(
    report: Report,
) -> Iterator[tuple[tuple[str, str, float | None, str], Point, MeasureRecord]]:
    for technology in report.technologies:
        for found in technology.strongest:
            yield _robust(report, report.points_of(technology.index, found.setting)[found.level])


def rankings(report: Report) -> Table:
    """Settings survived, repeated at other limits of usability."""
    shown = Shown(report.headline)
    limits = sorted(report.rankings, key=lambda r: r.usable_loss)
    heads = [Head("technology", "Technology", False, False, lead=True)]
    for r in limits:
        limit = words.number(shown.factor * r.usable_loss)
        same = not r.of or set(r.of) == {r.usable}
        of = f" of {r.usable}" if same else ""
        text = f"Survived{of}, loss up to {limit} {shown.unit}".rstrip()
        heads.append(Head(f"survived_at_{limit}", text, True, False))
    rows = [
        (
            Item(report.technologies[i].label, Form.WORDS, report.headline),
            *(Item(r.survived[i], Form.COUNT, report.headline) for r in limits),
        )
        for i in (report.order if limits else ())
    ]
    caption = "Settings survived at other limits of usability"
    return Table("rankings", caption, tuple(heads), tuple(rows))


def _qualities(report: Report) -> Iterator[tuple[tuple[str, str], QualityRow, MeasureRecord]]:
    known = {m.name: m for m in report.measures}
    for technology in report.technologies:
        found = technology.imperceptibility
        rows = [(found.reference, row) for row in found.measures]
        rows += [("original", found.original)] if found.original else []
        for reference, row in rows if technology.imperceptibility_asked else ():
            yield (technology.label, reference), row, known.get(row.measure, report.headline)


def _points(report: Report) -> Iterator[Point]:
    for place, technology in enumerate(report.technologies):
        yield technology.unmodified
        for setting in range(len(report.settings)):
            yield from report.points_of(place, setting)


def _robust(
    report: Report, point: Point
) -> tuple[tuple[str, str, float | None, str], Point, MeasureRecord]:
    label = report.technologies[point.technology].label
    if point.setting is None or point.level is None:
        return (label, "unmodified", None, ""), point, report.headline
    setting = report.settings[point.setting]
    return (label, *_setting(setting, setting.levels[point.level])), point, report.headline
